//! What the members of a text are called as keys of a Secret.

use crate::api::{Case, Characters, RenameStep};
use regex::{Regex, RegexBuilder};
use std::borrow::Cow;

/// No name that is longer becomes a key, and no step makes it one: a step may write many letters for each.
const LONGEST_NAME: usize = 512;

/// A pattern that takes more than this to run is refused.
const LARGEST_PATTERN: usize = 256 * 1024;

/// The steps of `rename`, ready to be taken.
#[derive(Debug)]
pub(in crate::plan) struct Renaming<'a>(Vec<NameStep<'a>>);

#[derive(Debug)]
enum NameStep<'a> {
    Replace(Regex, &'a str),
    Case(Case),
    Characters(Characters),
}

impl<'a> Renaming<'a> {
    /// Reads the steps.
    ///
    /// # Errors
    /// A sentence that begins with the step's place.
    pub(in crate::plan) fn of(steps: &'a [RenameStep]) -> Result<Self, String> {
        let read = |(index, step): (usize, &'a RenameStep)| match step {
            RenameStep { match_: Some(pattern), to: Some(to), case: None, characters: None } => {
                let regex = RegexBuilder::new(pattern).size_limit(LARGEST_PATTERN).build();
                let regex = regex.map_err(|_| {
                    format!(
                        "[{index}].match is not a regular expression that can be used. Write one as in ^shop-(.*)$, without look-around and back references."
                    )
                })?;
                Ok(NameStep::Replace(regex, to))
            }
            RenameStep { match_: None, to: None, case: Some(case), characters: None } => {
                Ok(NameStep::Case(*case))
            }
            RenameStep { match_: None, to: None, case: None, characters: Some(characters) } => {
                Ok(NameStep::Characters(*characters))
            }
            _ => Err(format!("[{index}] must have either match and to, or case, or characters.")),
        };
        steps.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The key of a member of this name; of one that is far too long for a key the name as it is.
    pub(in crate::plan) fn key(&self, name: String) -> String {
        self.0.iter().fold(name, |name, step| match step {
            _ if name.len() > LONGEST_NAME => name,
            NameStep::Replace(regex, to) => match regex.replace_all(&name, *to) {
                Cow::Borrowed(_) => name,
                Cow::Owned(replaced) => replaced,
            },
            NameStep::Case(Case::Upper) => name.to_uppercase(),
            NameStep::Case(Case::Lower) => name.to_lowercase(),
            NameStep::Characters(Characters::Key) => replaced(&name, "-_."),
            NameStep::Characters(Characters::EnvironmentVariable) => {
                let name = replaced(&name, "_");
                if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
            }
        })
    }
}

/// The name with `_` for everything but letters, digits and these signs.
fn replaced(name: &str, signs: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || signs.contains(letter);
    name.chars().map(|letter| if fits(letter) { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(match_: &str, to: &str) -> RenameStep {
        RenameStep { match_: Some(match_.to_owned()), to: Some(to.to_owned()), case: None, characters: None }
    }

    fn case(case: Case) -> RenameStep {
        RenameStep { match_: None, to: None, case: Some(case), characters: None }
    }

    fn characters(characters: Characters) -> RenameStep {
        RenameStep { match_: None, to: None, case: None, characters: Some(characters) }
    }

    fn key(steps: &[RenameStep], name: &str) -> String {
        Renaming::of(steps).unwrap().key(name.to_owned())
    }

    #[test]
    fn steps_are_taken_in_their_order() {
        assert_eq!(key(&[], "shop-db.url"), "shop-db.url");
        assert_eq!(key(&[step("^shop-(.*)$", "$1")], "shop-db"), "db");
        assert_eq!(key(&[step("^(?P<team>[a-z]+)-", "${team}_")], "shop-db"), "shop_db");
        assert_eq!(key(&[step(":", "__")], "ConnectionStrings:Default"), "ConnectionStrings__Default");
        let env = [step("^shop-", ""), characters(Characters::EnvironmentVariable), case(Case::Upper)];
        assert_eq!(key(&env, "shop-db.url"), "DB_URL");
        assert_eq!(key(&env, "2fa"), "_2FA");
        assert_eq!(key(&[characters(Characters::Key)], "a b/c.d-e"), "a_b_c.d-e");
        assert_eq!(key(&[case(Case::Lower)], "ÄB"), "äb");
        // What does not match stays.
        assert_eq!(key(&[step("^web-", "")], "shop-db"), "shop-db");
    }

    #[test]
    fn a_name_does_not_grow_without_end() {
        let steps = vec![step("", &"x".repeat(253)); 8];
        assert!(key(&steps, &"a".repeat(253)).len() <= (LONGEST_NAME + 1) * 254);
        let long = "a".repeat(LONGEST_NAME + 1);
        assert_eq!(key(&steps, &long), long);
    }

    #[test]
    fn a_step_that_cannot_be_taken_gets_a_sentence() {
        let wrong = |steps: &[RenameStep]| Renaming::of(steps).unwrap_err();
        for pattern in ["(", "(?=look)", r"(a)\1", "(a{1000}){1000}"] {
            let sentence = wrong(&[case(Case::Upper), step(pattern, "")]);
            assert!(sentence.starts_with("[1].match is not a regular expression"), "{sentence}");
        }
        let both = RenameStep { case: Some(Case::Upper), ..step("a", "b") };
        let half = RenameStep { to: None, ..step("a", "b") };
        for step in [both, half] {
            assert!(wrong(&[step]).contains("either match and to, or case, or characters"));
        }
    }
}
