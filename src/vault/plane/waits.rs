//! What a handle and its host do with those who wait for their sources to agree; [`super::gathering`] has the rules.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::{
    entry::{Entry, Told},
    gathering::{Agreement, PATIENCE, is_pending},
    handle::Handle,
    host::Host,
    lanes::HandleId,
};
use crate::object_key::ObjectKey;
use crate::vault::{
    answer::{Answer, Want},
    connection::Source,
};

/// Whether the current version of a source is news to `user` of which this is the version before: then it has moved too,
/// which nothing else tells.
fn has_moved(entries: &HashMap<Source, Box<Entry>>, user: &ObjectKey, source: &Source) -> bool {
    let is_previous = source.version.as_ref().is_some_and(|version| version.exact().is_none());
    let current = || entries.get(&source.at(None));
    is_previous && current().is_some_and(|current| current.news(user).is_some())
}

/// When a request must begin after which `user` may use a source with news that settled at `settled`; `None`: one did. `over`:
/// nobody waits any more, but for what is known to have moved.
fn unconfirmed(
    entries: &HashMap<Source, Box<Entry>>,
    user: &ObjectKey,
    source: &Source,
    settled: Instant,
    over: bool,
) -> Option<Instant> {
    let over = over && !has_moved(entries, user, source);
    entries.get(source)?.unconfirmed(settled, over)
}

impl Handle {
    /// When the latest news for `user` among `wants` has settled, and the latest that a sweep saw moving.
    pub(super) fn news(&self, user: &ObjectKey, wants: &[Want]) -> (Option<Instant>, Option<Instant>) {
        let entries = || wants.iter().filter_map(|want| self.entries.get(&want.source));
        (
            entries().filter_map(|entry| entry.news(user)).max(),
            entries().filter_map(|entry| entry.watch.ripe_at()).max(),
        )
    }

    /// Whether one of `wants` is not known as late as `settled`, and will not be as long as the gate is closed.
    pub(super) fn stands_still(&self, user: &ObjectKey, wants: &[Want], settled: Instant) -> bool {
        let over =
            self.users.get(user).and_then(|user| user.gathering.as_ref()).is_some_and(|waits| waits.over);
        let mut sources = wants.iter().map(|want| &want.source);
        self.open_time.closed_since().is_some()
            && sources.any(|source| unconfirmed(&self.entries, user, source, settled, over).is_some())
    }

    /// Tells `user` to wait for those of `wants` that are not known as late as the news among them and elsewhere.
    pub(super) fn gather(
        &mut self,
        user: &ObjectKey,
        wants: &[Want],
        answers: &mut [Answer],
        agreement: Agreement,
        now: Instant,
    ) {
        let Self { entries, users, waits, open_time, .. } = self;
        let Some(subscriber) = users.get_mut(user) else { return };
        let pending = is_pending(answers);
        let Some(settled) = agreement.settled else {
            if !agreement.pending {
                subscriber.end(user, waits);
            }
            return;
        };
        let gathering = subscriber.gathering.get_or_insert_default();
        gathering.news = Some(settled);
        if agreement.elsewhere && !pending {
            // What is new until then is to agree all the same.
            gathering.over = gathering.hurries;
        }
        let all_unconfirmed = |over: bool| -> Vec<Option<Instant>> {
            wants.iter().map(|want| unconfirmed(entries, user, &want.source, settled, over)).collect()
        };
        let mut missing = all_unconfirmed(gathering.over);
        let is_new = |(want, at): (&Want, &Option<Instant>)| {
            at.is_some() && !entries.get(&want.source).is_some_and(|entry| entry.is_read_anyway())
        };
        let count = wants.iter().zip(&missing).filter(|each| is_new(*each)).count();
        if !gathering.over && count > 0 && !gathering.spend(settled, count, wants.len(), now) {
            gathering.over = true;
            missing = all_unconfirmed(true);
        }
        let waits_on = pending || missing.iter().any(Option::is_some);
        for ((want, answer), at) in wants.iter().zip(answers).zip(missing) {
            if at.is_some() && !matches!(answer, Answer::Pending) {
                *answer = Answer::Pending;
                if let Some(entry) = entries.get_mut(&want.source) {
                    entry.wait_for(user, at);
                }
            }
        }
        match gathering.until {
            None if waits_on && !gathering.over => {
                let until = open_time.until(now) + PATIENCE;
                gathering.until = Some(until);
                waits.insert((until, user.clone()));
            }
            Some(until) if !waits_on => {
                waits.remove(&(until, user.clone()));
                gathering.until = None;
            }
            _ => {}
        }
    }

    /// Another connection of `user` is silent, and nothing can be used without it: no value is read again for it until that
    /// one answers, which wakes it.
    pub(super) fn hold_off(&mut self, user: &ObjectKey) {
        // It begins to wait anew then: what has passed until then says nothing.
        self.end_gathering(user);
        self.each_entry(user, |entry| entry.hold_off(user));
    }

    /// `user` has used what it was given, or waits for nobody.
    pub(super) fn end_gathering(&mut self, user: &ObjectKey) {
        if let Some(subscriber) = self.users.get_mut(user) {
            subscriber.end(user, &mut self.waits);
        }
    }

    /// `user` goes on with whatever its next requests bring.
    pub(super) fn hurry(&mut self, user: &ObjectKey) {
        self.end_gathering(user);
        if let Some(subscriber) = self.users.get_mut(user) {
            let gathering = subscriber.gathering.get_or_insert_default();
            (gathering.over, gathering.hurries) = (true, true);
            subscriber.outstanding = subscriber.sources.len();
        }
    }

    /// When the next user has waited long enough, if the gate stays open.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        self.open_time.reaches(self.waits.first()?.0)
    }

    /// Takes one user that has waited long enough, if there is any: it waits for no more than it must.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<ObjectKey> {
        self.patience_ends().filter(|end| *end <= now)?;
        let (_, user) = self.waits.pop_first()?;
        let Self { entries, users, .. } = self;
        let subscriber = users.get_mut(&user)?;
        let gathering = subscriber.gathering.as_mut()?;
        (gathering.until, gathering.over) = (None, true);
        let sources = &subscriber.sources;
        let news = sources.iter().filter_map(|source| entries.get(source)?.news(&user)).max();
        let news = news.max(gathering.news);
        for source in sources {
            if entries.get(source).is_none_or(|entry| entry.confirmation(&user).is_none()) {
                continue;
            }
            let at = news.and_then(|settled| unconfirmed(entries, &user, source, settled, true));
            if let Some(entry) = entries.get_mut(source) {
                entry.wait_for(&user, at);
            }
        }
        self.recount(&user);
        Some(user)
    }

    /// The vault fails as a whole: whoever waits begins to wait anew when that is over.
    pub(super) fn wait_anew(&mut self, now: Instant) {
        let until = self.open_time.until(now) + PATIENCE;
        let waits = std::mem::take(&mut self.waits);
        for (user, subscriber) in &mut self.users {
            let Some(gathering) = &mut subscriber.gathering else { continue };
            (gathering.over, gathering.hurries) = (false, false);
            if gathering.until.is_some() {
                gathering.until = Some(until);
                self.waits.insert((until, user.clone()));
            }
        }
        debug_assert_eq!(waits.len(), self.waits.len(), "each once");
    }

    /// Counts anew for how many sources `user` waits.
    pub(super) fn recount(&mut self, user: &ObjectKey) {
        let Some(subscriber) = self.users.get_mut(user) else { return };
        let waits =
            |source: &&Source| self.entries.get(*source).is_some_and(|entry| entry.keeps_waiting(user));
        subscriber.outstanding = subscriber.sources.iter().filter(waits).count();
    }

    /// Until when `user`'s values are kept though it does not come for them: as long as it waits for others, and the vault
    /// answers or has not been silent for a value's `life`.
    pub(super) fn keeps_values_until(
        &self,
        user: &ObjectKey,
        life: Duration,
        now: Instant,
    ) -> Option<Instant> {
        self.users.get(user).filter(|subscriber| subscriber.outstanding > 0 || subscriber.waits_elsewhere)?;
        Some(self.open_time.closed_since().unwrap_or(now) + life).filter(|until| *until > now)
    }
}

impl Host {
    /// Wakes those of whom nothing is outstanding any more.
    pub(super) fn tell(
        &mut self,
        id: HandleId,
        told: Vec<Told>,
        now: Instant,
        wakes: &mut BTreeSet<ObjectKey>,
    ) {
        let Some(handle) = self.handles.get_mut(&id) else { return };
        for Told { user, answered } in told {
            let Some(subscriber) = handle.users.get_mut(&user) else { continue };
            subscriber.outstanding = subscriber.outstanding.saturating_sub(usize::from(answered));
            if subscriber.outstanding == 0 {
                self.values.set((id, user.clone()), now + self.limits.value_life);
                wakes.insert(user);
            }
        }
    }

    /// Those who have waited long enough for their sources to agree. Returns whom nothing keeps waiting.
    pub(super) fn end_waits(&mut self, now: Instant) -> BTreeSet<ObjectKey> {
        let mut wakes = BTreeSet::new();
        let ids: Vec<HandleId> = self.handles.keys().copied().collect();
        for id in ids {
            while let Some(user) = self.handles.get_mut(&id).and_then(|handle| handle.give_up(now)) {
                self.place_all(id, &user, now);
                self.tell(id, vec![Told { user, answered: false }], now, &mut wakes);
            }
        }
        wakes
    }

    /// `user` did not come for its values in time, unless it still waits for others.
    pub(super) fn drop_values(&mut self, id: HandleId, user: ObjectKey, now: Instant) {
        let Some(handle) = self.handles.get_mut(&id) else { return };
        if let Some(until) = handle.keeps_values_until(&user, self.limits.value_life, now) {
            self.values.set((id, user), until);
            return;
        }
        handle.each_entry(&user, |entry| entry.drop_hold(&user));
    }
}
