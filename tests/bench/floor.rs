//! The floor: a plain loop of the requests that a first sync cannot do without, as many at once as the operator makes.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use vaultsync::api::{VaultSecretSync, field_manager};

use crate::cluster::{APPLICATION, BenchCluster, CREDENTIAL, each};
use crate::one_vault::{OneVault, index_of, secret};
use crate::say;
use crate::scale::Scale;
use support::Result;

/// For each object one GET of its secret, one POST of a Secret and one PATCH of the object's status, both as the operator
/// writes them: as the operator's own account, so that RBAC and policies judge it alike.
pub(crate) async fn measure(site: &OneVault, scale: &Scale) -> Result<Duration> {
    let objects = site.objects().await?;
    let server = site.bench.cluster.operator_client().await;
    let http = vault_client(&site.bench)?;
    say("the floor: a plain loop of the same requests");
    let start = Instant::now();
    let token = vault_token(&site.bench, &http).await?;
    let vault = Vault { http, token, url: site.vault.url() };
    each(scale.objects, |index| one(&server, &vault, &objects[index])).await?;
    Ok(start.elapsed())
}

struct Vault {
    http: reqwest::Client,
    token: String,
    url: String,
}

impl Vault {
    async fn value(&self, name: &str) -> Result<Value> {
        let url = format!("{}/secrets/{name}?api-version=2025-07-01", self.url);
        let answer = self.http.get(url).bearer_auth(&self.token).send().await?.error_for_status()?;
        let bundle: Value = serde_json::from_str(&answer.text().await?)?;
        Ok(bundle["value"].clone())
    }
}

async fn one(server: &Client, vault: &Vault, object: &VaultSecretSync) -> Result<()> {
    let (name, namespace) = (object.name_any(), object.namespace().ok_or("a namespace")?);
    let value = vault.value(&secret(index_of(&name).ok_or("a number")?)).await?;
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "vaultsync"},
            "annotations": {"vaultsync.dev/owner": name, "vaultsync.dev/owner-namespace": namespace},
            "ownerReferences": [{
                "apiVersion": "vaultsync.dev/v1alpha1", "kind": "VaultSecretSync", "name": name,
                "uid": object.uid(), "controller": true, "blockOwnerDeletion": false,
            }],
        },
        "stringData": {"KEY": value},
    }))?;
    let params = PostParams { field_manager: Some(field_manager(&name)), ..PostParams::default() };
    let secrets: Api<Secret> = Api::namespaced(server.clone(), &namespace);
    let created = secrets.create(&params, &secret).await?;
    let time = "2026-01-01T00:00:00Z";
    let status = json!({
        "metadata": {"resourceVersion": object.resource_version()},
        "status": {
            "observedGeneration": 1,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Synced", "message": "The Secret matches the vault.",
                "observedGeneration": 1, "lastTransitionTime": time,
            }],
            "vault": vault.url,
            "entries": [{
                "kind": "Secret", "name": name, "version": "0123456789abcdef0123456789abcdef",
                "created": time, "updated": time, "state": "Synced",
            }],
            "target": {
                "name": name, "uid": created.uid(), "resourceVersion": created.resource_version(),
                "written": time, "deletion": "Delete", "metadata": "0123456789abcdef",
                "keys": [{"name": "KEY", "of": "0123456789abcdef"}],
            },
            "lastChange": time,
        },
    });
    let api: Api<VaultSecretSync> = Api::namespaced(server.clone(), &namespace);
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    Ok(())
}

fn vault_client(bench: &BenchCluster) -> Result<reqwest::Client> {
    let root = reqwest::Certificate::from_pem(bench.emulator.ca_pem().as_bytes())?;
    let proxy = reqwest::Proxy::https(bench.emulator.proxy_url())?;
    Ok(reqwest::Client::builder().proxy(proxy).tls_certs_only([root]).build()?)
}

async fn vault_token(bench: &BenchCluster, http: &reqwest::Client) -> Result<String> {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", APPLICATION)
        .append_pair("client_secret", CREDENTIAL)
        .append_pair("scope", "https://vault.azure.net/.default")
        .finish();
    let url = format!("https://login.microsoftonline.com/{}/oauth2/v2.0/token", bench.emulator.tenant());
    let request = http.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer: Value = serde_json::from_str(&request.send().await?.error_for_status()?.text().await?)?;
    Ok(answer["access_token"].as_str().ok_or("an access token")?.to_owned())
}
