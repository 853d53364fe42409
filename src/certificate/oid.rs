//! The object identifiers of PKCS#8 and PKCS#12.

use super::asn1::{self, Malformed, OID};
use der::oid::ObjectIdentifier;
use zeroize::Zeroizing;

macro_rules! identifiers {
    ($($name:ident = $value:literal;)*) => {
        $(pub(super) const $name: ObjectIdentifier = ObjectIdentifier::new_unwrap($value);)*
    };
}

identifiers! {
    DATA = "1.2.840.113549.1.7.1";
    SIGNED_DATA = "1.2.840.113549.1.7.2";
    ENCRYPTED_DATA = "1.2.840.113549.1.7.6";
    KEY_BAG = "1.2.840.113549.1.12.10.1.1";
    SHROUDED_KEY_BAG = "1.2.840.113549.1.12.10.1.2";
    CERTIFICATE_BAG = "1.2.840.113549.1.12.10.1.3";
    SAFE_CONTENTS_BAG = "1.2.840.113549.1.12.10.1.6";
    X509_CERTIFICATE = "1.2.840.113549.1.9.22.1";
    FRIENDLY_NAME = "1.2.840.113549.1.9.20";
    LOCAL_KEY_ID = "1.2.840.113549.1.9.21";
    // Java takes a certificate for a trusted one only with this attribute, which holds purposes.
    TRUSTED_KEY_USAGE = "2.16.840.1.113894.746875.1.1";
    ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0";
    PBE_TRIPLE_DES = "1.2.840.113549.1.12.1.3";
    PBE_DOUBLE_DES = "1.2.840.113549.1.12.1.4";
    PBE_RC2_128 = "1.2.840.113549.1.12.1.5";
    PBE_RC2_40 = "1.2.840.113549.1.12.1.6";
    PBES2 = "1.2.840.113549.1.5.13";
    PBKDF2 = "1.2.840.113549.1.5.12";
    PBMAC1 = "1.2.840.113549.1.5.14";
    HMAC_SHA1 = "1.2.840.113549.2.7";
    HMAC_SHA256 = "1.2.840.113549.2.9";
    HMAC_SHA384 = "1.2.840.113549.2.10";
    HMAC_SHA512 = "1.2.840.113549.2.11";
    AES_128_CBC = "2.16.840.1.101.3.4.1.2";
    AES_192_CBC = "2.16.840.1.101.3.4.1.22";
    AES_256_CBC = "2.16.840.1.101.3.4.1.42";
    TRIPLE_DES_CBC = "1.2.840.113549.3.7";
    SHA1 = "1.3.14.3.2.26";
    SHA256 = "2.16.840.1.101.3.4.2.1";
    SHA384 = "2.16.840.1.101.3.4.2.2";
    SHA512 = "2.16.840.1.101.3.4.2.3";
    RSA = "1.2.840.113549.1.1.1";
    RSA_PSS = "1.2.840.113549.1.1.10";
    EC = "1.2.840.10045.2.1";
    P256 = "1.2.840.10045.3.1.7";
    P384 = "1.3.132.0.34";
    ED25519 = "1.3.101.112";
}

/// The identifier in an element.
///
/// # Errors
/// If it is another one.
pub(super) fn read(element: asn1::Element<'_>) -> Result<ObjectIdentifier, Malformed> {
    if element.tag != OID {
        return Err(Malformed);
    }
    ObjectIdentifier::from_bytes(element.body).map_err(|_| Malformed)
}

/// The element of an identifier.
pub(super) fn written(identifier: ObjectIdentifier) -> Zeroizing<Vec<u8>> {
    asn1::written(OID, &[identifier.as_bytes()])
}
