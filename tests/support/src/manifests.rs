//! What we ship, put into the cluster as a user would get it: `crds/` and the rendered chart.

use std::fs;
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt as _};

use crate::Result;
use crate::cluster::Cluster;
use crate::tools::{project, tool};
use crate::wait::within;

/// The chart's release in the cluster: its namespace and name are the documentation's.
pub(crate) const RELEASE: &str = "vaultsync";
/// The namespace of the operator.
pub const SYSTEM: &str = "vaultsync-system";

/// The CRDs of `crds/`, as objects.
///
/// # Errors
/// A file that is no YAML, or none at all.
pub fn crds() -> Result<Vec<DynamicObject>> {
    let mut paths = fs::read_dir(project().join("crds"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let mut objects = Vec::new();
    for path in paths {
        objects.extend(parse(&fs::read_to_string(path)?)?);
    }
    if objects.is_empty() { Err("crds/ has no CRD".into()) } else { Ok(objects) }
}

/// What the real Helm renders from `charts/vaultsync` with these settings (`name=value`), without the CRDs.
///
/// # Errors
/// Helm's message.
pub fn render(release: &str, namespace: &str, settings: &[&str]) -> Result<Vec<DynamicObject>> {
    let mut helm = Command::new(tool("helm")?);
    helm.args(["template", release]).arg(project().join("charts/vaultsync"));
    helm.args(["--namespace", namespace, "--kube-version", "1.36.3"]);
    for setting in settings {
        helm.args(["--set", setting]);
    }
    let output = helm.output()?;
    if !output.status.success() {
        return Err(format!("helm template: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    parse(&String::from_utf8(output.stdout)?)
}

/// The objects of a YAML text with any number of documents.
///
/// # Errors
/// A document that is no Kubernetes object.
pub fn parse(text: &str) -> Result<Vec<DynamicObject>> {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(text)?;
    let objects = documents.into_iter().filter(|document| !document.is_null());
    Ok(objects.map(serde_json::from_value).collect::<std::result::Result<_, _>>()?)
}

/// The kind of an object.
pub fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}

/// Applies objects as `kubectl apply --server-side` does; a namespaced one without a namespace goes to `namespace`.
///
/// # Errors
/// The API server's message with the object it refused.
pub async fn apply(client: &Client, namespace: &str, objects: &[DynamicObject]) -> Result<()> {
    for object in objects {
        let types = object.types.as_ref().ok_or("an object without a kind")?;
        let (resource, capabilities) = pinned_kind(client, &GroupVersionKind::try_from(types)?).await?;
        let api: Api<DynamicObject> = if matches!(capabilities.scope, Scope::Namespaced) {
            let namespace = object.namespace().unwrap_or_else(|| namespace.to_owned());
            Api::namespaced_with(client.clone(), &namespace, &resource)
        } else {
            Api::all_with(client.clone(), &resource)
        };
        let name = object.name_any();
        let applied = api.patch(&name, &PatchParams::apply("installer").force(), &Patch::Apply(object)).await;
        applied.map_err(|error| format!("{} {name}: {error}", types.kind))?;
    }
    Ok(())
}

/// Applies CRDs and waits until the API server serves them.
///
/// # Errors
/// A CRD is refused or not served within half a minute.
pub(crate) async fn apply_crds(client: &Client, crds: &[DynamicObject]) -> Result<()> {
    apply(client, "", crds).await?;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds {
        let name = crd.name_any();
        let served = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), served)
            .await
            .map_err(|_| format!("{name} is not served within 30 s"))??;
    }
    Ok(())
}

/// Waits until the API server enforces rights and both policies; it takes them up a moment after they are applied.
///
/// # Errors
/// They are not in force within half a minute.
pub(crate) async fn until_fenced(cluster: &Cluster) -> Result<()> {
    let client = cluster.operator_client().await;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM);
    let unmarked = Secret { metadata: named("unmarked"), ..Secret::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(client, SYSTEM);
    let for_anything = TokenRequest::default();
    let enforced = within(Duration::from_secs(30), || async {
        refused_by_policy(secrets.create(&dry_run, &unmarked).await)?;
        let account = &cluster.operator().name;
        refused_by_policy(accounts.create_token_request(account, &dry_run, &for_anything).await)
    });
    enforced.await.map_err(|seen| format!("the policies are not in force: {seen}").into())
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// RBAC refuses without causes, a policy names itself as the cause.
fn refused_by_policy<T>(answer: kube::Result<T>) -> std::result::Result<(), String> {
    match answer {
        Ok(_) => Err("allowed".to_owned()),
        Err(kube::Error::Api(status))
            if status.details.as_ref().is_some_and(|details| !details.causes.is_empty()) =>
        {
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}
