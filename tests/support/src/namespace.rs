//! A namespace a test: fresh at its start, deleted after it without waiting.

use std::fmt::Debug;
use std::sync::mpsc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace as Object, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::clients::{Access, Account};
use crate::cluster::{Cluster, cluster};
use crate::keep;
use crate::says::Says;
use crate::wait::until;

/// A namespace that is deleted when this is dropped.
pub struct Namespace {
    /// Its name.
    pub name: String,
    cluster: &'static Cluster,
}

impl Namespace {
    /// A fresh namespace of the run's control plane, whose `default` ServiceAccount is there.
    ///
    /// # Panics
    /// The API server refuses it.
    pub async fn new() -> Self {
        Self::on(cluster()).await
    }

    /// The same of another control plane.
    ///
    /// # Panics
    /// The API server refuses it.
    pub async fn on(cluster: &'static Cluster) -> Self {
        let client = cluster.admin();
        let object =
            serde_json::from_value(json!({"metadata": {"generateName": "it-"}})).expect("a namespace");
        let created = Api::<Object>::all(client.clone()).create(&PostParams::default(), &object).await;
        let name = created.expect("a created namespace").metadata.name.expect("a name");
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &name);
        until(
            &accounts,
            "default",
            "the namespace has its ServiceAccount",
            |account: Option<&ServiceAccount>| account.is_some(),
        )
        .await;
        Self { name, cluster }
    }

    /// The control plane it is in.
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// A typed view of the namespace through a client.
    pub fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(client.clone(), &self.name)
    }

    /// Waits until an object here says of its newest spec that Ready is `status` for `reason`.
    pub async fn says<K>(&self, name: &str, status: &str, reason: &str) -> K
    where
        K: Says<Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Serialize
            + 'static,
    {
        let what = format!("{}/{name} has Ready={status} {reason}", self.name);
        let says = |object: Option<&K>| object.is_some_and(|object| object.says(status, reason));
        until(&self.api(&self.cluster.admin()), name, &what, says).await.expect("an object")
    }

    /// Creates a ServiceAccount here.
    ///
    /// # Panics
    /// The API server refuses it.
    pub async fn account(&self, name: &str) -> Account {
        let object = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a ServiceAccount");
        let accounts: Api<ServiceAccount> = self.api(&self.cluster.admin());
        accounts.create(&PostParams::default(), &object).await.expect("a created ServiceAccount");
        Account::new(&self.name, name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if keep::is_time() {
            keep::stay(self, None);
        }
        self.cluster.janitor.delete(Garbage::Namespace(self.name.clone()));
    }
}

/// What a test leaves behind.
pub(crate) enum Garbage {
    Namespace(String),
    /// An object without a namespace: its path.
    Path(String),
}

/// Deletes what tests leave behind in the background: a drop cannot wait, and a test's runtime ends with the test.
pub(crate) struct Janitor {
    queue: mpsc::Sender<Garbage>,
}

impl Janitor {
    pub(crate) fn new(access: Access) -> Self {
        let (queue, garbage) = mpsc::channel::<Garbage>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let namespaces: Api<Object> = Api::all(access.admin()?);
                for piece in garbage {
                    // What stays behind goes with the control plane.
                    match piece {
                        Garbage::Namespace(name) => {
                            namespaces.delete(&name, &DeleteParams::background()).await.ok();
                        }
                        Garbage::Path(path) => {
                            let request = http::Request::delete(path).body(Vec::new())?;
                            access.admin()?.request_text(request).await.ok();
                        }
                    }
                }
                crate::Result::Ok(())
            })
        });
        Self { queue }
    }

    pub(crate) fn delete(&self, piece: Garbage) {
        self.queue.send(piece).ok();
    }
}
