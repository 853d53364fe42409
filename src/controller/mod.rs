//! The controllers: the only place that knows both the cluster and the vaults.
//!
//! ```text
//!  objects, KeyVaults, plane's wake-ups, probe timer ──> queue ──> reconcile: gather ─> plan ─> apply ─┐
//!                                                                     ^                                │
//!                                                                     └────── until it settles ────────┴─> report
//! ```

mod api_server;
mod api_status;
mod apply;
mod backoff;
mod check;
mod connections;
mod departures;
mod error;
mod events;
mod index;
mod memory;
mod metrics;
mod objects;
mod probe_pace;
mod reads;
mod reconcile;
mod render_pace;
mod report;
mod rollouts;
mod token_request;
mod triggers;
mod wakes;
mod watch;

pub use api_server::{api_server, client};
pub use check::{CheckError, Checked, Kind, Subject, check};
pub use error::Error;

use crate::api::{ClusterKeyVault, KeyVault, VaultSecretSync};
use crate::lease::Tenure;
use crate::object_key::ObjectKey;
use crate::vault::{Credentials, Limits, Plane, Transport, VaultMetrics};
use api_server::ApiServer;
use clap::ValueEnum;
use connections::{Connections, namespace_labels};
use departures::Departures;
use events::Events;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join, join_all, pending, select_all};
use index::ObjectIndex;
use jiff::Timestamp;
use kube::Client;
use kube::api::Api;
use kube::runtime::reflector::{self, Store, store::Writer};
use memory::Memories;
use metrics::ObjectMetrics;
use namespace_labels::NamespaceLabels;
use prometheus::Registry;
use render_pace::RenderPace;
use rollouts::RolloutPace;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thiserror::Error;
use token_request::TokenRequests;
use triggers::Triggers;

/// What the operator may do to Secrets, by its RBAC. It never reads a value, whatever it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SecretAccess {
    /// Create and patch them.
    #[default]
    Write,
    /// Watch them too, so that an edit is undone at once.
    Watch,
    /// Create and patch those that are named, so they are created by a request that names them.
    Named,
}

/// What the controllers are told to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces to work in; empty: all. Each once, for rounds of one object must not overlap.
    pub namespaces: BTreeSet<String>,
    /// Our own namespace, in which we write no Secrets.
    pub own_namespace: Option<String>,
    /// The policy that fences what we may do to Secrets: what it refuses is not ours.
    pub secrets_policy: Option<String>,
    /// What the operator may do to Secrets.
    pub secret_access: SecretAccess,
    /// How often a target is looked at; zero: never.
    pub drift_interval: Duration,
    /// How many targets may be looked at in a second, over all objects.
    pub drift_probes_per_second: u32,
    /// How long values may go unconfirmed; `None`: three intervals of the object, at least 15 minutes.
    pub stale_after: Option<Duration>,
    /// How long before its end a source is called expiring.
    pub expiring_before: Duration,
    /// Whether every object with a source that ends has a series, rather than those that are expiring.
    pub expiry_metrics: bool,
    /// The floor of every refresh interval.
    pub min_refresh_interval: Duration,
    /// Whether grants may select namespaces by their labels, which takes the right to watch namespaces.
    pub namespace_selectors: bool,
    /// How many `KeyVault`s objects of one namespace may use at once.
    pub max_connections_per_namespace: usize,
    /// How many workloads may be restarted in a minute, over all objects; `None`: none, for there is no right to.
    pub rollouts_per_minute: Option<u32>,
    /// How long to wait before `ClusterKeyVault`s are tried again that could not be watched.
    pub shared_retry: Duration,
    /// What the plane may ask of a vault.
    pub limits: Limits,
    /// What the operator proves identities with that are not ServiceAccounts'.
    pub credentials: Credentials,
    /// Now; the one clock that conditions are dated by.
    pub clock: fn() -> Timestamp,
}

/// What every round shares.
#[derive(Debug)]
struct Context {
    server: ApiServer,
    plane: Plane,
    index: ObjectIndex,
    memories: Memories,
    triggers: Triggers,
    departures: Departures,
    events: Events,
    connections: Connections,
    namespace_labels: NamespaceLabels,
    metrics: ObjectMetrics,
    rollouts: RolloutPace,
    render_pace: RenderPace,
    /// Whether every object that there was at the start had a round.
    all_asked: AtomicBool,
    settings: Settings,
}

impl Context {
    /// Whether the operator leaves a namespace alone: the system's and its own.
    fn ignores(&self, namespace: &str) -> bool {
        namespace == "kube-system" || self.settings.own_namespace.as_deref() == Some(namespace)
    }

    /// Lets go of all that is kept for an object: what it reads, what is remembered of it, its series.
    fn forget(&self, key: &ObjectKey) {
        self.plane.forget(key);
        self.memories.forget(key);
        self.metrics.forget(key);
        self.rollouts.leave(key);
    }

    /// The same, if the object is gone. Whoever kept something for it without the watch calls this afterwards: the
    /// object may have gone meanwhile. Returns whether it has.
    fn forget_if_gone(&self, key: &ObjectKey) -> bool {
        let gone = !self.index.contains(key);
        if gone {
            self.forget(key);
        }
        gone
    }

    /// Whether every object had a round, so that the plane knows what all of them read. Those that come later have nothing to
    /// lose yet.
    fn all_have_asked(&self) -> bool {
        if self.all_asked.load(Ordering::Relaxed) {
            return true;
        }
        let all = self.are_all_objects(|key| self.memories.contains(key));
        self.all_asked.store(all, Ordering::Relaxed);
        all
    }

    /// Whether the watches have shown all objects, and all are like this.
    fn are_all_objects(&self, like: impl Fn(&ObjectKey) -> bool) -> bool {
        self.index.are_all(self.settings.namespaces.len().max(1), like)
    }

    /// Keys of a Secret that several add to are free: whoever waited for one looks.
    fn tell_sharing(&self, key: &ObjectKey, target: &str) {
        for name in self.index.sharing(key, target) {
            let sharer = key.beside(name);
            self.memories.want_probe(sharer.clone());
            self.triggers.object(&sharer);
        }
    }

    fn now(&self) -> Timestamp {
        (self.settings.clock)()
    }
}

/// Whether the watches have shown what there is, or another replica works; the process is ready then.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Whether nothing is missing any more; false until [`run`] has begun.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Says that nothing is missing, or that something is again.
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }
}

/// Why the controllers do not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A metric is registered twice.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// Namespaces may not be read, though grants are to select them.
    #[error(
        "--namespace-selectors is set and the API server does not let vaultsync read namespaces: grant list and watch on namespaces (chart: settings.namespaceSelectors), or leave the flag out"
    )]
    NamespacesForbidden,
}

/// Says that nothing is missing once all of these were shown.
async fn say_ready(shown: Vec<(Store<VaultSecretSync>, Store<KeyVault>)>, readiness: Readiness) {
    for (objects, vaults) in shown {
        let both = join(objects.wait_until_ready(), vaults.wait_until_ready());
        if let (Err(_), _) | (_, Err(_)) = both.await {
            return;
        }
    }
    readiness.set(true);
}

/// Runs the controllers until `shutdown`, letting rounds under way finish. No call of theirs begins but within `tenure`.
///
/// # Errors
/// See [`StartError`].
pub async fn run(
    settings: Settings,
    client: Client,
    transport: Transport,
    registry: &Registry,
    readiness: Readiness,
    tenure: Tenure,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let server = ApiServer::new(client, settings.secrets_policy.clone(), settings.secret_access, tenure);
    let assertions = Arc::new(TokenRequests(server.clone()));
    let vault_metrics = VaultMetrics::new(registry)?;
    let (plane, wakes) = Plane::new(
        settings.limits.clone(),
        transport,
        assertions,
        settings.credentials.clone(),
        vault_metrics,
    );
    let metrics = ObjectMetrics::new(registry, settings.expiry_metrics)?;
    let shutdown = shutdown.shared();
    let scopes: Vec<Option<String>> = if settings.namespaces.is_empty() {
        vec![None]
    } else {
        settings.namespaces.iter().cloned().map(Some).collect()
    };
    let (triggers, triggered, shared) = Triggers::new(&scopes);
    let (departures, departed) = Departures::new();
    let labels = settings.namespace_selectors.then(|| reflector::store().1);
    let context = Arc::new(Context {
        server,
        plane,
        index: ObjectIndex::default(),
        memories: Memories::default(),
        triggers,
        departures,
        events: Events::new(metrics.events_dropped.clone()),
        connections: Connections::default(),
        namespace_labels: NamespaceLabels::new(labels.as_ref().map(Writer::as_reader)),
        metrics,
        rollouts: RolloutPace::new(settings.rollouts_per_minute),
        render_pace: RenderPace::default(),
        all_asked: AtomicBool::new(false),
        settings,
    });
    if context.settings.namespace_selectors && namespace_labels::is_refused(&context).await {
        return Err(StartError::NamespacesForbidden);
    }
    let ending = Arc::clone(&context);
    let client = || context.server.client().clone();
    let mut watches: Vec<BoxFuture<'static, ()>> = Vec::new();
    let (mut shown, mut secrets) = (Vec::new(), Vec::new());
    for (scope, (objects, connections)) in scopes.into_iter().zip(triggered) {
        let (object_store, object_writer) = reflector::store();
        let (vault_store, vault_writer) = reflector::store();
        shown.push((object_store.clone(), vault_store.clone()));
        let (api, vaults) = match &scope {
            None => (Api::all(client()), Api::all(client())),
            Some(namespace) => (Api::namespaced(client(), namespace), Api::namespaced(client(), namespace)),
        };
        if context.settings.secret_access == SecretAccess::Watch {
            let (context, objects) = (Arc::clone(&context), object_store.clone());
            secrets.push(watch::secrets::run(context, scope.clone(), objects).boxed());
        }
        let shutdown = || shutdown.clone();
        watches.push(
            connections::run::<KeyVault>(Arc::clone(&context), vaults, vault_writer, connections, shutdown())
                .boxed(),
        );
        watches.push(
            objects::run(Arc::clone(&context), scope, api, object_writer, vault_store, objects, shutdown())
                .boxed(),
        );
    }
    let writer = reflector::store().1;
    let cluster = connections::run::<ClusterKeyVault>(
        Arc::clone(&context),
        Api::all(client()),
        writer,
        shared,
        shutdown,
    );
    watches.push(cluster.boxed());
    let ready = say_ready(shown, readiness);
    let rounds = join_all(watches).map(|_| ()).shared();
    let published = events::publish(Arc::clone(&context), rounds.clone());
    let mut support = vec![
        join(rounds, published).map(|_| ()).boxed(),
        ready.then(|()| pending()).boxed(),
        wakes::deliver(Arc::clone(&context), wakes).boxed(),
        probe_pace::probe(Arc::clone(&context)).boxed(),
        rollouts::deliver(Arc::clone(&context)).boxed(),
        departures::carry_out(Arc::clone(&context), departed).boxed(),
    ];
    support.append(&mut secrets);
    if let Some(labels) = labels {
        support.push(namespace_labels::run(context, labels).boxed());
    }
    // The first end with the shutdown; the others never do.
    select_all(support).await;
    ending.departures.tell_of_pending(&ending.index);
    Ok(())
}
