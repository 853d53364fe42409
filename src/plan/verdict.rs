//! The end of a round: what is to be said of it, and when to look again without being woken.

use super::render::{Rendered, render};
use super::{
    Input, Problem, Seen, Vault, Verified, answers, manager_of, outage, remembered, renders_all, reply,
    status, write,
};
use crate::api::{Reason, VaultSecretSyncStatus};
use jiff::Timestamp;
use std::time::Duration;
use strum::IntoStaticStr;

/// How often an object that is stale, or was refused, looks again by itself.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What became of a round; the `result` label of `vaultsync_reconciles_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The Secret was created.
    Created,
    /// The Secret was changed.
    Updated,
    /// The Secret was brought back after somebody else's edit.
    Repaired,
    /// Nothing to do.
    Unchanged,
    /// A value is on its way.
    Waiting,
    /// The object is suspended.
    Suspended,
    /// The object, or its namespace, is being deleted.
    Deleting,
    /// Something is in the way; the reason says what.
    Failed,
}

impl Outcome {
    /// The word of the metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The end of a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What became of it.
    pub outcome: Outcome,
    /// The first reason why the object is not Ready, or why it is.
    pub reason: Option<Reason>,
    /// The status to write; `None` where it would say nothing new.
    pub status: Option<VaultSecretSyncStatus>,
    /// When to look again without being woken.
    pub next: Option<Duration>,
    /// The target as this round left it or found it in order.
    pub verified: Option<Verified>,
    /// Everything was answered and still nothing could be written: only another answer or spec changes that.
    pub blocked: bool,
    /// Values are awaited: the next round demands the same again, and looks at the target if this one had to.
    pub unfinished: bool,
}

impl Verdict {
    /// Whether the round has used the values it asked for.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.outcome != Outcome::Waiting
    }

    pub(super) const fn quiet(outcome: Outcome) -> Self {
        Self {
            outcome,
            reason: None,
            status: None,
            next: None,
            verified: None,
            blocked: false,
            unfinished: false,
        }
    }
}

/// Suspended: the generation is observed, Ready stays as it was.
pub(super) fn suspended(input: &Input<'_>) -> Verdict {
    let status = status::suspended(input);
    Verdict { reason: Some(Reason::Suspended), status, ..Verdict::quiet(Outcome::Suspended) }
}

/// Something is in the way of the whole object; entries and target stay as they were.
pub(super) fn refused(input: &Input<'_>, problem: Problem) -> Verdict {
    let outcome =
        if problem.reason == Reason::NamespaceTerminating { Outcome::Deleting } else { Outcome::Failed };
    let reason = Some(problem.reason);
    let look_again = matches!(input.seen, Seen::Refused(_)) || problem.reason == Reason::TooManyConnections;
    let next = look_again.then_some(LOOK_AGAIN);
    Verdict { reason, status: status::refused(input, problem), next, ..Verdict::quiet(outcome) }
}

/// Values are on their way. Nothing is said, unless the vault is the one that keeps them back.
pub(super) fn waiting(input: &Input<'_>, drifted: bool) -> Verdict {
    let vault = &input.object.spec.vault_ref;
    let never_written = remembered(input).is_none();
    let problem = outage(input).and_then(|(failure, _)| {
        if drifted {
            Some(Problem::drifted(vault, input.object.target_name()))
        } else if never_written || renders_all(input) {
            Some(Problem::outage(vault, failure))
        } else {
            None
        }
    });
    match problem.or_else(|| stale(input)) {
        Some(problem) => {
            let reason = Some(problem.reason);
            let status = status::refused(input, problem);
            let next = Some(LOOK_AGAIN);
            Verdict { reason, status, next, unfinished: true, ..Verdict::quiet(Outcome::Failed) }
        }
        None => Verdict { next: next(input, None), unfinished: true, ..Verdict::quiet(Outcome::Waiting) },
    }
}

/// The answers are in and nothing could be written: the sources' own problems, and `problem` before them.
pub(super) fn not_written(input: &Input<'_>, rendered: &Rendered, problem: Option<&Problem>) -> Verdict {
    let status = status::not_written(input, rendered, problem.cloned());
    let blocked = problem.is_some();
    Verdict { blocked: true, ..conclude(input, status, blocked, Outcome::Failed) }
}

/// The answers are in and the Secret is as they say, as far as they go.
pub(super) fn settled(input: &Input<'_>) -> Verdict {
    let (_, answers) = answers(input);
    let rendered = render(input);
    let outcome = match input.seen {
        Seen::Written(written) if written.created => Outcome::Created,
        Seen::Written(written) if written.moved => {
            if answers.iter().any(|answer| matches!(answer, crate::vault::Answer::Read(_)))
                && !only_drift(input)
            {
                Outcome::Updated
            } else {
                Outcome::Repaired
            }
        }
        _ => Outcome::Unchanged,
    };
    let status = status::settled(input, &rendered, stale(input));
    let verified = |observed| Verified::of(observed, &manager_of(input.object));
    let verified = match input.seen {
        Seen::Written(written) => Some(verified(&written.after)),
        Seen::Ours(observed) => write::drift(input).is_empty().then(|| verified(observed)),
        _ => None,
    };
    Verdict { verified, ..conclude(input, status, false, outcome) }
}

/// Nothing could be written, and nothing that was answered since can change that.
pub(super) fn still_blocked(input: &Input<'_>) -> Verdict {
    let conditions = input.object.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let reason =
        crate::api::condition(conditions, crate::api::READY).and_then(|ready| ready.reason.parse().ok());
    Verdict { reason, blocked: true, next: next(input, None), ..Verdict::quiet(Outcome::Failed) }
}

/// Whether the write of this round only undid somebody else's: the vault and the spec say what they said before.
fn only_drift(input: &Input<'_>) -> bool {
    let Some(old) = input.object.status.as_ref() else { return false };
    let (used, answers) = answers(input);
    !renders_all(input)
        && used.iter().zip(answers).all(|(used, answer)| match answer {
            crate::vault::Answer::Read(reading) => super::sources::entry(&old.entries, &used.source)
                .is_some_and(|entry| entry.version.as_deref() == Some(reading.attributes.version.as_str())),
            _ => true,
        })
}

fn conclude(input: &Input<'_>, new: VaultSecretSyncStatus, failed: bool, outcome: Outcome) -> Verdict {
    let ready = crate::api::condition(&new.conditions, crate::api::READY);
    let reason = ready.and_then(|ready| ready.reason.parse().ok());
    let is_ready = ready.is_some_and(|ready| ready.status == "True");
    let outcome =
        if failed || (!is_ready && outcome == Outcome::Unchanged) { Outcome::Failed } else { outcome };
    let next = next(input, Some(&new));
    Verdict { reason, status: status::if_new(input.object, new), next, ..Verdict::quiet(outcome) }
}

/// The problem of an object whose values the vault has not confirmed for too long.
pub(super) fn stale(input: &Input<'_>) -> Option<Problem> {
    let unconfirmed = reply(input)?.unconfirmed_for?;
    (unconfirmed >= input.stale_after)
        .then(|| Problem::stale(&input.object.spec.vault_ref, input.stale_after))
}

/// When something will be to say though nobody wakes the object: staleness, or a source that begins or ends to be
/// valid.
fn next(input: &Input<'_>, status: Option<&VaultSecretSyncStatus>) -> Option<Duration> {
    let staleness = match &input.vault {
        Vault::Found { reply, .. } => reply.unconfirmed_for.map(|unconfirmed| {
            input.stale_after.checked_sub(unconfirmed).filter(|left| !left.is_zero()).unwrap_or(LOOK_AGAIN)
        }),
        Vault::Unknown | Vault::Unusable(_) => None,
    };
    let validity = status
        .into_iter()
        .flat_map(|status| &status.entries)
        .flat_map(|entry| [entry.not_before.as_ref(), entry.expires.as_ref()])
        .flatten()
        .filter_map(|time| until(input.now, time.0))
        .min();
    [staleness, validity].into_iter().flatten().min()
}

/// The time from `now` until just after `then`, where that is ahead.
fn until(now: Timestamp, then: Timestamp) -> Option<Duration> {
    let left = Duration::try_from(then.duration_since(now)).ok().filter(|left| !left.is_zero())?;
    Some(left + Duration::from_secs(1))
}
