//! vaultsync keeps native Kubernetes `Secret`s equal to what is in Azure Key Vault.
pub mod api;

pub mod vault;
pub mod plan;
