//! Certificates that the vault makes itself: signed by their own key, and the request it would send to an authority.

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    material::{chain::Chain, policy::Policy},
    refusal::Refusal,
};

/// Seconds by which a certificate is valid before it was made, against clocks that are behind.
const BACKDATED: i64 = 600;

/// The certificate the policy describes, signed by its own key.
pub(crate) fn self_signed(policy: &Policy, key: &KeyPair, now: i64) -> Result<Chain, Refusal> {
    let certificate = params(policy, now)?.self_signed(key).map_err(|_| unmakable())?;
    Ok(Chain::new(key.serialize_der(), certificate.der().to_vec()))
}

/// The request for it, as Base64.
pub(crate) fn request(policy: &Policy, key: &KeyPair, now: i64) -> Result<String, Refusal> {
    let mut params = params(policy, now)?;
    params.serial_number = None;
    let request = params.serialize_request(key).map_err(|_| unmakable())?;
    Ok(BASE64_STANDARD.encode(request.der()))
}

fn params(policy: &Policy, now: i64) -> Result<CertificateParams, Refusal> {
    let mut params = CertificateParams::new(policy.host_names()).map_err(|_| unmakable())?;
    params.distinguished_name = name(policy.subject())?;
    // Else it followed from the key: two certificates of one ready key could be the same.
    params.serial_number = Some(Uuid::new_v4().as_bytes().to_vec().into());
    let ends = now + policy.validity_months() * 86_400 * 365 / 12;
    params.not_before = OffsetDateTime::from_unix_timestamp(now - BACKDATED).map_err(|_| unmakable())?;
    params.not_after = OffsetDateTime::from_unix_timestamp(ends).map_err(|_| unmakable())?;
    params.extended_key_usages = policy
        .extended_key_usages()
        .iter()
        .map(|id| {
            let arcs = id.split('.').map(str::parse).collect::<Result<Vec<u64>, _>>();
            arcs.map(ExtendedKeyUsagePurpose::Other).map_err(|_| unmakable())
        })
        .collect::<Result<_, _>>()?;
    params.key_usages = policy
        .key_usages()
        .iter()
        .map(|usage| {
            Ok(match usage.as_str() {
                "digitalSignature" => KeyUsagePurpose::DigitalSignature,
                "nonRepudiation" => KeyUsagePurpose::ContentCommitment,
                "keyEncipherment" => KeyUsagePurpose::KeyEncipherment,
                "dataEncipherment" => KeyUsagePurpose::DataEncipherment,
                "keyAgreement" => KeyUsagePurpose::KeyAgreement,
                "keyCertSign" => KeyUsagePurpose::KeyCertSign,
                "cRLSign" => KeyUsagePurpose::CrlSign,
                _ => return Err(unmakable()),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(params)
}

/// Reads `CN=shop.test, O=Shop`.
fn name(subject: &str) -> Result<DistinguishedName, Refusal> {
    let mut name = DistinguishedName::new();
    for part in subject.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (attribute, value) = part.split_once('=').ok_or_else(unmakable)?;
        let attribute = match attribute.trim().to_ascii_uppercase().as_str() {
            "CN" => DnType::CommonName,
            "O" => DnType::OrganizationName,
            "OU" => DnType::OrganizationalUnitName,
            "C" => DnType::CountryName,
            "L" => DnType::LocalityName,
            "S" | "ST" => DnType::StateOrProvinceName,
            _ => return Err(unmakable()),
        };
        name.push(attribute, value.trim());
    }
    Ok(name)
}

fn unmakable() -> Refusal {
    Refusal::bad_parameter("Property policy.x509_props describes a certificate that cannot be made.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

    use super::*;
    use crate::material::{keys::KeyKind, pool};

    fn policy(properties: &serde_json::Value) -> Policy {
        let written = json!({"x509_props": properties, "issuer": {"name": "Self"}});
        Policy::for_creation(Some(&written), 0).unwrap()
    }

    #[test]
    fn a_certificate_is_as_its_policy_says() {
        let written = json!({"subject": "CN=shop.test, O=Shop", "sans": {"dns_names": ["shop.test"]}});
        let policy = policy(&written);
        let key = pool::pair(KeyKind::Rsa2048, 0).unwrap();
        let chain = self_signed(&policy, &key, 1_700_000_000).unwrap();
        let (_, made) = X509Certificate::from_der(chain.leaf()).unwrap();
        assert_eq!(made.subject().to_string(), "CN=shop.test, O=Shop");
        assert_eq!(made.validity().not_before.timestamp(), 1_700_000_000 - 600);
        assert_eq!(made.validity().not_after.timestamp(), 1_700_000_000 + 31_536_000);
        assert!(!request(&policy, &key, 0).unwrap().is_empty());
    }

    #[test]
    fn a_subject_that_is_no_name_is_refused() {
        for subject in ["shop", "X=shop"] {
            assert!(name(subject).is_err(), "{subject}");
        }
    }
}
