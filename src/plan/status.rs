//! The status that follows from a round, and whether it says anything new.

use super::render::Rendered;
use super::sources::{UsedSource, entry};
use super::target::{Observed, Seen, manager_of};
use super::write::is_known_refused;
use super::{Input, Problem, answers, pending_request, remembered, vault_url};
use crate::api::{
    EntryKind, EntryStatus, FORMAT, READY, Reason, STALLED, TargetStatus, VaultSecretSync,
    VaultSecretSyncStatus, condition, set_condition,
};
use crate::vault::{Answer, Attributes, Failure};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeSet;

/// An entry that was removed as `onMissing: Remove` asks.
pub(super) const MISSING: &str = "Missing";
const SYNCED: &str = "Synced";
const EXPIRED: &str = "Expired";
const NOT_YET_VALID: &str = "NotYetValid";

/// How many problems a message spells out.
const SPELLED_OUT: usize = 4;

/// Whether status says that the target itself was in the way, or was not as it should be: only a look can tell that
/// it no longer is so.
pub(super) fn doubts_target(object: &VaultSecretSync) -> bool {
    let conditions = object.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let ready = condition(conditions, READY).and_then(|ready| ready.reason.parse().ok());
    ready.is_some_and(Reason::blocks_target)
}

/// The new status where it says something that the old one does not.
pub(super) fn if_new(object: &VaultSecretSync, new: VaultSecretSyncStatus) -> Option<VaultSecretSyncStatus> {
    (object.status.as_ref() != Some(&new)).then_some(new)
}

/// Suspended: the generation is observed; Ready stays, or says so if nothing was ever said.
pub(super) fn suspended(input: &Input<'_>) -> Option<VaultSecretSyncStatus> {
    let mut new = begin(input);
    if let Some(ready) = new.conditions.iter_mut().find(|condition| condition.type_ == READY) {
        ready.observed_generation = new.observed_generation;
    } else {
        let message = "spec.suspend is set and nothing was synced yet.".to_owned();
        let generation = new.observed_generation;
        set_condition(
            &mut new.conditions,
            READY,
            "Unknown",
            Reason::Suspended,
            message,
            generation,
            input.now,
        );
    }
    if_new(input.object, new)
}

/// Something is in the way: Ready says what, all else stays.
pub(super) fn refused(input: &Input<'_>, problem: Problem) -> Option<VaultSecretSyncStatus> {
    let mut new = begin(input);
    set_conditions(input, &mut new, &[problem]);
    if_new(input.object, new)
}

/// The status after all sources were answered; `first` goes before their own problems.
pub(super) fn settled(
    input: &Input<'_>,
    rendered: &Rendered,
    first: Option<Problem>,
) -> VaultSecretSyncStatus {
    after_answers(input, rendered, first, true)
}

/// The same where nothing could be written: no entry speaks of a version that is not in the Secret.
pub(super) fn not_written(
    input: &Input<'_>,
    rendered: &Rendered,
    first: Option<Problem>,
) -> VaultSecretSyncStatus {
    after_answers(input, rendered, first, false)
}

fn after_answers(
    input: &Input<'_>,
    rendered: &Rendered,
    first: Option<Problem>,
    written: bool,
) -> VaultSecretSyncStatus {
    let mut new = begin(input);
    let (used, answers) = answers(input);
    let old = input.object.status.as_ref().filter(|status| status.vault.as_deref() == vault_url(input));
    let old_entries = old.map_or(&[][..], |status| &status.entries);
    let in_the_way = first.as_ref().filter(|_| !written).map(|problem| problem.reason);
    let mut problems: Vec<Problem> = first.into_iter().collect();
    new.entries.clear();
    for (index, (used, answer)) in used.iter().zip(answers).enumerate() {
        let before = entry(old_entries, &used.source);
        let (mut after, problem) = entry_after(input, rendered, index, used, answer, before);
        if !written {
            restore_attributes(&mut after, before);
            if let (Answer::Read(_), None, Some(reason)) = (answer, &problem, in_the_way) {
                reason.as_str().clone_into(&mut after.state);
            }
        }
        problems.extend(problem);
        new.entries.push(after);
    }
    new.vault = vault_url(input).map(str::to_owned);
    new.format = Some(FORMAT);
    new.target = target_after(input, rendered, new.target.take());
    if let Seen::Written(written) = input.seen
        && written.moved
    {
        new.last_change = Some(whole(input.now));
    }
    if let Some(request) = pending_request(input) {
        new.last_handled_sync = Some(request.to_owned());
    }
    set_conditions(input, &mut new, &problems);
    new
}

fn begin(input: &Input<'_>) -> VaultSecretSyncStatus {
    let mut new = input.object.status.clone().unwrap_or_default();
    new.observed_generation = input.object.metadata.generation;
    new
}

fn set_conditions(input: &Input<'_>, new: &mut VaultSecretSyncStatus, problems: &[Problem]) {
    let generation = input.object.metadata.generation;
    let (status, reason, message) = match problems {
        [] => ("True", Reason::Synced, "The Secret equals what the vault last told.".to_owned()),
        [first, ..] => ("False", first.reason, message(problems)),
    };
    let stalled = problems.iter().find(|problem| problem.terminal);
    match stalled {
        Some(problem) => {
            let text = problem.message.clone();
            set_condition(&mut new.conditions, STALLED, "True", problem.reason, text, generation, input.now);
        }
        None => new.conditions.retain(|condition| condition.type_ != STALLED),
    }
    set_condition(&mut new.conditions, READY, status, reason, message, generation, input.now);
    new.conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
}

fn message(problems: &[Problem]) -> String {
    let mut text = problems
        .iter()
        .take(SPELLED_OUT)
        .map(|problem| problem.message.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    if problems.len() > SPELLED_OUT {
        text.push_str(" And ");
        text.push_str(&(problems.len() - SPELLED_OUT).to_string());
        text.push_str(" more; see status.entries.");
    }
    text
}

/// One entry, and its problem if it has one.
fn entry_after(
    input: &Input<'_>,
    rendered: &Rendered,
    index: usize,
    used: &UsedSource,
    answer: &Answer,
    before: Option<&EntryStatus>,
) -> (EntryStatus, Option<Problem>) {
    let mut after = before.cloned().unwrap_or_else(|| EntryStatus {
        kind: EntryKind::Secret,
        name: used.source.name.as_str().to_owned(),
        pinned: used.source.version.is_some(),
        ..EntryStatus::default()
    });
    let spec = &input.object.spec;
    let failure: Option<&Failure> = match answer {
        Answer::Read(reading) => {
            set_attributes(&mut after, &reading.attributes);
            None
        }
        Answer::Failed(failure) => Some(failure),
        Answer::Unchanged | Answer::Pending => None,
    };
    let reason = if matches!(answer, Answer::Unchanged | Answer::Pending) {
        // Nothing new was said: what was wrong with the value still is; whether it may be used is asked anew.
        let refused = is_known_refused(input, index, used).then_some(Reason::NotAllowed);
        refused.or_else(|| {
            let said = after.state.parse::<Reason>().ok();
            said.filter(|reason| !matches!(reason, Reason::Synced | Reason::NotAllowed))
        })
    } else {
        rendered.problems.get(&index).copied()
    };
    if rendered.missing.contains(&index) {
        after = EntryStatus {
            kind: after.kind,
            name: after.name,
            pinned: after.pinned,
            ..EntryStatus::default()
        };
        MISSING.clone_into(&mut after.state);
        return (after, None);
    }
    if let Some(reason) = reason {
        reason.as_str().clone_into(&mut after.state);
        let delivered = is_delivered(input, used);
        let problem = if reason == Reason::NotAllowed {
            Problem::kind_not_allowed(spec, used, after.managed, delivered)
        } else {
            Problem::of_source(spec, used, reason, failure, delivered)
        };
        (after, Some(problem))
    } else {
        validity(&after, input.now).clone_into(&mut after.state);
        (after, None)
    }
}

/// Whether a key of the source is in the Secret, as far as status remembers; which keys `dataFrom` gave it does not.
fn is_delivered(input: &Input<'_>, used: &UsedSource) -> bool {
    let Some(target) = remembered(input) else { return false };
    let keys = used.keys(&input.object.spec);
    !used.data_from.is_empty() || target.keys.iter().any(|ours| keys.contains(&ours.as_str()))
}

/// Expiry is informational in the vault: the value is delivered, the entry says so.
fn validity(entry: &EntryStatus, now: Timestamp) -> &'static str {
    if entry.expires.as_ref().is_some_and(|time| time.0 <= now) {
        EXPIRED
    } else if entry.not_before.as_ref().is_some_and(|time| time.0 > now) {
        NOT_YET_VALID
    } else {
        SYNCED
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

/// What was read is not what was written.
fn restore_attributes(entry: &mut EntryStatus, before: Option<&EntryStatus>) {
    let state = std::mem::take(&mut entry.state);
    let (kind, name, pinned) = (entry.kind, std::mem::take(&mut entry.name), entry.pinned);
    // Not an attribute of what is in the Secret, but why the source may not be read.
    let managed = entry.managed;
    *entry = EntryStatus { kind, name, pinned, managed, state, ..before.cloned().unwrap_or_default() };
}

/// What to remember of the Secret: as this round left it, or as status had it.
fn target_after(input: &Input<'_>, rendered: &Rendered, old: Option<TargetStatus>) -> Option<TargetStatus> {
    let old = old.filter(|old| old.name == input.object.target_name());
    let observed: &Observed = match input.seen {
        Seen::Written(written) => &written.after,
        Seen::Ours(observed) => observed,
        // Gone, and nothing could be written in its place.
        Seen::Absent => return None,
        Seen::Remembered | Seen::Changed | Seen::Refused(_) => {
            return old;
        }
    };
    let mut keys: BTreeSet<String> = observed.keys_of(&manager_of(input.object));
    keys.extend(rendered.set.keys().cloned());
    if let Some(old) = remembered(input) {
        keys.extend(old.keys.iter().cloned());
    }
    keys.retain(|key| observed.keys.contains_key(key));
    let rewritten = matches!(input.seen, Seen::Written(_));
    // A look that found nothing to write is no news; the resourceVersion it saw is kept in memory.
    let unmoved = old.as_ref().filter(|old| !rewritten && old.uid == observed.uid);
    Some(TargetStatus {
        name: input.object.target_name().to_owned(),
        uid: observed.uid.clone(),
        resource_version: unmoved
            .map_or_else(|| observed.resource_version.clone(), |old| old.resource_version.clone()),
        deletion: input.object.spec.target.deletion,
        generation: input.object.metadata.generation.unwrap_or_default(),
        keys: keys.into_iter().collect(),
    })
}

fn whole(time: Timestamp) -> Time {
    Time(crate::api::whole_second(time))
}
