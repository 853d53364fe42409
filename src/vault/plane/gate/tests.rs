//! How the gate closes and opens, by a model of its rule and by examples.

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
