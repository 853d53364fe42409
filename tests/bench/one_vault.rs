//! One vault, one identity, one `ClusterKeyVault`, and objects in ten namespaces with a secret of 1 KiB each: the
//! population that most rows are measured on, in the order in which each leaves it as the next one needs it.

use keyvault_emulator::Vault;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use vaultsync::api::{ClusterKeyVault, VaultSecretSync};

use crate::cluster::{BenchCluster, create_object, each};
use crate::rows::Rows;
use crate::scale::Scale;
use crate::{fault_of_all, first_sync, floor, restart, say, steady};
use support::Result;

/// The application that reads the vault.
pub(crate) const APPLICATION: &str = "aaaaaaaa-1111-4222-8333-444444444444";
/// What it proves itself with, here and nowhere else.
pub(crate) const CREDENTIAL: &str = "known-to-the-emulator-alone";
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
    let floor = floor::measure(&OneVault::create(scale).await?, scale).await?;
    let site = OneVault::create(scale).await?;
    let operator = first_sync::measure(&site, scale, floor, rows).await?;
    operator.kill()?;
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
        let vault = bench.emulator.vault("bench");
        vault.grant(APPLICATION);
        bench.emulator.register_secret(bench.emulator.tenant(), APPLICATION, CREDENTIAL);
        std::fs::write(bench.credentials().join(CONNECTION), CREDENTIAL)?;
        for index in 0..scale.objects {
            vault.set(&secret(index), &"x".repeat(1024));
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
        let connection: ClusterKeyVault = serde_json::from_value(json!({
            "metadata": {"name": CONNECTION},
            "spec": {
                "url": self.vault.url(),
                "minRefreshInterval": "10s",
                "identity": {"servicePrincipal": {
                    "tenantId": self.bench.emulator.tenant(), "clientId": APPLICATION, "credentialFile": CONNECTION,
                }},
                "allow": [{"namespaces": {"names": teams}, "secrets": ["*"]}],
            },
        }))?;
        Api::all(self.client.clone()).create(&PostParams::default(), &connection).await?;
        Ok(())
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
