//! What stands in a credential's file: a client secret, or a certificate with its key as PEM or PFX. Told apart by
//! content, for file names mean nothing.

use std::fmt;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::client_certificate::ClientCertificate;
use crate::certificate::{Certificate, UnreadableCertificate};
use crate::vault::failure::CredentialProblem;

/// No credential is larger; a chain of certificates with a large key has a tenth of it.
pub(super) const LARGEST: usize = 64 * 1024;
/// Client secrets have 40 characters, and those that people chose not many more.
const LONGEST_SECRET: usize = 512;

/// A credential.
pub(super) enum Material {
    /// A client secret.
    Secret(Zeroizing<String>),
    /// A certificate with its private key.
    Certificate(Box<ClientCertificate>),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret([redacted])"),
            Self::Certificate(certificate) => f.debug_tuple("Certificate").field(certificate).finish(),
        }
    }
}

/// Reads a credential out of a file's content.
///
/// # Errors
/// What is wrong with the content; nothing of it is in the error.
pub(super) fn parse(file: &[u8]) -> Result<Material, CredentialProblem> {
    let text = std::str::from_utf8(file).ok().map(str::trim);
    match text {
        Some("") => Err(CredentialProblem::Empty),
        Some(pem) if pem.contains("-----BEGIN ") => certificate(pem).map(Box::new).map(Material::Certificate),
        Some(secret)
            if secret.len() <= LONGEST_SECRET && secret.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Ok(Material::Secret(Zeroizing::new(secret.to_owned())))
        }
        // A sequence in DER, which is what a PFX is.
        _ if file.first() == Some(&0x30) => pfx(file).map(Box::new).map(Material::Certificate),
        _ => Err(CredentialProblem::Unknown),
    }
}

/// The one private key in a PEM file, and the one of its certificates that belongs to it.
fn certificate(pem: &str) -> Result<ClientCertificate, CredentialProblem> {
    if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(CredentialProblem::Encrypted);
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = certificates.map_err(|_| CredentialProblem::Unknown)?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound if certificates.is_empty() => CredentialProblem::Unknown,
        rustls::pki_types::pem::Error::NoItemsFound => CredentialProblem::NoPrivateKey,
        _ => CredentialProblem::Unknown,
    })?;
    ClientCertificate::new(&key, certificates.iter().map(AsRef::as_ref))
}

/// The private key in a PFX without a password, and its certificate.
fn pfx(der: &[u8]) -> Result<ClientCertificate, CredentialProblem> {
    let certificate = Certificate::from_pfx(der).map_err(|unreadable| match unreadable {
        UnreadableCertificate::Encrypted => CredentialProblem::Encrypted,
        UnreadableCertificate::NotACertificate | UnreadableCertificate::KeyMismatch => {
            CredentialProblem::NoCertificate
        }
        UnreadableCertificate::Invalid | UnreadableCertificate::TooCostly => CredentialProblem::Unknown,
    })?;
    let key = certificate.key().ok_or(CredentialProblem::NoPrivateKey)?;
    ClientCertificate::new(&PrivateKeyDer::Pkcs8(key.into()), std::iter::once(certificate.der()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rustls::pki_types::CertificateDer;

    use super::*;

    const PEM: &str = include_str!("../../../tests/credentials/first.pem");
    const PKCS1: &str = include_str!("../../../tests/credentials/first-pkcs1.pem");
    const OTHER: &str = include_str!("../../../tests/credentials/second.pem");
    const PFX: &[u8] = include_bytes!("../../../tests/credentials/first.pfx");
    const OLD_PFX: &[u8] = include_bytes!("../../../tests/credentials/first-legacy.pfx");
    const PASSWORD: &[u8] = include_bytes!("../../../tests/credentials/password.pfx");

    fn certificate_of(file: &[u8]) -> ClientCertificate {
        match parse(file) {
            Ok(Material::Certificate(certificate)) => *certificate,
            other => panic!("{other:?}"),
        }
    }

    /// One of its kinds of block.
    fn part(pem: &str, label: &str) -> String {
        let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
        let start = pem.find(&begin).unwrap();
        let stop = pem[start..].find(&end).unwrap() + start + end.len();
        format!("{}\n", &pem[start..stop])
    }

    #[test]
    fn a_line_of_text_is_a_client_secret() {
        for file in ["hunter2~._-", "  hunter2~._-\n", "0hunter2", "MIIhunter2"] {
            let Ok(Material::Secret(secret)) = parse(file.as_bytes()) else { panic!("{file}") };
            assert_eq!(secret.as_str(), file.trim());
        }
    }

    #[test]
    fn a_certificate_is_read_from_pem_in_any_order_and_from_pfx_new_and_old() {
        let (key, own, other) =
            (part(PEM, "PRIVATE KEY"), part(PEM, "CERTIFICATE"), part(OTHER, "CERTIFICATE"));
        let expected = certificate_of(PEM.as_bytes()).thumbprint().to_owned();
        let reversed = format!("# a comment\n{own}{key}");
        let chain = format!("{other}{own}{key}");
        for file in [PKCS1.as_bytes(), reversed.as_bytes(), chain.as_bytes(), PFX, OLD_PFX] {
            let certificate = certificate_of(file);
            assert_eq!(certificate.thumbprint(), expected);
            assert!(certificate.begins() < certificate.ends());
        }
    }

    #[test]
    fn what_is_no_credential_is_refused_by_its_own_word() {
        use CredentialProblem::{Empty, Encrypted, NoCertificate, NoPrivateKey, Unknown, UnsupportedKey};
        let (key, own, other) =
            (part(PEM, "PRIVATE KEY"), part(PEM, "CERTIFICATE"), part(OTHER, "CERTIFICATE"));
        let long = "a".repeat(LONGEST_SECRET + 1);
        let foreign = format!("{key}{other}");
        let broken = PEM.replace("-----END PRIVATE", "-----NED PRIVATE");
        let cases: [(&[u8], CredentialProblem); 14] = [
            (b"", Empty),
            (b" \n", Empty),
            (b"two words", Unknown),
            (b"two\nlines", Unknown),
            (long.as_bytes(), Unknown),
            (b"\xff\xfe", Unknown),
            (&PFX[..200], Unknown),
            (PASSWORD, Encrypted),
            (include_bytes!("../../../tests/credentials/encrypted.pem"), Encrypted),
            (include_bytes!("../../../tests/credentials/elliptic.pem"), UnsupportedKey),
            (key.as_bytes(), NoCertificate),
            (foreign.as_bytes(), NoCertificate),
            (own.as_bytes(), NoPrivateKey),
            (broken.as_bytes(), Unknown),
        ];
        for (index, (file, problem)) in cases.into_iter().enumerate() {
            assert_eq!(parse(file).unwrap_err(), problem, "case {index}");
        }
    }

    #[test]
    fn a_pfx_that_asks_for_more_rounds_than_any_honest_one_is_refused_before_the_first() {
        let file = include_bytes!("../../../tests/certificates/triple-des-100000.pfx");
        certificate_of(file);
        let (honest, hostile) = ([2, 3, 0x01, 0x86, 0xa0], [2, 3, 0x7f, 0xff, 0xff]);
        let mut changed = file.to_vec();
        while let Some(place) = changed.windows(honest.len()).position(|bytes| bytes == honest) {
            changed[place..place + hostile.len()].copy_from_slice(&hostile);
        }
        assert_ne!(changed, file);
        // Whoever tries them finds that the password is another one.
        assert_eq!(parse(&changed).unwrap_err(), CredentialProblem::Unknown);
    }

    #[test]
    fn an_assertion_is_signed_for_one_endpoint_and_ten_minutes() {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let certificate = certificate_of(PEM.as_bytes());
        let assertion = certificate.assertion("app", "https://login/t/oauth2/v2.0/token", now).unwrap();
        let parts: Vec<&str> = assertion.expose().split('.').collect();
        let json = |part: &str| -> serde_json::Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let (header, claims) = (json(parts[0]), json(parts[1]));
        assert_eq!(
            (&header["alg"], &header["x5t#S256"]),
            (&"PS256".into(), &certificate.thumbprint().into())
        );
        assert_eq!((&claims["iss"], &claims["sub"]), (&"app".into(), &"app".into()));
        assert_eq!((&claims["nbf"], &claims["exp"]), (&1_800_000_000.into(), &1_800_000_600.into()));

        let der = CertificateDer::from_pem_slice(PEM.as_bytes()).unwrap();
        let (_, parsed) = <x509_parser::certificate::X509Certificate<'_> as x509_parser::prelude::FromDer<
            '_,
            _,
        >>::from_der(&der)
        .unwrap();
        let key = ring::signature::UnparsedPublicKey::new(
            &ring::signature::RSA_PSS_2048_8192_SHA256,
            parsed.public_key().subject_public_key.data.to_vec(),
        );
        let signed = format!("{}.{}", parts[0], parts[1]);
        key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).unwrap();
        let again = certificate.assertion("app", "https://login/t/oauth2/v2.0/token", now).unwrap();
        assert_ne!(assertion.expose(), again.expose(), "each has an id of its own");
    }

    #[test]
    fn nothing_of_a_credential_is_printed() {
        let secret = format!("{:?}", parse(b"canary-secret").unwrap());
        assert!(!secret.contains("canary"), "{secret}");
        let certificate = format!("{:?}", parse(PEM.as_bytes()).unwrap());
        assert!(certificate.starts_with("Certificate") && !certificate.contains("MII"), "{certificate}");
    }
}
