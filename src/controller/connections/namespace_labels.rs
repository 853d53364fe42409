//! The labels of namespaces, for grants that select by them; only where the operator is told that it may read them.

use crate::api::fnv1a;
use crate::controller::Context;
use crate::controller::watch::{News, watch};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::Event;
use std::sync::Arc;

/// A namespace, as far as it is watched.
pub(super) type Labelled = PartialObjectMeta<Namespace>;

/// What the watch has shown; nothing where labels are not read.
#[derive(Debug)]
pub(in crate::controller) struct NamespaceLabels(Option<Store<Labelled>>);

/// The labels of one namespace.
pub(in crate::controller) enum Labels {
    /// They are not read by this operator.
    Off,
    /// Not shown yet.
    Unknown,
    /// These.
    Known(Arc<Labelled>),
}

impl NamespaceLabels {
    pub(in crate::controller) const fn new(shown: Option<Store<Labelled>>) -> Self {
        Self(shown)
    }

    /// Whether labels are read at all.
    pub(in crate::controller) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The labels of a namespace.
    pub(in crate::controller) fn of(&self, namespace: &str) -> Labels {
        let Some(shown) = &self.0 else { return Labels::Off };
        // A namespace that is so new that only its objects were shown will be.
        shown.get(&ObjectRef::new(namespace)).map_or(Labels::Unknown, Labels::Known)
    }
}

/// Whether the API server refuses to show namespaces. No answer is no refusal: the watch keeps trying.
pub(in crate::controller) async fn is_refused(context: &Context) -> bool {
    let api: Api<Namespace> = Api::all(context.server.client().clone());
    let answer = context.server.call(api.list_metadata(&ListParams::default().limit(1))).await;
    matches!(answer, Ok(Err(kube::Error::Api(status))) if status.code == 403)
}

/// Watches for ever; has the objects of a namespace looked at whose labels are news.
pub(in crate::controller) async fn run(context: Arc<Context>, writer: Writer<Labelled>) {
    let api = Api::all(context.server.client().clone());
    let shown = watch(api, writer.as_reader(), &context.metrics, None).modify(pruned).reflect(writer);
    let mut shown = std::pin::pin!(shown);
    let mut news = News::new(|namespace: &Labelled| fnv1a(format!("{:?}", namespace.labels()).as_bytes()));
    // A list can be looked up only when it is complete.
    let mut listed = Vec::new();
    while let Some(event) = shown.next().await {
        let Ok(event) = event else { continue };
        let is_news = news.is_news(&event);
        match &event {
            Event::InitApply(namespace) | Event::Apply(namespace) | Event::Delete(namespace) if is_news => {
                listed.push(namespace.name_any());
            }
            _ => {}
        }
        if matches!(event, Event::Init | Event::InitApply(_)) {
            continue;
        }
        for namespace in listed.drain(..) {
            for object in context.index.all_cluster_users(Some(&namespace)) {
                context.triggers.object(&object);
            }
        }
    }
}

fn pruned(namespace: &mut Labelled) {
    let ObjectMeta { name, uid, resource_version, labels, .. } = std::mem::take(&mut namespace.metadata);
    namespace.metadata = ObjectMeta { name, uid, resource_version, labels, ..ObjectMeta::default() };
}
