//! What came of one input.

use std::fmt::{Debug, Write as _};

/// Stands in values of inputs, and so must stand in nothing that is said. `~` is a sign that no id, name or address has that
/// may be shown.
pub(crate) const CANARY: &str = "CANARY~7f3a";

/// What a reader made of an input, and what it said.
#[derive(Default, PartialEq)]
pub(crate) struct Fuzzed {
    made: Vec<Vec<u8>>,
    said: String,
}

impl Fuzzed {
    /// Bytes, no more than `most`.
    pub(crate) fn made(&mut self, bytes: &[u8], most: usize) {
        assert!(bytes.len() <= most, "{} bytes are made where {most} are the most", bytes.len());
        self.made.push(bytes.to_vec());
    }

    /// An error, or whatever else may go into a log.
    pub(crate) fn said(&mut self, what: &(impl Debug + ?Sized)) {
        // Writing into a text cannot fail.
        writeln!(self.said, "{what:?} {what:#?}").ok();
    }

    /// Said in the words for people.
    pub(crate) fn told(&mut self, text: &str) {
        self.said += text;
    }

    pub(crate) fn shows_a_value(&self) -> bool {
        self.said.contains(CANARY)
    }
}
