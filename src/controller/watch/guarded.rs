//! Objects that may not be understood: one that cannot be decoded must not hide the others of its list.
//!
//! The API server takes more than this binary understands: a status that was edited by hand, a word of a newer
//! release. A status that is not understood is none: it is a cache, and written anew. kube's own guard fails where the
//! metadata is what is not understood, and costs twice as much.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use prometheus::IntGauge;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// An object, or what names the one that was not understood.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Guarded<K>(Result<K, Box<ObjectMeta>>);

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = serde_json::Value::deserialize(deserializer)?;
        let whole = K::deserialize(&value);
        // The error is dropped: it may quote the object.
        let understood =
            whole.or_else(|error| match value.as_object_mut().and_then(|all| all.remove("status")) {
                Some(_) => K::deserialize(&value).inspect(|_| {
                    let (namespace, name) = (text(&value, "namespace"), text(&value, "name"));
                    tracing::debug!(namespace, name, "a status is not understood and is written anew");
                }),
                None => Err(error),
            });
        Ok(Self(understood.map_err(|_| {
            Box::new(ObjectMeta {
                name: text(&value, "name"),
                namespace: text(&value, "namespace"),
                uid: text(&value, "uid"),
                resource_version: text(&value, "resourceVersion"),
                ..ObjectMeta::default()
            })
        })))
    }
}

/// A field of an object's metadata.
fn text(object: &serde_json::Value, field: &str) -> Option<String> {
    object.get("metadata")?.get(field)?.as_str().map(str::to_owned)
}

impl<K> Guarded<K> {
    /// The object, if it was understood.
    pub(in crate::controller) fn understood(self) -> Option<K> {
        self.0.ok()
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(types: &K::DynamicType) -> Cow<'_, str> {
        K::kind(types)
    }

    fn group(types: &K::DynamicType) -> Cow<'_, str> {
        K::group(types)
    }

    fn version(types: &K::DynamicType) -> Cow<'_, str> {
        K::version(types)
    }

    fn plural(types: &K::DynamicType) -> Cow<'_, str> {
        K::plural(types)
    }

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(metadata) => metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(metadata) => metadata,
        }
    }
}

/// Passes on what is understood, names and counts the rest. An object that was understood before stays as it was then
/// for as long as this process lives: what it last asked for is served, like any last-known-good.
#[derive(Debug)]
pub(super) struct Sieve<K: Resource<DynamicType = ()> + 'static> {
    /// What the watch has shown, to find what an object was before.
    shown: Store<K>,
    /// The uids of those that are not understood.
    undecodable: HashSet<String>,
    /// The same, of a list that is not complete yet.
    listed: HashSet<String>,
    gauge: IntGauge,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Sieve<K> {
    pub(super) fn new(shown: Store<K>, gauge: IntGauge) -> Self {
        Self { shown, undecodable: HashSet::new(), listed: HashSet::new(), gauge }
    }

    pub(super) fn pass(&mut self, event: Event<Guarded<K>>) -> Option<Event<K>> {
        let before = self.undecodable.len();
        let passed = match event {
            Event::Init => {
                self.listed.clear();
                Some(Event::Init)
            }
            Event::InitDone => {
                self.undecodable = std::mem::take(&mut self.listed);
                Some(Event::InitDone)
            }
            Event::InitApply(Guarded(Ok(object))) => Some(Event::InitApply(object)),
            Event::InitApply(Guarded(Err(metadata))) => {
                self.listed.insert(metadata.uid.clone().unwrap_or_default());
                self.name(&metadata);
                self.before(&metadata).map(Event::InitApply)
            }
            Event::Apply(Guarded(Ok(object))) => {
                self.is_no_more(object.meta());
                Some(Event::Apply(object))
            }
            Event::Apply(Guarded(Err(metadata))) => {
                self.name(&metadata);
                self.undecodable.insert(metadata.uid.unwrap_or_default());
                None
            }
            Event::Delete(Guarded(Ok(object))) => {
                self.is_no_more(object.meta());
                Some(Event::Delete(object))
            }
            Event::Delete(Guarded(Err(metadata))) => {
                self.is_no_more(&metadata);
                self.before(&metadata).map(Event::Delete)
            }
        };
        let count = |of: usize| i64::try_from(of).unwrap_or(i64::MAX);
        self.gauge.add(count(self.undecodable.len()) - count(before));
        passed
    }

    fn is_no_more(&mut self, metadata: &ObjectMeta) {
        if !self.undecodable.is_empty() {
            self.undecodable.remove(metadata.uid.as_deref().unwrap_or_default());
        }
    }

    /// The object as it was last understood.
    fn before(&self, metadata: &ObjectMeta) -> Option<K> {
        let mut reference = ObjectRef::new(metadata.name.as_deref().unwrap_or_default());
        reference.namespace.clone_from(&metadata.namespace);
        let before = self.shown.get(&reference).filter(|before| before.meta().uid == metadata.uid);
        before.map(Arc::unwrap_or_clone)
    }

    /// Says it once, however often it is shown so.
    fn name(&self, metadata: &ObjectMeta) {
        if !self.undecodable.contains(metadata.uid.as_deref().unwrap_or_default()) {
            let (kind, namespace, name) = (K::kind(&()), &metadata.namespace, &metadata.name);
            tracing::warn!(
                %kind, namespace, name,
                "an object cannot be decoded and is left alone: it has what this release does not know"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::VaultSecretSync;
    use crate::api::{ClusterKeyVault, KeyVault};
    use kube::CustomResourceExt;
    use kube::core::{ObjectList, WatchEvent};
    use kube::runtime::reflector;
    use prometheus::{IntGaugeVec, Opts};
    use serde_json::{Value, json};

    fn object(name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "vaultsync.dev/v1alpha1", "kind": "VaultSecretSync",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "7"},
            "spec": spec,
        })
    }

    fn poisoned(name: &str) -> Value {
        object(name, &json!({"target": {"deletion": "newer"}}))
    }

    fn guarded(object: &Value) -> Guarded<VaultSecretSync> {
        serde_json::from_value(object.clone()).unwrap()
    }

    /// Every field of the kind that takes one of a few words, and one word of each that no release has.
    fn with_new_words<K: CustomResourceExt>() -> Vec<Value> {
        let crd = serde_json::to_value(K::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let mut found = Vec::new();
        for part in ["spec", "status"] {
            let mut paths = Vec::new();
            enums(&schema[part], &mut Vec::new(), &mut paths);
            found.extend(paths.iter().map(|path| {
                let innermost = json!("Newer");
                let value = path.iter().rev().fold(innermost, |value, step| match step.as_str() {
                    "[]" => json!([value]),
                    name => json!({ name: value }),
                });
                json!({ part: value })
            }));
        }
        found
    }

    fn enums(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        if schema["enum"].is_array() {
            found.push(path.clone());
        }
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            path.push(name.clone());
            enums(schema, path, found);
            path.pop();
        }
        if schema["items"].is_object() {
            path.push("[]".to_owned());
            enums(&schema["items"], path, found);
            path.pop();
        }
    }

    fn a_rollback_hides_nothing_of<K: DeserializeOwned + CustomResourceExt>(good: &Value) -> usize {
        let words = with_new_words::<K>();
        for newer in &words {
            let mut object = good.clone();
            merge(&mut object, newer);
            let read: Guarded<K> = serde_json::from_value(object).expect("a list goes on");
            // What a user asks for and is not understood is left alone, or told in a condition; a status is none.
            assert!(read.0.is_ok() || newer["spec"].is_object(), "{newer}");
        }
        words.len()
    }

    fn merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                from.iter().for_each(|(name, value)| merge(into.entry(name).or_insert(Value::Null), value));
            }
            (Value::Array(into), Value::Array(from)) if !into.is_empty() => merge(&mut into[0], &from[0]),
            (into, from) => *into = from.clone(),
        }
    }

    #[test]
    fn a_word_of_a_newer_release_hides_no_object_of_any_kind() {
        let object = |kind: &str, spec: &Value| {
            json!({
                "apiVersion": "vaultsync.dev/v1alpha1", "kind": kind,
                "metadata": {"name": "a", "namespace": "shop", "uid": "a"}, "spec": spec,
            })
        };
        let item = json!({"key": "A", "from": {"secret": {"name": "a"}}});
        let spec = json!({"data": [item], "dataFrom": [{"secret": {"name": "a"}}]});
        assert!(a_rollback_hides_nothing_of::<VaultSecretSync>(&object("VaultSecretSync", &spec)) >= 8);
        let spec = json!({"url": "https://prod.vault.azure.net", "identity": {}, "allow": []});
        assert!(a_rollback_hides_nothing_of::<KeyVault>(&object("KeyVault", &spec)) >= 1);
        assert!(a_rollback_hides_nothing_of::<ClusterKeyVault>(&object("ClusterKeyVault", &spec)) >= 2);
        // Times that no clock of ours can show, and whatever else somebody may have put there.
        for status in [
            json!({"lastChange": "9999-12-31T23:59:59Z"}),
            json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00+99:99"}]}),
            json!({"entries": "none"}),
            json!("nothing"),
        ] {
            let mut object = object("VaultSecretSync", &json!({"data": []}));
            object["status"] = status;
            let read: Guarded<VaultSecretSync> = serde_json::from_value(object).unwrap();
            assert_eq!(read.0.unwrap().status, None);
        }
    }

    #[test]
    fn one_that_is_not_understood_hides_no_other_of_its_list_and_can_be_named() {
        let list = json!({
            "apiVersion": "vaultsync.dev/v1alpha1", "kind": "VaultSecretSyncList", "metadata": {"resourceVersion": "9"},
            "items": [object("a", &json!({})), poisoned("b"), {"metadata": {"name": "c", "managedFields": [{"time": "never"}]}}],
        });
        let list: ObjectList<Guarded<VaultSecretSync>> = serde_json::from_str(&list.to_string()).unwrap();
        let understood: Vec<bool> = list.items.iter().map(|item| item.0.is_ok()).collect();
        assert_eq!(understood, [true, false, false]);
        let metadata = list.items[1].meta();
        assert_eq!((metadata.namespace.as_deref(), metadata.name.as_deref()), (Some("shop"), Some("b")));
        assert_eq!(metadata.resource_version.as_deref(), Some("7"), "a watch goes on from there");
        let event = json!({"type": "MODIFIED", "object": poisoned("b")});
        let event: WatchEvent<Guarded<VaultSecretSync>> = serde_json::from_str(&event.to_string()).unwrap();
        assert!(matches!(event, WatchEvent::Modified(Guarded(Err(_)))));
    }

    #[test]
    fn one_that_was_understood_stays_as_it_was_and_goes_when_it_is_deleted() {
        let gauge = IntGaugeVec::new(Opts::new("undecodable", "-"), &["kind"]).unwrap();
        let gauge = gauge.with_label_values(&["VaultSecretSync"]);
        let (store, mut writer) = reflector::store();
        let mut sieve = Sieve::new(store, gauge.clone());
        let names = |event: Option<Event<VaultSecretSync>>| match event {
            Some(Event::InitApply(object) | Event::Delete(object)) => object.metadata.name,
            _ => None,
        };
        let known = guarded(&object("a", &json!({}))).0.unwrap();
        writer.apply_watcher_event(&Event::Apply(known));
        assert!(sieve.pass(Event::Apply(guarded(&poisoned("a")))).is_none());
        assert_eq!(gauge.get(), 1);
        sieve.pass(Event::Init);
        assert_eq!(names(sieve.pass(Event::InitApply(guarded(&poisoned("a"))))).as_deref(), Some("a"));
        assert_eq!(
            names(sieve.pass(Event::InitApply(guarded(&poisoned("b"))))),
            None,
            "it was never understood"
        );
        sieve.pass(Event::InitDone);
        assert_eq!(gauge.get(), 2);
        assert_eq!(names(sieve.pass(Event::Delete(guarded(&poisoned("a"))))).as_deref(), Some("a"));
        assert_eq!(names(sieve.pass(Event::Delete(guarded(&poisoned("b"))))), None);
        assert_eq!(gauge.get(), 0);
        assert!(sieve.pass(Event::Apply(guarded(&poisoned("a")))).is_none());
        assert!(sieve.pass(Event::Apply(guarded(&object("a", &json!({}))))).is_some());
        assert_eq!(gauge.get(), 0);
    }
}
