//! What objects have in Secrets that are another's.

use crate::api::{Deletion, VaultSecretSync};
use crate::object_key::ObjectKey;
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
