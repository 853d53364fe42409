//! What the members of a text are called as keys of a Secret.
//!
//! A user of the cluster writes the patterns, and a user of the vault the names they are run over: the size of a pattern
//! and the work of one source are bounded.

use super::Members;
use crate::api::{Case, Characters, RenameStep};
use regex_lite::{Captures, Error, Regex, RegexBuilder};
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// No name that is longer becomes a key, and no step makes it one: a step may write many letters for each.
const LONGEST_NAME: usize = 512;

/// A pattern that takes more memory than this is refused: some 500 states, each of which is a letter or a class that may
/// come next. `\w{1,63}` takes half of it.
const LARGEST_PATTERN: usize = 16 * 1024;

/// One that takes no more than this counts once for each letter it is run over, one of twice the size twice.
const SMALLEST_PATTERN: usize = 256;

/// Where each group begins and ends is noted for each state.
const MOST_GROUPS: usize = 10;

/// What the names of one source may take, in letters that a smallest pattern is run over.
const MOST_WORK: usize = 400_000;

/// The steps of `rename`, ready to be taken.
#[derive(Debug)]
pub(in crate::plan) struct Renaming<'a>(Vec<NameStep<'a>>);

#[derive(Debug)]
enum NameStep<'a> {
    Replace { pattern: Regex, cost: usize, to: &'a str },
    Case(Case),
    Characters(Characters),
}

impl<'a> Renaming<'a> {
    /// Makes the steps ready to be taken; `None` where one of them is none that [`check_steps`] takes.
    pub(in crate::plan) fn of(steps: &'a [RenameStep]) -> Option<Self> {
        let read = |step: &'a RenameStep| match step {
            RenameStep { match_: Some(pattern), to: Some(to), case: None, characters: None } => {
                let pattern = compiled(pattern).ok()?;
                let cost = cost(&pattern);
                Some(NameStep::Replace { pattern, cost, to })
            }
            RenameStep { match_: None, to: None, case: Some(case), characters: None } => {
                Some(NameStep::Case(*case))
            }
            RenameStep { match_: None, to: None, case: None, characters: Some(characters) } => {
                Some(NameStep::Characters(*characters))
            }
            _ => None,
        };
        steps.iter().map(read).collect::<Option<_>>().map(Self)
    }

    /// The key of one name.
    pub(in crate::plan) fn key(&self, name: &str) -> Option<String> {
        let one = Members::from([(name.to_owned(), Zeroizing::default())]);
        self.keys(one)?.into_iter().next().map(|(key, _)| key)
    }

    /// The members by their keys, in the order of their names; `None` where that takes too much. What is far too long for a
    /// key stays so.
    pub(in crate::plan) fn keys(&self, members: Members) -> Option<Vec<(String, Zeroizing<String>)>> {
        let mut work = MOST_WORK;
        members.into_iter().map(|(name, text)| Some((self.renamed(name, &mut work)?, text))).collect()
    }

    fn renamed(&self, name: String, work: &mut usize) -> Option<String> {
        self.0.iter().try_fold(name, |name, step| match step {
            _ if name.len() > LONGEST_NAME => Some(name),
            NameStep::Replace { pattern, cost, to } => replaced(&name, pattern, *cost, to, work),
            NameStep::Case(Case::Upper) => Some(name.to_uppercase()),
            NameStep::Case(Case::Lower) => Some(name.to_lowercase()),
            NameStep::Characters(Characters::Key) => Some(fitted(&name, "-_.")),
            NameStep::Characters(Characters::EnvironmentVariable) => {
                let name = fitted(&name, "_");
                let digit = name.starts_with(|first: char| first.is_ascii_digit());
                Some(if digit { format!("_{name}") } else { name })
            }
        })
    }
}

/// Reads the steps. In a pattern, classes (`\w`, `\d`, `\s`, `\b`) and `(?i)` are those of ASCII; `.` and `[^a]` take any
/// letter.
///
/// # Errors
/// A sentence that begins with the step's place.
pub(in crate::plan) fn check_steps(steps: &[RenameStep]) -> Result<(), String> {
    for (index, step) in steps.iter().enumerate() {
        match step {
            RenameStep { match_: Some(pattern), to: Some(to), case: None, characters: None } => {
                let pattern = compiled(pattern).map_err(|unfit| format!("[{index}].match {unfit}"))?;
                check_references(&pattern, to).map_err(|unfit| format!("[{index}].to {unfit}"))?;
            }
            RenameStep { match_: None, to: None, case: Some(_), characters: None }
            | RenameStep { match_: None, to: None, case: None, characters: Some(_) } => {}
            _ => return Err(format!("[{index}] must have either match and to, or case, or characters.")),
        }
    }
    Ok(())
}

/// What the crate says of a pattern that is right, but too large or too deep. It names no kinds of errors.
static TOO_MUCH: LazyLock<[Option<Error>; 2]> = LazyLock::new(|| {
    [
        RegexBuilder::new("a").size_limit(0).build().err(),
        RegexBuilder::new("((a))").nest_limit(0).build().err(),
    ]
});

/// The pattern, ready to be run; or what is wrong with it.
fn compiled(pattern: &str) -> Result<Regex, &'static str> {
    const TOO_MUCH_TO_RUN: &str =
        "takes too much to run: write it simpler, with smaller repetitions and fewer groups.";
    match RegexBuilder::new(pattern).size_limit(LARGEST_PATTERN).build() {
        Ok(regex) if regex.captures_len() <= MOST_GROUPS + 1 => Ok(regex),
        Ok(_) => Err(TOO_MUCH_TO_RUN),
        Err(error) if TOO_MUCH.iter().flatten().any(|much| *much == error) => Err(TOO_MUCH_TO_RUN),
        Err(_) => Err(
            "is not a regular expression. Write one as in ^shop-(.*)$, without look-around, back references and \\p.",
        ),
    }
}

/// What it takes at most to run this pattern over a letter: how often the smallest goes into it.
fn cost(pattern: &Regex) -> usize {
    let fits = |size: &usize| RegexBuilder::new(pattern.as_str()).size_limit(*size).build().is_ok();
    let sizes = std::iter::successors(Some(SMALLEST_PATTERN), |size| Some(2 * size));
    let size = sizes.take_while(|size| *size < LARGEST_PATTERN).find(fits).unwrap_or(LARGEST_PATTERN);
    size / SMALLEST_PATTERN
}

/// The name with `to` for every match; `None` where that takes more than is left of the `work`.
fn replaced(name: &str, pattern: &Regex, cost: usize, to: &str, work: &mut usize) -> Option<String> {
    let mut matches = pattern.captures_iter(name);
    let (mut renamed, mut end) = (String::new(), 0);
    loop {
        let rest = name.get(end..)?;
        // Where the next match is may only show at the end of the name, and every search begins anew: that is what a short
        // pattern with many matches takes.
        *work = work.checked_sub(cost * (rest.len() + 1))?;
        let found: Option<Captures<'_>> = matches.next();
        let whole = found.as_ref().and_then(|found| found.get(0));
        let (Some(found), Some(whole)) = (found.as_ref(), whole) else {
            renamed.push_str(rest);
            return Some(renamed);
        };
        renamed.push_str(name.get(end..whole.start())?);
        found.expand(to, &mut renamed);
        end = whole.end();
        if renamed.len() > LONGEST_NAME {
            return Some(renamed);
        }
    }
}

/// Looks for the groups that `to` refers to, because one that does not exist would stand for nothing.
fn check_references(pattern: &Regex, to: &str) -> Result<(), String> {
    let exists = |name: &str| match name.parse::<usize>() {
        Ok(number) => number < pattern.captures_len(),
        Err(_) => pattern.capture_names().flatten().any(|known| known == name),
    };
    let mut rest = to;
    while let Some((_, behind)) = rest.split_once('$') {
        if let Some(behind) = behind.strip_prefix('$') {
            rest = behind;
        } else if let Some(braced) = behind.strip_prefix('{') {
            let (name, behind) = braced.split_once('}').unwrap_or((braced, ""));
            rest = behind;
            if braced == name || !exists(name) {
                return Err(format!("refers to ${{{name}}}, a group that match does not have."));
            }
        } else {
            let ends = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
            let (name, behind) = behind.split_at(behind.find(ends).unwrap_or(behind.len()));
            rest = behind;
            if !name.is_empty() && !exists(name) {
                let parts = (1..name.len()).rev().filter_map(|length| name.split_at_checked(length));
                let meant = parts.into_iter().find(|(group, _)| exists(group));
                let advice = meant.map(|(group, letters)| format!(" Write ${{{group}}}{letters}."));
                let advice = advice.unwrap_or_default();
                return Err(format!("refers to ${name}, a group that match does not have.{advice}"));
            }
        }
    }
    Ok(())
}

/// The name with `_` for everything but letters, digits and these signs.
fn fitted(name: &str, signs: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || signs.contains(letter);
    name.chars().map(|letter| if fits(letter) { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Instant;

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
        check_steps(steps).unwrap();
        Renaming::of(steps).unwrap().key(name).unwrap()
    }

    fn wrong(steps: &[RenameStep]) -> String {
        check_steps(steps).unwrap_err()
    }

    /// Members of these names.
    fn named(names: impl IntoIterator<Item = String>) -> Members {
        names.into_iter().map(|name| (name, Zeroizing::new(String::new()))).collect()
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
    fn every_match_is_replaced_an_empty_one_too() {
        assert_eq!(key(&[step("x*", "-")], "abxxc"), "-a-b-c-");
        assert_eq!(key(&[step("(?<first>[a-c])", "$first$0$$${1}0")], "xb"), "xbb$b0");
        assert_eq!(key(&[step("(?:)", "ö")], "äb"), "öäöbö");
    }

    #[test]
    fn classes_and_case_are_those_of_ascii() {
        assert_eq!(key(&[step(r"\w+", "x")], "aä1"), "xäx");
        assert_eq!(key(&[step("(?i)äb", "x")], "ÄB äB"), "ÄB x");
        assert_eq!(key(&[step("[^a]", "x")], "aä"), "ax");
    }

    #[test]
    fn members_keep_their_values_under_their_keys() {
        let mut members = named(["a-1".to_owned()]);
        members.insert("b-1".to_owned(), Zeroizing::new("value".to_owned()));
        let steps = [step("-1", "")];
        let keys = Renaming::of(&steps).unwrap().keys(members).unwrap();
        let shown: Vec<_> = keys.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect();
        assert_eq!(shown, [("a", ""), ("b", "value")]);
    }

    #[test]
    fn a_name_does_not_grow_without_end() {
        let steps = vec![step("^|a", &"x".repeat(253)); 8];
        assert!(key(&steps, &"a".repeat(253)).len() <= LONGEST_NAME + 253);
        let long = "a".repeat(LONGEST_NAME + 1);
        assert_eq!(key(&steps, &long), long);
        // The whole name, a hundred times.
        let doubled = [step(".*", &"$0".repeat(126))];
        assert!(
            (LONGEST_NAME..=127 * LONGEST_NAME).contains(&key(&doubled, &"a".repeat(LONGEST_NAME)).len())
        );
    }

    #[test]
    fn a_step_that_cannot_be_taken_gets_a_sentence() {
        for pattern in ["(", "(?=look)", r"(a)\1", r"\p{L}", "[a", "a{2,1}", "*"] {
            let sentence = wrong(&[case(Case::Upper), step(pattern, "")]);
            assert!(sentence.starts_with("[1].match is not a regular expression"), "{sentence}");
        }
        let both = RenameStep { case: Some(Case::Upper), ..step("a", "b") };
        let half = RenameStep { to: None, ..step("a", "b") };
        for step in [both, half] {
            assert!(wrong(&[step]).contains("either match and to, or case, or characters"));
        }
    }

    #[test]
    fn a_pattern_that_takes_too_much_to_run_gets_a_sentence_of_its_own() {
        let deep = format!("{}a{}", "(?:".repeat(60), ")".repeat(60));
        let groups = "(a)".repeat(MOST_GROUPS + 1);
        for pattern in [
            "(a{1000}){1000}",
            "a{4000000000}",
            "(?:){4000000000}",
            "(()|()){400000}",
            "((A?){9}){99}B|A",
            &deep,
            &groups,
        ] {
            let costly = [case(Case::Upper), step(pattern, "")];
            let sentence = wrong(&costly);
            assert!(
                sentence.starts_with(
                    "[1].match takes too much to run: write it simpler, with smaller repetitions"
                ),
                "{sentence}"
            );
            assert!(Renaming::of(&costly).is_none());
        }
    }

    #[test]
    fn what_anyone_writes_is_taken() {
        let names: Vec<String> = (0..20).map(|number| format!("connection{number}")).collect();
        for pattern in [
            "^shop-(.*)$",
            "[A-Za-z0-9_-]{1,63}",
            r"\w{1,63}",
            r"(?i)^([a-z0-9-]{1,63})\.([a-z0-9-]{1,63})$",
            "^(?P<team>[a-z]+)-(?P<app>[a-z]+)-(.*)$",
            &format!("^(?:{})-", names.join("|")),
            &format!("(?i)^({})$", names.join("|")),
            &"(?i)a".replace('a', &"a".repeat(252)),
            "(1)(2)(3)(4)(5)(6)(7)(8)(9)",
        ] {
            assert_eq!(check_steps(&[step(pattern, "")]), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn a_group_that_match_does_not_have_is_named_and_the_braces_it_takes_are_shown() {
        let to = |to: &str| wrong(&[case(Case::Upper), step("^(?<team>[a-z]+)-(.*)$", to)]);
        assert_eq!(
            to("$1_URL"),
            "[1].to refers to $1_URL, a group that match does not have. Write ${1}_URL."
        );
        assert_eq!(
            to("x$team_1-y"),
            "[1].to refers to $team_1, a group that match does not have. Write ${team}_1."
        );
        for (reference, shown) in [
            ("$3", "$3"),
            ("$$$nope.x", "$nope"),
            ("a${4}b", "${4}"),
            ("${team }", "${team }"),
            ("${}", "${}"),
        ] {
            assert_eq!(to(reference), format!("[1].to refers to {shown}, a group that match does not have."));
        }
        assert!(to("${team").contains("refers to ${team"));
        for right in ["$0", "$1$2", "${1}_URL", "$team-$2", "${team}", "$$1_URL", "$", "a$-", "$$", ""] {
            assert_eq!(check_steps(&[step("^(?<team>[a-z]+)-(.*)$", right)]), Ok(()), "{right}");
        }
    }

    #[test]
    fn a_group_of_a_reference_is_the_one_that_is_written() {
        let steps = [step("(?<a>x)(y)", "[${a}|$2|${1}_z|$$|$-]")];
        assert_eq!(key(&steps, "xy"), "[x|y|x_z|$|$-]");
    }

    /// The worst that is known, each with the names it is worst over.
    fn hostile() -> Vec<(String, String, String)> {
        let texts = [
            (r"(?i)[^\w\W]".repeat(22), "", "a"),
            (r"(?i)[^\w\W]{30}".to_owned(), "", "a"),
            ("((A?){9}){9}B|A".to_owned(), "$0", "A"),
            ("(?:(?:A?){9}){9}B|A".to_owned(), "", "A"),
            ("(?:A?){120}B|A".to_owned(), "", "A"),
            ("(?:A?){155}B|A".to_owned(), "", "A"),
            ("(?:A*){80}B|A".to_owned(), "", "A"),
            ("(?:[A-Z]?){60}B|A".to_owned(), "", "A"),
            ("(?:[acegikmoqsuwyACEGIKMOQSUWY]?){20}0|".to_owned(), "", "Y"),
            (r"(?:[\w\d\s]?){40}-|\w".to_owned(), "$0", "z"),
            ("(?:.?){110}B|.".to_owned(), "", "A"),
            (".*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*B|A".to_owned(), "", "A"),
            ("(A?)(A?)(A?)(A?)(A?)(A?)(A?)(A?)(A?)(A?){60}B|A".to_owned(), "$1$2", "A"),
            ("((((((((((A?)?)?)?)?)?)?)?)?)?){10}B|".to_owned(), "$0", "A"),
            ("((((((((((A*)*)*)*)*)*)*)*)*)*){8}B|".to_owned(), "$0", "A"),
            (format!("{}B|", "(?:|||||||||A)".repeat(8)), "", "A"),
            (r"(?:\b|\B|^|$|A){60}B|A".to_owned(), "", "A"),
            (r"(?:\b{start}|\b{end}|\b{start-half}|\b{end-half}|A){40}B|A".to_owned(), "", "A"),
            ("x*".to_owned(), "$0", "A"),
            ("A".to_owned(), "$0", "A"),
            ("^".to_owned(), "$0", "A"),
            ("A*B|A".to_owned(), "$0$0$0", "A"),
            ("(?:A{100}){1,2}B|A".to_owned(), "", "A"),
            ("(?:AA?){70}B|A".to_owned(), "", "A"),
        ];
        texts.into_iter().map(|(pattern, to, letter)| (pattern, to.to_owned(), letter.to_owned())).collect()
    }

    /// Prints what the worst takes.
    #[test]
    #[ignore = "gives figures, which count in release alone"]
    fn what_passes_takes_bounded_work() {
        let mut slowest = (0.0, String::new());
        for (pattern, to, letter) in hostile() {
            let steps = vec![step(&pattern, &to); 8];
            let began = Instant::now();
            let checked = check_steps(&steps[..1]);
            let check = began.elapsed().as_secs_f64() * 1e6;
            let Some(renaming) = Renaming::of(&steps) else {
                println!("{check:7.0} us check; refused: {pattern:.40} {checked:?}");
                continue;
            };
            let NameStep::Replace { cost, .. } = &renaming.0[0] else { unreachable!() };
            for (length, count) in [(511, 3), (253, 90), (60, 400), (12, 2000), (2, 10000)] {
                let name = |number: usize| format!("{}{number}", letter.repeat(length.max(5) - 5));
                let members = named((0..count).map(name));
                let began = Instant::now();
                let done = renaming.keys(members).is_some();
                let took = began.elapsed().as_secs_f64() * 1e3;
                println!(
                    "{took:7.1} ms, {check:5.0} us check, cost {cost:2}, done {done:5} {count:5} x {length:3}: {pattern:.40}"
                );
                if took > slowest.0 {
                    slowest = (took, format!("{pattern:.40} {count} x {length}"));
                }
            }
        }
        println!("slowest: {slowest:?}");
        for ordinary in ["^shop-(.*)$", ":", "[A-Za-z0-9_-]{1,63}", r"\w{1,63}", "^(?P<team>[a-z]+)-"] {
            let steps = [step(ordinary, "")];
            let began = Instant::now();
            for _ in 0..100 {
                check_steps(&steps).unwrap();
            }
            let check = began.elapsed().as_secs_f64() * 1e4;
            let began = Instant::now();
            let renaming = Renaming::of(&steps).unwrap();
            let made = began.elapsed().as_secs_f64() * 1e6;
            let NameStep::Replace { cost, .. } = &renaming.0[0] else { unreachable!() };
            println!("{check:6.1} us check, {made:6.1} us made, cost {cost}: {ordinary}");
        }
    }

    #[test]
    fn a_source_with_many_names_is_renamed_and_one_that_takes_too_much_is_not() {
        let names = || named((0..500).map(|number| format!("ConnectionStrings:Default{number}")));
        let usual = [step(":", "__"), step("^shop-(.*)$", "$1"), step(r"^(?P<team>\w+)-(.*)$", "${team}_$2")];
        assert_eq!(Renaming::of(&usual).unwrap().keys(names()).map(|keys| keys.len()), Some(500));
        let costly = vec![step(r"(?:\w?){60}-|\w", "$0"); 8];
        assert!(check_steps(&costly).is_ok() && Renaming::of(&costly).unwrap().keys(names()).is_none());
    }

    proptest! {
        #[test]
        fn whatever_the_steps_are_no_name_grows_far_and_the_same_comes_out_each_time(
            steps in proptest::collection::vec(
                ("([ab.^$|*+?]|\\([ab]|\\)|\\[a-c]|\\{1,9\\}|\\\\w|\\(\\?i\\)){1,12}", "([ab_]|\\$[0-3a{}$_]{0,3}){0,6}"),
                1..4,
            ),
            names in proptest::collection::vec("[abAB:ä.-]{0,20}", 0..6),
        ) {
            let steps: Vec<_> = steps.iter().map(|(pattern, to)| step(pattern, to)).collect();
            let checked = check_steps(&steps);
            if checked.is_ok() {
                prop_assert!(Renaming::of(&steps).is_some());
            }
            if let Some(renaming) = Renaming::of(&steps) {
                let keys = renaming.keys(named(names.clone()));
                prop_assert_eq!(&keys, &renaming.keys(named(names)));
                for (key, _) in keys.iter().flatten() {
                    prop_assert!(key.len() <= 128 * LONGEST_NAME);
                }
            }
        }
    }
}
