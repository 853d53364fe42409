//! The operator as a whole: controllers and HTTP server under one shutdown; the end of either ends both.

use crate::controller::{self, Readiness, Settings, StartError};
use crate::lease::{Candidate, LeaseSettings, Lost, Tenure};
use crate::server;
use crate::vault::Transport;
use futures::FutureExt as _;
use jiff::Timestamp;
use kube::Client;
use prometheus::{IntGaugeVec, Opts, Registry};
use std::future::{Future, pending};
use std::time::Duration;
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
    /// The lease was lost.
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// So long rounds under way may take once the operator was told to end; a pod has 30 s.
const LAST_ROUNDS: Duration = Duration::from_secs(25);

/// The one clock that conditions and events are dated by.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn clock() -> Timestamp {
    Timestamp::now()
}

/// Runs the operator until `shutdown`; owns nothing that it was not given. With a lease, it works while it holds it.
///
/// # Errors
/// When a part of it ends before `shutdown`, or the lease was lost.
pub async fn run(
    settings: Settings,
    lease: Option<LeaseSettings>,
    client: Client,
    transport: Transport,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), RunError> {
    let registry = Registry::new();
    build_info(&registry)?;
    let readiness = Readiness::default();
    let router = server::router(registry.clone(), readiness.clone());
    let works = async {
        let shutdown = shutdown.shared();
        let (mut candidate, tenure) = match lease {
            None => (None, Tenure::endless()),
            Some(lease) => {
                let (candidate, tenure) = Candidate::new(client.clone(), lease);
                (Some(candidate), tenure)
            }
        };
        registry.register(Box::new(tenure.metric()?))?;
        let ended = if elected(candidate.as_mut(), &readiness, shutdown.clone()).await {
            let control =
                controller::run(settings, client, transport, &registry, readiness, tenure, shutdown.clone());
            tokio::select! {
                ended = control => ended,
                lost = lost(candidate.as_mut()) => return Err(lost.into()),
                () = shutdown.clone().then(|()| tokio::time::sleep(LAST_ROUNDS)) => {
                    tracing::warn!("Rounds did not end within {}s. They are cut off.", LAST_ROUNDS.as_secs());
                    // One of them may still write: the lease is left to its end.
                    return Ok(());
                }
            }
        } else {
            Ok(())
        };
        if let Some(candidate) = &mut candidate {
            candidate.release().await;
        }
        ended?;
        // The controllers end by themselves only when told to.
        if shutdown.peek().is_some() { Ok(()) } else { Err(RunError::Controllers) }
    };
    tokio::select! {
        never = server::serve(listener, router) => match never {},
        ended = works => ended,
    }
}

/// Waits for the lease; whether it was got before `shutdown`. A replica that waits is ready: it could do no more.
async fn elected(
    candidate: Option<&mut Candidate>,
    readiness: &Readiness,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let Some(candidate) = candidate else { return true };
    tokio::select! {
        () = shutdown => false,
        () = candidate.elected(|| readiness.set(true)) => {
            readiness.set(false);
            true
        }
    }
}

async fn lost(candidate: Option<&mut Candidate>) -> Lost {
    match candidate {
        Some(candidate) => candidate.lost().await,
        None => pending().await,
    }
}

fn build_info(registry: &Registry) -> Result<(), prometheus::Error> {
    let opts = Opts::new("vaultsync_build_info", "1, with the version of the running binary.");
    let info = IntGaugeVec::new(opts, &["version"])?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    registry.register(Box::new(info))
}
