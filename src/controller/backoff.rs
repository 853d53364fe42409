//! When to try an object again after a failure of the API server; pure.

use super::error::Error;
use crate::api::fnv1a;
use crate::vault::doubled;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);

/// The wait before the next try: doubling from 1 s to 60 s, what the API server asks for if that is longer, and up
/// to a quarter more by the object's name, so that many objects that failed together do not come back together.
#[must_use]
pub(super) fn backoff(error: &Error, failures: u32, object: &str) -> Duration {
    let wait =
        doubled((FIRST, MOST), failures.saturating_sub(1)).max(error.retry_after().unwrap_or_default());
    let share = u32::try_from(fnv1a(object.as_bytes()) % 256).unwrap_or_default();
    wait + wait * share / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_wait_longer_up_to_a_minute_and_a_quarter() {
        let waits: Vec<Duration> =
            (1..12).map(|failures| backoff(&Error::Unsettled, failures, "shop")).collect();
        assert!(waits.is_sorted());
        assert!(waits[0] >= FIRST && waits[0] < FIRST * 2);
        assert!(waits[10] >= MOST && waits[10] <= MOST * 5 / 4);
    }

    #[test]
    fn the_api_servers_wish_is_obeyed() {
        let error = Error::Api {
            verb: "patch secret",
            code: 429,
            reason: String::new(),
            webhook: None,
            retry_after: Some(Duration::from_secs(30)),
        };
        assert!(backoff(&error, 1, "shop") >= Duration::from_secs(30));
    }
}
