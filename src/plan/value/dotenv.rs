//! The members of a dotenv text, as the tools of most languages read it: `NAME=value` lines, comments, quotes.
//!
//! Written here because every crate for it replaces `$NAME` in values, by variables of this process even: a password
//! with a dollar sign in it would be another one.

use super::Members;
use regex::Regex;
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// A line with a variable. A value in quotes may go over several lines; without quotes it ends before a word that begins
/// with `#`.
static LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let quoted = r#"'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\(?s:.))*)""#;
    let plain = r#"(?P<plain>[^\s#'"]\S*(?:[ \t]+[^\s#]\S*)*)"#;
    let name = r"[ \t]*(?:export[ \t]+)?(?P<name>[\w.-]+)[ \t]*=[ \t]*";
    Regex::new(&format!(r"\A{name}(?:{quoted}|{plain})?[ \t]*(?:#[^\n]*)?(?:\n|\z)")).ok()
});

/// A line without one.
static BLANK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\A[ \t]*(?:#[^\n]*)?(?:\n|\z)").ok());

/// The members; `None` if a line is neither a variable nor blank nor a comment. Of two with one name the last counts.
pub(super) fn members(text: &str) -> Option<Members> {
    let (line, blank) = (LINE.as_ref()?, BLANK.as_ref()?);
    // Tools of Windows begin a text with a byte order mark, which is no part of it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = Zeroizing::new(text.replace("\r\n", "\n").replace('\r', "\n"));
    let mut members = Members::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let end = if let Some(found) = line.captures(rest) {
            let name = found.name("name")?.as_str().to_owned();
            let value = match (found.name("single"), found.name("double"), found.name("plain")) {
                (Some(single), _, _) => single.as_str().to_owned(),
                (_, Some(double), _) => unescaped(double.as_str()),
                (_, _, plain) => plain.map_or("", |plain| plain.as_str()).to_owned(),
            };
            members.insert(name, Zeroizing::new(value));
            found.get(0)?.end()
        } else {
            blank.find(rest)?.end()
        };
        rest = rest.get(end..)?;
    }
    Some(members)
}

/// A text in double quotes: a backslash before `n`, `r`, `t`, `"`, `\` or `$` is no part of it, before anything else it is.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let next = if letter == '\\' { letters.clone().next() } else { None };
        let meant = match next {
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some(sign @ ('"' | '\\' | '$')) => Some(sign),
            _ => None,
        };
        if meant.is_some() {
            letters.next();
        }
        plain.push(meant.unwrap_or(letter));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(line: &str) -> Option<String> {
        let mut members = members(line)?;
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
            ("A=1 # why", "1"),
            ("A=a#b", "a#b"),
            ("A=#b", ""),
            ("A=p?ss@w#rd%{}", "p?ss@w#rd%{}"),
            ("A=$HOME/${USER}", "$HOME/${USER}"),
            ("A='$x # \\n'", "$x # \\n"),
            ("A=\"a b\" # why", "a b"),
            (r#"A="a\nb\t\"c\" \\ \$d \e""#, "a\nb\t\"c\" \\ $d \\e"),
            ("A=\"one\ntwo\"", "one\ntwo"),
            ("A='one\r\ntwo'\r\n", "one\ntwo"),
            ("A=it's", "it's"),
            ("A={\"x\": 1}", "{\"x\": 1}"),
            ("# A=2\n\n  \nA=1\n", "1"),
            ("A=1\nA=2", "2"),
        ] {
            assert_eq!(member(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_is_no_such_line_is_refused_whole() {
        for line in ["A", "A: 1", "=1", "A=\"open", "A='open", "A=\"x\" y", "{\"A\": 1}", "A=1\nno line"] {
            assert_eq!(members(line), None, "{line}");
        }
    }
}
