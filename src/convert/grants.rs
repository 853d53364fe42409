//! What the objects of one input read through each `ClusterKeyVault` of it: these grants, and no others, are written.

use super::Conversion;
use super::fields::Note;
use crate::api::{ClusterKeyVault, Grant, GrantedNamespaces, VaultKind, VaultRef, VaultSecretSync};
use std::collections::{BTreeMap, BTreeSet};

/// One grant takes so many names of a kind.
const NAMES: usize = 64;
/// So many grants a `ClusterKeyVault` takes.
const GRANTS: usize = 64;

/// The names that a namespace reads, of secrets, certificates and keys.
#[derive(Default)]
struct ReadNames {
    secrets: BTreeSet<String>,
    certificates: BTreeSet<String>,
    keys: BTreeSet<String>,
}

/// Grants each namespace what its objects read, and notes what cannot be granted.
pub(super) fn allow(all: &mut Conversion) {
    let (syncs, notes) = (&all.syncs, &mut all.notes);
    for vault in &mut all.cluster_vaults {
        let mut namespaces: BTreeMap<String, ReadNames> = BTreeMap::new();
        for sync in syncs {
            let names = names_of(sync, vault);
            if names.secrets.is_empty() && names.certificates.is_empty() && names.keys.is_empty() {
                continue;
            }
            let Some(namespace) = sync.metadata.namespace.clone() else {
                notes.push(unnamed(sync, vault));
                continue;
            };
            let so_far = namespaces.entry(namespace).or_default();
            so_far.secrets.extend(names.secrets);
            so_far.certificates.extend(names.certificates);
            so_far.keys.extend(names.keys);
        }
        vault.spec.allow = namespaces.into_iter().flat_map(grants).collect();
        if vault.spec.allow.len() > GRANTS {
            vault.spec.allow.truncate(GRANTS);
            notes.push(too_many(vault));
        }
    }
}

/// What an object reads through a connection.
fn names_of(sync: &VaultSecretSync, vault: &ClusterKeyVault) -> ReadNames {
    let spec = &sync.spec;
    let name = vault.metadata.name.as_deref().unwrap_or_default();
    let is_it = |other: &VaultRef| other.kind == VaultKind::ClusterKeyVault && other.name == name;
    let mut names = ReadNames::default();
    for item in &spec.data {
        if !is_it(item.vault_ref.as_deref().unwrap_or(&spec.vault_ref)) {
            continue;
        }
        names.secrets.extend(item.from.secret.iter().map(|secret| secret.name.clone()));
        names.certificates.extend(item.from.certificate.iter().map(|certificate| certificate.name.clone()));
        names.keys.extend(item.from.key.iter().map(|key| key.name.clone()));
    }
    for item in spec.data_from.iter().filter(|item| is_it(spec.vault_of(item))) {
        names.secrets.extend(item.secret.iter().map(|secret| secret.name.clone()));
        let any = || "*".to_owned();
        names.secrets.extend(item.find.iter().map(|find| find.name.clone().unwrap_or_else(any)));
    }
    if is_it(&spec.vault_ref) {
        names.certificates.extend(spec.tls.iter().map(|tls| tls.certificate.clone()));
    }
    names
}

/// As many grants as the names of a namespace need.
fn grants((namespace, names): (String, ReadNames)) -> Vec<Grant> {
    let parts = |names: BTreeSet<String>| {
        let names: Vec<String> = names.into_iter().collect();
        names.chunks(NAMES).map(<[String]>::to_vec).collect::<Vec<_>>().into_iter()
    };
    let [mut secrets, mut certificates, mut keys] =
        [parts(names.secrets), parts(names.certificates), parts(names.keys)];
    let mut grants = Vec::new();
    loop {
        let of = (secrets.next(), certificates.next(), keys.next());
        if of == (None, None, None) {
            return grants;
        }
        grants.push(Grant {
            namespaces: GrantedNamespaces { names: Some(vec![namespace.clone()]), selector: None },
            secrets: of.0.unwrap_or_default(),
            certificates: of.1.unwrap_or_default(),
            keys: of.2.unwrap_or_default(),
        });
    }
}

fn unnamed(sync: &VaultSecretSync, vault: &ClusterKeyVault) -> Note {
    let [object, vault] =
        [&sync.metadata.name, &vault.metadata.name].map(|name| name.as_deref().unwrap_or_default());
    Note {
        subject: format!("VaultSecretSync {object}"),
        field: "metadata.namespace".to_owned(),
        text: format!(
            "is not set, so ClusterKeyVault {vault} allows it nothing: name its namespace and what it reads in spec.allow there."
        ),
    }
}

fn too_many(vault: &ClusterKeyVault) -> Note {
    Note {
        subject: format!("ClusterKeyVault {}", vault.metadata.name.as_deref().unwrap_or_default()),
        field: "spec.allow".to_owned(),
        text: format!(
            "takes {GRANTS} items and the objects need more, so the rest was left out: join namespaces or names by `*`, or make a second ClusterKeyVault."
        ),
    }
}
