//! Tokens of managed identities: one GET to IMDS, or to the endpoint that was injected in its place.
//!
//! Not `azure_identity`'s credential: for IMDS it puts its own retries (six, over 72 seconds) in place of whatever is
//! asked for, out of sight of the gate. Never through a proxy: the answer is a token, and the request is as good as
//! one within the cluster.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Token, assertion::Claims, credentials::Credentials};
use crate::vault::{
    failure::{Failure, IdentityProblem, Peer, Refused},
    identity::ManagedIdentityId,
    rest::{body, refusal},
};

const IMDS: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
/// Larger than any token, with room for what stands beside it.
const LARGEST_BODY: usize = 64 * 1024;

/// A token for `resource`, from `http`, which uses no proxy.
pub(super) async fn token(
    http: &Client,
    credentials: &Credentials,
    id: Option<&ManagedIdentityId>,
    resource: &str,
) -> Result<Token, Refused> {
    let response = match request(http, credentials, id, resource).send().await {
        Ok(response) => response,
        // No node of Azure, or kept from it: what is not there refuses, or says nothing.
        Err(error) if error.is_connect() || error.is_timeout() || error.is_dns() => {
            return Err(Failure::ManagedIdentityUnavailable { status: None }.into());
        }
        Err(error) => return Err(refusal::of_transport(&error, Peer::ManagedIdentity).into()),
    };
    let (status, retry_after) = (response.status(), refusal::retry_after(response.headers()));
    let body = body::read(response, Peer::ManagedIdentity, LARGEST_BODY).await;
    if status == StatusCode::OK {
        let malformed = Failure::MalformedResponse { peer: Peer::ManagedIdentity, at: None };
        return parse(&body?, credentials).ok_or_else(|| malformed.into());
    }
    let failure = refused(status, &body.unwrap_or_default(), id);
    Err(Refused { failure, retry_after })
}

fn request(
    http: &Client,
    credentials: &Credentials,
    id: Option<&ManagedIdentityId>,
    resource: &str,
) -> RequestBuilder {
    let (url, version, resource_id) = match &credentials.identity_endpoint {
        Some(endpoint) => (endpoint.url().as_str(), "2019-08-01", "mi_res_id"),
        None => (IMDS, "2018-02-01", "msi_res_id"),
    };
    let id = match id {
        Some(ManagedIdentityId::ClientId(id)) => Some(("client_id", id.as_str())),
        Some(ManagedIdentityId::ObjectId(id)) => Some(("object_id", id.as_str())),
        Some(ManagedIdentityId::ResourceId(id)) => Some((resource_id, id.as_str())),
        None => None,
    };
    let query = [("api-version", version), ("resource", resource)];
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(query.into_iter().chain(id))
        .finish();
    let mark = if url.contains('?') { '&' } else { '?' };
    let request = http.get(format!("{url}{mark}{query}"));
    match &credentials.identity_endpoint {
        Some(endpoint) => request.header("X-IDENTITY-HEADER", endpoint.header()),
        None => request.header("Metadata", "true"),
    }
}

#[derive(Deserialize)]
struct IssuedToken {
    #[serde(deserialize_with = "body::wiped")]
    access_token: Zeroizing<String>,
    expires_in: Option<Seconds>,
    expires_on: Option<Seconds>,
}

/// A number, which this service writes as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(i64),
    Text(String),
}

impl Seconds {
    fn get(&self) -> Option<i64> {
        match self {
            Self::Number(seconds) => Some(*seconds),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

pub(super) fn parse(body: &[u8], credentials: &Credentials) -> Option<Token> {
    let answer: IssuedToken = serde_json::from_slice(body).ok()?;
    let left = answer.expires_in.as_ref().and_then(Seconds::get);
    let left = left.or_else(|| {
        let end = answer.expires_on.as_ref().and_then(Seconds::get)?;
        end.checked_sub((credentials.clock)().as_second())
    })?;
    // A time that no clock can hold is as good as the longest that the token service can say.
    let lifetime = Duration::from_secs(u64::try_from(left).unwrap_or(0).min(u32::MAX.into()));
    let secret = answer.access_token;
    (!secret.is_empty()).then_some(Token { secret, lifetime, assertion: Claims::default() })
}

pub(super) fn refused(status: StatusCode, body: &[u8], id: Option<&ManagedIdentityId>) -> Failure {
    let has = |text: &[u8]| body.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text));
    match status.as_u16() {
        400 => {
            let client_id = id.map(|id| match id {
                ManagedIdentityId::ClientId(id)
                | ManagedIdentityId::ObjectId(id)
                | ManagedIdentityId::ResourceId(id) => id.clone(),
            });
            let several = id.is_none() && has(b"multiple user assigned identities");
            let problem = if several { IdentityProblem::Ambiguous } else { IdentityProblem::NotAssigned };
            Failure::InvalidIdentity { problem, client_id, tenant: None }
        }
        429 => Failure::Throttled(Peer::ManagedIdentity),
        // 410: the service is being updated, which takes up to 70 seconds.
        408 | 410 | 500..=599 => {
            Failure::ServiceUnavailable { peer: Peer::ManagedIdentity, status: Some(status.as_u16()) }
        }
        other => Failure::ManagedIdentityUnavailable { status: Some(other) },
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::vault::IdentityEndpoint;

    fn credentials() -> Credentials {
        Credentials::new(|| Timestamp::from_second(1_000).unwrap_or_default())
    }

    #[test]
    fn a_request_names_the_identity_as_its_endpoint_wants_it() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().build().unwrap();
        let imds = credentials();
        let endpoint = IdentityEndpoint::new("http://127.0.0.1:1/msi/token", "canary".to_owned()).unwrap();
        let injected = Credentials { identity_endpoint: Some(endpoint), ..credentials() };
        let resource = ManagedIdentityId::ResourceId("/subscriptions/a&b".to_owned());
        let client = ManagedIdentityId::ClientId("c".to_owned());
        let sent =
            |credentials, id| request(&http, credentials, id, "https://vault.azure.net").build().unwrap();

        let request = sent(&imds, Some(&resource));
        assert_eq!(
            request.url().as_str(),
            "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net&msi_res_id=%2Fsubscriptions%2Fa%26b"
        );
        assert_eq!(request.headers()["metadata"], "true");
        let request = sent(&injected, Some(&resource));
        assert!(request.url().as_str().ends_with("&mi_res_id=%2Fsubscriptions%2Fa%26b"), "{}", request.url());
        assert_eq!(request.headers()["x-identity-header"], "canary");
        assert!(sent(&imds, Some(&client)).url().as_str().ends_with("&client_id=c"));
        assert!(!sent(&imds, None).url().as_str().contains("_id="));
    }

    #[test]
    fn an_answer_is_read_with_its_numbers_as_texts_or_numbers() {
        for (body, lifetime) in [
            (r#"{"access_token":"t","expires_in":"3599","expires_on":"9"}"#, 3599),
            (r#"{"access_token":"t","expires_on":"1600"}"#, 600),
            (r#"{"access_token":"t","expires_on":1600}"#, 600),
            (r#"{"access_token":"t","expires_on":"1"}"#, 0),
            (r#"{"access_token":"t","expires_in":9223372036854775807}"#, u32::MAX.into()),
        ] {
            let token = parse(body.as_bytes(), &credentials()).unwrap();
            assert_eq!(
                (token.secret.as_str(), token.lifetime),
                ("t", Duration::from_secs(lifetime)),
                "{body}"
            );
        }
        for body in [
            "",
            "{}",
            r#"{"access_token":"","expires_in":"1"}"#,
            r#"{"access_token":"t"}"#,
            r#"{"access_token":"t","expires_on":"soon"}"#,
        ] {
            assert!(parse(body.as_bytes(), &credentials()).is_none(), "{body}");
        }
    }

    #[test]
    fn each_refusal_has_its_own_reason() {
        let client = ManagedIdentityId::ClientId("c".to_owned());
        let several = br#"{"error_description":"Multiple user assigned identities exist, please specify"}"#;
        for (status, body, id, expected) in [
            (400_u16, &b"{}"[..], Some(&client), "InvalidIdentity"),
            (400, several, None, "InvalidIdentity"),
            (403, b"", None, "ManagedIdentityUnavailable"),
            (404, b"", None, "ManagedIdentityUnavailable"),
            (410, b"", None, "ServiceUnavailable"),
            (429, b"", None, "Throttled"),
            (500, b"", None, "ServiceUnavailable"),
        ] {
            let failure = refused(StatusCode::from_u16(status).unwrap(), body, id);
            assert_eq!(failure.reason().as_str(), expected, "{status}");
        }
        let text = refused(StatusCode::BAD_REQUEST, several, None).to_string();
        assert!(text.contains("several managed identities"), "{text}");
    }
}
