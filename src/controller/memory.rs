//! What this process remembers of an object between two rounds; all of it can be lost at any time.

use super::index::Key;
use crate::api::VaultSecretSync;
use crate::plan::Verified;
use crate::vault::Attributes;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The memory of one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Whose memory it is: an object of the same name with another uid starts anew.
    pub(super) uid: String,
    /// The target as we last left it, or found it in order.
    pub(super) verified: Option<Verified>,
    /// Our last write of status, until the watch has caught up: the resourceVersion it replaced, and its result.
    pub(super) written: Option<(String, Arc<VaultSecretSync>)>,
    /// The request for a sync that the plane was told of.
    pub(super) refreshed: Option<String>,
    /// What the last round left open.
    pub(super) unfinished: Option<Unfinished>,
    /// The last round ended blocked.
    pub(super) blocked: Option<Blocked>,
    /// Failures in a row.
    pub(super) failures: u32,
}

/// A round that had all its answers and could write nothing.
#[derive(Clone, Debug)]
pub(super) struct Blocked {
    /// The generation that was judged.
    pub(super) generation: Option<i64>,
    /// What was seen of each source.
    pub(super) judged: Vec<Option<Attributes>>,
}

/// A round that waits for values: the next one has to ask for them again, or they are dropped as unwanted, and to
/// look at the target again, or what made them necessary is forgotten.
#[derive(Clone, Debug)]
pub(super) struct Unfinished {
    /// The generation whose sources are meant.
    pub(super) generation: Option<i64>,
    /// The sources whose value was demanded, by index.
    pub(super) demanded: BTreeSet<usize>,
    /// Whether the round had looked at the target.
    pub(super) looked: bool,
    /// The resourceVersion of the target for which every source is read anew.
    pub(super) rechecked: Option<String>,
}

/// The memories of all objects, and whose target is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Memories(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<Key, Memory>,
    probes: BTreeSet<Key>,
}

impl Memories {
    /// The memory of an object; a fresh one where it is of another uid.
    pub(super) fn of(&self, key: &Key, uid: &str) -> Memory {
        let known = self.lock().objects.get(key).filter(|memory| memory.uid == uid).cloned();
        known.unwrap_or_else(|| Memory { uid: uid.to_owned(), ..Memory::default() })
    }

    /// Keeps the memory of an object.
    pub(super) fn keep(&self, key: Key, memory: Memory) {
        self.lock().objects.insert(key, memory);
    }

    /// Counts one more failure; returns how many there were in a row.
    pub(super) fn count_failure(&self, key: &Key) -> u32 {
        let mut inner = self.lock();
        let memory = inner.objects.entry(key.clone()).or_default();
        memory.failures = memory.failures.saturating_add(1);
        memory.failures
    }

    /// Drops the memory of an object that is gone.
    pub(super) fn forget(&self, key: &Key) {
        let mut inner = self.lock();
        inner.objects.remove(key);
        inner.probes.remove(key);
    }

    /// The next round of this object is to look at its target.
    pub(super) fn want_probe(&self, key: Key) {
        self.lock().probes.insert(key);
    }

    /// Whether this round is to look at the target; asked once.
    pub(super) fn take_probe(&self, key: &Key) -> bool {
        self.lock().probes.remove(key)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// The newer of what the watch shows and what we last wrote.
    pub(super) fn newest(&mut self, shown: &Arc<VaultSecretSync>) -> Arc<VaultSecretSync> {
        match &self.written {
            Some((replaced, ours)) if shown.metadata.resource_version.as_ref() == Some(replaced) => {
                Arc::clone(ours)
            }
            _ => {
                self.written = None;
                Arc::clone(shown)
            }
        }
    }
}
