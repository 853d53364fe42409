//! The members of a YAML mapping: a scalar as it is written, anything else as compact JSON.
//!
//! Read event by event, because only the events show what is written: a value that was made of them is `1.1` where `1.10`
//! stands, and nothing at all where a password begins with `#`, `&` or `!`.

use super::Members;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use serde::de::IgnoredAny;
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// More than twice what a vault holds in one secret.
const LARGEST_TEXT: usize = 64 * 1024;

/// Scalars, and beginnings and ends of what holds them.
const MOST_EVENTS: usize = 25_000;

/// Mappings and sequences in each other.
const DEEPEST: usize = 64;

/// The members of a mapping.
///
/// - A scalar comes out as it is written, without its quotes; folded where YAML folds it. `~` and `null` are not there.
/// - `!!binary` is decoded, and has to be text.
/// - What is nested is compact JSON, its members in the order in which they are written. Plain scalars that JSON takes for
///   a number, `true` or `false` stay as they are, `~` and `null` are `null`, and any other scalar is a string of what is
///   written; `!!binary` is a string of its Base64.
///
/// # Errors
/// The line that is wrong, counted from one. Refused are: what is no mapping, or more than one document; a key that is
/// there twice, `<<`, or no scalar; a scalar that is left out, which is what a password that begins with `#` looks like;
/// anchors, aliases, and tags but `!!str` and `!!binary`, which is what one with `&`, `*` or `!` looks like; and what takes
/// more to read than any configuration does.
pub(super) fn members(text: &str) -> Result<Members, usize> {
    if text.len() > LARGEST_TEXT {
        return Err(1);
    }
    let mut reader = EventReader::new(text);
    let Node::Mapping = reader.node()? else { return Err(reader.line) };
    let (mut members, mut names) = (Members::new(), BTreeSet::new());
    // Room for all: what grows leaves copies of itself behind.
    let mut json = Zeroizing::new(Vec::with_capacity(2 * text.len()));
    while let Some(name) = reader.key(&mut names)? {
        let member = match reader.node()? {
            Node::Scalar(Scalar { kind: NodeKind::Null, .. }) => continue,
            Node::Scalar(Scalar { kind: NodeKind::Binary, text }) => decoded(&text).ok_or(reader.line)?,
            Node::Scalar(Scalar { text, .. }) => text,
            node => {
                json.clear();
                reader.write(node, &mut json, 1)?;
                Zeroizing::new(std::str::from_utf8(&json).map_err(|_| reader.line)?.to_owned())
            }
        };
        members.insert(name, member);
    }
    // That of the document, and that of the stream.
    for _ in 0..2 {
        let Node::End = reader.node()? else { return Err(reader.line) };
    }
    Ok(members)
}

/// What a document is made of.
enum Node {
    Scalar(Scalar),
    Sequence,
    Mapping,
    /// Of a sequence, a mapping, the document or the stream.
    End,
}

struct Scalar {
    kind: NodeKind,
    text: Zeroizing<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NodeKind {
    Null,
    /// Plain, and JSON as it is: a number, `true` or `false`.
    Json,
    /// Any other that is plain.
    Plain,
    /// In quotes, in a block, or with the tag `!!str`.
    Text,
    Binary,
}

struct EventReader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    events: usize,
    /// Where the last event began.
    line: usize,
}

impl<'a> EventReader<'a> {
    fn new(text: &'a str) -> Self {
        let mut options =
            granit_parser::options! { flow_nesting_limit: DEEPEST, block_nesting_limit: DEEPEST };
        options.set_emit_comments(false);
        Self { parser: Parser::new_from_str_with_options(text, options), events: 0, line: 1 }
    }

    /// The next node, or end of one. The parser's error holds pieces of the text: only its line is kept.
    fn node(&mut self) -> Result<Node, usize> {
        loop {
            let (event, span) = match self.parser.next_event() {
                Some(Ok(next)) => next,
                Some(Err(error)) => return Err(error.marker().line().max(1)),
                None => return Err(self.line),
            };
            self.line = span.start.line().max(1);
            self.events += 1;
            if self.events > MOST_EVENTS {
                return Err(self.line);
            }
            return match event {
                Event::StreamStart => continue,
                Event::DocumentStart(..) if self.events == 2 => continue,
                Event::SequenceEnd | Event::MappingEnd | Event::DocumentEnd | Event::StreamEnd => {
                    Ok(Node::End)
                }
                Event::SequenceStart(_, 0, None) => Ok(Node::Sequence),
                Event::MappingStart(_, 0, None) => Ok(Node::Mapping),
                Event::Scalar(text, style, 0, tag) => {
                    let text = Zeroizing::new(text.into_owned());
                    let plain = style == ScalarStyle::Plain;
                    // The parser says `~` where nothing is written.
                    let left_out = plain && span.is_empty();
                    let kind = if left_out { None } else { kind(&text, plain, tag.as_deref()) };
                    Ok(Node::Scalar(Scalar { kind: kind.ok_or(self.line)?, text }))
                }
                _ => Err(self.line),
            };
        }
    }

    /// The next key of a mapping, if there is one: none of those that are already `known`.
    fn key(&mut self, known: &mut BTreeSet<String>) -> Result<Option<String>, usize> {
        let key = match self.node()? {
            Node::End => return Ok(None),
            Node::Scalar(Scalar { kind: NodeKind::Plain, text }) if *text == "<<" => return Err(self.line),
            Node::Scalar(Scalar { kind, mut text }) if kind != NodeKind::Binary => std::mem::take(&mut *text),
            _ => return Err(self.line),
        };
        if known.insert(key.clone()) { Ok(Some(key)) } else { Err(self.line) }
    }

    /// Writes what `node` begins, `depth` of which are in each other, as compact JSON.
    fn write(&mut self, node: Node, json: &mut Vec<u8>, depth: usize) -> Result<(), usize> {
        let scalar = match node {
            Node::Scalar(scalar) => scalar,
            _ if depth > DEEPEST => return Err(self.line),
            Node::Sequence => {
                json.push(b'[');
                let mut next = self.node()?;
                while !matches!(next, Node::End) {
                    self.write(next, json, depth + 1)?;
                    next = self.node()?;
                    if !matches!(next, Node::End) {
                        json.push(b',');
                    }
                }
                json.push(b']');
                return Ok(());
            }
            Node::Mapping => {
                json.push(b'{');
                let mut names = BTreeSet::new();
                while let Some(name) = self.key(&mut names)? {
                    if names.len() > 1 {
                        json.push(b',');
                    }
                    self.string(&name, json)?;
                    json.push(b':');
                    let member = self.node()?;
                    self.write(member, json, depth + 1)?;
                }
                json.push(b'}');
                return Ok(());
            }
            Node::End => return Err(self.line),
        };
        match scalar.kind {
            NodeKind::Null => json.extend_from_slice(b"null"),
            NodeKind::Json => json.extend_from_slice(scalar.text.as_bytes()),
            NodeKind::Plain | NodeKind::Text => self.string(&scalar.text, json)?,
            NodeKind::Binary => self.string(&without_space(&scalar.text), json)?,
        }
        Ok(())
    }

    fn string(&self, text: &str, json: &mut Vec<u8>) -> Result<(), usize> {
        serde_json::to_writer(json, text).map_err(|_| self.line)
    }
}

/// What a scalar is; `None` for one with a tag that means something else.
fn kind(text: &str, plain: bool, tag: Option<&Tag>) -> Option<NodeKind> {
    match tag.map(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:")) {
        Some(Some(tag)) if tag == "str" => Some(NodeKind::Text),
        Some(Some(tag)) if tag == "binary" => Some(NodeKind::Binary),
        Some(_) => None,
        None if !plain => Some(NodeKind::Text),
        None if matches!(text, "~" | "null") => Some(NodeKind::Null),
        None if matches!(text, "true" | "false") || is_number(text) => Some(NodeKind::Json),
        None => Some(NodeKind::Plain),
    }
}

/// Whether JSON takes this for a number, of any size.
fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The text that this is the Base64 of.
fn decoded(base64: &str) -> Option<Zeroizing<String>> {
    let bytes = Zeroizing::new(STANDARD.decode(without_space(base64).as_bytes()).ok()?);
    std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

fn without_space(text: &str) -> Zeroizing<String> {
    let mut without = Zeroizing::new(String::with_capacity(text.len()));
    without.extend(text.chars().filter(|letter| !letter.is_ascii_whitespace()));
    without
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(text: &str, name: &str) -> Option<String> {
        Some(members(text).ok()?.remove(name)?.to_string())
    }

    #[test]
    fn a_scalar_stays_as_it_is_written() {
        let text = "plain: text\nquoted: \"a\\nb\"\nsingle: 'it''s # &x'\nport: 5432\nbig: 123456789012345678901234567890\nprice: 1.10\non: yes\ntrue: false\nhex: 0x1F\nempty: \"\"\nstring: !!str null\ntilde: \"~\"\nupper: NULL\nspace: a\u{a0}b\n";
        for (name, expected) in [
            ("plain", "text"),
            ("quoted", "a\nb"),
            ("single", "it's # &x"),
            ("port", "5432"),
            ("big", "123456789012345678901234567890"),
            ("price", "1.10"),
            ("on", "yes"),
            ("true", "false"),
            ("hex", "0x1F"),
            ("empty", ""),
            ("string", "null"),
            ("tilde", "~"),
            ("upper", "NULL"),
            ("space", "a\u{a0}b"),
        ] {
            assert_eq!(member(text, name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn blocks_keep_their_lines_and_what_is_folded_is_folded() {
        let text = "literal: |\n  one\n  two\nkept: |+\n  one\n\nstripped: |-\n  one\nempty: |\nfolded: >\n  one\n  two\n\n  three\nplain: one\n  two\n";
        for (name, expected) in [
            ("literal", "one\ntwo\n"),
            ("kept", "one\n\n"),
            ("stripped", "one"),
            ("empty", ""),
            ("folded", "one two\nthree\n"),
            ("plain", "one two"),
        ] {
            assert_eq!(member(text, name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn what_is_nested_is_compact_json_in_its_order() {
        let text =
            "hosts: [a, b]\nall: {x: 1, c: [true], \"a\": {}, b: []}\nblock:\n  - k: v\n    1: w\n  - - x\n";
        assert_eq!(member(text, "hosts").as_deref(), Some(r#"["a","b"]"#));
        assert_eq!(member(text, "all").as_deref(), Some(r#"{"x":1,"c":[true],"a":{},"b":[]}"#));
        assert_eq!(member(text, "block").as_deref(), Some(r#"[{"k":"v","1":"w"},["x"]]"#));
    }

    #[test]
    fn a_nested_scalar_that_is_no_json_is_a_string_of_what_is_written() {
        for (written, expected) in [
            ("1.10", "1.10"),
            ("1e3", "1e3"),
            ("-0.5E+7", "-0.5E+7"),
            ("1e999", "1e999"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("true", "true"),
            ("~", "null"),
            ("null", "null"),
            ("01234", r#""01234""#),
            ("+1", r#""+1""#),
            ("1.", r#""1.""#),
            (".5", r#"".5""#),
            ("-x", r#""-x""#),
            ("NO", r#""NO""#),
            ("yes", r#""yes""#),
            ("True", r#""True""#),
            ("Null", r#""Null""#),
            ("1_000", r#""1_000""#),
            (".inf", r#"".inf""#),
            ("0x1F", r#""0x1F""#),
            ("2001-01-01", r#""2001-01-01""#),
            ("1 2", r#""1 2""#),
            ("\"1\"", r#""1""#),
            ("'true'", r#""true""#),
            ("!!str 1", r#""1""#),
            ("\"a\\\"\\n\\u0001\"", r#""a\"\n\u0001""#),
        ] {
            let json = member(&format!("a:\n  x: {written}\n"), "a");
            assert_eq!(json.as_deref(), Some(format!("{{\"x\":{expected}}}").as_str()), "{written}");
        }
        assert_eq!(member("a: [|\n]", "a"), None);
        assert_eq!(member("a:\n- |\n  1\n", "a").as_deref(), Some(r#"["1\n"]"#));
    }

    #[test]
    fn binary_is_decoded_where_it_is_a_member_and_base64_where_it_is_nested() {
        let text = "a: !!binary aGVsbG8=\nb: !!binary |\n  aGVs\n  bG8=\nc: [!!binary \"aGVs bG8=\"]\n";
        assert_eq!(member(text, "a").as_deref(), Some("hello"));
        assert_eq!(member(text, "b").as_deref(), Some("hello"));
        assert_eq!(member(text, "c").as_deref(), Some(r#"["aGVsbG8="]"#));
        for wrong in ["a: !!binary x", "a: !!binary /w==", "!!binary YQ==: a"] {
            assert_eq!(members(wrong), Err(1), "{wrong}");
        }
    }

    #[test]
    fn a_password_that_yaml_reads_as_an_anchor_an_alias_or_a_tag_is_refused() {
        for password in [
            "&Xy9z",
            "&Xy9z x",
            "!Xy9z",
            "!Xy9z x",
            "!!Xy9z",
            "! x",
            "!<x> y",
            "*Xy9z",
            "!!int 1",
            "!!map {}",
            "!!str [x]",
        ] {
            assert_eq!(members(&format!("user: u\npassword: {password}\nz: 1\n")), Err(2), "{password}");
            assert_eq!(members(&format!("user: u\nnested:\n  - a: {password}\n")), Err(3), "{password}");
        }
        assert_eq!(members("&Xy9z user: u"), Err(1));
        assert_eq!(members("&Xy9z\nuser: u"), Err(2));
        assert_eq!(members("!!map\nuser: u"), Err(2));
    }

    #[test]
    fn a_scalar_that_is_left_out_is_refused_and_one_that_says_null_is_not_there() {
        for left_out in [
            "password: #abc\nb: 1",
            "A:",
            "A: ",
            "A: !!str\nb: 1",
            "A: {abc}",
            "A: [x: ]",
            "{A}",
            "A: !!str #abc",
        ] {
            assert_eq!(members(left_out), Err(1), "{left_out}");
        }
        assert_eq!(members("a: 1\n? \n: x"), Err(3));
        assert_eq!(members("a:\n- x\n-\n"), Err(3));
        assert_eq!(members("b: ~\nc: null\nd: 1\n").unwrap().into_keys().collect::<Vec<_>>(), ["d"]);
    }

    #[test]
    fn what_is_no_mapping_is_refused_and_an_empty_one_has_no_members() {
        for wrong in ["", " ", "# only a comment", "...", "---", "text", "~", "[a, b]", "- a\n- b\n"] {
            assert_eq!(members(wrong), Err(1), "{wrong}");
        }
        assert_eq!(members("\n\n- a"), Err(3));
        for empty in ["{}", "--- {}\n...\n", "\u{feff}{}", "# a comment\n{}"] {
            assert!(members(empty).unwrap().is_empty(), "{empty}");
        }
    }

    #[test]
    fn the_line_that_is_wrong_is_told() {
        for (wrong, line) in [
            ("a: 1\nb: [", 2),
            ("a: 1\nb: \"x\n\n", 2),
            ("a: 1\nb: @x\n", 2),
            ("a: 1\n\nb: 2\na: 3\n", 4),
            ("a: 1\nn: {x: 1,\n  x: 2}\n", 3),
            ("a: {1: x, \"1\": y}", 1),
            ("a: 1\n---\nb: 2\n", 2),
            ("a: 1\n---\n", 2),
            ("a: 1\n...\nb: 2\n", 3),
            ("a: 1\r\nb: *x\r\n", 2),
            ("a: 1\n[x]: 2\n", 2),
            ("a: 1\n? {x: 1}\n: 2\n", 2),
            ("a: |\n  x\n  y\nb: !z\n", 4),
        ] {
            assert_eq!(members(wrong), Err(line), "{wrong}");
        }
    }

    #[test]
    fn a_merge_is_refused_and_its_sign_in_quotes_is_a_name() {
        for merge in ["<<: {x: 1}", "a: {<<: {x: 1}}", "b: 1\n<<: x"] {
            assert!(members(merge).is_err(), "{merge}");
        }
        assert_eq!(member("\"<<\": x", "<<").as_deref(), Some("x"));
        assert_eq!(member("a: <<", "a").as_deref(), Some("<<"));
    }

    #[test]
    fn a_text_that_grows_when_it_is_read_is_refused() {
        for growing in ["a: &a text\nb: *a\n", "a: &a [x, x]\nb: [*a, *a]\n", "a: &a {x: 1}\nb: {<<: *a}\n"] {
            assert_eq!(members(growing), Err(1), "{growing}");
        }
    }

    #[test]
    fn depth_events_and_size_are_bounded() {
        let flow = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
        let block = |depth: usize| format!("a:\n  {}x", "- ".repeat(depth));
        let mixed = |depth: usize| {
            format!("a:\n  {}{}{}", "- ".repeat(depth / 2), "[".repeat(depth / 2), "]".repeat(depth / 2))
        };
        for deep in [flow, block, mixed] {
            assert!(members(&deep(62)).is_ok());
            assert!(members(&deep(66)).is_err());
            assert!(members(&deep(5000)).is_err());
        }
        let many = |count: usize| format!("a: [{}]", "x,".repeat(count));
        assert!(members(&many(MOST_EVENTS - 100)).is_ok());
        assert_eq!(members(&many(MOST_EVENTS)), Err(1));
        let long = |length: usize| format!("a: {}", "x".repeat(length - 3));
        assert!(members(&long(LARGEST_TEXT)).is_ok());
        assert_eq!(members(&long(LARGEST_TEXT + 1)), Err(1));
    }

    proptest! {
        #[test]
        fn whatever_a_text_is_it_gives_no_more_than_it_is_and_the_same_each_time(
            text in "(([A-Za-z_]{1,4}: ?|[-?|>~] ?)?[\"'#|&*!<$%@\\\\{}\\[\\],:~ \n\ra-f0-9\u{0}-\u{1f}]{0,16}){0,12}",
        ) {
            let found = members(&text);
            prop_assert_eq!(&found, &members(&text));
            match found {
                Err(line) => prop_assert!((1..=text.lines().count() + text.matches('\r').count() + 1).contains(&line)),
                Ok(members) => {
                    let size: usize = members.iter().map(|(name, text)| name.len() + text.len()).sum();
                    // A control character takes six letters in JSON.
                    prop_assert!(size <= 6 * text.len(), "{} of {}", size, text.len());
                }
            }
        }

        #[test]
        fn any_text_in_quotes_comes_out_as_it_is(text in "\\PC{0,30}") {
            let quoted = format!("a: '{}'\nb: [{}]", text.replace('\'', "''"), serde_json::to_string(&text).unwrap());
            prop_assert_eq!(member(&quoted, "a"), Some(text.clone()));
            let nested = member(&quoted, "b").unwrap();
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&nested).unwrap(), vec![text]);
        }
    }
}
