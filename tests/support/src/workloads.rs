//! Workloads, as far as a cluster without their controllers has them, and the operator's right to restart them.

use std::sync::OnceLock;

use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::scene::OperatorScene;
use crate::{Account, Namespace, eventually, manifests, until};

/// What the chart renders with `rollouts.enabled`.
pub fn rendered() -> &'static [DynamicObject] {
    static RENDERED: OnceLock<Vec<DynamicObject>> = OnceLock::new();
    RENDERED.get_or_init(|| {
        let settings = ["rollouts.enabled=true"];
        manifests::render(manifests::RELEASE, manifests::SYSTEM, &settings).expect("a rendered chart")
    })
}

/// A manifest of a workload, with labels that its pods have too.
pub fn workload(kind: &str, name: &str) -> Value {
    let labels = json!({"app": name});
    let mut spec = json!({
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels, "annotations": {"example.com/team": "shop"}},
            "spec": {"containers": [{"name": "app", "image": "example.com/app:1"}]},
        },
    });
    if kind == "StatefulSet" {
        spec["serviceName"] = json!(name);
    }
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name, "labels": {"app": name, "part-of": "shop"}, "annotations": {"example.com/team": "shop"}},
        "spec": spec,
    })
}

/// The workloads of a kind in a namespace, through this client.
pub fn workloads(client: &kube::Client, namespace: &Namespace, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
    Api::namespaced_with(client.clone(), &namespace.name, &resource)
}

/// Grants the operator in this namespace what `rollouts.enabled` adds, and puts its policy into the cluster.
pub async fn let_restart(namespace: &Namespace, account: &Account) {
    let admin = namespace.cluster().admin();
    let role =
        rendered().iter().find(|object| manifests::kind(object) == "ClusterRole").expect("a ClusterRole");
    let role =
        serde_json::to_value(role).and_then(serde_json::from_value::<ClusterRole>).expect("a ClusterRole");
    let mut rules = role.rules.unwrap_or_default();
    rules.retain(|rule| rule.api_groups.iter().flatten().any(|group| group == "apps"));
    let role = Role { rules: Some(rules), ..Role::default() };
    let mut role = json!(role);
    (role["apiVersion"], role["kind"]) = ("rbac.authorization.k8s.io/v1".into(), "Role".into());
    role["metadata"] = json!({"name": "rollouts"});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "rollouts"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "rollouts"},
        "subjects": [{"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}],
    });
    let mut objects: Vec<DynamicObject> = rendered()
        .iter()
        .filter(|object| object.metadata.name.as_deref() == Some("vaultsync-workloads"))
        .cloned()
        .collect();
    assert_eq!(objects.len(), 2, "a policy and its binding");
    objects.extend([role, binding].map(|object| serde_json::from_value(object).expect("an object")));
    manifests::apply(&admin, &namespace.name, &objects).await.expect("rights and policy");

    let (name, probe) = ("until-fenced", workload("Deployment", "until-fenced"));
    let probe: DynamicObject = serde_json::from_value(probe).expect("a Deployment");
    workloads(&admin, namespace, "Deployment").create(&PostParams::default(), &probe).await.expect("a probe");
    let operator = workloads(&namespace.cluster().client_as(account).await, namespace, "Deployment");
    let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
    eventually("the policy of workloads is in force", || async {
        match operator.patch(name, &dry_run, &Patch::Merge(json!({"spec": {"replicas": 7}}))).await {
            Err(kube::Error::Api(status)) if status.message.contains("vaultsync-workloads") => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "allowed"))),
        }
    })
    .await;
    let gone = workloads(&admin, namespace, "Deployment").delete(name, &DeleteParams::default()).await;
    gone.expect("a deletion");
}

impl OperatorScene {
    /// Has the operator start with the right to restart so many workloads in a minute.
    pub async fn let_restart(&mut self, per_minute: u32) {
        let_restart(&self.namespace, self.namespace.cluster().operator()).await;
        self.settings.rollouts_per_minute = Some(per_minute);
    }

    /// Creates a workload as a user would.
    pub async fn workload(&self, kind: &str, name: &str) {
        let object = serde_json::from_value(workload(kind, name)).expect("a workload");
        let api = workloads(&self.admin(), &self.namespace, kind);
        api.create(&PostParams::default(), &object).await.expect("a created workload");
    }

    /// How often a workload was changed, and the annotations that vaultsync gave its pods.
    pub async fn restarts(&self, kind: &str, name: &str) -> (i64, Vec<(String, String)>) {
        let object = workloads(&self.admin(), &self.namespace, kind).get(name).await.expect("a workload");
        restarts(&object)
    }

    /// Waits until a workload was restarted so many times.
    pub async fn restarted(&self, kind: &str, name: &str, times: i64) -> Vec<(String, String)> {
        let what = format!("{kind} {name} was restarted {times} times");
        let is = |object: Option<&DynamicObject>| object.is_some_and(|object| restarts(object).0 == times);
        let api = workloads(&self.admin(), &self.namespace, kind);
        restarts(&until(&api, name, &what, is).await.expect("a workload")).1
    }
}

fn restarts(object: &DynamicObject) -> (i64, Vec<(String, String)>) {
    let annotations = object.data["spec"]["template"]["metadata"]["annotations"].as_object();
    let ours = annotations.into_iter().flatten().filter(|(name, _)| name.starts_with("vaultsync.dev/"));
    let ours = ours.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
    // The API server counts changes of the spec.
    (object.metadata.generation.unwrap_or_default() - 1, ours.collect())
}
