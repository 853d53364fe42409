//! Certificates: which part of one becomes a key, and the Secret of type `kubernetes.io/tls`.
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct, pub and all, inside a private block")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::certificate::Encryption;

/// The rule that names of certificates keep.
const NAME: &str = "self.matches('^[0-9a-zA-Z-]+$')";

/// A certificate of the vault as a Secret of type `kubernetes.io/tls`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// The name of the certificate in the vault, or of a secret that holds one as PEM or as PFX without a password.
    /// `tls.key` gets its private key (PKCS#8), `tls.crt` the certificate that belongs to it. Example: `shop-tls`.
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = (
        NAME,
        "tls.certificate must be the name of a certificate in the vault: letters, digits and '-', as in shop-tls"
    ))]
    pub certificate: String,
    /// What follows the certificate in `tls.crt`: `Full` (default), its issuers without the root; `LeafOnly`, nothing;
    /// `WithRoot`, its issuers and the root.
    #[serde(default)]
    pub chain: Chain,
    /// The key that gets the CA: the root of the chain, or its highest issuer where there is no root. Default: none.
    /// Example: `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self.matches('^[-._a-zA-Z0-9]+$') && self != '.' && !self.startsWith('..') && self != 'tls.crt' && self != 'tls.key'",
        "tls.caKey must be a key beside tls.crt and tls.key: letters, digits, '-', '_' and '.', as in ca.crt"
    ))]
    pub ca_key: Option<String>,
}

/// What follows a certificate in `tls.crt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Chain {
    /// Its issuers without the root.
    #[default]
    Full,
    /// Nothing.
    LeafOnly,
    /// Its issuers and the root.
    WithRoot,
}

/// A part of a certificate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.store) == (self.part in ['Pkcs12', 'TrustStore'])",
    "store belongs to part: Pkcs12 or TrustStore, which need it for the password, as in {password: {secret: shop-store-password}}"
))]
pub struct CertificateRef {
    /// The name of the certificate in the vault, or of a secret that holds one as PEM or as PFX without a password.
    /// Example: `shop-tls`.
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = (
        NAME,
        "name must be the name of a certificate in the vault: letters, digits and '-', as in shop-tls"
    ))]
    pub name: String,
    /// Another version than the current one: its 32 hexadecimal digits (it is read once), or `Previous`, the newest enabled one
    /// before the current one, which follows it. Default: the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = (
        "self.matches('^([0-9a-f]{32}|Previous)$')",
        "version must be the 32 hexadecimal digits that end the certificate's id, or Previous; leave it out for the current version"
    ))]
    pub version: Option<String>,
    /// What of it becomes the key. In PEM: `Leaf`, the certificate alone; `Chain`, its issuers without the root; `Full`, both;
    /// `Ca`, the root, or the highest issuer where there is no root; `Key`, the private key (PKCS#8); `Combined`, the
    /// private key, then `Full`. As bytes: `Pfx`, as it is in the vault; `Pkcs12`, a key store with a password; `TrustStore`,
    /// a PKCS#12 file of the issuers, as Java reads it.
    pub part: CertificatePart,
    /// How a `Pkcs12` or `TrustStore` is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
}

/// What of a certificate becomes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CertificatePart {
    /// The certificate alone.
    Leaf,
    /// Its issuers without the root.
    Chain,
    /// The certificate and its issuers without the root.
    Full,
    /// The root, or the highest issuer where there is no root.
    Ca,
    /// The private key.
    Key,
    /// The private key, then the certificate and its issuers without the root.
    Combined,
    /// The PFX as it is in the vault.
    Pfx,
    /// A PKCS#12 key store.
    Pkcs12,
    /// A PKCS#12 file of the issuers.
    TrustStore,
}

/// How a PKCS#12 file is made.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// Its password: a secret of the same vault.
    pub password: PasswordRef,
    /// The name of its entry. Default: the name of the certificate in the vault. Example: `server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = (
        "self.matches('^[!-~]([ -~]*[!-~])?$')",
        "alias must consist of printable ASCII characters, without a blank at its ends, as in server"
    ))]
    pub alias: Option<String>,
    /// How it is encrypted: `Modern` (default), AES-256 and SHA-256, which Java reads since 8u301 and OpenSSL since 1.1;
    /// `Legacy`, 3DES and SHA-1, for what is older.
    #[serde(default)]
    pub encryption: Encryption,
}

/// A secret of the vault that is a password.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PasswordRef {
    /// The name of the secret in the vault. Example: `shop-store-password`.
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = (
        NAME,
        "secret must be the name of a secret in the vault: letters, digits and '-', as in shop-store-password"
    ))]
    pub secret: String,
}
