//! The watch of `ClusterKeyVault`s: apart from all others, for an operator may lack the right to it, and a cluster the
//! kind. Then nothing else is disturbed; it is tried again, slowly.

use super::watch::{News, refusal, watch};
use super::{Context, cluster_vault};
use crate::api::{ClusterKeyVault, READY, condition, fnv1a};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, predicates};
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

/// Their number is small, their reports few.
const CONCURRENCY: u16 = 4;

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

    fn of(error: &watcher::Error) -> Option<Self> {
        match refusal(error)? {
            404 => Some(Self::NoKind),
            _ => Some(Self::NoRight),
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

/// Watches until `shutdown`. While the API server refuses the first list, it is asked again, slowly; what was shown once
/// stands whatever follows.
pub(super) async fn run(
    context: Arc<Context>,
    shutdown: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) {
    let api = Api::all(context.server.client().clone());
    let (store, writer) = reflector::store();
    let (reports, queue) = unbounded();
    let refused = Arc::clone(&context);
    let mut effects = Effects {
        context: Arc::clone(&context),
        store: store.clone(),
        reports,
        news: News::new(|vault| fnv1a(format!("{:?}", vault.metadata.generation).as_bytes())),
    };
    let stream = watch(api, store.clone(), &context.metrics, Some(context.settings.shared_retry))
        .modify(|vault: &mut ClusterKeyVault| vault.managed_fields_mut().clear())
        .inspect_err(move |error| {
            if let Some(why) = Unreadable::of(error) {
                give_up(&refused, why);
            }
        })
        .reflect(writer)
        // Behind the store: whoever is woken sees what woke it.
        .inspect_ok(move |event| effects.of(event))
        .applied_objects()
        .predicate_filter(predicates::generation, PredicateConfig::default())
        .filter(|vault| std::future::ready(vault.is_ok()));
    let shown = store.clone();
    let controller = Controller::for_stream(stream, store)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(queue)
        .graceful_shutdown_on(shutdown.clone())
        .run(cluster_vault::reconcile, super::keyvault::after_error, context)
        .for_each(|_| std::future::ready(()));
    // Told to stop before the API server has shown what there is: a controller would wait for it for ever.
    let stopped = async {
        tokio::select! {
            _ = shown.wait_until_ready() => std::future::pending().await,
            () = shutdown => {}
        }
    };
    tokio::select! {
        () = controller => {}
        () = stopped => {}
    }
}

fn give_up(context: &Context, why: Unreadable) {
    match context.cluster_vaults.state() {
        State::Shown { .. } => return,
        State::Unreadable(before) if before == why => return,
        _ => {}
    }
    // An install that is limited to namespaces is in order; its log says it once.
    tracing::info!("ClusterKeyVaults are not served: {}", why.sentence());
    context.cluster_vaults.set(State::Unreadable(why));
    wake_all(context);
}

fn wake_all(context: &Context) {
    for object in context.index.all_cluster_users(None) {
        context.triggers.object(&object);
    }
}

/// What an event of the watch means for others.
struct Effects {
    context: Arc<Context>,
    store: Store<ClusterKeyVault>,
    reports: UnboundedSender<ObjectRef<ClusterKeyVault>>,
    news: News<ClusterKeyVault>,
}

impl Effects {
    fn of(&mut self, event: &Event<ClusterKeyVault>) {
        let is_news = self.news.is_news(event);
        match event {
            Event::InitDone => {
                let (store, reports) = (self.store.clone(), self.reports.clone());
                self.context.cluster_vaults.set(State::Shown { store, reports });
                wake_all(&self.context);
            }
            Event::Apply(vault) | Event::Delete(vault) if is_news => self.wake(&vault.name_any()),
            _ => {}
        }
    }

    fn wake(&self, name: &str) {
        for object in self.context.index.cluster_users(name) {
            self.context.triggers.object(&object);
        }
    }
}
