//! `make bench`: what the operator costs, beside a plain loop that makes the same requests in the same run.
//!
//! Seconds do not travel between machines; ratios and counts do. `N=1000` objects by default.
#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark talks, and ends at the first thing that is not as it should be"
)]

#[path = "../it/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use keyvault_emulator::{Config, Emulator, FederatedCredential, Vault};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use support::{Account, Cluster, Result, tools};
use vaultsync::api::{KeyVault, VaultSecretSync, field_manager};

const CLIENT: &str = "aaaaaaaa-1111-4222-8333-444444444444";
const NAMESPACES: usize = 10;
/// As many calls at once as the operator makes.
const CONCURRENCY: usize = 16;
const STEADY: Duration = Duration::from_secs(60);

struct Bench {
    cluster: Cluster,
    emulator: Emulator,
    vault: Vault,
    objects: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let objects = std::env::args().nth(1).map_or(Ok(1000), |text| text.parse())?;
    eprintln_line("starting control plane and emulator");
    let cluster = Cluster::start(|_| ())?;
    let emulator = Emulator::start(Config::default()).await?;
    let vault = emulator.vault("bench");
    vault.grant(CLIENT);
    let issuer = cluster.issuer();
    emulator.trust_issuer(&issuer.url, &issuer.jwks.to_string())?;
    let bench = Bench { cluster, emulator, vault, objects };
    bench.run().await
}

fn eprintln_line(text: &str) {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "{text}").ok();
}

impl Bench {
    async fn run(&self) -> Result<()> {
        for index in 0..self.objects {
            self.vault.set(&format!("secret-{index}"), &"x".repeat(1024));
        }
        eprintln_line("creating the objects");
        self.create_objects("synced").await?;
        eprintln_line("first sync");
        let binary = release_binary()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let start = Instant::now();
        let mut operator = self.start_operator(&binary, port).await?;
        let created = r#"vaultsync_reconciles_total{reason="Synced",result="created"}"#;
        self.until_metric(port, created, self.objects).await?;
        let first_sync = start.elapsed();
        let first_gets = self.vault.requests().len();
        let memory_first = memory(&operator)?;

        eprintln_line("steady state, one minute with nothing changing");
        let (mark, before) = (self.cluster.mark(), self.vault.requests().len());
        tokio::time::sleep(STEADY).await;
        let steady_vault = self.vault.requests().len() - before;
        let user = self.cluster.operator().user();
        let mut steady_api: BTreeMap<String, usize> = BTreeMap::new();
        for seen in self.cluster.seen_since(mark, |seen| seen.user == user) {
            *steady_api.entry(format!("{} {}", seen.verb, seen.resource)).or_default() += 1;
        }
        let memory_steady = memory(&operator)?;
        operator.kill()?;
        operator.wait()?;

        eprintln_line("the floor: a plain loop of the same requests");
        let plain = self.create_objects("plain").await?;
        let floor = self.plain_loop(&plain).await?;
        let report = json!({
            "objects": self.objects,
            "first_sync_seconds": first_sync.as_secs_f64(),
            "floor_seconds": floor.as_secs_f64(),
            "ratio": first_sync.as_secs_f64() / floor.as_secs_f64(),
            "first_sync_vault_requests": first_gets,
            "tokens": self.emulator.token_requests().len(),
            "steady_vault_requests_per_minute": steady_vault,
            "steady_api_requests_per_minute": steady_api,
            "resident_kib_after_first_sync": memory_first,
            "resident_kib_steady": memory_steady,
            "source_lines": lines(&tools::project().join("src"))?,
            "binary_bytes": std::fs::metadata(&binary)?.len(),
        });
        print(&report);
        Ok(())
    }

    /// Namespaces with an identity, a connection and their share of the objects; returns the namespaces.
    async fn create_objects(&self, prefix: &str) -> Result<Vec<String>> {
        let client = self.cluster.admin();
        let names: Vec<String> = (0..NAMESPACES).map(|index| format!("{prefix}-{index}")).collect();
        for name in &names {
            let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
            Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
            let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "bench"}}))?;
            Api::namespaced(client.clone(), name).create(&PostParams::default(), &account).await?;
            self.emulator.federate(FederatedCredential {
                tenant: self.emulator.tenant().to_owned(),
                client_id: CLIENT.to_owned(),
                issuer: self.cluster.issuer().url.clone(),
                subject: Account::new(name, "bench").user(),
                audience: "api://AzureADTokenExchange".to_owned(),
            });
            let vault: KeyVault = serde_json::from_value(json!({
                "metadata": {"name": "default"},
                "spec": {"url": self.vault.url(), "identity": {"workloadIdentity": {
                    "serviceAccountName": "bench", "clientId": CLIENT, "tenantId": self.emulator.tenant(),
                }}},
            }))?;
            Api::namespaced(client.clone(), name).create(&PostParams::default(), &vault).await?;
        }
        let create = |index: usize| {
            let (client, names) = (client.clone(), &names);
            async move {
                let object: VaultSecretSync = serde_json::from_value(json!({
                    "metadata": {"name": format!("object-{index}")},
                    "spec": {
                        "refreshInterval": "1m",
                        "data": [{"key": "KEY", "from": {"secret": {"name": format!("secret-{index}")}}}],
                    },
                }))?;
                let api = Api::namespaced(client, &names[index % NAMESPACES]);
                api.create(&PostParams::default(), &object).await?;
                Result::Ok(())
            }
        };
        self.each(create).await?;
        Ok(names)
    }

    /// Does something for each object, so many at once as the operator.
    async fn each<F: Future<Output = Result<()>>>(&self, work: impl FnMut(usize) -> F) -> Result<()> {
        let mut results = stream::iter(0..self.objects).map(work).buffer_unordered(CONCURRENCY);
        while let Some(result) = results.next().await {
            result?;
        }
        Ok(())
    }

    async fn start_operator(&self, binary: &Path, port: u16) -> Result<Child> {
        let ca = self.cluster.processes.write("emulator-ca.pem", self.emulator.ca_pem())?;
        let mut command = self.cluster.operator_command(binary).await?;
        command
            .env("VAULTSYNC_LISTEN", format!("127.0.0.1:{port}"))
            // Lifted: what is measured is the operator, not its patience.
            .env("VAULTSYNC_MAX_REQUESTS_PER_SECOND", "10000")
            .env("HTTPS_PROXY", self.emulator.proxy_url())
            .env("NO_PROXY", "127.0.0.1")
            .env("SSL_CERT_FILE", ca)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.cluster.processes.spawn(&mut command)
    }

    async fn until_metric(&self, port: u16, series: &str, wanted: usize) -> Result<()> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let end = Instant::now() + Duration::from_secs(600);
        let mut last = String::new();
        while Instant::now() < end {
            if let Ok(answer) = http.get(format!("http://127.0.0.1:{port}/metrics")).send().await {
                last = answer.text().await?;
                let found = last.lines().find_map(|line| line.strip_prefix(series));
                if found.is_some_and(|count| count.trim().parse::<usize>().is_ok_and(|count| count >= wanted))
                {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let ours: Vec<&str> = last.lines().filter(|line| line.starts_with("vaultsync_reconciles")).collect();
        Err(format!("not all objects were synced in ten minutes: {ours:#?}").into())
    }

    /// For each object one GET of its secret, one POST of a Secret as the operator writes it, one PATCH of the
    /// object's status: as the operator's own account, so that RBAC and policies judge it alike.
    async fn plain_loop(&self, namespaces: &[String]) -> Result<Duration> {
        let objects: Arc<BTreeMap<String, VaultSecretSync>> = Arc::new(self.objects_of(namespaces).await?);
        let client = self.cluster.operator_client().await;
        let http = self.vault_client()?;
        let start = Instant::now();
        let token = self.vault_token(&http, &namespaces[0]).await?;
        let work = |index: usize| {
            let (client, http, token) = (client.clone(), http.clone(), token.clone());
            let object = objects[&format!("object-{index}")].clone();
            async move { one(&client, &http, &token, &self.vault.url(), index, &object).await }
        };
        self.each(work).await?;
        Ok(start.elapsed())
    }

    async fn objects_of(&self, namespaces: &[String]) -> Result<BTreeMap<String, VaultSecretSync>> {
        let mut objects = BTreeMap::new();
        for namespace in namespaces {
            let api: Api<VaultSecretSync> = Api::namespaced(self.cluster.admin(), namespace);
            let found = api.list(&kube::api::ListParams::default()).await?.items;
            objects.extend(found.into_iter().map(|object| (object.name_any(), object)));
        }
        Ok(objects)
    }

    fn vault_client(&self) -> Result<reqwest::Client> {
        let root = reqwest::Certificate::from_pem(self.emulator.ca_pem().as_bytes())?;
        let proxy = reqwest::Proxy::https(self.emulator.proxy_url())?;
        Ok(reqwest::Client::builder().proxy(proxy).tls_certs_only([root]).build()?)
    }

    async fn vault_token(&self, http: &reqwest::Client, namespace: &str) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.cluster.admin(), namespace);
        let request = serde_json::from_value(json!({"spec": {"audiences": ["api://AzureADTokenExchange"]}}))?;
        let answer = accounts.create_token_request("bench", &PostParams::default(), &request).await?;
        let assertion = answer.status.and_then(|status| status.token).ok_or("a token")?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", CLIENT)
            .append_pair("scope", "https://vault.azure.net/.default")
            .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            .append_pair("client_assertion", &assertion)
            .finish();
        let url = format!("https://login.microsoftonline.com/{}/oauth2/v2.0/token", self.emulator.tenant());
        let answer = http
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await?
            .error_for_status()?;
        let answer: Value = serde_json::from_str(&answer.text().await?)?;
        Ok(answer["access_token"].as_str().ok_or("an access token")?.to_owned())
    }
}

async fn one(
    client: &Client,
    http: &reqwest::Client,
    token: &str,
    vault: &str,
    index: usize,
    object: &VaultSecretSync,
) -> Result<()> {
    let url = format!("{vault}/secrets/secret-{index}?api-version=2025-07-01");
    let answer = http.get(url).bearer_auth(token).send().await?.error_for_status()?;
    let bundle: Value = serde_json::from_str(&answer.text().await?)?;
    let (name, namespace) = (object.name_any(), object.namespace().ok_or("a namespace")?);
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "vaultsync"},
            "annotations": {"vaultsync.dev/owner": name},
            "ownerReferences": [{
                "apiVersion": "vaultsync.dev/v1alpha1", "kind": "VaultSecretSync", "name": name,
                "uid": object.uid(), "controller": true, "blockOwnerDeletion": false,
            }],
        },
        "stringData": {"KEY": bundle["value"]},
    }))?;
    let params = PostParams { field_manager: Some(field_manager(&name)), ..PostParams::default() };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let created = secrets.create(&params, &secret).await?;
    let status = json!({"status": {
        "observedGeneration": 1,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Synced", "message": "Synced.",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "target": {"name": name, "uid": created.uid(), "resourceVersion": created.resource_version()},
    }});
    let api: Api<VaultSecretSync> = Api::namespaced(client.clone(), &namespace);
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    Ok(())
}

/// The release build beside this program, where cargo put both.
fn release_binary() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    Ok(here.parent().and_then(Path::parent).ok_or("no build folder")?.join("vaultsync"))
}

/// Resident memory of a process in KiB: now, and at most.
fn memory(process: &Child) -> Result<BTreeMap<&'static str, u64>> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
    };
    Ok(BTreeMap::from([("now", field("VmRSS:")), ("peak", field("VmHWM:"))]))
}

fn lines(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        count += if path.is_dir() { lines(&path)? } else { std::fs::read_to_string(&path)?.lines().count() };
    }
    Ok(count)
}

fn print(report: &Value) {
    println!("| what | figure |\n|---|---|");
    for (name, value) in report.as_object().expect("an object") {
        println!("| {} | {value} |", name.replace('_', " "));
    }
    println!("\n{report}");
}
