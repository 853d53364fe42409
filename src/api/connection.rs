//! What every connection to a vault has, whoever may use it.
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct, pub and all, inside a private block")]

use crate::vault::Detect;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The rule that ids of Entra keep.
pub(super) const GUID: &str = "self.matches('^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$')";

/// How a vault is read.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadSettings {
    /// The Key Vault REST api-version to speak, in quotes, for YAML takes some of them for a date or a number: `2025-07-01`
    /// (default), `2026-04-01`, or, for a cloud that lags behind, `7.6`, `7.5` or `7.4`.
    #[serde(default = "default_service_version")]
    #[schemars(extend("enum" = ["7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"]))]
    pub service_version: String,

    /// The shortest time between two reads of one source through this connection, whatever its objects ask for:
    /// a duration from 10s to 24h. Default: `30s`.
    #[serde(default = "default_min_refresh_interval")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = (
        r"self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$') && size(self) > 0 && duration(self) >= duration('10s') && duration(self) <= duration('24h')",
        "minRefreshInterval must be a duration from 10s to 24h, as in 30s or 5m"
    ))]
    pub min_refresh_interval: String,

    /// How changes in the vault are found: `Auto` (whatever costs the vault fewer requests), `List` (one LIST an
    /// interval for all secrets, and a GET for each that moved) or `Get` (a GET for each secret that is used, once an
    /// interval). Where the identity may not list, it is `Get`. Default: `Auto`.
    #[serde(default)]
    pub detect: Detect,

    /// How much the vault is asked at most. On a `KeyVault` it bounds what is read through it; on a `ClusterKeyVault`
    /// it bounds all that reads the same vault, whatever the identity. Of several the smallest counts, and never more
    /// than the operator's own (`--max-requests-per-second`), which is the default. Example:
    /// `{requestsPerSecond: 50, burst: 100}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<RequestLimits>,
}

impl Default for ReadSettings {
    fn default() -> Self {
        Self {
            service_version: default_service_version(),
            min_refresh_interval: default_min_refresh_interval(),
            detect: Detect::default(),
            limits: None,
        }
    }
}

/// A ServiceAccount that is federated with an application or a managed identity.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadIdentity {
    /// The ServiceAccount whose token is exchanged: of this namespace, or, on a `ClusterKeyVault`, of the namespace
    /// of the object that reads. Example: `shop`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        r"self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
        "serviceAccountName must be the name of a ServiceAccount, without a namespace: lower-case letters, digits, '-' and '.'"
    ))]
    pub service_account_name: String,

    /// The client id (application id) of the managed identity or application that trusts the ServiceAccount.
    /// Example: `11111111-2222-3333-4444-555555555555`.
    #[schemars(length(max = 36))]
    #[x_kube(validation = (
        GUID,
        "clientId must be a GUID, as `az identity show --query clientId` prints it"
    ))]
    pub client_id: String,

    /// The Entra tenant of the identity. Default: the tenant that the vault itself names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    #[x_kube(validation = (
        GUID,
        "tenantId must be a GUID, as `az account show --query tenantId` prints it"
    ))]
    pub tenant_id: Option<String>,
}

/// How much the vault is asked at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestLimits {
    /// Requests in a second; a page of a LIST is one. Key Vault gives all its clients together 400. Default: 50.
    #[serde(default = "default_requests_per_second")]
    #[schemars(range(min = 1, max = 400))]
    pub requests_per_second: u32,
    /// Requests that may go at once after a quiet time. Default: 100.
    #[serde(default = "default_burst")]
    #[schemars(range(min = 1, max = 800))]
    pub burst: u32,
}

/// What vaultsync last found out about the connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyVaultStatus {
    /// The generation of the spec that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`: the vault answered through this connection, to an object or to a trial when the spec was new. A failure
    /// of the whole vault or identity is said here, once, with its remedy. `Stalled`: only an edit of this spec can
    /// help. `MassRemoval`: removals wait to be confirmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// How changes in the vault are found: `List` (one LIST for all) or `Get` (each secret by itself).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub mode: Option<String>,
    /// Why this mode is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub mode_reason: Option<String>,
    /// As whom the vault is read, as the last token says. On a `ClusterKeyVault` that is read as ServiceAccounts of
    /// several namespaces it is there only where all are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityStatus>,
    /// The way to the vault: `Public` or `Private`, the kind of address that its name leads to here, or `Proxy`, which
    /// resolves the name itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub network: Option<String>,
}

/// As whom a vault is read. Each field is there as far as the token tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityStatus {
    /// The client (application) id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub client_id: Option<String>,
    /// The object (principal) id, to which roles are assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub object_id: Option<String>,
    /// The tenant that issues the tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub tenant_id: Option<String>,
    /// The issuer of the assertion that is exchanged for a token: that of the cluster, to be named by a federated
    /// credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub issuer: Option<String>,
    /// The subject of that assertion. Example: `system:serviceaccount:shop:shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub subject: Option<String>,
}

const fn default_requests_per_second() -> u32 {
    50
}

const fn default_burst() -> u32 {
    100
}

fn default_service_version() -> String {
    "2025-07-01".to_owned()
}

fn default_min_refresh_interval() -> String {
    "30s".to_owned()
}
