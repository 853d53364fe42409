//! Requests for certificates, their policies and their making.

use std::iter;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hyper::StatusCode;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{Metadata, VaultRequest, address, deletion, metadata, parse_body};
use crate::{
    answer::Answer,
    call::{Call, ObjectKind, Operation},
    material::{
        chain::{CertificateFormat, Chain},
        policy::Policy,
        public_key::PublicKey,
    },
    objects::{Certificate, NewCertificate, Objects},
    pending::Pending,
    refusal::Refusal,
    state::VaultState,
    store::{Object, Version},
};

const KIND: ObjectKind = ObjectKind::Certificate;

/// Seconds after which the service asks a client to look again at what it is making.
const LOOK_AGAIN: &str = "10";

#[derive(Deserialize)]
struct Wanted {
    policy: Option<Value>,
    #[serde(flatten)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Imported {
    value: String,
    pwd: Option<String>,
    policy: Option<Value>,
    #[serde(flatten)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Changed {
    policy: Option<Value>,
    #[serde(flatten)]
    metadata: Metadata,
}

/// Answers a request for one certificate.
pub(super) fn answer(
    vault: &mut VaultState,
    request: &VaultRequest,
    call: &Call,
    now: i64,
) -> Result<Answer, Refusal> {
    let VaultState { name: host, objects, settle, .. } = vault;
    let (name, version, settle) = (call.name.as_str(), call.version.as_deref(), *settle);
    let body = match call.operation {
        Operation::Get => {
            objects.certificate(name, version)?;
            bundle(host, objects, name, version, version.is_none())
        }
        Operation::Create => {
            let Wanted { policy, metadata } = parse_body(&request.body, KIND)?;
            return create(host, objects, (name, policy.as_ref()), metadata, (settle, now));
        }
        Operation::Import => {
            let imported: Imported = parse_body(&request.body, KIND)?;
            objects.refuse_pending(name)?;
            objects.put_certificate(name, read(imported, now)?, now)?;
            bundle(host, objects, name, None, true)
        }
        Operation::Update => {
            let Changed { policy, metadata } = parse_body(&request.body, KIND)?;
            if let Some(policy) = policy.filter(|policy| !policy.is_null()) {
                objects.policy_mut(name)?.change(&policy, now)?;
            }
            objects.update(KIND, name, version, metadata.into_change(), now)?;
            bundle(host, objects, name, version, version.is_none())
        }
        Operation::GetPolicy => objects.policy_mut(name)?.shown(&policy_address(host, name)),
        Operation::UpdatePolicy => {
            let policy = objects.policy_mut(name)?;
            policy.change(&parse_body(&request.body, KIND)?, now)?;
            policy.shown(&policy_address(host, name))
        }
        Operation::GetPending => {
            let pending = objects.look_pending(name, now)?;
            return Ok(shown(StatusCode::OK, host, name, pending));
        }
        Operation::CancelPending => {
            let pending = objects.pending.get_mut(&name.to_uppercase());
            let pending = pending.ok_or_else(|| Refusal::pending_not_found(name))?;
            pending.cancel();
            return Ok(shown(StatusCode::OK, host, name, pending));
        }
        Operation::DeletePending => {
            let pending = objects.drop_pending(name)?;
            return Ok(shown(StatusCode::OK, host, name, &pending));
        }
        Operation::Delete => {
            objects.delete(KIND, name, settle, now)?;
            deleted(host, objects, name)
        }
        Operation::GetDeleted => {
            objects.certificates.find_deleted(name)?;
            deleted(host, objects, name)
        }
        Operation::Recover => {
            objects.recover(KIND, name, settle)?;
            bundle(host, objects, name, None, true)
        }
        Operation::Purge => {
            objects.purge(KIND, name)?;
            return Ok(Answer::no_content());
        }
        _ => return Err(Refusal::method_not_allowed()),
    };
    Ok(Answer::ok(&Value::Object(body)))
}

fn create(
    host: &str,
    objects: &mut Objects,
    (name, policy): (&str, Option<&Value>),
    metadata: Metadata,
    (settle, now): (u32, i64),
) -> Result<Answer, Refusal> {
    let policy = Policy::for_creation(policy, now)?;
    let turn = objects.certificates.peek(name).map_or(0, |found| found.versions.len());
    let pending = Pending::begin(policy, metadata.into_options(), (turn, settle), now)?;
    objects.begin_certificate(name, pending, now)?;
    let pending = objects.pending(name).ok_or_else(|| Refusal::pending_not_found(name))?;
    let location = format!("{}/pending", address(host, KIND, name, None));
    Ok(shown(StatusCode::ACCEPTED, host, name, pending).header("location", location))
}

fn read(imported: Imported, now: i64) -> Result<NewCertificate, Refusal> {
    let section = imported.policy.as_ref().and_then(|policy| policy.get("secret_props"));
    let content_type = section.and_then(|section| section.get("contentType")).and_then(Value::as_str);
    let format = content_type.map_or(Some(CertificateFormat::Pfx), CertificateFormat::of_content_type);
    let format = format
        .ok_or_else(|| Refusal::bad_parameter("The content type of the certificate is not supported."))?;
    let chain = Chain::parse(&imported.value, format, imported.pwd.as_deref().unwrap_or_default())?;
    if !chain.has_key() {
        return Err(Refusal::bad_parameter("The certificate content holds no private key."));
    }
    let key = X509Certificate::from_der(chain.leaf()).ok();
    let key = key.and_then(|(_, leaf)| PublicKey::from_info(leaf.public_key().raw));
    let key =
        key.ok_or_else(|| Refusal::bad_parameter("The type of the certificate's key is not supported."))?;
    let policy = Policy::for_import(imported.policy.as_ref(), chain.leaf(), &key, now)?;
    Ok(NewCertificate { chain, value: None, policy, options: imported.metadata.into_options() })
}

fn shown(status: StatusCode, host: &str, name: &str, pending: &Pending) -> Answer {
    let answer = Answer::json(status, &pending.shown(&address(host, KIND, name, None)).into());
    if pending.is_open() { answer.header("retry-after", LOOK_AGAIN) } else { answer }
}

fn policy_address(host: &str, name: &str) -> String {
    format!("{}/policy", address(host, KIND, name, None))
}

/// The SHA-1 of a certificate that was made.
pub(super) fn thumbprint(version: &Version<Certificate>) -> Option<(&'static str, Value)> {
    let der = &version.held.der;
    let hash = || BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, der));
    (!der.is_empty()).then(|| ("x5t", hash().into()))
}

/// A version: the one named, else the current one; policy and pending operation with the current one alone.
fn bundle(
    host: &str,
    objects: &Objects,
    name: &str,
    version: Option<&str>,
    is_current: bool,
) -> Map<String, Value> {
    let Some(certificate) = objects.certificates.peek(name) else { return Map::new() };
    let mut versions = certificate.versions.iter().rev();
    let found = versions.find(|found| version.is_none_or(|id| found.id.eq_ignore_ascii_case(id)));
    let mut bundle = found.map(|found| of_version(host, certificate, found)).unwrap_or_default();
    if is_current {
        let name = &certificate.name;
        let policy = objects.policy(name).map(|policy| policy.shown(&policy_address(host, name)));
        bundle.extend(policy.map(|policy| ("policy".to_owned(), policy.into())));
        let pending = objects
            .pending(name)
            .map(|_| json!({"id": format!("{}/pending", address(host, KIND, name, None))}));
        bundle.extend(pending.map(|pending| ("pending".to_owned(), pending)));
    }
    bundle
}

fn of_version(
    host: &str,
    certificate: &Object<Certificate>,
    version: &Version<Certificate>,
) -> Map<String, Value> {
    let of = |kind| Value::from(address(host, kind, &certificate.name, Some(&version.id)));
    let ids = [("id", of(KIND)), ("kid", of(ObjectKind::Key)), ("sid", of(ObjectKind::Secret))];
    let der = &version.held.der;
    let content = (!der.is_empty()).then(|| ("cer", Value::from(BASE64_STANDARD.encode(der))));
    let fields = ids.into_iter().chain(content).chain(iter::once(thumbprint(version)).flatten());
    metadata(version).into_iter().chain(fields.map(|(name, value)| (name.to_owned(), value))).collect()
}

fn deleted(host: &str, objects: &Objects, name: &str) -> Map<String, Value> {
    let mut shown = bundle(host, objects, name, None, true);
    shown
        .extend(objects.certificates.peek(name).map(|found| deletion(host, KIND, found)).unwrap_or_default());
    shown
}
