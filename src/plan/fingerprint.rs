//! What determines the bytes of a key, in 64 bits: vault, source, version, property, decoding and the revision of our
//! rendering, never a value. A key is due when its fingerprint differs from the recorded one.
//!
//! Fingerprints stand in status and outlive the process, so the function is fixed: the tests pin its results. Another
//! function makes every key due once, which costs a read of each source and moves nothing.

use super::desired::Desired;
use crate::api::{DataFrom, Decode, Fingerprint, SecretRef, VaultSecretSyncSpec};
use crate::vault::{SecretName, SecretVersion};
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

/// What makes a key of `spec.data`.
pub(super) fn of_key(vault: &str, name: &SecretName, version: &str, part: &SecretRef) -> Fingerprint {
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
    name: &SecretName,
    version: &str,
    item: &DataFrom,
    others: Fingerprint,
) -> Fingerprint {
    let (format, others) = (format!("{:?}", item.secret.format), others.to_string());
    let source = [REVISION, "dataFrom", vault, "Secret", &name.folded(), version, &format, &others];
    let steps: Vec<String> = item.rename.iter().map(|step| format!("{step:?}")).collect();
    of_parts(source.into_iter().chain(steps.iter().map(String::as_str)))
}

/// Which keys `data` names and which sources `dataFrom` has: a member that one of them gives too is shadowed, or
/// doubled.
pub(super) fn of_others(spec: &VaultSecretSyncSpec) -> Fingerprint {
    let keys = spec.data.iter().map(|item| item.key.as_str());
    let sources = spec
        .data_from
        .iter()
        .flat_map(|item| [item.secret.name.as_str(), item.secret.version.as_deref().unwrap_or_default()]);
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

/// As a pinned version is written in a spec.
pub(super) fn version_of(version: Option<&SecretVersion>) -> Option<&str> {
    version.map(SecretVersion::as_str)
}

/// What a version of a source makes by a spec: keys of `data` by their place, and the keys of `dataFrom`.
#[cfg(test)]
pub(crate) fn fingerprints_of(
    vault: &str,
    name: &str,
    version: &str,
    spec: &VaultSecretSyncSpec,
) -> (Vec<(usize, Fingerprint)>, Option<Fingerprint>) {
    let source = SecretName::parse(name).unwrap();
    let of_name = |other: &str| other == name;
    let keys = spec.data.iter().enumerate().filter(|(_, item)| of_name(&item.from.secret.name));
    let keys =
        keys.map(|(place, item)| (place, of_key(vault, &source, version, &item.from.secret))).collect();
    let object = spec.data_from.iter().find(|item| of_name(&item.secret.name));
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

    fn name() -> SecretName {
        SecretName::parse("Shop-DB").unwrap()
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
            of_key("https://a", &SecretName::parse("shop-db").unwrap(), "v1", &part(None, Decode::None))
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
        yaml.secret.format = Format::Yaml;
        upper.rename.push(RenameStep { match_: None, to: None, case: Some(Case::Upper), characters: None });
        assert_ne!(of(&base), of(&yaml));
        assert_ne!(of(&base), of(&upper));
    }
}
