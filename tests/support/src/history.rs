//! Every state that the Secrets of a namespace have been in, as a watch shows them: what an app could have read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::watcher;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::namespace::Namespace;
use crate::scene::values;
use crate::wait::eventually;

/// Keys and values, as text.
pub type Values = BTreeMap<String, String>;

/// The states, until this is dropped.
pub struct History {
    states: Arc<Mutex<BTreeMap<String, Vec<Values>>>>,
    watch: JoinHandle<()>,
}

impl History {
    /// From now on: it returns when the watch has begun.
    pub async fn of(namespace: &Namespace) -> Self {
        Self::seen_by(namespace.api(&namespace.cluster().admin())).await
    }

    /// The same, with a client of one's own.
    pub async fn seen_by(secrets: Api<Secret>) -> Self {
        let states = Arc::<Mutex<BTreeMap<String, Vec<Values>>>>::default();
        let (begun, seen) = (Arc::new(Notify::new()), Arc::clone(&states));
        let begins = Arc::clone(&begun);
        let watch = tokio::spawn(async move {
            let mut events = watcher(secrets, watcher::Config::default()).boxed();
            while let Some(event) = events.next().await {
                match event.expect("an event of the watch") {
                    watcher::Event::Apply(secret) | watcher::Event::InitApply(secret) => {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.entry(secret.name_any()).or_default().push(values(&secret));
                    }
                    watcher::Event::InitDone => begins.notify_one(),
                    watcher::Event::Init | watcher::Event::Delete(_) => {}
                }
            }
        });
        begun.notified().await;
        Self { states, watch }
    }

    /// All of them so far.
    pub fn states(&self) -> BTreeMap<String, Vec<Values>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The states of one Secret up to this one, in which it is or comes to be.
    pub async fn until(&self, name: &str, last: &Values) -> Vec<Values> {
        eventually(&format!("the watch shows the last state of {name}"), || async {
            let states = self.states().remove(name).unwrap_or_default();
            if states.last() == Some(last) { Ok(states) } else { Err(format!("{} others", states.len())) }
        })
        .await
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
