//! What an object reads: its spec as a list of sources, each once, and what to ask the plane for.

use super::value::Renaming;
use crate::api::{EntryState, EntryStatus, VaultSecretSync, VaultSecretSyncSpec, parse_duration};
use crate::reason::Reason;
use crate::vault::{Attributes, SecretName, SecretVersion, Source, Want};
use std::collections::BTreeSet;
use std::time::Duration;

/// One source, with the places of the spec that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedSource {
    /// What is read.
    pub source: Source,
    /// Indexes into `spec.data`.
    pub data: Vec<usize>,
    /// Indexes into `spec.dataFrom`.
    pub data_from: Vec<usize>,
}

impl UsedSource {
    /// As it is called in messages: the name, and the version where one is pinned.
    #[must_use]
    pub fn display(&self) -> String {
        self.source.version.as_ref().map_or_else(
            || format!("secret {}", self.source.name),
            |version| format!("secret {} version {version}", self.source.name),
        )
    }

    /// The keys of `spec.data` that it gives.
    #[must_use]
    pub fn keys<'a>(&self, spec: &'a VaultSecretSyncSpec) -> Vec<&'a str> {
        self.data.iter().filter_map(|&index| spec.data.get(index)).map(|item| item.key.as_str()).collect()
    }
}

/// The sources of a spec, each once, in the order of their first use.
///
/// # Errors
/// A sentence that names the field, for a spec that the schema would refuse (one stored before a rule came).
pub fn sources(spec: &VaultSecretSyncSpec) -> Result<Vec<UsedSource>, String> {
    if spec.target.type_.is_refused() {
        return Err(format!(
            "spec.target.type: a Secret of type {} is never written, for whoever has one has more than a value. Create a new object with another type.",
            spec.target.type_.as_str()
        ));
    }
    let mut found: Vec<UsedSource> = Vec::new();
    for (index, item) in spec.data.iter().enumerate() {
        let secret = &item.from.secret;
        let field = format!("spec.data[{index}].from.secret");
        add(&mut found, parse(&field, &secret.name, secret.version.as_deref())?).data.push(index);
    }
    for (index, item) in spec.data_from.iter().enumerate() {
        let field = format!("spec.dataFrom[{index}].secret");
        let source = parse(&field, &item.secret.name, item.secret.version.as_deref())?;
        Renaming::of(&item.rename).map_err(|sentence| format!("spec.dataFrom[{index}].rename{sentence}"))?;
        add(&mut found, source).data_from.push(index);
    }
    Ok(found)
}

fn parse(field: &str, name: &str, version: Option<&str>) -> Result<Source, String> {
    let name = SecretName::parse(name).map_err(|error| format!("{field}.name: {error}"))?;
    let version =
        version.map(SecretVersion::parse).transpose().map_err(|error| format!("{field}.version: {error}"))?;
    Ok(Source { name, version })
}

fn add(found: &mut Vec<UsedSource>, source: Source) -> &mut UsedSource {
    let index = found.iter().position(|used| used.source == source).unwrap_or_else(|| {
        found.push(UsedSource { source, data: Vec::new(), data_from: Vec::new() });
        found.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "the index is of an element that was just found or pushed")]
    &mut found[index]
}

/// The entry of status that speaks of a source.
#[must_use]
pub(super) fn entry<'a>(entries: &'a [EntryStatus], source: &Source) -> Option<&'a EntryStatus> {
    let pin = source.version.as_ref().map(SecretVersion::as_str);
    entries
        .iter()
        .find(|entry| entry.pin.as_deref() == pin && entry.name.eq_ignore_ascii_case(source.name.as_str()))
}

/// What to ask the plane for: known is what status says that the vault told, but of the `demanded` sources nothing, for
/// their value is needed; `stale`: it was said that it is confirmed no longer.
#[must_use]
pub fn wants(
    object: &VaultSecretSync,
    vault: &str,
    sources: &[UsedSource],
    interval: Duration,
    demanded: &BTreeSet<usize>,
    stale: bool,
) -> Vec<Want> {
    // Another vault: nothing of what is known speaks of it.
    let status = object.status.as_ref().filter(|status| status.vault.as_deref() == Some(vault));
    sources
        .iter()
        .enumerate()
        .map(|(index, used)| {
            let entry = status.and_then(|status| entry(&status.entries, &used.source));
            Want {
                source: used.source.clone(),
                interval,
                known: entry.filter(|_| !demanded.contains(&index)).and_then(attributes),
                stale,
            }
        })
        .collect()
}

/// What is known of a source. A source that could not be read is not known: whether it still cannot is to be found
/// out.
fn attributes(entry: &EntryStatus) -> Option<Attributes> {
    match entry.state {
        EntryState::Because(reason) if !of_value(reason) => return None,
        EntryState::Unknown => return None,
        _ => {}
    }
    Some(Attributes {
        version: entry.version.clone()?,
        created: entry.created.as_ref().map(|time| time.0),
        updated: entry.updated.as_ref().map(|time| time.0),
        expires: entry.expires.as_ref().map(|time| time.0),
        not_before: entry.not_before.as_ref().map(|time| time.0),
        managed: entry.managed,
    })
}

/// Whether a reason speaks of a value that was read, so that it stands until another version is.
const fn of_value(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PropertyNotFound
            | Reason::InvalidJson
            | Reason::InvalidFormat
            | Reason::DecodeFailed
            | Reason::DuplicateKey
            | Reason::InvalidKey
            | Reason::NotAllowed
    )
}

/// The longest interval that the schema takes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The interval at which an object's sources are read: what it asks for, not below the connection's and the
/// operator's floor. Unreadable durations (stored before a rule came) count as the default.
#[must_use]
pub fn interval(object: &VaultSecretSync, connection_floor: &str, operator_floor: Duration) -> Duration {
    asked_interval(object)
        .max(parse_duration(connection_floor).unwrap_or(Duration::from_secs(30)).min(LONGEST))
        .max(operator_floor)
}

/// How long values may go unconfirmed that are read at this interval: as set, though never less than one and a half of the
/// interval, for a healthy source is that old between two reads; or three intervals and at least 15 minutes.
#[must_use]
pub fn stale_after(set: Option<Duration>, interval: Duration) -> Duration {
    const LEAST: Duration = Duration::from_secs(15 * 60);
    set.map_or_else(|| (interval * 3).max(LEAST), |set| set.max(interval * 3 / 2))
}

pub(super) fn asked_interval(object: &VaultSecretSync) -> Duration {
    parse_duration(&object.spec.refresh_interval).unwrap_or(Duration::from_secs(300)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(version: Option<&str>) -> Source {
        let version = version.map(|version| SecretVersion::parse(version).unwrap());
        Source { name: SecretName::parse("db").unwrap(), version }
    }

    #[test]
    fn each_pin_of_one_secret_has_an_entry_of_its_own_read_or_not() {
        let (one, other) = ("1".repeat(32), "2".repeat(32));
        let entry_of = |pin: Option<&String>, version: Option<&String>| EntryStatus {
            name: "DB".to_owned(),
            pin: pin.cloned(),
            version: version.cloned(),
            ..EntryStatus::default()
        };
        let entries =
            [entry_of(Some(&one), None), entry_of(None, Some(&other)), entry_of(Some(&other), Some(&other))];
        for (source, expected) in [(source(Some(&one)), 0), (source(None), 1), (source(Some(&other)), 2)] {
            assert_eq!(entry(&entries, &source), entries.get(expected), "{source:?}");
        }
    }

    #[test]
    fn an_interval_from_before_the_rules_is_held_within_them() {
        let mut object = crate::plan::fixtures::Scene::new(Vec::new(), Vec::new()).object;
        object.spec.refresh_interval = "2000000000000000h".to_owned();
        assert_eq!(interval(&object, "2000000000000000h", Duration::ZERO), LONGEST);
    }

    #[test]
    fn a_healthy_source_with_a_long_interval_is_not_stale_between_two_reads_whatever_is_set() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(stale_after(Some(minutes(30)), hours(24)), hours(36));
        assert_eq!(stale_after(Some(minutes(30)), minutes(5)), minutes(30));
        assert_eq!(stale_after(None, minutes(1)), minutes(15));
        assert_eq!(stale_after(None, hours(1)), hours(3));
    }
}
