//! Encodings and digests, of texts and of bytes that are none.

use super::super::call::{Call, Function, Text, TypeOfValue};
use super::super::fault::What;
use super::text::filter;
use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{self, GeneralPurpose, GeneralPurposeConfig};
use minijinja::Value;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write as _;
use zeroize::Zeroizing;

pub(super) const FILTERS: &[Function] = &[
    filter("b64encode", (0, 0), TypeOfValue::Scalar, b64encode),
    filter("b64decode", (0, 0), TypeOfValue::Scalar, b64decode),
    filter("b64urlencode", (0, 0), TypeOfValue::Scalar, b64urlencode),
    filter("b64urldecode", (0, 0), TypeOfValue::Scalar, b64urldecode),
    filter("hex", (0, 0), TypeOfValue::Scalar, hex),
    filter("unhex", (0, 0), TypeOfValue::Scalar, unhex),
    filter("sha256", (0, 0), TypeOfValue::Scalar, sha256),
    filter("urlencode", (0, 0), TypeOfValue::Scalar, urlencode),
];

/// What RFC 3986 leaves as it is in every part of a URL.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn b64encode(call: &Call<'_>) -> Result<Value, What> {
    Ok(Value::from(general_purpose::STANDARD.encode(call.bytes(0)?)))
}

fn b64urlencode(call: &Call<'_>) -> Result<Value, What> {
    Ok(Value::from(general_purpose::URL_SAFE_NO_PAD.encode(call.bytes(0)?)))
}

/// Padded or not, with line breaks or without.
fn decode(call: &Call<'_>, alphabet: &Alphabet) -> Result<Value, What> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = call.text(0)?;
    let compact: Zeroizing<String> =
        Zeroizing::new(text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect());
    call.decoded(GeneralPurpose::new(alphabet, config).decode(compact.as_bytes()).ok())
}

fn b64decode(call: &Call<'_>) -> Result<Value, What> {
    decode(call, &STANDARD)
}

fn b64urldecode(call: &Call<'_>) -> Result<Value, What> {
    decode(call, &URL_SAFE)
}

fn digits(bytes: &[u8]) -> Result<Value, What> {
    let mut text = Text::default();
    let mut pair = String::new();
    for byte in bytes {
        pair.clear();
        // To write into a text does not fail.
        let _ = write!(pair, "{byte:02x}");
        text.push(&pair)?;
    }
    Ok(text.value())
}

fn hex(call: &Call<'_>) -> Result<Value, What> {
    digits(&call.bytes(0)?)
}

fn unhex(call: &Call<'_>) -> Result<Value, What> {
    let digit = |letter: char| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let text = call.text(0)?;
    let digits = text.chars().filter(|letter| !letter.is_ascii_whitespace()).map(digit);
    let Some(digits) = digits.collect::<Option<Vec<u8>>>().map(Zeroizing::new) else {
        return call.decoded(None);
    };
    let pairs = digits.chunks_exact(2);
    let even = pairs.remainder().is_empty();
    let byte = |pair: &[u8]| pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    call.decoded(even.then(|| pairs.map(byte).collect()))
}

fn sha256(call: &Call<'_>) -> Result<Value, What> {
    digits(ring::digest::digest(&ring::digest::SHA256, &call.bytes(0)?).as_ref())
}

fn urlencode(call: &Call<'_>) -> Result<Value, What> {
    let mut text = Text::default();
    utf8_percent_encode(&call.text(0)?, UNRESERVED).try_for_each(|part| text.push(part))?;
    Ok(text.value())
}

#[cfg(test)]
mod tests {
    use super::super::super::fault::What;
    use super::super::tests::through;

    #[test]
    fn what_is_encoded_is_decoded_again() {
        for pair in [("b64encode", "b64decode"), ("b64urlencode", "b64urldecode"), ("hex", "unhex")] {
            for value in ["", "a", "hi?>é", "a\nb"] {
                assert_eq!(
                    through(&format!("{} | {}", pair.0, pair.1), value).as_deref(),
                    Ok(value),
                    "{pair:?}"
                );
            }
        }
        assert_eq!(through("b64decode", "aGk/\naGk+\n").as_deref(), Ok("hi?hi>"));
        assert_eq!(through("unhex", "4A 4b\n").as_deref(), Ok("JK"));
    }

    #[test]
    fn what_was_not_encoded_is_said_with_the_name_of_the_filter() {
        for (name, value) in [("b64decode", "a!"), ("b64urldecode", "a+/"), ("unhex", "abc"), ("unhex", "0x")]
        {
            assert_eq!(through(name, value), Err(What::Unreadable(name)), "{name}");
        }
    }
}
