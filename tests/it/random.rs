//! Some twenty seconds of everything at once: changes in the vault, edits of specs, hands on Secrets, failures,
//! restarts. What is seen meanwhile is never wrong, and when it is quiet again all is as the vault has it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::Fault;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use support::history::Values;
use support::scene::{OperatorScene, sync};
use support::{Call, Fault as ApiFault, History, eventually};
use vaultsync::api::VaultSecretSync;

use crate::together::says_that_it_is_synced;

const OBJECTS: usize = 4;
const SECRETS: usize = 8;
const STEPS: usize = 60;

/// Numbers that follow from their seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // xorshift*: https://www.jstatsoft.org/article/view/v008i14
        for shift in [12_i32, -25, 27] {
            self.0 ^= if shift < 0 { self.0 << -shift } else { self.0 >> shift };
        }
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % end
    }

    /// Between what people do: nothing is waited for by it.
    pub(crate) async fn pause(&mut self, longest: usize) {
        let pause = self.below(longest).try_into().unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// The operator ends in order or is killed, and starts again within so many milliseconds.
pub(crate) async fn restart(scene: &mut OperatorScene, dice: &mut Dice, longest: usize) {
    if dice.below(2) == 0 {
        scene.stop().await;
    } else {
        scene.kill().await;
    }
    dice.pause(longest).await;
    scene.start().await;
}

/// The next two writes of a kind meet a failure.
pub(crate) fn trouble_of_the_api_server(scene: &OperatorScene, dice: &mut Dice) {
    let written: fn(&Call) -> bool = match dice.below(3) {
        0 => |call| call.is("patch", "secrets"),
        1 => |call| call.is("create", "secrets"),
        _ => |call| call.is("patch", "vaultsecretsyncs/status"),
    };
    let fault = match dice.below(5) {
        0 => ApiFault::conflict(),
        1 => ApiFault::throttled(Some(1)),
        2 => ApiFault::internal(),
        3 => ApiFault::Refuse,
        _ => ApiFault::LoseAnswer,
    };
    scene.faults.next(2, written, fault);
}

/// What is known of a secret of the vault.
#[derive(Clone, Copy, PartialEq)]
enum Is {
    There,
    Disabled,
    Deleted,
}

struct Play {
    scene: OperatorScene,
    dice: Dice,
    /// What each secret is, and the number of its current value.
    secrets: [(Is, usize); SECRETS],
    /// The secrets of each object: key `K3` is always from the secret `s3`.
    objects: [BTreeSet<usize>; OBJECTS],
    /// What left a Secret by somebody's will.
    gone: BTreeSet<(usize, usize)>,
    number: usize,
}

fn named(secret: usize) -> String {
    format!("s{secret}")
}

fn object(number: usize) -> String {
    format!("shop-{number}")
}

fn spec(secrets: &BTreeSet<usize>, label: usize) -> Value {
    let items: Vec<Value> = secrets
        .iter()
        .map(|secret| json!({"key": format!("K{secret}"), "from": {"secret": {"name": named(*secret)}}}))
        .collect();
    let target = json!({"labels": {"release": label.to_string()}});
    json!({"refreshInterval": "10s", "target": target, "data": items})
}

fn value(secret: usize, number: usize) -> String {
    format!("s{secret}-{number:04}")
}

impl Play {
    async fn begin(seed: u64) -> Self {
        let mut scene = OperatorScene::without_operator().await;
        for secret in 0..SECRETS {
            scene.vault.set(&named(secret), &value(secret, 0));
        }
        let mut dice = Dice(seed | 1);
        let objects = std::array::from_fn(|_| (0..=dice.below(5)).map(|_| dice.below(SECRETS)).collect());
        for (number, secrets) in objects.iter().enumerate() {
            scene.create::<VaultSecretSync>(&sync(&object(number), &spec(secrets, 0))).await;
        }
        scene.start().await;
        for number in 0..OBJECTS {
            scene.synced(&object(number)).await;
        }
        let secrets = [(Is::There, 0); SECRETS];
        Self { scene, dice, secrets, objects, gone: BTreeSet::new(), number: 0 }
    }

    fn put(&mut self) {
        let secret = self.dice.below(SECRETS);
        if self.secrets[secret].0 != Is::Deleted {
            self.number += 1;
            self.scene.vault.set(&named(secret), &value(secret, self.number));
            self.secrets[secret] = (Is::There, self.number);
        }
    }

    /// Disables or deletes a secret, or brings it back at the version it had.
    fn toggle(&mut self, other: Is) {
        let secret = self.dice.below(SECRETS);
        let (is, name) = (&mut self.secrets[secret].0, named(secret));
        let vault = &self.scene.vault;
        match (*is, other) {
            (Is::There, Is::Disabled) => vault.disable(&name),
            (Is::There, _) => vault.delete(&name),
            (Is::Disabled, _) => vault.enable(&name),
            (Is::Deleted, _) => vault.recover(&name),
        }
        *is = if *is == Is::There { other } else { Is::There };
    }

    /// Somebody with `kubectl`.
    async fn by_hand(&mut self) {
        let number = self.dice.below(OBJECTS);
        let (api, name): (Api<Secret>, _) = (self.scene.api(), object(number));
        let secrets: Vec<usize> = self.objects[number].iter().copied().collect();
        let secret = secrets[self.dice.below(secrets.len())];
        let key = format!("K{secret}");
        let edit = match self.dice.below(4) {
            0 => {
                // It may be gone already, as in each of the others.
                api.delete(&name, &DeleteParams::default()).await.ok();
                return;
            }
            1 => json!({"data": {key.as_str(): null}}),
            _ => json!({"stringData": {key.as_str(): "by hand"}}),
        };
        self.gone.insert((number, secret));
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        api.patch(&name, &params, &Patch::Merge(edit)).await.ok();
    }

    async fn edit(&mut self) {
        let number = self.dice.below(OBJECTS);
        let secret = self.dice.below(SECRETS);
        let secrets = &mut self.objects[number];
        if secrets.len() > 1 && secrets.remove(&secret) {
            self.gone.insert((number, secret));
        } else {
            secrets.insert(secret);
        }
        let spec = spec(&self.objects[number], self.dice.below(3));
        self.scene.edit(&object(number), json!({"spec": spec})).await;
    }

    fn trouble_of_the_vault(&mut self) {
        let faults = [Fault::throttle(None), Fault::throttle(Some(1)), Fault::status(503), Fault::reset()];
        self.scene.vault.fault(faults[self.dice.below(4)].clone().times(3));
    }

    async fn step(&mut self) {
        match self.dice.below(20) {
            0..5 => self.put(),
            5..8 => (0..4).for_each(|_| self.put()),
            8 => self.toggle(Is::Disabled),
            9 => self.toggle(Is::Deleted),
            10..13 => self.by_hand().await,
            13..15 => self.edit().await,
            15 => restart(&mut self.scene, &mut self.dice, 1500).await,
            16 => self.trouble_of_the_vault(),
            17..19 => trouble_of_the_api_server(&self.scene, &mut self.dice),
            _ => {
                let number = self.dice.below(OBJECTS);
                self.number += 1;
                self.scene.ask(&object(number), &self.number.to_string()).await;
            }
        }
    }

    /// No failures any more, and every secret can be read.
    fn calm(&mut self) {
        self.scene.faults.clear();
        self.scene.vault.clear_faults();
        for (secret, (is, _)) in self.secrets.iter().enumerate() {
            match is {
                Is::There => {}
                Is::Disabled => self.scene.vault.enable(&named(secret)),
                Is::Deleted => self.scene.vault.recover(&named(secret)),
            }
        }
    }

    /// Waits until the Secret has what the vault has, and returns it: a key that somebody wrote before it was ours may
    /// be there too.
    async fn at_rest(&self, number: usize) -> Values {
        let key = |secret: &usize| (format!("K{secret}"), value(*secret, self.secrets[*secret].1));
        let expected: Values = self.objects[number].iter().map(key).collect();
        let name = object(number);
        says_that_it_is_synced(&self.scene, &name).await;
        eventually(&format!("{name} has {expected:?}"), || async {
            let all = self.scene.secret(&name).await.unwrap_or_default();
            let is_ours = |key: &String, value: &String| expected.contains_key(key) || value != "by hand";
            let ours: Values = all.clone().into_iter().filter(|(key, value)| is_ours(key, value)).collect();
            if ours == expected { Ok(all) } else { Err(format!("{all:?}")) }
        })
        .await
    }

    /// A key holds what its own secret was, a hand aside; it never goes back, and goes by nobody's will but a user's.
    fn check(&self, number: usize, states: &[Values]) {
        let mut newest: BTreeMap<&str, &str> = BTreeMap::new();
        for (before, state) in states.iter().zip(states.iter().skip(1)) {
            let is_gone = |key: &str| {
                self.gone.iter().any(|(object, secret)| *object == number && key == format!("K{secret}"))
            };
            let lost = before.keys().find(|key| !state.contains_key(*key) && !is_gone(key));
            assert_eq!(lost, None, "of {number}: {states:#?}");
            for (key, value) in state.iter().filter(|(_, value)| *value != "by hand") {
                assert!(value.starts_with(&key.replace('K', "s")), "{key} of {number}: {states:#?}");
                let older = newest.insert(key, value).filter(|newest| *newest > value.as_str());
                assert_eq!(older, None, "{key} of {number} went back: {states:#?}");
            }
        }
    }
}

#[tokio::test]
async fn whatever_happens_each_secret_ends_as_the_vault_has_it() {
    let seed = seed();
    println!("SEED={seed}");
    let mut play = Play::begin(seed).await;
    let history = History::of(&play.scene.namespace).await;
    for _ in 0..STEPS {
        play.step().await;
        play.dice.pause(600).await;
    }
    play.calm();
    for number in 0..OBJECTS {
        let last = play.at_rest(number).await;
        play.check(number, &history.until(&object(number), &last).await);
    }
}

/// `SEED` plays an earlier run again, as far as time allows.
pub(crate) fn seed() -> u64 {
    number_from("SEED").unwrap_or_else(|| RandomState::new().hash_one(0))
}

/// What somebody asks for by an environment variable.
#[expect(clippy::disallowed_methods, reason = "a switch of the tests, none of the product")]
pub(crate) fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
