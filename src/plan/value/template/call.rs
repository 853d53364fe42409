//! A call of a filter, a test or a function: what it is given, and what it may make of it.

use super::LONGEST_TEXT;
use super::context::{Binary, Misused, value_of, written};
use super::fault::What;
use minijinja::Value;
use minijinja::value::ValueKind;
use regex::{Regex, RegexBuilder};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What a function gives, as far as it can be said before it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TypeOfValue {
    /// A text, bytes, a number, a boolean or null.
    Scalar,
    /// Or a list or a map that was read from a text, so that it is no larger than one.
    Tree,
    /// A list or a map that is written in the template, out of values of any kind.
    Literal,
    /// All the values.
    All,
}

/// A filter, a test or a function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    /// How many arguments it has at least and at most, without the value before the `|`.
    pub(super) arguments: (usize, usize),
    /// The largest kind that may stand before the `|`.
    pub(super) takes: TypeOfValue,
    pub(super) gives: TypeOfValue,
    /// Whether its first argument is a regular expression.
    pub(super) pattern: bool,
    pub(super) run: fn(&Call<'_>) -> Result<Value, What>,
}

/// No regular expression takes more memory.
const LARGEST_PATTERN: usize = 256 * 1024;

/// The regular expressions of a template, by their text.
#[derive(Debug, Default)]
pub(super) struct Patterns(BTreeMap<String, OnceLock<Option<Regex>>>);

impl Patterns {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds one that is made when it is first used: a template is read at every round and rendered at few.
    pub(super) fn add(&mut self, text: &str) {
        self.0.insert(text.to_owned(), OnceLock::new());
    }

    fn of(&self, text: &str) -> Option<&Regex> {
        let make = || {
            let mut builder = RegexBuilder::new(text);
            builder.size_limit(LARGEST_PATTERN).dfa_size_limit(LARGEST_PATTERN).build().ok()
        };
        self.0.get(text)?.get_or_init(make).as_ref()
    }
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) name: &'static str,
    pub(super) values: &'a [Value],
    pub(super) patterns: &'a Patterns,
    pub(super) misused: &'a Misused,
}

impl Call<'_> {
    /// The value of a place; the first is the one before the `|`.
    pub(super) fn value(&self, place: usize) -> Result<&Value, What> {
        let value = self.values.get(place).ok_or(What::Kind(self.name))?;
        if value.is_undefined() { Err(What::Undefined) } else { Ok(value) }
    }

    /// The value of a place, if there is one.
    pub(super) fn given(&self, place: usize) -> bool {
        self.values.len() > place
    }

    /// A text, or a number or a boolean as it is written.
    pub(super) fn text(&self, place: usize) -> Result<Cow<'_, str>, What> {
        written(self.value(place)?).map_err(|what| what.unwrap_or(What::Kind(self.name)))
    }

    /// The bytes of a text, or bytes that are none.
    pub(super) fn bytes(&self, place: usize) -> Result<Cow<'_, [u8]>, What> {
        if let Some(binary) = self.value(place)?.downcast_object_ref::<Binary>() {
            return Ok(Cow::Borrowed(binary.bytes()));
        }
        Ok(match self.text(place)? {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }

    /// A small number.
    pub(super) fn number(&self, place: usize) -> Result<usize, What> {
        self.value(place)?.as_usize().filter(|_| self.is_number(place)).ok_or(What::Kind(self.name))
    }

    fn is_number(&self, place: usize) -> bool {
        self.values.get(place).is_some_and(Value::is_integer)
    }

    /// Whether an argument that may be left out is `true`.
    pub(super) fn flag(&self, place: usize) -> Result<bool, What> {
        match self.values.get(place) {
            None => Ok(false),
            Some(value) if value.kind() == ValueKind::Bool => Ok(value.is_true()),
            Some(_) => Err(What::Kind(self.name)),
        }
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Result<impl Iterator<Item = Value> + use<'_>, What> {
        let value = self.value(0)?;
        match value.kind() {
            ValueKind::Seq => value.try_iter().map_err(|_| What::Kind(self.name)),
            _ => Err(What::Kind(self.name)),
        }
    }

    /// The regular expression of the first argument.
    pub(super) fn pattern(&self) -> Result<&Regex, What> {
        self.patterns.of(self.text(1)?.as_ref()).ok_or(What::Pattern(self.name))
    }

    /// A text, or bytes that are none, out of a decoder.
    pub(super) fn decoded(&self, bytes: Option<Vec<u8>>) -> Result<Value, What> {
        let bytes = zeroize::Zeroizing::new(bytes.ok_or(What::Unreadable(self.name))?);
        Ok(value_of(&bytes, None, self.misused))
    }
}

/// A text that grows no longer than a value may be.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn push(&mut self, part: &str) -> Result<(), What> {
        if self.0.len().saturating_add(part.len()) > LONGEST_TEXT {
            return Err(What::LongText);
        }
        self.0.push_str(part);
        Ok(())
    }

    pub(super) fn push_char(&mut self, letter: char) -> Result<(), What> {
        self.push(letter.encode_utf8(&mut [0; 4]))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn value(self) -> Value {
        Value::from(self.0)
    }
}
