//! Rows: a restart with everything synced, and one after statuses were wiped.

use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use vaultsync::api::VaultSecretSync;

use crate::cluster::each;
use crate::moves::{Moves, OBJECT, SECRET, count};
use crate::one_vault::{HOST, OneVault};
use crate::operator::Operator;
use crate::rows::{Row, Rows, seconds};
use crate::say;
use crate::scale::{BUDGET, BUDGET_SAYS, Scale};
use support::Result;

/// One object of so many has its status wiped.
const WIPED_OF: usize = 10;

/// The operator that comes back, and what moves from then on.
pub(crate) async fn measure(site: &OneVault, scale: &Scale, rows: &mut Rows) -> Result<(Operator, Moves)> {
    say("restart");
    let unsettled = site.objects().await?.iter().filter(|object| is_unsettled(object)).count();
    let witness = Moves::start(&site.client).await?;
    let mark = site.bench.cluster.mark();
    let start = Instant::now();
    let operator = Operator::start(&site.bench, None).await?;
    let shown = operator.until("a sweep, and a round of each object", |metrics| {
        metrics.rounds(&[]) >= scale.objects && metrics.sweeps(HOST) > 0
    });
    let metrics = shown.await?;
    let took = start.elapsed();
    let reads = metrics.requests(HOST, "GetSecret");
    let pages = metrics.requests(HOST, "ListSecrets");
    let rechecks = metrics.requests(HOST, "Recheck");
    let user = site.bench.cluster.operator().user();
    let probe = |verb: &str, resource: &str| verb == "patch" && resource == "secrets";
    let writes = site
        .bench
        .cluster
        .seen_since(mark, |seen| seen.user == user && seen.is_write() && !probe(&seen.verb, &seen.resource));
    let moved = witness.take().len();
    rows.add(Row {
        what: format!("restart with {} synced objects", scale.objects),
        must: "no value read but one for each entry without `updated`; nothing is written".to_owned(),
        measured: format!(
            "{reads} value reads, {} writes, {moved} resourceVersions moved until all was confirmed, {} after the start",
            writes.len(),
            seconds(took)
        ),
        beside: format!("{unsettled} entries without `updated`; a LIST of {pages} pages; {rechecks} daily rechecks"),
        reached: reads <= unsettled && writes.is_empty() && moved == 0,
        figures: json!({
            "valueReads": reads, "unsettled": unsettled, "writes": writes.len(), "moved": moved, "listPages": pages,
            "rechecks": rechecks, "seconds": took.as_secs_f64(),
        }),
    });
    Ok((operator, witness))
}

/// Whether it was written so shortly after a change that it is read once more.
fn is_unsettled(object: &VaultSecretSync) -> bool {
    let status = serde_json::to_value(&object.status).unwrap_or_default();
    let entries = status["entries"].as_array().cloned().unwrap_or_default();
    entries.iter().any(|entry| entry["updated"].is_null())
}

pub(crate) async fn without_statuses(
    site: &OneVault,
    witness: &Moves,
    scale: &Scale,
    rows: &mut Rows,
) -> Result<()> {
    let wiped = scale.objects / WIPED_OF;
    say(&format!("restart with {wiped} statuses wiped"));
    let objects = site.objects().await?;
    let wipe = |index: usize| {
        let object = &objects[index * WIPED_OF];
        async move {
            let namespace = object.namespace().ok_or("a namespace")?;
            let api: Api<VaultSecretSync> = Api::namespaced(site.client.clone(), &namespace);
            let nothing = Patch::Merge(json!({"status": null}));
            api.patch_status(&object.name_any(), &PatchParams::default(), &nothing).await?;
            Ok(())
        }
    };
    each(wiped, wipe).await?;
    witness.until(OBJECT, wiped, Duration::from_secs(30)).await?;
    let before = site.vault.requests().len();
    let start = Instant::now();
    let operator = Operator::start(&site.bench, None).await?;
    operator.until("a round of each object", |metrics| metrics.rounds(&[]) >= scale.objects).await?;
    let moved = witness.until(OBJECT, wiped, Duration::from_secs(300)).await?;
    let took = start.elapsed();
    let metrics = operator.metrics().await?;
    operator.kill()?;
    let reads = metrics.requests(HOST, "GetSecret");
    let (secrets, statuses) = (count(&moved, SECRET), count(&moved, OBJECT));
    let requests = site.vault.requests().split_off(before);
    let peak = keyvault_emulator::peak_per_second(&requests);
    rows.add(Row {
        what: format!("restart with {wiped} of {} statuses wiped", scale.objects),
        must: "one GET for each of their sources, within the budget; no Secret moves".to_owned(),
        measured: format!(
            "{reads} GETs, at most {peak} requests in a second; {secrets} Secrets moved, {statuses} statuses written; {}",
            seconds(took)
        ),
        beside: format!("{wiped} sources; {BUDGET_SAYS}"),
        reached: reads == wiped && secrets == 0 && statuses == wiped && peak <= BUDGET,
        figures: json!({
            "wiped": wiped, "valueReads": reads, "peakPerSecond": peak, "secretsMoved": secrets,
            "statusWrites": statuses, "seconds": took.as_secs_f64(),
        }),
    });
    Ok(())
}
