//! The connections of an object, and what the plane says of all of them at one moment.

use super::brake::Hold;
use super::{UsedSource, kind_of};
use crate::api::{EntryStatus, EntryVault, VaultRef, VaultSecretSyncStatus};
use crate::vault::{Answer, Health, Reply, Source, VersionPin};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// A connection that an object reads through, as its spec names it.
#[derive(Clone, Copy, Debug)]
pub struct Connected<'a> {
    /// What the spec calls it.
    pub vault: &'a VaultRef,
    /// The vault's address.
    pub url: &'a str,
    /// How often its sources are read.
    pub interval: Duration,
    /// How long their values may go unconfirmed.
    pub stale_after: Duration,
    /// Up to when somebody has confirmed that what is gone is to go.
    pub removals_confirmed: Option<Timestamp>,
}

/// What the plane said to [`wants`](super::wants).
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// One answer a source, in their order.
    pub answers: Vec<Answer>,
    /// How each connection fares, in their order.
    pub fares: Vec<Fares>,
    /// The sources that are gone and whose keys [stay](super::brake), by index.
    pub(in crate::plan) held: BTreeMap<usize, Hold>,
}

/// How a connection fares.
#[derive(Clone, Debug)]
pub struct Fares {
    /// Whether the vault answers.
    pub health: Health,
    /// For how long the object's sources of it are unconfirmed, if that is worth a word.
    pub unconfirmed_for: Option<Duration>,
}

impl Snapshot {
    /// Of the replies of all connections, each to what is [wanted](super::wants) of it.
    #[must_use]
    pub fn of(sources: &[UsedSource], replies: Vec<Reply>) -> Self {
        let mut answers = Vec::with_capacity(replies.len());
        let mut fares = Vec::with_capacity(replies.len());
        for Reply { answers: given, health, unconfirmed_for } in replies {
            answers.push(given.into_iter());
            fares.push(Fares { health, unconfirmed_for });
        }
        let next = |used: &UsedSource| answers.get_mut(used.vault).and_then(Iterator::next);
        Self {
            answers: sources.iter().map(next).map(|answer| answer.unwrap_or(Answer::Pending)).collect(),
            fares,
            held: BTreeMap::new(),
        }
    }
}

impl Connected<'_> {
    /// As an entry of status names it.
    pub(in crate::plan) fn as_told(&self) -> EntryVault {
        let VaultRef { kind, name } = self.vault.clone();
        EntryVault { kind, name, url: self.url.to_owned() }
    }
}

/// The entries of status that the connection at this place read: what status says of another vault says nothing of this
/// one. Those without a name were read through whichever came first then.
pub(in crate::plan) fn entries_of<'a>(
    status: &'a VaultSecretSyncStatus,
    connections: &[Connected<'a>],
    place: usize,
) -> impl Iterator<Item = &'a EntryStatus> {
    let connection = connections.get(place).copied();
    let others = connections.iter().take(place).map(|connection| connection.url);
    let is_first = connection.is_some_and(|own| others.clone().all(|other| other != own.url));
    status.entries.iter().filter(move |entry| {
        connection.is_some_and(|Connected { vault: VaultRef { kind, name }, url, .. }| match &entry.vault {
            None => is_first && status.vault.as_deref() == Some(url),
            Some(told) => (told.kind, &told.name, &*told.url) == (*kind, name, url),
        })
    })
}

/// The entries of status that the connection of this name read, in whatever vault.
pub(in crate::plan) fn entries_named<'a>(
    status: &'a VaultSecretSyncStatus,
    connections: &[Connected<'a>],
    place: usize,
) -> impl Iterator<Item = &'a EntryStatus> {
    let vault = connections.get(place).map(|connection| connection.vault);
    status.entries.iter().filter(move |entry| match &entry.vault {
        None => place == 0,
        Some(told) => vault.is_some_and(|vault| (told.kind, &told.name) == (vault.kind, &vault.name)),
    })
}

/// The entry that speaks of a source, among those of its connection.
pub(in crate::plan) fn entry<'a>(
    mut entries: impl Iterator<Item = &'a EntryStatus>,
    source: &Source,
) -> Option<&'a EntryStatus> {
    let pin = source.version.as_ref().map(VersionPin::as_str);
    let kind = kind_of(source);
    entries.find(|entry| {
        entry.kind == kind
            && entry.pin.as_deref() == pin
            && entry.name.eq_ignore_ascii_case(source.name.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{ObjectKind, ObjectName};

    fn source(version: Option<&str>) -> Source {
        let version = version.map(|version| VersionPin::parse(version).unwrap());
        Source { kind: ObjectKind::Secret, name: ObjectName::parse("db").unwrap(), version }
    }

    #[test]
    fn each_pin_of_one_secret_has_an_entry_of_its_own_read_or_not() {
        let (one, other) = ("1".repeat(32), "2".repeat(32));
        let entry_of = |pin: Option<&String>, version: Option<&String>| EntryStatus {
            name: "DB".to_owned(),
            pin: pin.map(|pin| pin.as_str().into()),
            version: version.cloned(),
            ..EntryStatus::default()
        };
        let entries =
            [entry_of(Some(&one), None), entry_of(None, Some(&other)), entry_of(Some(&other), Some(&other))];
        for (source, expected) in [(source(Some(&one)), 0), (source(None), 1), (source(Some(&other)), 2)] {
            assert_eq!(entry(entries.iter(), &source), entries.get(expected), "{source:?}");
        }
    }
}
