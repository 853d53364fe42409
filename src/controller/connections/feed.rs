//! The watch of one kind of connection: it keeps the store, wakes whom a change concerns, and feeds the controller that
//! writes their status.

use super::described::ConnectionKind;
use super::status::{after_error, reconcile};
use super::store::Unreadable;
use crate::api::{REMOVAL_CONFIRMED_ANNOTATION, fnv1a};
use crate::controller::Context;
use crate::controller::index::VaultKey;
use crate::controller::watch::{Guarded, News, until_told, watch};
use crate::object_key::ObjectKey;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt as _, TryStreamExt as _, future};
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{ObjectRef, store::Writer};
use kube::runtime::watcher::Event;
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

/// Statuses under way at once.
const CONCURRENCY: u16 = 16;

/// Watches until `shutdown`. What is sent to `queue` is looked at.
pub(in crate::controller) async fn run<K: ConnectionKind>(
    context: Arc<Context>,
    api: Api<Guarded<K>>,
    writer: Writer<K>,
    queue: UnboundedReceiver<VaultKey>,
    shutdown: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) {
    let store = writer.as_reader();
    let mut feed = Feed {
        context: Arc::clone(&context),
        news: News::new(|vault: &K| {
            let metadata = vault.meta();
            let confirmed =
                metadata.annotations.as_ref().and_then(|all| all.get(REMOVAL_CONFIRMED_ANNOTATION));
            fnv1a(format!("{:?} {confirmed:?}", metadata.generation).as_bytes())
        }),
        shown: BTreeSet::new(),
        listed: BTreeSet::new(),
    };
    let refused = Arc::clone(&context);
    // The kind that an operator may lack the right to, and a cluster the definition of: asked again, slowly.
    let after_refusal = K::SHARED.then_some(context.settings.shared_retry);
    let vaults = watch(api, store.clone(), &context.metrics, after_refusal)
        .modify(|vault| vault.meta_mut().managed_fields = None)
        .inspect_err(move |error| {
            if let Some(why) = Unreadable::of(error).filter(|_| K::SHARED) {
                give_up(&refused, why);
            }
        })
        .reflect(writer)
        .try_filter_map(move |event| future::ready(Ok(feed.pass(event))))
        .filter(|vault| future::ready(vault.is_ok()));
    let queue = queue.map(|key| {
        let reference = ObjectRef::new(&key.name);
        match &key.namespace {
            Some(namespace) => reference.within(namespace),
            None => reference,
        }
    });
    let controller = Controller::for_stream(vaults, store.clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(queue)
        .graceful_shutdown_on(shutdown.clone())
        .run(reconcile, after_error, context)
        .for_each(|_| future::ready(()));
    until_told(controller, store, shutdown).await;
}

fn give_up(context: &Context, why: Unreadable) {
    if context.connections.shared_are_unreadable(why) {
        // An install that is limited to namespaces is in order; its log says it once.
        tracing::info!("ClusterKeyVaults are not served: {}", why.sentence());
        wake(context, context.index.all_cluster_users(None));
    }
}

fn wake(context: &Context, objects: Vec<ObjectKey>) {
    for object in objects {
        context.triggers.object(&object);
    }
}

/// What the watch means for others.
struct Feed<K> {
    context: Arc<Context>,
    news: News<K>,
    /// What the watch has shown.
    shown: BTreeSet<VaultKey>,
    /// What a list has shown that is not complete yet.
    listed: BTreeSet<VaultKey>,
}

impl<K: ConnectionKind> Feed<K> {
    /// Takes an event in; returns a connection whose status is to be looked at.
    fn pass(&mut self, event: Event<K>) -> Option<K> {
        let is_news = self.news.is_news(&event);
        if let Event::InitApply(vault) = &event {
            self.listed.insert(vault.key());
        }
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(vault) | Event::Apply(vault) => {
                let key = vault.key();
                self.context.connections.keep(&key, &vault, self.context.now());
                if is_news {
                    // Its status is none for its objects.
                    wake(&self.context, self.context.index.users(&key));
                }
                self.shown.insert(key);
                return is_news.then_some(vault);
            }
            Event::Delete(vault) => self.is_gone(&vault.key()),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                for key in std::mem::replace(&mut self.shown, listed.clone()).difference(&listed) {
                    self.is_gone(key);
                }
                if K::SHARED && self.context.connections.shared_are_shown() {
                    wake(&self.context, self.context.index.all_cluster_users(None));
                }
            }
        }
        None
    }

    fn is_gone(&mut self, key: &VaultKey) {
        self.shown.remove(key);
        self.context.connections.remove(key);
        wake(&self.context, self.context.index.users(key));
    }
}
