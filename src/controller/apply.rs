//! The only writer of Secrets: create by POST (or, where RBAC names them, by an Apply of what must not be there), change by
//! strategic-merge PATCH, look by an empty PATCH.
//!
//! Every call asks for metadata alone (`PartialObjectMetadata`), so that no value ever comes back.

use super::api_server::ApiServer;
use super::api_status;
use super::error::Error;
use crate::api::Creation;
use crate::plan::{Change, KeyBytes, NewSecret, Observed, Refusal, Seen, Written};
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, header};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{PartialObjectMeta, Status};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Answers without values; a server that cannot give them refuses.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The Secret of one object, and as whom it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteTarget<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// The object whose mark it carries.
    pub(super) object: &'a str,
    pub(super) manager: &'a str,
    pub(super) creation: Creation,
}

/// A key's bytes as Base64, or `null` to remove the key.
struct Field<'a>(Option<&'a KeyBytes>);

impl Serialize for Field<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(bytes) => {
                serializer.collect_str(&base64::display::Base64Display::new(bytes.expose(), &STANDARD))
            }
            None => serializer.serialize_none(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateBody<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: CreateMetadata<'a>,
    #[serde(rename = "type")]
    type_: &'a str,
    data: BTreeMap<&'a str, Field<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateMetadata<'a> {
    name: &'a str,
    namespace: &'a str,
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_references: Option<[&'a OwnerReference; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeBody<'a> {
    metadata: ChangeMetadata<'a>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<&'a str, Field<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeMetadata<'a> {
    uid: &'a str,
    resource_version: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    owner_references: Vec<serde_json::Value>,
}

impl ApiServer {
    /// Creates the target.
    ///
    /// # Errors
    /// What is worth trying again; what is not is [`Seen::Refused`].
    pub(super) async fn create(&self, target: WriteTarget<'_>, new: &NewSecret) -> Result<Seen, Error> {
        let body = CreateBody {
            api_version: "v1",
            kind: "Secret",
            metadata: CreateMetadata {
                name: target.name,
                namespace: target.namespace,
                labels: &new.labels,
                annotations: &new.annotations,
                owner_references: new.owner.as_ref().map(|owner| [owner]),
                // No Secret has it: one that is there is a conflict, and none is taken for one that is to be made.
                resource_version: self.names_secrets().then_some("1"),
            },
            type_: new.type_.as_str(),
            data: new.data.iter().map(|(key, bytes)| (key.as_str(), Field(Some(bytes)))).collect(),
        };
        let path = format!("/api/v1/namespaces/{}/secrets", target.namespace);
        let request = if self.names_secrets() {
            let path = format!("{path}/{}", target.name);
            // JSON is YAML.
            request(Method::PATCH, &path, target.manager, "application/apply-patch+yaml", &body)
        } else {
            request(Method::POST, &path, target.manager, "application/json", &body)
        };
        match self.secret("create secret", request).await? {
            Ok(metadata) => {
                let after = Observed::of(&metadata.metadata, target.manager);
                Ok(Seen::Written(Written { after, created: true, moved: true }))
            }
            Err(status) => refused("create secret", target, &status, |status| {
                // Ours after a crash, or somebody else's: the probe tells.
                (status.code == 409).then_some(Seen::Changed)
            }),
        }
    }

    /// Changes the target, guarded by the uid and resourceVersion that the change was planned against, and by the type that it
    /// must have, if that is the object's to say.
    ///
    /// # Errors
    /// What is worth trying again; what is not is [`Seen::Refused`].
    pub(super) async fn change(
        &self,
        target: WriteTarget<'_>,
        type_: Option<&str>,
        change: &Change,
    ) -> Result<Seen, Error> {
        let set = change.set.iter().map(|(key, bytes)| (key.as_str(), Field(Some(bytes))));
        let remove = change.remove.iter().map(|key| (key.as_str(), Field(None)));
        let drop_owners = change.drop_owners.iter().map(|uid| json!({ "$patch": "delete", "uid": uid }));
        let body = ChangeBody {
            metadata: ChangeMetadata {
                uid: &change.uid,
                resource_version: &change.resource_version,
                labels: &change.labels,
                annotations: &change.annotations,
                owner_references: drop_owners
                    .chain(change.add_owner.iter().map(|owner| json!(owner)))
                    .collect(),
            },
            type_,
            data: remove.chain(set).collect(),
        };
        let path = format!("/api/v1/namespaces/{}/secrets/{}", target.namespace, target.name);
        let request =
            request(Method::PATCH, &path, target.manager, "application/strategic-merge-patch+json", &body);
        match self.secret("patch secret", request).await? {
            Ok(metadata) => {
                let after = Observed::of(&metadata.metadata, target.manager);
                let moved = after.resource_version != change.resource_version;
                Ok(Seen::Written(Written { after, created: false, moved }))
            }
            Err(status) => refused("patch secret", target, &status, |status| match status.code {
                404 => Some(Seen::Absent),
                409 => Some(Seen::Changed),
                422 if api_status::names_field(status, "metadata.uid") => Some(Seen::Changed),
                _ => None,
            }),
        }
    }

    /// Looks at the target's metadata by a patch that changes nothing. `known`: the resourceVersion at which it is expected,
    /// so that what moves with the look itself, as by a policy that stamps every update, is not taken for another's doing.
    ///
    /// # Errors
    /// What is worth trying again.
    pub(super) async fn probe(&self, target: WriteTarget<'_>, known: Option<&str>) -> Result<Seen, Error> {
        match self.look(target, known).await? {
            // It is not at the version that is known.
            Seen::Changed => self.look(target, None).await,
            seen => Ok(seen),
        }
    }

    async fn look(&self, target: WriteTarget<'_>, known: Option<&str>) -> Result<Seen, Error> {
        let path = format!("/api/v1/namespaces/{}/secrets/{}", target.namespace, target.name);
        let body =
            known.map_or_else(|| json!({}), |version| json!({"metadata": {"resourceVersion": version}}));
        let request = request(Method::PATCH, &path, target.manager, "application/merge-patch+json", &body);
        match self.secret("probe secret", request).await? {
            Ok(metadata) => {
                let observed = Observed::of(&metadata.metadata, target.manager);
                let observed = Observed { unmoved: known.is_some(), ..observed };
                Ok(observed.claimed_by(target.object, target.namespace, target.creation))
            }
            Err(status) => refused("probe secret", target, &status, |status| match status.code {
                404 => Some(Seen::Absent),
                409 if known.is_some() => Some(Seen::Changed),
                403 if api_status::policy(status).is_some_and(|name| self.is_fence(name)) => {
                    Some(match api_status::fenced(status) {
                        Some(refusal) => Seen::Refused(refusal),
                        // A Secret with neither a mark nor a consent is not even shown.
                        None => {
                            Observed::default().claimed_by(target.object, target.namespace, target.creation)
                        }
                    })
                }
                _ => None,
            }),
        }
    }

    async fn secret(
        &self,
        verb: &'static str,
        request: Result<Request<Vec<u8>>, Error>,
    ) -> Result<Result<PartialObjectMeta<Secret>, Box<Status>>, Error> {
        let request = request?;
        match self.call(self.client().request(request)).await {
            Err(unanswered) => Err(unanswered.of(verb)),
            Ok(Ok(metadata)) => Ok(Ok(metadata)),
            Ok(Err(kube::Error::Api(status))) => Ok(Err(status)),
            Ok(Err(error)) => Err(Error::of(verb, &error)),
        }
    }
}

pub(super) fn request(
    method: Method,
    path: &str,
    manager: &str,
    content_type: &str,
    body: &impl Serialize,
) -> Result<Request<Vec<u8>>, Error> {
    let query =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("fieldManager", manager).finish();
    let unwritable = Error::Transport { verb: "write request" };
    // The error of serde_json is dropped: it may quote the body.
    let body = serde_json::to_vec(body).map_err(|_| unwritable.clone())?;
    Request::builder()
        .method(method)
        .uri(format!("{path}?{query}"))
        .header(header::ACCEPT, METADATA_ONLY)
        .header(header::CONTENT_TYPE, content_type)
        .body(body)
        .map_err(|_| unwritable)
}

/// What a refused request says of the target: what `usual` reads from it, unless an admission webhook refused it,
/// whose code means nothing, or a refusal that stands until something is changed, or an error that is worth trying
/// again.
fn refused(
    verb: &'static str,
    target: WriteTarget<'_>,
    status: &Status,
    usual: impl FnOnce(&Status) -> Option<Seen>,
) -> Result<Seen, Error> {
    if let Some(name) = api_status::webhook(status) {
        return Ok(Seen::Refused(Refusal::DeniedByWebhook(name.to_owned())));
    }
    if let Some(seen) = usual(status) {
        return Ok(seen);
    }
    let refusal = match (status.code, api_status::policy(status)) {
        (_, Some(name)) => Refusal::DeniedByPolicy(name.to_owned()),
        (403, None) if api_status::has_cause(status, "NamespaceTerminating") => Refusal::Terminating,
        // The namespace itself is gone.
        (404, None) => Refusal::Terminating,
        (403, None) => {
            let name = api_status::quota(status, target.name);
            name.map_or(Refusal::Forbidden, |name| Refusal::QuotaExceeded(name.to_owned()))
        }
        (413, None) => Refusal::TooLarge,
        (422, None) => api_status::invalid(status),
        _ => return Err(Error::of(verb, &kube::Error::Api(Box::new(status.clone())))),
    };
    Ok(Seen::Refused(refusal))
}
