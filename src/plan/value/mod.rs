//! What the text of a secret gives: the bytes of one key, or the members that become keys.
//!
//! Nothing of a text is in an error: what is wrong is a reason.

mod dotenv;
mod json;
#[cfg(test)]
mod page;
mod rename;
mod yaml;

pub(super) use rename::Renaming;

use self::json::{Absent, Json};
use super::target::KeyBytes;
use crate::api::{DataItem, Decode, Format};
use crate::reason::Reason;
use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The members of a text, by name.
pub(super) type Members = BTreeMap<String, Zeroizing<String>>;

/// The bytes of a key of `data`.
///
/// # Errors
/// Why the text gives none.
pub(super) fn bytes_of(item: &DataItem, text: &str) -> Result<KeyBytes, Reason> {
    let secret = &item.from.secret;
    let Some(property) = &secret.property else { return decode(text, secret.decode) };
    let part = Json::parse(text).ok_or(Reason::InvalidJson)?.at(property).map_err(|absent| match absent {
        Absent::NotFound => Reason::PropertyNotFound,
        Absent::BadPath => Reason::InvalidSpec,
    })?;
    decode(&part.text().ok_or(Reason::InvalidJson)?, secret.decode)
}

/// The members of a text; those that say that there is nothing are none.
///
/// # Errors
/// That the text is not in this format.
pub(super) fn members_of(format: Format, text: &str) -> Result<Members, Reason> {
    match format {
        Format::Json => {
            let members = Json::parse(text).and_then(Json::members).ok_or(Reason::InvalidJson)?;
            let text = |(name, part): (String, Json<'_>)| Some((name, part.text()?));
            members.into_iter().map(text).collect::<Option<_>>().ok_or(Reason::InvalidJson)
        }
        Format::Yaml => yaml::members(text).ok_or(Reason::InvalidFormat),
        Format::Dotenv => dotenv::members(text).ok_or(Reason::InvalidFormat),
    }
}

/// Texts that are shorter, and are Base64 all the same, are words.
const SHORTEST_BASE64: usize = 16;

fn decode(text: &str, how: Decode) -> Result<KeyBytes, Reason> {
    let unchanged = || KeyBytes::new(text.as_bytes().to_vec());
    match how {
        Decode::None => Some(unchanged()),
        Decode::Base64 => base64(&STANDARD, text),
        Decode::Base64Url => base64(&URL_SAFE, text),
        Decode::Hex => hex(text),
        Decode::Auto => Some(canonical_base64(text).unwrap_or_else(unchanged)),
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

/// Base64 as one tool writes it for another: padded, in one line, nothing left over in its last letter.
fn canonical_base64(text: &str) -> Option<KeyBytes> {
    let long = text.len() >= SHORTEST_BASE64;
    long.then(|| base64::engine::general_purpose::STANDARD.decode(text).ok().map(KeyBytes::new)).flatten()
}

/// Pairs of hexadecimal digits of either case, with line breaks between them or not.
fn hex(text: &str) -> Option<KeyBytes> {
    let digit = |letter: char| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits = text.chars().filter(|letter| !letter.is_ascii_whitespace()).map(digit);
    let digits = Zeroizing::new(digits.collect::<Option<Vec<u8>>>()?);
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| {
        let byte = |pair: &[u8]| pair.iter().fold(0, |byte, digit| byte << 4 | digit);
        KeyBytes::new(pairs.map(byte).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{From, OnMissing, SecretRef};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_a_text_is_it_gives_no_more_than_it_is_and_the_same_each_time(
            text in "(([A-Za-z_]{1,4}[=:] ?)?[\"'#|&*$\\\\{}\\[\\], \n\ra-f0-9]{0,20}){0,12}",
        ) {
            for format in [Format::Json, Format::Yaml, Format::Dotenv] {
                let members = members_of(format, &text);
                prop_assert_eq!(&members, &members_of(format, &text));
                let size: usize = members.iter().flatten().map(|(name, text)| name.len() + text.len()).sum();
                // A backslash or a quote takes two letters in JSON, a control character six.
                prop_assert!(size <= 6 * text.len() + 16, "{} of {}", size, text.len());
            }
            for how in [Decode::None, Decode::Base64, Decode::Base64Url, Decode::Hex, Decode::Auto] {
                let decoded = decode(&text, how);
                prop_assert!(decoded.as_ref().is_ok_and(|bytes| bytes.expose().len() <= text.len()) || decoded.is_err());
                prop_assert_eq!(decoded, decode(&text, how));
            }
        }
    }

    fn rendered(text: &str, property: Option<&str>, decode: Decode) -> Result<String, Reason> {
        let property = property.map(str::to_owned);
        let secret = SecretRef { name: "shop".to_owned(), version: None, property, decode };
        let item = DataItem { key: "KEY".to_owned(), from: From { secret }, on_missing: OnMissing::Keep };
        bytes_of(&item, text).map(|bytes| String::from_utf8_lossy(bytes.expose()).into_owned())
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
        assert_eq!(rendered("not base64!", None, Decode::Base64), Err(Reason::DecodeFailed));
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs_of_either_case() {
        assert_eq!(rendered("6869", None, Decode::Hex), Ok("hi".to_owned()));
        assert_eq!(rendered("4A\n4b\n", None, Decode::Hex), Ok("JK".to_owned()));
        assert_eq!(rendered("", None, Decode::Hex), Ok(String::new()));
        for wrong in ["686", "0x6869", "6 8:69", "gg"] {
            assert_eq!(rendered(wrong, None, Decode::Hex), Err(Reason::DecodeFailed), "{wrong}");
        }
    }

    #[test]
    fn what_only_may_be_base64_is_left_as_it_is() {
        let auto = |text| rendered(text, None, Decode::Auto).unwrap();
        assert_eq!(auto("aGVsbG8gd29ybGQh"), "hello world!");
        assert_eq!(auto("aGVsbG8gd29ybGQ="), "hello world");
        for unchanged in [
            // Words, a password, a hexadecimal digest of an odd length; without padding; over two lines; of the other
            // alphabet; bits left over in the last letter.
            "password",
            "not base64!",
            "c0ffee1234567890a",
            "aGVsbG8gd29ybGQ",
            "aGVsbG8g\nd29ybGQh",
            "aGVsbG8_d29ybGQ_",
            "aGVsbG8gd29ybGR=",
            "",
        ] {
            assert_eq!(auto(unchanged), unchanged);
        }
    }

    #[test]
    fn each_format_gives_its_members_and_what_is_none_of_it_is_said() {
        let names =
            |format, text| members_of(format, text).map(|members| members.into_keys().collect::<Vec<_>>());
        let both = |name: &str, other: &str| Ok(vec![name.to_owned(), other.to_owned()]);
        assert_eq!(names(Format::Json, "\u{feff}{\"A\": 1, \"B\": \"x\", \"C\": null}"), both("A", "B"));
        assert_eq!(names(Format::Yaml, "\u{feff}A: 1\nB: x\nC:\n"), both("A", "B"));
        assert_eq!(names(Format::Dotenv, "\u{feff}A=1\r\nB=x\r\n"), both("A", "B"));
        assert_eq!(names(Format::Json, "A=1"), Err(Reason::InvalidJson));
        for format in [Format::Yaml, Format::Dotenv] {
            assert_eq!(names(format, "no members"), Err(Reason::InvalidFormat));
        }
    }
}
