//! From a connection's spec to what the plane knows, or the sentence that says why it cannot be used.

use crate::api::{ClusterIdentity, ClusterKeyVault, KeyVault, RequestLimits, WorkloadIdentity};
use crate::vault::{
    Connection, CredentialName, CustomCloud, Detect, Identity, InvalidUrl, ManagedIdentityId, Rate,
    ServiceVersion, Terms, VaultUrl,
};

/// The connection that a `KeyVault` describes.
///
/// # Errors
/// A sentence that names the field, for a spec that the schema would refuse (one stored before a rule came).
pub(super) fn connection(vault: &KeyVault) -> Result<Connection, String> {
    let spec = &vault.spec;
    let Some(workload) = &spec.identity.workload_identity else {
        return Err("spec.identity needs workloadIdentity with serviceAccountName and clientId.".to_owned());
    };
    let namespace = vault.metadata.namespace.as_deref().unwrap_or_default();
    build(VaultUrl::parse(&spec.url), &spec.settings.service_version, workload_identity(namespace, workload))
}

/// The connection that a `ClusterKeyVault` is to the objects of a namespace.
///
/// # Errors
/// As with [`connection`].
pub(super) fn cluster_connection(vault: &ClusterKeyVault, namespace: &str) -> Result<Connection, String> {
    let spec = &vault.spec;
    let url = match &spec.cloud {
        None => VaultUrl::parse(&spec.url),
        Some(cloud) => {
            let cloud = CustomCloud::new(&cloud.authority, &cloud.audience, cloud.ca_bundle.as_deref())
                .map_err(|error| format!("spec.cloud.{error}"))?;
            VaultUrl::parse_custom(&spec.url, cloud)
        }
    };
    build(url, &spec.settings.service_version, cluster_identity(&spec.identity, namespace)?)
}

fn cluster_identity(identity: &ClusterIdentity, namespace: &str) -> Result<Identity, String> {
    let ClusterIdentity {
        workload_identity: workload,
        operator_identity,
        managed_identity,
        service_principal,
    } = identity;
    match (workload, operator_identity, managed_identity, service_principal) {
        (Some(workload), None, None, None) => Ok(workload_identity(namespace, workload)),
        (None, Some(_), None, None) => Ok(Identity::Operator),
        (None, None, Some(managed), None) => {
            let ids = [
                managed.client_id.clone().map(ManagedIdentityId::ClientId),
                managed.object_id.clone().map(ManagedIdentityId::ObjectId),
                managed.resource_id.clone().map(ManagedIdentityId::ResourceId),
            ];
            let mut ids = ids.into_iter().flatten();
            match (ids.next(), ids.next()) {
                (id, None) => Ok(Identity::ManagedIdentity { id }),
                (_, Some(_)) => {
                    Err("spec.identity.managedIdentity must have at most one of clientId, objectId and resourceId."
                        .to_owned())
                }
            }
        }
        (None, None, None, Some(principal)) => Ok(Identity::ServicePrincipal {
            tenant_id: principal.tenant_id.clone(),
            client_id: principal.client_id.clone(),
            credential: CredentialName::parse(&principal.credential_file)
                .map_err(|error| format!("spec.identity.servicePrincipal.credentialFile: {error}"))?,
        }),
        _ => Err(
            "spec.identity must be exactly one of workloadIdentity, operatorIdentity, managedIdentity and servicePrincipal."
                .to_owned(),
        ),
    }
}

/// The ServiceAccount is always one of the namespace that reads: no spec can name another's.
fn workload_identity(namespace: &str, workload: &WorkloadIdentity) -> Identity {
    Identity::WorkloadIdentity {
        namespace: namespace.to_owned(),
        service_account: workload.service_account_name.clone(),
        client_id: workload.client_id.clone(),
        tenant_id: workload.tenant_id.clone(),
    }
}

fn build(
    url: Result<VaultUrl, InvalidUrl>,
    service_version: &str,
    identity: Identity,
) -> Result<Connection, String> {
    let url = url.map_err(|error| format!("spec.url: {error}"))?;
    let service_version =
        ServiceVersion::parse(service_version).map_err(|error| format!("spec.serviceVersion: {error}"))?;
    Ok(Connection { url, identity, service_version })
}

/// On what terms the vault is asked.
pub(super) fn terms(detect: Detect, limits: Option<&RequestLimits>) -> Terms {
    let rate =
        limits.map(|limits| Rate { requests_per_second: limits.requests_per_second, burst: limits.burst });
    Terms { detect, rate }
}
