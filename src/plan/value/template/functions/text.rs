//! Filters that cut, join and change texts and lists.

use super::super::call::{Call, Function, Text, TypeOfValue};
use super::super::context::Binary;
use super::super::fault::What;
use minijinja::Value;
use minijinja::value::ValueKind;

/// A text that is split, or read as JSON, has at most this many parts.
pub(super) const MOST_PARTS: usize = 4096;
/// The widest indent.
const WIDEST: usize = 64;
/// A text that is longer is not matched against a regular expression.
const LONGEST_MATCHED: usize = 8 * 1024;

pub(super) const FILTERS: &[Function] = &[
    filter("default", (1, 2), TypeOfValue::Tree, default),
    Function { takes: TypeOfValue::Literal, ..filter("join", (0, 1), TypeOfValue::Scalar, join) },
    Function { takes: TypeOfValue::All, ..filter("length", (0, 0), TypeOfValue::Scalar, length) },
    Function { takes: TypeOfValue::All, ..filter("items", (0, 0), TypeOfValue::Tree, items) },
    filter("first", (0, 0), TypeOfValue::Tree, first),
    filter("last", (0, 0), TypeOfValue::Tree, last),
    filter("split", (1, 1), TypeOfValue::Tree, split),
    filter("lines", (0, 0), TypeOfValue::Tree, lines),
    filter("trim", (0, 1), TypeOfValue::Scalar, trim),
    filter("removeprefix", (1, 1), TypeOfValue::Scalar, removeprefix),
    filter("removesuffix", (1, 1), TypeOfValue::Scalar, removesuffix),
    filter("replace", (2, 2), TypeOfValue::Scalar, replace),
    Function { pattern: true, ..filter("regex_replace", (2, 2), TypeOfValue::Scalar, regex_replace) },
    filter("upper", (0, 0), TypeOfValue::Scalar, upper),
    filter("lower", (0, 0), TypeOfValue::Scalar, lower),
    filter("indent", (1, 2), TypeOfValue::Scalar, indent),
    filter("string", (0, 0), TypeOfValue::Scalar, string),
    filter("int", (0, 0), TypeOfValue::Scalar, int),
];

/// A filter of texts, numbers and what is read from them.
pub(super) const fn filter(
    name: &'static str,
    arguments: (usize, usize),
    gives: TypeOfValue,
    run: fn(&Call<'_>) -> Result<Value, What>,
) -> Function {
    Function { name, arguments, takes: TypeOfValue::Tree, gives, pattern: false, run }
}

fn default(call: &Call<'_>) -> Result<Value, What> {
    let empty = |value: &Value| value.is_none() || value.as_str() == Some("");
    let replaced = match call.value(0) {
        Ok(value) => call.flag(2)? && empty(value),
        Err(_) => true,
    };
    call.value(usize::from(replaced)).cloned()
}

fn join(call: &Call<'_>) -> Result<Value, What> {
    let separator = if call.given(1) { call.text(1)? } else { "".into() };
    let mut text = Text::default();
    for (index, item) in call.items()?.enumerate() {
        if index > 0 {
            text.push(&separator)?;
        }
        // An item is read as an argument is.
        text.push(&Call { values: &[item], ..*call }.text(0)?)?;
    }
    Ok(text.value())
}

fn length(call: &Call<'_>) -> Result<Value, What> {
    let value = call.value(0)?;
    if let Some(binary) = value.downcast_object_ref::<Binary>() {
        return Ok(Value::from(binary.bytes().len()));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Map => value.len().map(Value::from).ok_or(What::Kind(call.name)),
        _ => call.text(0).map(|text| Value::from(text.chars().count())),
    }
}

fn items(call: &Call<'_>) -> Result<Value, What> {
    let map = call.value(0)?;
    if map.kind() != ValueKind::Map {
        return Err(What::Kind(call.name));
    }
    let names = map.try_iter().map_err(|_| What::Kind(call.name))?;
    names
        .map(|name| {
            let value = map.get_item(&name).map_err(|_| What::Kind(call.name))?;
            Ok(Value::from(vec![name, value]))
        })
        .collect::<Result<Vec<_>, What>>()
        .map(Value::from)
}

fn first(call: &Call<'_>) -> Result<Value, What> {
    call.items()?.next().ok_or(What::Undefined)
}

fn last(call: &Call<'_>) -> Result<Value, What> {
    call.items()?.last().ok_or(What::Undefined)
}

fn list<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Value, What> {
    let parts: Vec<Value> = parts.take(MOST_PARTS + 1).map(Value::from).collect();
    if parts.len() > MOST_PARTS { Err(What::LongText) } else { Ok(Value::from(parts)) }
}

fn split(call: &Call<'_>) -> Result<Value, What> {
    let (text, separator) = (call.text(0)?, call.text(1)?);
    if separator.is_empty() { Err(What::Kind(call.name)) } else { list(text.split(separator.as_ref())) }
}

fn lines(call: &Call<'_>) -> Result<Value, What> {
    list(call.text(0)?.lines())
}

fn trim(call: &Call<'_>) -> Result<Value, What> {
    let text = call.text(0)?;
    if !call.given(1) {
        return Ok(Value::from(text.trim()));
    }
    let letters = call.text(1)?;
    // Every letter of the text is looked up among these.
    if letters.len() > WIDEST {
        return Err(What::Kind(call.name));
    }
    Ok(Value::from(text.trim_matches(|letter| letters.contains(letter))))
}

fn removeprefix(call: &Call<'_>) -> Result<Value, What> {
    let (text, prefix) = (call.text(0)?, call.text(1)?);
    Ok(Value::from(text.strip_prefix(prefix.as_ref()).unwrap_or(&text)))
}

fn removesuffix(call: &Call<'_>) -> Result<Value, What> {
    let (text, suffix) = (call.text(0)?, call.text(1)?);
    Ok(Value::from(text.strip_suffix(suffix.as_ref()).unwrap_or(&text)))
}

fn replace(call: &Call<'_>) -> Result<Value, What> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    if from.is_empty() {
        return Err(What::Kind(call.name));
    }
    let mut replaced = Text::default();
    for (index, part) in text.split(from.as_ref()).enumerate() {
        if index > 0 {
            replaced.push(&to)?;
        }
        replaced.push(part)?;
    }
    Ok(replaced.value())
}

fn regex_replace(call: &Call<'_>) -> Result<Value, What> {
    let (text, to) = (call.text(0)?, call.text(2)?);
    if text.len() > LONGEST_MATCHED {
        return Err(What::Kind(call.name));
    }
    let mut replaced = Text::default();
    let mut end = 0;
    for found in call.pattern()?.captures_iter(&text) {
        let Some(whole) = found.get(0) else { continue };
        replaced.push(text.get(end..whole.start()).unwrap_or_default())?;
        // A reference to a group takes two letters of `to` and stands for no more than the text.
        if to.len() > WIDEST {
            return Err(What::Kind(call.name));
        }
        let mut part = String::new();
        found.expand(&to, &mut part);
        replaced.push(&part)?;
        end = whole.end();
    }
    replaced.push(text.get(end..).unwrap_or_default())?;
    Ok(replaced.value())
}

fn upper(call: &Call<'_>) -> Result<Value, What> {
    Ok(Value::from(call.text(0)?.to_uppercase()))
}

fn lower(call: &Call<'_>) -> Result<Value, What> {
    Ok(Value::from(call.text(0)?.to_lowercase()))
}

fn indent(call: &Call<'_>) -> Result<Value, What> {
    let (text, width, first) = (call.text(0)?, call.number(1)?, call.flag(2)?);
    if width > WIDEST {
        return Err(What::Kind(call.name));
    }
    let margin = " ".repeat(width);
    let mut indented = Text::default();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        // A line with nothing in it stays so.
        if (index > 0 || first) && !line.trim_end_matches(['\r', '\n']).is_empty() {
            indented.push(&margin)?;
        }
        indented.push(line)?;
    }
    Ok(indented.value())
}

fn string(call: &Call<'_>) -> Result<Value, What> {
    call.text(0).map(Value::from)
}

fn int(call: &Call<'_>) -> Result<Value, What> {
    call.text(0)?.trim().parse::<i64>().map(Value::from).map_err(|_| What::Unreadable(call.name))
}

#[cfg(test)]
mod tests {
    use super::super::super::fault::What;
    use super::super::tests::through;

    #[test]
    fn texts_come_out_as_they_are_asked_for() {
        for (filter, value, expected) in [
            ("trim", " a\n", "a"),
            ("trim(\"ab\")", "abcba", "c"),
            ("removeprefix(\"b\")", "ab", "ab"),
            ("indent(2)", "a\n\nb\n", "a\n\n  b\n"),
            ("indent(2, true)", "a\r\n\r\nb", "  a\r\n\r\n  b"),
            ("regex_replace(\"(.)-(?P<b>.)\", \"${b}$1$$\")", "a-b", "ba$"),
            ("regex_replace(\"x*\", \"-\")", "ab", "-a-b-"),
            ("int + 1", " -7 ", "-6"),
            ("split(\",\") | length", "a,,b", "3"),
            ("lines | join(\"|\")", "a\r\nb\n", "a|b"),
            ("length", "é", "1"),
            ("replace(\"a\", \"aa\")", "aba", "aabaa"),
        ] {
            assert_eq!(through(filter, value).as_deref(), Ok(expected), "{filter}");
        }
        for (filter, what) in [
            ("int", What::Unreadable("int")),
            ("first", What::Kind("first")),
            ("replace(\"\", \"a\")", What::Kind("replace")),
            ("split(\"\")", What::Kind("split")),
            ("indent(65)", What::Kind("indent")),
            ("indent(-1)", What::Kind("indent")),
            ("indent(\"2\")", What::Kind("indent")),
            ("lines | upper", What::Kind("upper")),
            ("lines", What::Container),
        ] {
            assert_eq!(through(filter, "a"), Err(what), "{filter}");
        }
        assert_eq!(through("lines | first", ""), Err(What::Undefined));
    }
}
