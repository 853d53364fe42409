//! A tunnel's inner end: requests off the wire, into the state, answers onto the wire.
//!
//! Invariant: a request is in the journal before it is decided; stalls and resets happen here and nowhere else.

use std::{convert::Infallible, future::pending, sync::Arc};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};
use uuid::Uuid;

use crate::{
    answer::Answer,
    call::{Call, ObjectKind},
    clock,
    entra::TokenForm,
    fault::FaultId,
    journal::LoggedRequest,
    login::{self, Page},
    managed_identity::Asked,
    refusal::{CLIENT_ADDRESS, REGION, Refusal},
    rest::{self, Decision, VaultRequest},
    state::{Shared, State},
    token::Caller,
};

/// The largest request body; Key Vault's own bodies end far below.
const MAX_BODY: usize = 1 << 20;

/// Which service a tunnel leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A vault, by lower-cased name.
    Vault(String),
    /// An Entra authority, by lower-cased host.
    Login(String),
    /// What gives tokens of managed identities.
    ManagedIdentity,
}

/// Serves one TLS connection to its end.
pub(crate) async fn serve<S>(shared: Arc<Shared>, host: Host, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let cut = Arc::new(Notify::new());
    let service = service_fn({
        let cut = Arc::clone(&cut);
        move |request| {
            let (shared, host, cut) = (Arc::clone(&shared), host.clone(), Arc::clone(&cut));
            async move { Ok::<_, Infallible>(respond(&shared, &host, &cut, request).await) }
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    tokio::select! {
        // A connection's own errors are the client's business: the journal has what was asked.
        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
        () = cut.notified() => {}
    }
}

async fn respond(
    shared: &Shared,
    host: &Host,
    cut: &Notify,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let answer = match Limited::new(body, MAX_BODY).collect().await {
        Err(_) => Answer::from(Refusal::bad_parameter("The request body is too large or was cut off.")),
        Ok(body) => {
            let body = body.to_bytes();
            let path = parts.uri.path();
            match host {
                Host::Vault(name) => {
                    let query = parts.uri.query().unwrap_or_default();
                    let request = VaultRequest {
                        method: parts.method.clone(),
                        path: path.to_owned(),
                        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
                        authorization: text(&parts.headers, AUTHORIZATION.as_str()),
                        body: body.to_vec(),
                    };
                    ask_vault(shared, name, cut, &request).await
                }
                Host::Login(host) => ask_login(shared, host, cut, parts.method.as_str(), path, &body).await,
                Host::ManagedIdentity => {
                    let query = parts.uri.query().unwrap_or_default();
                    let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
                    let header = |name: &str| text(&parts.headers, name);
                    let asked =
                        Asked::parse(parts.method.as_str(), path, &query, header, &shared.identity_header);
                    ask_managed_identity(shared, cut, asked).await
                }
            }
        }
    };
    let now = shared.look(|state| state.clock.now());
    let request_id = text(&parts.headers, "x-ms-client-request-id");
    let answer = match host {
        Host::Vault(_) => answer
            .header("x-ms-keyvault-region", REGION)
            .header("x-ms-keyvault-service-version", "1.9.2900.1")
            .header(
                "x-ms-keyvault-network-info",
                format!("conn_type=Ipv4;addr={CLIENT_ADDRESS};act_addr_fam=InterNetwork;"),
            ),
        Host::Login(_) | Host::ManagedIdentity => answer,
    };
    let answer = answer
        .header("cache-control", "no-cache")
        .header("date", clock::http_date(now))
        .header("x-ms-request-id", Uuid::new_v4().to_string());
    onto_wire(match request_id {
        Some(id) => answer.header("x-ms-client-request-id", id),
        None => answer,
    })
}

async fn ask_vault(shared: &Shared, name: &str, cut: &Notify, request: &VaultRequest) -> Answer {
    let (entry, judged) = shared.change(|state| {
        let judged = judge(shared, state, name, request);
        let (call, caller) = match &judged {
            Ok((call, caller)) => (Some(call.clone()), Some(caller.client_id.clone())),
            Err(turned) => (turned.call.clone(), None),
        };
        let object = call.as_ref().map(|call| call.kind);
        let name_asked = call.as_ref().map(|call| call.name.to_lowercase()).filter(|name| !name.is_empty());
        let entry = state.journal.vault_mut(name).push(LoggedRequest {
            time: clock::machine_time(),
            vault: name.to_owned(),
            method: request.method.to_string(),
            path: request.path.clone(),
            operation: call.as_ref().map(|call| call.operation),
            object,
            secret: name_asked.clone().filter(|_| object == Some(ObjectKind::Secret)),
            name: name_asked,
            version: call.and_then(|call| call.version),
            api_version: request.query.get("api-version").cloned(),
            client_id: caller,
            status: None,
            code: None,
            inner_code: None,
        });
        (entry, judged)
    });
    let answer = match judged {
        Err(turned) => turned.refusal.into(),
        Ok((call, caller)) => {
            let decide = |state: &mut State| {
                let now = state.clock.seconds();
                match state.vaults.get_mut(name) {
                    Some(vault) => rest::decide(vault, request, &caller, &call, now),
                    None => Decision::Reset,
                }
            };
            let stands =
                |state: &State, id| state.vaults.get(name).is_some_and(|vault| vault.faults.stands(id));
            settle(shared, cut, decide, stands).await
        }
    };
    shared.change(|state| {
        if let Some(logged) = state.journal.vault_mut(name).complete(entry) {
            logged.status = Some(answer.status.as_u16());
            logged.code.clone_from(&answer.code);
            logged.inner_code.clone_from(&answer.inner);
        }
    });
    answer
}

/// A request turned away at the door; it may still have been a call that the journal can name.
struct Turned {
    refusal: Refusal,
    call: Option<Call>,
}

/// Token and path of a request.
fn judge(
    shared: &Shared,
    state: &State,
    name: &str,
    request: &VaultRequest,
) -> Result<(Call, Caller), Box<Turned>> {
    let call = Call::parse(&request.method, &request.path);
    let (tenant, realm) =
        state.vaults.get(name).map(|vault| (vault.tenant.clone(), vault.realm.clone())).unwrap_or_default();
    let now = state.clock.seconds();
    let caller = shared.tokens.verify(request.authorization.as_deref(), &tenant, &realm, now);
    match (call, caller) {
        (call, Err(refusal)) => Err(Box::new(Turned { refusal, call: call.ok() })),
        (Err(refusal), Ok(_)) => Err(Box::new(Turned { refusal, call: None })),
        (Ok(call), Ok(caller)) => Ok((call, caller)),
    }
}

async fn ask_login(
    shared: &Shared,
    host: &str,
    cut: &Notify,
    method: &str,
    path: &str,
    body: &[u8],
) -> Answer {
    let page = Page::find(method, path);
    let Page::Token { tenant } = page else {
        return shared.look(|state| login::document(state, &shared.tokens, host, &page));
    };
    let form = TokenForm::parse(body);
    let entry = shared.change(|state| state.journal.tokens.push(login::record(tenant, &form)));
    let decide = |state: &mut State| login::decide(state, &shared.tokens, host, tenant, &form);
    let answer = settle(shared, cut, decide, |state, id| state.entra.faults.stands(id)).await;
    shared.change(|state| {
        if let Some(logged) = state.journal.tokens.complete(entry) {
            logged.status = Some(answer.status.as_u16());
            logged.error = answer.code.as_deref().and_then(|code| code.parse().ok());
        }
    });
    answer
}

async fn ask_managed_identity(shared: &Shared, cut: &Notify, asked: Option<Asked>) -> Answer {
    let Some(asked) = asked else {
        return Answer::json(StatusCode::NOT_FOUND, &serde_json::json!({"error": "not_found"}));
    };
    let entry = shared.change(|state| {
        let record = asked.record(state);
        state.journal.tokens.push(record)
    });
    let decide = |state: &mut State| asked.decide(state, &shared.tokens);
    let answer = settle(shared, cut, decide, |state, id| state.managed.faults.stands(id)).await;
    shared.change(|state| {
        if let Some(logged) = state.journal.tokens.complete(entry) {
            logged.status = Some(answer.status.as_u16());
        }
    });
    answer
}

/// Decides until there is an answer: a stall waits for its fault to be cleared, a reset never returns.
async fn settle(
    shared: &Shared,
    cut: &Notify,
    mut decide: impl FnMut(&mut State) -> Decision,
    stands: impl Fn(&State, FaultId) -> bool,
) -> Answer {
    loop {
        match shared.change(&mut decide) {
            Decision::Answer(answer) => return answer,
            Decision::Stall(id) => shared.until(|state| (!stands(state, id)).then_some(())).await,
            Decision::Reset => {
                cut.notify_one();
                pending::<()>().await;
            }
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn onto_wire(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    for (name, value) in answer.headers {
        match HeaderValue::from_str(&value) {
            Ok(value) => drop(response.headers_mut().insert(name, value)),
            Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
    response
}
