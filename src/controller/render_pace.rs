//! How much of the processor the values of one namespace may take: reading a hostile PKCS#12 file or matching a hostile
//! pattern is bounded, but takes long, and whoever sets values may set another one at any time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A namespace that owes more waits.
const ALLOWED: Duration = Duration::from_millis(500);

/// So much of what is owed is forgiven in a second: a namespace gets this part of one core.
const SHARE: f64 = 0.25;

/// What each namespace owes of the time that its values took; ordinary ones owe next to nothing.
#[derive(Debug, Default)]
pub(super) struct RenderPace(Mutex<HashMap<Arc<str>, (Duration, Instant)>>);

impl RenderPace {
    /// How long a namespace has to wait until its values are read on.
    pub(super) fn wait(&self, namespace: &str, now: Instant) -> Option<Duration> {
        let mut owed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (debt, since) = owed.get(namespace).copied()?;
        let debt = left(debt, since, now);
        if debt.is_zero() {
            owed.remove(namespace);
        }
        debt.checked_sub(ALLOWED).filter(|over| !over.is_zero()).map(|over| over.div_f64(SHARE))
    }

    /// Values of a namespace took this long.
    pub(super) fn took(&self, namespace: &Arc<str>, time: Duration, now: Instant) {
        let mut owed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = owed.get(namespace).map_or(Duration::ZERO, |(debt, since)| left(*debt, *since, now));
        owed.insert(Arc::clone(namespace), (before + time, now));
    }
}

fn left(debt: Duration, since: Instant, now: Instant) -> Duration {
    debt.saturating_sub(now.saturating_duration_since(since).mul_f64(SHARE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_whose_values_take_long_waits_and_no_other_does() {
        let (pace, start) = (RenderPace::default(), Instant::now());
        let (shop, second): (Arc<str>, _) = ("shop".into(), Duration::from_secs(1));
        for _ in 0..100 {
            pace.took(&shop, Duration::from_millis(3), start);
            assert_eq!(pace.wait("shop", start), None, "ordinary values");
        }
        pace.took(&shop, second, start);
        // 1.3 s are owed, 0.5 s allowed, and a quarter of a second is forgiven in each.
        assert_eq!(pace.wait("shop", start), Some(Duration::from_millis(3200)));
        assert_eq!(pace.wait("shop", start + 3 * second), Some(Duration::from_millis(200)));
        assert_eq!(pace.wait("shop", start + 4 * second), None);
        assert_eq!(pace.wait("web", start), None);
        assert_eq!(pace.wait("shop", start + 10 * second), None);
        assert!(pace.0.lock().unwrap().is_empty(), "what is paid is forgotten");
    }
}
