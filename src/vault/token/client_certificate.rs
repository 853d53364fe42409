//! A certificate that an application proves itself with: the assertion that it signs.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
    rsa::KeyPair,
    signature::{KeyPair as _, RSA_PSS_SHA256},
};
use rustls::pki_types::PrivateKeyDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};
use zeroize::Zeroizing;

use super::assertion::Assertion;
use crate::vault::failure::CredentialProblem;

/// An assertion is used at once; this bears the clocks' difference.
const LIFETIME: SignedDuration = SignedDuration::from_mins(10);

/// A certificate with its private key.
pub(super) struct ClientCertificate {
    key: KeyPair,
    thumbprint: String,
    begins: Timestamp,
    ends: Timestamp,
}

impl ClientCertificate {
    /// The certificate among `certificates` (DER) that belongs to `key`.
    pub(super) fn new<'a>(
        key: &PrivateKeyDer<'_>,
        certificates: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, CredentialProblem> {
        let key = match key {
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(CredentialProblem::UnsupportedKey),
        };
        let key = key.map_err(|_| CredentialProblem::UnsupportedKey)?;
        let public = key.public_key().as_ref();
        for der in certificates {
            let (_, parsed) = X509Certificate::from_der(der).map_err(|_| CredentialProblem::Unknown)?;
            if parsed.public_key().subject_public_key.data.as_ref() == public {
                let time = |time: x509_parser::time::ASN1Time| {
                    Timestamp::from_second(time.timestamp()).map_err(|_| CredentialProblem::Unknown)
                };
                let validity = parsed.validity();
                return Ok(Self {
                    thumbprint: URL_SAFE_NO_PAD.encode(digest(&SHA256, der)),
                    begins: time(validity.not_before)?,
                    ends: time(validity.not_after)?,
                    key,
                });
            }
        }
        Err(CredentialProblem::NoCertificate)
    }

    /// By what it is known: SHA-256, as in the header of its assertions.
    #[cfg(test)]
    pub(super) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// When it begins to be valid.
    pub(super) const fn begins(&self) -> Timestamp {
        self.begins
    }

    /// When it ceases to be valid.
    pub(super) const fn ends(&self) -> Timestamp {
        self.ends
    }

    /// The application's own word that it is `client_id`, for the token endpoint `audience`.
    pub(super) fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Assertion, CredentialProblem> {
        let random = SystemRandom::new();
        let mut id = [0; 16];
        random.fill(&mut id).map_err(|_| CredentialProblem::UnsupportedKey)?;
        let header = serde_json::json!({"alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint});
        let claims = serde_json::json!({
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now.as_second(),
            "nbf": now.as_second(),
            "exp": (now + LIFETIME).as_second(),
        });
        let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PSS_SHA256, &random, signed.as_bytes(), &mut signature)
            .map_err(|_| CredentialProblem::UnsupportedKey)?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        Ok(Assertion::new(Zeroizing::new(token)))
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("ends", &self.ends).finish_non_exhaustive()
    }
}
