//! One handle: its users, their sources and its gate.

pub(super) mod doubt;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    detect::{Detect, Rate, Terms},
    entry::Entry,
    gate::{Admission, Gate},
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
    pub(super) users: HashMap<ObjectKey, (Terms, Box<[Source]>)>,
    /// The terms of the users, with how many ask on them.
    terms: BTreeMap<Terms, usize>,
    /// Boxed: a table has room to spare.
    pub(super) entries: HashMap<Source, Box<Entry>>,
    pub(super) gate: Gate,
    /// What failed since the last success, while there is hope that the whole does not.
    suspects: Vec<doubt::Suspect>,
    pub(super) in_flight: usize,
    /// The vault gave or named a source.
    pub(super) proven: bool,
    /// When a new token was asked for because the vault rejected the last.
    pub(super) renewed_at: Option<Instant>,
    pub(super) sweeps: Sweeps,
    pub(super) preflight: Preflight,
    pub(super) evidence: Evidence,
}

impl Handle {
    pub(super) fn new(connection: Connection, now: Instant) -> Self {
        Self {
            connection,
            users: HashMap::new(),
            terms: BTreeMap::new(),
            entries: HashMap::new(),
            gate: Gate::new(now),
            suspects: Vec::new(),
            in_flight: 0,
            proven: false,
            renewed_at: None,
            sweeps: Sweeps::new(now),
            preflight: Preflight::default(),
            evidence: Evidence::default(),
        }
    }

    /// Notes what `user` wants, and on what terms. Returns whether the terms are new or gone.
    pub(super) fn subscribe(&mut self, user: &ObjectKey, terms: Terms, sources: BTreeSet<Source>) -> bool {
        let before =
            self.users.insert(user.clone(), (terms, sources.into_iter().collect())).map(|(before, _)| before);
        if before == Some(terms) {
            return false;
        }
        *self.terms.entry(terms).or_default() += 1;
        before.is_none_or(|before| self.drop_terms(before)) || self.terms.get(&terms) == Some(&1)
    }

    /// Drops what `user` wanted. Returns whether its terms are gone.
    pub(super) fn unsubscribe(&mut self, user: &ObjectKey) -> bool {
        self.users.remove(user).is_some_and(|(terms, _)| self.drop_terms(terms))
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
        self.users.get(user).into_iter().flat_map(|(_, sources)| sources)
    }

    /// How changes are to be found.
    pub(super) fn detect(&self) -> Detect {
        self.terms.keys().map(|terms| terms.detect).max().unwrap_or_default()
    }

    /// The limits that the users' connections set.
    pub(super) fn rates(&self) -> impl Iterator<Item = Rate> {
        self.terms.keys().filter_map(|terms| terms.rate)
    }

    pub(super) fn may_go(&self, in_flight: usize, now: Instant) -> bool {
        match self.gate.admission(now) {
            Admission::Open => self.in_flight < in_flight,
            // After a failure the probe is chosen.
            Admission::Probe => !self.has_probe(),
            Admission::ClosedUntil(_) | Admission::Probing => false,
        }
    }

    /// Whether a read of an object was answered, be it by a refusal.
    pub(super) fn is_answering(&self) -> bool {
        self.entries.values().any(|entry| entry.refused().is_some())
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

    /// The longest time that one of the user's sources is unconfirmed.
    pub(super) fn unconfirmed_for(&mut self, user: &ObjectKey, now: Instant) -> Option<Duration> {
        let failing = self.gate.is_silent();
        let (_, sources) = self.users.get(user)?;
        let entries = &mut self.entries;
        sources.iter().filter_map(|source| entries.get_mut(source)?.unconfirmed_for(user, failing, now)).max()
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
                let others = || self.entries.iter().filter(|(other, _)| *other != source);
                let accepted = others().any(|(_, entry)| entry.refused() == Some(false));
                let refused = others().filter(|(_, entry)| entry.refused() == Some(true)).count() + 1;
                !accepted && refused >= REFUSALS_OF_ALL.min(self.entries.len())
            }
        }
    }

    /// Who was told `Pending` for any source.
    pub(super) fn waiters(&self) -> impl Iterator<Item = &ObjectKey> {
        self.entries.values().flat_map(|entry| entry.waiters())
    }

    /// The smallest interval over what a sweep would tell of, and how many GETs it would spare in that time.
    pub(super) fn demand(&self) -> Option<(Duration, f64)> {
        let sources = self.entries.iter().filter(|(source, _)| source.version.is_none());
        let intervals = || sources.clone().filter_map(|(_, entry)| entry.interval());
        let smallest = intervals().min()?;
        let rate: f64 = intervals().map(|interval| interval.as_secs_f64().recip()).sum();
        Some((smallest, rate * smallest.as_secs_f64()))
    }

    /// For how long the identity is refused as a whole: only a GET can tell when that is over.
    pub(super) fn refused_for(&self, now: Instant) -> Option<Duration> {
        let refused = self.gate.outage().is_some_and(|outage| outage.failure.scope() == Scope::Permission);
        refused.then(|| self.gate.retry_in(now).max(Duration::from_secs(1)))
    }
}
