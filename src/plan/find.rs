//! What the `find`s of a spec look for, and which names count as found.
//!
//! That a name is not listed is a hint, never a verdict: what was found before and is not listed now stays among the
//! sources, and goes only when a GET says that there is no such secret. A list that cannot be read takes nothing away.

use super::sources::{Connected, entries_named, is_confirmed};
use crate::api::{DataFrom, EntryState, EntryStatus, VaultRef, VaultSecretSync, VaultSecretSyncSpec};
use crate::vault::{Find, Found, Losses, NamePattern, ObjectName, Why};
use std::collections::HashSet;

/// The names for each `find` of a spec that looks through one connection, in their order.
#[derive(Clone, Debug)]
pub struct FoundNames {
    pub(super) names: Vec<Vec<ObjectName>>,
    pub(super) listing: Listing,
    /// Those of them that are listed and fit no more, with many others.
    pub(super) lost: HashSet<ObjectName>,
}

/// What the `find`s of a spec found before through one connection, as far as status tells.
#[derive(Clone, Debug, Default)]
pub struct FoundBefore {
    /// The names for each `find`, in their order: those that it still looks for, and that back no certificate.
    pub names: Vec<Vec<ObjectName>>,
    /// Those that stay until somebody confirms that they are to go.
    pub(super) held: HashSet<ObjectName>,
    /// Those of which somebody has confirmed it.
    pub(super) confirmed: HashSet<ObjectName>,
    /// Whether the spec is not the one that found them.
    pub(super) edited: bool,
}

/// How far the names can be believed to be all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// They are all.
    Whole,
    /// They are what was found before: the list is not read yet.
    Awaited,
    /// They are what was found before: the list cannot be read, for this reason.
    Failed(Why),
}

/// The places in `spec.dataFrom` of the `find`s that look through this connection, in their order.
fn places<'a>(
    spec: &'a VaultSecretSyncSpec,
    vault: &VaultRef,
) -> impl Iterator<Item = (usize, &'a DataFrom)> {
    let items = spec.data_from.iter().enumerate();
    items.filter(move |(_, item)| item.find.is_some() && spec.vault_of(item) == vault)
}

/// What the `find`s of a spec look for through this connection; mostly nothing.
#[must_use]
pub fn finds(spec: &VaultSecretSyncSpec, vault: &VaultRef) -> Vec<Find> {
    places(spec, vault).filter_map(|(_, item)| find_of(item)).collect()
}

fn find_of(item: &DataFrom) -> Option<Find> {
    let find = item.find.as_deref()?;
    let name = NamePattern::new(find.name.as_deref().unwrap_or("*"));
    Some(Find { name, tags: find.tags.clone() })
}

/// What each `find` through the connection at this place found before.
#[must_use]
pub fn found_before(
    object: &VaultSecretSync,
    finds: &[Find],
    (connections, place): (&[Connected<'_>], usize),
) -> FoundBefore {
    let Some(connection) = connections.get(place) else { return FoundBefore::default() };
    // Of another vault too: the connection may lead elsewhere by now, and whether the names are there is to be found out.
    let told = object.status.iter().flat_map(|status| entries_named(status, connections, place));
    let found: Vec<(&EntryStatus, ObjectName)> = told
        .filter(|entry| !entry.found_by.is_empty() && !entry.managed && entry.state != EntryState::Missing)
        .filter_map(|entry| Some((entry, ObjectName::parse(&entry.name).ok()?)))
        .collect();
    let (confirmed, held) = found
        .iter()
        .filter(|(entry, _)| entry.removal_held().is_some())
        .partition::<Vec<_>, _>(|(entry, _)| is_confirmed(entry, connection.removals_confirmed));
    let names_of = |entries: Vec<&(&EntryStatus, ObjectName)>| {
        entries.into_iter().map(|(_, name)| name.clone()).collect()
    };
    let (confirmed, held) = (names_of(confirmed), names_of(held));
    let names = places(&object.spec, connection.vault)
        .zip(finds)
        .map(|((place, _), find)| {
            let of_find = found.iter().filter(|(entry, name)| {
                entry.found_by.iter().any(|by| usize::from(*by) == place) && find.name.fits(&name.folded())
            });
            of_find.map(|(_, name)| name.clone()).collect()
        })
        .collect();
    FoundBefore { names, held, confirmed, edited: !object.is_observed() }
}

impl FoundBefore {
    /// Of the names that are known those that are listed, fit no more, and stay all the same.
    fn lost(
        &self,
        known: &HashSet<&ObjectName>,
        names: &[Vec<ObjectName>],
        absent: &HashSet<&ObjectName>,
    ) -> HashSet<ObjectName> {
        let fit: HashSet<&ObjectName> = names.iter().flatten().collect();
        let were = known.iter().filter(|name| !self.confirmed.contains(**name));
        let lost: HashSet<ObjectName> = were
            .clone()
            .filter(|name| !fit.contains(**name) && !absent.contains(**name))
            .map(|name| (*name).clone())
            .collect();
        let are_many = Losses::are_many(lost.len(), were.count());
        lost.into_iter().filter(|name| (are_many && !self.edited) || self.held.contains(name)).collect()
    }
}

impl FoundNames {
    /// Of a spec that looks for nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { names: Vec::new(), listing: Listing::Whole, lost: HashSet::new() }
    }

    /// What counts as found. Names that are listed and may not be read are none of it, unless they were found `before`: then
    /// the grant that was withdrawn is to be told of. Many that are listed and fit no more, as when somebody removed their
    /// tags, stay until somebody confirms that they are to go.
    #[must_use]
    pub fn of(found: Found, before: &FoundBefore, may_read: impl Fn(&ObjectName) -> bool) -> Self {
        // Until there is a list again, what it showed last stands.
        let as_before = |listing| Self { names: before.names.clone(), listing, lost: before.held.clone() };
        match found {
            Found::Pending => as_before(Listing::Awaited),
            Found::Failed(why) => as_before(Listing::Failed(why)),
            Found::Names { names, absent, failed } => {
                let (absent, known): (HashSet<&ObjectName>, HashSet<&ObjectName>) =
                    (absent.iter().collect(), before.names.iter().flatten().collect());
                let lost = before.lost(&known, &names, &absent);
                let both = names.iter().zip(&before.names).map(|(names, before)| {
                    let listed = names.iter().filter(|name| may_read(name) || known.contains(name));
                    let stays = |name: &&ObjectName| absent.contains(name) || lost.contains(*name);
                    // Of those that are lost some may fit one find and not another.
                    let stay = before.iter().filter(stays).filter(|name| !names.contains(name));
                    listed.chain(stay).cloned().collect()
                });
                let listing = failed.map_or(Listing::Whole, Listing::Failed);
                Self { names: both.collect(), listing, lost }
            }
        }
    }
}
