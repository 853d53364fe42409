//! Sweeps of a handle: which mode is in force, when the vault is listed, page by page, and what a sweep tells.
//!
//! Invariants: at most one page of a handle is under way, each is one request in the lanes; a sweep is done
//! once an interval at most, the smallest that anyone asks for; whatever ends a sweep before its end leaves nobody
//! without a GET within its interval.

pub(super) mod finders;
mod no_list;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    detect::{Choice, Cost, Detect, Detection, Mode, Why},
    entry::Sighted,
    errand::{Errand, Fetch},
    host::{Host, Place},
    lanes::{HandleId, Lane},
    sighting::Sighting,
};
use crate::object_key::ObjectKey;
use crate::vault::{
    answer::Wake,
    connection::{ObjectKind, Source},
    failure::Failure,
    rest::list::{Link, ListedSecret, Next, Page},
};
use finders::Finders;

/// Once those who are there at the start have asked, the mode is chosen, though the first sweep may be far.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// What a handle knows of its vault's list.
#[derive(Debug)]
pub(super) struct Sweeps {
    pub(super) detection: Option<Detection>,
    barred: Option<no_list::Barred>,
    /// How many pages the list has, at least.
    pages: Option<u32>,
    /// The smallest interval when it was last looked at.
    pub(super) interval: Duration,
    /// What was asked for when it was last looked at.
    pub(super) detect: Detect,
    pub(super) run: Option<Run>,
    /// Counts sweeps.
    number: u64,
    /// When the last sweep that came to its end began, and ended.
    last: Option<(Instant, Instant)>,
    /// Pages in a row that could not be read.
    failures: u32,
    created: Instant,
    pub(super) finders: Finders,
}

/// A sweep under way.
#[derive(Debug)]
pub(super) struct Run {
    begun: Instant,
    /// The page to ask for; the first if absent.
    link: Option<Link>,
    pages: u32,
    /// The place of the page in the lanes.
    pub(super) ticket: Option<u64>,
    /// The vault failed meanwhile: its slowness says nothing of the list's length.
    held_up: bool,
}

impl Sweeps {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            detection: None,
            barred: None,
            pages: None,
            interval: Duration::ZERO,
            detect: Detect::Auto,
            run: None,
            number: 0,
            last: None,
            failures: 0,
            created: now,
            finders: Finders::default(),
        }
    }

    /// Whether sources wait for a sweep to tell that they changed, or for the word that none will.
    pub(super) fn tell(&self) -> bool {
        self.mode() != Some(Mode::Get)
    }

    /// Whether sweeps are what tells.
    pub(super) fn lists(&self) -> bool {
        self.mode() == Some(Mode::List)
    }

    /// Whether anything is known of the list, or is about to be.
    pub(super) const fn knows_the_list(&self) -> bool {
        self.pages.is_some() || self.barred.is_some() || self.run.is_some()
    }

    /// How long ago the last sweep ended, while sweeps are what tells.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let (_, ended) = self.last.filter(|_| self.lists())?;
        Some(now.saturating_duration_since(ended))
    }

    /// When the last sweep that came to its end began.
    fn began(&self) -> Option<Instant> {
        self.last.map(|(begun, _)| begun)
    }

    fn mode(&self) -> Option<Mode> {
        self.detection.as_ref().map(|detection| detection.mode)
    }

    /// When the next sweep begins, if there is to be one. `slot` is its place within the first interval.
    fn next(&self, slot: f64) -> Instant {
        self.last
            .map_or_else(|| self.created + self.interval.mul_f64(slot), |(begun, _)| begun + self.interval)
    }
}

impl Host {
    /// Someone asked, with this as its smallest interval: the handle's next look is not later than that allows.
    pub(super) fn arm(&mut self, id: HandleId, interval: Duration, now: Instant) {
        let slot = self.jitter.slot(&id);
        let Some(handle) = self.handles.get_mut(&id) else { return };
        let detect = handle.detect();
        let sweeps = &mut handle.sweeps;
        let asked_anew = sweeps.detect != detect || (sweeps.detection.is_none() && detect == Detect::Get);
        if asked_anew && sweeps.detection.is_some() {
            // Another word counts at once, whatever the last try of a list came to.
            sweeps.barred = None;
            sweeps.run.take_if(|_| detect == Detect::Get);
        }
        if sweeps.run.is_some() {
            return;
        }
        let planned = self.sweeps.time_of(&id);
        if planned.is_none() || interval < sweeps.interval {
            sweeps.interval = interval;
        }
        let first_look = (sweeps.created + FIRST_LOOK).max(now);
        let next = match sweeps.next(slot).max(now) {
            _ if asked_anew => now,
            // After it a smaller interval alone is no reason to count costs anew.
            next if sweeps.detection.is_none() && first_look > now => next.min(first_look),
            next => next,
        };
        if planned.is_none_or(|planned| next < planned) {
            self.sweeps.set(id, next);
        }
    }

    /// The handle's time has come: judges anew what costs less, and begins a sweep if it is time for one.
    pub(super) fn turn(&mut self, id: HandleId, now: Instant) -> Option<Wake> {
        let slot = self.jitter.slot(&id);
        let handle = self.handles.get_mut(&id)?;
        if handle.sweeps.run.is_some() {
            return None;
        }
        let (interval, gets) = handle.demand()?;
        if let Some(wait) = handle.refused_for(now) {
            self.sweeps.set(id, now + wait);
            return None;
        }
        let detect = handle.detect();
        let sweeps = &mut handle.sweeps;
        sweeps.interval = interval;
        sweeps.detect = detect;
        // Names are found in the list, and what it tells of values comes with it.
        sweeps.finders.tidy();
        let finds = !sweeps.finders.is_empty();
        let choice = if finds {
            Choice::List
        } else {
            Cost { pages: sweeps.pages, gets }.choose(detect, sweeps.mode())
        };
        let detection = match (choice, &sweeps.barred) {
            (Choice::Get, _) => Some(Detection { mode: Mode::Get, why: why(detect, Detect::Get) }),
            (_, Some(barred)) => Some(Detection { mode: Mode::Get, why: barred.why.clone() }),
            (Choice::List, None) if finds => Some(Detection { mode: Mode::List, why: Why::Finds }),
            (Choice::List, None) => Some(Detection { mode: Mode::List, why: why(detect, Detect::List) }),
            // What was in force stays until the list's length is known; at the start that is the list itself.
            (Choice::Explore, None) => sweeps
                .detection
                .clone()
                .or_else(|| Some(Detection { mode: Mode::List, why: why(detect, Detect::List) })),
        };
        let next = match (choice, &sweeps.barred) {
            (Choice::Get, _) => None,
            (_, Some(barred)) => Some(barred.until),
            (_, None) if sweeps.finders.is_awaited() => {
                Some(sweeps.began().map_or(now, |begun| begun + finders::SOONEST))
            }
            (_, None) => Some(sweeps.next(slot)),
        };
        match next {
            Some(at) if at <= now => {
                sweeps.number += 1;
                sweeps.finders.begin();
                sweeps.run = Some(Run { begun: now, link: None, pages: 0, ticket: None, held_up: false });
                self.enqueue_page(id);
            }
            // While sources are read by GET, costs are judged once a cycle.
            next => {
                let look = now + interval;
                let at = next.map_or(look, |next| next.min(look));
                self.sweeps.set(id, at);
            }
        }
        self.put_in_force(id, detection, now)
    }

    fn put_in_force(&mut self, id: HandleId, detection: Option<Detection>, now: Instant) -> Option<Wake> {
        let handle = self.handles.get_mut(&id)?;
        if handle.sweeps.detection == detection {
            return None;
        }
        let told = handle.sweeps.tell();
        handle.sweeps.detection = detection;
        let wake = Wake::Connection(handle.connection.clone());
        if told != handle.sweeps.tell() {
            let sources: Vec<Source> = handle.entries.keys().cloned().collect();
            for source in sources {
                self.place(id, &source, now);
            }
        }
        Some(wake)
    }

    /// Gives the page that is to be read next a place in the lanes. One that serves many namespaces stands behind the reads
    /// of none of them; one that is to end the reads by GET does not stand behind those.
    pub(super) fn enqueue_page(&mut self, id: HandleId) {
        let number = self.lanes.number();
        let Some(handle) = self.handles.get_mut(&id) else { return };
        let Some(namespace) = handle.users.keys().next().map(|user| Arc::clone(&user.namespace)) else {
            // Whoever asks next begins anew.
            handle.sweeps.run = None;
            return;
        };
        let aside = handle.connection.identity.is_shared() || handle.sweeps.mode() == Some(Mode::Get);
        let Some(run) = handle.sweeps.run.as_mut().filter(|run| run.ticket.is_none()) else { return };
        run.ticket = Some(number);
        let lane = if aside { Lane::Sweep } else { Lane::Periodic };
        self.lanes.push(lane, &namespace, id, (Place::Page, number));
    }

    /// The request for the page begins, unless its place was given up or the identity is refused meanwhile.
    pub(super) fn begin_page(&mut self, id: HandleId, number: u64, now: Instant) -> Option<Fetch> {
        let handle = self.handles.get_mut(&id)?;
        let run = handle.sweeps.run.as_mut()?;
        run.ticket.take_if(|ticket| *ticket == number)?;
        let link = run.link.clone();
        if let Some(wait) = handle.refused_for(now) {
            handle.sweeps.run = None;
            self.sweeps.set(id, now + wait);
            return None;
        }
        self.send(id, Errand::List(link), now)
    }

    /// A page came. Returns who is to be woken.
    pub(super) fn page(
        &mut self,
        fetch: &Fetch,
        page: Page,
        date: Option<Timestamp>,
        now: Instant,
        wakes: &mut BTreeSet<ObjectKey>,
    ) -> Option<Wake> {
        let id = fetch.handle;
        let handle = self.handles.get_mut(&id)?;
        let number = handle.sweeps.number;
        let mut seen = Vec::new();
        for ListedSecret { name, listed, managed, tags } in page.items {
            handle.sweeps.finders.see(&name, managed, tags);
            let source = Source { kind: ObjectKind::Secret, name, version: None };
            let Some(entry) = handle.entries.get_mut(&source) else { continue };
            entry.watch.seen_in = number;
            let sighted = entry.sighted(Sighting::Present(listed), fetch.begun, date, now);
            seen.push((source, sighted));
        }
        self.sighted(id, seen, now, wakes);
        let handle = self.handles.get_mut(&id)?;
        let demand = handle.demand();
        let detect = handle.detect();
        let listing = handle.sweeps.lists();
        handle.sweeps.failures = 0;
        let finds = !handle.sweeps.finders.is_empty();
        let run = handle.sweeps.run.as_mut()?;
        run.pages = run.pages.saturating_add(1);
        let (pages, begun) = (run.pages, run.begun);
        match page.next {
            Next::Link(_) if demand.is_none() => {
                handle.sweeps.run = None;
                None
            }
            Next::Foreign => self.give_up(id, Why::unreadable(&Failure::UntrustedVaultHost), now),
            Next::Link(_) if pages >= self.limits.list_pages => self.give_up(id, Why::Endless, now),
            Next::Link(_) if run.held_up && now > begun + self.limits.list_time => {
                handle.sweeps.run = None;
                self.turn(id, now)
            }
            Next::Link(_) if now > begun + self.limits.list_time => self.give_up(id, Why::Endless, now),
            Next::Link(link) => {
                let gets = demand.map_or(0.0, |(_, gets)| gets);
                // One page more than was followed.
                let cost = Cost { pages: None, gets };
                if detect == Detect::Auto && !finds && cost.is_too_long(pages.saturating_add(1), listing) {
                    handle.sweeps.pages = Some(pages.saturating_add(1));
                    handle.sweeps.run = None;
                    return self.turn(id, now);
                }
                run.link = Some(link);
                self.enqueue_page(id);
                None
            }
            Next::End => self.end_sweep(id, now, wakes),
        }
    }

    /// The sweep came to its end: what it did not see is asked for.
    fn end_sweep(&mut self, id: HandleId, now: Instant, wakes: &mut BTreeSet<ObjectKey>) -> Option<Wake> {
        let handle = self.handles.get_mut(&id)?;
        let run = handle.sweeps.run.take()?;
        let number = handle.sweeps.number;
        let mut seen = Vec::new();
        for (source, entry) in &mut handle.entries {
            // What was first asked for while the sweep was under way may have been passed by.
            if !source.is_listed() || entry.watch.seen_in == number || entry.first_asked > run.begun {
                continue;
            }
            seen.push((source.clone(), entry.sighted(Sighting::Absent, run.begun, None, now)));
        }
        let sweeps = &mut handle.sweeps;
        sweeps.pages = Some(run.pages);
        sweeps.last = Some((run.begun, now));
        sweeps.barred = None;
        sweeps.failures = 0;
        wakes.extend(sweeps.finders.end());
        self.tally.sweeps.push(now.saturating_duration_since(run.begun));
        self.sighted(id, seen, now, wakes);
        self.turn(id, now)
    }

    /// What a page means: a GET, or an answer to those who waited to hear just that.
    fn sighted(
        &mut self,
        id: HandleId,
        seen: Vec<(Source, Sighted)>,
        now: Instant,
        wakes: &mut BTreeSet<ObjectKey>,
    ) {
        for (source, sighted) in seen {
            match sighted {
                Sighted::Confirmed(told) => {
                    self.tally.saved += 1;
                    if told.iter().any(|told| told.answered) {
                        self.place(id, &source, now);
                    }
                    self.tell(id, told, now, wakes);
                }
                Sighted::Moved => {
                    self.tally.changes += 1;
                    self.place(id, &source, now);
                }
                Sighted::Nothing => {}
            }
        }
    }
}

const fn why(detect: Detect, mode: Detect) -> Why {
    match (detect, mode) {
        (Detect::Get, Detect::Get) | (Detect::List, Detect::List) => Why::Asked,
        _ => Why::Cheaper,
    }
}
