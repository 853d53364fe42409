//! From values of the vault to keys of a Secret: property, decoding, and JSON objects that give many keys.
//!
//! Errors here carry a reason and never a piece of a value; `serde_json` would print the value it dislikes.

use super::json::{Absent, Json};
use super::sources::UsedSource;
use super::{Input, answers, permit};
use crate::api::{DataItem, Decode, OnMissing, Reason, VaultSecretSyncSpec};
use crate::vault::{Answer, Reading};
use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use zeroize::Zeroizing;

/// The most that the API server takes in one Secret, keys and values together.
pub const MAX_SECRET_BYTES: usize = 1024 * 1024;

/// The most keys that `status.target.keys` can name.
pub(super) const MAX_KEYS: usize = 4096;

/// The bytes of one key. Cannot be printed; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBytes(Zeroizing<Vec<u8>>);

impl KeyBytes {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place that writes them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What the answers of one round make of the Secret.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    /// Keys whose bytes are known.
    pub set: BTreeMap<String, KeyBytes>,
    /// Keys of `data` that are to go, because their source is missing and the spec says so.
    pub remove: BTreeSet<String>,
    /// Keys that stay as they are: unread, or failing.
    pub keep: BTreeSet<String>,
    /// Whether every `dataFrom` source told its keys, so that keys which left can be pruned.
    pub complete: bool,
    /// Why keys keep their last value, by the source's index.
    pub problems: BTreeMap<usize, Reason>,
    /// Sources all of whose keys were removed because they are missing.
    pub missing: BTreeSet<usize>,
}

impl Rendered {
    /// Notes a problem; the first of a source stands.
    fn problem(&mut self, source: usize, reason: Reason) {
        self.problems.entry(source).or_insert(reason);
    }
}

/// Renders every key of the spec from the answers.
#[must_use]
pub(super) fn render(input: &Input<'_>) -> Rendered {
    let spec = &input.object.spec;
    let (sources, answers) = answers(input);
    let answers: Vec<Rated<'_>> =
        answers.iter().enumerate().map(|(index, answer)| rate(input, index, answer)).collect();
    let mut rendered = Rendered { complete: true, ..Rendered::default() };
    for (index, (used, answer)) in sources.iter().zip(&answers).enumerate() {
        render_data(spec, index, used, answer, &mut rendered);
    }
    let of_data: BTreeSet<&str> = spec.data.iter().map(|item| item.key.as_str()).collect();
    let mut given: BTreeMap<String, (usize, KeyBytes)> = BTreeMap::new();
    let mut doubled: BTreeSet<String> = BTreeSet::new();
    for (index, (used, answer)) in sources.iter().zip(&answers).enumerate() {
        if used.data_from.is_empty() {
            continue;
        }
        for (key, bytes) in render_object(spec, index, used, answer, &mut rendered) {
            if of_data.contains(key.as_str()) {
                continue;
            }
            if let Some((other, _)) = given.get(&key) {
                rendered.problems.entry(*other).or_insert(Reason::DuplicateKey);
                rendered.problem(index, Reason::DuplicateKey);
                doubled.insert(key);
            } else {
                given.insert(key, (index, bytes));
            }
        }
    }
    for (key, (_, bytes)) in given {
        if doubled.contains(&key) {
            rendered.keep.insert(key);
        } else {
            rendered.set.insert(key, bytes);
        }
    }
    rendered
}

/// What an answer gives for the Secret.
enum Rated<'a> {
    /// A value that the object may use.
    Value(&'a Reading),
    /// None, for a reason of the source.
    Refused(Reason),
    /// Nothing new.
    Silent,
}

/// The one place where values pass: one that the object may not use goes no further.
fn rate<'a>(input: &Input<'_>, index: usize, answer: &'a Answer) -> Rated<'a> {
    match answer {
        Answer::Read(reading) if permit(input, index).covers(reading.attributes.managed) => {
            Rated::Value(reading)
        }
        Answer::Read(_) => Rated::Refused(Reason::NotAllowed),
        Answer::Failed(failure) => Rated::Refused(failure.reason()),
        Answer::Unchanged | Answer::Pending => Rated::Silent,
    }
}

fn render_data(
    spec: &VaultSecretSyncSpec,
    index: usize,
    used: &UsedSource,
    answer: &Rated<'_>,
    rendered: &mut Rendered,
) {
    let items: Vec<&DataItem> = used.data.iter().filter_map(|&place| spec.data.get(place)).collect();
    let mut removed = 0;
    for item in &items {
        let outcome = match answer {
            Rated::Value(reading) => key_bytes(item, reading).map_err(Some),
            Rated::Refused(reason) => Err(Some(*reason)),
            Rated::Silent => Err(None),
        };
        match outcome {
            Ok(bytes) => {
                rendered.set.insert(item.key.clone(), bytes);
            }
            Err(Some(Reason::SecretNotFound | Reason::PropertyNotFound))
                if item.on_missing == OnMissing::Remove =>
            {
                rendered.remove.insert(item.key.clone());
                removed += 1;
            }
            Err(reason) => {
                rendered.keep.insert(item.key.clone());
                if let Some(reason) = reason {
                    rendered.problem(index, reason);
                }
            }
        }
    }
    if removed > 0 && removed == items.len() && used.data_from.is_empty() {
        rendered.missing.insert(index);
    }
}

/// The keys that a `dataFrom` source gives; notes in `rendered` where it gives none.
fn render_object(
    spec: &VaultSecretSyncSpec,
    index: usize,
    used: &UsedSource,
    answer: &Rated<'_>,
    rendered: &mut Rendered,
) -> Vec<(String, KeyBytes)> {
    let removes = used
        .data_from
        .iter()
        .filter_map(|&place| spec.data_from.get(place))
        .any(|item| item.on_missing == OnMissing::Remove);
    let reading = match answer {
        Rated::Value(reading) => reading,
        Rated::Refused(reason) => {
            if *reason == Reason::SecretNotFound && removes {
                rendered.missing.insert(index);
            } else {
                rendered.complete = false;
                rendered.problem(index, *reason);
            }
            return Vec::new();
        }
        Rated::Silent => {
            rendered.complete = false;
            return Vec::new();
        }
    };
    let Some(members) = Json::parse(reading.value.expose()).and_then(Json::members) else {
        rendered.complete = false;
        rendered.problem(index, Reason::InvalidJson);
        return Vec::new();
    };
    let mut keys = Vec::with_capacity(members.len());
    for (name, part) in members {
        if valid_key(&name) {
            keys.push((name, KeyBytes::new(part.text().as_bytes().to_vec())));
        } else {
            rendered.problem(index, Reason::InvalidKey);
        }
    }
    keys
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
    decode(&part.text(), secret.decode)
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
#[must_use]
pub fn valid_key(key: &str) -> bool {
    (1..=253).contains(&key.len())
        && key != "."
        && !key.starts_with("..")
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        for bad in ["", ".", "..", "..data", "a b", "ä", "a/b"] {
            assert!(!valid_key(bad), "{bad}");
        }
    }
}
