//! The watch of objects of one scope (a namespace, or the whole cluster): it keeps the index and feeds the controller of
//! their rounds.

use super::index::key_of;
use super::memory::pruned;
use super::watch::{Guarded, News, until_told, watch};
use super::{Context, reconcile};
use crate::api::{KeyVault, VaultSecretSync, fnv1a};
use crate::object_key::ObjectKey;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt as _, TryStreamExt as _, future};
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::Event;
use std::future::Future;
use std::sync::Arc;

/// Rounds under way at once in a scope; as many as calls to the API server may be.
const CONCURRENCY: u16 = 16;

/// Watches until `shutdown`, letting rounds under way finish. What is sent to `queue` is looked at.
pub(super) async fn run(
    context: Arc<Context>,
    scope: Option<String>,
    api: Api<Guarded<VaultSecretSync>>,
    writer: Writer<VaultSecretSync>,
    connections: Store<KeyVault>,
    queue: UnboundedReceiver<ObjectKey>,
    shutdown: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) {
    let store = writer.as_reader();
    let observed = Arc::clone(&context);
    let mut news = News::new(work);
    let objects = watch(api, store.clone(), &context.metrics, None)
        .map_ok(|event| map(event, pruned))
        .inspect_ok(move |event| observe(&observed, scope.as_deref(), event))
        .reflect(writer)
        .try_filter_map(move |event| {
            let is_news = news.is_news(&event);
            future::ready(Ok(match event {
                Event::Apply(object) | Event::InitApply(object) if is_news => Some(bare(object)),
                _ => None,
            }))
        })
        .filter(|object| future::ready(object.is_ok()));
    let queue = queue.map(|key| ObjectRef::new(&key.name).within(&key.namespace));
    let controller = Controller::for_stream(objects, store.clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(queue)
        .graceful_shutdown_on(shutdown.clone())
        .run(reconcile::reconcile, reconcile::after_error, context)
        .for_each(|_| future::ready(()));
    let controller = async {
        // Objects before their connections would be told that there is none.
        connections.wait_until_ready().await.ok();
        controller.await;
    };
    until_told(controller, store, shutdown).await;
}

fn map<K>(event: Event<K>, f: impl Fn(K) -> K) -> Event<K> {
    match event {
        Event::Apply(object) => Event::Apply(f(object)),
        Event::Delete(object) => Event::Delete(f(object)),
        Event::InitApply(object) => Event::InitApply(f(object)),
        other => other,
    }
}

/// The controller takes the name of what it is shown, and keeps it twice for as long as the object lives: with uid and
/// resourceVersion, of which it makes no use, if it has them.
fn bare(mut object: VaultSecretSync) -> VaultSecretSync {
    object.metadata.uid = None;
    object.metadata.resource_version = None;
    object
}

/// What changes the work of an object: not labels, not other annotations, not status, unless somebody takes it away.
fn work(object: &VaultSecretSync) -> u64 {
    let metadata = &object.metadata;
    let says_nothing = object.status.as_ref().is_none_or(|status| status.conditions.is_empty());
    let of =
        (metadata.generation, object.sync_requested(), metadata.deletion_timestamp.is_some(), says_nothing);
    fnv1a(format!("{of:?}").as_bytes())
}

/// Keeps the index, and lets go of what is gone.
fn observe(context: &Context, scope: Option<&str>, event: &Event<VaultSecretSync>) {
    if let Event::Apply(object) = event {
        context
            .memories
            .shown(&key_of(object), object.metadata.resource_version.as_deref().unwrap_or_default());
    }
    let change = context.index.observe(scope, event);
    for key in change.gone {
        context.forget(&key);
    }
    for departure in change.departures {
        context.departures.begin(departure);
    }
    for key in change.wake {
        context.triggers.object(&key);
    }
    for vault in change.held {
        context.triggers.connection(&vault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SYNC_REQUESTED_ANNOTATION;
    use serde_json::json;

    #[test]
    fn labels_are_no_work_and_another_spec_a_request_a_deletion_and_a_lost_status_are() {
        let object = json!({
            "apiVersion": "vaultsync.dev/v1alpha1", "kind": "VaultSecretSync",
            "metadata": {"name": "shop", "generation": 1}, "spec": {"data": []},
        });
        let of = |patch: serde_json::Value| {
            let mut object = object.clone();
            for (field, value) in patch.as_object().unwrap() {
                object["metadata"][field] = value.clone();
            }
            work(&serde_json::from_value(object).unwrap())
        };
        let before = of(json!({}));
        assert_eq!(of(json!({"labels": {"team": "shop"}, "resourceVersion": "9"})), before);
        assert_ne!(of(json!({"generation": 2})), before);
        assert_ne!(of(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})), before);
        assert_ne!(of(json!({"annotations": {SYNC_REQUESTED_ANNOTATION: "1"}})), before);
    }
}
