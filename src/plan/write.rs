//! What to write: which values are needed, which keys are set, removed and kept.

use super::render::{MAX_KEYS, MAX_SECRET_BYTES, Rendered, render};
use super::target::{Change, Desired, NewSecret, Observed, Seen, drifted, manager_of, overtaken};
use super::{
    Input, Problem, Step, UsedSource, answers, pending_request, permit, remembered, renders_all, sources,
    verdict,
};
use crate::api::{EntryStatus, Reason};
use crate::vault::Answer;
use std::collections::{BTreeMap, BTreeSet};

/// The write that brings the target to what the answers say; the values it needs first, or a verdict if there is
/// nothing to write.
pub(super) fn write(input: &Input<'_>) -> Step {
    let (used, answers) = answers(input);
    if input.blocked && says_nothing_new(input) {
        return Step::Settle(verdict::still_blocked(input));
    }
    // Of what was judged while nothing could be written, nothing was written: all of it is due.
    let overtaken = overtaken_by(input);
    let all = renders_all(input) || input.blocked || overtaken.is_some();
    if let Some(resource_version) = overtaken.filter(|version| input.rechecked != Some(*version)) {
        let sources = used.iter().enumerate().filter(|(index, used)| !is_known_refused(input, *index, used));
        return Step::Recheck {
            resource_version: resource_version.to_owned(),
            sources: sources.map(|(index, _)| index).collect(),
        };
    }
    let drift = drift(input);
    let needed: BTreeSet<usize> = used
        .iter()
        .zip(answers)
        .enumerate()
        .filter(|(index, (used, answer))| {
            let needed = all
                || of_drifted(input, used, &drift)
                || joins_a_changed_picture(used, answers, input)
                || is_newly_permitted(input, *index, used);
            needed
                && matches!(answer, Answer::Unchanged)
                && !input.demanded.contains(index)
                && !is_known_refused(input, *index, used)
        })
        .map(|(index, _)| index)
        .collect();
    if !needed.is_empty() {
        return Step::Read(needed);
    }
    // A rotation is never torn in half: as long as one source has no answer, nothing moves but what needs no value.
    if answers.iter().any(|answer| matches!(answer, Answer::Pending)) {
        return without_values(input, !drift.is_empty());
    }
    let rendered = render(input);
    match input.seen {
        Seen::Ours(observed) => change(input, &rendered, &drift, all, Some(observed)),
        Seen::Remembered if remembered(input).is_some() => change(input, &rendered, &drift, all, None),
        _ => create(input, rendered),
    }
}

/// Whether every answer is the one that was judged already, and nobody asks for another look.
fn says_nothing_new(input: &Input<'_>) -> bool {
    let (used, answers) = answers(input);
    let entries = input.object.status.as_ref().map_or(&[][..], |status| &status.entries);
    let judged = |used: &UsedSource, reason: &str| {
        sources::entry(entries, &used.source)
            .is_some_and(|entry| entry.state == reason || entry.state == super::status::MISSING)
    };
    pending_request(input).is_none()
        && input.demanded.is_empty()
        && used.iter().zip(answers).enumerate().all(|(index, (used, answer))| match answer {
            Answer::Unchanged | Answer::Pending => !is_newly_permitted(input, index, used),
            Answer::Failed(failure) => judged(used, failure.reason().as_str()),
            Answer::Read(_) => false,
        })
}

/// The keys that somebody else changed or removed.
pub(super) fn drift(input: &Input<'_>) -> BTreeSet<String> {
    let observed = match input.seen {
        Seen::Ours(observed) => Some(observed),
        Seen::Written(written) => Some(&written.after),
        _ => None,
    };
    match (observed, remembered(input)) {
        (Some(observed), Some(target)) if observed.uid == target.uid => drifted(
            observed,
            input.verified,
            &target.resource_version,
            &target.keys,
            &manager_of(input.object),
        ),
        _ => BTreeSet::new(),
    }
}

/// The resourceVersion that another operator gave the target under our name.
fn overtaken_by<'a>(input: &Input<'a>) -> Option<&'a str> {
    let Seen::Ours(observed) = input.seen else { return None };
    overtaken(observed, input.verified, &manager_of(input.object))
        .then_some(observed.resource_version.as_str())
}

/// Whether the source is known to be of a kind that the object may not read: its value would be of no use.
pub(super) fn is_known_refused(input: &Input<'_>, index: usize, used: &UsedSource) -> bool {
    known(input, used)
        .is_some_and(|entry| entry.version.is_some() && !permit(input, index).covers(entry.managed))
}

/// Whether the source was refused for its kind and is permitted by now.
fn is_newly_permitted(input: &Input<'_>, index: usize, used: &UsedSource) -> bool {
    known(input, used).is_some_and(|entry| {
        entry.state == Reason::NotAllowed.as_str() && permit(input, index).covers(entry.managed)
    })
}

fn known<'a>(input: &Input<'a>, used: &UsedSource) -> Option<&'a EntryStatus> {
    sources::entry(input.object.status.as_ref().map_or(&[][..], |status| &status.entries), &used.source)
}

/// Whether a source gives one of the drifted keys; a key that no entry of `data` names is from any `dataFrom`.
fn of_drifted(input: &Input<'_>, used: &UsedSource, drift: &BTreeSet<String>) -> bool {
    let spec = &input.object.spec;
    used.keys(spec).iter().any(|key| drift.contains(*key))
        || (!used.data_from.is_empty()
            && drift.iter().any(|key| spec.data.iter().all(|item| item.key != *key)))
}

/// Keys that left one JSON object, or stand in two, show only in a complete picture: once one `dataFrom` source
/// changed, all are read.
fn joins_a_changed_picture(used: &UsedSource, answers: &[Answer], input: &Input<'_>) -> bool {
    let Ok(sources) = input.sources else { return false };
    !used.data_from.is_empty()
        && sources
            .iter()
            .zip(answers)
            .any(|(other, answer)| !other.data_from.is_empty() && matches!(answer, Answer::Read(_)))
}

/// Metadata needs no value, so it is repaired though the vault is silent.
fn without_values(input: &Input<'_>, drifted: bool) -> Step {
    if let Seen::Ours(observed) = input.seen {
        let change = Desired::of(input.object).change(observed);
        if !change.is_empty() {
            return Step::Change(change);
        }
    }
    let gone = matches!(input.seen, Seen::Absent) && remembered(input).is_some();
    Step::Settle(verdict::waiting(input, drifted || gone))
}

fn create(input: &Input<'_>, rendered: Rendered) -> Step {
    let type_ = input.object.spec.target.type_;
    let lacking = type_.required_keys().iter().find(|key| !rendered.set.contains_key(**key));
    let problem = if let Some(key) = lacking {
        Some(Problem::missing_key(type_, key))
    } else if rendered.set.is_empty() && rendered.problems.is_empty() {
        Some(Problem::nothing_to_write(input.object.target_name()))
    } else {
        too_large(&rendered.set)
    };
    if rendered.set.is_empty() || problem.is_some() {
        return Step::Settle(verdict::not_written(input, &rendered, problem.as_ref()));
    }
    let desired = Desired::of(input.object);
    Step::Create(NewSecret {
        type_,
        labels: desired.labels,
        annotations: desired.annotations,
        owner: desired.owner,
        data: rendered.set,
    })
}

fn change(
    input: &Input<'_>,
    rendered: &Rendered,
    drift: &BTreeSet<String>,
    all: bool,
    observed: Option<&Observed>,
) -> Step {
    let mut change = match observed {
        Some(observed) => Desired::of(input.object).change(observed),
        None => bare_change(input),
    };
    change.set = changed_keys(input, rendered, drift, all);
    change.remove = left_keys(input, rendered, observed);
    let required = input.object.spec.target.type_.required_keys();
    if let Some(key) = change.remove.iter().find(|key| required.contains(&key.as_str())) {
        let problem = Problem::missing_key(input.object.spec.target.type_, key);
        return Step::Settle(verdict::not_written(input, rendered, Some(&problem)));
    }
    if let Some(problem) = too_large(&change.set) {
        return Step::Settle(verdict::not_written(input, rendered, Some(&problem)));
    }
    if change.is_empty() {
        return Step::Settle(verdict::settled(input));
    }
    Step::Change(change)
}

/// A change planned from memory: the newest of what this process and status remember.
fn bare_change(input: &Input<'_>) -> Change {
    let target = remembered(input).cloned().unwrap_or_default();
    let resource_version = input
        .verified
        .filter(|verified| verified.is_of(&target.uid))
        .map_or(target.resource_version, |verified| verified.resource_version.clone());
    Change {
        uid: target.uid,
        resource_version,
        set: BTreeMap::new(),
        remove: BTreeSet::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        add_owner: None,
        drop_owners: Vec::new(),
    }
}

/// Every key that may differ from what is there: all, or those of changed versions and of drift. A key that is
/// sent though it is equal moves nothing.
fn changed_keys(
    input: &Input<'_>,
    rendered: &Rendered,
    drift: &BTreeSet<String>,
    all: bool,
) -> BTreeMap<String, super::KeyBytes> {
    let (used, answers) = answers(input);
    let spec = &input.object.spec;
    let moved: Vec<&UsedSource> = used
        .iter()
        .zip(answers)
        .filter(|(used, answer)| version_moved(input, used, answer))
        .map(|(used, _)| used)
        .collect();
    let of_data: BTreeSet<&str> = moved.iter().flat_map(|used| used.keys(spec)).collect();
    let objects_moved = moved.iter().any(|used| !used.data_from.is_empty());
    let in_data = |key: &str| spec.data.iter().any(|item| item.key == key);
    rendered
        .set
        .iter()
        .filter(|(key, _)| {
            all || drift.contains(*key) || of_data.contains(key.as_str()) || (objects_moved && !in_data(key))
        })
        .map(|(key, bytes)| (key.clone(), bytes.clone()))
        .collect()
}

fn version_moved(input: &Input<'_>, used: &UsedSource, answer: &Answer) -> bool {
    let Answer::Read(reading) = answer else { return false };
    known(input, used).is_none_or(|entry| {
        // A source that was missing or refused had its keys removed or never made, whatever version it had.
        entry.version.as_deref() != Some(reading.attributes.version.as_str())
            || entry.state == super::status::MISSING
            || entry.state == Reason::NotAllowed.as_str()
    })
}

/// Our keys that the spec or the vault no longer gives. Without a complete picture of `dataFrom`, a key that no
/// entry of `data` named may still be given by it, and stays.
fn left_keys(input: &Input<'_>, rendered: &Rendered, observed: Option<&Observed>) -> BTreeSet<String> {
    let mut ours: BTreeSet<String> =
        remembered(input).map(|target| target.keys.iter().cloned().collect()).unwrap_or_default();
    let exists = |key: &String| observed.is_none_or(|observed| observed.keys.contains_key(key));
    if let Some(observed) = observed {
        ours.extend(observed.keys_of(&manager_of(input.object)));
    }
    let gone: BTreeSet<String> = ours
        .iter()
        .filter(|key| !rendered.set.contains_key(*key) && !rendered.keep.contains(*key))
        .filter(|key| rendered.complete || rendered.remove.contains(*key))
        .cloned()
        .collect();
    gone.into_iter().filter(exists).collect()
}

/// More than the API server takes in a Secret, or than status can name.
fn too_large(set: &BTreeMap<String, super::KeyBytes>) -> Option<Problem> {
    let bytes: usize = set.iter().map(|(key, bytes)| key.len() + bytes.expose().len()).sum();
    (bytes > MAX_SECRET_BYTES || set.len() > MAX_KEYS).then(Problem::too_large)
}
