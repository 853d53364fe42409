//! The decision: from what is known of one object to the next step, as a pure function.
//!
//! ```text
//!  object, connection, answers, target ──> plan() ──> Step: Probe | Refresh | Read | Create | Change ──> do it, plan again
//!                                                           Settle(verdict) ──> status, event, metric
//! ```
//!
//! [`plan`] is called until it settles. It knows no client and takes the time as an argument. Its order is the
//! behaviour: what refuses first, wins.

mod grant;
mod json;
mod problem;
mod render;
mod sources;
mod status;
mod target;
mod verdict;
mod write;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod tests;

pub use grant::{Permit, Reader, has_selector, permits};
pub use problem::Problem;
pub use render::{KeyBytes, MAX_SECRET_BYTES, valid_key};
pub use sources::{UsedSource, interval, judged, sources, wants};
pub use target::{
    Change, Desired, NewSecret, Observed, Refusal, Seen, Verified, Written, drifted, manager_of,
};
pub use verdict::{Outcome, Verdict};

use crate::api::VaultSecretSync;
use crate::vault::{Answer, HealthState, Reply};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// Everything that a decision rests on.
#[derive(Debug)]
pub struct Input<'a> {
    /// The object, no older than our own last write of its status.
    pub object: &'a VaultSecretSync,
    /// Its sources, or why the spec has none that can be read.
    pub sources: &'a Result<Vec<UsedSource>, String>,
    /// Whether the namespace is one that we leave alone.
    pub ignored: bool,
    /// The object that has the better claim to the target, if any.
    pub rival: Option<&'a str>,
    /// The connection, with the plane's reply to [`wants`].
    pub vault: Vault<'a>,
    /// Sources whose value was demanded in this round, by index.
    pub demanded: &'a BTreeSet<usize>,
    /// The request for a sync that the plane was already told of.
    pub refreshed: Option<&'a str>,
    /// The resourceVersion for which every source was read anew.
    pub rechecked: Option<&'a str>,
    /// The target, as far as this round has looked.
    pub seen: &'a Seen,
    /// The target as we last left or checked it in this process.
    pub verified: Option<&'a Verified>,
    /// Whether this round is to look at the target.
    pub probe: bool,
    /// Whether the last round of this generation ended [blocked](Verdict::blocked).
    pub blocked: bool,
    /// How long values may go unconfirmed.
    pub stale_after: Duration,
    /// Now.
    pub now: Timestamp,
}

/// The connection of an object.
#[derive(Debug)]
pub enum Vault<'a> {
    /// Not shown yet, so that nothing can be said.
    Unknown,
    /// There is none, or this object may not use it.
    Unusable(Problem),
    /// The plane was asked.
    Found {
        /// The vault's address.
        url: &'a str,
        /// What the plane said.
        reply: &'a Reply,
        /// As what each source may be read.
        permits: &'a [Permit],
    },
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Look at the target's metadata.
    Probe,
    /// Have every source read once more, for the request of this value.
    Refresh(String),
    /// Demand the values of these sources, by index.
    Read(BTreeSet<usize>),
    /// Read these sources anew, whatever is known of them, for the Secret of this resourceVersion was written by
    /// another operator.
    Recheck {
        /// The resourceVersion.
        resource_version: String,
        /// The sources, by index.
        sources: BTreeSet<usize>,
    },
    /// Create the target.
    Create(NewSecret),
    /// Change the target.
    Change(Change),
    /// Nothing more to do in this round.
    Settle(Verdict),
}

/// The next step for an object.
#[must_use]
pub fn plan(input: &Input<'_>) -> Step {
    // In this order; the first that has something to say is the step.
    refused_by_spec(input)
        .or_else(|| asked_for(input))
        .or_else(|| look_at_target(input))
        .or_else(|| refused_by_target(input))
        .or_else(|| finished(input))
        .unwrap_or_else(|| write::write(input))
}

/// What needs neither vault nor target: the object is going, suspended, wrong, or its target is another's.
fn refused_by_spec(input: &Input<'_>) -> Option<Step> {
    let object = input.object;
    let problem = if object.metadata.deletion_timestamp.is_some() {
        return Some(Step::Settle(Verdict::quiet(Outcome::Deleting)));
    } else if input.ignored {
        Problem::namespace_ignored()
    } else if object.spec.suspend {
        return Some(Step::Settle(verdict::suspended(input)));
    } else if let Err(sentence) = input.sources {
        Problem::invalid_spec(sentence)
    } else if let Some(rival) = input.rival {
        Problem::target_conflict(object.target_name(), rival)
    } else {
        match &input.vault {
            Vault::Unknown => return Some(Step::Settle(Verdict::quiet(Outcome::Waiting))),
            Vault::Unusable(problem) => problem.clone(),
            Vault::Found { .. } => return None,
        }
    };
    Some(Step::Settle(verdict::refused(input, problem)))
}

/// A new `sync-requested-at`: every source once, and a look at the target.
fn asked_for(input: &Input<'_>) -> Option<Step> {
    let request = pending_request(input)?;
    (input.refreshed != Some(request)).then(|| Step::Refresh(request.to_owned()))
}

/// The request for a sync that is not answered yet.
fn pending_request<'a>(input: &Input<'a>) -> Option<&'a str> {
    let handled = input.object.status.as_ref().and_then(|status| status.last_handled_sync.as_deref());
    input.object.sync_requested().filter(|request| Some(*request) != handled)
}

/// The target is looked at when it is time to, when a write said that it changed, when the spec or the deletion
/// policy changed (to see which metadata is ours), and as long as status says that something is wrong with it.
fn look_at_target(input: &Input<'_>) -> Option<Step> {
    let due = match input.seen {
        Seen::Changed => true,
        Seen::Remembered => match remembered(input) {
            Some(target) => {
                input.probe
                    || pending_request(input).is_some()
                    || Some(target.generation) != input.object.metadata.generation
                    || target.deletion != input.object.spec.target.deletion
                    || status::doubts_target(input.object)
            }
            None => status::doubts_target(input.object),
        },
        Seen::Absent | Seen::Ours(_) | Seen::Written(_) | Seen::Refused(_) => false,
    };
    due.then_some(Step::Probe)
}

fn refused_by_target(input: &Input<'_>) -> Option<Step> {
    let Seen::Refused(refusal) = input.seen else { return None };
    let problem = Problem::refused(input.object, refusal);
    Some(Step::Settle(verdict::refused(input, problem)))
}

fn finished(input: &Input<'_>) -> Option<Step> {
    let Seen::Written(_) = input.seen else { return None };
    let (_, answers) = answers(input);
    let waits = answers.iter().any(|answer| matches!(answer, Answer::Pending));
    Some(Step::Settle(if waits {
        verdict::waiting(input, !write::drift(input).is_empty())
    } else {
        verdict::settled(input)
    }))
}

/// What status remembers of the target, if it speaks of this one.
fn remembered<'a>(input: &Input<'a>) -> Option<&'a crate::api::TargetStatus> {
    let target = input.object.status.as_ref()?.target.as_ref()?;
    (target.name == input.object.target_name()).then_some(target)
}

/// Whether all of the Secret is to be rendered anew: nothing is known, or what is known speaks of another spec,
/// another vault, another Secret or another revision of our rendering.
fn renders_all(input: &Input<'_>) -> bool {
    let (Some(target), Some(status)) = (remembered(input), input.object.status.as_ref()) else { return true };
    let another_secret = match input.seen {
        Seen::Ours(observed) => observed.uid != target.uid,
        Seen::Written(written) => written.created || written.after.uid != target.uid,
        Seen::Absent => true,
        Seen::Remembered | Seen::Changed | Seen::Refused(_) => false,
    };
    another_secret
        || Some(target.generation) != input.object.metadata.generation
        || status.format != Some(crate::api::FORMAT)
        || status.vault.as_deref() != vault_url(input)
}

fn vault_url<'a>(input: &Input<'a>) -> Option<&'a str> {
    match &input.vault {
        Vault::Found { url, .. } => Some(url),
        Vault::Unknown | Vault::Unusable(_) => None,
    }
}

/// The sources and the plane's answers to them; empty where there is no connection.
fn answers<'a>(input: &Input<'a>) -> (&'a [UsedSource], &'a [Answer]) {
    match (input.sources, &input.vault) {
        (Ok(sources), Vault::Found { reply, .. }) => (sources, &reply.answers),
        _ => (&[], &[]),
    }
}

/// As what the source of this index may be read; what nobody permitted is not.
fn permit(input: &Input<'_>, index: usize) -> Permit {
    match &input.vault {
        Vault::Found { permits, .. } => permits.get(index).copied().unwrap_or_default(),
        Vault::Unknown | Vault::Unusable(_) => Permit::default(),
    }
}

/// The plane's reply, where there is a connection.
fn reply<'a>(input: &Input<'a>) -> Option<&'a Reply> {
    match &input.vault {
        Vault::Found { reply, .. } => Some(reply),
        Vault::Unknown | Vault::Unusable(_) => None,
    }
}

/// Why the whole vault or identity fails, if it does.
fn outage<'a>(input: &Input<'a>) -> Option<(&'a crate::vault::Failure, Duration)> {
    match &reply(input)?.health.state {
        HealthState::Failing { failure, lasting, .. } => Some((failure, *lasting)),
        HealthState::Unproven
        | HealthState::Undecided
        | HealthState::Working
        | HealthState::PermissionUnproven(_) => None,
    }
}
