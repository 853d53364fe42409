//! What is new of one object arrives together: whom it waits for, how long, and what that may cost.
//!
//! News is used when every request behind the other sources began after it had [settled](super::entry): what a script
//! changed together is then known together. Whatever was not asked so late is asked once more. The wait is bounded in
//! time and in requests, but it never ends with a source that is known to have moved and is not read.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::detect::Terms;
use crate::object_key::ObjectKey;
use crate::vault::{answer::Answer, connection::Source};

/// So long, with an open gate, an object waits from its first ask that met the news.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// So many confirmations an object may ask for at once, and in a minute, at least.
pub(super) const CONFIRMATIONS: usize = 60;
/// So many of each of its sources at once, if that is more: a script that a sweep meets half-way takes two, and another may
/// follow.
const AT_ONCE: usize = 4;
/// So many of each in a minute, over time: who shares a source that changes every second must not read all its others as often.
const A_MINUTE: usize = 2;
const MINUTE: Duration = Duration::from_secs(60);

/// For how long the gate of a handle was open.
#[derive(Debug)]
pub(super) struct OpenTime {
    open: bool,
    /// When it opened or closed last.
    turned: Instant,
    /// How long it was open before.
    before: Duration,
}

impl OpenTime {
    pub(super) const fn new(now: Instant) -> Self {
        Self { open: false, turned: now, before: Duration::ZERO }
    }

    pub(super) fn note(&mut self, open: bool, now: Instant) {
        if open != self.open {
            self.before = self.until(now);
            (self.open, self.turned) = (open, now);
        }
    }

    pub(super) fn until(&self, now: Instant) -> Duration {
        let since = if self.open { now.saturating_duration_since(self.turned) } else { Duration::ZERO };
        self.before + since
    }

    /// When it will have been open so long, if it stays open.
    pub(super) fn reaches(&self, time: Duration) -> Option<Instant> {
        self.open.then(|| self.turned + time.saturating_sub(self.before))
    }

    pub(super) fn closed_since(&self) -> Option<Instant> {
        (!self.open).then_some(self.turned)
    }
}

/// One user of a handle.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) terms: Terms,
    pub(super) sources: Box<[Source]>,
    /// Of how many sources it was told `Pending`.
    pub(super) outstanding: usize,
    /// It was told so of a source of another connection, which keeps it from using what this one gave.
    pub(super) waits_elsewhere: bool,
    /// Nearly always nothing.
    pub(super) gathering: Option<Box<Gathering>>,
}

/// How late the sources of a user are to be known, over all of its connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreement {
    /// When the latest news among them has settled; `None`: there is none.
    pub(super) settled: Option<Instant>,
    /// One of them has no answer yet.
    pub(super) pending: bool,
    /// One of another connection keeps the user waiting, and how long is not to be foreseen: it has no answer yet, or is to
    /// be confirmed while its gate is closed.
    pub(super) elsewhere: bool,
}

/// Whether one of them is none yet.
pub(super) fn is_pending(answers: &[Answer]) -> bool {
    answers.iter().any(|answer| matches!(answer, Answer::Pending))
}

/// How long a user waits, and what for.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// When it waits no more, by the time that the gate is open.
    pub(super) until: Option<Duration>,
    /// It has waited long enough, or asks to have whatever there is.
    pub(super) over: bool,
    /// Somebody asks by hand to have whatever there is.
    pub(super) hurries: bool,
    /// When the news has settled that it waits with, of whatever connection.
    pub(super) news: Option<Instant>,
    /// When the news had settled for which confirmations were asked last.
    pub(super) settled: Option<Instant>,
    /// How many confirmations it had asked for when it last did, but for those that time has given back.
    pub(super) spent: Option<(Instant, usize)>,
}

impl Subscriber {
    pub(super) const fn new(terms: Terms, sources: Box<[Source]>) -> Self {
        Self { terms, sources, outstanding: 0, waits_elsewhere: false, gathering: None }
    }
}

impl Gathering {
    /// Whether `more` confirmations for news that settled at `settled` are within what an object of so many `sources` may ask
    /// for.
    pub(super) fn spend(&mut self, settled: Instant, more: usize, sources: usize, now: Instant) -> bool {
        if self.settled == Some(settled) {
            return true;
        }
        let a_minute = CONFIRMATIONS.max(A_MINUTE * sources);
        let before = self.spent.map_or(0, |(at, spent)| {
            let passed = now.saturating_duration_since(at);
            let given_back =
                passed.as_millis() * u128::try_from(a_minute).unwrap_or_default() / MINUTE.as_millis();
            spent.saturating_sub(usize::try_from(given_back).unwrap_or(usize::MAX))
        });
        let spent = before.saturating_add(more);
        let granted = spent <= CONFIRMATIONS.max(AT_ONCE * sources);
        if granted {
            (self.settled, self.spent) = (Some(settled), Some((now, spent)));
        }
        granted
    }
}

impl Subscriber {
    pub(super) fn end(&mut self, user: &ObjectKey, waits: &mut BTreeSet<(Duration, ObjectKey)>) {
        let Some(gathering) = &mut self.gathering else { return };
        if let Some(until) = gathering.until.take() {
            waits.remove(&(until, user.clone()));
        }
        (gathering.over, gathering.hurries) = (false, false);
        (gathering.news, gathering.settled) = (None, None);
        self.gathering.take_if(|gathering| gathering.spent.is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_wait_stands_still_while_the_gate_is_closed() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut time = OpenTime::new(start);
        time.note(true, start);
        assert_eq!(time.reaches(10 * second), Some(start + 10 * second));
        time.note(false, start + 4 * second);
        assert_eq!(time.until(start + 60 * second), 4 * second);
        assert_eq!(time.reaches(10 * second), None);
        time.note(true, start + 60 * second);
        assert_eq!(time.reaches(10 * second), Some(start + 66 * second));
    }
}
