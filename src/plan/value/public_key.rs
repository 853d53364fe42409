//! The public part of a key, from the JSON Web Key that the plane hands over to what a workload reads.
//!
//! A `PUBLIC KEY` in PEM is a `SubjectPublicKeyInfo` ([RFC 5280] section 4.1, algorithms by RFC 3279 and RFC 5480), byte for
//! byte as `az keyvault key download --encoding PEM` writes it.
//!
//! [RFC 5280]: https://www.rfc-editor.org/rfc/rfc5280

use crate::api::KeyFormat;
use crate::certificate::pem_of;
use crate::plan::target::KeyBytes;
use crate::reason::Reason;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::{AnyRef, BitStringRef, Null, ObjectIdentifier, UintRef};
use der::{Encode as _, Tag};
use serde::Deserialize;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// The curves of Key Vault, by the name that JOSE gives them, with the length of a coordinate.
const CURVES: [(&str, ObjectIdentifier, usize); 4] = [
    ("P-256", ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), 32),
    ("P-384", ObjectIdentifier::new_unwrap("1.3.132.0.34"), 48),
    ("P-521", ObjectIdentifier::new_unwrap("1.3.132.0.35"), 66),
    ("secp256k1", ObjectIdentifier::new_unwrap("1.3.132.0.10"), 32),
];

#[derive(Deserialize)]
#[serde(tag = "kty")]
enum PublicJwk {
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
    #[serde(rename = "EC")]
    Ec { crv: String, x: String, y: String },
}

/// The bytes of a public key.
///
/// # Errors
/// [`Reason::InvalidKeyType`] for a key that has no public part that this knows.
pub(in crate::plan) fn of_public_key(format: KeyFormat, text: &str) -> Result<KeyBytes, Reason> {
    let spki = serde_json::from_str(text).ok().and_then(|key| spki(&key)).ok_or(Reason::InvalidKeyType)?;
    Ok(match format {
        KeyFormat::Pem => KeyBytes::new(pem_of("PUBLIC KEY", &spki).to_vec()),
        KeyFormat::Jwk => KeyBytes::new(text.as_bytes().to_vec()),
    })
}

fn spki(key: &PublicJwk) -> Option<Vec<u8>> {
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
    let (algorithm, key) = match key {
        PublicJwk::Rsa { n, e } => {
            let (n, e) = (bytes(n)?, bytes(e)?);
            let integer = |bytes| UintRef::new(bytes).ok()?.to_der().ok();
            (sequence(&[RSA.to_der().ok()?, Null.to_der().ok()?])?, sequence(&[integer(&n)?, integer(&e)?])?)
        }
        PublicJwk::Ec { crv, x, y } => {
            let (_, curve, length) = CURVES.into_iter().find(|(name, ..)| name == crv)?;
            let coordinate = |text: &str| {
                let bytes = bytes(text)?;
                // Some write a number without the zeroes before it.
                let zeroes = length.checked_sub(bytes.len())?;
                Some([vec![0; zeroes], bytes].concat())
            };
            let point = [vec![4], coordinate(x)?, coordinate(y)?].concat();
            (sequence(&[EC.to_der().ok()?, curve.to_der().ok()?])?, point)
        }
    };
    sequence(&[algorithm, BitStringRef::from_bytes(&key).ok()?.to_der().ok()?])
}

fn sequence(parts: &[Vec<u8>]) -> Option<Vec<u8>> {
    AnyRef::new(Tag::Sequence, &parts.concat()).ok()?.to_der().ok()
}
