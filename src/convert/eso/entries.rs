//! The entries of `data` and `dataFrom`.

use super::super::fields::Fields;
use super::super::words::{
    NotConverted, from_certificate, from_secret, item, object_secret, secret, version,
};
use super::find::glob;
use super::property::json_path;
use super::vault_ref;
use crate::api::{
    Case, CertificatePart, Characters, DataFrom, DataItem, Decode, FindSpec, From, KeyFormat, KeyRef,
    OnMissing, RenameStep, VaultRef,
};

/// The key that an entry of `data` writes; none, with a note, where it has no equal.
pub(super) fn one(mut entry: Fields<'_>, vault: &VaultRef, on_missing: OnMissing) -> Option<DataItem> {
    let key = entry.text("secretKey")?;
    let vault_ref = own_vault(&mut entry, vault).ok()?;
    let mut remote = entry.fields("remoteRef")?;
    let source = source_of(&mut remote);
    if source.is_none() {
        remote.leave();
    }
    Some(DataItem { vault_ref, on_missing, ..item(&key, source?) })
}

/// The connection of an entry where that is another than the object's; `Err`, with a note: it reads no vault.
fn own_vault(entry: &mut Fields<'_>, vault: &VaultRef) -> Result<Option<Box<VaultRef>>, NotConverted> {
    let Some(mut source) = entry.fields("sourceRef") else { return Ok(None) };
    if source.has("generatorRef") {
        source.note("generatorRef", "makes a value instead of reading one, which has no equal, so the entry was left out: keep the value in the vault, or leave this entry to External Secrets Operator.");
        source.leave();
        entry.leave();
        return Err(NotConverted);
    }
    let own = source.fields("storeRef").map(|mut store| vault_ref(&mut store));
    Ok(own.filter(|own| own != vault).map(Box::new))
}

/// A policy that API servers fill in; only another than theirs says something.
fn null_bytes(fields: &mut Fields<'_>) {
    if fields.text("nullBytePolicy").is_some_and(|policy| policy != "Ignore") {
        fields.note("nullBytePolicy", "has no equal: a value is written as it is, so it was left out.");
    }
}

/// What `remoteRef` names.
fn source_of(remote: &mut Fields<'_>) -> Option<From> {
    null_bytes(remote);
    let Some(key) = remote.text("key") else {
        remote.note("key", "is missing, so the entry was left out.");
        return None;
    };
    remote.text("conversionStrategy");
    if remote.text("metadataPolicy").as_deref() == Some("Fetch") {
        remote.note(
            "metadataPolicy",
            "Fetch reads the tags instead of the value, which has no equal, so the entry was left out.",
        );
        return None;
    }
    let version = version(remote, "version");
    let decode = decode(remote);
    let (kind, name) = kind_and_name(&key);
    if kind == "secret" {
        let mut secret = secret(name, version);
        secret.decode = decode;
        if let Some(property) = remote.text("property") {
            secret.property = Some(path_of(remote, &property)?);
        }
        return Some(from_secret(secret));
    }
    if remote.text("property").is_some() {
        remote.note("property", format!("of a {kind} is not read there either, so it was left out."));
    }
    if decode != Decode::None {
        remote.note(
            "decodingStrategy",
            format!("of a {kind} has no equal, so it was left out: its bytes are written as they are."),
        );
    }
    match kind {
        "cert" => {
            remote.note("key", format!("{key} is the certificate in DER there and in PEM here. Its private key and its chain are other parts: from.certificate.part, or spec.tls."));
            Some(from_certificate(name, version, CertificatePart::Leaf))
        }
        "key" => {
            let key = KeyRef { name: name.to_owned(), version, format: KeyFormat::Jwk };
            Some(From { key: Some(Box::new(key)), ..From::default() })
        }
        _ => {
            remote.note(
                "key",
                format!("{key} is neither a secret nor a key nor a cert, so the entry was left out."),
            );
            None
        }
    }
}

/// What a key of theirs is, and its name in the vault; without a prefix it is a secret.
fn kind_and_name(key: &str) -> (&str, &str) {
    let Some((kind, rest)) = key.split_once('/') else { return ("secret", key) };
    (kind, rest.split('/').next().unwrap_or_default())
}

fn path_of(remote: &Fields<'_>, property: &str) -> Option<String> {
    let path = json_path(property);
    if path.is_none() {
        remote.note("property", format!("{property} is more than a path of members and indexes, so the entry was left out: write a template with fromjson (docs/templates.md)."));
    } else if property.contains('.') && !property.contains('\\') {
        remote.note("property", format!("{property} is read as a path. Where the JSON has one member of that very name, write $[\"{property}\"]."));
    }
    path
}

fn decode(fields: &mut Fields<'_>) -> Decode {
    match fields.text("decodingStrategy").as_deref() {
        Some("Base64") => Decode::Base64,
        Some("Base64URL") => Decode::Base64Url,
        Some("Auto") => {
            fields.note("decodingStrategy", "Auto decodes less here: only Base64 with its padding, of 16 characters or more, and nothing URL-safe. Where you know which one it is, say so.");
            Decode::Auto
        }
        _ => Decode::None,
    }
}

/// The keys that an entry of `dataFrom` writes; none, with a note, where it has no equal.
pub(super) fn many(mut entry: Fields<'_>, vault: &VaultRef, on_missing: OnMissing) -> Option<DataFrom> {
    let vault_ref = own_vault(&mut entry, vault).ok()?;
    let mut from =
        DataFrom { secret: None, find: None, vault_ref, rename: Vec::new(), on_missing, publish: true };
    let steps = entry.items("rewrite");
    let rewritten = !steps.is_empty();
    for mut step in steps {
        let renamed = rename(&mut step);
        step.leave();
        from.rename.push(renamed?);
    }
    if let Some(mut extract) = entry.fields("extract") {
        if !extract_of(&mut extract, &mut from, rewritten) {
            extract.leave();
            return None;
        }
    } else {
        let mut find = entry.fields("find")?;
        let spec = find_of(&mut find);
        if spec.is_none() {
            find.leave();
        }
        from.find = Some(Box::new(spec?));
        // What is no longer found leaves the Secret in any case.
        from.on_missing = OnMissing::Keep;
    }
    Some(from)
}

/// Whether the members of a secret have an equal; they are written to `from`.
fn extract_of(extract: &mut Fields<'_>, from: &mut DataFrom, rewritten: bool) -> bool {
    let Some(key) = extract.text("key") else {
        extract.note("key", "is missing, so the entry was left out.");
        return false;
    };
    let (kind, name) = kind_and_name(&key);
    if kind != "secret" {
        extract.note("key", format!("{key} is no secret, so it has no members, and the entry was left out."));
        return false;
    }
    if extract.text("metadataPolicy").as_deref() == Some("Fetch") {
        extract.note(
            "metadataPolicy",
            "Fetch gives the tags instead of the members, which has no equal, so the entry was left out.",
        );
        return false;
    }
    if let Some(property) = extract.text("property") {
        extract.note("property", format!("gives the members of {property} alone, which has no equal, so the entry was left out: name them in spec.data, as in property: {}.NAME.", json_path(&property).unwrap_or_else(|| "$".to_owned())));
        return false;
    }
    undecoded(extract);
    null_bytes(extract);
    // There only names that were not rewritten are made fit.
    let unicode = extract.text("conversionStrategy").as_deref() == Some("Unicode");
    if unicode {
        extract.note("conversionStrategy", "Unicode has no equal, so members whose names cannot be keys are left out: give them names by rename.");
    } else if !rewritten {
        from.rename.push(step(None, None, Some(Characters::Key)));
    }
    from.secret = Some(object_secret(name, version(extract, "version")));
    true
}

/// Whose names and tags are looked for.
fn find_of(find: &mut Fields<'_>) -> Option<FindSpec> {
    let expression = find.fields("name").and_then(|mut name| name.text("regexp"));
    let tags = find.words("tags");
    find.text("conversionStrategy");
    undecoded(find);
    null_bytes(find);
    if find.text("path").is_some() {
        find.note("path", "means nothing in Key Vault, so it was left out.");
    }
    let Some(expression) = expression else {
        let name = tags.is_empty().then(|| "*".to_owned());
        find.note_all(
            "leaves out secrets that hold certificates: name these in spec.data by from.certificate.",
        );
        return Some(FindSpec { name, tags });
    };
    let Some(name) = glob(&expression) else {
        find.note("name.regexp", format!("{expression} cannot be written as a name with `*`, so the entry was left out: give the secrets a tag and find that, or write one entry for each beginning."));
        return None;
    };
    find.note("name.regexp", format!("{expression} became {name}, in which case does not count, and secrets that hold certificates are left out."));
    Some(FindSpec { name: Some(name), tags })
}

fn undecoded(fields: &mut Fields<'_>) {
    if decode_many(fields.text("decodingStrategy").as_deref()) {
        fields.note("decodingStrategy", "has no equal in dataFrom, so the values are written as they are in the vault: name those that are encoded in spec.data, with decode.");
    }
}

fn decode_many(strategy: Option<&str>) -> bool {
    strategy.is_some_and(|strategy| strategy != "None")
}

/// One step of `rewrite`; none, with a note, where it has no equal.
fn rename(rewrite: &mut Fields<'_>) -> Option<RenameStep> {
    if let Some(mut regexp) = rewrite.fields("regexp") {
        let to = regexp.text("target").unwrap_or_default();
        return Some(step(Some((regexp.text("source")?, to)), None, None));
    }
    if let Some(mut transform) = rewrite.fields("transform") {
        let template = transform.text("template").unwrap_or_default();
        let compact: String = template.chars().filter(|letter| !letter.is_whitespace()).collect();
        match compact.as_str() {
            "{{.value|upper}}" | "{{upper.value}}" => return Some(step(None, Some(Case::Upper), None)),
            "{{.value|lower}}" | "{{lower.value}}" => return Some(step(None, Some(Case::Lower), None)),
            _ => {}
        }
        transform.note("template", "has no equal but for upper and lower, so the entry was left out: write the names by rename (match and to, case, characters).");
        return None;
    }
    rewrite.note_all("has no equal, so the entry was left out: a rewrite here is regexp, or a transform to upper or lower case.");
    None
}

fn step(matched: Option<(String, String)>, case: Option<Case>, characters: Option<Characters>) -> RenameStep {
    let (match_, to) = matched.unzip();
    RenameStep { match_, to, case, characters }
}
