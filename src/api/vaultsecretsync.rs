//! `VaultSecretSync`: one target Secret, built from one vault.
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct, pub and all, inside a private block")]

use super::data_from::DataFrom;
use super::rollout::RolloutSpec;
use super::secret_type::SecretType;
use super::status::VaultSecretSyncStatus;
use super::vault_ref::VaultRef;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One Kubernetes Secret kept equal to what is in an Azure Key Vault.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "vaultsync.dev",
    version = "v1alpha1",
    kind = "VaultSecretSync",
    namespaced,
    status = "VaultSecretSyncStatus",
    shortname = "vss",
    category = "vaultsync",
    derive = "PartialEq",
    doc = "One Kubernetes Secret kept equal to what is in an Azure Key Vault.",
    selectable = ".spec.vaultRef.name",
    selectable = ".spec.target.name",
    validation = (
        "(has(self.spec.target) && has(self.spec.target.name) ? self.spec.target.name : self.metadata.name) == (has(oldSelf.spec.target) && has(oldSelf.spec.target.name) ? oldSelf.spec.target.name : oldSelf.metadata.name)",
        "spec.target.name cannot change: create a second VaultSecretSync, move the consumers to its Secret, then delete this one"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Vault", type_ = "string", json_path = ".status.vault"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.target.name"),
    printcolumn(name = "Last Change", type_ = "date", json_path = ".status.lastChange"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "(has(self.data) && size(self.data) > 0) || (has(self.dataFrom) && size(self.dataFrom) > 0)",
        "spec needs at least one entry in data or dataFrom"
    ),
    validation = (
        "(has(self.target) && has(self.target.type) ? self.target.type : 'Opaque') == (has(oldSelf.target) && has(oldSelf.target.type) ? oldSelf.target.type : 'Opaque')",
        "spec.target.type cannot change, for a Secret's type cannot: create a second VaultSecretSync, move the consumers to its Secret, then delete this one"
    ),
    validation = (
        "!has(self.target) || !has(self.target.type) || self.target.type != 'kubernetes.io/tls' || (has(self.dataFrom) && size(self.dataFrom) > 0) || (has(self.data) && self.data.exists(d, d.key == 'tls.crt') && self.data.exists(d, d.key == 'tls.key'))",
        "a target of type kubernetes.io/tls needs the keys tls.crt and tls.key in data"
    ),
    validation = (
        "!has(self.target) || !has(self.target.type) || self.target.type != 'kubernetes.io/dockerconfigjson' || (has(self.dataFrom) && size(self.dataFrom) > 0) || (has(self.data) && self.data.exists(d, d.key == '.dockerconfigjson'))",
        "a target of type kubernetes.io/dockerconfigjson needs the key .dockerconfigjson in data"
    ),
    validation = (
        "!has(self.target) || !has(self.target.type) || self.target.type != 'kubernetes.io/basic-auth' || (has(self.dataFrom) && size(self.dataFrom) > 0) || (has(self.data) && self.data.exists(d, d.key == 'username' || d.key == 'password'))",
        "a target of type kubernetes.io/basic-auth needs the key username or password in data"
    ),
    validation = (
        "!has(self.target) || !has(self.target.type) || self.target.type != 'kubernetes.io/ssh-auth' || (has(self.dataFrom) && size(self.dataFrom) > 0) || (has(self.data) && self.data.exists(d, d.key == 'ssh-privatekey'))",
        "a target of type kubernetes.io/ssh-auth needs the key ssh-privatekey in data"
    )
)]
pub struct VaultSecretSyncSpec {
    /// The connection that reads the vault. Default: the KeyVault named `default` of this namespace.
    #[serde(default)]
    pub vault_ref: VaultRef,

    /// The staleness that this object accepts: a change in the vault is in the Secret after at most this time. A
    /// duration from 10s to 24h. Where `minRefreshInterval` of the connection is longer, that counts, and
    /// `status.refreshInterval` says so. Default: `5m`.
    #[serde(default = "default_refresh_interval")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = (
        r"self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && size(self) > 0 && duration(self) >= duration('10s') && duration(self) <= duration('24h')",
        "refreshInterval must be a duration from 10s to 24h, as in 30s, 5m or 1h30m"
    ))]
    pub refresh_interval: String,

    /// `true` stops reading and writing; the Secret stays as it is. Default: `false`.
    #[serde(default)]
    pub suspend: bool,

    /// The keys of the Secret, one source each. Beats `dataFrom` where both give a key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub data: Vec<DataItem>,

    /// Sources that give many keys at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub data_from: Vec<DataFrom>,

    /// The Secret to write. Default: an Opaque Secret of this object's name, deleted with it.
    #[serde(default)]
    pub target: Target,

    /// The workloads that are restarted when the Secret has changed, so that they see the new values. Never at the first sync,
    /// nor when this is added to an object. Needs an operator that may (chart: `rollouts.enabled`). Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutSpec>,
}

/// One key of the Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataItem {
    /// The key in the Secret: letters, digits, `-`, `_` and `.`. Example: `DATABASE_URL`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..')",
        "key must consist of letters, digits, '-', '_' and '.', and neither be '.' nor begin with '..', as in DATABASE_URL or tls.crt"
    ))]
    pub key: String,
    /// Where its value comes from.
    pub from: From,
    /// What happens to the key while its source, or the property in it, does not exist: `Keep` (default) keeps the
    /// last value and reports it, `Remove` removes the key. A key that the type of the Secret needs is never removed.
    #[serde(default)]
    pub on_missing: OnMissing,
}

/// A source of one value; exactly one field is set.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct From {
    /// A secret of the vault.
    pub secret: SecretRef,
}

/// A secret of the vault, or a part of it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The name of the secret in the vault. Example: `shop-db-url`.
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = (
        "self.matches('^[0-9a-zA-Z-]+$')",
        "name must be the name of a secret in the vault: letters, digits and '-', as in shop-db-url"
    ))]
    pub name: String,
    /// One version of it, 32 hexadecimal digits; it is read once. Default: the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = (
        "self.matches('^[0-9a-f]{32}$')",
        "version must be the 32 hexadecimal digits that end the secret's id; leave it out for the current version"
    ))]
    pub version: Option<String>,
    /// A part of a value that is JSON, as a singular JSONPath (RFC 9535): names and indexes, no `..`, filter or
    /// wildcard. A string is taken raw, anything else as compact JSON, `null` counts as absent. Default: the whole
    /// value. Example: `$.connection.password` or `$['user-name']`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = (
        r#"self.matches('^[$]([.][A-Za-z_][A-Za-z0-9_]*|\\[-?[0-9]{1,6}\\]|\\[\'[^\'\\\\]+\'\\]|\\["[^"\\\\]+"\\])+$')"#,
        r#"property must be a singular JSONPath of names and indexes, as in $.token, $.hosts[0] or $["user-name"]"#
    ))]
    pub property: Option<String>,
    /// How the value is decoded, after `property`: `None` (default), `Base64`, `Base64Url`, `Hex`, or `Auto` (padded Base64
    /// of sixteen characters or more in one line, else unchanged; a text that only looks like that is decoded too).
    #[serde(default)]
    pub decode: Decode,
}

/// How a value is decoded before it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Decode {
    /// Written as it is.
    #[default]
    None,
    /// Standard Base64, with or without padding.
    Base64,
    /// URL-safe Base64, with or without padding.
    Base64Url,
    /// Pairs of hexadecimal digits.
    Hex,
    /// Padded Base64 of sixteen characters or more in one line, else unchanged.
    Auto,
}

/// What happens to a key whose source is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnMissing {
    /// The key keeps its last value and the object says what is missing.
    #[default]
    Keep,
    /// The key is removed.
    Remove,
}

/// The Secret that is written.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The name of the Secret; cannot change. Default: the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "target.name must be a name for a Secret: lower-case letters, digits, '-' and '.'"
    ))]
    pub name: Option<String>,
    /// The type of the Secret; cannot change. `Opaque` (default) takes any keys; `kubernetes.io/tls` needs `tls.crt` and
    /// `tls.key`, `kubernetes.io/dockerconfigjson` needs `.dockerconfigjson`, `kubernetes.io/ssh-auth` needs
    /// `ssh-privatekey`; `kubernetes.io/basic-auth` is for `username` and `password`. Any other that somebody made up is taken
    /// too, as `fstab/cifs`, but those that Kubernetes or Helm trust: `kubernetes.io/service-account-token`, and whatever begins
    /// with `bootstrap.kubernetes.io/` or `helm.sh/`.
    #[serde(default, rename = "type")]
    #[x_kube(validation = (
        "self.matches('^[A-Za-z0-9]([-A-Za-z0-9._/]*[A-Za-z0-9])?$') && self != 'kubernetes.io/service-account-token' && !self.startsWith('bootstrap.kubernetes.io/') && !self.startsWith('helm.sh/')",
        "target.type must be Opaque, kubernetes.io/tls or another type of letters, digits and '-._/'; kubernetes.io/service-account-token and types that begin with bootstrap.kubernetes.io/ or helm.sh/ are never written"
    ))]
    pub type_: SecretType,
    /// Labels for the Secret. Default: none. Nothing is ever copied from this object's own labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    #[x_kube(
        validation = (
            "self.all(k, k.size() <= 253 && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && self[k].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'))",
            "target.labels must be valid labels, as in app.kubernetes.io/part-of: shop"
        ),
        validation = (
            "self.all(k, !k.startsWith('vaultsync.dev/') && k != 'app.kubernetes.io/managed-by')",
            "target.labels cannot set vaultsync.dev/* or app.kubernetes.io/managed-by, which vaultsync sets itself"
        )
    )]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the Secret. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    #[x_kube(
        validation = (
            "self.all(k, k.size() <= 253 && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
            "target.annotations must have valid keys, as in reloader.stakater.com/match"
        ),
        validation = (
            "self.all(k, !k.startsWith('vaultsync.dev/'))",
            "target.annotations cannot set vaultsync.dev/*, which vaultsync sets itself"
        )
    )]
    pub annotations: BTreeMap<String, String>,
    /// What happens to the Secret when this object is deleted: `Delete` (default, by an ownerReference) or `Retain`.
    #[serde(default)]
    pub deletion: Deletion,
}

/// What happens to the Secret when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Deletion {
    /// The garbage collector deletes it with the object.
    #[default]
    Delete,
    /// It stays, mark and all.
    Retain,
}

impl VaultSecretSync {
    /// The name of the Secret this object writes.
    #[must_use]
    pub fn target_name(&self) -> &str {
        self.spec.target.name.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }

    /// Whether status speaks of the spec as it is.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.observed_generation == self.metadata.generation)
    }

    /// The value of the annotation that asks for a sync, if any, as far as status has room for it.
    #[must_use]
    pub fn sync_requested(&self) -> Option<&str> {
        let asked = self.metadata.annotations.as_ref()?.get(super::SYNC_REQUESTED_ANNOTATION)?;
        let end = asked.char_indices().nth(MAX_REQUEST).map_or(asked.len(), |(end, _)| end);
        asked.get(..end)
    }
}

/// So many characters `status.lastHandledSync` may have.
const MAX_REQUEST: usize = 1024;

fn default_refresh_interval() -> String {
    "5m".to_owned()
}
