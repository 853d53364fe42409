//! `config/samples` and the part of Azure that their comments ask for.

use std::path::PathBuf;

use keyvault_emulator::{Config, Emulator, Vault};
use vaultsync::api::KeyVault;

use crate::clients::Account;
use crate::cluster::Cluster;
use crate::{Result, tools};

/// The namespace of the samples.
pub const NAMESPACE: &str = "shop";

/// Where they are.
pub fn folder() -> PathBuf {
    tools::project().join("config/samples")
}

/// What a platform team does once in Azure: a vault, and an identity that trusts the ServiceAccount and may read it.
pub async fn azure(cluster: &Cluster) -> Result<(Emulator, Vault)> {
    let sample: KeyVault = serde_saphyr::from_str(&std::fs::read_to_string(folder().join("keyvault.yaml"))?)?;
    let identity = sample.spec.identity.workload_identity.ok_or("the sample has an identity")?;
    let tenant = identity.tenant_id.ok_or("the sample has a tenant")?;
    let emulator = cluster.azure(Config { tenant, ..Config::default() }).await?;
    let account = Account::new(NAMESPACE, &identity.service_account_name);
    emulator.federate_account(&cluster.issuer().url, &account.user(), &identity.client_id);
    let vault = emulator.vault("shop");
    if vault.url() != sample.spec.url {
        return Err(format!("the sample reads {}, not {}", sample.spec.url, vault.url()).into());
    }
    vault.grant(&identity.client_id);
    Ok((emulator, vault))
}
