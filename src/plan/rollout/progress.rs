//! How far the workloads of one object are with what is due. All of it can be lost: to restart twice for the same is to
//! restart once.

use crate::api::{Fingerprint, RestartItem, RolloutSpec, WorkloadKind};
use crate::vault::doubled;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// The wait after a pass that failed, and the longest.
const HELD_BACK: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// A workload of the object's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartStep {
    /// Find the workloads that this item of `restart` selects.
    List(usize),
    /// Restart this one.
    Restart(Workload),
}

/// Why a workload could not be restarted, or the workloads not be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartFailure {
    /// RBAC, or a plugin that names nobody, refuses.
    Forbidden,
    /// This admission webhook refuses.
    DeniedByWebhook(String),
    /// This admission policy refuses.
    DeniedByPolicy(String),
    /// This admission webhook does not answer.
    WebhookFailed(String),
    /// The API server fails; its code, if it answered.
    Failed(Option<u16>),
}

impl RestartFailure {
    /// Whether it may be over by itself in a moment, so that the first of them is no news.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::WebhookFailed(_) | Self::Failed(_))
    }
}

/// What failed: a workload, or the look for those that an item selects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Attempt {
    Listing(usize),
    Restarting(Workload),
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    due: Option<Fingerprint>,
    /// Whether this process has found that in the Secret.
    confirmed: bool,
    generation: Option<i64>,
    /// The workloads that an item selects.
    listed: BTreeMap<usize, Vec<String>>,
    /// The workloads that are over, and whether they were there.
    done: BTreeMap<Workload, bool>,
    failed: BTreeMap<Attempt, RestartFailure>,
    /// What failed in the pass before: it is tried again after all others.
    again: BTreeSet<Attempt>,
    /// The passes that failed, and when the last of them did.
    passes: u32,
    last: Option<Timestamp>,
    waits: bool,
}

impl Progress {
    /// Begins anew where something else is due, and looks again at what failed when its time has come, or at once where
    /// the spec was edited.
    pub(super) fn turn_to(&mut self, due: Option<Fingerprint>, generation: Option<i64>, now: Timestamp) {
        if self.due != due {
            *self = Self { due, generation, ..Self::default() };
        }
        self.waits = false;
        if self.generation != generation {
            self.generation = generation;
            self.listed.clear();
            (self.passes, self.last) = (0, None);
        }
        if self.holds_back_for(now).is_none() {
            self.again.extend(std::mem::take(&mut self.failed).into_keys());
        }
    }

    /// What is due is what is in the Secret.
    pub(super) const fn confirm(&mut self) {
        self.confirmed = self.due.is_some();
    }

    pub(super) const fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// How long it is until what failed is tried again.
    pub(super) fn holds_back_for(&self, now: Timestamp) -> Option<Duration> {
        let since = Duration::try_from(now.duration_since(self.last?)).unwrap_or_default();
        doubled(HELD_BACK, self.passes.saturating_sub(1)).checked_sub(since).filter(|left| !left.is_zero())
    }

    pub(super) fn next(&self, spec: &RolloutSpec) -> Option<RestartStep> {
        // Each may take as long as a call may: a webhook that hangs holds up one a pass.
        if self.failed.values().any(RestartFailure::may_pass) {
            return None;
        }
        let items = || spec.restart.iter().enumerate();
        let unlisted =
            items().filter(|(place, item)| item.name.is_none() && !self.listed.contains_key(place));
        let listings = unlisted.map(|(place, _)| Attempt::Listing(place));
        let workloads = items().flat_map(|(place, item)| self.workloads(place, item));
        let undone = workloads.filter(|workload| !self.done.contains_key(workload));
        let left = listings.chain(undone.map(Attempt::Restarting));
        let left = left.filter(|attempt| !self.failed.contains_key(attempt));
        Some(match left.min_by_key(|attempt| self.again.contains(attempt))? {
            Attempt::Listing(place) => RestartStep::List(place),
            Attempt::Restarting(workload) => RestartStep::Restart(workload),
        })
    }

    fn workloads(&self, place: usize, item: &RestartItem) -> Vec<Workload> {
        let selected = self.listed.get(&place).into_iter().flatten();
        let names = item.name.iter().chain(selected);
        names.map(|name| Workload { kind: item.kind, name: name.clone() }).collect()
    }

    pub(super) fn listed(&mut self, item: usize, found: Result<Vec<String>, RestartFailure>) {
        match found {
            Ok(names) => self.listed.insert(item, names).map(|_| ()),
            Err(failure) => self.failed.insert(Attempt::Listing(item), failure).map(|_| ()),
        };
    }

    pub(super) fn answered(&mut self, workload: Workload, found: Result<bool, RestartFailure>) {
        match found {
            Ok(found) => {
                self.done.insert(workload, found);
            }
            Err(failure) => {
                self.failed.insert(Attempt::Restarting(workload), failure);
            }
        }
    }

    /// It is the turn of others.
    pub(super) const fn wait(&mut self) {
        self.waits = true;
    }

    pub(super) const fn waits(&self) -> bool {
        self.waits
    }

    /// All was tried.
    pub(super) fn pass(&mut self, now: Timestamp) {
        if !self.failed.is_empty() {
            self.passes = self.passes.saturating_add(1);
            self.last = Some(now);
        }
    }

    /// Whether, after a pass, nothing is left.
    pub(super) fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_none() || *self == Self { due: self.due, generation: self.generation, ..Self::default() }
    }

    /// Whether anybody was restarted.
    pub(super) fn has_restarted(&self) -> bool {
        self.done.values().any(|found| *found)
    }

    pub(super) fn done(&self, found: bool) -> Vec<&Workload> {
        self.done.iter().filter(|(_, was)| **was == found).map(|(workload, _)| workload).collect()
    }

    /// Those that have their restart before them.
    pub(super) fn left(&self, spec: &RolloutSpec) -> Vec<Workload> {
        let items = spec.restart.iter().enumerate();
        let workloads = items.flat_map(|(place, item)| self.workloads(place, item));
        workloads.filter(|workload| !self.done.contains_key(workload)).collect()
    }

    /// The items that select nobody.
    pub(super) fn selects_nobody(&self) -> impl Iterator<Item = usize> {
        self.listed.iter().filter(|(_, names)| names.is_empty()).map(|(place, _)| *place)
    }

    /// What failed, as long as it is news: what may pass by itself is at the third pass.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&Attempt, &RestartFailure)> {
        self.failed.iter().filter(|(_, failure)| !failure.may_pass() || self.passes >= 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::WorkloadSelector;

    fn item(name: Option<&str>) -> RestartItem {
        let selector = name.is_none().then(WorkloadSelector::default);
        RestartItem { kind: WorkloadKind::Deployment, name: name.map(str::to_owned), selector }
    }

    fn workload(name: &str) -> Workload {
        Workload { kind: WorkloadKind::Deployment, name: name.to_owned() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_workload_that_is_named_and_selected_is_restarted_once() {
        let spec = RolloutSpec { restart: vec![item(Some("a")), item(None)] };
        let mut progress = Progress::default();
        progress.turn_to(Some(Fingerprint(1)), Some(1), at(0));
        assert_eq!(progress.next(&spec), Some(RestartStep::List(1)));
        progress.listed(1, Ok(vec!["a".to_owned(), "b".to_owned()]));
        for name in ["a", "b"] {
            assert_eq!(progress.next(&spec), Some(RestartStep::Restart(workload(name))));
            progress.answered(workload(name), Ok(true));
        }
        assert_eq!(progress.next(&spec), None);
    }

    #[test]
    fn what_failed_is_tried_again_later_each_time_and_what_was_done_is_not() {
        let spec = RolloutSpec { restart: vec![item(Some("a")), item(Some("b"))] };
        let mut progress = Progress::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..9 {
            progress.turn_to(Some(Fingerprint(1)), Some(1), at(now));
            while let Some(RestartStep::Restart(workload)) = progress.next(&spec) {
                let answer = if workload.name == "a" { Ok(true) } else { Err(RestartFailure::Forbidden) };
                assert!(workload.name == "b" || now == 0, "restarted twice");
                progress.answered(workload, answer);
            }
            progress.pass(at(now));
            let wait = i64::try_from(progress.holds_back_for(at(now)).unwrap().as_secs()).unwrap();
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
        progress.turn_to(Some(Fingerprint(1)), Some(2), at(now - 1));
        assert_eq!(
            progress.next(&spec),
            Some(RestartStep::Restart(workload("b"))),
            "an edit is worth a try at once"
        );
    }

    #[test]
    fn what_hangs_holds_up_a_pass_once_and_the_others_not_for_long() {
        let spec = RolloutSpec { restart: ["a", "b", "c"].map(|name| item(Some(name))).into() };
        let mut progress = Progress::default();
        let mut tried = Vec::new();
        for pass in 0..3 {
            progress.turn_to(Some(Fingerprint(1)), Some(1), at(pass * 100));
            while let Some(RestartStep::Restart(workload)) = progress.next(&spec) {
                tried.push(format!("{pass}{}", workload.name));
                let hangs = workload.name == "a";
                progress.answered(workload, if hangs { Err(RestartFailure::Failed(None)) } else { Ok(true) });
            }
            progress.pass(at(pass * 100));
        }
        assert_eq!(tried, ["0a", "1b", "1c", "1a", "2a"]);
    }
}
