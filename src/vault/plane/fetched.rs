//! What came of a read, and whom it concerns: one source, one handle, or the budget of the host.

use std::{collections::BTreeSet, time::Instant};

use jiff::Timestamp;

use super::{
    entry::{Entry, NextStep},
    errand::{Errand, Fetch, Fetched, ReadStep, Wakes},
    gate::{Admission, Turn},
    handle::{
        Handle,
        doubt::{Blamed, Suspect},
    },
    host::Host,
    lanes::{HandleId, Lane},
};
use crate::object_key::ObjectKey;
use crate::vault::{
    answer::{Reading, Wake},
    connection::{ObjectKind, Source},
    failure::{Failure, Peer, Refused, Scope},
};

impl Host {
    /// Takes what a fetch brought and returns who is to be woken.
    pub(super) fn finish(&mut self, fetch: &Fetch, fetched: Fetched, now: Instant) -> Vec<Wake> {
        let Some(handle) = self.handles.get_mut(&fetch.handle) else { return Vec::new() };
        handle.in_flight = handle.in_flight.saturating_sub(1);
        let mut wakes = Wakes::default();
        if let Errand::Read { source, step, .. } = &fetch.errand
            && let Some(entry) = handle.entries.get_mut(source)
        {
            if !entry.is_at(step) {
                handle.gate.undecided(now);
                return Vec::new();
            }
            entry.in_flight = false;
        }
        let answered = match fetched {
            Fetched::Again => {
                handle.gate.undecided(now);
                false
            }
            Fetched::TokenRejected(_) if handle.renewed_at.is_none_or(|at| fetch.begun < at) => {
                handle.renewed_at.get_or_insert(now);
                handle.gate.undecided(now);
                false
            }
            Fetched::TokenRejected(failure) => {
                self.end_search(fetch);
                self.outage(fetch, failure.into(), now, &mut wakes);
                false
            }
            Fetched::Read(reading, _) if fetch.is_step() => {
                self.confirmed(fetch, true, now, &mut wakes);
                let step = |entry: &mut Entry, kind| entry.current_is(&reading.attributes, kind);
                self.stepped(fetch, step, now, &mut wakes)
            }
            Fetched::Versions(page) => {
                self.confirmed(fetch, true, now, &mut wakes);
                self.stepped(fetch, |entry, kind| entry.versions(page, kind), now, &mut wakes)
            }
            Fetched::Read(reading, date) => {
                self.confirmed(fetch, true, now, &mut wakes);
                if let Some(source) = fetch.source() {
                    self.arrived(fetch, source, (reading, date), now, &mut wakes.users);
                }
                true
            }
            Fetched::Listed(page, date) => {
                self.confirmed(fetch, true, now, &mut wakes);
                wakes.connection |= self.page(fetch, page, date, now, &mut wakes.users).is_some();
                true
            }
            Fetched::Permitted => {
                if let Errand::Prove(permission) = fetch.errand {
                    self.permitted(fetch, permission, now, &mut wakes);
                }
                true
            }
            Fetched::Failed(refused) => self.failed(fetch, refused, now, &mut wakes),
        };
        match &fetch.errand {
            Errand::Read { source, recheck, .. } => {
                self.put_back(fetch.handle, source, *recheck, answered, now);
            }
            Errand::List(_) if !answered => self.hold_up_sweep(fetch.handle),
            Errand::List(_) => {}
            Errand::Prove(_) => self.end_trial(fetch.handle, &mut wakes),
        }
        wakes.users.append(&mut self.unlisted);
        if let Some(handle) = self.handles.get_mut(&fetch.handle) {
            handle.open_time.note(handle.gate.admission(now) == Admission::Open, now);
        }
        wakes.of(&fetch.connection).collect()
    }

    /// A GET brought a value.
    fn arrived(
        &mut self,
        fetch: &Fetch,
        source: &Source,
        (reading, date): (Reading, Option<Timestamp>),
        now: Instant,
        wakes: &mut BTreeSet<ObjectKey>,
    ) {
        let id = fetch.handle;
        let begun = self.end_search(fetch);
        let daily = self.timed(id, source, |entry, timing| entry.is_daily(timing, begun)) == Some(true);
        let Some(handle) = self.handles.get_mut(&id) else { return };
        let told = handle.with_entry(source, |entry| entry.read(reading, date, daily, begun, now));
        self.tell(id, told.unwrap_or_default(), now, wakes);
    }

    /// A step on the way to the version before the current one was answered. Returns whether the way ends here.
    fn stepped(
        &mut self,
        fetch: &Fetch,
        step: impl FnOnce(&mut Entry, ObjectKind) -> NextStep,
        now: Instant,
        wakes: &mut Wakes,
    ) -> bool {
        let handle = self.handles.get_mut(&fetch.handle);
        let Some((handle, source)) = handle.zip(fetch.source()) else { return true };
        match handle.with_entry(source, |entry| step(entry, source.kind)) {
            None => true,
            Some(NextStep::Step) => false,
            Some(NextStep::Failed(failure)) => self.failed(fetch, failure.into(), now, wakes),
        }
    }

    /// Whatever is looked for in several steps is looked for anew. Returns as of when the answer counts.
    fn end_search(&mut self, fetch: &Fetch) -> Instant {
        let entry = fetch.source().and_then(|source| self.entry(fetch.handle, source));
        entry.map_or(fetch.begun, |entry| {
            let begun = entry.as_of(fetch.begun);
            entry.end_search();
            begun
        })
    }

    /// Where a source goes after a GET: back into the lane unless it was answered.
    fn put_back(&mut self, id: HandleId, source: &Source, recheck: bool, answered: bool, now: Instant) {
        self.place(id, source, now);
        if !answered {
            self.enqueue(id, source, Lane::Periodic, recheck);
        }
    }

    /// Returns whether the failure answers what was asked for.
    fn failed(&mut self, fetch: &Fetch, refused: Refused, now: Instant, wakes: &mut Wakes) -> bool {
        if refused.failure == Failure::Throttled(Peer::Vault) {
            self.budget.throttled(fetch.begun, now);
        }
        match &fetch.errand {
            Errand::Prove(permission) => {
                self.trial_failed(fetch, *permission, refused, now, wakes);
                true
            }
            Errand::List(_) => self.list_failed(fetch, refused, now, wakes),
            Errand::Read { source, .. } => self.read_failed(fetch, source, refused, now, wakes),
        }
    }

    fn list_failed(&mut self, fetch: &Fetch, refused: Refused, now: Instant, wakes: &mut Wakes) -> bool {
        if refused.failure.scope() == Scope::Handle {
            self.outage(fetch, refused, now, wakes);
            return false;
        }
        self.confirmed(fetch, false, now, wakes);
        wakes.connection |= self.no_page(fetch.handle, &refused.failure, now).is_some();
        true
    }

    fn read_failed(
        &mut self,
        fetch: &Fetch,
        source: &Source,
        refused: Refused,
        now: Instant,
        wakes: &mut Wakes,
    ) -> bool {
        let step_failed = |entry: &mut Entry| entry.step_failed(&refused.failure, source.kind);
        match self.entry(fetch.handle, source).and_then(step_failed) {
            None => {}
            Some(NextStep::Step) => {
                self.confirmed(fetch, true, now, wakes);
                return false;
            }
            Some(NextStep::Failed(failure)) => return self.failed(fetch, failure.into(), now, wakes),
        }
        let scope = refused.failure.scope();
        let later_step = self.entry(fetch.handle, source).is_some_and(|entry| entry.is_past_first_step());
        let begun = self.end_failed_search(fetch, source, &refused.failure);
        let Some(handle) = self.handles.get_mut(&fetch.handle) else { return true };
        if scope == Scope::Permission {
            handle.with_entry(source, |entry| entry.refuse(fetch.begun, &self.limits));
        }
        let told = match handle.blamed(source, &refused.failure, later_step) {
            Blamed::Connection => {
                self.outage(fetch, refused, now, wakes);
                return false;
            }
            Blamed::Source => {
                let (failure, limits) = (refused.failure, &self.limits);
                handle.with_entry(source, |entry| entry.failed_alone(failure, begun, now, limits))
            }
            Blamed::Nobody => {
                self.confirmed(fetch, refused.failure.is_gone(), now, wakes);
                let Some(handle) = self.handles.get_mut(&fetch.handle) else { return true };
                handle.with_entry(source, |entry| entry.fail(refused.failure, begun, now))
            }
        };
        self.tell(fetch.handle, told.unwrap_or_default(), now, &mut wakes.users);
        true
    }

    /// A search that failed begins anew. But of a long list of which a page stumbled, what was read already is not read again.
    /// Returns as of when the answer counts.
    fn end_failed_search(&mut self, fetch: &Fetch, source: &Source, failure: &Failure) -> Instant {
        let lists = matches!(fetch.errand, Errand::Read { step: ReadStep::Versions(_), .. });
        // A page that cannot be used will not be another the next time.
        let stumbles =
            failure.scope() == Scope::Handle && !matches!(failure, Failure::MalformedResponse { .. });
        let works = |handle: &Handle| handle.gate.outage().is_none();
        if lists && stumbles && self.handles.get(&fetch.handle).is_some_and(works) {
            return self.entry(fetch.handle, source).map_or(fetch.begun, |entry| entry.as_of(fetch.begun));
        }
        self.end_search(fetch)
    }

    /// The vault answered: what failed just before failed alone, and if the answer is `proof` that the identity may
    /// read, the handle works.
    pub(super) fn confirmed(&mut self, fetch: &Fetch, proof: bool, now: Instant, wakes: &mut Wakes) {
        let Some(handle) = self.handles.get_mut(&fetch.handle) else { return };
        handle.renewed_at = None;
        let suspects = handle.take_suspects(fetch);
        let turn = handle.gate.answered(fetch.begun, now);
        handle.tell(turn, now, wakes);
        if proof && !handle.proven {
            handle.proven = true;
            // In an outage that is told with its end.
            wakes.connection |= handle.gate.outage().is_none();
        }
        for Suspect { source, failure, begun } in suspects {
            let Some(source) = source else {
                wakes.connection |= self.list_failed_alone(fetch.handle, &failure, now).is_some();
                continue;
            };
            let Some(handle) = self.handles.get_mut(&fetch.handle) else { return };
            let limits = &self.limits;
            let told = handle.with_entry(&source, |entry| entry.failed_alone(failure, begun, now, limits));
            // It waits for its own time now.
            self.place(fetch.handle, &source, now);
            self.tell(fetch.handle, told.unwrap_or_default(), now, &mut wakes.users);
        }
    }

    /// The whole handle fails: said once, to the connection and to all whom it concerns.
    pub(super) fn outage(&mut self, fetch: &Fetch, refused: Refused, now: Instant, wakes: &mut Wakes) {
        let refusal = refused.failure.scope() == Scope::Permission;
        let Some(handle) = self.handles.get_mut(&fetch.handle) else { return };
        handle.suspect(fetch, &refused.failure);
        let turn = handle.gate.failed(refused, fetch.begun, now, &self.limits, &mut self.jitter);
        let fails = handle.gate.outage().is_some();
        if fails && matches!(fetch.errand, Errand::Prove(_)) {
            handle.preflight.give_up();
        }
        let (mut again, mut refused) = (Vec::new(), BTreeSet::new());
        if fails && refusal {
            for (source, entry) in &mut handle.entries {
                let users = entry.withdraw_refusal();
                if !users.is_empty() {
                    again.push(source.clone());
                }
                refused.extend(users);
            }
        }
        for user in &refused {
            handle.recount(user);
        }
        wakes.users.extend(refused.into_iter().filter(|_| turn == Turn::Outage));
        handle.tell(turn, now, wakes);
        for source in again {
            self.place(fetch.handle, &source, now);
        }
    }

    /// What time alone has changed: an outage that lasts, or is over. Returns who is to be woken.
    pub(super) fn turn_gates(&mut self, now: Instant) -> Vec<Wake> {
        let mut told = Vec::new();
        for handle in self.handles.values_mut() {
            if handle.looks_at(&self.limits).is_some_and(|at| at <= now) {
                let (turn, mut wakes) = (handle.gate.look(now, &self.limits), Wakes::default());
                handle.tell(turn, now, &mut wakes);
                told.extend(wakes.of(&handle.connection));
            }
        }
        told
    }
}
