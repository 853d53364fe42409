//! What a process keeps of an object from one round to the next.

use super::outcome::Outcome;
use super::picture::Flaw;
use super::target::Verified;
use crate::api::{Fingerprint, VaultSecretSync, VaultSecretSyncStatus};
use crate::vault::doubled;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// See the module. All of it can be lost at any time.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The target as we last left it, or found it in order.
    pub(super) verified: Option<Verified>,
    /// The request for a sync that the plane was told of.
    pub(super) refreshed: Option<String>,
    /// The hash of the record of the target that this process said, or began with.
    pub(super) recorded: Option<u64>,
    /// What few objects have.
    pub(super) open: Option<Box<Open>>,
}

impl Kept {
    /// The resourceVersion of the target as this process last left or saw it.
    #[must_use]
    pub fn target_version(&self) -> Option<&str> {
        self.verified.as_ref().map(|verified| verified.resource_version.as_str())
    }

    /// The same, or as status records it, where this process did neither.
    #[must_use]
    pub fn expects<'a>(&'a self, object: &'a VaultSecretSync) -> Option<&'a str> {
        let target = object.status.as_ref().and_then(|status| status.target.as_ref());
        self.target_version().or_else(|| target.map(|target| target.resource_version.as_str()))
    }
}

/// What a round leaves open.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Open {
    /// The generation whose sources `demanded` names.
    pub(super) generation: Option<i64>,
    /// Sources whose value was demanded, by index. The next round demands the same, or the plane drops them.
    pub(super) demanded: BTreeSet<usize>,
    /// Whether the target was looked at: what was seen there is to be seen again.
    pub(super) looked: bool,
    /// The resourceVersion of the target for which every source is read again.
    pub(super) anew: Option<String>,
    /// Values that were read and give no key, by the fingerprint of what they would make.
    pub(super) judged: BTreeMap<Fingerprint, Flaw>,
    /// The picture that was answered whole and could not be written.
    pub(super) blocked: Option<Fingerprint>,
    /// Since when the Secret is known to differ while its values cannot be had.
    pub(super) drifted: Option<Timestamp>,
    /// An earlier process said that what is known is confirmed no longer.
    pub(super) stale: bool,
    /// The writes that were refused since the last that was taken, because of the target or of who writes.
    pub(super) refused: Option<Denied>,
    /// Those that were too large, or not even tried because they would be.
    pub(super) too_large: Option<Denied>,
    /// What could not be said yet.
    pub(super) unsaid: Option<(VaultSecretSyncStatus, Outcome)>,
}

/// Writes in a row that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Denied {
    count: u32,
    last: Timestamp,
}

/// The first and the longest wait after a refused write.
const HELD_BACK: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// The longest wait of who asks for a sync by hand.
const HELD_BACK_BY_HAND: Duration = Duration::from_secs(3);

impl Denied {
    /// One more.
    pub(super) fn again(before: Option<Self>, now: Timestamp) -> Self {
        Self { count: before.map_or(0, |denied| denied.count).saturating_add(1), last: now }
    }

    /// How long from `now` until a write may be tried again; `by_hand`: because somebody asks for it.
    pub(super) fn holds_back_for(self, by_hand: bool, now: Timestamp) -> Option<Duration> {
        let wait = doubled(HELD_BACK, self.count.saturating_sub(1));
        let wait = if by_hand { wait.min(HELD_BACK_BY_HAND) } else { wait };
        let since = Duration::try_from(now.duration_since(self.last)).unwrap_or_default();
        wait.checked_sub(since).filter(|left| !left.is_zero())
    }
}

impl Kept {
    /// The object as this process knows it: what it wrote and could not say yet is so all the same.
    #[must_use]
    pub fn known(&self, stored: &Arc<VaultSecretSync>) -> Arc<VaultSecretSync> {
        match self.open.as_ref().and_then(|open| open.unsaid.as_ref()) {
            Some((status, _)) => {
                Arc::new(VaultSecretSync { status: Some(status.clone()), ..(**stored).clone() })
            }
            None => Arc::clone(stored),
        }
    }

    /// Whether something is still to be said.
    #[cfg(test)]
    pub(crate) fn is_unsaid(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.unsaid.is_some())
    }

    /// Keeps a status that could not be written, if there was one: the next round tries to say it again, and reads
    /// nothing for it.
    pub fn not_said(&mut self, status: Option<&VaultSecretSyncStatus>, outcome: Outcome) {
        let unsaid = status.cloned().map(|status| (status, outcome));
        *self = std::mem::take(self).open(|open| open.unsaid = unsaid);
    }

    pub(super) fn set_open(&mut self, open: Open) {
        self.open = (open != Open::default()).then(|| Box::new(open));
    }

    /// Changes what is left open.
    pub(super) fn open(mut self, change: impl FnOnce(&mut Open)) -> Self {
        let mut open = self.open.take().map(|open| *open).unwrap_or_default();
        change(&mut open);
        self.set_open(open);
        self
    }
}
