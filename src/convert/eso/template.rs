//! `target.template`: the type, labels and annotations of the Secret, and keys that are made of values.

use super::super::fields::Fields;
use super::super::words::{from_certificate, item, reference, without_tools};
use super::go_template::{Translated, translate};
use crate::api::{CertificatePart, DataItem, VaultSecretSyncSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Behind the name of a value whose key a template makes.
const INPUT: &str = "-input";

/// Writes what a template says into a spec that has its sources already.
pub(super) fn apply(template: &mut Fields<'_>, spec: &mut VaultSecretSyncSpec) {
    if let Some(mut metadata) = template.fields("metadata") {
        spec.target.labels = plain(&mut metadata, "labels");
        spec.target.annotations = plain(&mut metadata, "annotations");
    }
    let merges = template.text("mergePolicy").as_deref() == Some("Merge");
    let engine = template.text("engineVersion");
    let froms = template.items("templateFrom");
    let texts = template.words("data");
    if texts.is_empty() && froms.is_empty() {
        return;
    }
    if !merges {
        spec.data.iter_mut().for_each(|item| item.publish = false);
        spec.data_from.iter_mut().for_each(|item| item.publish = false);
    }
    let complete = froms.is_empty();
    for mut from in froms {
        from.note_all("is read from another object there; here the text of a template stands in spec.target.template, so it was left out.");
        from.leave();
    }
    if engine.as_deref() == Some("v1") {
        template.note("engineVersion", "v1 is another language, so no template was converted: write them in spec.target.template (docs/templates.md).");
        return;
    }
    write_keys(template, spec, texts, complete);
}

/// Labels or annotations; those that are templates are left out.
fn plain(metadata: &mut Fields<'_>, name: &str) -> BTreeMap<String, String> {
    let mut words = metadata.words(name);
    for (word, text) in &words {
        if word.contains("{{") || text.contains("{{") {
            metadata.note(
                name,
                format!("{word} is a template, which {name} have none of here, so it was left out."),
            );
        }
    }
    words.retain(|word, text| !word.contains("{{") && !text.contains("{{"));
    without_tools(words)
}

/// Each key that a template makes; `complete`: these are all of them.
fn write_keys(
    template: &Fields<'_>,
    spec: &mut VaultSecretSyncSpec,
    texts: BTreeMap<String, String>,
    mut complete: bool,
) {
    let mut renamed: BTreeSet<String> = BTreeSet::new();
    for (key, text) in &texts {
        let itself = translate(text, str::to_owned) == Ok(Translated::Value(key.clone()));
        if !itself && spec.data.iter().any(|item| item.key == *key) {
            renamed.insert(key.clone());
        }
    }
    let called = |name: &str| if renamed.contains(name) { format!("{name}{INPUT}") } else { name.to_owned() };
    for item in spec.data.iter_mut().filter(|item| renamed.contains(&item.key)) {
        (item.key, item.publish) = (called(&item.key), false);
    }
    let (mut used, mut parts) = (BTreeSet::new(), Vec::new());
    for (key, text) in texts {
        match translate(&text, called) {
            Ok(Translated::Value(name)) if name == key && publish(spec, &key) => {}
            Ok(Translated::Value(name)) => {
                let name = called(&name);
                spec.target.template.insert(key, format!("{{{{ {} }}}}", reference(&name)));
                used.insert(name);
            }
            Ok(Translated::Certificate(name, part)) => {
                let source = spec.data.iter().find(|item| item.key == called(&name));
                if let Some(part) = source.and_then(|source| part_of(source, &key, part)) {
                    parts.push(part);
                } else {
                    complete = false;
                    template.note(&at(&key), format!("takes a certificate out of {name}, which is no whole secret of spec.data, so the key was left out: name it by from.certificate in spec.data."));
                }
            }
            Ok(Translated::Jinja(text, names)) => {
                spec.target.template.insert(key, text);
                used.extend(names);
            }
            Err(untranslated) => {
                complete = false;
                let (line, action) = (untranslated.line, untranslated.action.replace('\n', " "));
                template.note(&at(&key), format!("line {line}: {action} has no equal that convert knows of, so the key was left out: write it in spec.target.template (docs/templates.md)."));
            }
        }
    }
    // What fed a template that is still to be written stays.
    if complete {
        spec.data.retain(|item| item.publish || used.contains(&item.key));
    }
    spec.data.extend(parts);
}

fn at(key: &str) -> String {
    format!("data.{key}")
}

/// Publishes the value of this name; whether there is one in `data`.
fn publish(spec: &mut VaultSecretSyncSpec, name: &str) -> bool {
    let Some(item) = spec.data.iter_mut().find(|item| item.key == name) else { return false };
    item.publish = true;
    true
}

/// A key that is a part of the PFX that a source is.
fn part_of(source: &DataItem, key: &str, part: CertificatePart) -> Option<DataItem> {
    let secret = source.from.secret.as_ref().filter(|secret| secret.property.is_none())?;
    let from = from_certificate(&secret.name, secret.version.clone(), part);
    Some(DataItem { vault_ref: source.vault_ref.clone(), on_missing: source.on_missing, ..item(key, from) })
}
