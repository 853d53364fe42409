//! The status of a connection: what the plane knows of it, said once for all its objects.

use super::Context;
use super::backoff::backoff;
use super::connection::connection;
use super::error::Error;
use super::report::{Notice, publish};
use crate::api::{KeyVault, KeyVaultStatus, READY, Reason, STALLED, condition, set_condition};
use crate::vault::HealthState;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use std::sync::Arc;

/// What is to be said of a connection.
struct Verdict {
    status: &'static str,
    reason: Reason,
    message: String,
}

/// Writes the status of a connection where it says something new.
pub(super) async fn reconcile(vault: Arc<KeyVault>, context: Arc<Context>) -> Result<Action, Error> {
    if vault.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let known = connection(&vault);
    let health = known.as_ref().ok().and_then(|connection| context.plane.health(connection));
    let verdict = match (&known, health.map(|health| health.state)) {
        (Err(sentence), _) => {
            Some(Verdict { status: "False", reason: Reason::VaultInvalid, message: sentence.clone() })
        }
        (Ok(_), Some(HealthState::Working)) => Some(Verdict {
            status: "True",
            reason: Reason::Connected,
            message: "The vault answers through this connection.".to_owned(),
        }),
        (Ok(_), Some(HealthState::Failing { failure, .. })) => Some(Verdict {
            status: "False",
            reason: failure.reason().parse().unwrap_or(Reason::ServiceUnavailable),
            message: failure.to_string(),
        }),
        // Nothing new was learned; what was learned of this very spec stands.
        (Ok(_), Some(HealthState::Unproven) | None) => not_proven(&vault),
    };
    let Some(verdict) = verdict else { return Ok(Action::await_change()) };
    let new = status(&vault, &verdict, context.now());
    if vault.status.as_ref() == Some(&new) {
        return Ok(Action::await_change());
    }
    context.server.write_status(vault.as_ref(), vault.status.as_ref(), &new).await?;
    if let Some(notice) = notice(vault.status.as_ref(), verdict) {
        let (namespace, name) = (vault.namespace().unwrap_or_default(), vault.name_any());
        if notice.warning {
            tracing::warn!(namespace, keyvault = name, reason = notice.reason, "{}", notice.note);
        } else {
            tracing::info!(namespace, keyvault = name, reason = notice.reason, "{}", notice.note);
        }
        publish(&context, vault.as_ref(), notice).await;
    }
    Ok(Action::await_change())
}

/// After a failure of the API server: again, later.
#[expect(clippy::needless_pass_by_value, reason = "the signature is kube's")]
pub(super) fn after_error(vault: Arc<KeyVault>, error: &Error, _context: Arc<Context>) -> Action {
    let name = vault.name_any();
    tracing::warn!(namespace = vault.namespace(), keyvault = name, reason = error.reason(), "{error}");
    Action::requeue(backoff(error, 3, &name))
}

fn not_proven(vault: &KeyVault) -> Option<Verdict> {
    let said = vault.status.as_ref().and_then(|status| condition(&status.conditions, READY));
    let of_this_spec = said.is_some_and(|said| said.observed_generation == vault.metadata.generation);
    (!of_this_spec).then(|| Verdict {
        status: "Unknown",
        reason: Reason::NotProven,
        message: "No VaultSecretSync has read through this connection yet.".to_owned(),
    })
}

fn status(vault: &KeyVault, verdict: &Verdict, now: Timestamp) -> KeyVaultStatus {
    let mut new = vault.status.clone().unwrap_or_default();
    let generation = vault.metadata.generation;
    new.observed_generation = generation;
    let (reason, message) = (verdict.reason, verdict.message.clone());
    set_condition(&mut new.conditions, READY, verdict.status, reason, message.clone(), generation, now);
    if reason == Reason::VaultInvalid {
        set_condition(&mut new.conditions, STALLED, "True", reason, message, generation, now);
    } else {
        new.conditions.retain(|condition| condition.type_ != STALLED);
    }
    new.conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
    new
}

fn notice(old: Option<&KeyVaultStatus>, verdict: Verdict) -> Option<Notice> {
    let old = old.and_then(|status| condition(&status.conditions, READY));
    let changed = old.is_none_or(|old| {
        (old.status.as_str(), old.reason.as_str()) != (verdict.status, verdict.reason.as_str())
    });
    (changed && verdict.status != "Unknown").then(|| Notice {
        warning: verdict.status == "False",
        reason: verdict.reason.as_str().to_owned(),
        note: verdict.message,
    })
}
