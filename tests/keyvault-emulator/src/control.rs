//! The control API: the setters of [`crate::Emulator`] and [`crate::Vault`] as plain HTTP on loopback, for tests in
//! other languages and for people at a shell. It is described in this crate's README.

mod objects;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State as Extract},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    access::{AccessModel, Permission},
    call::ObjectKind,
    certificate::ClientCertificate,
    entra::FederatedCredential,
    fault::{Fault, FaultId},
    jws::KeySet,
    managed_identity::ManagedIdentity,
    refusal::Refusal,
    state::Shared,
    vault::Vault,
};

type Context = Extract<Arc<Shared>>;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = json!({"code": self.code, "innerCode": self.inner, "message": self.message});
        (self.status, Json(json!({"error": error}))).into_response()
    }
}

/// Serves until the other end of `running` is dropped.
pub(crate) async fn run(listener: TcpListener, shared: Arc<Shared>, mut running: watch::Receiver<()>) {
    tokio::select! {
        // An endless server: it has no error of its own to tell.
        _ = async { axum::serve(listener, routes(shared)).await } => {}
        _ = running.changed() => {}
    }
}

fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/ca.pem", get(ca))
        .route("/private-ca.pem", get(private_ca))
        .route("/clock", put(set_clock))
        .route("/requests", get(requests).delete(clear_log))
        .route("/token-requests", get(token_requests))
        .route("/connects", get(connects))
        .route("/entra/secrets", put(register_secret))
        .route("/entra/secrets/expired", put(expire_secret))
        .route("/entra/certificates", put(register_certificates))
        .route("/entra/authorities", put(add_authority))
        .route("/entra/issuers", put(trust_issuer))
        .route("/entra/federation", put(federate).delete(unfederate))
        .route("/entra/faults", post(add_token_fault).delete(clear_token_faults))
        .route("/entra/faults/{id}", delete(clear_token_fault))
        .route("/identities", put(assign_identity))
        .route("/identities/faults", post(add_identity_fault).delete(clear_identity_faults))
        .route("/identities/{client}", delete(unassign_identity))
        .route("/vaults/{vault}", put(make_vault).delete(remove_vault))
        .route("/vaults/{vault}/grants/{client}", put(grant).delete(revoke))
        .route("/vaults/{vault}/faults", post(add_fault).delete(clear_faults))
        .route("/vaults/{vault}/faults/{id}", delete(clear_fault))
        .merge(objects::routes())
        .with_state(shared)
}

async fn private_ca(Extract(shared): Context) -> String {
    shared.authority.private_pem().to_owned()
}

async fn ca(Extract(shared): Context) -> String {
    shared.authority.pem().to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClockBody {
    offset_seconds: i64,
}

async fn set_clock(Extract(shared): Context, Json(body): Json<ClockBody>) -> StatusCode {
    shared.change(|state| state.clock.offset = SignedDuration::from_secs(body.offset_seconds));
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct OfVault {
    vault: Option<String>,
}

async fn requests(Extract(shared): Context, Query(of): Query<OfVault>) -> Json<Value> {
    let wanted = of.vault.map(|name| name.to_lowercase());
    shared.look(|state| {
        Json(match wanted {
            Some(name) => json!(state.journal.of_vault(&name)),
            None => json!(state.journal.all_requests()),
        })
    })
}

async fn clear_log(Extract(shared): Context) -> StatusCode {
    shared.change(|state| state.journal.clear());
    StatusCode::NO_CONTENT
}

async fn token_requests(Extract(shared): Context) -> Json<Value> {
    shared.look(|state| Json(json!(state.journal.tokens.entries())))
}

async fn connects(Extract(shared): Context) -> Json<Value> {
    shared.look(|state| Json(json!(state.journal.connects.entries())))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientSecret {
    tenant: String,
    client_id: String,
    secret: String,
}

async fn register_secret(Extract(shared): Context, Json(body): Json<ClientSecret>) -> StatusCode {
    shared.change(|state| state.entra.register_secret(&body.tenant, &body.client_id, &body.secret));
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Application {
    tenant: String,
    client_id: String,
}

async fn expire_secret(Extract(shared): Context, Json(body): Json<Application>) -> StatusCode {
    shared.change(|state| state.entra.expire_secret(&body.tenant, &body.client_id));
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientCertificates {
    tenant: String,
    client_id: String,
    pem: String,
}

async fn register_certificates(
    Extract(shared): Context,
    Json(body): Json<ClientCertificates>,
) -> Result<StatusCode, Refusal> {
    let certificates = ClientCertificate::parse_all(&body.pem)
        .ok_or_else(|| Refusal::bad_parameter("pem holds no certificate, or one that is none."))?;
    shared.change(|state| state.entra.register_certificates(&body.tenant, &body.client_id, certificates));
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct TokenService {
    host: String,
    resource: String,
}

async fn add_authority(Extract(shared): Context, Json(body): Json<TokenService>) -> StatusCode {
    shared.authority.make_private(&body.host.to_lowercase());
    shared.change(|state| state.entra.add_authority(&body.host, &body.resource));
    StatusCode::NO_CONTENT
}

async fn assign_identity(Extract(shared): Context, Json(body): Json<ManagedIdentity>) -> Json<Value> {
    let object_id = body.object_id();
    shared.change(|state| state.managed.assign(body));
    Json(json!({"objectId": object_id}))
}

async fn unassign_identity(Extract(shared): Context, Path(client): Path<String>) -> StatusCode {
    shared.change(|state| state.managed.unassign(&client));
    StatusCode::NO_CONTENT
}

async fn add_identity_fault(Extract(shared): Context, Json(fault): Json<Fault>) -> (StatusCode, Json<Value>) {
    let FaultId(id) = shared.change(|state| state.managed.faults.add(fault));
    (StatusCode::CREATED, Json(json!({"id": id})))
}

async fn clear_identity_faults(Extract(shared): Context) -> StatusCode {
    shared.change(|state| state.managed.faults.clear_all());
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct TrustedIssuer {
    issuer: String,
    jwks: KeySet,
}

async fn trust_issuer(Extract(shared): Context, Json(body): Json<TrustedIssuer>) -> StatusCode {
    shared.change(|state| state.entra.trust_issuer(&body.issuer, body.jwks));
    StatusCode::NO_CONTENT
}

async fn federate(Extract(shared): Context, Json(body): Json<FederatedCredential>) -> StatusCode {
    shared.change(|state| state.entra.federate(body));
    StatusCode::NO_CONTENT
}

async fn unfederate(Extract(shared): Context, Json(body): Json<FederatedCredential>) -> StatusCode {
    shared.change(|state| state.entra.unfederate(&body));
    StatusCode::NO_CONTENT
}

async fn add_token_fault(Extract(shared): Context, Json(fault): Json<Fault>) -> (StatusCode, Json<Value>) {
    let FaultId(id) = shared.change(|state| state.entra.faults.add(fault));
    (StatusCode::CREATED, Json(json!({"id": id})))
}

async fn clear_token_fault(Extract(shared): Context, Path(id): Path<u64>) -> StatusCode {
    shared.change(|state| state.entra.faults.clear(FaultId(id)));
    StatusCode::NO_CONTENT
}

async fn clear_token_faults(Extract(shared): Context) -> StatusCode {
    shared.change(|state| state.entra.faults.clear_all());
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChallengeBody {
    authority_host: String,
    resource: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct VaultBody {
    tenant: Option<String>,
    access_model: Option<AccessModel>,
    host: Option<String>,
    challenge: Option<ChallengeBody>,
    sparse_pages: Option<bool>,
}

async fn make_vault(
    Extract(shared): Context,
    Path(name): Path<String>,
    Json(body): Json<VaultBody>,
) -> Result<Json<Value>, Refusal> {
    let allowed = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !allowed || !(3..=24).contains(&name.len()) || name.contains("--") {
        return Err(Refusal::bad_parameter("A vault's name has 3 to 24 letters, digits and single hyphens."));
    }
    let vault = Vault::new(shared, &name);
    if let Some(tenant) = body.tenant {
        vault.set_tenant(&tenant);
    }
    if let Some(ChallengeBody { authority_host, resource }) = body.challenge {
        vault.set_challenge(&authority_host, &resource);
    }
    if let Some(host) = body.host {
        vault.set_host(&host);
    }
    if let Some(model) = body.access_model {
        vault.set_access_model(model);
    }
    if let Some(sparse) = body.sparse_pages {
        vault.set_sparse_pages(sparse);
    }
    Ok(Json(json!({"url": vault.url()})))
}

async fn remove_vault(Extract(shared): Context, Path(name): Path<String>) -> StatusCode {
    shared.change(|state| state.vaults.remove(&name.to_lowercase()));
    StatusCode::NO_CONTENT
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct GrantBody {
    /// On secrets.
    permissions: Option<Vec<Permission>>,
    keys: Option<Vec<Permission>>,
    certificates: Option<Vec<Permission>>,
    /// Secrets.
    denied: Vec<String>,
}

async fn grant(
    Extract(shared): Context,
    Path((vault, client)): Path<(String, String)>,
    Json(body): Json<GrantBody>,
) -> StatusCode {
    let vault = Vault::new(shared, &vault);
    let given = [
        (ObjectKind::Secret, &body.permissions),
        (ObjectKind::Key, &body.keys),
        (ObjectKind::Certificate, &body.certificates),
    ];
    let names_none = given.iter().all(|(_, permissions)| permissions.is_none());
    for (kind, permissions) in given {
        let unnamed: &[Permission] = if names_none { &Permission::ALL } else { &[] };
        vault.grant_on(&client, kind, permissions.as_deref().unwrap_or(unnamed));
    }
    for secret in body.denied {
        vault.deny(&client, &secret);
    }
    StatusCode::NO_CONTENT
}

async fn revoke(Extract(shared): Context, Path((vault, client)): Path<(String, String)>) -> StatusCode {
    Vault::new(shared, &vault).revoke(&client);
    StatusCode::NO_CONTENT
}

async fn add_fault(
    Extract(shared): Context,
    Path(vault): Path<String>,
    Json(fault): Json<Fault>,
) -> (StatusCode, Json<Value>) {
    let FaultId(id) = Vault::new(shared, &vault).fault(fault);
    (StatusCode::CREATED, Json(json!({"id": id})))
}

async fn clear_fault(Extract(shared): Context, Path((vault, id)): Path<(String, u64)>) -> StatusCode {
    Vault::new(shared, &vault).clear_fault(FaultId(id));
    StatusCode::NO_CONTENT
}

async fn clear_faults(Extract(shared): Context, Path(vault): Path<String>) -> StatusCode {
    Vault::new(shared, &vault).clear_faults();
    StatusCode::NO_CONTENT
}
