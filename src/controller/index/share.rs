//! Who writes a Secret, and what objects have in Secrets that are another's.

use super::ObjectIndex;
use crate::api::{Deletion, VaultSecretSync};
use crate::object_key::ObjectKey;
use std::collections::BTreeSet;
use std::sync::Arc;

/// An object that is gone, of which keys may be in a Secret that is another's and are to go too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Departure {
    pub(in crate::controller) key: ObjectKey,
    pub(in crate::controller) target: Arc<str>,
    /// The keys that its status named.
    pub(in crate::controller) keys: Vec<String>,
}

/// What an object has to do with a Secret that is another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Share {
    /// The keys that its status names.
    pub(super) recorded: Vec<String>,
    /// Those that its spec names.
    pub(super) named: Vec<String>,
    /// Whether they go with it.
    pub(super) deletion: Deletion,
}

impl ObjectIndex {
    /// The objects that have this target.
    pub(in crate::controller) fn claiming(&self, target: &ObjectKey) -> Vec<ObjectKey> {
        let inner = self.lock();
        let claims = inner.claims.get(target).into_iter().flatten();
        claims.map(|(.., name)| target.beside(Arc::clone(name))).collect()
    }

    /// The targets of a scope that are there as far as status tells, and are not another's.
    pub(in crate::controller) fn owned_targets(&self, scope: Option<&str>) -> Vec<ObjectKey> {
        let inner = self.lock();
        let within = |key: &ObjectKey| scope.is_none_or(|namespace| *namespace == *key.namespace);
        let owned =
            inner.objects.iter().filter(|(key, entry)| within(key) && entry.probed && entry.share.is_none());
        owned.map(|(key, entry)| entry.target_of(key)).collect()
    }

    /// The other objects that add keys to a Secret, beside the one of this key.
    pub(in crate::controller) fn sharing(&self, key: &ObjectKey, target: &str) -> Vec<String> {
        self.lock().sharing(key, target).map(ToString::to_string).collect()
    }

    /// The keys that these want in the Secret, or have there.
    pub(in crate::controller) fn shared_keys(&self, key: &ObjectKey, target: &str) -> BTreeSet<String> {
        let inner = self.lock();
        let entries =
            inner.sharing(key, target).filter_map(|name| inner.objects.get(&key.beside(Arc::clone(name))));
        let shares = entries.filter_map(|entry| entry.share.as_deref());
        shares.flat_map(|share| share.recorded.iter().chain(&share.named)).cloned().collect()
    }
}

impl Share {
    pub(in crate::controller) fn of(object: &VaultSecretSync) -> Option<Self> {
        let target = &object.spec.target;
        let status = object.status.as_ref().and_then(|status| status.target.as_ref());
        target.merges().then(|| Self {
            recorded: status.iter().flat_map(|target| target.key_names()).map(str::to_owned).collect(),
            named: object.spec.named_keys().map(str::to_owned).collect(),
            deletion: target.deletion,
        })
    }

    /// The keys that the object wants in the Secret, or has there.
    pub(in crate::controller) fn into_keys(self) -> impl Iterator<Item = String> {
        self.recorded.into_iter().chain(self.named)
    }
}
