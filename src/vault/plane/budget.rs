//! How many requests a vault host may get: a token bucket over all identities that adapts to throttling.
//!
//! Invariant: in any span of time no more than `burst + rate x span` requests are granted.

use std::time::{Duration, Instant};

/// One burst of 429 is answered by one halving: those that come in while it lasts are the same news.
const ONE_BURST: Duration = Duration::from_secs(10);
/// The way back to the full rate: a tenth of it each ten seconds, less than two minutes in all.
const RAISE_EVERY: Duration = Duration::from_secs(10);
const RAISE_BY: f64 = 0.1;
/// However long it throttles, a vault is asked this often (once its gate is open).
const LEAST_RATE: f64 = 1.0;
/// Rounding of doubles must not make a caller wait twice for one token.
const ROUNDING: f64 = 1e-6;

/// A token bucket whose rate is halved by throttling and grows back.
#[derive(Debug)]
pub(super) struct Budget {
    full_rate: f64,
    burst: f64,
    rate: f64,
    tokens: f64,
    filled_at: Instant,
    raise_at: Instant,
    halved_at: Option<Instant>,
}

impl Budget {
    pub(super) fn new(requests_per_second: u32, burst: u32, now: Instant) -> Self {
        let full_rate = f64::from(requests_per_second).max(LEAST_RATE);
        let burst = f64::from(burst).max(1.0);
        Self {
            full_rate,
            burst,
            rate: full_rate,
            tokens: burst,
            filled_at: now,
            raise_at: now,
            halved_at: None,
        }
    }

    /// From now on these are the limits; what throttling took stays taken.
    pub(super) fn limit(&mut self, requests_per_second: u32, burst: u32, now: Instant) {
        let (full_rate, burst) = (f64::from(requests_per_second).max(LEAST_RATE), f64::from(burst).max(1.0));
        self.fill(now);
        let throttled = self.rate < self.full_rate;
        self.rate = if throttled { self.rate.min(full_rate) } else { full_rate };
        self.raise_at = self.raise_at.max(now);
        self.full_rate = full_rate;
        self.burst = burst;
        self.tokens = self.tokens.min(burst);
    }

    /// Requests per second, now.
    pub(super) fn rate(&mut self, now: Instant) -> f64 {
        self.fill(now);
        self.rate
    }

    /// Whether a request may go now. [`Self::take`] then counts it.
    pub(super) fn ready(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.has_token()
    }

    /// Whether a request might have gone when the budget was last asked.
    pub(super) fn has_token(&self) -> bool {
        self.tokens >= 1.0 - ROUNDING
    }

    /// Counts a request that goes now.
    pub(super) fn take(&mut self, now: Instant) {
        self.fill(now);
        self.tokens -= 1.0;
    }

    /// When the next request may go, if nothing throttles until then.
    pub(super) fn ready_at(&mut self, now: Instant) -> Instant {
        self.fill(now);
        let missing = (1.0 - self.tokens).max(0.0);
        now + Duration::from_secs_f64(missing / self.rate)
    }

    /// A request that began at `begun` was answered with 429.
    pub(super) fn throttled(&mut self, begun: Instant, now: Instant) {
        self.fill(now);
        let same_burst = self.halved_at.is_some_and(|at| begun <= at || now < at + ONE_BURST);
        if same_burst {
            return;
        }
        self.halved_at = Some(now);
        self.rate = (self.rate / 2.0).max(LEAST_RATE);
        self.tokens = self.tokens.min(1.0);
        self.raise_at = now + RAISE_EVERY;
    }

    fn fill(&mut self, now: Instant) {
        while self.rate < self.full_rate && self.raise_at <= now {
            self.fill_at_one_rate(self.raise_at);
            self.rate = RAISE_BY.mul_add(self.full_rate, self.rate).min(self.full_rate);
            self.raise_at += RAISE_EVERY;
        }
        self.fill_at_one_rate(now);
    }

    fn fill_at_one_rate(&mut self, until: Instant) {
        let span = until.saturating_duration_since(self.filled_at);
        self.tokens = span.as_secs_f64().mul_add(self.rate, self.tokens).min(self.burst);
        self.filled_at = self.filled_at.max(until);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spend(budget: &mut Budget, now: Instant) -> u32 {
        let mut spent = 0;
        while budget.ready(now) {
            budget.take(now);
            spent += 1;
        }
        spent
    }

    #[test]
    fn a_burst_goes_at_once_then_the_rate_holds() {
        let start = Instant::now();
        let mut budget = Budget::new(50, 100, start);
        assert_eq!(spend(&mut budget, start), 100);
        assert_eq!(spend(&mut budget, start + Duration::from_secs(1)), 50);
        assert_eq!(spend(&mut budget, start + Duration::from_secs(60)), 100);
    }

    #[test]
    fn a_burst_of_429_halves_once_and_the_rate_grows_back() {
        let start = Instant::now();
        let mut budget = Budget::new(50, 100, start);
        for millis in [0, 10, 200] {
            budget.throttled(start, start + Duration::from_millis(millis));
        }
        let then = start + Duration::from_millis(200);
        spend(&mut budget, then);
        assert_eq!(spend(&mut budget, then + Duration::from_secs(2)), 50);
        let later = start + Duration::from_secs(120);
        spend(&mut budget, later);
        assert_eq!(spend(&mut budget, later + Duration::from_secs(1)), 50);
    }

    #[test]
    fn another_limit_holds_at_once_and_gives_nothing_back_that_throttling_took() {
        let start = Instant::now();
        let mut budget = Budget::new(50, 100, start);
        budget.limit(5, 10, start);
        assert_eq!(spend(&mut budget, start), 10);
        assert_eq!(spend(&mut budget, start + Duration::from_secs(2)), 10);
        budget.throttled(start, start + Duration::from_secs(2));
        budget.limit(50, 100, start + Duration::from_secs(2));
        assert!((budget.rate(start + Duration::from_secs(2)) - 2.5).abs() < 0.01);
        assert!((budget.rate(start + Duration::from_secs(200)) - 50.0).abs() < 0.01);
    }

    #[test]
    fn lasting_throttling_leaves_one_request_a_second() {
        let start = Instant::now();
        let mut budget = Budget::new(50, 100, start);
        let mut now = start;
        for _ in 0..20 {
            now += Duration::from_secs(11);
            budget.throttled(now, now);
        }
        spend(&mut budget, now);
        assert!(spend(&mut budget, now + Duration::from_secs(4)) >= 4);
    }

    proptest! {
        #[test]
        fn no_span_gets_more_than_burst_and_rate(
            rate in 1_u32..200, burst in 1_u32..200,
            steps in prop::collection::vec((0_u64..3_000, prop::bool::weighted(0.1)), 1..200),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut budget = Budget::new(rate, burst, start);
            let mut granted: Vec<Instant> = Vec::new();
            for (millis, throttled) in steps {
                now += Duration::from_millis(millis);
                if throttled {
                    budget.throttled(now, now);
                }
                if budget.ready(now) {
                    budget.take(now);
                    granted.push(now);
                }
            }
            for (index, from) in granted.iter().enumerate() {
                for (count, to) in granted[index..].iter().enumerate() {
                    let span = to.duration_since(*from).as_secs_f64();
                    #[expect(clippy::cast_precision_loss, reason = "at most 200")]
                    let count = (count + 1) as f64;
                    prop_assert!(count <= f64::from(burst) + f64::from(rate) * span + 0.001);
                }
            }
        }

        #[test]
        fn whoever_waits_as_told_is_served(rate in 1_u32..500, burst in 1_u32..10, takes in 1_usize..100) {
            let mut now = Instant::now();
            let mut budget = Budget::new(rate, burst, now);
            for _ in 0..takes {
                now = budget.ready_at(now);
                prop_assert!(budget.ready(now));
                budget.take(now);
            }
        }
    }
}
