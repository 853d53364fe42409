//! The emulator's certificate authorities: one that stands for the public ones, one that stands for a company's own;
//! a certificate for each host when it is first asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    crypto::CryptoProvider,
    pki_types::PrivateKeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

struct Root {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Root {
    fn generate(name: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }
}

/// Signs certificates; resolves them by SNI.
pub(crate) struct Authority {
    public: Root,
    private: Root,
    private_hosts: Mutex<BTreeSet<String>>,
    leaf: KeyPair,
    provider: Arc<CryptoProvider>,
    minted: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes fresh roots.
    pub(crate) fn generate(provider: Arc<CryptoProvider>) -> Result<Self, rcgen::Error> {
        Ok(Self {
            public: Root::generate("Key Vault emulator CA")?,
            private: Root::generate("Key Vault emulator private CA")?,
            private_hosts: Mutex::default(),
            leaf: KeyPair::generate()?,
            provider,
            minted: Mutex::default(),
        })
    }

    /// The root, for the client's CA bundle.
    pub(crate) fn pem(&self) -> &str {
        &self.public.pem
    }

    /// The root of hosts with names of their own.
    pub(crate) fn private_pem(&self) -> &str {
        &self.private.pem
    }

    /// From now on the host's certificate is of the private root.
    pub(crate) fn make_private(&self, host: &str) {
        self.minted.lock().unwrap_or_else(PoisonError::into_inner).remove(host);
        self.private_hosts.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned());
    }

    fn mint(&self, host: &str) -> Option<CertifiedKey> {
        let mut params = CertificateParams::new(vec![host.to_owned()]).ok()?;
        params.distinguished_name.push(DnType::CommonName, host);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let private = self.private_hosts.lock().unwrap_or_else(PoisonError::into_inner).contains(host);
        let root = if private { &self.private } else { &self.public };
        let certificate = params.signed_by(&self.leaf, &root.issuer).ok()?;
        let key = PrivateKeyDer::Pkcs8(self.leaf.serialize_der().into());
        CertifiedKey::from_der(vec![certificate.der().clone()], key, &self.provider).ok()
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name()?.to_lowercase();
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = minted.get(&host) {
            return Some(Arc::clone(known));
        }
        let fresh = Arc::new(self.mint(&host)?);
        minted.insert(host, Arc::clone(&fresh));
        Some(fresh)
    }
}
