//! The labels of namespaces, for grants that select by them; only where the operator is told that it may read them.

use super::Context;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type LabelMap = Arc<BTreeMap<String, String>>;

/// What the watch has shown.
#[derive(Debug)]
pub(super) struct NamespaceLabels {
    on: bool,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    complete: bool,
    labels: HashMap<String, LabelMap>,
    /// What a relist has shown so far.
    relist: HashMap<String, LabelMap>,
}

/// The labels of one namespace.
pub(super) enum Labels {
    /// They are not read by this operator.
    Off,
    /// Not shown yet.
    Unknown,
    /// These.
    Known(LabelMap),
}

impl NamespaceLabels {
    pub(super) fn new(on: bool) -> Self {
        Self { on, shown: Mutex::default() }
    }

    /// Whether labels are read at all.
    pub(super) const fn is_on(&self) -> bool {
        self.on
    }

    /// The labels of a namespace.
    pub(super) fn of(&self, namespace: &str) -> Labels {
        if !self.on {
            return Labels::Off;
        }
        let shown = self.lock();
        // A namespace that is so new that only its objects were shown will be.
        let known = shown.complete.then(|| shown.labels.get(namespace)).flatten();
        known.map_or(Labels::Unknown, |labels| Labels::Known(Arc::clone(labels)))
    }

    /// Takes in one event; returns the namespaces whose labels are news.
    fn observe(&self, event: Event<PartialObjectMeta<Namespace>>) -> Vec<String> {
        let mut shown = self.lock();
        match event {
            Event::Init => {
                shown.relist.clear();
                Vec::new()
            }
            Event::InitApply(namespace) => {
                let (name, labels) = labelled(namespace);
                shown.relist.insert(name, labels);
                Vec::new()
            }
            Event::InitDone => {
                let before = std::mem::take(&mut shown.relist);
                let before = std::mem::replace(&mut shown.labels, before);
                shown.complete = true;
                let news = shown.labels.iter().filter(|(name, labels)| before.get(*name) != Some(labels));
                news.map(|(name, _)| name.clone()).collect()
            }
            Event::Apply(namespace) => {
                let (name, labels) = labelled(namespace);
                let before = shown.labels.insert(name.clone(), Arc::clone(&labels));
                if before == Some(labels) { Vec::new() } else { vec![name] }
            }
            Event::Delete(namespace) => {
                shown.labels.remove(&namespace.name_any());
                Vec::new()
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        // Nothing under this lock can panic half-way through a change.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn labelled(namespace: PartialObjectMeta<Namespace>) -> (String, LabelMap) {
    let name = namespace.name_any();
    (name, Arc::new(namespace.metadata.labels.unwrap_or_default()))
}

/// Whether the API server refuses to show namespaces. No answer is no refusal: the watch keeps trying.
pub(super) async fn is_refused(context: &Context) -> bool {
    let api: Api<Namespace> = Api::all(context.server.client().clone());
    let answer = context.server.call(api.list_metadata(&ListParams::default().limit(1))).await;
    matches!(answer, Some(Err(kube::Error::Api(status))) if status.code == 403)
}

/// Watches for ever, where that is wanted.
pub(super) async fn watch(context: Arc<Context>) {
    if !context.namespace_labels.is_on() {
        return std::future::pending().await;
    }
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(context.server.client().clone());
    let stream = watcher(api, watcher::Config::default()).default_backoff();
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(event) => {
                for namespace in context.namespace_labels.observe(event) {
                    for object in context.index.all_cluster_users(Some(&namespace)) {
                        context.triggers.object(&object);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(
                    "the watch of namespaces failed and is tried again: {}",
                    super::watch::watch_failure(&error)
                );
            }
        }
    }
    std::future::pending::<()>().await;
}
