//! Values as OpenSSL makes them, and certificates for odd chains.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A file beside the tests.
macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/certificates/", $name))
    };
}
pub(super) use fixture;

pub(super) const ROOT: &str = include_str!("../../tests/certificates/root.pem");
pub(super) const INTERMEDIATE: &str = include_str!("../../tests/certificates/intermediate.pem");
pub(super) const LEAF: &str = include_str!("../../tests/certificates/leaf.pem");
pub(super) const KEY: &str = include_str!("../../tests/certificates/leaf-key.pem");
pub(super) const ROOT_FIRST: &str = include_str!("../../tests/certificates/root-first.pem");
pub(super) const MODERN: &[u8] = fixture!("modern.pfx");

/// A file as the value of a secret.
pub(super) fn text(file: &[u8]) -> String {
    match std::str::from_utf8(file) {
        Ok(pem) => pem.to_owned(),
        Err(_) => STANDARD.encode(file),
    }
}

pub(super) fn parsed(value: &str) -> Certificate {
    Certificate::parse(value).unwrap()
}

/// A part as text.
pub(super) fn part_of(certificate: &Certificate, part: Part) -> Result<String, AbsentPart> {
    certificate.part(part).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

/// A certificate of a name, with what it takes to issue others.
pub(super) struct Made {
    pub(super) pem: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

pub(super) fn parameters(name: &str, is_ca: bool) -> CertificateParams {
    let mut parameters = CertificateParams::new([]).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, name);
    if is_ca {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    parameters
}

impl Made {
    pub(super) fn root(parameters: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    /// Another certificate by this one.
    pub(super) fn issue(&self, mut parameters: CertificateParams) -> Self {
        parameters.use_authority_key_identifier_extension = true;
        self.issue_for(parameters, KeyPair::generate().unwrap())
    }

    pub(super) fn issue_for(&self, parameters: CertificateParams, key: KeyPair) -> Self {
        let pem = parameters.signed_by(&key, &self.issuer).unwrap().pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    pub(super) fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }
}
