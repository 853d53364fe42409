//! How an object names its connections.

use super::data_from::DataFrom;
use super::vaultsecretsync::VaultSecretSyncSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultRef {
    /// The kind of the connection. `KeyVault` (default) of this object's namespace, or `ClusterKeyVault`.
    #[serde(default)]
    pub kind: VaultKind,
    /// The name of the connection. Default: `default`.
    #[serde(default = "default_vault_name")]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl Default for VaultRef {
    fn default() -> Self {
        Self { kind: VaultKind::default(), name: default_vault_name() }
    }
}

/// The kinds of connection.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum VaultKind {
    /// A `KeyVault` of the object's namespace.
    #[default]
    KeyVault,
    /// A `ClusterKeyVault`, which grants this namespace what it may read.
    ClusterKeyVault,
}

impl VaultKind {
    /// The kind, as `kubectl` prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyVault => "KeyVault",
            Self::ClusterKeyVault => "ClusterKeyVault",
        }
    }
}

impl fmt::Display for VaultRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

impl VaultSecretSyncSpec {
    /// The connections that the spec uses, each once: that of `spec.vaultRef` first, if anything is read through it, then
    /// those that entries name, in their order.
    #[must_use]
    pub fn vault_refs(&self) -> Vec<&VaultRef> {
        let of_entries = self.data.iter().map(|item| &item.vault_ref);
        let of_entries = of_entries.chain(self.data_from.iter().map(|item| &item.vault_ref));
        let named =
            |vault: &Option<Box<VaultRef>>| vault.as_deref().is_none_or(|vault| *vault == self.vault_ref);
        let own = self.tls.is_some() || of_entries.clone().any(named);
        let mut refs: Vec<&VaultRef> = own.then_some(&self.vault_ref).into_iter().collect();
        for vault in of_entries.filter_map(|vault| vault.as_deref()) {
            if !refs.contains(&vault) {
                refs.push(vault);
            }
        }
        refs
    }

    /// The connection through which a source of `dataFrom` is read.
    #[must_use]
    pub fn vault_of<'a>(&'a self, item: &'a DataFrom) -> &'a VaultRef {
        item.vault_ref.as_deref().unwrap_or(&self.vault_ref)
    }

    /// The field that names a connection; the first, if several do.
    #[must_use]
    pub fn field_of(&self, vault: &VaultRef) -> String {
        let names = |entry: &Option<Box<VaultRef>>| entry.as_deref() == Some(vault);
        let of_data = || self.data.iter().position(|item| names(&item.vault_ref));
        let of_data_from = || self.data_from.iter().position(|item| names(&item.vault_ref));
        if *vault == self.vault_ref {
            "spec.vaultRef".to_owned()
        } else if let Some(index) = of_data() {
            format!("spec.data[{index}].vaultRef")
        } else if let Some(index) = of_data_from() {
            format!("spec.dataFrom[{index}].vaultRef")
        } else {
            "spec.vaultRef".to_owned()
        }
    }
}

fn default_vault_name() -> String {
    "default".to_owned()
}
