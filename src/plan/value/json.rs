//! Parts of a JSON text as they are written there: nothing is copied before it is wanted, and a number keeps every
//! digit, which it would not on its way through a float.

use jsonpath_rust::parser::model::{Segment, Selector};
use jsonpath_rust::parser::parse_json_path;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// A part of a JSON text.
#[derive(Clone, Copy)]
pub(super) struct Json<'a>(&'a RawValue);

/// Why a property is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// The text has no such part, or `null` there.
    NotFound,
    /// The path is none that the schema would take.
    BadPath,
}

impl<'a> Json<'a> {
    /// The whole text, if it is JSON. The parser's error holds pieces of the text and is dropped here.
    /// Tools of Windows begin a text with a byte order mark, which is no part of it.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).ok().map(Self)
    }

    /// The members of an object, without those that are `null`; `None` for anything else.
    pub(super) fn members(self) -> Option<BTreeMap<String, Self>> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(self.0.get()).ok()?;
        Some(
            members
                .into_iter()
                .map(|(name, part)| (name, Self(part)))
                .filter(|(_, part)| !part.is_null())
                .collect(),
        )
    }

    /// The part that a singular path (RFC 9535: names and indexes) names.
    pub(super) fn at(self, path: &str) -> Result<Self, Absent> {
        if !may_be_singular(path) {
            return Err(Absent::BadPath);
        }
        let segments = parse_json_path(path).map_err(|_| Absent::BadPath)?.segments;
        let mut part = self;
        for segment in &segments {
            part = match segment {
                Segment::Selector(Selector::Name(name)) => part.member(name),
                Segment::Selector(Selector::Index(index)) => part.element(*index),
                _ => return Err(Absent::BadPath),
            }
            .ok_or(Absent::NotFound)?;
        }
        if part.is_null() { Err(Absent::NotFound) } else { Ok(part) }
    }

    fn member(self, name: &str) -> Option<Self> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(self.0.get()).ok()?;
        members.get(name).copied().map(Self)
    }

    fn element(self, index: i64) -> Option<Self> {
        let elements: Vec<&RawValue> = serde_json::from_str(self.0.get()).ok()?;
        let from_end = usize::try_from(index.unsigned_abs()).ok()?;
        let place = if index < 0 { elements.len().checked_sub(from_end)? } else { from_end };
        elements.get(place).copied().map(Self)
    }

    fn is_null(self) -> bool {
        self.0.get() == "null"
    }

    /// A string raw, anything else as compact JSON; `None` for a string that is no text, as one with half of a surrogate
    /// pair.
    pub(super) fn text(self) -> Option<Zeroizing<String>> {
        let text = self.0.get();
        let text = if text.starts_with('"') { serde_json::from_str(text).ok()? } else { compact(text) };
        Some(Zeroizing::new(text))
    }
}

/// As long as the schema lets a path be.
const LONGEST_PATH: usize = 256;

/// Whether a path has nothing outside of quotes that a singular one cannot have. The parser would take hours for filters
/// within filters.
fn may_be_singular(path: &str) -> bool {
    let (mut quote, mut escaped) = (None, false);
    let plain = path.chars().all(|letter| {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if letter == '\\' => escaped = true,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if matches!(letter, '"' | '\'') => quote = Some(letter),
            None => return !matches!(letter, '?' | '*' | '(' | ')' | ',' | ':' | '@' | '!' | '&' | '|'),
        }
        true
    });
    plain && path.chars().count() <= LONGEST_PATH
}

/// JSON without the white space between its parts.
fn compact(text: &str) -> String {
    let mut compact = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for letter in text.chars() {
        if in_string {
            in_string = letter != '"' || escaped;
            escaped = letter == '\\' && !escaped;
        } else if letter == '"' {
            in_string = true;
        } else if letter.is_ascii_whitespace() {
            continue;
        }
        compact.push(letter);
    }
    compact
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, path: &str) -> Result<String, Absent> {
        Json::parse(text).unwrap().at(path).map(|part| part.text().unwrap().to_string())
    }

    #[test]
    fn names_and_indexes_find_their_part() {
        let text =
            r#"{"token": "t1", "hosts": ["a", "b"], "user-name": "u", "it's": {"x": [ [1] ]}, "none": null}"#;
        assert_eq!(at(text, "$.token").as_deref(), Ok("t1"));
        assert_eq!(at(text, "$.hosts[1]").as_deref(), Ok("b"));
        assert_eq!(at(text, "$.hosts[-2]").as_deref(), Ok("a"));
        assert_eq!(at(text, "$['user-name']").as_deref(), Ok("u"));
        assert_eq!(at(text, r#"$["it's"].x[0][0]"#).as_deref(), Ok("1"));
        for absent in ["$.none", "$.other", "$.hosts[2]", "$.hosts[-3]", "$.token.x", "$.token[0]"] {
            assert_eq!(at(text, absent), Err(Absent::NotFound), "{absent}");
        }
        for bad in ["$..token", "$.*", "$[?@.x]", "token"] {
            assert_eq!(at(text, bad), Err(Absent::BadPath), "{bad}");
        }
    }

    #[test]
    fn a_path_with_filters_within_filters_is_refused_before_the_parser_tries_them() {
        let filters = "[?match(@..a[?match(@,n  (!  ".repeat(8);
        for path in [format!("$.a{filters}"), format!("${}", ".a".repeat(200)), format!("$['a'{filters}")] {
            assert_eq!(at(r#"{"a": 1}"#, &path), Err(Absent::BadPath));
        }
        assert_eq!(at(r#"{"a?(@)*,:": "t"}"#, "$['a?(@)*,:']").as_deref(), Ok("t"));
    }

    #[test]
    fn a_number_keeps_every_digit_and_an_object_its_strings() {
        let text =
            r#"{"big": 123456789012345678901234567890, "price": 1.10, "all": { "a b" : [ 1.0, "x \" y" ] }}"#;
        assert_eq!(at(text, "$.big").as_deref(), Ok("123456789012345678901234567890"));
        assert_eq!(at(text, "$.price").as_deref(), Ok("1.10"));
        assert_eq!(at(text, "$.all").as_deref(), Ok(r#"{"a b":[1.0,"x \" y"]}"#));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_text_and_half_a_surrogate_pair_no_text() {
        assert_eq!(at("\u{feff}{\"token\": \"t1\"}", "$.token").as_deref(), Ok("t1"));
        let half = Json::parse(r#"{"token": "a\ud800b"}"#).unwrap().at("$.token").unwrap();
        assert!(half.text().is_none());
        assert_eq!(at(r#"{"token": "\ud83d\ude00"}"#, "$.token").as_deref(), Ok("\u{1f600}"));
    }

    #[test]
    fn what_is_no_json_has_no_parts() {
        assert!(Json::parse("plain").is_none());
        assert!(Json::parse(r#"{"a": 1} trailing"#).is_none());
        assert!(Json::parse("[1]").unwrap().members().is_none());
        assert_eq!(Json::parse(r#"{"a": 1, "b": null}"#).unwrap().members().unwrap().len(), 1);
    }
}
