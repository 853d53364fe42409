//! One test's world: a namespace, a vault in an emulator of its own, a federated ServiceAccount, a `KeyVault`, and an
//! operator that sees nothing but that namespace.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use clap::Parser as _;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use keyvault_emulator::{Config, Emulator, Vault};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vaultsync::api::{KeyVault, VaultSecretSync};
use vaultsync::cli::{Cli, Command};
use vaultsync::controller::{SecretAccess, Settings};
use vaultsync::run::{clock, run};
use vaultsync::vault::{Limits, Transport};

use crate::plane::transport;
use crate::{Account, Faults, Namespace, Says as _, eventually, keep, until};

/// The client id of the identity that every test reads as, unless it says otherwise.
pub const CLIENT: &str = "aaaaaaaa-1111-4222-8333-444444444444";

/// See the module.
pub struct OperatorScene {
    /// Where all of it is.
    pub namespace: Namespace,
    /// Azure, as far as this test goes.
    pub emulator: Emulator,
    /// The vault of the `KeyVault` named `default`.
    pub vault: Vault,
    /// On the operator's way to the API server.
    pub faults: Faults,
    /// What the operator is started with.
    pub settings: Settings,
    /// As whom it is started, where that is not the operator of the chart's defaults.
    pub account: Option<Account>,
    /// Its way to the API server, where that is not the usual one.
    pub server: Option<Client>,
    /// Its way to the vaults, where that is not the emulator's proxy.
    pub network: Option<Transport>,
    /// Paths of what is to be deleted after the test.
    pub(crate) garbage: Vec<String>,
    operator: Option<Operator>,
}

/// A running operator.
pub struct Operator {
    address: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), vaultsync::run::RunError>>,
}

impl Operator {
    /// Stops it as SIGTERM does, and waits for its end.
    pub async fn stop(mut self) {
        self.stop.take().expect("not yet stopped").send(()).ok();
        self.task.await.expect("no panic").expect("an orderly end");
    }
}

impl OperatorScene {
    /// All of it, the operator running.
    pub async fn new() -> Self {
        let mut scene = Self::without_operator().await;
        scene.start().await;
        scene
    }

    /// All of it but the operator; [`Self::settings`] can still be changed.
    pub async fn without_operator() -> Self {
        Self::in_namespace(Namespace::new().await).await
    }

    /// The same in a namespace that is there.
    pub async fn in_namespace(namespace: Namespace) -> Self {
        let emulator = namespace.cluster().azure(Config::default()).await.expect("an emulator");
        // Vault names are global in Azure and no longer than 24 letters.
        let vault = emulator.vault(&namespace.name);
        let settings = Settings {
            namespaces: [namespace.name.clone()].into(),
            own_namespace: Some("vaultsync-system".to_owned()),
            secrets_policy: Some("vaultsync-secrets".to_owned()),
            secret_access: SecretAccess::Write,
            drift_interval: Duration::from_secs(1),
            drift_probes_per_second: 100,
            stale_after: None,
            expiring_before: Duration::from_secs(30 * 24 * 3600),
            expiry_metrics: false,
            min_refresh_interval: Duration::from_secs(1),
            credentials: vaultsync::vault::Credentials::new(vaultsync::run::clock),
            namespace_selectors: false,
            max_connections_per_namespace: 20,
            rollouts_per_minute: None,
            shared_retry: Duration::from_millis(500),
            limits: Limits {
                // Failures of a test's vault are over soon.
                retry: (Duration::from_millis(200), Duration::from_secs(1)),
                refused_retry: (Duration::from_millis(200), Duration::from_secs(1)),
                // Nor do they wait long for what is said of a connection.
                doubt: (Duration::from_millis(500), Duration::from_secs(2)),
                calm: Duration::from_millis(500),
                retry_after: Duration::from_secs(2),
                refresh_apart: Duration::ZERO,
                ..Limits::default()
            },
            clock,
        };
        let scene = Self {
            namespace,
            emulator,
            vault,
            faults: Faults::new(),
            settings,
            account: None,
            server: None,
            network: None,
            garbage: Vec::new(),
            operator: None,
        };
        scene.identity("shop", CLIENT).await;
        scene.vault.grant(CLIENT);
        scene.create::<KeyVault>(&scene.key_vault("default", &scene.vault.url())).await;
        scene
    }

    /// A ServiceAccount that Entra trusts as `client_id`.
    pub async fn identity(&self, account: &str, client_id: &str) {
        self.identity_in(&self.namespace, account, client_id).await;
    }

    /// The same in another namespace.
    pub async fn identity_in(&self, namespace: &Namespace, account: &str, client_id: &str) {
        self.federate(&namespace.account(account).await, client_id);
    }

    /// Has Entra trust this ServiceAccount, which is there, as `client_id`.
    pub fn federate(&self, account: &Account, client_id: &str) {
        let issuer = &self.namespace.cluster().issuer().url;
        self.emulator.federate_account(issuer, &account.user(), client_id);
    }

    /// Ends Entra's trust in a ServiceAccount as `client_id`.
    pub fn unfederate(&self, account: &Account, client_id: &str) {
        let issuer = &self.namespace.cluster().issuer().url;
        self.emulator.unfederate_account(issuer, &account.user(), client_id);
    }

    /// Has the operator start with these flags of `vaultsync run`, as far as they are about identities.
    pub fn give(&mut self, flags: &[String]) {
        let all = ["vaultsync", "run"].map(str::to_owned).into_iter().chain(flags.iter().cloned());
        let Command::Run(args) = Cli::try_parse_from(all).expect("flags").command else {
            panic!("not `run`")
        };
        self.settings.credentials = args.settings(clock).expect("settings").credentials;
    }

    /// A `KeyVault` that reads as the ServiceAccount `shop`, as often as a test wants.
    pub fn key_vault(&self, name: &str, url: &str) -> Value {
        json!({
            "apiVersion": "vaultsync.dev/v1alpha1", "kind": "KeyVault", "metadata": {"name": name},
            "spec": {
                "url": url,
                "minRefreshInterval": "10s",
                "identity": {"workloadIdentity": {
                    "serviceAccountName": "shop", "clientId": CLIENT, "tenantId": self.emulator.tenant(),
                }},
            },
        })
    }

    /// Starts the operator.
    pub async fn start(&mut self) {
        assert!(self.operator.is_none(), "one operator a scene");
        self.operator = Some(self.second_operator().await);
    }

    /// Starts one more operator, as an old leader that does not know of the new one.
    pub async fn second_operator(&self) -> Operator {
        let cluster = self.namespace.cluster();
        let account = self.account.as_ref().unwrap_or_else(|| cluster.operator());
        let client = match &self.server {
            Some(client) => client.clone(),
            None => cluster.client_as(account).await,
        };
        let client = self.faults.wrap(client);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            stopped.await.ok();
        };
        let task =
            tokio::spawn(run(self.settings.clone(), None, client, self.transport(), listener, shutdown));
        Operator { address, stop: Some(stop), task }
    }

    /// Stops the operator as SIGTERM does, and waits for its end.
    pub async fn stop(&mut self) {
        self.operator.take().expect("a running operator").stop().await;
    }

    /// Waits until the operator ends by itself.
    pub async fn end(&mut self) -> Result<(), vaultsync::run::RunError> {
        self.operator.take().expect("a running operator").task.await.expect("no panic")
    }

    /// Ends the operator in the middle of whatever it does.
    pub async fn kill(&mut self) {
        let operator = self.operator.take().expect("a running operator");
        operator.task.abort();
        operator.task.await.ok();
    }

    fn transport(&self) -> Transport {
        if let Some(network) = &self.network {
            return network.clone();
        }
        transport(self.emulator.proxy_url(), self.emulator.ca_pem())
    }

    /// What the operator serves at a path.
    pub async fn http(&self, path: &str) -> (u16, String) {
        let address = self.operator.as_ref().expect("a running operator").address;
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = client.get(format!("http://{address}{path}")).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// What the operator shows of a metric's series.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.http("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a number"))
    }

    /// The admin, who plays the users.
    pub fn admin(&self) -> Client {
        self.namespace.cluster().admin()
    }

    /// A typed view of the namespace for the admin.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        self.namespace.api(&self.admin())
    }

    /// Creates an object as a user would.
    pub async fn create<K>(&self, object: &Value) -> K
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        self.try_create(object).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, where the API server may refuse.
    pub async fn try_create<K>(&self, object: &Value) -> kube::Result<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        // Not through the type: a user's manifest holds what a user writes, defaults and mistakes included.
        let path = K::url_path(&(), Some(&self.namespace.name));
        let request = http::Request::post(format!("{path}?fieldValidation=Strict"))
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .expect("a request");
        self.admin().request(request).await
    }

    /// Creates a `VaultSecretSync` with this spec.
    pub async fn sync(&self, name: &str, spec: Value) -> VaultSecretSync {
        self.create(&sync(name, &spec)).await
    }

    /// Merges a patch into a `VaultSecretSync`.
    pub async fn edit(&self, name: &str, patch: Value) -> VaultSecretSync {
        self.try_edit(name, patch).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, where the API server may refuse.
    pub async fn try_edit(&self, name: &str, patch: Value) -> kube::Result<VaultSecretSync> {
        let api: Api<VaultSecretSync> = self.api();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Merges a patch into a `KeyVault`.
    pub async fn edit_vault(&self, name: &str, patch: Value) -> KeyVault {
        let api: Api<KeyVault> = self.api();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a patched KeyVault")
    }

    /// Waits until the operator has said of the newest spec that Ready is `status` for `reason`.
    pub async fn ready(&self, name: &str, status: &str, reason: &str) -> VaultSecretSync {
        self.namespace.says(name, status, reason).await
    }

    /// Waits until the object is synced.
    pub async fn synced(&self, name: &str) -> VaultSecretSync {
        self.ready(name, "True", "Synced").await
    }

    /// Waits until the connection says that Ready is `status` for `reason`, and, if it works, how changes are found:
    /// that is said a moment later, once.
    pub async fn vault_says(&self, name: &str, status: &str, reason: &str) -> KeyVault {
        let what = format!("KeyVault {name} has Ready={status} {reason}");
        let says = |vault: Option<&KeyVault>| {
            let mode = vault.and_then(|vault| vault.status.as_ref()?.mode.as_ref());
            vault.is_some_and(|vault| vault.says(status, reason)) && (mode.is_some() || status != "True")
        };
        until(&self.api(), name, &what, says).await.expect("an object")
    }

    /// Waits until the `KeyVault` is like this.
    pub async fn vault_where(&self, name: &str, what: &str, like: impl Fn(&KeyVault) -> bool) -> KeyVault {
        until(&self.api(), name, what, |vault: Option<&KeyVault>| vault.is_some_and(&like))
            .await
            .expect("an object")
    }

    /// The Secret's keys and values, as text; `None` where there is none.
    pub async fn secret(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let secret = self.api::<Secret>().get_opt(name).await.expect("an answer")?;
        Some(values(&secret))
    }

    /// Waits until the Secret has exactly these keys and values.
    pub async fn secret_is(&self, name: &str, expected: &[(&str, &str)]) -> Secret {
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let what = format!("Secret {name} has the keys {:?} and their values", expected.keys());
        self.secret_where(name, &what, |secret| values(secret) == expected).await
    }

    /// Waits until there is no such object.
    pub async fn gone<K>(&self, name: &str)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize
            + Send
            + 'static,
    {
        until(&self.api::<K>(), name, &format!("{name} is gone"), |object: Option<&K>| object.is_none())
            .await;
    }

    /// Creates a Secret that is not ours.
    pub async fn foreign_secret(&self, name: &str, key: &str, value: &str) -> Secret {
        let object = json!({"metadata": {"name": name}, "stringData": {key: value}});
        let secret = serde_json::from_value(object).expect("a Secret");
        self.api::<Secret>().create(&PostParams::default(), &secret).await.expect("a created Secret")
    }

    /// Waits until the Secret of an object has it as its only owner.
    pub async fn is_owned(&self, object: &VaultSecretSync) {
        let owned = |secret: &Secret| {
            let owners = secret.metadata.owner_references.iter().flatten().map(|owner| Some(&owner.uid));
            owners.eq([object.metadata.uid.as_ref()])
        };
        self.secret_where(object.target_name(), "the object owns the Secret", owned).await;
    }

    /// Waits until the Secret is like this.
    pub async fn secret_where(&self, name: &str, what: &str, like: impl Fn(&Secret) -> bool) -> Secret {
        until(&self.api(), name, what, |secret: Option<&Secret>| secret.is_some_and(&like))
            .await
            .expect("a Secret")
    }

    /// Waits until the operator has looked at Secrets so many times more.
    pub async fn looks_again(&self, times: usize) {
        let before = self.faults.count("patch", "secrets");
        eventually(&format!("{times} more looks at Secrets"), || async {
            let looks = self.faults.count("patch", "secrets") - before;
            if looks >= times { Ok(()) } else { Err(format!("{looks} looks")) }
        })
        .await;
    }

    /// How often a secret was asked of the vault.
    #[must_use]
    pub fn reads(&self, secret: &str) -> usize {
        self.vault.count_where(|request| request.secret.as_deref() == Some(secret))
    }

    /// Merges a patch into a Secret as a person with `kubectl` does.
    pub async fn edit_secret(&self, name: &str, patch: Value) -> Secret {
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        self.api::<Secret>().patch(name, &params, &Patch::Merge(patch)).await.expect("a patched Secret")
    }

    /// Deletes an object as a user would.
    pub async fn delete<K>(&self, name: &str)
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await.expect("a deletion");
    }

    /// Asks for a sync without waiting for it.
    pub async fn ask(&self, name: &str, request: &str) {
        let annotations = json!({"vaultsync.dev/sync-requested-at": request});
        self.edit(name, json!({"metadata": {"annotations": annotations}})).await;
    }

    /// Has an object synced now, and waits for the answer.
    pub async fn force(&self, name: &str, request: &str) -> VaultSecretSync {
        self.ask(name, request).await;
        let answered = |object: Option<&VaultSecretSync>| {
            let status = object.and_then(|object| object.status.as_ref());
            status.is_some_and(|status| status.last_handled_sync.as_deref() == Some(request))
        };
        until(&self.api(), name, &format!("{name} answers the request {request}"), answered)
            .await
            .expect("an object")
    }

    /// The reasons of all events about an object, oldest first.
    pub async fn event_reasons(&self, name: &str) -> Vec<String> {
        self.event_notes(name).await.into_iter().map(|(reason, _)| reason).collect()
    }

    /// Reason and note of every event about an object, in the order of what they tell of.
    pub async fn event_notes(&self, name: &str) -> Vec<(String, String)> {
        let mut events = self.api::<Event>().list(&ListParams::default()).await.expect("events").items;
        events.retain(|event| {
            event.regarding.as_ref().is_some_and(|about| about.name.as_deref() == Some(name))
        });
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        events
            .into_iter()
            .map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default()))
            .collect()
    }

    /// Waits until an event about an object has this reason: events follow what they tell of at a pace of their own.
    pub async fn told(&self, name: &str, reason: &str) {
        eventually(&format!("an event {reason} about {name}"), || async {
            let reasons = self.event_reasons(name).await;
            if reasons.iter().any(|found| found == reason) { Ok(()) } else { Err(format!("{reasons:?}")) }
        })
        .await;
    }
}

impl Drop for OperatorScene {
    fn drop(&mut self) {
        if keep::is_time() {
            keep::stay(&self.namespace, Some(&self.emulator));
        }
        for path in self.garbage.drain(..) {
            self.namespace.cluster().janitor.delete(crate::namespace::Garbage::Path(path));
        }
    }
}

/// The manifest of a `VaultSecretSync`.
pub fn sync(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "vaultsync.dev/v1alpha1", "kind": "VaultSecretSync",
        "metadata": {"name": name}, "spec": spec,
    })
}

/// A spec of `data` alone: pairs of key and secret, read as often as a test may.
pub fn data(pairs: &[(&str, &str)]) -> Value {
    let items: Vec<Value> =
        pairs.iter().map(|(key, secret)| json!({"key": key, "from": {"secret": {"name": secret}}})).collect();
    json!({"refreshInterval": "10s", "data": items})
}

/// The keys and values of a Secret, as text.
pub fn values(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned())).collect()
}

/// The resourceVersion, for whoever counts movements.
pub fn version<K: Resource>(object: &K) -> String {
    object.resource_version().unwrap_or_default()
}
