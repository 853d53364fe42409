//! What one user wants of a source, what it has of it, and what it waits for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::object_key::ObjectKey;
use crate::vault::answer::{Attributes, Stake};

/// What a user was told `Pending` for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wait {
    /// An answer.
    Answer,
    /// That what is known still holds, by a request that begins then or later: a GET, or a page of a sweep that agrees.
    Confirmation(Instant),
    /// A GET that begins then or later.
    Refresh(Instant),
}

/// What became of one source for one user.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::vault::plane) struct Told {
    pub(in crate::vault::plane) user: ObjectKey,
    /// It waited for this.
    pub(in crate::vault::plane) answered: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) interval: Duration,
    /// Mostly what the entry has, and then the same.
    pub(super) known: Option<Arc<Attributes>>,
    /// What the user was handed out last and has not released.
    pub(super) given: Option<Arc<Attributes>>,
    /// What it is owed a wake for.
    pub(super) wait: Option<Wait>,
    /// Was offered the value and has not released it.
    pub(super) holds: bool,
    /// Is offered the value once more though it knows it.
    pub(super) anew: bool,
    /// Was told that the source is unconfirmed for longer than it accepts.
    pub(super) told_stale: bool,
    /// What it has in its Secret.
    pub(super) stake: Stake,
}

impl Subscription {
    pub(super) const fn new(interval: Duration) -> Self {
        Self {
            interval,
            known: None,
            given: None,
            wait: None,
            holds: false,
            anew: false,
            told_stale: false,
            stake: Stake::None,
        }
    }

    /// Whether the user cannot go on with what it knows, if the vault has `seen`.
    pub(super) fn needs(&self, seen: Option<&Attributes>) -> bool {
        self.anew || self.known.is_none() || seen.is_some_and(|seen| self.known.as_deref() != Some(seen))
    }

    /// Whether it waits for a value, and not only to hear that one still holds.
    pub(super) const fn lacks_answer(&self) -> bool {
        matches!(self.wait, Some(Wait::Answer | Wait::Refresh(_)))
    }

    /// Whether a GET begun at `begun` leaves it waiting for a later one.
    pub(super) fn waits_beyond(&self, begun: Instant) -> bool {
        matches!(self.wait, Some(Wait::Confirmation(at) | Wait::Refresh(at)) if begun < at)
    }

    /// Nobody came for the value in time; what is known already is not offered again.
    pub(super) const fn drop_hold(&mut self) {
        self.holds = false;
        self.anew = false;
    }
}
