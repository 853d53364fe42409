//! What an expression uses, and of which kind its value is.

use super::super::call::{Function, TypeOfValue};
use super::super::context::DATA;
use super::super::fault::{Fault, What};
use super::super::functions::{self, Sort};
use super::{Walk, fault};
use minijinja::machinery::ast::{
    BinOpKind, CallArg, CallType, CompareOpKind, Expr, Filter, Test, UnaryOpKind,
};
use minijinja::value::{Value, ValueKind};
use regex_syntax::ast::parse::Parser;

/// A regular expression that takes more than this to run is refused: a `\w` takes some 50 KiB.
const MOST_CLASSES: usize = 8;
/// How long one may be written, and how many a template may have.
const LONGEST_PATTERN: usize = 256;
const MOST_PATTERNS: usize = 8;

/// The items of a list that is written right here.
pub(super) fn written<'a, 'e>(expr: &'a Expr<'e>) -> Option<&'a [Expr<'e>]> {
    match expr {
        Expr::List(list) => Some(&list.items),
        Expr::Tuple(tuple) => Some(&tuple.items),
        _ => None,
    }
}

impl Walk {
    /// A value that gets a name, or goes into an operator.
    pub(super) fn operand(&mut self, expr: &Expr<'_>) -> Result<TypeOfValue, Fault> {
        match self.expr(expr)? {
            TypeOfValue::Literal => fault(expr, What::Literal),
            TypeOfValue::All => fault(expr, What::Reserved(DATA.to_owned())),
            kind => Ok(kind),
        }
    }

    pub(super) fn largest<'a, 'e: 'a>(
        &mut self,
        items: impl IntoIterator<Item = &'a Expr<'e>>,
    ) -> Result<TypeOfValue, Fault> {
        items.into_iter().try_fold(TypeOfValue::Scalar, |largest, item| Ok(largest.max(self.expr(item)?)))
    }

    pub(super) fn expr(&mut self, expr: &Expr<'_>) -> Result<TypeOfValue, Fault> {
        match expr {
            Expr::Var(var) => match self.local(var.id) {
                Some(kind) => Ok(kind),
                None if var.id == DATA => Ok(TypeOfValue::All),
                None if functions::is_name(var.id) => fault(expr, What::Reserved(var.id.to_owned())),
                None => {
                    self.found.names.insert(var.id.to_owned());
                    Ok(TypeOfValue::Scalar)
                }
            },
            Expr::Const(constant) => Ok(match constant.value.kind() {
                ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => TypeOfValue::Literal,
                _ => TypeOfValue::Scalar,
            }),
            Expr::List(list) => self.literal(&list.items),
            Expr::Tuple(tuple) => self.literal(&tuple.items),
            Expr::Map(map) => {
                for key in &map.keys {
                    if self.expr(key)? != TypeOfValue::Scalar {
                        return fault(key, What::Literal);
                    }
                }
                self.literal(&map.values)
            }
            Expr::Slice(slice) => {
                let parts = [Some(&slice.expr), slice.start.as_ref(), slice.stop.as_ref()];
                if slice.step.is_some() || self.largest(parts.into_iter().flatten())? != TypeOfValue::Scalar {
                    return fault(expr, What::NotOffered("A slice of anything but a text, or with a step,"));
                }
                Ok(TypeOfValue::Scalar)
            }
            Expr::UnaryOp(unary) => {
                let kind = self.operand(&unary.expr)?;
                Ok(if matches!(unary.op, UnaryOpKind::Not) { TypeOfValue::Scalar } else { kind })
            }
            Expr::BinOp(binary) => self.binary(expr, binary.op, &binary.left, &binary.right),
            Expr::Compare(compare) => {
                self.operand(&compare.expr)?;
                for next in &compare.ops {
                    match next.op {
                        CompareOpKind::In | CompareOpKind::NotIn => self.container(&next.expr)?,
                        _ => self.operand(&next.expr).map(drop)?,
                    }
                }
                Ok(TypeOfValue::Scalar)
            }
            Expr::IfExpr(choice) => {
                self.operand(&choice.test_expr)?;
                let Some(other) = &choice.false_expr else {
                    return fault(expr, What::NotOffered("An if without else between {{ and }}"));
                };
                Ok(self.operand(&choice.true_expr)?.max(self.operand(other)?))
            }
            Expr::Filter(filter) => self.filter(expr, filter),
            Expr::Test(test) => self.test(expr, test),
            Expr::GetAttr(attr) => self.member(&attr.expr, Some(attr.name)),
            Expr::GetItem(item) => match &item.subscript_expr {
                Expr::Const(constant) => self.member(&item.expr, constant.value.as_str()),
                computed => {
                    self.operand(computed)?;
                    self.member(&item.expr, None)
                }
            },
            Expr::Call(call) => match call.identify_call() {
                CallType::Function(name) if self.local(name).is_none() => {
                    let function = functions::find(Sort::Function, name);
                    let function =
                        function.map_or_else(|| fault(expr, What::NoFunction(name.to_owned())), Ok)?;
                    self.arguments(expr, function, &call.args)?;
                    Ok(function.gives)
                }
                _ => fault(expr, What::NotOffered("A method")),
            },
        }
    }

    fn filter(&mut self, expr: &Expr<'_>, filter: &Filter<'_>) -> Result<TypeOfValue, Fault> {
        let input = filter.expr.as_ref();
        let function = functions::find(Sort::Filter, filter.name);
        let function = function.map_or_else(|| fault(expr, What::NoFilter(filter.name.to_owned())), Ok)?;
        let kind = match input {
            Some(input) if function.name == "default" && self.optional(input) => TypeOfValue::Scalar,
            Some(input) => self.expr(input)?,
            None => TypeOfValue::Scalar,
        };
        // A filter that gives a list or a map may hand on a part of what it takes.
        if kind > function.takes || (kind == TypeOfValue::Literal && function.gives == TypeOfValue::Tree) {
            return fault(expr, What::Literal);
        }
        self.found.all |= kind == TypeOfValue::All;
        let others = self.arguments(expr, function, &filter.args)?;
        Ok(if function.name == "default" { kind.max(others) } else { function.gives })
    }

    fn test(&mut self, expr: &Expr<'_>, test: &Test<'_>) -> Result<TypeOfValue, Fault> {
        let function = functions::find(Sort::Test, test.name);
        let function = function.map_or_else(|| fault(expr, What::NoTest(test.name.to_owned())), Ok)?;
        let asks = matches!(function.name, "defined" | "undefined");
        if !(asks && self.optional(&test.expr)) {
            self.operand(&test.expr)?;
        }
        self.arguments(expr, function, &test.args)?;
        Ok(TypeOfValue::Scalar)
    }

    fn literal(&mut self, items: &[Expr<'_>]) -> Result<TypeOfValue, Fault> {
        for item in items {
            if self.expr(item)? == TypeOfValue::All {
                return fault(item, What::Reserved(DATA.to_owned()));
            }
        }
        Ok(TypeOfValue::Literal)
    }

    fn binary(
        &mut self,
        expr: &Expr<'_>,
        op: BinOpKind,
        left: &Expr<'_>,
        right: &Expr<'_>,
    ) -> Result<TypeOfValue, Fault> {
        let first = self.operand(left)?;
        if matches!(op, BinOpKind::In) {
            self.container(right)?;
            return Ok(TypeOfValue::Scalar);
        }
        let largest = first.max(self.operand(right)?);
        match op {
            BinOpKind::Mul => fault(expr, What::NotOffered("*")),
            BinOpKind::Pow => fault(expr, What::NotOffered("**")),
            BinOpKind::Add if largest != TypeOfValue::Scalar => fault(expr, What::Sum),
            BinOpKind::ScAnd | BinOpKind::ScOr => Ok(largest),
            _ => Ok(TypeOfValue::Scalar),
        }
    }

    /// What stands after `in`.
    fn container(&mut self, expr: &Expr<'_>) -> Result<(), Fault> {
        match written(expr) {
            Some(items) if self.largest(items)? >= TypeOfValue::Literal => fault(expr, What::Literal),
            Some(_) => Ok(()),
            None => self.operand(expr).map(drop),
        }
    }

    /// A member of something: of `data`, a value.
    fn member(&mut self, of: &Expr<'_>, name: Option<&str>) -> Result<TypeOfValue, Fault> {
        if !self.is_data(of) {
            self.operand(of)?;
            return Ok(TypeOfValue::Tree);
        }
        match name {
            Some(name) => self.found.names.extend([name.to_owned()]),
            None => self.found.all = true,
        }
        Ok(TypeOfValue::Scalar)
    }

    fn is_data(&self, expr: &Expr<'_>) -> bool {
        matches!(expr, Expr::Var(var) if var.id == DATA && self.local(DATA).is_none())
    }

    /// Whether this is a value by its name; if so, the template says what to do without it.
    fn optional(&mut self, expr: &Expr<'_>) -> bool {
        let name = match expr {
            Expr::Var(var) if var.id != DATA && !functions::is_name(var.id) => Some(var.id),
            Expr::GetAttr(attr) if self.is_data(&attr.expr) => Some(attr.name),
            Expr::GetItem(item) if self.is_data(&item.expr) => match &item.subscript_expr {
                Expr::Const(constant) => constant.value.as_str(),
                _ => None,
            },
            _ => None,
        };
        let Some(name) = name else { return false };
        let local = matches!(expr, Expr::Var(_)) && self.local(name).is_some();
        self.found.optional.insert(name.to_owned());
        if !local {
            self.found.names.insert(name.to_owned());
        }
        // Of a name that was given in the template it is known what it is.
        !local
    }

    fn arguments(
        &mut self,
        expr: &Expr<'_>,
        function: &Function,
        arguments: &[CallArg<'_>],
    ) -> Result<TypeOfValue, Fault> {
        let (least, most) = function.arguments;
        if !(least..=most).contains(&arguments.len()) {
            return fault(expr, What::Arguments(function.name.to_owned()));
        }
        let mut largest = TypeOfValue::Scalar;
        for (place, argument) in arguments.iter().enumerate() {
            let CallArg::Pos(argument) = argument else {
                return fault(expr, What::NotOffered("An argument by its name, or with * before it,"));
            };
            if function.pattern && place == 0 {
                self.pattern(argument, function.name)?;
            } else {
                largest = largest.max(self.operand(argument)?);
            }
        }
        Ok(largest)
    }

    fn pattern(&mut self, argument: &Expr<'_>, name: &'static str) -> Result<(), Fault> {
        let constant: Option<&Value> = match argument {
            Expr::Const(constant) => Some(&constant.value),
            _ => None,
        };
        let known = self.found.patterns.len();
        let text = constant.and_then(Value::as_str);
        let text = text.filter(|text| text.len() <= LONGEST_PATTERN && known < MOST_PATTERNS);
        let is_regex = |text: &&str| is_cheap(text) && Parser::new().parse(text).is_ok();
        let Some(text) = text.filter(is_regex) else { return fault(argument, What::Pattern(name)) };
        self.found.patterns.add(text);
        Ok(())
    }
}

/// Whether a regular expression takes little time to make: letters of either case, and classes that Unicode fills, take
/// milliseconds each.
fn is_cheap(text: &str) -> bool {
    let classes = text
        .as_bytes()
        .windows(2)
        .filter(|pair| matches!(pair, [b'\\', b'w' | b'W' | b'd' | b'D' | b's' | b'S' | b'p' | b'P']));
    let any_case = text.split("(?").skip(1).any(|rest| {
        let end =
            rest.find(|letter: char| !letter.is_ascii_alphabetic() && letter != '-').unwrap_or(rest.len());
        let (flags, after) = rest.split_at(end);
        flags.contains('i') && after.starts_with([':', ')'])
    });
    classes.count() <= MOST_CLASSES && !any_case
}
