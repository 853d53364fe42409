//! A certificate as Java's keystores want it: PKCS#12 with a name and a password.
//!
//! The same certificate, options and password give the same bytes, so that writing it again moves nothing. Salts and
//! initialization vectors are therefore no random numbers but derived, see [`Salts`], which no crate that writes PKCS#12
//! takes.

use super::asn1::{self, CONTEXT_0_OCTETS, NULL, OCTET_STRING, SEQUENCE, written};
use super::bags::{Der, algorithm, attribute, bag, certificate_bag, content, friendly_name, sequence};
use super::chain::ChainLink;
use super::pbe::Password;
use super::{AbsentPart, Certificate, oid};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _};
use pkcs12::kdf::{Pkcs12KeyType, derive_key};
use ring::{digest, hmac, pbkdf2};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// As Java writes them.
const MODERN_ROUNDS: u16 = 10_000;
/// As OpenSSL wrote them; what reads nothing else is old and slow.
const LEGACY_ROUNDS: u16 = 2_048;
/// Letters of an alias.
const LONGEST_ALIAS: usize = 256;

/// How a PKCS#12 file is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encryption {
    /// AES-256 and SHA-256.
    #[default]
    Modern,
    /// 3DES and SHA-1.
    Legacy,
}

/// Name and protection of a keystore.
#[derive(Clone, Copy)]
pub(crate) struct Keystore<'a> {
    alias: &'a str,
    password: &'a str,
    encryption: Encryption,
}

/// Why a keystore cannot have this name or password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// The alias has no letters.
    EmptyAlias,
    /// The alias has more than 256 letters.
    LongAlias,
    /// The alias has control characters, or characters outside of the basic plane as emoji, which PKCS#12 has no place for.
    AliasCharacter,
    /// The password has other characters than the printable ones of ASCII, as a line break at its end: Java takes no others.
    PasswordCharacter,
}

impl<'a> Keystore<'a> {
    /// # Errors
    /// What is wrong with the alias or the password.
    pub(crate) fn new(alias: &'a str, password: &'a str, encryption: Encryption) -> Result<Self, Unfit> {
        let is_basic = |letter: char| u32::from(letter) <= 0xffff && !letter.is_control();
        if alias.trim().is_empty() {
            Err(Unfit::EmptyAlias)
        } else if alias.chars().count() > LONGEST_ALIAS {
            Err(Unfit::LongAlias)
        } else if !alias.chars().all(is_basic) {
            Err(Unfit::AliasCharacter)
        } else if !password.bytes().all(|letter| matches!(letter, b' '..=b'~')) {
            Err(Unfit::PasswordCharacter)
        } else {
            Ok(Self { alias, password, encryption })
        }
    }
}

impl fmt::Debug for Keystore<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystore")
            .field("alias", &self.alias)
            .field("password", &"[redacted]")
            .field("encryption", &self.encryption)
            .finish()
    }
}

impl Certificate {
    /// A PKCS#12 with one entry: the private key, the certificate and all its issuers, the root too if it is there.
    ///
    /// # Errors
    /// That there is no private key.
    pub(crate) fn keystore(&self, options: &Keystore<'_>) -> Result<Zeroizing<Vec<u8>>, AbsentPart> {
        let key = self.key.as_ref().ok_or(AbsentPart::Key)?;
        let links: Vec<&ChainLink> = [&self.leaf].into_iter().chain(&self.issuers).collect();
        let seal = Seal::new(options, &key.der, &links);
        // A key and its certificate share an identifier; the hash of the certificate is the usual one.
        let id = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &self.leaf.der);
        let id = attribute(oid::LOCAL_KEY_ID, &written(OCTET_STRING, &[id.as_ref()]));
        let attributes = vec![friendly_name(options.alias), id];
        let certificates = links.iter().enumerate().map(|(place, link)| {
            certificate_bag(&link.der, if place == 0 { attributes.clone() } else { Vec::new() })
        });
        let certificates = seal.encrypted_content("certificates", &certificates.collect::<Vec<_>>());
        let (algorithm, encrypted) = seal.encrypt("key", &key.der);
        let shrouded = written(SEQUENCE, &[&algorithm, &written(OCTET_STRING, &[&encrypted])]);
        let bags = sequence(&[bag(oid::SHROUDED_KEY_BAG, &shrouded, attributes)]);
        let key = content(oid::DATA, &written(OCTET_STRING, &[&bags]));
        Ok(seal.pfx(&[certificates, key]))
    }

    /// A PKCS#12 with the issuers of the certificate as trusted ones, or a self-signed one itself. The last issuer has the
    /// alias, the others one with a number after it.
    ///
    /// # Errors
    /// That there is no issuer.
    pub(crate) fn trust_store(&self, options: &Keystore<'_>) -> Result<Zeroizing<Vec<u8>>, AbsentPart> {
        let links: Vec<&ChainLink> = self.trusted()?.iter().rev().collect();
        let seal = Seal::new(options, &[], &links);
        let usage = oid::written(oid::ANY_EXTENDED_KEY_USAGE);
        let bags = links.iter().enumerate().map(|(place, link)| {
            let alias = match place {
                0 => options.alias.to_owned(),
                _ => format!("{}-{}", options.alias, place + 1),
            };
            let attributes = vec![friendly_name(&alias), attribute(oid::TRUSTED_KEY_USAGE, &usage)];
            certificate_bag(&link.der, attributes)
        });
        let certificates = seal.encrypted_content("certificates", &bags.collect::<Vec<_>>());
        Ok(seal.pfx(&[certificates]))
    }
}

/// Salts and initialization vectors of one file, each by its own name.
///
/// That they are derived, and not random, is safe here:
/// - What differs in anything but the password has other ones: everything that is encrypted goes into them. So one key
///   and vector never encrypt two contents, and a file that is written again is the same file.
/// - They are computed with the private key as the secret, if there is one, so that nobody can prepare for them. In a
///   trust store are public certificates only, and who tries passwords for those in advance saves time, not work.
/// - The password does not go into them. It would make each salt a hash of the password that is tried without the
///   rounds that make trying slow. Files of one content under two passwords share salts, but no keys.
struct Salts(hmac::Context);

impl Salts {
    fn new(options: &Keystore<'_>, private_key: &[u8], links: &[&ChainLink]) -> Self {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, private_key));
        let encryption: &[u8] = match options.encryption {
            Encryption::Modern => b"modern",
            Encryption::Legacy => b"legacy",
        };
        let parts = [b"PKCS#12", encryption, options.alias.as_bytes()];
        for part in parts.into_iter().chain(links.iter().map(|link| link.der.as_slice())) {
            // The length, for two parts never to be another two.
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        Self(context)
    }

    fn get(&self, name: &str) -> [u8; 16] {
        let mut context = self.0.clone();
        context.update(name.as_bytes());
        fixed(context.sign().as_ref())
    }
}

/// What protects a file.
struct Seal {
    encryption: Encryption,
    password: Password,
    salts: Salts,
}

impl Seal {
    fn new(options: &Keystore<'_>, private_key: &[u8], links: &[&ChainLink]) -> Self {
        Self {
            encryption: options.encryption,
            password: Password::new(options.password),
            salts: Salts::new(options, private_key, links),
        }
    }

    /// Bags, encrypted.
    fn encrypted_content(&self, name: &str, bags: &[Der]) -> Der {
        let (algorithm, encrypted) = self.encrypt(name, &sequence(bags));
        let encrypted = written(CONTEXT_0_OCTETS, &[&encrypted]);
        let info = written(SEQUENCE, &[&oid::written(oid::DATA), &algorithm, &encrypted]);
        content(oid::ENCRYPTED_DATA, &written(SEQUENCE, &[&asn1::number(0), &info]))
    }

    /// The algorithm, and what it makes of some bytes.
    fn encrypt(&self, name: &str, bytes: &[u8]) -> (Der, Vec<u8>) {
        let salt = self.salts.get(name);
        match self.encryption {
            Encryption::Modern => {
                let iv = self.salts.get(&format!("{name}, initialization vector"));
                let mut key = Zeroizing::new([0; 32]);
                let rounds = NonZeroU32::new(MODERN_ROUNDS.into()).unwrap_or(NonZeroU32::MIN);
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, &self.password.text, &mut *key);
                let cipher = cbc::Encryptor::<aes::Aes256>::new(&(*key).into(), &iv.into());
                let hash = algorithm(oid::HMAC_SHA256, NULL);
                let rounds = asn1::number(MODERN_ROUNDS.into());
                let kdf = written(SEQUENCE, &[&written(OCTET_STRING, &[&salt]), &rounds, &hash]);
                let scheme = algorithm(oid::AES_256_CBC, &written(OCTET_STRING, &[&iv]));
                let parameters = written(SEQUENCE, &[&algorithm(oid::PBKDF2, &kdf), &scheme]);
                (algorithm(oid::PBES2, &parameters), cipher.encrypt_padded_vec::<Pkcs7>(bytes))
            }
            Encryption::Legacy => {
                let derive = |purpose, size| {
                    Zeroizing::new(derive_key::<sha1::Sha1>(
                        &self.password.wide,
                        &salt,
                        purpose,
                        LEGACY_ROUNDS.into(),
                        size,
                    ))
                };
                let key = Zeroizing::new(fixed::<24>(&derive(Pkcs12KeyType::EncryptionKey, 24)));
                let iv = fixed::<8>(&derive(Pkcs12KeyType::Iv, 8));
                let cipher = cbc::Encryptor::<des::TdesEde3>::new(&(*key).into(), &iv.into());
                let rounds = asn1::number(LEGACY_ROUNDS.into());
                let parameters = written(SEQUENCE, &[&written(OCTET_STRING, &[&salt]), &rounds]);
                (algorithm(oid::PBE_TRIPLE_DES, &parameters), cipher.encrypt_padded_vec::<Pkcs7>(bytes))
            }
        }
    }

    /// A file of these contents.
    fn pfx(&self, contents: &[Der]) -> Der {
        let safe = sequence(contents);
        let salt = self.salts.get("authentication");
        let wide = self.password.wide.as_slice();
        let (hash, hmac, rounds, key) = match self.encryption {
            Encryption::Modern => {
                let key =
                    derive_key::<sha2::Sha256>(wide, &salt, Pkcs12KeyType::Mac, MODERN_ROUNDS.into(), 32);
                (oid::SHA256, hmac::HMAC_SHA256, MODERN_ROUNDS.into(), key)
            }
            Encryption::Legacy => {
                let key = derive_key::<sha1::Sha1>(wide, &salt, Pkcs12KeyType::Mac, LEGACY_ROUNDS.into(), 20);
                (oid::SHA1, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, LEGACY_ROUNDS.into(), key)
            }
        };
        let tag = hmac::sign(&hmac::Key::new(hmac, &Zeroizing::new(key)), &safe);
        let digest = written(SEQUENCE, &[&algorithm(hash, NULL), &written(OCTET_STRING, &[tag.as_ref()])]);
        let salt = written(OCTET_STRING, &[&salt]);
        let authentication = written(SEQUENCE, &[&digest, &salt, &asn1::number(rounds)]);
        let safe = content(oid::DATA, &written(OCTET_STRING, &[&safe]));
        written(SEQUENCE, &[&asn1::number(3), &safe, &authentication])
    }
}

/// The first bytes of as many or more.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut fixed = [0; N];
    fixed.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    fixed
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{KEY, LEAF, MODERN, ROOT_FIRST, parsed, text};
    use super::super::{Part, STANDARD};
    use super::*;
    use base64::Engine as _;
    use p12_keystore::Pkcs12Archive;
    use std::collections::BTreeSet;

    const BOTH: [Encryption; 2] = [Encryption::Modern, Encryption::Legacy];

    fn options<'a>(alias: &'a str, password: &'a str, encryption: Encryption) -> Keystore<'a> {
        Keystore::new(alias, password, encryption).unwrap()
    }

    #[test]
    fn a_keystore_has_the_key_and_the_whole_chain_under_its_alias() {
        let certificate = parsed(ROOT_FIRST);
        for encryption in BOTH {
            let file = certificate.keystore(&options("Läden", "hunter2 ~", encryption)).unwrap();
            let read = Pkcs12Archive::from_pkcs12(&file, "hunter2 ~").unwrap();
            let [key] = &read.keys[..] else { panic!("{:?}", read.keys) };
            assert_eq!(key.friendly_name.as_deref(), Some("Läden"));
            assert_eq!(key.key.as_der(), certificate.key.as_ref().unwrap().der.as_slice());
            let chain: Vec<_> = read.certs.iter().map(|bag| bag.cert.as_der()).collect();
            let links = [&certificate.leaf].into_iter().chain(&certificate.issuers);
            assert_eq!(chain, links.map(|link| link.der.as_slice()).collect::<Vec<_>>());
            let ids: Vec<_> = read.certs.iter().map(|bag| bag.local_key_id.as_deref()).collect();
            assert_eq!(ids, [key.local_key_id.as_ref().map(AsRef::as_ref), None, None]);
            assert!(read.certs.iter().all(|bag| !bag.trusted));
            assert!(Pkcs12Archive::from_pkcs12(&file, "hunter3").is_err());
        }
    }

    #[test]
    fn a_trust_store_has_the_issuers_and_nothing_else() {
        let certificate = parsed(ROOT_FIRST);
        for encryption in BOTH {
            let file = certificate.trust_store(&options("ca", "hunter2", encryption)).unwrap();
            let read = Pkcs12Archive::from_pkcs12(&file, "hunter2").unwrap();
            assert!(read.keys.is_empty() && read.certs.iter().all(|bag| bag.trusted));
            let found =
                read.certs.iter().map(|bag| (bag.friendly_name.as_deref().unwrap(), bag.cert.as_der()));
            let [intermediate, root] = &certificate.issuers[..] else { panic!() };
            assert_eq!(found.collect::<Vec<_>>(), [("ca", &root.der[..]), ("ca-2", &intermediate.der[..])]);
        }
    }

    #[test]
    fn without_a_key_or_an_issuer_there_is_no_store() {
        let options = options("a", "b", Encryption::Modern);
        assert_eq!(parsed(LEAF).keystore(&options), Err(AbsentPart::Key));
        assert_eq!(parsed(&format!("{LEAF}{KEY}")).trust_store(&options), Err(AbsentPart::Issuer));
    }

    #[test]
    fn the_same_comes_out_each_time_and_nothing_is_shared_with_what_differs() {
        let (one, other) = (parsed(ROOT_FIRST), parsed(&format!("{LEAF}{KEY}")));
        let mut seen = BTreeSet::new();
        for certificate in [&one, &other] {
            for (encryption, alias) in [(BOTH[0], "a"), (BOTH[0], "b"), (BOTH[1], "a")] {
                let options = options(alias, "x", encryption);
                let file = certificate.keystore(&options).unwrap();
                assert_eq!(certificate.keystore(&options).unwrap(), file);
                let key = &certificate.key.as_ref().unwrap().der;
                let links: Vec<&ChainLink> =
                    [&certificate.leaf].into_iter().chain(&certificate.issuers).collect();
                for key in [key.as_slice(), &[]] {
                    let salts = Salts::new(&options, key, &links);
                    assert!(
                        ["key", "certificates", "authentication"]
                            .iter()
                            .all(|name| seen.insert(salts.get(name)))
                    );
                }
            }
        }
        let (x, y) = (options("a", "x", Encryption::Modern), options("a", "y", Encryption::Modern));
        assert_ne!(one.keystore(&x), one.keystore(&y));
        let again = parsed(&text(MODERN));
        assert_eq!(again.keystore(&x), one.keystore(&x));
        assert_eq!(again.trust_store(&x), one.trust_store(&x));
    }

    #[test]
    fn a_keystore_with_an_empty_password_is_a_certificate_again() {
        let certificate = parsed(ROOT_FIRST);
        for encryption in BOTH {
            let file = certificate.keystore(&options("shop", "", encryption)).unwrap();
            let again = parsed(&STANDARD.encode(&file));
            for part in [Part::Combined, Part::FullWithRoot] {
                assert_eq!(again.part(part), certificate.part(part));
            }
            let file = certificate.trust_store(&options("shop", "", encryption)).unwrap();
            assert_eq!(parsed(&STANDARD.encode(&file)).part(Part::Ca), certificate.part(Part::Ca));
        }
    }

    #[test]
    fn a_name_or_password_that_java_does_not_take_is_refused_by_its_own_word() {
        let long = "a".repeat(LONGEST_ALIAS + 1);
        for (alias, password, expected) in [
            ("", "x", Unfit::EmptyAlias),
            (" ", "x", Unfit::EmptyAlias),
            (&long, "x", Unfit::LongAlias),
            ("a\nb", "x", Unfit::AliasCharacter),
            ("\u{1f600}", "x", Unfit::AliasCharacter),
            ("a", "hunter2\n", Unfit::PasswordCharacter),
            ("a", "hünter2", Unfit::PasswordCharacter),
            ("a", "a\0b", Unfit::PasswordCharacter),
        ] {
            assert_eq!(Keystore::new(alias, password, Encryption::Modern).unwrap_err(), expected);
        }
        assert!(Keystore::new("Läden Nr. 1", "", Encryption::Legacy).is_ok());
    }

    #[test]
    fn no_password_is_printed() {
        let printed = format!("{:?}", options("shop", "canary", Encryption::Modern));
        assert!(printed.contains("shop") && !printed.contains("canary"), "{printed}");
    }
}
