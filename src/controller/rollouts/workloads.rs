//! The requests on workloads: the names of those with some labels, and the restart of one.

use super::super::api_server::ApiServer;
use super::super::api_status;
use super::super::apply::request;
use crate::api::{RestartItem, WorkloadSelector};
use crate::plan::{RestartFailure, Workload};
use http::{Method, Request, header};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use serde::Deserialize;
use serde_json::json;

/// As many workloads an item may select.
const MOST_SELECTED: usize = 100;

const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// A workload, and what is to stand in its pod template.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restart<'a> {
    pub(super) workload: &'a Workload,
    pub(super) annotation: &'a str,
    pub(super) value: &'a str,
    pub(super) manager: &'a str,
}

/// Names alone: no more of a workload is kept.
#[derive(Deserialize)]
struct ListedWorkloads {
    /// `null` where there are none.
    items: Option<Vec<ListedWorkload>>,
}

#[derive(Deserialize)]
struct ListedWorkload {
    metadata: ObjectMeta,
}

impl ApiServer {
    /// The names of the workloads that an item selects.
    pub(super) async fn workloads(
        &self,
        namespace: &str,
        item: &RestartItem,
    ) -> Result<Vec<String>, RestartFailure> {
        let labels = item.selector.as_ref().map(WorkloadSelector::query).unwrap_or_default();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("labelSelector", &labels)
            .append_pair("limit", &MOST_SELECTED.to_string())
            .finish();
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{}?{query}", item.kind.plural());
        let request = Request::get(path).header(header::ACCEPT, METADATA_LIST).body(Vec::new());
        let request = request.map_err(|_| RestartFailure::Failed(None))?;
        let names: ListedWorkloads = self.ask(request).await?;
        let names = names.items.unwrap_or_default().into_iter().filter_map(|item| item.metadata.name);
        Ok(names.take(MOST_SELECTED).collect())
    }

    /// Has the pods of a workload replaced, unless its template has this value already; false: there is no such workload.
    pub(super) async fn restart(
        &self,
        namespace: &str,
        restart: Restart<'_>,
    ) -> Result<bool, RestartFailure> {
        let Restart { workload, annotation, value, manager } = restart;
        let path =
            format!("/apis/apps/v1/namespaces/{namespace}/{}/{}", workload.kind.plural(), workload.name);
        let body =
            json!({ "spec": { "template": { "metadata": { "annotations": { annotation: value } } } } });
        let request = request(Method::PATCH, &path, manager, "application/merge-patch+json", &body);
        let request = request.map_err(|_| RestartFailure::Failed(None))?;
        match self.ask::<PartialObjectMeta<Deployment>>(request).await {
            Ok(_) => Ok(true),
            Err(RestartFailure::Failed(Some(404))) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<T, RestartFailure> {
        match self.call(self.client().request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(api_status::restart_failure(&status)),
            Err(_) | Ok(Err(_)) => Err(RestartFailure::Failed(None)),
        }
    }
}
