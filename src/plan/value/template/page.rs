//! The page `templates.md`: what each of its examples says comes out, and there is one of every function.

use super::Template;
use super::functions::{Sort, all};
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

const PAGE: &str = include_str!("../../../../docs/templates.md");

/// A fenced block: what stands behind its fence, and its text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let parts: Vec<&str> = PAGE.split("\n```").collect();
    let blocks = parts.iter().skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').expect("a block has a first line")).collect()
}

/// Lines of a template, and after arrows those it gives.
fn examples(block: &str) -> Vec<(String, String)> {
    let mut examples: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("→ "), examples.last_mut()) {
            (Some(given), Some((_, wanted))) => wanted.push(given),
            (None, Some((template, wanted))) if wanted.is_empty() => template.push(line),
            _ => examples.push((vec![line], Vec::new())),
        }
    }
    examples.into_iter().map(|(template, wanted)| (template.join("\n"), wanted.join("\n"))).collect()
}

#[test]
fn every_example_comes_out_as_its_page_says() {
    let (mut values, mut used, mut count) = (BTreeMap::new(), BTreeSet::new(), 0);
    for (info, text) in blocks() {
        if let Some(name) = info.strip_prefix("text ") {
            values.insert(name.to_owned(), Zeroizing::new(text.as_bytes().to_vec()));
            continue;
        }
        assert_eq!(info, "jinja", "{text}");
        for (template, wanted) in examples(text) {
            let parsed = Template::parse(&template).unwrap_or_else(|fault| panic!("{template}: {fault}"));
            let given = parsed.render(&values).unwrap_or_else(|fault| panic!("{template}: {fault}"));
            assert_eq!(String::from_utf8_lossy(&given).trim_end_matches('\n'), wanted, "{template}");
            let word = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
            used.extend(template.split(word).map(str::to_owned));
            count += 1;
        }
    }
    assert!(count >= 30, "{count}");
    for sort in [Sort::Filter, Sort::Test, Sort::Function] {
        for function in all(sort) {
            assert!(used.contains(function.name), "{}", function.name);
        }
    }
}
