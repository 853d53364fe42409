//! How an object names its connection.

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
    /// The name of the connection. Default: `default`. The field selector `spec.vaultRef.name` finds those that name it.
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

fn default_vault_name() -> String {
    "default".to_owned()
}
