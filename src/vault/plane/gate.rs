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
    limits::Limits,
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

/// The first wait doubled for each failure before, up to the longest.
pub(super) fn doubled((first, most): (Duration, Duration), failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures)).min(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{reason::Reason, vault::failure::Peer};

    const SECOND: Duration = Duration::from_secs(1);

    fn unavailable() -> Failure {
        Failure::ServiceUnavailable { peer: Peer::Vault, status: Some(503) }
    }

    /// A gate and the clock.
    struct Gated {
        gate: Gate,
        now: Instant,
        limits: Limits,
        jitter: Jitter,
    }

    impl Gated {
        fn new() -> Self {
            let now = Instant::now();
            Self { gate: Gate::new(now), now, limits: Limits::default(), jitter: Jitter::seeded(1) }
        }

        fn fail(&mut self, failure: Failure, retry_after: Option<Duration>, begun: Instant) -> Turn {
            let refused = Refused { failure, retry_after };
            self.gate.failed(refused, begun, self.now, &self.limits, &mut self.jitter)
        }

        /// A request that begins and ends now.
        fn fails(&mut self, failure: Failure) -> Turn {
            self.gate.enter();
            self.fail(failure, None, self.now)
        }

        fn succeeds(&mut self) -> Turn {
            self.gate.enter();
            self.gate.answered(self.now, self.now)
        }

        fn pass(&mut self, span: Duration) -> Turn {
            self.now += span;
            self.gate.look(self.now, &self.limits)
        }

        /// Waits until a request may go.
        fn wait(&mut self) -> Duration {
            let wait = self.gate.retry_in(self.now);
            assert_eq!(self.pass(wait), Turn::None);
            assert_eq!(self.gate.admission(self.now), Admission::Probe);
            wait
        }
    }

    #[test]
    fn a_new_handle_sends_one_request_before_all_others() {
        let mut gated = Gated::new();
        assert_eq!(gated.gate.admission(gated.now), Admission::Probe);
        gated.gate.enter();
        assert_eq!(gated.gate.admission(gated.now), Admission::Probing);
        assert_eq!(gated.succeeds(), Turn::None);
        assert_eq!(gated.gate.admission(gated.now), Admission::Open);
    }

    #[test]
    fn many_failures_of_one_moment_are_one() {
        let mut gated = Gated::new();
        gated.succeeds();
        let begun = gated.now;
        gated.now += SECOND;
        assert_eq!(gated.fail(unavailable(), None, begun), Turn::Doubt);
        assert_eq!(gated.gate.retry_in(gated.now), SECOND);
        for _ in 0..7 {
            gated.now += SECOND / 100;
            assert_eq!(gated.fail(unavailable(), None, begun), Turn::None);
        }
        assert!(gated.gate.retry_in(gated.now) < SECOND);
        assert_eq!(gated.gate.answered(begun, gated.now), Turn::None, "an older request proves nothing");
        assert!(gated.gate.doubt().is_some());
    }

    #[test]
    fn one_failure_is_a_pause_of_a_second_and_no_outage() {
        let mut gated = Gated::new();
        gated.succeeds();
        gated.now += 3600 * SECOND;
        assert_eq!(gated.fails(unavailable()), Turn::Doubt);
        assert_eq!(gated.wait(), SECOND);
        assert_eq!(gated.succeeds(), Turn::DoubtEnds);
        assert_eq!(gated.pass(3600 * SECOND), Turn::None);
        assert!(gated.gate.outage().is_none());
    }

    #[test]
    fn the_third_failure_in_a_row_counts_once_five_seconds_have_passed() {
        let mut gated = Gated::new();
        gated.succeeds();
        // The last success is long ago: that says nothing.
        gated.now += 3600 * SECOND;
        let first = gated.now;
        let mut count = 1;
        assert_eq!(gated.fails(unavailable()), Turn::Doubt);
        loop {
            gated.wait();
            count += 1;
            let turn = gated.fails(unavailable());
            let late = gated.now - first >= 5 * SECOND;
            assert_eq!(turn, if count >= 3 && late { Turn::Outage } else { Turn::None });
            if turn == Turn::Outage {
                break;
            }
        }
        assert!(gated.now - first < 15 * SECOND);
        assert_eq!(gated.gate.outage().map(|outage| outage.since), Some(first));
    }

    #[test]
    fn who_is_told_to_come_back_in_ages_is_said_to_fail_after_a_minute() {
        let mut gated = Gated::new();
        gated.succeeds();
        assert_eq!(gated.fail(Failure::Throttled(Peer::Vault), Some(300 * SECOND), gated.now), Turn::Doubt);
        assert_eq!(gated.pass(59 * SECOND), Turn::None);
        assert_eq!(gated.pass(SECOND), Turn::Outage);
        assert_eq!(gated.gate.retry_in(gated.now), 240 * SECOND);
    }

    #[test]
    fn a_refusal_counts_when_a_second_one_follows_and_without_a_token_at_once() {
        let mut gated = Gated::new();
        gated.succeeds();
        assert_eq!(gated.fails(Failure::Firewall(None)), Turn::Doubt);
        assert_eq!(gated.wait(), SECOND);
        assert_eq!(gated.succeeds(), Turn::DoubtEnds, "another of our addresses is allowed");
        assert_eq!(gated.fails(Failure::Firewall(None)), Turn::Doubt);
        assert_eq!(gated.wait(), SECOND);
        assert_eq!(gated.fails(Failure::Firewall(None)), Turn::Outage);
        assert!(gated.gate.retry_in(gated.now) >= 30 * SECOND);

        let mut gated = Gated::new();
        assert_eq!(
            gated.fails(Failure::TokenRequestForbidden(crate::vault::ServiceAccount::default())),
            Turn::Outage
        );
        assert!(gated.gate.retry_in(gated.now) >= 30 * SECOND);
    }

    #[test]
    fn an_outage_is_news_when_it_begins_and_changes_its_reason_and_its_end_when_all_is_quiet() {
        let mut gated = Gated::new();
        gated.fails(Failure::TokenRequestForbidden(crate::vault::ServiceAccount::default()));
        gated.wait();
        assert_eq!(
            gated.fails(Failure::TokenRequestForbidden(crate::vault::ServiceAccount::default())),
            Turn::None
        );
        gated.wait();
        assert_eq!(gated.fails(unavailable()), Turn::Outage);
        gated.wait();
        assert_eq!(gated.succeeds(), Turn::None);
        assert_eq!(gated.gate.admission(gated.now), Admission::Open, "values flow at once");
        assert_eq!(gated.pass(4 * SECOND), Turn::None);
        assert_eq!(gated.fails(unavailable()), Turn::None);
        assert_eq!(gated.wait(), SECOND);
        assert_eq!(gated.succeeds(), Turn::None);
        assert_eq!(gated.pass(4 * SECOND), Turn::None);
        assert_eq!(gated.succeeds(), Turn::None);
        assert_eq!(gated.pass(SECOND), Turn::OutageEnds);
    }

    #[test]
    fn of_a_vault_that_answers_one_request_in_ten_it_is_said_once_that_it_fails() {
        let mut gated = Gated::new();
        gated.succeeds();
        let mut turns = Vec::new();
        for number in 1..200 {
            let wait = gated.gate.retry_in(gated.now);
            turns.push(gated.pass(wait + SECOND / 10));
            turns.push(if number % 10 == 0 { gated.succeeds() } else { gated.fails(unavailable()) });
        }
        turns.retain(|turn| *turn != Turn::None);
        assert_eq!(turns, [Turn::Doubt, Turn::Outage]);
    }

    #[test]
    fn retry_after_is_obeyed_but_not_for_ever_and_never_instead_of_the_back_off() {
        let mut gated = Gated::new();
        let throttled = || Failure::Throttled(Peer::Vault);
        gated.fail(throttled(), Some(17 * SECOND), gated.now);
        assert_eq!(gated.gate.admission(gated.now), Admission::ClosedUntil(gated.now + 17 * SECOND));
        gated.fail(throttled(), Some(86_400 * SECOND), gated.now);
        assert_eq!(gated.gate.retry_in(gated.now), 300 * SECOND);

        let mut gated = Gated::new();
        let mut waits = Vec::new();
        for _ in 0..20 {
            gated.fail(unavailable(), Some(Duration::ZERO), gated.now);
            waits.push(gated.gate.retry_in(gated.now));
            gated.now += gated.gate.retry_in(gated.now);
        }
        assert!(waits.iter().all(|wait| *wait >= SECOND), "{waits:?}");
        assert!(waits.iter().max() > Some(&(10 * SECOND)), "{waits:?}");
    }

    /// How a request ends.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum End {
        Success,
        Failure,
        Refusal,
        NoToken,
        /// 429, with the seconds of `Retry-After`.
        Throttled(Option<u64>),
    }

    impl End {
        fn failure(self) -> Option<Failure> {
            Some(match self {
                Self::Success => return None,
                Self::Failure => unavailable(),
                Self::Refusal => Failure::Firewall(None),
                Self::NoToken => Failure::TokenRequestForbidden(crate::vault::ServiceAccount::default()),
                Self::Throttled(_) => Failure::Throttled(Peer::Vault),
            })
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin,
        End(usize, End),
        Pass(u64),
        /// Until a request may go.
        Wait,
    }

    fn step() -> impl Strategy<Value = Step> {
        let end = prop_oneof![
            4 => Just(End::Success),
            4 => Just(End::Failure),
            2 => Just(End::Refusal),
            1 => Just(End::NoToken),
            2 => prop::option::of(0_u64..600).prop_map(End::Throttled),
        ];
        prop_oneof![
            4 => Just(Step::Begin),
            4 => (0_usize..8, end).prop_map(|(index, end)| Step::End(index, end)),
            1 => (0_u64..200).prop_map(Step::Pass),
            1 => (0_u64..70_000).prop_map(Step::Pass),
            3 => Just(Step::Wait),
        ]
    }

    /// Why the connection is said to fail at `now`, read off all that was answered until then (begun, answered, how).
    fn verdict(answers: &[(Instant, Instant, End)], now: Instant) -> Option<Reason> {
        let mut known: Option<Instant> = None;
        let mut row: Vec<(Instant, End)> = Vec::new();
        let mut verdict: Option<Reason> = None;
        let mut quiet: Option<Instant> = None;
        let reason = |end: End| end.failure().map(|failure| failure.reason());
        let last = std::iter::once((now, now, None));
        for (begun, at, end) in answers.iter().map(|(begun, at, end)| (*begun, *at, Some(*end))).chain(last) {
            if verdict.is_some() && quiet.is_some_and(|since| at >= since + 5 * SECOND) {
                (verdict, quiet) = (None, None);
            }
            if let (None, Some((first, _)), Some((_, end))) = (verdict, row.first(), row.last())
                && at >= *first + 60 * SECOND
            {
                verdict = reason(*end);
            }
            let Some(end) = end.filter(|_| known.is_none_or(|known| begun > known)) else { continue };
            if end == End::Success {
                row.clear();
                quiet = quiet.or_else(|| verdict.map(|_| at));
                continue;
            }
            known = Some(at);
            quiet = None;
            row.push((at, end));
            let refusals =
                row.iter().rev().take_while(|(_, end)| matches!(end, End::Refusal | End::NoToken)).count();
            let fails = verdict.is_some()
                || end == End::NoToken
                || refusals >= 2
                || (row.len() >= 3 && at >= row[0].0 + 5 * SECOND);
            if fails {
                verdict = reason(end);
            }
        }
        verdict
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn whatever_requests_do_it_fails_by_the_rule_and_goes_on_trying_at_its_pace(
            steps in prop::collection::vec(step(), 0..120),
        ) {
            let mut gated = Gated::new();
            let mut flying: Vec<Instant> = Vec::new();
            let mut answers = Vec::new();
            let mut known: Option<Instant> = None;
            let (mut said, mut last_failure): (Option<Reason>, Option<Instant>) = (None, None);
            for step in steps {
                let mut turn = Turn::None;
                match step {
                    Step::Begin => match gated.gate.admission(gated.now) {
                        Admission::Open | Admission::Probe => {
                            gated.gate.enter();
                            flying.push(gated.now);
                        }
                        Admission::ClosedUntil(_) | Admission::Probing => {}
                    },
                    Step::End(index, end) if index < flying.len() => {
                        let begun = flying.remove(index);
                        let counts = known.is_none_or(|known| begun > known);
                        answers.push((begun, gated.now, end));
                        if let Some(failure) = end.failure() {
                            let lasting = failure.is_lasting();
                            let wait = match end {
                                End::Throttled(wait) => wait.map(Duration::from_secs),
                                _ => None,
                            };
                            turn = gated.fail(failure, wait, begun);
                            let asked = wait.unwrap_or_default().min(300 * SECOND);
                            if counts {
                                let longest = if lasting { 600 * SECOND } else { asked.max(30 * SECOND) };
                                let wait = gated.gate.retry_in(gated.now);
                                prop_assert!(asked.max(SECOND) <= wait && wait <= longest, "{wait:?}");
                                known = Some(gated.now);
                                last_failure = Some(gated.now);
                            } else {
                                prop_assert_eq!(turn, Turn::None, "it was known already");
                            }
                        } else {
                            turn = gated.gate.answered(begun, gated.now);
                            if counts {
                                prop_assert_eq!(gated.gate.admission(gated.now), Admission::Open);
                            }
                        }
                    }
                    Step::End(..) => {}
                    Step::Pass(millis) => turn = gated.pass(Duration::from_millis(millis)),
                    Step::Wait => {
                        let wait = gated.gate.retry_in(gated.now);
                        turn = gated.pass(wait);
                    }
                }
                // What is said follows the rule, and every change of it is told.
                let verdict = verdict(&answers, gated.now);
                let says = gated.gate.outage().map(|outage| outage.failure.reason());
                prop_assert_eq!(says, verdict);
                prop_assert_eq!(turn == Turn::Outage, says.is_some() && says != said, "{:?} {:?} {:?}", turn, said, says);
                prop_assert_eq!(turn == Turn::OutageEnds, says.is_none() && said.is_some());
                if turn == Turn::OutageEnds {
                    prop_assert!(last_failure.is_some_and(|at| gated.now >= at + 5 * SECOND));
                }
                said = says;
                // Something may always go, is under way, or will go at a known time; after a failure one at a time.
                match gated.gate.admission(gated.now) {
                    Admission::Open => prop_assert!(!gated.gate.is_trying()),
                    Admission::Probe => {}
                    Admission::ClosedUntil(until) => prop_assert!(until <= gated.now + 600 * SECOND),
                    Admission::Probing => prop_assert!(!flying.is_empty()),
                }
                if gated.gate.is_trying() {
                    prop_assert!(flying.iter().filter(|begun| known.is_none_or(|known| **begun > known)).count() <= 1);
                }
            }
        }
    }
}
