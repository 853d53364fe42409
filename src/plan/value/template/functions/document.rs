//! JSON, read and written.

use super::super::call::{Call, Function, Text, TypeOfValue};
use super::super::context::{Digits, written};
use super::super::fault::What;
use super::quote::push_json;
use super::text::{MOST_PARTS, filter};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::Value;
use minijinja::value::ValueKind;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

pub(super) const FILTERS: &[Function] = &[
    Function { takes: TypeOfValue::All, ..filter("tojson", (0, 0), TypeOfValue::Scalar, tojson) },
    filter("fromjson", (0, 0), TypeOfValue::Tree, fromjson),
];

pub(super) const FUNCTIONS: &[Function] =
    &[filter("docker_config", (3, 4), TypeOfValue::Scalar, docker_config)];

/// A text that is longer is not read as JSON.
const LONGEST_JSON: usize = 64 * 1024;
/// Lists and maps in one another.
const DEEPEST: usize = 64;

fn fromjson(call: &Call<'_>) -> Result<Value, What> {
    let text = call.text(0)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if text.len() > LONGEST_JSON {
        return Err(What::LongText);
    }
    let mut left = MOST_PARTS;
    read(text, DEEPEST, &mut left).ok_or(What::Unreadable(call.name))
}

/// Reads a part; `None` if it is no JSON, or too deep or too many parts for a template.
fn read(text: &str, deep: usize, left: &mut usize) -> Option<Value> {
    *left = left.checked_sub(1)?;
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let deeper = || deep.checked_sub(1);
    match text.bytes().next()? {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            let mut map = BTreeMap::new();
            for (name, member) in members {
                map.insert(name, read(member.get(), deeper()?, left)?);
            }
            Some(Value::from(map))
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let mut list = Vec::new();
            for item in items {
                list.push(read(item.get(), deeper()?, left)?);
            }
            Some(Value::from(list))
        }
        b'"' => serde_json::from_str::<String>(text).ok().map(Value::from),
        b't' | b'f' => serde_json::from_str::<bool>(text).ok().map(Value::from),
        b'n' => serde_json::from_str::<()>(text).ok().map(Value::from),
        _ => number(text),
    }
}

/// A number, if it comes out with the same digits.
fn number(text: &str) -> Option<Value> {
    serde_json::from_str::<&RawValue>(text).ok()?;
    let whole = text.parse::<i64>().ok().map(Value::from);
    let number = whole.or_else(|| text.parse::<f64>().ok().map(Value::from));
    let same = number.filter(|number| number.to_string() == text);
    Some(same.unwrap_or_else(|| Value::from_object(Digits(text.to_owned()))))
}

fn tojson(call: &Call<'_>) -> Result<Value, What> {
    let mut text = Text::default();
    let mut left = MOST_PARTS;
    write(call, call.value(0)?, DEEPEST, &mut left, &mut text)?;
    Ok(text.value())
}

fn write(call: &Call<'_>, value: &Value, deep: usize, left: &mut usize, text: &mut Text) -> Result<(), What> {
    let wrong = || What::Kind(call.name);
    *left = left.checked_sub(1).ok_or(What::LongText)?;
    match value.kind() {
        ValueKind::None => text.push("null"),
        ValueKind::String => push_json(value.as_str().ok_or_else(wrong)?, text),
        ValueKind::Undefined => Err(What::Undefined),
        ValueKind::Seq => {
            let deep = deep.checked_sub(1).ok_or(What::LongText)?;
            text.push("[")?;
            for (index, item) in value.try_iter().map_err(|_| wrong())?.enumerate() {
                text.push(if index > 0 { "," } else { "" })?;
                write(call, &item, deep, left, text)?;
            }
            text.push("]")
        }
        ValueKind::Map => {
            let deep = deep.checked_sub(1).ok_or(What::LongText)?;
            text.push("{")?;
            for (index, name) in value.try_iter().map_err(|_| wrong())?.enumerate() {
                text.push(if index > 0 { "," } else { "" })?;
                let member = value.get_item(&name).map_err(|_| wrong())?;
                push_json(&Call { values: &[name], ..*call }.text(0)?, text)?;
                text.push(":")?;
                write(call, &member, deep, left, text)?;
            }
            text.push("}")
        }
        _ => text.push(&written(value).map_err(|what| what.unwrap_or_else(wrong))?),
    }
}

/// The text of `.dockerconfigjson` for one registry.
fn docker_config(call: &Call<'_>) -> Result<Value, What> {
    let (registry, username, password) = (call.text(0)?, call.text(1)?, call.text(2)?);
    let pair = Zeroizing::new(format!("{username}:{password}"));
    let auth = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    let mut text = Text::default();
    text.push(r#"{"auths":{"#)?;
    push_json(&registry, &mut text)?;
    text.push(r#":{"username":"#)?;
    push_json(&username, &mut text)?;
    text.push(r#","password":"#)?;
    push_json(&password, &mut text)?;
    if call.given(3) {
        text.push(r#","email":"#)?;
        push_json(&call.text(3)?, &mut text)?;
    }
    text.push(r#","auth":"#)?;
    push_json(&auth, &mut text)?;
    text.push("}}}")?;
    Ok(text.value())
}
