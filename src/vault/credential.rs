//! One exchange with the token service: an assertion or a secret for a token, through `azure_identity`.
//!
//! Its cache, retries and messages are not used: when to ask is [`tokens`](super::token)' matter, and what
//! goes wrong is told by number.

use std::{
    error::Error as _,
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
        AsyncRawResponse, ClientMethodOptions, ClientOptions, HttpClient, Request, RetryOptions,
        Transport as AzureTransport,
    },
    time::OffsetDateTime,
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions,
};
use zeroize::Zeroizing;

use super::{
    assertion::{Assertion, Claims, plain},
    failure::{Failure, IdentityProblem, Peer},
    refusal,
    token::{Refused, Token},
};

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
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = format!("https://{}", application.authority_host);
    let client_options = ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(AzureTransport::new(Arc::new(Observed {
            http: http.clone(),
            seen: Arc::clone(&seen),
        }))),
        cloud: Some(Arc::new(cloud.into())),
        ..ClientOptions::default()
    };
    let credential = credential(application, proof, client_options)
        .map_err(|_| Refused::from(application.invalid(IdentityProblem::Malformed)))?;
    let answer = credential.get_token(&[application.scope], None).await;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match answer {
        Ok(token) => {
            // The library added the answer's seconds to this very clock a moment ago.
            let left = (token.expires_on - OffsetDateTime::now_utc()).whole_seconds();
            let lifetime = Duration::from_secs(u64::try_from(left).unwrap_or(0));
            let secret = Zeroizing::new(token.token.secret().to_owned());
            Ok(Token { secret, lifetime, assertion: claims })
        }
        Err(error) => {
            Err(Refused { failure: read(&error, &seen, application, claims), retry_after: seen.retry_after })
        }
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

/// What failed, from numbers and types only.
fn read(error: &azure_core::Error, seen: &Seen, application: &Application<'_>, claims: Claims) -> Failure {
    if let Some(failure) = &seen.transport {
        return failure.clone();
    }
    match seen.status {
        Some(429) => return Failure::Throttled(Peer::Authority),
        Some(status @ (408 | 500..)) => {
            return Failure::ServiceUnavailable { peer: Peer::Authority, status: Some(status) };
        }
        _ => {}
    }
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(ErrorKind::HttpResponse { error_code, .. }) =
            error.downcast_ref::<azure_core::Error>().map(azure_core::Error::kind)
        {
            let codes = error_code.as_deref().unwrap_or_default().split(',');
            return of_codes(codes.filter_map(|code| code.trim().parse().ok()), application, claims);
        }
        next = error.source();
    }
    Failure::MalformedResponse { peer: Peer::Authority, at: None }
}

/// The first number that is known decides.
fn of_codes(
    codes: impl Iterator<Item = u32> + Clone,
    application: &Application<'_>,
    claims: Claims,
) -> Failure {
    for code in codes.clone() {
        match code {
            70_021 | 700_211 | 700_212 | 700_213 => {
                let Claims { issuer, subject, audience } = claims;
                let client_id = plain(application.client_id);
                return Failure::FederationMismatch { code, issuer, subject, audience, client_id };
            }
            90_002 | 700_016 | 700_027 | 900_023 | 7_000_215 | 7_000_222 => {
                return application.invalid(IdentityProblem::Code(code));
            }
            _ => {}
        }
    }
    Failure::TokenRefused { code: codes.into_iter().next() }
}

/// The assertion at hand, as the library wants it.
struct Given(Assertion);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = azure_core::Result<T>> + Send + 'a>>;

impl ClientAssertion for Given {
    fn secret<'life0, 'life1, 'async_trait>(
        &'life0 self,
        _: Option<ClientMethodOptions<'life1>>,
    ) -> Boxed<'async_trait, String>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async { Ok(self.0.expose().to_owned()) })
    }
}

/// What passed over the wire, which the library's errors do not always say.
#[derive(Clone, Debug, Default)]
struct Seen {
    status: Option<u16>,
    retry_after: Option<Duration>,
    transport: Option<Failure>,
}

/// Our HTTP client, with an eye on what it gets.
#[derive(Debug)]
struct Observed {
    http: reqwest::Client,
    seen: Arc<Mutex<Seen>>,
}

impl HttpClient for Observed {
    fn execute_request<'life0, 'life1, 'async_trait>(
        &'life0 self,
        request: &'life1 Request,
    ) -> Boxed<'async_trait, AsyncRawResponse>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let answer = self.http.execute_request(request).await;
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            match &answer {
                Ok(response) => {
                    seen.status = Some(response.status().into());
                    let wait = response.headers().get_optional_str(&azure_core::http::headers::RETRY_AFTER);
                    seen.retry_after = wait
                        .and_then(|wait| wait.parse::<u32>().ok())
                        .map(|wait| Duration::from_secs(wait.into()));
                }
                Err(error) => {
                    let cause = error.source().and_then(|cause| cause.downcast_ref::<reqwest::Error>());
                    let silent = Failure::ServiceUnavailable { peer: Peer::Authority, status: None };
                    seen.transport =
                        Some(cause.map_or(silent, |cause| refusal::of_transport(cause, Peer::Authority)));
                }
            }
            drop(seen);
            answer
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
            (&[700_027], "InvalidIdentity"),
            (&[7_000_215], "InvalidIdentity"),
            (&[50_053], "TokenRefused"),
            (&[1, 700_016], "InvalidIdentity"),
            (&[], "TokenRefused"),
        ] {
            let failure = of_codes(codes.iter().copied(), &application, Claims::default());
            assert_eq!(failure.reason(), reason, "{codes:?}");
        }
    }
}
