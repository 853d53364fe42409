//! Where the value of one key comes from.
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct, pub and all, inside a private block")]

use super::certificate::CertificateRef;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A source of one value; exactly one field is set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.secret), has(self.certificate), has(self.key)].filter(is, is).size() == 1",
    "from must have exactly one of secret, certificate and key, as in {secret: {name: shop-db-url}}"
))]
pub struct From {
    /// A secret of the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretRef>,
    /// A certificate of the vault, or a secret that holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Box<CertificateRef>>,
    /// The public part of a key of the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Box<KeyRef>>,
}

/// A key of the vault, of which the vault gives the public part alone.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// The name of the key in the vault. Example: `shop-signing`.
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = (
        "self.matches('^[0-9a-zA-Z-]+$')",
        "name must be the name of a key in the vault: letters, digits and '-', as in shop-signing"
    ))]
    pub name: String,
    /// Another version than the current one: its 32 hexadecimal digits (it is read once), or `Previous`, the newest enabled one
    /// before the current one, which follows it. Default: the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = (
        "self.matches('^([0-9a-f]{32}|Previous)$')",
        "version must be the 32 hexadecimal digits that end the key's id, or Previous; leave it out for the current version"
    ))]
    pub version: Option<String>,
    /// How it is written: `Pem` (default), a `PUBLIC KEY` in PEM (SPKI), or `Jwk`, a JSON Web Key.
    #[serde(default)]
    pub format: KeyFormat,
}

/// How a public key is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyFormat {
    /// A `PUBLIC KEY` in PEM.
    #[default]
    Pem,
    /// A JSON Web Key.
    Jwk,
}

/// A secret of the vault, or a part of it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The name of the secret in the vault. Example: `shop-db-url`.
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = (
        "self.matches('^[0-9a-zA-Z-]+$')",
        "name must be the name of a secret in the vault: letters, digits and '-', as in shop-db-url"
    ))]
    pub name: String,
    /// Another version than the current one: its 32 hexadecimal digits (it is read once), or `Previous`, the newest enabled one
    /// before the current one, which follows it. Default: the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = (
        "self.matches('^([0-9a-f]{32}|Previous)$')",
        "version must be the 32 hexadecimal digits that end the secret's id, or Previous; leave it out for the current version"
    ))]
    pub version: Option<String>,
    /// A part of a value that is JSON, as a singular JSONPath (RFC 9535): names and indexes, no `..`, filter or
    /// wildcard. A string is taken raw, anything else as compact JSON, `null` counts as absent. Default: the whole
    /// value. Example: `$.connection.password` or `$['user-name']`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = (
        r#"self.matches('^[$]([.][A-Za-z_][A-Za-z0-9_]*|\\[-?[0-9]{1,6}\\]|\\[\'[^\'\\\\]+\'\\]|\\["[^"\\\\]+"\\])+$')"#,
        r#"property must be a singular JSONPath of names and indexes, as in $.token, $.hosts[0] or $["user-name"]"#
    ))]
    pub property: Option<String>,
    /// How the value is decoded, after `property`: `None` (default), `Base64`, `Base64Url`, `Hex`, or `Auto` (padded Base64
    /// of sixteen characters or more in one line, else unchanged; a text that only looks like that is decoded too).
    #[serde(default)]
    pub decode: Decode,
}

/// How a value is decoded before it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Decode {
    /// Written as it is.
    #[default]
    None,
    /// Standard Base64, with or without padding.
    Base64,
    /// URL-safe Base64, with or without padding.
    Base64Url,
    /// Pairs of hexadecimal digits.
    Hex,
    /// Padded Base64 of sixteen characters or more in one line, else unchanged.
    Auto,
}
