//! What came of a read, and whom it concerns: one source, one handle, or the budget of the host.

use std::time::Instant;

use super::{
    entry::Entry,
    errand::{Errand, Fetch, Outcome, Wakes},
    gate::Turn,
    handle::doubt::Suspect,
    host::Host,
    lanes::{HandleId, Lane},
};
use crate::vault::{
    answer::Wake,
    connection::Source,
    failure::{Failure, Peer, Refused, Scope},
};

impl Host {
    /// Takes the outcome of a fetch and returns who is to be woken.
    pub(super) fn finish(&mut self, fetch: &Fetch, outcome: Outcome, now: Instant) -> Vec<Wake> {
        let Some(handle) = self.handles.get_mut(&fetch.handle) else { return Vec::new() };
        handle.in_flight = handle.in_flight.saturating_sub(1);
        if let Some(entry) = fetch.source().and_then(|source| handle.entries.get_mut(source)) {
            entry.in_flight = false;
        }
        let mut wakes = Wakes::default();
        let answered = match outcome {
            Outcome::Again => {
                handle.gate.undecided(now);
                false
            }
            Outcome::TokenRejected(_) if handle.renewed_at.is_none_or(|at| fetch.begun < at) => {
                handle.renewed_at.get_or_insert(now);
                handle.gate.undecided(now);
                false
            }
            Outcome::TokenRejected(failure) => {
                self.outage(fetch, failure.into(), now, &mut wakes);
                false
            }
            Outcome::Read(reading, date) => {
                self.confirmed(fetch, true, now, &mut wakes);
                if let Some(entry) = fetch.source().and_then(|source| self.entry(fetch.handle, source)) {
                    wakes.users.extend(entry.read(reading, date, fetch.begun, now));
                }
                true
            }
            Outcome::Listed(page) => {
                self.confirmed(fetch, true, now, &mut wakes);
                wakes.connection |= self.page(fetch, page, now, &mut wakes.users).is_some();
                true
            }
            Outcome::Permitted => {
                if let Errand::Prove(permission) = fetch.errand {
                    self.permitted(fetch, permission, now, &mut wakes);
                }
                true
            }
            Outcome::Failed(refused) => self.failed(fetch, refused, now, &mut wakes),
        };
        match &fetch.errand {
            Errand::Read { source, recheck } => self.put_back(fetch.handle, source, *recheck, answered, now),
            Errand::List(_) if !answered => self.hold_up_sweep(fetch.handle),
            Errand::List(_) => {}
            Errand::Prove(_) => self.end_trial(fetch.handle, &mut wakes),
        }
        wakes.of(&fetch.connection).collect()
    }

    /// Where a source goes after a GET: back into the lane unless it was answered.
    fn put_back(&mut self, id: HandleId, source: &Source, recheck: bool, answered: bool, now: Instant) {
        self.keep_value(id, source, now);
        if answered {
            self.place(id, source);
        } else if self.entry(id, source).is_some_and(|entry| entry.is_waited_for()) {
            self.enqueue(id, source, Lane::Interactive, false);
        } else {
            self.enqueue(id, source, Lane::Periodic, recheck);
        }
    }

    /// Returns whether the failure answers what was asked for.
    fn failed(&mut self, fetch: &Fetch, refused: Refused, now: Instant, wakes: &mut Wakes) -> bool {
        let failure = &refused.failure;
        if *failure == Failure::Throttled(Peer::Vault) {
            self.budget.throttled(fetch.begun, now);
        }
        if let Errand::Prove(permission) = fetch.errand {
            self.trial_failed(fetch, permission, refused, now, wakes);
            return true;
        }
        let scope = failure.scope();
        let Some(source) = fetch.source() else {
            if scope == Scope::Handle {
                self.outage(fetch, refused, now, wakes);
                return false;
            }
            self.confirmed(fetch, false, now, wakes);
            wakes.connection |= self.no_page(fetch.handle, failure, now).is_some();
            return true;
        };
        let Some(handle) = self.handles.get_mut(&fetch.handle) else { return true };
        if scope == Scope::Handle && handle.fails_alone(source) {
            if let Some(entry) = handle.entries.get_mut(source) {
                wakes.users.extend(entry.failed_alone(refused.failure, fetch.begun, now, &self.limits));
            }
            return true;
        }
        if scope == Scope::Permission
            && let Some(entry) = handle.entries.get_mut(source)
        {
            entry.refuse(fetch.begun, &self.limits);
        }
        if handle.is_refused_as_a_whole(failure, source) {
            self.outage(fetch, refused, now, wakes);
            return false;
        }
        let proof = matches!(failure, Failure::SecretNotFound | Failure::SecretDisabled);
        self.confirmed(fetch, proof, now, wakes);
        if let Some(entry) = self.entry(fetch.handle, source) {
            wakes.users.extend(entry.fail(refused.failure, fetch.begun, now));
        }
        true
    }

    /// The vault answered: what failed just before failed alone, and if the answer is `proof` that the identity may
    /// read, the handle works.
    pub(super) fn confirmed(&mut self, fetch: &Fetch, proof: bool, now: Instant, wakes: &mut Wakes) {
        let Some(handle) = self.handles.get_mut(&fetch.handle) else { return };
        handle.renewed_at = None;
        let suspects = handle.take_suspects(fetch);
        let turn = handle.gate.answered(fetch.begun, now);
        handle.tell(turn, wakes);
        if proof && !handle.proven {
            handle.proven = true;
            wakes.connection = true;
        }
        for Suspect { source, failure, begun } in suspects {
            let Some(source) = source else {
                wakes.connection |= self.list_failed_alone(fetch.handle, &failure, now).is_some();
                continue;
            };
            let Some(handle) = self.handles.get_mut(&fetch.handle) else { return };
            let Some(entry) = handle.entries.get_mut(&source) else { continue };
            wakes.users.extend(entry.failed_alone(failure, begun, now, &self.limits));
            // It waits for its own time now.
            entry.ticket = None;
            self.place(fetch.handle, &source);
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
        let mut again = Vec::new();
        if fails && refusal {
            for (source, entry) in &mut handle.entries {
                let users = entry.withdraw_refusal();
                if !users.is_empty() {
                    again.push(source.clone());
                }
                wakes.users.extend(users.into_iter().filter(|_| turn == Turn::Outage));
            }
        }
        handle.tell(turn, wakes);
        for source in again {
            self.place(fetch.handle, &source);
        }
    }

    /// What time alone has changed: an outage that lasts, or is over. Returns who is to be woken.
    pub(super) fn turn_gates(&mut self, now: Instant) -> Vec<Wake> {
        let mut told = Vec::new();
        for handle in self.handles.values_mut() {
            if handle.looks_at(&self.limits).is_some_and(|at| at <= now) {
                let (turn, mut wakes) = (handle.gate.look(now, &self.limits), Wakes::default());
                handle.tell(turn, &mut wakes);
                told.extend(wakes.of(&handle.connection));
            }
        }
        told
    }

    /// A value is kept for its time, if at all.
    fn keep_value(&mut self, id: HandleId, source: &Source, now: Instant) {
        let key = (id, source.clone());
        if self.entry(id, source).is_some_and(|entry| Entry::holds_value(entry)) {
            self.values.set(key, now + self.limits.value_life);
        } else {
            self.values.remove(&key);
        }
    }
}
