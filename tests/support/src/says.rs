//! What an object says of itself in its conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use vaultsync::api::{ClusterKeyVault, KeyVault, READY, VaultSecretSync, condition};

/// An object with a condition Ready.
pub trait Says: Resource<DynamicType = ()> {
    /// All that it says; nothing if it has no status.
    fn conditions(&self) -> &[Condition];

    /// What it says by a type.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        condition(self.conditions(), type_)
    }

    /// The message of Ready.
    fn message(&self) -> &str {
        &self.condition(READY).expect("a condition Ready").message
    }

    /// Whether it says of its newest spec that Ready is `status` for `reason`.
    fn says(&self, status: &str, reason: &str) -> bool {
        self.condition(READY).is_some_and(|ready| {
            ready.status == status
                && ready.reason == reason
                && ready.observed_generation == self.meta().generation
        })
    }
}

impl Says for VaultSecretSync {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

impl Says for KeyVault {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

impl Says for ClusterKeyVault {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}
