//! Objects with many sources: rows about what is read, and what can be seen, when one of them changes or all do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::{LoggedRequest, Operation, Vault};
use kube::Client;
use kube::api::Api;
use serde_json::json;
use support::history::Values;
use support::wait::within;
use support::{History, Result};

use crate::cluster::{BenchCluster, create_wide, each};
use crate::moves::{Moves, SECRET, count};
use crate::operator::Operator;
use crate::rows::{Row, Rows, seconds};
use crate::say;
use crate::scale::LONG_AGO;
use crate::tenants::host;

/// Namespaces with an object each, in List mode; the API takes 256 names in one grant.
const LISTED: usize = 250;
/// Sources of each, the shared one among them.
const OF_A_LISTED: usize = 16;
/// Objects in Get mode.
const GOT: usize = 100;
/// Sources of each, the shared one among them.
const OF_A_GOT: usize = 6;
/// Keys of the object whose secrets all change.
const ROTATED: usize = 50;
/// In this time they do.
const ROTATION: Duration = Duration::from_secs(3);
const SHARED: &str = "shared";
/// How the names of the others begin.
const OWN: &str = "secret-";
const NEWCOMER: &str = "newcomer";
/// So many requests are over when the burst is too, and the rest wait for their turn.
const AFTER_THE_BURST: usize = 150;
/// Requests that a first read may find before it: those under way, and those begun while its object was created.
const BEFORE_A_FIRST: usize = 16;
const LIMIT: Duration = Duration::from_secs(300);

/// The population.
struct Wide {
    bench: BenchCluster,
    client: Client,
    listed: Vault,
    got: Vault,
    rotated: Vault,
}

/// Measures all that this population serves.
pub(crate) async fn measure(rows: &mut Rows) -> Result<()> {
    say("starting a control plane with objects of many sources");
    let wide = Wide::create().await?;
    let operator = Operator::start(&wide.bench, None).await?;
    wide.first_sync(&operator, rows).await?;
    let moves = Moves::start(&wide.client).await?;
    wide.shared_in_list_mode(&operator, &moves, rows).await?;
    wide.shared_in_get_mode(&operator, &moves, rows).await?;
    wide.rotation(rows).await?;
    operator.kill()
}

impl Wide {
    async fn create() -> Result<Self> {
        let bench = BenchCluster::start().await?;
        let client = bench.cluster.admin();
        let vault = |name: &str, objects: usize, sources: usize| {
            let vault = bench.emulator.vault(name);
            (0..objects)
                .flat_map(|object| own(object, sources))
                .for_each(|name| vault.set_ago(&name, "one", LONG_AGO));
            vault
        };
        let listed = vault("listed", LISTED, OF_A_LISTED);
        let got = vault("got", GOT, OF_A_GOT);
        let rotated = vault("rotated", 1, ROTATED + 1);
        for (vault, name) in [(&listed, SHARED), (&got, SHARED), (&got, NEWCOMER)] {
            vault.set_ago(name, "one", LONG_AGO);
        }
        let wide = Self { bench, client, listed, got, rotated };
        let namespaces: Vec<String> = (0..LISTED).map(namespace).collect();
        each(LISTED, |index| wide.bench.namespace(&wide.client, &namespaces[index])).await?;
        wide.bench.namespace(&wide.client, "got").await?;
        wide.bench.namespace(&wide.client, "rotated").await?;
        let connect =
            |vault, namespaces, detect| wide.bench.cluster_key_vault(&wide.client, vault, namespaces, detect);
        connect(&wide.listed, namespaces, "List").await?;
        connect(&wide.got, vec!["got".to_owned()], "Get").await?;
        connect(&wide.rotated, vec!["rotated".to_owned()], "List").await?;
        wide.create_objects().await?;
        Ok(wide)
    }

    async fn create_objects(&self) -> Result<()> {
        each(LISTED, |index| async move {
            let mut sources = own(index, OF_A_LISTED);
            sources.push(SHARED.to_owned());
            wide_object(&self.client, &namespace(index), "listed", &self.listed, &sources, "30s").await
        })
        .await?;
        each(GOT, |index| async move {
            let mut sources = own(index, OF_A_GOT);
            sources.push(SHARED.to_owned());
            wide_object(&self.client, "got", &format!("got-{index}"), &self.got, &sources, "1h").await
        })
        .await?;
        // It alone asks so often, and so the shared secret alone is read so often.
        let shared = [SHARED.to_owned()];
        wide_object(&self.client, "got", "hurried", &self.got, &shared, "10s").await?;
        let all = own(0, ROTATED + 1);
        wide_object(&self.client, "rotated", "rotated", &self.rotated, &all, "10s").await
    }

    async fn first_sync(&self, operator: &Operator, rows: &mut Rows) -> Result<()> {
        say(&format!("first sync of {LISTED} objects of {OF_A_LISTED} sources"));
        let created = [("result", "created"), ("reason", "Synced")];
        let all = LISTED + GOT + 2;
        operator.until("all are synced", |metrics| metrics.rounds(&created) >= all).await?;
        let rechecks = rechecks(operator, &self.listed).await?;
        let read = gets(&self.listed.requests());
        // A connection may prove itself by the name of a secret that does not exist.
        let is_source = |name: &str| name == SHARED || name.starts_with(OWN);
        let read: usize =
            read.iter().filter(|(name, _)| is_source(name)).map(|(_, gets)| gets).sum::<usize>() - rechecks;
        let sources = LISTED * (OF_A_LISTED - 1) + 1;
        rows.add(Row {
            what: format!(
                "first sync of {LISTED} namespaces with an object of {OF_A_LISTED} sources each, one vault"
            ),
            must: "all created, 1 GET a source".to_owned(),
            measured: format!("{read} GETs"),
            beside: format!("{sources} sources; {rechecks} daily rechecks apart"),
            reached: read == sources,
            figures: json!({"gets": read, "sources": sources, "rechecks": rechecks}),
        });
        Ok(())
    }

    async fn shared_in_list_mode(&self, operator: &Operator, moves: &Moves, rows: &mut Rows) -> Result<()> {
        say("a secret changes that all of them share");
        // News within five seconds of the change is read a second time.
        operator.next_sweep(&host(&self.listed)).await?;
        moves.take();
        let (before, start) = (self.listed.requests().len(), Instant::now());
        let rechecked = rechecks(operator, &self.listed).await?;
        self.listed.set(SHARED, "two");
        let written = count(&moves.until(SECRET, LISTED, LIMIT).await?, SECRET);
        let mut gets = gets(&self.listed.requests().split_off(before));
        let shared = gets.remove(SHARED).unwrap_or_default();
        let rechecks = rechecks(operator, &self.listed).await? - rechecked;
        let (others, took) = (gets.values().sum::<usize>() - rechecks, start.elapsed());
        rows.add(Row {
            what: format!(
                "a secret that {LISTED} objects use changes, each has {} others, in List mode",
                OF_A_LISTED - 1
            ),
            must: "1 read of it, none of the others".to_owned(),
            measured: format!(
                "{shared} read of it, {others} of the others until the last of {written} Secrets had it, {} after the change",
                seconds(took)
            ),
            beside: format!("{} other sources; {rechecks} daily rechecks apart", LISTED * (OF_A_LISTED - 1)),
            reached: shared == 1 && others == 0,
            figures: json!({
                "reads": shared, "otherReads": others, "rechecks": rechecks, "lastSeconds": took.as_secs_f64(),
            }),
        });
        Ok(())
    }

    async fn shared_in_get_mode(&self, operator: &Operator, moves: &Moves, rows: &mut Rows) -> Result<()> {
        say("the same where each source is read by itself");
        moves.take();
        let before = self.got.requests().len();
        let rechecked = rechecks(operator, &self.got).await?;
        self.got.set(SHARED, "two");
        let is_other = |one: &LoggedRequest| one.secret.as_deref() != Some(SHARED);
        let others =
            |requests: &[LoggedRequest]| requests[before..].iter().filter(|one| is_other(one)).count();
        self.got.requests_until(|requests| others(requests) >= AFTER_THE_BURST).await;
        let begun = self.got.requests().len();
        let sources = [NEWCOMER.to_owned()];
        wide_object(&self.client, "got", NEWCOMER, &self.got, &sources, "1h").await?;
        let is_first = |one: &LoggedRequest| one.secret.as_deref() == Some(NEWCOMER);
        let seen = self.got.requests_until(|requests| requests.iter().any(is_first)).await;
        let ahead = seen[begun..].iter().position(is_first).unwrap_or_default();
        // The newcomer's Secret is one of them.
        moves.until(SECRET, GOT + 2, LIMIT).await?;
        let mut gets = gets(&self.got.requests().split_off(before));
        gets.remove(NEWCOMER);
        let shared = gets.remove(SHARED).unwrap_or_default();
        let rechecks = rechecks(operator, &self.got).await? - rechecked;
        let confirmations = gets.values().sum::<usize>() - rechecks;
        let others = GOT * (OF_A_GOT - 1);
        rows.add(Row {
            what: format!(
                "a secret that {GOT} objects use changes, each has {} others, in Get mode; an object is created as they are confirmed",
                OF_A_GOT - 1
            ),
            must: "at most one confirmation of each other source, none that keeps a first sync waiting".to_owned(),
            measured: format!(
                "{shared} reads of it, {confirmations} confirmations; {ahead} requests between the creation of the object and its first read"
            ),
            beside: format!(
                "{others} other sources; {rechecks} daily rechecks apart; at most {BEFORE_A_FIRST} requests"
            ),
            reached: confirmations <= others && ahead <= BEFORE_A_FIRST,
            figures: json!({
                "reads": shared, "confirmations": confirmations, "otherSources": others, "rechecks": rechecks,
                "requestsBeforeAFirstRead": ahead,
            }),
        });
        Ok(())
    }

    async fn rotation(&self, rows: &mut Rows) -> Result<()> {
        say(&format!("{ROTATED} secrets of one object change within {}", seconds(ROTATION)));
        let history = History::seen_by(Api::<Secret>::namespaced(self.client.clone(), "rotated")).await;
        let names = own(0, ROTATED + 1);
        let all =
            |value: &str| -> Values { names.iter().map(|name| (key(name), value.to_owned())).collect() };
        let (old, new) = (all("one"), all("two"));
        let before = self.rotated.requests().len();
        for name in &names {
            self.rotated.set(name, "two");
            tokio::time::sleep(ROTATION / ROTATED as u32).await;
        }
        let states = within(LIMIT, || async {
            let states = history.states().remove("rotated").unwrap_or_default();
            if states.last() == Some(&new) { Ok(states) } else { Err("not yet".to_owned()) }
        });
        let states = states.await.map_err(|seen| format!("the new values: {seen}"))?;
        let mixed = states.iter().filter(|state| **state != old && **state != new).count();
        let writes = states.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let gets = gets(&self.rotated.requests().split_off(before));
        let (read, most) = (gets.values().sum::<usize>(), gets.values().copied().max().unwrap_or_default());
        rows.add(Row {
            what: format!("{ROTATED} secrets of one object change within {}", seconds(ROTATION)),
            must: "one Secret write, two at most; no mixed state; 2 GETs a source, 3 for those that were noticed while others still changed".to_owned(),
            measured: format!("{writes} write, {mixed} mixed states, {read} GETs, at most {most} of one source"),
            beside: format!("{ROTATED} sources; every state of the Secret as a watch shows it"),
            reached: (1..=2).contains(&writes) && mixed == 0 && most <= 3,
            figures: json!({"secretWrites": writes, "mixed": mixed, "gets": read, "mostOfOneSource": most}),
        });
        Ok(())
    }
}

async fn wide_object(
    client: &Client,
    namespace: &str,
    name: &str,
    vault: &Vault,
    sources: &[String],
    interval: &str,
) -> Result<()> {
    let keys: Vec<(String, String)> = sources.iter().map(|name| (key(name), name.clone())).collect();
    let vault = json!({"kind": "ClusterKeyVault", "name": vault.name()});
    create_wide(client, namespace, name, &keys, vault, interval).await
}

/// Reads that were made for no other reason than that a day is over.
async fn rechecks(operator: &Operator, vault: &Vault) -> Result<usize> {
    Ok(operator.metrics().await?.requests(&host(vault), "Recheck"))
}

/// GETs by secret.
fn gets(requests: &[LoggedRequest]) -> BTreeMap<String, usize> {
    let mut gets = BTreeMap::new();
    for one in requests.iter().filter(|one| one.operation == Some(Operation::Get)) {
        *gets.entry(one.secret.clone().unwrap_or_default()).or_default() += 1;
    }
    gets
}

/// The secrets that an object of so many sources has beside the shared one.
fn own(object: usize, sources: usize) -> Vec<String> {
    (1..sources).map(|source| format!("{OWN}{object}-{source}")).collect()
}

fn key(secret: &str) -> String {
    secret.to_uppercase().replace('-', "_")
}

fn namespace(index: usize) -> String {
    format!("listed-{index}")
}
