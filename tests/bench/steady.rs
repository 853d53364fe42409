//! Rows: nothing changes for a while, then a hundred secrets do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use keyvault_emulator::LoggedRequest;
use serde_json::json;
use vaultsync::run::clock;

use crate::cluster::APPLICATION;
use crate::moves::{Move, Moves, OBJECT, SECRET, count};
use crate::one_vault::{HOST, OneVault, index_of, secret};
use crate::operator::Operator;
use crate::rows::{Row, Rows, percent, seconds};
use crate::say;
use crate::scale::Scale;
use support::Result;

/// The chart's pace of drift probes.
const PROBES_PER_SECOND: u64 = 10;
/// A page that had to be asked for again, or lies at the edge of the time that is looked at.
const MORE_REQUESTS: f64 = 1.02;
const CHANGED: usize = 100;
/// Seconds after its change in which a value may have changed again unseen.
const SETTLED: i64 = 3;
/// What a change may take beyond the interval: a sweep, the reads of all that moved, and their writes.
const SLACK: Duration = Duration::from_secs(5);
/// A whole sweep is over, and the next one not near.
const APART: Duration = Duration::from_secs(2);

pub(crate) async fn measure(
    site: &OneVault,
    operator: &Operator,
    witness: &Moves,
    scale: &Scale,
    rows: &mut Rows,
) -> Result<()> {
    say(&format!("steady state, {} with nothing changing", seconds(scale.steady)));
    operator.next_sweep(HOST).await?;
    tokio::time::sleep(APART).await;
    witness.take();
    let (mark, begun, cpu) = (site.bench.cluster.mark(), Instant::now(), operator.cpu()?);
    let (before, requests) = (operator.metrics().await?, site.vault.requests().len());
    tokio::time::sleep(scale.steady).await;
    let (after, requests) = (operator.metrics().await?, site.vault.requests().len() - requests);
    let cpu = operator.cpu()? - cpu;
    let moved = witness.take().len();
    let user = site.bench.cluster.operator().user();
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for seen in site.bench.cluster.seen_since(mark, |seen| seen.user == user) {
        *calls.entry(format!("{} {}", seen.verb, seen.resource)).or_default() += 1;
    }
    let counted = begun.elapsed();
    let patches = calls.remove("patch secrets").unwrap_or_default();
    // A watch ends after some minutes, and goes on where it was.
    let watches: usize =
        calls.iter().filter(|(call, _)| call.starts_with("watch ")).map(|(_, count)| count).sum();
    let others = calls.values().sum::<usize>() - watches;
    let sweeps = scale.steady.as_secs() / scale.interval.as_secs();
    let expected = sweeps as usize * OneVault::pages(scale);
    let reads = after.requests(HOST, "GetSecret") - before.requests(HOST, "GetSecret");
    let rechecks = after.requests(HOST, "Recheck") - before.requests(HOST, "Recheck");
    let requests = requests - rechecks;
    // Each has its value written once more, which moves nothing.
    let probes = patches.saturating_sub(rechecks);
    // Of the time in which they were counted, which is a little longer.
    let paced = (counted.as_secs_f64() * PROBES_PER_SECOND as f64).ceil() as usize;
    let most = expected as f64 * MORE_REQUESTS;
    rows.memory.push(("in steady state", operator.memory()?));
    rows.add(Row {
        what: format!(
            "steady state, {} objects at {} on a vault of as many, for {}",
            scale.objects,
            seconds(scale.interval),
            seconds(scale.steady)
        ),
        must: "vault requests = pages of one LIST an interval, +2 %; no value read; no resourceVersion moves; API requests = drift probes at their pace".to_owned(),
        measured: format!(
            "{requests} vault requests ({}), {reads} value reads, {moved} resourceVersions moved, {probes} probes, {others} other API requests; {:.1} % of a core",
            percent(requests as f64, expected as f64),
            cpu / scale.steady.as_secs_f64() * 100.0
        ),
        beside: format!(
            "{expected} pages = {sweeps} sweeps; {rechecks} daily rechecks apart, each with a patch that moves nothing; {paced} probes at {PROBES_PER_SECOND} a second; {watches} watches went on"
        ),
        reached: requests as f64 <= most && requests >= expected && reads == 0 && moved == 0 && probes <= paced && others == 0,
        figures: json!({
            "seconds": scale.steady.as_secs(), "vaultRequests": requests, "pages": expected, "sweeps": sweeps,
            "valueReads": reads, "rechecks": rechecks, "moved": moved, "probes": probes, "otherApiRequests": others,
            "watches": watches, "cpuSeconds": cpu,
        }),
    });
    connections(site, operator, scale, rows);
    Ok(())
}

/// Counted since the process began: before and in the steady state.
fn connections(site: &OneVault, operator: &Operator, scale: &Scale, rows: &mut Rows) {
    let begun = operator.started;
    let target = format!("{HOST}:443");
    let connects = site.bench.emulator.connects();
    let connections = connects.iter().filter(|one| one.target == target && one.time >= begun).count();
    let tokens = site.bench.emulator.token_requests();
    let tokens = tokens.iter().filter(|one| one.client_id == APPLICATION && one.time >= begun).count();
    rows.add(Row {
        what: format!(
            "TLS connections and tokens from the start to the end of {} of steady state, one vault",
            seconds(scale.steady)
        ),
        must: "1 or 2 connections, 1 token".to_owned(),
        measured: format!("{connections} connections, {tokens} tokens"),
        beside: format!("1 identity, {} objects", scale.objects),
        reached: (1..=2).contains(&connections) && tokens == 1,
        figures: json!({"connections": connections, "tokens": tokens}),
    });
}

pub(crate) async fn change(
    site: &OneVault,
    operator: &Operator,
    witness: &Moves,
    scale: &Scale,
    rows: &mut Rows,
) -> Result<()> {
    say(&format!("{CHANGED} of {} secrets change", scale.objects));
    let names: BTreeSet<String> =
        (0..CHANGED).map(|number| secret(number * scale.objects / CHANGED)).collect();
    // The worst moment: the sweep that would have seen it has just passed.
    operator.next_sweep(HOST).await?;
    witness.take();
    let (mark, journal) = (site.bench.cluster.mark(), site.vault.requests().len());
    let (start, changed_at) = (Instant::now(), clock());
    for name in &names {
        site.vault.set(name, &"y".repeat(1024));
    }
    let moved = witness.until(OBJECT, CHANGED, scale.interval * 3).await?;
    let slowest = slowest(&moved, start);
    let mut gets = site.vault.requests().split_off(journal);
    gets.retain(|get| get.secret.as_ref().is_some_and(|name| names.contains(name)));
    let early = |get: &&LoggedRequest| get.time.duration_since(changed_at).as_secs() <= SETTLED;
    let (reads, early) = (gets.len(), gets.iter().filter(early).count());
    let is_changed = |name: &str| index_of(name).is_some_and(|index| names.contains(&secret(index)));
    let right = moved.iter().filter(|one| one.kind == SECRET && is_changed(&one.name)).count();
    let secrets = count(&moved, SECRET);
    let written = site.bench.operator_calls(mark, "patch", "vaultsecretsyncs/status");
    let bound = scale.interval + SLACK;
    rows.add(Row {
        what: format!("{CHANGED} of {} values change, just after a sweep", scale.objects),
        must: "a read, a Secret write and a status write each (a second read for each that was read within 3 s of its change); all within interval + 5 s".to_owned(),
        measured: format!(
            "{reads} reads, {secrets} Secrets moved, {written} status writes; the last Secret after {}",
            seconds(slowest)
        ),
        beside: format!("{CHANGED} changes, {early} of them read within 3 s; bound {}", seconds(bound)),
        reached: (CHANGED..=CHANGED + early).contains(&reads)
            && [secrets, right, written] == [CHANGED; 3]
            && slowest <= bound,
        figures: json!({
            "changes": CHANGED, "early": early, "reads": reads, "secretWrites": secrets, "statusWrites": written,
            "slowestSeconds": slowest.as_secs_f64(), "boundSeconds": bound.as_secs_f64(),
        }),
    });
    Ok(())
}

/// How long after `start` the last Secret moved.
fn slowest(moved: &[Move], start: Instant) -> Duration {
    let secrets = moved.iter().filter(|one| one.kind == SECRET);
    secrets.map(|one| one.at.duration_since(start)).max().unwrap_or_default()
}
