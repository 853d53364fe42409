//! What this process remembers of an object between two rounds; all of it can be lost at any time.

use super::watch::Replaced;
use crate::api::{SYNC_REQUESTED_ANNOTATION, VaultSecretSync, fnv1a};
use crate::object_key::ObjectKey;
use crate::plan::{Kept, Progress};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory of one object. What few objects have is boxed.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// The hash of the uid whose memory it is: an object of the same name with another uid starts without one.
    uid: u64,
    /// What the last round left for the next.
    pub(super) kept: Kept,
    /// The result of our last write of status, until the watch has caught up with it.
    pub(super) written: Option<Box<(Replaced, Arc<VaultSecretSync>)>>,
    /// How far its workloads are with what has changed.
    pub(super) rollout: Option<Box<Progress>>,
    /// Failures in a row.
    pub(super) failures: u32,
}

/// The memories of all objects, and whose target is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Memories(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Boxed: a table has room to spare.
    objects: HashMap<ObjectKey, Box<Memory>>,
    probes: BTreeSet<ObjectKey>,
    /// The resourceVersion at which a watch showed their target, of those whose next round is to compare it; `None`: gone.
    moved: HashMap<ObjectKey, Option<String>>,
    /// Rounds under way, with the resourceVersion that the watch last showed since they began.
    rounds: HashMap<ObjectKey, Option<String>>,
}

impl Memories {
    /// The memory of an object; a fresh one where it is of another uid.
    pub(super) fn of(&self, key: &ObjectKey, uid: &str) -> Memory {
        let uid = fnv1a(uid.as_bytes());
        let mut inner = self.lock();
        inner.rounds.insert(key.clone(), None);
        let known =
            inner.objects.get(key).filter(|memory| memory.uid == uid).map(|memory| (**memory).clone());
        known.unwrap_or_else(|| Memory { uid, ..Memory::default() })
    }

    /// Keeps the memory of an object; its round is over.
    pub(super) fn keep(&self, key: ObjectKey, mut memory: Memory) {
        let mut inner = self.lock();
        if let Some(version) = inner.rounds.remove(&key).flatten() {
            memory.caught_up(&version);
        }
        inner.objects.insert(key, Box::new(memory));
    }

    /// The watch shows an object at this resourceVersion: a whole object that we keep because the watch was behind is
    /// kept no longer.
    pub(super) fn shown(&self, key: &ObjectKey, version: &str) {
        let mut inner = self.lock();
        if let Some(round) = inner.rounds.get_mut(key) {
            *round = Some(version.to_owned());
        }
        if let Some(memory) = inner.objects.get_mut(key) {
            memory.caught_up(version);
        }
    }

    /// Counts one more failure; returns how many there were in a row. Of an object that is gone nothing is kept.
    pub(super) fn count_failure(&self, key: &ObjectKey) -> u32 {
        let mut inner = self.lock();
        let Some(memory) = inner.objects.get_mut(key) else { return 1 };
        memory.failures = memory.failures.saturating_add(1);
        memory.failures
    }

    /// Whether the object had a round.
    pub(super) fn contains(&self, key: &ObjectKey) -> bool {
        self.lock().objects.contains_key(key)
    }

    /// Drops the memory of an object that is gone.
    pub(super) fn forget(&self, key: &ObjectKey) {
        let mut inner = self.lock();
        inner.objects.remove(key);
        inner.probes.remove(key);
        inner.moved.remove(key);
        inner.rounds.remove(key);
    }

    /// A watch shows the target of an object at this resourceVersion; `None`: it is gone. Returns whether the object is to
    /// look: not where it left the target so.
    pub(super) fn target_moved(&self, key: &ObjectKey, version: Option<&str>) -> bool {
        let mut inner = self.lock();
        let known = inner.objects.get(key).and_then(|memory| memory.kept.target_version());
        // Of a round under way it is not known yet what it leaves.
        let is_news = inner.rounds.contains_key(key) || version.is_none() || known != version;
        if is_news {
            inner.moved.insert(key.clone(), version.map(str::to_owned));
        }
        is_news
    }

    /// The next round of this object is to look at its target.
    pub(super) fn want_probe(&self, key: ObjectKey) {
        self.lock().probes.insert(key);
    }

    /// Whether this round is to look at the target: it is its turn, or a watch showed it otherwise than at the resourceVersion
    /// at which it is `expected`. Asked once.
    pub(super) fn take_probe(&self, key: &ObjectKey, expected: Option<&str>) -> bool {
        let mut inner = self.lock();
        let moved = inner.moved.remove(key);
        let moved = moved.is_some_and(|version| version.is_none() || version.as_deref() != expected);
        inner.probes.remove(key) || moved
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// What the watch shows is what we wrote, or newer.
    fn caught_up(&mut self, version: &str) {
        self.written.take_if(|written| !written.0.is_ahead_of(Some(version)));
    }

    /// We wrote the object over this resourceVersion of it.
    pub(super) fn wrote(&mut self, before: Option<&str>, object: VaultSecretSync) {
        let mut replaced = self.written.take().map(|written| written.0).unwrap_or_default();
        replaced.write(before, object.metadata.resource_version.as_deref());
        self.written = (!replaced.is_empty()).then(|| Box::new((replaced, Arc::new(pruned(object)))));
    }

    /// The newer of what the watch shows and what we last wrote.
    pub(super) fn newest(&mut self, shown: &Arc<VaultSecretSync>) -> Arc<VaultSecretSync> {
        let version = shown.metadata.resource_version.as_deref();
        self.written.take_if(|written| !written.0.is_ahead_of(version));
        self.written.as_ref().map_or_else(|| Arc::clone(shown), |written| Arc::clone(&written.1))
    }
}

/// What is kept of an object in memory: all that a round reads, and nothing else.
pub(super) fn pruned(mut object: VaultSecretSync) -> VaultSecretSync {
    let metadata = &mut object.metadata;
    metadata.managed_fields = None;
    metadata.labels = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| name == SYNC_REQUESTED_ANNOTATION);
    }
    // A list that was read from JSON has room for four items, and mostly one.
    object.spec.data.shrink_to_fit();
    object.spec.data_from.shrink_to_fit();
    if let Some(status) = &mut object.status {
        status.conditions.shrink_to_fit();
        status.entries.shrink_to_fit();
        if let Some(target) = &mut status.target {
            target.keys.shrink_to_fit();
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::VaultSecretSyncSpec;
    use serde_json::json;

    fn object(version: &str) -> VaultSecretSync {
        let spec: VaultSecretSyncSpec = serde_json::from_value(json!({"data": []})).unwrap();
        let mut object = VaultSecretSync::new("shop", spec);
        object.metadata.resource_version = Some(version.to_owned());
        object
    }

    fn written(before: &str) -> Memory {
        let mut memory = Memory { uid: fnv1a(b""), ..Memory::default() };
        memory.wrote(Some(before), object("9"));
        memory
    }

    #[test]
    fn an_object_and_its_two_counters_fit_into_one_kibibyte() {
        // The next block that an allocator has is of 1280 bytes, for each of tens of thousands of objects.
        let counters = 2 * size_of::<usize>();
        assert!(size_of::<VaultSecretSync>() + counters <= 1024, "{}", size_of::<VaultSecretSync>());
    }

    #[test]
    fn failures_are_counted_for_an_object_that_is_there() {
        let key = ObjectKey::new("shop", "shop");
        let memories = Memories::default();
        let memory = memories.of(&key, "");
        memories.keep(key.clone(), memory);
        assert_eq!([memories.count_failure(&key), memories.count_failure(&key)], [1, 2]);
        memories.forget(&key);
        assert_eq!([memories.count_failure(&key), memories.count_failure(&key)], [1, 1]);
        let inner = memories.lock();
        assert!(inner.objects.is_empty() && inner.rounds.is_empty() && inner.probes.is_empty());
    }

    #[test]
    fn what_we_wrote_is_kept_until_the_watch_shows_it_be_that_during_the_round_or_after() {
        let key = ObjectKey::new("shop", "shop");
        let memories = Memories::default();
        let kept = || memories.of(&key, "").written.is_some();
        memories.of(&key, "");
        memories.keep(key.clone(), written("1"));
        memories.shown(&key, "1");
        assert!(kept(), "the watch is still behind");
        memories.keep(key.clone(), written("1"));
        memories.shown(&key, "2");
        assert!(!kept());
        memories.shown(&key, "3");
        memories.keep(key.clone(), written("2"));
        assert!(!kept(), "shown while the round was under way");
    }

    #[test]
    fn a_watch_that_is_two_writes_behind_does_not_show_more_than_we_know() {
        let mut memory = Memory::default();
        memory.wrote(Some("1"), object("2"));
        memory.wrote(Some("2"), object("3"));
        for shown in ["1", "2"] {
            let newest = memory.newest(&Arc::new(object(shown)));
            assert_eq!(newest.metadata.resource_version.as_deref(), Some("3"), "{shown}");
        }
        let newest = memory.newest(&Arc::new(object("3")));
        assert!(memory.written.is_none() && newest.metadata.resource_version.as_deref() == Some("3"));
    }
}
