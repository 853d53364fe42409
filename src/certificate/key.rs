//! A private key: PKCS#8 whatever it came as, and whether it is the one of a certificate.

use super::asn1::{
    self, BIT_STRING, CONTEXT_0, CONTEXT_1, CONTEXT_1_BITS, Element, INTEGER, Malformed, NULL, OCTET_STRING,
    SEQUENCE,
};
use super::oid;
use der::oid::ObjectIdentifier;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use zeroize::Zeroizing;

/// A private key.
pub(super) struct PrivateKey {
    /// PKCS#8.
    pub(super) der: Zeroizing<Vec<u8>>,
    algorithm: Algorithm,
    /// The public part, as it is in a `SubjectPublicKeyInfo`, if it is known.
    public: Option<Vec<u8>>,
    /// The scalar of a key on a curve.
    scalar: Option<Zeroizing<Vec<u8>>>,
}

/// Kind of a key.
#[derive(Clone, PartialEq, Eq)]
struct Algorithm {
    name: ObjectIdentifier,
    /// For a curve its name, as an element.
    parameters: Vec<u8>,
}

/// The public key in a certificate.
pub(super) struct PublicKey {
    algorithm: Algorithm,
    bits: Vec<u8>,
}

/// Whether a private and a public key belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    No,
    /// The private key does not tell, but is of the same kind.
    Unknown,
}

impl Algorithm {
    fn read(algorithm: Element<'_>) -> Result<Self, Malformed> {
        let mut algorithm = algorithm.elements(SEQUENCE)?;
        let name = oid::read(algorithm.next()?)?;
        let parameters = if algorithm.is_empty() { Vec::new() } else { algorithm.next()?.whole.to_vec() };
        Ok(Self { name, parameters })
    }

    /// Keys of RSA are the same whether they are bound to a padding or not.
    fn is_rsa(&self) -> bool {
        matches!(self.name, oid::RSA | oid::RSA_PSS)
    }

    fn is_same(&self, other: &Self) -> bool {
        if self.is_rsa() { other.is_rsa() } else { self == other }
    }
}

impl PublicKey {
    /// The key in a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// That it is none.
    pub(super) fn read(spki: &[u8]) -> Result<Self, Malformed> {
        let mut spki = Element::only(spki)?.elements(SEQUENCE)?;
        Ok(Self { algorithm: Algorithm::read(spki.next()?)?, bits: spki.next()?.bits()?.to_vec() })
    }
}

impl PrivateKey {
    /// A key in PKCS#8, whose bytes are kept.
    ///
    /// # Errors
    /// That it is none.
    pub(super) fn from_pkcs8(der: Zeroizing<Vec<u8>>) -> Result<Self, Malformed> {
        let mut info = Element::only(&der)?.elements(SEQUENCE)?;
        info.expect(INTEGER)?;
        let algorithm = Algorithm::read(info.next()?)?;
        let private = info.expect(OCTET_STRING)?;
        info.optional(CONTEXT_0)?;
        let public = info.optional(CONTEXT_1_BITS)?.map(Element::bits).transpose()?.map(<[u8]>::to_vec);
        let (public, scalar) = match algorithm.name {
            oid::RSA | oid::RSA_PSS => (Some(rsa_public(private.body)?), None),
            oid::EC => {
                let private = Sec1::read(private.body)?;
                (private.public.map(<[u8]>::to_vec).or(public), Some(Zeroizing::new(private.scalar.to_vec())))
            }
            oid::ED25519 => {
                let seed = private.inside()?;
                let pair = Ed25519KeyPair::from_seed_unchecked(seed.body).map_err(|_| Malformed)?;
                (Some(pair.public_key().as_ref().to_vec()), None)
            }
            _ => (public, None),
        };
        Ok(Self { der, algorithm, public, scalar })
    }

    /// A key in PKCS#1.
    ///
    /// # Errors
    /// That it is none.
    pub(super) fn from_pkcs1(der: &[u8]) -> Result<Self, Malformed> {
        Self::from_pkcs8(wrapped(oid::RSA, NULL, der))
    }

    /// A key in SEC1. One that does not name its curve has the curve of a certificate that it fits, or might fit.
    ///
    /// # Errors
    /// That it is none, or its curve unknown.
    pub(super) fn from_sec1(der: &[u8], certificates: &[&PublicKey]) -> Result<Self, Malformed> {
        let key = Sec1::read(der)?;
        if let Some(curve) = key.curve {
            return Self::from_pkcs8(key.wrapped(curve));
        }
        let mut candidate = None;
        for public in certificates.iter().filter(|public| public.algorithm.name == oid::EC) {
            let key = Self::from_pkcs8(key.wrapped(&public.algorithm.parameters))?;
            match key.fits(public) {
                Fit::Yes => return Ok(key),
                Fit::Unknown if candidate.is_none() => candidate = Some(key),
                _ => {}
            }
        }
        candidate.ok_or(Malformed)
    }

    /// Whether this is the key of a certificate.
    pub(super) fn fits(&self, certificate: &PublicKey) -> Fit {
        if !self.algorithm.is_same(&certificate.algorithm) {
            return Fit::No;
        }
        let fits = match (&self.public, &self.scalar) {
            (Some(public), Some(_)) => compressed(public) == compressed(&certificate.bits),
            (Some(public), None) if self.algorithm.is_rsa() => {
                rsa_public(&certificate.bits).as_ref() == Ok(public)
            }
            (Some(public), None) => *public == certificate.bits,
            (None, Some(scalar)) => {
                let Some(curve) = curve(&self.algorithm.parameters) else { return Fit::Unknown };
                EcdsaKeyPair::from_private_key_and_public_key(
                    curve,
                    scalar,
                    &certificate.bits,
                    &SystemRandom::new(),
                )
                .is_ok()
            }
            (None, None) => return Fit::Unknown,
        };
        if fits { Fit::Yes } else { Fit::No }
    }
}

/// A curve whose points can be computed.
fn curve(name: &[u8]) -> Option<&'static ring::signature::EcdsaSigningAlgorithm> {
    match oid::read(Element::only(name).ok()?).ok()? {
        oid::P256 => Some(&ECDSA_P256_SHA256_ASN1_SIGNING),
        oid::P384 => Some(&ECDSA_P384_SHA384_ASN1_SIGNING),
        _ => None,
    }
}

/// Parts of a private key in SEC1.
struct Sec1<'a> {
    scalar: &'a [u8],
    /// The name of the curve, as an element.
    curve: Option<&'a [u8]>,
    public: Option<&'a [u8]>,
}

impl<'a> Sec1<'a> {
    fn read(der: &'a [u8]) -> Result<Self, Malformed> {
        let mut key = Element::only(der)?.elements(SEQUENCE)?;
        key.expect(INTEGER)?;
        let scalar = key.expect(OCTET_STRING)?.body;
        let curve = key.optional(CONTEXT_0)?.map(Element::inside).transpose()?.map(|curve| curve.whole);
        let public = key.optional(CONTEXT_1)?.map(Element::inside).transpose()?;
        Ok(Self { scalar, curve, public: public.map(Element::bits).transpose()? })
    }

    /// The key in PKCS#8, where the curve is named outside of it.
    fn wrapped(&self, curve: &[u8]) -> Zeroizing<Vec<u8>> {
        let public = self
            .public
            .map(|public| asn1::written(CONTEXT_1, &[&asn1::written(BIT_STRING, &[&[0], public])]));
        let public = public.as_ref().map(|public| public.as_slice()).unwrap_or_default();
        let scalar = asn1::written(OCTET_STRING, &[self.scalar]);
        let key = asn1::written(SEQUENCE, &[&asn1::number(1), &scalar, public]);
        wrapped(oid::EC, curve, &key)
    }
}

/// A key in PKCS#8.
fn wrapped(algorithm: ObjectIdentifier, parameters: &[u8], key: &[u8]) -> Zeroizing<Vec<u8>> {
    let algorithm = asn1::written(SEQUENCE, &[&oid::written(algorithm), parameters]);
    asn1::written(SEQUENCE, &[&asn1::number(0), &algorithm, &asn1::written(OCTET_STRING, &[key])])
}

/// Modulus and exponent, out of a public key in PKCS#1 or of a private one, which has a version in front of them.
fn rsa_public(der: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut key = Element::only(der)?.elements(SEQUENCE)?;
    let mut modulus = key.expect(INTEGER)?;
    let mut exponent = key.expect(INTEGER)?;
    if !key.is_empty() {
        (modulus, exponent) = (exponent, key.expect(INTEGER)?);
    }
    let integer = |digits| asn1::written(INTEGER, &[asn1::without_zeros(digits)]);
    Ok([integer(modulus.body), integer(exponent.body)].iter().flat_map(|part| part.iter().copied()).collect())
}

/// A point as its x and the sign of its y, which is one of the two ways to write it.
fn compressed(point: &[u8]) -> Option<(bool, &[u8])> {
    match point {
        [2, x @ ..] => Some((false, x)),
        [3, x @ ..] => Some((true, x)),
        [4, rest @ ..] => Some((rest.last()? & 1 == 1, rest.get(..rest.len() / 2)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::fixture;
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData as _};

    fn der(pem: &[u8], label: &str) -> Vec<u8> {
        let pem = std::str::from_utf8(pem).unwrap();
        let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----")).unwrap();
        STANDARD.decode(rest.split_once("-----END").unwrap().0.replace('\n', "")).unwrap()
    }

    fn pkcs8(der: &[u8]) -> PrivateKey {
        PrivateKey::from_pkcs8(Zeroizing::new(der.to_vec())).unwrap()
    }

    #[test]
    fn a_key_fits_its_own_public_key_and_no_other() {
        let pairs: Vec<_> = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519]
            .into_iter()
            .flat_map(|algorithm| [(); 2].map(|()| KeyPair::generate_for(algorithm).unwrap()))
            .collect();
        for (place, pair) in pairs.iter().enumerate() {
            let key = pkcs8(&pair.serialize_der());
            for (other, pair) in pairs.iter().enumerate() {
                let public = PublicKey::read(&pair.subject_public_key_info()).unwrap();
                let expected = if place == other { Fit::Yes } else { Fit::No };
                assert_eq!(key.fits(&public), expected, "{place} {other}");
            }
        }
    }

    #[test]
    fn a_key_without_its_public_part_fits_by_computing_it() {
        for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
            let [one, other] = [(); 2].map(|()| KeyPair::generate_for(algorithm).unwrap());
            let mut key = pkcs8(&one.serialize_der());
            key.public = None;
            let fits = |pair: &KeyPair| key.fits(&PublicKey::read(&pair.subject_public_key_info()).unwrap());
            assert_eq!((fits(&one), fits(&other)), (Fit::Yes, Fit::No));
        }
    }

    #[test]
    fn a_key_that_does_not_name_its_curve_gets_that_of_its_certificate() {
        let (full, sec1) = (fixture!("P-256.pem"), fixture!("P-256-sec1.pem"));
        let sec1 = der(sec1, "EC PRIVATE KEY");
        let read = Sec1::read(&sec1).unwrap();
        let without_curve = |public: Option<&[u8]>| {
            let public = public.map(|public| asn1::written(BIT_STRING, &[&[0], public]));
            let public =
                public.map_or_else(Zeroizing::default, |public| asn1::written(CONTEXT_1, &[&public]));
            asn1::written(
                SEQUENCE,
                &[&asn1::number(1), &asn1::written(OCTET_STRING, &[read.scalar]), &public],
            )
        };
        let own = PrivateKey::from_sec1(&sec1, &[]).unwrap();
        assert_eq!(own.der.as_slice(), der(full, "PRIVATE KEY"));
        let [own, other, large] = [
            PublicKey { algorithm: own.algorithm, bits: own.public.unwrap() },
            PublicKey::read(
                &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().subject_public_key_info(),
            )
            .unwrap(),
            PublicKey::read(
                &KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().subject_public_key_info(),
            )
            .unwrap(),
        ];
        for public in [read.public, None] {
            let key = PrivateKey::from_sec1(&without_curve(public), &[&large, &other, &own]).unwrap();
            assert_eq!(key.fits(&own), Fit::Yes);
            assert!(PrivateKey::from_sec1(&without_curve(public), &[]).is_err());
        }
    }

    #[test]
    fn a_point_is_the_same_in_both_ways_to_write_it() {
        assert_eq!(compressed(&[4, 1, 2, 3, 4]), compressed(&[2, 1, 2]));
        assert_eq!(compressed(&[4, 1, 2, 3, 5]), compressed(&[3, 1, 2]));
        assert_ne!(compressed(&[4, 1, 2, 3, 5]), compressed(&[2, 1, 2]));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let key = der(fixture!("leaf-key.pem"), "PRIVATE KEY");
        for broken in [&[][..], &key[..key.len() - 1], &[&key[..], &[0]].concat(), &[0x30, 0]] {
            assert!(PrivateKey::from_pkcs8(Zeroizing::new(broken.to_vec())).is_err());
            assert!(PrivateKey::from_pkcs1(broken).is_err());
            assert!(PrivateKey::from_sec1(broken, &[]).is_err());
        }
    }
}
