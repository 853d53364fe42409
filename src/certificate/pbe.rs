//! Encryption and authentication by a password, as PKCS#5 and PKCS#12 have them.
//!
//! The reader has a budget: a file names its own number of rounds, for each of its parts. The crates that read PFX bound
//! each part at most, and the scrypt they know is in no PFX.

use super::UnreadableCertificate;
use super::asn1::{self, Element, INTEGER, SEQUENCE};
use super::oid;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt as _, KeyInit, KeyIvInit as _};
use der::oid::ObjectIdentifier;
use pkcs12::kdf::{Pkcs12KeyType, derive_key};
use ring::{hmac, pbkdf2};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// Rounds in all parts of a file. Windows and Azure write 2,000 in each of three parts, Java 10,000, old Java 100,000.
const MOST_ROUNDS: u32 = 500_000;

/// Rounds of key derivation that a file may still ask for.
#[derive(Debug)]
pub(super) struct Rounds(u32);

impl Rounds {
    pub(super) fn new() -> Self {
        Self(MOST_ROUNDS)
    }

    /// # Errors
    /// If there are not as many left.
    fn spend(&mut self, rounds: u64) -> Result<NonZeroU32, UnreadableCertificate> {
        let rounds = u32::try_from(rounds).map_err(|_| UnreadableCertificate::TooCostly)?;
        self.0 = self.0.checked_sub(rounds).ok_or(UnreadableCertificate::TooCostly)?;
        NonZeroU32::new(rounds).ok_or(UnreadableCertificate::Invalid)
    }
}

/// A password, as both standards want it.
pub(super) struct Password {
    /// For PKCS#5.
    pub(super) text: Zeroizing<Vec<u8>>,
    /// For PKCS#12: UTF-16, with an end.
    pub(super) wide: Zeroizing<Vec<u8>>,
}

impl Password {
    pub(super) fn new(text: &str) -> Self {
        let wide = text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect();
        Self { text: Zeroizing::new(text.as_bytes().to_vec()), wide: Zeroizing::new(wide) }
    }

    /// None at all, which for PKCS#12 is another one than one without letters.
    pub(super) fn absent() -> Self {
        Self { text: Zeroizing::default(), wide: Zeroizing::default() }
    }
}

/// Reads salt and rounds, which come in this order wherever there are both.
fn salt_and_rounds(
    elements: &mut asn1::Elements<'_>,
) -> Result<(Zeroizing<Vec<u8>>, u64), UnreadableCertificate> {
    let salt = elements.expect_octets()?.octets()?;
    Ok((salt, elements.expect(INTEGER)?.number()?))
}

/// Decrypts what was encrypted by an algorithm.
///
/// # Errors
/// That the password is another one or the algorithm unknown, or that it costs more than is left.
pub(super) fn decrypt(
    algorithm: Element<'_>,
    encrypted: Element<'_>,
    password: &Password,
    budget: &mut Rounds,
) -> Result<Zeroizing<Vec<u8>>, UnreadableCertificate> {
    let mut algorithm = algorithm.elements(SEQUENCE)?;
    let name = oid::read(algorithm.next()?)?;
    let mut parameters = algorithm.expect(SEQUENCE)?.elements(SEQUENCE)?;
    let data = encrypted.octets()?;
    if name == oid::PBES2 {
        let key_derivation = parameters.next()?;
        let mut cipher = parameters.next()?.elements(SEQUENCE)?;
        let name = oid::read(cipher.next()?)?;
        let iv = cipher.expect_octets()?.octets()?;
        let derive = |size, budget: &mut Rounds| pbkdf2_key(key_derivation, size, password, budget);
        return match name {
            oid::AES_128_CBC => decrypt_cbc::<aes::Aes128>(&derive(16, budget)?, &iv, data),
            oid::AES_192_CBC => decrypt_cbc::<aes::Aes192>(&derive(24, budget)?, &iv, data),
            oid::AES_256_CBC => decrypt_cbc::<aes::Aes256>(&derive(32, budget)?, &iv, data),
            oid::TRIPLE_DES_CBC => decrypt_cbc::<des::TdesEde3>(&derive(24, budget)?, &iv, data),
            _ => Err(UnreadableCertificate::Invalid),
        };
    }
    let size = match name {
        oid::PBE_TRIPLE_DES => 24,
        oid::PBE_DOUBLE_DES | oid::PBE_RC2_128 => 16,
        oid::PBE_RC2_40 => 5,
        _ => return Err(UnreadableCertificate::Invalid),
    };
    let (salt, rounds) = salt_and_rounds(&mut parameters)?;
    let rounds = budget.spend(rounds)?;
    let key = pkcs12_key(oid::SHA1, Pkcs12KeyType::EncryptionKey, &salt, rounds, size, password)?;
    let iv = pkcs12_key(oid::SHA1, Pkcs12KeyType::Iv, &salt, rounds, 8, password)?;
    match name {
        oid::PBE_TRIPLE_DES => decrypt_cbc::<des::TdesEde3>(&key, &iv, data),
        oid::PBE_DOUBLE_DES => decrypt_cbc::<des::TdesEde2>(&key, &iv, data),
        _ => decrypt_cbc::<rc2::Rc2>(&key, &iv, data),
    }
}

fn decrypt_cbc<C: BlockCipherDecrypt + KeyInit>(
    key: &[u8],
    iv: &[u8],
    mut data: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, UnreadableCertificate> {
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).map_err(|_| UnreadableCertificate::Invalid)?;
    let size = cipher.decrypt_padded::<Pkcs7>(&mut data).map_err(|_| UnreadableCertificate::Encrypted)?.len();
    data.truncate(size);
    Ok(data)
}

/// A key by an algorithm that has to be PBKDF2.
fn pbkdf2_key(
    algorithm: Element<'_>,
    size: usize,
    password: &Password,
    budget: &mut Rounds,
) -> Result<Zeroizing<Vec<u8>>, UnreadableCertificate> {
    let mut algorithm = algorithm.elements(SEQUENCE)?;
    if oid::read(algorithm.next()?)? != oid::PBKDF2 {
        return Err(UnreadableCertificate::Invalid);
    }
    let mut parameters = algorithm.expect(SEQUENCE)?.elements(SEQUENCE)?;
    let (salt, rounds) = salt_and_rounds(&mut parameters)?;
    if let Some(length) = parameters.optional(INTEGER)?
        && usize::try_from(length.number()?) != Ok(size)
    {
        return Err(UnreadableCertificate::Invalid);
    }
    let hash = match parameters.optional(SEQUENCE)? {
        Some(function) => oid::read(function.elements(SEQUENCE)?.next()?)?,
        None => oid::HMAC_SHA1,
    };
    let hash = match hash {
        oid::HMAC_SHA1 => pbkdf2::PBKDF2_HMAC_SHA1,
        oid::HMAC_SHA256 => pbkdf2::PBKDF2_HMAC_SHA256,
        oid::HMAC_SHA384 => pbkdf2::PBKDF2_HMAC_SHA384,
        oid::HMAC_SHA512 => pbkdf2::PBKDF2_HMAC_SHA512,
        _ => return Err(UnreadableCertificate::Invalid),
    };
    let mut key = Zeroizing::new(vec![0; size]);
    pbkdf2::derive(hash, budget.spend(rounds)?, &salt, &password.text, &mut key);
    Ok(key)
}

/// A key as only PKCS#12 derives it.
fn pkcs12_key(
    hash: ObjectIdentifier,
    purpose: Pkcs12KeyType,
    salt: &[u8],
    rounds: NonZeroU32,
    size: usize,
    password: &Password,
) -> Result<Zeroizing<Vec<u8>>, UnreadableCertificate> {
    let rounds = i32::try_from(rounds.get()).map_err(|_| UnreadableCertificate::TooCostly)?;
    let derive = match hash {
        oid::SHA1 => derive_key::<sha1::Sha1>,
        oid::SHA256 => derive_key::<sha2::Sha256>,
        oid::SHA384 => derive_key::<sha2::Sha384>,
        oid::SHA512 => derive_key::<sha2::Sha512>,
        _ => return Err(UnreadableCertificate::Invalid),
    };
    Ok(Zeroizing::new(derive(&password.wide, salt, purpose, rounds, size)))
}

/// Verifies that nobody without the password wrote these bytes.
///
/// # Errors
/// That somebody did or the algorithm is unknown, or that it costs more than is left.
pub(super) fn verify(
    authentication: Element<'_>,
    bytes: &[u8],
    password: &Password,
    budget: &mut Rounds,
) -> Result<(), UnreadableCertificate> {
    let mut authentication = authentication.elements(SEQUENCE)?;
    let mut digest = authentication.next()?.elements(SEQUENCE)?;
    let mut algorithm = digest.next()?.elements(SEQUENCE)?;
    let tag = digest.expect_octets()?.octets()?;
    let salt = authentication.expect_octets()?.octets()?;
    let hash = oid::read(algorithm.next()?)?;
    let key = if hash == oid::PBMAC1 {
        let mut parameters = algorithm.expect(SEQUENCE)?.elements(SEQUENCE)?;
        let key_derivation = parameters.next()?;
        let hash = hmac_of(oid::read(parameters.next()?.elements(SEQUENCE)?.next()?)?)?;
        let size = hash.digest_algorithm().output_len();
        hmac::Key::new(hash, &pbkdf2_key(key_derivation, size, password, budget)?)
    } else {
        let rounds = match authentication.optional(INTEGER)? {
            Some(rounds) => rounds.number()?,
            None => 1,
        };
        let (name, hash, rounds) = (hash, hmac_of(hash)?, budget.spend(rounds)?);
        let size = hash.digest_algorithm().output_len();
        hmac::Key::new(hash, &pkcs12_key(name, Pkcs12KeyType::Mac, &salt, rounds, size, password)?)
    };
    hmac::verify(&key, bytes, &tag).map_err(|_| UnreadableCertificate::Encrypted)
}

/// HMAC by the name of itself or of its hash.
fn hmac_of(name: ObjectIdentifier) -> Result<hmac::Algorithm, UnreadableCertificate> {
    match name {
        oid::SHA1 | oid::HMAC_SHA1 => Ok(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        oid::SHA256 | oid::HMAC_SHA256 => Ok(hmac::HMAC_SHA256),
        oid::SHA384 | oid::HMAC_SHA384 => Ok(hmac::HMAC_SHA384),
        oid::SHA512 | oid::HMAC_SHA512 => Ok(hmac::HMAC_SHA512),
        _ => Err(UnreadableCertificate::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::super::asn1::{NULL, OCTET_STRING, number, written};
    use super::super::bags::{Der, algorithm};
    use super::*;

    fn triple_des(rounds: u32) -> Der {
        let parameters = written(SEQUENCE, &[&written(OCTET_STRING, &[b"saltsalt"]), &number(rounds)]);
        algorithm(oid::PBE_TRIPLE_DES, &parameters)
    }

    fn aes(rounds: u32, key_length: Option<u32>) -> Der {
        aes_by(oid::HMAC_SHA256, rounds, key_length)
    }

    fn aes_by(hash: ObjectIdentifier, rounds: u32, key_length: Option<u32>) -> Der {
        let length = key_length.map(number).unwrap_or_default();
        let hash = algorithm(hash, NULL);
        let kdf = written(SEQUENCE, &[&written(OCTET_STRING, &[&[0; 100]]), &number(rounds), &length, &hash]);
        let cipher = algorithm(oid::AES_256_CBC, &written(OCTET_STRING, &[&[0; 16]]));
        algorithm(oid::PBES2, &written(SEQUENCE, &[&algorithm(oid::PBKDF2, &kdf), &cipher]))
    }

    fn error(algorithm: &Der, budget: &mut Rounds) -> UnreadableCertificate {
        let data = written(OCTET_STRING, &[&[0; 64]]);
        let (algorithm, data) = (Element::only(algorithm).unwrap(), Element::only(&data).unwrap());
        decrypt(algorithm, data, &Password::new(""), budget).unwrap_err()
    }

    #[test]
    fn rounds_are_counted_over_all_parts() {
        let mut budget = Rounds(1_000);
        assert_eq!(error(&triple_des(400), &mut budget), UnreadableCertificate::Encrypted);
        assert_eq!(error(&aes(400, None), &mut budget), UnreadableCertificate::Encrypted);
        assert_eq!(error(&triple_des(400), &mut budget), UnreadableCertificate::TooCostly);
        assert_eq!(error(&aes(200, Some(32)), &mut budget), UnreadableCertificate::Encrypted);
        assert_eq!(error(&aes(1, None), &mut budget), UnreadableCertificate::TooCostly);
    }

    #[test]
    fn no_rounds_and_keys_of_another_length_are_refused() {
        for algorithm in [triple_des(0), aes(0, None), aes(1, Some(16))] {
            let mut budget = Rounds(10);
            assert_eq!(error(&algorithm, &mut budget), UnreadableCertificate::Invalid);
            assert_eq!(budget.0, 10);
        }
    }

    #[test]
    #[ignore = "measures; run it in release"]
    fn how_long_the_most_rounds_take() {
        let all = [
            ("triple DES", triple_des(MOST_ROUNDS)),
            ("AES, SHA-1", aes_by(oid::HMAC_SHA1, MOST_ROUNDS, None)),
            ("AES, SHA-256", aes(MOST_ROUNDS, None)),
            ("AES, SHA-512", aes_by(oid::HMAC_SHA512, MOST_ROUNDS, None)),
        ];
        for (name, algorithm) in all {
            let begin = std::time::Instant::now();
            assert_eq!(error(&algorithm, &mut Rounds::new()), UnreadableCertificate::Invalid);
            println!("{name}: {:?}", begin.elapsed());
        }
    }
}
