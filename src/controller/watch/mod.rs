//! The watches of one scope (a namespace, or the whole cluster) and the controllers they feed.

mod guarded;
mod news;
mod stream;

pub(super) use news::News;
pub(super) use stream::{refusal, watch};

use super::index::key_of;
use super::triggers::Triggered;
use super::{Context, Readiness, keyvault, reconcile};
use crate::api::{KeyVault, SYNC_REQUESTED_ANNOTATION, VaultSecretSync, fnv1a};
use futures::future::{self, Either};
use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _};
use kube::api::Api;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, predicates};
use kube::{Resource, ResourceExt as _};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Rounds under way at once in a scope; as many as calls to the API server may be.
const CONCURRENCY: u16 = 16;

/// The watches of one scope, before they run.
pub(super) struct Watch {
    scope: Option<String>,
    objects: (Store<VaultSecretSync>, Writer<VaultSecretSync>),
    vaults: (Store<KeyVault>, Writer<KeyVault>),
}

impl Watch {
    pub(super) fn new(scope: Option<String>) -> Self {
        Self { scope, objects: reflector::store(), vaults: reflector::store() }
    }

    /// What the watch of connections has shown.
    pub(super) fn vault_store(&self) -> Store<KeyVault> {
        self.vaults.0.clone()
    }

    /// Runs until `shutdown`, letting rounds under way finish.
    pub(super) async fn run(
        self,
        context: Arc<Context>,
        triggered: Triggered,
        readiness: Readiness,
        shutdown: impl Future<Output = ()> + Clone + Send + Sync + 'static,
    ) {
        let (object_store, object_writer) = self.objects;
        let (vault_store, vault_writer) = self.vaults;
        let of_objects = Arc::clone(&context);
        let scope = self.scope.clone();
        let objects = stream::<VaultSecretSync>(&context, self.scope.as_deref(), object_store.clone())
            .map_ok(|event| map(event, pruned))
            .inspect_ok(move |event| observe(&of_objects, scope.as_deref(), event))
            .reflect(object_writer)
            .try_filter_map({
                let mut news = News::new(work);
                move |event| {
                    let is_news = news.is_news(&event);
                    future::ready(Ok(match event {
                        Event::Apply(object) | Event::InitApply(object) if is_news => Some(bare(object)),
                        _ => None,
                    }))
                }
            })
            // A controller that hears of an error serves nothing for a while.
            .filter(|object| future::ready(object.is_ok()));
        let of_vaults = Arc::clone(&context);
        let vaults = stream::<KeyVault>(&context, self.scope.as_deref(), vault_store.clone())
            .inspect_ok(move |event| wake_users(&of_vaults, event))
            .reflect(vault_writer)
            .applied_objects()
            .predicate_filter(predicates::generation, PredicateConfig::default())
            .filter(|vault| future::ready(vault.is_ok()));
        let ready = ready_after(readiness.clone(), object_store.clone(), vault_store.clone());
        // Objects before their connections would be told that there is none.
        let vaults_shown = vault_store.clone();
        let config = Config::default().concurrency(CONCURRENCY);
        let woken = triggered.objects.map(|key| ObjectRef::new(&key.name).within(&key.namespace));
        let object_controller = async {
            vaults_shown.wait_until_ready().await.ok();
            Controller::for_stream(objects, object_store)
                .with_config(config.clone())
                .reconcile_on(woken)
                .graceful_shutdown_on(shutdown.clone())
                .run(reconcile::reconcile, reconcile::after_error, Arc::clone(&context))
                .for_each(|_| future::ready(()))
                .await;
        };
        let vault_controller = Controller::for_stream(vaults, vault_store)
            .with_config(config.clone())
            .reconcile_on(triggered.vaults)
            .graceful_shutdown_on(shutdown.clone())
            .run(keyvault::reconcile, keyvault::after_error, Arc::clone(&context))
            .for_each(|_| future::ready(()));
        let controllers = async { futures::join!(object_controller, vault_controller) };
        futures::pin_mut!(ready, controllers);
        let shown = future::select(ready, shutdown.clone().boxed());
        match future::select(shown, controllers).await {
            // Readiness never ends the controllers; the shutdown does, once the rounds under way are done.
            Either::Left((Either::Left(_), controllers)) => {
                controllers.await;
            }
            // Told to stop before the API server has shown what there is: nothing is under way, and a controller
            // would wait for it for ever.
            Either::Left((Either::Right(_), _)) | Either::Right(_) => {}
        }
    }
}

/// What is shown of a kind in a scope.
fn stream<K>(
    context: &Context,
    scope: Option<&str>,
    shown: Store<K>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static + use<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let client = context.server.client().clone();
    let api = match scope {
        None => Api::all(client),
        Some(namespace) => Api::namespaced(client, namespace),
    };
    watch(api, shown, &context.metrics, None).modify(|object| object.managed_fields_mut().clear())
}

fn map<K>(event: Event<K>, f: impl Fn(K) -> K) -> Event<K> {
    match event {
        Event::Apply(object) => Event::Apply(f(object)),
        Event::Delete(object) => Event::Delete(f(object)),
        Event::InitApply(object) => Event::InitApply(f(object)),
        other => other,
    }
}

/// What is kept of an object in memory: all that a round reads, and nothing else.
pub(super) fn pruned(mut object: VaultSecretSync) -> VaultSecretSync {
    let metadata = &mut object.metadata;
    metadata.managed_fields = None;
    metadata.labels = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| name == SYNC_REQUESTED_ANNOTATION);
    }
    // A list that was read from JSON has room for four items, and mostly one.
    object.spec.data.shrink_to_fit();
    object.spec.data_from.shrink_to_fit();
    if let Some(status) = &mut object.status {
        status.conditions.shrink_to_fit();
        status.entries.shrink_to_fit();
        if let Some(target) = &mut status.target {
            target.keys.shrink_to_fit();
        }
    }
    object
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
    for key in change.wake {
        context.triggers.object(&key);
    }
}

/// A connection that came, changed or went is news for its objects; its status is not.
fn wake_users(context: &Context, event: &Event<KeyVault>) {
    let (Event::Apply(vault) | Event::InitApply(vault) | Event::Delete(vault)) = event else { return };
    let (namespace, name) = (vault.namespace().unwrap_or_default(), vault.name_any());
    let unchanged = !matches!(event, Event::Delete(_))
        && context.vault(&namespace, &name).is_some_and(|old| {
            old.metadata.generation == vault.metadata.generation && old.metadata.uid == vault.metadata.uid
        });
    if !unchanged {
        for object in context.index.users(&namespace, &name) {
            context.triggers.object(&object);
        }
    }
}

async fn ready_after(readiness: Readiness, objects: Store<VaultSecretSync>, vaults: Store<KeyVault>) {
    if vaults.wait_until_ready().await.is_ok() {
        readiness.missing.fetch_sub(1, Ordering::AcqRel);
    }
    if objects.wait_until_ready().await.is_ok() {
        readiness.missing.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
