//! From values of the vault to keys of a Secret, and what becomes of keys that have no value.

mod objects;

use super::picture::{Fate, Flaw, Picture, Row, WantedKey, WantedObject};
use super::recipe::Made;
use super::target::KeyBytes;
use super::value::{Certificates, Fault, of_certificate, of_public_key, of_secret};
use crate::api::Fingerprint;
use crate::reason::Reason;
use objects::render_object;
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

/// The most that the API server takes in one Secret, keys and values together.
pub(super) const MAX_SECRET_BYTES: usize = 1024 * 1024;

/// The most keys that `status.target.keys` can name.
pub(super) const MAX_KEYS: usize = 4096;

/// What one snapshot makes of the Secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rendered {
    /// Keys whose values are at hand, with what made them.
    pub set: BTreeMap<String, (KeyBytes, Fingerprint)>,
    /// Keys that the spec names and that are to go: their source is missing and the spec says so, or they are not published.
    pub remove: BTreeSet<String>,
    /// Keys that stay as they are: unread, or failing.
    pub keep: BTreeSet<String>,
    /// Whether every `dataFrom` source told its keys, so that keys which left can be pruned.
    pub complete: bool,
    /// Why keys keep their last value, by the source's index.
    pub problems: BTreeMap<usize, Reason>,
    /// The lines where values are not in their format, by the source's index.
    pub lines: BTreeMap<usize, usize>,
    /// Templates that cannot be rendered, by their key.
    pub faults: BTreeMap<String, Fault>,
    /// Why a key has no value that no Secret is created without.
    pub needed: Option<Reason>,
    /// A key that stays only because the Secret's type needs it.
    pub kept_by_type: Option<String>,
    /// Sources all of whose keys go because they are missing.
    pub missing: BTreeSet<usize>,
    /// Certificates whose chain lacks an issuer, and those read now that do not, by the source's index.
    pub incomplete: BTreeMap<usize, bool>,
    /// Members of `dataFrom` that cannot be keys, by the source's index.
    pub unfit: BTreeMap<usize, Vec<String>>,
    /// Values at hand that give no key, by the fingerprint of what they would have made.
    pub judged: BTreeMap<Fingerprint, Flaw>,
    /// The `dataFrom` sources whose keys are in `set`.
    pub objects: BTreeSet<Fingerprint>,
}

impl Rendered {
    /// Notes a problem; the first of a source stands.
    fn problem(&mut self, row: usize, reason: Reason, fate: Fate) {
        self.problems.entry(row).or_insert(reason);
        self.needs(reason, fate);
    }

    /// The same, with the line where a value is wrong.
    fn flaw(&mut self, row: usize, flaw: &Flaw, fate: Fate) {
        if let Flaw::Line(line) = flaw {
            self.lines.entry(row).or_insert(*line);
        }
        self.problem(row, flaw.reason(), fate);
    }

    fn needs(&mut self, reason: Reason, fate: Fate) {
        if fate == Fate::Needed {
            self.needed.get_or_insert(reason);
        }
    }
}

/// Values for templates: `None` where there is none now, though there may be.
#[derive(Debug, Default)]
struct TemplateValues {
    data: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// Whether every `dataFrom` source is among them.
    objects: bool,
}

/// Renders every key of the spec whose value is at hand, and says what becomes of the others.
#[must_use]
pub(super) fn render(picture: &Picture<'_>) -> Rendered {
    let mut rendered = Rendered { complete: picture.listed, ..Rendered::default() };
    let mut context = TemplateValues { objects: true, ..TemplateValues::default() };
    let mut gone: BTreeSet<usize> = BTreeSet::new();
    let mut staying: BTreeSet<usize> = BTreeSet::new();
    let mut certificates = Certificates::default();
    for key in picture.keys.iter().filter(|key| key.template.is_none()) {
        let goes = render_key(picture, key, &mut certificates, &mut rendered, &mut context);
        if goes { &mut gone } else { &mut staying }.extend(&key.rows);
    }
    rendered.incomplete = certificates.incomplete();
    keep_whole(picture, &mut rendered);
    let named: BTreeSet<&str> = picture.keys.iter().map(|key| key.recipe.key).collect();
    let found: BTreeSet<&str> = picture.objects.iter().filter_map(|object| object.key.as_deref()).collect();
    let mut given: BTreeMap<String, (&WantedObject<'_>, KeyBytes, Fingerprint)> = BTreeMap::new();
    let mut doubled: BTreeSet<String> = BTreeSet::new();
    for object in &picture.objects {
        let members = match render_object(picture, object, &mut rendered) {
            Ok(members) => members,
            Err(fate) => {
                let no_loss = |reason| picture.rows.get(object.row).is_some_and(|row| row.is_no_loss(reason));
                let had = !picture.trouble_of_object(object).is_some_and(no_loss);
                context.objects &= fate == Fate::Goes || !had;
                if fate == Fate::Goes { &mut gone } else { &mut staying }.insert(object.row);
                continue;
            }
        };
        staying.insert(object.row);
        for (name, bytes) in members {
            if named.contains(name.as_str()) {
                continue;
            }
            if object.key.is_none() && found.contains(name.as_str()) {
                // Whichever of the two is read: neither takes the other's place.
                rendered.problems.insert(object.row, Reason::DuplicateKey);
                rendered.needs(Reason::DuplicateKey, object.fate(Reason::DuplicateKey));
                doubled.insert(name);
                continue;
            }
            if let Some((other, ..)) = given.get(&name) {
                for object in [other, object] {
                    rendered.problems.insert(object.row, Reason::DuplicateKey);
                    rendered.needs(Reason::DuplicateKey, object.fate(Reason::DuplicateKey));
                }
                doubled.insert(name);
            } else if let Some(of) = object.of {
                given.insert(name, (object, bytes, of));
            }
        }
    }
    // A member that comes to the key of what was found is given by neither.
    for name in &doubled {
        if !given.contains_key(name) {
            (context.objects, rendered.complete) = (false, false);
            rendered.keep.insert(name.clone());
        }
    }
    let with_templates = picture.keys.iter().any(|key| key.template.is_some());
    for (name, (object, bytes, of)) in given {
        if doubled.contains(&name) {
            // What the two were called before may be in the Secret: nothing goes until that is settled.
            (context.objects, rendered.complete) = (false, false);
            rendered.keep.insert(name);
            continue;
        }
        if with_templates {
            context.data.insert(name.clone(), Zeroizing::new(bytes.expose().to_vec()));
        }
        if object.item.publish {
            rendered.set.insert(name, (bytes, of));
        }
    }
    for key in picture.keys.iter().filter(|key| key.template.is_some()) {
        render_template(picture, key, &context, &mut rendered);
    }
    rendered.missing = gone.difference(&staying).copied().collect();
    rendered
}

/// Where a certificate gives one of its parts not, as no private key, it gives none: certificate and key of two versions
/// would be worse than both of the last.
fn keep_whole(picture: &Picture<'_>, rendered: &mut Rendered) {
    let of_certificate = |key: &&WantedKey<'_>| matches!(key.recipe.made, Made::Certificate(_));
    let keys: Vec<&WantedKey<'_>> = picture.keys.iter().filter(of_certificate).collect();
    let flawed: BTreeMap<usize, Reason> = keys
        .iter()
        .filter_map(|key| {
            let reason = rendered.judged.get(&key.of?).or_else(|| picture.judged.get(&key.of?))?.reason();
            Some((key.rows.first().copied()?, reason))
        })
        .collect();
    for key in keys {
        let reason = key.rows.first().and_then(|row| flawed.get(row)).copied();
        let Some((reason, of)) = reason.zip(key.of) else { continue };
        if rendered.set.remove(key.recipe.key).is_some() {
            rendered.keep.insert(key.recipe.key.to_owned());
            rendered.judged.insert(of, Flaw::Value(reason));
        }
    }
}

/// Renders a key of `data` or `tls`; returns whether it is to go.
fn render_key(
    picture: &Picture<'_>,
    key: &WantedKey<'_>,
    certificates: &mut Certificates,
    rendered: &mut Rendered,
    context: &mut TemplateValues,
) -> bool {
    let name = key.recipe.key;
    let at_hand = picture.is_at_hand(&key.rows);
    let own = key.rows.first().copied().unwrap_or_default();
    let trouble = match (at_hand.then(|| bytes_of(picture, key, certificates)), key.of) {
        (Some(Ok(bytes)), Some(of)) => {
            if key.recipe.publish {
                context.data.insert(name.to_owned(), Zeroizing::new(bytes.expose().to_vec()));
                rendered.set.insert(name.to_owned(), (bytes, of));
            } else {
                context.data.insert(name.to_owned(), Zeroizing::new(bytes.expose().to_vec()));
                rendered.remove.insert(name.to_owned());
            }
            return false;
        }
        (Some(Err(reason)), of) => {
            rendered.judged.extend(of.map(|of| (of, Flaw::Value(reason))));
            Some((own, reason))
        }
        (Some(Ok(_)) | None, _) => picture.trouble_of_key(key),
    };
    let name = name.to_owned();
    let places = if key.recipe.publish { &mut rendered.keep } else { &mut rendered.remove };
    let Some((row, reason)) = trouble else {
        places.insert(name);
        return false;
    };
    match key.fate(reason) {
        Fate::Goes => {
            rendered.remove.insert(name);
            true
        }
        fate @ (Fate::Needed | Fate::Stays) => {
            places.insert(name.clone());
            if key.is_kept_by_type(reason) {
                rendered.kept_by_type.get_or_insert(name);
            }
            rendered.problem(row, reason, fate);
            false
        }
    }
}

/// The bytes of a key all of whose sources have values.
fn bytes_of(
    picture: &Picture<'_>,
    key: &WantedKey<'_>,
    certificates: &mut Certificates,
) -> Result<KeyBytes, Reason> {
    let mut values = key.rows.iter().filter_map(|row| picture.rows.get(*row).and_then(Row::value));
    let (Some(own), row) = (values.next(), key.rows.first().copied().unwrap_or_default()) else {
        return Err(Reason::InvalidSpec);
    };
    let text = own.value.expose();
    match key.recipe.made {
        Made::Secret(part) => of_secret(part, picture.part_of_tls(key), text),
        Made::Certificate(of) => {
            // Of a certificate whose password is itself the two are one source.
            let password = values.next().unwrap_or(own);
            of_certificate(certificates, (row, text), &of, password.value.expose())
        }
        Made::Key { format, .. } => of_public_key(format, text),
        Made::Template(_) => Err(Reason::InvalidSpec),
    }
}

/// Renders a template whose inputs are all at hand.
fn render_template(
    picture: &Picture<'_>,
    key: &WantedKey<'_>,
    context: &TemplateValues,
    rendered: &mut Rendered,
) {
    let name = key.recipe.key.to_owned();
    let (Some(template), Some(of)) = (key.template, key.of) else {
        // What troubles its input is told of that.
        rendered.needs(Reason::TemplateFailed, Fate::Needed);
        rendered.keep.insert(name);
        return;
    };
    let inputs = template.recipes.iter().filter_map(|index| picture.keys.get(*index));
    let is_read = inputs.clone().any(|input| context.data.contains_key(input.recipe.key));
    if !is_read && !template.objects && !picture.judged.contains_key(&of) && !picture.is_due(key) {
        // Made of nothing that was read, and in the Secret already.
        rendered.keep.insert(name);
        return;
    }
    // What goes is an input that is not there; for what stays there is no value now.
    let mut inputs = inputs.filter(|input| !context.data.contains_key(input.recipe.key));
    let there = inputs.all(|input| picture.is_missing_input(input));
    let fault = if there && (context.objects || !template.objects) && !picture.judged.contains_key(&of) {
        match template.template.render(&context.data) {
            Ok(bytes) => {
                rendered.set.insert(name, (KeyBytes::new(bytes.to_vec()), of));
                return;
            }
            Err(fault) => {
                rendered.judged.insert(of, Flaw::Template(fault.clone()));
                Some(fault)
            }
        }
    } else {
        match picture.judged.get(&of) {
            Some(Flaw::Template(fault)) => Some(fault.clone()),
            Some(Flaw::Value(_) | Flaw::Line(_)) | None => None,
        }
    };
    if let Some(fault) = fault {
        rendered.needs(Reason::TemplateFailed, Fate::Needed);
        rendered.faults.insert(name.clone(), fault);
    }
    rendered.keep.insert(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_bytes_never_print_themselves() {
        assert_eq!(format!("{:?}", KeyBytes::new(b"canary".to_vec())), "[redacted]");
    }
}
