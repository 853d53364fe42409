//! From objects of External Secrets Operator, akv2k8s and the Secrets Store CSI driver to ours: what `vaultsync convert`
//! prints, and a note on whatever has no equal.
//!
//! Nothing here reads a cluster or a vault, and there is no value in what it reads. A note is never left out: each object
//! is read field by field, and a field that nobody has read is noted by itself (`fields`).

mod akv2k8s;
mod csi;
mod eso;
mod fields;
mod grants;
mod printed;
mod reader;
mod words;

pub use fields::Note;
pub use reader::{NotYaml, objects};

use self::fields::{Fields, Notes};
use self::words::Heading;
use crate::api::{ClusterKeyVault, Creation, KeyVault, VaultSecretSync};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What became of the objects of an input.
#[derive(Debug, Default)]
pub struct Conversion {
    /// Connections of the platform's.
    pub cluster_vaults: Vec<ClusterKeyVault>,
    /// Connections of a namespace.
    pub vaults: Vec<KeyVault>,
    /// One for each Secret.
    pub syncs: Vec<VaultSecretSync>,
    /// What has no equal, or another one, in the order of the input.
    pub notes: Vec<Note>,
}

/// Converts objects of other tools; see [`objects`].
#[must_use]
pub fn convert(objects: Vec<Value>) -> Conversion {
    let mut all = Conversion::default();
    for object in objects {
        all.add(object);
    }
    all.note_repeated_targets();
    grants::allow(&mut all);
    all
}

impl Conversion {
    /// The same, but each object takes over the Secret that is there, with a consent.
    #[must_use]
    pub fn adopting(mut self) -> Self {
        for sync in &mut self.syncs {
            if !sync.spec.target.merges() {
                sync.spec.target.creation = Creation::Adopt;
            }
        }
        self
    }

    /// Our objects, one YAML document each: connections first.
    ///
    /// # Errors
    /// When an object cannot be written as YAML, which a test rules out for what is converted.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        let cluster_vaults = self.cluster_vaults.iter().map(printed::document);
        let vaults = self.vaults.iter().map(printed::document);
        let syncs = self.syncs.iter().map(printed::document);
        cluster_vaults.chain(vaults).chain(syncs).collect()
    }

    fn add(&mut self, object: Value) {
        let word = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (word("apiVersion"), word("kind"));
        let metadata =
            |name: &str| object.get("metadata").and_then(|of| of.get(name)).and_then(Value::as_str);
        let name = metadata("name").unwrap_or_default();
        let subject = match (kind.is_empty(), metadata("namespace")) {
            (true, _) => "An object without a kind".to_owned(),
            (false, Some(namespace)) => format!("{kind} {namespace}/{name}"),
            (false, None) => format!("{kind} {name}"),
        };
        let notes = Notes::on(subject);
        let before = self.objects();
        self.read(&version, &kind, object, &notes);
        if self.objects() == before && notes.is_empty() {
            notes.add("", "lacks what an object of its kind needs, so it was left out.");
        }
        self.notes.extend(notes.into_all());
    }

    /// How many objects of ours there are.
    fn objects(&self) -> usize {
        self.cluster_vaults.len() + self.vaults.len() + self.syncs.len()
    }

    fn read(&mut self, version: &str, kind: &str, object: Value, notes: &Notes) {
        let Some(mut object) = Fields::of("", object, notes) else { return };
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let heading = Heading::of(object.fields("metadata"));
        let spec = object.fields("spec").or_else(|| Fields::of("spec", Value::Object(Map::new()), notes));
        object.leave();
        let Some(mut spec) = spec else { return };
        match (group, kind) {
            ("external-secrets.io", "ExternalSecret") => {
                self.syncs.extend(eso::external_secret(&heading, &mut spec));
            }
            ("external-secrets.io", "SecretStore") => {
                self.vaults.extend(eso::secret_store(&heading, &mut spec));
            }
            ("external-secrets.io", "ClusterSecretStore") => {
                self.cluster_vaults.extend(eso::cluster_secret_store(&heading, &mut spec));
            }
            ("spv.no", "AzureKeyVaultSecret") => akv2k8s::azure_key_vault_secret(&heading, &mut spec, self),
            ("secrets-store.csi.x-k8s.io", "SecretProviderClass") => {
                csi::secret_provider_class(&heading, &mut spec, self);
            }
            ("external-secrets.io", "ClusterExternalSecret") => {
                spec.leave();
                notes.add("", "has no equal: convert its externalSecretSpec as an ExternalSecret, and apply the VaultSecretSync to each namespace with what deploys the application (Kustomize, Helm, Argo CD, Flux).");
            }
            ("external-secrets.io", "PushSecret") => {
                spec.leave();
                notes.add("", "has no equal: vaultsync writes nothing to a vault. External Secrets Operator can go on doing this beside it.");
            }
            _ => {
                spec.leave();
                notes.add("", format!("is none of the kinds that convert reads (apiVersion {version:?}), so it was left out."));
            }
        }
    }

    /// Two objects that write one Secret stand in each other's way.
    fn note_repeated_targets(&mut self) {
        let mut targets: BTreeMap<(Option<&str>, &str), &str> = BTreeMap::new();
        let mut notes = Vec::new();
        for sync in self.syncs.iter().filter(|sync| !sync.spec.target.merges()) {
            let name = sync.metadata.name.as_deref().unwrap_or_default();
            let target = (sync.metadata.namespace.as_deref(), sync.target_name());
            if let Some(first) = targets.insert(target, name) {
                notes.push(Note {
                    subject: format!("VaultSecretSync {name}"),
                    field: "spec.target.name".to_owned(),
                    text: format!(
                        "Secret {} is that of VaultSecretSync {first} too, and only one can have it: move the entries of spec.data to one of them and delete the other.",
                        sync.target_name()
                    ),
                });
            }
        }
        self.notes.extend(notes);
    }
}

#[cfg(test)]
mod tests;
