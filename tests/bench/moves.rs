//! What moved in the cluster: every change of a resourceVersion, as a watch by the admin sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Client, Resource};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vaultsync::api::{ClusterKeyVault, KeyVault, VaultSecretSync};

use support::Result;
use support::wait::within;

/// One object, once.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) at: Instant,
}

/// Sees all that moves from its start on.
pub(crate) struct Moves {
    seen: Arc<Mutex<Vec<Move>>>,
    tasks: Vec<JoinHandle<()>>,
}

pub(crate) const SECRET: &str = "Secret";
pub(crate) const OBJECT: &str = "VaultSecretSync";

impl Moves {
    /// Begins; returns when nothing from now on can be missed.
    pub(crate) async fn start(client: &Client) -> Result<Self> {
        let mut moves = Self { seen: Arc::default(), tasks: Vec::new() };
        moves.watch::<Secret>(client, SECRET).await?;
        moves.watch::<VaultSecretSync>(client, OBJECT).await?;
        moves.watch::<KeyVault>(client, "KeyVault").await?;
        moves.watch::<ClusterKeyVault>(client, "ClusterKeyVault").await?;
        Ok(moves)
    }

    async fn watch<K>(&mut self, client: &Client, kind: &'static str) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
        K: serde::de::DeserializeOwned,
    {
        let mut events = watcher(Api::<PartialObjectMeta<K>>::all(client.clone()), Config::default()).boxed();
        let (shown, ready) = oneshot::channel();
        let (mut shown, seen) = (Some(shown), Arc::clone(&self.seen));
        self.tasks.push(tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::InitDone) => {
                        if let Some(shown) = shown.take() {
                            // Nobody waits for it any more: then nobody will ask what moved.
                            shown.send(()).ok();
                        }
                    }
                    // A list in the middle would hide what moved before it.
                    Ok(Event::Init) if shown.is_none() => panic!("the watch of {kind} had to begin anew"),
                    Ok(Event::Apply(object) | Event::Delete(object)) => note(&seen, kind, &object.metadata),
                    Ok(Event::Init | Event::InitApply(_)) => {}
                    Err(error) => panic!("the watch of {kind} failed: {error}"),
                }
            }
        }));
        Ok(ready.await?)
    }

    /// What moved since the last call.
    pub(crate) fn take(&self) -> Vec<Move> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until this kind moved so often since the last [`Self::take`], and takes all.
    pub(crate) async fn until(&self, kind: &str, count: usize, limit: Duration) -> Result<Vec<Move>> {
        let enough = within(limit, || async {
            // An ended task is one that panicked.
            assert!(!self.tasks.iter().any(JoinHandle::is_finished), "a watch ended");
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let moved = seen.iter().filter(|one| one.kind == kind).count();
            if moved >= count { Ok(()) } else { Err(format!("{moved} of {count}")) }
        });
        enough.await.map_err(|seen| format!("{kind}s that moved within {limit:?}: {seen}"))?;
        Ok(self.take())
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn note(seen: &Mutex<Vec<Move>>, kind: &'static str, metadata: &ObjectMeta) {
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let name = metadata.name.clone().unwrap_or_default();
    let one = Move { kind, namespace, name, at: Instant::now() };
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(one);
}

/// How many of a kind are among them.
pub(crate) fn count(moves: &[Move], kind: &str) -> usize {
    moves.iter().filter(|one| one.kind == kind).count()
}
