//! The status of a connection: what the plane knows of it, said once for all its objects.

use super::Context;
use super::api_server::Reported;
use super::backoff::backoff;
use super::connection::connection;
use super::error::Error;
use super::place::too_many;
use super::report::{Notice, publish};
use crate::api::{KeyVault, KeyVaultStatus, READY, Reason, STALLED, condition, set_condition};
use crate::vault::{Detection, HealthState};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::object::HasStatus;
use kube::runtime::controller::Action;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// How often a connection that is one too many looks whether there is a place by now.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What is to be said of a connection.
pub(super) enum Said {
    /// Nothing new was learned; what was learned of this very spec stands.
    Nothing,
    /// This.
    Verdict(Verdict),
}

/// A verdict on a connection.
pub(super) struct Verdict {
    status: &'static str,
    reason: Reason,
    message: String,
}

impl Said {
    /// Ready=True.
    pub(super) const fn working(message: String) -> Self {
        Self::Verdict(Verdict { status: "True", reason: Reason::Connected, message })
    }

    /// Ready=False.
    pub(super) const fn failing(reason: Reason, message: String) -> Self {
        Self::Verdict(Verdict { status: "False", reason, message })
    }
}

/// Writes the status of a connection where it says something new.
pub(super) async fn reconcile(vault: Arc<KeyVault>, context: Arc<Context>) -> Result<Action, Error> {
    if vault.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    if let Some(sentence) = too_many(&context, &vault) {
        say(&context, vault.as_ref(), Said::failing(Reason::TooManyConnections, sentence), None).await?;
        return Ok(Action::requeue(LOOK_AGAIN));
    }
    let (said, detection) = judge(&context, &vault);
    say(&context, vault.as_ref(), said, detection.as_ref()).await?;
    Ok(Action::await_change())
}

fn judge(context: &Context, vault: &KeyVault) -> (Said, Option<Detection>) {
    let connection = match connection(vault) {
        Err(sentence) => return (Said::failing(Reason::VaultInvalid, sentence), None),
        Ok(connection) => connection,
    };
    let Some(health) = context.plane.health(&connection) else { return (Said::Nothing, None) };
    match health.state {
        HealthState::Working => {
            (Said::working("The vault answers through this connection.".to_owned()), health.detection)
        }
        // While the vault fails that is all there is to say.
        HealthState::Failing { failure, .. } => {
            let reason = failure.reason().parse().unwrap_or(Reason::ServiceUnavailable);
            (Said::failing(reason, failure.to_string()), None)
        }
        HealthState::Unproven => (Said::Nothing, None),
    }
}

/// Writes what is to be said where it is new; on a change of Ready, an event and a line of the log too.
pub(super) async fn say<K>(
    context: &Context,
    vault: &K,
    said: Said,
    detection: Option<&Detection>,
) -> Result<(), Error>
where
    K: Reported + HasStatus<Status = KeyVaultStatus> + Clone + DeserializeOwned + Debug,
{
    let verdict = match said {
        Said::Verdict(verdict) => verdict,
        Said::Nothing => match not_proven(vault) {
            Some(verdict) => verdict,
            None => return Ok(()),
        },
    };
    let new = status(vault, &verdict, detection, context.now());
    if vault.status() == Some(&new) {
        return Ok(());
    }
    context.server.write_status(vault, vault.status(), &new).await?;
    if let Some(notice) = notice(vault.status(), verdict) {
        let (kind, namespace, name) = (K::KIND, vault.meta().namespace.as_deref(), vault.name_any());
        if notice.warning {
            tracing::warn!(kind, namespace, name, reason = notice.reason, "{}", notice.note);
        } else {
            tracing::info!(kind, namespace, name, reason = notice.reason, "{}", notice.note);
        }
        publish(context, vault, notice).await;
    }
    Ok(())
}

/// After a failure of the API server: again, later.
#[expect(clippy::needless_pass_by_value, reason = "the signature is kube's")]
pub(super) fn after_error<K: Reported>(vault: Arc<K>, error: &Error, _context: Arc<Context>) -> Action {
    let (kind, name) = (K::KIND, vault.name_any());
    tracing::warn!(kind, namespace = vault.meta().namespace, name, reason = error.reason(), "{error}");
    Action::requeue(backoff(error, 3, &name))
}

fn not_proven<K>(vault: &K) -> Option<Verdict>
where
    K: Reported + HasStatus<Status = KeyVaultStatus>,
{
    let said = vault.status().and_then(|status| condition(&status.conditions, READY));
    // What stood in the way of the connection as a whole stands no more.
    let obstacle = [Reason::TooManyConnections, Reason::SelectorsDisabled, Reason::VaultInvalid];
    let of_this_spec = said.is_some_and(|said| {
        said.observed_generation == vault.meta().generation
            && !obstacle.iter().any(|reason| reason.as_str() == said.reason)
    });
    (!of_this_spec).then(|| Verdict {
        status: "Unknown",
        reason: Reason::NotProven,
        message: "No VaultSecretSync has read through this connection yet.".to_owned(),
    })
}

/// The status that follows; a mode that nothing is known of stays.
fn status<K>(vault: &K, verdict: &Verdict, detection: Option<&Detection>, now: Timestamp) -> KeyVaultStatus
where
    K: Reported + HasStatus<Status = KeyVaultStatus>,
{
    let mut new = vault.status().cloned().unwrap_or_default();
    if let Some(detection) = detection {
        new.mode = Some(detection.mode.as_str().to_owned());
        new.mode_reason = Some(detection.to_string());
    }
    let generation = vault.meta().generation;
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
