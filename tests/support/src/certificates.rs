//! The cluster's keys: its certificate authority, the API server's and the admin's certificates, the key that signs
//! ServiceAccount tokens.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::Result;
use crate::tools::tool;

/// A certificate and its key, both as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Signs the certificates of one cluster; lives as long as the start of it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's own certificate, as PEM.
    pub(crate) pem: String,
    /// The same as DER.
    pub(crate) der: Vec<u8>,
}

impl Authority {
    /// A new authority with a new key.
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "vaultsync test cluster");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let (pem, der) = (certificate.pem(), certificate.der().to_vec());
        Ok(Self { issuer: Issuer::new(params, key), pem, der })
    }

    /// A server certificate for these host names and addresses.
    pub(crate) fn server(&self, names: &[&str]) -> Result<Pair> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.sign(CertificateParams::new(names)?, "kube-apiserver", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate: Kubernetes takes the common name as user and the organisation as group.
    pub(crate) fn client(&self, user: &str, group: &str) -> Result<Pair> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::OrganizationName, group);
        self.sign(params, user, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Pair> {
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// An RSA key as PEM, to sign ServiceAccount tokens as managed clusters do (RS256). The library behind
/// [`Authority`] cannot make RSA keys; Helm's template functions can.
///
/// # Errors
/// Helm is missing or fails.
pub(crate) fn rsa_key(folder: &Path) -> Result<String> {
    let chart = folder.join("key");
    fs::create_dir_all(chart.join("templates"))?;
    fs::write(chart.join("Chart.yaml"), "{apiVersion: v2, name: key, version: 0.0.0}")?;
    fs::write(
        chart.join("templates/key.yaml"),
        r#"key: {{ (genSelfSignedCert "key" nil nil 1).Key | quote }}"#,
    )?;
    let output = Command::new(tool("helm")?).arg("template").arg(&chart).output()?;
    if !output.status.success() {
        return Err(format!("helm template: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let document: BTreeMap<String, String> = serde_saphyr::from_str(&String::from_utf8(output.stdout)?)?;
    document.into_values().next().ok_or_else(|| "Helm rendered no key".into())
}
