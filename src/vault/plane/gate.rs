//! The gate of a handle: one answer to a failure of the whole vault or identity, for all who wait.
//!
//! It is the circuit breaker too. Closed until a time, then open to one request, the probe, whose outcome opens
//! or closes it for all. A new handle starts like that as well: its first request goes alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::jitter::Jitter;
use crate::vault::{
    failure::{Failure, Refused},
    limits::Limits,
};

/// The state of one handle's gate.
#[derive(Debug)]
pub(super) struct Gate {
    state: State,
    /// Failures in a row; each doubles the wait.
    failures: u32,
    /// Requests that began before this say nothing new.
    closed_at: Option<Instant>,
    outage: Option<Outage>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    Closed { until: Instant },
    Probing,
}

/// A failure of the whole handle.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    pub(super) failure: Arc<Failure>,
    pub(super) since: Instant,
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

impl Gate {
    pub(super) const fn new(now: Instant) -> Self {
        Self { state: State::Closed { until: now }, failures: 0, closed_at: None, outage: None }
    }

    pub(super) fn admission(&self, now: Instant) -> Admission {
        match self.state {
            State::Open => Admission::Open,
            State::Probing => Admission::Probing,
            State::Closed { until } if until <= now => Admission::Probe,
            State::Closed { until } => Admission::ClosedUntil(until),
        }
    }

    pub(super) const fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
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

    /// The vault answered a request that began at `begun`. Returns whether an outage ended.
    pub(super) fn answered(&mut self, begun: Instant) -> bool {
        if self.is_old_news(begun) {
            return false;
        }
        self.state = State::Open;
        self.failures = 0;
        self.outage.take().is_some()
    }

    /// A request that began at `begun` failed for the whole handle. Returns whether that is news.
    pub(super) fn failed(
        &mut self,
        refused: Refused,
        begun: Instant,
        now: Instant,
        limits: &Limits,
        jitter: &mut Jitter,
    ) -> bool {
        let Refused { failure, retry_after } = refused;
        let asked = retry_after.map(|wait| now + wait.min(limits.retry_after));
        if self.is_old_news(begun) {
            if let (State::Closed { until }, Some(asked)) = (&mut self.state, asked) {
                *until = asked.max(*until);
            }
            return false;
        }
        let wait = backoff(failure.is_lasting(), self.failures, limits, jitter.fraction());
        let until = asked.unwrap_or(now + wait);
        self.state = State::Closed { until };
        self.failures = self.failures.saturating_add(1);
        self.closed_at = Some(now);
        let news = self.outage.as_ref().is_none_or(|outage| outage.failure.reason() != failure.reason());
        let since = self.outage.as_ref().map_or(now, |outage| outage.since);
        self.outage = Some(Outage { failure: Arc::new(failure), since });
        news
    }

    fn is_old_news(&self, begun: Instant) -> bool {
        self.closed_at.is_some_and(|at| begun < at)
    }
}

/// What passes by itself is tried again with full jitter, for many clients share a vault; what needs a change of
/// settings slowly and by the clock, so that people can tell when.
fn backoff(lasting: bool, failures: u32, limits: &Limits, fraction: f64) -> Duration {
    if lasting {
        let base = doubled(limits.refused_retry, failures);
        return base.mul_f64(0.2_f64.mul_add(fraction, 1.0)).min(limits.refused_retry.1);
    }
    let (first, _) = limits.retry;
    let most = doubled(limits.retry, failures);
    first + most.saturating_sub(first).mul_f64(fraction)
}

/// The first wait doubled for each failure before, up to the longest.
pub(super) fn doubled((first, most): (Duration, Duration), failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures)).min(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vault::failure::Peer;

    const SECOND: Duration = Duration::from_secs(1);

    fn fail(
        gate: &mut Gate,
        failure: Failure,
        retry_after: Option<Duration>,
        begun: Instant,
        now: Instant,
    ) -> bool {
        gate.failed(Refused { failure, retry_after }, begun, now, &Limits::default(), &mut Jitter::seeded(1))
    }

    fn unavailable() -> Failure {
        Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(503) }
    }

    #[test]
    fn a_new_handle_sends_one_request_before_all_others() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        assert_eq!(gate.admission(now), Admission::Probe);
        gate.enter();
        assert_eq!(gate.admission(now), Admission::Probing);
        assert!(!gate.answered(now));
        assert_eq!(gate.admission(now), Admission::Open);
    }

    #[test]
    fn many_failures_of_one_moment_are_one_piece_of_news_and_one_wait() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        gate.answered(start);
        let now = start + SECOND;
        assert!(fail(&mut gate, unavailable(), None, start, now));
        let wait = gate.retry_in(now);
        for _ in 0..7 {
            assert!(!fail(&mut gate, unavailable(), None, start, now));
        }
        assert_eq!(gate.retry_in(now), wait);
        assert!(!gate.answered(start), "an answer to an older request does not end the outage");
        assert!(gate.outage().is_some());
    }

    #[test]
    fn an_outage_is_news_when_it_begins_changes_its_reason_and_ends() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        assert!(fail(&mut gate, unavailable(), None, start, start));
        assert!(!fail(&mut gate, unavailable(), None, start + SECOND, start + SECOND));
        let later = start + 2 * SECOND;
        assert!(fail(&mut gate, Failure::Throttled(Peer::Vault), None, later, later));
        assert_eq!(gate.outage().unwrap().since, start);
        assert!(gate.answered(start + 3 * SECOND));
    }

    #[test]
    fn retry_after_is_obeyed_but_not_for_ever() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        fail(&mut gate, Failure::Throttled(Peer::Vault), Some(17 * SECOND), now, now);
        assert_eq!(gate.admission(now), Admission::ClosedUntil(now + 17 * SECOND));
        fail(&mut gate, Failure::Throttled(Peer::Vault), Some(86_400 * SECOND), now, now);
        assert_eq!(gate.retry_in(now), 300 * SECOND);
    }

    proptest! {
        #[test]
        fn waits_stay_in_their_bounds(failures in 0_u32..100, fraction in 0.0_f64..1.0) {
            let limits = Limits::default();
            let passing = backoff(false, failures, &limits, fraction);
            prop_assert!((SECOND..=60 * SECOND).contains(&passing));
            let lasting = backoff(true, failures, &limits, fraction);
            prop_assert!((30 * SECOND..=600 * SECOND).contains(&lasting));
        }
    }
}
