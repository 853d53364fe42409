//! Requests for secrets.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Metadata, VaultRequest, address, deletion, metadata, parse_body};
use crate::{
    answer::Answer,
    call::{Call, ObjectKind, Operation},
    material::chain::{CertificateFormat, Chain},
    refusal::Refusal,
    state::VaultState,
    store::{Object, Version},
};

const KIND: ObjectKind = ObjectKind::Secret;

/// The versions of the API that know no conversion.
const WITHOUT_CONVERSION: [&str; 8] = ["2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6"];

/// The versions of the API that name the version before.
const WITH_PREVIOUS: [&str; 2] = ["2026-03-01-preview", "2026-04-01"];

#[derive(Deserialize)]
struct Written {
    value: Option<String>,
    #[serde(flatten)]
    metadata: Metadata,
}

/// Answers a request for one secret.
pub(super) fn answer(
    vault: &mut VaultState,
    request: &VaultRequest,
    call: &Call,
    now: i64,
) -> Result<Answer, Refusal> {
    let VaultState { name: host, objects, settle, .. } = vault;
    let (name, version) = (call.name.as_str(), call.version.as_deref());
    let secrets = &mut objects.secrets;
    let body = match call.operation {
        Operation::Get => {
            let (secret, version) = secrets.read(name, version)?;
            let mut body = bundle(host, secret, version, true);
            let api_version = request.query.get("api-version").map(String::as_str).unwrap_or_default();
            if WITH_PREVIOUS.contains(&api_version) {
                body.extend(previous(secret, version).map(|id| ("previousVersion".to_owned(), id.into())));
            }
            converted(body, version, request)?
        }
        Operation::Set => {
            let Written { value, metadata } = parse_body(&request.body, KIND)?;
            let value = value.ok_or_else(|| Refusal::bad_parameter("Property value is missing."))?;
            current(host, secrets.set(name, value, metadata.into_options(), now)?, true)
        }
        Operation::Update => {
            let change = parse_body::<Metadata>(&request.body, KIND)?.into_change();
            let (secret, version) = secrets.update(name, version, change, now)?;
            bundle(host, secret, version, false)
        }
        Operation::Delete => deleted(host, secrets.delete(name, *settle, now)?),
        Operation::GetDeleted => deleted(host, secrets.find_deleted(name)?),
        Operation::Recover => current(host, secrets.recover(name, *settle)?, false),
        Operation::Purge => {
            secrets.purge(name)?;
            return Ok(Answer::no_content());
        }
        _ => return Err(Refusal::method_not_allowed()),
    };
    Ok(Answer::ok(&Value::Object(body)))
}

/// The version before, which only secrets of certificates tell.
fn previous<'a>(secret: &'a Object<String>, version: &Version<String>) -> Option<&'a str> {
    let index = secret.versions.iter().position(|found| found.id == version.id)?;
    let before = secret.versions.get(index.checked_sub(1)?)?;
    version.options.managed.then_some(before.id.as_str())
}

/// The bundle with the value in the form that was asked for: a PFX as PEM, or as it is.
fn converted(
    mut body: Map<String, Value>,
    version: &Version<String>,
    request: &VaultRequest,
) -> Result<Map<String, Value>, Refusal> {
    let asked = |name: &str| request.query.get(name).map(String::as_str);
    let Some(wanted) = asked("outContentType") else { return Ok(body) };
    if asked("api-version").is_some_and(|version| WITHOUT_CONVERSION.contains(&version)) {
        return Ok(body);
    }
    let refuse = || Refusal::bad_parameter("The requested conversion is not supported for this secret.");
    let wanted = CertificateFormat::of_content_type(wanted).ok_or_else(refuse)?;
    let kept = version.options.content_type.as_deref().and_then(CertificateFormat::of_content_type);
    match (kept.ok_or_else(refuse)?, wanted) {
        (kept, wanted) if kept == wanted => {}
        (CertificateFormat::Pfx, CertificateFormat::Pem) => {
            let chain = Chain::parse(&version.held, CertificateFormat::Pfx, "").map_err(|_| refuse())?;
            body.insert("value".to_owned(), chain.converted().into());
            body.insert("contentType".to_owned(), wanted.content_type().into());
        }
        _ => return Err(refuse()),
    }
    Ok(body)
}

fn bundle(
    host: &str,
    secret: &Object<String>,
    version: &Version<String>,
    with_value: bool,
) -> Map<String, Value> {
    let of = |kind| Value::from(address(host, kind, &secret.name, Some(&version.id)));
    let mut bundle = metadata(version);
    bundle.insert("id".to_owned(), of(KIND));
    if with_value {
        bundle.insert("value".to_owned(), version.held.as_str().into());
    }
    if version.options.managed {
        bundle.insert("kid".to_owned(), of(ObjectKind::Key));
    }
    bundle
}

fn current(host: &str, secret: &Object<String>, with_value: bool) -> Map<String, Value> {
    secret.current().map(|version| bundle(host, secret, version, with_value)).unwrap_or_default()
}

fn deleted(host: &str, secret: &Object<String>) -> Map<String, Value> {
    let mut bundle = current(host, secret, false);
    bundle.extend(deletion(host, KIND, secret));
    bundle
}
