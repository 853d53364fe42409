//! Client certificates of applications, and the assertions signed with them.
//!
//! Invariant: an assertion counts only with the thumbprint (SHA-1 or SHA-256) and signature of a certificate that is
//! registered for its application and within its dates.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest},
    signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{entra::Aadsts, jws::Token};

/// A registered certificate.
pub(crate) struct ClientCertificate {
    thumbprints: [String; 2],
    public: Vec<u8>,
    begins: i64,
    ends: i64,
}

impl ClientCertificate {
    /// Every certificate in a PEM text; `None` if there is none, or one is no certificate.
    pub(crate) fn parse_all(pem: &str) -> Option<Vec<Self>> {
        let found = CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| Self::parse(&der.ok()?));
        found.collect::<Option<Vec<_>>>().filter(|found| !found.is_empty())
    }

    fn parse(der: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let thumbprint = |algorithm| BASE64_URL_SAFE_NO_PAD.encode(digest(algorithm, der));
        Some(Self {
            thumbprints: [thumbprint(&SHA1_FOR_LEGACY_USE_ONLY), thumbprint(&SHA256)],
            public: parsed.public_key().subject_public_key.data.to_vec(),
            begins: parsed.validity().not_before.timestamp(),
            ends: parsed.validity().not_after.timestamp(),
        })
    }
}

/// The thumbprint in an assertion's header: only one signed by the application itself has it.
pub(crate) fn thumbprint(assertion: &str) -> Option<String> {
    let token = Token::parse(assertion)?;
    token.header("x5t#S256").or_else(|| token.header("x5t")).map(str::to_owned)
}

/// Judges an assertion that the application `client` signed, at the token service `host`.
pub(crate) fn judge(
    known: &[ClientCertificate],
    thumbprint: &str,
    assertion: &str,
    (host, tenant, client): (&str, &str, &str),
    now: i64,
) -> Result<(), Aadsts> {
    let token =
        Token::parse(assertion).ok_or_else(|| Aadsts::new(50_027, "JWT token is invalid or malformed."))?;
    let invalid = |reason: &str| {
        Aadsts::new(700_027, format!("Client assertion failed signature validation. [Reason - {reason}]"))
    };
    let unpadded = thumbprint.trim_end_matches('=');
    let certificate = known
        .iter()
        .find(|certificate| certificate.thumbprints.iter().any(|known| known == unpadded))
        .ok_or_else(|| invalid("The key was not found."))?;
    let algorithm = match token.algorithm() {
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        _ => return Err(invalid("The algorithm is not supported.")),
    };
    if !token.signed_by(&UnparsedPublicKey::new(algorithm, &certificate.public)) {
        return Err(invalid("The signature does not verify."));
    }
    if !(certificate.begins..certificate.ends).contains(&now) {
        return Err(invalid("The key used is expired."));
    }
    if [token.text("iss"), token.text("sub")] != [Some(client); 2] {
        return Err(Aadsts::new(
            700_021,
            "Client assertion application identifier doesn't match 'client_id'.",
        ));
    }
    let audiences = ["oauth2/v2.0/token", "v2.0"].map(|path| format!("https://{host}/{tenant}/{path}"));
    if !token.audiences().iter().any(|audience| audiences.contains(audience)) {
        return Err(Aadsts::new(700_023, "Client assertion audience claim does not match Realm issuer."));
    }
    let ended = token.seconds("exp").is_none_or(|end| end <= now);
    if ended || token.seconds("nbf").is_some_and(|start| start > now + 300) {
        return Err(Aadsts::new(700_024, "Client assertion is not within its valid time range."));
    }
    Ok(())
}
