//! The brake on mass removal: where many names of a vault are gone together, no key goes before somebody confirms that; and none
//! before it is clear that few are.
//!
//! What is held is said in status, source by source and with its time, so a restart forgets none of it; and it is confirmed by
//! a time, so that nothing is confirmed which nobody was told of. That a source is gone takes no key of an entry that says
//! `onMissing: Keep`: those are told as what they are.

use super::{Connected, Snapshot, UsedSource, entries_of, told_of};
use crate::api::{EntryState, EntryStatus, VaultSecretSync};
use crate::plan::recipe::recipes;
use crate::reason::Reason;
use crate::vault::{Answer, Losses, Source, Stake};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Why the keys of a source that is gone stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) enum Hold {
    /// Many may be gone with it: the others are still to be read.
    Undecided,
    /// Many are.
    Many,
}

/// Holds what is gone and may be one of many; `losses` tells which of a connection are.
pub fn brake(
    object: &VaultSecretSync,
    connections: &[Connected<'_>],
    sources: &[UsedSource],
    snapshot: &mut Snapshot,
    losses: impl Fn(usize, &[&Source]) -> Losses,
) {
    let mut open: BTreeMap<usize, Vec<(usize, &Source)>> = BTreeMap::new();
    for (index, (used, answer)) in sources.iter().zip(&snapshot.answers).enumerate() {
        let gone = matches!(answer, Answer::Failed(failure) if failure.is_missing());
        if !gone || !used.may_go {
            continue;
        }
        let told = told_of(object, connections, used);
        let confirmed = connections.get(used.vault).and_then(|connection| connection.removals_confirmed);
        if told.is_some_and(|told| is_confirmed(told, confirmed)) {
            continue;
        }
        if told.and_then(EntryStatus::removal_held).is_some() {
            snapshot.held.insert(index, Hold::Many);
        } else if stake(object, connections, used, told) != Stake::None {
            open.entry(used.vault).or_default().push((index, &used.source));
        }
    }
    for (vault, gone) in open {
        let names: Vec<&Source> = gone.iter().map(|(_, source)| *source).collect();
        let held = match losses(vault, &names) {
            Losses::Few => continue,
            Losses::Many => Hold::Many,
            Losses::Undecided => Hold::Undecided,
        };
        snapshot.held.extend(gone.iter().map(|(index, _)| (*index, held)));
    }
}

/// What the object has of a source, of which status says what was `told`.
pub(super) fn stake(
    object: &VaultSecretSync,
    connections: &[Connected<'_>],
    used: &UsedSource,
    told: Option<&EntryStatus>,
) -> Stake {
    let confirmed = connections.get(used.vault).and_then(|connection| connection.removals_confirmed);
    match told.map(|told| (told.state, told)) {
        Some((
            EntryState::Missing | EntryState::Because(Reason::SecretNotFound | Reason::KeyNotFound),
            _,
        )) => Stake::None,
        // What find finds no more is there all the same.
        Some((EntryState::Because(Reason::RemovalHeld), told))
            if told.removal_held().is_some() && !is_confirmed(told, confirmed) && !used.lost =>
        {
            Stake::Held
        }
        Some((EntryState::Because(Reason::RemovalHeld), _)) => Stake::Keys,
        Some((_, told)) if told.version.is_some() => Stake::Keys,
        _ if has_keys(object, connections, used) => Stake::Keys,
        _ => Stake::None,
    }
}

/// Whether somebody has confirmed that what is held is to go, after it was held.
pub(in crate::plan) fn is_confirmed(told: &EntryStatus, confirmed: Option<Timestamp>) -> bool {
    told.held_since.as_ref().zip(confirmed).is_some_and(|(held, confirmed)| held.0 <= confirmed)
}

/// Whether the Secret has keys of a source of which status tells no version: as where the connection leads to another vault by
/// now.
fn has_keys(object: &VaultSecretSync, connections: &[Connected<'_>], used: &UsedSource) -> bool {
    let Some(status) = &object.status else { return false };
    let Some(target) = &status.target else { return false };
    let recipes = recipes(&object.spec).unwrap_or_default();
    let is_named = |key: &str| recipes.iter().any(|recipe| recipe.key == key);
    let has = |recipe: &usize| {
        recipes.get(*recipe).is_some_and(|recipe| target.key_names().any(|key| key == recipe.key))
    };
    // Whose the other keys are is not told where nothing of the connection is.
    let others = || {
        entries_of(status, connections, used.vault).next().is_none()
            && target.key_names().any(|key| !is_named(key))
    };
    used.recipes.iter().any(has) || (!used.data_from.is_empty() && others())
}
