//! How much is asked of a vault, and how patiently.

use std::time::Duration;

use super::failure::Failure;

/// How much the plane may ask of a vault host, and how long it waits.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests per second to one vault host, over all identities. An eighth of the vault's documented 400.
    pub requests_per_second: u32,
    /// Requests that may go out at once after a quiet time.
    pub burst: u32,
    /// Requests under way at a time through one handle.
    pub in_flight: usize,
    /// First and longest wait after a failure that passes by itself.
    pub retry: (Duration, Duration),
    /// First and longest wait after a refusal that needs someone to change a setting, and after a list that cannot be read.
    pub refused_retry: (Duration, Duration),
    /// How long a whole vault or identity may fail before it is said to: so long if three requests in a row did, and
    /// the longer one whatever was tried.
    pub doubt: (Duration, Duration),
    /// How long nothing may fail before it is said to work again.
    pub calm: Duration,
    /// The longest wait that a vault's `Retry-After` can ask for.
    pub retry_after: Duration,
    /// The least time between two reads of one source that users ask for by hand.
    pub refresh_apart: Duration,
    /// How long a value is kept for users that do not come for it.
    pub value_life: Duration,
    /// A list with more pages than this is not followed to its end.
    pub list_pages: u32,
    /// Nor one that takes longer than this.
    pub list_time: Duration,
    /// How long nothing is listed after a list had no end.
    pub list_retry: Duration,
    /// How long a handle without users keeps its connection and token.
    pub idle: Duration,
}

impl Limits {
    /// The first and the longest wait after such a failure of a whole vault or identity, if the service asks for no
    /// other.
    #[must_use]
    pub const fn retry_after_failure(&self, failure: &Failure) -> (Duration, Duration) {
        if failure.is_lasting() { self.refused_retry } else { self.retry }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_second: 50,
            burst: 100,
            in_flight: 8,
            // Half of the usual interval at most, so that after an outage all is fresh again within one.
            retry: (Duration::from_secs(1), Duration::from_secs(30)),
            refused_retry: (Duration::from_secs(30), Duration::from_secs(600)),
            doubt: (Duration::from_secs(5), Duration::from_secs(60)),
            calm: Duration::from_secs(5),
            retry_after: Duration::from_secs(300),
            // Shorter than what a Secret that differs waits for its values before that is said.
            refresh_apart: Duration::from_secs(3),
            value_life: Duration::from_secs(60),
            list_pages: 4000,
            list_time: Duration::from_secs(600),
            list_retry: Duration::from_secs(3600),
            idle: Duration::from_secs(120),
        }
    }
}

/// The first wait doubled for each failure before, up to the longest.
pub(crate) fn doubled((first, most): (Duration, Duration), failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures)).min(most)
}
