//! `VaultSecretSync`: one target Secret, built from one vault or several.
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct, pub and all, inside a private block")]

use super::certificate::TlsSpec;
use super::data_from::DataFrom;
use super::from::From;
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
        "(has(self.data) && size(self.data) > 0) || (has(self.dataFrom) && size(self.dataFrom) > 0) || has(self.tls)",
        "spec needs at least one entry in data or dataFrom, or tls"
    ),
    validation = (
        "(has(self.target) && has(self.target.type) ? self.target.type : has(self.tls) ? 'kubernetes.io/tls' : 'Opaque') == (has(oldSelf.target) && has(oldSelf.target.type) ? oldSelf.target.type : has(oldSelf.tls) ? 'kubernetes.io/tls' : 'Opaque')",
        "spec.target.type cannot change, for a Secret's type cannot, and spec.tls means kubernetes.io/tls: create a second VaultSecretSync, move the consumers to its Secret, then delete this one"
    ),
    validation = (
        "(has(self.target) && has(self.target.creation) && self.target.creation == 'Merge') == (has(oldSelf.target) && has(oldSelf.target.creation) && oldSelf.target.creation == 'Merge')",
        "spec.target.creation cannot change to or from Merge: create a second VaultSecretSync, then delete this one"
    ),
    validation = (
        "!has(self.target) || !has(self.target.creation) || self.target.creation != 'Merge' || !(has(self.tls) || has(self.target.type) || has(self.target.labels) || has(self.target.annotations))",
        "spec.target.creation: Merge adds keys to a Secret that somebody else makes: leave target.type, labels and annotations out, and take the parts of a certificate by from.certificate in data instead of spec.tls"
    ),
    validation = (
        "!has(self.tls) || !has(self.target) || !has(self.target.type) || self.target.type == 'kubernetes.io/tls'",
        "spec.tls makes a Secret of type kubernetes.io/tls: leave target.type out, or take the parts of the certificate by from.certificate in data"
    ),
    validation = (
        "!has(self.tls) || !has(self.data) || !self.data.exists(d, d.key == 'tls.crt' || d.key == 'tls.key' || (has(self.tls.caKey) && d.key == self.tls.caKey))",
        "spec.tls gives tls.crt, tls.key and the key that caKey names: remove them from data"
    ),
    validation = (
        "!has(self.target) || !has(self.target.type) || self.target.type != 'kubernetes.io/tls' || has(self.tls) || (has(self.target.template) && 'tls.crt' in self.target.template && 'tls.key' in self.target.template) || (has(self.dataFrom) && size(self.dataFrom) > 0) || (has(self.data) && self.data.exists(d, d.key == 'tls.crt') && self.data.exists(d, d.key == 'tls.key'))",
        "a target of type kubernetes.io/tls needs spec.tls, or the keys tls.crt and tls.key in data"
    ),
    validation = (
        "!has(self.target) || !has(self.target.type) || self.target.type != 'kubernetes.io/dockerconfigjson' || (has(self.target.template) && '.dockerconfigjson' in self.target.template) || (has(self.dataFrom) && size(self.dataFrom) > 0) || (has(self.data) && self.data.exists(d, d.key == '.dockerconfigjson'))",
        "a target of type kubernetes.io/dockerconfigjson needs the key .dockerconfigjson in data or target.template"
    ),
    validation = (
        "!has(self.target) || !has(self.target.type) || self.target.type != 'kubernetes.io/basic-auth' || (has(self.target.template) && ('username' in self.target.template || 'password' in self.target.template)) || (has(self.dataFrom) && size(self.dataFrom) > 0) || (has(self.data) && self.data.exists(d, d.key == 'username' || d.key == 'password'))",
        "a target of type kubernetes.io/basic-auth needs the key username or password in data or target.template"
    ),
    validation = (
        "!has(self.target) || !has(self.target.type) || self.target.type != 'kubernetes.io/ssh-auth' || (has(self.target.template) && 'ssh-privatekey' in self.target.template) || (has(self.dataFrom) && size(self.dataFrom) > 0) || (has(self.data) && self.data.exists(d, d.key == 'ssh-privatekey'))",
        "a target of type kubernetes.io/ssh-auth needs the key ssh-privatekey in data or target.template"
    ),
    validation = (
        "!has(self.target) || !has(self.target.template) || ((!has(self.data) || !self.data.exists(d, d.key in self.target.template)) && (!has(self.tls) || !self.target.template.exists(k, k == 'tls.crt' || k == 'tls.key' || (has(self.tls.caKey) && k == self.tls.caKey))))",
        "a key of target.template must be in neither data nor tls: name the entry of data differently, and give it publish: false where it only feeds the template"
    )
)]
pub struct VaultSecretSyncSpec {
    /// The connection that reads the vault, for all that does not name its own. The field selector `spec.vaultRef.name` finds
    /// the objects that name one here. Default: the KeyVault named `default` of this namespace.
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

    /// A certificate of the vault as a Secret of type `kubernetes.io/tls`: `tls.crt` and `tls.key`. Default: none. Example:
    /// `{certificate: shop-tls}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<TlsSpec>>,

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
    /// The connection that reads it, where that is another than `spec.vaultRef`. What is new in several vaults arrives
    /// together, and none of it while one of them gives no answer. Default: `spec.vaultRef`. Example: `{name: db-team}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault_ref: Option<Box<VaultRef>>,
    /// What happens to the key while its source, or the property in it, does not exist: `Keep` (default) keeps the
    /// last value and reports it, `Remove` removes the key. A key that the type of the Secret needs is never removed.
    #[serde(default)]
    pub on_missing: OnMissing,
    /// `false` keeps the key out of the Secret: it only feeds `target.template`. Default: `true`.
    #[serde(default = "published")]
    pub publish: bool,
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
    /// The type of the Secret; cannot change. Default: `kubernetes.io/tls` where `spec.tls` is set, else `Opaque`, which takes any keys; `kubernetes.io/tls` needs `tls.crt` and
    /// `tls.key`, `kubernetes.io/dockerconfigjson` needs `.dockerconfigjson`, `kubernetes.io/ssh-auth` needs
    /// `ssh-privatekey`; `kubernetes.io/basic-auth` is for `username` and `password`. Any other that somebody made up is taken
    /// too, as `fstab/cifs`, but those that others trust: whatever else has `kubernetes.io` as its domain or the end of it, or
    /// begins with `helm.sh/`, `rke.cattle.io/`, `cluster.x-k8s.io/` or `addons.cluster.x-k8s.io/`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "self in ['Opaque', 'kubernetes.io/tls', 'kubernetes.io/dockerconfigjson', 'kubernetes.io/basic-auth', 'kubernetes.io/ssh-auth'] || (self.matches('^[A-Za-z0-9]([-A-Za-z0-9._/]*[A-Za-z0-9])?$') && !self.matches('^([^/]*[.])?kubernetes[.]io/') && !self.matches('^[Oo][Pp][Aa][Qq][Uu][Ee]$') && !['helm.sh/', 'rke.cattle.io/', 'addons.cluster.x-k8s.io/', 'cluster.x-k8s.io/'].exists(prefix, self.startsWith(prefix)))",
        "target.type must be Opaque, kubernetes.io/tls, /dockerconfigjson, /basic-auth or /ssh-auth, or a type of your own of letters, digits and '-._/'; other types of kubernetes.io, and those of helm.sh, rke.cattle.io and cluster.x-k8s.io, are never written"
    ))]
    pub type_: Option<SecretType>,
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
    /// Keys that are made of the others: each a template (minijinja) over the values of `data` and `dataFrom`, by name or as
    /// `data["name"]`. `docs/templates.md` has its functions. Default: none. Example:
    /// `{DATABASE_URL: "postgres://{{ user | urlencode }}:{{ password | urlencode }}@db/shop"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 16384}))]
    #[x_kube(validation = (
        "self.all(k, k.size() <= 253 && k.matches('^[-._a-zA-Z0-9]+$') && k != '.' && !k.startsWith('..'))",
        "a key of target.template must consist of letters, digits, '-', '_' and '.', and neither be '.' nor begin with '..', as in config.ini"
    ))]
    pub template: BTreeMap<String, String>,
    /// Whose the Secret is: `Create` (default) makes a new one and leaves any that exists untouched, `Adopt` takes over one
    /// that exists, `Merge` adds keys to one that somebody else makes. The last two need a consent on that Secret, the
    /// annotation `vaultsync.dev/consent: <name of this object>`. To or from `Merge` cannot change.
    #[serde(default)]
    pub creation: Creation,
    /// What happens when this object is deleted: `Delete` (default) deletes the Secret too, by an ownerReference, and with
    /// `creation: Merge` removes this object's keys, if the operator runs then; `Retain` leaves all as it is.
    #[serde(default)]
    pub deletion: Deletion,
}

/// Whose the Secret is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Creation {
    /// This object's: it makes it.
    #[default]
    Create,
    /// This object's: it makes it, or takes over one that exists and consents. Keys that the spec does not name stay.
    Adopt,
    /// Another's, who makes it. Only the keys of this object are set and removed; several objects may share one Secret.
    Merge,
}

/// What happens to the Secret when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Deletion {
    /// The garbage collector deletes it with the object; of a Secret that is another's the object's keys go.
    #[default]
    Delete,
    /// It stays, mark and all.
    Retain,
}

impl Target {
    /// Whether the Secret is another's, of whose keys some are this object's.
    #[must_use]
    pub fn merges(&self) -> bool {
        self.creation == Creation::Merge
    }

    /// Whether the garbage collector is to delete the Secret with the object.
    #[must_use]
    pub fn goes_with_object(&self) -> bool {
        self.deletion == Deletion::Delete && !self.merges()
    }
}

impl VaultSecretSyncSpec {
    /// The keys of the Secret that the spec names; what `dataFrom` and `tls` give are others.
    pub fn named_keys(&self) -> impl Iterator<Item = &str> {
        let published = self.data.iter().filter(|item| item.publish).map(|item| item.key.as_str());
        published.chain(self.target.template.keys().map(String::as_str))
    }

    /// The type of the Secret.
    #[must_use]
    pub fn secret_type(&self) -> &SecretType {
        let by_default = if self.tls.is_some() { &SecretType::Tls } else { &SecretType::Opaque };
        self.target.type_.as_ref().unwrap_or(by_default)
    }
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

pub(super) const fn published() -> bool {
    true
}

fn default_refresh_interval() -> String {
    "5m".to_owned()
}
