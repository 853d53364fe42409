//! Ready keys, out of this crate's `keys` folder: RSA keys take too long to make, and the crypto library has no P-521
//! and no P-256K.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData as _};

use crate::material::{keys::KeyKind, public_key::PublicKey};

macro_rules! pool {
    ($($file:literal),*) => { [$(include_str!(concat!("../../keys/", $file, ".pem"))),*] };
}

/// The file of the key whose turn it is.
fn file(kind: KeyKind, turn: usize) -> &'static str {
    let [first, second] = match kind {
        KeyKind::Rsa2048 => pool!["rsa-2048-1", "rsa-2048-2"],
        KeyKind::Rsa3072 => pool!["rsa-3072-1", "rsa-3072-2"],
        KeyKind::Rsa4096 => pool!["rsa-4096-1", "rsa-4096-2"],
        KeyKind::P256 => pool!["ec-p256-1", "ec-p256-2"],
        KeyKind::P384 => pool!["ec-p384-1", "ec-p384-2"],
        KeyKind::P521 => pool!["ec-p521-1", "ec-p521-2"],
        KeyKind::P256K => pool!["ec-p256k-1", "ec-p256k-2"],
    };
    if turn.is_multiple_of(2) { first } else { second }
}

/// The public part of the key whose turn it is.
#[expect(clippy::expect_used, reason = "the files are in this crate, and every one is read by a test")]
pub(crate) fn public(kind: KeyKind, turn: usize) -> PublicKey {
    let info = match pair(kind, turn) {
        Some(pair) => pair.subject_public_key_info(),
        None => pem::parse(file(kind, turn)).expect("a public key of the pool").into_contents(),
    };
    PublicKey::from_info(&info).expect("a key of the pool")
}

/// The key whose turn it is, to sign with; `None` for the kinds that the crypto library has not.
pub(crate) fn pair(kind: KeyKind, turn: usize) -> Option<KeyPair> {
    KeyPair::from_pem(file(kind, turn)).ok()
}

/// The public part of a key that nobody has yet where such a key is quickly made, else of the one whose turn it is.
pub(crate) fn new_public(kind: KeyKind, turn: usize) -> PublicKey {
    let info = fresh(kind, turn).map(|pair| pair.subject_public_key_info());
    info.and_then(|info| PublicKey::from_info(&info)).unwrap_or_else(|| public(kind, turn))
}

/// A key to sign with, a new one where that is quick.
pub(crate) fn fresh(kind: KeyKind, turn: usize) -> Option<KeyPair> {
    match kind {
        KeyKind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).ok(),
        KeyKind::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).ok(),
        _ => pair(kind, turn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_readable_and_the_second_is_another() {
        for kind in KeyKind::ALL {
            let (first, second) = (public(kind, 0), public(kind, 1));
            assert_ne!(first, second, "{kind}");
            assert_eq!(public(kind, 2), first, "{kind}");
            let signs = !matches!(kind, KeyKind::P521 | KeyKind::P256K);
            assert_eq!(pair(kind, 0).is_some(), signs, "{kind}");
            let family = first.family();
            let curve = first.curve().map(crate::material::public_key::Curve::name);
            let size = (family == "RSA").then(|| u64::try_from(first.size()).unwrap());
            assert_eq!(KeyKind::asked(family, curve, size), Some(kind));
        }
    }
}
