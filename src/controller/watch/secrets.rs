//! The watch of Secrets, where the operator may read them: whoever edits or deletes one of ours has it brought back at once.
//!
//! Of each only the metadata is asked for, and of it only the name and the resourceVersion are used. Whoever reads a Secret by
//! this right could read its values too, which is why it is a mode of its own.

use super::watch_labelled;
use crate::api::{MANAGED_BY_LABEL, MANAGER, VaultSecretSync};
use crate::controller::Context;
use crate::object_key::ObjectKey;
use crate::vault::doubled;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    let (mut listed, mut repairs) = (BTreeSet::new(), Repairs::default());
    let mut later = FuturesUnordered::new();
    loop {
        let (target, version) = tokio::select! {
            Some(object) = later.next() => {
                context.triggers.object(&object);
                continue;
            }
            event = shown.next() => match event {
                None => return std::future::pending().await,
                Some(Ok(Event::Init)) => {
                    listed.clear();
                    continue;
                }
                Some(Ok(Event::InitApply(secret))) => {
                    listed.insert(key_of(&secret));
                    (key_of(&secret), secret.metadata.resource_version)
                }
                Some(Ok(Event::InitDone)) => {
                    // What went while nobody watched.
                    let owned = context.index.owned_targets(scope.as_deref()).into_iter();
                    for object in owned.filter(|target| !listed.contains(target)).flat_map(|target| moved(&context, &target, None)) {
                        context.triggers.object(&object);
                    }
                    listed.clear();
                    continue;
                }
                Some(Ok(Event::Apply(secret))) => (key_of(&secret), secret.metadata.resource_version),
                Some(Ok(Event::Delete(secret))) => (key_of(&secret), None),
                Some(Err(_)) => continue,
            },
        };
        for object in moved(&context, &target, version.as_deref()) {
            let wait = repairs.wait(&object, Instant::now());
            if wait.is_zero() {
                context.triggers.object(&object);
            } else {
                later.push(async move {
                    tokio::time::sleep(wait).await;
                    object
                });
            }
        }
    }
}

fn key_of(secret: &PartialObjectMeta<Secret>) -> ObjectKey {
    let name = |name: &Option<String>| Arc::from(name.as_deref().unwrap_or_default());
    ObjectKey { namespace: name(&secret.metadata.namespace), name: name(&secret.metadata.name) }
}

/// The objects that have this Secret and did not leave it so; `version`: at which it is, if it is there.
fn moved(context: &Context, target: &ObjectKey, version: Option<&str>) -> Vec<ObjectKey> {
    let mut objects = context.index.claiming(target);
    objects.retain(|object| context.memories.target_moved(object, version));
    objects
}

/// How soon an object looks at its Secret again: one that somebody rewrites without end is repaired less and less often, down to
/// once a minute.
#[derive(Debug, Default)]
struct Repairs(HashMap<ObjectKey, (Instant, u32)>);

impl Repairs {
    /// The first and the longest time between two looks of one object that was just repaired.
    const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

    /// How long from `now` until the object is to look.
    fn wait(&mut self, object: &ObjectKey, now: Instant) -> Duration {
        let pause = |looks: u32| doubled(Self::PAUSES, looks);
        // Whoever was left alone for twice its pause begins anew.
        self.0.retain(|_, (at, looks)| now < *at + 2 * pause(*looks));
        let Some((at, looks)) = self.0.get_mut(object) else {
            self.0.insert(object.clone(), (now, 0));
            return Duration::ZERO;
        };
        let next = *at + pause(*looks);
        if next <= now {
            (*at, *looks) = (now, looks.saturating_add(1));
            return Duration::ZERO;
        }
        next - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_undone_at_once_and_one_after_the_other_less_and_less_often() {
        let (mut repairs, start) = (Repairs::default(), Instant::now());
        let (object, other) = (ObjectKey::new("shop", "shop"), ObjectKey::new("shop", "other"));
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..9 {
            // Somebody rewrites it as soon as it is repaired.
            assert_eq!(repairs.wait(&object, now), Duration::ZERO);
            now += Duration::from_millis(1);
            let wait = repairs.wait(&object, now);
            waits.push(wait.as_secs_f64().round());
            now += wait;
        }
        assert_eq!(waits, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
        assert_eq!(repairs.wait(&other, now), Duration::ZERO);
        now += Duration::from_secs(200);
        assert_eq!(repairs.wait(&object, now), Duration::ZERO);
        assert_eq!(repairs.0.len(), 1, "what is quiet is forgotten");
    }
}
