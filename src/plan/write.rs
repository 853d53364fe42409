//! What to write: which values that takes, which keys are set, removed and kept.

use super::desired::Desired;
use super::fingerprint::of_metadata;
use super::picture::{Picture, Record};
use super::render::{MAX_KEYS, MAX_SECRET_BYTES, Rendered, render};
use super::round::{Anew, Round, is_refused, says};
use super::sent::Sent;
use super::target::{Change, KeyBytes, NewSecret, Observed, Refusal, Seen};
use super::{Input, Problem, Step, verdict};
use crate::reason::Reason;
use std::collections::BTreeSet;

/// The write that brings the target to what the snapshot says, with what it carries; before it the values that it takes,
/// or the end of the round if there is nothing to write.
pub(super) fn write(round: &Round, input: &Input<'_>) -> (Step, Option<Sent>) {
    if let Some(version) = round.overtaken(input) {
        return (Step::ReadAnew(Anew::Overtaken(version.to_owned())), None);
    }
    let picture = round.picture(input);
    let end = |verdict| (Step::end(verdict), None);
    if round.is_still_blocked(input, &picture) {
        return metadata_alone(round, input, &picture)
            .unwrap_or_else(|| end(verdict::still_blocked(round, input)));
    }
    let creates = picture.record.is_none() && !matches!(round.seen, Seen::Ours(_));
    let takes_over = takes_over(input, &round.seen);
    if (creates || takes_over)
        && let Some(problem) = obstacle(input, &picture, creates)
    {
        // Nothing can be written, whatever the values are, so none is asked for. Before it is said that there is no
        // Secret it is looked whether there is one.
        return match round.seen {
            _ if picture.is_pending() => without_values(round, input, &picture),
            Seen::Remembered if creates => (Step::Look, None),
            _ => end(verdict::not_written(round, input, &picture, &render(&picture), Some(problem))),
        };
    }
    let needed = &picture.needed() - &round.open.demanded;
    if !needed.is_empty() {
        return (Step::Demand(needed), None);
    }
    // A rotation is never torn in half: as long as one source has no answer, nothing moves but what needs no value.
    if picture.is_pending() {
        return without_values(round, input, &picture);
    }
    let rendered = render(&picture);
    if creates {
        return create(round, input, &picture, rendered);
    }
    // Of a Secret that others write too it is looked first whose its keys are.
    if matches!(round.seen, Seen::Remembered) && adds_or_removes(round, input, &picture, &rendered) {
        return (Step::Look, None);
    }
    if let Some(taken) = key_taken(round, input, &rendered) {
        return end(verdict::refused_target(round, input, &taken));
    }
    let lacks = if takes_over { not_whole(input, &rendered, false) } else { None };
    match lacks.map_or_else(|| change(round, input, &picture, &rendered), Err) {
        Err(problem) => metadata_alone(round, input, &picture)
            .unwrap_or_else(|| end(verdict::not_written(round, input, &picture, &rendered, Some(problem)))),
        Ok(change) if change.is_empty() && rendered.set.is_empty() => {
            end(verdict::settled(round, input, &picture, &rendered))
        }
        // Whatever status says, this process has not seen that the Secret carries our mark.
        Ok(_) if matches!(round.seen, Seen::Remembered) && !round.has_seen_target(input) => {
            (Step::Look, None)
        }
        // Nothing was in the way after all.
        Ok(_) if matches!(round.seen, Seen::Written(_)) => end(verdict::again(round, input)),
        Ok(change) => {
            let owned = !takes_over || !input.object.spec.target.goes_with_object();
            let metadata =
                round.metadata_carried(input).filter(|_| matches!(round.seen, Seen::Ours(_)) && owned);
            let (data, sent) = Sent::of(rendered, change.remove.clone(), metadata, &picture);
            (Step::Change(Change { set: data, ..change }), Some(sent))
        }
    }
}

/// A key that is to be set and that another object has, which adds keys to the same Secret.
fn key_taken(round: &Round, input: &Input<'_>, rendered: &Rendered) -> Option<Refusal> {
    let Seen::Ours(observed) = &round.seen else { return None };
    let taken = |key: &String| {
        let object = observed.holder(key, &round.manager, input.sharing)?.to_owned();
        Some(Refusal::KeyTaken { key: key.clone(), object })
    };
    rendered.set.keys().find_map(taken)
}

/// Whether keys are to be added to a Secret that is another's, or removed from it.
fn adds_or_removes(round: &Round, input: &Input<'_>, picture: &Picture<'_>, rendered: &Rendered) -> bool {
    if !input.object.spec.target.merges() {
        return false;
    }
    let ours = our_keys(round, input, picture, None);
    !rendered.set.keys().all(|key| ours.contains(key)) || !left_keys(&ours, rendered).is_empty()
}

/// Whether the Secret is one that somebody else made and that is to be this object's. One that was taken over and has lost
/// no more than its mark is ours.
pub(super) fn takes_over(input: &Input<'_>, seen: &Seen) -> bool {
    let Seen::Ours(observed) = seen else { return false };
    let was_ours = || input.remembered().is_some_and(|target| target.uid == observed.uid);
    observed.mark().is_none() && !input.object.spec.target.merges() && !was_ours()
}

/// What keeps the Secret from being made, or taken over, whatever the values are. `creates`: which of the two.
fn obstacle(input: &Input<'_>, picture: &Picture<'_>, creates: bool) -> Option<Problem> {
    let type_ = input.object.spec.secret_type();
    if let Some(key) = picture.lacking(type_.required_keys()) {
        return Some(Problem::missing_key(type_, key));
    }
    let unfound = input.unfound().map(|problem| problem.reason);
    let reason = picture.holds_up_creation().or(unfound)?;
    Some(Problem::not_begun(input.object.target_name(), reason, creates))
}

/// Why values are not enough to make a Secret of, or to take one over. `creates`: which of the two.
fn not_whole(input: &Input<'_>, rendered: &Rendered, creates: bool) -> Option<Problem> {
    let (type_, target) = (input.object.spec.secret_type(), input.object.target_name());
    if let Some(key) = type_.required_keys().iter().find(|key| !rendered.set.contains_key(**key)) {
        Some(Problem::missing_key(type_, key))
    } else if let Some(reason) = rendered.needed {
        Some(Problem::not_begun(target, reason, creates))
    } else if rendered.set.is_empty() {
        Some(Problem::nothing_to_write(target, creates))
    } else {
        too_large(rendered)
    }
}

/// Metadata needs no value, so it is repaired though the vault is silent or what it gives cannot be written; not of a
/// target that is refused, which stays untouched until the whole write is taken.
pub(super) fn metadata_alone(
    round: &Round,
    input: &Input<'_>,
    picture: &Picture<'_>,
) -> Option<(Step, Option<Sent>)> {
    // What is taken over gets its mark with its values.
    let Seen::Ours(observed) = &round.seen else { return None };
    if takes_over(input, &round.seen) {
        return None;
    }
    let change = round.metadata_change(input, observed);
    let sent = Sent::of_metadata(round.metadata_carried(input), picture);
    (!change.is_empty() && !is_refused(input)).then_some((Step::Change(change), Some(sent)))
}

/// What can be done before the values are there.
fn without_values(round: &Round, input: &Input<'_>, picture: &Picture<'_>) -> (Step, Option<Sent>) {
    if let Some(change) = metadata_alone(round, input, picture) {
        return change;
    }
    // Of a Secret that nothing is recorded of, as after its status was lost, it is not known whether it is there and whose it
    // is: an owner of an earlier life would have it deleted.
    let unknown = matches!(round.seen, Seen::Remembered) && input.remembered().is_none();
    if unknown && input.outage().is_some() && !input.object.is_observed() {
        return (Step::Look, None);
    }
    let drifted =
        picture.record.as_ref().is_some_and(|record| record.edited || is_said_to_match(input, record));
    let gone = matches!(round.seen, Seen::Absent) && input.remembered().is_some();
    (Step::end(verdict::waiting(round, input, drifted || gone)), None)
}

/// Whether a key is recorded that nobody vouches for, and nothing but that is in the way of Ready.
fn is_said_to_match(input: &Input<'_>, record: &Record<'_>) -> bool {
    let in_doubt = record.target.keys.iter().any(|key| key.of.is_none());
    in_doubt && !says(input.object.status.as_ref(), |reason| reason != Reason::Drifted)
}

fn create(
    round: &Round,
    input: &Input<'_>,
    picture: &Picture<'_>,
    rendered: Rendered,
) -> (Step, Option<Sent>) {
    let type_ = input.object.spec.secret_type();
    let problem = not_whole(input, &rendered, true);
    if problem.is_some() {
        if matches!(round.seen, Seen::Remembered) {
            return (Step::Look, None);
        }
        return (Step::end(verdict::not_written(round, input, picture, &rendered, problem)), None);
    }
    let desired = Desired::of(input.object);
    let (data, sent) = Sent::of(rendered, BTreeSet::new(), Some(of_metadata(&desired)), picture);
    let Desired { labels, annotations, owner, .. } = desired;
    (Step::Create(NewSecret { type_: type_.clone(), labels, annotations, owner, data }), Some(sent))
}

/// The change without the bytes of its keys.
fn change(
    round: &Round,
    input: &Input<'_>,
    picture: &Picture<'_>,
    rendered: &Rendered,
) -> Result<Change, Problem> {
    let observed = match &round.seen {
        Seen::Ours(observed) => Some(observed),
        _ => None,
    };
    let mut change = match observed {
        // An owner that is gone meanwhile would have the Secret deleted, which somebody else made: it is added once the
        // object was told of, and so is there.
        Some(observed) if takes_over(input, &round.seen) => {
            Change { add_owner: None, ..round.metadata_change(input, observed) }
        }
        Some(observed) => round.metadata_change(input, observed),
        None => bare_change(round, input),
    };
    let ours = our_keys(round, input, picture, observed);
    change.remove = left_keys(&ours, rendered);
    let type_ = input.object.spec.secret_type();
    if let Some(key) = type_.required_keys().iter().find(|key| change.remove.contains(**key)) {
        return Err(Problem::missing_key(type_, key));
    }
    let goes = |key: &String| change.remove.contains(key);
    let merges = input.object.spec.target.merges();
    let of_others = observed.filter(|_| merges).is_some_and(|observed| !observed.keys.keys().all(goes));
    let stay = of_others || !ours.iter().all(goes);
    if !change.remove.is_empty() && !stay && rendered.set.is_empty() {
        return Err(Problem::nothing_left(input.object.target_name()));
    }
    too_large(rendered).map_or(Ok(change), Err)
}

/// A change planned from memory: the newest of what this process and status remember.
fn bare_change(round: &Round, input: &Input<'_>) -> Change {
    let target = input.remembered().cloned().unwrap_or_default();
    let verified = round.kept.verified.as_ref().filter(|verified| verified.is_of(&target.uid));
    let resource_version =
        verified.map_or(target.resource_version, |verified| verified.resource_version.clone());
    Change { uid: target.uid, resource_version, ..Change::default() }
}

/// The keys of the Secret that are ours to remove. Where nobody is said to have written anything its keys are not known,
/// and those that were recorded count.
fn our_keys(
    round: &Round,
    input: &Input<'_>,
    picture: &Picture<'_>,
    observed: Option<&Observed>,
) -> BTreeSet<String> {
    let recorded = picture.record.iter().flat_map(|record| &record.target.keys).map(|key| key.name.clone());
    let written = observed.map(|observed| observed.keys_of(&round.manager));
    recorded
        .chain(written.into_iter().flatten())
        .filter(|key| {
            observed.is_none_or(|observed| {
                let there = observed.is_untracked() || observed.keys.contains_key(key);
                there && observed.holder(key, &round.manager, input.sharing).is_none()
            })
        })
        .collect()
}

/// Our keys that the spec or the vault no longer gives. Without a complete picture of `dataFrom`, a key that no
/// entry of `data` named may still be given by it, and stays.
fn left_keys(ours: &BTreeSet<String>, rendered: &Rendered) -> BTreeSet<String> {
    ours.iter()
        .filter(|key| !rendered.set.contains_key(*key) && !rendered.keep.contains(*key))
        .filter(|key| rendered.complete || rendered.remove.contains(*key))
        .cloned()
        .collect()
}

/// More than the API server takes in a Secret, or than status can name. What is there and is not written now the
/// API server counts itself: it refuses the whole write then.
fn too_large(rendered: &Rendered) -> Option<Problem> {
    let size = |(key, (bytes, _)): (&String, &(KeyBytes, _))| key.len() + bytes.expose().len();
    let bytes: usize = rendered.set.iter().map(size).sum();
    (bytes > MAX_SECRET_BYTES || rendered.set.len() > MAX_KEYS).then(Problem::too_large)
}
