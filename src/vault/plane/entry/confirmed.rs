//! For how long a source is unconfirmed, and when that is worth a word.

use std::time::{Duration, Instant};

use super::Entry;
use crate::object_key::ObjectKey;

impl Entry {
    /// For how long the source is unconfirmed, if that is longer than `user` accepts or `failing`. A pinned version
    /// that was read needs no confirmation. Of what was said to be stale before this process began, for ever.
    pub(in crate::vault::plane) fn unconfirmed_for(
        &mut self,
        user: &ObjectKey,
        failing: bool,
        said_stale: bool,
        now: Instant,
    ) -> Option<Duration> {
        let age = self.staleness(now);
        let proved = self.confirmed.is_some();
        let subscription = self.subscriptions.get_mut(user)?;
        if said_stale && !proved {
            subscription.told_stale = age.is_some();
            return age.map(|_| Duration::MAX);
        }
        // Half an interval of grace: a read that is just under way is not late.
        let late = |age: Duration| failing || age > subscription.interval.mul_f64(1.5);
        subscription.told_stale = age.is_some_and(late);
        age.filter(|_| subscription.told_stale)
    }

    /// For how long the source is unconfirmed; `None` if it needs no confirmation.
    pub(in crate::vault::plane) fn staleness(&self, now: Instant) -> Option<Duration> {
        let constant = self.pinned && self.is_known() && self.failure.is_none();
        (!constant).then(|| now.saturating_duration_since(self.confirmed.unwrap_or(self.first_asked)))
    }
}
