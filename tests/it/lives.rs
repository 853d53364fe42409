//! The lives of a few Secrets that several objects want, somebody else makes, and people and backups lay hands on: creates,
//! edits, deletes, consents, restores, restarts of the operator and failures, in any order.
//!
//! What is seen meanwhile is never wrong ([`wrong`]), and when all is quiet each object has what it may have, or says why not
//! ([`Lives::unsettled`]). `SEED` plays an earlier run again, as far as time allows; `STEPS` plays for longer.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::Fault;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::sync::Notify;
use vaultsync::api::VaultSecretSync;

use crate::random::{Dice, number_from, restart, seed, trouble_of_the_api_server};
use crate::restore::kept;
use support::scene::{OperatorScene, sync, values};
use support::{Says as _, eventually};

const OBJECTS: usize = 5;
const TARGETS: usize = 4;
/// Keys of each object, each from a secret of its own.
const KEYS: usize = 3;

const MARK: &str = "vaultsync.dev/owner";
const CONSENT: &str = "vaultsync.dev/consent";
/// The key of those Secrets that somebody else makes.
const THEIRS: &str = "THEIRS";
const BY_HAND: &str = "by hand";

/// An object as its user wants it.
#[derive(Clone, Debug)]
struct Wanted {
    target: usize,
    creation: &'static str,
    deletion: &'static str,
    keys: BTreeSet<usize>,
    suspended: bool,
}

struct Lives {
    scene: OperatorScene,
    dice: Dice,
    objects: [Option<Wanted>; OBJECTS],
    /// The number of each secret's current value.
    secrets: [[usize; KEYS]; OBJECTS],
    /// Keys that left a Secret, or may have, by somebody's will.
    gone: BTreeSet<String>,
    number: usize,
}

fn object(index: usize) -> String {
    format!("o{index}")
}

fn target(index: usize) -> String {
    format!("t{index}")
}

fn key(object: usize, key: usize) -> String {
    format!("K{object}_{key}")
}

fn source(object: usize, key: usize) -> String {
    format!("s{object}-{key}")
}

impl Wanted {
    fn spec(&self, index: usize) -> Value {
        let items = self
            .keys
            .iter()
            .map(|of| json!({"key": key(index, *of), "from": {"secret": {"name": source(index, *of)}}}));
        json!({
            "refreshInterval": "10s", "suspend": self.suspended, "data": items.collect::<Vec<_>>(),
            "target": {"name": target(self.target), "creation": self.creation, "deletion": self.deletion},
        })
    }
}

fn annotation<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    secret.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn consents_to(secret: &Secret, object: &str) -> bool {
    annotation(secret, CONSENT).is_some_and(|names| names.split(',').any(|name| name.trim() == object))
}

impl Lives {
    async fn begin(seed: u64) -> Self {
        let scene = OperatorScene::new().await;
        for index in 0..OBJECTS {
            for of in 0..KEYS {
                scene.vault.set(&source(index, of), &format!("{}-0000", source(index, of)));
            }
        }
        let (objects, secrets) = (std::array::from_fn(|_| None), [[0; KEYS]; OBJECTS]);
        Self { scene, dice: Dice(seed | 1), objects, secrets, gone: BTreeSet::new(), number: 0 }
    }

    fn wanted(&mut self) -> Wanted {
        let keys = (0..=self.dice.below(KEYS)).map(|_| self.dice.below(KEYS)).collect();
        let creation = ["Create", "Adopt", "Merge", "Merge"][self.dice.below(4)];
        let deletion = ["Delete", "Delete", "Retain"][self.dice.below(3)];
        Wanted { target: self.dice.below(TARGETS), creation, deletion, keys, suspended: false }
    }

    /// All keys of an object may go from now on.
    fn let_go(&mut self, index: usize) {
        self.gone.extend((0..KEYS).map(|of| key(index, of)));
    }

    async fn create(&mut self, index: usize) {
        let wanted = self.wanted();
        self.scene.create::<VaultSecretSync>(&sync(&object(index), &wanted.spec(index))).await;
        self.objects[index] = Some(wanted);
    }

    async fn delete(&mut self, index: usize) {
        self.let_go(index);
        self.scene.delete::<VaultSecretSync>(&object(index)).await;
        self.objects[index] = None;
    }

    async fn edit(&mut self, index: usize) {
        let Some(mut wanted) = self.objects[index].clone() else { return };
        match self.dice.below(4) {
            0 => wanted.suspended = !wanted.suspended,
            1 if wanted.creation != "Merge" => wanted.deletion = ["Delete", "Retain"][self.dice.below(2)],
            _ => {
                let of = self.dice.below(KEYS);
                if wanted.keys.len() > 1 && wanted.keys.remove(&of) {
                    self.gone.insert(key(index, of));
                } else {
                    wanted.keys.insert(of);
                }
            }
        }
        self.scene.edit(&object(index), json!({"spec": wanted.spec(index)})).await;
        self.objects[index] = Some(wanted);
    }

    /// Somebody makes a Secret, if there is none, and consents to some objects or to none.
    async fn made_by_others(&mut self, index: usize) {
        let mut annotations = json!({});
        if self.dice.below(5) > 0 {
            annotations[CONSENT] = json!(self.some_objects());
        }
        let secret = json!({
            "metadata": {"name": target(index), "annotations": annotations}, "stringData": {THEIRS: "theirs"},
        });
        let params = PostParams { field_manager: Some("helm".to_owned()), ..PostParams::default() };
        let secret: Secret = serde_json::from_value(secret).unwrap();
        // One may be there.
        self.scene.api::<Secret>().create(&params, &secret).await.ok();
    }

    fn some_objects(&mut self) -> String {
        let some: Vec<String> = (0..OBJECTS).filter(|_| self.dice.below(4) > 0).map(object).collect();
        if some.is_empty() { object(0) } else { some.join(",") }
    }

    /// Somebody with `kubectl`; what is edited may be gone already.
    async fn by_hand(&mut self, index: usize) {
        let (api, name): (Api<Secret>, _) = (self.scene.api(), target(index));
        let owner = self.dice.below(OBJECTS);
        let key = key(owner, self.dice.below(KEYS));
        let edit = match self.dice.below(8) {
            0 | 1 => {
                api.delete(&name, &DeleteParams::default()).await.ok();
                return;
            }
            2 => json!({"metadata": {"annotations": {CONSENT: null}}}),
            3 | 4 => json!({"metadata": {"annotations": {CONSENT: self.some_objects()}}}),
            _ => {
                let holds = api
                    .get_opt(&name)
                    .await
                    .unwrap()
                    .is_some_and(|secret| values(&secret).contains_key(&key));
                if !holds {
                    return;
                }
                self.gone.insert(key.clone());
                if self.dice.below(2) == 0 {
                    json!({"data": {key: null}})
                } else {
                    json!({"stringData": {key: BY_HAND}})
                }
            }
        };
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        api.patch(&name, &params, &Patch::Merge(edit)).await.ok();
    }

    /// A backup brings back an object and its Secret, without uids, owners and status.
    async fn restore(&mut self, index: usize) {
        let Some(wanted) = self.objects[index].clone() else { return };
        let name = target(wanted.target);
        let secrets: Api<Secret> = self.scene.api();
        let of_object =
            kept("VaultSecretSync", &self.scene.api::<VaultSecretSync>().get(&object(index)).await.unwrap());
        let Some(secret) = secrets.get_opt(&name).await.unwrap() else { return };
        if annotation(&secret, MARK) != Some(&object(index)) {
            return;
        }
        let secret = kept("Secret", &secret);
        self.let_go(index);
        self.scene.delete::<VaultSecretSync>(&object(index)).await;
        secrets.delete(&name, &DeleteParams::default()).await.ok();
        self.scene.gone::<VaultSecretSync>(&object(index)).await;
        // The operator may make one of another object's meanwhile.
        self.scene.try_create::<Secret>(&secret).await.ok();
        self.scene.create::<VaultSecretSync>(&of_object).await;
    }

    async fn step(&mut self) {
        let index = self.dice.below(OBJECTS);
        match self.dice.below(24) {
            0..8 if self.objects[index].is_none() => self.create(index).await,
            0 | 1 => self.delete(index).await,
            2 => {
                self.delete(index).await;
                self.create(index).await;
            }
            3 => self.restore(index).await,
            4..8 => self.edit(index).await,
            8..11 => {
                let of = self.dice.below(KEYS);
                self.number += 1;
                self.secrets[index][of] = self.number;
                self.scene
                    .vault
                    .set(&source(index, of), &format!("{}-{:04}", source(index, of), self.number));
            }
            11..14 => {
                let target = self.dice.below(TARGETS);
                self.made_by_others(target).await;
            }
            14..19 => {
                let target = self.dice.below(TARGETS);
                self.by_hand(target).await;
            }
            19 => restart(&mut self.scene, &mut self.dice, 1000).await,
            20 => {
                _ = self.scene.vault.fault(Fault::status(503).times(3));
            }
            _ => trouble_of_the_api_server(&self.scene, &mut self.dice),
        }
    }

    /// No failures any more, nobody is suspended, and whoever waits to try again does it now.
    async fn calm(&mut self) {
        self.scene.faults.clear();
        self.scene.vault.clear_faults();
        for index in 0..OBJECTS {
            let Some(wanted) = &mut self.objects[index] else { continue };
            wanted.suspended = false;
            let spec = wanted.spec(index);
            self.scene.edit(&object(index), json!({"spec": spec})).await;
            self.number += 1;
            self.scene.ask(&object(index), &self.number.to_string()).await;
        }
    }

    /// What each object says.
    async fn told(&self) -> String {
        let all = self.scene.api::<VaultSecretSync>().list(&ListParams::default()).await.unwrap();
        let told = all.iter().map(|own| {
            let reason = own.condition("Ready").map(|ready| ready.reason.clone()).unwrap_or_default();
            format!("{} ({:?}) {reason}", own.name_any(), own.spec.target.creation)
        });
        told.collect::<Vec<_>>().join(", ")
    }

    /// What is not yet as it should be when all is quiet.
    async fn unsettled(&self) -> Result<(), String> {
        for index in 0..OBJECTS {
            let Some(wanted) = &self.objects[index] else { continue };
            let name = target(wanted.target);
            let own: VaultSecretSync =
                self.scene.api().get(&object(index)).await.map_err(|error| error.to_string())?;
            let secret =
                self.scene.api::<Secret>().get_opt(&name).await.map_err(|error| error.to_string())?;
            let told = || format!("o{index} {wanted:?}: {own:?}; {secret:?}");
            let status = own.status.as_ref().ok_or_else(told)?;
            if status.observed_generation != own.metadata.generation {
                return Err(told());
            }
            let ready = own.condition("Ready").ok_or_else(told)?;
            let mark = secret.as_ref().and_then(|secret| annotation(secret, MARK));
            let fits = match (ready.reason.as_str(), &secret) {
                ("Synced", Some(secret)) => {
                    let values = values(secret);
                    let has = |of: &usize| {
                        values.get(&key(index, *of))
                            == Some(&format!("{}-{:04}", source(index, *of), self.secrets[index][*of]))
                    };
                    let ours = if wanted.creation == "Merge" {
                        consents_to(secret, &object(index))
                    } else {
                        mark == Some(&object(index))
                    };
                    ours && wanted.keys.iter().all(has)
                }
                // Somebody else has it, or has a better claim to it.
                ("TargetConflict", _) => {
                    let other = |other: &usize| {
                        self.objects[*other].as_ref().is_some_and(|other| other.target == wanted.target)
                    };
                    mark.is_some_and(|mark| mark != object(index))
                        || (0..OBJECTS).filter(|other| *other != index).any(|index| other(&index))
                }
                ("TargetNotOwned", Some(_)) => wanted.creation == "Create" && mark != Some(&object(index)),
                ("ConsentMissing", Some(secret)) => {
                    wanted.creation != "Create" && !consents_to(secret, &object(index))
                }
                ("TargetNotFound", None) => wanted.creation == "Merge",
                _ => false,
            };
            if !fits {
                return Err(told());
            }
            if wanted.creation != "Merge" && secret.is_none() {
                return Err(told());
            }
        }
        Ok(())
    }
}

/// Every state that the Secrets have been in, whole.
struct States(Arc<Mutex<Vec<Secret>>>);

impl States {
    async fn of(scene: &OperatorScene) -> Self {
        let states = Arc::<Mutex<Vec<Secret>>>::default();
        let (begun, seen, secrets) = (Arc::new(Notify::new()), Arc::clone(&states), scene.api::<Secret>());
        let begins = Arc::clone(&begun);
        tokio::spawn(async move {
            let mut events = watcher(secrets, watcher::Config::default()).boxed();
            while let Some(Ok(event)) = events.next().await {
                match event {
                    watcher::Event::Apply(secret) | watcher::Event::InitApply(secret) => {
                        seen.lock().unwrap_or_else(PoisonError::into_inner).push(secret);
                    }
                    watcher::Event::InitDone => begins.notify_one(),
                    watcher::Event::Init | watcher::Event::Delete(_) => {}
                }
            }
        });
        begun.notified().await;
        Self(states)
    }

    fn all(&self) -> Vec<Secret> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What must not be in a state of a Secret, or between it and the state `before` of the same Secret.
fn wrong(before: Option<&Secret>, after: &Secret, gone: &BTreeSet<String>) -> Option<String> {
    let (now, mark) = (values(after), annotation(after, MARK));
    let owners = after.metadata.owner_references.iter().flatten();
    if owners.clone().filter(|owner| owner.controller == Some(true)).count() > 1 {
        return Some("it has two controllers".to_owned());
    }
    if owners.clone().any(|owner| owner.kind == "VaultSecretSync" && Some(owner.name.as_str()) != mark) {
        return Some("its owner is not the one that its mark names".to_owned());
    }
    let is_own = |name: &str, value: &str| match name.strip_prefix('K') {
        Some(of) => value == BY_HAND || value.starts_with(&format!("s{}", of.replace('_', "-"))),
        None => name == THEIRS && value == "theirs",
    };
    if let Some((name, _)) = now.iter().find(|(name, value)| !is_own(name, value)) {
        return Some(format!("{name} has a value of another"));
    }
    let before = before?;
    let (was, marked) = (values(before), annotation(before, MARK));
    if let (Some(marked), Some(mark)) = (marked, mark)
        && marked != mark
    {
        return Some(format!("the mark went from {marked} to {mark}"));
    }
    if was.contains_key(THEIRS) && !now.contains_key(THEIRS) {
        return Some("a key of somebody else's is gone".to_owned());
    }
    if let Some(name) = was.keys().find(|name| !now.contains_key(*name) && !gone.contains(*name)) {
        return Some(format!("{name} is gone by nobody's will"));
    }
    let new = now.iter().find(|(name, value)| was.get(*name) != Some(value) && *value != BY_HAND);
    if let Some((name, _)) = new
        && let Some(index) = name.strip_prefix('K').and_then(|of| of.split_once('_'))
    {
        let object = format!("o{}", index.0);
        if marked != Some(object.as_str()) && !consents_to(before, &object) {
            return Some(format!("{object} wrote {name}, without a mark or a consent"));
        }
    }
    None
}

#[tokio::test]
async fn whatever_happens_no_secret_of_others_is_changed_and_each_object_ends_with_its_own_or_says_why_not() {
    let seed = seed();
    println!("SEED={seed}");
    let mut lives = Lives::begin(seed).await;
    let states = States::of(&lives.scene).await;
    let cluster = lives.scene.namespace.cluster();
    let mark = cluster.mark();
    for _ in 0..number_from("STEPS").unwrap_or(120) {
        lives.step().await;
        lives.dice.pause(400).await;
    }
    lives.calm().await;
    eventually(&format!("SEED={seed}: all is settled"), async || lives.unsettled().await).await;
    let all = states.all();
    println!("{} states of Secrets; in the end {}", all.len(), lives.told().await);
    for (index, after) in all.iter().enumerate() {
        let same = |before: &&Secret| before.uid() == after.uid();
        let before = all[..index].iter().rev().find(same);
        if let Some(wrong) = wrong(before, after, &lives.gone) {
            panic!("SEED={seed}: {}: {wrong}: {before:#?} and then {after:#?}", after.name_any());
        }
    }
    let writes = cluster.operator_writes_since(mark, &lives.scene.namespace.name);
    assert!(!writes.iter().any(|seen| seen.verb == "delete"), "{writes:?}");
}
