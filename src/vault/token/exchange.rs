//! One exchange with the token service: an assertion or a secret for a token.
//!
//! `azure_identity` writes the request and sees nothing of the answer: it takes an error whose description holds an
//! escape for a broken answer, ends the program over a token that lives beyond its calendar, and copies what is to be
//! wiped. So [`TokenService`] stands in its way to the network, keeps the answer and reports none. Of a refusal the
//! numbers are kept, and nothing else. When to ask is the matter of [`Tokens`](super::Tokens).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use azure_core::{
    cloud::CustomConfiguration,
    credentials::{Secret, TokenCredential},
    error::ErrorKind,
    http::{
        AsyncRawResponse, Body, ClientMethodOptions, ClientOptions, HttpClient, Request, RetryOptions,
        Transport,
    },
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions,
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    Token,
    assertion::{Assertion, Claims, plain},
};
use crate::vault::{
    failure::{Failure, IdentityProblem, Peer, Refused},
    rest::{body, refusal},
};

/// Larger than any token, with room for what stands beside it.
const LARGEST_BODY: usize = 64 * 1024;

/// As which application of which tenant, for what, and who is asked.
#[derive(Debug)]
pub(super) struct Application<'a> {
    pub(super) authority_host: &'a str,
    pub(super) scope: &'a str,
    pub(super) tenant: &'a str,
    pub(super) client_id: &'a str,
}

impl Application<'_> {
    fn invalid(&self, problem: IdentityProblem) -> Failure {
        let (client_id, tenant) = (plain(self.client_id), plain(self.tenant));
        Failure::InvalidIdentity { problem, client_id, tenant }
    }
}

/// What the application proves itself with.
pub(super) enum Proof {
    /// Somebody's signed word for it, perhaps its own.
    Assertion(Assertion),
    /// Its secret.
    Secret(Zeroizing<String>),
}

/// Exchanges `proof` for a token.
pub(super) async fn exchange(
    http: &reqwest::Client,
    application: &Application<'_>,
    proof: Proof,
) -> Result<Token, Refused> {
    let claims = match &proof {
        Proof::Assertion(assertion) => assertion.claims(),
        Proof::Secret(_) => Claims::default(),
    };
    let service = Arc::new(TokenService { http: http.clone(), answer: Mutex::default() });
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = format!("https://{}", application.authority_host);
    let client_options = ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::<TokenService>::clone(&service))),
        cloud: Some(Arc::new(cloud.into())),
        ..ClientOptions::default()
    };
    let credential = credential(application, proof, client_options)
        .map_err(|_| Refused::from(application.invalid(IdentityProblem::Malformed)))?;
    // An error, whatever the answer: that is kept by `service`.
    let _ = credential.get_token(&[application.scope], None).await;
    match service.answer() {
        Ok(Issued { access_token: secret, expires_in }) => {
            Ok(Token { secret, lifetime: Duration::from_secs(expires_in.into()), assertion: claims })
        }
        Err(NoToken::Refused(codes)) => Err(of_codes(&codes, application, claims).into()),
        Err(NoToken::Failed(refused)) => Err(refused),
    }
}

fn credential(
    application: &Application<'_>,
    proof: Proof,
    client_options: ClientOptions,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    let client_id = application.client_id.to_owned();
    Ok(match proof {
        Proof::Assertion(assertion) => ClientAssertionCredential::new(
            application.tenant.to_owned(),
            client_id,
            Given(assertion),
            Some(ClientAssertionCredentialOptions { client_options }),
        )?,
        Proof::Secret(secret) => ClientSecretCredential::new(
            application.tenant,
            client_id,
            Secret::new(secret.as_str().to_owned()),
            Some(ClientSecretCredentialOptions { client_options }),
        )?,
    })
}

/// The first number that is known decides.
pub(super) fn of_codes(codes: &[u32], application: &Application<'_>, claims: Claims) -> Failure {
    for &code in codes {
        match code {
            70_021 | 700_211 | 700_212 | 700_213 => {
                let Claims { issuer, subject, audience } = claims;
                let client_id = plain(application.client_id);
                return Failure::FederationMismatch { code, issuer, subject, audience, client_id };
            }
            50_013 | 90_002 | 500_011 | 700_016 | 700_024 | 700_027 | 900_023 | 900_382 | 7_000_215
            | 7_000_222 | 7_000_229 => {
                return application.invalid(IdentityProblem::Code(code));
            }
            // It could not fetch the issuer's documents just now: nothing is wrong with the identity.
            50_166 | 90_061 | 501_661 => {
                return Failure::ServiceUnavailable { peer: Peer::Authority, status: Some(400) };
            }
            _ => {}
        }
    }
    Failure::TokenRefused { code: codes.first().copied() }
}

/// The assertion at hand, as the library wants it.
struct Given(Assertion);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl ClientAssertion for Given {
    fn secret<'life0, 'life1, 'async_trait>(
        &'life0 self,
        _: Option<ClientMethodOptions<'life1>>,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<String>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async { Ok(self.0.expose().to_owned()) })
    }
}

/// The way to the token service, which keeps the answer to itself.
struct TokenService {
    http: reqwest::Client,
    answer: Mutex<Option<Result<Issued, NoToken>>>,
}

/// A token as OAuth 2 has it (RFC 6749, 5.1).
#[derive(Deserialize)]
pub(super) struct Issued {
    #[serde(deserialize_with = "body::wiped")]
    pub(super) access_token: Zeroizing<String>,
    pub(super) expires_in: u32,
}

/// Why there is no token.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum NoToken {
    /// The token service refuses, by its `AADSTS` numbers.
    Refused(Vec<u32>),
    /// It cannot be reached, fails, or it is no token service that answers.
    Failed(Refused),
}

impl From<Failure> for NoToken {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.into())
    }
}

/// An error as OAuth 2 has it (RFC 6749, 5.2), with the numbers that Entra adds.
#[derive(Deserialize)]
struct RefusedBody {
    #[serde(rename = "error")]
    _error: String,
    #[serde(default)]
    error_codes: Vec<u32>,
}

const MALFORMED: Failure = Failure::MalformedResponse { peer: Peer::Authority, at: None };

/// What an answer means.
pub(super) fn of_answer(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Result<Issued, NoToken> {
    let failed = |failure| NoToken::Failed(Refused { failure, retry_after });
    match status {
        200 => {
            let issued = serde_json::from_slice(body).ok();
            issued.filter(|issued: &Issued| !issued.access_token.is_empty()).ok_or_else(|| failed(MALFORMED))
        }
        429 => Err(failed(Failure::Throttled(Peer::Authority))),
        408 | 500..=599 => {
            Err(failed(Failure::ServiceUnavailable { peer: Peer::Authority, status: Some(status) }))
        }
        400..=499 => Err(serde_json::from_slice(body).map_or_else(
            |_| failed(MALFORMED),
            |RefusedBody { error_codes, .. }| NoToken::Refused(error_codes),
        )),
        _ => Err(failed(MALFORMED)),
    }
}

impl TokenService {
    /// What came of the request.
    fn answer(&self) -> Result<Issued, NoToken> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.unwrap_or_else(|| Err(MALFORMED.into()))
    }

    async fn ask(&self, request: &Request) -> Result<Issued, NoToken> {
        let Body::Bytes(form) = request.body() else { return Err(MALFORMED.into()) };
        let mut post = self.http.post(request.url().clone()).body(form.clone());
        for (name, value) in request.headers().iter() {
            post = post.header(name.as_str(), value.as_str());
        }
        let response = post.send().await.map_err(|error| refusal::of_transport(&error, Peer::Authority))?;
        let (status, retry_after) = (response.status().as_u16(), refusal::retry_after(response.headers()));
        of_answer(status, retry_after, &body::read(response, Peer::Authority, LARGEST_BODY).await?)
    }
}

impl fmt::Debug for TokenService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenService").finish_non_exhaustive()
    }
}

impl HttpClient for TokenService {
    fn execute_request<'life0, 'life1, 'async_trait>(
        &'life0 self,
        request: &'life1 Request,
    ) -> Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let answer = self.ask(request).await;
            *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            Err(azure_core::Error::with_message(ErrorKind::Credential, "the answer is kept"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_services_number_decides_the_reason() {
        let application = Application { authority_host: "a", scope: "s", tenant: "t", client_id: "c" };
        for (codes, reason) in [
            (&[700_213][..], "FederationMismatch"),
            (&[70_021], "FederationMismatch"),
            (&[700_016], "InvalidIdentity"),
            (&[90_002], "InvalidIdentity"),
            (&[700_024], "InvalidIdentity"),
            (&[700_027], "InvalidIdentity"),
            (&[7_000_215], "InvalidIdentity"),
            (&[50_013], "InvalidIdentity"),
            (&[500_011], "InvalidIdentity"),
            (&[900_382], "InvalidIdentity"),
            (&[7_000_229], "InvalidIdentity"),
            (&[50_166], "ServiceUnavailable"),
            (&[90_061], "ServiceUnavailable"),
            (&[501_661], "ServiceUnavailable"),
            (&[50_053], "TokenRefused"),
            (&[1, 700_016], "InvalidIdentity"),
            (&[], "TokenRefused"),
        ] {
            let failure = of_codes(codes, &application, Claims::default());
            assert_eq!(failure.reason().as_str(), reason, "{codes:?}");
        }
    }

    fn no_token(status: u16, retry_after: Option<Duration>, body: &[u8]) -> NoToken {
        of_answer(status, retry_after, body).err().unwrap()
    }

    #[test]
    fn the_numbers_of_a_refusal_are_read_whatever_stands_beside_them() {
        for (description, codes) in [
            ("", vec![700_016]),
            (r#","error_description":"AADSTS700016: 'app' was not found.""#, vec![700_016]),
            (r#","error_description":"a \"quoted\" name,\r\n\u00e4 and \/""#, vec![700_016]),
            (r#","error_description":null,"timestamp":7,"claims":{"a":["\""]}"#, vec![700_016]),
        ] {
            let body = format!(r#"{{"error":"unauthorized_client","error_codes":[700016]{description}}}"#);
            assert_eq!(no_token(400, None, body.as_bytes()), NoToken::Refused(codes), "{body}");
        }
        let body = br#"{"error":"invalid_client","error_codes":[7000215,50000]}"#;
        assert_eq!(no_token(401, None, body), NoToken::Refused(vec![7_000_215, 50_000]));
        assert_eq!(no_token(401, None, br#"{"error":"invalid_client"}"#), NoToken::Refused(Vec::new()));
    }

    #[test]
    fn what_is_no_refusal_of_a_token_service_is_not_taken_for_one() {
        for body in [
            &b""[..],
            b"<html>error_codes: [700016]</html>",
            b"[700016]",
            br#"{"message":"blocked by the proxy"}"#,
            br#"{"error":"x","error_codes":"700016"}"#,
            br#"{"error":"x","error_codes":[700016]"#,
            b"{\"error\":\"\xff\",\"error_codes\":[-1]}",
        ] {
            assert_eq!(no_token(400, None, body), MALFORMED.into(), "{:?}", String::from_utf8_lossy(body));
        }
        for status in [200, 302] {
            assert_eq!(no_token(status, None, br#"{"error":"x"}"#), MALFORMED.into(), "{status}");
        }
    }

    #[test]
    fn a_token_without_text_or_with_an_odd_life_is_none() {
        let is_token = |body: &[u8]| of_answer(200, None, body).is_ok();
        assert!(is_token(br#"{"token_type":"Bearer","expires_in":3599,"access_token":"t"}"#));
        for body in [
            "",
            "{}",
            r#"{"expires_in":3599,"access_token":""}"#,
            r#"{"access_token":"t"}"#,
            r#"{"expires_in":-1,"access_token":"t"}"#,
            r#"{"expires_in":9223372036854775807,"access_token":"t"}"#,
            r#"{"expires_in":3599,"access_token":7}"#,
        ] {
            assert!(!is_token(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_busy_or_broken_token_service_is_told_by_its_status_alone() {
        let wait = Some(Duration::from_secs(7));
        let numbers = br#"{"error":"x","error_codes":[700016]}"#;
        for (status, reason) in [
            (408, "ServiceUnavailable"),
            (429, "Throttled"),
            (500, "ServiceUnavailable"),
            (503, "ServiceUnavailable"),
        ] {
            let NoToken::Failed(Refused { failure, retry_after }) = no_token(status, wait, numbers) else {
                panic!("{status} is a refusal")
            };
            assert_eq!((failure.reason().as_str(), retry_after), (reason, wait), "{status}");
        }
    }
}
