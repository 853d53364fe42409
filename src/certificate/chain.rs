//! Certificates in the order in which one issued another.

use super::UnreadableCertificate;
use super::key::{Fit, PrivateKey, PublicKey};
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate, X509Name};

/// A certificate, and what of it says where it belongs.
pub(super) struct ChainLink {
    pub(super) der: Vec<u8>,
    /// The same for a key and its certificate; only a PFX has it.
    pub(super) local_key_id: Option<Vec<u8>>,
    pub(super) public_key: PublicKey,
    /// Unix seconds.
    pub(super) not_after: i64,
    is_ca: bool,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    key_id: Option<Vec<u8>>,
    issuer_key_id: Option<Vec<u8>>,
}

impl ChainLink {
    /// # Errors
    /// That it is no certificate.
    pub(super) fn new(der: Vec<u8>, local_key_id: Option<Vec<u8>>) -> Result<Self, UnreadableCertificate> {
        let (rest, certificate) =
            X509Certificate::from_der(&der).map_err(|_| UnreadableCertificate::Invalid)?;
        if !rest.is_empty() {
            return Err(UnreadableCertificate::Invalid);
        }
        let (mut key_id, mut issuer_key_id) = (None, None);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => key_id = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    issuer_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ => {}
            }
        }
        Ok(Self {
            local_key_id,
            public_key: PublicKey::read(certificate.public_key().raw)?,
            not_after: certificate.validity().not_after.timestamp(),
            is_ca: certificate.is_ca(),
            subject: comparable(certificate.subject()),
            issuer: comparable(certificate.issuer()),
            key_id,
            issuer_key_id,
            der,
        })
    }

    /// Whether this one says that it issued itself. A new key of a CA that its old key vouches for does not.
    pub(super) fn is_self_signed(&self) -> bool {
        self.has_issued(self)
    }

    /// Whether this one issued another, as far as names and key identifiers tell. Who has no identifier does not
    /// contradict.
    fn has_issued(&self, other: &Self) -> bool {
        let same_key = match (&self.key_id, &other.issuer_key_id) {
            (Some(key), Some(issuer)) => key == issuer,
            _ => true,
        };
        same_key && self.subject == other.issuer
    }
}

/// A name, so that two are equal if RFC 5280 (7.1) takes them for equal: whatever strings they are made of, and whatever
/// case and blanks are in them.
fn comparable(name: &X509Name<'_>) -> Vec<u8> {
    let mut comparable = Vec::new();
    for (place, attributes) in name.iter_rdn().enumerate() {
        for attribute in attributes.iter() {
            let value = match attribute.as_str() {
                Ok(text) => text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase().into_bytes(),
                Err(_) => attribute.as_slice().to_vec(),
            };
            for part in [&place.to_be_bytes()[..], attribute.attr_type().as_bytes(), &value] {
                comparable.extend_from_slice(&part.len().to_be_bytes());
                comparable.extend_from_slice(part);
            }
        }
    }
    comparable
}

/// The places of a leaf and of its key.
///
/// The key says which certificate is the leaf. Where it does not, or there is none, it is the first certificate that
/// issued none of the others.
///
/// # Errors
/// That there are keys, but none fits a certificate.
pub(super) fn leaf(
    links: &[ChainLink],
    keys: &[(PrivateKey, Option<Vec<u8>>)],
) -> Result<(usize, Option<usize>), UnreadableCertificate> {
    let issued_one: Vec<bool> = links
        .iter()
        .enumerate()
        .map(|(place, link)| {
            let others = links.iter().enumerate().filter(|(other, _)| *other != place);
            others.into_iter().any(|(_, other)| link.has_issued(other))
        })
        .collect();
    let places = links.iter().zip(&issued_one).enumerate();
    if keys.is_empty() {
        let leaf = places.min_by_key(|(place, (_, issued_one))| (**issued_one, *place));
        return leaf.map(|(leaf, _)| (leaf, None)).ok_or(UnreadableCertificate::NotACertificate);
    }
    let mut best = None;
    for (place, (link, issued_one)) in places {
        for (key_place, (key, local_key_id)) in keys.iter().enumerate() {
            let fit = key.fits(&link.public_key);
            if fit == Fit::No {
                continue;
            }
            let is_named = local_key_id.is_some() && *local_key_id == link.local_key_id;
            let rank = (fit == Fit::Unknown, !is_named, *issued_one, place, key_place);
            best = best.into_iter().chain([rank]).min();
        }
    }
    best.map(|(.., place, key)| (place, Some(key))).ok_or(UnreadableCertificate::KeyMismatch)
}

/// The places of the issuers of a certificate, the nearest first, as far as they are there.
///
/// Of several possible ones: the one that key identifiers prove, that may issue, that ends the chain, that is valid for
/// longest, that came first.
pub(super) fn issuers(links: &[ChainLink], leaf: usize) -> Vec<usize> {
    let mut chain = vec![leaf];
    let mut current = links.get(leaf);
    while let Some(link) = current.filter(|link| !link.is_self_signed()) {
        // Each is taken once, so that CAs that issued each other come to an end.
        let candidates = links.iter().enumerate().filter(|(place, _)| !chain.contains(place));
        let issuer =
            candidates.filter(|(_, issuer)| issuer.has_issued(link)).min_by_key(|(place, issuer)| {
                let is_proven = issuer.key_id.is_some() && issuer.key_id == link.issuer_key_id;
                (
                    !is_proven,
                    !issuer.is_ca,
                    !issuer.is_self_signed(),
                    std::cmp::Reverse(issuer.not_after),
                    *place,
                )
            });
        current = issuer.map(|(place, issuer)| {
            chain.push(place);
            issuer
        });
    }
    chain.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Made, parameters, parsed, part_of};
    use super::super::{Part, STANDARD};
    use super::*;
    use base64::Engine as _;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    fn link(pem: &str) -> ChainLink {
        let lines = pem.lines().filter(|line| !line.starts_with('-'));
        ChainLink::new(STANDARD.decode(lines.map(str::trim).collect::<String>()).unwrap(), None).unwrap()
    }

    fn named(mut parameters: CertificateParams, value: DnValue) -> CertificateParams {
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, "Shop");
        name.push(DnType::CommonName, value);
        parameters.distinguished_name = name;
        parameters
    }

    #[test]
    fn names_are_equal_whatever_strings_they_are_made_of() {
        let printable = DnValue::PrintableString("Shop CA".try_into().unwrap());
        let ca = Made::root(named(parameters("", true), printable));
        let key = KeyPair::from_pem(&ca.key()).unwrap();
        let shown = |value: &str| Made {
            pem: String::new(),
            issuer: rcgen::Issuer::new(
                named(parameters("", true), DnValue::Utf8String(value.to_owned())),
                KeyPair::from_pem(&key.serialize_pem()).unwrap(),
            ),
        };
        for (name, same) in [("Shop CA", true), ("shop  ca ", true), ("Shop CB", false)] {
            let leaf = shown(name).issue(parameters("leaf", false));
            assert_eq!(link(&ca.pem).has_issued(&link(&leaf.pem)), same, "{name}");
        }
    }

    #[test]
    fn parts_of_a_name_do_not_run_into_each_other() {
        let name = |parts: &[(DnType, &str)]| {
            let mut parameters = parameters("", false);
            parameters.distinguished_name = DistinguishedName::new();
            for (kind, value) in parts {
                parameters.distinguished_name.push(kind.clone(), *value);
            }
            link(&Made::root(parameters).pem).subject
        };
        let (organization, unit) = (DnType::OrganizationName, DnType::OrganizationalUnitName);
        let names = [
            name(&[(organization.clone(), "a b"), (unit.clone(), "c")]),
            name(&[(organization.clone(), "a"), (unit.clone(), "b c")]),
            name(&[(unit, "a b"), (organization.clone(), "c")]),
            name(&[(organization, "a b")]),
            name(&[]),
        ];
        assert_eq!(std::collections::BTreeSet::from(names.clone()).len(), names.len());
    }

    #[test]
    fn of_two_issuers_with_one_key_the_root_is_taken_and_then_the_one_that_is_valid_for_longer() {
        let (root, other) = (Made::root(parameters("CA", true)), Made::root(parameters("other", true)));
        let again = || KeyPair::from_pem(&root.key()).unwrap();
        let until = |year| {
            let mut parameters = parameters("CA", true);
            parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
            other.issue_for(parameters, again())
        };
        let (short, long) = (until(2030), until(2040));
        let leaf = root.issue(parameters("leaf", false));
        let top = |pems: &[&Made]| {
            let value = pems.iter().map(|made| made.pem.as_str()).collect::<String>();
            part_of(&parsed(&value), Part::Ca).unwrap()
        };
        let lf = |made: &Made| made.pem.replace("\r\n", "\n");
        assert_eq!(top(&[&short, &long, &root, &leaf]), lf(&root));
        assert_eq!(top(&[&short, &long, &leaf]), lf(&long));
        assert_eq!(top(&[&long, &short, &leaf]), lf(&long));
    }
}
