//! Row: the first sync of all objects, beside the floor.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::CONCURRENCY;
use crate::one_vault::{HOST, OneVault};
use crate::operator::{LIMIT, Operator};
use crate::rows::{Row, Rows, seconds};
use crate::say;
use crate::scale::Scale;
use support::Result;

/// A budget that is never reached: what is measured is the operator, not its patience.
const LIFTED: u32 = 10_000;
const MOST: f64 = 1.25;

pub(crate) async fn measure(
    site: &OneVault,
    scale: &Scale,
    floor: Duration,
    rows: &mut Rows,
) -> Result<Operator> {
    say("first sync");
    let mark = site.bench.cluster.mark();
    let start = Instant::now();
    let operator = Operator::start(&site.bench, Some(LIFTED)).await?;
    // To serve metrics of thousands that are not Ready is work too, and no sync asks for it: until the last of them is read
    // the vault alone is looked at.
    let all_read = site.vault.requests_until(|requests| requests.len() >= scale.objects);
    tokio::time::timeout(LIMIT, all_read).await?;
    let created = [("result", "created"), ("reason", "Synced")];
    let metrics =
        operator.until("all are synced", |metrics| metrics.rounds(&created) >= scale.objects).await?;
    let took = start.elapsed();
    let (cpu, memory) = (operator.cpu()?, operator.memory()?);
    let ratio = took.as_secs_f64() / floor.as_secs_f64();
    let calls = |verb, resource| site.bench.operator_calls(mark, verb, resource);
    let (gets, secrets) = (metrics.requests(HOST, "GetSecret"), calls("create", "secrets"));
    let (statuses, events) = (calls("patch", "vaultsecretsyncs/status"), calls("create", "events"));
    rows.memory.push(("after the first sync", memory));
    rows.add(Row {
        what: format!("first sync of {} objects with a secret each, budget lifted", scale.objects),
        must: format!("at most {MOST} times the floor"),
        measured: format!(
            "{} = {ratio:.2} times; {gets} GETs, {secrets} Secrets, {statuses} statuses, {events} events; {cpu:.1} s of CPU",
            seconds(took)
        ),
        beside: format!(
            "a plain loop of the GETs, POSTs of a Secret and PATCHes of a status, {CONCURRENCY} at once: {}",
            seconds(floor)
        ),
        reached: ratio <= MOST && gets == scale.objects && statuses == scale.objects,
        figures: json!({
            "seconds": took.as_secs_f64(), "floorSeconds": floor.as_secs_f64(), "ratio": ratio, "cpuSeconds": cpu,
            "vaultGets": gets, "secretWrites": secrets, "statusWrites": statuses, "events": events,
            "residentMiB": memory.now, "peakMiB": memory.peak,
        }),
    });
    Ok(operator)
}
