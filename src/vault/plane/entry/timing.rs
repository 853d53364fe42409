//! When a source is to be read: at once if someone lacks an answer, when the news has settled that someone waits to
//! have confirmed, when a change has settled that a sweep saw; else by the interval of its users or, where a change
//! would be found without that, once a day at a time of its own.

use std::time::{Duration, Instant};

use super::{
    Entry,
    subscription::{Subscription, Wait},
};
use crate::vault::{limits::Limits, plane::lanes::Lane};

/// Whatever says that nothing changed, each source is read this often.
const RECHECK: Duration = Duration::from_secs(24 * 60 * 60);

/// When a source is to be read, and how urgent that is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::vault::plane) struct Due {
    pub(in crate::vault::plane) at: Instant,
    pub(in crate::vault::plane) lane: Lane,
    pub(in crate::vault::plane) recheck: bool,
}

/// What decides when a source is due, besides its users.
#[derive(Clone, Copy, Debug)]
pub(in crate::vault::plane) struct Timing<'a> {
    /// The place of the source within any span.
    pub(in crate::vault::plane) slot: f64,
    /// Sweeps say what changed.
    pub(in crate::vault::plane) swept: bool,
    /// From when on days are counted.
    pub(in crate::vault::plane) since: Instant,
    pub(in crate::vault::plane) limits: &'a Limits,
}

impl Entry {
    /// The smallest interval that a user asks for.
    pub(in crate::vault::plane) fn interval(&self) -> Option<Duration> {
        self.subscriptions.values().map(|subscription| subscription.interval).min()
    }

    /// When the source is to be read next.
    pub(in crate::vault::plane) fn due(&self, timing: Timing<'_>, now: Instant) -> Option<Due> {
        let due = self.wanted(timing, now)?;
        // After a failure of its own it lets others go first.
        Some(Due { at: self.retry_at.map_or(due.at, |at| at.max(due.at)), ..due })
    }

    fn wanted(&self, timing: Timing<'_>, now: Instant) -> Option<Due> {
        let due = |at| Due { at, lane: Lane::Interactive, recheck: false };
        if self.is_on_its_way() {
            let lacks_answer = self.subscriptions.values().any(Subscription::lacks_answer);
            let waits = self.waiters().next().is_some();
            let beside = if waits { Lane::Confirmation } else { Lane::Periodic };
            return Some(Due { lane: if lacks_answer { Lane::Interactive } else { beside }, ..due(now) });
        }
        let answer = self.answer_at(timing.limits, now).map(due);
        if answer.is_some_and(|due| due.at <= now) {
            return answer;
        }
        // Whoever waits for its time to be answered holds up nobody else.
        [answer, self.due_beside_answers(timing)].into_iter().flatten().min_by_key(|due| due.at)
    }

    /// When the source is to be read if nobody lacks an answer.
    fn due_beside_answers(&self, timing: Timing<'_>) -> Option<Due> {
        let due = |at, lane| Some(Due { at, lane, recheck: false });
        // Not before what a sweep saw has settled, or it would have to be read once more; nor by its timer meanwhile.
        let seen = self.watch.ripe_at();
        if let Some(at) = self.confirmation_at() {
            return due(seen.map_or(at, |seen| seen.max(at)), Lane::Confirmation);
        }
        if let Some(seen) = seen {
            return due(seen, Lane::Periodic);
        }
        if self.needs_no_timer(timing.swept) {
            return Some(Due { at: self.recheck_at(timing), lane: Lane::Periodic, recheck: true });
        }
        due(self.turn(timing)?, Lane::Periodic)
    }

    /// Whether a GET that begins at `begun` is the one of its day.
    pub(in crate::vault::plane) fn is_daily(&self, timing: Timing<'_>, begun: Instant) -> bool {
        begun >= self.recheck_at(timing)
    }

    /// When the first of those who wait for an answer can have it: at once, but for who asks by hand soon after another
    /// did, unless the vault never told anything.
    fn answer_at(&self, limits: &Limits, now: Instant) -> Option<Instant> {
        let paced = || self.refreshed_at.map_or(now, |at| now.max(at + limits.refresh_apart));
        let wait = |subscription: &Subscription| match subscription.wait? {
            Wait::Refresh(_) if subscription.known.is_some() || self.read_at.is_some() => Some(paced()),
            Wait::Answer | Wait::Refresh(_) => Some(now),
            Wait::Confirmation(_) => None,
        };
        self.subscriptions.values().filter_map(wait).min()
    }

    /// When the first of those who wait for a confirmation can have it.
    fn confirmation_at(&self) -> Option<Instant> {
        let waits = self.subscriptions.values().filter_map(|subscription| subscription.wait);
        waits.filter_map(|wait| if let Wait::Confirmation(at) = wait { Some(at) } else { None }).min()
    }

    /// The source's next turn within its interval. Turns stay where they are, whatever reads it in between, so that
    /// sources which are read together are not due together for ever after.
    fn turn(&self, timing: Timing<'_>) -> Option<Instant> {
        let interval = self.interval()?;
        if let Some(until) = self.refused_until(timing.limits).or_else(|| self.alone_until(timing.limits)) {
            return Some(until);
        }
        let first = self.turns_from.unwrap_or_else(|| self.first_asked + interval.mul_f64(timing.slot));
        let newest = self.read_at.max(self.swept_at);
        let turn = match newest.and_then(|newest| newest.checked_duration_since(first)) {
            None => first,
            Some(since) => {
                let left = since.as_nanos().checked_rem(interval.as_nanos()).unwrap_or_default();
                first + since + interval.saturating_sub(nanoseconds(left))
            }
        };
        let unsettled = !self.is_settled();
        Some(if unsettled { turn.max(self.change.distinct_at) } else { turn })
    }

    /// Whether a change would be found without a timer: by a sweep, or because there is none.
    fn needs_no_timer(&self, swept: bool) -> bool {
        match &self.failure {
            None if self.pinned => self.is_known(),
            None => swept && self.is_known() && self.is_settled(),
            Some(failure) => swept && !self.pinned && failure.is_gone(),
        }
    }

    /// Whether the source was read, or all its users know a value of it.
    pub(super) fn is_known(&self) -> bool {
        self.attributes.is_some()
            || self.subscriptions.values().all(|subscription| subscription.known.is_some())
    }

    /// The source's own time of day, after it was last read.
    fn recheck_at(&self, timing: Timing<'_>) -> Instant {
        let last = self.read_at.unwrap_or(self.first_asked).saturating_duration_since(timing.since);
        let place = RECHECK.mul_f64(timing.slot);
        // A second of rounding must not make one turn two.
        let turns = (last.as_secs_f64() + 1.0 - place.as_secs_f64()) / RECHECK.as_secs_f64();
        timing.since + place + RECHECK.mul_f64(turns.ceil().max(0.0))
    }
}

fn nanoseconds(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}
