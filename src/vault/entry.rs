//! One source and all who use it: what they know, what the vault said last, who waits.
//!
//! Invariant: a user that was told `Pending` stays a waiter until an answer came that it can be given, and is
//! woken then. A value is held only while a user holds on to it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    answer::{Answer, Attributes, Reading, User, Want},
    connection::Namespace,
    failure::{Failure, Scope},
    gate::doubled,
    lanes::Lane,
    limits::Limits,
};

/// A failure older than this is not good enough for someone who asks for the first time: what was missing may
/// just have been put right.
const RECENT: Duration = Duration::from_secs(5);

/// What one user wants of the source.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four facts that do not depend on one another")]
struct Subscription {
    interval: Duration,
    known: Option<Attributes>,
    value: bool,
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
}

/// One source of a handle.
#[derive(Debug)]
pub(super) struct Entry {
    subscriptions: BTreeMap<User, Subscription>,
    attributes: Option<Attributes>,
    failure: Option<Arc<Failure>>,
    reading: Option<Arc<Reading>>,
    first_asked: Instant,
    confirmed: Option<Instant>,
    /// When the last GET that was answered began.
    read_at: Option<Instant>,
    /// When the last GET began, answered or not.
    pub(super) tried_at: Option<Instant>,
    pub(super) in_flight: bool,
    pub(super) ticket: Option<Ticket>,
    /// Refusals in a row.
    refusals: u32,
}

impl Entry {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            subscriptions: BTreeMap::new(),
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
        }
    }

    /// Takes over what `user` wants and answers it.
    pub(super) fn ask(&mut self, user: &User, want: &Want, now: Instant) -> Answer {
        let known_user = self.subscriptions.contains_key(user);
        let subscription = self.subscriptions.entry(user.clone()).or_insert_with(|| Subscription {
            interval: want.interval,
            known: None,
            value: false,
            waiting: false,
            holds: false,
            fresh_after: None,
            told_stale: false,
        });
        subscription.interval = want.interval;
        subscription.known.clone_from(&want.known);
        subscription.value = want.value;
        let old = self.confirmed.is_none_or(|at| now > at + RECENT);
        let answer = if subscription.fresh_after.is_some() {
            Answer::Pending
        } else if let Some(failure) = &self.failure {
            let judged_before = known_user && !subscription.waiting;
            if judged_before || !old { Answer::Failed(Arc::clone(failure)) } else { Answer::Pending }
        } else {
            match &self.reading {
                _ if !subscription.needs(self.attributes.as_ref()) => Answer::Unchanged,
                Some(reading) => Answer::Read(Arc::clone(reading)),
                None => Answer::Pending,
            }
        };
        subscription.waiting = matches!(answer, Answer::Pending);
        subscription.holds = matches!(answer, Answer::Read(_));
        self.drop_unheld();
        answer
    }

    /// For how long the source is unconfirmed, if that is longer than `user` accepts or `failing`.
    pub(super) fn unconfirmed_for(&mut self, user: &User, failing: bool, now: Instant) -> Option<Duration> {
        let age = now.saturating_duration_since(self.confirmed.unwrap_or(self.first_asked));
        let subscription = self.subscriptions.get_mut(user)?;
        // Half an interval of grace: a read that is just under way is not late.
        subscription.told_stale = failing || age > subscription.interval.mul_f64(1.5);
        subscription.told_stale.then_some(age)
    }

    /// `user` has used what it was offered, and knows it now.
    pub(super) fn release(&mut self, user: &User) {
        if let Some(subscription) = self.subscriptions.get_mut(user)
            && subscription.holds
        {
            subscription.holds = false;
            subscription.value = false;
            subscription.known.clone_from(&self.attributes);
        }
        self.drop_unheld();
    }

    pub(super) fn refresh(&mut self, user: &User, now: Instant) {
        if let Some(subscription) = self.subscriptions.get_mut(user) {
            subscription.fresh_after = Some(now);
            subscription.waiting = true;
        }
    }

    /// Returns whether nobody is left.
    pub(super) fn forget(&mut self, user: &User) -> bool {
        self.subscriptions.remove(user);
        self.drop_unheld();
        self.subscriptions.is_empty()
    }

    /// Whether someone was told `Pending` and got no answer since.
    pub(super) fn is_waited_for(&self) -> bool {
        self.subscriptions.values().any(|subscription| subscription.waiting)
    }

    pub(super) fn waiters(&self) -> impl Iterator<Item = &User> {
        self.subscriptions.iter().filter(|(_, subscription)| subscription.waiting).map(|(user, _)| user)
    }

    /// In whose name the source is read: one who waits, else the first.
    pub(super) fn namespace(&self) -> Option<&Namespace> {
        self.waiters().next().or_else(|| self.subscriptions.keys().next()).map(|user| &user.namespace)
    }

    /// When the source is to be read if nobody waits. `slot` is its place within the first interval.
    pub(super) fn due(&self, slot: f64, limits: &Limits) -> Option<Instant> {
        let interval = self.subscriptions.values().map(|subscription| subscription.interval).min()?;
        Some(match self.read_at {
            None => self.first_asked + interval.mul_f64(slot),
            Some(begun) if self.refusals > 0 => begun + doubled(limits.refused_retry, self.refusals - 1),
            Some(begun) => begun + interval,
        })
    }

    /// Whether the last answer was a refusal, if there was one.
    pub(super) fn refused(&self) -> Option<bool> {
        self.read_at.map(|_| self.refusals > 0)
    }

    pub(super) const fn holds_value(&self) -> bool {
        self.reading.is_some()
    }

    /// A GET that began at `begun` brought a value. Returns who is to be woken.
    pub(super) fn read(&mut self, reading: Reading, begun: Instant, now: Instant) -> Vec<User> {
        let recovered = self.failure.take().is_some();
        let moved = self.attributes.as_ref() != Some(&reading.attributes);
        self.refusals = 0;
        let mut wakes = Vec::new();
        for (user, subscription) in &mut self.subscriptions {
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
        self.attributes = Some(reading.attributes.clone());
        self.reading = Some(Arc::new(reading));
        self.confirm(begun, now);
        self.drop_unheld();
        wakes
    }

    /// A GET that began at `begun` failed for this source alone. Returns who is to be woken.
    pub(super) fn fail(&mut self, failure: Failure, begun: Instant, now: Instant) -> Vec<User> {
        let news = self.failure.as_ref().is_none_or(|before| before.reason() != failure.reason());
        if failure.scope() != Scope::Permission {
            self.refusals = 0;
        }
        self.failure = Some(Arc::new(failure));
        self.drop_value();
        let mut wakes = Vec::new();
        for (user, subscription) in &mut self.subscriptions {
            if subscription.answered(begun) && (subscription.take_owed() || news) {
                wakes.push(user.clone());
            }
        }
        self.confirm(begun, now);
        wakes
    }

    /// A GET that began at `begun` was refused for want of a permission, be it of this source or of all.
    pub(super) const fn refuse(&mut self, begun: Instant) {
        self.refusals = self.refusals.saturating_add(1);
        self.read_at = Some(begun);
    }

    /// The refusal of this source turned out to be one of the whole handle. Returns its users.
    pub(super) fn withdraw_refusal(&mut self) -> Vec<User> {
        if self.refusals == 0 {
            return Vec::new();
        }
        self.failure = None;
        for subscription in self.subscriptions.values_mut() {
            subscription.waiting |= subscription.needs(self.attributes.as_ref());
        }
        self.subscriptions.keys().cloned().collect()
    }

    /// Nobody came for the value in time.
    pub(super) fn drop_value(&mut self) {
        self.reading = None;
        for subscription in self.subscriptions.values_mut() {
            subscription.holds = false;
        }
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

impl Subscription {
    /// Whether the user cannot go on with what it knows, if the vault has `seen`.
    fn needs(&self, seen: Option<&Attributes>) -> bool {
        self.value || self.known.is_none() || seen.is_some_and(|seen| self.known.as_ref() != Some(seen))
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
