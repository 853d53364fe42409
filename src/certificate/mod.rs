//! A certificate with what came along in one secret: its key, its issuers. Key Vault keeps both in the value of a secret,
//! as PEM or as a PFX in Base64; from either come the same parts.
//!
//! Nothing of a value is in an error: what is wrong is a variant.

mod asn1;
mod bags;
mod chain;
#[cfg(test)]
mod fixtures;
mod key;
mod keystore;
mod oid;
mod pbe;
mod pem;
mod pfx;
#[cfg(test)]
mod tools;

pub use keystore::Encryption;
pub(crate) use keystore::Keystore;

use asn1::Malformed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::ChainLink;
use key::PrivateKey;
use pem::Block;
use std::collections::BTreeSet;
use std::fmt;
use zeroize::Zeroizing;

/// A value of Key Vault has a tenth of it.
const LARGEST: usize = 256 * 1024;

/// A certificate with all that came along with it.
pub(crate) struct Certificate {
    leaf: ChainLink,
    /// The nearest first. What belongs to no chain of the leaf is not kept.
    issuers: Vec<ChainLink>,
    key: Option<PrivateKey>,
    /// The PFX as it came, if it was one.
    pfx: Option<Zeroizing<Vec<u8>>>,
}

/// A part of a certificate. All but [`Part::Pfx`] are PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The certificate itself.
    Leaf,
    /// Its issuers, without a self-signed root: who trusts that has it.
    Chain,
    /// The certificate and its issuers, without a self-signed root.
    Full,
    /// The certificate and all its issuers.
    FullWithRoot,
    /// The last of its issuers, which is the root if that is there; a self-signed certificate is its own.
    Ca,
    /// The private key, in PKCS#8.
    Key,
    /// The private key and then what is in [`Part::Full`]: all that read both from one file take this order.
    Combined,
    /// The bytes of the PFX, as they came.
    Pfx,
}

/// Why a value is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnreadableCertificate {
    /// There is no certificate in it: it is neither PEM nor a PFX, or holds other things.
    NotACertificate,
    /// It is PEM or a PFX, but is broken or uses an algorithm that is not known.
    Invalid,
    /// It has a password, or somebody changed it: a PFX does not say which.
    Encrypted,
    /// It has a private key, but none of its certificates belongs to that.
    KeyMismatch,
    /// It is larger, or would take more to decrypt, than any honest one.
    TooCostly,
}

impl From<Malformed> for UnreadableCertificate {
    fn from(_: Malformed) -> Self {
        Self::Invalid
    }
}

/// What a certificate did not bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AbsentPart {
    /// A private key: it is not exportable.
    Key,
    /// An issuer, or for [`Part::Chain`] one that is no self-signed root.
    Issuer,
    /// A PFX: it came as PEM.
    Pfx,
}

/// One block of PEM.
pub(crate) fn pem_of(label: &str, der: &[u8]) -> Zeroizing<Vec<u8>> {
    pem::written(&[(label, der)])
}

/// Whether a plain secret holds a certificate with its private key. Cheap: nothing is decrypted, and much that looks like
/// one cannot be parsed.
pub(crate) fn looks_like_certificate(text: &str) -> bool {
    (pem::has_certificate(text) && pem::has_key(text)) || pfx_of(text).is_some()
}

/// The bytes of a PFX in Base64, with line breaks or not.
fn pfx_of(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    // `M` is what each sequence begins with.
    if !text.starts_with('M') || text.len() > LARGEST {
        return None;
    }
    let compact: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.bytes().filter(|letter| !letter.is_ascii_whitespace()).collect());
    let bytes = Zeroizing::new(STANDARD.decode(compact.as_slice()).ok()?);
    pfx::is_pfx(&bytes).then_some(bytes)
}

impl Certificate {
    /// Reads PEM, or Base64 of a PFX without a password.
    ///
    /// # Errors
    /// Why it is no certificate.
    pub(crate) fn parse(text: &str) -> Result<Self, UnreadableCertificate> {
        if text.len() > LARGEST {
            return Err(UnreadableCertificate::TooCostly);
        }
        if let Some(bytes) = pfx_of(text) {
            return Self::from_pfx(&bytes);
        }
        if pem::has_certificate(text) {
            Self::from_pem(text)
        } else {
            Err(UnreadableCertificate::NotACertificate)
        }
    }

    /// Reads a PFX without a password.
    ///
    /// # Errors
    /// Why it is no certificate.
    pub(crate) fn from_pfx(bytes: &[u8]) -> Result<Self, UnreadableCertificate> {
        let contents = pfx::contents(bytes)?;
        let links = contents.certificates.into_iter();
        let links =
            links.map(|bag| ChainLink::new(bag.der.to_vec(), bag.local_key_id)).collect::<Result<_, _>>()?;
        let keys = contents.keys.into_iter();
        let keys = keys.map(|bag| Ok((PrivateKey::from_pkcs8(bag.der)?, bag.local_key_id)));
        Self::new(links, keys.collect::<Result<_, Malformed>>()?, Some(Zeroizing::new(bytes.to_vec())))
    }

    fn from_pem(text: &str) -> Result<Self, UnreadableCertificate> {
        // A key that is not read would be a certificate without one.
        if pem::has_encrypted_key(text) {
            return Err(UnreadableCertificate::Encrypted);
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let blocks: Vec<Block> =
            pem::blocks(text).collect::<Result<_, ()>>().map_err(|()| UnreadableCertificate::Invalid)?;
        let (mut links, mut keys) = (Vec::new(), Vec::new());
        for block in blocks {
            match block {
                Block::Certificate(_) if links.len() == pfx::MOST_CERTIFICATES => {
                    return Err(UnreadableCertificate::TooCostly);
                }
                Block::Certificate(der) => links.push(ChainLink::new(der, None)?),
                key => keys.push(key),
            }
        }
        if keys.len() > pfx::MOST_KEYS {
            return Err(UnreadableCertificate::TooCostly);
        }
        let public: Vec<_> = links.iter().map(|link| &link.public_key).collect();
        let keys = keys.into_iter().filter_map(|key| match key {
            Block::Pkcs8(der) => Some(PrivateKey::from_pkcs8(der)),
            Block::Pkcs1(der) => Some(PrivateKey::from_pkcs1(&der)),
            Block::Sec1(der) => Some(PrivateKey::from_sec1(&der, &public)),
            Block::Certificate(_) => None,
        });
        let keys = keys.map(|key| Ok((key?, None))).collect::<Result<_, Malformed>>()?;
        Self::new(links, keys, None)
    }

    fn new(
        mut links: Vec<ChainLink>,
        mut keys: Vec<(PrivateKey, Option<Vec<u8>>)>,
        pfx: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Self, UnreadableCertificate> {
        let mut seen = BTreeSet::new();
        links.retain(|link| seen.insert(link.der.clone()));
        if links.is_empty() {
            return Err(UnreadableCertificate::NotACertificate);
        }
        let (leaf, key) = chain::leaf(&links, &keys)?;
        let issuers = chain::issuers(&links, leaf);
        let mut links: Vec<Option<ChainLink>> = links.into_iter().map(Some).collect();
        let mut take = |place: usize| links.get_mut(place).and_then(Option::take);
        let leaf = take(leaf).ok_or(UnreadableCertificate::NotACertificate)?;
        let issuers = issuers.into_iter().filter_map(take).collect();
        let key = key.map(|key| keys.swap_remove(key).0);
        Ok(Self { leaf, issuers, key, pfx })
    }

    /// A part, as it stands in a file.
    ///
    /// # Errors
    /// That it did not come along.
    pub(crate) fn part(&self, part: Part) -> Result<Zeroizing<Vec<u8>>, AbsentPart> {
        let (leaf, issuers) = (std::slice::from_ref(&self.leaf), self.issuers.as_slice());
        let chain = match issuers {
            [chain @ .., root] if root.is_self_signed() => chain,
            chain => chain,
        };
        let key = || self.key.as_ref().map(|key| ("PRIVATE KEY", key.der.as_slice())).ok_or(AbsentPart::Key);
        let blocks = match part {
            Part::Leaf => issued(&[leaf]),
            Part::Chain if chain.is_empty() => return Err(AbsentPart::Issuer),
            Part::Chain => issued(&[chain]),
            Part::Full => issued(&[leaf, chain]),
            Part::FullWithRoot => issued(&[leaf, issuers]),
            Part::Ca => issued(&[self.trusted()?.rchunks(1).next().unwrap_or_default()]),
            Part::Key => vec![key()?],
            Part::Combined => [vec![key()?], issued(&[leaf, chain])].concat(),
            Part::Pfx => return self.pfx.clone().ok_or(AbsentPart::Pfx),
        };
        Ok(pem::written(&blocks))
    }

    /// The certificate itself, in DER.
    pub(crate) fn der(&self) -> &[u8] {
        &self.leaf.der
    }

    /// Its private key, in PKCS#8.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|key| key.der.as_slice())
    }

    /// Those that who trusts the certificate's CA trusts, the nearest first: its issuers, or itself if it is self-signed.
    fn trusted(&self) -> Result<&[ChainLink], AbsentPart> {
        match self.issuers.as_slice() {
            [] if self.leaf.is_self_signed() => Ok(std::slice::from_ref(&self.leaf)),
            [] => Err(AbsentPart::Issuer),
            issuers => Ok(issuers),
        }
    }

    /// Whether who trusts the root can verify the certificate: it is self-signed or an issuer came along. An issuer that is
    /// no root counts, for public CAs do not send their root, and nothing tells whether one more is missing.
    pub(crate) fn is_complete(&self) -> bool {
        !self.issuers.is_empty() || self.leaf.is_self_signed()
    }
}

/// The certificates of some, as blocks of PEM.
fn issued<'a>(links: &[&'a [ChainLink]]) -> Vec<(&'static str, &'a [u8])> {
    links.iter().copied().flatten().map(|link| ("CERTIFICATE", link.der.as_slice())).collect()
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("issuers", &self.issuers.len())
            .field("has_key", &self.key.is_some())
            .field("is_pfx", &self.pfx.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{
        INTERMEDIATE, KEY, LEAF, MODERN, Made, ROOT, ROOT_FIRST, fixture, parameters, parsed, part_of, text,
    };
    use super::*;
    use proptest::prelude::*;
    use rcgen::KeyPair;

    /// What PEM of PEM looks like with the line ends of this product.
    fn lf(pem: &[&str]) -> String {
        pem.concat().replace("\r\n", "\n")
    }

    #[test]
    fn each_kind_of_pfx_gives_the_same_parts_as_pem() {
        let pem = parsed(ROOT_FIRST);
        let files: [(&str, &[u8]); 9] = [
            ("modern", MODERN),
            ("triple DES", fixture!("triple-des.pfx")),
            ("RC2-40", fixture!("rc2-40.pfx")),
            ("RC2-128", fixture!("rc2-128.pfx")),
            ("no MAC", fixture!("no-mac.pfx")),
            ("nothing encrypted", fixture!("plain.pfx")),
            ("friendly name", fixture!("friendly-name.pfx")),
            ("ten certificates", fixture!("ten.pfx")),
            ("PBMAC1", fixture!("pbmac1.pfx")),
        ];
        for (name, file) in files {
            let value = text(file);
            let certificate = parsed(&value);
            for part in
                [Part::Leaf, Part::Chain, Part::Full, Part::FullWithRoot, Part::Ca, Part::Key, Part::Combined]
            {
                assert_eq!(certificate.part(part), pem.part(part), "{name}, {part:?}");
            }
            assert_eq!(certificate.part(Part::Pfx).unwrap().as_slice(), file, "{name}");
            assert!(looks_like_certificate(&value), "{name}");
        }
        assert_eq!(pem.part(Part::Pfx), Err(AbsentPart::Pfx));
    }

    #[test]
    fn a_pfx_that_has_no_password_at_all_is_read_like_one_with_an_empty_one() {
        let certificate = parsed(&text(fixture!("absent-password.pfx")));
        assert_eq!(part_of(&certificate, Part::Full), Ok(lf(&[LEAF, INTERMEDIATE])));
        assert_eq!(part_of(&certificate, Part::Key), Ok(lf(&[KEY])));
    }

    #[test]
    fn a_certificate_whose_root_came_first_is_served_leaf_first() {
        let certificate = parsed(ROOT_FIRST);
        let parts = [
            (Part::Leaf, &[LEAF][..]),
            (Part::Chain, &[INTERMEDIATE]),
            (Part::Full, &[LEAF, INTERMEDIATE]),
            (Part::FullWithRoot, &[LEAF, INTERMEDIATE, ROOT]),
            (Part::Ca, &[ROOT]),
            (Part::Key, &[KEY]),
            (Part::Combined, &[KEY, LEAF, INTERMEDIATE]),
        ];
        for (part, expected) in parts {
            assert_eq!(part_of(&certificate, part), Ok(lf(expected)), "{part:?}");
        }
        assert!(certificate.is_complete());
    }

    #[test]
    fn pem_is_read_with_what_other_tools_put_around_it() {
        let expected = parsed(ROOT_FIRST).part(Part::Combined);
        let bags = format!(
            "Bag Attributes\n    localKeyID: 01\nsubject=CN = shop\n{KEY}{LEAF}Bag Attributes: <none>\n{INTERMEDIATE}"
        );
        for value in [
            ROOT_FIRST.replace('\n', "\r\n"),
            format!("\u{feff}{ROOT_FIRST}"),
            format!("{KEY}\n\n# leaf\n{LEAF}{LEAF}\n{INTERMEDIATE}"),
            bags,
            ROOT_FIRST.trim_end().to_owned(),
        ] {
            assert_eq!(parsed(&value).part(Part::Combined), expected);
            assert!(looks_like_certificate(&value));
        }
        let value = text(MODERN);
        let lines: Vec<_> =
            value.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let lines = format!("\u{feff}{}\r\n", lines.join("\r\n"));
        assert_eq!(parsed(&lines).part(Part::Combined), expected);
        assert!(looks_like_certificate(&lines));
    }

    #[test]
    fn a_key_comes_as_pkcs8_whatever_it_was() {
        let pkcs1 = format!("{LEAF}{}", text(fixture!("leaf-key-pkcs1.pem")));
        assert_eq!(part_of(&parsed(&pkcs1), Part::Key), Ok(lf(&[KEY])));
        let curves: [(&[u8], &[u8], &[u8]); 4] = [
            (fixture!("P-256.pem"), fixture!("P-256-sec1.pem"), fixture!("P-256-sec1-private-only.pem")),
            (fixture!("P-384.pem"), fixture!("P-384-sec1.pem"), fixture!("P-384-sec1-private-only.pem")),
            (fixture!("P-521.pem"), fixture!("P-521-sec1.pem"), fixture!("P-521-sec1-private-only.pem")),
            (
                fixture!("secp256k1.pem"),
                fixture!("secp256k1-sec1.pem"),
                fixture!("secp256k1-sec1-private-only.pem"),
            ),
        ];
        for (pkcs8, sec1, private_only) in curves {
            let expected = lf(&[text(pkcs8).split_inclusive("-----END PRIVATE KEY-----\n").next().unwrap()]);
            assert_eq!(part_of(&parsed(&text(pkcs8)), Part::Key), Ok(expected.clone()));
            assert_eq!(part_of(&parsed(&text(sec1)), Part::Key), Ok(expected));
            let certificate = parsed(&text(private_only));
            assert!(part_of(&certificate, Part::Key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        }
        let ed25519 = text(fixture!("ed25519.pem"));
        assert_eq!(part_of(&parsed(&ed25519), Part::Combined), Ok(ed25519));
    }

    #[test]
    fn the_key_says_which_certificate_is_the_leaf() {
        let ca = Made::root(parameters("CA", true));
        let (one, two) = (ca.issue(parameters("one", false)), ca.issue(parameters("two", false)));
        for leaf in [&one, &two] {
            let value = [ca.pem.as_str(), &one.pem, &two.pem, &leaf.key()].concat();
            assert_eq!(part_of(&parsed(&value), Part::Leaf), Ok(lf(&[&leaf.pem])));
            assert_eq!(part_of(&parsed(&value), Part::FullWithRoot), Ok(lf(&[&leaf.pem, &ca.pem])));
            assert_eq!(parsed(&value).part(Part::Chain), Err(AbsentPart::Issuer));
        }
        let foreign = [one.pem.as_str(), &two.key()].concat();
        assert_eq!(Certificate::parse(&foreign).unwrap_err(), UnreadableCertificate::KeyMismatch);
        let without_key = [ca.pem.as_str(), &two.pem, &one.pem].concat();
        assert_eq!(part_of(&parsed(&without_key), Part::Leaf), Ok(lf(&[&two.pem])));
        assert_eq!(parsed(&without_key).part(Part::Key), Err(AbsentPart::Key));
        assert_eq!(parsed(&without_key).part(Part::Combined), Err(AbsentPart::Key));
        // Two keys, of which one belongs to nothing.
        let two_keys = [two.key().as_str(), &one.key(), &ca.pem, &one.pem].concat();
        assert_eq!(part_of(&parsed(&two_keys), Part::Key), Ok(lf(&[&one.key()])));
    }

    #[test]
    fn a_key_that_does_not_tell_goes_with_a_certificate_of_its_curve() {
        let p521 = text(fixture!("P-521-sec1-private-only.pem"));
        let p256 = text(fixture!("P-256.pem"));
        let other = p256.split_once("-----END PRIVATE KEY-----\n").unwrap().1;
        let certificate = parsed(&format!("{other}{p521}"));
        assert_eq!(part_of(&certificate, Part::Leaf), part_of(&parsed(&p521), Part::Leaf));
        let key = p521.split_inclusive("-----END EC PRIVATE KEY-----\n").next().unwrap();
        assert_eq!(
            Certificate::parse(&format!("{key}{other}")).unwrap_err(),
            UnreadableCertificate::KeyMismatch
        );
        // For P-256 the point is compared, though the key does not carry it.
        let p256 = text(fixture!("P-256-sec1-private-only.pem"));
        let key = p256.split_inclusive("-----END EC PRIVATE KEY-----\n").next().unwrap();
        let foreign = Made::root(parameters("foreign", false)).pem;
        assert_eq!(part_of(&parsed(&format!("{foreign}{p256}")), Part::Leaf), Ok(lf(&[other])));
        assert_eq!(
            Certificate::parse(&format!("{key}{foreign}")).unwrap_err(),
            UnreadableCertificate::KeyMismatch
        );
    }

    #[test]
    fn a_ca_with_a_new_key_is_told_from_its_old_one() {
        let (old, new) = (Made::root(parameters("CA", true)), Made::root(parameters("CA", true)));
        let leaf = old.issue(parameters("leaf", false));
        for value in [[&new.pem, &old.pem, &leaf.pem], [&leaf.pem, &old.pem, &new.pem]] {
            let certificate = parsed(&value.map(String::as_str).concat());
            assert_eq!(part_of(&certificate, Part::FullWithRoot), Ok(lf(&[&leaf.pem, &old.pem])));
        }
        let certificate = parsed(&[leaf.pem.as_str(), &new.pem].concat());
        assert_eq!(part_of(&certificate, Part::FullWithRoot), Ok(lf(&[&leaf.pem])));
        assert!(!certificate.is_complete());
    }

    #[test]
    fn cas_that_issued_each_other_come_to_an_end() {
        let (one, two) = (Made::root(parameters("one", true)), Made::root(parameters("two", true)));
        let again = |ca: &Made| KeyPair::from_pem(&ca.key()).unwrap();
        let one_by_two = two.issue_for(parameters("one", true), again(&one));
        let two_by_one = one.issue_for(parameters("two", true), again(&two));
        let leaf = one.issue(parameters("leaf", false));
        let loops = [one_by_two.pem.as_str(), &two_by_one.pem, &leaf.pem].concat();
        let expected = lf(&[&leaf.pem, &one_by_two.pem, &two_by_one.pem]);
        assert_eq!(part_of(&parsed(&loops), Part::FullWithRoot), Ok(expected));
        // Where its root is there too, the chain ends with that.
        let crossed = [one_by_two.pem.as_str(), &two.pem, &one.pem, &leaf.pem].concat();
        assert_eq!(part_of(&parsed(&crossed), Part::FullWithRoot), Ok(lf(&[&leaf.pem, &one.pem])));
        // Without it the other one is as good.
        let crossed = [two.pem.as_str(), &one_by_two.pem, &leaf.pem].concat();
        let expected = lf(&[&leaf.pem, &one_by_two.pem, &two.pem]);
        assert_eq!(part_of(&parsed(&crossed), Part::FullWithRoot), Ok(expected));
        // Nothing but a loop.
        assert!(Certificate::parse(&[one_by_two.pem.as_str(), &two_by_one.pem].concat()).is_ok());
    }

    #[test]
    fn a_chain_is_complete_with_an_issuer_and_what_belongs_to_none_is_left_out() {
        let alone = Made::root(parameters("alone", false));
        let certificate = parsed(&[alone.pem.as_str(), &alone.key()].concat());
        assert!(certificate.is_complete());
        for part in [Part::Leaf, Part::Full, Part::FullWithRoot, Part::Ca] {
            assert_eq!(part_of(&certificate, part), Ok(lf(&[&alone.pem])), "{part:?}");
        }
        assert_eq!(certificate.part(Part::Chain), Err(AbsentPart::Issuer));

        let certificate = parsed(&format!("{LEAF}{KEY}{}", alone.pem));
        assert!(!certificate.is_complete());
        assert_eq!(part_of(&certificate, Part::FullWithRoot), Ok(lf(&[LEAF])));
        assert_eq!(certificate.part(Part::Ca), Err(AbsentPart::Issuer));

        let certificate = parsed(&format!("{INTERMEDIATE}{LEAF}"));
        assert!(certificate.is_complete());
        assert_eq!(part_of(&certificate, Part::Ca), Ok(lf(&[INTERMEDIATE])));
        assert_eq!(part_of(&certificate, Part::Chain), Ok(lf(&[INTERMEDIATE])));
    }

    #[test]
    fn a_certificate_without_a_key_is_one_too() {
        let certificate = parsed(&text(fixture!("no-key.pfx")));
        assert_eq!(part_of(&certificate, Part::Full), Ok(lf(&[LEAF, INTERMEDIATE])));
        assert_eq!(certificate.part(Part::Key), Err(AbsentPart::Key));
    }

    #[test]
    fn what_is_no_certificate_is_refused_by_its_own_word() {
        use UnreadableCertificate::{Encrypted, Invalid, NotACertificate, TooCostly};
        let broken = |pem: &str| pem.replacen("-----END", "-----NED", 1);
        let encrypted = format!("{}{LEAF}", text(fixture!("leaf-key-encrypted.pem")));
        let cut = &MODERN[..MODERN.len() - 100];
        let many = LEAF.repeat(pfx::MOST_CERTIFICATES + 1);
        for (value, expected) in [
            ("", NotACertificate),
            ("hunter2", NotACertificate),
            ("TWFu", NotACertificate),
            ("MIIKPwIBAzCC", NotACertificate),
            (KEY, NotACertificate),
            (&STANDARD.encode(b"\x30\x03\x02\x01\x03"), NotACertificate),
            (&STANDARD.encode(cut), NotACertificate),
            (&broken(LEAF), Invalid),
            (&format!("{}{LEAF}", broken(KEY)), Invalid),
            (&LEAF.replacen("MII", "AII", 1), Invalid),
            (&encrypted, Encrypted),
            (&text(fixture!("password.pfx")), Encrypted),
            (&many, TooCostly),
            (&" ".repeat(LARGEST + 1), TooCostly),
        ] {
            let start: String = value.chars().take(60).collect();
            assert_eq!(Certificate::parse(value).unwrap_err(), expected, "{start}");
        }
    }

    #[test]
    fn what_looks_like_a_certificate_has_a_key_too() {
        let encrypted = format!("{}{LEAF}", text(fixture!("leaf-key-encrypted.pem")));
        for other in ["", "MII", "hunter2", KEY, LEAF, &encrypted, &STANDARD.encode(b"\x30\x03\x02\x01\x03")]
        {
            assert!(!looks_like_certificate(other), "{other}");
        }
        assert!(looks_like_certificate(&format!("{LEAF}{KEY}")));
        // Nothing is decrypted, so a password is not seen.
        assert!(looks_like_certificate(&text(fixture!("password.pfx"))));
    }

    #[test]
    fn nothing_of_a_certificate_is_printed() {
        let printed = format!("{:?}", parsed(ROOT_FIRST));
        assert_eq!(printed, "Certificate { issuers: 2, has_key: true, is_pfx: false, .. }");
    }

    /// All parts, of which each is bounded by what went in.
    fn all_parts(value: &str) -> Option<Vec<Result<Zeroizing<Vec<u8>>, AbsentPart>>> {
        let certificate = Certificate::parse(value).ok()?;
        let parts = [
            Part::Leaf,
            Part::Chain,
            Part::Full,
            Part::FullWithRoot,
            Part::Ca,
            Part::Key,
            Part::Combined,
            Part::Pfx,
        ];
        Some(parts.map(|part| certificate.part(part)).into())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_changed_in_a_value_nothing_panics_and_the_same_comes_out_each_time(
            file in prop::sample::select(vec![ROOT_FIRST.as_bytes(), fixture!("P-256-sec1.pem"), fixture!("P-521-sec1-private-only.pem"), fixture!("plain.pfx"), fixture!("no-mac.pfx")]),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut file = file.to_vec();
            for (place, byte) in changes {
                let place = place.index(file.len());
                file[place] = byte;
            }
            if let Some(cut) = cut {
                file.truncate(cut.index(file.len()));
            }
            let value = text(&file);
            let parts = all_parts(&value);
            looks_like_certificate(&value);
            // Wrapping a key in PKCS#8 and writing PEM for DER add a little.
            let size = parts.iter().flatten().flatten().map(|part| part.len()).max();
            prop_assert!(size.unwrap_or_default() <= 2 * value.len() + 512);
            prop_assert_eq!(parts, all_parts(&value));
        }

        #[test]
        fn whatever_is_changed_in_der_within_pem_nothing_panics(
            certificate in any::<bool>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let pem = if certificate { LEAF } else { KEY };
            let mut der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
            for (place, byte) in changes {
                let place = place.index(der.len());
                der[place] = byte;
            }
            let label = if certificate { "CERTIFICATE" } else { "PRIVATE KEY" };
            let changed = String::from_utf8(pem::written(&[(label, &der)]).to_vec()).unwrap();
            let value = if certificate { format!("{KEY}{changed}{INTERMEDIATE}") } else { format!("{changed}{LEAF}") };
            prop_assert_eq!(all_parts(&value), all_parts(&value));
        }

        #[test]
        fn no_text_panics(text in "(-----BEGIN (EC |RSA )?(PRIVATE KEY|CERTIFICATE)-----\n|MII[A-Za-z0-9+/]{0,40}={0,2}|\n|.{0,9}){0,9}") {
            prop_assert!(Certificate::parse(&text).is_err());
        }
    }
}
