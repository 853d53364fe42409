//! The one sink of every round: memory, status, event, metric, log line. Nothing else writes a status of an object.

use super::Context;
use super::api_server::Reported;
use super::error::Error;
use super::index::{Key, key_of};
use super::memory::Memory;
use crate::api::{MANAGER, READY, Reason, VaultSecretSync, VaultSecretSyncStatus, condition};
use crate::plan::{Outcome, Verdict};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use std::sync::Arc;

/// A note of an event may not be longer.
const MOST_NOTE: usize = 1024;

/// An event to publish.
#[derive(Debug)]
pub(super) struct Notice {
    pub(super) warning: bool,
    pub(super) reason: String,
    pub(super) note: String,
}

/// Writes down what a round came to: status first, then the event, which never fails a round.
pub(super) async fn report(
    context: &Context,
    object: &Arc<VaultSecretSync>,
    memory: &mut Memory,
    verdict: &Verdict,
) -> Result<(), Error> {
    let key = key_of(object);
    if let Some(verified) = &verdict.verified {
        memory.verified = Some(verified.clone());
    }
    if let Some(status) = &verdict.status {
        let written = context.server.write_status(object.as_ref(), object.status.as_ref(), status).await?;
        let replaced = object.metadata.resource_version.clone().unwrap_or_default();
        memory.written = Some(Box::new((replaced, Arc::new(super::watch::pruned(written)))));
    }
    let notice = notice(object.status.as_ref(), verdict, object.target_name());
    log(&key, verdict, notice.as_ref());
    context.metrics.settled(&key, verdict);
    if let Some(notice) = notice {
        publish(context, object.as_ref(), notice).await;
    }
    Ok(())
}

/// A round that the API server failed.
pub(super) fn failed(context: &Context, key: &Key, error: &Error) {
    context.metrics.failed(error.reason());
    tracing::warn!(namespace = &*key.0, name = &*key.1, reason = error.reason(), "{error}");
}

fn log(key: &Key, verdict: &Verdict, notice: Option<&Notice>) {
    let (namespace, name) = (&*key.0, &*key.1);
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

/// Publishes an event about an object; a failure is logged and nothing else.
pub(super) async fn publish<K: Reported>(context: &Context, object: &K, notice: Notice) {
    let metadata = object.meta();
    // Events about what has no namespace live in this one; the API server takes them nowhere else.
    let namespace = metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let mut note = notice.note;
    if note.len() > MOST_NOTE {
        let end = (0..=MOST_NOTE).rev().find(|end| note.is_char_boundary(*end)).unwrap_or_default();
        note.truncate(end);
    }
    let event = Event {
        metadata: ObjectMeta {
            // A trailing hyphen, not a dot: the API server checks the prefix as a name.
            generate_name: Some(format!("{}-", metadata.name.as_deref().unwrap_or_default())),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("Sync".to_owned()),
        event_time: Some(MicroTime(context.now())),
        note: Some(note),
        reason: Some(notice.reason),
        regarding: Some(ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::KIND.to_owned()),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            ..ObjectReference::default()
        }),
        reporting_controller: Some("vaultsync.dev/vaultsync".to_owned()),
        reporting_instance: Some(MANAGER.to_owned()),
        type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    };
    if let Err(error) = context.server.create_event(&namespace, &event).await {
        tracing::debug!(namespace, name = metadata.name, "{error}");
    }
}
