//! A source that was there and is gone: since when, and how that counts when many are.

use std::time::{Duration, Instant};

use super::Entry;
use crate::vault::{answer::Stake, failure::Failure};

/// How a source stands among those that were there.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in crate::vault::plane) enum Presence {
    /// It was not read since.
    Unread,
    /// It was read since, and is there.
    There,
    /// It is gone.
    Gone,
}

impl Entry {
    /// Since when it is known to be gone, if it was there before.
    pub(in crate::vault::plane) const fn gone_since(&self) -> Option<Instant> {
        self.gone_since
    }

    /// How it stands, as of `since`; `None`: it never was there, is gone for longer than the `span` before that, or says
    /// something of its own.
    pub(in crate::vault::plane) fn presence(&self, since: Instant, span: Duration) -> Option<Presence> {
        if !self.was_there() {
            return None;
        }
        match &self.failure {
            Some(failure) if failure.is_missing() => {
                let recent = self.gone_since.is_none_or(|gone| gone + span >= since);
                (recent || self.is_held()).then_some(Presence::Gone)
            }
            Some(_) => None,
            // As another process said.
            None if self.is_held() => Some(Presence::Gone),
            // It is read no more, so nothing says that it is there.
            None if self.pinned => None,
            None if self.read_at.max(self.swept_at).is_some_and(|at| at >= since) => Some(Presence::There),
            None => Some(Presence::Unread),
        }
    }

    /// Whether a user says that its keys are held, and no answer says otherwise.
    pub(in crate::vault::plane) fn is_held(&self) -> bool {
        let gone = self.failure.as_deref().map_or_else(|| self.read_at.is_none(), Failure::is_missing);
        gone && self.subscriptions.values().any(|subscription| subscription.stake == Stake::Held)
    }

    /// The source is gone, by an answer at `now`.
    pub(super) fn is_missed(&mut self, now: Instant) {
        if self.was_there() {
            self.gone_since.get_or_insert(now);
        }
    }

    /// Whether any user has, or had, a value of it.
    pub(in crate::vault::plane) fn was_there(&self) -> bool {
        let has_any = |stake: Stake| stake != Stake::None;
        self.attributes.is_some() || self.subscriptions.values().any(|user| has_any(user.stake))
    }
}
