//! What stands in a credential's file: a client secret, or a certificate with its key as PEM or PFX. Told apart by
//! content, for file names mean nothing.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::{client_certificate::ClientCertificate, failure::CredentialProblem};

/// No credential is larger; a chain of certificates with a large key has a tenth of it.
pub(super) const LARGEST: usize = 64 * 1024;
/// Client secrets have 40 characters, and those that people chose not many more.
const LONGEST_SECRET: usize = 512;

/// A credential.
#[derive(Debug)]
pub(super) enum Material {
    /// A client secret.
    Secret(Zeroizing<String>),
    /// A certificate with its private key.
    Certificate(Box<ClientCertificate>),
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

/// The first private key in a PFX without a password, and its certificate.
fn pfx(der: &[u8]) -> Result<ClientCertificate, CredentialProblem> {
    use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy, error::Error};
    let store = KeyStore::from_pkcs12(der, "", Pkcs12ImportPolicy::Relaxed).map_err(|error| match error {
        Error::MacError(_) | Error::Pkcs5Error(_) | Error::UnpadError => CredentialProblem::Encrypted,
        _ => CredentialProblem::Unknown,
    })?;
    let chain = store.entries().find_map(|(_, entry)| match entry {
        KeyStoreEntry::PrivateKeyChain(chain) => Some(chain),
        _ => None,
    });
    let chain = chain.ok_or(CredentialProblem::NoPrivateKey)?;
    let key = PrivateKeyDer::Pkcs8(chain.key().as_der().to_vec().into());
    ClientCertificate::new(&key, chain.certs().iter().map(p12_keystore::Certificate::as_der))
}
