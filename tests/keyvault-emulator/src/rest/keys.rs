//! Requests for keys: only public parts leave the vault.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Metadata, VaultRequest, address, deletion, metadata, parse_body};
use crate::{
    answer::Answer,
    call::{Call, ObjectKind, Operation},
    material::{
        keys::{Key, KeyKind},
        pool,
        public_key::PublicKey,
    },
    refusal::Refusal,
    state::VaultState,
    store::{Object, Store, Version},
};

const KIND: ObjectKind = ObjectKind::Key;

/// The body of a creation.
#[derive(Deserialize)]
struct Wanted {
    kty: String,
    key_size: Option<u64>,
    crv: Option<String>,
    key_ops: Option<Vec<String>>,
    #[serde(flatten)]
    metadata: Metadata,
}

/// The body of an import.
#[derive(Deserialize)]
struct Imported {
    key: Map<String, Value>,
    #[serde(rename = "Hsm")]
    hsm: Option<bool>,
    #[serde(flatten)]
    metadata: Metadata,
}

/// The body of an update.
#[derive(Deserialize)]
struct Changed {
    key_ops: Option<Vec<String>>,
    #[serde(flatten)]
    metadata: Metadata,
}

/// Answers a request for one key.
pub(super) fn answer(
    vault: &mut VaultState,
    request: &VaultRequest,
    call: &Call,
    now: i64,
) -> Result<Answer, Refusal> {
    let VaultState { name: host, objects, settle, .. } = vault;
    let (name, version) = (call.name.as_str(), call.version.as_deref());
    let keys = &mut objects.keys;
    let body = match call.operation {
        Operation::Get => {
            // A disabled key may be looked at; only its use is refused.
            let (key, version) = keys.version(name, version)?;
            bundle(host, key, version)
        }
        Operation::Create => {
            let wanted: Wanted = parse_body(&request.body, KIND)?;
            let key = created(&wanted, keys, name)?;
            current(host, keys.add(name, key, wanted.metadata.into_options(), now)?)
        }
        Operation::Import => {
            let imported: Imported = parse_body(&request.body, KIND)?;
            let key = read(&imported)?;
            current(host, keys.add(name, key, imported.metadata.into_options(), now)?)
        }
        Operation::Update => {
            let Changed { key_ops, metadata } = parse_body(&request.body, KIND)?;
            let id = keys.update(name, version, metadata.into_change(), now)?.1.id.clone();
            if let Some(operations) = key_ops {
                let mut versions = keys.find(name)?.versions.iter_mut();
                if let Some(version) = versions.find(|version| version.id == id) {
                    version.held.set_operations(operations);
                }
            }
            let (key, version) = keys.version(name, Some(&id))?;
            bundle(host, key, version)
        }
        Operation::Delete => deleted(host, keys.delete(name, *settle, now)?),
        Operation::GetDeleted => deleted(host, keys.find_deleted(name)?),
        Operation::Recover => current(host, keys.recover(name, *settle)?),
        Operation::Purge => {
            keys.purge(name)?;
            return Ok(Answer::no_content());
        }
        _ => return Err(Refusal::method_not_allowed()),
    };
    Ok(Answer::ok(&Value::Object(body)))
}

fn created(wanted: &Wanted, keys: &Store<Key>, name: &str) -> Result<Key, Refusal> {
    let family = wanted.kty.strip_suffix("-HSM");
    let kind = KeyKind::asked(family.unwrap_or(&wanted.kty), wanted.crv.as_deref(), wanted.key_size);
    let kind = kind
        .ok_or_else(|| Refusal::bad_parameter("The requested key type, size or curve is not supported."))?;
    let turn = keys.peek(name).map_or(0, |key| key.versions.len());
    Ok(Key::new(pool::new_public(kind, turn), family.is_some(), wanted.key_ops.clone()))
}

fn read(imported: &Imported) -> Result<Key, Refusal> {
    let jwk = &imported.key;
    let public =
        PublicKey::from_jwk(jwk).ok_or_else(|| Refusal::bad_parameter("The specified key is not valid."))?;
    let is_hsm = jwk.get("kty").and_then(Value::as_str).is_some_and(|kty| kty.ends_with("-HSM"));
    let operations = jwk.get("key_ops").and_then(Value::as_array).map(|operations| {
        operations.iter().filter_map(|operation| operation.as_str().map(str::to_owned)).collect()
    });
    Ok(Key::new(public, is_hsm || imported.hsm == Some(true), operations))
}

fn bundle(host: &str, key: &Object<Key>, version: &Version<Key>) -> Map<String, Value> {
    let mut bundle = metadata(version);
    let kid = address(host, KIND, &key.name, Some(&version.id));
    bundle.insert("key".to_owned(), version.held.jwk(&kid).into());
    bundle
}

fn current(host: &str, key: &Object<Key>) -> Map<String, Value> {
    key.current().map(|version| bundle(host, key, version)).unwrap_or_default()
}

fn deleted(host: &str, key: &Object<Key>) -> Map<String, Value> {
    let mut bundle = current(host, key);
    bundle.extend(deletion(host, KIND, key));
    bundle
}
