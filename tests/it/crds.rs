//! The CustomResourceDefinitions: what stands in `crds/` and in the chart is what the types say.

use std::{env, fs, path::Path};

/// Writes `text` under BLESS=1, else says which file is stale.
pub(crate) fn assert_fresh(path: &Path, text: &str) {
    if env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(found == text, "{} is stale: run `make crds`", path.display());
}

#[test]
fn the_manifests_are_what_the_types_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, yaml) in vaultsync::api::crd_files().unwrap() {
        assert_fresh(&root.join("crds").join(&file), &yaml);
        assert_fresh(&root.join("charts/vaultsync/files/crds").join(&file), &yaml);
    }
}

/// What stands for the items of a list, which its field describes.
const ITEMS: &str = "[]";

/// What `look` says of any field of any kind, each with its path.
fn found_in_fields(look: impl Fn(&str, &serde_json::Value) -> Vec<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut left: Vec<(String, serde_json::Value)> = Vec::new();
    for crd in vaultsync::api::crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        left.push((crd.spec.names.kind, schema["openAPIV3Schema"].clone()));
    }
    while let Some((path, schema)) = left.pop() {
        let fields = schema["properties"].as_object().into_iter().flatten();
        let fields = fields.map(|(name, field)| (name.as_str(), field));
        let items = schema["items"].is_object().then_some((ITEMS, &schema["items"]));
        for (name, field) in fields.chain(items) {
            let path = format!("{path}.{name}");
            found.extend(look(name, field).into_iter().map(|what| format!("{path}: {what}")));
            left.push((path, field.clone()));
        }
    }
    found
}

#[test]
fn every_field_is_described() {
    let found = found_in_fields(|name, field| {
        let standard = ["metadata", "apiVersion", "kind", ITEMS].contains(&name);
        let described = field["description"].as_str().is_some_and(|text| !text.is_empty());
        if described || standard { Vec::new() } else { vec!["no description".to_owned()] }
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_field_has_a_default_that_would_be_stored() {
    let found = found_in_fields(|name, field| {
        let progress = name == "status";
        if field["default"].is_null() || progress { Vec::new() } else { vec!["has a default".to_owned()] }
    });
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_word_that_a_field_takes_stands_in_its_description() {
    let found = found_in_fields(|_, field| {
        let description = field["description"].as_str().unwrap_or_default();
        let words = field["enum"].as_array().into_iter().flatten().filter_map(|word| word.as_str());
        words.filter(|word| !description.contains(&format!("`{word}`"))).map(str::to_owned).collect()
    });
    assert!(found.is_empty(), "not in the description of the field, in backticks: {found:#?}");
}

#[test]
fn all_definitions_together_stay_under_100_kb() {
    let size: usize = vaultsync::api::crd_files().unwrap().iter().map(|(_, yaml)| yaml.len()).sum();
    assert!(size < 100_000, "{size} bytes");
}
