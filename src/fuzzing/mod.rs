//! What comes from outside and is read here, as `make fuzz` and the test below throw bytes at it.
//!
//! No other build has this module. Each target gives one input to one reader, and asserts what holds for any input; what
//! holds for all readers is asserted here.

pub(crate) mod fuzzed;

use crate::plan::fuzzing as values;
use crate::vault::fuzzing as vault;
use fuzzed::Fuzzed;

/// A reader, by the name that `make fuzz TARGET=` takes.
pub const TARGETS: [(&str, FuzzTarget); 16] = [
    ("challenge", FuzzTarget(vault::challenge)),
    ("credential", FuzzTarget(vault::credential)),
    ("dotenv", FuzzTarget(values::dotenv)),
    ("json", FuzzTarget(values::json)),
    ("key", FuzzTarget(vault::key)),
    ("list", FuzzTarget(vault::list)),
    ("pem", FuzzTarget(values::pem)),
    ("pfx", FuzzTarget(values::pfx)),
    ("public_key", FuzzTarget(values::public_key)),
    ("refusal", FuzzTarget(vault::refusal)),
    ("rename", FuzzTarget(values::rename)),
    ("secret", FuzzTarget(vault::secret)),
    ("template", FuzzTarget(values::template)),
    ("token", FuzzTarget(vault::token)),
    ("versions", FuzzTarget(vault::versions)),
    ("yaml", FuzzTarget(values::yaml)),
];

/// Gives an input to a reader.
#[derive(Clone, Copy, Debug)]
pub struct FuzzTarget(fn(&[u8], &mut Fuzzed));

impl FuzzTarget {
    /// Reads an input twice.
    ///
    /// # Panics
    /// If what comes of it is not the same both times, more than it may be, or shows a value.
    pub fn run(self, input: &[u8]) {
        let read = || {
            let mut found = Fuzzed::default();
            self.0(input, &mut found);
            found
        };
        let found = read();
        assert!(found == read(), "another result of the same input");
        assert!(!found.shows_a_value(), "a value is shown");
    }
}

#[cfg(test)]
mod tests {
    use super::fuzzed::CANARY;
    use super::*;
    use std::cell::Cell;
    use std::path::Path;

    /// The inputs that fuzzing begins with, and those that once were findings.
    #[test]
    fn every_input_that_is_kept_is_read_as_any_is() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        for (name, target) in TARGETS {
            let files = std::fs::read_dir(corpus.join(name)).unwrap_or_else(|_| panic!("{name} has none"));
            for file in files {
                let input = std::fs::read(file.unwrap().path()).unwrap();
                target.run(&input);
                // Broken off, as most of what fuzzing makes of it.
                target.run(&input[..input.len() / 2]);
            }
        }
        assert_eq!(std::fs::read_dir(corpus).unwrap().count(), TARGETS.len(), "each folder is of a target");
    }

    #[test]
    #[should_panic(expected = "a value is shown")]
    fn a_reader_that_shows_a_value_is_found_out() {
        FuzzTarget(|input, found| found.said(&std::str::from_utf8(input))).run(CANARY.as_bytes());
    }

    #[test]
    #[should_panic(expected = "another result")]
    fn a_reader_that_reads_otherwise_the_second_time_is_found_out() {
        thread_local!(static TURN: Cell<u8> = const { Cell::new(0) });
        FuzzTarget(|_, found| found.said(&TURN.replace(1))).run(b"");
    }

    #[test]
    #[should_panic(expected = "2 bytes are made where 1 are the most")]
    fn a_reader_that_makes_too_much_is_found_out() {
        FuzzTarget(|input, found| found.made(input, 1)).run(b"ab");
    }
}
