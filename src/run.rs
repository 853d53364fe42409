//! The operator as a whole: controllers and HTTP server under one shutdown; the end of either ends both.

use crate::controller::{self, Readiness, Settings, StartError};
use crate::server;
use crate::vault::Transport;
use futures::FutureExt as _;
use jiff::Timestamp;
use kube::Client;
use prometheus::{IntGaugeVec, Opts, Registry};
use std::future::Future;
use thiserror::Error;
use tokio::net::TcpListener;

/// Why the operator ended without being told to.
#[derive(Debug, Error)]
pub enum RunError {
    /// A metric is registered twice.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The controllers do not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The controllers ended.
    #[error("the controllers ended")]
    Controllers,
}

/// The one clock that conditions and events are dated by.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn clock() -> Timestamp {
    Timestamp::now()
}

/// Runs the operator until `shutdown`; owns nothing that it was not given.
///
/// # Errors
/// When a part of it ends before `shutdown`.
pub async fn run(
    settings: Settings,
    client: Client,
    transport: Transport,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let registry = Registry::new();
    build_info(&registry)?;
    let readiness = Readiness::default();
    let shutdown = shutdown.shared();
    let router = server::router(registry.clone(), readiness.clone());
    let control = controller::run(settings, client, transport, &registry, readiness, shutdown.clone());
    tokio::select! {
        never = server::serve(listener, router) => match never {},
        ended = control => {
            ended?;
            // The controllers end by themselves only when told to.
            if shutdown.peek().is_some() { Ok(()) } else { Err(RunError::Controllers) }
        }
    }
}

fn build_info(registry: &Registry) -> Result<(), prometheus::Error> {
    let opts = Opts::new("vaultsync_build_info", "1, with the version of the running binary.");
    let info = IntGaugeVec::new(opts, &["version"])?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    registry.register(Box::new(info))
}
