//! Go templates, as far as they are values and pipelines of functions that our templates have under another name.

use super::super::words::{literal, quoted, reference};
use crate::api::CertificatePart;
use std::collections::BTreeSet;

/// What a Go template is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Translated {
    /// The value of this name, and nothing else.
    Value(String),
    /// A part of the PFX that this value is.
    Certificate(String, CertificatePart),
    /// A template of ours, and the values that it uses.
    Jinja(String, BTreeSet<String>),
}

/// An action that has no equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Untranslated {
    /// Its line in the template.
    pub(super) line: usize,
    /// The action, with its brackets.
    pub(super) action: String,
}

/// Translates a template; `called` says how a value is called here.
///
/// # Errors
/// The first action that has no equal.
pub(super) fn translate(text: &str, called: impl Fn(&str) -> String) -> Result<Translated, Untranslated> {
    let (mut jinja, mut used, mut rest, mut only) = (String::new(), BTreeSet::new(), text, None);
    while let Some((before, behind)) = rest.split_once("{{") {
        let line = text.len().checked_sub(behind.len()).and_then(|end| text.get(..end)).unwrap_or_default();
        let line = line.matches('\n').count() + 1;
        let end = end_of(behind);
        let action = end.and_then(|end| behind.get(..end)).unwrap_or(behind);
        let untranslated = || Untranslated { line, action: format!("{{{{{action}}}}}") };
        let after = end.and_then(|end| behind.get(end + 2..)).ok_or_else(untranslated)?;
        jinja.push_str(&literal(before));
        let (opening, inner) = action.strip_prefix("- ").map_or(("{{", action), |inner| ("{{-", inner));
        let (inner, closing) = inner.strip_suffix(" -").map_or((inner, "}}"), |inner| (inner, "-}}"));
        let inner = inner.trim();
        if inner.starts_with("/*") && inner.ends_with("*/") {
            let (opening, closing) = (opening.replace("{{", "{#"), closing.replace("}}", "#}"));
            jinja.extend([opening.as_str(), " ", closing.as_str()]);
        } else {
            let piped = pipeline(inner).ok_or_else(untranslated)?;
            let first = rest.len() == text.len();
            // Blanks around a certificate say nothing.
            let around = [before, after].map(|text| if piped.part.is_some() { text.trim() } else { text });
            only = (first && around.concat().is_empty()).then(|| piped.clone());
            if piped.part.is_some() && only.is_none() {
                return Err(untranslated());
            }
            let name = called(&piped.name);
            jinja.extend([opening, " ", &piped.expression(&reference(&name)), " ", closing]);
            used.insert(name);
        }
        rest = after;
    }
    jinja.push_str(&literal(rest));
    Ok(match only {
        Some(Pipeline { name, part: Some(part), .. }) => Translated::Certificate(name, part),
        Some(Pipeline { name, filters, .. }) if filters.is_empty() => Translated::Value(name),
        _ => Translated::Jinja(jinja, used),
    })
}

/// Where the brackets close that were opened; not within quotes.
fn end_of(text: &str) -> Option<usize> {
    let mut quotes = Quotes::default();
    text.char_indices().find_map(|(at, letter)| {
        let outside = quotes.outside(letter);
        (outside && text.get(at..).is_some_and(|rest| rest.starts_with("}}"))).then_some(at)
    })
}

/// Whether one is within quotes, letter by letter.
#[derive(Default)]
struct Quotes {
    open: Option<char>,
    escaped: bool,
}

impl Quotes {
    /// Whether a letter is outside of quotes, which themselves are not.
    fn outside(&mut self, letter: char) -> bool {
        match self.open {
            Some('"') if self.escaped => self.escaped = false,
            Some('"') if letter == '\\' => self.escaped = true,
            Some(quote) if quote == letter => self.open = None,
            Some(_) => {}
            None if letter == '"' || letter == '`' => self.open = Some(letter),
            None => return true,
        }
        false
    }
}

/// A value and what it goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pipeline {
    name: String,
    filters: Vec<Through>,
    /// What of the value, a PFX, comes out.
    part: Option<CertificatePart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Through {
    Filter(String),
    /// A line break before what a filter gives.
    NewLine(String),
}

impl Pipeline {
    fn expression(&self, value: &str) -> String {
        let mut expression = value.to_owned();
        for filter in &self.filters {
            expression = match filter {
                Through::Filter(filter) => format!("{expression} | {filter}"),
                Through::NewLine(filter) => format!("(\"\\n\" ~ ({expression} | {filter}))"),
            };
        }
        expression
    }
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ActionWord {
    /// As it is written.
    Bare(String),
    /// The text in quotes.
    InQuotes(String),
}

fn pipeline(action: &str) -> Option<Pipeline> {
    let mut stages = stages(action)?.into_iter();
    let (name, function) = operand(&stages.next()?)?;
    let mut pipeline = Pipeline { name, filters: Vec::new(), part: None };
    for words in function.into_iter().chain(stages) {
        let (ActionWord::Bare(function), arguments) = words.split_first()? else { return None };
        let decoded =
            matches!(pipeline.filters.as_slice(), [Through::Filter(filter)] if filter == "b64decode");
        match function.as_str() {
            _ if pipeline.part.is_some() => return None,
            "pkcs12cert" | "pkcs12key"
                if arguments.is_empty() && (decoded || pipeline.filters.is_empty()) =>
            {
                let of = if function == "pkcs12cert" { CertificatePart::Full } else { CertificatePart::Key };
                pipeline.part = Some(of);
            }
            "nindent" => pipeline.filters.push(Through::NewLine(filter("indent", arguments)?)),
            other => pipeline.filters.push(Through::Filter(filter(other, arguments)?)),
        }
    }
    Some(pipeline)
}

/// The value of the first stage, and the function that it goes through at once, if any.
fn operand(words: &[ActionWord]) -> Option<(String, Option<Vec<ActionWord>>)> {
    if let [ActionWord::Bare(index), ActionWord::Bare(dot), ActionWord::InQuotes(name)] = words
        && index == "index"
        && dot == "."
    {
        return Some((name.clone(), None));
    }
    let (ActionWord::Bare(last), before) = words.split_last()? else { return None };
    let name = last.strip_prefix('.')?;
    let is_name =
        !name.is_empty() && name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
    is_name.then(|| (name.to_owned(), (!before.is_empty()).then(|| before.to_vec())))
}

/// The words of each stage between the `|`; `None` where there are brackets, or quotes that do not close.
fn stages(action: &str) -> Option<Vec<Vec<ActionWord>>> {
    let mut stages = vec![Vec::new()];
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, behind) = match first {
            '|' => {
                stages.push(Vec::new());
                rest = rest.strip_prefix('|')?.trim_start();
                continue;
            }
            '`' => {
                let (text, behind) = rest.strip_prefix('`')?.split_once('`')?;
                (ActionWord::InQuotes(text.to_owned()), behind)
            }
            '"' => {
                let (text, behind) = in_quotes(rest.strip_prefix('"')?)?;
                (ActionWord::InQuotes(text), behind)
            }
            '(' | ')' | '$' => return None,
            _ => {
                let end = rest.find(|letter: char| letter.is_whitespace() || "|\"`()".contains(letter));
                let (word, behind) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
                (ActionWord::Bare(word.to_owned()), behind)
            }
        };
        stages.last_mut()?.push(word);
        rest = behind.trim_start();
    }
    Some(stages)
}

/// A text up to its closing quote, and what is behind.
fn in_quotes(text: &str) -> Option<(String, &str)> {
    let mut read = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((read, text.get(at + 1..)?)),
            '\\' => read.push(match letters.next()?.1 {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                plain @ ('"' | '\\') => plain,
                _ => return None,
            }),
            plain => read.push(plain),
        }
    }
    None
}

/// The filter that does what a function does with what is piped into it.
fn filter(function: &str, arguments: &[ActionWord]) -> Option<String> {
    use ActionWord::{Bare, InQuotes};
    let called = |name: &str, text: &str| format!("{name}({})", quoted(text));
    Some(match (function, arguments) {
        ("b64enc", []) => "b64encode".to_owned(),
        ("b64dec", []) => "b64decode".to_owned(),
        ("toJson", []) => "tojson".to_owned(),
        ("toString", []) => "string".to_owned(),
        ("quote", []) => "yamlstring".to_owned(),
        ("squote", []) => "shellquote".to_owned(),
        ("urlquery", []) => "urlencode".to_owned(),
        ("sha256sum", []) => "sha256".to_owned(),
        ("trim" | "upper" | "lower", []) => function.to_owned(),
        ("trimAll", [InQuotes(text)]) => called("trim", text),
        ("trimPrefix", [InQuotes(text)]) => called("removeprefix", text),
        ("trimSuffix", [InQuotes(text)]) => called("removesuffix", text),
        ("replace", [InQuotes(from), InQuotes(to)]) => format!("replace({}, {})", quoted(from), quoted(to)),
        ("default", [InQuotes(text)]) => format!("default({}, true)", quoted(text)),
        // There the first line is indented too.
        ("indent", [Bare(width)]) => format!("indent({}, true)", width.parse::<u8>().ok()?),
        ("filterPEM", [InQuotes(kind)]) if kind == "CERTIFICATE" => "pem_certificates".to_owned(),
        ("filterPEM", [InQuotes(kind)]) if kind == "PRIVATE KEY" => "pem_key".to_owned(),
        ("filterCertChain", [InQuotes(kind)]) if kind == "leaf" => "pem_leaf".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jinja(text: &str) -> Result<String, Untranslated> {
        match translate(text, str::to_owned)? {
            Translated::Value(name) => Ok(format!("value {name}")),
            Translated::Certificate(name, part) => Ok(format!("{part:?} of {name}")),
            Translated::Jinja(text, _) => Ok(text),
        }
    }

    #[test]
    fn values_and_pipelines_become_ours() {
        for (go, ours) in [
            ("{{ .password }}", "value password"),
            ("{{.password}}", "value password"),
            ("{{ index . \"tls.crt\" }}", "value tls.crt"),
            ("postgres://{{ .user }}@db", "postgres://{{ user }}@db"),
            ("a={{ index . \"a-b\" | b64enc }}", "a={{ data[\"a-b\"] | b64encode }}"),
            ("{{ .a | b64dec | trim }}", "{{ a | b64decode | trim }}"),
            ("{{ b64dec .a }}", "{{ a | b64decode }}"),
            ("{{ trimSuffix \"\\n\" .a }}", "{{ a | removesuffix(\"\\n\") }}"),
            ("{{ .a | replace \"-\" `_` }}", "{{ a | replace(\"-\", \"_\") }}"),
            ("{{ .a | default \"}}\" }}", "{{ a | default(\"}}\", true) }}"),
            ("x: {{- .a | nindent 2 }}", "x: {{- (\"\\n\" ~ (a | indent(2, true))) }}"),
            ("{{/* note */}}{{ .a }}!", "{# #}{{ a }}!"),
            ("{% {# {{ .a }} -", "{{ \"{%\" }} {{ \"{#\" }} {{ a }} -"),
            ("no value", "no value"),
            ("{{ .pfx | b64dec | pkcs12cert }}", "Full of pfx"),
            ("{{ .pfx | pkcs12key }}", "Key of pfx"),
        ] {
            assert_eq!(jinja(go).as_deref(), Ok(ours), "{go}");
        }
    }

    #[test]
    fn what_has_no_equal_is_told_with_its_line() {
        for action in [
            "{{ range $k, $v := . }}",
            "{{ printf \"%s\" .a }}",
            "{{ .a.b }}",
            "{{ (.a) }}",
            "{{ .a | htpasswd }}",
            "{{ $x }}",
            "{{ .a | fromJson }}",
            "{{ .a | pkcs12cert | b64enc }}",
            "{{ .a",
        ] {
            let error = jinja(&format!("a\nb {action}")).unwrap_err();
            assert_eq!(error.line, 2, "{action}");
            assert!(error.action.starts_with(action.trim_end_matches('}').trim_end()), "{error:?}");
        }
    }
}
