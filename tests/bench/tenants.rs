//! Many tenants under one operator, each with a vault or an identity of its own: rows about the number of identities,
//! mixed intervals, one secret that all use, and vaults in trouble. All of it at once, as in a real cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use keyvault_emulator::{Operation, Vault};
use kube::Client;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use vaultsync::api::KeyVault;

use crate::cluster::{BenchCluster, create, create_object, each};
use crate::metrics::Metrics;
use crate::one_vault::secret;
use crate::operator::Operator;
use crate::rows::{Row, Rows, percent, seconds};
use crate::scale::{BUDGET, BUDGET_SAYS, Scale};
use crate::{say, tenants_trouble};
use support::Result;

/// A thousand objects, each team with an identity of its own.
pub(crate) const TEAMS: usize = 50;
const OF_A_TEAM: usize = 20;
/// A namespace may use twenty connections of its own.
const CROWDS: usize = 25;
const OF_A_CROWD: usize = 20;
const MIXED: [&str; 3] = ["10s", "1m", "1h"];
const OF_AN_INTERVAL: usize = 100;
const SHORTEST: Duration = Duration::from_secs(10);
/// Not `default`: the account of a connection has its name, and each namespace has one of that name.
const CONNECTION: &str = "main";
/// Objects that use one secret.
pub(crate) const SHARING: usize = 1000;
pub(crate) const REGIONS: usize = 10;
const OF_A_REGION: usize = 50;
/// A whole sweep is over, and the next one not near.
const APART: Duration = Duration::from_secs(2);
const MORE_REQUESTS: f64 = 1.02;

/// The population.
pub(crate) struct Tenants {
    pub(crate) bench: BenchCluster,
    pub(crate) client: Client,
    pub(crate) teams: Vault,
    pub(crate) shared: Vault,
    pub(crate) regions: Vec<Vault>,
    mixed: Vault,
    crowd: Vault,
}

/// Measures all that this population serves.
pub(crate) async fn measure(scale: &Scale, rows: &mut Rows) -> Result<()> {
    say("starting a control plane with many tenants");
    let tenants = Tenants::create(scale).await?;
    let operator = Operator::start(&tenants.bench, None).await?;
    let created = [("result", "created"), ("reason", "Synced")];
    operator.until("all are synced", |metrics| metrics.rounds(&created) >= Tenants::objects()).await?;
    let calm = tenants.steady(&operator, scale, rows).await?;
    tenants_trouble::measure(&tenants, &operator, &calm, scale, rows).await?;
    operator.kill()
}

/// Ages of the oldest source of each region but the first, second by second.
pub(crate) type Ages = Vec<f64>;

impl Tenants {
    fn objects() -> usize {
        TEAMS * OF_A_TEAM
            + CROWDS * OF_A_CROWD
            + MIXED.len() * OF_AN_INTERVAL
            + SHARING
            + REGIONS * OF_A_REGION
    }

    async fn create(scale: &Scale) -> Result<Self> {
        let bench = BenchCluster::start().await?;
        let client = bench.cluster.admin();
        let vault = |name: &str, secrets: usize| {
            let vault = bench.emulator.vault(name);
            (0..secrets).for_each(|index| drop(vault.set(&secret(index), "a value")));
            vault
        };
        let teams = vault("teams", TEAMS * OF_A_TEAM);
        let shared = vault("shared", 1);
        let mixed = vault("mixed", MIXED.len() * OF_AN_INTERVAL);
        let crowd = vault("crowd", scale.crowded);
        let regions = (0..REGIONS).map(|index| vault(&region(index), OF_A_REGION)).collect();
        let tenants = Self { bench, client, teams, shared, regions, mixed, crowd };
        let interval = format!("{}s", scale.tenants_interval.as_secs());
        tenants.create_teams(&interval).await?;
        tenants.create_crowds(&interval).await?;
        tenants.create_others(&interval).await?;
        Ok(tenants)
    }

    async fn create_teams(&self, interval: &str) -> Result<()> {
        each(TEAMS, |index| async move {
            let namespace = team(index);
            self.bench.namespace(&self.client, &namespace).await?;
            self.connect(&namespace, CONNECTION, &self.teams, &identity(Role::Team, index)).await
        })
        .await?;
        each(TEAMS * OF_A_TEAM, |index| async move {
            let namespace = team(index / OF_A_TEAM);
            self.object(&namespace, index, &secret(index), CONNECTION, interval).await
        })
        .await
    }

    async fn create_crowds(&self, interval: &str) -> Result<()> {
        for index in 0..CROWDS {
            self.bench.namespace(&self.client, &crowd(index)).await?;
        }
        each(CROWDS * OF_A_CROWD, |index| async move {
            let namespace = crowd(index / OF_A_CROWD);
            let connection = format!("reader-{index}");
            self.connect(&namespace, &connection, &self.crowd, &identity(Role::Crowd, index)).await?;
            self.object(&namespace, index, &secret(index), &connection, interval).await
        })
        .await
    }

    async fn create_others(&self, interval: &str) -> Result<()> {
        for namespace in ["mixed", "shared", "regions"] {
            self.bench.namespace(&self.client, namespace).await?;
        }
        self.connect("mixed", CONNECTION, &self.mixed, &identity(Role::Other, 0)).await?;
        self.connect("shared", CONNECTION, &self.shared, &identity(Role::Other, 1)).await?;
        for (index, vault) in self.regions.iter().enumerate() {
            self.connect("regions", &region(index), vault, &identity(Role::Other, 2 + index)).await?;
        }
        each(MIXED.len() * OF_AN_INTERVAL, |index| async move {
            let interval = MIXED[index % MIXED.len()];
            self.object("mixed", index, &secret(index), CONNECTION, interval).await
        })
        .await?;
        each(SHARING, |index| self.object("shared", index, "secret-0", CONNECTION, interval)).await?;
        each(REGIONS * OF_A_REGION, |index| async move {
            let connection = region(index / OF_A_REGION);
            self.object("regions", index, &secret(index % OF_A_REGION), &connection, "10s").await
        })
        .await
    }

    /// A `KeyVault` with an identity of its own.
    async fn connect(&self, namespace: &str, name: &str, vault: &Vault, client_id: &str) -> Result<()> {
        vault.grant(client_id);
        self.bench.identity(&self.client, namespace, name, client_id).await?;
        let spec = self.bench.key_vault(&vault.url(), name, client_id);
        create::<KeyVault>(&self.client, namespace, json!({"metadata": {"name": name}, "spec": spec})).await
    }

    async fn object(
        &self,
        namespace: &str,
        index: usize,
        secret: &str,
        connection: &str,
        interval: &str,
    ) -> Result<()> {
        let vault: Value = json!({"name": connection});
        create_object(&self.client, namespace, &format!("object-{index}"), secret, vault, interval).await
    }

    async fn steady(&self, operator: &Operator, scale: &Scale, rows: &mut Rows) -> Result<Ages> {
        let window = scale.tenants;
        say(&format!("many tenants, {} with nothing changing", seconds(window)));
        operator.next_sweep(&host(&self.mixed)).await?;
        tokio::time::sleep(APART).await;
        let (before, crowded) = (operator.metrics().await?, self.crowd.requests().len());
        let mixed = self.mixed.requests().len();
        let ages = self.sample(operator, window).await?;
        let after = operator.metrics().await?;
        let mixed = self.mixed.requests().len() - mixed;
        self.mixed_row(window, mixed, &before, &after, rows);
        let crowded = self.crowd.requests().split_off(crowded);
        self.crowd_row(scale, &crowded, rows).await?;
        Ok(ages)
    }

    /// The age of the oldest source of each region but the first, once a second.
    pub(crate) async fn sample(&self, operator: &Operator, window: Duration) -> Result<Ages> {
        let mut ages = Vec::new();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        for _ in 0..window.as_secs() {
            second.tick().await;
            let metrics = operator.metrics().await?;
            ages.extend(self.regions[1..].iter().filter_map(|vault| metrics.staleness(&host(vault))));
        }
        second.tick().await;
        Ok(ages)
    }

    fn mixed_row(
        &self,
        window: Duration,
        requests: usize,
        before: &Metrics,
        after: &Metrics,
        rows: &mut Rows,
    ) {
        let host = host(&self.mixed);
        let sweeps = after.sweeps(&host) - before.sweeps(&host);
        let reads = after.requests(&host, "GetSecret") - before.requests(&host, "GetSecret");
        let expected = (window.as_secs() / SHORTEST.as_secs()) as usize;
        let pages = expected * Scale::pages(MIXED.len() * OF_AN_INTERVAL);
        rows.add(Row {
            what: format!(
                "objects at {} mixed on one vault, {OF_AN_INTERVAL} each, for {}",
                MIXED.join(", "),
                seconds(window)
            ),
            must: "a sweep at the shortest interval asked for, never more".to_owned(),
            measured: format!("{sweeps} sweeps, {requests} requests, {reads} value reads"),
            beside: format!("{expected} intervals of {}; {pages} pages", seconds(SHORTEST)),
            reached: sweeps == expected && requests as f64 <= (pages as f64 * MORE_REQUESTS).ceil() && reads == 0,
            figures: json!({
                "sweeps": sweeps, "intervals": expected, "requests": requests, "pages": pages, "valueReads": reads,
            }),
        });
    }

    async fn crowd_row(
        &self,
        scale: &Scale,
        requests: &[keyvault_emulator::LoggedRequest],
        rows: &mut Rows,
    ) -> Result<()> {
        let identities = CROWDS * OF_A_CROWD;
        let lists = requests.iter().filter(|one| one.operation == Some(Operation::List)).count();
        let expected = identities as f64 * scale.tenants.as_secs_f64() / scale.tenants_interval.as_secs_f64();
        let peak = keyvault_emulator::peak_per_second(requests);
        let readers: BTreeSet<&str> = requests.iter().filter_map(|one| one.client_id.as_deref()).collect();
        let mut in_get = 0;
        for namespace in (0..CROWDS).map(crowd) {
            let vaults = Api::<KeyVault>::namespaced(self.client.clone(), &namespace);
            let vaults = vaults.list(&ListParams::default()).await?.items;
            let mode =
                |vault: &KeyVault| serde_json::to_value(&vault.status).unwrap_or_default()["mode"] == "Get";
            in_get += vaults.iter().filter(|vault| mode(vault)).count();
        }
        rows.add(Row {
            what: format!(
                "{identities} identities with one object each on a vault of {}, for {}",
                scale.crowded,
                seconds(scale.tenants)
            ),
            must: "Get mode by itself; requests = sources per interval, under the host's budget".to_owned(),
            measured: format!(
                "{in_get} connections in Get mode; {} requests ({}) of {} identities, {lists} of them LIST, at most {peak} in a second",
                requests.len(),
                percent(requests.len() as f64, expected),
                readers.len()
            ),
            beside: format!("{expected:.0} = sources times intervals; {BUDGET_SAYS}"),
            reached: in_get == identities
                && lists == 0
                && requests.len() as f64 <= expected * MORE_REQUESTS
                && readers.len() == identities
                && peak <= BUDGET,
            figures: json!({
                "identities": identities, "inGetMode": in_get, "requests": requests.len(), "expected": expected,
                "lists": lists, "peakPerSecond": peak,
            }),
        });
        Ok(())
    }
}

/// Whose identity.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Team = 1,
    Crowd = 2,
    Other = 3,
}

/// The client id of an identity.
pub(crate) fn identity(role: Role, index: usize) -> String {
    format!("aaaaaaaa-0000-4000-8{:03}-{index:012}", role as usize)
}

/// The host of a vault.
pub(crate) fn host(vault: &Vault) -> String {
    format!("{}.vault.azure.net", vault.name())
}

/// The namespace of a team.
pub(crate) fn team(index: usize) -> String {
    format!("team-{index}")
}

fn crowd(index: usize) -> String {
    format!("crowd-{index}")
}

fn region(index: usize) -> String {
    format!("region-{index}")
}
