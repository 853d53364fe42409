//! Failures that may be of this source alone: refusals, and what looks like one of the whole vault while others succeed.

use std::time::Instant;

use super::{
    Entry,
    subscription::{Subscription, Told, Wait},
};
use crate::object_key::ObjectKey;
use crate::vault::{
    failure::Failure,
    limits::{Limits, doubled},
};

/// So many failures in a row while others succeed are the source's own.
const ALONE: u32 = 3;

impl Entry {
    /// Who waits and has nothing yet.
    pub(in crate::vault::plane) fn newcomers(&self) -> impl Iterator<Item = &ObjectKey> {
        let waits = |subscription: &Subscription| subscription.wait.is_some() && subscription.known.is_none();
        self.subscriptions.iter().filter(move |(_, subscription)| waits(subscription)).map(|(user, _)| user)
    }

    /// A GET that began at `begun` failed as if the whole vault did, but others succeeded. Returns who has to hear of it.
    pub(in crate::vault::plane) fn failed_alone(
        &mut self,
        failure: Failure,
        begun: Instant,
        now: Instant,
        limits: &Limits,
    ) -> Vec<Told> {
        self.alone = self.alone.saturating_add(1);
        if self.fails_alone() {
            return self.fail(failure, begun, now);
        }
        self.retry_at = Some(now + doubled(limits.retry, self.alone - 1));
        Vec::new()
    }

    /// Whether it failed so often while others succeeded that this is told of it alone.
    pub(in crate::vault::plane) const fn fails_alone(&self) -> bool {
        self.alone >= ALONE
    }

    /// Until when a source that fails by itself is left alone, if it is.
    pub(in crate::vault::plane) fn alone_until(&self, limits: &Limits) -> Option<Instant> {
        let begun = self.tried_at.filter(|_| self.fails_alone())?;
        let (first, longest) = limits.retry;
        Some(begun + doubled((first, longest.max(self.interval()?)), self.alone - 1))
    }

    /// Whether the last answer was a refusal, if there was one.
    pub(in crate::vault::plane) fn refused(&self) -> Option<bool> {
        self.read_at.map(|_| self.refusals > 0)
    }

    /// A GET that began at `begun` was refused for want of a permission, be it of this source or of all. One that came
    /// before its time, for somebody asked or the gate was tried with it, does not make the next wait longer.
    pub(in crate::vault::plane) fn refuse(&mut self, begun: Instant, limits: &Limits) {
        if self.refused_until(limits).is_none_or(|until| begun >= until) {
            self.refusals = self.refusals.saturating_add(1);
        }
        self.read_at = Some(begun);
    }

    /// Until when a source that is refused is left alone, if it is.
    pub(super) fn refused_until(&self, limits: &Limits) -> Option<Instant> {
        let before = self.refusals.checked_sub(1)?;
        Some(self.read_at? + doubled(limits.refused_retry, before))
    }

    /// The refusal of this source turned out to be one of the whole handle. Returns its users.
    pub(in crate::vault::plane) fn withdraw_refusal(&mut self) -> Vec<ObjectKey> {
        if self.refusals == 0 {
            return Vec::new();
        }
        self.failure = None;
        for subscription in self.subscriptions.values_mut() {
            if subscription.wait.is_none() && subscription.needs(self.attributes.as_deref()) {
                subscription.wait = Some(Wait::Answer);
            }
        }
        self.subscriptions.users().cloned().collect()
    }
}
