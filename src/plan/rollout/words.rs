//! What the condition `RolledOut` says, and the events that it is worth.

use super::super::Notice;
use super::progress::{Attempt, Progress, RestartFailure, Workload};
use crate::api::{ROLLED_OUT, RestartItem, RolloutSpec, RolloutStatus, VaultSecretSyncStatus, condition};
use crate::reason::Reason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// How many workloads a message spells out.
const SPELLED_OUT: usize = 4;

/// What there is to tell of.
#[derive(Debug)]
pub(super) struct RolloutNews<'a> {
    pub(super) spec: &'a RolloutSpec,
    pub(super) secret: &'a str,
    /// What was said last.
    pub(super) said: Option<&'a Condition>,
    pub(super) generation: Option<i64>,
    pub(super) rollout: Option<&'a RolloutStatus>,
    pub(super) progress: &'a Progress,
    /// Whether a rollout ended just now.
    pub(super) complete: bool,
    pub(super) per_minute: Option<u32>,
    /// Whether the object is not in a state in which anybody would be restarted.
    pub(super) idle: bool,
}

/// What the condition is to say; `None` where what was said stands.
pub(super) fn told(told: &RolloutNews<'_>) -> Option<(Reason, String)> {
    let Some(per_minute) = told.per_minute else { return Some(disabled(told)) };
    if told.complete {
        return Some(ended(told));
    }
    let rollout = told.rollout?;
    if rollout.due.is_none() {
        return at_rest(told);
    }
    if told.idle {
        return None;
    }
    let progress = told.progress;
    if let Some((attempt, failure)) = progress.failures().next() {
        return Some(failed(told, attempt, failure));
    }
    let left: Vec<String> = match progress.left(told.spec).as_slice() {
        [] => told.spec.restart.iter().map(described).collect(),
        left => left.iter().map(Workload::to_string).collect(),
    };
    let message = if progress.waits() {
        format!(
            "Secret {} has changed. To be restarted for it, in turn with those of other objects: {}. vaultsync restarts at most {per_minute} workloads a minute in all (chart: settings.rolloutsPerMinute).",
            told.secret,
            list(&left)
        )
    } else {
        format!("Secret {} has changed. To be restarted for it: {}.", told.secret, list(&left))
    };
    Some((Reason::RolloutWaiting, message))
}

fn disabled(told: &RolloutNews<'_>) -> (Reason, String) {
    let owed = told.rollout.is_some_and(|rollout| rollout.due.is_some());
    let workloads: Vec<String> = told.spec.restart.iter().map(described).collect();
    let (secret, workloads) = (told.secret, list(&workloads));
    let message = if owed {
        format!(
            "Secret {secret} has changed, and vaultsync may not restart workloads, so these have not been: {workloads}. Set the chart's value rollouts.enabled to true, or restart them by hand."
        )
    } else {
        format!(
            "vaultsync may not restart workloads, so these will not be when Secret {secret} changes: {workloads}. Set the chart's value rollouts.enabled to true, or remove spec.rollout."
        )
    };
    (Reason::RolloutsDisabled, message)
}

/// Nothing is due: what was said of the last rollout stands, as far as it speaks of this spec.
fn at_rest(told: &RolloutNews<'_>) -> Option<(Reason, String)> {
    let said = told.said.and_then(|said| Some((said, said.reason.parse::<Reason>().ok()?)));
    match said {
        Some((said, Reason::Restarted)) => Some((Reason::Restarted, said.message.clone())),
        Some((said, Reason::NotNeeded | Reason::WorkloadNotFound))
            if said.observed_generation == told.generation =>
        {
            None
        }
        _ => Some((
            Reason::NotNeeded,
            format!(
                "No restart is needed: Secret {} has not changed since it was recorded for its workloads.",
                told.secret
            ),
        )),
    }
}

/// All workloads are over.
fn ended(told: &RolloutNews<'_>) -> (Reason, String) {
    let progress = told.progress;
    let names = |found| progress.done(found).into_iter().map(Workload::to_string).collect::<Vec<_>>();
    let mut missing = names(false);
    missing.extend(progress.selects_nobody().filter_map(|place| told.spec.restart.get(place)).map(described));
    let restarted = names(true);
    let secret = told.secret;
    if missing.is_empty() {
        return (
            Reason::Restarted,
            format!("Restarted for what is in Secret {secret} now: {}.", list(&restarted)),
        );
    }
    let others =
        if restarted.is_empty() { String::new() } else { format!(" Restarted: {}.", list(&restarted)) };
    (
        Reason::WorkloadNotFound,
        format!(
            "Secret {secret} has changed, and these are not in the namespace: {}. Correct spec.rollout; what is created from now on begins with the new values.{others}",
            list(&missing)
        ),
    )
}

fn failed(told: &RolloutNews<'_>, attempt: &Attempt, failure: &RestartFailure) -> (Reason, String) {
    let (what, verb) = match attempt {
        Attempt::Listing(place) => (told.spec.restart.get(*place).map(described).unwrap_or_default(), "list"),
        Attempt::Restarting(workload) => (workload.to_string(), "patch"),
    };
    let more = told.progress.failures().count() - 1;
    let more = if more == 0 { String::new() } else { format!(" And {more} more.") };
    let changed = format!("Secret {} has changed", told.secret);
    let (reason, message) = match failure {
        RestartFailure::Forbidden => (
            Reason::RolloutForbidden,
            format!(
                "{changed}, and the API server does not let vaultsync restart {what}: check the right to {verb} it (chart: rollouts.enabled) and the admission plugins of this cluster."
            ),
        ),
        RestartFailure::DeniedByWebhook(name) => (
            Reason::RolloutDenied,
            format!(
                "{changed}, and the admission webhook {name} does not let vaultsync restart {what}. Ask whoever runs the webhook what it wants."
            ),
        ),
        RestartFailure::DeniedByPolicy(name) => (
            Reason::RolloutDenied,
            format!(
                "{changed}, and the ValidatingAdmissionPolicy {name} does not let vaultsync restart {what}. Ask whoever wrote the policy what it wants."
            ),
        ),
        RestartFailure::WebhookFailed(name) => (
            Reason::RolloutFailed,
            format!(
                "{changed}, and the admission webhook {name} does not answer the API server, so {what} cannot be restarted. Check the webhook's pods and Service."
            ),
        ),
        RestartFailure::Failed(Some(code)) => (
            Reason::RolloutFailed,
            format!(
                "{changed}, and the API server answers {code} when vaultsync restarts {what}. Check the API server's log, and the workload."
            ),
        ),
        RestartFailure::Failed(None) => (
            Reason::RolloutFailed,
            format!(
                "{changed}, and the API server does not answer when vaultsync restarts {what}. Check the admission webhooks of this cluster."
            ),
        ),
    };
    (reason, format!("{message}{more} vaultsync tries again, at most ten minutes apart."))
}

/// The events that a status is worth where it takes the place of another: workloads that were restarted, once for each
/// change, and what is in the way, when that is news.
#[must_use]
pub fn rollout_notices(old: Option<&VaultSecretSyncStatus>, new: &VaultSecretSyncStatus) -> Vec<Notice> {
    let said = |status: &VaultSecretSyncStatus| condition(&status.conditions, ROLLED_OUT).cloned();
    let Some((now, reason)) = said(new).and_then(|now| Some((now.clone(), now.reason.parse().ok()?))) else {
        return Vec::new();
    };
    let notice = |warning, reason: Reason| Notice {
        warning,
        reason: reason.as_str().to_owned(),
        note: now.message.clone(),
    };
    let rollouts = old.and_then(|old| old.rollout.as_ref()).zip(new.rollout.as_ref());
    let restarted = rollouts.is_some_and(|(old, new)| {
        let over = new.due.is_none() && old.due == Some(new.hash);
        over && (reason == Reason::Restarted || old.at != new.at)
    });
    let is_news = old.and_then(said).is_none_or(|old| old.reason != now.reason);
    let restarted = restarted.then(|| notice(false, Reason::Restarted));
    let failed = (is_news && is_failure(reason)).then(|| notice(true, reason));
    restarted.into_iter().chain(failed).collect()
}

/// Whether somebody has to do something about it.
const fn is_failure(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::RolloutsDisabled
            | Reason::WorkloadNotFound
            | Reason::RolloutForbidden
            | Reason::RolloutDenied
            | Reason::RolloutFailed
    )
}

/// An item of the spec in words.
fn described(item: &RestartItem) -> String {
    match (&item.name, &item.selector) {
        (Some(name), _) => format!("{} {name}", item.kind),
        (None, Some(selector)) => format!("{}s with the labels {}", item.kind, selector.query()),
        (None, None) => format!("{}s without a name", item.kind),
    }
}

fn list(names: &[String]) -> String {
    let mut text = names.iter().take(SPELLED_OUT).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SPELLED_OUT {
        text.push_str(" and ");
        text.push_str(&(names.len() - SPELLED_OUT).to_string());
        text.push_str(" more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Fingerprint, set_condition};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn status(reason: Reason, hash: u64, due: Option<u64>, at: Option<i64>) -> VaultSecretSyncStatus {
        let mut status = VaultSecretSyncStatus {
            rollout: Some(RolloutStatus {
                hash: Fingerprint(hash),
                due: due.map(Fingerprint),
                at: at.map(|at| Time(Timestamp::from_second(at).unwrap())),
            }),
            ..VaultSecretSyncStatus::default()
        };
        let (message, now) = (reason.to_string(), Timestamp::UNIX_EPOCH);
        set_condition(&mut status.conditions, ROLLED_OUT, "", reason, message, None, now);
        status
    }

    #[test]
    fn a_rollout_is_told_of_once_and_a_failure_when_it_is_news() {
        let told = |old: Option<&VaultSecretSyncStatus>, new: &VaultSecretSyncStatus| {
            let notices = rollout_notices(old, new);
            notices.iter().map(|notice| format!("{} {}", notice.warning, notice.reason)).collect::<Vec<_>>()
        };
        let recorded = status(Reason::NotNeeded, 1, None, None);
        let due = status(Reason::RolloutWaiting, 1, Some(2), None);
        let done = status(Reason::Restarted, 2, None, Some(5));
        assert!(told(None, &recorded).is_empty() && told(Some(&recorded), &due).is_empty());
        assert_eq!(told(Some(&due), &done), ["false Restarted"]);
        assert!(told(Some(&done), &done).is_empty());
        let carried = status(Reason::Restarted, 3, None, Some(5));
        assert!(told(Some(&done), &carried).is_empty(), "nobody was restarted");
        let refused = status(Reason::RolloutForbidden, 1, Some(2), None);
        assert_eq!(told(Some(&due), &refused), ["true RolloutForbidden"]);
        assert!(told(Some(&refused), &refused).is_empty());
        let missing = |at| status(Reason::WorkloadNotFound, 2, None, at);
        assert_eq!(told(Some(&due), &missing(None)), ["true WorkloadNotFound"]);
        assert_eq!(told(Some(&due), &missing(Some(5))), ["false Restarted", "true WorkloadNotFound"]);
    }
}
