//! Row: the vault answers 429 to everything for a minute.

use std::time::{Duration, Instant};

use keyvault_emulator::Fault;
use serde_json::json;

use crate::moves::{Moves, SECRET, count};
use crate::one_vault::{HOST, OneVault};
use crate::operator::Operator;
use crate::rows::{Row, Rows, percent, seconds};
use crate::say;
use crate::scale::{BUDGET, BUDGET_SAYS, Scale};
use support::Result;

const STORM: Duration = Duration::from_secs(60);
/// Of the requests that a vault usually gets in that time.
const MOST: f64 = 0.05;
/// As many tries are due to a vault whose list is short.
const TRIES: f64 = 8.0;

pub(crate) async fn measure(
    site: &OneVault,
    operator: &Operator,
    witness: &Moves,
    scale: &Scale,
    rows: &mut Rows,
) -> Result<()> {
    say("429 on everything for a minute");
    operator.next_sweep(HOST).await?;
    witness.take();
    let (mark, before) = (site.bench.cluster.mark(), site.vault.requests().len());
    let fault = site.vault.fault(Fault::throttle(None));
    tokio::time::sleep(STORM).await;
    site.vault.clear_fault(fault);
    let (cleared, storm) = (Instant::now(), site.vault.requests().len());
    let fresh = operator.until("everything is confirmed", |metrics| {
        metrics.staleness(HOST).is_some_and(|age| age < cleared.elapsed().as_secs_f64())
    });
    fresh.await?;
    let recovered = cleared.elapsed();
    let requests = site.vault.requests();
    let (during, after) = (storm - before, &requests[storm..]);
    let peak = keyvault_emulator::peak_per_second(after);
    let usual = OneVault::pages(scale) as f64 * STORM.as_secs_f64() / scale.interval.as_secs_f64();
    let calls = |resource| site.bench.operator_calls(mark, "patch", resource);
    let (of_vault, of_objects) = (calls("clusterkeyvaults/status"), calls("vaultsecretsyncs/status"));
    let secrets = count(&witness.take(), SECRET);
    // Shorter intervals of the short form do not shorten the longest back-off.
    let bound = scale.interval.max(STORM);
    rows.add(Row {
        what: format!("429 to everything for {}, without Retry-After", seconds(STORM)),
        must: "at most 5 % of the usual requests (8 where that is less); about 2 status writes; no key lost; all fresh within one interval after; never above the budget".to_owned(),
        measured: format!(
            "{during} requests ({}), {of_vault} status writes of the connection and {of_objects} of objects, {secrets} Secrets moved, all fresh {} after, at most {peak} requests in a second",
            percent(during as f64, usual),
            seconds(recovered)
        ),
        beside: format!("{usual:.0} requests usually; {BUDGET_SAYS}"),
        reached: during as f64 <= (usual * MOST).max(TRIES)
            && of_vault <= 2
            && of_objects == 0
            && secrets == 0
            && recovered <= bound
            && peak <= BUDGET,
        figures: json!({
            "requests": during, "usualRequests": usual, "connectionStatusWrites": of_vault,
            "objectStatusWrites": of_objects, "secretsMoved": secrets, "freshAfterSeconds": recovered.as_secs_f64(),
            "peakPerSecond": peak,
        }),
    });
    Ok(())
}
