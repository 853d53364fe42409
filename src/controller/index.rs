//! What the watch has shown of all objects: who claims which target, who uses which connection, who can be probed.
//!
//! Two objects and one target are decided here, without an API call: the one that wrote it already has it, for the mark
//! on the Secret does not change hands; then the older, then the lesser name. Those that only add keys share it, unless one
//! of the others has it.

mod held;
mod share;

use crate::api::{Deletion, READY, VaultKind, VaultRef, VaultSecretSync, condition};
use crate::object_key::ObjectKey;
use crate::reason::Reason;
use jiff::Timestamp;
use kube::runtime::watcher::Event;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use held::HeldByVault;
pub(super) use share::{Departure, Share};

/// Names a connection: a `KeyVault` by namespace and name, a `ClusterKeyVault` by its name alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct VaultKey {
    pub(super) namespace: Option<Arc<str>>,
    pub(super) name: Arc<str>,
}

impl VaultKey {
    /// What an object of a namespace means by `vault`.
    pub(super) fn of(namespace: &str, vault: &VaultRef) -> Self {
        let namespace = match vault.kind {
            VaultKind::KeyVault => Some(namespace.into()),
            VaultKind::ClusterKeyVault => None,
        };
        Self { namespace, name: vault.name.as_str().into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Indexed {
    target: Arc<str>,
    /// The connections that it uses.
    vaults: Arc<[VaultKey]>,
    created: Timestamp,
    /// What it has in its target, if that is another's.
    share: Option<Arc<Share>>,
    /// Whether it wrote its target, by its status or by the mark on the Secret.
    wrote: bool,
    /// Whether somebody saw its mark on the target.
    marked: bool,
    /// Whether there is a target to look at.
    probed: bool,
    /// The removals that its status says are held.
    held: Option<Box<HeldByVault>>,
}

/// A claim on a target; the least is the best: whether it only adds keys, whether it did not write it yet, when it was
/// created, its name.
type Claim = (bool, bool, Timestamp, Arc<str>);

/// The index; shared by the watch, which feeds it, and everyone who asks.
#[derive(Debug, Default)]
pub(super) struct ObjectIndex(Mutex<ObjectMaps>);

#[derive(Debug, Default)]
struct ObjectMaps {
    objects: BTreeMap<ObjectKey, Indexed>,
    /// (namespace, target) to the claims on it, the best first.
    claims: HashMap<ObjectKey, Vec<Claim>>,
    /// The objects that use a connection. Ordered, so that those of one namespace are found at once.
    users: BTreeMap<VaultKey, BTreeSet<ObjectKey>>,
    /// The names of namespaces and connections, of which there are few to many objects.
    names: Once<str>,
    /// The same of the connections of one object.
    vaults: Once<[VaultKey]>,
    /// Per scope, what a relist has shown so far.
    relists: HashMap<Option<String>, BTreeSet<ObjectKey>>,
    /// The scopes of which all was shown once.
    listed: HashSet<Option<String>>,
}

/// What a watch event means for others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Consequences {
    /// Objects that should look again.
    pub(super) wake: Vec<ObjectKey>,
    /// Objects that are gone.
    pub(super) gone: Vec<ObjectKey>,
    /// Those of them that leave keys in a Secret of another's.
    pub(super) departures: Vec<Departure>,
    /// Connections of which more removals are held, or fewer.
    pub(super) held: Vec<VaultKey>,
}

impl ObjectIndex {
    /// Takes in one event of the watch of `scope` (a namespace, or all).
    pub(super) fn observe(&self, scope: Option<&str>, event: &Event<VaultSecretSync>) -> Consequences {
        let mut inner = self.lock();
        let mut change = Consequences::default();
        let scope = scope.map(str::to_owned);
        match event {
            Event::Init => {
                inner.relists.insert(scope, BTreeSet::new());
            }
            Event::InitApply(object) => {
                let key = key_of(object);
                inner.relists.entry(scope).or_default().insert(key.clone());
                inner.apply(key, object, &mut change);
            }
            Event::InitDone => {
                let shown = inner.relists.remove(&scope).unwrap_or_default();
                inner.listed.insert(scope.clone());
                let within =
                    |key: &&ObjectKey| scope.as_ref().is_none_or(|namespace| **namespace == *key.namespace);
                let gone: Vec<ObjectKey> = inner
                    .objects
                    .keys()
                    .filter(within)
                    .filter(|key| !shown.contains(*key))
                    .cloned()
                    .collect();
                for key in gone {
                    inner.remove(&key, &mut change);
                }
            }
            Event::Apply(object) => inner.apply(key_of(object), object, &mut change),
            Event::Delete(object) => inner.remove(&key_of(object), &mut change),
        }
        change
    }

    /// The object with a better claim to this object's target.
    pub(super) fn rival(&self, object: &VaultSecretSync) -> Option<String> {
        let key = key_of(object);
        let target = key.beside(object.target_name());
        let inner = self.lock();
        let (merges, not_written, _, best) = inner.claims.get(&target)?.first()?;
        let shares = object.spec.target.merges() && (*merges || *not_written);
        (*best != key.name && !shares).then(|| best.to_string())
    }

    /// Whether an object of this key has this target.
    pub(super) fn has_target(&self, key: &ObjectKey, target: &str) -> bool {
        self.lock().objects.get(key).is_some_and(|entry| *entry.target == *target)
    }

    /// The Secret `target` was seen with the mark of `owner`: it has that Secret, though its status was lost. Returns the
    /// objects that should look again.
    pub(super) fn marked(&self, owner: &ObjectKey, target: &str) -> Vec<ObjectKey> {
        let mut inner = self.lock();
        let mut change = Consequences::default();
        if let Some(entry) = inner.objects.get(owner).filter(|entry| *entry.target == *target) {
            let entry = Indexed { wrote: true, marked: true, ..entry.clone() };
            inner.put(owner.clone(), entry, &mut change);
        }
        change.wake
    }

    /// The objects that use a connection.
    pub(super) fn users(&self, vault: &VaultKey) -> Vec<ObjectKey> {
        self.lock().users.get(vault).into_iter().flatten().cloned().collect()
    }

    /// The objects that use any `ClusterKeyVault`; of one namespace, or of all.
    pub(super) fn all_cluster_users(&self, namespace: Option<&str>) -> Vec<ObjectKey> {
        let inner = self.lock();
        // None is less than any namespace.
        let shared = inner.users.iter().take_while(|(vault, _)| vault.namespace.is_none());
        let users = shared.flat_map(|(_, users)| users);
        let users = users.filter(|user| namespace.is_none_or(|namespace| *user.namespace == *namespace));
        users.cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether any object uses a connection.
    pub(super) fn is_used(&self, vault: &VaultKey) -> bool {
        self.lock().users.contains_key(vault)
    }

    /// The namespaces with objects that use a connection, in order.
    pub(super) fn namespaces_of(&self, vault: &VaultKey) -> Vec<String> {
        let inner = self.lock();
        let users = inner.users.get(vault);
        let mut namespaces: Vec<String> = Vec::new();
        for user in users.into_iter().flatten() {
            if namespaces.last().is_none_or(|last| **last != *user.namespace) {
                namespaces.push(user.namespace.to_string());
            }
        }
        namespaces
    }

    /// The `KeyVault`s of a namespace that objects use, whether they exist or not.
    pub(super) fn vaults_in_use(&self, namespace: &str) -> Vec<VaultKey> {
        let first = VaultKey { namespace: Some(namespace.into()), name: "".into() };
        let inner = self.lock();
        let from = inner.users.range(first..).map(|(vault, _)| vault);
        from.take_while(|vault| vault.namespace.as_deref() == Some(namespace)).cloned().collect()
    }

    /// How many objects have a target to look at.
    pub(super) fn probed(&self) -> usize {
        self.lock().objects.values().filter(|entry| entry.probed).count()
    }

    /// The next object with a target to look at after `key`, round and round.
    pub(super) fn next_probed(&self, key: Option<&ObjectKey>) -> Option<ObjectKey> {
        use std::ops::Bound::{Excluded, Unbounded};
        let inner = self.lock();
        let after = key.map_or(Unbounded, Excluded);
        let round = inner.objects.range::<ObjectKey, _>((after, Unbounded)).chain(&inner.objects);
        round.into_iter().find(|(_, entry)| entry.probed).map(|(key, _)| key.clone())
    }

    /// Whether the watch has shown the object and not yet its end.
    pub(super) fn contains(&self, key: &ObjectKey) -> bool {
        self.lock().objects.contains_key(key)
    }

    /// The key of an object, as it is kept here if the watch has shown it: what others keep for it shares the names.
    pub(super) fn shared_key_of(&self, object: &VaultSecretSync) -> ObjectKey {
        let key = key_of(object);
        self.lock().objects.get_key_value(&key).map_or(key, |(known, _)| known.clone())
    }

    fn lock(&self) -> MutexGuard<'_, ObjectMaps> {
        // Nothing under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ObjectMaps {
    /// The names of the others that add keys to a Secret.
    fn sharing(&self, key: &ObjectKey, target: &str) -> impl Iterator<Item = &Arc<str>> {
        let claims = self.claims.get(&key.beside(target)).into_iter().flatten();
        claims.filter(|(merges, _, _, name)| *merges && *name != key.name).map(|(.., name)| name)
    }

    fn apply(&mut self, key: ObjectKey, object: &VaultSecretSync, change: &mut Consequences) {
        let key = match self.objects.get_key_value(&key) {
            Some((known, _)) => known.clone(),
            None => ObjectKey { namespace: self.names.shared(&key.namespace), ..key },
        };
        let vaults = object.spec.vault_refs().into_iter().map(|vault| {
            let VaultKey { namespace, name } = VaultKey::of(&key.namespace, vault);
            let namespace = namespace.map(|_| Arc::clone(&key.namespace));
            VaultKey { namespace, name: self.names.shared(&name) }
        });
        let vaults = self.vaults.shared(&vaults.collect());
        let target = object.target_name();
        let marked = self.objects.get(&key).is_some_and(|old| old.marked && *old.target == *target);
        let entry = Indexed {
            target: if *target == *key.name { Arc::clone(&key.name) } else { target.into() },
            vaults,
            created: object.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            share: Share::of(object).map(Arc::new),
            wrote: marked || wrote_target(object),
            marked,
            probed: has_target(object),
            held: held::held(&key.namespace, object),
        };
        self.put(key, entry, change);
    }

    fn put(&mut self, key: ObjectKey, entry: Indexed, change: &mut Consequences) {
        let old = self.objects.get(&key);
        if old == Some(&entry) {
            return;
        }
        let held = old.and_then(|old| old.held.as_ref());
        if held != entry.held.as_ref() {
            let both = [held, entry.held.as_ref()].into_iter().flatten();
            change.held.extend(both.flat_map(|held| held.keys().cloned()));
        }
        let reordered = old.is_some_and(|old| old.wrote != entry.wrote);
        // Names of the same namespace cannot be taken over by an edit: target and vault of the old entry go first.
        self.unlink(&key);
        let claim = entry.claim(&key.name);
        let claims = self.claims.entry(entry.target_of(&key)).or_default();
        // Nearly always the only one.
        claims.reserve_exact(1);
        claims.insert(claims.partition_point(|other| *other < claim), claim);
        if reordered && claims.len() > 1 {
            change.wake.extend(claims.iter().map(|(.., name)| key.beside(Arc::clone(name))));
        }
        for vault in entry.vaults.iter() {
            self.users.entry(vault.clone()).or_default().insert(key.clone());
        }
        self.objects.insert(key, entry);
    }

    fn remove(&mut self, key: &ObjectKey, change: &mut Consequences) {
        let Some(entry) = self.unlink(key) else { return };
        let losers = self.claims.get(&entry.target_of(key)).into_iter().flatten();
        change.wake.extend(losers.map(|(.., name)| key.beside(Arc::clone(name))));
        change.gone.push(key.clone());
        change.held.extend(entry.held.into_iter().flat_map(|held| held.into_keys()));
        let share = entry.share.filter(|share| share.deletion == Deletion::Delete);
        change.departures.extend(share.map(|share| Departure {
            key: key.clone(),
            target: entry.target,
            keys: share.recorded.clone(),
        }));
    }

    fn unlink(&mut self, key: &ObjectKey) -> Option<Indexed> {
        let entry = self.objects.remove(key)?;
        unlink_claim(&mut self.claims, &entry.target_of(key), &entry.claim(&key.name));
        for vault in entry.vaults.iter() {
            if let Some(users) = self.users.get_mut(vault) {
                users.remove(key);
                if users.is_empty() {
                    self.users.remove(vault);
                }
            }
        }
        Some(entry)
    }
}

/// What many keep, each once for all of them.
#[derive(Debug)]
struct Once<T: ?Sized>(HashSet<Arc<T>>);

impl<T: ?Sized> Default for Once<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: ?Sized + Eq + Hash> Once<T> {
    fn shared(&mut self, own: &Arc<T>) -> Arc<T> {
        if let Some(known) = self.0.get(own) {
            return Arc::clone(known);
        }
        if self.0.len() == self.0.capacity() {
            // Before it grows: what nobody keeps any more goes.
            self.0.retain(|known| Arc::strong_count(known) > 1);
        }
        self.0.insert(Arc::clone(own));
        Arc::clone(own)
    }
}

impl Indexed {
    fn claim(&self, name: &Arc<str>) -> Claim {
        (self.share.is_some(), !self.wrote, self.created, Arc::clone(name))
    }

    /// The target's key.
    fn target_of(&self, key: &ObjectKey) -> ObjectKey {
        key.beside(Arc::clone(&self.target))
    }
}

fn wrote_target(object: &VaultSecretSync) -> bool {
    let target = object.status.as_ref().and_then(|status| status.target.as_ref());
    target.is_some_and(|target| target.name == object.target_name())
}

fn unlink_claim(claims: &mut HashMap<ObjectKey, Vec<Claim>>, target: &ObjectKey, claim: &Claim) {
    if let Some(of_target) = claims.get_mut(target) {
        of_target.retain(|other| other != claim);
        if of_target.is_empty() {
            claims.remove(target);
        }
    }
}

fn has_target(object: &VaultSecretSync) -> bool {
    let Some(status) = &object.status else { return false };
    let ready = condition(&status.conditions, READY).and_then(|ready| ready.reason.parse().ok());
    status.target.is_some() || ready.is_some_and(Reason::blocks_target)
}

/// Namespace and name of an object.
pub(super) fn key_of(object: &VaultSecretSync) -> ObjectKey {
    let metadata = &object.metadata;
    let shared = |name: &Option<String>| Arc::from(name.as_deref().unwrap_or_default());
    ObjectKey { namespace: shared(&metadata.namespace), name: shared(&metadata.name) }
}

#[cfg(test)]
mod tests;
