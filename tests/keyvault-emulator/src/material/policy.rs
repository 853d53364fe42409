//! The policy of a certificate: what a client wrote, completed as the service completes it.

use serde_json::{Map, Value, json};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
};

use crate::{
    material::{chain::CertificateFormat, keys::KeyKind, public_key::PublicKey},
    refusal::Refusal,
};

/// The parts of a policy that a client writes.
const SECTIONS: [&str; 5] = ["key_props", "secret_props", "x509_props", "lifetime_actions", "issuer"];

/// How the next version of a certificate is made.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    sections: Map<String, Value>,
    created: i64,
    updated: i64,
}

impl Policy {
    /// What a client asks for when it has a certificate created.
    pub(crate) fn for_creation(written: Option<&Value>, now: i64) -> Result<Self, Refusal> {
        let defaults = json!({
            "key_props": {"exportable": true, "kty": "RSA", "reuse_key": false},
            "secret_props": {"contentType": CertificateFormat::default().content_type()},
            "x509_props": {
                "sans": {},
                "ekus": ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
                "key_usage": ["digitalSignature", "keyEncipherment"],
                "validity_months": 12,
                "basic_constraints": {"ca": false},
            },
            "lifetime_actions": [
                {"trigger": {"lifetime_percentage": 80}, "action": {"action_type": "AutoRenew"}},
            ],
        });
        let mut policy = Self::complete(defaults, written, now)?;
        let kind = policy.key_kind()?;
        let (field, value) = match kind {
            KeyKind::Rsa2048 => ("key_size", json!(2048)),
            KeyKind::Rsa3072 => ("key_size", json!(3072)),
            KeyKind::Rsa4096 => ("key_size", json!(4096)),
            curve => ("crv", json!(curve.to_string())),
        };
        policy.set_field("key_props", field, value);
        if policy.text("x509_props", "subject").is_none() && policy.host_names().is_empty() {
            return Err(Refusal::bad_parameter("Property policy.x509_props.subject is missing."));
        }
        if policy.issuer().is_none() {
            return Err(Refusal::bad_parameter("Property policy.issuer.name is missing."));
        }
        policy.format()?;
        Ok(policy)
    }

    /// What an imported certificate has: its own properties, whatever the client wrote of them.
    pub(crate) fn for_import(
        written: Option<&Value>,
        leaf: &[u8],
        key: &PublicKey,
        now: i64,
    ) -> Result<Self, Refusal> {
        let defaults = json!({
            "key_props": {"exportable": true, "reuse_key": false},
            "secret_props": {"contentType": CertificateFormat::default().content_type()},
            "lifetime_actions": [
                {"trigger": {"lifetime_percentage": 80}, "action": {"action_type": "EmailContacts"}},
            ],
            "issuer": {"name": "Unknown"},
        });
        let mut policy = Self::complete(defaults, written, now)?;
        let hsm = policy.is_hsm();
        let kind = format!("{}{}", key.family(), if hsm { "-HSM" } else { "" });
        policy.set_field("key_props", "kty", kind.into());
        policy.set_field("key_props", "key_size", key.size().into());
        if let Some(curve) = key.curve() {
            policy.set_field("key_props", "crv", curve.name().into());
        }
        policy.sections.insert("x509_props".to_owned(), described(leaf));
        policy.format()?;
        Ok(policy)
    }

    fn complete(defaults: Value, written: Option<&Value>, now: i64) -> Result<Self, Refusal> {
        let Value::Object(sections) = defaults else { return Err(unreadable()) };
        let mut policy = Self { sections, created: now, updated: now };
        if let Some(written) = written.filter(|written| !written.is_null()) {
            policy.lay_over(written)?;
        }
        Ok(policy)
    }

    /// Changes what `written` names; within a section its fields.
    pub(crate) fn change(&mut self, written: &Value, now: i64) -> Result<(), Refusal> {
        self.lay_over(written)?;
        self.updated = now;
        Ok(())
    }

    fn lay_over(&mut self, written: &Value) -> Result<(), Refusal> {
        let written = written.as_object().ok_or_else(unreadable)?;
        for section in SECTIONS {
            match (self.sections.get_mut(section), written.get(section)) {
                (_, None | Some(Value::Null)) => {}
                (Some(Value::Object(known)), Some(Value::Object(new))) => {
                    let given = new.iter().filter(|(_, value)| !value.is_null());
                    known.extend(given.map(|(name, value)| (name.clone(), value.clone())));
                }
                (_, Some(new)) => drop(self.sections.insert(section.to_owned(), new.clone())),
            }
        }
        Ok(())
    }

    fn set_field(&mut self, section: &str, field: &str, value: Value) {
        match self.sections.get_mut(section) {
            Some(Value::Object(fields)) => drop(fields.insert(field.to_owned(), value)),
            _ => drop(self.sections.insert(section.to_owned(), json!({field: value}))),
        }
    }

    fn field(&self, section: &str, field: &str) -> Option<&Value> {
        self.sections.get(section)?.get(field)
    }

    fn text(&self, section: &str, field: &str) -> Option<&str> {
        self.field(section, field)?.as_str().filter(|text| !text.is_empty())
    }

    pub(crate) fn format(&self) -> Result<CertificateFormat, Refusal> {
        let content_type = self.text("secret_props", "contentType").unwrap_or_default();
        CertificateFormat::of_content_type(content_type).ok_or_else(|| {
            Refusal::bad_parameter("Property policy.secret_props.contentType has an unsupported value.")
        })
    }

    pub(crate) fn is_exportable(&self) -> bool {
        self.field("key_props", "exportable").and_then(Value::as_bool).unwrap_or(true)
    }

    pub(crate) fn is_hsm(&self) -> bool {
        self.text("key_props", "kty").is_some_and(|kty| kty.ends_with("-HSM"))
    }

    pub(crate) fn key_kind(&self) -> Result<KeyKind, Refusal> {
        let kty = self.text("key_props", "kty").unwrap_or("RSA");
        let size = self.field("key_props", "key_size").and_then(Value::as_u64);
        let family = kty.strip_suffix("-HSM").unwrap_or(kty);
        KeyKind::asked(family, self.text("key_props", "crv"), size)
            .ok_or_else(|| Refusal::bad_parameter("Property policy.key_props asks for an unsupported key."))
    }

    pub(crate) fn issuer(&self) -> Option<&str> {
        self.text("issuer", "name")
    }

    pub(crate) fn subject(&self) -> &str {
        self.text("x509_props", "subject").unwrap_or_default()
    }

    pub(crate) fn host_names(&self) -> Vec<String> {
        let names = self.field("x509_props", "sans").and_then(|sans| sans.get("dns_names"));
        texts(names)
    }

    pub(crate) fn extended_key_usages(&self) -> Vec<String> {
        texts(self.field("x509_props", "ekus"))
    }

    pub(crate) fn key_usages(&self) -> Vec<String> {
        texts(self.field("x509_props", "key_usage"))
    }

    pub(crate) fn validity_months(&self) -> i64 {
        self.field("x509_props", "validity_months").and_then(Value::as_i64).unwrap_or(12)
    }

    /// As the service shows it.
    pub(crate) fn shown(&self, id: &str) -> Map<String, Value> {
        let mut shown = self.sections.clone();
        shown.insert("id".to_owned(), id.into());
        let attributes = json!({"enabled": true, "created": self.created, "updated": self.updated});
        shown.insert("attributes".to_owned(), attributes);
        shown
    }
}

fn unreadable() -> Refusal {
    Refusal::bad_parameter("The certificate policy is not valid.")
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// `x509_props` of a certificate.
fn described(leaf: &[u8]) -> Value {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return json!({}) };
    let validity = certificate.validity();
    let days = (validity.not_after.timestamp() - validity.not_before.timestamp()) / 86_400;
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::SubjectAlternativeName(found) = extension.parsed_extension() {
            names.extend(found.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            }));
        }
    }
    let sans = if names.is_empty() { json!({}) } else { json!({"dns_names": names}) };
    json!({
        "subject": certificate.subject().to_string(),
        "sans": sans,
        "ekus": [],
        "key_usage": [],
        "validity_months": days / 30,
        "basic_constraints": {"ca": certificate.is_ca()},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_completed_as_the_service_completes_it() {
        let written = json!({"x509_props": {"subject": "CN=shop"}, "issuer": {"name": "Self"}});
        let policy = Policy::for_creation(Some(&written), 7).unwrap();
        let shown = Value::from(policy.shown("https://id"));
        assert_eq!(shown["key_props"]["key_size"], 2048);
        assert_eq!(shown["secret_props"]["contentType"], "application/x-pkcs12");
        assert_eq!(shown["x509_props"]["validity_months"], 12);
        assert_eq!(shown["attributes"], json!({"enabled": true, "created": 7, "updated": 7}));
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let written = json!({"x509_props": {"subject": "CN=shop"}, "issuer": {"name": "Self"}});
        let mut policy = Policy::for_creation(Some(&written), 7).unwrap();
        policy.change(&json!({"x509_props": {"validity_months": 3}, "issuer": null}), 9).unwrap();
        assert_eq!(
            (policy.validity_months(), policy.subject(), policy.issuer()),
            (3, "CN=shop", Some("Self"))
        );
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        for wrong in [
            json!({"issuer": {"name": "Self"}}),
            json!({"x509_props": {"subject": "CN=shop"}}),
            json!({"x509_props": {"subject": "CN=shop"}, "issuer": {"name": "Self"}, "key_props": {"kty": "oct"}}),
            json!({"x509_props": {"subject": "CN=shop"}, "issuer": {"name": "Self"},
                   "secret_props": {"contentType": "text/plain"}}),
            json!("policy"),
        ] {
            assert!(Policy::for_creation(Some(&wrong), 0).is_err(), "{wrong}");
        }
        assert!(Policy::for_creation(None, 0).is_err());
    }
}
