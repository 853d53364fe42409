//! Builders for tests of the plan: an object, the plane's reply, a Secret as the API server shows it.

use super::{
    Input, Observed, Permit, Problem, Seen, Step, UsedSource, Vault, Verdict, Verified, plan, sources,
};
use crate::api::{
    DataFrom, DataItem, Decode, From, ObjectSecretRef, OnMissing, SecretRef, Target, VaultRef,
    VaultSecretSync, VaultSecretSyncSpec,
};
use crate::vault::{Answer, Attributes, Evidence, Failure, Health, HealthState, Reading, Reply, SecretValue};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

pub(super) const URL: &str = "https://shop.vault.azure.net";

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
    DataItem { key: key.to_owned(), from: From { secret }, on_missing: OnMissing::Keep }
}

pub(super) fn object_source(secret: &str) -> DataFrom {
    DataFrom {
        secret: ObjectSecretRef { name: secret.to_owned(), version: None },
        on_missing: OnMissing::Keep,
    }
}

/// An object with everything that a round needs, changed by each test where it matters.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own that a test turns on")]
pub(super) struct Scene {
    pub(super) object: VaultSecretSync,
    pub(super) answers: Vec<Answer>,
    pub(super) state: HealthState,
    pub(super) unconfirmed_for: Option<Duration>,
    pub(super) demanded: BTreeSet<usize>,
    pub(super) refreshed: Option<String>,
    pub(super) rechecked: Option<String>,
    pub(super) seen: Seen,
    pub(super) verified: Option<Verified>,
    pub(super) probe: bool,
    pub(super) blocked: bool,
    pub(super) ignored: bool,
    pub(super) rival: Option<String>,
    pub(super) vault_exists: bool,
    pub(super) permit: Permit,
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
            target: Target::default(),
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
            demanded: BTreeSet::new(),
            refreshed: None,
            rechecked: None,
            seen: Seen::Remembered,
            verified: None,
            probe: false,
            blocked: false,
            ignored: false,
            rival: None,
            vault_exists: true,
            permit: Permit::FULL,
            now: Timestamp::from_second(1_750_000_000).unwrap(),
        }
    }

    pub(super) fn sources(&self) -> Vec<UsedSource> {
        sources(&self.object.spec).unwrap()
    }

    pub(super) fn step(&self) -> Step {
        let reply = Reply {
            answers: self.answers.clone(),
            health: Health {
                state: self.state.clone(),
                users: 1,
                detection: None,
                proving: false,
                evidence: Evidence::default(),
            },
            unconfirmed_for: self.unconfirmed_for,
        };
        let permits = vec![self.permit; self.answers.len()];
        let vault = if self.vault_exists {
            Vault::Found { url: URL, reply: &reply, permits: &permits }
        } else {
            Vault::Unusable(Problem::vault_not_found(&self.object.spec.vault_ref))
        };
        plan(&Input {
            object: &self.object,
            sources: &sources(&self.object.spec),
            ignored: self.ignored,
            rival: self.rival.as_deref(),
            vault,
            demanded: &self.demanded,
            refreshed: self.refreshed.as_deref(),
            rechecked: self.rechecked.as_deref(),
            seen: &self.seen,
            verified: self.verified.as_ref(),
            probe: self.probe,
            blocked: self.blocked,
            stale_after: Duration::from_secs(900),
            now: self.now,
        })
    }

    pub(super) fn verdict(&self) -> Verdict {
        match self.step() {
            Step::Settle(verdict) => verdict,
            other => panic!("not settled: {other:?}"),
        }
    }

    /// Plays a create that the API server accepts, and settles the round.
    pub(super) fn create(&mut self) -> Verdict {
        let Step::Create(new) = self.step() else { panic!("no create: {:?}", self.step()) };
        let keys: Vec<&str> = new.data.keys().map(String::as_str).collect();
        let mut after = secret("1", &keys);
        after.labels = new.labels;
        after.annotations = new.annotations;
        after.owners = new.owner.into_iter().collect();
        self.seen = Seen::Written(super::Written { after, created: true, moved: true });
        self.settle()
    }

    /// Takes the verdict's status and memory over, as the controller does, and starts a new round.
    pub(super) fn settle(&mut self) -> Verdict {
        let verdict = self.verdict();
        if let Some(status) = &verdict.status {
            self.object.status = Some(status.clone());
        }
        self.verified = verdict.verified.clone().or_else(|| self.verified.take());
        self.blocked = verdict.blocked;
        self.seen = Seen::Remembered;
        if !verdict.unfinished {
            self.demanded.clear();
        }
        self.answers = vec![Answer::Unchanged; self.answers.len()];
        verdict
    }

    pub(super) fn ready(&self) -> (String, String, String) {
        let status = self.object.status.as_ref().unwrap();
        let ready = crate::api::condition(&status.conditions, crate::api::READY).unwrap();
        (ready.status.clone(), ready.reason.clone(), ready.message.clone())
    }
}

/// The Secret `shop` with these keys, all of them last moved by us.
pub(super) fn secret(resource_version: &str, keys: &[&str]) -> Observed {
    let ours = BTreeSet::from(["vaultsync:shop".to_owned()]);
    Observed {
        uid: "secret-uid".to_owned(),
        resource_version: resource_version.to_owned(),
        annotations: [("vaultsync.dev/owner".to_owned(), "shop".to_owned())].into(),
        labels: [("app.kubernetes.io/managed-by".to_owned(), "vaultsync".to_owned())].into(),
        owners: Vec::new(),
        keys: keys.iter().map(|key| ((*key).to_owned(), ours.clone())).collect(),
        moved_at: [("vaultsync:shop".to_owned(), second(1))].into(),
        our_labels: BTreeSet::new(),
        our_annotations: BTreeSet::new(),
    }
}

/// A second of the API server's clock.
pub(super) fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + second).unwrap()
}
