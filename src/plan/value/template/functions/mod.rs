//! The filters, tests and functions of a template. There are no others.

mod document;
mod encode;
mod pem;
mod quote;
mod tests_of;
mod text;

use super::call::Patterns;
use super::call::{Call, Function};
use super::context::{Binary, DATA, Data};
use super::fault::What;
use minijinja::value::{Rest, Value};
use minijinja::{Environment, Error, State};
use std::sync::Arc;

/// Where a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// After a `|`.
    Filter,
    /// After `is`.
    Test,
    /// Before `(`.
    Function,
}

impl Sort {
    fn tables(self) -> &'static [&'static [Function]] {
        match self {
            Self::Filter => {
                &[text::FILTERS, encode::FILTERS, quote::FILTERS, document::FILTERS, pem::FILTERS]
            }
            Self::Test => &[tests_of::TESTS],
            Self::Function => &[document::FUNCTIONS],
        }
    }
}

/// The names that stand for functions, and for no value.
pub(super) const NAMES: &[&str] = &["docker_config"];

/// Whether a name stands for a function.
pub(super) fn is_name(name: &str) -> bool {
    NAMES.contains(&name)
}

/// What a name stands for.
pub(super) fn find(sort: Sort, name: &str) -> Option<&'static Function> {
    all(sort).find(|function| function.name == name)
}

/// All there are.
pub(super) fn all(sort: Sort) -> impl Iterator<Item = &'static Function> {
    sort.tables().iter().copied().flatten()
}

/// Makes them known to the engine.
pub(super) fn add(engine: &mut Environment<'static>, patterns: Patterns) {
    let patterns = Arc::new(patterns);
    for function in all(Sort::Filter) {
        engine.add_filter(function.name, caller(function, patterns.clone()));
    }
    for function in all(Sort::Test) {
        engine.add_test(function.name, caller(function, patterns.clone()));
    }
    for function in all(Sort::Function) {
        engine.add_function(function.name, caller(function, patterns.clone()));
    }
}

fn caller(
    function: &'static Function,
    patterns: Arc<Patterns>,
) -> impl Fn(&State<'_, '_>, Rest<Value>) -> Result<Value, Error> {
    move |state, Rest(values)| {
        // The engine counts the text before the `|` and the value that comes out.
        let uncounted = |value: &Value| match value.downcast_object_ref::<Binary>() {
            Some(binary) => binary.bytes().len(),
            None => value.as_str().map_or_else(|| value.len().unwrap_or(0), str::len),
        };
        let bytes: usize = values.iter().map(uncounted).sum();
        let steps = if function.pattern { pattern_steps(bytes) } else { bytes / BYTES_OF_A_STEP };
        state.consume_fuel(u64::try_from(steps).unwrap_or(u64::MAX))?;
        let data = state.lookup(DATA);
        let data = data.as_ref().and_then(Value::downcast_object_ref::<Data>).ok_or(What::Operation)?;
        let call =
            Call { name: function.name, values: &values, patterns: &patterns, misused: data.misused() };
        Ok((function.run)(&call)?)
    }
}

/// As the engine counts.
const BYTES_OF_A_STEP: usize = 64;

/// To replace all matches may take as much work as the square of the text.
fn pattern_steps(bytes: usize) -> usize {
    let square = bytes.saturating_mul(bytes) / 4096;
    square.saturating_add(bytes / 2).saturating_add(16)
}

#[cfg(test)]
mod tests {
    use super::super::Template;
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use zeroize::Zeroizing;

    /// What becomes of a value that goes through filters.
    pub(super) fn through(filters: &str, value: &str) -> Result<String, What> {
        let data = BTreeMap::from([("A".to_owned(), Zeroizing::new(value.as_bytes().to_vec()))]);
        let template = Template::parse(&format!("{{{{ A | {filters} }}}}")).map_err(|fault| fault.what)?;
        let bytes = template.render(&data).map_err(|fault| fault.what)?;
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn each_name_stands_for_one_thing() {
        for sort in [Sort::Filter, Sort::Test, Sort::Function] {
            let names: Vec<&str> = all(sort).map(|function| function.name).collect();
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{sort:?}");
        }
        assert_eq!(all(Sort::Function).map(|function| function.name).collect::<Vec<_>>(), NAMES);
    }
}
