//! Keys of a Secret that are rendered from other values.
//!
//! A template is text with what the engine calls expressions and statements in it. What it does has a bound in time and in
//! memory, whoever wrote it; it reads no clock and nothing but the values it is given, so that the same values always give
//! the same bytes.

mod call;
mod check;
mod context;
mod fault;
mod functions;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod page;
mod room;

pub(in crate::plan) use self::fault::Fault;
use self::fault::What;

use self::check::Findings;
use self::context::{DATA, Data, ValueNames, written};
use self::room::Room;
use minijinja::machinery::{Token, parse, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Output, State, UndefinedBehavior};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A template that is longer is not read.
const LONGEST_TEMPLATE: usize = 32 * 1024;
/// No text that a template makes is longer.
const LONGEST_TEXT: usize = 256 * 1024;
/// What may stand in one tag: the engine goes one call deeper for each operator, and its stack has an end.
const MOST_TOKENS: usize = 512;
/// The engine goes several calls deeper for each bracket in another, and for each sign before an operand.
const DEEPEST: usize = 32;
/// The engine goes one call deeper for each `elif`.
const MOST_ELIFS: usize = 64;
/// Instructions of the engine, or 64 bytes each that it copies.
const STEPS: u64 = 32 * 1024;

/// What the engine knows the template by; its end says nothing about what is to be escaped.
const NAME: &str = "template";

/// A template of `spec.target.template`, ready to be rendered.
pub(crate) struct Template {
    engine: Environment<'static>,
    found: Findings,
}

/// The values that a template uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inputs {
    /// Those with these names.
    Some(BTreeSet<String>),
    /// Whatever there is.
    All,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is no template, uses a name that nothing has, or does what is not offered.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        if text.len() > LONGEST_TEMPLATE {
            return Err(Fault { line: 1, what: What::LongTemplate });
        }
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        let syntax = syntax.map_err(|error| Fault::of(&error))?;
        count(text, &syntax)?;
        let parsed = parse(text, NAME, syntax.clone()).map_err(|error| Fault::of(&error))?;
        let mut found = check::check(&parsed)?;
        let mut engine = Environment::empty();
        engine.set_syntax(syntax);
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_fuel(Some(STEPS));
        engine.set_formatter(write);
        functions::add(&mut engine, std::mem::take(&mut found.patterns));
        engine.add_template_owned(NAME, text.to_owned()).map_err(|error| Fault::of(&error))?;
        Ok(Self { engine, found })
    }

    /// The values it uses. Those it can do without are among them.
    pub(crate) fn inputs(&self) -> Inputs {
        if self.found.all { Inputs::All } else { Inputs::Some(self.found.names.clone()) }
    }

    /// Renders it with the values by their names; of those that it does not use, none is looked at.
    ///
    /// # Errors
    /// A value that is not there, one that a function does not take, and whatever becomes too much.
    pub(crate) fn render(
        &self,
        data: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let Findings { names, all, optional, .. } = &self.found;
        let uses = |name: &str| *all || names.contains(name);
        let data = Arc::new(Data::new(data, uses, optional.clone(), names.clone()));
        let context = Value::from_object(ValueNames::new(data.clone(), functions::NAMES));
        let mut room = Room::new(LONGEST_TEXT);
        let template = self.engine.get_template(NAME);
        let rendered =
            template.and_then(|template| template.render_captured_to(context, &mut room).map(drop));
        let mut fault = rendered.err().map(|error| Fault::of(&error));
        if let Some(Fault { what: what @ What::Undefined, .. }) = &mut fault
            && let Some(name) = data.only_missing()
        {
            *what = What::Missing(name.to_owned());
        }
        // Whatever else it led to, this comes first.
        if let Err(what) = data.misused().check() {
            let line = fault.map_or(1, |fault| fault.line);
            return Err(Fault { line, what });
        }
        fault.map_or_else(|| Ok(room.into_bytes()), Err)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("inputs", &self.inputs()).finish_non_exhaustive()
    }
}

/// Refuses what would take the reader of the engine too deep.
fn count(text: &str, syntax: &SyntaxConfig) -> Result<(), Fault> {
    let mut elifs = 0;
    let (mut tokens, mut brackets, mut prefixes) = (0, 0_usize, 0);
    for token in tokenize(text, false, syntax.clone()) {
        let (token, span) = token.map_err(|error| Fault::of(&error))?;
        tokens += 1;
        match token {
            Token::VariableStart | Token::BlockStart => (tokens, brackets, prefixes) = (0, 0, 0),
            Token::Ident("elif") => elifs += 1,
            Token::Ident("not" | "else") | Token::Minus => prefixes += 1,
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => brackets += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                brackets = brackets.saturating_sub(1);
            }
            _ => {}
        }
        if tokens > MOST_TOKENS || brackets.max(prefixes) > DEEPEST || elifs > MOST_ELIFS {
            return Err(Fault { line: usize::from(span.start_line), what: What::ManyParts });
        }
    }
    Ok(())
}

/// Writes a value into the text: a text, a number or a boolean as it is; nothing else.
fn write(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), minijinja::Error> {
    if let Some(data) = state.lookup(DATA).as_ref().and_then(Value::downcast_object_ref::<Data>) {
        data.misused().check()?;
    }
    match (value.kind(), written(value)) {
        (_, Ok(text)) => Ok(out.write_str(&text)?),
        (_, Err(Some(what))) => Err(what.into()),
        (ValueKind::None, _) => Err(What::Null.into()),
        (ValueKind::Undefined, _) => Err(What::Undefined.into()),
        _ => Err(What::Container.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &[u8])]) -> BTreeMap<String, Zeroizing<Vec<u8>>> {
        pairs.iter().map(|(name, bytes)| ((*name).to_owned(), Zeroizing::new(bytes.to_vec()))).collect()
    }

    fn shop() -> BTreeMap<String, Zeroizing<Vec<u8>>> {
        data(&[
            ("URL", b"postgres://db/shop"),
            ("PASSWORD", b"p?ss@w#rd%{}"),
            ("signing.pub", b"key"),
            ("BYTES", b"\xff\xfe"),
            ("JSON", br#"{"port": 5432, "ratio": 1.10, "big": 12345678901234567890, "hosts": ["a", "b"], "no": null}"#),
            ("data", b"shadow"),
            ("docker_config", b"shadow"),
        ])
    }

    fn rendered(text: &str) -> Result<String, What> {
        let template = Template::parse(text).map_err(|fault| fault.what)?;
        let bytes = template.render(&shop()).map_err(|fault| fault.what)?;
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn gives(text: &str, expected: &str) {
        assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
    }

    fn fails(text: &str, what: What) {
        assert_eq!(rendered(text), Err(what), "{text}");
    }

    fn names(text: &str) -> Vec<String> {
        match Template::parse(text).unwrap().inputs() {
            Inputs::Some(names) => names.into_iter().collect(),
            Inputs::All => vec!["*".to_owned()],
        }
    }

    #[test]
    fn values_come_by_their_names_and_all_of_them_under_data() {
        gives("url={{ URL }}\n", "url=postgres://db/shop\n");
        gives("{{ data[\"signing.pub\"] }}{{ data.URL }}", "keypostgres://db/shop");
        gives("{{ data.data }} {{ data.docker_config }}", "shadow shadow");
        gives(
            "{% for name in data %}{{ name }} {% endfor %}",
            "BYTES JSON PASSWORD URL data docker_config signing.pub ",
        );
        gives(
            "{% for k, v in data | items if k == \"signing.pub\" %}{{ k }}={{ v }}{% endfor %}",
            "signing.pub=key",
        );
    }

    #[test]
    fn white_space_stays_as_it_is_and_nothing_is_escaped() {
        gives("\n  {% if true %}\n<{{ \"<&>\" }}>\n{% endif %}\n\n", "\n  \n<<&>>\n\n\n");
        gives("a\r\n{{- 1 -}}  b", "a1b");
        gives("a\r\nb\r{{ 1 }}\r\n\t", "a\r\nb\r1\r\n\t");
    }

    #[test]
    fn a_regular_expression_that_is_too_large_is_refused_when_it_is_used() {
        let template = Template::parse("{{ URL | regex_replace(\"(a{1000}){1000}\", \"\") }}").unwrap();
        let data = BTreeMap::from([("URL".to_owned(), Zeroizing::new(b"a".to_vec()))]);
        assert_eq!(template.render(&data).unwrap_err().what, What::Pattern("regex_replace"));
    }

    #[test]
    fn what_is_not_there_is_named_and_never_empty() {
        let missing = || What::Missing("TOKEN".to_owned());
        for text in [
            "{{ TOKEN }}",
            "{{ data.TOKEN }}",
            "{{ data[\"TOKEN\"] }}",
            "{{ TOKEN | upper }}",
            "{{ TOKEN ~ URL }}",
            "{% if TOKEN %}a{% endif %}",
            "{% set a = TOKEN %}",
            "{{ [TOKEN] | join }}",
            "{{ {\"a\": TOKEN} | tojson }}",
            "{{ TOKEN | default(\"\") }}{{ TOKEN }}",
            "{{ docker_config(URL, URL, TOKEN) }}",
        ] {
            fails(text, missing());
        }
        fails("{{ (JSON | fromjson).nothing }}", What::Undefined);
        fails("{{ (JSON | fromjson).nothing | tojson }}", What::Undefined);
        fails("{{ [(JSON | fromjson).nothing] | tojson }}", What::Undefined);
        fails("{{ data[URL] }}", What::Undefined);
        fails("{{ (JSON | fromjson).no }}", What::Null);
        let fault = Template::parse("a\n\n{{ TOKEN }}").unwrap().render(&shop()).unwrap_err();
        assert_eq!(fault.to_string(), "Line 3: there is no value TOKEN.");
    }

    #[test]
    fn a_template_can_say_what_to_do_without_a_value() {
        gives("{{ TOKEN | default(\"none\") }}", "none");
        gives("{{ data[\"to.ken\"] | default(URL) }}", "postgres://db/shop");
        gives("{% if TOKEN is defined %}{{ TOKEN }}{% else %}none{% endif %}", "none");
        gives("{% if data.TOKEN is undefined %}none{% endif %}", "none");
        gives("{{ (JSON | fromjson).nothing | default(\"none\") }}", "none");
        gives("{{ (JSON | fromjson).no | default(\"none\", true) }}", "none");
        gives("{{ \"\" | default(\"none\") }}", "");
    }

    #[test]
    fn one_template_serves_many_threads() {
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&Template::parse("{{ URL }}").unwrap());
    }

    #[test]
    fn the_names_it_uses_are_known_before_there_are_values() {
        assert_eq!(
            names("{{ A }}{{ data.B }}{{ data[\"c.d\"] }}{{ D | default(E) }}"),
            ["A", "B", "D", "E", "c.d"]
        );
        assert_eq!(
            names("{% for x in A | split(\",\") %}{{ x }}{{ loop.index }}{% endfor %}{{ loop }}"),
            ["A", "loop"]
        );
        assert_eq!(
            names("{% if A %}{% set x = B %}{% else %}{% set x = C %}{% endif %}{{ x }}"),
            ["A", "B", "C"]
        );
        assert_eq!(names("{% with x = A %}{{ x }}{% endwith %}{{ x }}"), ["A", "x"]);
        assert_eq!(names("{% set A = A %}{{ A }}{% set b %}{{ C }}{% endset %}{{ b }}"), ["A", "C"]);
        assert_eq!(
            names("{{ docker_config(A, B, C) }}{% if D is matching(\"^a\") %}{% endif %}"),
            ["A", "B", "C", "D"]
        );
        for all in
            ["{{ data | tojson }}", "{% for n in data %}{% endfor %}", "{{ data[A] }}", "{{ data | length }}"]
        {
            assert_eq!(names(all), ["*"], "{all}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_only_for_what_takes_bytes() {
        gives("{{ BYTES | b64encode }} {{ BYTES | hex }} {{ BYTES | length }}", "//4= fffe 2");
        gives("{{ \"//4=\" | b64decode | hex }}", "fffe");
        let binary = || What::Binary("BYTES".to_owned());
        for text in [
            "{{ BYTES }}",
            "{{ BYTES | upper }}",
            "{{ [BYTES] | join }}",
            "{{ BYTES | tojson }}",
            "{{ data | tojson }}",
        ] {
            fails(text, binary());
        }
        for text in [
            "{{ BYTES ~ URL }}",
            "{% set a = URL ~ BYTES %}",
            "{{ \"//4=\" | b64decode }}",
            "{{ BYTES in URL }}",
        ] {
            fails(text, What::SomeBinary);
        }
        fails("{{ URL[0:BYTES] }}", What::Operation);
    }

    #[test]
    fn numbers_of_json_keep_their_digits() {
        gives(
            "{% set c = JSON | fromjson %}{{ c.port }} {{ c.ratio }} {{ c.big }}",
            "5432 1.10 12345678901234567890",
        );
        gives(
            "{{ [JSON | fromjson] | tojson }}",
            r#"[{"big":12345678901234567890,"hosts":["a","b"],"no":null,"port":5432,"ratio":1.10}]"#,
        );
        gives("{{ (JSON | fromjson).port == 5432 }} {{ ((JSON | fromjson).port | int) - 1 }}", "true 5431");
        gives(
            "{% set c = \"[1.5, 1E3, -0]\" | fromjson %}{{ c | first < 2 }} {{ c | join(\" \") }} {{ c | tojson }}",
            "true 1.5 1E3 -0 [1.5,1E3,-0]",
        );
        for wrong in ["", "[1,]", "01", "1 2", "{\"a\"}", "nul", "[", "\"", "'a'"] {
            let found = Template::parse("{{ A | fromjson | tojson }}")
                .unwrap()
                .render(&data(&[("A", wrong.as_bytes())]));
            assert_eq!(found.unwrap_err().what, What::Unreadable("fromjson"), "{wrong}");
        }
    }

    #[test]
    fn what_has_no_bound_or_no_name_is_refused_when_it_is_read() {
        for (text, what) in [
            ("{{ URL * 1000000000 }}", What::NotOffered("*")),
            ("{{ 10 ** 10 }}", What::NotOffered("**")),
            ("{% set a = [1] %}", What::Literal),
            ("{% set a = [1] | first %}", What::Literal),
            ("{{ [1] }}", What::Container),
            ("{{ data }}", What::Container),
            ("{{ data ~ 1 }}", What::Reserved("data".to_owned())),
            ("{% set data = 1 %}", What::Reserved("data".to_owned())),
            ("{% for docker_config in URL %}{% endfor %}", What::Reserved("docker_config".to_owned())),
            ("{{ range(10) }}", What::NoFunction("range".to_owned())),
            ("{{ debug() }}", What::NoFunction("debug".to_owned())),
            ("{{ URL | pprint }}", What::NoFilter("pprint".to_owned())),
            ("{{ URL | center(10) }}", What::NoFilter("center".to_owned())),
            ("{{ URL is odd }}", What::NoTest("odd".to_owned())),
            ("{{ URL.upper() }}", What::NotOffered("A method")),
            ("{{ URL | replace(\"a\") }}", What::Arguments("replace".to_owned())),
            ("{{ URL | regex_replace(URL, \"\") }}", What::Pattern("regex_replace")),
            ("{{ URL | regex_replace(\"(\", \"\") }}", What::Pattern("regex_replace")),
            ("{{ URL | regex_replace(\"(?i)a\", \"\") }}", What::Pattern("regex_replace")),
            (
                "{{ URL | regex_replace(\"\\\\w\\\\w\\\\w\\\\w\\\\w\\\\w\\\\w\\\\w\\\\w\", \"\") }}",
                What::Pattern("regex_replace"),
            ),
            ("{% autoescape true %}{% endautoescape %}", What::NotOffered("autoescape")),
            ("{{ URL if true }}", What::NotOffered("An if without else between {{ and }}")),
            ("{% include \"a\" %}", What::Syntax),
            ("{% macro a() %}{% endmacro %}", What::Syntax),
            ("{{ URL", What::Syntax),
            ("{% if URL %}", What::Syntax),
        ] {
            assert_eq!(Template::parse(text).map(drop).map_err(|fault| fault.what), Err(what), "{text}");
        }
        let fault = Template::parse("a\nb {{ URL | dump }}").unwrap_err();
        assert_eq!(fault.to_string(), "Line 2: there is no filter dump.");
    }

    #[test]
    fn a_password_of_any_letters_comes_back_out_of_a_url() {
        let text = rendered(
            "postgres://{{ \"sh/p\" | urlencode }}:{{ PASSWORD | urlencode }}@db/shop?p={{ PASSWORD | urlencode }}",
        );
        let url = url::Url::parse(&text.unwrap()).unwrap();
        let decoded =
            |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
        assert_eq!(decoded(url.username()), "sh/p");
        assert_eq!(decoded(url.password().unwrap()), "p?ss@w#rd%{}");
        assert_eq!(url.host_str(), Some("db"));
        assert_eq!(url.query_pairs().next().unwrap().1, "p?ss@w#rd%{}");
    }
}
