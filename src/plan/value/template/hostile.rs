//! Templates that are written to do harm: none takes long, makes much, panics, or shows a value in what it says.

use super::{Fault, Inputs, LONGEST_TEXT, Template, What};
use proptest::prelude::*;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

type Data = BTreeMap<String, Zeroizing<Vec<u8>>>;

fn data(pairs: &[(&str, &[u8])]) -> Data {
    pairs.iter().map(|(name, bytes)| ((*name).to_owned(), Zeroizing::new(bytes.to_vec()))).collect()
}

/// Renders it twice; both must come to the same.
fn render(text: &str, data: &Data) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let template = Template::parse(text)?;
    let rendered = template.render(data);
    assert_eq!(rendered, template.render(data), "{text}");
    assert!(rendered.as_ref().is_ok_and(|bytes| bytes.len() <= LONGEST_TEXT) || rendered.is_err());
    rendered
}

/// The largest values that Key Vault has, of the kinds that cost most.
fn large() -> Data {
    let json = format!("[{}0]", "[0],".repeat(1000));
    let words = "a,".repeat(12_000);
    data(&[
        ("A", "a".repeat(25_000).as_bytes()),
        ("WORDS", words.as_bytes()),
        ("JSON", json.as_bytes()),
        ("BYTES", &vec![0xff; 25_000]),
    ])
}

#[test]
fn whatever_is_asked_of_it_ends_early() {
    let doubled = "{% set a = a ~ a %}".repeat(40);
    let nested = |depth: usize, inner: &str| {
        let open = "{% for x in l %}".repeat(depth);
        format!("{{% set l = WORDS[:2000] | split(\",\") %}}{open}{inner}{}", "{% endfor %}".repeat(depth))
    };
    let growing = [
        // Texts that double, in every way there is.
        format!("{{% set a = A %}}{doubled}"),
        format!("{{% set a = A %}}{}", "{% set a = a + a %}".repeat(40)),
        format!("{{% set a = A %}}{}", "{% set a %}{{ a }}{{ a }}{% endset %}".repeat(40)),
        format!("{{% set a = A %}}{}", "{% set a = [a, a] | join %}".repeat(40)),
        format!("{{% set a = A %}}{}", "{% set a = a | replace(\"a\", \"aa\") %}".repeat(40)),
        format!("{{% set a = A[:8000] %}}{}", "{% set a = a | regex_replace(\"a\", \"$0$0\") %}".repeat(40)),
        format!("{{% set a = A %}}{}", "{% set a = a | b64encode %}".repeat(200)),
        format!("{{% set a = BYTES %}}{}", "{% set a = a | hex | urlencode | jsonstring %}".repeat(200)),
        "{{ A | replace(\"a\", A) }}".to_owned(),
        "{{ WORDS | split(\",\") | join(A) }}".to_owned(),
        "{{ WORDS | replace(\",\", \"\n\") | indent(64) | indent(64) }}".to_owned(),
        format!("{{{{ A{} }}}}", " | jsonstring".repeat(160)),
        format!("{{{{ [{}] | join }}}}", vec!["A"; 200].join(",")),
        format!("{{{{ [{}] | tojson }}}}", vec!["A"; 200].join(",")),
        // Loops in loops, with something that costs much in the innermost.
        nested(5, "{{ x }}"),
        nested(5, ""),
        nested(3, "{% if A == A ~ \"\" %}{% endif %}"),
        nested(3, "{% if \"b\" in A %}{% endif %}"),
        nested(3, "{{ A | sha256 }}"),
        nested(3, "{{ BYTES | sha256 }}"),
        nested(3, "{% set y = JSON | fromjson %}"),
        nested(3, "{% set y = A[:8000] | regex_replace(\"(a|a)*b|a.*c\", \"\") %}"),
        // As many states as there may be, and texts of which each place is looked at from each place before it.
        nested(3, "{% set y = A[:8000] | regex_replace('(\\\\w?){3}b|a', '') %}"),
        nested(3, "{% set y = A[:2000] | regex_replace('.*[^A-Za-z]|[a-z]', '') %}"),
        nested(3, "{% set y = A[:8000] | regex_replace('(a?){20}(a){20}b|a', '') %}"),
        nested(3, "{% set y = A[:8000] | regex_replace('(a?a?a?){1,30}(b|(c))|(a)', '') %}"),
        nested(3, "{% if A[:8000] is matching(\"(a*)*(a*)*b$\") %}{% endif %}"),
        format!(
            "{{% set i = JSON | fromjson %}}{{% set j = JSON | fromjson %}}{}",
            nested(3, "{% if i == j %}{% endif %}")
        ),
        format!("{{% set i = JSON | fromjson %}}{}", nested(3, "{% set y = i ~ i %}")),
        format!("{{% set i = JSON | fromjson %}}{}", nested(3, "{% set y = i | tojson %}")),
        format!("{{% set i = JSON | fromjson %}}{}", nested(3, "{% set y = data | length %}")),
        nested(3, "{% for k, v in data | items %}{% set y = v %}{% endfor %}"),
        nested(3, "{{ A | upper | lower | trim(\"b\") | lines | last | length }}"),
        nested(3, "{% set y = A | trim(WORDS[:64]) %}"),
        "{% for a in A %}{% for b in A %}{% for c in A %}{% endfor %}{% endfor %}{% endfor %}".to_owned(),
    ];
    for text in growing {
        let start = std::time::Instant::now();
        let found =
            Template::parse(&text).and_then(|template| template.render(&large())).map(|bytes| bytes.len());
        let shown: String = text.chars().skip(text.len().saturating_sub(130)).take(70).collect();
        println!("{:>6} ms {found:?} {shown}", start.elapsed().as_millis());
        let what = found.expect_err(&shown).what;
        assert!(
            matches!(what, What::Steps | What::LongText | What::ManyParts | What::Kind(_)),
            "{shown}: {what}"
        );
    }
}

#[test]
fn however_deep_it_is_the_stack_bears_it() {
    let deep = |before: &str, inner: &str, after: &str, times: usize| {
        format!("{}{inner}{}", before.repeat(times), after.repeat(times))
    };
    for times in [30, 60, 100, 149, 250, 500, 3000] {
        for text in [
            format!("{{{{ {} }}}}", deep("(", "A", ")", times)),
            format!("{{{{ {} | tojson }}}}", deep("[", "A", "]", times)),
            format!("{{{{ {} | tojson }}}}", deep("{\"a\":", "A", "}", times)),
            format!("{{{{ {} }}}}", deep("not ", "A", "", times)),
            format!("{{{{ {} }}}}", deep("- ", "1", "", times)),
            format!("{{{{ {} }}}}", deep("A ~ ", "A", "", times)),
            format!("{{{{ {} }}}}", deep("A or ", "A", "", times)),
            format!("{{{{ {} }}}}", deep("1 - ", "1", "", times)),
            format!("{{{{ {} }}}}", deep("A == ", "A", "", times)),
            format!("{{{{ {} }}}}", deep("A if A else ", "A", "", times)),
            format!("{{{{ A{} }}}}", deep(" | upper", "", "", times)),
            format!("{{{{ A{} }}}}", deep(".a", "", "", times)),
            format!("{{{{ A{} }}}}", deep("[0]", "", "", times)),
            format!("{{{{ A{} }}}}", deep("[A", "", "]", times)),
            format!("{{{{ A{} }}}}", deep(" is defined", "", "", times)),
            format!("{{{{ A{} }}}}", deep("()", "", "", times)),
            format!("{{% filter upper{} %}}{{% endfilter %}}", deep(" | upper", "", "", times)),
            deep("{% if A %}", "", "{% endif %}", times),
            deep("{% for a in A %}", "", "{% endfor %}", times),
            deep("{% with %}", "", "{% endwith %}", times),
            deep("{% set a %}", "", "{% endset %}", times),
            deep("{% filter upper %}", "", "{% endfilter %}", times),
            format!("{{% if A %}}{}{{% endif %}}", deep("{% elif A %}", "", "", times)),
            deep("{% set a = A.a %}", "", "", times),
            deep("{% raw %}", "", "", times),
            deep("{#", "", "#}", times),
            deep("{{", "", "}}", times),
        ] {
            // What comes of it does not matter.
            let _ = render(&text, &data(&[("A", b"a")]));
        }
        for text in [deep("[", "", "]", times), deep("{\"a\":", "1", "}", times)] {
            let _ = render(
                "{% set a = A | fromjson %}{{ a ~ a }}{{ a | tojson }}",
                &data(&[("A", text.as_bytes())]),
            );
        }
    }
}

#[test]
fn no_value_is_in_what_it_says() {
    let secret = "CANARY-7f3a";
    let canary = data(&[
        ("A", secret.as_bytes()),
        ("BYTES", b"CANARY-7f3a\xff"),
        ("JSON", br#"{"a": "CANARY-7f3a", "CANARY-7f3a": 1, "l": ["CANARY-7f3a"], "n": 1.10, "no": null}"#),
        ("CANARY-7f3a", secret.as_bytes()),
    ]);
    let operators = ["+", "-", "/", "//", "%", "~", "<", ">", "==", "in", "and", "or"];
    let operands = [
        "A",
        "BYTES",
        "1",
        "1.5",
        "true",
        "none",
        "(JSON | fromjson)",
        "(JSON | fromjson).l",
        "(JSON | fromjson).no",
    ];
    let mut texts: Vec<String> = Vec::new();
    for left in operands {
        for right in operands {
            texts.extend(operators.iter().map(|op| format!("{{{{ {left} {op} {right} }}}}")));
            texts.push(format!("{{{{ {left}[{right}] }}}}"));
            texts.push(format!("{{{{ A[{left}:{right}] }}}}"));
        }
        texts.push(format!("{{{{ -{left} }}}}"));
        texts.push(format!("{{{{ {left} }}}}"));
        texts.push(format!("{{{{ {left}.CANARY }}}}"));
        texts.push(format!("{{{{ data[{left}] }}}}"));
        texts.push(format!("{{% for a, b in {left} %}}{{{{ a.b.c }}}}{{% endfor %}}"));
        texts.push(format!("{{% set a, b, c = {left} %}}"));
        for filter in super::functions::all(super::functions::Sort::Filter) {
            let (least, most) = filter.arguments;
            for (count, argument) in
                (least..=most).flat_map(|count| [(count, "A"), (count, "1"), (count, "BYTES")])
            {
                let mut arguments = vec![argument; count];
                if filter.pattern {
                    arguments[0] = "\"(?P<a>.)\"";
                }
                texts.push(format!("{{{{ {left} | {}({}) }}}}", filter.name, arguments.join(", ")));
            }
        }
        texts.push(format!("{{{{ docker_config(A, A, {left}) }}}}"));
    }
    let mut failed = 0;
    for text in &texts {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(fault) => {
                assert!(!format!("{fault} {fault:?}").contains("7f3a"), "{text}");
                continue;
            }
        };
        assert!(!format!("{template:?} {template:#?}").contains("7f3a"), "{text}");
        if let Err(fault) = template.render(&canary) {
            assert!(!format!("{fault} {fault:?} {fault:#?}").contains("7f3a"), "{text}: {fault}");
            failed += 1;
        }
    }
    assert!(failed > 1000, "{failed} of {}", texts.len());
}

/// Pieces that are often put together wrongly.
fn pieces() -> impl Strategy<Value = String> {
    let names: Vec<&'static str> = [super::functions::Sort::Filter, super::functions::Sort::Test]
        .into_iter()
        .flat_map(super::functions::all)
        .map(|function| function.name)
        .collect();
    let word = prop_oneof![
        proptest::sample::select(names),
        proptest::sample::select(vec![
            "{{",
            "}}",
            "{%",
            "%}",
            "{#",
            "#}",
            "-",
            "A",
            "B",
            "J",
            "data",
            "loop",
            "x",
            "if",
            "else",
            "elif",
            "endif",
            "for",
            "in",
            "endfor",
            "set",
            "endset",
            "with",
            "endwith",
            "filter",
            "endfilter",
            "raw",
            "endraw",
            "is",
            "not",
            "and",
            "or",
            "|",
            "|",
            "|",
            ".",
            ",",
            "(",
            ")",
            "[",
            "]",
            "[1:2]",
            "[-1:]",
            "{",
            "}",
            ":",
            "=",
            "==",
            "<",
            "+",
            "~",
            "/",
            "//",
            "%",
            "*",
            "**",
            "1",
            "0",
            "64",
            "-9223372036854775808",
            "1e308",
            "\"a\"",
            "'.'",
            "\"\\u00e9\"",
            "\"é\"",
            "none",
            "true",
            "docker_config(A,B,x)",
            "\n",
            "é",
            "recursive",
            "namespace()",
            "{% set x = ",
            "{% for x in ",
            "{% endfor %}",
            "{{ A | ",
            "{{ J | fromjson",
            " %}",
            " }}",
            "0x7f",
            "1_0",
        ]),
    ];
    proptest::collection::vec(word, 0..24).prop_map(|words| words.join(" "))
}

/// Expressions that are more often right.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(vec![
        "A",
        "B",
        "J",
        "data.A",
        "data[\"B\"]",
        "1",
        "-3",
        "0",
        "2.5",
        "9223372036854775807",
        "\"é,b\"",
        "\"\"",
        "none",
        "true",
        "x",
        "(J | fromjson)",
        "(J | fromjson).a",
        "(A | split(\",\"))",
        "data",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let names: Vec<(&'static str, usize)> = super::functions::all(super::functions::Sort::Filter)
            .flat_map(|filter| (filter.arguments.0..=filter.arguments.1).map(|count| (filter.name, count)))
            .collect();
        let op = proptest::sample::select(vec![
            "+", "-", "/", "//", "%", "~", "<", "<=", "==", "!=", "in", "not in", "and", "or",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (inner.clone(), proptest::sample::select(names), inner.clone(), inner.clone()).prop_map(
                |(of, (name, count), a, b)| format!("({of} | {name}({}))", [a, b][..count].join(", "))
            ),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("{a}[{b}:{c}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("([{a}, {b}] | join(\",\"))")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({{\"a\": {a}, {b}: 1}} | tojson)")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} if {b} else {c})")),
            inner.prop_map(|a| format!("(-{a})")),
        ]
    })
}

fn small() -> Data {
    data(&[
        ("A", "a,é\n-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----".as_bytes()),
        ("B", b"\xff\xfe"),
        ("J", br#"{"a": [1, "b", null, 1.10], "b": {"c": true}}"#),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_pieces_of_a_template_panic(text in pieces()) {
        let _ = render(&text, &small());
    }

    #[test]
    fn no_expression_panics(value in expressions(), other in expressions()) {
        for text in [
            format!("{{{{ {value} }}}}"),
            format!("{{% for x in {value} %}}{{{{ {other} }}}}{{% endfor %}}"),
            format!("{{% set x = {value} %}}{{% if x %}}{{{{ {other} }}}}{{% endif %}}"),
        ] {
            let _ = render(&text, &small());
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,200}", value in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = render(&text, &small());
        let given = data(&[("A", &value)]);
        for filter in super::functions::all(super::functions::Sort::Filter) {
            let arguments = if filter.pattern { "\"a*\", \"$0b\"" } else { ["", "\"a\"", "\"a\", \"b\""][filter.arguments.0] };
            let template = Template::parse(&format!("{{{{ A | {}({arguments}) }}}}", filter.name)).unwrap();
            prop_assert_eq!(template.inputs(), Inputs::Some(["A".to_owned()].into()));
            prop_assert_eq!(template.render(&given), template.render(&given));
        }
    }
}
