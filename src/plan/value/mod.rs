//! What the text of a secret gives: the bytes of one key, or the members that become keys.
//!
//! Nothing of a text is in an error: what is wrong is a reason.

mod dotenv;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod json;
#[cfg(test)]
mod page;
mod parts;
mod public_key;
mod rename;
mod template;
mod yaml;

pub(super) use parts::{Certificates, of_certificate};
pub(super) use public_key::of_public_key;
pub(super) use rename::{Renaming, check_steps};
pub(super) use template::{Fault, Inputs, Template};

use self::json::{Absent, Json};
use super::picture::Flaw;
use super::target::KeyBytes;
use crate::api::{Decode, Format, SecretRef};
use crate::certificate::looks_like_certificate;
use crate::reason::Reason;
use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The members of a text, by name.
pub(super) type Members = BTreeMap<String, Zeroizing<String>>;

/// The bytes of a key that is a secret, or a part of one; `tls`: it is a key of a Secret of type `kubernetes.io/tls`, which
/// takes a certificate and its private key apart.
///
/// # Errors
/// Why the text gives none.
pub(super) fn of_secret(secret: &SecretRef, tls: Option<TlsKey>, text: &str) -> Result<KeyBytes, Reason> {
    let bytes = part_of(secret, text)?;
    let part = std::str::from_utf8(bytes.expose()).unwrap_or_default();
    let holds_key = tls == Some(TlsKey::Certificate) && part.contains("PRIVATE KEY-----");
    if tls.is_some() && (holds_key || looks_like_certificate(text) || looks_like_certificate(part)) {
        return Err(Reason::WholeCertificate);
    }
    Ok(bytes)
}

/// The keys of a Secret of type `kubernetes.io/tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsKey {
    /// `tls.crt`
    Certificate,
    /// `tls.key`
    PrivateKey,
}

fn part_of(secret: &SecretRef, text: &str) -> Result<KeyBytes, Reason> {
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
/// That the text is not in this format, with the line where it is not.
pub(super) fn members_of(format: Format, text: &str) -> Result<Members, Flaw> {
    match format {
        Format::Json => {
            let no_object = Flaw::Value(Reason::InvalidJson);
            let members = Json::parse(text).and_then(Json::members).ok_or_else(|| no_object.clone())?;
            let text = |(name, part): (String, Json<'_>)| Some((name, part.text()?));
            members.into_iter().map(text).collect::<Option<_>>().ok_or(no_object)
        }
        Format::Yaml => yaml::members(text).map_err(Flaw::Line),
        Format::Dotenv => dotenv::members(text).map_err(Flaw::Line),
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
        of_secret(&secret, None, text).map(|bytes| String::from_utf8_lossy(bytes.expose()).into_owned())
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
        assert_eq!(names(Format::Yaml, "\u{feff}A: 1\nB: x\nC: ~\n"), both("A", "B"));
        assert_eq!(names(Format::Dotenv, "\u{feff}A=1\r\nB=x\r\n"), both("A", "B"));
        assert_eq!(names(Format::Json, "A=1"), Err(Flaw::Value(Reason::InvalidJson)));
        for format in [Format::Yaml, Format::Dotenv] {
            assert_eq!(names(format, "no members"), Err(Flaw::Line(1)));
        }
    }
}
