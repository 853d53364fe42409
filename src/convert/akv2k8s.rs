//! `AzureKeyVaultSecret` of akv2k8s, as the versions v1 and v2beta1 of `spv.no` have it.

use super::Conversion;
use super::fields::Fields;
use super::words::{
    Heading, NotConverted, bare_spec, from_certificate, from_secret, item, object_secret, secret,
    secret_type, shorten_tls, version,
};
use crate::api::{
    CertificatePart, ClusterIdentity, ClusterKeyVault, ClusterKeyVaultSpec, DataFrom, DataItem, Decode,
    Format, From, KeyFormat, KeyRef, OnMissing, OperatorIdentitySpec, ReadSettings, SecretType, Target,
    VaultKind, VaultRef, VaultSecretSync, VaultSecretSyncSpec,
};

/// The value of a secret that a template makes keys of.
const INPUT: &str = "input";

/// Adds the object that writes the Secret of an `AzureKeyVaultSecret`, and the connection to its vault: akv2k8s reads as one
/// identity for all.
pub(super) fn azure_key_vault_secret(heading: &Heading, spec: &mut Fields<'_>, all: &mut Conversion) {
    let mut output = spec.fields("output");
    if let Some(output) = output.as_mut().filter(|output| output.has("configMap")) {
        output.note("configMap", "has no equal: vaultsync writes Secrets alone. A ConfigMap of a value belongs to what deploys the application.");
        output.skip("configMap");
    }
    let target = output.as_mut().and_then(|output| output.fields("secret"));
    let transform = output.as_mut().map(|output| output.texts("transform")).unwrap_or_default();
    let Some(mut target) = target else {
        spec.note_all("writes no Secret. What the injector of akv2k8s puts into containers has no equal: write a VaultSecretSync, and take the key by secretKeyRef.");
        return spec.leave();
    };
    let Some(mut vault) = spec.fields("vault") else {
        spec.note("vault", "is missing, so nothing was converted.");
        return target.leave();
    };
    let vault_name = vault.text("name").unwrap_or_default().to_ascii_lowercase();
    let Some(mut object) = vault.fields("object") else {
        vault.note("object", "is missing, so nothing was converted.");
        return target.leave();
    };
    // Opaque is not what no type is, for certificates.
    let named_type = target.has("type");
    let Ok(type_) = secret_type(&mut target, "type") else {
        object.leave();
        return target.leave();
    };
    let vault_ref = VaultRef { kind: VaultKind::ClusterKeyVault, name: vault_name.clone() };
    let written_target = Target {
        name: target.text("name").filter(|name| *name != heading.name),
        type_,
        labels: heading.labels.clone(),
        annotations: heading.annotations.clone(),
        ..Target::default()
    };
    let mut sync = bare_spec(vault_ref, written_target);
    // The leaf comes first here in any case.
    target.text("chainOrder");
    let from = ObjectOf { fields: &mut object, transform, named_type };
    if from.write(&mut target, &mut sync).is_err() {
        object.leave();
        return;
    }
    shorten_tls(&mut sync);
    let mut written = VaultSecretSync::new(&heading.name, sync);
    written.metadata = heading.metadata(&heading.name);
    all.syncs.push(written);
    add_vault(&vault_name, &vault, all);
}

/// The connection to a vault, once.
fn add_vault(name: &str, vault: &Fields<'_>, all: &mut Conversion) {
    if all.cluster_vaults.iter().any(|vault| vault.metadata.name.as_deref() == Some(name)) {
        return;
    }
    vault.note("name", format!("became ClusterKeyVault {name}, which reads as vaultsync's own identity (chart: azure.workloadIdentity) what the objects of this input name. Its URL is that of the public cloud. A namespace that is to read as its own ServiceAccount writes a KeyVault instead."));
    let identity =
        ClusterIdentity { operator_identity: Some(OperatorIdentitySpec {}), ..ClusterIdentity::default() };
    let spec = ClusterKeyVaultSpec {
        url: format!("https://{name}.vault.azure.net"),
        identity,
        cloud: None,
        settings: ReadSettings::default(),
        allow: Vec::new(),
    };
    all.cluster_vaults.push(ClusterKeyVault::new(name, spec));
}

/// The object of the vault, and what becomes of its value.
struct ObjectOf<'f, 'n> {
    fields: &'f mut Fields<'n>,
    transform: Vec<String>,
    /// Whether the type of the Secret is written.
    named_type: bool,
}

impl ObjectOf<'_, '_> {
    /// Writes the keys that come of it.
    fn write(self, target: &mut Fields<'_>, spec: &mut VaultSecretSyncSpec) -> Result<(), NotConverted> {
        let name = self.fields.text("name").unwrap_or_default();
        let version = version(self.fields, "version");
        let content = self.fields.text("contentType");
        let kind = self.fields.text("type").unwrap_or_default();
        let key = target.text("dataKey");
        match kind.as_str() {
            "multi-key-value-secret" => {
                let mut secret = object_secret(&name, version);
                if content.as_deref() == Some("application/x-yaml") {
                    secret.format = Format::Yaml;
                }
                spec.data_from.push(DataFrom {
                    secret: Some(secret),
                    find: None,
                    vault_ref: None,
                    rename: Vec::new(),
                    on_missing: OnMissing::Keep,
                    publish: true,
                });
                Ok(())
            }
            "secret" | "certificate" if spec.target.type_ == Some(SecretType::Tls) => {
                spec.data.extend(both_keys(&name, version.as_deref()));
                Ok(())
            }
            "secret" => self.write_secret(&name, version.as_deref(), key, target, spec),
            "certificate" => self.write_certificate(&name, version.as_deref(), key, target, spec),
            "key" => {
                self.fields.note("type", "key: akv2k8s writes the bytes of the modulus, vaultsync a public key in PEM (from.key.format: Pem or Jwk). Look at who reads it.");
                let from = KeyRef { name, version, format: KeyFormat::Pem };
                let from = From { key: Some(Box::new(from)), ..From::default() };
                spec.data.push(item(&needed(key, target)?, from));
                Ok(())
            }
            _ => {
                self.fields.note(
                    "type",
                    format!("{kind:?} is none that akv2k8s has, so the object was not converted."),
                );
                Err(NotConverted)
            }
        }
    }

    fn write_certificate(
        self,
        name: &str,
        version: Option<&str>,
        key: Option<String>,
        target: &Fields<'_>,
        spec: &mut VaultSecretSyncSpec,
    ) -> Result<(), NotConverted> {
        let part = if self.named_type { CertificatePart::Pfx } else { CertificatePart::Leaf };
        if part == CertificatePart::Pfx {
            self.fields.note("type", "certificate in a Secret of type Opaque is the PFX, as from.certificate.part: Pfx. Where the certificate is PEM in the vault, use Combined.");
        }
        spec.data.push(item(&needed(key, target)?, from_certificate(name, version.map(str::to_owned), part)));
        Ok(())
    }

    fn write_secret(
        self,
        name: &str,
        version: Option<&str>,
        key: Option<String>,
        target: &Fields<'_>,
        spec: &mut VaultSecretSyncSpec,
    ) -> Result<(), NotConverted> {
        let mut secret = secret(name, version.map(str::to_owned));
        if spec.target.type_ == Some(SecretType::BasicAuth) {
            spec.data.push(DataItem { publish: false, ..item(INPUT, from_secret(secret)) });
            let filters = self.filters()?;
            for (key, end) in [("username", "first"), ("password", "last")] {
                let text = format!("{{{{ {INPUT}{filters} | split(\":\") | {end} }}}}");
                spec.target.template.insert(key.to_owned(), text);
            }
            return Ok(());
        }
        let key = match spec.target.type_ {
            Some(SecretType::DockerConfigJson) => ".dockerconfigjson".to_owned(),
            Some(SecretType::SshAuth) => "ssh-privatekey".to_owned(),
            _ => needed(key, target)?,
        };
        if self.transform.is_empty() {
            spec.data.push(item(&key, from_secret(secret)));
        } else if self.transform == ["base64decode"] {
            secret.decode = Decode::Base64;
            spec.data.push(item(&key, from_secret(secret)));
        } else {
            let filters = self.filters()?;
            let input = if key == INPUT { "value" } else { INPUT };
            spec.data.push(DataItem { publish: false, ..item(input, from_secret(secret)) });
            spec.target.template.insert(key, format!("{{{{ {input}{filters} }}}}"));
        }
        Ok(())
    }

    /// What `transform` is in a template.
    fn filters(&self) -> Result<String, NotConverted> {
        let filter = |word: &String| match word.as_str() {
            "trim" => Some(" | trim"),
            "base64encode" => Some(" | b64encode"),
            "base64decode" => Some(" | b64decode"),
            _ => None,
        };
        self.transform.iter().map(filter).collect::<Option<String>>().ok_or_else(|| {
            let words = self.transform.join(", ");
            self.fields.note_all(format!("spec.output.transform ({words}) has a step that akv2k8s does not have, so the object was not converted."));
            NotConverted
        })
    }
}

/// The keys of a TLS Secret.
fn both_keys(name: &str, version: Option<&str>) -> [DataItem; 2] {
    [("tls.crt", CertificatePart::Full), ("tls.key", CertificatePart::Key)]
        .map(|(key, part)| item(key, from_certificate(name, version.map(str::to_owned), part)))
}

/// The key that is to be written.
fn needed(key: Option<String>, target: &Fields<'_>) -> Result<String, NotConverted> {
    key.ok_or_else(|| {
        target
            .note("dataKey", "is missing, so the object was not converted: it names the key of the Secret.");
        NotConverted
    })
}
