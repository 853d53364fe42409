//! The shared pace of restarts: so many workloads in a minute over all objects, and namespaces take turns.

use super::super::Context;
use crate::object_key::ObjectKey;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const MINUTE: Duration = Duration::from_secs(60);

/// The places of the minute, and who waits for one.
#[derive(Debug)]
pub(in crate::controller) struct RolloutPace {
    turns: Mutex<Turns>,
    changed: Notify,
}

impl RolloutPace {
    pub(in crate::controller) fn new(per_minute: Option<u32>) -> Self {
        let most = usize::try_from(per_minute.unwrap_or_default()).unwrap_or(usize::MAX);
        Self { turns: Mutex::new(Turns::new(most)), changed: Notify::new() }
    }

    /// Takes a place for a workload of this object, and says when. Where it is the turn of others, the object is woken when
    /// its own comes.
    pub(super) fn take(&self, key: &ObjectKey) -> Option<Instant> {
        let taken = self.turns().take(key, now());
        self.changed.notify_one();
        taken
    }

    /// The place that was taken at this time was not used.
    pub(super) fn give_back(&self, taken: Instant) {
        self.turns().give_back(taken);
        self.changed.notify_one();
    }

    /// The object wants no place any more.
    pub(in crate::controller) fn leave(&self, key: &ObjectKey) {
        if self.turns().leave(key) {
            self.changed.notify_one();
        }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        // Nothing under this lock can panic half-way through a change.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes whose turn it is, for ever.
pub(in crate::controller) async fn deliver(context: Arc<Context>) {
    let pace = &context.rollouts;
    loop {
        let turn = pace.turns().next(now());
        match turn {
            Ok(key) => {
                context.triggers.object(&key);
                // Nobody else tells that an object is gone.
                if !context.index.contains(&key) {
                    pace.leave(&key);
                }
            }
            Err(wait) => {
                let wait = async {
                    match wait {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = wait => {}
                    () = pace.changed.notified() => {}
                }
            }
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The pace itself; pure.
#[derive(Debug)]
struct Turns {
    most: usize,
    /// When the places of the last minute were taken.
    taken: VecDeque<Instant>,
    waiting: BTreeMap<Arc<str>, VecDeque<ObjectKey>>,
    /// The namespace that had the last turn.
    last: Option<Arc<str>>,
    /// Whose turn it is, and since when.
    called: BTreeMap<ObjectKey, Instant>,
}

impl Turns {
    const fn new(most: usize) -> Self {
        Self { most, taken: VecDeque::new(), waiting: BTreeMap::new(), last: None, called: BTreeMap::new() }
    }

    fn take(&mut self, key: &ObjectKey, now: Instant) -> Option<Instant> {
        // The minute of a place begins when it is used, and nobody keeps one for longer.
        let called = self.called.remove(key).is_some_and(|called| self.give_back(called));
        if !called && (!self.waiting.is_empty() || self.wait(now).is_some()) {
            self.queue(key);
            return None;
        }
        self.taken.push_back(now);
        Some(now)
    }

    fn queue(&mut self, key: &ObjectKey) {
        let waiting = self.waiting.entry(Arc::clone(&key.namespace)).or_default();
        if !waiting.contains(key) {
            waiting.push_back(key.clone());
        }
    }

    /// Whose turn it is now; else how long until the next, or `None` where nobody waits.
    fn next(&mut self, now: Instant) -> Result<ObjectKey, Option<Duration>> {
        let after = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let next =
            self.waiting.range((after, Bound::Unbounded)).next().or_else(|| self.waiting.iter().next());
        let namespace = Arc::clone(next.ok_or(None)?.0);
        if let Some(wait) = self.wait(now) {
            return Err(Some(wait));
        }
        let waiting = self.waiting.get_mut(&namespace).ok_or(None)?;
        let key = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        }
        self.last = Some(namespace);
        let key = key.ok_or(None)?;
        self.taken.push_back(now);
        self.called.insert(key.clone(), now);
        Ok(key)
    }

    /// How long it is until a place is free.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        while self.taken.front().is_some_and(|taken| now.saturating_duration_since(*taken) >= MINUTE) {
            self.taken.pop_front();
        }
        let oldest = self.taken.front().filter(|_| self.taken.len() >= self.most)?;
        Some(MINUTE.saturating_sub(now.saturating_duration_since(*oldest)))
    }

    /// Whether it was still taken.
    fn give_back(&mut self, taken: Instant) -> bool {
        let place = self.taken.iter().rposition(|other| *other == taken);
        place.is_some_and(|place| self.taken.remove(place).is_some())
    }

    /// Whether a place is free for others by it.
    fn leave(&mut self, key: &ObjectKey) -> bool {
        if let Some(waiting) = self.waiting.get_mut(&key.namespace) {
            waiting.retain(|waiting| waiting != key);
            if waiting.is_empty() {
                self.waiting.remove(&key.namespace);
            }
        }
        let called = self.called.remove(key);
        if let Some(called) = called {
            self.give_back(called);
        }
        called.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey::new(namespace, name)
    }

    #[test]
    fn namespaces_take_turns_whoever_has_more_to_restart() {
        let (mut turns, start) = (Turns::new(1), Instant::now());
        assert!(turns.take(&key("a", "first"), start).is_some());
        for name in ["1", "2", "3"] {
            assert_eq!(turns.take(&key("a", name), start), None);
        }
        assert_eq!(turns.take(&key("b", "1"), start), None);
        assert_eq!(turns.next(start + MINUTE / 2), Err(Some(MINUTE / 2)));
        let mut order = Vec::new();
        for minute in 1..=4 {
            let now = start + MINUTE * minute;
            let called = turns.next(now).unwrap();
            assert!(turns.take(&called, now).is_some());
            order.push(called.to_string());
        }
        assert_eq!(order, ["a/1", "b/1", "a/2", "a/3"]);
        assert_eq!(turns.next(start + MINUTE * 9), Err(None));
    }

    #[test]
    fn whoever_is_called_and_gone_leaves_the_place_to_the_next() {
        let (mut turns, start) = (Turns::new(1), Instant::now());
        turns.take(&key("a", "1"), start);
        turns.take(&key("a", "2"), start);
        turns.take(&key("a", "3"), start);
        let now = start + MINUTE;
        assert_eq!(turns.next(now), Ok(key("a", "2")));
        assert!(turns.leave(&key("a", "2")));
        assert_eq!(turns.next(now), Ok(key("a", "3")));
    }

    proptest! {
        #[test]
        fn no_minute_has_more_restarts_than_allowed(
            steps in prop::collection::vec((0_u64..20, 0_u8..4, 0_u8..6), 1..200), most in 1_usize..6,
        ) {
            let (mut turns, mut now, mut used) = (Turns::new(most), Instant::now(), Vec::new());
            for (seconds, object, what) in steps {
                now += Duration::from_secs(seconds);
                let key = key(if object % 2 == 0 { "a" } else { "b" }, &object.to_string());
                match what {
                    0 => { turns.next(now).ok(); }
                    1 => { turns.leave(&key); }
                    2 => if let Some(taken) = turns.take(&key, now) { turns.give_back(taken); },
                    _ => used.extend(turns.take(&key, now)),
                }
            }
            for at in &used {
                let minute = used.iter().filter(|other| **other >= *at && **other - *at < MINUTE);
                prop_assert!(minute.count() <= most);
            }
        }
    }
}
