//! A list that cannot be read: for how long it is tried, and when GETs take over.

use std::time::{Duration, Instant};

use crate::vault::{
    answer::Wake,
    failure::{Failure, Scope},
    limits::{Limits, doubled},
    plane::{detect::Why, host::Host, lanes::HandleId, sweep::Sweeps},
};

/// A list that cannot be read is tried so often before GETs take over.
const TRIES: u32 = 3;

/// Nothing is listed for a while.
#[derive(Debug)]
pub(super) struct Barred {
    pub(super) why: Why,
    pub(super) until: Instant,
    /// How often it was tried in vain before.
    before: u32,
}

impl Sweeps {
    /// Nothing is listed for a while: the longer, the more often it was tried in vain, up to an interval if nobody looks for
    /// names. What takes thousands of requests to find out is tried least. `spread`: its place, from 0 to 1, among those of
    /// which the list failed at the same time.
    pub(in crate::vault::plane) fn bar(&mut self, why: Why, spread: f64, now: Instant, limits: &Limits) {
        let before = self.barred.as_ref().map_or(0, |barred| barred.before.saturating_add(1));
        let (first, longest) = limits.refused_retry;
        let interval = if self.finders.is_empty() { self.interval } else { Duration::ZERO };
        let wait = if why == Why::Endless {
            limits.list_retry
        } else {
            doubled((first, longest.max(interval)), before)
        };
        self.barred = Some(Barred { why, until: now + wait.mul_f64(1.0 + 0.2 * spread), before });
    }

    /// A list cannot be read. Returns whether that is enough to leave it alone: the first page once is, if it was left alone
    /// before.
    fn has_failed_enough(&mut self) -> bool {
        self.failures += 1;
        let is_first = self.run.as_ref().is_none_or(|run| run.pages == 0);
        self.failures >= TRIES || (self.barred.is_some() && is_first)
    }
}

impl Host {
    /// The page was not answered: it is asked for again.
    pub(in crate::vault::plane) fn hold_up_sweep(&mut self, id: HandleId) {
        if let Some(run) = self.handles.get_mut(&id).and_then(|handle| handle.sweeps.run.as_mut()) {
            run.held_up = true;
        }
        self.enqueue_page(id);
    }

    /// The vault answers, but not with a page.
    pub(in crate::vault::plane) fn no_page(
        &mut self,
        id: HandleId,
        failure: &Failure,
        now: Instant,
    ) -> Option<Wake> {
        let handle = self.handles.get_mut(&id)?;
        if failure.scope() == Scope::Permission {
            return self.give_up(id, Why::Forbidden, now);
        }
        let sweeps = &mut handle.sweeps;
        if sweeps.has_failed_enough() {
            return self.give_up(id, Why::unreadable(failure), now);
        }
        sweeps.run = None;
        self.sweeps.set(id, now + doubled(self.limits.retry, sweeps.failures - 1));
        None
    }

    /// A page, or a trial of the list, failed as if the whole vault did, but others succeeded.
    pub(in crate::vault::plane) fn list_failed_alone(
        &mut self,
        id: HandleId,
        failure: &Failure,
        now: Instant,
    ) -> Option<Wake> {
        let enough = self.handles.get_mut(&id)?.sweeps.has_failed_enough();
        if enough { self.give_up(id, Why::unreadable(failure), now) } else { None }
    }

    /// Nothing is listed for a while.
    pub(super) fn give_up(&mut self, id: HandleId, why: Why, now: Instant) -> Option<Wake> {
        let sweeps = &mut self.handles.get_mut(&id)?.sweeps;
        sweeps.run = None;
        sweeps.failures = 0;
        let told = sweeps.finders.fail(&why);
        sweeps.bar(why, self.jitter.fraction(), now, &self.limits);
        self.unlisted.extend(told);
        self.turn(id, now)
    }
}
