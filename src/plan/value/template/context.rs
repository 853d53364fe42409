//! The values that a template sees.

use super::fault::What;
use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use zeroize::Zeroizing;

/// The name of the map of all values.
pub(super) const DATA: &str = "data";

/// The values of one rendering, by name.
///
/// The engine keeps texts in memory of its own that cannot be wiped: copies of values stay in freed memory until something
/// else is written over them.
pub(super) struct Data {
    values: BTreeMap<String, Value>,
    /// Names of which the template says what is to be done without them.
    optional: BTreeSet<String>,
    /// Names that stand in the template; any other is made of values and is not shown.
    written: BTreeSet<String>,
    misused: Misused,
}

/// Whether bytes that are no text were used as one, where the engine has no way to fail.
#[derive(Clone, Default)]
pub(super) struct Misused(Arc<AtomicBool>);

impl Misused {
    pub(super) fn check(&self) -> Result<(), What> {
        if self.0.load(Ordering::Relaxed) { Err(What::SomeBinary) } else { Ok(()) }
    }
}

/// Bytes that are no UTF-8 text.
pub(super) struct Binary {
    bytes: Zeroizing<Vec<u8>>,
    name: Option<String>,
    misused: Misused,
}

impl Binary {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// That it was used as a text.
    pub(super) fn as_fault(&self) -> What {
        self.name.clone().map_or(What::SomeBinary, What::Binary)
    }
}

/// The value of bytes: a text if they are one.
pub(super) fn value_of(bytes: &[u8], name: Option<&str>, misused: &Misused) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => Value::from_object(Binary {
            bytes: Zeroizing::new(bytes.to_vec()),
            name: name.map(str::to_owned),
            misused: misused.clone(),
        }),
    }
}

/// A number of a JSON text that no number of the engine is written like, as in `1.10`.
pub(super) struct Digits(pub(super) String);

impl Data {
    pub(super) fn new(
        from: &BTreeMap<String, Zeroizing<Vec<u8>>>,
        uses: impl Fn(&str) -> bool,
        optional: BTreeSet<String>,
        written: BTreeSet<String>,
    ) -> Self {
        let misused = Misused::default();
        let chosen = from.iter().filter(|(name, _)| uses(name));
        let values =
            chosen.map(|(name, bytes)| (name.clone(), value_of(bytes, Some(name), &misused))).collect();
        Self { values, optional, written, misused }
    }

    pub(super) fn misused(&self) -> &Misused {
        &self.misused
    }

    /// The one name that the template may do without and that is not there.
    pub(super) fn only_missing(&self) -> Option<&str> {
        let asked = self.optional.intersection(&self.written);
        let mut missing = asked.filter(|name| !self.values.contains_key(*name));
        missing.next().filter(|_| missing.next().is_none()).map(String::as_str)
    }

    /// Absent only where the template may do without it: everything else is an error at once, so that nothing that is missing
    /// ever goes on as an empty text.
    fn get(&self, name: &str) -> Option<Value> {
        let missing = || {
            let shown = self.written.contains(name);
            let what = if shown { What::Missing(name.to_owned()) } else { What::Undefined };
            (!self.optional.contains(name)).then(|| Value::from(minijinja::Error::from(what)))
        };
        self.values.get(name).cloned().or_else(missing)
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Object for Data {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key.as_str()?)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.values.keys().map(Value::from).collect())
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// What plain names stand for: the values, and `data` for all of them.
pub(super) struct ValueNames {
    data: Arc<Data>,
    functions: &'static [&'static str],
}

impl ValueNames {
    pub(super) fn new(data: Arc<Data>, functions: &'static [&'static str]) -> Self {
        Self { data, functions }
    }
}

impl fmt::Debug for ValueNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Object for ValueNames {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            DATA => Some(Value::from_dyn_object(self.data.clone())),
            name if self.functions.contains(&name) => None,
            name => self.data.get(name),
        }
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Object for Digits {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Object for Binary {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    // The operators that make a text of any value cannot fail here: an error of Display is a panic.
    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.misused.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// A text, or a number or a boolean as it is written.
///
/// # Errors
/// What is wrong with bytes that are no text; `None` of anything else.
pub(super) fn written(value: &Value) -> Result<Cow<'_, str>, Option<What>> {
    if let Some(text) = value.as_str() {
        return Ok(Cow::Borrowed(text));
    }
    if let Some(Digits(digits)) = value.downcast_object_ref() {
        return Ok(Cow::Borrowed(digits));
    }
    match value.kind() {
        ValueKind::Number => Ok(Cow::Owned(value.to_string())),
        // The engine writes them as Python does.
        ValueKind::Bool => Ok(Cow::Borrowed(if value.is_true() { "true" } else { "false" })),
        _ => Err(value.downcast_object_ref().map(Binary::as_fault)),
    }
}
