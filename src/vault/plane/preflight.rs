//! Preflight: a connection proves itself before an object needs it.
//!
//! At most two requests, the *trials*: a GET of a name that no secret has, whose 404 proves the permission to read,
//! and a LIST of one. Invariants: what objects' own reads have shown is not tried; while objects find the identity
//! refused, nothing is tried; a trial that fails is not repeated unless someone asks again; no value is read.

use std::{sync::Arc, time::Instant};

use super::{
    detect::{Detect, Why},
    errand::{Errand, Fetch, Permission, Wakes},
    handle::Handle,
    host::{Host, Place},
    lanes::{HandleId, Lane},
};
use crate::vault::{
    connection::{Connection, Namespace},
    failure::{Failure, Refused, Scope},
};

/// What a handle knows of its trials.
#[derive(Debug, Default)]
pub(super) struct Preflight {
    /// Someone asked, of this namespace, who finds changes like this.
    wanted: Option<(Namespace, Detect)>,
    /// The place of the next trial in the lanes.
    ticket: Option<u64>,
    in_flight: bool,
    /// Reading was refused for want of a permission. That need not be true of every secret.
    pub(super) refused: Option<Arc<Failure>>,
    /// Listing was tried.
    listed: bool,
}

impl Preflight {
    /// The trial failed for the whole handle: it is not made again unless someone asks.
    pub(super) fn give_up(&mut self) {
        self.wanted = None;
    }

    /// Whether a trial is under way or waits.
    pub(super) const fn is_under_way(&self) -> bool {
        self.in_flight || self.ticket.is_some()
    }
}

impl Handle {
    /// The trial that comes next, if there is any.
    fn next_trial(&self) -> Option<Permission> {
        let (_, detect) = self.preflight.wanted.as_ref()?;
        let failing = self.gate.is_trying();
        // Objects' own reads decide as soon as there are any, and while they find that all is refused.
        if self.is_answering() || (failing && !self.entries.is_empty()) {
            return None;
        }
        if failing || (!self.proven && self.preflight.refused.is_none()) {
            return Some(Permission::Read);
        }
        let lists = self.users.is_empty() && *detect != Detect::Get;
        (lists && !self.preflight.listed && !self.sweeps.knows_the_list()).then_some(Permission::List)
    }
}

impl Host {
    /// Tries what is not proved yet, in the name of `namespace`.
    pub(super) fn prove(
        &mut self,
        connection: &Connection,
        namespace: &Namespace,
        detect: Detect,
        now: Instant,
    ) {
        let id = self.open(connection, now);
        let Some(handle) = self.handles.get_mut(&id) else { return };
        if handle.users.is_empty() {
            self.idle.set(id, now + self.limits.idle);
        }
        if handle.gate.is_trying() {
            handle.preflight.refused = None;
        }
        handle.preflight.wanted = Some((Arc::clone(namespace), detect));
        self.enqueue_trial(id);
    }

    /// Gives the next trial a place, behind those who wait for values: they prove the same.
    fn enqueue_trial(&mut self, id: HandleId) {
        let number = self.lanes.number();
        let Some(handle) = self.handles.get_mut(&id) else { return };
        if handle.preflight.is_under_way() {
            return;
        }
        if handle.next_trial().is_none() {
            handle.preflight.wanted = None;
            return;
        }
        let Some((namespace, _)) = &handle.preflight.wanted else { return };
        let namespace = Arc::clone(namespace);
        handle.preflight.ticket = Some(number);
        self.lanes.push(Lane::Periodic, &namespace, id, (Place::Trial, number));
    }

    /// The trial begins, unless its place was given up or there is nothing left to try.
    pub(super) fn begin_trial(&mut self, id: HandleId, number: u64, now: Instant) -> Option<Fetch> {
        let handle = self.handles.get_mut(&id)?;
        handle.preflight.ticket.take_if(|ticket| *ticket == number)?;
        let Some(permission) = handle.next_trial() else {
            handle.preflight.wanted = None;
            return None;
        };
        handle.preflight.in_flight = true;
        self.send(id, Errand::Prove(permission), now)
    }

    /// The trial succeeded.
    pub(super) fn permitted(
        &mut self,
        fetch: &Fetch,
        permission: Permission,
        now: Instant,
        wakes: &mut Wakes,
    ) {
        self.confirmed(fetch, permission == Permission::Read, now, wakes);
        if let Some(handle) = self.handles.get_mut(&fetch.handle) {
            handle.preflight.listed |= permission == Permission::List;
        }
    }

    /// The trial failed.
    pub(super) fn trial_failed(
        &mut self,
        fetch: &Fetch,
        permission: Permission,
        refused: Refused,
        now: Instant,
        wakes: &mut Wakes,
    ) {
        let Refused { failure, .. } = &refused;
        match (permission, failure.scope()) {
            // The answer that was hoped for; what is disabled could be read.
            (Permission::Read, Scope::Source)
                if matches!(failure, Failure::SecretNotFound | Failure::SecretDisabled) =>
            {
                self.permitted(fetch, permission, now, wakes);
            }
            (Permission::Read, Scope::Permission) => {
                self.confirmed(fetch, false, now, wakes);
                if let Some(handle) = self.handles.get_mut(&fetch.handle) {
                    handle.preflight.refused = Some(Arc::new(refused.failure));
                }
            }
            (Permission::List, Scope::Permission | Scope::Source) => {
                self.confirmed(fetch, false, now, wakes);
                let Some(handle) = self.handles.get_mut(&fetch.handle) else { return };
                handle.preflight.listed = true;
                // Where reading is refused too, a role may be on its way, which brings both.
                if failure.scope() == Scope::Permission && handle.proven {
                    handle.sweeps.bar(Why::Forbidden, self.jitter.fraction(), now, &self.limits);
                }
            }
            // No vault answers so to a GET that is in order, whatever the name.
            (Permission::Read, Scope::Source) | (_, Scope::Handle) => {
                self.outage(fetch, refused, now, wakes);
            }
        }
    }

    /// The trial is over, or is to be made again. Whoever asked hears of it.
    pub(super) fn end_trial(&mut self, id: HandleId, wakes: &mut Wakes) {
        if let Some(handle) = self.handles.get_mut(&id) {
            handle.preflight.in_flight = false;
        }
        self.enqueue_trial(id);
        wakes.connection = true;
    }
}
