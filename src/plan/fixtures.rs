//! Builders for tests of the plan: an object, the plane's reply, a Secret as the API server shows it.

use super::outcome::Outcome;
use super::{
    Change, Connected, Fares, FoundBefore, FoundNames, Input, Kept, Observed, Permit, Problem, Round, Seen,
    Snapshot, Step, UsedSource, Vault, Verdict, brake, found_before, sources, wants,
};
use crate::api::{
    DataFrom, DataItem, Decode, Format, From, ObjectSecretRef, OnMissing, SecretRef, Target, VaultRef,
    VaultSecretSync, VaultSecretSyncSpec, VaultSecretSyncStatus,
};
use crate::vault::{
    Answer, Attributes, Evidence, Failure, Find, Health, HealthState, Losses, Reading, SecretValue, Want,
};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

pub(super) const URL: &str = "https://shop.vault.azure.net";

/// The vaults of the object's connections after the first, by the names of these.
pub(super) fn url_of(vault: &VaultRef) -> String {
    if vault.name == "default" { URL.to_owned() } else { format!("https://{}.vault.azure.net", vault.name) }
}

pub(super) fn reading(version: &str, value: &str) -> Reading {
    let time = Timestamp::from_second(1_700_000_000).ok();
    Reading {
        attributes: Attributes {
            version: version.to_owned(),
            created: time,
            updated: time,
            expires: None,
            not_before: None,
            managed: false,
        },
        value: SecretValue::new(Zeroizing::new(value.to_owned())),
    }
}

pub(super) fn read(version: &str, value: &str) -> Answer {
    Answer::Read(Arc::new(reading(version, value)))
}

pub(super) fn failed(failure: Failure) -> Answer {
    Answer::Failed(Arc::new(failure))
}

pub(super) fn key(key: &str, secret: &str) -> DataItem {
    let secret = SecretRef { name: secret.to_owned(), version: None, property: None, decode: Decode::None };
    let from = From { secret: Some(secret), ..From::default() };
    DataItem { key: key.to_owned(), from, vault_ref: None, on_missing: OnMissing::Keep, publish: true }
}

pub(super) fn object_source(secret: &str) -> DataFrom {
    DataFrom {
        secret: Some(ObjectSecretRef { name: secret.to_owned(), version: None, format: Format::Json }),
        find: None,
        vault_ref: None,
        rename: Vec::new(),
        on_missing: OnMissing::Keep,
        publish: true,
    }
}

/// An object with everything that a round needs, changed by each test where it matters, and the round under way.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own that a test turns on")]
pub(super) struct Scene {
    pub(super) object: VaultSecretSync,
    pub(super) answers: Vec<Answer>,
    pub(super) state: HealthState,
    pub(super) unconfirmed_for: Option<Duration>,
    /// The same of connections after the first, where they do not simply work.
    pub(super) others: Vec<(HealthState, Option<Duration>)>,
    pub(super) interval: Duration,
    pub(super) expiring_before: Duration,
    /// What the last round left.
    pub(super) kept: Kept,
    pub(super) round: Option<Round>,
    /// Whether the round under way has a snapshot.
    asked: bool,
    pub(super) probe: bool,
    pub(super) ignored: bool,
    pub(super) rival: Option<String>,
    pub(super) sharing: Vec<String>,
    pub(super) vault_exists: bool,
    /// What `find` has found through each connection.
    pub(super) found: Vec<FoundNames>,
    pub(super) permit: Permit,
    /// How many names are gone together.
    pub(super) losses: Losses,
    pub(super) removals_confirmed: Option<Timestamp>,
    pub(super) now: Timestamp,
}

impl Scene {
    pub(super) fn new(data: Vec<DataItem>, data_from: Vec<DataFrom>) -> Self {
        let spec = VaultSecretSyncSpec {
            vault_ref: VaultRef::default(),
            refresh_interval: "5m".to_owned(),
            suspend: false,
            data,
            data_from,
            tls: None,
            target: Target::default(),
            rollout: None,
        };
        let mut object = VaultSecretSync::new("shop", spec);
        object.metadata.namespace = Some("shop".to_owned());
        object.metadata.uid = Some("object-uid".to_owned());
        object.metadata.generation = Some(1);
        Self {
            object,
            answers: Vec::new(),
            state: HealthState::Working,
            unconfirmed_for: None,
            others: Vec::new(),
            interval: Duration::from_secs(300),
            expiring_before: Duration::ZERO,
            kept: Kept::default(),
            round: None,
            asked: false,
            probe: false,
            ignored: false,
            rival: None,
            sharing: Vec::new(),
            vault_exists: true,
            found: Vec::new(),
            permit: Permit::FULL,
            losses: Losses::Few,
            removals_confirmed: None,
            now: Timestamp::from_second(1_750_000_000).unwrap(),
        }
    }

    pub(super) fn sources(&self) -> Vec<UsedSource> {
        sources(&self.object.spec, &self.found).unwrap().used
    }

    /// What the plane is asked for when a round begins.
    pub(super) fn wants(&self) -> Vec<Want> {
        let known = self.kept.known(&Arc::new(self.object.clone()));
        let urls = self.urls();
        wants(&known, &self.connected(&urls), &self.sources(), &BTreeSet::new(), false).concat()
    }

    /// What `find` found before through the first connection.
    pub(super) fn found_before(&self, finds: &[Find]) -> FoundBefore {
        let urls = self.urls();
        found_before(&self.object, finds, (&self.connected(&urls), 0))
    }

    fn urls(&self) -> Vec<String> {
        self.object.spec.vault_refs().into_iter().map(url_of).collect()
    }

    pub(super) fn connected<'a>(&'a self, urls: &'a [String]) -> Vec<Connected<'a>> {
        let vaults = self.object.spec.vault_refs().into_iter().zip(urls);
        let connected = vaults.map(|(vault, url)| Connected {
            vault,
            url,
            interval: self.interval,
            stale_after: Duration::from_secs(900),
            removals_confirmed: self.removals_confirmed,
        });
        connected.collect()
    }

    fn snapshot(&self, connections: usize) -> Snapshot {
        let works = (HealthState::Working, None);
        let all = [(self.state.clone(), self.unconfirmed_for)].into_iter().chain(self.others.iter().cloned());
        let fares =
            all.chain(std::iter::repeat(works)).take(connections).map(|(state, unconfirmed_for)| Fares {
                health: Health {
                    state,
                    users: 1,
                    detection: None,
                    proving: false,
                    evidence: Evidence::default(),
                },
                unconfirmed_for,
            });
        let answers = self.answers.clone();
        let mut snapshot = Snapshot { answers, fares: fares.collect(), held: BTreeMap::new() };
        let urls = self.urls();
        if let Ok(sources) = sources(&self.object.spec, &self.found) {
            let connected = self.connected(&urls);
            brake(&self.object, &connected, &sources.used, &mut snapshot, |_, _| self.losses);
        }
        snapshot
    }

    fn begin(&self) -> Round {
        let known = self.kept.known(&Arc::new(self.object.clone()));
        Round::begin(self.kept.clone(), &known, self.probe)
    }

    /// The next step of the round, which begins if there is none; the plane has been asked.
    pub(super) fn step(&mut self) -> Step {
        let mut round = self.round.take().unwrap_or_else(|| self.begin());
        let permits = vec![self.permit; self.answers.len()];
        let sources = sources(&self.object.spec, &self.found);
        let stored = Arc::new(self.object.clone());
        let known = self.kept.known(&stored);
        let urls = self.urls();
        let connections = self.connected(&urls);
        let now = self.snapshot(connections.len());
        let mut next = |snapshot| {
            let vault = if self.vault_exists {
                Vault::Usable { connections: &connections, permits: &permits, snapshot }
            } else {
                Vault::Unusable(vec![Problem::vault_not_found(&self.object.spec.vault_ref, "spec.vaultRef")])
            };
            round.next(&Input {
                object: &known,
                stored: stored.status.as_ref(),
                sources: &sources,
                ignored: self.ignored,
                rival: self.rival.as_deref(),
                sharing: &self.sharing,
                vault,
                expiring_before: self.expiring_before,
                now: self.now,
            })
        };
        let first = if self.asked { Step::Ask } else { next(None) };
        let asks = matches!(first, Step::Ask);
        let step = if asks { next(Some(&now)) } else { first };
        self.asked |= asks;
        self.round = Some(round);
        step
    }

    /// What the API server answers to the last step.
    pub(super) fn sees(&mut self, seen: Seen) {
        if self.round.is_none() {
            self.round = Some(self.begin());
        }
        self.round.as_mut().unwrap().answered(seen);
    }

    /// The sources that the next step demands.
    pub(super) fn demands(&mut self) -> Vec<usize> {
        match self.step() {
            Step::Demand(rows) => rows.into_iter().collect(),
            other => panic!("nothing is demanded: {other:?}"),
        }
    }

    /// The change that the next step sends.
    pub(super) fn changes(&mut self) -> Change {
        match self.step() {
            Step::Change(change) => change,
            other => panic!("no change: {other:?}"),
        }
    }

    /// Whether the next step looks at the target.
    pub(super) fn looks(&mut self) -> bool {
        matches!(self.step(), Step::Look)
    }

    /// The end of the round, of which nothing is said; the next step begins another.
    pub(super) fn verdict(&mut self) -> Verdict {
        match self.step() {
            Step::End(verdict) => {
                (self.round, self.asked) = (None, false);
                *verdict
            }
            other => panic!("not at its end: {other:?}"),
        }
    }

    /// Plays a create that the API server accepts, and ends the round.
    pub(super) fn create(&mut self) -> Verdict {
        let step = self.step();
        let Step::Create(new) = step else { panic!("no create: {step:?}") };
        let keys: Vec<&str> = new.data.keys().map(String::as_str).collect();
        let mut after = secret("1", &keys);
        after.labels = new.labels;
        after.annotations = new.annotations;
        after.owners = new.owner.into_iter().collect();
        self.sees(Seen::Written(super::Written { after, created: true, moved: true }));
        self.settle()
    }

    /// Ends the round and says what it came to, as the controller does; the next step begins another. Every source is
    /// [`Answer::Unchanged`] then: what is to be answered next, a failure that lasts too, is set anew.
    pub(super) fn settle(&mut self) -> Verdict {
        let verdict = self.verdict();
        self.take_over(&verdict);
        verdict
    }

    /// Says what a round came to.
    pub(super) fn take_over(&mut self, verdict: &Verdict) {
        (self.round, self.asked) = (None, false);
        if let Some(status) = &verdict.status {
            self.object.status = Some(status.clone());
        }
        self.kept = verdict.kept.clone();
        self.answers = vec![Answer::Unchanged; self.answers.len()];
    }

    /// Ends the round, and the API server does not take its status.
    pub(super) fn settle_unsaid(&mut self) -> Verdict {
        let verdict = self.verdict();
        self.kept = verdict.kept.clone();
        self.kept.not_said(verdict.status.as_ref(), verdict.outcome);
        self.answers = vec![Answer::Unchanged; self.answers.len()];
        verdict
    }

    /// Ends a round that has nothing to do, to wait for, or to say that was not said before.
    pub(super) fn says_nothing_new(&mut self) {
        let verdict = self.verdict();
        assert_ne!(verdict.outcome, Outcome::Waiting, "{verdict:?}");
        assert_eq!(verdict.status, None);
    }

    pub(super) fn status(&self) -> &VaultSecretSyncStatus {
        self.object.status.as_ref().unwrap()
    }

    pub(super) fn ready(&self) -> (String, String, String) {
        let ready = crate::api::condition(&self.status().conditions, crate::api::READY).unwrap();
        (ready.status.clone(), ready.reason.clone(), ready.message.clone())
    }

    /// The states of the entries.
    pub(super) fn states(&self) -> Vec<&'static str> {
        self.status().entries.iter().map(|entry| entry.state.as_str()).collect()
    }

    /// The keys that status names.
    pub(super) fn keys(&self) -> Vec<&str> {
        self.status().target.iter().flat_map(|target| &target.keys).map(|key| key.name.as_str()).collect()
    }
}

/// The Secret `shop` with these keys, all of them last moved by us.
pub(super) fn secret(resource_version: &str, keys: &[&str]) -> Observed {
    let ours = BTreeSet::from(["vaultsync:shop".to_owned()]);
    Observed {
        uid: "secret-uid".to_owned(),
        resource_version: resource_version.to_owned(),
        annotations: ["vaultsync.dev/owner", "vaultsync.dev/owner-namespace"]
            .map(|annotation| (annotation.to_owned(), "shop".to_owned()))
            .into(),
        labels: [("app.kubernetes.io/managed-by".to_owned(), "vaultsync".to_owned())].into(),
        owners: Vec::new(),
        keys: keys.iter().map(|key| ((*key).to_owned(), ours.clone())).collect(),
        moved_at: [("vaultsync:shop".to_owned(), second(1))].into(),
        our_labels: BTreeSet::new(),
        our_annotations: BTreeSet::new(),
        unmoved: false,
    }
}

/// A second of the API server's clock.
pub(super) fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + second).unwrap()
}
