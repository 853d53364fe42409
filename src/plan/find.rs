//! What the `find`s of a spec look for, and which names count as found.
//!
//! That a name is not listed is a hint, never a verdict: what was found before and is not listed now stays among the
//! sources, and goes only when a GET says that there is no such secret. A list that cannot be read takes nothing away.

use super::sources::{Connected, entries_of};
use crate::api::{DataFrom, EntryState, EntryStatus, VaultRef, VaultSecretSync, VaultSecretSyncSpec};
use crate::vault::{Find, Found, NamePattern, ObjectName, Why};
use std::collections::HashSet;

/// The names for each `find` of a spec that looks through one connection, in their order.
#[derive(Clone, Debug)]
pub struct FoundNames {
    pub(super) names: Vec<Vec<ObjectName>>,
    pub(super) listing: Listing,
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

/// The names that each `find` through the connection at this place found before, as far as status tells: those that it
/// still looks for, and that back no certificate.
#[must_use]
pub fn found_before(
    object: &VaultSecretSync,
    finds: &[Find],
    (connections, place): (&[Connected<'_>], usize),
) -> Vec<Vec<ObjectName>> {
    let Some(connection) = connections.get(place) else { return Vec::new() };
    let told = object.status.iter().flat_map(|status| entries_of(status, connections, place));
    let found: Vec<(&EntryStatus, ObjectName)> = told
        .filter(|entry| !entry.found_by.is_empty() && !entry.managed && entry.state != EntryState::Missing)
        .filter_map(|entry| Some((entry, ObjectName::parse(&entry.name).ok()?)))
        .collect();
    places(&object.spec, connection.vault)
        .zip(finds)
        .map(|((place, _), find)| {
            let of_find = found.iter().filter(|(entry, name)| {
                entry.found_by.iter().any(|by| usize::from(*by) == place) && find.name.fits(&name.folded())
            });
            of_find.map(|(_, name)| name.clone()).collect()
        })
        .collect()
}

impl FoundNames {
    /// Of a spec that looks for nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self { names: Vec::new(), listing: Listing::Whole }
    }

    /// What counts as found. Names that are listed and may not be read are none of it, unless they were found `before`: then
    /// the grant that was withdrawn is to be told of.
    #[must_use]
    pub fn of(found: Found, before: &[Vec<ObjectName>], may_read: impl Fn(&ObjectName) -> bool) -> Self {
        match found {
            Found::Pending => Self { names: before.to_vec(), listing: Listing::Awaited },
            Found::Failed(why) => Self { names: before.to_vec(), listing: Listing::Failed(why) },
            Found::Names { names, absent, failed } => {
                let (absent, known): (HashSet<&ObjectName>, HashSet<&ObjectName>) =
                    (absent.iter().collect(), before.iter().flatten().collect());
                let both = names.iter().zip(before).map(|(names, before)| {
                    let listed = names.iter().filter(|name| may_read(name) || known.contains(name));
                    listed.chain(before.iter().filter(|name| absent.contains(name))).cloned().collect()
                });
                let listing = failed.map_or(Listing::Whole, Listing::Failed);
                Self { names: both.collect(), listing }
            }
        }
    }
}
