//! What a source has to do with news of another: whether it has any itself, and whether it is known as late as that.

use std::time::Instant;

use super::{Entry, subscription::Wait};
use crate::object_key::ObjectKey;

impl Entry {
    /// When what the source now says has settled, if that is news to `user`: another version, or one that came or went.
    pub(in crate::vault::plane) fn news(&self, user: &ObjectKey) -> Option<Instant> {
        let known = self.subscriptions.get(user)?.known.as_deref();
        let is_news = match (&self.failure, &self.attributes) {
            _ if self.pinned => false,
            (Some(failure), _) => failure.is_gone() && known.is_some(),
            (None, Some(read)) => known.is_none_or(|known| known.version != read.version),
            (None, None) => false,
        };
        is_news.then_some(self.change.settled_at)
    }

    /// When a request must begin after which the source may be used with news that settled at `settled`; `None`: one did.
    /// `over`: nobody waits any more, unless the source is known to have moved, or was tried and gave no answer.
    pub(in crate::vault::plane) fn unconfirmed(&self, settled: Instant, over: bool) -> Option<Instant> {
        let newest = self.read_at.max(self.swept_at);
        let sits_out = self.pinned || self.failure.as_deref().is_some_and(|failure| !failure.is_gone());
        if sits_out || newest >= Some(settled) {
            return None;
        }
        let unanswered = self.tried_at.filter(|tried| Some(*tried) > newest);
        if over { self.watch.demanded_at().max(unanswered) } else { Some(settled) }
    }

    /// `user` is given no answer before a request that begins at `at` or later.
    pub(in crate::vault::plane) fn wait_for(&mut self, user: &ObjectKey, at: Option<Instant>) {
        if let Some(subscription) = self.subscriptions.get_mut(user) {
            subscription.wait = at.map(Wait::Confirmation);
            subscription.given = None;
        }
    }

    /// Whether a request that is still to begin will confirm the source: it has its place already, or what a sweep saw is to be
    /// read.
    pub(in crate::vault::plane) const fn is_read_anyway(&self) -> bool {
        !self.in_flight && (self.watch.demands() || self.ticket.is_some())
    }

    /// `user` goes on without an answer, until it asks again.
    pub(in crate::vault::plane) fn hold_off(&mut self, user: &ObjectKey) {
        if let Some(subscription) = self.subscriptions.get_mut(user) {
            subscription.wait.take_if(|wait| *wait == Wait::Answer);
        }
    }

    /// Whether `user` was told `Pending` and got no answer since.
    pub(in crate::vault::plane) fn keeps_waiting(&self, user: &ObjectKey) -> bool {
        self.subscriptions.get(user).is_some_and(|subscription| subscription.wait.is_some())
    }

    /// The time after which `user` waits for a confirmation, if it does.
    pub(in crate::vault::plane) fn confirmation(&self, user: &ObjectKey) -> Option<Instant> {
        match self.subscriptions.get(user)?.wait {
            Some(Wait::Confirmation(at)) => Some(at),
            _ => None,
        }
    }
}
