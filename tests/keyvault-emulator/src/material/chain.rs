//! A certificate with its chain and private key, in the two forms a vault keeps: PFX and PEM.
//!
//! Invariant: the first certificate is the one that signed no other.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use p12_keystore::{
    Certificate as Pkcs12Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm,
    Pkcs12Archive, PrivateKey, PrivateKeyChain,
};
use pem::{EncodeConfig, LineEnding, Pem};
use serde::Deserialize;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::refusal::Refusal;

/// Rounds of key derivation in a PFX: as many as the service's own have.
const ROUNDS: u32 = 2000;

/// In which form the secret of a certificate is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CertificateFormat {
    /// `application/x-pkcs12`: Base64 of a PFX without password.
    #[default]
    Pfx,
    /// `application/x-pem-file`
    Pem,
}

impl CertificateFormat {
    /// The content type of the secret.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Pfx => "application/x-pkcs12",
            Self::Pem => "application/x-pem-file",
        }
    }

    pub(crate) fn of_content_type(content_type: &str) -> Option<Self> {
        [Self::Pfx, Self::Pem].into_iter().find(|format| format.content_type() == content_type)
    }
}

/// Certificates, the end entity's first, and its private key.
#[derive(Clone)]
pub(crate) struct Chain {
    /// PKCS#8; a file may hold certificates alone.
    key: Option<Vec<u8>>,
    /// Never empty.
    certificates: Vec<Vec<u8>>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Chain").field("certificates", &self.certificates.len()).finish_non_exhaustive()
    }
}

impl Chain {
    pub(crate) fn new(key: Vec<u8>, certificate: Vec<u8>) -> Self {
        Self { key: Some(key), certificates: vec![certificate] }
    }

    /// Reads the value of a secret, or of an import with a password.
    pub(crate) fn parse(value: &str, format: CertificateFormat, password: &str) -> Result<Self, Refusal> {
        let (key, certificates) = match format {
            CertificateFormat::Pfx => from_pfx(value, password),
            CertificateFormat::Pem => from_pem(value),
        }
        .filter(|(_, certificates)| !certificates.is_empty())
        .ok_or_else(|| {
            let what = match format {
                CertificateFormat::Pfx => "PKCS#12",
                CertificateFormat::Pem => "PEM",
            };
            Refusal::bad_parameter(format!(
                "The specified {what} X.509 certificate content can not be read. Please check if certificate is in \
                 valid {what} format."
            ))
        })?;
        Ok(Self { key, certificates: leaf_first(certificates) })
    }

    /// The end entity's certificate.
    pub(crate) fn leaf(&self) -> &[u8] {
        self.certificates.first().map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The same without the private key, as the secret of a key that is not exportable has it.
    pub(crate) fn without_key(&self) -> Self {
        Self { key: None, certificates: self.certificates.clone() }
    }

    /// The value of a secret.
    pub(crate) fn value(&self, format: CertificateFormat) -> Result<String, Refusal> {
        match format {
            CertificateFormat::Pem => Ok(self.key_pem() + &self.certificates_pem()),
            CertificateFormat::Pfx => self
                .pfx()
                .map(|bytes| BASE64_STANDARD.encode(bytes))
                .map_err(|_| Refusal::bad_parameter("The certificate can not be written as PKCS#12.")),
        }
    }

    /// What the service makes of a PFX that is asked for as PEM: certificates first.
    pub(crate) fn converted(&self) -> String {
        self.certificates_pem() + &self.key_pem()
    }

    fn key_pem(&self) -> String {
        self.key.iter().map(|der| to_pem("PRIVATE KEY", der)).collect()
    }

    fn certificates_pem(&self) -> String {
        self.certificates.iter().map(|der| to_pem("CERTIFICATE", der)).collect()
    }

    fn pfx(&self) -> p12_keystore::Result<Vec<u8>> {
        let certificates = self.certificates.iter().map(|der| Pkcs12Certificate::from_der(der));
        let certificates = certificates.collect::<p12_keystore::Result<Vec<_>>>()?;
        let mut store = KeyStore::new();
        match &self.key {
            Some(key) => {
                let chain = PrivateKeyChain::new([1_u8].as_slice(), PrivateKey::from_der(key)?, certificates);
                store.add_entry("certificate", KeyStoreEntry::PrivateKeyChain(chain));
            }
            None => {
                for (index, certificate) in certificates.into_iter().enumerate() {
                    store.add_entry(&format!("{index:04}"), KeyStoreEntry::Certificate(certificate));
                }
            }
        }
        let writer = store.writer("").encryption_iterations(ROUNDS).mac_iterations(ROUNDS);
        let writer = writer.encryption_algorithm(EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc);
        writer.mac_algorithm(MacAlgorithm::HmacSha1).write()
    }
}

/// Private key and certificates, in the order of the file.
type Parts = (Option<Vec<u8>>, Vec<Vec<u8>>);

fn from_pfx(value: &str, password: &str) -> Option<Parts> {
    let der = BASE64_STANDARD.decode(value.trim()).ok()?;
    let archive = Pkcs12Archive::from_pkcs12(&der, password).ok()?;
    let key = archive.keys.first().map(|bag| bag.key.as_der().to_vec());
    Some((key, archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect()))
}

/// As the service, it reads keys in PKCS#8 alone, and the text as Base64 too: so Microsoft's Python client sends it.
fn from_pem(value: &str) -> Option<Parts> {
    let decoded =
        (!value.contains("-----BEGIN")).then(|| BASE64_STANDARD.decode(value.trim()).ok()).flatten();
    let text = decoded.as_deref().unwrap_or(value.as_bytes());
    let (mut key, mut certificates) = (None, Vec::new());
    for block in pem::parse_many(text).ok()? {
        match block.tag() {
            "PRIVATE KEY" => key = Some(block.into_contents()),
            "CERTIFICATE" => certificates.push(block.into_contents()),
            _ => return None,
        }
    }
    Some((key, certificates))
}

fn leaf_first(mut certificates: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let names: Vec<_> = certificates
        .iter()
        .map(|der| {
            let parsed = X509Certificate::from_der(der).ok().map(|(_, parsed)| parsed);
            parsed.map(|parsed| (parsed.subject().as_raw().to_vec(), parsed.issuer().as_raw().to_vec()))
        })
        .collect();
    let signed_none = |index: usize| {
        let subject = names.get(index).and_then(|names| names.as_ref().map(|(subject, _)| subject));
        let mut others = names.iter().enumerate().filter(|(other, _)| *other != index);
        others.all(|(_, names)| names.as_ref().map(|(_, issuer)| issuer) != subject)
    };
    if let Some(leaf) = (0..certificates.len()).find(|index| signed_none(*index)) {
        let leaf = certificates.remove(leaf);
        certificates.insert(0, leaf);
    }
    certificates
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new(label, der), config)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    /// A chain of two, root first.
    fn root_first() -> String {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, "root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let leaf = CertificateParams::new(vec!["shop.test".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
        format!("{root_pem}{}{}", key.serialize_pem(), leaf.pem())
    }

    #[test]
    fn a_pem_whose_root_came_first_is_read_leaf_first() {
        let chain = Chain::parse(&root_first(), CertificateFormat::Pem, "").unwrap();
        let names = chain
            .certificates
            .iter()
            .map(|der| X509Certificate::from_der(der).unwrap().1.subject().to_string());
        assert_eq!(names.collect::<Vec<_>>(), ["CN=rcgen self signed cert", "CN=root"]);
    }

    #[test]
    fn a_chain_survives_both_forms_and_its_conversion() {
        let chain = Chain::parse(&root_first(), CertificateFormat::Pem, "").unwrap();
        for format in [CertificateFormat::Pfx, CertificateFormat::Pem] {
            let read = Chain::parse(&chain.value(format).unwrap(), format, "").unwrap();
            assert_eq!((&read.key, &read.certificates), (&chain.key, &chain.certificates), "{format:?}");
            let bare = chain.without_key().value(format).unwrap();
            let bare = Chain::parse(&bare, format, "").unwrap();
            assert_eq!((bare.key, bare.certificates.len()), (None, 2), "{format:?}");
        }
        assert!(chain.converted().starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert!(chain.converted().ends_with("-----END PRIVATE KEY-----\n"));
    }

    #[test]
    fn a_value_that_is_neither_is_refused_without_being_quoted() {
        for format in [CertificateFormat::Pfx, CertificateFormat::Pem] {
            let refusal = Chain::parse("canary", format, "").unwrap_err();
            assert!(!refusal.message.contains("canary"), "{format:?}");
        }
    }
}
