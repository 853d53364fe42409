//! The end of a round: what is to be said of it, what is kept, and when to look again without being woken.

use super::kept::{Denied, Kept};
use super::outcome::Outcome;
use super::picture::{Picture, rows};
use super::render::Rendered;
use super::round::Round;
use super::sources::Hold;
use super::target::{Refusal, Seen, Verified};
use super::{Connected, Fares, Input, Problem, Vault, status};
use crate::api::{EntryState, READY, VaultRef, VaultSecretSyncStatus, condition};
use crate::reason::Reason;
use jiff::Timestamp;
use std::time::Duration;

/// How often an object looks again by itself that is stale, or has lost what may be one of many.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// When a round that had to end goes on in another.
const SOON: Duration = Duration::from_secs(1);

/// A Secret that differs is told of this long after it was seen, if its values could not be had until then.
const DRIFT_PATIENCE: Duration = Duration::from_secs(5);

/// The end of a round.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What became of it.
    pub outcome: Outcome,
    /// The first reason why the object is not Ready, or why it is.
    pub reason: Option<Reason>,
    /// The status to write; `None` where it would say nothing new.
    pub status: Option<VaultSecretSyncStatus>,
    /// When to look again without being woken.
    pub next: Option<Duration>,
    /// Whether the round still waits for values that it demanded; else it has used what it was given.
    pub waits: bool,
    /// What the next round begins with, once this is said.
    pub kept: Kept,
}

/// Nothing is said.
pub(super) fn quiet(round: &Round, outcome: Outcome) -> Verdict {
    let waits = outcome == Outcome::Waiting;
    Verdict { outcome, reason: None, status: None, next: None, waits, kept: round.keep(waits) }
}

/// The round is sealed, and what it saw since asks for values that it has not: the next one begins soon.
pub(super) fn again(round: &Round, input: &Input<'_>) -> Verdict {
    let status = status::waiting(round, input);
    Verdict { status, next: Some(SOON), ..quiet(round, Outcome::Waiting) }
}

/// Suspended: the generation is observed, Ready stays as it was.
pub(super) fn suspended(round: &Round, input: &Input<'_>) -> Verdict {
    let status = status::suspended(round, input);
    let kept = after_write(round, round.keep(false));
    Verdict { reason: Some(Reason::Suspended), status, kept, ..quiet(round, Outcome::Suspended) }
}

/// Something is in the way of the whole object; entries and target stay as they were.
pub(super) fn refused(round: &Round, input: &Input<'_>, problems: &[Problem]) -> Verdict {
    let reason = problems.first().map(|problem| problem.reason);
    let going = reason == Some(Reason::NamespaceTerminating);
    let outcome = if going { Outcome::Deleting } else { Outcome::Failed };
    let next = (reason == Some(Reason::TooManyConnections)).then_some(LOOK_AGAIN);
    let kept = after_write(round, round.keep(false));
    let status = status::refused(round, input, problems);
    Verdict { reason, status, next, kept, ..quiet(round, outcome) }
}

/// A write was refused not long ago: the next waits, and nothing is read for it.
pub(super) fn held_back(round: &Round, input: &Input<'_>, wait: Duration) -> Verdict {
    Verdict { reason: status::said(input), next: Some(wait), ..quiet(round, Outcome::Failed) }
}

/// The API server refuses the target. An object that has one is probed again at the pace of all others.
pub(super) fn refused_target(round: &Round, input: &Input<'_>, refusal: &Refusal) -> Verdict {
    let problem = Problem::refused(input.object, refusal);
    let asked = matches!(input.vault, Vault::Usable { snapshot: Some(_), .. });
    if *refusal == Refusal::TooLarge && asked {
        // It is not the target that is in the way: other values would fit.
        let picture = round.picture(input);
        return not_written(round, input, &picture, &super::render::render(&picture), Some(problem));
    }
    let verdict = refused(round, input, &[problem]);
    let kept = verdict.kept.open(|open| {
        if round.denied || matches!(refusal, Refusal::KeyTaken { .. }) {
            open.refused = Some(Denied::again(open.refused, input.now));
        }
    });
    let refused = kept.open.as_ref().and_then(|open| open.refused);
    let next = refused.and_then(|denied| denied.holds_back_for(false, input.now)).or(verdict.next);
    Verdict { next, kept, ..verdict }
}

/// Values are on their way. Nothing is said, unless the vault is the one that keeps them back.
pub(super) fn waiting(round: &Round, input: &Input<'_>, drifted: bool) -> Verdict {
    let since = drifted.then(|| round.open.drifted.unwrap_or(input.now));
    let lasting = since.map(|since| Duration::try_from(input.now.duration_since(since)).unwrap_or_default());
    let kept = after_write(round, round.keep(true)).open(|open| open.drifted = since);
    let problem = if lasting.is_some_and(|lasting| lasting >= DRIFT_PATIENCE) {
        Some(Problem::drifted(silent(input), input.object.target_name()))
    } else {
        let outage = input.outage().filter(|_| is_unapplied(input));
        outage.map(|(vault, failure)| Problem::outage(vault, failure))
    };
    if let Some(problem) = problem.or_else(|| stale(input)) {
        return Verdict {
            reason: Some(problem.reason),
            status: status::refused(round, input, &[problem]),
            next: Some(LOOK_AGAIN),
            waits: true,
            kept,
            ..quiet(round, Outcome::Failed)
        };
    }
    let patience = lasting.map(|lasting| DRIFT_PATIENCE.saturating_sub(lasting));
    let next = [next(input, None), patience].into_iter().flatten().min();
    Verdict { status: status::waiting(round, input), next, kept, ..quiet(round, Outcome::Waiting) }
}

/// The connection that keeps values back.
fn silent<'a>(input: &Input<'a>) -> &'a VaultRef {
    let failing = input.outage().map(|(vault, _)| vault);
    failing.unwrap_or_else(|| input.vault_ref(input.awaited().next().unwrap_or_default()))
}

/// Whether the object was never synced as its spec says: then there is no Ready=True that an outage could leave alone.
fn is_unapplied(input: &Input<'_>) -> bool {
    let status = input.object.status.as_ref();
    let told = |status: &VaultSecretSyncStatus| {
        let rows = rows(input);
        // What is found by its name may be new.
        let mut others = rows.iter().filter(|row| row.used.vault > 0 && row.used.named);
        status.target.is_some()
            && status.vault.as_deref() == input.vault_url()
            && others.all(|row| row.before.is_some())
            && !input.lacks_list()
    };
    !input.object.is_observed() || !status.is_some_and(told)
}

/// The answers are in and nothing could be written: the sources' own problems, and `problem` before them.
pub(super) fn not_written(
    round: &Round,
    input: &Input<'_>,
    picture: &Picture<'_>,
    rendered: &Rendered,
    problem: Option<Problem>,
) -> Verdict {
    let too_large = problem.as_ref().is_some_and(|problem| problem.reason == Reason::TooLarge);
    let new = status::answered(round, input, picture, rendered, problem);
    let kept = examined(round, after_write(round, judged(round, picture, rendered)), false).open(|open| {
        open.blocked = Some(picture.fingerprint());
        if too_large {
            open.too_large = Some(Denied::again(open.too_large, input.now));
        }
    });
    conclude(round, input, new, Outcome::Failed, kept)
}

/// The answers are in and the Secret is as they say, as far as they go.
pub(super) fn settled(
    round: &Round,
    input: &Input<'_>,
    picture: &Picture<'_>,
    rendered: &Rendered,
) -> Verdict {
    let outcome = match &round.seen {
        Seen::Written(written) if written.created => Outcome::Created,
        Seen::Written(written) if written.moved && round.restores_only(input) => Outcome::Repaired,
        Seen::Written(written) if written.moved => Outcome::Updated,
        _ => Outcome::Unchanged,
    };
    let type_ = input.object.spec.secret_type();
    let kept_by_type = rendered.kept_by_type.as_ref().map(|key| Problem::key_stays(type_, key));
    let first = round.refused_owners(input).or(kept_by_type).or_else(|| stale(input));
    let new = status::answered(round, input, picture, rendered, first);
    let ready = condition(&new.conditions, READY).is_some_and(|ready| ready.status == "True");
    if ready && new.entries.iter().any(|entry| entry.state == EntryState::Pending) {
        // Ready never says more than the record does.
        return again(round, input);
    }
    let in_order = picture.record.as_ref().is_some_and(|record| record.drift.is_empty());
    let kept = examined(round, judged(round, picture, rendered), in_order);
    let kept = after_write(round, kept).open(|open| (open.refused, open.too_large) = (None, None));
    // Of a Secret that was taken over the owner is still to be added.
    let target = new.target.as_ref().filter(|_| matches!(round.seen, Seen::Written(_)));
    let unbound =
        target.is_some_and(|target| target.metadata.is_none()) && round.refused_owners(input).is_none();
    if unbound {
        // Until then the Secret would outlive the object, which Ready must not hide.
        let status = status::if_new(input, status::not_concluded(input, new));
        return Verdict { status, next: Some(SOON), kept, ..quiet(round, outcome) };
    }
    conclude(round, input, new, outcome, kept)
}

/// Nothing could be written, and nothing that was answered since can change that.
pub(super) fn still_blocked(round: &Round, input: &Input<'_>) -> Verdict {
    let kept = after_write(round, round.keep(false)).open(|open| open.blocked = round.open.blocked);
    let status = status::waiting(round, input);
    Verdict {
        reason: status::said(input),
        status,
        next: next(input, None),
        kept,
        ..quiet(round, Outcome::Failed)
    }
}

/// What is kept of values that gave no key, as long as the spec wants them.
fn judged(round: &Round, picture: &Picture<'_>, rendered: &Rendered) -> Kept {
    let keys = picture.keys.iter().filter_map(|key| key.of);
    let wanted: Vec<_> = keys.chain(picture.objects.iter().filter_map(|object| object.of)).collect();
    round.keep(false).open(|open| {
        open.judged.extend(rendered.judged.iter().map(|(of, flaw)| (*of, flaw.clone())));
        open.judged.retain(|of, _| wanted.contains(of));
    })
}

/// The target was looked at, and what it lacks is recorded: it is in order, or every source was read anew for it, and to
/// read them once more would tell nothing.
fn examined(round: &Round, mut kept: Kept, in_order: bool) -> Kept {
    if let Seen::Ours(observed) = &round.seen
        && (in_order || round.open.anew.as_ref() == Some(&observed.resource_version))
    {
        kept.verified = Some(Verified::of(observed, &round.manager));
    }
    kept
}

/// After every write of ours the target is as we left it.
fn after_write(round: &Round, mut kept: Kept) -> Kept {
    if let Seen::Written(written) = &round.seen {
        kept.verified = Some(Verified::of(&written.after, &round.manager));
    }
    kept
}

fn conclude(
    round: &Round,
    input: &Input<'_>,
    new: VaultSecretSyncStatus,
    outcome: Outcome,
    kept: Kept,
) -> Verdict {
    let ready = condition(&new.conditions, READY);
    let reason = ready.and_then(|ready| ready.reason.parse().ok());
    let is_ready = ready.is_some_and(|ready| ready.status == "True");
    let outcome = if outcome == Outcome::Unchanged && !is_ready { Outcome::Failed } else { outcome };
    let next = next(input, Some(&new));
    let status = status::if_new(input, new);
    Verdict { reason, status, next, kept, ..quiet(round, outcome) }
}

/// The problem of an object of which vaults have not confirmed the values for too long; each is named.
pub(super) fn stale(input: &Input<'_>) -> Option<Problem> {
    let is_stale = |(connection, fares): &(&Connected<'_>, &Fares)| {
        fares.unconfirmed_for.is_some_and(|unconfirmed| unconfirmed >= connection.stale_after)
    };
    let stale = input.fares().filter(is_stale);
    let problems = stale.map(|(connection, _)| Problem::stale(connection.vault, connection.stale_after));
    problems
        .reduce(|first, other| Problem { message: format!("{} {}", first.message, other.message), ..first })
}

/// When something will be to say though nobody wakes the object: staleness, or a source that begins or ends to be
/// valid.
fn next(input: &Input<'_>, status: Option<&VaultSecretSyncStatus>) -> Option<Duration> {
    let staleness = input.fares().filter_map(|(connection, fares)| {
        let left = connection.stale_after.checked_sub(fares.unconfirmed_for?);
        Some(left.filter(|left| !left.is_zero()).unwrap_or(LOOK_AGAIN))
    });
    let staleness = staleness.min();
    let validity = status
        .into_iter()
        .flat_map(|status| &status.entries)
        .flat_map(|entry| {
            let [begins, ends] =
                [&entry.not_before, &entry.expires].map(|time| time.as_ref().map(|time| time.0));
            [begins, ends, ends.and_then(|ends| ends.checked_sub(input.expiring_before).ok())]
        })
        .flatten()
        .filter_map(|time| until(input.now, time))
        .min();
    let undecided =
        input.snapshot().is_some_and(|snapshot| snapshot.held.values().any(|held| *held == Hold::Undecided));
    [staleness, validity, undecided.then_some(LOOK_AGAIN)].into_iter().flatten().min()
}

/// The time from `now` until just after `then`, where that is ahead.
fn until(now: Timestamp, then: Timestamp) -> Option<Duration> {
    let left = Duration::try_from(then.duration_since(now)).ok().filter(|left| !left.is_zero())?;
    Some(left + Duration::from_secs(1))
}
