//! Why a template cannot be read or rendered: a line and a sentence, never a value.
//!
//! Messages of the engine show pieces of values, and are never passed on.

use super::{LONGEST_TEMPLATE, LONGEST_TEXT};
use minijinja::{Error, ErrorKind};
use thiserror::Error as ThisError;

/// What is wrong with a template, and where.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("Line {line}: {what}")]
pub(crate) struct Fault {
    /// The line of the template, from 1.
    pub(crate) line: usize,
    /// What is wrong there.
    pub(crate) what: What,
}

/// What is wrong. The names in it are written in the template.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub(crate) enum What {
    #[error("the template is longer than {} KiB.", LONGEST_TEMPLATE / 1024)]
    LongTemplate,
    #[error(
        "there is too much between one pair of braces, or too many tags. Split it into several templates."
    )]
    ManyParts,
    #[error("this is not the syntax of a template. Look for a brace, a quote or a tag that is not closed.")]
    Syntax,
    #[error("{0} is not offered in a template.")]
    NotOffered(&'static str),
    #[error("there is no filter {0}.")]
    NoFilter(String),
    #[error("there is no test {0}.")]
    NoTest(String),
    #[error("there is no function {0}.")]
    NoFunction(String),
    #[error("{0} does not take this number of arguments.")]
    Arguments(String),
    #[error("{0} is a name of its own and cannot be given to something else.")]
    Reserved(String),
    #[error("a list or a map can only be written right before join, tojson or length, or after in.")]
    Literal,
    #[error("+ takes two texts or numbers. Write ~ to put the parts of a document one after the other.")]
    Sum,
    #[error(
        "{0} needs a regular expression in quotes that can be used, as in \"^shop-(.*)$\": no look-around, no back references, no (?i), few classes as \\w."
    )]
    Pattern(&'static str),
    #[error("there is no value {0}.")]
    Missing(String),
    #[error("something is used that is not there.")]
    Undefined,
    #[error("{0} is no UTF-8 text. Write it through b64encode or hex.")]
    Binary(String),
    #[error("a value that is no UTF-8 text is used as one. Write it through b64encode or hex.")]
    SomeBinary,
    #[error("null is written. Write default(\"...\", true) after it if it may be null.")]
    Null,
    #[error("a list or a map is written. Write it through join or tojson.")]
    Container,
    #[error("{0} does not take such a value.")]
    Kind(&'static str),
    #[error("{0} fails: the text is not what it reads.")]
    Unreadable(&'static str),
    #[error("an operator or a loop does not take such a value.")]
    Operation,
    #[error("the text becomes longer than {} KiB.", LONGEST_TEXT / 1024)]
    LongText,
    #[error("the template takes too many steps to render.")]
    Steps,
}

/// Carries [`What`] through the engine.
#[derive(Debug, ThisError)]
#[error("{0}")]
struct Carried(What);

impl From<What> for Error {
    fn from(what: What) -> Self {
        // The kind is read by nobody.
        Self::from(ErrorKind::InvalidOperation).with_source(Carried(what))
    }
}

impl Fault {
    /// What an error of the engine comes down to; of its own text nothing is taken.
    pub(super) fn of(error: &Error) -> Self {
        let what = carried(error).unwrap_or_else(|| match error.kind() {
            ErrorKind::SyntaxError | ErrorKind::BadEscape | ErrorKind::InvalidDelimiter => What::Syntax,
            ErrorKind::UndefinedError => What::Undefined,
            ErrorKind::OutOfFuel => What::Steps,
            // The only writer is ours, and it only fails when it is full.
            ErrorKind::WriteFailure => What::LongText,
            _ => What::Operation,
        });
        // A text that becomes too long between two tags has no line.
        Self { line: error.line().unwrap_or(1), what }
    }
}

/// Our own part of an error, if it has one.
fn carried(error: &Error) -> Option<What> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(Carried(what)) = error.downcast_ref() {
            return Some(what.clone());
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_engines_own_words_is_passed_on() {
        for kind in
            [ErrorKind::InvalidOperation, ErrorKind::SyntaxError, ErrorKind::OutOfFuel, ErrorKind::NonKey]
        {
            let inner = Error::new(kind, "CANARY");
            let fault = Fault::of(&Error::new(kind, "CANARY").with_source(inner));
            assert!(!format!("{fault} {fault:?}").contains("CANARY"));
        }
    }

    #[test]
    fn what_a_function_says_comes_out_of_the_errors_around_it() {
        let outer = Error::from(ErrorKind::EvalBlock).with_source(Error::from(What::Kind("hex")));
        assert_eq!(Fault::of(&outer).what, What::Kind("hex"));
        assert_eq!(Fault::of(&outer).to_string(), "Line 1: hex does not take such a value.");
    }
}
