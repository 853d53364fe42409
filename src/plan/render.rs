//! From values of the vault to keys of a Secret: property, decoding, and JSON objects that give many keys.
//!
//! Errors here carry a reason and never a piece of a value; `serde_json` would print the value it dislikes.

use super::json::{Absent, Json};
use super::picture::{Fate, Picture, Row, WantedKey, WantedObject};
use super::target::KeyBytes;
use crate::api::{DataItem, Decode, Fingerprint};
use crate::reason::Reason;
use crate::vault::Reading;
use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
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
    let mut given: BTreeMap<String, (&WantedObject, KeyBytes, Fingerprint)> = BTreeMap::new();
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
    let reason = match (value.map(|reading| key_bytes(key.item, reading)), key.of) {
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
    object: &WantedObject,
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
    let members = Json::parse(reading.value.expose()).and_then(Json::members);
    let texts = |members: BTreeMap<String, Json<'_>>| -> Option<Vec<_>> {
        members.into_iter().map(|(name, part)| Some((name, part.text()?))).collect()
    };
    let Some(members) = members.and_then(texts) else {
        let fate = object.fate(Reason::InvalidJson);
        rendered.complete = false;
        rendered.problem(object.row, Reason::InvalidJson, fate);
        rendered.judged.extend(object.of.map(|of| (of, Reason::InvalidJson)));
        return Err(fate);
    };
    rendered.objects.extend(object.of);
    let mut keys = Vec::with_capacity(members.len());
    for (name, text) in members {
        if valid_key(&name) {
            keys.push((name, KeyBytes::new(text.as_bytes().to_vec())));
        } else {
            rendered.problem(object.row, Reason::InvalidKey, object.fate(Reason::InvalidKey));
        }
    }
    Ok(keys)
}

fn key_bytes(item: &DataItem, reading: &Reading) -> Result<KeyBytes, Reason> {
    let secret = &item.from.secret;
    let value = reading.value.expose();
    let Some(property) = &secret.property else { return decode(value, secret.decode) };
    let part =
        Json::parse(value).ok_or(Reason::InvalidJson)?.at(property).map_err(|absent| match absent {
            Absent::NotFound => Reason::PropertyNotFound,
            Absent::BadPath => Reason::InvalidSpec,
        })?;
    decode(&part.text().ok_or(Reason::InvalidJson)?, secret.decode)
}

fn decode(text: &str, how: Decode) -> Result<KeyBytes, Reason> {
    let standard = || base64(&STANDARD, text);
    let url_safe = || base64(&URL_SAFE, text);
    match how {
        Decode::None => Some(KeyBytes::new(text.as_bytes().to_vec())),
        Decode::Base64 => standard(),
        Decode::Base64Url => url_safe(),
        Decode::Auto => {
            standard().or_else(url_safe).or_else(|| Some(KeyBytes::new(text.as_bytes().to_vec())))
        }
    }
    .ok_or(Reason::DecodeFailed)
}

/// Base64 of an alphabet, padded or not, with line breaks as `base64` prints them.
fn base64(alphabet: &Alphabet, text: &str) -> Option<KeyBytes> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let compact: Zeroizing<String> =
        Zeroizing::new(text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect());
    GeneralPurpose::new(alphabet, config).decode(compact.as_bytes()).ok().map(KeyBytes::new)
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
    use crate::api::OnMissing;
    use crate::api::{From, SecretRef};
    use crate::plan::fixtures::reading;

    fn item(property: Option<&str>, how: Decode) -> DataItem {
        let secret = SecretRef {
            name: "shop".to_owned(),
            version: None,
            property: property.map(str::to_owned),
            decode: how,
        };
        DataItem { key: "KEY".to_owned(), from: From { secret }, on_missing: OnMissing::Keep }
    }

    fn rendered(value: &str, property: Option<&str>, how: Decode) -> Result<String, Reason> {
        key_bytes(&item(property, how), &reading("v1", value))
            .map(|bytes| String::from_utf8_lossy(bytes.expose()).into_owned())
    }

    #[test]
    fn a_property_is_taken_before_it_is_decoded() {
        let json = r#"{"token": "aGk", "port": 5432, "none": null}"#;
        assert_eq!(rendered(json, Some("$.token"), Decode::Base64), Ok("hi".to_owned()));
        assert_eq!(rendered(json, Some("$.port"), Decode::None), Ok("5432".to_owned()));
        assert_eq!(rendered(json, Some("$.none"), Decode::None), Err(Reason::PropertyNotFound));
        assert_eq!(rendered(json, Some("$.*"), Decode::None), Err(Reason::InvalidSpec));
        assert_eq!(rendered("plain", Some("$.token"), Decode::None), Err(Reason::InvalidJson));
    }

    #[test]
    fn decoding_takes_both_alphabets_padded_or_not() {
        assert_eq!(rendered("aGk/aGk+", None, Decode::Base64), Ok("hi?hi>".to_owned()));
        assert_eq!(rendered("aGk_aGk-", None, Decode::Base64Url), Ok("hi?hi>".to_owned()));
        assert_eq!(rendered("aGk", None, Decode::Base64), Ok("hi".to_owned()));
        assert_eq!(rendered("aGk_aGk-", None, Decode::Auto), Ok("hi?hi>".to_owned()));
        assert_eq!(rendered("not base64!", None, Decode::Auto), Ok("not base64!".to_owned()));
        assert_eq!(rendered("not base64!", None, Decode::Base64), Err(Reason::DecodeFailed));
    }

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
