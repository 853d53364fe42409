//! The API of one vault: a judged request in, an answer out. Synchronous, no network.
//!
//! Order, as a client meets it: token, path, faults, api-version, access, operation.

mod certificates;
mod keys;
mod list;
mod secrets;

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{
    answer::Answer,
    call::{Call, ObjectKind, Operation},
    fault::{FaultId, FaultKind},
    refusal::Refusal,
    state::VaultState,
    store::{Change, Object, RECOVERABLE_DAYS, SecretOptions, Version},
    token::{self, Caller},
};

/// The stable and preview versions that exist.
const API_VERSIONS: [&str; 12] = [
    "2016-10-01",
    "7.0",
    "7.1",
    "7.2",
    "7.3",
    "7.4",
    "7.5",
    "7.6",
    "2025-06-01-preview",
    "2025-07-01",
    "2026-03-01-preview",
    "2026-04-01",
];

/// A request to a vault, off the wire.
pub(crate) struct VaultRequest {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// What to do with a request.
pub(crate) enum Decision {
    Answer(Answer),
    /// Wait until this fault is cleared, then decide again.
    Stall(FaultId),
    /// Drop the connection.
    Reset,
}

/// Decides on a request whose caller and call were judged on arrival.
pub(crate) fn decide(
    vault: &mut VaultState,
    request: &VaultRequest,
    caller: &Caller,
    call: &Call,
    now: i64,
) -> Decision {
    let refusal = match vault.faults.hit_call(call) {
        None => {
            return Decision::Answer(answer(vault, request, caller, call, now).unwrap_or_else(Into::into));
        }
        Some((id, FaultKind::Stall)) => return Decision::Stall(id),
        Some((_, FaultKind::Reset)) => return Decision::Reset,
        Some((_, FaultKind::Answer { status, body })) => {
            return Decision::Answer(Answer::made_up(status, body));
        }
        Some((_, FaultKind::Garbage)) => return Decision::Answer(Answer::garbage()),
        Some((_, FaultKind::Oversized { bytes })) => return Decision::Answer(Answer::oversized(bytes)),
        Some((_, FaultKind::Redirect { location })) => return Decision::Answer(Answer::redirect(&location)),
        Some((_, FaultKind::Throttle { retry_after })) => Refusal::throttled(retry_after),
        Some((_, FaultKind::Forbidden { code })) => Refusal::scripted(code, caller, call, &vault.name),
        Some((_, FaultKind::NotFound)) => Refusal::not_found(call.kind, &call.name),
        Some((_, FaultKind::Unauthorized { code })) => token::scripted(code, &vault.tenant, &vault.realm),
        Some((_, FaultKind::Status { status })) => {
            Refusal::server_error(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        }
        Some((_, FaultKind::Aadsts { number })) => Refusal::bad_parameter(format!(
            "AADSTS{number} is a fault of the token endpoint, not of a vault."
        )),
    };
    Decision::Answer(refusal.into())
}

fn answer(
    vault: &mut VaultState,
    request: &VaultRequest,
    caller: &Caller,
    call: &Call,
    now: i64,
) -> Result<Answer, Refusal> {
    match request.query.get("api-version").map(String::as_str) {
        None | Some("") => {
            return Err(Refusal::bad_parameter("The request URI does not specify an api-version."));
        }
        Some(version) if !API_VERSIONS.contains(&version) => {
            return Err(Refusal::bad_parameter(format!(
                "The specified version ({version}) is not recognized. Consider using the latest supported version \
                 (2026-04-01)."
            )));
        }
        Some(_) => {}
    }
    if !vault.access.allows(&caller.client_id, call) {
        return Err(Refusal::not_granted(vault.access.model, caller, call, &vault.name));
    }
    if matches!(call.operation, Operation::List | Operation::ListVersions | Operation::ListDeleted) {
        return list::answer(vault, request, call);
    }
    if !matches!(call.operation, Operation::Get | Operation::GetDeleted) {
        vault.objects.refuse_managed(call.kind, &call.name, call.operation)?;
    }
    match call.kind {
        ObjectKind::Secret => secrets::answer(vault, request, call, now),
        ObjectKind::Key => keys::answer(vault, request, call, now),
        ObjectKind::Certificate => certificates::answer(vault, request, call, now),
    }
}

/// A change of metadata, as all three kinds have it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    tags: Option<BTreeMap<String, String>>,
    content_type: Option<String>,
    attributes: Option<Attributes>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Attributes {
    enabled: Option<bool>,
    nbf: Option<i64>,
    exp: Option<i64>,
}

impl Metadata {
    fn into_change(self) -> Change {
        let attributes = self.attributes.unwrap_or_default();
        Change {
            tags: self.tags,
            content_type: self.content_type,
            enabled: attributes.enabled,
            not_before: attributes.nbf,
            expires: attributes.exp,
        }
    }

    fn into_options(self) -> SecretOptions {
        let attributes = self.attributes.unwrap_or_default();
        SecretOptions {
            tags: self.tags.unwrap_or_default(),
            content_type: self.content_type,
            enabled: attributes.enabled.unwrap_or(true),
            not_before: attributes.nbf,
            expires: attributes.exp,
            managed: false,
        }
    }
}

/// Reads a body; the parser's own words may quote a value, so they are never passed on.
fn parse_body<T: DeserializeOwned>(bytes: &[u8], kind: ObjectKind) -> Result<T, Refusal> {
    let word = kind.word();
    let refuse = |_| Refusal::bad_parameter(format!("The request body is missing or is not a valid {word}."));
    serde_json::from_slice(bytes).map_err(refuse)
}

fn origin(host: &str) -> String {
    format!("https://{host}.vault.azure.net")
}

/// The address of an object, or of one of its versions.
fn address(host: &str, kind: ObjectKind, name: &str, version: Option<&str>) -> String {
    let base = format!("{}/{}/{name}", origin(host), kind.collection());
    version.map_or_else(|| base.clone(), |version| format!("{base}/{version}"))
}

/// What every version shows besides itself and its address.
fn metadata<P>(version: &Version<P>) -> Map<String, Value> {
    let options = &version.options;
    let mut attributes = json!({
        "enabled": options.enabled,
        "created": version.created,
        "updated": version.updated,
        "recoveryLevel": "Recoverable+Purgeable",
        "recoverableDays": RECOVERABLE_DAYS,
    });
    let mut shown = Map::new();
    if let Some(attributes) = attributes.as_object_mut() {
        attributes.extend(options.not_before.map(|at| ("nbf".to_owned(), at.into())));
        attributes.extend(options.expires.map(|at| ("exp".to_owned(), at.into())));
    }
    shown.insert("attributes".to_owned(), attributes);
    shown.extend(options.content_type.as_deref().map(|text| ("contentType".to_owned(), text.into())));
    if !options.tags.is_empty() {
        shown.insert("tags".to_owned(), json!(options.tags));
    }
    if options.managed {
        shown.insert("managed".to_owned(), true.into());
    }
    shown
}

/// What a deleted object shows besides.
fn deletion<P>(host: &str, kind: ObjectKind, object: &Object<P>) -> Map<String, Value> {
    let id = format!("{}/deleted{}/{}", origin(host), kind.collection(), object.name);
    let mut shown = Map::from_iter([("recoveryId".to_owned(), id.into())]);
    if let Some(deletion) = object.deletion {
        shown.insert("deletedDate".to_owned(), deletion.at.into());
        shown.insert("scheduledPurgeDate".to_owned(), deletion.purge_at.into());
    }
    shown
}
