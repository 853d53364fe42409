//! The status of a `VaultSecretSync`: what was read, what was written, and how it went.

use super::vaultsecretsync::Deletion;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What vaultsync last did. A cache, never an authority: nothing in it grants a write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultSecretSyncStatus {
    /// The generation of the spec that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the spec is applied and the Secret equals what the vault last told us. `Stalled`: only an edit of
    /// the spec can help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The vault in which the entries were read; another vault means that all is read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub vault: Option<String>,
    /// The revision of vaultsync's rendering with which the Secret was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<i64>,
    /// What was read, one entry a source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub entries: Vec<EntryStatus>,
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
}

/// One source as it was last read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryStatus {
    /// The kind of object in the vault.
    pub kind: EntryKind,
    /// Its name.
    #[schemars(length(max = 127))]
    pub name: String,
    /// Whether the spec pins this version.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pinned: bool,
    /// The version whose value is in the Secret; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// When the vault says that this version was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// When the vault says that this version was last changed. Left out of a version that was written so shortly
    /// after it came that another may have followed: it is read once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Time>,
    /// From when on the vault calls it valid; informational there, delivered here all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// Whether it is the private side of a certificate, so that a grant judges it as that certificate.
    #[serde(default, skip_serializing_if = "is_false")]
    pub managed: bool,
    /// Until when the vault calls it valid; informational there, delivered here all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// `Synced`, `Expired` or `NotYetValid` (all delivered), `Missing` (removed as asked), or the reason why its keys
    /// keep their last value.
    #[schemars(length(max = 64))]
    pub state: String,
}

/// The kinds of source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EntryKind {
    /// A secret of the vault.
    #[default]
    Secret,
}

/// The Secret as vaultsync last wrote or verified it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its uid; a Secret of that name with another uid was swapped.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Its resourceVersion after our last write.
    #[schemars(length(max = 64))]
    pub resource_version: String,
    /// The deletion policy in force on it.
    #[serde(default)]
    pub deletion: Deletion,
    /// The generation of the spec from which it was last rendered.
    #[serde(default)]
    pub generation: i64,
    /// The keys that vaultsync manages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), extend("x-kubernetes-list-type" = "atomic"))]
    pub keys: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}
