//! What status says of one source.

use super::delivered::Delivered;
use crate::api::{EntryState, EntryStatus};
use crate::plan::picture::{Picture, Row};
use crate::plan::problem::SourceKeys;
use crate::plan::render::Rendered;
use crate::plan::sources::{Hold, kind_of};
use crate::plan::{Input, Problem};
use crate::reason::Reason;
use crate::vault::{Answer, Attributes};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// One entry, and its problem if it has one.
pub(super) fn entry_after(
    input: &Input<'_>,
    picture: &Picture<'_>,
    rendered: &Rendered,
    index: usize,
    row: &Row<'_>,
    delivered: &Delivered<'_>,
) -> (EntryStatus, Option<Problem>) {
    let used = row.used;
    let mut entry = row.before.cloned().unwrap_or_else(|| EntryStatus {
        kind: kind_of(&used.source),
        name: used.source.name.as_str().to_owned(),
        pin: used.source.version.as_ref().map(|version| version.as_str().into()),
        ..EntryStatus::default()
    });
    entry.vault = (used.vault > 0).then(|| Box::new(row.connection.as_told()));
    let found_by = used.data_from.iter().filter(|place| {
        let item = input.object.spec.data_from.get(**place);
        item.is_some_and(|item| item.find.is_some())
    });
    entry.found_by = found_by.filter_map(|place| u8::try_from(*place).ok()).collect();
    // Until it is confirmed, the first time counts.
    let told_held = entry.held_since.take();
    let held_since = || told_held.clone().or_else(|| Some(Time(crate::api::whole_second(input.now))));
    if let Answer::Read(reading) = row.answer {
        set_attributes(&mut entry, &reading.attributes);
    }
    let keys = picture.keys_of(index);
    let whole = delivered.is_whole(picture, rendered, index);
    if rendered.missing.contains(&index) {
        if row.failure().is_some() {
            // The vault has no version any more; one of another property is still what it told.
            let EntryStatus { kind, name, vault, pin, .. } = entry;
            entry = EntryStatus { kind, name, vault, pin, ..EntryStatus::default() };
        }
        entry.state = if whole { EntryState::Missing } else { EntryState::Pending };
        if !whole {
            // What was confirmed stays so until it is done.
            entry.held_since = told_held;
        }
        return (entry, None);
    }
    if let Some(&reason) = rendered.problems.get(&index) {
        entry.state = EntryState::Because(reason);
        if row.held == Some(Hold::Many) {
            entry.held_since = held_since();
        }
        let there = delivered.has_any(picture, index, &keys);
        if let Some(unfit) = rendered.unfit.get(&index) {
            entry.invalid_keys = told_of(unfit);
        }
        if row.is_no_loss(reason) && !there {
            return (entry, None);
        }
        let vault = row.connection.vault;
        let elsewhere = (input.connections().len() > 1).then_some(vault);
        let about = SourceKeys { used, vault: elsewhere, keys: &keys, delivered: there };
        let problem = if reason == Reason::NotAllowed {
            Problem::kind_not_allowed(vault, about, entry.managed)
        } else {
            Problem::of_source(
                about,
                reason,
                row.failure(),
                (rendered.lines.get(&index).copied(), &entry.invalid_keys),
            )
        };
        return (entry, Some(problem));
    }
    if used.lost {
        // Its value is read and written as ever.
        entry.state = EntryState::Because(Reason::RemovalHeld);
        entry.held_since = held_since();
        let about = SourceKeys { used, vault: None, keys: &keys, delivered: true };
        return (entry, Some(Problem::of_source(about, Reason::RemovalHeld, None, (None, &[]))));
    }
    let incomplete = rendered.incomplete.get(&index).copied();
    let incomplete = incomplete.unwrap_or(used.certificate && entry.state == EntryState::IncompleteChain);
    entry.invalid_keys.clear();
    entry.state = match validity(&entry, input) {
        _ if !whole => EntryState::Pending,
        EntryState::Synced if incomplete => EntryState::IncompleteChain,
        validity => validity,
    };
    (entry, None)
}

/// How many members that cannot be keys are named, and how much of each name.
const NAMED: (usize, usize) = (4, 64);

/// The names of members that cannot be keys, as far as status has room for them.
fn told_of(unfit: &[String]) -> Vec<String> {
    unfit.iter().take(NAMED.0).map(|name| name.chars().take(NAMED.1).collect()).collect()
}

/// Expiry is informational in the vault: the value is delivered, the entry says so.
fn validity(entry: &EntryStatus, input: &Input<'_>) -> EntryState {
    let now = input.now;
    let ends_by = |then: Option<Timestamp>| {
        then.is_some_and(|then| entry.expires.as_ref().is_some_and(|time| time.0 <= then))
    };
    if ends_by(Some(now)) {
        EntryState::Expired
    } else if ends_by(now.checked_add(input.expiring_before).ok()) {
        EntryState::Expiring
    } else if entry.not_before.as_ref().is_some_and(|time| time.0 > now) {
        EntryState::NotYetValid
    } else {
        EntryState::Synced
    }
}

fn set_attributes(entry: &mut EntryStatus, attributes: &Attributes) {
    let time = |time: Option<Timestamp>| time.map(Time);
    entry.version = Some(attributes.version.clone());
    entry.created = time(attributes.created);
    entry.updated = time(attributes.updated);
    entry.not_before = time(attributes.not_before);
    entry.expires = time(attributes.expires);
    entry.managed = attributes.managed;
}
