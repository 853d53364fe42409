//! What a template uses, and whether all that it does has a bound.
//!
//! The engine counts steps and bytes, but some operators do more work than they count: two lists that hold themselves many
//! times over take for ever to compare, or to be written as a text. So a list or a map that is written in a template never
//! gets a name; what is left are trees that were read from a text, which are no larger than it.

mod expression;

use self::expression::written;
use super::call::{Patterns, TypeOfValue};
use super::context::DATA;
use super::fault::{Fault, What};
use super::functions;
use minijinja::machinery::ast::{Expr, Set, Stmt};
use std::collections::{BTreeMap, BTreeSet};

/// What was found in a template.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The names of the values it uses.
    pub(super) names: BTreeSet<String>,
    /// Whether it uses any value there may be.
    pub(super) all: bool,
    /// Those it says what to do without.
    pub(super) optional: BTreeSet<String>,
    pub(super) patterns: Patterns,
}

/// Walks a template.
///
/// # Errors
/// The first thing that is not offered, or has a name that nothing has.
pub(super) fn check(template: &Stmt<'_>) -> Result<Findings, Fault> {
    let mut walk = Walk { found: Findings::default(), scopes: vec![Scope::new()] };
    walk.statement(template)?;
    Ok(walk.found)
}

/// The names that the template itself gives values to.
type Scope = BTreeMap<String, TypeOfValue>;

struct Walk {
    found: Findings,
    scopes: Vec<Scope>,
}

fn fault<T>(expr: &Expr<'_>, what: What) -> Result<T, Fault> {
    Err(Fault { line: usize::from(expr.span().start_line), what })
}

fn refused<T>(line: u16, what: &'static str) -> Result<T, Fault> {
    Err(Fault { line: usize::from(line), what: What::NotOffered(what) })
}

/// Gives a name in a template to what is of this kind.
fn assign(scope: &mut Scope, target: &Expr<'_>, kind: TypeOfValue) -> Result<(), Fault> {
    match target {
        Expr::Var(var) if var.id == DATA || var.id == "loop" || functions::is_name(var.id) => {
            fault(target, What::Reserved(var.id.to_owned()))
        }
        Expr::Var(var) => {
            scope.insert(var.id.to_owned(), kind);
            Ok(())
        }
        Expr::List(list) => list.items.iter().try_for_each(|item| assign(scope, item, kind)),
        Expr::Tuple(tuple) => tuple.items.iter().try_for_each(|item| assign(scope, item, kind)),
        _ => fault(target, What::NotOffered("A namespace")),
    }
}

impl Walk {
    fn local(&self, name: &str) -> Option<TypeOfValue> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name)).copied()
    }

    fn statements(&mut self, body: &[Stmt<'_>]) -> Result<(), Fault> {
        body.iter().try_for_each(|statement| self.statement(statement))
    }

    /// Statements whose names end with them.
    fn scoped(&mut self, scope: Scope, body: &[Stmt<'_>]) -> Result<(), Fault> {
        self.scopes.push(scope);
        self.statements(body)?;
        self.scopes.pop();
        Ok(())
    }

    fn statement(&mut self, statement: &Stmt<'_>) -> Result<(), Fault> {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitRaw(_) => Ok(()),
            Stmt::EmitExpr(emit) => match self.expr(&emit.expr)? {
                TypeOfValue::Scalar | TypeOfValue::Tree => Ok(()),
                TypeOfValue::Literal | TypeOfValue::All => fault(&emit.expr, What::Container),
            },
            Stmt::ForLoop(each) => {
                if each.recursive {
                    return refused(each.span().start_line, "A recursive loop");
                }
                let kind = match written(&each.iter) {
                    Some(items) => self.largest(items)?,
                    None => self.expr(&each.iter)?,
                };
                let kind = match kind {
                    TypeOfValue::Literal => return fault(&each.iter, What::Literal),
                    TypeOfValue::All => {
                        self.found.all = true;
                        TypeOfValue::Scalar
                    }
                    kind => kind,
                };
                let mut scope = Scope::from([("loop".to_owned(), TypeOfValue::Tree)]);
                assign(&mut scope, &each.target, kind)?;
                if let Some(filter) = &each.filter_expr {
                    self.scopes.push(scope.clone());
                    self.operand(filter)?;
                    self.scopes.pop();
                }
                self.scoped(scope, &each.body)?;
                self.scoped(Scope::new(), &each.else_body)
            }
            Stmt::IfCond(cond) => {
                self.operand(&cond.expr)?;
                // What is given a value in a branch keeps it afterwards.
                let before = self.scopes.clone();
                self.statements(&cond.true_body)?;
                let taken = std::mem::replace(&mut self.scopes, before);
                self.statements(&cond.false_body)?;
                for (scope, taken) in self.scopes.iter_mut().zip(taken) {
                    for (name, kind) in taken {
                        let known = scope.entry(name).or_insert(kind);
                        *known = kind.max(*known);
                    }
                }
                Ok(())
            }
            Stmt::WithBlock(with) => {
                let mut scope = Scope::new();
                for (target, value) in &with.assignments {
                    // Each may use those before it.
                    self.scopes.push(scope.clone());
                    let kind = self.operand(value)?;
                    self.scopes.pop();
                    assign(&mut scope, target, kind)?;
                }
                self.scoped(scope, &with.body)
            }
            Stmt::Set(set) => self.set(set),
            Stmt::SetBlock(set) => {
                self.scoped(Scope::new(), &set.body)?;
                let kind = set.filter.as_ref().map_or(Ok(TypeOfValue::Scalar), |filter| self.expr(filter))?;
                self.assign_here(&set.target, kind)
            }
            Stmt::FilterBlock(block) => {
                self.scoped(Scope::new(), &block.body)?;
                self.expr(&block.filter).map(drop)
            }
            Stmt::AutoEscape(block) => refused(block.span().start_line, "autoescape"),
            Stmt::Do(call) => refused(call.span().start_line, "do"),
        }
    }

    fn set(&mut self, set: &Set<'_>) -> Result<(), Fault> {
        let kind = self.operand(&set.expr)?;
        self.assign_here(&set.target, kind)
    }

    fn assign_here(&mut self, target: &Expr<'_>, kind: TypeOfValue) -> Result<(), Fault> {
        let mut scope = self.scopes.pop().unwrap_or_default();
        let assigned = assign(&mut scope, target, kind);
        self.scopes.push(scope);
        assigned
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, Template, What};

    fn refused(text: &str) -> Option<What> {
        Template::parse(text).err().map(|Fault { what, .. }| what)
    }

    #[test]
    fn what_is_written_in_a_template_never_holds_itself() {
        for text in [
            "{% set a = [A, A] %}",
            "{% set a = {\"a\": A} | items %}",
            "{% set a = [[A], A] | last %}",
            "{% set a = [A] | default(A) %}",
            "{% set a = A | default([A]) %}",
            "{% set a = [A] if A else A %}",
            "{% set a = A or [A] %}",
            "{% with a = (A, A) %}{% endwith %}",
            "{% for a in [[A, A], A] %}{% endfor %}",
            "{% for a in {\"a\": A} %}{% endfor %}",
            "{% if [A] == [A] %}{% endif %}",
            "{{ [A] ~ \"\" }}",
            "{{ A in [[A]] }}",
            "{{ {(A | lines): A} | tojson }}",
        ] {
            assert_eq!(refused(text), Some(What::Literal), "{text}");
        }
        assert_eq!(refused("{% set a = A | lines %}{% set a = a + a %}"), Some(What::Sum));
        for text in [
            "{% for a in [A, A | lines] %}{% endfor %}",
            "{% for a in (A, A) %}{% endfor %}",
            "{{ A in [A, 1] }}",
        ] {
            assert_eq!(refused(text), None, "{text}");
        }
    }

    #[test]
    fn all_values_together_are_only_taken_apart() {
        for text in [
            "{% set a = data %}",
            "{{ data == data }}",
            "{{ [data] | join }}",
            "{{ A in data }}",
            "{{ data or A }}",
        ] {
            assert_eq!(refused(text), Some(What::Reserved("data".to_owned())), "{text}");
        }
        assert_eq!(
            refused("{% for docker_config, a in A %}{% endfor %}"),
            Some(What::Reserved("docker_config".to_owned()))
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let line = |text: &str| Template::parse(text).unwrap_err().line;
        assert_eq!(line("a\n\n{{ A | upper |\n nothing }}"), 4);
        assert_eq!(line("\n{% for a in A recursive %}{% endfor %}"), 2);
        assert_eq!(line("\n\n{{ A"), 3);
    }
}
