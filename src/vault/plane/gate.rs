//! The gate of a handle: at what pace it asks while it fails, and whether that makes the connection *fail*.
//!
//! Pace and verdict are two things. A failure of the whole closes the gate at once: until a time, then to one request,
//! the probe, whose outcome opens or closes it for all. A new handle starts like that as well: its first request goes
//! alone. That the connection fails is said later, when one blink can no longer explain it; and that it works again,
//! when it has been quiet for a while.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::jitter::Jitter;
use crate::vault::{
    failure::{Failure, Refused},
    limits::{Limits, doubled},
};

/// So many failures in a row, over the time that [`Limits::doubt`] sets, make the connection fail.
const FAILURES: u32 = 3;
/// So many refusals in a row do: what refuses is there and has looked.
const REFUSALS: u32 = 2;

/// The state of one handle's gate.
#[derive(Debug)]
pub(super) struct Gate {
    state: State,
    /// The failures since the last success.
    streak: Option<Streak>,
    /// When the last failure was known: requests that began before say nothing new.
    known_at: Option<Instant>,
    outage: Option<Outage>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    Closed { until: Instant },
    Probing,
}

/// Failures in a row.
#[derive(Debug)]
struct Streak {
    first: Instant,
    count: u32,
    /// How many of the last ones were refusals.
    refusals: u32,
    failure: Arc<Failure>,
}

/// The connection fails.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    pub(super) failure: Arc<Failure>,
    pub(super) since: Instant,
    /// Since when requests succeed again.
    quiet_since: Option<Instant>,
}

/// Whether a request may pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    /// Any number.
    Open,
    /// One.
    Probe,
    /// None until then.
    ClosedUntil(Instant),
    /// None until the probe is back.
    Probing,
}

/// What an outcome, or time alone, has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// Nothing that is worth a word.
    None,
    /// Requests begin to fail, or for another reason: only who has nothing that stands is told.
    Doubt,
    /// Requests succeed again before they were taken for an outage.
    DoubtEnds,
    /// The connection fails, or for another reason now.
    Outage,
    /// The connection works again.
    OutageEnds,
}

impl Gate {
    pub(super) const fn new(now: Instant) -> Self {
        Self { state: State::Closed { until: now }, streak: None, known_at: None, outage: None }
    }

    pub(super) fn admission(&self, now: Instant) -> Admission {
        match self.state {
            State::Open => Admission::Open,
            State::Probing => Admission::Probing,
            State::Closed { until } if until <= now => Admission::Probe,
            State::Closed { until } => Admission::ClosedUntil(until),
        }
    }

    /// Why the connection fails, if it does.
    pub(super) const fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }

    /// The last failure, while requests fail and it is not said that the connection does.
    pub(super) fn doubt(&self) -> Option<&Arc<Failure>> {
        self.streak.as_ref().filter(|_| self.outage.is_none()).map(|streak| &streak.failure)
    }

    /// Whether the last request failed: then one goes at a time.
    pub(super) const fn is_trying(&self) -> bool {
        self.streak.is_some()
    }

    /// Whether the connection fails and nothing succeeds.
    pub(super) fn is_silent(&self) -> bool {
        self.outage.as_ref().is_some_and(|outage| outage.quiet_since.is_none())
    }

    /// How long until the next try; zero if one is allowed or under way.
    pub(super) fn retry_in(&self, now: Instant) -> Duration {
        match self.state {
            State::Closed { until } => until.saturating_duration_since(now),
            State::Open | State::Probing => Duration::ZERO,
        }
    }

    /// A request goes through.
    pub(super) const fn enter(&mut self) {
        if let State::Closed { .. } = self.state {
            self.state = State::Probing;
        }
    }

    /// The request said nothing about the handle (it only learnt how to ask): the next may go at once.
    pub(super) fn undecided(&mut self, now: Instant) {
        if self.state == State::Probing {
            self.state = State::Closed { until: now };
        }
    }

    /// The vault answered a request that began at `begun`.
    pub(super) fn answered(&mut self, begun: Instant, now: Instant) -> Turn {
        if !self.is_news(begun) {
            return Turn::None;
        }
        self.state = State::Open;
        let doubted = self.streak.take().is_some();
        match &mut self.outage {
            Some(outage) => {
                outage.quiet_since.get_or_insert(now);
                Turn::None
            }
            None if doubted => Turn::DoubtEnds,
            None => Turn::None,
        }
    }

    /// A request that began at `begun` failed for the whole handle.
    pub(super) fn failed(
        &mut self,
        refused: Refused,
        begun: Instant,
        now: Instant,
        limits: &Limits,
        jitter: &mut Jitter,
    ) -> Turn {
        let Refused { failure, retry_after } = refused;
        let asked = retry_after.map(|wait| now + wait.min(limits.retry_after));
        if !self.is_news(begun) {
            if let (State::Closed { until }, Some(asked)) = (&mut self.state, asked) {
                *until = asked.max(*until);
            }
            return Turn::None;
        }
        self.known_at = Some(now);
        let failure = Arc::new(failure);
        let before = self.streak.take();
        let streak = Streak::after(before.as_ref(), &failure, now);
        let wait = streak.backoff(limits, jitter.fraction());
        let until = (now + wait).max(asked.unwrap_or(now));
        self.state = State::Closed { until };
        let (first, fails) = (streak.first, streak.fails(now, limits));
        self.streak = Some(streak);
        match &mut self.outage {
            Some(outage) => {
                outage.quiet_since = None;
                let news = outage.failure.reason() != failure.reason();
                outage.failure = failure;
                if news { Turn::Outage } else { Turn::None }
            }
            None if fails => {
                self.outage = Some(Outage { failure, since: first, quiet_since: None });
                Turn::Outage
            }
            None if before.is_some_and(|before| before.failure.reason() == failure.reason()) => Turn::None,
            None => Turn::Doubt,
        }
    }

    /// What time alone has changed.
    pub(super) fn look(&mut self, now: Instant, limits: &Limits) -> Turn {
        if self.looks_at(limits).is_none_or(|at| now < at) {
            return Turn::None;
        }
        if self.outage.take().is_some() {
            return Turn::OutageEnds;
        }
        let outage = |streak: &Streak| Outage {
            failure: Arc::clone(&streak.failure),
            since: streak.first,
            quiet_since: None,
        };
        self.outage = self.streak.as_ref().map(outage);
        Turn::Outage
    }

    /// When time alone changes something, unless a request does before.
    pub(super) fn looks_at(&self, limits: &Limits) -> Option<Instant> {
        match (&self.outage, &self.streak) {
            (Some(outage), _) => outage.quiet_since.map(|since| since + limits.calm),
            (None, streak) => streak.as_ref().map(|streak| streak.first + limits.doubt.1),
        }
    }

    /// Whether a request that began then says something new.
    pub(super) fn is_news(&self, begun: Instant) -> bool {
        self.known_at.is_none_or(|at| begun > at)
    }
}

impl Streak {
    fn after(before: Option<&Self>, failure: &Arc<Failure>, now: Instant) -> Self {
        let refusals = before.map_or(0, |streak| streak.refusals);
        Self {
            first: before.map_or(now, |streak| streak.first),
            count: before.map_or(0, |streak| streak.count).saturating_add(1),
            refusals: if failure.is_lasting() { refusals.saturating_add(1) } else { 0 },
            failure: Arc::clone(failure),
        }
    }

    /// After so many refusals it is said; without a token nothing was asked of the vault that could differ.
    fn refusals_needed(&self) -> u32 {
        if self.failure.is_of_token() { 1 } else { REFUSALS }
    }

    /// Whether the last failure makes the connection fail.
    fn fails(&self, now: Instant, limits: &Limits) -> bool {
        let lasting = now.saturating_duration_since(self.first);
        self.refusals >= self.refusals_needed()
            || (self.count >= FAILURES && lasting >= limits.doubt.0)
            || lasting >= limits.doubt.1
    }

    /// What passes by itself is tried again with full jitter, for many clients share a vault; what needs a change of
    /// settings slowly and by the clock, so that people can tell when.
    fn backoff(&self, limits: &Limits, fraction: f64) -> Duration {
        if let Some(before) = self.refusals.checked_sub(self.refusals_needed()) {
            let base = doubled(limits.refused_retry, before);
            return base.mul_f64(0.2_f64.mul_add(fraction, 1.0)).min(limits.refused_retry.1);
        }
        let (first, _) = limits.retry;
        let most = doubled(limits.retry, self.count.saturating_sub(1));
        first + most.saturating_sub(first).mul_f64(fraction)
    }
}

#[cfg(test)]
mod tests;
