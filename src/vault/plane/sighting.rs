//! What a LIST shows of a source, and whether that is what we know of it.
//!
//! Each sighting is compared with the last answer of a GET (or what the users have written), not with the sighting
//! before: a change that one sweep missed, because objects moved between its pages or because a GET came in
//! between, is found by the next. A sighting is a hint: it can only cause a GET, or confirm what a GET said.

use std::time::Instant;

use jiff::Timestamp;

use crate::vault::{answer::Attributes, failure::Failure};

/// The attributes of a secret as a LIST shows them: those of its current version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::vault) struct Listed {
    pub(in crate::vault) enabled: bool,
    pub(in crate::vault) created: Option<Timestamp>,
    pub(in crate::vault) updated: Option<Timestamp>,
    pub(in crate::vault) expires: Option<Timestamp>,
    pub(in crate::vault) not_before: Option<Timestamp>,
}

impl Listed {
    /// Whether this is how a version with these attributes is listed.
    fn shows(&self, known: &Attributes) -> bool {
        self.enabled
            && self.created == known.created
            && self.updated == known.updated
            && self.expires == known.expires
            && self.not_before == known.not_before
    }
}

/// What one sweep says of one name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sighting {
    /// It is listed.
    Present(Listed),
    /// It is not.
    Absent,
}

impl Sighting {
    /// Whether a GET that brought these attributes says the same.
    pub(super) fn agrees_with_value(&self, known: &Attributes) -> bool {
        matches!(self, Self::Present(listed) if listed.shows(known))
    }

    /// Whether a GET that failed like this says the same; `None`: a sighting has nothing to say of such a failure.
    pub(super) fn agrees_with_failure(&self, failure: &Failure) -> Option<bool> {
        match failure {
            Failure::SecretNotFound => Some(*self == Self::Absent),
            Failure::SecretDisabled => Some(matches!(self, Self::Present(listed) if !listed.enabled)),
            _ => None,
        }
    }

    /// Whether a GET could bring a value, as far as this says.
    const fn is_readable(&self) -> bool {
        self.readable().is_some()
    }

    /// The version that is listed, if it can be read.
    pub(super) const fn readable(&self) -> Option<&Listed> {
        match self {
            Self::Present(listed) if listed.enabled => Some(listed),
            _ => None,
        }
    }
}

/// So many sweeps are each followed by a GET that brings the value as it is, before the service is believed to list it
/// so: one GET may have been answered by a replica that was behind.
const DOUBTS: u8 = 3;

/// A sighting that no GET has answered yet.
#[derive(Debug)]
struct Demand {
    sighting: Sighting,
    /// Only a GET that began then or later answers it.
    since: Instant,
    /// When what it shows has settled: not before then is it read.
    ripe_at: Instant,
}

/// What the sweeps said of one source that no GET has answered yet, or that one has. Nearly always nothing, which is why
/// what they said is boxed: there may be tens of thousands of sources.
#[derive(Debug, Default)]
pub(super) struct Watch {
    demand: Option<Box<Demand>>,
    /// A sighting unlike the value, and how many GETs brought the same value after a sweep said so.
    doubted: Option<Box<(Sighting, u8)>>,
    /// The last sweep that saw it.
    pub(super) seen_in: u64,
}

impl Watch {
    /// Whether a GET is needed.
    pub(super) const fn demands(&self) -> bool {
        self.demand.is_some()
    }

    /// When a GET is needed.
    pub(super) fn ripe_at(&self) -> Option<Instant> {
        self.demand.as_ref().map(|demand| demand.ripe_at)
    }

    /// When a sweep said what no GET has said yet.
    pub(super) fn demanded_at(&self) -> Option<Instant> {
        self.demand.as_ref().map(|demand| demand.since)
    }

    /// When what a sweep saw has settled, if it was as of `updated`.
    pub(super) fn settles_at(&self, updated: Option<Timestamp>) -> Option<Instant> {
        let demand = self.demand.as_ref()?;
        (demand.sighting.readable()?.updated == updated).then_some(demand.ripe_at)
    }

    /// At `now` a sweep said something that no GET has said; a GET is of use from `ripe_at` on.
    pub(super) fn demand(&mut self, sighting: Sighting, now: Instant, ripe_at: Instant) {
        let ripe_at = ripe_at.max(now);
        match &mut self.demand {
            Some(demand) if demand.sighting == sighting => demand.ripe_at = demand.ripe_at.min(ripe_at),
            demand => *demand = Some(Box::new(Demand { sighting, since: now, ripe_at })),
        }
    }

    /// Whether the service is known to list the value so.
    pub(super) fn accepts(&self, sighting: &Sighting) -> bool {
        self.doubted.as_ref().is_some_and(|doubted| doubted.0 == *sighting && doubted.1 >= DOUBTS)
    }

    /// A sweep agrees with the last GET.
    pub(super) fn agreed(&mut self) {
        self.demand = None;
        self.doubted = None;
    }

    /// A GET that began at `begun` brought a value; `moved`: another than before.
    pub(super) fn read(&mut self, begun: Instant, moved: bool) {
        let answered = self.answer(begun);
        if moved {
            self.doubted = None;
        } else if let Some(sighting) = answered {
            let before = self.doubted.as_ref().filter(|doubted| doubted.0 == sighting);
            let doubts = before.map_or(0, |doubted| doubted.1).saturating_add(1);
            self.doubted = sighting.is_readable().then(|| Box::new((sighting, doubts)));
        }
    }

    /// A GET that began at `begun` failed for this source.
    pub(super) fn failed(&mut self, begun: Instant) {
        self.doubted = None;
        self.answer(begun);
    }

    fn answer(&mut self, begun: Instant) -> Option<Sighting> {
        self.demand.take_if(|demand| begun >= demand.since).map(|demand| demand.sighting)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn time(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    fn known() -> Attributes {
        Attributes {
            version: "a".repeat(32),
            created: time(1),
            updated: time(2),
            expires: None,
            not_before: None,
            managed: false,
        }
    }

    fn listed() -> Listed {
        Listed { enabled: true, created: time(1), updated: time(2), expires: None, not_before: None }
    }

    #[test]
    fn any_inequality_is_a_change_and_an_older_time_too() {
        assert!(Sighting::Present(listed()).agrees_with_value(&known()));
        for other in [
            Listed { enabled: false, ..listed() },
            Listed { created: time(0), ..listed() },
            Listed { updated: time(3), ..listed() },
            Listed { updated: time(1), ..listed() },
            Listed { updated: None, ..listed() },
            Listed { expires: time(9), ..listed() },
            Listed { not_before: time(0), ..listed() },
        ] {
            assert!(!Sighting::Present(other).agrees_with_value(&known()), "{other:?}");
        }
        assert!(!Sighting::Absent.agrees_with_value(&known()));
    }

    #[test]
    fn a_failure_is_confirmed_only_by_what_explains_it() {
        let present = Sighting::Present(listed());
        let disabled = Sighting::Present(Listed { enabled: false, ..listed() });
        assert_eq!(Sighting::Absent.agrees_with_failure(&Failure::SecretNotFound), Some(true));
        assert_eq!(present.agrees_with_failure(&Failure::SecretNotFound), Some(false));
        assert_eq!(disabled.agrees_with_failure(&Failure::SecretDisabled), Some(true));
        assert_eq!(present.agrees_with_failure(&Failure::SecretDisabled), Some(false));
        assert_eq!(present.agrees_with_failure(&Failure::Forbidden), None);
    }

    #[test]
    fn a_get_that_began_before_the_sighting_does_not_answer_it() {
        let mut watch = Watch::default();
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        watch.demand(Sighting::Present(listed()), later, later);
        watch.read(start, false);
        assert!(watch.demands());
        watch.read(later, true);
        assert!(!watch.demands());
    }

    #[test]
    fn a_source_that_is_listed_unlike_it_is_read_costs_three_gets_and_not_one_a_sweep() {
        let mut watch = Watch::default();
        let start = Instant::now();
        let odd = Sighting::Present(Listed { updated: None, ..listed() });
        for doubts in 1..=DOUBTS {
            assert!(!watch.accepts(&odd));
            watch.demand(odd, start, start);
            watch.read(start, false);
            // Reads that no sweep asked for prove nothing more.
            watch.read(start, false);
            assert_eq!(watch.accepts(&odd), doubts == DOUBTS);
        }
        assert!(!watch.accepts(&Sighting::Present(listed())));
        watch.read(start, true);
        assert!(!watch.accepts(&odd), "another value: what is listed must be checked against it anew");
        for _ in 0..DOUBTS {
            watch.demand(Sighting::Absent, start, start);
            watch.read(start, false);
        }
        assert!(!watch.accepts(&Sighting::Absent), "what is not listed is read every time");
    }

    #[test]
    fn what_sweeps_show_again_is_read_when_the_first_of_them_says_that_it_has_settled() {
        let mut watch = Watch::default();
        let start = Instant::now();
        let [second, third, fifth] = [2, 3, 5].map(|seconds| start + Duration::from_secs(seconds));
        watch.demand(Sighting::Present(listed()), start, fifth);
        watch.demand(Sighting::Present(listed()), second, third);
        assert_eq!((watch.ripe_at(), watch.demanded_at()), (Some(third), Some(start)));
        watch.demand(Sighting::Absent, third, second);
        assert_eq!((watch.ripe_at(), watch.demanded_at()), (Some(third), Some(third)), "another sighting");
    }
}
