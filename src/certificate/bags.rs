//! The structures of PKCS#12, written.

use super::asn1::{self, BMP_STRING, CONTEXT_0, OCTET_STRING, SEQUENCE, SET, written};
use super::oid;
use der::oid::ObjectIdentifier;
use zeroize::Zeroizing;

/// Elements, written.
pub(super) type Der = Zeroizing<Vec<u8>>;

/// An attribute: the alias.
pub(super) fn friendly_name(name: &str) -> Der {
    let letters: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    attribute(oid::FRIENDLY_NAME, &written(BMP_STRING, &[&letters]))
}

/// An attribute with one value.
pub(super) fn attribute(name: ObjectIdentifier, value: &[u8]) -> Der {
    written(SEQUENCE, &[&oid::written(name), &written(SET, &[value])])
}

/// A certificate in its bag.
pub(super) fn certificate_bag(der: &[u8], attributes: Vec<Der>) -> Der {
    let value = written(CONTEXT_0, &[&written(OCTET_STRING, &[der])]);
    let certificate = written(SEQUENCE, &[&oid::written(oid::X509_CERTIFICATE), &value]);
    bag(oid::CERTIFICATE_BAG, &certificate, attributes)
}

/// Anything in its bag.
pub(super) fn bag(kind: ObjectIdentifier, value: &[u8], attributes: Vec<Der>) -> Der {
    let attributes = if attributes.is_empty() { Der::default() } else { asn1::set(attributes) };
    written(SEQUENCE, &[&oid::written(kind), &written(CONTEXT_0, &[value]), &attributes])
}

/// Elements in a sequence.
pub(super) fn sequence(elements: &[Der]) -> Der {
    written(SEQUENCE, &elements.iter().map(|element| element.as_slice()).collect::<Vec<_>>())
}

/// A `ContentInfo` with this value.
pub(super) fn content(kind: ObjectIdentifier, value: &[u8]) -> Der {
    written(SEQUENCE, &[&oid::written(kind), &written(CONTEXT_0, &[value])])
}

/// An `AlgorithmIdentifier` with parameters.
pub(super) fn algorithm(name: ObjectIdentifier, parameters: &[u8]) -> Der {
    written(SEQUENCE, &[&oid::written(name), parameters])
}
