//! Our objects as YAML that a person would write: without what is so anyway.

use serde::Serialize;
use serde_json::Value;

/// What a field says that need not be said.
const DEFAULTS: [(&str, &str); 9] = [
    ("chain", "Full"),
    ("creation", "Create"),
    ("decode", "None"),
    ("deletion", "Delete"),
    ("detect", "Auto"),
    ("minRefreshInterval", "30s"),
    ("onMissing", "Keep"),
    ("serviceVersion", "2025-07-01"),
    ("format", "Json"),
];

/// What users name the members of.
const OF_USERS: [&str; 5] = ["annotations", "labels", "matchLabels", "tags", "template"];

/// One document.
///
/// # Errors
/// When the object cannot be written as YAML, which a test rules out for what is converted.
pub(super) fn document(object: &impl Serialize) -> Result<String, serde_saphyr::ser::Error> {
    // Through JSON, so that absent fields stay absent.
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
        if let Some(spec) = fields.get_mut("spec") {
            shorten(spec);
        }
    }
    Ok(format!("---\n{}", serde_saphyr::to_string(&value)?))
}

fn shorten(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(fields) => {
            for (_, field) in fields.iter_mut().filter(|(name, _)| !OF_USERS.contains(&name.as_str())) {
                shorten(field);
            }
            fields.retain(|name, field| !is_said_anyway(name, field));
        }
        _ => {}
    }
}

fn is_said_anyway(name: &str, field: &Value) -> bool {
    match field {
        Value::String(word) => DEFAULTS.contains(&(name, word.as_str())),
        Value::Bool(flag) => (name, *flag) == ("suspend", false) || (name, *flag) == ("publish", true),
        Value::Object(fields) => name == "target" && fields.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Target, VaultSecretSync, VaultSecretSyncSpec};
    use crate::convert::words::{from_secret, item, secret};

    #[test]
    fn what_is_printed_reads_back_as_the_same_object() {
        let labels = [("creation".to_owned(), "Create".to_owned())].into();
        let spec = VaultSecretSyncSpec {
            vault_ref: crate::api::VaultRef::default(),
            refresh_interval: "5m".to_owned(),
            suspend: false,
            data: vec![item("A", from_secret(secret("a", None)))],
            data_from: Vec::new(),
            tls: None,
            target: Target { labels, ..Target::default() },
            rollout: None,
        };
        let object = VaultSecretSync::new("shop", spec);
        let text = document(&object).unwrap();
        assert!(!text.contains("publish") && !text.contains("decode: None"), "{text}");
        assert!(text.contains("creation: Create"), "a label of the user's: {text}");
        assert_eq!(serde_saphyr::from_str::<VaultSecretSync>(&text).unwrap(), object);
    }
}
