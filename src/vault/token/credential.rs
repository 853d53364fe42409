//! One exchange with the token service: an assertion or a secret for a token, through `azure_identity`.
//!
//! Its cache, retries and messages are not used: when to ask is the matter of [`Tokens`](super::Tokens), and what
//! goes wrong is told by number.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use azure_core::{
    cloud::CustomConfiguration,
    credentials::{Secret, TokenCredential},
    http::{ClientMethodOptions, ClientOptions, RetryOptions, Transport},
    time::OffsetDateTime,
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions,
};
use zeroize::Zeroizing;

use super::{
    Refused, Token,
    assertion::{Assertion, Claims, plain},
    token_service::{NoToken, TokenService},
};
use crate::vault::failure::{Failure, IdentityProblem};

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
    let service = TokenService::new(http.clone());
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
    match credential.get_token(&[application.scope], None).await {
        Ok(token) => {
            // The library added the answer's seconds to this very clock a moment ago.
            let left = (token.expires_on - OffsetDateTime::now_utc()).whole_seconds();
            let lifetime = Duration::from_secs(u64::try_from(left).unwrap_or(0));
            let secret = Zeroizing::new(token.token.secret().to_owned());
            Ok(Token { secret, lifetime, assertion: claims })
        }
        Err(_) => Err(match service.no_token() {
            NoToken::Refused(codes) => of_codes(&codes, application, claims).into(),
            NoToken::Failed { failure, retry_after } => Refused { failure, retry_after },
        }),
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
fn of_codes(codes: &[u32], application: &Application<'_>, claims: Claims) -> Failure {
    for &code in codes {
        match code {
            70_021 | 700_211 | 700_212 | 700_213 => {
                let Claims { issuer, subject, audience } = claims;
                let client_id = plain(application.client_id);
                return Failure::FederationMismatch { code, issuer, subject, audience, client_id };
            }
            90_002 | 700_016 | 700_024 | 700_027 | 900_023 | 7_000_215 | 7_000_222 => {
                return application.invalid(IdentityProblem::Code(code));
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
            (&[50_053], "TokenRefused"),
            (&[1, 700_016], "InvalidIdentity"),
            (&[], "TokenRefused"),
        ] {
            let failure = of_codes(codes, &application, Claims::default());
            assert_eq!(failure.reason(), reason, "{codes:?}");
        }
    }
}
