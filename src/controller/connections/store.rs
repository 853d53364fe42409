//! Every connection as it was shown last, by its name and by what the plane knows it as.

use super::described::{ConnectionKind, Described, of_each};
use crate::controller::index::VaultKey;
use crate::vault::Connection;
use jiff::Timestamp;
use kube::runtime::watcher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What the watches have shown.
#[derive(Debug, Default)]
pub(in crate::controller) struct Connections(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Ordered, so that those of one namespace are found at once.
    by_key: BTreeMap<VaultKey, Arc<Described>>,
    /// Several may describe one connection.
    by_connection: HashMap<Connection, BTreeSet<VaultKey>>,
    /// Whether `ClusterKeyVault`s were shown.
    shared: SharedKind,
}

/// What is known of the kind `ClusterKeyVault`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SharedKind {
    #[default]
    Unknown,
    Unreadable(Unreadable),
    Shown,
}

/// Why a kind cannot be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::controller) enum Unreadable {
    /// The CustomResourceDefinition is not installed.
    NoKind,
    /// RBAC does not allow it.
    NoRight,
}

impl Unreadable {
    /// What the user of such a connection is told.
    pub(in crate::controller) const fn sentence(self) -> &'static str {
        match self {
            Self::NoKind => {
                "the CustomResourceDefinition clusterkeyvaults.vaultsync.dev is not installed. Have it installed, or use a KeyVault of this namespace."
            }
            Self::NoRight => {
                "vaultsync may not read ClusterKeyVaults; an install that is limited to namespaces never may. Use a KeyVault of this namespace, or have list and watch of clusterkeyvaults granted to vaultsync."
            }
        }
    }

    /// What a failure of a watch says of the kind.
    pub(super) fn of(error: &watcher::Error) -> Option<Self> {
        match crate::controller::watch::refusal(error)? {
            404 => Some(Self::NoKind),
            _ => Some(Self::NoRight),
        }
    }
}

/// What is known of one name.
pub(in crate::controller) enum Lookup {
    /// Nothing yet.
    Unknown,
    /// The kind cannot be watched.
    Unreadable(Unreadable),
    /// There is none of this name.
    Missing,
    /// Here it is.
    Found(Arc<Described>),
}

impl Connections {
    /// Looks a name up.
    pub(in crate::controller) fn find(&self, key: &VaultKey) -> Lookup {
        let known = self.read();
        match known.shared {
            SharedKind::Unknown if key.namespace.is_none() => Lookup::Unknown,
            SharedKind::Unreadable(why) if key.namespace.is_none() => Lookup::Unreadable(why),
            _ => known.by_key.get(key).cloned().map_or(Lookup::Missing, Lookup::Found),
        }
    }

    /// Whether one says that it is Ready.
    pub(in crate::controller) fn is_ready(&self, key: &VaultKey) -> bool {
        self.read().by_key.get(key).is_some_and(|described| described.is_ready())
    }

    /// Those of a namespace, by name.
    pub(super) fn of_namespace(&self, namespace: &str) -> Vec<(VaultKey, Arc<Described>)> {
        let known = self.read();
        let first = VaultKey { namespace: Some(namespace.into()), name: "".into() };
        let from = known.by_key.range(first..);
        let own = from.take_while(|(key, _)| key.namespace.as_deref() == Some(namespace));
        own.map(|(key, described)| (key.clone(), Arc::clone(described))).collect()
    }

    /// Those that describe a connection, be it as one namespace reads through it.
    pub(in crate::controller) fn describing(&self, connection: &Connection) -> Vec<VaultKey> {
        let known = self.read();
        let of_each = of_each(connection);
        let both = [Some(connection), of_each.as_ref()].into_iter().flatten();
        both.filter_map(|connection| known.by_connection.get(connection)).flatten().cloned().collect()
    }

    /// Keeps what an object says, unless the watch is behind what we wrote.
    pub(super) fn keep<K: ConnectionKind>(&self, key: &VaultKey, vault: &K, now: Timestamp) {
        let mut known = self.write();
        let before = known.by_key.get(key);
        let version = vault.meta().resource_version.as_deref();
        if before.is_some_and(|before| before.replaced.is_ahead_of(version)) {
            return;
        }
        let described = Described::new(vault, before.map(AsRef::as_ref), now);
        known.remove(key);
        if let Ok(connection) = &described.spec.connection {
            known.by_connection.entry(connection.clone()).or_default().insert(key.clone());
        }
        known.by_key.insert(key.clone(), Arc::new(described));
    }

    /// Keeps what we wrote over `before`, until the watch catches up; unless it has shown something else since.
    pub(super) fn keep_written<K: ConnectionKind>(
        &self,
        key: &VaultKey,
        before: &Described,
        vault: &K,
        now: Timestamp,
    ) {
        if let Some(shown) = self.write().by_key.get_mut(key)
            && shown.resource_version == before.resource_version
        {
            let mut replaced = shown.replaced.clone();
            replaced.write(before.resource_version.as_deref(), vault.meta().resource_version.as_deref());
            *shown = Arc::new(Described { replaced, ..Described::new(vault, Some(before), now) });
        }
    }

    /// It is gone.
    pub(super) fn remove(&self, key: &VaultKey) {
        self.write().remove(key);
    }

    /// `ClusterKeyVault`s are shown from now on; returns whether that is news.
    pub(super) fn shared_are_shown(&self) -> bool {
        let before = std::mem::replace(&mut self.write().shared, SharedKind::Shown);
        before != SharedKind::Shown
    }

    /// `ClusterKeyVault`s cannot be watched; returns whether that is news. What was shown once stands.
    pub(super) fn shared_are_unreadable(&self, why: Unreadable) -> bool {
        let shared = &mut self.write().shared;
        if matches!(shared, SharedKind::Shown) || *shared == SharedKind::Unreadable(why) {
            return false;
        }
        *shared = SharedKind::Unreadable(why);
        true
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        // Nothing under this lock can panic half-way through a change.
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remove(&mut self, key: &VaultKey) {
        let Some(before) = self.by_key.remove(key) else { return };
        let Ok(connection) = &before.spec.connection else { return };
        if let Some(keys) = self.by_connection.get_mut(connection) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_connection.remove(connection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::KeyVault;
    use serde_json::json;

    fn vault(resource_version: &str, network: &str) -> KeyVault {
        serde_json::from_value(json!({
            "apiVersion": "vaultsync.dev/v1alpha1",
            "kind": "KeyVault",
            "metadata": {
                "namespace": "shop", "name": "default", "uid": "1", "generation": 1,
                "resourceVersion": resource_version,
            },
            "spec": { "url": "https://prod.vault.azure.net", "identity": {} },
            "status": { "network": network },
        }))
        .unwrap()
    }

    #[test]
    fn what_we_wrote_stands_until_the_watch_shows_more() {
        let connections = Connections::default();
        let key = vault("1", "Public").key();
        let found = || match connections.find(&key) {
            Lookup::Found(described) => Some(described),
            _ => None,
        };
        let network = || found().and_then(|found| found.status.clone()?.network);
        connections.keep(&key, &vault("1", "Public"), Timestamp::UNIX_EPOCH);
        let before = found().unwrap();
        connections.keep_written(&key, &before, &vault("2", "Private"), Timestamp::UNIX_EPOCH);
        assert_eq!(network().as_deref(), Some("Private"));
        assert_eq!(found().unwrap().resource_version.as_deref(), Some("2"));

        // Once more, and again, before the watch shows the first.
        connections.keep_written(&key, &found().unwrap(), &vault("2a", "Private"), Timestamp::UNIX_EPOCH);
        connections.keep_written(&key, &found().unwrap(), &vault("3", "Public"), Timestamp::UNIX_EPOCH);
        for behind in ["1", "2", "2a"] {
            connections.keep(&key, &vault(behind, "Private"), Timestamp::UNIX_EPOCH);
            assert_eq!(network().as_deref(), Some("Public"), "the watch is behind");
        }
        connections.keep(&key, &vault("3", "Public"), Timestamp::UNIX_EPOCH);

        let before = found().unwrap();
        connections.keep(&key, &vault("5", "Proxy"), Timestamp::UNIX_EPOCH);
        connections.keep_written(&key, &before, &vault("4", "Public"), Timestamp::UNIX_EPOCH);
        assert_eq!(network().as_deref(), Some("Proxy"), "the watch was faster");
        let before = found().unwrap();
        connections.remove(&key);
        connections.keep_written(&key, &before, &vault("6", "Public"), Timestamp::UNIX_EPOCH);
        assert!(found().is_none(), "it went while we wrote");
    }
}
