//! From values of the vault to keys of a Secret, and what becomes of keys that have no value.

use super::picture::{Fate, Picture, Row, WantedKey, WantedObject};
use super::target::KeyBytes;
use super::value::{Renaming, bytes_of, members_of};
use crate::api::Fingerprint;
use crate::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};

/// The most that the API server takes in one Secret, keys and values together.
pub(super) const MAX_SECRET_BYTES: usize = 1024 * 1024;

/// The most keys that `status.target.keys` can name.
pub(super) const MAX_KEYS: usize = 4096;

/// What one snapshot makes of the Secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rendered {
    /// Keys whose values are at hand, with what made them.
    pub set: BTreeMap<String, (KeyBytes, Fingerprint)>,
    /// Keys of `data` that are to go, because their source is missing and the spec says so.
    pub remove: BTreeSet<String>,
    /// Keys that stay as they are: unread, or failing.
    pub keep: BTreeSet<String>,
    /// Whether every `dataFrom` source told its keys, so that keys which left can be pruned.
    pub complete: bool,
    /// Why keys keep their last value, by the source's index.
    pub problems: BTreeMap<usize, Reason>,
    /// Why a key has no value that no Secret is created without.
    pub needed: Option<Reason>,
    /// A key that stays only because the Secret's type needs it.
    pub kept_by_type: Option<String>,
    /// Sources all of whose keys go because they are missing.
    pub missing: BTreeSet<usize>,
    /// Values at hand that give no key, by the fingerprint of what they would have made.
    pub judged: BTreeMap<Fingerprint, Reason>,
    /// The `dataFrom` sources whose keys are in `set`.
    pub objects: BTreeSet<Fingerprint>,
}

impl Rendered {
    /// Notes a problem; the first of a source stands.
    fn problem(&mut self, row: usize, reason: Reason, fate: Fate) {
        self.problems.entry(row).or_insert(reason);
        self.needs(reason, fate);
    }

    fn needs(&mut self, reason: Reason, fate: Fate) {
        if fate == Fate::Needed {
            self.needed.get_or_insert(reason);
        }
    }
}

/// Renders every key of the spec whose value is at hand, and says what becomes of the others.
#[must_use]
pub(super) fn render(picture: &Picture<'_>) -> Rendered {
    let mut rendered = Rendered { complete: true, ..Rendered::default() };
    let mut gone: BTreeSet<usize> = BTreeSet::new();
    let mut staying: BTreeSet<usize> = BTreeSet::new();
    for key in &picture.keys {
        let goes = render_key(picture, key, &mut rendered);
        if goes { &mut gone } else { &mut staying }.insert(key.row);
    }
    let of_data: BTreeSet<&str> = picture.keys.iter().map(|key| key.item.key.as_str()).collect();
    let mut given: BTreeMap<String, (&WantedObject<'_>, KeyBytes, Fingerprint)> = BTreeMap::new();
    let mut doubled: BTreeSet<String> = BTreeSet::new();
    for object in &picture.objects {
        let members = match render_object(picture, object, &mut rendered) {
            Ok(members) => members,
            Err(fate) => {
                if fate == Fate::Goes { &mut gone } else { &mut staying }.insert(object.row);
                continue;
            }
        };
        staying.insert(object.row);
        for (name, bytes) in members {
            if of_data.contains(name.as_str()) {
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
    for (name, (_, bytes, of)) in given {
        if doubled.contains(&name) {
            rendered.keep.insert(name);
        } else {
            rendered.set.insert(name, (bytes, of));
        }
    }
    rendered.missing = gone.difference(&staying).copied().collect();
    rendered
}

/// Renders a key of `data`; returns whether it is to go.
fn render_key(picture: &Picture<'_>, key: &WantedKey<'_>, rendered: &mut Rendered) -> bool {
    let value = picture.rows.get(key.row).and_then(Row::value);
    let reason = match (value.map(|reading| bytes_of(key.item, reading.value.expose())), key.of) {
        (Some(Ok(bytes)), Some(of)) => {
            rendered.set.insert(key.item.key.clone(), (bytes, of));
            return false;
        }
        (Some(Err(reason)), of) => {
            rendered.judged.extend(of.map(|of| (of, reason)));
            Some(reason)
        }
        (Some(Ok(_)) | None, _) => picture.trouble_of_key(key),
    };
    let name = key.item.key.clone();
    let Some(reason) = reason else {
        rendered.keep.insert(name);
        return false;
    };
    match key.fate(reason) {
        Fate::Goes => {
            rendered.remove.insert(name);
            true
        }
        fate @ (Fate::Needed | Fate::Stays) => {
            if key.is_kept_by_type(reason) {
                rendered.kept_by_type.get_or_insert_with(|| name.clone());
            }
            rendered.keep.insert(name);
            rendered.problem(key.row, reason, fate);
            false
        }
    }
}

/// The keys that a `dataFrom` source gives. Where it gives none that is noted in `rendered`, and the error is what becomes
/// of those it gave.
fn render_object(
    picture: &Picture<'_>,
    object: &WantedObject<'_>,
    rendered: &mut Rendered,
) -> Result<Vec<(String, KeyBytes)>, Fate> {
    let Some(reading) = picture.rows.get(object.row).and_then(Row::value) else {
        let Some(reason) = picture.trouble_of_object(object) else {
            rendered.complete = false;
            return Err(Fate::Stays);
        };
        let fate = object.fate(reason);
        match fate {
            Fate::Goes => {}
            Fate::Needed | Fate::Stays => {
                rendered.complete = false;
                rendered.problem(object.row, reason, fate);
            }
        }
        return Err(fate);
    };
    let members = members_of(object.item.secret.format, reading.value.expose());
    let renaming = Renaming::of(&object.item.rename).map_err(|_| Reason::InvalidSpec);
    let (members, renaming) = match members.and_then(|members| Ok((members, renaming?))) {
        Ok(both) => both,
        Err(reason) => {
            let fate = object.fate(reason);
            rendered.complete = false;
            rendered.problem(object.row, reason, fate);
            rendered.judged.extend(object.of.map(|of| (of, reason)));
            return Err(fate);
        }
    };
    rendered.objects.extend(object.of);
    let mut keys = Vec::with_capacity(members.len());
    for (name, text) in members {
        let name = renaming.key(name);
        if valid_key(&name) {
            keys.push((name, KeyBytes::new(text.as_bytes().to_vec())));
        } else {
            rendered.problem(object.row, Reason::InvalidKey, object.fate(Reason::InvalidKey));
        }
    }
    Ok(keys)
}

/// Whether the API server takes this as a key of a Secret.
fn valid_key(key: &str) -> bool {
    (1..=253).contains(&key.len())
        && key != "."
        && !key.starts_with("..")
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_bytes_never_print_themselves() {
        assert_eq!(format!("{:?}", KeyBytes::new(b"canary".to_vec())), "[redacted]");
    }

    #[test]
    fn keys_are_what_the_api_server_takes() {
        for good in ["DATABASE_URL", "tls.crt", ".dockerconfigjson", "a-b"] {
            assert!(valid_key(good), "{good}");
        }
        for bad in ["", ".", "..", "..data", "$patch", "$setElementOrder/data", "a b", "ä", "a/b"] {
            assert!(!valid_key(bad), "{bad}");
        }
    }
}
