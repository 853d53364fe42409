//! What the `find`s of a spec look for, and which names count as found.
//!
//! That a name is not listed is a hint, never a verdict: what was found before and is not listed now stays among the
//! sources, and goes only when a GET says that there is no such secret. A list that cannot be read takes nothing away.

use crate::api::{DataFrom, EntryKind, EntryState, VaultSecretSync, VaultSecretSyncSpec};
use crate::vault::{Find, Found, NamePattern, ObjectName, Why};

/// The names for each `find` of a spec, in their order.
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

/// What the `find`s of a spec look for; mostly nothing.
#[must_use]
pub fn finds(spec: &VaultSecretSyncSpec) -> Vec<Find> {
    spec.data_from.iter().filter_map(find_of).collect()
}

fn find_of(item: &DataFrom) -> Option<Find> {
    let find = item.find.as_deref()?;
    let name = NamePattern::new(find.name.as_deref().unwrap_or("*"));
    Some(Find { name, tags: find.tags.clone() })
}

/// The names that were found before, as far as status tells: they fit one of these, and are in the Secret or were read.
#[must_use]
pub fn found_before(object: &VaultSecretSync, finds: &[Find], vault: &str) -> Vec<ObjectName> {
    let status = object.status.as_ref().filter(|status| status.vault.as_deref() == Some(vault));
    let entries = status.into_iter().flat_map(|status| &status.entries);
    let read = entries.filter(|entry| {
        entry.kind == EntryKind::Secret && entry.pin.is_none() && entry.state != EntryState::Missing
    });
    let names = read.filter_map(|entry| ObjectName::parse(&entry.name).ok());
    names.filter(|name| finds.iter().any(|find| find.name.fits(&name.folded()))).collect()
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
    pub fn of(
        finds: &[Find],
        found: Found,
        before: &[ObjectName],
        may_read: impl Fn(&ObjectName) -> bool,
    ) -> Self {
        let first_fit = |name: &&ObjectName, find: &Find| {
            let first = finds.iter().find(|other| other.name.fits(&name.folded()));
            first.is_some_and(|first| std::ptr::eq(first, find))
        };
        let of_before = |names: &[ObjectName]| -> Vec<Vec<ObjectName>> {
            finds
                .iter()
                .map(|find| names.iter().filter(|name| first_fit(name, find)).cloned().collect())
                .collect()
        };
        match found {
            Found::Pending => Self { names: of_before(before), listing: Listing::Awaited },
            Found::Failed(why) => Self { names: of_before(before), listing: Listing::Failed(why) },
            Found::Names { names, absent } => {
                let listed = names.iter().map(|names| {
                    names.iter().filter(|name| may_read(name) || before.contains(name)).cloned()
                });
                let both =
                    listed.zip(of_before(&absent)).map(|(listed, absent)| listed.chain(absent).collect());
                Self { names: both.collect(), listing: Listing::Whole }
            }
        }
    }
}
