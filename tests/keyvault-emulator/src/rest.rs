//! The secrets API of one vault: a judged request in, an answer out. Synchronous, no network.
//!
//! Order, as a client meets it: token, path, faults, api-version, access, operation.

use std::collections::BTreeMap;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    answer::Answer,
    call::{Call, Operation},
    fault::{FaultId, FaultKind},
    paging::{self, SkipToken},
    refusal::Refusal,
    secrets::{Change, RECOVERABLE_DAYS, Secret, SecretOptions, Version},
    state::VaultState,
    token::{self, Caller},
};

/// The stable and preview versions that exist.
const API_VERSIONS: [&str; 11] = [
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
        Some((_, FaultKind::NotFound)) => Refusal::secret_not_found(&call.name),
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
    let VaultState { name: host, secrets, settle, .. } = vault;
    let version = call.version.as_deref();
    let body = match call.operation {
        Operation::Get => {
            if request.query.contains_key("outContentType") {
                return Err(Refusal::bad_parameter(
                    "The requested conversion is not supported for this secret.",
                ));
            }
            let (secret, version) = secrets.read(&call.name, version)?;
            bundle(host, secret, version, true)
        }
        Operation::Set => {
            let (value, options) = new_version(&request.body)?;
            let secret = secrets.set(&call.name, value, options, now)?;
            current_bundle(host, secret, true)
        }
        Operation::Update => {
            let (secret, version) = secrets.update(&call.name, version, change(&request.body)?, now)?;
            bundle(host, secret, version, false)
        }
        Operation::Delete => deleted_bundle(host, secrets.delete(&call.name, *settle, now)?),
        Operation::GetDeleted => deleted_bundle(host, secrets.find_deleted(&call.name)?),
        Operation::Recover => current_bundle(host, secrets.recover(&call.name, *settle)?, false),
        Operation::Purge => {
            secrets.purge(&call.name)?;
            return Ok(Answer::no_content());
        }
        Operation::List | Operation::ListVersions | Operation::ListDeleted => list(vault, request, call)?,
    };
    Ok(Answer::ok(&Value::Object(body)))
}

fn list(vault: &mut VaultState, request: &VaultRequest, call: &Call) -> Result<Map<String, Value>, Refusal> {
    let count = paging::max_results(request.query.get("maxresults").map(String::as_str))?;
    let from = request.query.get("$skiptoken").map(|text| SkipToken::decode(text)).transpose()?;
    let from = from.as_ref();
    let after = from.map(|token| token.after.as_str());
    let VaultState { name: host, secrets, sparse, foreign_links, .. } = vault;
    let item = |secret: &Secret| {
        let mut item = secret.current().map(metadata).unwrap_or_default();
        item.insert("id".to_owned(), format!("{}/secrets/{}", origin(host), secret.name).into());
        item
    };
    let (items, next): (Vec<_>, _) = match call.operation {
        Operation::ListDeleted => {
            let (found, next) = paging::page(secrets.absent(after), from, count, *sparse);
            let with_deletion = |secret| item(secret).into_iter().chain(deletion(host, secret)).collect();
            (found.into_iter().map(with_deletion).collect(), next)
        }
        Operation::ListVersions => {
            let secret = &*secrets.find(&call.name)?;
            let mut versions: Vec<_> = secret.versions.iter().map(|made| (made.id.as_str(), made)).collect();
            // By version id, which is random: never the order they were made in.
            versions.sort_by_key(|(id, _)| *id);
            let (found, next) = paging::page(versions.into_iter(), from, count, *sparse);
            let version_item = |version| {
                let mut item = metadata(version);
                item.insert("id".to_owned(), version_id(host, secret, version).into());
                item
            };
            (found.into_iter().map(version_item).collect(), next)
        }
        _ => {
            let (found, next) = paging::page(secrets.present(after), from, count, *sparse);
            (found.into_iter().map(item).collect(), next)
        }
    };
    let version = request.query.get("api-version").map(String::as_str).unwrap_or_default();
    let own = format!("{}:443", origin(host));
    let links_to = foreign_links.as_deref().unwrap_or(&own);
    let link = next.map(|token| {
        let path = request.path.as_str();
        // The port is explicit and the dollar bare, as the service writes them.
        format!("{links_to}{path}?api-version={version}&$skiptoken={}&maxresults={count}", token.encode())
    });
    Ok(Map::from_iter([("value".to_owned(), json!(items)), ("nextLink".to_owned(), json!(link))]))
}

fn origin(host: &str) -> String {
    format!("https://{host}.vault.azure.net")
}

fn version_id(host: &str, secret: &Secret, version: &Version) -> String {
    format!("{}/secrets/{}/{}", origin(host), secret.name, version.id)
}

/// What a version shows besides value and ids.
fn metadata(version: &Version) -> Map<String, Value> {
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

fn bundle(host: &str, secret: &Secret, version: &Version, with_value: bool) -> Map<String, Value> {
    let mut bundle = metadata(version);
    bundle.insert("id".to_owned(), version_id(host, secret, version).into());
    if with_value {
        bundle.insert("value".to_owned(), version.value.as_str().into());
    }
    if version.options.managed {
        let kid = format!("{}/keys/{}/{}", origin(host), secret.name, version.id);
        bundle.insert("kid".to_owned(), kid.into());
    }
    bundle
}

fn current_bundle(host: &str, secret: &Secret, with_value: bool) -> Map<String, Value> {
    secret.current().map(|version| bundle(host, secret, version, with_value)).unwrap_or_default()
}

fn deletion(host: &str, secret: &Secret) -> Map<String, Value> {
    let id = format!("{}/deletedsecrets/{}", origin(host), secret.name);
    let times = secret.deletion.map(|deletion| {
        [
            ("deletedDate".to_owned(), deletion.at.into()),
            ("scheduledPurgeDate".to_owned(), deletion.purge_at.into()),
        ]
    });
    [("recoveryId".to_owned(), id.into())].into_iter().chain(times.into_iter().flatten()).collect()
}

fn deleted_bundle(host: &str, secret: &Secret) -> Map<String, Value> {
    let mut bundle = current_bundle(host, secret, false);
    bundle.extend(deletion(host, secret));
    bundle
}

#[derive(Deserialize)]
struct Attributes {
    enabled: Option<bool>,
    nbf: Option<i64>,
    exp: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    value: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    content_type: Option<String>,
    attributes: Option<Attributes>,
}

/// Reads a body; the parser's own words may quote a value, so they are never passed on.
fn parse_body(bytes: &[u8]) -> Result<Body, Refusal> {
    serde_json::from_slice(bytes)
        .map_err(|_| Refusal::bad_parameter("The request body is missing or is not a valid secret."))
}

fn new_version(bytes: &[u8]) -> Result<(String, SecretOptions), Refusal> {
    let body = parse_body(bytes)?;
    let value = body.value.ok_or_else(|| Refusal::bad_parameter("Property value is missing."))?;
    let attributes = body.attributes.as_ref();
    let options = SecretOptions {
        tags: body.tags.unwrap_or_default(),
        content_type: body.content_type,
        enabled: attributes.and_then(|given| given.enabled).unwrap_or(true),
        not_before: attributes.and_then(|given| given.nbf),
        expires: attributes.and_then(|given| given.exp),
        managed: false,
    };
    Ok((value, options))
}

fn change(bytes: &[u8]) -> Result<Change, Refusal> {
    let body = parse_body(bytes)?;
    let attributes = body.attributes.as_ref();
    Ok(Change {
        tags: body.tags,
        content_type: body.content_type,
        enabled: attributes.and_then(|given| given.enabled),
        not_before: attributes.and_then(|given| given.nbf),
        expires: attributes.and_then(|given| given.exp),
    })
}
