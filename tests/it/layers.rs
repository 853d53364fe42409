//! The layers of `src`, by what each may name. They keep the core testable without a cluster, a vault or a clock.
//!
//! `api` and `plan` know no client and no runtime; `vault` knows no Kubernetes; `controller` alone knows
//! `kube::runtime`.

use std::fs;
use std::path::{Path, PathBuf};

use support::tools::project;

/// What a folder of `src` must not name; a path stands for all beneath it.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("api", NO_CLIENT),
    ("plan", NO_CLIENT),
    (
        "vault",
        &[
            "kube",
            "kube_client",
            "kube_core",
            "kube_runtime",
            "k8s_openapi",
            "crate::api",
            "crate::controller",
        ],
    ),
];

const NO_CLIENT: &[&str] = &[
    "tokio",
    "reqwest",
    "axum",
    "kube::Api",
    "kube::Client",
    "kube::Config",
    "kube::api::Api",
    "kube::client",
    "kube::config",
    "kube::runtime",
    "kube_client",
    "kube_runtime",
    "crate::controller",
];

/// Longer files have more than one subject. Unit tests do not count, at a file's foot or in a `tests` of its own.
const LONGEST: usize = 400;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The code without comments, strings and unit tests at the file's foot.
fn code(text: &str) -> String {
    let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    let mut code = String::new();
    for line in text[..end].lines() {
        let line = line.split("//").next().unwrap_or_default();
        // Strings are every second piece between quotes; an escaped quote is no border.
        let line = line.replace("\\\"", "");
        let pieces: Vec<&str> = line.split('"').step_by(2).collect();
        code.push_str(&pieces.join("\"\""));
        code.push('\n');
    }
    code
}

/// Every path the code names; the trees of `use` are spelled out.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(|letter: char| letter.is_alphabetic() || letter == '_') {
        rest = &rest[start..];
        let (path, after) = path(rest);
        rest = after;
        if path.ends_with("::") && after.starts_with('{') {
            let end = closing(after);
            expand(&path, &after[1..end], &mut found);
            rest = &after[end..];
        } else {
            found.push(path);
        }
    }
    found
}

/// The path at the start of a text, without the spaces in it, and what follows it.
fn path(text: &str) -> (String, &str) {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '_' | ':' | '*'));
    let (path, after) = text.split_at(end.unwrap_or(text.len()));
    // A single colon ends it: `name: Type`.
    match path.find(':') {
        Some(at) if !path[at..].starts_with("::") => (path[..at].to_owned(), &text[at + 1..]),
        _ => (path.to_owned(), after),
    }
}

fn closing(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let mut rest = tree.trim_start_matches(|letter: char| letter.is_whitespace() || letter == ',');
    while !rest.is_empty() {
        let (path, after) = path(rest);
        if path.is_empty() {
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        if path.ends_with("::") && after.starts_with('{') {
            let end = closing(after);
            expand(&format!("{prefix}{path}"), &after[1..end], found);
            rest = &after[end..];
        } else if path == "self" {
            found.push(prefix.trim_end_matches(':').to_owned());
            rest = after;
        } else {
            found.push(format!("{prefix}{path}"));
            rest = after;
        }
        rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || matches!(letter, ',' | '}'));
    }
}

/// Whether a path reaches into what is forbidden; `kube::*` and `use kube as k` reach into all of it.
fn reaches(path: &str, forbidden: &str) -> bool {
    let whole = path.trim_start_matches("::");
    if let Some(parent) = whole.strip_suffix("::*") {
        return forbidden.starts_with(&format!("{parent}::")) || reaches(parent, forbidden);
    }
    whole == forbidden || whole.starts_with(&format!("{forbidden}::"))
}

fn violations(folder: &Path, forbidden: &[&str]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in sources(folder) {
        let named = paths(&code(&fs::read_to_string(&file).unwrap()));
        let bad = named.iter().filter(|path| forbidden.iter().any(|forbidden| reaches(path, forbidden)));
        violations.extend(bad.map(|path| format!("{} names {path}", file.display())));
    }
    violations
}

#[test]
fn each_layer_names_only_what_it_may() {
    for (layer, forbidden) in FORBIDDEN {
        let found = violations(&project().join("src").join(layer), forbidden);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn only_the_controller_names_the_controller_runtime() {
    let mut found = violations(&project().join("src"), &["kube::runtime", "kube_runtime"]);
    found.retain(|violation| !violation.contains("/src/controller"));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_source_file_is_longer_than_its_subject() {
    let source = project().join("src");
    let tests = |file: &Path| {
        file.strip_prefix(&source).unwrap().iter().any(|part| part == "tests" || part == "tests.rs")
    };
    for file in sources(&source) {
        if tests(&file) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
        let lines = text[..end].lines().count();
        assert!(
            lines <= LONGEST,
            "{} has {lines} lines outside its tests, {LONGEST} are allowed",
            file.display()
        );
    }
}

#[test]
fn the_look_for_names_sees_every_way_to_write_them() {
    let named = |text: &str| paths(&code(text));
    for text in [
        "use kube::Client;",
        "use kube::{Api, Client};",
        "use kube::{\n    Api,\n    Client,\n};",
        "use kube::{self, api::{Patch}, client::{Body}, Client as C};",
        "fn f(c: kube::Client) {}",
        "fn f(c: &::kube::Client) {}",
        "use kube::*;",
    ] {
        let found = named(text);
        assert!(found.iter().any(|path| reaches(path, "kube::Client")), "{text}: {found:?}");
    }
    for text in [
        "// use kube::Client;",
        "let hint = \"kube::Client\";",
        "use kube::{CustomResource, KubeSchema};",
        "#[cfg(test)]\nuse x;\n#[cfg(test)]\nmod tests { use kube::Client; }",
        "use crate::kube_client::Thing;",
    ] {
        let found = named(text);
        assert!(!found.iter().any(|path| reaches(path, "kube::Client")), "{text}: {found:?}");
    }
    assert!(named("use tokio::{sync::{mpsc, oneshot}};").contains(&"tokio::sync::oneshot".to_owned()));
    assert!(named("use k8s_openapi as k;").iter().any(|path| reaches(path, "k8s_openapi")));
}
