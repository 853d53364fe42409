//! `KeyVault`: where to read, and as whom.
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct, pub and all, inside a private block")]
#![expect(clippy::duplicated_attributes, reason = "columns of one type are not one column")]

use super::connection::{KeyVaultStatus, ReadSettings, WorkloadIdentity};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A connection to one Azure Key Vault: its address, and the identity that reads it. Objects of the same namespace
/// name it in `spec.vaultRef`.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "vaultsync.dev",
    version = "v1alpha1",
    kind = "KeyVault",
    namespaced,
    status = "KeyVaultStatus",
    shortname = "kv",
    category = "vaultsync",
    derive = "PartialEq",
    doc = "A connection to one Azure Key Vault: its address, and the identity that reads it. Objects of the same namespace name it in `spec.vaultRef`.",
    selectable = ".spec.url",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url"),
    printcolumn(
        name = "Since",
        type_ = "date",
        json_path = r#".status.conditions[?(@.type=="Ready")].lastTransitionTime"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Network", type_ = "string", json_path = ".status.network", priority = 1),
    printcolumn(name = "Client", type_ = "string", json_path = ".status.identity.clientId", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct KeyVaultSpec {
    /// The address of the vault as the Azure portal shows it: scheme and host of a public, US government or China
    /// vault, no port, no path. Example: `https://prod.vault.azure.net`.
    #[schemars(length(max = 64))]
    #[x_kube(
        validation = ("self.startsWith('https://')", "url must start with https://, as in https://prod.vault.azure.net"),
        validation = (
            r"!self.startsWith('https://') || self.matches('^https://[^/?#@:]+/?$')",
            "url must be scheme and host alone, without user, port, path or query, as in https://prod.vault.azure.net"
        ),
        validation = (
            r"!self.matches('^https://[^/?#@:]+/?$') || self.matches('^https://[0-9A-Za-z][0-9A-Za-z-]{1,22}[0-9A-Za-z][.](vault[.]azure[.]net|vault[.]usgovcloudapi[.]net|vault[.]azure[.]cn)/?$')",
            "url must name a vault (3 to 24 letters, digits and hyphens) of a known cloud: https://<vault>.vault.azure.net, https://<vault>.vault.usgovcloudapi.net or https://<vault>.vault.azure.cn"
        )
    )]
    pub url: String,

    /// Who reads the vault. Exactly one kind of identity.
    #[x_kube(validation = ("has(self.workloadIdentity)", "identity needs workloadIdentity with serviceAccountName and clientId"))]
    pub identity: KeyVaultIdentity,

    /// How it is read.
    #[serde(flatten)]
    pub settings: ReadSettings,
}

/// The identity that reads the vault; exactly one field is set.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyVaultIdentity {
    /// Microsoft Entra Workload ID of a ServiceAccount in this namespace: vaultsync asks the API server for a token
    /// of it (TokenRequest) and exchanges that for one of the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<WorkloadIdentity>,
}
