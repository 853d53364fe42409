//! The status of a connection: what the plane knows of it, said once for all its objects; and its preflight, which
//! makes it known before an object needs it.

use super::Context;
use super::api_server::Reported;
use super::backoff::backoff;
use super::connection::connection;
use super::error::Error;
use super::events::Notice;
use super::place::{may_be_tried, too_many};
use crate::api::{IdentityStatus, KeyVault, KeyVaultStatus, READY, STALLED, condition, set_condition};
use crate::reason::Reason;
use crate::vault::{Connection, Detection, Evidence, Failure, HealthState, TokenIdentity};
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

/// What is said of one that was not tried: others of its namespace come first.
const UNTRIED: &str = "Nothing was read through this connection yet. The oldest KeyVaults of a namespace are tried at once, as many as objects of one namespace may use (--max-connections-per-namespace); this one is when an object names it.";

const IGNORED: &str = "vaultsync serves no KeyVaults in kube-system and in its own namespace: create this one in the namespace of the application.";

/// What is to be said of a connection.
pub(super) enum Said {
    /// Nothing for now; what there is to say follows.
    Nothing,
    /// This.
    Verdict(Verdict),
}

/// A verdict on a connection.
pub(super) struct Verdict {
    status: &'static str,
    reason: Reason,
    message: String,
    /// Ready=False is not so any more, whatever took its place.
    ends_failure: bool,
}

impl Said {
    /// Ready=True.
    pub(super) fn working() -> Self {
        Self::working_for("The vault answers through this connection.".to_owned())
    }

    /// Ready=True, with a word on for whom.
    pub(super) const fn working_for(message: String) -> Self {
        Self::Verdict(Verdict { status: "True", reason: Reason::Connected, message, ends_failure: true })
    }

    /// Ready=True, for the identity may be meant to read some secrets only.
    pub(super) fn permission_unproven(failure: &Failure) -> Self {
        let message = format!(
            "The vault takes this identity, but did not let it read a name that no secret has ({}): whether it may read what objects name shows when they do. If it is to read every secret: {failure}",
            failure.reason(),
        );
        Self::Verdict(Verdict {
            status: "True",
            reason: Reason::PermissionUnproven,
            message,
            ends_failure: true,
        })
    }

    /// Ready=Unknown, unless more was said of this very spec.
    pub(super) const fn unproven(message: String) -> Self {
        Self::Verdict(Verdict { status: "Unknown", reason: Reason::NotProven, message, ends_failure: false })
    }

    /// Ready=Unknown, unless it was True: the vault answers, but to no object as it should.
    pub(super) fn undecided() -> Self {
        let message =
            "The vault answers, but gave no object what it asked for yet: the objects say why.".to_owned();
        Self::Verdict(Verdict { status: "Unknown", reason: Reason::NotProven, message, ends_failure: true })
    }

    /// Ready=False, for a failure of the whole vault or identity.
    /// `message` is followed by when it is tried again: at what pace, for a time would be said anew at each try.
    pub(super) fn refused(context: &Context, failure: &Failure, message: &str) -> Self {
        let (first, longest) = context.settings.limits.retry_after_failure(failure);
        let message = format!(
            "{message} It is tried again by itself; the pause between tries grows from {first:?} to {longest:?}."
        );
        Self::failing(failure.reason(), message)
    }

    /// Ready=False.
    pub(super) const fn failing(reason: Reason, message: String) -> Self {
        Self::Verdict(Verdict { status: "False", reason, message, ends_failure: false })
    }
}

/// What the plane has found out of a connection, as far as there is one answer to it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) detection: Option<Detection>,
    pub(super) evidence: Evidence,
}

/// Has a connection prove itself where that is not said of its spec, and writes its status where it says something
/// new.
pub(super) async fn reconcile(vault: Arc<KeyVault>, context: Arc<Context>) -> Result<Action, Error> {
    if vault.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let namespace = vault.namespace().unwrap_or_default();
    let mut next = Action::await_change();
    let mut found = Found::default();
    let said = if context.ignores(&namespace) {
        Said::failing(Reason::NamespaceIgnored, IGNORED.to_owned())
    } else if let Some(sentence) = too_many(&context, &vault) {
        next = Action::requeue(LOOK_AGAIN);
        Said::failing(Reason::TooManyConnections, sentence)
    } else {
        match connection(&vault) {
            Err(sentence) => Said::failing(Reason::VaultInvalid, sentence),
            Ok(connection) => {
                let proved = is_proved(vault.as_ref());
                if proved {
                    // Nothing is tried again.
                } else if may_be_tried(&context, &vault) {
                    context.plane.prove(&connection, &namespace, vault.spec.settings.detect);
                } else {
                    // The place of one that goes is taken.
                    next = Action::requeue(LOOK_AGAIN);
                }
                judge(&context, &connection, proved, &mut found)
            }
        }
    };
    say(&context, vault.as_ref(), said, found).await?;
    Ok(next)
}

/// What is to be said of a connection of which Ready=True stands, or not.
fn judge(context: &Context, connection: &Connection, proved: bool, found: &mut Found) -> Said {
    let Some(health) = context.plane.health(connection) else {
        return Said::unproven(UNTRIED.to_owned());
    };
    // While the vault fails, how changes are found is of no matter.
    let failing = matches!(health.state, HealthState::Failing { .. } | HealthState::Doubtful(_));
    found.detection = health.detection.filter(|_| !failing);
    found.evidence = health.evidence;
    match health.state {
        HealthState::Working => Said::working(),
        HealthState::PermissionUnproven(failure) => Said::permission_unproven(&failure),
        // One blink does not make a connection that works fail.
        HealthState::Doubtful(_) if proved => Said::Nothing,
        HealthState::Failing { failure, .. } | HealthState::Doubtful(failure) => {
            Said::refused(context, &failure, &failure.to_string())
        }
        HealthState::Undecided => Said::undecided(),
        HealthState::Unproven if health.proving => Said::Nothing,
        HealthState::Unproven => Said::unproven(UNTRIED.to_owned()),
    }
}

/// Whether Ready=True stands for this very spec.
pub(super) fn is_proved<K>(vault: &K) -> bool
where
    K: Reported + HasStatus<Status = KeyVaultStatus>,
{
    let said = vault.status().and_then(|status| condition(&status.conditions, READY));
    said.is_some_and(|said| said.status == "True" && said.observed_generation == vault.meta().generation)
}

/// Writes what is to be said where it is new; on a change of Ready, an event and a line of the log too.
pub(super) async fn say<K>(context: &Context, vault: &K, said: Said, found: Found) -> Result<(), Error>
where
    K: Reported + HasStatus<Status = KeyVaultStatus> + Clone + DeserializeOwned + Debug,
{
    let Said::Verdict(verdict) = said else { return Ok(()) };
    if verdict.reason == Reason::NotProven && stands(vault) && !(verdict.ends_failure && is_failing(vault)) {
        return Ok(());
    }
    let new = status(vault, &verdict, found, context.now());
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
        context.events.push(vault, notice, context.now());
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

fn is_failing<K>(vault: &K) -> bool
where
    K: Reported + HasStatus<Status = KeyVaultStatus>,
{
    let said = vault.status().and_then(|status| condition(&status.conditions, READY));
    said.is_some_and(|said| said.status == "False")
}

/// Whether what was once learned of this very spec still holds: it does unless it was an obstacle that went.
fn stands<K>(vault: &K) -> bool
where
    K: Reported + HasStatus<Status = KeyVaultStatus>,
{
    let obstacle = [
        Reason::NamespaceIgnored,
        Reason::TooManyConnections,
        Reason::SelectorsDisabled,
        Reason::VaultInvalid,
    ];
    let said = vault.status().and_then(|status| condition(&status.conditions, READY));
    said.is_some_and(|said| {
        said.observed_generation == vault.meta().generation
            && said.reason != Reason::NotProven.as_str()
            && !obstacle.iter().any(|reason| reason.as_str() == said.reason)
    })
}

/// The status that follows; what nothing new is known of stays, as long as the spec does.
fn status<K>(vault: &K, verdict: &Verdict, found: Found, now: Timestamp) -> KeyVaultStatus
where
    K: Reported + HasStatus<Status = KeyVaultStatus>,
{
    let mut new = vault.status().cloned().unwrap_or_default();
    let generation = vault.meta().generation;
    if new.observed_generation != generation {
        (new.identity, new.network) = (None, None);
        (new.mode, new.mode_reason) = (None, None);
    }
    if let Some(detection) = found.detection {
        new.mode = Some(detection.mode.as_str().to_owned());
        new.mode_reason = Some(detection.to_string());
    }
    if let Some(identity) = found.evidence.identity {
        let TokenIdentity { client_id, object_id, tenant_id, issuer, subject } = (*identity).clone();
        new.identity = Some(IdentityStatus { client_id, object_id, tenant_id, issuer, subject });
    }
    if let Some(network) = found.evidence.network {
        new.network = Some(network.as_str().to_owned());
    }
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
