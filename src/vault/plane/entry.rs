//! One source and all who use it: what they know, what the vault said last, who waits.
//!
//! Invariant: a user that was told `Pending` stays a waiter until an answer came that it can be given, and hears of it
//! then. A value is held only while a user holds on to it.

mod confirmed;
mod failures;
mod gone;
mod previous;
mod settled;
mod subscription;
mod timing;
mod together;

use std::{
    mem::discriminant,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use self::{
    previous::PreviousSearch,
    settled::LastChange,
    subscription::{Subscription, Wait},
};
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
    names::VersionPin,
};

pub(super) use gone::Presence;
pub(super) use previous::NextStep;
pub(super) use subscription::Told;
pub(super) use timing::Timing;

/// A failure older than this is not good enough for someone who asks for the first time: what was missing may
/// just have been put right.
const RECENT: Duration = Duration::from_secs(5);

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
    Confirmed(Vec<Told>),
    /// A GET is needed, which was not known before.
    Moved,
    /// Nothing: a GET is on its way or will come by itself.
    Nothing,
}

/// One source of a handle.
#[derive(Debug)]
pub(super) struct Entry {
    subscriptions: ByUser<Subscription>,
    /// What the vault has, as it is handed out: without `updated` if it was read before it had settled.
    attributes: Option<Arc<Attributes>>,
    failure: Option<Arc<Failure>>,
    /// Since when it is gone, if it was there.
    gone_since: Option<Instant>,
    reading: Option<Arc<Reading>>,
    pub(super) first_asked: Instant,
    confirmed: Option<Instant>,
    /// When the last GET that was answered began.
    read_at: Option<Instant>,
    /// When the last GET began, answered or not.
    tried_at: Option<Instant>,
    /// When the last GET began that somebody had asked for by hand.
    refreshed_at: Option<Instant>,
    /// From when on its turns are counted: from the first GET that was no confirmation.
    turns_from: Option<Instant>,
    pub(super) in_flight: bool,
    pub(super) ticket: Option<Ticket>,
    /// Refusals in a row.
    refusals: u32,
    /// Failures in a row that were of this source alone: others succeeded.
    alone: u32,
    /// It failed alone, though not yet so often that it has a verdict: until then it lets others go first.
    retry_at: Option<Instant>,
    /// The version is part of what is asked for, so its value never changes.
    pinned: bool,
    /// Of a version before the current one: how far the search for it is.
    previous: Option<Box<PreviousSearch>>,
    change: LastChange,
    /// When the last sweep that confirmed the source saw it.
    swept_at: Option<Instant>,
    pub(super) watch: Watch,
}

impl Entry {
    pub(super) fn new(version: Option<&VersionPin>, now: Instant) -> Self {
        Self {
            subscriptions: ByUser::new(),
            attributes: None,
            failure: None,
            gone_since: None,
            reading: None,
            first_asked: now,
            confirmed: None,
            read_at: None,
            tried_at: None,
            refreshed_at: None,
            turns_from: None,
            in_flight: false,
            ticket: None,
            refusals: 0,
            alone: 0,
            retry_at: None,
            pinned: version.is_some_and(|version| version.exact().is_some()),
            previous: version.filter(|version| version.exact().is_none()).map(|_| Box::default()),
            change: LastChange::none(now),
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
        subscription.stake = want.stake;
        let old = self.confirmed.is_none_or(|at| now > at + RECENT);
        let answer = if let Some(Wait::Refresh(_)) = subscription.wait {
            Answer::Pending
        } else if let Some(failure) = &self.failure {
            let judged_before = known_user && subscription.wait != Some(Wait::Answer);
            if judged_before || !old { Answer::Failed(Arc::clone(failure)) } else { Answer::Pending }
        } else {
            match &self.reading {
                _ if !subscription.needs(self.attributes.as_deref()) => Answer::Unchanged,
                Some(reading) => Answer::Read(Arc::clone(reading)),
                None => Answer::Pending,
            }
        };
        subscription.wait = match answer {
            Answer::Pending => {
                subscription.wait.filter(|_| subscription.lacks_answer()).or(Some(Wait::Answer))
            }
            _ => None,
        };
        subscription.holds = matches!(answer, Answer::Read(_));
        subscription.given = self.attributes.clone().filter(|_| subscription.holds);
        if self.failure.as_deref().is_some_and(Failure::is_missing) {
            self.is_missed(now);
        }
        self.drop_unheld();
        answer
    }

    /// `user` has used what it was given, and knows it now; of anything newer it was told, and holds it.
    pub(super) fn release(&mut self, user: &ObjectKey) {
        if let Some(subscription) = self.subscriptions.get_mut(user)
            && let Some(given) = subscription.given.take()
        {
            subscription.anew = false;
            subscription.holds &= self.attributes.as_ref() != Some(&given);
            subscription.known = Some(given);
        }
        self.drop_unheld();
    }

    #[cfg(test)]
    pub(super) fn known_by(&self, user: &ObjectKey) -> Option<&Attributes> {
        self.subscriptions.get(user)?.known.as_deref()
    }

    pub(super) fn refresh(&mut self, user: &ObjectKey, now: Instant) {
        if let Some(subscription) = self.subscriptions.get_mut(user) {
            subscription.wait = Some(Wait::Refresh(now));
            self.retry_at = None;
        }
        self.list_anew(now);
    }

    /// Returns whether nobody is left.
    pub(super) fn forget(&mut self, user: &ObjectKey) -> bool {
        self.subscriptions.remove(user);
        self.drop_unheld();
        self.subscriptions.is_empty()
    }

    pub(super) fn waiters(&self) -> impl Iterator<Item = &ObjectKey> {
        self.subscriptions
            .iter()
            .filter(|(_, subscription)| subscription.wait.is_some())
            .map(|(user, _)| user)
    }

    /// In whose name the source is read: one who waits, else the first.
    pub(super) fn namespace(&self) -> Option<&Namespace> {
        self.waiters().next().or_else(|| self.subscriptions.users().next()).map(|user| &user.namespace)
    }

    /// A GET begins.
    pub(super) fn begin(&mut self, lane: Lane, now: Instant) {
        (self.ticket, self.retry_at) = (None, None);
        self.in_flight = true;
        let first = self.begin_step(now);
        if first {
            self.tried_at = Some(now);
        }
        let by_hand = |subscription: &Subscription| matches!(subscription.wait, Some(Wait::Refresh(_)));
        if first && self.subscriptions.values().any(by_hand) {
            self.refreshed_at = Some(now);
        }
        if lane != Lane::Confirmation {
            self.turns_from.get_or_insert(now);
        }
    }

    /// A page that began at `seen`, and was answered at `now`, by the service's clock at `date`, shows this. Returns
    /// what that means; who was told that the source is unconfirmed is woken.
    pub(super) fn sighted(
        &mut self,
        sighting: Sighting,
        seen: Instant,
        date: Option<Timestamp>,
        now: Instant,
    ) -> Sighted {
        let lacks_answer = || self.subscriptions.values().any(Subscription::lacks_answer);
        if self.pinned || (self.read_at.is_none() && lacks_answer()) {
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
            let settles_at =
                sighting.readable().map_or(now, |listed| self.listed_change(listed.updated, date, now));
            self.watch.demand(sighting, now, settles_at);
            return if news { Sighted::Moved } else { Sighted::Nothing };
        }
        if !self.watch.accepts(&sighting) {
            self.watch.agreed();
        }
        self.confirmed = self.confirmed.max(Some(seen));
        // What was read before it had settled takes another GET: a page shows no versions, and no page removes a key.
        let settled = self.is_settled();
        if settled {
            self.swept_at = Some(seen);
        }
        let mut told = Vec::new();
        for (user, subscription) in self.subscriptions.iter_mut() {
            let confirmed = |wait: Wait| matches!(wait, Wait::Confirmation(at) if settled && seen >= at);
            let answered = subscription.wait.is_some_and(confirmed);
            subscription.wait.take_if(|_| answered);
            if answered | std::mem::take(&mut subscription.told_stale) {
                told.push(Told { user: user.clone(), answered });
            }
        }
        Sighted::Confirmed(told)
    }

    /// A GET that began at `begun` was answered at `now`, by the service's clock at `date`, and brought a value. `daily`:
    /// it is offered to everyone once. Returns who has to hear of it.
    pub(super) fn read(
        &mut self,
        mut reading: Reading,
        date: Option<Timestamp>,
        daily: bool,
        begun: Instant,
        now: Instant,
    ) -> Vec<Told> {
        let before = self.failure.take();
        self.gone_since = None;
        let returned =
            before.as_deref().is_some_and(Failure::is_gone) || self.took_the_place(&reading.attributes);
        self.change = self.change(&reading.attributes, returned, date, now);
        if begun < self.change.distinct_at {
            reading.attributes.updated = None;
        }
        let moved = self.attributes.as_deref() != Some(&reading.attributes);
        self.watch.read(begun, moved);
        self.refusals = 0;
        self.alone = 0;
        let mut told = Vec::new();
        for (user, subscription) in self.subscriptions.iter_mut() {
            subscription.anew |= daily;
            let needs = subscription.needs(Some(&reading.attributes));
            let offered = subscription.holds && !moved;
            subscription.holds = needs;
            if subscription.waits_beyond(begun) {
                continue;
            }
            let answered = subscription.wait.take().is_some();
            let stale = std::mem::take(&mut subscription.told_stale);
            if answered || stale || before.is_some() || (needs && !offered) {
                told.push(Told { user: user.clone(), answered });
            }
        }
        if moved {
            self.attributes = Some(Arc::new(reading.attributes.clone()));
        }
        self.reading = Some(Arc::new(reading));
        self.confirm(begun, now);
        self.drop_unheld();
        told
    }

    /// A GET that began at `begun` failed for this source alone. Returns who has to hear of it.
    pub(super) fn fail(&mut self, failure: Failure, begun: Instant, now: Instant) -> Vec<Told> {
        let differs = |before: &Arc<Failure>| {
            // Two that have one reason may have a remedy each.
            before.reason() != failure.reason() || discriminant(&**before) != discriminant(&failure)
        };
        let news = self.failure.as_ref().is_none_or(differs);
        if failure.scope() != Scope::Permission {
            self.refusals = 0;
        }
        if failure.scope() != Scope::Handle {
            self.alone = 0;
        }
        if news && failure.is_gone() {
            self.change = LastChange::gone(now);
        }
        if failure.is_missing() {
            self.is_missed(now);
        } else {
            self.gone_since = None;
        }
        self.failure = Some(Arc::new(failure));
        if !self.in_flight {
            // Else this is of an earlier request, and the answer to the one under way is still to be known again.
            self.end_search();
        }
        self.watch.failed(begun);
        self.drop_value();
        let mut told = Vec::new();
        for (user, subscription) in self.subscriptions.iter_mut() {
            if subscription.waits_beyond(begun) {
                continue;
            }
            let answered = subscription.wait.take().is_some();
            if answered | std::mem::take(&mut subscription.told_stale) | news {
                told.push(Told { user: user.clone(), answered });
            }
        }
        self.confirm(begun, now);
        told
    }

    /// `user` did not come for the value in time.
    pub(super) fn drop_hold(&mut self, user: &ObjectKey) {
        if let Some(subscription) = self.subscriptions.get_mut(user) {
            subscription.drop_hold();
        }
        self.drop_unheld();
    }

    fn drop_value(&mut self) {
        self.reading = None;
        for subscription in self.subscriptions.values_mut() {
            subscription.drop_hold();
        }
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
