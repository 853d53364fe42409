//! The parts of certificates that become keys of a Secret.

use crate::api::{CertificatePart, Store};
use crate::certificate::{AbsentPart, Certificate, Keystore, Part, UnreadableCertificate};
use crate::plan::recipe::{PartOf, StoreOf, WantedPart};
use crate::plan::target::KeyBytes;
use crate::reason::Reason;
use std::collections::BTreeMap;

/// The certificates of one rendering, by the index of their source: each is read once, for that takes work.
#[derive(Debug, Default)]
pub(in crate::plan) struct Certificates(BTreeMap<usize, Result<Certificate, UnreadableCertificate>>);

impl Certificates {
    /// Of those that could be read, whether the chain lacks an issuer.
    pub(in crate::plan) fn incomplete(&self) -> BTreeMap<usize, bool> {
        let read = self.0.iter().filter_map(|(row, read)| Some((*row, read.as_ref().ok()?)));
        read.map(|(row, certificate)| (row, !certificate.is_complete())).collect()
    }
}

/// The bytes of a part of the certificate that the `text` of a source is; a PKCS#12 file gets the `password`.
///
/// # Errors
/// Why it gives none.
pub(in crate::plan) fn of_certificate(
    certificates: &mut Certificates,
    (row, text): (usize, &str),
    of: &PartOf<'_>,
    password: &str,
) -> Result<KeyBytes, Reason> {
    let read = certificates.0.entry(row).or_insert_with(|| Certificate::parse(text));
    let certificate = read.as_ref().map_err(|unreadable| match unreadable {
        UnreadableCertificate::NotACertificate
        | UnreadableCertificate::Invalid
        | UnreadableCertificate::Encrypted => Reason::InvalidCertificate,
        UnreadableCertificate::KeyMismatch => Reason::KeyMismatch,
        UnreadableCertificate::TooCostly => Reason::CertificateTooCostly,
    })?;
    let part = match of.part {
        WantedPart::WithRoot => Part::FullWithRoot,
        WantedPart::Named(part) => named(part).ok_or(Reason::InvalidSpec)?,
        WantedPart::Store(store, what) => return in_store(certificate, of.name, (store, what), password),
    };
    certificate.part(part).map(|bytes| KeyBytes::new(bytes.to_vec())).map_err(reason)
}

const fn named(part: CertificatePart) -> Option<Part> {
    Some(match part {
        CertificatePart::Leaf => Part::Leaf,
        CertificatePart::Chain => Part::Chain,
        CertificatePart::Full => Part::Full,
        CertificatePart::Ca => Part::Ca,
        CertificatePart::Key => Part::Key,
        CertificatePart::Combined => Part::Combined,
        CertificatePart::Pfx => Part::Pfx,
        CertificatePart::Pkcs12 | CertificatePart::TrustStore => return None,
    })
}

fn in_store(
    certificate: &Certificate,
    name: &str,
    (store, what): (&Store, StoreOf),
    password: &str,
) -> Result<KeyBytes, Reason> {
    let alias = store.alias.as_deref().unwrap_or(name);
    let options = Keystore::new(alias, password, store.encryption).map_err(|_| Reason::InvalidPassword)?;
    let bytes = match what {
        StoreOf::Key => certificate.keystore(&options),
        StoreOf::Issuers => certificate.trust_store(&options),
    };
    bytes.map(|bytes| KeyBytes::new(bytes.to_vec())).map_err(reason)
}

const fn reason(absent: AbsentPart) -> Reason {
    match absent {
        AbsentPart::Key => Reason::NoPrivateKey,
        AbsentPart::Issuer => Reason::NoIssuer,
        AbsentPart::Pfx => Reason::NotPfx,
    }
}
