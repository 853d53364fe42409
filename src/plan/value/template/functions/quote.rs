//! Texts as they have to be written in a file of some kind, so that its reader gets them back.

use super::super::call::{Call, Function, Text, TypeOfValue};
use super::super::fault::What;
use super::text::filter;
use minijinja::Value;

pub(super) const FILTERS: &[Function] = &[
    filter("jsonstring", (0, 0), TypeOfValue::Scalar, jsonstring),
    filter("yamlstring", (0, 0), TypeOfValue::Scalar, jsonstring),
    filter("shellquote", (0, 0), TypeOfValue::Scalar, shellquote),
    filter("dotenv", (0, 0), TypeOfValue::Scalar, dotenv),
    filter("java_properties", (0, 0), TypeOfValue::Scalar, java_properties),
    filter("adonet", (0, 0), TypeOfValue::Scalar, adonet),
    filter("libpq", (0, 0), TypeOfValue::Scalar, libpq),
];

/// Writes a text between quotes for JSON, so that it is one for YAML too: what YAML does not print is escaped.
pub(super) fn push_json(text: &str, into: &mut Text) -> Result<(), What> {
    into.push("\"")?;
    for letter in text.chars() {
        match letter {
            '"' => into.push("\\\"")?,
            '\\' => into.push("\\\\")?,
            '\n' => into.push("\\n")?,
            '\r' => into.push("\\r")?,
            '\t' => into.push("\\t")?,
            '\0'..' '
            | '\u{7f}'..'\u{a0}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                into.push(&format!("\\u{:04x}", u32::from(letter)))?;
            }
            _ => into.push_char(letter)?,
        }
    }
    into.push("\"")
}

fn jsonstring(call: &Call<'_>) -> Result<Value, What> {
    let mut text = Text::default();
    push_json(&call.text(0)?, &mut text)?;
    Ok(text.value())
}

/// A text between two signs, with something else for some of its letters.
fn quoted(
    call: &Call<'_>,
    (before, after): (&str, &str),
    instead: impl Fn(char) -> Option<&'static str>,
) -> Result<Value, What> {
    let mut text = Text::default();
    text.push(before)?;
    for letter in call.text(0)?.chars() {
        match instead(letter) {
            Some(other) => text.push(other)?,
            None => text.push_char(letter)?,
        }
    }
    text.push(after)?;
    Ok(text.value())
}

fn shellquote(call: &Call<'_>) -> Result<Value, What> {
    quoted(call, ("'", "'"), |letter| (letter == '\'').then_some(r"'\''"))
}

/// Single quotes, in which everything stands for itself, unless there are some in it or line breaks, of which not every
/// reader knows.
fn dotenv(call: &Call<'_>) -> Result<Value, What> {
    if !call.text(0)?.contains(['\'', '\n', '\r']) {
        return quoted(call, ("'", "'"), |_| None);
    }
    quoted(call, ("\"", "\""), |letter| match letter {
        '"' => Some("\\\""),
        '\\' => Some("\\\\"),
        '$' => Some("\\$"),
        '\n' => Some("\\n"),
        '\r' => Some("\\r"),
        _ => None,
    })
}

/// The value of a line of a `.properties` file, in the letters that every Java reads.
fn java_properties(call: &Call<'_>) -> Result<Value, What> {
    let mut text = Text::default();
    for (index, letter) in call.text(0)?.chars().enumerate() {
        match letter {
            '\\' | '=' | ':' | '#' | '!' => {
                text.push("\\")?;
                text.push_char(letter)?;
            }
            ' ' if index == 0 => text.push("\\ ")?,
            '\n' => text.push("\\n")?,
            '\r' => text.push("\\r")?,
            '\t' => text.push("\\t")?,
            '\u{c}' => text.push("\\f")?,
            ' '..='~' => text.push_char(letter)?,
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    text.push(&format!("\\u{unit:04x}"))?;
                }
            }
        }
    }
    Ok(text.value())
}

/// A value of an ADO.NET connection string.
fn adonet(call: &Call<'_>) -> Result<Value, What> {
    quoted(call, ("\"", "\""), |letter| (letter == '"').then_some("\"\""))
}

/// A value of a libpq connection string.
fn libpq(call: &Call<'_>) -> Result<Value, What> {
    quoted(call, ("'", "'"), |letter| match letter {
        '\'' => Some("\\'"),
        '\\' => Some("\\\\"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::through;

    #[test]
    fn each_quoting_gives_what_its_reader_wants() {
        for (filter, value, expected) in [
            ("jsonstring", "a\"b\\\n\u{1}\u{7f}\u{feff}é", r#""a\"b\\\n\u0001\u007f\ufeffé""#),
            ("yamlstring", "yes", "\"yes\""),
            ("yamlstring", "", "\"\""),
            ("shellquote", "it's $HOME `x`", r"'it'\''s $HOME `x`'"),
            ("shellquote", "", "''"),
            ("dotenv", "p$ss #\"w\\", r#"'p$ss #"w\'"#),
            ("dotenv", "it's\n$1 \"a\\\r", r#""it's\n\$1 \"a\\\r""#),
            ("java_properties", "  a=b:c#!\\\t\u{e9}\u{1f600}", r"\  a\=b\:c\#\!\\\t\u00e9\ud83d\ude00"),
            ("adonet", "a;\"b'", "\"a;\"\"b'\""),
            ("libpq", r"a'b\c", r"'a\'b\\c'"),
        ] {
            assert_eq!(through(filter, value).as_deref(), Ok(expected), "{filter}");
        }
    }

    #[test]
    fn a_text_between_quotes_is_the_same_for_json() {
        let all: String = ('\0'..'\u{3000}').collect();
        let json = through("jsonstring", &all).unwrap();
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), all);
    }
}
