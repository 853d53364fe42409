//! What the tools have in common: names, versions, ids, types and labels, as our fields take them.

use super::fields::Fields;
use crate::api::{
    CertificatePart, CertificateRef, DataItem, Decode, From, ObjectSecretRef, OnMissing, SecretRef,
    SecretType, Target, TlsSpec, VaultRef, VaultSecretSyncSpec, WorkloadIdentity,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// Stands where an id belongs that the objects do not have.
pub(super) const ANY_ID: &str = "00000000-0000-0000-0000-000000000000";

/// What labels and annotations begin with that the tools set by which an object was applied: on another object they would
/// say what is not so.
const OF_TOOLS: [&str; 8] = [
    "kubectl.kubernetes.io/",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "helm.sh/",
    "vaultsync.dev/",
    "app.kubernetes.io/managed-by",
];

/// Name, namespace, labels and annotations of an object of another tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Heading {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Heading {
    /// Reads `metadata`; what an API server adds to it says nothing here.
    pub(super) fn of(metadata: Option<Fields<'_>>) -> Self {
        let Some(mut metadata) = metadata else { return Self::default() };
        let heading = Self {
            name: metadata.text("name").unwrap_or_default(),
            namespace: metadata.text("namespace"),
            labels: without_tools(metadata.words("labels")),
            annotations: without_tools(metadata.words("annotations")),
        };
        metadata.leave();
        heading
    }

    /// The metadata of an object of ours beside it.
    pub(super) fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: self.namespace.clone(),
            labels: (!self.labels.is_empty()).then(|| self.labels.clone()),
            ..ObjectMeta::default()
        }
    }
}

/// Labels or annotations without those of tools.
pub(super) fn without_tools(mut words: BTreeMap<String, String>) -> BTreeMap<String, String> {
    words.retain(|name, _| !OF_TOOLS.iter().any(|tool| name.starts_with(tool)));
    words
}

/// Whether a text is an id of Entra.
pub(super) fn is_id(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The id in a field, or none with a note.
pub(super) fn id(fields: &mut Fields<'_>, name: &str) -> Option<String> {
    let text = fields.text(name)?;
    if is_id(&text) {
        return Some(text);
    }
    fields
        .note(name, format!("{text} is no id of Entra (a GUID), so it was left out: set the field by hand."));
    None
}

/// The version in a field, or none with a note.
pub(super) fn version(fields: &mut Fields<'_>, name: &str) -> Option<String> {
    let text = fields.text(name)?;
    let version = text.to_ascii_lowercase();
    if version.len() == 32 && version.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(version);
    }
    fields.note(
        name,
        format!("{text} is no version of Key Vault (32 hexadecimal digits), so the current version is read."),
    );
    None
}

/// The type of a Secret; `Err`, with a note: one that is never written.
pub(super) fn secret_type(fields: &mut Fields<'_>, name: &str) -> Result<Option<SecretType>, NotConverted> {
    let Some(text) = fields.text(name) else { return Ok(None) };
    // By the trait that `From` of ours does not hide.
    let of: SecretType = text.into();
    if of.is_refused() {
        let word = of.as_str();
        fields.note(
            name,
            format!(
                "a Secret of type {word} is never written by vaultsync, so the object was not converted."
            ),
        );
        return Err(NotConverted);
    }
    Ok((of != SecretType::Opaque).then_some(of))
}

/// An object cannot be converted; a note says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotConverted;

/// The identity of a ServiceAccount.
pub(super) fn workload_identity(
    account: &str,
    client: Option<String>,
    tenant: Option<String>,
) -> WorkloadIdentity {
    WorkloadIdentity {
        service_account_name: account.to_owned(),
        client_id: client.unwrap_or_else(|| ANY_ID.to_owned()),
        tenant_id: tenant,
    }
}

/// A secret of the vault.
pub(super) fn secret(name: &str, version: Option<String>) -> SecretRef {
    SecretRef { name: name.to_owned(), version, property: None, decode: Decode::None }
}

/// A secret of the vault that gives many keys.
pub(super) fn object_secret(name: &str, version: Option<String>) -> ObjectSecretRef {
    ObjectSecretRef { name: name.to_owned(), version, format: crate::api::Format::Json }
}

/// The source of a key that is a secret.
pub(super) fn from_secret(secret: SecretRef) -> From {
    From { secret: Some(secret), ..From::default() }
}

/// The source of a key that is a part of a certificate.
pub(super) fn from_certificate(name: &str, version: Option<String>, part: CertificatePart) -> From {
    let certificate = CertificateRef { name: name.to_owned(), version, part, store: None };
    From { certificate: Some(Box::new(certificate)), ..From::default() }
}

/// A spec without entries, read as often as other specs that do not say it.
pub(super) fn bare_spec(vault_ref: VaultRef, target: Target) -> VaultSecretSyncSpec {
    VaultSecretSyncSpec {
        vault_ref,
        refresh_interval: "5m".to_owned(),
        suspend: false,
        data: Vec::new(),
        data_from: Vec::new(),
        tls: None,
        target,
        rollout: None,
    }
}

/// A key that is published.
pub(super) fn item(key: &str, from: From) -> DataItem {
    DataItem { key: key.to_owned(), from, vault_ref: None, on_missing: OnMissing::Keep, publish: true }
}

/// Writes `spec.tls` where the two keys of a TLS Secret are the current version of one certificate.
pub(super) fn shorten_tls(spec: &mut VaultSecretSyncSpec) {
    let certificate = |key: &str, part: CertificatePart| {
        let item = spec.data.iter().find(|item| item.key == key)?;
        let certificate = item.from.certificate.as_deref()?;
        let plain = certificate.version.is_none() && item.vault_ref.is_none() && item.publish;
        (plain && certificate.part == part).then(|| certificate.name.clone())
    };
    let name = certificate("tls.crt", CertificatePart::Full)
        .filter(|name| certificate("tls.key", CertificatePart::Key).as_ref() == Some(name));
    let is_tls = spec.target.type_ == Some(SecretType::Tls);
    let Some(certificate) = name.filter(|_| is_tls) else { return };
    spec.data.retain(|item| item.key != "tls.crt" && item.key != "tls.key");
    spec.target.type_ = None;
    spec.tls = Some(Box::new(TlsSpec { certificate, chain: crate::api::Chain::Full, ca_key: None }));
}

/// How a template names a value.
pub(super) fn reference(name: &str) -> String {
    const TAKEN: [&str; 16] = [
        "and",
        "data",
        "docker_config",
        "else",
        "false",
        "False",
        "if",
        "in",
        "is",
        "loop",
        "none",
        "None",
        "not",
        "or",
        "true",
        "True",
    ];
    let mut letters = name.bytes();
    let is_name = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
    if is_name && !TAKEN.contains(&name) { name.to_owned() } else { format!("data[{}]", quoted(name)) }
}

/// A text in the quotes of a template.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A text as a template writes it unchanged.
pub(super) fn literal(text: &str) -> String {
    // Only what the first of them gives holds a sign, and that one is not looked for again.
    let signs = ["{{", "{%", "{#"].into_iter();
    signs.fold(text.to_owned(), |text, sign| text.replace(sign, &format!("{{{{ \"{sign}\" }}}}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_writes_a_literal_as_it_was() {
        assert_eq!(literal("a {b} c"), "a {b} c");
        assert_eq!(literal("{% x"), "{{ \"{%\" }} x");
        assert_eq!(literal("{{ x }}"), "{{ \"{{\" }} x }}");
    }

    #[test]
    fn values_are_named_as_templates_take_them() {
        assert_eq!(reference("user_1"), "user_1");
        assert_eq!(reference("a-b"), "data[\"a-b\"]");
        assert_eq!(reference("loop"), "data[\"loop\"]");
        assert_eq!(reference("1a"), "data[\"1a\"]");
    }

    #[test]
    fn labels_of_tools_are_not_taken_along() {
        let words =
            ["argocd.argoproj.io/instance", "team", "kubectl.kubernetes.io/last-applied-configuration"];
        let words = words.map(|name| (name.to_owned(), "x".to_owned())).into();
        assert_eq!(without_tools(words).into_keys().collect::<Vec<_>>(), ["team"]);
    }
}
