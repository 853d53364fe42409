//! Proofs of a ServiceAccount's identity, exchanged for tokens. Who makes them is not this layer's matter.

use std::fmt;

use futures::future::BoxFuture;
use thiserror::Error;
use zeroize::Zeroizing;

/// Makes assertions: JSON web tokens signed by the cluster.
pub trait Assertions: Send + Sync {
    /// An assertion of the ServiceAccount's identity for `audience`.
    fn assertion(
        &self,
        namespace: &str,
        service_account: &str,
        audience: &str,
    ) -> BoxFuture<'static, Result<Assertion, AssertionError>>;
}

/// Why there is no assertion. It holds no text of the API server.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum AssertionError {
    /// There is no such ServiceAccount.
    #[error("the ServiceAccount does not exist")]
    ServiceAccountNotFound,
    /// The operator may not make tokens for it.
    #[error("the operator may not make a token for the ServiceAccount")]
    Forbidden,
    /// The API server refused otherwise, or did not answer.
    #[error("the API server made no token for the ServiceAccount")]
    NotMade,
}

/// A signed assertion: wiped when dropped, never printed.
pub struct Assertion(Zeroizing<String>);

impl Assertion {
    /// Takes the signed token over.
    #[must_use]
    pub const fn new(token: Zeroizing<String>) -> Self {
        Self(token)
    }

    /// The signed token.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// The claims that a federated credential is matched on, read without verifying: they only go into a message
    /// that says what to federate.
    pub(super) fn claims(&self) -> Claims {
        Claims::read(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Issuer, subject and audience of an assertion. They are not secret.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Claims {
    pub(super) issuer: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) audience: Option<String>,
}

impl Claims {
    fn read(token: &str) -> Option<Self> {
        let claims = payload(token)?;
        let text = |value: &serde_json::Value| value.as_str().and_then(plain);
        let audience = claims.get("aud").and_then(|aud| text(aud.get(0).unwrap_or(aud)));
        Some(Self {
            issuer: claims.get("iss").and_then(text),
            subject: claims.get("sub").and_then(text),
            audience,
        })
    }
}

/// The claims of a token, if it is a JSON web token; not verified.
pub(super) fn payload(token: &str) -> Option<serde_json::Value> {
    use base64::Engine as _;
    let payload = token.split('.').nth(1)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Only what can be pasted into a federated credential; anything else stays out of messages.
pub(super) fn plain(claim: &str) -> Option<String> {
    let fits = claim.len() <= 256 && claim.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| claim.to_owned())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    fn signed(claims: &str) -> Assertion {
        let part = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
        Assertion::new(Zeroizing::new(format!("e30.{part}.canary-signature")))
    }

    #[test]
    fn the_claims_to_federate_are_read_and_nothing_else_is_shown() {
        let assertion =
            signed(r#"{"iss":"https://issuer","sub":"system:serviceaccount:shop:shop","aud":["api://x"]}"#);
        let claims = assertion.claims();
        assert_eq!(claims.issuer.as_deref(), Some("https://issuer"));
        assert_eq!(claims.subject.as_deref(), Some("system:serviceaccount:shop:shop"));
        assert_eq!(claims.audience.as_deref(), Some("api://x"));
        assert!(!format!("{assertion:?}").contains("canary"));
    }

    #[test]
    fn an_assertion_that_is_no_token_has_no_claims() {
        for text in ["", "a", "a.b", "a.!!.c"] {
            assert_eq!(Assertion::new(Zeroizing::new(text.to_owned())).claims(), Claims::default());
        }
        assert_eq!(signed(r#"{"iss":"with\nbreak","aud":7}"#).claims(), Claims::default());
    }
}
