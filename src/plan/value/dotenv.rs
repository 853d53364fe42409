//! The members of a dotenv text, as the tools of most languages read it: `NAME=value` lines, comments, quotes.
//!
//! Written here because every crate for it replaces `$NAME` in values, by variables of this process even: a password
//! with a dollar sign in it would be another one.

use super::Members;
use zeroize::Zeroizing;

/// White space as far as it has a meaning here. Any other, as one that does not break, is part of a value.
const BLANK: [char; 2] = [' ', '\t'];

/// The members. Of two with one name the last counts.
///
/// - A line is a variable, with `export` before it or not, or blank, or a comment, which begins with `#`.
/// - A value without quotes is what stands behind `=`, without the blanks around it; behind a blank, `#` begins a comment.
/// - In single quotes everything stands for itself, and so there is no single quote in them. In double quotes `\n`, `\r`
///   and `\t` are escapes for a line feed, a carriage return and a tab, and `\"`, `\\` and `\$` for the sign itself; any
///   other backslash stands for itself. Both may go over several lines, the breaks of which become line feeds.
///
/// # Errors
/// The line that is wrong, counted from one: it is none of this, or its quotes are not closed, or its value is nothing but
/// `=` without quotes, as the last line of Base64 would be. The first line if there is no variable at all.
pub(super) fn members(text: &str) -> Result<Members, usize> {
    // Tools of Windows begin a text with a byte order mark, which is no part of it.
    let text = with_line_feeds(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut members = Members::new();
    let (mut rest, mut line) = (text.as_str(), 1);
    while !rest.is_empty() {
        let (variable, behind) = variable(rest).ok_or(line)?;
        members.extend(variable);
        let read = rest.len() - behind.len();
        line += rest.bytes().take(read).filter(|byte| *byte == b'\n').count();
        rest = behind;
    }
    if members.is_empty() { Err(1) } else { Ok(members) }
}

/// The text with the line breaks of Unix for those of Windows, and of old Macs.
fn with_line_feeds(text: &str) -> Zeroizing<String> {
    let mut lines = Zeroizing::new(String::with_capacity(text.len()));
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\r' {
            letters.next_if_eq(&'\n');
        }
        lines.push(if letter == '\r' { '\n' } else { letter });
    }
    lines
}

type Variable = (String, Zeroizing<String>);

/// The variable that the text begins with, or none if its first line is blank or a comment, and what stands behind it.
fn variable(text: &str) -> Option<(Option<Variable>, &str)> {
    let (first, behind) = text.split_once('\n').unwrap_or((text, ""));
    let first = first.trim_matches(BLANK);
    if first.is_empty() || first.starts_with('#') {
        return Some((None, behind));
    }
    let name = name(first.split_once('=')?.0)?;
    let value = text.split_once('=')?.1;
    let opened = value.trim_start_matches(BLANK);
    let (value, behind) = if let Some(quoted) = opened.strip_prefix('\'') {
        let (value, behind) = quoted.split_once('\'')?;
        (Zeroizing::new(value.to_owned()), ended(behind)?)
    } else if let Some(quoted) = opened.strip_prefix('"') {
        let (value, behind) = unescaped(quoted)?;
        (value, ended(behind)?)
    } else {
        let (value, behind) = value.split_once('\n').unwrap_or((value, ""));
        (plain(value)?, behind)
    };
    Some((Some((name.to_owned(), value)), behind))
}

/// The name that is before `=`.
fn name(text: &str) -> Option<&str> {
    let text = text.trim_matches(BLANK);
    let exported = text.strip_prefix("export").filter(|name| name.starts_with(BLANK));
    let name = exported.map_or(text, |name| name.trim_start_matches(BLANK));
    let fits = |letter: char| letter.is_alphanumeric() || "_.-".contains(letter);
    (!name.is_empty() && name.chars().all(fits)).then_some(name)
}

/// What stands behind the line of which this is what is left behind a value in quotes: blanks, and a comment behind one.
fn ended(text: &str) -> Option<&str> {
    let (left, behind) = text.split_once('\n').unwrap_or((text, ""));
    let comment = left.trim_start_matches(BLANK);
    let apart = comment.len() < left.len();
    (comment.is_empty() || apart && comment.starts_with('#')).then_some(behind)
}

/// A value without quotes, of what stands behind `=` in its line; `None` if that is nothing but `=`.
fn plain(text: &str) -> Option<Zeroizing<String>> {
    let comment =
        text.match_indices('#').find(|(at, _)| text.get(..*at).is_some_and(|value| value.ends_with(BLANK)));
    let value = comment.map_or(Some(text), |(at, _)| text.get(..at))?.trim_matches(BLANK);
    let sign = !value.is_empty() && value.bytes().all(|byte| byte == b'=');
    (!sign).then(|| Zeroizing::new(value.to_owned()))
}

/// The value that ends at the next double quote without a backslash, and what stands behind it.
fn unescaped(text: &str) -> Option<(Zeroizing<String>, &str)> {
    let mut escaped = false;
    let (value, _) = text.split_at_checked(text.find(|letter| {
        let ends = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    })?)?;
    let behind = text.get(value.len() + 1..)?;
    let mut plain = Zeroizing::new(String::with_capacity(value.len()));
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match if letter == '\\' { letters.next() } else { None } {
            None => plain.push(letter),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
            Some(sign @ ('"' | '\\' | '$')) => plain.push(sign),
            Some(other) => plain.extend([letter, other]),
        }
    }
    Some((plain, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(line: &str) -> Option<String> {
        let mut members = members(line).ok()?;
        assert!(members.len() <= 1, "{line}");
        members.remove("A").map(|value| value.to_string())
    }

    #[test]
    fn a_line_gives_its_variable() {
        for (line, expected) in [
            ("A=1", "1"),
            ("A=", ""),
            ("  A = one two  ", "one two"),
            ("export A=1", "1"),
            ("export\tA=1", "1"),
            ("A=1 # why", "1"),
            ("A=1\t#why", "1"),
            ("A=p?ss@w#rd%{}", "p?ss@w#rd%{}"),
            ("A=$HOME/${USER}", "$HOME/${USER}"),
            ("A='$x # \\n'", "$x # \\n"),
            ("A=\"a b\" # why", "a b"),
            (r#"A="a\nb\t\"c\" \\ \$d \e""#, "a\nb\t\"c\" \\ $d \\e"),
            ("A=\"one\ntwo\"", "one\ntwo"),
            ("A='one\r\ntwo'\r\n", "one\ntwo"),
            ("A=it's", "it's"),
            ("A={\"x\": 1}", "{\"x\": 1}"),
            ("A=a=b==", "a=b=="),
            ("# A=2\n\n  \nA=1\n", "1"),
            ("A=1\nA=2", "2"),
            ("A=1\rA=2\r", "2"),
            ("A=''", ""),
        ] {
            assert_eq!(member(line).as_deref(), Some(expected), "{line}");
        }
        assert_eq!(
            members("export=1\nä.b-c=2").unwrap().into_keys().collect::<Vec<_>>(),
            ["export", "ä.b-c"]
        );
    }

    #[test]
    fn a_comment_begins_only_behind_white_space() {
        for (line, expected) in [
            ("A=#secret", "#secret"),
            ("A=#a #b", "#a"),
            ("A= # x", ""),
            ("A= #x", ""),
            ("A=a#b", "a#b"),
            ("A=a ##b", "a"),
            ("A='a'\t# x", "a"),
            ("A=\u{a0}#x", "\u{a0}#x"),
        ] {
            assert_eq!(member(line).as_deref(), Some(expected), "{line}");
        }
        assert_eq!(members("A='a'#x"), Err(1));
    }

    #[test]
    fn white_space_that_is_no_blank_is_part_of_a_value() {
        for value in
            ["a\u{a0}b", "\u{a0}a\u{2003}", "a\u{3000}b c", "\u{feff}a", "a\u{b}\u{c}", "a\u{85}b\u{2028}c"]
        {
            assert_eq!(member(&format!("A= {value} \t")).as_deref(), Some(value), "{value:?}");
        }
    }

    #[test]
    fn a_value_that_is_only_equals_signs_is_refused_unless_it_is_in_quotes() {
        for line in ["aGVsbG8==", "aGVsbG8===", "A= =", "A== # x"] {
            assert_eq!(members(line), Err(1), "{line}");
        }
        assert_eq!(members("LS0tLS1CRUdJTiBDRVJU\naGVsbG8=="), Err(1));
        assert_eq!(member("A=\"=\"").as_deref(), Some("="));
        assert_eq!(member("A==a").as_deref(), Some("=a"));
    }

    #[test]
    fn a_single_quote_cannot_be_escaped() {
        assert_eq!(members(r"A='it\'s'"), Err(1));
        assert_eq!(member(r"A='it\'").as_deref(), Some(r"it\"));
    }

    #[test]
    fn a_text_without_a_variable_is_refused() {
        for text in ["", "\n\n", " \t", "# only a comment", "\u{feff}", "\r\n#\r\n"] {
            assert_eq!(members(text), Err(1), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_such_line_is_refused_whole_and_its_line_told() {
        for (text, line) in [
            ("A", 1),
            ("A: 1", 1),
            ("=1", 1),
            ("A B=1", 1),
            ("{\"A\": 1}", 1),
            ("A=\"x\" y", 1),
            ("A=1\nno line", 2),
            ("A=1\r\n\r\nno line", 3),
            ("A='\n\n'\nB=\"open\n\n", 4),
            ("A=1\nB='open\nC=1", 2),
            ("A=\"\\\"", 1),
            ("A=\"x\\", 1),
            ("A=1\n  \u{a0}\n", 2),
        ] {
            assert_eq!(members(text), Err(line), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_text_is_it_gives_no_more_than_it_is_and_the_same_each_time(
            text in "((export )?[A-Za-z_ä]{0,3}= ?[\"'#|&*$=\\\\a-fnrt \n\r\u{a0}]{0,16}){0,12}",
        ) {
            let found = members(&text);
            prop_assert_eq!(&found, &members(&text));
            match found {
                Err(line) => prop_assert!((1..=text.matches(['\n', '\r']).count() + 1).contains(&line)),
                Ok(members) => {
                    let size: usize = members.iter().map(|(name, text)| name.len() + text.len()).sum();
                    prop_assert!(size <= text.len(), "{} of {}", size, text.len());
                }
            }
        }

        #[test]
        fn any_text_in_quotes_comes_out_as_it_is(text in "[^\r]{0,30}", single in "[^\r']{0,30}") {
            let double: String = text.chars().flat_map(|letter| ['\\', letter].into_iter().skip(usize::from(!"\"\\$".contains(letter)))).collect();
            let members = members(&format!("A=\"{double}\"\nB='{single}' # x\n")).unwrap();
            prop_assert_eq!(members["A"].as_str(), text);
            prop_assert_eq!(members["B"].as_str(), single);
        }

        #[test]
        fn a_value_without_quotes_comes_out_as_it_is(value in "[a-z#][!-~\u{a0}äö]{0,30}( [!$-~\u{a0}ä][!-~]{0,9}){0,3}") {
            prop_assert_eq!(member(&format!("A={value}")), Some(value));
        }
    }
}
