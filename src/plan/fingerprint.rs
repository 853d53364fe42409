//! What determines the bytes of a key, in 64 bits: vault, source, version, property, decoding and the revision of our
//! rendering, never a value. A key is due when its fingerprint differs from the recorded one.
//!
//! Fingerprints stand in status and outlive the process, so the function is fixed: the tests pin its results. Another
//! function makes every key due once, which costs a read of each source and moves nothing.

use super::desired::Desired;
use super::recipe::{Made, Recipe, StoreOf, WantedPart, recipes};
use crate::api::{DataFrom, Decode, Fingerprint, SecretRef, VaultSecretSyncSpec};
use crate::vault::{ObjectName, ObjectVersion, Source, VersionPin};
use ring::digest::{Context, SHA256};

/// A release that renders the same source to other bytes raises it, so that every key is written again.
const REVISION: &str = "1";

/// SHA-256 over the parts, each behind its length, cut to 64 bits.
fn of_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> Fingerprint {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    Fingerprint(digest.as_ref().iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
}

/// A version of a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version<'a> {
    pub(super) name: &'a ObjectName,
    pub(super) version: &'a str,
}

/// What makes a key by its recipe out of versions of its sources, in their order; `None` for a template, and where a
/// source lacks.
pub(super) fn of_recipe(vault: &str, recipe: &Recipe<'_>, sources: &[Version<'_>]) -> Option<Fingerprint> {
    let [own, others @ ..] = sources else { return None };
    let of = |kind: &str, how: &[&str]| {
        let parts = [REVISION, kind, vault, &own.name.folded(), own.version];
        of_parts(parts.into_iter().chain(how.iter().copied()))
    };
    Some(match recipe.made {
        Made::Secret(part) => of_key(vault, own.name, own.version, part),
        Made::Certificate(certificate) => match certificate.part {
            WantedPart::Named(part) => of("Certificate", &[&format!("{part:?}")]),
            WantedPart::WithRoot => of("Certificate", &["WithRoot"]),
            WantedPart::Store(store, what) => {
                // Of a certificate whose password is itself the two are one source.
                let password = others.first().unwrap_or(own);
                let word = match what {
                    StoreOf::Key => "Pkcs12",
                    StoreOf::Issuers => "TrustStore",
                };
                let alias = store.alias.as_deref().unwrap_or(certificate.name);
                let encryption = format!("{:?}", store.encryption);
                of("Certificate", &[word, alias, &encryption, &password.name.folded(), password.version])
            }
        },
        Made::Key { format, .. } => of("Key", &[&format!("{format:?}")]),
        Made::Template(_) => return None,
    })
}

/// What makes a template: its text, and what makes each of its inputs; of one that is not there nothing does.
pub(super) fn of_template(text: &str, inputs: &[(&str, Option<Fingerprint>)]) -> Fingerprint {
    let inputs = inputs
        .iter()
        .flat_map(|(key, of)| [(*key).to_owned(), of.map(|of| of.to_string()).unwrap_or_default()]);
    let inputs: Vec<String> = inputs.collect();
    of_parts([REVISION, "template", text].into_iter().chain(inputs.iter().map(String::as_str)))
}

/// What makes a key of `spec.data` that is a secret, or a part of one.
fn of_key(vault: &str, name: &ObjectName, version: &str, part: &SecretRef) -> Fingerprint {
    let decode = match part.decode {
        // It decoded more at first.
        Decode::Auto => "Auto2".to_owned(),
        other => format!("{other:?}"),
    };
    // An absent property is another one than an empty one.
    let property = part.property.as_ref().map(|path| format!("={path}")).unwrap_or_default();
    of_parts([REVISION, "data", vault, "Secret", &name.folded(), version, &property, &decode])
}

/// What makes the keys of a `dataFrom` source: which of its members become keys depends on the rest of the spec.
pub(super) fn of_object(
    vault: &str,
    name: &ObjectName,
    version: &str,
    item: &DataFrom,
    others: Fingerprint,
) -> Fingerprint {
    // What is found by its name is a value of its own, whatever else is found.
    let format = item.secret.as_ref().map(|secret| format!("{:?}", secret.format));
    let others = if format.is_some() { others.to_string() } else { String::new() };
    let format = format.unwrap_or_else(|| "Name".to_owned());
    let source = [REVISION, "dataFrom", vault, "Secret", &name.folded(), version, &format, &others];
    let steps = item.rename.iter().map(|step| format!("{step:?}"));
    let hidden = (!item.publish).then(|| "unpublished".to_owned());
    let rest: Vec<String> = steps.chain(hidden).collect();
    of_parts(source.into_iter().chain(rest.iter().map(String::as_str)))
}

/// Which keys the spec names and which sources `dataFrom` has: a member that one of them gives too is shadowed, or
/// doubled.
pub(super) fn of_others(spec: &VaultSecretSyncSpec) -> Fingerprint {
    let recipes = recipes(spec).unwrap_or_default();
    let keys = recipes.iter().map(|recipe| recipe.key);
    let sources = spec.data_from.iter().filter_map(|item| Some((item, item.secret.as_ref()?)));
    let sources = sources.flat_map(|(item, secret)| {
        let named = [secret.name.as_str(), secret.version.as_deref().unwrap_or_default()];
        let vault = item.vault_ref.as_ref().map(|vault| [vault.kind.as_str(), vault.name.as_str()]);
        named.into_iter().chain(vault.into_iter().flatten())
    });
    of_parts(keys.chain([""]).chain(sources))
}

/// The metadata that an object wants on its Secret.
pub(super) fn of_metadata(desired: &Desired) -> Fingerprint {
    let pairs = [("labels", &desired.labels), ("annotations", &desired.annotations)];
    let pairs = pairs.into_iter().flat_map(|(of, pairs)| {
        pairs.iter().flat_map(move |(key, value)| [of, key.as_str(), value.as_str()])
    });
    let owner = desired.owner.as_ref().map_or("", |owner| owner.uid.as_str());
    of_parts(pairs.chain(["owner", owner]))
}

/// Several fingerprints and words as one.
pub(super) fn of_all(words: &[String]) -> Fingerprint {
    of_parts(words.iter().map(String::as_str))
}

/// The version that a source is pinned to.
pub(super) fn version_of(source: &Source) -> Option<&str> {
    source.version.as_ref().and_then(VersionPin::exact).map(ObjectVersion::as_str)
}

/// What makes a template of the model: its text, and what makes each of its inputs.
#[cfg(test)]
pub(crate) fn template_fingerprint(text: &str, inputs: &[(&str, Option<Fingerprint>)]) -> Fingerprint {
    of_template(text, inputs)
}

/// What a version of a secret makes that each `find` of a spec finds, by their places; `vault`: where a `find` looks, if the
/// secret is there.
#[cfg(test)]
pub(crate) fn found_fingerprints(
    vault: impl Fn(&DataFrom) -> Option<&'static str>,
    name: &str,
    version: &str,
    spec: &VaultSecretSyncSpec,
) -> Vec<Fingerprint> {
    let source = ObjectName::parse(name).unwrap();
    let fits = |item: &&DataFrom| {
        let find = item.find.as_deref();
        find.is_some_and(|find| {
            crate::vault::NamePattern::new(find.name.as_deref().unwrap_or("*")).fits(name)
        })
    };
    let found = spec.data_from.iter().filter(fits).filter_map(|item| Some((vault(item)?, item)));
    found.map(|(vault, item)| of_object(vault, &source, version, item, of_others(spec))).collect()
}

/// What a version of a source makes by a spec: keys of `data` by their place, and the keys of `dataFrom`.
#[cfg(test)]
pub(crate) fn fingerprints_of(
    vault: &str,
    name: &str,
    version: &str,
    spec: &VaultSecretSyncSpec,
) -> (Vec<(usize, Fingerprint)>, Option<Fingerprint>) {
    let source = ObjectName::parse(name).unwrap();
    let of_name = |other: &str| other == name;
    let secrets =
        spec.data.iter().enumerate().filter_map(|(place, item)| Some((place, item.from.secret.as_ref()?)));
    let keys = secrets.filter(|(_, secret)| of_name(&secret.name));
    let keys = keys.map(|(place, secret)| (place, of_key(vault, &source, version, secret))).collect();
    let object =
        spec.data_from.iter().find(|item| item.secret.as_ref().is_some_and(|secret| of_name(&secret.name)));
    (keys, object.map(|item| of_object(vault, &source, version, item, of_others(spec))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Case, Format, RenameStep};
    use crate::plan::fixtures::object_source;

    fn part(property: Option<&str>, decode: Decode) -> SecretRef {
        SecretRef { name: "db".to_owned(), version: None, property: property.map(str::to_owned), decode }
    }

    fn name() -> ObjectName {
        ObjectName::parse("Shop-DB").unwrap()
    }

    #[test]
    fn fingerprints_stay_what_they_are_over_releases() {
        let vault = "https://prod.vault.azure.net";
        let plain = of_key(vault, &name(), "v1", &part(None, Decode::None));
        let decoded = of_key(vault, &name(), "v1", &part(Some("$.token"), Decode::Base64));
        let item = object_source("Shop-DB");
        let object = of_object(vault, &name(), "v1", &item, Fingerprint(7));
        assert_eq!(
            [plain, decoded, object].map(|of| of.to_string()),
            ["649934144001bfe7", "586a43e6c675affa", "ef93cb7dd7a936e6"]
        );
    }

    #[test]
    fn whatever_determines_the_bytes_changes_the_fingerprint() {
        let of = |vault: &str, version: &str, property: Option<&str>, decode| {
            of_key(vault, &name(), version, &part(property, decode))
        };
        let base = of("https://a", "v1", None, Decode::None);
        assert_eq!(
            base,
            of_key("https://a", &ObjectName::parse("shop-db").unwrap(), "v1", &part(None, Decode::None))
        );
        for other in [
            of("https://b", "v1", None, Decode::None),
            of("https://a", "v2", None, Decode::None),
            of("https://a", "v1", Some("$.a"), Decode::None),
            of("https://a", "v1", None, Decode::Base64),
        ] {
            assert_ne!(base, other);
        }
        let of = |item: &DataFrom| of_object("https://a", &name(), "v1", item, Fingerprint(7));
        let (base, mut yaml, mut upper) =
            (object_source("Shop-DB"), object_source("Shop-DB"), object_source("Shop-DB"));
        yaml.secret.as_mut().unwrap().format = Format::Yaml;
        upper.rename.push(RenameStep { match_: None, to: None, case: Some(Case::Upper), characters: None });
        assert_ne!(of(&base), of(&yaml));
        assert_ne!(of(&base), of(&upper));
    }
}
