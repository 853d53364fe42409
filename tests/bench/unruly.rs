//! Twenty tenants who misbehave on one vault, each in its own way, beside two who do not: rows about what those two
//! notice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::Vault;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use vaultsync::api::{KeyVault, VaultSecretSync};

use crate::cluster::{BenchCluster, create, create_object, create_wide, each};
use crate::moves::{Moves, SECRET};
use crate::operator::Operator;
use crate::rows::{Row, Rows, seconds};
use crate::say;
use crate::scale::{LONG_AGO, Scale};
use crate::tenants::{Role, identity};
use crate::tenants_trouble::p99;
use support::Result;

const UNRULY: usize = 20;
/// Objects of each, good or not.
const OBJECTS: usize = 20;
/// Objects of a good tenant, whose secrets change or do not.
const GOOD: usize = 100;
/// Between two changes of the secrets of a good tenant.
const CHANGE: Duration = Duration::from_millis(500);
/// Between two edits of one tenant: a thousand a minute.
const EDIT: Duration = Duration::from_millis(60);
/// Values of an object that is too large: more than a MiB in all.
const GIANT: usize = 24 * 1024;
const GIANTS: usize = 48;
/// All misbehave before it is looked how the good fare.
const UNDER_WAY: Duration = Duration::from_secs(20);
/// An interval, a sweep, and time to spare.
const ARRIVED: Duration = Duration::from_secs(60);
const MORE_STALE: f64 = 1.1;
/// A minute, of all together.
const MANY_EDITS: f64 = 2000.0;
const VAULT: &str = "common";
/// Its secrets change.
const CHANGING: &str = "changing";
/// Its secrets do not.
const STILL: &str = "still";

/// The population.
struct Unruly {
    bench: BenchCluster,
    client: Client,
    vault: Vault,
    edits: Arc<AtomicUsize>,
}

/// In which way a tenant misbehaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Connections whose identities do not exist.
    BogusIdentities,
    /// A connection that wants the vault asked but once a second.
    Limits,
    /// A thousand edits a minute.
    Edits,
    /// Objects larger than a Secret can be, whose values change.
    GiantValues,
    /// Objects whose values are no JSON, and change.
    BrokenJson,
    /// Objects whose targets are Secrets of somebody else.
    ForbiddenTargets,
    /// A thousand requests for a sync a minute.
    SyncRequests,
}

const MANNERS: [Manner; 7] = [
    Manner::BogusIdentities,
    Manner::Limits,
    Manner::Edits,
    Manner::GiantValues,
    Manner::BrokenJson,
    Manner::ForbiddenTargets,
    Manner::SyncRequests,
];

/// How the good tenants fared for a while.
struct Fared {
    /// Seconds from each change in the vault to that of its Secret.
    ages: Vec<f64>,
    /// Whatever moved of the tenant whose secrets do not change.
    moved: usize,
    requests: usize,
}

/// Measures all that this population serves.
pub(crate) async fn measure(scale: &Scale, rows: &mut Rows) -> Result<()> {
    say("starting a control plane with unruly tenants");
    let unruly = Unruly::create().await?;
    let operator = Operator::start(&unruly.bench, None).await?;
    let created = [("result", "created"), ("reason", "Synced")];
    operator.until("the good are synced", |metrics| metrics.rounds(&created) >= 2 * GOOD).await?;
    let witness = Moves::start(&unruly.client).await?;
    let window = scale.tenants;
    say(&format!("two good tenants by themselves for {}", seconds(window)));
    let calm = unruly.fare(&witness, window, 1).await?;
    let mut misdeeds = JoinSet::new();
    for index in 0..UNRULY {
        misdeeds.spawn(unruly.misbehave(index).await?);
    }
    say(&format!("the same with {UNRULY} unruly tenants beside them"));
    tokio::time::sleep(UNDER_WAY).await;
    let troubled = unruly.fare(&witness, window, 2).await?;
    let edits = unruly.edits.load(Ordering::Relaxed);
    if let Some(ended) = misdeeds.try_join_next() {
        return Err(format!("an unruly tenant gave up: {ended:?}").into());
    }
    misdeeds.shutdown().await;
    row(&calm, &troubled, edits, window, rows);
    operator.kill()
}

impl Unruly {
    async fn create() -> Result<Self> {
        let bench = BenchCluster::start().await?;
        let client = bench.cluster.admin();
        let vault = bench.emulator.vault(VAULT);
        let unruly = Self { bench, client, vault, edits: Arc::default() };
        let namespaces: Vec<String> =
            (0..UNRULY).map(namespace).chain([CHANGING, STILL].map(str::to_owned)).collect();
        for namespace in &namespaces {
            unruly.bench.namespace(&unruly.client, namespace).await?;
        }
        unruly.bench.cluster_key_vault(&unruly.client, &unruly.vault, namespaces, "Auto").await?;
        for good in [CHANGING, STILL] {
            unruly.objects(good, GOOD).await?;
        }
        Ok(unruly)
    }

    /// Objects with a secret each, in good order.
    async fn objects(&self, namespace: &str, count: usize) -> Result<()> {
        each(count, |index| {
            let (name, secret) = (format!("object-{index}"), format!("{namespace}-{index}"));
            self.vault.set_ago(&secret, "one", LONG_AGO);
            async move { create_object(&self.client, namespace, &name, &secret, shared(), "10s").await }
        })
        .await
    }

    /// Changes secrets of the one good tenant for as long, and looks at both.
    async fn fare(&self, witness: &Moves, window: Duration, round: u32) -> Result<Fared> {
        drop(witness.take());
        let requests = self.vault.requests().len();
        let mut changed: Vec<(String, Instant)> = Vec::new();
        let mut beat = tokio::time::interval(CHANGE);
        let start = Instant::now();
        while start.elapsed() < window {
            beat.tick().await;
            let index = changed.len() % GOOD;
            changed.push((format!("object-{index}"), Instant::now()));
            // Bytes that were there before would move nothing.
            self.vault
                .set(&format!("{CHANGING}-{index}"), &format!("{:?}", start.elapsed() + window * round));
        }
        let requests = self.vault.requests().len() - requests;
        let mut seen: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
        let mut moved = 0;
        let end = Instant::now();
        let ages = loop {
            for one in witness.take() {
                moved += usize::from(one.namespace == STILL);
                if one.kind == SECRET && one.namespace == CHANGING {
                    seen.entry(one.name).or_default().push(one.at);
                }
            }
            let ages = changed.iter().map(|(name, at)| {
                let arrived = seen.get(name)?.iter().find(|seen| *seen >= at)?;
                Some(arrived.duration_since(*at).as_secs_f64())
            });
            if let Some(ages) = ages.collect::<Option<Vec<f64>>>() {
                break ages;
            }
            if end.elapsed() > ARRIVED {
                return Err("a change of a good tenant did not arrive".into());
            }
            beat.tick().await;
        };
        Ok(Fared { ages, moved, requests })
    }

    /// Creates what a tenant misbehaves with; returns what it goes on to do.
    async fn misbehave(&self, index: usize) -> Result<BoxFuture<'static, ()>> {
        let (namespace, client, vault) = (namespace(index), self.client.clone(), self.vault.clone());
        let (edits, objects) = (Arc::clone(&self.edits), Api::namespaced(client.clone(), &namespace));
        Ok(match MANNERS[index % MANNERS.len()] {
            Manner::BogusIdentities => {
                for number in 0..OBJECTS {
                    let name = format!("bogus-{number}");
                    self.connect(&namespace, &name, &identity(Role::Crowd, number), &json!({})).await?;
                    let of = json!({"name": name});
                    create_object(&client, &namespace, &name, "changing-0", of, "10s").await?;
                }
                futures::future::pending().boxed()
            }
            Manner::Limits => {
                let (name, id) = ("modest", identity(Role::Team, index));
                self.vault.grant(&id);
                self.bench.identity(&client, &namespace, name, &id).await?;
                let limits = json!({"requestsPerSecond": 1, "burst": 1});
                self.connect(&namespace, name, &id, &limits).await?;
                for number in 0..OBJECTS {
                    let (name, secret) = (format!("object-{number}"), format!("still-{number}"));
                    create_object(&client, &namespace, &name, &secret, json!({"name": "modest"}), "10s")
                        .await?;
                }
                futures::future::pending().boxed()
            }
            Manner::Edits => {
                self.objects(&namespace, OBJECTS).await?;
                edit(
                    objects,
                    edits,
                    |count| json!({"spec": {"target": {"labels": {"edit": count.to_string()}}}}),
                )
                .boxed()
            }
            Manner::SyncRequests => {
                self.objects(&namespace, OBJECTS).await?;
                edit(objects, edits, |count| {
                    json!({"metadata": {"annotations": {"vaultsync.dev/sync-requested-at": count.to_string()}}})
                })
                .boxed()
            }
            Manner::GiantValues => {
                let secrets: Vec<(String, String)> = (0..GIANTS)
                    .map(|number| (format!("KEY_{number}"), format!("giant-{index}-{number}")))
                    .collect();
                let value = |text: &str| text.repeat(GIANT);
                for (_, secret) in &secrets {
                    self.vault.set(secret, &value("x"));
                }
                create_wide(&client, &namespace, "giant", &secrets, shared(), "10s").await?;
                changes(vault, secrets.into_iter().map(|(_, secret)| secret).collect(), value).boxed()
            }
            Manner::BrokenJson => {
                let secrets: Vec<String> =
                    (0..OBJECTS).map(|number| format!("broken-{index}-{number}")).collect();
                for secret in &secrets {
                    self.vault.set(secret, "{");
                    let object = json!({
                        "metadata": {"name": secret},
                        "spec": {
                            "vaultRef": shared(), "refreshInterval": "10s", "dataFrom": [{"secret": {"name": secret}}],
                        },
                    });
                    create::<VaultSecretSync>(&client, &namespace, object).await?;
                }
                changes(vault, secrets, |text| format!("{{{text}")).boxed()
            }
            Manner::ForbiddenTargets => {
                for number in 0..OBJECTS {
                    let object = json!({"metadata": {"name": format!("object-{number}")}, "stringData": {"A": "theirs"}});
                    create::<Secret>(&client, &namespace, object).await?;
                }
                self.objects(&namespace, OBJECTS).await?;
                let secrets = (0..OBJECTS).map(|number| format!("{namespace}-{number}")).collect();
                changes(vault, secrets, str::to_owned).boxed()
            }
        })
    }

    async fn connect(&self, namespace: &str, name: &str, client_id: &str, limits: &Value) -> Result<()> {
        let mut spec = self.bench.key_vault(&self.vault.url(), name, client_id);
        if limits["burst"].is_number() {
            spec["limits"] = limits.clone();
        }
        create::<KeyVault>(&self.client, namespace, json!({"metadata": {"name": name}, "spec": spec})).await
    }
}

/// Edits one object after another for ever.
async fn edit(objects: Api<VaultSecretSync>, edits: Arc<AtomicUsize>, patch: fn(usize) -> Value) {
    let mut beat = tokio::time::interval(EDIT);
    for count in 0.. {
        beat.tick().await;
        let name = format!("object-{}", count % OBJECTS);
        objects.patch(&name, &PatchParams::default(), &Patch::Merge(patch(count))).await.expect("an edit");
        edits.fetch_add(1, Ordering::Relaxed);
    }
}

/// Gives one secret after another a new value for ever, two a second.
async fn changes(vault: Vault, secrets: Vec<String>, value: impl Fn(&str) -> String) {
    let mut beat = tokio::time::interval(CHANGE);
    for count in 0.. {
        beat.tick().await;
        vault.set(&secrets[count % secrets.len()], &value(["a", "b"][count / secrets.len() % 2]));
    }
}

fn row(calm: &Fared, troubled: &Fared, edits: usize, window: Duration, rows: &mut Rows) {
    let [before, during] = [calm, troubled].map(|fared| p99(&fared.ages));
    let per_minute = edits as f64 / (window + UNDER_WAY).as_secs_f64() * 60.0;
    rows.add(Row {
        what: format!(
            "{UNRULY} tenants of one vault misbehave for {}: bogus identities, limits, edits and requests for a sync ({per_minute:.0} a minute), values too large, broken JSON, Secrets of others",
            seconds(window)
        ),
        must: "p99 of a good tenant's staleness as before, +10 % at most; nothing moves where nothing changed".to_owned(),
        measured: format!(
            "{during:.2} s from the vault to the Secret, {} objects or Secrets moved; {} requests to the vault",
            troubled.moved, troubled.requests
        ),
        beside: format!("{before:.2} s in as long a time before, {} requests; {} changes", calm.requests, calm.ages.len()),
        reached: during <= before * MORE_STALE
            && calm.moved == 0
            && troubled.moved == 0
            && per_minute >= MANY_EDITS,
        figures: json!({
            "p99Seconds": during, "p99SecondsBefore": before, "moved": troubled.moved, "requests": troubled.requests,
            "requestsBefore": calm.requests, "editsPerMinute": per_minute,
        }),
    });
}

fn shared() -> Value {
    json!({"kind": "ClusterKeyVault", "name": VAULT})
}

fn namespace(index: usize) -> String {
    format!("unruly-{index}")
}
