//! The one sink of every round: memory, status, event, metric, log line. Nothing else writes a status of an object.

use super::Context;
use super::error::Error;
use super::index::key_of;
use super::memory::{Memory, pruned};
use crate::api::{READY, VaultSecretSync, VaultSecretSyncStatus, condition};
use crate::object_key::ObjectKey;
use crate::plan::{Notice, Outcome, Verdict};
use crate::reason::Reason;
use std::sync::Arc;

/// Writes down what a round came to: status first, then the event, which is only queued.
pub(super) async fn report(
    context: &Context,
    object: &Arc<VaultSecretSync>,
    memory: &mut Memory,
    verdict: &Verdict,
) -> Result<(), Error> {
    let key = key_of(object);
    memory.kept = verdict.kept.clone();
    if let Some(status) = &verdict.status {
        let written = context.server.write_status(object.as_ref(), object.status.as_ref(), status).await;
        let written = written.inspect_err(|_| memory.kept.not_said(verdict))?;
        let replaced = object.metadata.resource_version.clone().unwrap_or_default();
        memory.written = Some(Box::new((replaced, Arc::new(pruned(written)))));
    }
    let notice = notice(object.status.as_ref(), verdict, object.target_name());
    log(&key, verdict, notice.as_ref());
    context.metrics.settled(&key, verdict);
    if let Some(notice) = notice {
        context.events.push(object.as_ref(), notice, context.now());
    }
    Ok(())
}

/// A round that the API server failed.
pub(super) fn failed(context: &Context, key: &ObjectKey, error: &Error) {
    context.metrics.failed(error.reason());
    tracing::warn!(namespace = &*key.namespace, name = &*key.name, reason = error.reason(), "{error}");
}

fn log(key: &ObjectKey, verdict: &Verdict, notice: Option<&Notice>) {
    let (namespace, name) = (&*key.namespace, &*key.name);
    let reason = verdict.reason.map_or("", Reason::as_str);
    let outcome = verdict.outcome.as_str();
    match notice {
        Some(notice) if notice.warning => tracing::warn!(namespace, name, outcome, reason, "{}", notice.note),
        Some(notice) => tracing::info!(namespace, name, outcome, reason, "{}", notice.note),
        None => tracing::debug!(namespace, name, outcome, reason, "settled"),
    }
}

/// The event that a round is worth: a Secret that moved, or Ready that changed its reason.
fn notice(old: Option<&VaultSecretSyncStatus>, verdict: &Verdict, target: &str) -> Option<Notice> {
    let moved = match verdict.outcome {
        Outcome::Created => Some(("SecretCreated", "created")),
        Outcome::Updated => Some(("SecretUpdated", "updated")),
        Outcome::Repaired => Some(("SecretRepaired", "brought back after somebody else's edit")),
        _ => None,
    };
    let new = condition(&verdict.status.as_ref()?.conditions, READY)?;
    let old = old.and_then(|status| condition(&status.conditions, READY));
    let changed = old.is_none_or(|old| (&old.status, &old.reason) != (&new.status, &new.reason));
    if changed && new.status == "False" {
        return Some(Notice { warning: true, reason: new.reason.clone(), note: new.message.clone() });
    }
    if let Some((reason, what)) = moved {
        return Some(Notice {
            warning: false,
            reason: reason.to_owned(),
            note: format!("Secret {target} was {what}."),
        });
    }
    (changed && new.status == "True").then(|| Notice {
        warning: false,
        reason: new.reason.clone(),
        note: new.message.clone(),
    })
}
