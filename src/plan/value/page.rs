//! The page `docs/shapes.md`: what each of its examples says comes out.

use crate::api::VaultSecretSyncSpec;
use crate::plan::fixtures::{Scene, failed, reading};
use crate::plan::{FoundBefore, FoundNames, Step, UsedSource, finds};
use crate::vault::{Answer, Failure, Find, Found, ObjectKind, ObjectName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PAGE: &str = include_str!("../../../docs/shapes.md");

/// A file of the tests' certificates.
macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/certificates/", $name))
    };
}

const PFX: &[u8] = file!("modern.pfx");

/// Words of the page for bytes that nobody reads.
const WORDS: [(&str, &[u8]); 5] = [
    ("(private key)", file!("leaf-key.pem")),
    ("(leaf)", file!("leaf.pem")),
    ("(intermediate)", file!("intermediate.pem")),
    ("(root)", file!("root.pem")),
    ("(PFX)", PFX),
];

/// A PKCS#12 file that vaultsync makes, which is not the one that the vault has.
const PKCS12: &str = "(a PKCS#12 file)";

/// A fenced block: what stands behind its fence, and its text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let parts: Vec<&str> = PAGE.split("\n```").collect();
    let blocks = parts.iter().skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').expect("a block has a first line")).collect()
}

/// The text of a secret, with what its words stand for.
fn spelled_out(text: &str) -> String {
    let line = |line: &str| match WORDS.iter().find(|(word, _)| *word == line) {
        Some((word, bytes)) if *word == "(PFX)" => STANDARD.encode(bytes),
        Some((_, bytes)) => String::from_utf8(bytes.to_vec()).unwrap().trim_end().to_owned(),
        None => line.to_owned(),
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// The bytes of a key, as the page says them.
fn said(text: &str) -> Vec<u8> {
    let bytes = |word: &str| WORDS.iter().find(|(known, _)| *known == word).map(|(_, bytes)| bytes.to_vec());
    let parts: Option<Vec<Vec<u8>>> = text.replace(") (", ")\n(").split('\n').map(bytes).collect();
    parts.map_or_else(|| text.as_bytes().to_vec(), |parts| parts.concat())
}

/// An object of the vault: what stands behind its fence, and its text.
struct Stored {
    tags: BTreeMap<String, String>,
    answer: Answer,
}

impl Stored {
    /// `facts` are `tags a=b c=d`, `disabled`, or `expires in 10 days`.
    fn new<'a>(facts: impl Iterator<Item = &'a str>, text: &str, now: jiff::Timestamp) -> Self {
        let mut reading = reading("v1", &spelled_out(text));
        let (mut tags, mut disabled) = (BTreeMap::new(), false);
        for fact in facts {
            if let Some(list) = fact.strip_prefix("tags ") {
                let pairs = list.split(' ').map(|tag| tag.split_once('=').unwrap());
                tags = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            } else if let Some(days) = fact.strip_prefix("expires in ") {
                let days: i64 = days.strip_suffix(" days").unwrap().parse().unwrap();
                reading.attributes.expires = Some(now + jiff::SignedDuration::from_hours(24 * days));
            } else {
                assert_eq!(fact, "disabled");
                disabled = true;
            }
        }
        let read = || Answer::Read(Arc::new(reading));
        Self { tags, answer: if disabled { failed(Failure::SecretDisabled) } else { read() } }
    }

    fn has(&self, find: &Find) -> bool {
        find.tags.iter().all(|(name, value)| self.tags.get(name) == Some(value))
    }
}

/// What the examples of the page put into vaults, each called as the connection to it.
type Vault = BTreeMap<(&'static str, ObjectKind, &'static str), Stored>;

/// An object of this spec, whose sources are read.
fn scene(spec: &VaultSecretSyncSpec, vault: &Vault) -> Scene {
    let mut scene = Scene::new(Vec::new(), Vec::new());
    scene.object.spec = spec.clone();
    scene.expiring_before = Duration::from_secs(30 * 24 * 3600);
    let finds = finds(spec, &spec.vault_ref);
    let names_for = |find: &Find| {
        let secrets = vault.iter().filter(|((of, kind, _), stored)| {
            (*of, *kind) == ("default", ObjectKind::Secret) && stored.has(find)
        });
        let names = secrets.map(|((.., name), _)| ObjectName::parse(name).unwrap());
        names.filter(|name| find.name.fits(&name.folded())).collect::<Vec<_>>()
    };
    let names = finds.iter().map(names_for).collect();
    let found = Found::Names { names, absent: Vec::new(), failed: None };
    let before = FoundBefore { names: vec![Vec::new(); finds.len()], ..FoundBefore::default() };
    scene.found = vec![FoundNames::of(found, &before, |_| true)];
    let answer = |used: &UsedSource| {
        let of = spec.vault_refs()[used.vault].name.as_str();
        let version = used.source.version.as_ref().map(|version| format!(" version {version}"));
        let name = format!("{}{}", used.source.name, version.unwrap_or_default());
        vault[&(of, used.source.kind, name.as_str())].answer.clone()
    };
    scene.answers = scene.sources().iter().map(answer).collect();
    scene
}

/// Fails unless all that is `wanted` stands in what is there.
fn assert_within(there: &Value, wanted: &Value) {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().for_each(|(name, wanted)| assert_within(&there[name], wanted));
        }
        (Value::Array(there), Value::Array(wanted)) => {
            assert_eq!(there.len(), wanted.len(), "{there:?}");
            there.iter().zip(wanted).for_each(|(there, wanted)| assert_within(there, wanted));
        }
        _ => assert_eq!(there, wanted),
    }
}

#[test]
fn every_example_comes_out_as_its_page_says() {
    let now = Scene::new(Vec::new(), Vec::new()).now;
    let (mut vault, mut spec, mut examples) = (Vault::new(), None, 0);
    let mut done = false;
    for (info, text) in blocks() {
        let stored = info.strip_prefix("text ").map(|named| (ObjectKind::Secret, named));
        let stored = stored.or_else(|| info.strip_prefix("json key ").map(|named| (ObjectKind::Key, named)));
        if let Some((kind, named)) = stored {
            if std::mem::take(&mut done) {
                vault.clear();
            }
            let mut facts = named.split(", ");
            let name = facts.next().unwrap();
            let (name, of) = name.split_once(" of ").unwrap_or((name, "default"));
            vault.insert((of, kind, name), Stored::new(facts, text, now));
        } else if info == "yaml spec" {
            let read: VaultSecretSyncSpec =
                serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            spec = Some(read);
        } else if info == "yaml Secret" {
            let step = scene(spec.as_ref().unwrap(), &vault).step();
            let Step::Create(new) = step else { panic!("{text}: {step:?}") };
            let wanted: BTreeMap<String, String> = serde_saphyr::from_str(text).unwrap();
            let keys: Vec<&String> = new.data.keys().collect();
            assert_eq!(keys, wanted.keys().collect::<Vec<_>>(), "{text}");
            for (key, wanted) in &wanted {
                let found = new.data[key].expose();
                if wanted == PKCS12 {
                    // A sequence with a length of two bytes, version 3.
                    assert!(found.starts_with(&[0x30, 0x82]) && found[4..7] == [2, 1, 3], "{key} of {text}");
                    assert_ne!(found, PFX, "{key} of {text}");
                } else {
                    let wanted = said(wanted);
                    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    assert_eq!(shown(found), shown(&wanted), "{key} of {text}");
                    assert_eq!(found, wanted, "{key} of {text}");
                }
            }
            (done, examples) = (true, examples + 1);
        } else if info == "yaml status" {
            let mut scene = scene(spec.as_ref().unwrap(), &vault);
            scene.create();
            let status = serde_json::to_value(scene.status()).unwrap();
            assert_within(&status, &serde_saphyr::from_str(text).unwrap());
        }
    }
    assert!(examples >= 26, "{examples}");
}
