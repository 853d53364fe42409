//! One vault, one identity, one `ClusterKeyVault`, and objects in ten namespaces with a secret of 1 KiB each: the
//! population that most rows are measured on, in the order in which each leaves it as the next one needs it.

use keyvault_emulator::Vault;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use vaultsync::api::VaultSecretSync;

use crate::cluster::{BenchCluster, create_object, each};
use crate::rows::Rows;
use crate::scale::{LONG_AGO, Scale};
use crate::{fault_of_all, first_sync, floor, restart, say, steady};
use support::Result;

pub(crate) const HOST: &str = "bench.vault.azure.net";
const NAMESPACES: usize = 10;
const CONNECTION: &str = "bench";

/// The population.
pub(crate) struct OneVault {
    pub(crate) bench: BenchCluster,
    pub(crate) client: Client,
    pub(crate) vault: Vault,
}

/// Measures all that this population serves.
pub(crate) async fn measure(scale: &Scale, rows: &mut Rows) -> Result<()> {
    let floor = async || floor::measure(&OneVault::create(scale).await?, scale).await;
    let before = floor().await?;
    let site = OneVault::create(scale).await?;
    let (operator, first_sync) = first_sync::measure(&site, scale).await?;
    operator.kill()?;
    first_sync.add(scale, [before, floor().await?], rows);
    let (operator, witness) = restart::measure(&site, scale, rows).await?;
    steady::measure(&site, &operator, &witness, scale, rows).await?;
    rows.add_memory(scale.objects);
    steady::change(&site, &operator, &witness, scale, rows).await?;
    fault_of_all::measure(&site, &operator, &witness, scale, rows).await?;
    operator.kill()?;
    restart::without_statuses(&site, &witness, scale, rows).await
}

impl OneVault {
    async fn create(scale: &Scale) -> Result<Self> {
        say(&format!("starting a control plane with {} objects", scale.objects));
        let bench = BenchCluster::start().await?;
        let vault = bench.emulator.vault(CONNECTION);
        for index in 0..scale.objects {
            vault.set_ago(&secret(index), &"x".repeat(1024), LONG_AGO);
        }
        let client = bench.cluster.admin();
        let site = Self { bench, client, vault };
        site.connect().await?;
        let interval = format!("{}s", scale.interval.as_secs());
        let object = |index: usize| {
            let (client, interval) = (&site.client, &interval);
            async move {
                let vault = json!({"kind": "ClusterKeyVault", "name": CONNECTION});
                let namespace = team(index % NAMESPACES);
                create_object(client, &namespace, &object(index), &secret(index), vault, interval).await
            }
        };
        each(scale.objects, object).await?;
        Ok(site)
    }

    async fn connect(&self) -> Result<()> {
        let teams: Vec<String> = (0..NAMESPACES).map(team).collect();
        for team in &teams {
            self.bench.namespace(&self.client, team).await?;
        }
        self.bench.cluster_key_vault(&self.client, &self.vault, teams, "Auto").await
    }

    /// All objects as they are now.
    pub(crate) async fn objects(&self) -> Result<Vec<VaultSecretSync>> {
        let mut objects = Vec::new();
        for team in (0..NAMESPACES).map(team) {
            let api: Api<VaultSecretSync> = Api::namespaced(self.client.clone(), &team);
            objects.extend(api.list(&ListParams::default()).await?.items);
        }
        objects.sort_by_key(|object| index_of(&object.name_any()));
        Ok(objects)
    }

    /// Pages of one LIST of the vault.
    pub(crate) fn pages(scale: &Scale) -> usize {
        Scale::pages(scale.objects)
    }
}

fn team(index: usize) -> String {
    format!("team-{index}")
}

/// The secret of an object.
pub(crate) fn secret(index: usize) -> String {
    format!("secret-{index}")
}

fn object(index: usize) -> String {
    format!("object-{index}")
}

/// The number in the name of an object or secret.
pub(crate) fn index_of(name: &str) -> Option<usize> {
    name.rsplit_once('-')?.1.parse().ok()
}
