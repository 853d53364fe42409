//! Rows: for a while one vault of many identities is down and another hangs, and the secret that all share changes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use keyvault_emulator::{Fault, Operation};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::json;
use vaultsync::api::{KeyVault, READY, condition};
use vaultsync::run::clock;

use crate::moves::{Move, Moves, OBJECT, SECRET};
use crate::operator::Operator;
use crate::rows::{Row, Rows, seconds};
use crate::say;
use crate::scale::Scale;
use crate::tenants::{Ages, REGIONS, Role, SHARING, TEAMS, Tenants, host, identity, team};
use support::wait::within;
use support::{Mark, Result};

/// The longest back-off of a connection, and time to spare.
const RECOVERED: Duration = Duration::from_secs(120);
const MORE_STALE: f64 = 1.1;

pub(crate) async fn measure(
    tenants: &Tenants,
    operator: &Operator,
    calm: &Ages,
    scale: &Scale,
    rows: &mut Rows,
) -> Result<()> {
    let window = scale.tenants;
    say(&format!(
        "many tenants, {} with a vault down, another hanging, a shared secret changing",
        seconds(window)
    ));
    let witness = Moves::start(&tenants.client).await?;
    let mark = tenants.bench.cluster.mark();
    tenants.teams.fault(Fault::status(503));
    tenants.regions[0].fault(Fault::stall());
    let (start, changed_at) = (Instant::now(), clock());
    tenants.shared.set("secret-0", "another value");
    let troubled = tenants.sample(operator, window).await?;
    tenants.teams.clear_faults();
    tenants.regions[0].clear_faults();
    let moved = witness.take();

    let written: Vec<&Move> =
        moved.iter().filter(|one| one.kind == SECRET && one.namespace == "shared").collect();
    let last = written.iter().map(|one| one.at.duration_since(start)).max().unwrap_or_default();
    let until = changed_at + SignedDuration::try_from(last)?;
    let reads = tenants.shared.count_where(|one| {
        one.operation == Some(Operation::Get) && one.time >= changed_at && one.time <= until
    });
    shared_row(written.len(), reads, last, scale, rows);
    stall_row(calm, &troubled, window, rows);
    outage_row(tenants, mark, &witness, &moved, window, rows).await
}

fn shared_row(written: usize, reads: usize, last: Duration, scale: &Scale, rows: &mut Rows) {
    rows.add(Row {
        what: format!("a secret that {SHARING} objects use changes"),
        must: "1 read".to_owned(),
        measured: format!(
            "{reads} read until the last of {written} Secrets had it, {} after the change",
            seconds(last)
        ),
        beside: format!("{SHARING} objects at {}", seconds(scale.tenants_interval)),
        reached: reads == 1 && written == SHARING,
        figures: json!({"reads": reads, "secretWrites": written, "lastSeconds": last.as_secs_f64()}),
    });
}

fn stall_row(calm: &Ages, troubled: &Ages, window: Duration, rows: &mut Rows) {
    let (before, during) = (p99(calm), p99(troubled));
    rows.add(Row {
        what: format!(
            "one vault of {REGIONS} answers nothing in time for {} (a request is given up after 10 s)",
            seconds(window)
        ),
        must: "p99 of the others' staleness as before, +10 % at most".to_owned(),
        measured: format!("{during:.2} s"),
        beside: format!(
            "{before:.2} s in as long a time before; the age of each vault's oldest source, once a second"
        ),
        reached: during <= before * MORE_STALE,
        figures: json!({"p99Seconds": during, "p99SecondsBefore": before, "samples": troubled.len()}),
    });
}

pub(crate) fn p99(ages: &Ages) -> f64 {
    let mut sorted = ages.clone();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * 99).div_ceil(100) - 1]
}

async fn outage_row(
    tenants: &Tenants,
    mark: Mark,
    witness: &Moves,
    moved: &[Move],
    window: Duration,
    rows: &mut Rows,
) -> Result<()> {
    let start = Instant::now();
    within(RECOVERED, || recovered(tenants)).await.map_err(|seen| format!("after the outage: {seen}"))?;
    let recovered = start.elapsed();
    let of_team = |namespace: &str| (0..TEAMS).any(|index| team(index) == namespace);
    let user = tenants.bench.cluster.operator().user();
    let writes = tenants.bench.cluster.seen_since(mark, |seen| {
        seen.user == user && seen.resource == "keyvaults/status" && of_team(&seen.namespace)
    });
    let mut by_connection: BTreeMap<String, usize> = BTreeMap::new();
    for write in &writes {
        *by_connection.entry(write.namespace.clone()).or_default() += 1;
    }
    let most = by_connection.values().copied().max().unwrap_or_default();
    let later = witness.take();
    let touched = moved
        .iter()
        .chain(&later)
        .filter(|one| of_team(&one.namespace) && (one.kind == SECRET || one.kind == OBJECT))
        .count();
    let connections = tenants.bench.connections(&host(&tenants.teams));
    let tokens = tenants.bench.emulator.token_requests();
    let of_a_team = |client: &str| (0..TEAMS).any(|index| identity(Role::Team, index) == client);
    let tokens = tokens.iter().filter(|one| of_a_team(&one.client_id)).count();
    rows.add(Row {
        what: format!(
            "1000 objects, {TEAMS} namespaces, {TEAMS} identities on one vault: first sync, {} of steady state, {} in which the vault answers 503",
            seconds(window),
            seconds(window)
        ),
        must: "tokens = identities; 1 or 2 TLS connections an identity; at most 2 status writes a connection and outage".to_owned(),
        measured: format!(
            "{tokens} tokens, {connections} connections, at most {most} status writes a connection ({} in all), {touched} objects and Secrets moved; all connected again {} after",
            writes.len(),
            seconds(recovered)
        ),
        beside: format!("{TEAMS} identities"),
        reached: tokens == TEAMS && (TEAMS..=2 * TEAMS).contains(&connections) && most <= 2 && touched == 0,
        figures: json!({
            "tokens": tokens, "connections": connections, "mostStatusWrites": most, "statusWrites": writes.len(),
            "moved": touched, "recoveredSeconds": recovered.as_secs_f64(),
        }),
    });
    Ok(())
}

/// Whether each team's connection says that it works again.
async fn recovered(tenants: &Tenants) -> std::result::Result<(), String> {
    let vaults = Api::<KeyVault>::all(tenants.client.clone());
    let vaults = vaults.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let of_team = |vault: &&KeyVault| vault.namespace().unwrap_or_default().starts_with("team-");
    let broken = vaults.iter().filter(of_team).filter(|vault| {
        let conditions = vault.status.as_ref().map(|status| status.conditions.as_slice());
        condition(conditions.unwrap_or_default(), READY).is_none_or(|ready| ready.status != "True")
    });
    match broken.count() {
        0 => Ok(()),
        count => Err(format!("{count} connections do not work again")),
    }
}
