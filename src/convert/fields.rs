//! An object of another tool, read field by field. What nobody has read is noted when the reader is dropped, so that no
//! field is passed over in silence.

use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

/// What has no equal, or another one, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The object that was read: its kind, and its namespace and name.
    pub subject: String,
    /// The path of the field; empty where the note is about the object as a whole.
    pub field: String,
    /// A sentence, or two.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, field, text } = self;
        if field.is_empty() {
            write!(f, "{subject}: {text}")
        } else {
            write!(f, "{subject}: {field}: {text}")
        }
    }
}

/// The notes on one object, in the order in which they were made.
#[derive(Debug)]
pub(super) struct Notes {
    subject: String,
    made: RefCell<Vec<Note>>,
}

impl Notes {
    pub(super) fn on(subject: String) -> Self {
        Self { subject, made: RefCell::default() }
    }

    pub(super) fn add(&self, field: &str, text: impl Into<String>) {
        let note = Note { subject: self.subject.clone(), field: field.to_owned(), text: text.into() };
        self.made.borrow_mut().push(note);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.made.borrow().is_empty()
    }

    pub(super) fn into_all(self) -> Vec<Note> {
        self.made.into_inner()
    }
}

/// The fields of a mapping that were not read yet.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    path: String,
    left: Map<String, Value>,
    notes: &'a Notes,
}

impl<'a> Fields<'a> {
    /// The fields of a value; `None`, with a note, if it is no mapping.
    pub(super) fn of(path: &str, value: Value, notes: &'a Notes) -> Option<Self> {
        match value {
            Value::Object(left) => Some(Self { path: path.to_owned(), left, notes }),
            Value::Null => None,
            _ => {
                notes.add(path, "is no mapping, so nothing of it was converted.");
                None
            }
        }
    }

    /// The path of a field.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Notes something about a field.
    pub(super) fn note(&self, name: &str, text: impl Into<String>) {
        self.notes.add(&self.at(name), text);
    }

    /// Notes something about all of it.
    pub(super) fn note_all(&self, text: impl Into<String>) {
        self.notes.add(&self.path, text);
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// Whether a field is there and not read yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(|value| !is_empty(value))
    }

    /// The text of a field; an empty one is none.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let value = self.take(name)?;
        let text = text_of(&value);
        if text.is_none() {
            self.note(name, "is no text, so it was left out.");
        }
        text.filter(|text| !text.is_empty())
    }

    /// Whether a field says true, as a boolean or as a text.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// The fields of a field.
    pub(super) fn fields(&mut self, name: &str) -> Option<Self> {
        let value = self.take(name)?;
        Self::of(&self.at(name), value, self.notes)
    }

    /// The fields of a value that stands, as a text, beneath these.
    pub(super) fn beneath(&self, name: &str, value: Value) -> Option<Self> {
        Self::of(&self.at(name), value, self.notes)
    }

    /// The fields of each item of a list.
    pub(super) fn items(&mut self, name: &str) -> Vec<Self> {
        let path = self.at(name);
        let items = self.list(name).into_iter().enumerate();
        items.filter_map(|(index, item)| Self::of(&format!("{path}[{index}]"), item, self.notes)).collect()
    }

    /// The texts of a list.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let list = self.list(name);
        let texts: Vec<String> = list.iter().filter_map(text_of).collect();
        if texts.len() < list.len() {
            self.note(name, "has items that are no texts, which were left out.");
        }
        texts
    }

    fn list(&mut self, name: &str) -> Vec<Value> {
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.note(name, "is no list, so it was left out.");
                Vec::new()
            }
        }
    }

    /// A mapping of texts.
    pub(super) fn words(&mut self, name: &str) -> BTreeMap<String, String> {
        let Some(mut fields) = self.fields(name) else { return BTreeMap::new() };
        let names: Vec<String> = fields.left.keys().cloned().collect();
        // An empty text is one here.
        let word = |name: String| {
            let text = fields.left.get(&name).and_then(text_of)?;
            fields.left.remove(&name);
            Some((name, text))
        };
        names.into_iter().filter_map(word).collect()
    }

    /// Passes over a field of which everything is said.
    pub(super) fn skip(&mut self, name: &str) {
        self.left.remove(name);
    }

    /// Reads no further: what is left was noted as a whole.
    pub(super) fn leave(&mut self) {
        self.left.clear();
    }
}

impl Drop for Fields<'_> {
    fn drop(&mut self) {
        for (name, value) in std::mem::take(&mut self.left) {
            if !is_empty(&value) {
                self.note(&name, "has no equal that convert knows of, so it was left out.");
            }
        }
    }
}

/// A scalar as it is written.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a value says nothing: what an API server or a tool fills in for a field that is not set.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nobody_reads_is_noted_with_its_path() {
        let notes = Notes::on("ExternalSecret shop/db".to_owned());
        let object = json!({"read": "a", "deep": {"new": 1, "empty": ""}, "absent": null, "off": false});
        let mut fields = Fields::of("spec", object, &notes).unwrap();
        assert_eq!(fields.text("read"), Some("a".to_owned()));
        let deep = fields.fields("deep").unwrap();
        drop((deep, fields));
        let all = notes.into_all();
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(
            all[0].to_string(),
            "ExternalSecret shop/db: spec.deep.new: has no equal that convert knows of, so it was left out."
        );
    }

    #[test]
    fn a_field_of_another_kind_is_noted_and_left_out() {
        let notes = Notes::on("it".to_owned());
        let mut fields = Fields::of("", json!({"name": [], "list": "a", "fields": 1}), &notes).unwrap();
        assert_eq!((fields.text("name"), fields.items("list").len()), (None, 0));
        assert!(fields.fields("fields").is_none());
        drop(fields);
        assert_eq!(notes.into_all().len(), 3);
    }
}
