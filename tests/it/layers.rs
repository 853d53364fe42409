//! How `src` is built: what each layer may name, and that no file, folder, name or circle of files outgrows its reader.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Module, Source, is_beneath};

/// Modules of `src`, and what they and all beneath them must not name; a path stands for all beneath it.
const FORBIDDEN: &[(&str, &str)] = &[
    (
        "crate::object_key crate::reason crate::certificate",
        "crate::api crate::plan crate::vault kube k8s_openapi tokio",
    ),
    (
        "crate::api crate::plan crate::convert",
        "tokio reqwest axum kube::Api kube::Client kube::Config kube::api::Api kube::client",
    ),
    ("crate::api crate::plan crate::vault crate::convert", "crate::controller"),
    ("crate::api crate::vault crate::convert", "crate::plan"),
    ("crate::convert", "crate::vault crate::certificate crate::lease"),
    ("crate::api crate::plan crate::vault crate::controller", "crate::convert"),
    ("crate::vault", "crate::api kube kube_client kube_core kube_runtime k8s_openapi"),
    (
        "crate::api crate::plan crate::cli crate::run crate::server crate::telemetry main",
        "kube::runtime kube_runtime",
    ),
];

const LONG: &str = "is longer than 400 lines";
const FULL: &str = "has more than 20 files";
const TWICE: &str = "is the name of two types";
const CIRCLE: &str = "is one of more than 4 files that import each other";

#[test]
fn each_layer_names_only_what_it_may() {
    let source = Source::read();
    let mut found = Vec::new();
    for (module, Module { file, .. }) in &source.0 {
        let is_of = |layers: &str| layers.split(' ').any(|layer| is_beneath(module, layer));
        let rules = FORBIDDEN.iter().filter(|(layers, _)| is_of(layers));
        // What a glob brings in cannot be followed.
        let forbidden: Vec<&str> = rules.flat_map(|(_, forbidden)| forbidden.split(' ')).collect();
        for path in source.named(module) {
            if path.ends_with("::*") || forbidden.iter().any(|forbidden| is_beneath(&path, forbidden)) {
                found.push(format!("{file} names {path}"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_outgrows_its_reader() {
    let source = Source::read();
    let reached: BTreeMap<_, _> = source.0.keys().map(|name| (name.as_str(), source.reached(name))).collect();
    let (mut found, mut folders, mut types) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for (module, Module { file, lines, types: own, .. }) in &source.0 {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let files = folders.entry(folder).or_insert(0);
        *files += 1;
        let circle =
            reached[module.as_str()].iter().filter(|other| reached[**other].contains(module.as_str()));
        let twice = own.iter().filter(|name| !types.insert(*name)).map(|name| (name.as_str(), TWICE, true));
        let rules = [
            (file.as_str(), LONG, *lines > 400),
            (folder, FULL, *files > 20),
            (file, CIRCLE, circle.count() > 4),
        ];
        let broken = rules.into_iter().chain(twice).filter(|(_, _, broken)| *broken);
        found.extend(broken.map(|(what, rule, _)| format!("{what} {rule}")));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_look_for_names_sees_every_way_to_write_them() {
    for (seen, text) in [
        (true, "use kube::{self, api::{Patch}, Client as C};"),
        (true, "fn f(c: &::kube::Client) {}"),
        (true, "use kube as k; fn f(c: Option<k::Client>) {}"),
        (true, "fn f() { super::Way::new() }"),
        (true, "mod x; #[cfg(test)] mod tests {} fn f() { vec![kube::Client::new()] }"),
        (true, "impl X { fn f() { use kube::{Client}; } }"),
        (false, "/* use kube::Client; */ const HINT: &str = \"kube::Client\";"),
        (false, "#[cfg(test)] mod tests { use kube::Client; } use crate::kube::Client;"),
        (false, "impl X { #[cfg(test)] fn f() -> kube::Client {} }"),
    ] {
        let modules = [("crate", "pub use kube::Client as Way; mod deep;"), ("crate::deep", text)];
        let module = |(name, text): (&str, &str)| (name.to_owned(), Module::of(String::new(), text));
        let named = Source(modules.map(module).into()).named("crate::deep");
        assert_eq!(named.iter().any(|path| is_beneath(path, "kube::Client")), seen, "{text}: {named:?}");
    }
}
