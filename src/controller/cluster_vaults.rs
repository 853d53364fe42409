//! The watch of `ClusterKeyVault`s: apart from all others, for an operator may lack the right to it, and a cluster the
//! kind. Then nothing else is disturbed; it is tried again, slowly.

use super::{Context, cluster_vault, watch};
use crate::api::{ClusterKeyVault, READY, condition};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, predicates};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;

/// Their number is small, their reports few.
const CONCURRENCY: u16 = 4;
/// A check that the API server did not answer is made again after this time.
const NO_ANSWER: Duration = Duration::from_secs(5);

/// What the watch has shown.
#[derive(Debug, Default)]
pub(super) struct ClusterVaults(RwLock<State>);

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Unknown,
    Unreadable(Unreadable),
    Shown {
        store: Store<ClusterKeyVault>,
        reports: UnboundedSender<ObjectRef<ClusterKeyVault>>,
    },
}

/// Why the kind cannot be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The CustomResourceDefinition is not installed.
    NoKind,
    /// RBAC does not allow it.
    NoRight,
}

impl Unreadable {
    /// What the user of such a connection is told.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::NoKind => {
                "the CustomResourceDefinition clusterkeyvaults.vaultsync.dev is not installed. Have it installed, or use a KeyVault of this namespace."
            }
            Self::NoRight => {
                "vaultsync may not read ClusterKeyVaults; an install that is limited to namespaces never may. Use a KeyVault of this namespace, or have list and watch of clusterkeyvaults granted to vaultsync."
            }
        }
    }

    fn of(error: &kube::Error) -> Option<Self> {
        match error {
            kube::Error::Api(status) if status.code == 404 => Some(Self::NoKind),
            kube::Error::Api(status) if status.code == 403 => Some(Self::NoRight),
            _ => None,
        }
    }
}

/// What is known of one name.
pub(super) enum Lookup {
    /// Nothing yet.
    Unknown,
    /// The kind cannot be watched.
    Unreadable(Unreadable),
    /// There is none of this name.
    Missing,
    /// Here it is.
    Found(Arc<ClusterKeyVault>),
}

impl ClusterVaults {
    /// Looks a name up.
    pub(super) fn find(&self, name: &str) -> Lookup {
        match self.state() {
            State::Unknown => Lookup::Unknown,
            State::Unreadable(why) => Lookup::Unreadable(why),
            State::Shown { store, .. } => {
                store.get(&ObjectRef::new(name)).map_or(Lookup::Missing, Lookup::Found)
            }
        }
    }

    /// Whether one says that it is Ready.
    pub(super) fn is_ready(&self, name: &str) -> bool {
        let Lookup::Found(vault) = self.find(name) else { return false };
        let ready = vault.status.as_ref().and_then(|status| condition(&status.conditions, READY));
        ready.is_some_and(|ready| ready.status == "True")
    }

    /// All there are.
    pub(super) fn all(&self) -> Vec<Arc<ClusterKeyVault>> {
        match self.state() {
            State::Shown { store, .. } => store.state(),
            State::Unknown | State::Unreadable(_) => Vec::new(),
        }
    }

    /// Has a connection looked at.
    pub(super) fn report(&self, name: &str) {
        if let State::Shown { reports, .. } = self.state() {
            // A closed queue is a watch that was given up.
            reports.unbounded_send(ObjectRef::new(name)).ok();
        }
    }

    fn state(&self) -> State {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: State) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Watches until `shutdown`, as long and as often as the API server lets us.
pub(super) async fn watch_all(
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) {
    loop {
        let why = match check(&context).await {
            Ok(()) => watch_until_refused(&context, shutdown.clone()).await,
            Err(why) => why,
        };
        let wait = match why {
            Some(why) => {
                give_up(&context, why);
                context.settings.shared_retry
            }
            None => NO_ANSWER,
        };
        let wait = std::pin::pin!(tokio::time::sleep(wait));
        let end = std::pin::pin!(shutdown.clone());
        if let futures::future::Either::Right(_) = futures::future::select(wait, end).await {
            return;
        }
    }
}

/// Whether the kind can be listed. `Err(None)`: the API server did not say.
async fn check(context: &Context) -> Result<(), Option<Unreadable>> {
    let api: Api<ClusterKeyVault> = Api::all(context.server.client().clone());
    match context.server.call(api.list_metadata(&ListParams::default().limit(1))).await {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(Unreadable::of(&error)),
        None => Err(None),
    }
}

fn give_up(context: &Context, why: Unreadable) {
    if !matches!(context.cluster_vaults.state(), State::Unreadable(before) if before == why) {
        // An install that is limited to namespaces is in order; its log says it once.
        tracing::info!("ClusterKeyVaults are not served: {}", why.sentence());
    }
    context.cluster_vaults.set(State::Unreadable(why));
    wake_all(context);
}

fn wake_all(context: &Context) {
    for object in context.index.all_cluster_users(None) {
        context.triggers.object(&object);
    }
}

/// Runs the watch; returns why it ended, or `None` for the shutdown.
async fn watch_until_refused(
    context: &Arc<Context>,
    shutdown: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) -> Option<Unreadable> {
    let api: Api<ClusterKeyVault> = Api::all(context.server.client().clone());
    let (store, writer) = reflector::store();
    let (reports, queue) = unbounded();
    let refused = Arc::new(Notify::new());
    let (refusal, why) = (Arc::clone(&refused), Arc::new(RwLock::new(None)));
    let why_of_stream = Arc::clone(&why);
    let mut effects =
        Effects { context: Arc::clone(context), store: store.clone(), reports, known: HashMap::new() };
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|vault| vault.managed_fields_mut().clear())
        .inspect_err(move |error| {
            if let Some(reason) = refusal_of(error) {
                *why_of_stream.write().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                refusal.notify_one();
            }
        })
        .reflect(writer)
        // Behind the store: whoever is woken sees what woke it.
        .inspect_ok(move |event| effects.of(event))
        .applied_objects()
        .predicate_filter(predicates::generation, PredicateConfig::default());
    let shown = store.clone();
    let controller = Controller::for_stream(stream, store)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(queue)
        .graceful_shutdown_on(shutdown.clone())
        .run(cluster_vault::reconcile, super::keyvault::after_error, Arc::clone(context))
        .for_each(|result| {
            watch::log_watch(&result);
            std::future::ready(())
        });
    // Told to stop before the API server has shown what there is: a controller would wait for it for ever.
    let stopped = async {
        tokio::select! {
            _ = shown.wait_until_ready() => std::future::pending().await,
            () = shutdown => {}
        }
    };
    tokio::select! {
        () = controller => {}
        () = refused.notified() => {}
        () = stopped => {}
    }
    *why.read().unwrap_or_else(PoisonError::into_inner)
}

fn refusal_of(error: &watcher::Error) -> Option<Unreadable> {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            Unreadable::of(error)
        }
        _ => None,
    }
}

/// What an event of the watch means for others.
struct Effects {
    context: Arc<Context>,
    store: Store<ClusterKeyVault>,
    reports: UnboundedSender<ObjectRef<ClusterKeyVault>>,
    /// Uid and generation: what changes without them is status, which is no news for objects.
    known: HashMap<String, (Option<String>, Option<i64>)>,
}

impl Effects {
    fn of(&mut self, event: &Event<ClusterKeyVault>) {
        match event {
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => {
                let (store, reports) = (self.store.clone(), self.reports.clone());
                self.context.cluster_vaults.set(State::Shown { store, reports });
                wake_all(&self.context);
            }
            Event::Apply(vault) => {
                let now = (vault.uid(), vault.metadata.generation);
                if self.known.insert(vault.name_any(), now.clone()) != Some(now) {
                    self.wake(&vault.name_any());
                }
            }
            Event::Delete(vault) => {
                self.known.remove(&vault.name_any());
                self.wake(&vault.name_any());
            }
        }
    }

    fn wake(&self, name: &str) {
        for object in self.context.index.cluster_users(name) {
            self.context.triggers.object(&object);
        }
    }
}
