//! The page `docs/shapes.md`: what each of its examples says comes out.

use crate::api::VaultSecretSyncSpec;
use crate::plan::Step;
use crate::plan::fixtures::{Scene, read};
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../docs/shapes.md");

/// A fenced block: what stands behind its fence, and its text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let parts: Vec<&str> = PAGE.split("\n```").collect();
    let blocks = parts.iter().skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').expect("a block has a first line")).collect()
}

#[test]
fn every_example_comes_out_as_its_page_says() {
    let (mut secrets, mut spec, mut examples) = (BTreeMap::new(), None, 0);
    for (info, text) in blocks() {
        if let Some(name) = info.strip_prefix("text ") {
            secrets.insert(name, text);
        } else if info == "yaml spec" {
            let read: VaultSecretSyncSpec = serde_saphyr::from_str(text).unwrap();
            spec = Some(read);
        } else if info == "yaml Secret" {
            let spec = spec.take().unwrap();
            let mut scene = Scene::new(Vec::new(), Vec::new());
            scene.object.spec = spec;
            let value = |name: &str| read("v1", secrets[name]);
            scene.answers = scene.sources().iter().map(|used| value(used.source.name.as_str())).collect();
            let step = scene.step();
            let Step::Create(new) = step else { panic!("{text}: {step:?}") };
            let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let found: BTreeMap<&str, String> =
                new.data.iter().map(|(key, bytes)| (key.as_str(), shown(bytes.expose()))).collect();
            let wanted: BTreeMap<&str, String> = serde_saphyr::from_str(text).unwrap();
            assert_eq!(found, wanted, "{text}");
            secrets.clear();
            examples += 1;
        }
    }
    assert!(examples >= 9, "{examples}");
}
