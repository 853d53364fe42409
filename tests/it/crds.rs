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

#[test]
fn every_field_is_described() {
    fn undescribed(path: &str, schema: &serde_json::Value, found: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            let standard = ["metadata", "apiVersion", "kind"].contains(&name.as_str());
            if property["description"].as_str().is_none_or(str::is_empty) && !standard {
                found.push(path.clone());
            }
            undescribed(&path, property, found);
            undescribed(&format!("{path}[]"), &property["items"], found);
        }
    }
    let mut found = Vec::new();
    for crd in vaultsync::api::crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        undescribed(&crd.spec.names.kind, &schema["openAPIV3Schema"], &mut found);
    }
    assert!(found.is_empty(), "no description: {found:?}");
}

#[test]
fn every_word_that_a_field_takes_stands_in_its_description() {
    fn unexplained(path: &str, schema: &serde_json::Value, found: &mut Vec<String>) {
        let description = schema["description"].as_str().unwrap_or_default();
        let words = schema["enum"].as_array().into_iter().flatten().filter_map(|word| word.as_str());
        found.extend(
            words
                .filter(|word| !description.contains(&format!("`{word}`")))
                .map(|word| format!("{path}: {word}")),
        );
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            unexplained(&format!("{path}.{name}"), property, found);
        }
        if schema["items"].is_object() {
            unexplained(&format!("{path}[]"), &schema["items"], found);
        }
    }
    let mut found = Vec::new();
    for crd in vaultsync::api::crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        unexplained(&crd.spec.names.kind, &schema["openAPIV3Schema"], &mut found);
    }
    assert!(found.is_empty(), "not in the description of the field, in backticks: {found:#?}");
}

#[test]
fn all_definitions_together_stay_under_100_kb() {
    let size: usize = vaultsync::api::crd_files().unwrap().iter().map(|(_, yaml)| yaml.len()).sum();
    assert!(size < 100_000, "{size} bytes");
}
