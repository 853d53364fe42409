//! The watch of Secrets, where the operator may read them: whoever edits or deletes one of ours has it brought back at once.
//!
//! Of each only the metadata is asked for, and of it only the name and the resourceVersion are used. Whoever reads a Secret by
//! this right could read its values too, which is why it is a mode of its own.

use super::watch_labelled;
use crate::api::{MANAGED_BY_LABEL, MANAGER, VaultSecretSync};
use crate::controller::Context;
use crate::object_key::ObjectKey;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Watches the Secrets of a scope (a namespace, or all) for ever, once its `objects` are known.
pub(in crate::controller) async fn run(
    context: Arc<Context>,
    scope: Option<String>,
    objects: Store<VaultSecretSync>,
) {
    // Before that it is not known whose a Secret is. The writer lives as long as the process works.
    objects.wait_until_ready().await.ok();
    let client = context.server.client().clone();
    let api: Api<PartialObjectMeta<Secret>> = match &scope {
        None => Api::all(client),
        Some(namespace) => Api::namespaced(client, namespace),
    };
    let shown = watch_labelled(api, &format!("{MANAGED_BY_LABEL}={MANAGER}"));
    let mut shown = std::pin::pin!(shown);
    let mut listed = BTreeSet::new();
    while let Some(event) = shown.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(secret)) => {
                let target = key_of(&secret);
                moved(&context, &target, secret.metadata.resource_version.as_deref());
                listed.insert(target);
            }
            Ok(Event::InitDone) => {
                // What went while nobody watched.
                for target in context.index.owned_targets(scope.as_deref()) {
                    if !listed.contains(&target) {
                        moved(&context, &target, None);
                    }
                }
                listed.clear();
            }
            Ok(Event::Apply(secret)) => {
                moved(&context, &key_of(&secret), secret.metadata.resource_version.as_deref());
            }
            Ok(Event::Delete(secret)) => moved(&context, &key_of(&secret), None),
            Err(_) => {}
        }
    }
}

fn key_of(secret: &PartialObjectMeta<Secret>) -> ObjectKey {
    let name = |name: &Option<String>| Arc::from(name.as_deref().unwrap_or_default());
    ObjectKey { namespace: name(&secret.metadata.namespace), name: name(&secret.metadata.name) }
}

/// Has the objects look that have this Secret, unless it is as they left it; `version`: at which it is, if it is there.
fn moved(context: &Context, target: &ObjectKey, version: Option<&str>) {
    for object in context.index.claiming(target) {
        if context.memories.target_moved(&object, version) {
            context.triggers.object(&object);
        }
    }
}
