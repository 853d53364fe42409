//! Managed identities of a node: IMDS and the endpoint that App Service injects, over plain HTTP as the real ones.
//!
//! Invariant: a request that lacks what proves that it comes from the node (`Metadata: true`, or the injected header)
//! or that came through a proxy gets no token.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    answer::Answer,
    clock,
    fault::{FaultKind, Faults},
    journal::{TokenEndpoint, TokenRequest},
    rest::Decision,
    state::State,
    token::{Tokens, object_id},
};

/// A managed identity that is assigned to the node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedIdentity {
    /// Tenant id.
    pub tenant: String,
    /// Client id.
    pub client_id: String,
    /// `/subscriptions/...`; `None` is the node's own (system-assigned) identity.
    pub resource_id: Option<String>,
}

impl ManagedIdentity {
    /// Its object id, the same one each time.
    #[must_use]
    pub fn object_id(&self) -> String {
        object_id(&self.tenant, &self.client_id)
    }
}

#[derive(Default)]
pub(crate) struct ManagedIdentities {
    assigned: Vec<ManagedIdentity>,
    pub(crate) faults: Faults,
}

impl ManagedIdentities {
    pub(crate) fn assign(&mut self, identity: ManagedIdentity) {
        self.unassign(&identity.client_id);
        self.assigned.push(identity);
    }

    pub(crate) fn unassign(&mut self, client: &str) {
        self.assigned.retain(|known| !known.client_id.eq_ignore_ascii_case(client));
    }

    fn find(&self, asked: &Asked) -> Result<&ManagedIdentity, &'static str> {
        let not_found = "Identity not found";
        let Some((by, id)) = &asked.id else {
            let own = self.assigned.iter().find(|known| known.resource_id.is_none());
            return match (own, self.assigned.as_slice()) {
                (Some(own), _) => Ok(own),
                (None, [one]) => Ok(one),
                (None, []) => Err(not_found),
                (None, _) => Err(
                    "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request",
                ),
            };
        };
        let is = |known: &&ManagedIdentity| match by {
            By::Client => known.client_id.eq_ignore_ascii_case(id),
            By::Object => known.object_id().eq_ignore_ascii_case(id),
            By::Resource => known.resource_id.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(id)),
        };
        self.assigned.iter().find(is).ok_or(not_found)
    }
}

#[derive(Clone, Copy)]
enum By {
    Client,
    Object,
    Resource,
}

/// A token request, off the wire.
pub(crate) struct Asked {
    endpoint: TokenEndpoint,
    id: Option<(By, String)>,
    resource: String,
    refusal: Option<(StatusCode, &'static str)>,
}

impl Asked {
    /// `header` looks a request's header up, `proof` is what App Service's header must be.
    pub(crate) fn parse(
        method: &str,
        path: &str,
        query: &BTreeMap<String, String>,
        header: impl Fn(&str) -> Option<String>,
        proof: &str,
    ) -> Option<Self> {
        let endpoint = match (method, path) {
            ("GET", "/metadata/identity/oauth2/token") => TokenEndpoint::Imds,
            ("GET", "/msi/token") => TokenEndpoint::AppService,
            _ => return None,
        };
        let imds = endpoint == TokenEndpoint::Imds;
        let parameters = [
            ("client_id", By::Client),
            ("object_id", By::Object),
            (if imds { "msi_res_id" } else { "mi_res_id" }, By::Resource),
        ];
        let id = parameters.into_iter().find_map(|(name, by)| query.get(name).map(|id| (by, id.clone())));
        let version = query.get("api-version").map(String::as_str).unwrap_or_default();
        let proven = if imds {
            header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        } else {
            header("x-identity-header").as_deref() == Some(proof)
        };
        let bad = StatusCode::BAD_REQUEST;
        let refusal = if header("x-forwarded-for").is_some() {
            Some((bad, "Request contains the header X-Forwarded-For"))
        } else if !proven && imds {
            Some((bad, "Required metadata header not specified"))
        } else if !proven {
            Some((StatusCode::UNAUTHORIZED, "The identity header is wrong"))
        } else if version < if imds { "2018-02-01" } else { "2019-08-01" } {
            Some((bad, "Invalid api-version"))
        } else {
            None
        };
        Some(Self { endpoint, id, resource: query.get("resource").cloned().unwrap_or_default(), refusal })
    }

    fn id(&self) -> &str {
        self.id.as_ref().map(|(_, id)| id.as_str()).unwrap_or_default()
    }

    /// What the journal may keep.
    pub(crate) fn record(&self, state: &State) -> TokenRequest {
        TokenRequest {
            time: clock::machine_time(),
            endpoint: self.endpoint,
            tenant: state.managed.find(self).map(|found| found.tenant.clone()).unwrap_or_default(),
            client_id: self.id().to_owned(),
            scope: self.resource.clone(),
            issuer: None,
            subject: None,
            audiences: Vec::new(),
            status: None,
            error: None,
        }
    }

    fn refuse(&self, status: StatusCode, text: &str) -> Answer {
        let body = match self.endpoint {
            TokenEndpoint::AppService => {
                json!({"statusCode": status.as_u16(), "message": text, "correlationId": Uuid::new_v4().to_string()})
            }
            _ => json!({"error": "invalid_request", "error_description": text}),
        };
        Answer::json(status, &body)
    }

    /// Decides on the request.
    pub(crate) fn decide(&self, state: &mut State, tokens: &Tokens) -> Decision {
        let answer = match state.managed.faults.hit_client(self.id()) {
            None => self.answer(state, tokens),
            Some((id, FaultKind::Stall)) => return Decision::Stall(id),
            Some((_, FaultKind::Reset)) => return Decision::Reset,
            Some((_, FaultKind::Answer { status, body })) => Answer::made_up(status, body),
            Some((_, FaultKind::Garbage)) => Answer::garbage(),
            Some((_, FaultKind::Oversized { bytes })) => Answer::oversized(bytes),
            Some((_, FaultKind::Redirect { location })) => Answer::redirect(&location),
            Some((_, FaultKind::Throttle { retry_after })) => {
                let answer =
                    self.refuse(StatusCode::TOO_MANY_REQUESTS, "Temporarily throttled, too many requests");
                match retry_after {
                    Some(seconds) => answer.header("retry-after", seconds.to_string()),
                    None => answer,
                }
            }
            Some((_, FaultKind::NotFound)) => self.refuse(StatusCode::NOT_FOUND, "Not found"),
            Some((_, FaultKind::Forbidden { .. })) => self.refuse(StatusCode::FORBIDDEN, "Forbidden"),
            Some((_, FaultKind::Unauthorized { .. } | FaultKind::Aadsts { .. })) => {
                self.refuse(StatusCode::UNAUTHORIZED, "Unauthorized")
            }
            Some((_, FaultKind::Status { status })) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                self.refuse(status, "The service is not available")
            }
        };
        Decision::Answer(answer)
    }

    fn answer(&self, state: &State, tokens: &Tokens) -> Answer {
        if let Some((status, text)) = self.refusal {
            return self.refuse(status, text);
        }
        if self.resource.is_empty() {
            return self.refuse(StatusCode::BAD_REQUEST, "Required audience parameter not specified");
        }
        let found = match state.managed.find(self) {
            Ok(found) => found,
            Err(text) => return self.refuse(StatusCode::BAD_REQUEST, text),
        };
        let (now, lifetime) = (state.clock.seconds(), state.token_lifetime);
        let (tenant, client) = (found.tenant.to_lowercase(), found.client_id.to_lowercase());
        let Ok(token) = tokens.issue(&tenant, &client, &self.resource, lifetime, now) else {
            return self.refuse(StatusCode::INTERNAL_SERVER_ERROR, "No token could be made");
        };
        // Numbers are texts here.
        let mut body = json!({
            "access_token": token,
            "client_id": client,
            "expires_on": (now + i64::from(lifetime)).to_string(),
            "resource": self.resource,
            "token_type": "Bearer",
        });
        if let (TokenEndpoint::Imds, Value::Object(body)) = (self.endpoint, &mut body) {
            body.insert("expires_in".to_owned(), json!(lifetime.to_string()));
            body.insert("ext_expires_in".to_owned(), json!(lifetime.to_string()));
            body.insert("not_before".to_owned(), json!(now.to_string()));
        }
        Answer::ok(&body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jws::Signer;

    const IMDS: &str = "/metadata/identity/oauth2/token";

    fn state() -> State {
        let mut state = State { token_lifetime: 60, ..State::default() };
        for (client, resource) in [("one", "/one"), ("two", "/two")] {
            state.managed.assign(ManagedIdentity {
                tenant: "t1".into(),
                client_id: client.into(),
                resource_id: Some(resource.into()),
            });
        }
        state
    }

    fn ask(path: &str, query: &[(&str, &str)], headers: &[(&str, &str)]) -> (u16, Value) {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let header = |name: &str| {
            headers.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let asked = Asked::parse("GET", path, &query, header, "proof").unwrap();
        let Decision::Answer(answer) = asked.decide(&mut state(), &Tokens::new(Signer::generate().unwrap()))
        else {
            panic!("no answer")
        };
        (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
    }

    #[test]
    fn only_a_request_that_proves_where_it_comes_from_gets_a_token() {
        let imds =
            [("api-version", "2018-02-01"), ("resource", "https://vault.azure.net"), ("client_id", "one")];
        let service =
            [("api-version", "2019-08-01"), ("resource", "https://vault.azure.net"), ("mi_res_id", "/TWO")];
        let (status, body) = ask(IMDS, &imds, &[("metadata", "true")]);
        assert_eq!((status, &body["expires_in"]), (200, &json!("60")), "numbers are texts");
        let (status, body) = ask("/msi/token", &service, &[("x-identity-header", "proof")]);
        assert_eq!((status, &body["client_id"]), (200, &json!("two")));

        assert_eq!(ask(IMDS, &imds, &[]).0, 400);
        assert_eq!(ask(IMDS, &imds, &[("metadata", "true"), ("x-forwarded-for", "10.0.0.1")]).0, 400);
        assert_eq!(ask("/msi/token", &service, &[("x-identity-header", "guess")]).0, 401);
        assert_eq!(ask("/msi/token", &service, &[("metadata", "true")]).0, 401);
    }

    #[test]
    fn who_names_no_identity_of_several_or_an_unknown_one_is_told_so() {
        let ask = |id: &[(&str, &str)]| {
            let usual = [("api-version", "2018-02-01"), ("resource", "https://vault.azure.net")];
            let (status, body) = ask(IMDS, &[&usual, id].concat(), &[("metadata", "true")]);
            (status, body["error_description"].as_str().unwrap_or_default().to_owned())
        };
        assert!(ask(&[]).1.starts_with("Multiple user assigned identities exist"));
        assert_eq!(ask(&[("client_id", "three")]), (400, "Identity not found".to_owned()));
        let object = object_id("t1", "one");
        assert_eq!(ask(&[("object_id", &object)]).0, 200);
    }
}
