//! `SecretProviderClass` of the Secrets Store CSI driver, as far as its provider is `azure` and it syncs Secrets.

use super::Conversion;
use super::fields::Fields;
use super::reader::objects;
use super::words::{
    ANY_ID, Heading, bare_spec, from_certificate, from_secret, id, item, literal, secret, secret_type,
    shorten_tls, version, without_tools, workload_identity,
};
use crate::api::{
    CertificatePart, DataItem, Decode, From, KeyFormat, KeyRef, KeyVault, KeyVaultIdentity, KeyVaultSpec,
    ReadSettings, SecretType, Target, VaultKind, VaultRef, VaultSecretSync,
};
use serde_json::Value;

/// An object of the vault that is mounted as a file.
struct Mounted {
    /// The name of the file, by which a Secret takes it.
    file: String,
    name: String,
    kind: String,
    version: Option<String>,
    decode: Decode,
    /// Whether it was named as a certificate in PEM.
    pem: bool,
    /// Whether a folder of versions is mounted.
    history: bool,
}

/// Adds an object for each Secret of a `SecretProviderClass`, and the connection that they read through.
pub(super) fn secret_provider_class(heading: &Heading, spec: &mut Fields<'_>, all: &mut Conversion) {
    let provider = spec.text("provider");
    if provider.as_deref() != Some("azure") {
        spec.note("provider", "is not azure, which is all that vaultsync reads, so the object was left out.");
        return spec.leave();
    }
    let Some(mut parameters) = spec.fields("parameters") else {
        spec.note("parameters", "is missing, so the object was left out.");
        return spec.leave();
    };
    let mounted = mounted(&mut parameters);
    let mut taken = Vec::new();
    let mut syncs = Vec::new();
    for mut secret in spec.items("secretObjects") {
        syncs.extend(sync(heading, &mut secret, &mounted, &mut taken));
    }
    for object in mounted.iter().filter(|object| !taken.contains(&object.file)) {
        parameters.note("objects", format!("{} {} is only mounted: vaultsync writes Secrets alone. Name it in spec.data and mount the Secret, or leave it to the driver.", object.kind, object.name));
    }
    if syncs.is_empty() {
        spec.note_all("syncs no Secret (secretObjects), so there is no object for it.");
        return parameters.leave();
    }
    all.vaults.extend(key_vault(heading, &mut parameters));
    all.syncs.extend(syncs);
}

/// The connection; none, with a note, where it does not read as a ServiceAccount.
fn key_vault(heading: &Heading, parameters: &mut Fields<'_>) -> Option<KeyVault> {
    let name = parameters.text("keyvaultName").unwrap_or_default();
    let cloud = parameters.text("cloudName").unwrap_or_default();
    let host = match cloud.to_ascii_lowercase().as_str() {
        "" | "azurepubliccloud" | "azurecloud" => "vault.azure.net",
        "azureusgovernmentcloud" | "azureusgovernment" => "vault.usgovcloudapi.net",
        "azurechinacloud" => "vault.azure.cn",
        _ => {
            parameters.note("cloudName", format!("{cloud} is none of the clouds that vaultsync knows by the URL, so the URL is that of the public cloud: only a ClusterKeyVault reads elsewhere, with spec.cloud."));
            "vault.azure.net"
        }
    };
    // The newer spelling first, as the provider reads them.
    let tenant = id(parameters, "tenantID");
    let older = id(parameters, "tenantId");
    let client = id(parameters, "clientID");
    let machine = parameters.flag("useVMManagedIdentity");
    let pod = parameters.flag("usePodIdentity");
    if machine || pod {
        let field = if machine { "useVMManagedIdentity" } else { "usePodIdentity" };
        let managed =
            parameters.text("userAssignedIdentityID").map_or_else(String::new, |id| format!(" {id}"));
        parameters.note(field, format!("reads as a managed identity{managed}, which only a ClusterKeyVault does (identity.managedIdentity), so there is no KeyVault {}: federate a ServiceAccount and write one, or name a ClusterKeyVault in spec.vaultRef.", heading.name));
        return None;
    }
    parameters.note("clientID", format!("is that of the ServiceAccount of the pods that mount the volume: write the name of that ServiceAccount to spec.identity.workloadIdentity.serviceAccountName of KeyVault {}, which is default for now.", heading.name));
    if client.is_none() {
        parameters.note("clientID", format!("is missing, so the client id is {ANY_ID} for now: the secret nodePublishSecretRef of a service principal is not read here."));
    }
    let spec = KeyVaultSpec {
        url: format!("https://{name}.{host}"),
        identity: KeyVaultIdentity {
            workload_identity: Some(workload_identity("default", client, tenant.or(older))),
        },
        settings: ReadSettings::default(),
    };
    let mut object = KeyVault::new(&heading.name, spec);
    object.metadata = heading.metadata(&heading.name);
    Some(object)
}

/// The objects of `parameters.objects`: YAML in a text, and in it one text of YAML for each object.
fn mounted(parameters: &mut Fields<'_>) -> Vec<Mounted> {
    let Some(text) = parameters.text("objects") else { return Vec::new() };
    let array = match objects(&text) {
        Ok(read) => read.into_iter().next().and_then(|mut read| read.get_mut("array").map(Value::take)),
        Err(error) => {
            parameters.note("objects", format!("is no YAML: {error}."));
            return Vec::new();
        }
    };
    let Some(Value::Array(array)) = array else {
        parameters.note("objects", "has no array, so no object is known.");
        return Vec::new();
    };
    let mut mounted = Vec::new();
    for (index, object) in array.into_iter().enumerate() {
        let read = object.as_str().map(objects);
        let object = match read {
            Some(Ok(read)) => read.into_iter().next().unwrap_or_default(),
            Some(Err(error)) => {
                parameters.note("objects", format!("array[{index}] is no YAML: {error}."));
                continue;
            }
            None => object,
        };
        if let Some(mut fields) = parameters.beneath(&format!("objects.array[{index}]"), object) {
            mounted.push(one(&mut fields));
        }
    }
    mounted
}

fn one(object: &mut Fields<'_>) -> Mounted {
    let name = object.text("objectName").unwrap_or_default();
    let kind = object.text("objectType").unwrap_or_default().to_ascii_lowercase();
    let format = object.text("objectFormat").unwrap_or_default();
    let history = object.text("objectVersionHistory").is_some_and(|count| count != "0" && count != "1");
    if object.text("filePermission").is_some() {
        object.note("filePermission", "is said where the Secret is mounted: items[].mode, or defaultMode.");
    }
    let decode = match object.text("objectEncoding").unwrap_or_default().to_ascii_lowercase().as_str() {
        "base64" => Decode::Base64,
        "hex" => Decode::Hex,
        _ => Decode::None,
    };
    Mounted {
        file: object.text("objectAlias").unwrap_or_else(|| name.clone()),
        name,
        kind,
        version: version(object, "objectVersion"),
        decode,
        pem: format.eq_ignore_ascii_case("pem"),
        history,
    }
}

/// The object that writes one Secret; none, with a note, where it cannot be written.
fn sync(
    heading: &Heading,
    secret: &mut Fields<'_>,
    mounted: &[Mounted],
    taken: &mut Vec<String>,
) -> Option<VaultSecretSync> {
    let Some(name) = secret.text("secretName") else {
        secret.note("secretName", "is missing, so the Secret was left out.");
        secret.leave();
        return None;
    };
    let Ok(type_) = secret_type(secret, "type") else {
        secret.leave();
        return None;
    };
    let is_tls = type_ == Some(SecretType::Tls);
    let target = Target {
        type_,
        labels: without_tools(secret.words("labels")),
        annotations: without_tools(secret.words("annotations")),
        ..Target::default()
    };
    let vault_ref = VaultRef { kind: VaultKind::KeyVault, name: heading.name.clone() };
    let mut spec = bare_spec(vault_ref, target);
    for mut entry in secret.items("data") {
        let key = entry.text("key").unwrap_or_default();
        if let Some(text) = entry.text("plainValue") {
            spec.target.template.insert(key, literal(&text));
            continue;
        }
        let file = entry.text("objectName").unwrap_or_default();
        if let Some((object, from)) = find(&file, &key, is_tls, mounted) {
            if object.version.is_some() && object.history {
                entry.note(
                    "objectName",
                    format!(
                        "{file} is one of the versions up to {}, which are not followed here.",
                        object.name
                    ),
                );
            }
            taken.push(object.file.clone());
            spec.data.push(item(&key, from));
        } else {
            entry
                .note("objectName", format!("{file} is none of the objects, so the key {key} was left out."));
        }
    }
    if spec.data.is_empty() {
        secret.note_all("has no key that could be converted, so there is no object for it.");
        return None;
    }
    shorten_tls(&mut spec);
    if spec.tls.is_some() || spec.data.iter().any(is_private_key) {
        secret.note("type", "kubernetes.io/tls: the private key is written as PKCS#8, where the driver writes PKCS#1 or SEC 1, so the first sync changes tls.key once.");
    }
    let mut object = VaultSecretSync::new(&name, spec);
    object.metadata = heading.metadata(&name);
    Some(object)
}

fn is_private_key(item: &DataItem) -> bool {
    item.from.certificate.as_deref().is_some_and(|certificate| certificate.part == CertificatePart::Key)
}

/// The object that a file comes of, and the source of a key that is this file.
fn find<'m>(file: &str, key: &str, is_tls: bool, mounted: &'m [Mounted]) -> Option<(&'m Mounted, From)> {
    let named = |name: &str| mounted.iter().find(|object| object.file == name);
    if let Some(object) = named(file) {
        return Some((object, source_of(object, key, is_tls)));
    }
    // The provider may write the two parts of a certificate beside it.
    for (end, part) in [(".crt", CertificatePart::Full), (".key", CertificatePart::Key)] {
        if let Some(object) = file.strip_suffix(end).and_then(named).filter(|object| object.kind == "secret")
        {
            return Some((object, from_certificate(&object.name, object.version.clone(), part)));
        }
    }
    let (folder, number) = file.rsplit_once('/')?;
    let object = named(folder).filter(|object| object.history)?;
    let version = match number {
        "0" => None,
        "1" => Some("Previous".to_owned()),
        _ => return None,
    };
    let of_version = Mounted {
        version,
        file: String::new(),
        name: object.name.clone(),
        kind: object.kind.clone(),
        ..*object
    };
    Some((object, source_of(&of_version, key, is_tls)))
}

fn source_of(object: &Mounted, key: &str, is_tls: bool) -> From {
    let Mounted { name, version, .. } = object;
    let part = match (object.kind.as_str(), key) {
        ("secret", "tls.crt") if is_tls => Some(CertificatePart::Full),
        ("secret", "tls.key") if is_tls => Some(CertificatePart::Key),
        ("secret", _) if object.pem => Some(CertificatePart::Combined),
        ("cert", _) => Some(CertificatePart::Leaf),
        _ => None,
    };
    match part {
        Some(part) => from_certificate(name, version.clone(), part),
        None if object.kind == "key" => {
            let key = KeyRef { name: name.clone(), version: version.clone(), format: KeyFormat::Pem };
            From { key: Some(Box::new(key)), ..From::default() }
        }
        None => {
            let mut secret = secret(name, version.clone());
            secret.decode = object.decode;
            from_secret(secret)
        }
    }
}
