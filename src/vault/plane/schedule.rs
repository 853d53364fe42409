//! When is what due: times by key, earliest first.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Instant,
};

/// One time for each key.
#[derive(Debug)]
pub(super) struct Schedule<K> {
    order: BTreeSet<(Instant, K)>,
    times: HashMap<K, Instant>,
}

impl<K: Clone + Eq + Hash + Ord> Schedule<K> {
    pub(super) fn new() -> Self {
        Self { order: BTreeSet::new(), times: HashMap::new() }
    }

    /// The key is due at `at`, and at no other time.
    pub(super) fn set(&mut self, key: K, at: Instant) {
        self.remove(&key);
        self.times.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// When the key is due, if it is.
    pub(super) fn time_of(&self, key: &K) -> Option<Instant> {
        self.times.get(key).copied()
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(at) = self.times.remove(key) {
            self.order.remove(&(at, key.clone()));
        }
    }

    /// Takes one key that is due at `now`, the earliest first.
    pub(super) fn due(&mut self, now: Instant) -> Option<K> {
        if self.order.first()?.0 > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.times.remove(&key);
        Some(key)
    }

    /// When the next key is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_key_comes_once_at_its_last_time(
            sets in prop::collection::vec((0_u8..20, 0_u64..100, prop::bool::weighted(0.2)), 0..100),
        ) {
            let start = Instant::now();
            let mut schedule = Schedule::new();
            let mut expected = HashMap::new();
            for (key, seconds, remove) in sets {
                let at = start + Duration::from_secs(seconds);
                if remove {
                    schedule.remove(&key);
                    expected.remove(&key);
                } else {
                    schedule.set(key, at);
                    expected.insert(key, at);
                }
            }
            while let Some(next) = schedule.next() {
                prop_assert_eq!(schedule.due(next.checked_sub(Duration::from_nanos(1)).unwrap()), None);
                let key = schedule.due(next).unwrap();
                prop_assert_eq!(expected.remove(&key), Some(next));
            }
            prop_assert!(expected.is_empty());
        }
    }
}
