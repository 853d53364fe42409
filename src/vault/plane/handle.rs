//! One handle: its users, their sources and its gate.

pub(super) mod doubt;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    budget::Budget,
    detect::{Detect, Rate, Terms},
    entry::Entry,
    gate::{Admission, Gate},
    gathering::{OpenTime, Subscriber},
    preflight::Preflight,
    sweep::Sweeps,
};
use crate::object_key::ObjectKey;
use crate::vault::{
    answer::{Health, HealthState},
    connection::{Connection, Source},
    evidence::Evidence,
    failure::{Failure, Scope},
};

/// So many sources must be refused, and none accepted, before the identity as a whole counts as refused (or all
/// of them, if there are fewer): one forbidden secret says nothing about the others.
const REFUSALS_OF_ALL: usize = 3;

/// What is read through one connection.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) connection: Connection,
    pub(super) users: HashMap<ObjectKey, Subscriber>,
    /// The terms of the users, with how many ask on them.
    terms: BTreeMap<Terms, usize>,
    /// Boxed: a table has room to spare.
    pub(super) entries: HashMap<Source, Box<Entry>>,
    sums: Sums,
    /// Who waits for its sources to agree, by when that ends in time with an open gate.
    pub(super) waits: BTreeSet<(Duration, ObjectKey)>,
    pub(super) open_time: OpenTime,
    pub(super) gate: Gate,
    /// What failed since the last success, while there is hope that the whole does not.
    suspects: Vec<doubt::Suspect>,
    pub(super) in_flight: usize,
    /// Its own, where a user's connection sets one. Invariant: never more than what the host's allows beside it.
    budget: Option<Budget>,
    /// The place of the next probe in the lanes.
    pub(super) probe_ticket: Option<u64>,
    /// The vault gave or named a source.
    pub(super) proven: bool,
    /// When a new token was asked for because the vault rejected the last.
    pub(super) renewed_at: Option<Instant>,
    pub(super) sweeps: Sweeps,
    pub(super) preflight: Preflight,
    pub(super) evidence: Evidence,
}

/// What many ask of all entries, counted as they change.
#[derive(Debug, Default)]
struct Sums {
    /// How many sources that a sweep would tell of are to be as fresh as this.
    intervals: BTreeMap<Duration, u32>,
    /// Of how many the last answer was no refusal.
    accepted: usize,
    /// Of how many it was one.
    refused: usize,
}

impl Sums {
    fn add(&mut self, source: &Source, entry: &Entry) {
        if let Some(interval) = entry.interval().filter(|_| source.is_listed()) {
            *self.intervals.entry(interval).or_default() += 1;
        }
        match entry.refused() {
            Some(true) => self.refused += 1,
            Some(false) => self.accepted += 1,
            None => {}
        }
    }

    fn subtract(&mut self, source: &Source, entry: &Entry) {
        if let Some(interval) = entry.interval().filter(|_| source.is_listed())
            && let Some(sources) = self.intervals.get_mut(&interval)
        {
            *sources -= 1;
            if *sources == 0 {
                self.intervals.remove(&interval);
            }
        }
        match entry.refused() {
            Some(true) => self.refused -= 1,
            Some(false) => self.accepted -= 1,
            None => {}
        }
    }
}

impl Handle {
    pub(super) fn new(connection: Connection, now: Instant) -> Self {
        Self {
            connection,
            users: HashMap::new(),
            terms: BTreeMap::new(),
            entries: HashMap::new(),
            sums: Sums::default(),
            waits: BTreeSet::new(),
            open_time: OpenTime::new(now),
            gate: Gate::new(now),
            suspects: Vec::new(),
            in_flight: 0,
            budget: None,
            probe_ticket: None,
            proven: false,
            renewed_at: None,
            sweeps: Sweeps::new(now),
            preflight: Preflight::default(),
            evidence: Evidence::default(),
        }
    }

    /// Notes what `user` wants, and on what terms. Returns whether the terms are new or gone.
    pub(super) fn subscribe(&mut self, user: &ObjectKey, terms: Terms, sources: BTreeSet<Source>) -> bool {
        let sources = sources.into_iter().collect();
        let before = if let Some(subscriber) = self.users.get_mut(user) {
            subscriber.sources = sources;
            Some(std::mem::replace(&mut subscriber.terms, terms))
        } else {
            self.users.insert(user.clone(), Subscriber::new(terms, sources));
            None
        };
        if before == Some(terms) {
            return false;
        }
        *self.terms.entry(terms).or_default() += 1;
        before.is_none_or(|before| self.drop_terms(before)) || self.terms.get(&terms) == Some(&1)
    }

    /// Drops what `user` wanted. Returns whether its terms are gone.
    pub(super) fn unsubscribe(&mut self, user: &ObjectKey) -> bool {
        self.end_gathering(user);
        self.users.remove(user).is_some_and(|subscriber| self.drop_terms(subscriber.terms))
    }

    fn drop_terms(&mut self, terms: Terms) -> bool {
        let Some(users) = self.terms.get_mut(&terms) else { return false };
        *users -= 1;
        let gone = *users == 0;
        if gone {
            self.terms.remove(&terms);
        }
        gone
    }

    /// What `user` wants.
    pub(super) fn sources_of(&self, user: &ObjectKey) -> impl Iterator<Item = &Source> {
        self.users.get(user).into_iter().flat_map(|subscriber| &subscriber.sources)
    }

    /// How changes are to be found.
    pub(super) fn detect(&self) -> Detect {
        self.terms.keys().map(|terms| terms.detect).max().unwrap_or_default()
    }

    /// The smallest limit of the host that a user's connection sets.
    pub(super) fn host_rate(&self) -> Option<Rate> {
        self.terms.keys().filter_map(|terms| terms.host_rate).reduce(Rate::min)
    }

    /// The terms have changed: its own limit may have.
    pub(super) fn limit(&mut self, now: Instant) {
        let rate = self.terms.keys().filter_map(|terms| terms.handle_rate).reduce(Rate::min);
        match (&mut self.budget, rate) {
            (Some(budget), Some(rate)) => budget.limit(rate.requests_per_second, rate.burst, now),
            (budget, rate) => {
                *budget = rate.map(|rate| Budget::new(rate.requests_per_second, rate.burst, now));
            }
        }
    }

    /// Fills its own budget. Returns when the next request may go, if none may now.
    pub(super) fn fill_budget(&mut self, now: Instant) -> Option<Instant> {
        let budget = self.budget.as_mut()?;
        (!budget.ready(now)).then(|| budget.ready_at(now))
    }

    /// Whether a request may begin in its turn, or `probe` as it is; as of when its budget was last filled.
    pub(super) fn may_go(&self, probe: bool, in_flight: usize, now: Instant) -> bool {
        self.budget.as_ref().is_none_or(Budget::has_token)
            && match self.gate.admission(now) {
                Admission::Open => self.in_flight < in_flight,
                // After a failure what goes first is chosen.
                Admission::Probe => probe || !self.has_probe(),
                Admission::ClosedUntil(_) | Admission::Probing => false,
            }
    }

    /// A request begins.
    pub(super) fn enter(&mut self, now: Instant) {
        self.in_flight += 1;
        self.gate.enter();
        if let Some(budget) = &mut self.budget {
            budget.take(now);
        }
    }

    /// Does `action` with the entry of a source, and keeps count of what that changes.
    pub(super) fn with_entry<T>(
        &mut self,
        source: &Source,
        action: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let entry = self.entries.get_mut(source)?;
        self.sums.subtract(source, entry);
        let done = action(entry);
        self.sums.add(source, entry);
        Some(done)
    }

    /// Does `action`, which changes nothing that is counted, with each source of `user`.
    pub(super) fn each_entry(&mut self, user: &ObjectKey, mut action: impl FnMut(&mut Entry)) {
        let Self { users, entries, .. } = self;
        for source in users.get(user).iter().flat_map(|subscriber| &subscriber.sources) {
            if let Some(entry) = entries.get_mut(source) {
                action(entry);
            }
        }
    }

    /// Drops a source that nobody wants.
    pub(super) fn drop_entry(&mut self, source: &Source) {
        if let Some(entry) = self.entries.remove(source) {
            self.sums.subtract(source, &entry);
        }
    }

    /// Whether a read of an object was answered, be it by a refusal.
    pub(super) const fn is_answering(&self) -> bool {
        self.sums.accepted + self.sums.refused > 0
    }

    /// Until when a handle without users is still of use: whoever asked for a trial waits for it, and whoever asks while
    /// the gate is closed must wait as before.
    pub(super) fn is_needed_until(&self, now: Instant) -> Option<Instant> {
        match self.gate.admission(now) {
            Admission::ClosedUntil(until) => Some(until),
            _ => self.preflight.is_under_way().then_some(now),
        }
    }

    pub(super) fn health(&self, now: Instant) -> Health {
        let state = match (self.gate.outage(), self.gate.doubt()) {
            (Some(outage), _) => HealthState::Failing {
                failure: outage.failure.clone(),
                lasting: now.saturating_duration_since(outage.since),
                retry_in: self.gate.retry_in(now),
            },
            (None, Some(failure)) => HealthState::Doubtful(Arc::clone(failure)),
            (None, None) if self.proven => HealthState::Working,
            (None, None) => match &self.preflight.refused {
                Some(failure) => HealthState::PermissionUnproven(Arc::clone(failure)),
                None if self.is_answering() => HealthState::Undecided,
                None => HealthState::Unproven,
            },
        };
        Health {
            state,
            users: self.users.len(),
            detection: self.sweeps.detection.clone(),
            proving: self.preflight.is_under_way(),
            evidence: self.evidence.clone(),
        }
    }

    /// The longest time that one of the user's sources is unconfirmed; `said_stale`: so it was said before.
    pub(super) fn unconfirmed_for(
        &mut self,
        user: &ObjectKey,
        said_stale: bool,
        now: Instant,
    ) -> Option<Duration> {
        let failing = self.gate.is_silent();
        let Self { users, entries, .. } = self;
        users
            .get(user)?
            .sources
            .iter()
            .filter_map(|source| entries.get_mut(source)?.unconfirmed_for(user, failing, said_stale, now))
            .max()
    }

    /// The longest time that a source is unconfirmed.
    pub(super) fn staleness(&self, now: Instant) -> Option<Duration> {
        self.entries.values().filter_map(|entry| entry.staleness(now)).max()
    }

    /// Whether this failure of one source closes the gate: every source tried was refused.
    pub(super) fn is_refused_as_a_whole(&self, failure: &Failure, source: &Source) -> bool {
        match failure.scope() {
            Scope::Handle => true,
            Scope::Source => false,
            Scope::Permission => {
                let own = self.entries.get(source).and_then(|entry| entry.refused());
                let accepted = self.sums.accepted - usize::from(own == Some(false));
                let refused = self.sums.refused - usize::from(own == Some(true)) + 1;
                accepted == 0 && refused >= REFUSALS_OF_ALL.min(self.entries.len())
            }
        }
    }

    /// Who was told `Pending` for any source.
    pub(super) fn waiters(&self) -> impl Iterator<Item = &ObjectKey> {
        self.users.iter().filter(|(_, subscriber)| subscriber.outstanding > 0).map(|(user, _)| user)
    }

    /// The smallest interval over what a sweep would tell of, and how many GETs it would spare in that time.
    pub(super) fn demand(&self) -> Option<(Duration, f64)> {
        let of_sources = self.sums.intervals.first_key_value().map(|(interval, _)| *interval);
        let smallest = [of_sources, self.sweeps.finders.interval()].into_iter().flatten().min()?;
        let gets = |(interval, sources): (&Duration, &u32)| {
            smallest.as_secs_f64() / interval.as_secs_f64() * f64::from(*sources)
        };
        Some((smallest, self.sums.intervals.iter().map(gets).sum()))
    }

    /// For how long the identity is refused as a whole: only a GET can tell when that is over.
    pub(super) fn refused_for(&self, now: Instant) -> Option<Duration> {
        let refused = self.gate.outage().is_some_and(|outage| outage.failure.scope() == Scope::Permission);
        refused.then(|| self.gate.retry_in(now).max(Duration::from_secs(1)))
    }
}
