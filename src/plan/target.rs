//! The target Secret: what the API server showed of it, whether it is still as we left it, and what to write.
//!
//! Nothing here sees a value that is in the cluster: the probe answers with metadata alone, and `managedFields` tell
//! which manager last moved which key.

mod claim;
mod refusal;

use crate::api::{Deletion, SecretType, TargetStatus, VaultSecretSync, field_manager};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::LazyLock;
use zeroize::Zeroizing;

pub(super) use claim::our_owners;
pub use refusal::Refusal;

/// What is known of the target in this round.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Nothing was asked yet; status may remember something.
    Remembered,
    /// A write said that what we remember is not what is there: look before writing again.
    Changed,
    /// There is none.
    Absent,
    /// The probe showed one that carries our mark, or consents to be taken over or added to.
    Ours(Observed),
    /// Written in this round.
    Written(Written),
    /// Not to be written.
    Refused(Refusal),
}

/// A write that succeeded.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The Secret after it.
    pub after: Observed,
    /// Created, rather than changed.
    pub created: bool,
    /// Whether its bytes moved (a patch of equal bytes moves nothing).
    pub moved: bool,
}

/// The metadata of a Secret, as a write or a probe answers it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The Secret's uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its owners.
    pub owners: Vec<OwnerReference>,
    /// The managers of each key of `data`.
    pub keys: BTreeMap<String, BTreeSet<String>>,
    /// When each manager last moved anything.
    pub moved_at: BTreeMap<String, Timestamp>,
    /// The labels that our manager set.
    pub our_labels: BTreeSet<String>,
    /// The annotations that our manager set.
    pub our_annotations: BTreeSet<String>,
    /// Nobody had moved it since we last looked: what moved did so with the look itself.
    pub unmoved: bool,
}

impl Observed {
    /// Reads metadata for the object whose field manager is `manager`.
    #[must_use]
    pub fn of(metadata: &ObjectMeta, manager: &str) -> Self {
        let mut observed = Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            labels: metadata.labels.clone().unwrap_or_default(),
            annotations: metadata.annotations.clone().unwrap_or_default(),
            owners: metadata.owner_references.clone().unwrap_or_default(),
            ..Self::default()
        };
        for entry in metadata.managed_fields.iter().flatten() {
            let Some(fields) = entry.fields_v1.as_ref().map(|fields| &fields.0) else { continue };
            let name = entry.manager.clone().unwrap_or_default();
            if let Some(time) = entry.time.as_ref().map(|time| time.0) {
                let last = observed.moved_at.entry(name.clone()).or_insert(time);
                *last = time.max(*last);
            }
            for key in names(fields.get("f:data")) {
                observed.keys.entry(key).or_default().insert(name.clone());
            }
            if name == manager {
                let own = |part| names(fields.get("f:metadata").and_then(|metadata| metadata.get(part)));
                observed.our_labels.extend(own("f:labels"));
                observed.our_annotations.extend(own("f:annotations"));
            }
        }
        observed
    }

    /// Whether nothing is said of who wrote what, as after somebody cleared `managedFields`.
    #[must_use]
    pub(super) fn is_untracked(&self) -> bool {
        self.moved_at.is_empty()
    }

    /// The keys that `manager` wrote last.
    #[must_use]
    pub fn keys_of(&self, manager: &str) -> BTreeSet<String> {
        self.keys
            .iter()
            .filter(|(_, managers)| managers.contains(manager))
            .map(|(key, _)| key.clone())
            .collect()
    }
}

/// The names below a part of `fieldsV1`.
fn names(fields: Option<&serde_json::Value>) -> impl Iterator<Item = String> {
    fields
        .and_then(serde_json::Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, _)| name.strip_prefix("f:").map(str::to_owned))
}

/// What we saw right after our own last write or check: any later difference is somebody else's doing.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The hash of the Secret's uid.
    uid: u64,
    /// Its resourceVersion then.
    pub resource_version: String,
    /// The hashes of each key and of its managers then, in the order of the first; names would cost ten times as much,
    /// and one of these is kept for each object.
    keys: Box<[(u64, u64)]>,
    /// When our manager had last moved anything then.
    ours: Option<Timestamp>,
    /// The hash of when each other manager had.
    others: u64,
}

impl Verified {
    /// What is remembered of `observed` by the object whose field manager is `manager`.
    #[must_use]
    pub fn of(observed: &Observed, manager: &str) -> Self {
        let mut keys: Box<[_]> =
            observed.keys.iter().map(|(key, managers)| (hash(key.as_str()), hash(managers))).collect();
        keys.sort_unstable();
        Self {
            uid: hash(observed.uid.as_str()),
            resource_version: observed.resource_version.clone(),
            keys,
            ours: observed.moved_at.get(manager).copied(),
            others: hash(&moved_by_others(observed, manager)),
        }
    }

    /// Whether this speaks of the Secret of this uid, not of another of the same name.
    #[must_use]
    pub fn is_of(&self, uid: &str) -> bool {
        self.uid == hash(uid)
    }

    /// Whether the key had these managers then.
    fn agrees(&self, key: &str, managers: Option<&BTreeSet<String>>) -> bool {
        let at = self.keys.binary_search_by_key(&hash(key), |(known, _)| *known).ok();
        at.and_then(|at| self.keys.get(at)).map(|(_, then)| *then) == managers.map(hash)
    }
}

/// A hash by a key that only this process has: nobody can choose names so that two differ and their hashes do not.
fn hash<T: Hash + ?Sized>(of: &T) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEY.hash_one(of)
}

fn moved_by_others<'a>(observed: &'a Observed, manager: &str) -> Vec<(&'a String, &'a Timestamp)> {
    observed.moved_at.iter().filter(|(name, _)| *name != manager).collect()
}

/// A record, or that there is none, as this process last said or met it, for it to be known again.
pub(super) fn hash_of_record(recorded: Option<&TargetStatus>) -> u64 {
    hash(&recorded.map(|recorded| {
        let keys: Vec<_> = recorded.keys.iter().map(|key| (&key.name, key.of)).collect();
        (
            &recorded.uid,
            &recorded.resource_version,
            keys,
            &recorded.data_from,
            recorded.metadata,
            recorded.deletion == Deletion::Retain,
        )
    }))
}

/// Whether the Secret was moved under our own manager's name since we verified it: by another operator, as an old
/// leader that does not know of its successor. It may have written an older value over a newer one, and a key's managers
/// do not show that. Times have whole seconds, so where nobody else's moved it was under our name too.
#[must_use]
pub(super) fn overtaken(
    observed: &Observed,
    verified: Option<&Verified>,
    recorded: &TargetStatus,
    manager: &str,
) -> bool {
    let ours = observed.moved_at.get(manager);
    match verified.filter(|verified| verified.is_of(&observed.uid)) {
        Some(verified) => {
            observed.resource_version != verified.resource_version
                && (ours != verified.ours.as_ref()
                    || hash(&moved_by_others(observed, manager)) == verified.others)
        }
        // After a restart status alone remembers: a write of ours before it may not have been said.
        None => recorded.written.as_ref().is_some_and(|written| {
            let others = moved_by_others(observed, manager);
            let explained = others.iter().any(|(_, at)| **at >= written.0);
            observed.resource_version != recorded.resource_version && (ours != Some(&written.0) || !explained)
        }),
    }
}

/// The recorded keys that are not in the Secret as they were recorded, or may not be.
///
/// With a `verified` picture any difference of a key's managers counts, which also catches a key that equals the
/// vault and was therefore never recorded as ours; of such a key the managers' times count too. Without one (after a
/// restart) our own entry must name each key, unless the resourceVersion is still the one we wrote. Where nobody is
/// named at all, or we were [overtaken], every key is in doubt. And whether somebody edited one of them for certain.
#[must_use]
pub(super) fn drifted(
    observed: &Observed,
    verified: Option<&Verified>,
    recorded: &TargetStatus,
    manager: &str,
) -> (BTreeSet<String>, bool) {
    let verified = verified.filter(|verified| verified.is_of(&observed.uid));
    let last_seen = verified.map_or(&recorded.resource_version, |verified| &verified.resource_version);
    if [last_seen, &recorded.resource_version].contains(&&observed.resource_version) {
        return (BTreeSet::new(), false);
    }
    let all = observed.is_untracked() || overtaken(observed, verified, recorded, manager);
    let others_moved = |verified: &Verified| hash(&moved_by_others(observed, manager)) != verified.others;
    let edited = |key: &&str| {
        let managers = observed.keys.get(*key);
        let ours = managers.is_some_and(|managers| managers.contains(manager));
        verified
            .map_or(!ours, |verified| !verified.agrees(key, managers) || (!ours && others_moved(verified)))
    };
    let edited: BTreeSet<String> = recorded.key_names().filter(edited).map(str::to_owned).collect();
    let certain = !edited.is_empty() && !observed.is_untracked();
    (if all { recorded.key_names().map(str::to_owned).collect() } else { edited }, certain)
}

/// The bytes of one key. Cannot be printed; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBytes(Zeroizing<Vec<u8>>);

impl KeyBytes {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place that writes them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A Secret to create.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSecret {
    /// Its type.
    pub type_: SecretType,
    /// Its labels, ours included.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, the mark included.
    pub annotations: BTreeMap<String, String>,
    /// The object, with `deletion: Delete`.
    pub owner: Option<OwnerReference>,
    /// Its keys; never empty.
    pub data: BTreeMap<String, KeyBytes>,
}

/// A change of a Secret that is ours. It names what changes and nothing else, so that what it does not name cannot
/// be lost; there is no way to write "no data" in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// The uid it was planned against; another one is refused by the API server.
    pub uid: String,
    /// The resourceVersion it was planned against; a stale writer is refused.
    pub resource_version: String,
    /// Keys to set.
    pub set: BTreeMap<String, KeyBytes>,
    /// Keys to remove.
    pub remove: BTreeSet<String>,
    /// Labels to set, or to remove where `None`.
    pub labels: BTreeMap<String, Option<String>>,
    /// Annotations to set, or to remove where `None`.
    pub annotations: BTreeMap<String, Option<String>>,
    /// An ownerReference to add.
    pub add_owner: Option<OwnerReference>,
    /// The uids of ownerReferences to remove.
    pub drop_owners: Vec<String>,
}

impl Change {
    /// Whether it adds or removes owner references.
    #[must_use]
    pub(super) fn moves_owners(&self) -> bool {
        self.add_owner.is_some() || !self.drop_owners.is_empty()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
            && self.remove.is_empty()
            && self.labels.is_empty()
            && self.annotations.is_empty()
            && !self.moves_owners()
    }
}

/// The field manager of an object's Secret.
#[must_use]
pub fn manager_of(object: &VaultSecretSync) -> String {
    field_manager(object.metadata.name.as_deref().unwrap_or_default())
}
