//! Keys as a vault holds them.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    material::public_key::{Curve, PublicKey},
    store::SecretOptions,
};

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum KeyKind {
    /// RSA, 2048 bits.
    #[serde(rename = "RSA-2048")]
    Rsa2048,
    /// RSA, 3072 bits.
    #[serde(rename = "RSA-3072")]
    Rsa3072,
    /// RSA, 4096 bits.
    #[serde(rename = "RSA-4096")]
    Rsa4096,
    /// The curve P-256.
    #[serde(rename = "P-256")]
    P256,
    /// The curve P-384.
    #[serde(rename = "P-384")]
    P384,
    /// The curve P-521.
    #[serde(rename = "P-521")]
    P521,
    /// The curve P-256K, which others call secp256k1.
    #[serde(rename = "P-256K")]
    P256K,
}

impl KeyKind {
    /// Every kind there is.
    pub const ALL: [Self; 7] =
        [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::P256, Self::P384, Self::P521, Self::P256K];

    /// The kind that a request for a key asks for: type without `-HSM`, and curve or size where it says so.
    pub(crate) fn asked(family: &str, curve: Option<&str>, size: Option<u64>) -> Option<Self> {
        match (family, size, curve.map(Curve::find)) {
            ("RSA", None | Some(2048), _) => Some(Self::Rsa2048),
            ("RSA", Some(3072), _) => Some(Self::Rsa3072),
            ("RSA", Some(4096), _) => Some(Self::Rsa4096),
            ("EC", _, None | Some(Some(Curve::P256))) => Some(Self::P256),
            ("EC", _, Some(Some(Curve::P384))) => Some(Self::P384),
            ("EC", _, Some(Some(Curve::P521))) => Some(Self::P521),
            ("EC", _, Some(Some(Curve::P256K))) => Some(Self::P256K),
            _ => None,
        }
    }
}

/// A key to put into a vault: [`crate::Vault::set_key`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Which.
    pub kind: KeyKind,
    /// Kept in an HSM: its type is `RSA-HSM` or `EC-HSM`.
    pub hsm: bool,
    /// What it may be used for; `None` is what the service takes by default.
    pub operations: Option<Vec<String>>,
    /// Tags, dates, and whether it is enabled.
    pub options: SecretOptions,
}

impl From<KeyKind> for KeySpec {
    fn from(kind: KeyKind) -> Self {
        Self { kind, hsm: false, operations: None, options: SecretOptions::default() }
    }
}

/// A key, of which a vault shows the public part alone.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    public: PublicKey,
    hsm: bool,
    operations: Vec<String>,
}

impl Key {
    pub(crate) fn new(public: PublicKey, hsm: bool, operations: Option<Vec<String>>) -> Self {
        let operations = operations.unwrap_or_else(|| {
            let defaults: &[&str] = match public {
                PublicKey::Rsa { .. } => &["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"],
                PublicKey::Ec { .. } => &["sign", "verify"],
            };
            defaults.iter().map(ToString::to_string).collect()
        });
        Self { public, hsm, operations }
    }

    pub(crate) fn set_operations(&mut self, operations: Vec<String>) {
        self.operations = operations;
    }

    /// The JSON web key.
    pub(crate) fn jwk(&self, kid: &str) -> Map<String, Value> {
        let kty = format!("{}{}", self.public.family(), if self.hsm { "-HSM" } else { "" });
        let head =
            [("kid", json!(kid)), ("kty", kty.into()), ("key_ops", json!(self.operations))].into_iter();
        let fields = self.public.fields().into_iter().map(|(name, text)| (name, text.into()));
        head.chain(fields).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa3072 => "RSA-3072",
            Self::Rsa4096 => "RSA-4096",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::P256K => "P-256K",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_size_or_curve_asks_for_the_default() {
        assert_eq!(KeyKind::asked("RSA", None, None), Some(KeyKind::Rsa2048));
        assert_eq!(KeyKind::asked("EC", None, None), Some(KeyKind::P256));
        assert_eq!(KeyKind::asked("EC", Some("P-256K"), None), Some(KeyKind::P256K));
        for (family, curve, size) in
            [("RSA", None, Some(1024)), ("EC", Some("P-192"), None), ("oct", None, None)]
        {
            assert_eq!(KeyKind::asked(family, curve, size), None, "{family}");
        }
    }
}
