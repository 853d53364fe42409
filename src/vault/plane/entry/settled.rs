//! When a change has settled: what belongs to it has changed too by then, and nothing that looks the same follows.
//!
//! A version has settled five seconds after it came, by one local instant that belongs to the change and not to
//! whoever asks. The service's `updated` and `Date` tell how old it is, in whole seconds of the service's own clock;
//! where they cannot, it came when it was read.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Entry;
use crate::vault::answer::Attributes;

/// A script that sets several secrets, each within this time of the one before, changed them together.
pub(in crate::vault::plane) const QUIET: Duration = Duration::from_secs(5);

/// The last change of a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastChange {
    /// When it has settled; of several estimates the earliest.
    pub(super) settled_at: Instant,
    /// From when on nothing that looks the same can follow: attributes may have changed after the version came, and
    /// another version within the same second.
    pub(super) distinct_at: Instant,
    /// When the service says that the version was changed.
    updated: Option<Timestamp>,
    /// Whether that says how old the change is: not where a version returned that had been there before.
    dated: bool,
}

impl LastChange {
    /// Nothing changed since `asked`.
    pub(super) const fn none(asked: Instant) -> Self {
        Self { settled_at: asked, distinct_at: asked, updated: None, dated: false }
    }

    /// The source went, which says nothing of when.
    pub(super) fn gone(answered: Instant) -> Self {
        let settled_at = answered + QUIET;
        Self { settled_at, distinct_at: settled_at, updated: None, dated: false }
    }
}

/// When a change has settled that an answer at `answered`, by the service's clock at `date`, shows as of `updated`.
fn settled_at(answered: Instant, updated: Option<Timestamp>, date: Option<Timestamp>) -> Instant {
    let age = match (updated, date) {
        // Both are cut to whole seconds, so it may be a second less.
        (Some(updated), Some(date)) => date.as_second().saturating_sub(updated.as_second()) - 1,
        _ => 0,
    };
    let age = Duration::from_secs(u64::try_from(age).unwrap_or_default());
    let ahead = answered + QUIET.saturating_sub(age);
    ahead.checked_sub(age.saturating_sub(QUIET)).unwrap_or(ahead)
}

impl Entry {
    /// The change that brought what a GET has just `read`, which was answered at `now`.
    pub(super) fn change(
        &self,
        read: &Attributes,
        returned: bool,
        date: Option<Timestamp>,
        now: Instant,
    ) -> LastChange {
        let same = |known: &Attributes| known.version == read.version;
        let before = self.attributes.as_deref().filter(|known| !returned && same(known));
        // Who knows a version with its time was given it after it had settled.
        let was_given = |known: &Attributes| same(known) && known.updated.is_some();
        let later = !returned && self.is_later(read.updated, Some(&read.version));
        // A sweep may have seen the same change before.
        let seen = self.watch.settles_at(read.updated);
        let estimate = |dated: bool| {
            let estimate = settled_at(now, read.updated.filter(|_| dated), date);
            seen.map_or(estimate, |seen| seen.min(estimate))
        };
        if self.attributes.is_none() && !returned && self.known().any(was_given) {
            let none = LastChange { updated: read.updated, ..LastChange::none(self.first_asked) };
            let looks_same = self.known().any(|known| same(known) && known.updated == read.updated);
            return if looks_same { none } else { LastChange { distinct_at: estimate(later), ..none } };
        }
        let dated = before.map_or(later, |_| self.change.dated);
        let settled_at =
            before.map_or_else(|| estimate(dated), |_| estimate(dated).min(self.change.settled_at));
        let distinct_at = match before {
            Some(_) if self.change.updated == read.updated => self.change.distinct_at.min(estimate(dated)),
            _ => estimate(later),
        };
        LastChange { settled_at, distinct_at: distinct_at.max(settled_at), updated: read.updated, dated }
    }

    /// When a version has settled that a sweep lists as of `updated`.
    pub(super) fn listed_change(
        &self,
        updated: Option<Timestamp>,
        date: Option<Timestamp>,
        now: Instant,
    ) -> Instant {
        let dated =
            self.failure.as_deref().is_none_or(|failure| !failure.is_gone()) && self.is_later(updated, None);
        let estimate = settled_at(now, updated.filter(|_| dated), date);
        let same = self.attributes.is_some() && self.change.updated == updated;
        if same { estimate.min(self.change.distinct_at) } else { estimate }
    }

    /// Whether the last GET began late enough to have read all of the last change.
    pub(super) fn is_settled(&self) -> bool {
        self.read_at.is_none_or(|begun| begun >= self.change.distinct_at)
    }

    /// Whether a version of this time came after what was there before, `version` itself aside.
    fn is_later(&self, updated: Option<Timestamp>, version: Option<&str>) -> bool {
        let before = |before: Option<Timestamp>| before.is_some() && before < updated;
        match &self.attributes {
            Some(_) => before(self.change.updated),
            None => self.known().all(|known| version == Some(&known.version) || before(known.updated)),
        }
    }

    /// What its users know.
    pub(super) fn known(&self) -> impl Iterator<Item = &Attributes> {
        self.subscriptions.values().filter_map(|subscription| subscription.known.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vault::value::SecretValue;
    use crate::vault::{answer::Reading, failure::Failure};

    /// A second of the vault's clock at the start.
    const EPOCH: i64 = 1_750_000_000;

    fn whole(milliseconds: i64) -> Option<Timestamp> {
        Timestamp::from_second(EPOCH + milliseconds.div_euclid(1000)).ok()
    }

    fn millis(milliseconds: i64) -> Duration {
        Duration::from_millis(u64::try_from(milliseconds).unwrap())
    }

    fn reading(version: u8, updated: Option<Timestamp>) -> Reading {
        let attributes = Attributes {
            version: format!("{version:032x}"),
            created: None,
            updated,
            expires: None,
            not_before: None,
            managed: false,
        };
        Reading { attributes, value: SecretValue::new(String::new().into()) }
    }

    proptest! {
        #[test]
        fn it_is_never_before_the_change_had_settled_nor_later_than_five_seconds_after_the_answer(
            changed in 0_i64..100_000, later in 0_i64..20_000, skew in -5_000_i64..5_000, dated: bool,
        ) {
            let start = Instant::now();
            let answered = start + millis(changed + later);
            let date = whole(changed + later + skew).filter(|_| dated);
            let at = settled_at(answered, whole(changed), date);
            // A clock that is ahead makes a change look older than it is.
            let ahead = millis(skew.max(0));
            prop_assert!(at + ahead >= start + millis(changed) + QUIET);
            prop_assert!(at <= answered + QUIET);
            if dated && skew == 0 {
                prop_assert!(at <= start + millis(changed) + QUIET + Duration::from_secs(2));
            }
        }

        #[test]
        fn reads_of_one_version_only_bring_it_forward_and_those_of_another_say_nothing_of_it(
            answers in prop::collection::vec((0_i64..3_000, -5_000_i64..5_000, prop::option::of(0_i64..2)), 1..12),
        ) {
            let start = Instant::now();
            let mut entry = Entry::new(None, start);
            let (mut now, mut changed, mut version) = (10_000, 9_500, 0);
            let mut earliest: Option<Instant> = None;
            for (passes, skew, next) in answers {
                now += passes;
                if next == Some(1) {
                    (changed, version, earliest) = (now, version + 1, None);
                }
                let answered = start + millis(now);
                let date = whole(now + skew);
                entry.read(reading(version, whole(changed)), date, false, answered, answered);
                let settled = entry.change.settled_at;
                prop_assert!(settled <= answered + QUIET);
                prop_assert!(earliest.is_none_or(|earliest| settled <= earliest));
                if entry.change.dated {
                    let estimate = settled_at(answered, whole(changed), date);
                    prop_assert_eq!(settled, earliest.map_or(estimate, |earliest| earliest.min(estimate)));
                }
                earliest = Some(settled);
            }
        }
    }

    #[test]
    fn a_version_that_was_there_before_or_a_source_that_was_gone_settles_from_now_on_however_old_it_says_it_is()
     {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let read = |entry: &mut Entry, version, updated, now| {
            let date = whole(1_000_000);
            entry.read(reading(version, whole(updated)), date, false, at(now), at(now));
            entry.change.settled_at
        };
        let mut entry = Entry::new(None, start);
        assert!(read(&mut entry, 2, 20_000, 30) < at(30), "the first time it is believed");
        assert_eq!(read(&mut entry, 1, 10_000, 40), at(45), "a fail-over took it back");
        assert_eq!(read(&mut entry, 1, 10_000, 42), at(45), "and again, by the same change");
        entry.fail(Failure::SecretNotFound, at(50), at(50));
        assert_eq!(entry.change.settled_at, at(55));
        entry.fail(Failure::SecretNotFound, at(52), at(52));
        assert_eq!(entry.change.settled_at, at(55), "it went once");
        assert_eq!(read(&mut entry, 1, 10_000, 60), at(65), "it was recovered");
    }

    #[test]
    fn attributes_that_changed_within_the_second_of_a_read_stand_without_their_time_until_they_are_read_again()
     {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut entry = Entry::new(None, start);
        let read = |entry: &mut Entry, updated, now: u32| {
            let (date, instant) = (whole(i64::from(now) * 1000), at(now.into()));
            entry.read(reading(1, whole(updated)), date, false, instant, instant);
            entry.attributes.as_ref().and_then(|attributes| attributes.updated)
        };
        assert_eq!(read(&mut entry, 10_000, 30), whole(10_000), "old enough to be believed");
        let settled_at = entry.change.settled_at;
        assert_eq!(read(&mut entry, 40_000, 40), None, "another version may follow in the same second");
        assert!(!entry.is_settled());
        assert_eq!(entry.change.settled_at, settled_at, "the value is no news");
        assert_eq!(entry.change.distinct_at, at(45));
        assert_eq!(read(&mut entry, 40_000, 45), whole(40_000));
        assert!(entry.is_settled());
    }
}
