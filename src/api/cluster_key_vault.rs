//! `ClusterKeyVault`: a connection of the platform's, and who may use it for what.
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct, pub and all, inside a private block")]
#![expect(clippy::struct_field_names, reason = "the words of Azure for the three ids")]
#![expect(clippy::duplicated_attributes, reason = "columns of one type are not one column")]

use super::connection::{GUID, KeyVaultStatus, ReadSettings, WorkloadIdentity};
use super::grant::Grant;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A connection to one Azure Key Vault for objects of many namespaces, and what each may read through it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "vaultsync.dev",
    version = "v1alpha1",
    kind = "ClusterKeyVault",
    status = "KeyVaultStatus",
    shortname = "ckv",
    category = "vaultsync",
    derive = "PartialEq",
    doc = "A connection to one Azure Key Vault for objects of many namespaces, and what each may read through it. Objects name it in `spec.vaultRef` with `kind: ClusterKeyVault`.",
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
#[x_kube(validation = (
    r"has(self.cloud) || !self.url.matches('^https://[^/?#@:]+/?$') || self.url.matches('^https://[0-9A-Za-z][0-9A-Za-z-]{1,22}[0-9A-Za-z][.](vault[.]azure[.]net|vault[.]usgovcloudapi[.]net|vault[.]azure[.]cn)/?$')",
    "url must name a vault (3 to 24 letters, digits and hyphens) of a known cloud: https://<vault>.vault.azure.net, https://<vault>.vault.usgovcloudapi.net or https://<vault>.vault.azure.cn; another host needs cloud"
))]
pub struct ClusterKeyVaultSpec {
    /// The address of the vault as the Azure portal shows it: scheme and host, no port, no path. A host outside of the
    /// public, US government and China clouds needs `cloud`. Example: `https://prod.vault.azure.net`.
    #[schemars(length(max = 261))]
    #[x_kube(
        validation = ("self.startsWith('https://')", "url must start with https://, as in https://prod.vault.azure.net"),
        validation = (
            r"!self.startsWith('https://') || self.matches('^https://[^/?#@:]+/?$')",
            "url must be scheme and host alone, without user, port, path or query, as in https://prod.vault.azure.net"
        )
    )]
    pub url: String,

    /// Who reads the vault. Exactly one kind of identity.
    #[x_kube(
        validation = (
            "has(self.workloadIdentity) || has(self.operatorIdentity) || has(self.managedIdentity) || has(self.servicePrincipal)",
            "identity needs one of workloadIdentity, operatorIdentity, managedIdentity and servicePrincipal"
        ),
        validation = (
            "[has(self.workloadIdentity), has(self.operatorIdentity), has(self.managedIdentity), has(self.servicePrincipal)].filter(set, set).size() <= 1",
            "identity must be one of workloadIdentity, operatorIdentity, managedIdentity and servicePrincipal, not two of them"
        )
    )]
    pub identity: ClusterIdentity,

    /// The cloud of a vault that is in none of Azure's own, as on Azure Stack. Default: the cloud that `url` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudSpec>,

    /// How it is read.
    #[serde(flatten)]
    pub settings: ReadSettings,

    /// Who may read what. Nothing is allowed that no item allows; items are OR-ed. Default: nobody, nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub allow: Vec<Grant>,
}

/// The identity that reads the vault; exactly one field is set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentity {
    /// Microsoft Entra Workload ID of a ServiceAccount in the namespace of the object that reads: each namespace reads
    /// as its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<WorkloadIdentity>,
    /// The operator pod's own federated identity, as Azure's workload identity webhook injects it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_identity: Option<OperatorIdentitySpec>,
    /// A managed identity of the node, by at most one of its ids. `{}` is the one assigned to the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "[has(self.clientId), has(self.objectId), has(self.resourceId)].filter(set, set).size() <= 1",
        "managedIdentity must have at most one of clientId, objectId and resourceId"
    ))]
    pub managed_identity: Option<ManagedIdentity>,
    /// An application with a secret or certificate of its own, from a file that is mounted into the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_principal: Option<ServicePrincipal>,
}

/// Nothing is to be set: the pod knows its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorIdentitySpec {}

/// A managed identity, by at most one of its ids.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedIdentity {
    /// Its client id, as `az identity show --query clientId` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    #[x_kube(validation = (
        GUID,
        "clientId must be a GUID, as `az identity show --query clientId` prints it"
    ))]
    pub client_id: Option<String>,
    /// Its object (principal) id, as `az identity show --query principalId` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    #[x_kube(validation = (
        GUID,
        "objectId must be a GUID, as `az identity show --query principalId` prints it"
    ))]
    pub object_id: Option<String>,
    /// Its resource id, as `az identity show --query id` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = (
        "self.matches('^/subscriptions/[0-9a-zA-Z._()/-]+$')",
        "resourceId must be a resource id, as `az identity show --query id` prints it: /subscriptions/..."
    ))]
    pub resource_id: Option<String>,
}

/// An application and the file with its secret or certificate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePrincipal {
    /// The Entra tenant of the application.
    #[schemars(length(max = 36))]
    #[x_kube(validation = (
        GUID,
        "tenantId must be a GUID, as `az account show --query tenantId` prints it"
    ))]
    pub tenant_id: String,
    /// The client id (application id) of the application.
    #[schemars(length(max = 36))]
    #[x_kube(validation = (
        GUID,
        "clientId must be a GUID, as `az ad app show --query appId` prints it"
    ))]
    pub client_id: String,
    /// The name of a file in the operator's folder of credentials: a client secret, or a certificate with its key
    /// (PEM or PFX). It is read anew for each token. Example: `shop.pem`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self.matches('^[0-9A-Za-z_-][0-9A-Za-z_.-]*$') && !self.contains('..')",
        "credentialFile must be the name of a file, without a folder, as in shop.pem"
    ))]
    pub credential_file: String,
}

/// Who issues the tokens of a vault that is in none of Azure's own clouds.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudSpec {
    /// The token service: scheme and host. It is the only host that gets the identity's credential. Example:
    /// `https://login.microsoftonline.com`.
    #[schemars(length(max = 261))]
    #[x_kube(validation = (
        r"self.matches('^https://[^/?#@:]+/?$')",
        "authority must be https:// and a host, as in https://login.microsoftonline.com"
    ))]
    pub authority: String,
    /// What the vault's tokens are for. Example: `https://vault.azure.net/.default`.
    #[schemars(length(min = 1, max = 256))]
    pub audience: String,
    /// Certificate authorities to trust for both hosts beside the usual ones, as PEM. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
}
