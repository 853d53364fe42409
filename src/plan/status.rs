//! The status that follows from a round, and whether it says anything new. Entries say what the vault told, `target`
//! says what the round's requests carried; Ready is True only where both agree for every key.

mod delivered;
mod entries;

use super::desired::Desired;
use super::fingerprint::of_metadata;
use super::picture::Picture;
use super::render::Rendered;
use super::round::Round;
use super::target::{Observed, Seen, our_owners};
use super::write::takes_over;
use super::{Input, Problem};
use crate::api::{
    Deletion, EntryState, Fingerprint, KeyStatus, READY, STALLED, TargetStatus, VaultSecretSyncStatus,
    condition, format_duration, set_condition,
};
use crate::reason::Reason;
use delivered::Delivered;
use entries::entry_after;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Why Ready is as it was last said.
pub(super) fn said(input: &Input<'_>) -> Option<Reason> {
    let ready = condition(&input.object.status.as_ref()?.conditions, READY)?;
    ready.reason.parse().ok()
}

/// How many problems a message spells out.
const SPELLED_OUT: usize = 4;

/// The new status where it says something that the stored one does not.
pub(super) fn if_new(input: &Input<'_>, new: VaultSecretSyncStatus) -> Option<VaultSecretSyncStatus> {
    (input.stored != Some(&new)).then_some(new)
}

/// Suspended: the generation is observed; Ready stays, or says so if nothing was ever said.
pub(super) fn suspended(round: &Round, input: &Input<'_>) -> Option<VaultSecretSyncStatus> {
    let mut new = begin(round, input);
    let generation = input.object.metadata.generation;
    new.observed_generation = generation;
    // What was said of a deletion policy that could not be had is over.
    let over = |ready: &Condition| ready.reason == Reason::OwnerReferenceRefused.as_str();
    let ready = new.conditions.iter_mut().find(|condition| condition.type_ == READY);
    if let Some(ready) = ready.filter(|ready| !over(ready)) {
        ready.observed_generation = generation;
    } else {
        let message = match new.target {
            Some(_) => "spec.suspend is set.".to_owned(),
            None => "spec.suspend is set, and no sync is on record.".to_owned(),
        };
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
    if_new(input, new)
}

/// Something is in the way: Ready says what, all else stays.
pub(super) fn refused(
    round: &Round,
    input: &Input<'_>,
    problems: &[Problem],
) -> Option<VaultSecretSyncStatus> {
    let mut new = begin(round, input);
    if new.observed_generation != input.object.metadata.generation {
        // What the spec as it is finds was not looked up.
        new.matched = None;
    }
    new.observed_generation = input.object.metadata.generation;
    if input.object.spec.target.merges() && matches!(round.seen, Seen::Absent) {
        new.target = None;
        for entry in &mut new.entries {
            entry.state = EntryState::Pending;
        }
    }
    // A write was tried for it.
    if let Some(request) = input.pending_request().filter(|_| round.denied) {
        new.last_handled_sync = Some(request.to_owned());
    }
    set_conditions(input, &mut new, problems);
    if_new(input, new)
}

/// Values are awaited: Ready and what it speaks of stay; what was written is recorded.
pub(super) fn waiting(round: &Round, input: &Input<'_>) -> Option<VaultSecretSyncStatus> {
    matches!(round.seen, Seen::Written(_)).then(|| if_new(input, begin(round, input))).flatten()
}

/// The status after all sources were answered; `first` goes before their own problems.
pub(super) fn answered(
    round: &Round,
    input: &Input<'_>,
    picture: &Picture<'_>,
    rendered: &Rendered,
    first: Option<Problem>,
) -> VaultSecretSyncStatus {
    let mut new = begin(round, input);
    new.observed_generation = input.object.metadata.generation;
    new.target = target_after(round, input);
    if let Some(target) = &mut new.target {
        target.data_from = objects_after(round, picture, rendered, &target.data_from);
    }
    let delivered = Delivered::of(new.target.as_ref());
    // That nothing is found says why there is nothing to write.
    let unfound = input.unfound();
    let follows = unfound.is_some() && first.as_ref().is_some_and(|first| first.reason == Reason::MissingKey);
    let mut problems: Vec<Problem> = first.into_iter().chain(unfound).collect();
    if follows {
        problems.reverse();
    }
    problems.extend(rendered.faults.iter().map(|(key, fault)| Problem::template(key, fault)));
    new.entries.clear();
    for (index, row) in picture.rows.iter().enumerate() {
        let (entry, problem) = entry_after(input, picture, rendered, index, row, &delivered);
        problems.extend(problem);
        new.entries.push(entry);
    }
    new.matched = input.sources.as_ref().ok().and_then(|sources| sources.matched);
    new.vault = input.vault_url().map(str::to_owned);
    new.refresh_interval = input.stretched_interval().map(|interval| format_duration(interval).into());
    if let Some(request) = input.pending_request() {
        new.last_handled_sync = Some(request.to_owned());
    }
    set_conditions(input, &mut new, &problems);
    new
}

/// The same before all is done: what was concluded stands.
pub(super) fn not_concluded(input: &Input<'_>, mut new: VaultSecretSyncStatus) -> VaultSecretSyncStatus {
    new.conditions = input.object.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    new
}

/// What was said, with what the round did to the target.
fn begin(round: &Round, input: &Input<'_>) -> VaultSecretSyncStatus {
    let mut new = input.object.status.clone().unwrap_or_default();
    if let Seen::Written(written) = &round.seen {
        new.target = target_after(round, input);
        if written.moved {
            new.last_change = Some(Time(crate::api::whole_second(input.now)));
        }
    }
    new
}

fn set_conditions(input: &Input<'_>, new: &mut VaultSecretSyncStatus, problems: &[Problem]) {
    let generation = input.object.metadata.generation;
    let (status, reason, message) = match problems {
        [] => ("True", Reason::Synced, synced(input, new.refresh_interval.as_deref())),
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

fn synced(input: &Input<'_>, interval: Option<&str>) -> String {
    let Some(interval) = interval else { return "The Secret matches the vault.".to_owned() };
    let asked = &input.object.spec.refresh_interval;
    format!(
        "The Secret matches the vault. It is compared every {interval}, not every {asked}: the shortest interval that the connection or the operator allows is longer."
    )
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

/// What to record of the Secret: as this round left it, or as it was recorded.
fn target_after(round: &Round, input: &Input<'_>) -> Option<TargetStatus> {
    let old = input.remembered();
    let observed: &Observed = match &round.seen {
        // What is not taken over yet holds nothing of ours.
        seen if takes_over(input, seen) => return None,
        Seen::Written(written) => &written.after,
        Seen::Ours(observed) => observed,
        // Gone, and nothing could be written in its place.
        Seen::Absent => return None,
        Seen::Remembered | Seen::Changed | Seen::Refused(_) => return old.cloned(),
    };
    let record = round.record(input);
    let sent = round.sent.as_ref();
    let mut keys: BTreeMap<String, Option<Fingerprint>> = BTreeMap::new();
    if let Some(record) = &record {
        let recorded = record.target.keys.iter();
        keys.extend(
            recorded.map(|key| (key.name.clone(), key.of.filter(|_| !record.drift.contains(&key.name)))),
        );
    }
    if matches!(round.seen, Seen::Written(_)) {
        // Keys that an earlier round wrote and could not record.
        for key in observed.keys_of(&round.manager) {
            keys.entry(key).or_default();
        }
    }
    // What is not there any more is due by that alone.
    keys.retain(|key, of| of.is_some() || observed.is_untracked() || observed.keys.contains_key(key));
    keys.retain(|key, _| observed.holder(key, &round.manager, input.sharing).is_none());
    let mut metadata = record.as_ref().and_then(|record| record.target.metadata);
    let mut data_from = record.as_ref().map(|record| record.target.data_from.clone()).unwrap_or_default();
    if let Some(sent) = sent {
        keys.extend(sent.keys.iter().map(|(key, of)| (key.clone(), Some(*of))));
        keys.retain(|key, _| !sent.removed.contains(key));
        metadata = sent.metadata.or(metadata);
    } else {
        let desired = Desired::of(input.object);
        if desired.change(observed).is_empty() {
            metadata = Some(of_metadata(&desired));
        }
    }
    // A key of theirs may have been changed by somebody else, or written over by this round.
    let has = |key: &KeyStatus, of| key.of != Some(of) || keys.get(&key.name) == Some(&Some(of));
    data_from.retain(|of| record.iter().all(|record| record.target.keys.iter().all(|key| has(key, *of))));
    // A look that found nothing to write is no news; the resourceVersion it saw is kept in memory.
    let unmoved = record.as_ref().filter(|_| !matches!(round.seen, Seen::Written(_)));
    Some(TargetStatus {
        name: input.object.target_name().to_owned(),
        uid: observed.uid.clone(),
        resource_version: unmoved
            .map_or_else(|| observed.resource_version.clone(), |old| old.target.resource_version.clone()),
        written: match unmoved {
            Some(old) => old.target.written.clone(),
            None => observed.moved_at.get(&round.manager).copied().map(Time),
        },
        deletion: if !input.object.spec.target.merges() && our_owners(observed).next().is_some() {
            Deletion::Delete
        } else {
            Deletion::Retain
        },
        metadata,
        keys: keys.into_iter().map(|(name, of)| KeyStatus { name, of }).collect(),
        data_from,
    })
}

/// The `dataFrom` sources whose keys are in the Secret: those of this snapshot's values, if they were written or already
/// there, and of those without a value what was recorded.
fn objects_after(
    round: &Round,
    picture: &Picture<'_>,
    rendered: &Rendered,
    recorded: &[Fingerprint],
) -> Vec<Fingerprint> {
    // A request of metadata alone carries none.
    let carried = round.sent.as_ref().is_some_and(|sent| sent.rendered.is_some());
    let written = carried || rendered.set.is_empty();
    let wanted = picture.objects.iter().filter_map(|object| object.of);
    let kept = wanted.filter(|of| recorded.contains(of));
    let new = rendered.objects.iter().copied().filter(|_| written);
    kept.chain(new).collect::<BTreeSet<_>>().into_iter().collect()
}
