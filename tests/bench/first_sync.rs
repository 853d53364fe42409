//! Row: the first sync of all objects, beside the floor.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::CONCURRENCY;
use crate::one_vault::{HOST, OneVault};
use crate::operator::{LIMIT, Memory, Operator};
use crate::rows::{Row, Rows, seconds};
use crate::say;
use crate::scale::Scale;
use support::Result;

/// A budget that is never reached: what is measured is the operator, not its patience.
const LIFTED: u32 = 10_000;
const MOST: f64 = 1.25;

/// What a first sync took.
pub(crate) struct FirstSync {
    took: Duration,
    cpu: f64,
    memory: Memory,
    gets: usize,
    secrets: usize,
    statuses: usize,
    events: usize,
}

/// The operator, once all are synced, and what that took.
pub(crate) async fn measure(site: &OneVault, scale: &Scale) -> Result<(Operator, FirstSync)> {
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
    let calls = |verb, resource| site.bench.operator_calls(mark, verb, resource);
    let sync = FirstSync {
        took,
        cpu: operator.cpu()?,
        memory: operator.memory()?,
        gets: metrics.requests(HOST, "GetSecret"),
        secrets: calls("create", "secrets"),
        statuses: calls("patch", "vaultsecretsyncs/status"),
        events: calls("create", "events"),
    };
    Ok((operator, sync))
}

impl FirstSync {
    /// Adds its row. `floors`: what the plain loop took before and after it, for a machine is not as fast at every minute.
    pub(crate) fn add(&self, scale: &Scale, floors: [Duration; 2], rows: &mut Rows) {
        let Self { took, cpu, memory, gets, secrets, statuses, events } = *self;
        let [before, after] = floors;
        let floor = (before + after) / 2;
        let ratio = took.as_secs_f64() / floor.as_secs_f64();
        rows.memory.push(("after the first sync", memory));
        rows.add(Row {
            what: format!("first sync of {} objects with a secret each, budget lifted", scale.objects),
            must: format!("at most {MOST} times the floor"),
            measured: format!(
                "{} = {ratio:.2} times; {gets} GETs, {secrets} Secrets, {statuses} statuses, {events} events; {cpu:.1} s of CPU",
                seconds(took)
            ),
            beside: format!(
                "a plain loop of the GETs, POSTs of a Secret and PATCHes of a status, {CONCURRENCY} at once: {} before and {} after, {} on average",
                seconds(before), seconds(after), seconds(floor)
            ),
            reached: ratio <= MOST && gets == scale.objects && statuses == scale.objects,
            figures: json!({
                "seconds": took.as_secs_f64(), "floorSeconds": floor.as_secs_f64(), "ratio": ratio, "cpuSeconds": cpu,
                "floorBeforeSeconds": before.as_secs_f64(), "floorAfterSeconds": after.as_secs_f64(),
                "vaultGets": gets, "secretWrites": secrets, "statusWrites": statuses, "events": events,
                "residentMiB": memory.now, "peakMiB": memory.peak,
            }),
        });
    }
}
