//! A control plane and vaults of their own for a group of rows, and what is created there.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use keyvault_emulator::{Config, Emulator, Vault};
use kube::api::{Api, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vaultsync::api::{ClusterKeyVault, VaultSecretSync};

use support::{Account, Cluster, Result};

/// As many calls at once as the operator makes.
pub(crate) const CONCURRENCY: usize = 16;

/// The application that reads vaults for the whole cluster.
pub(crate) const APPLICATION: &str = "aaaaaaaa-1111-4222-8333-444444444444";
/// What it proves itself with, here and nowhere else.
pub(crate) const CREDENTIAL: &str = "known-to-the-emulator-alone";

/// See the module.
pub(crate) struct BenchCluster {
    pub(crate) cluster: Cluster,
    pub(crate) emulator: Emulator,
    pub(crate) binary: PathBuf,
}

impl BenchCluster {
    /// All of it, empty.
    pub(crate) async fn start() -> Result<Self> {
        let cluster = Cluster::start(|_| ())?;
        let emulator = cluster.azure(Config::default()).await?;
        let bench = Self { cluster, emulator, binary: release_binary()? };
        std::fs::create_dir(bench.credentials())?;
        Ok(bench)
    }

    /// The operator's folder of credentials.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.cluster.processes.folder().join("credentials")
    }

    /// A new namespace.
    pub(crate) async fn namespace(&self, client: &Client, name: &str) -> Result<()> {
        let object: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// A new ServiceAccount that Entra takes for `client_id`.
    pub(crate) async fn identity(
        &self,
        client: &Client,
        namespace: &str,
        account: &str,
        client_id: &str,
    ) -> Result<()> {
        create::<ServiceAccount>(client, namespace, json!({"metadata": {"name": account}})).await?;
        let account = Account::new(namespace, account);
        self.emulator.federate_account(&self.cluster.issuer().url, &account.user(), client_id);
        Ok(())
    }

    /// The `spec` of a `KeyVault` that is read as this ServiceAccount.
    pub(crate) fn key_vault(&self, url: &str, account: &str, client_id: &str) -> Value {
        json!({
            "url": url,
            "minRefreshInterval": "10s",
            "identity": {"workloadIdentity": {
                "serviceAccountName": account, "clientId": client_id, "tenantId": self.emulator.tenant(),
            }},
        })
    }

    /// A `ClusterKeyVault` with the vault's name, which these namespaces read as [`APPLICATION`].
    pub(crate) async fn cluster_key_vault(
        &self,
        client: &Client,
        vault: &Vault,
        namespaces: Vec<String>,
        detect: &str,
    ) -> Result<()> {
        let (name, tenant) = (vault.name(), self.emulator.tenant());
        vault.grant(APPLICATION);
        self.emulator.register_secret(tenant, APPLICATION, CREDENTIAL);
        std::fs::write(self.credentials().join(name), CREDENTIAL)?;
        let connection: ClusterKeyVault = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "url": vault.url(),
                "minRefreshInterval": "10s",
                "detect": detect,
                "identity": {"servicePrincipal": {
                    "tenantId": tenant, "clientId": APPLICATION, "credentialFile": name,
                }},
                "allow": [{"namespaces": {"names": namespaces}, "secrets": ["*"], "certificates": ["*"]}],
            },
        }))?;
        Api::all(client.clone()).create(&PostParams::default(), &connection).await?;
        Ok(())
    }

    /// How many connections were made to a host so far.
    pub(crate) fn connections(&self, host: &str) -> usize {
        let target = format!("{host}:443");
        self.emulator.connects().iter().filter(|connect| connect.target == target).count()
    }

    /// How many writes of this kind the operator has had answered since the mark, by verb and resource.
    pub(crate) fn operator_calls(&self, mark: support::Mark, verb: &str, resource: &str) -> usize {
        let user = self.cluster.operator().user();
        let wanted =
            |seen: &support::Seen| seen.user == user && seen.verb == verb && seen.resource == resource;
        self.cluster.seen_since(mark, wanted).len()
    }
}

/// Creates an object.
pub(crate) async fn create<K>(client: &Client, namespace: &str, object: Value) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let object: K = serde_json::from_value(object)?;
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &object).await?;
    Ok(())
}

/// Creates a `VaultSecretSync` with one key.
pub(crate) async fn create_object(
    client: &Client,
    namespace: &str,
    name: &str,
    secret: &str,
    vault: Value,
    interval: &str,
) -> Result<()> {
    create_wide(client, namespace, name, &[("KEY".to_owned(), secret.to_owned())], vault, interval).await
}

/// The same with as many keys, each with its secret.
pub(crate) async fn create_wide(
    client: &Client,
    namespace: &str,
    name: &str,
    keys: &[(String, String)],
    vault: Value,
    interval: &str,
) -> Result<()> {
    let item = |(key, secret): &(String, String)| json!({"key": key, "from": {"secret": {"name": secret}}});
    let data: Vec<Value> = keys.iter().map(item).collect();
    let object = json!({
        "metadata": {"name": name},
        "spec": {"vaultRef": vault, "refreshInterval": interval, "data": data},
    });
    create::<VaultSecretSync>(client, namespace, object).await
}

/// Does something so often, so much at once as the operator.
pub(crate) async fn each<F: Future<Output = Result<()>>>(
    count: usize,
    work: impl FnMut(usize) -> F,
) -> Result<()> {
    let mut results = stream::iter(0..count).map(work).buffer_unordered(CONCURRENCY);
    while let Some(result) = results.next().await {
        result?;
    }
    Ok(())
}

/// The release build beside this program, where cargo put both.
fn release_binary() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    Ok(here.parent().and_then(Path::parent).ok_or("no build folder")?.join("vaultsync"))
}
