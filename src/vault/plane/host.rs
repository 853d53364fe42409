//! All that shares the limits of one vault host: its handles, the schedule, the lanes and the budget.
//!
//! Pure: the time is an argument and nothing is sent from here. [`Host::tick`] says which reads begin now and
//! when to look again; [`Host::finish`] takes what they bring. Invariants: no request begins without the budget
//! and the gate; every source is read within its interval as long as both allow it; no waiter is forgotten.

mod ask;
mod begin;
mod losses;

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

pub(super) use ask::ask;

use super::{
    budget::Budget,
    detect::{Rate, Terms},
    entry::{Entry, Ticket, Timing},
    errand::Fetch,
    gate::Admission,
    gauges::Measured,
    handle::Handle,
    jitter::Jitter,
    lanes::{HandleId, Lane, Lanes},
    schedule::Schedule,
};
use crate::object_key::ObjectKey;
use crate::vault::{
    answer::{Health, Wake},
    connection::{Connection, Source},
    evidence::Evidence,
    limits::Limits,
    metrics::Tally,
};

type Key = (HandleId, Source);

/// What waits in the lanes.
#[derive(Debug)]
pub(super) enum Place {
    /// A source of the handle.
    Source(Source),
    /// The next page of the handle's sweep.
    Page,
    /// The handle's next trial.
    Trial,
    /// The next try of a handle that fails.
    Probe,
}

/// What is to be done now.
#[derive(Debug, Default)]
pub(super) struct Tick {
    pub(super) fetches: Vec<Fetch>,
    pub(super) wakes: Vec<Wake>,
    /// Handles that ended: their clients and tokens are to be dropped.
    pub(super) ended: Vec<HandleId>,
    /// When to look again, unless something happens before.
    pub(super) until: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) limits: Limits,
    pub(super) handles: HashMap<HandleId, Handle>,
    ids: HashMap<Connection, HandleId>,
    last_id: HandleId,
    due: Schedule<Key>,
    /// When values are dropped that a user has not come for.
    pub(super) values: Schedule<(HandleId, ObjectKey)>,
    pub(super) sweeps: Schedule<HandleId>,
    pub(super) idle: Schedule<HandleId>,
    pub(super) lanes: Lanes<(Place, u64)>,
    pub(super) budget: Budget,
    pub(super) jitter: Jitter,
    pub(super) tally: Tally,
    /// Who is to be told that a list cannot be read.
    pub(super) unlisted: BTreeSet<ObjectKey>,
    since: Instant,
}

impl Host {
    pub(super) fn new(limits: Limits, jitter: Jitter, now: Instant) -> Self {
        let budget = Budget::new(limits.requests_per_second, limits.burst, now);
        Self {
            limits,
            handles: HashMap::new(),
            ids: HashMap::new(),
            last_id: 0,
            due: Schedule::new(),
            values: Schedule::new(),
            sweeps: Schedule::new(),
            idle: Schedule::new(),
            lanes: Lanes::new(),
            budget,
            jitter,
            tally: Tally::default(),
            unlisted: BTreeSet::new(),
            since: now,
        }
    }

    /// Whether no handle is left.
    pub(super) fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    pub(super) fn health(&self, connection: &Connection, now: Instant) -> Option<Health> {
        self.known_handle(connection).map(|handle| handle.health(now))
    }

    /// The handle of a connection, if there is one.
    fn known_handle(&self, connection: &Connection) -> Option<&Handle> {
        self.handles.get(self.ids.get(connection)?)
    }

    /// The same, to change it.
    pub(super) fn handle_of(&mut self, connection: &Connection) -> Option<&mut Handle> {
        self.handles.get_mut(self.ids.get(connection)?)
    }

    /// The terms of a handle have changed. Of the limits of its host the smallest counts, and never more than the
    /// operator's own.
    pub(super) fn limit(&mut self, id: HandleId, now: Instant) {
        if let Some(handle) = self.handles.get_mut(&id) {
            handle.limit(now);
        }
        let own = Rate { requests_per_second: self.limits.requests_per_second, burst: self.limits.burst };
        let smallest = self.handles.values().filter_map(Handle::host_rate).fold(own, Rate::min);
        self.budget.limit(smallest.requests_per_second, smallest.burst, now);
    }

    pub(super) fn release(&mut self, user: &ObjectKey, connection: &Connection) {
        let Some(handle) = self.handle_of(connection) else { return };
        handle.each_entry(user, |entry| entry.release(user));
        handle.end_gathering(user);
    }

    pub(super) fn refresh(&mut self, user: &ObjectKey, connection: &Connection, now: Instant) {
        let Some(&id) = self.ids.get(connection) else { return };
        let Some(handle) = self.handles.get_mut(&id) else { return };
        handle.each_entry(user, |entry| entry.refresh(user, now));
        handle.hurry(user);
        self.place_all(id, user, now);
    }

    /// Whether `user` asked last on these terms.
    pub(super) fn is_asked_on(&self, user: &ObjectKey, connection: &Connection, terms: Terms) -> bool {
        let subscriber = self.known_handle(connection).and_then(|handle| handle.users.get(user));
        subscriber.is_some_and(|subscriber| subscriber.terms == terms)
    }

    pub(super) fn forget(&mut self, user: &ObjectKey, connection: &Connection, now: Instant) {
        let Some(&id) = self.ids.get(connection) else { return };
        self.unsubscribe(id, user, |_| true, now);
        self.values.remove(&(id, user.clone()));
        let Some(handle) = self.handles.get_mut(&id) else { return };
        handle.sweeps.finders.forget(user);
        let terms_gone = handle.unsubscribe(user);
        if handle.users.is_empty() {
            self.idle.set(id, now + self.limits.idle);
        }
        if terms_gone {
            self.limit(id, now);
        }
    }

    /// What the host looks like now.
    pub(super) fn measure(&mut self, now: Instant) -> Measured {
        let seconds = |age: Option<Duration>| age.map(|age| age.as_secs_f64());
        let handles = || self.handles.values();
        let open = |handle: &&Handle| !handle.gate.is_trying();
        Measured {
            handles: handles().count(),
            closed: handles().count() - handles().filter(open).count(),
            retry_in: seconds(
                handles().filter(|handle| !open(handle)).map(|handle| handle.gate.retry_in(now)).max(),
            ),
            waiting: self.lanes.waiting(),
            sweep_age: seconds(handles().filter_map(|handle| handle.sweeps.age(now)).max()),
            staleness: seconds(handles().filter_map(|handle| handle.staleness(now)).max()),
            budget: self.budget.rate(now),
        }
    }

    /// Says what begins now and when to look again.
    pub(super) fn tick(&mut self, now: Instant) -> Tick {
        let mut tick = Tick::default();
        while let Some((id, user)) = self.values.due(now) {
            self.drop_values(id, user, now);
        }
        tick.wakes.extend(self.end_waits(now).into_iter().map(Wake::User));
        while let Some(id) = self.idle.due(now) {
            if let Some(until) = self.handles.get(&id).and_then(|handle| handle.is_needed_until(now)) {
                self.idle.set(id, until + self.limits.idle);
                continue;
            }
            if let Some(handle) = self.handles.remove(&id) {
                self.ids.remove(&handle.connection);
                self.sweeps.remove(&id);
                tick.ended.push(id);
                // What was said of it is not tried again by itself any more: whoever said it has to see to that.
                if handle.gate.is_trying() || handle.gate.outage().is_some() {
                    tick.wakes.push(Wake::Connection(handle.connection));
                }
            }
        }
        while let Some(id) = self.sweeps.due(now) {
            tick.wakes.extend(self.turn(id, now));
        }
        while let Some((id, source)) = self.due.due(now) {
            self.place(id, &source, now);
        }
        tick.wakes.extend(self.turn_gates(now));
        let budget_at = self.begin_all(now, &mut tick.fetches);
        let gates = self.handles.values().flat_map(|handle| {
            let opens_at = match handle.gate.admission(now) {
                Admission::ClosedUntil(until) => Some(until),
                _ => handle.patience_ends(),
            };
            [opens_at, handle.looks_at(&self.limits)].into_iter().flatten()
        });
        let times = [self.due.next(), self.sweeps.next(), self.values.next(), self.idle.next(), budget_at];
        tick.until = times.into_iter().flatten().chain(gates).min();
        tick
    }

    /// What the handle's requests have shown.
    pub(super) fn note(&mut self, id: HandleId, evidence: Evidence) {
        if let Some(handle) = self.handles.get_mut(&id) {
            handle.evidence = evidence;
        }
    }

    /// The handle of `connection`, which is made if there is none.
    pub(super) fn open(&mut self, connection: &Connection, now: Instant) -> HandleId {
        if let Some(id) = self.ids.get(connection) {
            return *id;
        }
        self.last_id += 1;
        self.ids.insert(connection.clone(), self.last_id);
        self.handles.insert(self.last_id, Handle::new(connection.clone(), now));
        self.last_id
    }

    pub(super) fn entry(&mut self, id: HandleId, source: &Source) -> Option<&mut Entry> {
        self.handles.get_mut(&id)?.entries.get_mut(source).map(Box::as_mut)
    }

    /// `user` no longer wants those of its sources that `leaves` names.
    fn unsubscribe(
        &mut self,
        id: HandleId,
        user: &ObjectKey,
        leaves: impl Fn(&Source) -> bool,
        now: Instant,
    ) {
        let Some(handle) = self.handles.get(&id) else { return };
        let left: Vec<Source> = handle.sources_of(user).filter(|source| leaves(source)).cloned().collect();
        for source in left {
            let Some(handle) = self.handles.get_mut(&id) else { return };
            if handle.with_entry(&source, |entry| entry.forget(user)) == Some(true) {
                handle.drop_entry(&source);
                self.due.remove(&(id, source));
            } else {
                self.place(id, &source, now);
            }
        }
    }

    /// Asks the source something that depends on the time.
    pub(super) fn timed<T>(
        &self,
        id: HandleId,
        source: &Source,
        question: impl FnOnce(&Entry, Timing<'_>) -> T,
    ) -> Option<T> {
        let handle = self.handles.get(&id)?;
        let timing = Timing {
            slot: self.jitter.slot(&(id, source)),
            swept: handle.sweeps.tell() && source.is_listed(),
            since: self.since,
            limits: &self.limits,
        };
        Some(question(handle.entries.get(source)?, timing))
    }

    /// Puts the source where it belongs: in a lane if it is to be read now, else under its next time.
    pub(super) fn place(&mut self, id: HandleId, source: &Source, now: Instant) {
        let Some(due) = self.timed(id, source, |entry, timing| entry.due(timing, now)).flatten() else {
            return;
        };
        if due.at <= now {
            self.enqueue(id, source, due.lane, due.recheck);
        } else if let Some(entry) = self.entry(id, source).filter(|entry| !entry.in_flight) {
            entry.ticket = None;
            self.due.set((id, source.clone()), due.at);
        }
    }

    /// Puts all sources of `user` where they belong.
    pub(super) fn place_all(&mut self, id: HandleId, user: &ObjectKey, now: Instant) {
        let Some(handle) = self.handles.get(&id) else { return };
        let sources: Vec<Source> = handle.sources_of(user).cloned().collect();
        for source in &sources {
            self.place(id, source, now);
        }
    }

    /// Gives the source a place in `lane`, unless it has one at least as good.
    pub(super) fn enqueue(&mut self, id: HandleId, source: &Source, lane: Lane, recheck: bool) {
        let number = self.lanes.number();
        let Some(entry) = self.entry(id, source) else { return };
        if entry.in_flight || entry.ticket.is_some_and(|ticket| ticket.lane >= lane) {
            return;
        }
        let Some(namespace) = entry.namespace().cloned() else { return };
        entry.ticket = Some(Ticket { lane, number, recheck });
        self.lanes.push(lane, &namespace, id, (Place::Source(source.clone()), number));
        self.due.remove(&(id, source.clone()));
    }
}
