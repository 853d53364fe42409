//! From a `KeyVault` to the connection that the plane knows, or the sentence that says why there is none.

use crate::api::KeyVault;
use crate::vault::{Connection, Identity, ServiceVersion, VaultUrl};

/// The connection that a `KeyVault` describes.
///
/// # Errors
/// A sentence that names the field, for a spec that the schema would refuse (one stored before a rule came).
pub(super) fn connection(vault: &KeyVault) -> Result<Connection, String> {
    let spec = &vault.spec;
    let url = VaultUrl::parse(&spec.url).map_err(|error| format!("spec.url: {error}"))?;
    let service_version = ServiceVersion::parse(&spec.service_version)
        .map_err(|error| format!("spec.serviceVersion: {error}"))?;
    let Some(workload) = &spec.identity.workload_identity else {
        return Err("spec.identity needs workloadIdentity with serviceAccountName and clientId.".to_owned());
    };
    let identity = Identity::WorkloadIdentity {
        namespace: vault.metadata.namespace.clone().unwrap_or_default(),
        service_account: workload.service_account_name.clone(),
        client_id: workload.client_id.clone(),
        tenant_id: workload.tenant_id.clone(),
    };
    Ok(Connection { url, identity, service_version })
}
