//! Where an object reads: its connection, if there is one, and what it may read through it.
//!
//! Every round asks anew and before the plane is asked, so that a grant that was withdrawn counts at once.

use super::Context;
use super::cluster_vaults::Lookup;
use super::connection::{cluster_connection, connection, terms};
use super::namespace_labels::Labels;
use crate::api::{KeyVault, KeyVaultStatus, VaultKind, VaultSecretSync};
use crate::plan::{Permit, Problem, Reader, UsedSource, has_selector, permits};
use crate::vault::{Connection, Terms};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::runtime::reflector::Store;
use std::sync::Arc;

/// What became of `vaultRef`.
#[expect(clippy::large_enum_variant, reason = "one a round, mostly the large one")]
pub(super) enum Place {
    /// The watches have not shown enough yet; the object is woken when they have.
    Unknown,
    /// There is no such connection, or this object may not use it.
    Unusable(Problem),
    /// Here.
    Usable(Usable),
}

/// A connection that the object may use.
pub(super) struct Usable {
    pub(super) connection: Connection,
    /// As what each source may be read.
    pub(super) permits: Vec<Permit>,
    /// The connection's floor of every interval.
    pub(super) min_refresh_interval: String,
    /// On what terms the vault is asked.
    pub(super) terms: Terms,
    /// What the connection's status says.
    pub(super) status: Option<KeyVaultStatus>,
}

/// Looks the connection up, and what the object may do with it.
pub(super) fn place(context: &Context, object: &VaultSecretSync, sources: &[UsedSource]) -> Place {
    match object.spec.vault_ref.kind {
        VaultKind::KeyVault => own(context, object, sources),
        VaultKind::ClusterKeyVault => shared(context, object, sources),
    }
}

fn own(context: &Context, object: &VaultSecretSync, sources: &[UsedSource]) -> Place {
    let vault_ref = &object.spec.vault_ref;
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let Some(vault) = context.vault(namespace, &vault_ref.name) else {
        return Place::Unusable(Problem::vault_not_found(vault_ref));
    };
    if let Some(sentence) = too_many(context, &vault) {
        return Place::Unusable(Problem::too_many_connections(vault_ref, &sentence));
    }
    match connection(&vault) {
        Err(sentence) => Place::Unusable(Problem::vault_invalid(vault_ref, &sentence)),
        Ok(connection) => Place::Usable(Usable {
            connection,
            permits: vec![Permit::FULL; sources.len()],
            min_refresh_interval: vault.spec.settings.min_refresh_interval.clone(),
            terms: terms(vault.spec.settings.detect, vault.spec.settings.limits.as_ref()),
            status: vault.status.clone(),
        }),
    }
}

fn shared(context: &Context, object: &VaultSecretSync, sources: &[UsedSource]) -> Place {
    let vault_ref = &object.spec.vault_ref;
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let vault = match context.cluster_vaults.find(&vault_ref.name) {
        Lookup::Unknown => return Place::Unknown,
        Lookup::Unreadable(why) => {
            return Place::Unusable(Problem::vault_unreadable(vault_ref, why.sentence()));
        }
        Lookup::Missing => return Place::Unusable(Problem::vault_not_found(vault_ref)),
        Lookup::Found(vault) => vault,
    };
    let allow = &vault.spec.allow;
    let labels = if allow.iter().any(has_selector) {
        match context.namespace_labels.of(namespace) {
            Labels::Off => None,
            Labels::Unknown => return Place::Unknown,
            Labels::Known(namespace) => Some(namespace),
        }
    } else {
        None
    };
    let reader = Reader { namespace, labels: labels.as_ref().map(|namespace| namespace.labels()) };
    let permits = match permits(vault_ref, allow, reader, sources) {
        Ok(permits) => permits,
        Err(problem) => return Place::Unusable(problem),
    };
    match cluster_connection(&vault, namespace) {
        Err(sentence) => Place::Unusable(Problem::vault_invalid(vault_ref, &sentence)),
        Ok(connection) => Place::Usable(Usable {
            connection,
            permits,
            min_refresh_interval: vault.spec.settings.min_refresh_interval.clone(),
            terms: terms(vault.spec.settings.detect, vault.spec.settings.limits.as_ref()),
            status: vault.status.clone(),
        }),
    }
}

/// Whether a `KeyVault` that no object uses may be tried: it is one of the oldest of its namespace, for whoever may
/// create them could have any number tried.
pub(super) fn may_be_tried(context: &Context, vault: &KeyVault) -> bool {
    let namespace = vault.namespace();
    let all = context.vaults.iter().flat_map(Store::state);
    let older = all.filter(|other| other.namespace() == namespace && rank(other) < rank(vault));
    older.count() < context.settings.max_connections_per_namespace
}

fn rank(vault: &KeyVault) -> (Option<Time>, String) {
    (vault.creation_timestamp(), vault.name_any())
}

/// Why a `KeyVault` is one too many for its namespace, if it is: the oldest that objects use have their place, so
/// that new ones never take it from them.
pub(super) fn too_many(context: &Context, vault: &KeyVault) -> Option<String> {
    let most = context.settings.max_connections_per_namespace;
    let namespace = vault.namespace().unwrap_or_default();
    let used = context.index.vaults_in_use(&namespace);
    if used.len() <= most {
        return None;
    }
    let own = rank(vault);
    let before = used
        .iter()
        .filter_map(|name| context.vault(&namespace, name))
        .filter(|other: &Arc<KeyVault>| rank(other) < own)
        .count();
    (before >= most && used.contains(&own.1)).then(|| {
        format!(
            "objects of this namespace already use {most} older KeyVaults, the most that vaultsync serves for one namespace: delete those that are not needed, let objects share one, or have --max-connections-per-namespace raised."
        )
    })
}
