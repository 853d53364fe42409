//! When a source is due if nobody waits for it: by the interval of its users, or, where a change would be found
//! without that, once a day at a time of its own.

use std::time::{Duration, Instant};

use super::Entry;
use crate::vault::{failure::Failure, limits::Limits, plane::gate::doubled};

/// Whatever says that nothing changed, each source is read this often.
const RECHECK: Duration = Duration::from_secs(24 * 60 * 60);

/// When a source is to be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::vault) struct Due {
    pub(in crate::vault) at: Instant,
    pub(in crate::vault) recheck: bool,
}

/// What decides when a source is due, besides its users.
#[derive(Clone, Copy, Debug)]
pub(in crate::vault) struct Timing<'a> {
    /// The place of the source within any span.
    pub(in crate::vault) slot: f64,
    /// Sweeps say what changed.
    pub(in crate::vault) swept: bool,
    /// From when on days are counted.
    pub(in crate::vault) since: Instant,
    pub(in crate::vault) limits: &'a Limits,
}

impl Entry {
    /// The smallest interval that a user asks for.
    pub(in crate::vault) fn interval(&self) -> Option<Duration> {
        self.subscriptions.values().map(|subscription| subscription.interval).min()
    }

    /// When the source is to be read if nobody waits.
    pub(in crate::vault) fn due(&self, timing: Timing<'_>) -> Option<Due> {
        let interval = self.interval()?;
        if self.needs_no_timer(timing.swept) {
            return Some(Due { at: self.recheck_at(timing), recheck: true });
        }
        let at = match (self.refused_until(timing.limits), self.read_at) {
            (Some(until), _) => until,
            (None, Some(begun)) if self.fails_alone() => {
                let (first, longest) = timing.limits.retry;
                begun + doubled((first, longest.max(interval)), self.alone - 1)
            }
            (None, read_at) => match read_at.max(self.swept_at) {
                None => self.first_asked + interval.mul_f64(timing.slot),
                // A value that may have changed again is read again whatever a sweep said of it.
                Some(_) if self.settling => read_at.unwrap_or(self.first_asked) + interval,
                Some(confirmed) => confirmed + interval,
            },
        };
        Some(Due { at, recheck: false })
    }

    /// Whether a change would be found without a timer: by a sweep, or because there is none.
    fn needs_no_timer(&self, swept: bool) -> bool {
        match &self.failure {
            None if self.pinned => self.is_known(),
            None => swept && self.is_known() && !self.settling,
            Some(failure) => {
                swept
                    && !self.pinned
                    && matches!(**failure, Failure::SecretNotFound | Failure::SecretDisabled)
            }
        }
    }

    /// Whether the source was read, or all its users know a value of it.
    pub(super) fn is_known(&self) -> bool {
        self.attributes.is_some()
            || self.subscriptions.values().all(|subscription| subscription.known.is_some())
    }

    /// The source's own time of day, after it was last read.
    fn recheck_at(&self, timing: Timing<'_>) -> Instant {
        let last = self.read_at.unwrap_or(self.first_asked).saturating_duration_since(timing.since);
        let place = RECHECK.mul_f64(timing.slot);
        // A second of rounding must not make one turn two.
        let turns = (last.as_secs_f64() + 1.0 - place.as_secs_f64()) / RECHECK.as_secs_f64();
        timing.since + place + RECHECK.mul_f64(turns.ceil().max(0.0))
    }
}
