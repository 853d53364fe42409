//! Secrets, keys and certificates by the control API.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    http::StatusCode,
    routing::{get, post, put},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::Context;
use crate::{
    call::ObjectKind,
    material::{
        chain::CertificateFormat,
        keys::{KeyKind, KeySpec},
    },
    refusal::Refusal,
    state::Shared,
    store::{Change, SecretOptions},
    vault::{CertificateSpec, Vault},
};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/vaults/{vault}/{objects}", get(names))
        .route("/vaults/{vault}/{objects}/{name}", put(set).patch(change).delete(delete_object))
        .route("/vaults/{vault}/{objects}/{name}/{action}", post(act))
}

/// Vault, kind and name of an object.
type OfObject = Path<(String, String, String)>;

fn kind_of(collection: &str) -> Result<ObjectKind, Refusal> {
    ObjectKind::of_collection(collection).ok_or_else(Refusal::no_such_path)
}

async fn names(
    Extract(shared): Context,
    Path((vault, objects)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let kind = kind_of(&objects)?;
    Ok(Json(json!(Vault::new(shared, &vault).names_of(kind))))
}

#[derive(Deserialize)]
struct SecretBody {
    value: String,
    #[serde(flatten)]
    options: SecretOptions,
}

#[derive(Deserialize)]
struct KeyBody {
    kind: KeyKind,
    #[serde(default)]
    hsm: bool,
    operations: Option<Vec<String>>,
    #[serde(flatten)]
    options: SecretOptions,
}

/// A certificate that the emulator makes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelfSigned {
    host: String,
    kind: KeyKind,
    #[serde(default)]
    format: CertificateFormat,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateBody {
    pem: Option<String>,
    /// Base64.
    pfx: Option<String>,
    self_signed: Option<SelfSigned>,
    exportable: Option<bool>,
    #[serde(flatten)]
    options: SecretOptions,
}

async fn set(
    Extract(shared): Context,
    Path((vault, objects, name)): OfObject,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Refusal> {
    let kind = kind_of(&objects)?;
    let version = Vault::new(shared, &vault).attempt(&name, |objects, now| match kind {
        ObjectKind::Secret => {
            let SecretBody { value, options } = read(body)?;
            let secret = objects.secrets.set(&name, value, options, now)?;
            Ok(secret.current().map(|version| version.id.clone()).unwrap_or_default())
        }
        ObjectKind::Key => {
            let KeyBody { kind, hsm, operations, options } = read(body)?;
            objects.set_key(&name, KeySpec { kind, hsm, operations, options }, now)
        }
        ObjectKind::Certificate => {
            let body: CertificateBody = read(body)?;
            let mut spec = match (body.pem, body.pfx, body.self_signed) {
                (Some(pem), None, None) => CertificateSpec::pem(&pem),
                (None, Some(pfx), None) => CertificateSpec::new(pfx, CertificateFormat::Pfx),
                (None, None, Some(SelfSigned { host, kind, format })) => {
                    CertificateSpec::made(&host, kind, format, now)?
                }
                _ => return Err(Refusal::bad_parameter("One of pem, pfx and selfSigned is wanted.")),
            };
            spec.exportable = body.exportable.unwrap_or(true);
            spec.options = body.options;
            objects.put_certificate(&name, spec.into_new(now)?, now)
        }
    })?;
    Ok(Json(json!({"version": version})))
}

async fn change(
    Extract(shared): Context,
    Path((vault, objects, name)): OfObject,
    Json(body): Json<Change>,
) -> Result<StatusCode, Refusal> {
    let kind = kind_of(&objects)?;
    Vault::new(shared, &vault)
        .attempt(&name, |objects, now| objects.update(kind, &name, None, body, now))
        .map(|()| StatusCode::NO_CONTENT)
}

async fn delete_object(
    Extract(shared): Context,
    Path((vault, objects, name)): OfObject,
) -> Result<StatusCode, Refusal> {
    let kind = kind_of(&objects)?;
    Vault::new(shared, &vault)
        .attempt(&name, |objects, now| objects.delete(kind, &name, 0, now))
        .map(|()| StatusCode::NO_CONTENT)
}

async fn act(
    Extract(shared): Context,
    Path((vault, objects, name, action)): Path<(String, String, String, String)>,
) -> Result<StatusCode, Refusal> {
    let kind = kind_of(&objects)?;
    let set_enabled = |enabled| Change { enabled: Some(enabled), ..Change::default() };
    Vault::new(shared, &vault).attempt(&name, |objects, now| {
        match action.as_str() {
            "disable" => objects.update(kind, &name, None, set_enabled(false), now),
            "enable" => objects.update(kind, &name, None, set_enabled(true), now),
            "recover" => objects.recover(kind, &name, 0),
            "purge" => objects.purge(kind, &name),
            "rollback" => objects.rollback(kind, &name).map(|_| ()),
            "begin" if kind == ObjectKind::Certificate => objects.begin(&name, now).map(|_| ()),
            _ => Err(Refusal::no_such_path()),
        }
        .map(|()| StatusCode::NO_CONTENT)
    })
}

/// Reads a body, whose parser may quote a value: it is a test's own.
fn read<T: DeserializeOwned>(body: Value) -> Result<T, Refusal> {
    serde_json::from_value(body).map_err(|error| Refusal::bad_parameter(error.to_string()))
}
