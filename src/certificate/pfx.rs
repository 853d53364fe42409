//! Reads a PFX (PKCS#12) that has no password.
//!
//! Read here and not by a crate: none bounds what a hostile file costs over all of its parts, and none knows a file
//! without any password from one with an empty one, of which both are about.

use super::UnreadableCertificate;
use super::asn1::{CONTEXT_0, CONTEXT_0_OCTETS, Element, Elements, INTEGER, SEQUENCE, SET};
use super::oid;
use super::pbe::{self, Password, Rounds};
use zeroize::Zeroizing;

/// Honest files have a chain and a root or two.
pub(super) const MOST_CERTIFICATES: usize = 64;
/// Honest files have one.
pub(super) const MOST_KEYS: usize = 16;
/// Bags of any kind.
const MOST_BAGS: usize = 256;
/// Bags in bags.
const DEEPEST: usize = 4;

/// What is in a file, in its order.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) certificates: Vec<Bag>,
    /// PKCS#8.
    pub(super) keys: Vec<Bag>,
    bags: usize,
}

/// A certificate or a key.
pub(super) struct Bag {
    pub(super) der: Zeroizing<Vec<u8>>,
    /// The same for a key and its certificate.
    pub(super) local_key_id: Option<Vec<u8>>,
}

/// Whether these bytes claim to be a PFX; nothing is decrypted.
pub(super) fn is_pfx(bytes: &[u8]) -> bool {
    let kind = || {
        let mut pfx = Element::only(bytes)?.elements(SEQUENCE)?;
        let version = pfx.next()?.number()?;
        let mut contents = pfx.next()?.elements(SEQUENCE)?;
        Ok::<_, super::asn1::Malformed>((version, oid::read(contents.next()?)?))
    };
    matches!(kind(), Ok((3, oid::DATA | oid::SIGNED_DATA)))
}

/// What is in a PFX without a password.
///
/// # Errors
/// That it has a password, is broken or costs too much.
pub(super) fn contents(bytes: &[u8]) -> Result<Contents, UnreadableCertificate> {
    let mut pfx = Element::only(bytes)?.elements(SEQUENCE)?;
    pfx.expect(INTEGER)?;
    let (kind, safe) = content_info(pfx.next()?)?;
    if kind != oid::DATA {
        return Err(UnreadableCertificate::Invalid);
    }
    let safe = safe.ok_or(UnreadableCertificate::Invalid)?.octets()?;
    let authentication = pfx.optional(SEQUENCE)?;
    let mut budget = Rounds::new();
    let mut unreadable = UnreadableCertificate::Invalid;
    // Tools write either, and a file does not say which it has.
    for password in [Password::new(""), Password::absent()] {
        let verified = match authentication {
            Some(authentication) => pbe::verify(authentication, &safe, &password, &mut budget),
            None => Ok(()),
        };
        match verified.and_then(|()| safe_contents(&safe, &password, &mut budget)) {
            Err(UnreadableCertificate::Invalid) => {}
            Err(UnreadableCertificate::Encrypted) => unreadable = UnreadableCertificate::Encrypted,
            read => return read,
        }
    }
    Err(unreadable)
}

/// Name and value of a `ContentInfo`.
fn content_info(
    info: Element<'_>,
) -> Result<(der::oid::ObjectIdentifier, Option<Element<'_>>), UnreadableCertificate> {
    let mut info = info.elements(SEQUENCE)?;
    let kind = oid::read(info.next()?)?;
    let value = info.optional(CONTEXT_0)?.map(Element::inside).transpose()?;
    Ok((kind, value))
}

/// What is in an `AuthenticatedSafe`.
fn safe_contents(
    safe: &[u8],
    password: &Password,
    budget: &mut Rounds,
) -> Result<Contents, UnreadableCertificate> {
    let mut found = Contents::default();
    let mut parts = Element::only(safe)?.elements(SEQUENCE)?;
    while !parts.is_empty() {
        let (kind, value) = content_info(parts.next()?)?;
        let value = value.ok_or(UnreadableCertificate::Invalid)?;
        let bags = match kind {
            oid::DATA => value.octets()?,
            oid::ENCRYPTED_DATA => {
                let mut encrypted = value.elements(SEQUENCE)?;
                encrypted.expect(INTEGER)?;
                let mut info = encrypted.expect(SEQUENCE)?.elements(SEQUENCE)?;
                info.next()?;
                let (algorithm, data) = (info.next()?, info.next()?);
                if !matches!(data.tag, CONTEXT_0 | CONTEXT_0_OCTETS) {
                    return Err(UnreadableCertificate::Invalid);
                }
                pbe::decrypt(algorithm, data, password, budget)?
            }
            _ => return Err(UnreadableCertificate::Invalid),
        };
        found.read(Element::only(&bags)?.elements(SEQUENCE)?, password, budget, DEEPEST)?;
    }
    Ok(found)
}

impl Contents {
    /// Adds what is in some bags.
    fn read(
        &mut self,
        mut bags: Elements<'_>,
        password: &Password,
        budget: &mut Rounds,
        depth: usize,
    ) -> Result<(), UnreadableCertificate> {
        let depth = depth.checked_sub(1).ok_or(UnreadableCertificate::TooCostly)?;
        while !bags.is_empty() {
            self.bags += 1;
            if self.bags > MOST_BAGS {
                return Err(UnreadableCertificate::TooCostly);
            }
            let mut bag = bags.next()?.elements(SEQUENCE)?;
            let kind = oid::read(bag.next()?)?;
            let value = bag.expect(CONTEXT_0)?.inside()?;
            let local_key_id = bag.optional(SET)?.map(local_key_id).transpose()?.flatten();
            match kind {
                oid::KEY_BAG => {
                    let der = Zeroizing::new(value.whole.to_vec());
                    add(&mut self.keys, Bag { der, local_key_id }, MOST_KEYS)?;
                }
                oid::SHROUDED_KEY_BAG => {
                    let mut shrouded = value.elements(SEQUENCE)?;
                    let (algorithm, data) = (shrouded.next()?, shrouded.expect_octets()?);
                    let der = pbe::decrypt(algorithm, data, password, budget)?;
                    add(&mut self.keys, Bag { der, local_key_id }, MOST_KEYS)?;
                }
                oid::CERTIFICATE_BAG => {
                    let mut certificate = value.elements(SEQUENCE)?;
                    if oid::read(certificate.next()?)? == oid::X509_CERTIFICATE {
                        let der = certificate.expect(CONTEXT_0)?.inside()?.octets()?;
                        add(&mut self.certificates, Bag { der, local_key_id }, MOST_CERTIFICATES)?;
                    }
                }
                oid::SAFE_CONTENTS_BAG => self.read(value.elements(SEQUENCE)?, password, budget, depth)?,
                // Revocation lists and secrets of other kinds are not decrypted even.
                _ => {}
            }
        }
        Ok(())
    }
}

fn add(bags: &mut Vec<Bag>, bag: Bag, most: usize) -> Result<(), UnreadableCertificate> {
    if bags.len() == most {
        return Err(UnreadableCertificate::TooCostly);
    }
    bags.push(bag);
    Ok(())
}

/// The attribute that a key and its certificate share.
fn local_key_id(attributes: Element<'_>) -> Result<Option<Vec<u8>>, UnreadableCertificate> {
    let mut attributes = attributes.elements(SET)?;
    while !attributes.is_empty() {
        let mut attribute = attributes.next()?.elements(SEQUENCE)?;
        if oid::read(attribute.next()?)? == oid::LOCAL_KEY_ID {
            let mut values = attribute.expect(SET)?.elements(SET)?;
            return Ok(Some(values.expect_octets()?.octets()?.to_vec()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::asn1::{self, NULL, OCTET_STRING, written};
    use super::super::bags::{Der, algorithm, attribute, bag, certificate_bag, content, sequence};
    use super::super::fixtures::{MODERN, Made, ROOT_FIRST, fixture, parameters, parsed, part_of};
    use super::super::{Certificate, Part, STANDARD};
    use super::*;
    use base64::Engine as _;

    /// A PFX without MAC.
    fn pfx(parts: &[Der]) -> Der {
        written(
            SEQUENCE,
            &[&asn1::number(3), &content(oid::DATA, &written(OCTET_STRING, &[&sequence(parts)]))],
        )
    }

    fn plain(bags: &[Der]) -> Der {
        content(oid::DATA, &written(OCTET_STRING, &[&sequence(bags)]))
    }

    fn triple_des(rounds: u32) -> Der {
        let parameters = [&written(OCTET_STRING, &[b"saltsalt"]), &asn1::number(rounds)];
        algorithm(oid::PBE_TRIPLE_DES, &written(SEQUENCE, &parameters.map(|part| part.as_slice())))
    }

    fn aes(kdf: der::oid::ObjectIdentifier, rounds: u32) -> Der {
        let salt = written(OCTET_STRING, &[b"saltsalt"]);
        let hash = algorithm(oid::HMAC_SHA256, NULL);
        let kdf = algorithm(kdf, &written(SEQUENCE, &[&salt, &asn1::number(rounds), &hash]));
        let cipher = algorithm(oid::AES_256_CBC, &written(OCTET_STRING, &[&[0; 16]]));
        algorithm(oid::PBES2, &written(SEQUENCE, &[&kdf, &cipher]))
    }

    fn encrypted(algorithm: &Der) -> Der {
        let data = written(CONTEXT_0_OCTETS, &[&[0; 64]]);
        let info = written(SEQUENCE, &[&oid::written(oid::DATA), algorithm, &data]);
        content(oid::ENCRYPTED_DATA, &written(SEQUENCE, &[&asn1::number(0), &info]))
    }

    fn shrouded(algorithm: &Der) -> Der {
        let key = written(SEQUENCE, &[algorithm, &written(OCTET_STRING, &[&[0; 64]])]);
        bag(oid::SHROUDED_KEY_BAG, &key, Vec::new())
    }

    fn refused(file: &[u8]) -> UnreadableCertificate {
        Certificate::parse(&STANDARD.encode(file)).unwrap_err()
    }

    #[test]
    fn more_rounds_than_any_honest_file_has_are_refused_before_the_first() {
        for rounds in [1_000_001, 1 << 31, u32::MAX] {
            for algorithm in [triple_des(rounds), aes(oid::PBKDF2, rounds)] {
                assert_eq!(refused(&pfx(&[encrypted(&algorithm)])), UnreadableCertificate::TooCostly);
                assert_eq!(
                    refused(&pfx(&[plain(&[shrouded(&algorithm)])])),
                    UnreadableCertificate::TooCostly
                );
                let nested = bag(oid::SAFE_CONTENTS_BAG, &sequence(&[shrouded(&algorithm)]), Vec::new());
                assert_eq!(refused(&pfx(&[plain(&[nested])])), UnreadableCertificate::TooCostly);
            }
            let digest = [algorithm(oid::SHA1, NULL), written(OCTET_STRING, &[&[0; 20]])];
            let mac = [sequence(&digest), written(OCTET_STRING, &[b"saltsalt"]), asn1::number(rounds)];
            let file = pfx(&[]);
            let body = Element::only(&file).unwrap().body;
            assert_eq!(
                refused(&written(SEQUENCE, &[body, &sequence(&mac)])),
                UnreadableCertificate::TooCostly
            );
        }
        assert_eq!(refused(&pfx(&[encrypted(&triple_des(0))])), UnreadableCertificate::Invalid);
    }

    #[test]
    fn more_bags_keys_certificates_or_nesting_than_any_honest_file_has_are_refused() {
        let other = || bag(oid::DATA, NULL, Vec::new());
        let bags: Vec<_> = (0..=MOST_BAGS).map(|_| other()).collect();
        assert_eq!(refused(&pfx(&[plain(&bags)])), UnreadableCertificate::TooCostly);
        let parts: Vec<_> = (0..=MOST_BAGS).map(|_| plain(&[other()])).collect();
        assert_eq!(refused(&pfx(&parts)), UnreadableCertificate::TooCostly);
        let certificates: Vec<_> =
            (0..=MOST_CERTIFICATES).map(|_| certificate_bag(&[0], Vec::new())).collect();
        assert_eq!(refused(&pfx(&[plain(&certificates)])), UnreadableCertificate::TooCostly);
        let keys: Vec<_> = (0..=MOST_KEYS).map(|_| bag(oid::KEY_BAG, NULL, Vec::new())).collect();
        assert_eq!(refused(&pfx(&[plain(&keys)])), UnreadableCertificate::TooCostly);
        let nested = (0..DEEPEST)
            .fold(other(), |inside, _| bag(oid::SAFE_CONTENTS_BAG, &sequence(&[inside]), Vec::new()));
        assert_eq!(refused(&pfx(&[plain(&[nested])])), UnreadableCertificate::TooCostly);
    }

    #[test]
    fn other_key_derivations_and_ciphers_are_refused() {
        for algorithm in [aes(oid::DATA, 1), algorithm(oid::DATA, &written(SEQUENCE, &[]))] {
            assert_eq!(refused(&pfx(&[encrypted(&algorithm)])), UnreadableCertificate::Invalid);
        }
    }

    #[test]
    fn of_several_keys_the_one_that_is_named_by_its_certificate_is_taken() {
        let (one, two) = (Made::root(parameters("one", false)), Made::root(parameters("two", false)));
        let der = |pem: &str| {
            let lines = pem.lines().filter(|line| !line.starts_with('-'));
            STANDARD.decode(lines.map(str::trim).collect::<String>()).unwrap()
        };
        let id = |id: &[u8]| vec![attribute(oid::LOCAL_KEY_ID, &written(OCTET_STRING, &[id]))];
        let certificate = |made: &Made, ids| certificate_bag(&der(&made.pem), ids);
        let key = |made: &Made, ids| bag(oid::KEY_BAG, &der(&made.key()), ids);
        let leaf = |bags: &[Der]| {
            let certificate = parsed(&STANDARD.encode(pfx(&[plain(bags)])));
            (part_of(&certificate, Part::Leaf).unwrap(), part_of(&certificate, Part::Key).unwrap())
        };
        let of = |made: &Made| (made.pem.replace("\r\n", "\n"), made.key().replace("\r\n", "\n"));
        let none = Vec::new;
        let bags =
            [certificate(&one, none()), certificate(&two, id(b"1")), key(&one, none()), key(&two, id(b"1"))];
        assert_eq!(leaf(&bags), of(&two));
        let bags = [certificate(&one, none()), key(&two, none()), key(&one, none())];
        assert_eq!(leaf(&bags), of(&one));
        // The name does not make a key fit.
        let bags = [certificate(&one, id(b"1")), key(&two, id(b"1")), key(&one, none())];
        assert_eq!(leaf(&bags), of(&one));
    }

    /// The same in lengths that are not definite and octets in pieces, as NSS and Bouncy Castle write them.
    fn indefinite(bytes: &[u8]) -> Vec<u8> {
        let all = written(SEQUENCE, &[bytes]);
        let mut elements = Element::only(&all).unwrap().elements(SEQUENCE).unwrap();
        let mut ber = Vec::new();
        while !elements.is_empty() {
            let element = elements.next().unwrap();
            match element.tag {
                OCTET_STRING | CONTEXT_0_OCTETS if element.body.len() > 40 => {
                    ber.extend([element.tag | 0x20, 0x80]);
                    let pieces = element.body.chunks(1_000).map(|piece| written(OCTET_STRING, &[piece]));
                    pieces.for_each(|piece| ber.extend_from_slice(&piece));
                    ber.extend([0, 0]);
                }
                SEQUENCE | CONTEXT_0 => {
                    ber.extend([element.tag, 0x80]);
                    ber.extend(indefinite(element.body));
                    ber.extend([0, 0]);
                }
                _ => ber.extend_from_slice(element.whole),
            }
        }
        ber
    }

    #[test]
    fn a_pfx_in_ber_is_read_too() {
        let value = STANDARD.encode(indefinite(MODERN));
        assert!(value.starts_with("MIACAQMwgAYJ"));
        assert!(super::super::looks_like_certificate(&value));
        assert_eq!(parsed(&value).part(Part::Combined), parsed(ROOT_FIRST).part(Part::Combined));
    }

    #[test]
    fn what_somebody_else_changed_is_refused() {
        // The last byte of the MAC; salt and rounds are after it.
        for (file, after) in [(MODERN, 14), (fixture!("triple-des.pfx"), 14), (fixture!("pbmac1.pfx"), 11)] {
            let mut file = file.to_vec();
            let place = file.len() - after - 1;
            file[place] ^= 1;
            assert_eq!(refused(&file), UnreadableCertificate::Encrypted);
            file[place] ^= 1;
            assert!(Certificate::parse(&STANDARD.encode(&file)).is_ok());
        }
    }

    #[test]
    fn an_absent_password_is_none_without_letters() {
        let file = fixture!("absent-password.pfx");
        let safe = || {
            let mut pfx = Element::only(file)?.elements(SEQUENCE)?;
            pfx.next()?;
            let (_, safe) = content_of(pfx.next()?);
            Ok::<_, UnreadableCertificate>((safe, pfx.next()?))
        };
        let (safe, mac) = safe().unwrap();
        let verify = |password| pbe::verify(mac, &safe, &password, &mut Rounds::new());
        assert_eq!(verify(Password::new("")), Err(UnreadableCertificate::Encrypted));
        assert_eq!(verify(Password::absent()), Ok(()));
    }

    fn content_of(info: Element<'_>) -> (der::oid::ObjectIdentifier, Der) {
        let (kind, value) = super::content_info(info).unwrap();
        (kind, value.unwrap().octets().unwrap())
    }
}
