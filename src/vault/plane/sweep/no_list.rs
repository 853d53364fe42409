//! A list that cannot be read: for how long it is tried, and when GETs take over.

use std::time::Instant;

use crate::vault::{
    answer::Wake,
    failure::{Failure, Scope},
    limits::doubled,
    plane::{detect::Why, host::Host, lanes::HandleId},
};

/// A list that cannot be read is tried so often before GETs take over.
const TRIES: u32 = 3;

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
        sweeps.failures += 1;
        if sweeps.failures >= TRIES {
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
        let sweeps = &mut self.handles.get_mut(&id)?.sweeps;
        sweeps.failures += 1;
        if sweeps.failures < TRIES { None } else { self.give_up(id, Why::unreadable(failure), now) }
    }

    /// Nothing is listed for a while.
    pub(super) fn give_up(&mut self, id: HandleId, why: Why, now: Instant) -> Option<Wake> {
        let until = now + self.limits.list_retry;
        let sweeps = &mut self.handles.get_mut(&id)?.sweeps;
        sweeps.run = None;
        sweeps.failures = 0;
        let told = sweeps.finders.fail(&why);
        sweeps.bar(why, until);
        self.unlisted.extend(told);
        self.turn(id, now)
    }
}
