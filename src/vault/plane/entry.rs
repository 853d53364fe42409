//! One source and all who use it: what they know, what the vault said last, who waits.
//!
//! Invariant: a user that was told `Pending` stays a waiter until an answer came that it can be given, and is
//! woken then. A value is held only while a user holds on to it.

mod failures;
mod timing;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    by_user::ByUser,
    lanes::Lane,
    sighting::{Sighting, Watch},
};
use crate::object_key::ObjectKey;
use crate::vault::{
    answer::{Answer, Attributes, Reading, Want},
    connection::Namespace,
    failure::{Failure, Scope},
};

pub(super) use timing::{Due, Timing};

/// A failure older than this is not good enough for someone who asks for the first time: what was missing may
/// just have been put right.
const RECENT: Duration = Duration::from_secs(5);

/// A value that is the same this much later was not changed twice within one second.
const SETTLED_AFTER: Duration = Duration::from_secs(4);

/// The service's times have whole seconds: a version that changed this shortly before it was read may have changed
/// again within its second.
const RESOLUTION: i64 = 3;

/// What one user wants of the source.
#[derive(Debug)]
struct Subscription {
    interval: Duration,
    /// Mostly what the entry has, and then the same.
    known: Option<Arc<Attributes>>,
    /// What the user was handed out last and has not released.
    given: Option<Arc<Attributes>>,
    /// Was told `Pending` and is owed a wake.
    waiting: bool,
    /// Was offered the value and has not released it.
    holds: bool,
    /// Only a GET begun after this answers it.
    fresh_after: Option<Instant>,
    /// Was told that the source is unconfirmed for longer than it accepts.
    told_stale: bool,
}

/// A place in the lanes. Another number in the lanes is a place that was given up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ticket {
    pub(super) lane: Lane,
    pub(super) number: u64,
    /// Nothing says that the source changed, it is only read once more.
    pub(super) recheck: bool,
}

/// What a sighting means for a source.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Sighted {
    /// It is as the last GET said; these users wait to hear that.
    Confirmed(Vec<ObjectKey>),
    /// A GET is needed, which was not known before.
    Moved,
    /// Nothing: a GET is on its way or will come by itself.
    Nothing,
}

/// One source of a handle.
#[derive(Debug)]
pub(super) struct Entry {
    subscriptions: ByUser<Subscription>,
    attributes: Option<Arc<Attributes>>,
    failure: Option<Arc<Failure>>,
    reading: Option<Arc<Reading>>,
    pub(super) first_asked: Instant,
    confirmed: Option<Instant>,
    /// When the last GET that was answered began.
    read_at: Option<Instant>,
    /// When the last GET began, answered or not.
    pub(super) tried_at: Option<Instant>,
    pub(super) in_flight: bool,
    pub(super) ticket: Option<Ticket>,
    /// Refusals in a row.
    refusals: u32,
    /// Failures in a row that were of this source alone: others succeeded.
    alone: u32,
    /// It failed alone, though not yet so often that it has a verdict: until then it lets others go first.
    pub(super) retry_at: Option<Instant>,
    /// The version is part of what is asked for, so its value never changes.
    pinned: bool,
    /// The last value was read so shortly after it changed that it may have changed again.
    settling: bool,
    /// When the last sweep that confirmed the source saw it.
    swept_at: Option<Instant>,
    pub(super) watch: Watch,
}

impl Entry {
    pub(super) fn new(pinned: bool, now: Instant) -> Self {
        Self {
            subscriptions: ByUser::new(),
            attributes: None,
            failure: None,
            reading: None,
            first_asked: now,
            confirmed: None,
            read_at: None,
            tried_at: None,
            in_flight: false,
            ticket: None,
            refusals: 0,
            alone: 0,
            retry_at: None,
            pinned,
            settling: false,
            swept_at: None,
            watch: Watch::default(),
        }
    }

    /// Takes over what `user` wants and answers it.
    pub(super) fn ask(&mut self, user: &ObjectKey, want: &Want, now: Instant) -> Answer {
        let known_user = self.subscriptions.get(user).is_some();
        if !known_user {
            self.subscriptions.insert(user.clone(), Subscription::new(want.interval));
        }
        let known = want.known.as_ref().map(|known| self.shared(known));
        let Some(subscription) = self.subscriptions.get_mut(user) else { return Answer::Pending };
        subscription.interval = want.interval;
        subscription.known = known;
        let old = self.confirmed.is_none_or(|at| now > at + RECENT);
        let answer = if subscription.fresh_after.is_some() {
            Answer::Pending
        } else if let Some(failure) = &self.failure {
            let judged_before = known_user && !subscription.waiting;
            if judged_before || !old { Answer::Failed(Arc::clone(failure)) } else { Answer::Pending }
        } else {
            match &self.reading {
                _ if !subscription.needs(self.attributes.as_deref()) => Answer::Unchanged,
                Some(reading) => Answer::Read(Arc::clone(reading)),
                None => Answer::Pending,
            }
        };
        subscription.waiting = matches!(answer, Answer::Pending);
        subscription.holds = matches!(answer, Answer::Read(_));
        subscription.given = self.attributes.clone().filter(|_| subscription.holds);
        self.drop_unheld();
        answer
    }

    /// For how long the source is unconfirmed, if that is longer than `user` accepts or `failing`. A pinned version
    /// that was read needs no confirmation.
    pub(super) fn unconfirmed_for(
        &mut self,
        user: &ObjectKey,
        failing: bool,
        now: Instant,
    ) -> Option<Duration> {
        let age = self.staleness(now);
        let subscription = self.subscriptions.get_mut(user)?;
        // Half an interval of grace: a read that is just under way is not late.
        let late = |age: Duration| failing || age > subscription.interval.mul_f64(1.5);
        subscription.told_stale = age.is_some_and(late);
        age.filter(|_| subscription.told_stale)
    }

    /// For how long the source is unconfirmed; `None` if it needs no confirmation.
    pub(super) fn staleness(&self, now: Instant) -> Option<Duration> {
        let constant = self.pinned && self.is_known() && self.failure.is_none();
        (!constant).then(|| now.saturating_duration_since(self.confirmed.unwrap_or(self.first_asked)))
    }

    /// `user` has used what it was given, and knows it now; of anything newer it was told, and holds it.
    pub(super) fn release(&mut self, user: &ObjectKey) {
        if let Some(subscription) = self.subscriptions.get_mut(user)
            && let Some(given) = subscription.given.take()
        {
            subscription.holds &= self.attributes.as_ref() != Some(&given);
            subscription.known = Some(given);
        }
        self.drop_unheld();
    }

    pub(super) fn refresh(&mut self, user: &ObjectKey, now: Instant) {
        if let Some(subscription) = self.subscriptions.get_mut(user) {
            subscription.fresh_after = Some(now);
            subscription.waiting = true;
            self.retry_at = None;
        }
    }

    /// Returns whether nobody is left.
    pub(super) fn forget(&mut self, user: &ObjectKey) -> bool {
        self.subscriptions.remove(user);
        self.drop_unheld();
        self.subscriptions.is_empty()
    }

    /// Whether someone was told `Pending` and got no answer since.
    pub(super) fn is_waited_for(&self) -> bool {
        self.subscriptions.values().any(|subscription| subscription.waiting)
    }

    pub(super) fn waiters(&self) -> impl Iterator<Item = &ObjectKey> {
        self.subscriptions.iter().filter(|(_, subscription)| subscription.waiting).map(|(user, _)| user)
    }

    /// In whose name the source is read: one who waits, else the first.
    pub(super) fn namespace(&self) -> Option<&Namespace> {
        self.waiters().next().or_else(|| self.subscriptions.users().next()).map(|user| &user.namespace)
    }

    /// A sweep saw the source at `seen`. Returns what that means; who was told that the source is unconfirmed is
    /// woken.
    pub(super) fn sighted(&mut self, sighting: Sighting, seen: Instant, now: Instant) -> Sighted {
        if self.pinned || (self.read_at.is_none() && self.is_waited_for()) {
            return Sighted::Nothing;
        }
        let agrees = match (&self.failure, &self.attributes) {
            (Some(failure), _) => match sighting.agrees_with_failure(failure) {
                Some(agrees) => agrees,
                None => return Sighted::Nothing,
            },
            (None, Some(read)) => sighting.agrees_with_value(read) || self.watch.accepts(&sighting),
            (None, None) => self.subscriptions.values().all(|subscription| {
                subscription.known.as_ref().is_some_and(|known| sighting.agrees_with_value(known))
            }),
        };
        if !agrees {
            let news = !self.watch.demands();
            self.watch.demand(sighting, now);
            return if news { Sighted::Moved } else { Sighted::Nothing };
        }
        if !self.watch.accepts(&sighting) {
            self.watch.agreed();
        }
        self.confirmed = self.confirmed.max(Some(seen));
        self.swept_at = Some(seen);
        let mut wakes = Vec::new();
        for (user, subscription) in self.subscriptions.iter_mut() {
            if std::mem::take(&mut subscription.told_stale) {
                wakes.push(user.clone());
            }
        }
        Sighted::Confirmed(wakes)
    }

    pub(super) const fn holds_value(&self) -> bool {
        self.reading.is_some()
    }

    /// A GET that began at `begun` brought a value. Returns who is to be woken.
    pub(super) fn read(
        &mut self,
        mut reading: Reading,
        date: Option<Timestamp>,
        begun: Instant,
        now: Instant,
    ) -> Vec<ObjectKey> {
        let recovered = self.failure.take().is_some();
        let same = |known: &Arc<Attributes>| known.version == reading.attributes.version;
        let same_later = self.attributes.as_ref().is_some_and(same)
            && self.read_at.is_some_and(|before| begun >= before + SETTLED_AFTER);
        self.settling = is_fresh(reading.attributes.updated, date) && !same_later;
        if self.settling && !self.is_known_as(&reading.attributes) {
            reading.attributes.updated = None;
        }
        let moved = self.attributes.as_deref() != Some(&reading.attributes);
        self.watch.read(begun, moved);
        self.refusals = 0;
        self.alone = 0;
        let mut wakes = Vec::new();
        for (user, subscription) in self.subscriptions.iter_mut() {
            let needs = subscription.needs(Some(&reading.attributes));
            let offered = subscription.holds && !moved;
            subscription.holds = needs;
            if !subscription.answered(begun) {
                continue;
            }
            if subscription.take_owed() || recovered || (needs && !offered) {
                wakes.push(user.clone());
            }
        }
        if moved {
            self.attributes = Some(Arc::new(reading.attributes.clone()));
        }
        self.reading = Some(Arc::new(reading));
        self.confirm(begun, now);
        self.drop_unheld();
        wakes
    }

    /// A GET that began at `begun` failed for this source alone. Returns who is to be woken.
    pub(super) fn fail(&mut self, failure: Failure, begun: Instant, now: Instant) -> Vec<ObjectKey> {
        let news = self.failure.as_ref().is_none_or(|before| before.reason() != failure.reason());
        if failure.scope() != Scope::Permission {
            self.refusals = 0;
        }
        if failure.scope() != Scope::Handle {
            self.alone = 0;
        }
        self.failure = Some(Arc::new(failure));
        self.watch.failed(begun);
        self.drop_value();
        let mut wakes = Vec::new();
        for (user, subscription) in self.subscriptions.iter_mut() {
            if subscription.answered(begun) && (subscription.take_owed() || news) {
                wakes.push(user.clone());
            }
        }
        self.confirm(begun, now);
        wakes
    }

    /// Nobody came for the value in time.
    pub(super) fn drop_value(&mut self) {
        self.reading = None;
        for subscription in self.subscriptions.values_mut() {
            subscription.holds = false;
        }
    }

    /// Whether a user knows just this.
    fn is_known_as(&self, read: &Attributes) -> bool {
        self.subscriptions.values().any(|subscription| subscription.known.as_deref() == Some(read))
    }

    fn shared(&self, known: &Attributes) -> Arc<Attributes> {
        let same = self.attributes.as_ref().filter(|read| ***read == *known);
        same.map_or_else(|| Arc::new(known.clone()), Arc::clone)
    }

    fn confirm(&mut self, begun: Instant, now: Instant) {
        self.read_at = Some(begun);
        self.confirmed = Some(now);
    }

    fn drop_unheld(&mut self) {
        if !self.subscriptions.values().any(|subscription| subscription.holds) {
            self.reading = None;
        }
    }
}

/// Whether a version changed so shortly before the service answered that a second change could look the same.
/// Without a date nothing can be told, so it could.
fn is_fresh(updated: Option<Timestamp>, date: Option<Timestamp>) -> bool {
    match (updated, date) {
        (Some(updated), Some(date)) => date.as_second().saturating_sub(updated.as_second()) <= RESOLUTION,
        _ => true,
    }
}

impl Subscription {
    const fn new(interval: Duration) -> Self {
        Self {
            interval,
            known: None,
            given: None,
            waiting: false,
            holds: false,
            fresh_after: None,
            told_stale: false,
        }
    }

    /// Whether the user cannot go on with what it knows, if the vault has `seen`.
    fn needs(&self, seen: Option<&Attributes>) -> bool {
        self.known.is_none() || seen.is_some_and(|seen| self.known.as_deref() != Some(seen))
    }

    /// Whether a GET begun at `begun` is late enough for this user.
    fn answered(&mut self, begun: Instant) -> bool {
        if self.fresh_after.is_some_and(|after| begun < after) {
            return false;
        }
        self.fresh_after = None;
        true
    }

    /// Whether the user was promised a wake.
    fn take_owed(&mut self) -> bool {
        std::mem::take(&mut self.waiting) | std::mem::take(&mut self.told_stale)
    }
}
