//! The public part of a key: out of a certificate or key file, and as the JSON web key that the vault shows.
//!
//! Invariant: numbers of RSA have no leading zeros, coordinates of a curve always have the curve's width.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use x509_parser::{prelude::FromDer as _, public_key::PublicKey as Parsed, x509::SubjectPublicKeyInfo};

/// A curve that Key Vault has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
    P256K,
}

impl Curve {
    const ALL: [Self; 4] = [Self::P256, Self::P384, Self::P521, Self::P256K];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::P256K => "P-256K",
        }
    }

    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.name() == name)
    }

    /// The length of a coordinate.
    fn width(self) -> usize {
        match self {
            Self::P256 | Self::P256K => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn object_id(self) -> &'static str {
        match self {
            Self::P256 => "1.2.840.10045.3.1.7",
            Self::P384 => "1.3.132.0.34",
            Self::P521 => "1.3.132.0.35",
            Self::P256K => "1.3.132.0.10",
        }
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ec { curve: Curve, x: Vec<u8>, y: Vec<u8> },
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo`; `None` for a key that Key Vault has no kind for.
    pub(crate) fn from_info(der: &[u8]) -> Option<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        match info.parsed().ok()? {
            Parsed::RSA(key) => {
                Some(Self::Rsa { modulus: trimmed(key.modulus), exponent: trimmed(key.exponent) })
            }
            Parsed::EC(point) => {
                let id = info.algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string();
                let curve = Curve::ALL.into_iter().find(|curve| curve.object_id() == id)?;
                let coordinates = point.data().strip_prefix(&[4])?;
                let (x, y) = coordinates.split_at_checked(curve.width())?;
                (y.len() == curve.width()).then(|| Self::Ec { curve, x: x.to_vec(), y: y.to_vec() })
            }
            _ => None,
        }
    }

    /// Reads the public fields of a JSON web key that a client imports.
    pub(crate) fn from_jwk(jwk: &Map<String, Value>) -> Option<Self> {
        let bytes = |field: &str| {
            let text = jwk.get(field)?.as_str()?;
            BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
        };
        match jwk.get("kty")?.as_str()? {
            "RSA" | "RSA-HSM" => {
                Some(Self::Rsa { modulus: trimmed(&bytes("n")?), exponent: trimmed(&bytes("e")?) })
            }
            "EC" | "EC-HSM" => {
                let curve = Curve::find(jwk.get("crv")?.as_str()?)?;
                let coordinate = |field| padded(&bytes(field)?, curve.width());
                Some(Self::Ec { curve, x: coordinate("x")?, y: coordinate("y")? })
            }
            _ => None,
        }
    }

    /// The key type, without the `-HSM` that says where it is kept.
    pub(crate) fn family(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RSA",
            Self::Ec { .. } => "EC",
        }
    }

    /// Bits of the modulus or the curve.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Rsa { modulus, .. } => modulus.len() * 8,
            Self::Ec { curve: Curve::P521, .. } => 521,
            Self::Ec { curve, .. } => curve.width() * 8,
        }
    }

    pub(crate) fn curve(&self) -> Option<Curve> {
        match self {
            Self::Rsa { .. } => None,
            Self::Ec { curve, .. } => Some(*curve),
        }
    }

    /// The fields of the JSON web key that are the key itself.
    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa { modulus, exponent } => vec![("n", text(modulus)), ("e", text(exponent))],
            Self::Ec { curve, x, y } => {
                vec![("crv", curve.name().to_owned()), ("x", text(x)), ("y", text(y))]
            }
        }
    }
}

fn trimmed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().skip_while(|byte| *byte == 0).collect()
}

fn padded(bytes: &[u8], width: usize) -> Option<Vec<u8>> {
    let significant = trimmed(bytes);
    let missing = width.checked_sub(significant.len())?;
    Some([vec![0; missing], significant].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::material::{keys::KeyKind, pool};

    #[test]
    fn coordinates_keep_their_leading_zeros() {
        for (kind, width) in [(KeyKind::P256, 32), (KeyKind::P521, 66)] {
            let PublicKey::Ec { x, y, .. } = pool::public(kind, 0) else { panic!("{kind:?} is a curve") };
            assert_eq!((x[0], x.len(), y.len()), (0, width, width), "{kind:?}");
        }
    }

    #[test]
    fn a_key_survives_its_json() {
        for kind in KeyKind::ALL {
            let key = pool::public(kind, 0);
            let mut jwk = Map::from_iter([("kty".to_owned(), Value::from(key.family()))]);
            jwk.extend(key.fields().into_iter().map(|(name, text)| (name.to_owned(), text.into())));
            assert_eq!(PublicKey::from_jwk(&jwk), Some(key), "{kind:?}");
        }
    }

    #[test]
    fn a_coordinate_too_long_or_a_key_of_no_kind_is_none() {
        let jwk = |json: &str| PublicKey::from_jwk(&serde_json::from_str(json).unwrap());
        let long = BASE64_URL_SAFE_NO_PAD.encode([1; 33]);
        assert_eq!(jwk(&format!(r#"{{"kty":"EC","crv":"P-256","x":"{long}","y":"AQ"}}"#)), None);
        assert_eq!(jwk(r#"{"kty":"oct","k":"AQ"}"#), None);
        assert_eq!(PublicKey::from_info(b"no key"), None);
    }
}
