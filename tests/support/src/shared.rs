//! What tests have beside their namespace: a `ClusterKeyVault`, rights of their own, objects in a second namespace.

use k8s_openapi::api::core::v1::Namespace as Object;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use vaultsync::api::{ClusterKeyVault, KeyVault};

use crate::namespace::Garbage;
use crate::scene::{CLIENT, OperatorScene};
use crate::{Account, Cluster, Namespace, Says as _, cluster, eventually, manifests, until};

/// A `ClusterKeyVault` that is deleted when this is dropped.
pub struct Shared {
    /// Its name.
    pub name: String,
    cluster: &'static Cluster,
}

const PATH: &str = "/apis/vaultsync.dev/v1alpha1/clusterkeyvaults";

impl Shared {
    /// How an object names it.
    pub fn reference(&self) -> Value {
        json!({"kind": "ClusterKeyVault", "name": self.name})
    }

    /// A spec that reads through it.
    pub fn spec(&self, pairs: &[(&str, &str)]) -> Value {
        let mut spec = crate::scene::data(pairs);
        spec["vaultRef"] = self.reference();
        spec
    }

    /// Sets the grants.
    pub async fn allow(&self, allow: Value) {
        self.edit(json!({"allow": allow})).await;
    }

    /// Merges a patch into its spec.
    pub async fn edit(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.api()
            .patch(&self.name, &PatchParams::default(), &patch)
            .await
            .expect("a patched ClusterKeyVault");
    }

    /// Waits until it says that Ready is `status` for `reason`; returns the message.
    pub async fn says(&self, status: &str, reason: &str) -> String {
        self.says_in_words(status, reason, "").await
    }

    /// Waits until it says that Ready is `False` for `reason`, in words that contain `part`; returns the message.
    pub async fn fails_by(&self, reason: &str, part: &str) -> String {
        self.says_in_words("False", reason, part).await
    }

    async fn says_in_words(&self, status: &str, reason: &str, part: &str) -> String {
        let what = format!("ClusterKeyVault {} has Ready={status} {reason} {part}", self.name);
        let says = |vault: Option<&ClusterKeyVault>| {
            vault.is_some_and(|vault| vault.says(status, reason) && vault.message().contains(part))
        };
        let vault = until(&self.api(), &self.name, &what, says).await.expect("an object");
        vault.message().to_owned()
    }

    fn api(&self) -> Api<ClusterKeyVault> {
        Api::all(self.cluster.admin())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.cluster.janitor.delete(Garbage::Path(format!("{PATH}/{}", self.name)));
    }
}

/// What names of a namespace: the usual item of `allow`.
pub fn grant(namespaces: &[&str], secrets: &[&str]) -> Value {
    json!({"namespaces": {"names": namespaces}, "secrets": secrets})
}

/// A `ClusterKeyVault` with these fields of its spec set beside a url and an identity.
pub fn cluster_key_vault(name: &str, fields: &Value) -> Value {
    let mut spec = json!({
        "url": "https://prod.vault.azure.net",
        "identity": {"workloadIdentity": {"serviceAccountName": "shop", "clientId": CLIENT}},
    });
    for (field, value) in fields.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({"apiVersion": "vaultsync.dev/v1alpha1", "kind": "ClusterKeyVault", "metadata": {"name": name}, "spec": spec})
}

/// What the API server says to an object without a namespace.
pub async fn post(client: &Client, path: &str, query: &str, object: &Value) -> kube::Result<DynamicObject> {
    let request = http::Request::post(format!("{path}?fieldValidation=Strict{query}"))
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .expect("a request");
    client.request(request).await
}

/// Creates a `ClusterKeyVault` without keeping it.
pub async fn try_cluster_key_vault(object: &Value) -> kube::Result<DynamicObject> {
    post(&cluster().admin(), PATH, "&dryRun=All", object).await
}

impl OperatorScene {
    /// All of it but the operator and the `KeyVault`, which would prove itself.
    pub async fn of_shared_vaults() -> Self {
        let scene = Self::without_operator().await;
        scene.delete::<KeyVault>("default").await;
        scene
    }

    /// A `ClusterKeyVault` of the scene's vault, named after its namespace, that reads as the ServiceAccount `shop` of
    /// each namespace.
    pub async fn share(&self, allow: Value) -> Shared {
        let identity = json!({"workloadIdentity": {
            "serviceAccountName": "shop", "clientId": CLIENT, "tenantId": self.emulator.tenant(),
        }});
        self.share_with(&json!({"allow": allow, "identity": identity})).await
    }

    /// The same, which reads as this identity and grants everything to the scene's namespace.
    pub async fn share_as(&self, identity: Value) -> Shared {
        let allow = json!([grant(&[&self.namespace.name], &["*"])]);
        self.share_with(&json!({"allow": allow, "identity": identity})).await
    }

    /// The same with these fields of its spec.
    pub async fn share_with(&self, fields: &Value) -> Shared {
        let (name, cluster) = (self.namespace.name.clone(), self.namespace.cluster());
        let mut all = json!({"url": self.vault.url(), "minRefreshInterval": "10s"});
        for (field, value) in fields.as_object().into_iter().flatten() {
            all[field] = value.clone();
        }
        let object = cluster_key_vault(&name, &all);
        post(&cluster.admin(), PATH, "", &object).await.expect("a ClusterKeyVault");
        Shared { name, cluster }
    }

    /// Has the operator start with rights of its own: what the chart renders with these settings.
    pub async fn operate_with(&mut self, settings: &[&str]) {
        let (name, cluster) = (self.namespace.name.clone(), self.namespace.cluster());
        let account = format!("tokenRequests.serviceAccounts[0].namespace={name}");
        let mut all =
            vec!["policies.enabled=false", account.as_str(), "tokenRequests.serviceAccounts[0].name=shop"];
        all.extend_from_slice(settings);
        let rendered = manifests::render(&name, &name, &all).expect("a rendered chart");
        let rights: Vec<DynamicObject> = rendered
            .into_iter()
            .filter(|object| {
                let kind = manifests::kind(object);
                kind == "ServiceAccount" || kind.contains("Role")
            })
            .collect();
        manifests::apply(&cluster.admin(), &name, &rights).await.expect("rights");
        for object in &rights {
            let plural = match manifests::kind(object) {
                "ServiceAccount" => {
                    self.account = Some(Account::new(&name, &object.name_any()));
                    continue;
                }
                "ClusterRole" => "clusterroles",
                "ClusterRoleBinding" => "clusterrolebindings",
                _ => continue,
            };
            let path = format!("/apis/rbac.authorization.k8s.io/v1/{plural}/{}", object.name_any());
            self.garbage.push(path);
        }
        // RBAC takes them up a moment after they are applied.
        let client = cluster.client_as(self.account.as_ref().expect("a ServiceAccount in the chart")).await;
        let (vaults, namespaces): (Api<KeyVault>, Api<Object>) =
            (Api::namespaced(client.clone(), &name), Api::all(client));
        let selectors = settings.contains(&"settings.namespaceSelectors=true");
        eventually("the rights are in force", || async {
            vaults.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            if selectors {
                namespaces.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            }
            Ok(())
        })
        .await;
    }

    /// Creates an object of the whole cluster, which goes after the test.
    pub async fn create_for_all(&mut self, path: &str, object: &Value) {
        post(&self.admin(), path, "", object).await.unwrap_or_else(|error| panic!("{error}"));
        let name = object["metadata"]["name"].as_str().expect("a name");
        self.garbage.push(format!("{path}/{name}"));
    }

    /// Creates an object in another namespace.
    pub async fn create_in(&self, namespace: &Namespace, plural: &str, object: &Value) {
        let path = format!("/apis/vaultsync.dev/v1alpha1/namespaces/{}/{plural}", namespace.name);
        post(&self.admin(), &path, "", object).await.unwrap_or_else(|error| panic!("{error}"));
    }
}
