//! What objects say of the removals that are held, by the connections that are to tell of them.

use super::{ObjectIndex, VaultKey};
use crate::api::{VaultRef, VaultSecretSync};
use crate::object_key::ObjectKey;
use crate::plan::HeldRemovals;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The names of one object that are held, by connection, each with the time since when.
pub(super) type HeldByVault = BTreeMap<VaultKey, Vec<(Box<str>, Timestamp)>>;

impl ObjectIndex {
    /// The removals that users of a connection say are held.
    pub(in crate::controller) fn held(&self, vault: &VaultKey) -> Option<HeldRemovals> {
        let inner = self.lock();
        let users = inner.users.get(vault).into_iter().flatten();
        let held = users.filter_map(|user| inner.objects.get(user)?.held.as_ref()?.get(vault));
        joined(held.flatten())
    }

    /// Whether all objects of so many scopes were shown, and all are like this.
    pub(in crate::controller) fn are_all(&self, scopes: usize, like: impl Fn(&ObjectKey) -> bool) -> bool {
        let inner = self.lock();
        inner.listed.len() >= scopes && inner.objects.keys().all(like)
    }
}

/// What an object's status says is held; mostly nothing.
pub(super) fn held(namespace: &str, object: &VaultSecretSync) -> Option<Box<HeldByVault>> {
    let status = object.status.as_ref()?;
    let mut held = HeldByVault::new();
    for entry in &status.entries {
        let Some(since) = entry.removal_held() else { continue };
        let other = entry.vault.as_ref().map(|vault| VaultRef { kind: vault.kind, name: vault.name.clone() });
        let vault = other.as_ref().or_else(|| object.spec.vault_refs().into_iter().next());
        let Some(vault) = vault else { continue };
        let names = held.entry(VaultKey::of(namespace, vault)).or_default();
        names.push((entry.name.to_lowercase().into(), since.0));
    }
    (!held.is_empty()).then(|| Box::new(held))
}

/// All that is held of one connection: each name once, since when the last was.
pub(super) fn joined<'a>(held: impl Iterator<Item = &'a (Box<str>, Timestamp)>) -> Option<HeldRemovals> {
    let mut names: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for (name, since) in held {
        let last = names.entry(name).or_insert(*since);
        *last = (*last).max(*since);
    }
    let until = names.values().copied().max()?;
    Some(HeldRemovals { names: names.len(), until })
}
