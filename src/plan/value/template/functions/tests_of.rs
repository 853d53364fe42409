//! What can be asked after `is`.

use super::super::call::{Call, Function, TypeOfValue};
use super::super::fault::What;
use minijinja::Value;

pub(super) const TESTS: &[Function] = &[
    test("defined", 0, |call| Ok(Value::from(call.value(0).is_ok()))),
    test("undefined", 0, |call| Ok(Value::from(call.value(0).is_err()))),
    test("none", 0, |call| Ok(Value::from(call.value(0)?.is_none()))),
    test("startingwith", 1, |call| Ok(Value::from(call.text(0)?.starts_with(call.text(1)?.as_ref())))),
    test("endingwith", 1, |call| Ok(Value::from(call.text(0)?.ends_with(call.text(1)?.as_ref())))),
    Function { pattern: true, ..test("matching", 1, matching) },
];

const fn test(name: &'static str, arguments: usize, run: fn(&Call<'_>) -> Result<Value, What>) -> Function {
    let arguments = (arguments, arguments);
    Function { name, arguments, takes: TypeOfValue::Tree, gives: TypeOfValue::Scalar, pattern: false, run }
}

fn matching(call: &Call<'_>) -> Result<Value, What> {
    Ok(Value::from(call.pattern()?.is_match(&call.text(0)?)))
}
