//! The status of a `VaultSecretSync`: what was read, what was written, and how it went.

use super::fingerprint::Fingerprint;
use super::rollout::RolloutStatus;
use super::vault_ref::VaultKind;
use super::vaultsecretsync::Deletion;
use crate::reason::Reason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// What vaultsync last did. A cache, never an authority: nothing in it grants a write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultSecretSyncStatus {
    /// The generation of the spec that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the spec is applied and the Secret equals what the vault last told us. `Stalled`: only an edit of
    /// the spec can help. `RolledOut`: with `spec.rollout`, whether the workloads have what is in the Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The vault in which the entries were read that name no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 261))]
    pub vault: Option<String>,
    /// How often the sources are read, where `minRefreshInterval` of the connection or `--min-refresh-interval` makes that
    /// less often than `spec.refreshInterval` asks. Example: `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub refresh_interval: Option<Box<str>>,
    /// What the vault last told of each source. What is in the Secret stands in `target.keys`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub entries: Vec<EntryStatus>,
    /// How many secrets `find` has found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 256))]
    pub matched: Option<u16>,
    /// The Secret that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,
    /// When the Secret last moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<Time>,
    /// The value of the annotation `vaultsync.dev/sync-requested-at` that was last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_handled_sync: Option<String>,
    /// What the workloads of `spec.rollout` were last restarted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
}

/// One source as it was last read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryStatus {
    /// The kind of object in the vault: `Secret` (a certificate's private side too), or `Key`.
    pub kind: EntryKind,
    /// Its name.
    #[schemars(length(max = 127))]
    pub name: String,
    /// The connection that reads it, where that is another than the one of `status.vault`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<Box<EntryVault>>,
    /// The version that the spec asks for, as it says it, where that is not the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub pin: Option<Box<str>>,
    /// The version that the vault last told. Absent before the first answer, and while the source is `Missing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// When the vault says that this version was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// When the vault says that this version was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Time>,
    /// From when on the vault calls it valid. It is delivered all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// Whether it is the private side of a certificate, so that a grant judges it as that certificate.
    #[serde(default, skip_serializing_if = "is_false")]
    pub managed: bool,
    /// Until when the vault calls it valid. It is delivered all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// The places in `spec.dataFrom` of each `find` that found it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub found_by: Vec<u8>,
    /// Up to four members of a JSON object whose names cannot be keys of a Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "atomic"))]
    pub invalid_keys: Vec<String>,
    /// Since when its removal is held, with those of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since: Option<Time>,
    /// `Synced`, `Expiring`, `Expired`, `NotYetValid` or `IncompleteChain` (all in the Secret), `Pending` (read, but not in the Secret yet: Ready says
    /// why), `Missing` (its keys were removed, as `onMissing: Remove` asks), or the reason why its keys keep their
    /// last value.
    pub state: EntryState,
}

impl EntryStatus {
    /// Since when its removal is held; `None`: it is not, or it is not clear yet whether many are.
    #[must_use]
    pub fn removal_held(&self) -> Option<&Time> {
        let held = self.state == EntryState::Because(Reason::RemovalHeld);
        self.held_since.as_ref().filter(|_| held)
    }
}

/// A connection that an entry names, and the vault that it led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryVault {
    /// The kind of the connection, `KeyVault` or `ClusterKeyVault`.
    pub kind: VaultKind,
    /// The name of the connection.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The vault in which the entry was read.
    #[schemars(length(max = 261))]
    pub url: String,
}

/// How a source fares. A word that this release does not know reads as `Unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryState {
    /// Every key that it gives is in the Secret, as this version has it.
    Synced,
    /// As `Synced`; the version expires within `--expiring-before`.
    Expiring,
    /// As `Synced`; the vault calls the version expired.
    Expired,
    /// As `Synced`; the vault calls the version not yet valid.
    NotYetValid,
    /// As `Synced`; the certificate comes without its issuer, so that most clients will not trust it.
    IncompleteChain,
    /// Nothing is wrong with it, but its value is not in the Secret yet.
    Pending,
    /// It does not exist, and its keys were removed as the spec asks.
    Missing,
    /// Its keys keep their last value, for this reason.
    Because(Reason),
    /// Nothing that this release understands.
    #[default]
    Unknown,
}

impl EntryState {
    /// The word in status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::Expiring => "Expiring",
            Self::Expired => "Expired",
            Self::NotYetValid => "NotYetValid",
            Self::IncompleteChain => "IncompleteChain",
            Self::Pending => "Pending",
            Self::Missing => "Missing",
            Self::Because(reason) => reason.as_str(),
            Self::Unknown => "Unknown",
        }
    }

    fn parse(word: &str) -> Self {
        const WORDS: [EntryState; 7] = [
            EntryState::Synced,
            EntryState::Expiring,
            EntryState::Expired,
            EntryState::NotYetValid,
            EntryState::IncompleteChain,
            EntryState::Pending,
            EntryState::Missing,
        ];
        WORDS
            .into_iter()
            .find(|state| state.as_str() == word)
            .or_else(|| word.parse().ok().map(Self::Because))
            .unwrap_or_default()
    }
}

impl fmt::Display for EntryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EntryState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EntryState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer).map(|word| Self::parse(&word))
    }
}

impl JsonSchema for EntryState {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EntryState".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 64})
    }
}

/// The kinds of source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EntryKind {
    /// A secret of the vault.
    #[default]
    Secret,
    /// A key of the vault.
    Key,
}

/// The Secret as vaultsync last wrote or verified it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its uid.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Its resourceVersion after our last write.
    #[schemars(length(max = 64))]
    pub resource_version: String,
    /// When vaultsync last changed it, by the clock of the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Time>,
    /// The deletion policy in force on it: `Delete` or `Retain`.
    #[serde(default)]
    pub deletion: Deletion,
    /// The fingerprint of the labels, annotations and deletion policy that were last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Fingerprint>,
    /// The keys that vaultsync manages, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub keys: Vec<KeyStatus>,
    /// The fingerprints of the `dataFrom` sources whose keys are in the Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub data_from: Vec<Fingerprint>,
}

impl TargetStatus {
    /// The names of the keys that vaultsync manages.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.name.as_str())
    }
}

/// A key of the Secret that vaultsync manages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The fingerprint of what made its value: vault, source, version, property and decoding. Absent where somebody
    /// else changed the key since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<Fingerprint>,
}

impl<'de> Deserialize<'de> for KeyStatus {
    /// Reads the bare names of an earlier release too: what made such a key is not known.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Bare(String),
            Recorded {
                name: String,
                #[serde(default)]
                of: Option<Fingerprint>,
            },
        }
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Bare(name) => Self { name, of: None },
            Stored::Recorded { name, of } => Self { name, of },
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}
