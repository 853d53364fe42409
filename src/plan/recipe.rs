//! What a spec makes of its sources: one recipe for each key that it names, whether it stands in `data`, comes from `tls`
//! or is a template.

use crate::api::{
    CertificatePart, Chain, DataItem, KeyFormat, OnMissing, SecretRef, Store, VaultRef, VaultSecretSyncSpec,
};
use crate::vault::ObjectKind;

/// One key, and how its value is made.
#[derive(Clone, Debug)]
pub(super) struct Recipe<'a> {
    /// The key.
    pub(super) key: &'a str,
    /// Where it stands in the spec.
    pub(super) field: SpecField,
    pub(super) made: Made<'a>,
    /// The connection through which its sources are read; of a template that says nothing.
    pub(super) vault: &'a VaultRef,
    pub(super) on_missing: OnMissing,
    /// Whether it is in the Secret, rather than only at the hand of templates.
    pub(super) publish: bool,
}

/// Where a recipe stands in the spec.
#[derive(Clone, Copy, Debug)]
pub(super) enum SpecField {
    /// `spec.data`, at this place.
    Data(usize),
    /// `spec.tls`.
    Tls,
    /// `spec.target.template`.
    Template,
}

/// How a value is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Made<'a> {
    /// Of a secret, or of a part of it.
    Secret(&'a SecretRef),
    /// Of a certificate, which is read as a secret.
    Certificate(PartOf<'a>),
    /// Of the public part of a key.
    Key { name: &'a str, version: Option<&'a str>, format: KeyFormat },
    /// Of other values.
    Template(&'a str),
}

/// A part of a certificate.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartOf<'a> {
    pub(super) name: &'a str,
    pub(super) version: Option<&'a str>,
    pub(super) part: WantedPart<'a>,
}

/// Which part.
#[derive(Clone, Copy, Debug)]
pub(super) enum WantedPart<'a> {
    /// As an entry of `data` names it.
    Named(CertificatePart),
    /// The certificate, its issuers and the root.
    WithRoot,
    /// A PKCS#12 file, or one of the issuers alone.
    Store(&'a Store, StoreOf),
}

/// What a PKCS#12 file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreOf {
    /// The private key and the chain.
    Key,
    /// The issuers.
    Issuers,
}

/// A source as the spec names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedSource<'a> {
    pub(super) kind: ObjectKind,
    pub(super) name: &'a str,
    pub(super) version: Option<&'a str>,
    /// The field that names it, below that of the recipe.
    pub(super) field: &'static str,
    /// The field of its name, where that is not `name` below it.
    pub(super) name_field: &'static str,
}

impl NamedSource<'_> {
    /// Whether the spec calls it a certificate.
    pub(super) fn is_certificate(&self) -> bool {
        matches!(self.field, "certificate" | "from.certificate")
    }
}

impl<'a> Recipe<'a> {
    /// The sources that it is made of, its own first; a template names none.
    pub(super) fn sources(&self) -> impl Iterator<Item = NamedSource<'a>> + use<'a> {
        let secret = |name, version, field, name_field| NamedSource {
            kind: ObjectKind::Secret,
            name,
            version,
            field,
            name_field,
        };
        let (own, other) = match self.made {
            Made::Secret(of) => (Some(secret(&of.name, of.version.as_deref(), "from.secret", ".name")), None),
            Made::Certificate(of) => {
                let (field, name_field) = match self.field {
                    SpecField::Tls => ("certificate", ""),
                    SpecField::Data(_) | SpecField::Template => ("from.certificate", ".name"),
                };
                let password = match of.part {
                    WantedPart::Store(store, _) => Some(secret(
                        store.password.secret.as_str(),
                        None,
                        "from.certificate.store.password.secret",
                        "",
                    )),
                    WantedPart::Named(_) | WantedPart::WithRoot => None,
                };
                (Some(secret(of.name, of.version, field, name_field)), password)
            }
            Made::Key { name, version, .. } => {
                let key = NamedSource {
                    kind: ObjectKind::Key,
                    name,
                    version,
                    field: "from.key",
                    name_field: ".name",
                };
                (Some(key), None)
            }
            Made::Template(_) => (None, None),
        };
        own.into_iter().chain(other)
    }
}

/// The recipes of a spec, those of `data` first and templates last.
///
/// # Errors
/// The place in `data` of an entry that has no source, or several: the schema refuses both.
pub(super) fn recipes(spec: &VaultSecretSyncSpec) -> Result<Vec<Recipe<'_>>, usize> {
    let of_item = |(index, item)| of_item(spec, index, item).ok_or(index);
    let mut recipes: Vec<Recipe<'_>> = spec.data.iter().enumerate().map(of_item).collect::<Result<_, _>>()?;
    if let Some(tls) = spec.tls.as_deref() {
        let of_tls = |key, part| Recipe {
            key,
            field: SpecField::Tls,
            made: Made::Certificate(PartOf { name: &tls.certificate, version: None, part }),
            vault: &spec.vault_ref,
            on_missing: OnMissing::Keep,
            publish: true,
        };
        let chain = match tls.chain {
            Chain::Full => WantedPart::Named(CertificatePart::Full),
            Chain::LeafOnly => WantedPart::Named(CertificatePart::Leaf),
            Chain::WithRoot => WantedPart::WithRoot,
        };
        recipes.push(of_tls("tls.crt", chain));
        recipes.push(of_tls("tls.key", WantedPart::Named(CertificatePart::Key)));
        if let Some(ca_key) = tls.ca_key.as_deref() {
            recipes.push(of_tls(ca_key, WantedPart::Named(CertificatePart::Ca)));
        }
    }
    recipes.extend(spec.target.template.iter().map(|(key, text)| Recipe {
        key,
        field: SpecField::Template,
        made: Made::Template(text),
        vault: &spec.vault_ref,
        on_missing: OnMissing::Keep,
        publish: true,
    }));
    Ok(recipes)
}

fn of_item<'a>(spec: &'a VaultSecretSyncSpec, index: usize, item: &'a DataItem) -> Option<Recipe<'a>> {
    let from = &item.from;
    let made = match (&from.secret, from.certificate.as_deref(), from.key.as_deref()) {
        (Some(secret), None, None) => Made::Secret(secret),
        (None, Some(of), None) => {
            let part = match (of.part, &of.store) {
                (CertificatePart::Pkcs12, Some(store)) => WantedPart::Store(store, StoreOf::Key),
                (CertificatePart::TrustStore, Some(store)) => WantedPart::Store(store, StoreOf::Issuers),
                (CertificatePart::Pkcs12 | CertificatePart::TrustStore, None) => return None,
                (part, _) => WantedPart::Named(part),
            };
            Made::Certificate(PartOf { name: &of.name, version: of.version.as_deref(), part })
        }
        (None, None, Some(key)) => {
            Made::Key { name: &key.name, version: key.version.as_deref(), format: key.format }
        }
        _ => return None,
    };
    Some(Recipe {
        key: &item.key,
        field: SpecField::Data(index),
        made,
        vault: item.vault_ref.as_deref().unwrap_or(&spec.vault_ref),
        on_missing: item.on_missing,
        publish: item.publish,
    })
}
