//! Which requests begin: the next in the lanes, within the budgets and the gates.

use std::time::Instant;

use super::{Host, Place};
use crate::vault::{
    connection::Source,
    plane::{
        errand::{Errand, Fetch},
        lanes::{HandleId, Lane},
    },
};

impl Host {
    /// Begins what may begin now. Returns when a budget allows more, if that is what is waited for.
    pub(super) fn begin_all(&mut self, now: Instant, fetches: &mut Vec<Fetch>) -> Option<Instant> {
        self.enqueue_probes(now);
        self.fill_budgets(now);
        let mut budget_at = None;
        loop {
            let (handles, in_flight) = (&self.handles, self.limits.in_flight);
            let may_go = |id, (place, _): &(Place, u64)| {
                let probe = matches!(place, Place::Probe);
                handles.get(&id).is_none_or(|handle| handle.may_go(probe, in_flight, now))
            };
            if !self.budget.ready(now) {
                if self.lanes.has(may_go) {
                    budget_at = Some(self.budget.ready_at(now));
                }
                break;
            }
            let Some((id, (place, number))) = self.lanes.pop(may_go) else { break };
            fetches.extend(match place {
                Place::Source(source) => self.begin_placed(id, source, number, now),
                Place::Page => self.begin_page(id, number, now),
                Place::Trial => self.begin_trial(id, number, now),
                Place::Probe => self.begin_probe(id, number, now),
            });
        }
        [budget_at, self.fill_budgets(now)].into_iter().flatten().min()
    }

    /// The source's turn in the lanes has come, unless its place was given up meanwhile.
    fn begin_placed(&mut self, id: HandleId, source: Source, number: u64, now: Instant) -> Option<Fetch> {
        let ticket = self.entry(id, &source)?.ticket.filter(|ticket| ticket.number == number)?;
        self.begin(id, source, ticket.lane, ticket.recheck, now)
    }

    /// The request begins.
    fn begin(
        &mut self,
        id: HandleId,
        source: Source,
        lane: Lane,
        recheck: bool,
        now: Instant,
    ) -> Option<Fetch> {
        let entry = self.entry(id, &source)?;
        let step = entry.step();
        entry.begin(lane, now);
        self.due.remove(&(id, source.clone()));
        self.send(id, Errand::Read { source, recheck, step }, now)
    }

    /// The errand goes out; what it costs is counted.
    pub(in crate::vault::plane) fn send(
        &mut self,
        id: HandleId,
        errand: Errand,
        now: Instant,
    ) -> Option<Fetch> {
        let handle = self.handles.get_mut(&id)?;
        handle.enter(now);
        self.budget.take(now);
        Some(Fetch { handle: id, connection: handle.connection.clone(), errand, begun: now })
    }

    /// Fills what handles have of their own. Returns when the first of those that are out of it may go on.
    fn fill_budgets(&mut self, now: Instant) -> Option<Instant> {
        self.handles.values_mut().filter_map(|handle| handle.fill_budget(now)).min()
    }

    /// Gives handles that are to be tried again a place: a namespace with many of them holds up no other.
    fn enqueue_probes(&mut self, now: Instant) {
        for (id, handle) in &mut self.handles {
            if handle.probe_ticket.is_some() {
                continue;
            }
            let Some(source) = handle.probe(&self.limits, now) else { continue };
            let Some(namespace) = handle.entries.get(source).and_then(|entry| entry.namespace()) else {
                continue;
            };
            let number = self.lanes.number();
            self.lanes.push_first(Lane::Periodic, namespace, *id, (Place::Probe, number));
            handle.probe_ticket = Some(number);
        }
    }

    /// The handle is tried, unless it works again meanwhile.
    fn begin_probe(&mut self, id: HandleId, number: u64, now: Instant) -> Option<Fetch> {
        let handle = self.handles.get_mut(&id)?;
        handle.probe_ticket.take_if(|ticket| *ticket == number)?;
        let source = handle.probe(&self.limits, now)?.clone();
        self.begin(id, source, Lane::Periodic, false, now)
    }
}
