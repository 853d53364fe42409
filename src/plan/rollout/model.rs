//! Random lives of one object and its workloads, beside a simple account of who is owed a restart: values change, rounds
//! end in every way, statuses are lost, put back and not written, the process ends between any two steps.
//!
//! Each run follows from its seed, which a failure prints. `VAULTSYNC_MODEL_SEED=7` plays one run, `VAULTSYNC_MODEL_RUNS=100000`
//! that many.

use super::record::digest;
use super::{Progress, RestartFailure, RestartStep, Rolling};
use crate::api::{
    Fingerprint, KeyStatus, READY, RestartItem, RolloutSpec, RolloutStatus, TargetStatus, VaultSecretSync,
    VaultSecretSyncSpec, VaultSecretSyncStatus, WorkloadKind, WorkloadSelector, fnv1a, set_condition,
};
use crate::dice::{Dice, play_all};
use crate::plan::{Kept, Outcome, Verdict};
use crate::reason::Reason;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Keys and versions of their values.
type Content = BTreeMap<&'static str, u64>;

const KEYS: [&str; 3] = ["a", "b", "c"];
const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// A workload, and the account of it.
#[derive(Clone, Debug, Default)]
struct Pods {
    template: Option<String>,
    /// The Secret changed, and it has not been restarted for it.
    owed: bool,
    /// An older status was put back, or it came while others were restarted: it may be restarted once more.
    excused: bool,
}

struct World {
    seed: u64,
    dice: Dice,
    object: VaultSecretSync,
    stored: Option<VaultSecretSyncStatus>,
    older: Vec<VaultSecretSyncStatus>,
    /// What the process keeps.
    unsaid: Option<VaultSecretSyncStatus>,
    progress: Option<Box<Progress>>,
    allowed: Option<u32>,
    /// Whether statuses are put back; else, the release may change.
    puts_back: bool,
    vault: Content,
    secret: Content,
    version: u64,
    /// The revision of what renders.
    revision: u64,
    /// What was in the Secret at the end of the last round that left it whole.
    settled: Option<Content>,
    digest: Option<String>,
    workloads: BTreeMap<&'static str, Pods>,
    now: Timestamp,
    restarts: u64,
    story: Vec<String>,
}

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Whole,
    /// Some keys were written, and Ready says what is missing.
    Partial,
    /// Some keys were written, and the round could not ask for the rest: Ready stays.
    Sealed,
    /// Some keys were written, and the process ended.
    Lost,
    /// Nothing is known anew.
    Waiting,
    /// Somebody edited a key, and the vault does not answer.
    Drifted,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let spec: VaultSecretSyncSpec = serde_json::from_str(r#"{"data": []}"#).unwrap();
        let mut object = VaultSecretSync::new("shop", spec);
        object.metadata.generation = Some(1);
        let puts_back = dice.once_in(2);
        let mut world = Self {
            seed,
            dice,
            object,
            stored: None,
            older: Vec::new(),
            unsaid: None,
            progress: None,
            allowed: Some(10),
            puts_back,
            vault: [("a", 1), ("b", 1)].into(),
            secret: Content::new(),
            version: 0,
            revision: 1,
            settled: None,
            digest: None,
            workloads: BTreeMap::new(),
            now: Timestamp::from_second(1_750_000_000).unwrap(),
            restarts: 0,
            story: Vec::new(),
        };
        world.workloads.insert("one", Pods::default());
        world.workloads.insert("two", Pods::default());
        world.list();
        world
    }

    fn tell(&mut self, what: impl Debug) {
        self.story.push(format!("{what:?}"));
    }

    #[track_caller]
    fn check(&self, holds: bool, what: &str) {
        assert!(holds, "VAULTSYNC_MODEL_SEED={}: {what}\n{}", self.seed, self.story.join("\n"));
    }

    /// Another list of workloads, or none.
    fn list(&mut self) {
        let mut restart = Vec::new();
        for name in NAMES.into_iter().take(3) {
            if self.dice.once_in(2) {
                restart.push(RestartItem { name: Some(name.to_owned()), ..RestartItem::default() });
            }
        }
        if self.dice.once_in(2) {
            restart
                .push(RestartItem { selector: Some(WorkloadSelector::default()), ..RestartItem::default() });
        }
        self.object.spec.rollout = (!restart.is_empty()).then_some(RolloutSpec { restart });
        self.edited();
        self.tell(self.object.spec.rollout.clone());
    }

    fn edited(&mut self) {
        self.object.metadata.generation = self.object.metadata.generation.map(|generation| generation + 1);
    }

    fn known(&self) -> VaultSecretSync {
        let status = self.unsaid.clone().or_else(|| self.stored.clone());
        VaultSecretSync { status, ..self.object.clone() }
    }

    /// The selector finds all but the first.
    fn is_listed(&self, name: &str) -> bool {
        let items = self.object.spec.rollout.iter().flat_map(|rollout| &rollout.restart);
        items.into_iter().any(|item| match &item.name {
            Some(named) => named == name,
            None => name != "one",
        })
    }

    fn write(&mut self, whole: bool) {
        let before = self.secret.clone();
        for key in KEYS {
            if !whole && self.dice.once_in(2) {
                continue;
            }
            match self.vault.get(key) {
                Some(version) => self.secret.insert(key, *version),
                None => self.secret.remove(key),
            };
        }
        if self.secret != before {
            self.version += 1;
        }
    }

    fn target(&self) -> TargetStatus {
        let keys = self.secret.iter().map(|(name, version)| KeyStatus {
            name: (*name).to_owned(),
            of: Some(Fingerprint(fnv1a(format!("{} {version}", self.revision).as_bytes()))),
        });
        TargetStatus {
            uid: "uid".to_owned(),
            resource_version: self.version.to_string(),
            keys: keys.collect(),
            ..TargetStatus::default()
        }
    }

    /// The verdict of a round that ends so.
    fn verdict(&mut self, ending: Ending) -> Verdict {
        let mut status = self.known().status.unwrap_or_default();
        let (outcome, reason) = match ending {
            Ending::Whole => (Outcome::Updated, Some(Reason::Synced)),
            Ending::Partial => (Outcome::Updated, Some(Reason::SecretNotFound)),
            Ending::Drifted => (Outcome::Failed, Some(Reason::Drifted)),
            Ending::Sealed | Ending::Waiting | Ending::Lost => (Outcome::Waiting, None),
        };
        if matches!(ending, Ending::Whole | Ending::Partial | Ending::Sealed) {
            status.target = Some(self.target());
        }
        if ending == Ending::Drifted
            && let Some(key) = status.target.as_mut().and_then(|target| target.keys.first_mut())
        {
            key.of = None;
        }
        if let Some(reason) = reason {
            let generation = self.object.metadata.generation;
            let ready = if reason == Reason::Synced { "True" } else { "False" };
            status.observed_generation = generation;
            set_condition(&mut status.conditions, READY, ready, reason, String::new(), generation, self.now);
        }
        let said = self.unsaid.as_ref().or(self.stored.as_ref()) != Some(&status) || self.unsaid.is_some();
        let status = said.then_some(status);
        Verdict { outcome, reason, status, next: None, waits: reason.is_none(), kept: Kept::default() }
    }

    /// The account of a round that left the Secret whole.
    fn account(&mut self) {
        let recorded = self.known().status.is_some_and(|status| status.rollout.is_some());
        let changed = self.settled.as_ref() != Some(&self.secret);
        self.digest = digest(&self.target()).map(|of| of.to_string());
        for pods in self.workloads.values_mut() {
            if !recorded {
                (pods.owed, pods.excused) = (false, false);
            } else if self.object.spec.rollout.is_none() {
                // Until that is said, nobody knows that it was turned off in between.
                (pods.owed, pods.excused) = (false, true);
            } else if changed {
                // What went away and came back before anybody was restarted for it is no change to them.
                pods.owed = pods.template != self.digest;
            }
        }
        self.settled = Some(self.secret.clone());
    }

    fn crash(&mut self) {
        self.tell("the process ends");
        // What is stored counts again, though it was known better.
        let older = self.unsaid.is_some();
        self.workloads.values_mut().for_each(|pods| pods.excused |= older);
        (self.unsaid, self.progress) = (None, None);
    }

    fn round(&mut self, ending: Ending, calm: bool) {
        self.tell(ending);
        match ending {
            // A process knows nothing of suspended objects but that they are.
            _ if self.object.spec.suspend => {}
            Ending::Whole => self.write(true),
            Ending::Partial | Ending::Sealed | Ending::Lost => self.write(false),
            Ending::Waiting | Ending::Drifted => {}
        }
        if ending == Ending::Lost {
            return self.crash();
        }
        let verdict = if self.object.spec.suspend {
            let mut verdict = self.verdict(Ending::Waiting);
            (verdict.outcome, verdict.reason, verdict.waits) =
                (Outcome::Suspended, Some(Reason::Suspended), false);
            let mut status = self.known().status.unwrap_or_default();
            status.observed_generation = self.object.metadata.generation;
            verdict.status = Some(status);
            verdict
        } else {
            if ending == Ending::Whole {
                self.account();
            }
            self.verdict(ending)
        };
        let object = self.known();
        let (stored, kept) = (self.stored.clone(), self.progress.take());
        let rolling = Rolling::begin(&object, stored.as_ref(), &verdict, kept, self.allowed, self.now);
        let Some(mut rolling) = rolling else { return };
        let ready = {
            let status = verdict.status.as_ref().or(object.status.as_ref());
            status.is_some_and(|status| {
                let ready = |said: &Condition| said.type_ == READY && said.status == "True";
                status.observed_generation == self.object.metadata.generation
                    && status.conditions.iter().any(ready)
            })
        };
        while let Some(step) = rolling.next() {
            self.tell(&step);
            if !calm && self.dice.once_in(8) {
                return self.crash();
            }
            let failure = (!calm && self.dice.once_in(6)).then_some(RestartFailure::Failed(None));
            match step {
                RestartStep::List(place) => {
                    let names = self.workloads.keys().filter(|name| **name != "one");
                    let names = names.map(|name| (*name).to_owned()).collect();
                    rolling.listed(place, failure.map_or(Ok(names), Err));
                }
                RestartStep::Restart(_) if !calm && self.dice.once_in(5) => {
                    self.tell("others have their turn");
                    rolling.wait();
                }
                RestartStep::Restart(workload) => {
                    self.check(workload.kind == WorkloadKind::Deployment, "the kind of the spec");
                    let may = ready && !self.object.spec.suspend && self.allowed.is_some();
                    self.check(may, "nobody is restarted for an object that is suspended, or not Ready");
                    let value = rolling.acts_for();
                    self.check(value == digest(&self.target()), "they are restarted for what is there");
                    let value = value.unwrap().to_string();
                    // An answer that is lost is a restart all the same.
                    let found = if failure.is_none() || self.dice.once_in(2) {
                        self.restart(&workload.name, value)
                    } else {
                        true
                    };
                    rolling.answered(workload, failure.map_or(Ok(found), Err));
                    if !calm && self.dice.once_in(8) {
                        return self.crash();
                    }
                }
            }
        }
        let before = object.status.as_ref().and_then(|status| status.rollout.clone());
        let end = rolling.end();
        let after = end.status.rollout.as_ref();
        let whole = ending == Ending::Whole && !self.object.spec.suspend;
        let due = |rollout: &RolloutStatus| rollout.due.or(Some(rollout.hash));
        let recorded = after.and_then(due);
        let stands = recorded.is_none() || recorded == before.as_ref().and_then(due);
        self.check(whole || stands, "only a Secret that is whole is recorded");
        if before.is_some_and(|rollout| rollout.due.is_some())
            && after.is_some_and(|rollout| rollout.due.is_none())
        {
            for (name, pods) in &self.workloads {
                let served = !self.is_listed(name) || !pods.owed;
                self.check(served, &format!("{name} is restarted before the change is over"));
            }
        }
        self.progress = end.kept;
        if self.stored.as_ref() == Some(&end.status) {
            return;
        }
        match self.dice.roll(if calm { 1 } else { 8 }) {
            6 => {
                self.tell("the status is not written");
                self.unsaid = Some(end.status);
            }
            7 => self.crash(),
            _ => self.say(end.status),
        }
    }

    fn restart(&mut self, name: &str, value: String) -> bool {
        let Some(mut pods) = self.workloads.get(name).cloned() else { return false };
        if pods.template.as_ref() != Some(&value) {
            self.restarts += 1;
            self.check(pods.owed || pods.excused, &format!("{name} has no reason to be restarted"));
            // It may be restarted for what was due while the next change is in the Secret and not yet said.
            let owed = Some(&value) != self.digest.as_ref();
            pods = Pods { template: Some(value), owed, excused: false };
            let name = NAMES.into_iter().find(|known| *known == name).unwrap();
            self.workloads.insert(name, pods);
        }
        true
    }

    fn say(&mut self, status: VaultSecretSyncStatus) {
        self.tell(&status.rollout);
        let here = digest(&self.target());
        let is_over = |rollout: &RolloutStatus| rollout.due.is_none() && Some(rollout.hash) == here;
        if self.settled.as_ref() == Some(&self.secret) && status.rollout.as_ref().is_none_or(is_over) {
            for pods in self.workloads.values_mut() {
                // Who was not listed when the rest was restarted is not restarted later for the same.
                (pods.owed, pods.excused) = (false, false);
            }
        }
        self.unsaid = None;
        self.stored = Some(status.clone());
        self.older.push(status);
    }

    fn step(&mut self) {
        self.now += SignedDuration::from_secs(i64::try_from(self.dice.roll(30)).unwrap());
        match self.dice.roll(24) {
            0..=2 => {
                let key = KEYS[self.dice.roll(3)];
                if self.dice.once_in(4) && self.vault.len() > 1 {
                    self.vault.remove(key);
                } else {
                    // Sometimes what was there before.
                    let version = self.dice.roll(6) as u64 + 1;
                    self.vault.insert(key, version);
                }
                self.tell(self.vault.clone());
            }
            3 => {
                self.object.spec.suspend = !self.object.spec.suspend;
                self.edited();
                self.tell(("suspend", self.object.spec.suspend));
            }
            4 => self.list(),
            5 => self.crash(),
            6 => {
                self.tell("the status is lost");
                self.crash();
                self.stored = None;
            }
            7 if self.puts_back && !self.older.is_empty() => {
                let which = self.dice.roll(self.older.len());
                self.tell("an older status is put back");
                self.crash();
                self.stored = Some(self.older[which].clone());
                for pods in self.workloads.values_mut() {
                    (pods.owed, pods.excused) = (false, true);
                }
            }
            7 if !self.puts_back && self.is_at_rest() => {
                self.tell("another release");
                self.crash();
                self.revision += 1;
                // It begins with a look at what is there.
                self.round(Ending::Whole, true);
            }
            8 => {
                let name = NAMES[self.dice.roll(4)];
                self.tell(("gone or new", name));
                if self.workloads.remove(name).is_none() {
                    let excused = !self.is_at_rest();
                    self.workloads.insert(name, Pods { excused, ..Pods::default() });
                }
            }
            9 => {
                self.crash();
                self.allowed = self.allowed.is_none().then_some(10);
                self.tell(("allowed", self.allowed));
            }
            10 => self.round(Ending::Partial, false),
            11 => self.round(Ending::Sealed, false),
            12 => self.round(Ending::Lost, false),
            13 => self.round(Ending::Waiting, false),
            14 => self.round(Ending::Drifted, false),
            _ => self.round(Ending::Whole, false),
        }
    }

    /// Nothing is due, and nothing came into the Secret that is not recorded.
    fn is_at_rest(&self) -> bool {
        let stored = self.stored.as_ref();
        self.unsaid.is_none()
            && !self.object.spec.suspend
            && self.vault == self.secret
            && self.settled.as_ref() == Some(&self.secret)
            && stored.is_some_and(|status| {
                let here = digest(&self.target());
                let is_over = |rollout: &RolloutStatus| rollout.due.is_none() && Some(rollout.hash) == here;
                status.rollout.as_ref().is_some_and(is_over) && status.target.as_ref() == Some(&self.target())
            })
    }

    /// In peace all is done that is owed, and then nothing more.
    fn end(&mut self) {
        self.object.spec.suspend = false;
        self.edited();
        self.crash();
        self.allowed = Some(10);
        for _ in 0..12 {
            self.now += SignedDuration::from_secs(600);
            self.round(Ending::Whole, true);
        }
        let rollout = self.stored.as_ref().and_then(|status| status.rollout.clone());
        self.check(rollout.is_none_or(|rollout| rollout.due.is_none()), "all is over at last");
        for (name, pods) in &self.workloads {
            let served = !self.is_listed(name) || !pods.owed;
            self.check(served, &format!("{name} has what is in the Secret"));
        }
        let (stored, restarts) = (self.stored.clone(), self.restarts);
        self.crash();
        self.round(Ending::Whole, true);
        self.check(self.stored == stored && self.restarts == restarts, "at rest nothing is said or done");
    }
}

fn play(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for _ in 0..80 {
        world.step();
    }
    world.end();
    world.restarts
}

#[test]
fn whatever_happens_a_workload_is_restarted_once_for_each_change_and_for_nothing_else() {
    let mut restarts = 0;
    if let Some(runs) = play_all(1_000, |seed| restarts += play(seed)) {
        assert!(restarts > runs, "the runs restart workloads: {restarts}");
    }
}
