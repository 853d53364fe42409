//! What a request to the API server carries.

use super::picture::Picture;
use super::render::Rendered;
use super::target::KeyBytes;
use crate::api::Fingerprint;
use std::collections::{BTreeMap, BTreeSet};

/// The bytes of a request, apart from what made them.
type Data = BTreeMap<String, KeyBytes>;

/// What a request to the API server carries, without the bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) keys: BTreeMap<String, Fingerprint>,
    pub(super) removed: BTreeSet<String>,
    /// The labels, annotations and owner, where it carries them.
    pub(super) metadata: Option<Fingerprint>,
    /// Whether it changes owner references.
    pub(super) owners: bool,
    /// Keys that somebody else changed and that it does not restore.
    pub(super) drift: BTreeSet<String>,
    /// Somebody edited one of them for certain.
    pub(super) edited: bool,
    /// What the snapshot made of the Secret, without its bytes; `None` for a request of metadata alone.
    pub(super) rendered: Option<Rendered>,
}

impl Sent {
    /// The bytes of a request, and all else that it carries.
    pub(super) fn of(
        mut rendered: Rendered,
        removed: BTreeSet<String>,
        metadata: Option<Fingerprint>,
        picture: &Picture<'_>,
    ) -> (Data, Self) {
        let set = std::mem::take(&mut rendered.set);
        let mut carried = Self { removed, ..Self::of_metadata(metadata, picture) };
        carried.keys = set.iter().map(|(key, (_, of))| (key.clone(), *of)).collect();
        carried.drift.retain(|key| !carried.keys.contains_key(key) && !carried.removed.contains(key));
        carried.rendered = Some(rendered);
        (set.into_iter().map(|(key, (bytes, _))| (key, bytes)).collect(), carried)
    }

    /// A request of metadata alone.
    pub(super) fn of_metadata(metadata: Option<Fingerprint>, picture: &Picture<'_>) -> Self {
        let record = picture.record.as_ref();
        let drift = record.map(|record| record.drift.clone()).unwrap_or_default();
        Self {
            keys: BTreeMap::new(),
            removed: BTreeSet::new(),
            metadata,
            owners: false,
            drift,
            edited: record.is_some_and(|record| record.edited),
            rendered: None,
        }
    }
}
