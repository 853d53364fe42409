//! What a failure is of: all that is read through the handle, one source or the list. The next success tells, and until
//! then one request at a time is sent to find out.

use std::time::Instant;

use super::Handle;
use crate::object_key::ObjectKey;
use crate::vault::{
    connection::Source,
    failure::{Failure, Peer, Scope},
    limits::Limits,
    plane::{
        entry::Entry,
        errand::{Errand, Fetch, Permission, Wakes},
        gate::{Admission, Turn},
    },
};

/// Something that failed as if all did.
#[derive(Debug)]
pub(in crate::vault::plane) struct Suspect {
    /// The source; `None`: the list.
    pub(in crate::vault::plane) source: Option<Source>,
    pub(in crate::vault::plane) failure: Failure,
    pub(in crate::vault::plane) begun: Instant,
}

/// Whom a failed read speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::vault::plane) enum Blamed {
    /// All that is read through the handle, as far as can be known yet.
    Connection,
    /// The source, while others succeed.
    Source,
    /// Nobody: it is the answer to what was asked for.
    Nobody,
}

impl Handle {
    /// This failed as if all did: if others succeed next, it was it alone.
    pub(in crate::vault::plane) fn suspect(&mut self, fetch: &Fetch, failure: &Failure) {
        let source = match &fetch.errand {
            Errand::Read { source, .. } => Some(source.clone()),
            Errand::List(_) | Errand::Prove(Permission::List) => None,
            Errand::Prove(Permission::Read) => return,
        };
        if self.gate.is_news(fetch.begun) && !self.gate.is_silent() {
            self.suspects.push(Suspect { source, failure: failure.clone(), begun: fetch.begun });
        }
    }

    /// What failed alone, now that this request succeeded.
    pub(in crate::vault::plane) fn take_suspects(&mut self, succeeded: &Fetch) -> Vec<Suspect> {
        if !self.gate.is_news(succeeded.begun) {
            return Vec::new();
        }
        let mut suspects = std::mem::take(&mut self.suspects);
        suspects.retain(|suspect| match &suspect.source {
            Some(source) => succeeded.source() != Some(source) || succeeded.is_first_step(),
            None => !matches!(succeeded.errand, Errand::List(_) | Errand::Prove(Permission::List)),
        });
        suspects
    }

    /// Notes who has to hear that the gate has turned.
    pub(in crate::vault::plane) fn tell(&mut self, turn: Turn, now: Instant, wakes: &mut Wakes) {
        match turn {
            Turn::None => {}
            Turn::DoubtEnds | Turn::OutageEnds => wakes.connection = true,
            Turn::Doubt => {
                wakes.connection = true;
                wakes.users.extend(self.newcomers().cloned());
            }
            Turn::Outage => {
                self.suspects.clear();
                // What was found halfway may be another when this is over.
                self.end_searches();
                wakes.outage = true;
                wakes.users.extend(self.waiters().cloned());
                self.wait_anew(now);
            }
        }
    }

    fn end_searches(&mut self) {
        for entry in self.entries.values_mut().filter(|entry| !entry.in_flight) {
            entry.end_search();
        }
    }

    /// When time alone may change what is said of it.
    pub(in crate::vault::plane) fn looks_at(&self, limits: &Limits) -> Option<Instant> {
        // Where nobody tries any more, time proves nothing.
        let tries = !self.entries.is_empty() || self.preflight.is_under_way() || self.gate.outage().is_some();
        self.gate.looks_at(limits).filter(|_| tries)
    }

    /// Who waits and has nothing yet: an outage is told to them while others still have the benefit of the doubt.
    pub(in crate::vault::plane) fn newcomers(&self) -> impl Iterator<Item = &ObjectKey> {
        self.entries.values().flat_map(|entry| entry.newcomers())
    }

    /// Whether a gate that may be tried again is tried with one of the sources: a GET, also after a LIST.
    pub(super) fn has_probe(&self) -> bool {
        self.gate.is_trying() && !self.entries.is_empty()
    }

    /// The source to try the gate with, if it is time for that: the one that was not tried for the longest time, and
    /// one that fails by itself only when its own time has come, or where there is no other.
    pub(in crate::vault::plane) fn probe(&self, limits: &Limits, now: Instant) -> Option<&Source> {
        if !self.has_probe() || self.gate.admission(now) != Admission::Probe {
            return None;
        }
        let idle = self.entries.iter().filter(|(_, entry)| !entry.in_flight);
        let left_alone = |entry: &Entry| entry.alone_until(limits).is_some_and(|until| until > now);
        let next = idle.min_by_key(|(source, entry)| (left_alone(entry), entry.asked_at(), *source));
        next.map(|(source, _)| source)
    }

    /// Whom the failure of a read speaks of. `later_step`: the connection has just answered a step before it, so what fails
    /// may be of this step alone.
    pub(in crate::vault::plane) fn blamed(
        &self,
        source: &Source,
        failure: &Failure,
        later_step: bool,
    ) -> Blamed {
        let of_vault = matches!(
            failure,
            Failure::ServiceUnavailable { peer: Peer::Vault, .. }
                | Failure::MalformedResponse { peer: Peer::Vault, .. }
        );
        match failure.scope() {
            Scope::Handle if self.fails_alone(source) => Blamed::Source,
            Scope::Handle if later_step && of_vault && !self.gate.is_trying() => Blamed::Source,
            Scope::Permission if later_step => Blamed::Nobody,
            _ if self.is_refused_as_a_whole(failure, source) => Blamed::Connection,
            _ => Blamed::Nobody,
        }
    }

    /// Whether this source fails by itself: others succeed, which are there to tell.
    pub(in crate::vault::plane) fn fails_alone(&self, source: &Source) -> bool {
        let alone = |source| self.entries.get(source).is_some_and(|entry| entry.fails_alone());
        let others = || self.entries.keys().filter(|other| *other != source);
        alone(source)
            && !self.gate.is_trying()
            && (self.sweeps.lists() || others().any(|other| !alone(other)))
    }
}
