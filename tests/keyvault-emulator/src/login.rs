//! `login.microsoftonline.com`: discovery documents and the token endpoint's bodies. Synchronous, no network.

use hyper::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::{
    answer::Answer,
    clock,
    entra::{Aadsts, TokenForm, unknown_tenant},
    fault::FaultKind,
    journal::{TokenEndpoint, TokenRequest},
    jws::Token,
    rest::Decision,
    state::State,
    token::Tokens,
};

/// The authority's host.
pub(crate) const HOST: &str = "login.microsoftonline.com";

/// What a path of the authority means.
pub(crate) enum Page<'a> {
    Token { tenant: &'a str },
    Discovery { tenant: &'a str },
    Keys { tenant: &'a str },
    Instances,
    Nothing,
}

impl<'a> Page<'a> {
    pub(crate) fn find(method: &str, path: &'a str) -> Self {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match (method, segments.as_slice()) {
            ("POST", [tenant, "oauth2", "v2.0", "token"]) => Self::Token { tenant },
            ("GET", [tenant, "v2.0", ".well-known", "openid-configuration"]) => Self::Discovery { tenant },
            ("GET", [tenant, "discovery", "v2.0", "keys"]) => Self::Keys { tenant },
            ("GET", ["common", "discovery", "instance"]) => Self::Instances,
            _ => Self::Nothing,
        }
    }
}

/// Answers what is not a token request.
pub(crate) fn document(state: &State, tokens: &Tokens, host: &str, page: &Page<'_>) -> Answer {
    match page {
        Page::Discovery { tenant } | Page::Keys { tenant } if !state.entra.knows_tenant(tenant) => {
            refuse(state, &unknown_tenant(tenant))
        }
        Page::Discovery { tenant } => Answer::ok(&json!({
            "token_endpoint": format!("https://{host}/{tenant}/oauth2/v2.0/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": format!("https://{host}/{tenant}/discovery/v2.0/keys"),
            "issuer": format!("https://{host}/{tenant}/v2.0"),
            "authorization_endpoint": format!("https://{host}/{tenant}/oauth2/v2.0/authorize"),
            "device_authorization_endpoint": format!("https://{host}/{tenant}/oauth2/v2.0/devicecode"),
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "cloud_instance_name": "microsoftonline.com",
        })),
        Page::Keys { .. } => Answer::ok(&json!(tokens.key_set())),
        Page::Instances => Answer::ok(&json!({
            "tenant_discovery_endpoint": format!("https://{host}/common/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [{
                "preferred_network": host,
                "preferred_cache": "login.windows.net",
                "aliases": [host, "login.windows.net", "login.microsoft.com", "sts.windows.net"],
            }],
        })),
        Page::Token { .. } | Page::Nothing => {
            Answer::json(StatusCode::NOT_FOUND, &json!({"error": "invalid_request"}))
        }
    }
}

/// What the journal may keep of a token request.
pub(crate) fn record(tenant: &str, form: &TokenForm) -> TokenRequest {
    let assertion = form.assertion.as_deref().and_then(Token::parse);
    let text = |claim| assertion.as_ref().and_then(|token| token.text(claim)).map(str::to_owned);
    TokenRequest {
        time: clock::machine_time(),
        endpoint: TokenEndpoint::Authority,
        tenant: tenant.to_owned(),
        client_id: form.client_id.clone(),
        scope: form.scope.clone(),
        issuer: text("iss"),
        subject: text("sub"),
        audiences: assertion.as_ref().map(Token::audiences).unwrap_or_default(),
        status: None,
        error: None,
    }
}

/// Decides on a token request.
pub(crate) fn decide(
    state: &mut State,
    tokens: &Tokens,
    host: &str,
    tenant: &str,
    form: &TokenForm,
) -> Decision {
    let answer = match state.entra.faults.hit_client(&form.client_id) {
        None => issue(state, tokens, host, tenant, form).unwrap_or_else(|refusal| refuse(state, &refusal)),
        Some((id, FaultKind::Stall)) => return Decision::Stall(id),
        Some((_, FaultKind::Reset)) => return Decision::Reset,
        Some((_, FaultKind::Answer { status, body })) => Answer::made_up(status, body),
        Some((_, FaultKind::Garbage)) => Answer::garbage(),
        Some((_, FaultKind::Oversized { bytes })) => Answer::oversized(bytes),
        Some((_, FaultKind::Redirect { location })) => Answer::redirect(&location),
        Some((_, FaultKind::Throttle { retry_after })) => {
            let answer = plain(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable");
            match retry_after {
                Some(seconds) => answer.header("retry-after", seconds.to_string()),
                None => answer,
            }
        }
        Some((_, FaultKind::Status { status })) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            plain(status, "server_error")
        }
        Some((_, FaultKind::Forbidden { .. })) => plain(StatusCode::FORBIDDEN, "access_denied"),
        Some((_, FaultKind::NotFound)) => plain(StatusCode::NOT_FOUND, "invalid_request"),
        Some((_, FaultKind::Unauthorized { .. })) => plain(StatusCode::UNAUTHORIZED, "invalid_client"),
        Some((_, FaultKind::Aadsts { number })) => {
            refuse(state, &Aadsts::new(number, "The request was refused on demand."))
        }
    };
    Decision::Answer(answer)
}

fn plain(status: StatusCode, error: &str) -> Answer {
    Answer::json(status, &json!({"error": error}))
}

fn issue(
    state: &State,
    tokens: &Tokens,
    host: &str,
    tenant: &str,
    form: &TokenForm,
) -> Result<Answer, Aadsts> {
    let now = state.clock.seconds();
    let resource = state.entra.authenticate(host, tenant, form, now)?;
    let lifetime = state.token_lifetime;
    let token = tokens
        .issue(&tenant.to_lowercase(), &form.client_id.to_lowercase(), resource, lifetime, now)
        .map_err(|_| Aadsts::new(90_033, "A transient error has occurred. Please try again."))?;
    Ok(Answer::ok(&json!({
        "token_type": "Bearer",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "access_token": token,
    })))
}

fn refuse(state: &State, refusal: &Aadsts) -> Answer {
    let (status, error) = refusal.class();
    let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
    let timestamp = state.clock.now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let body = json!({
        "error": error,
        "error_description": format!(
            "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}",
            refusal.number, refusal.text
        ),
        "error_codes": [refusal.number],
        "timestamp": timestamp,
        "trace_id": trace.to_string(),
        "correlation_id": correlation.to_string(),
    });
    let mut answer = Answer::json(status, &body);
    answer.code = Some(refusal.number.to_string());
    answer
}
