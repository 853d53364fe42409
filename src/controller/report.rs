//! The one sink of every round: memory, status, event, metric, log line. Nothing else writes a status of an object.

use super::Context;
use super::error::Error;
use super::index::key_of;
use super::memory::Memory;
use crate::api::VaultSecretSync;
use crate::object_key::ObjectKey;
use crate::plan::{self, Verdict};
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
        let written = context.server.write_status(&object.metadata, object.status.as_ref(), status).await;
        let written =
            written.inspect_err(|_| memory.kept.not_said(verdict.status.as_ref(), verdict.outcome))?;
        memory.wrote(object.metadata.resource_version.as_deref(), written);
    }
    context.metrics.settled(&key, verdict);
    if let Some(status) = verdict.status.as_ref().or(object.status.as_ref()) {
        context.metrics.expires(&key, status);
    }
    let (namespace, name, outcome) = (&*key.namespace, &*key.name, verdict.outcome.as_str());
    tracing::debug!(namespace, name, outcome, reason = verdict.reason.map_or("", Reason::as_str), "settled");
    let old = object.status.as_ref();
    let of_rollout = verdict.status.iter().flat_map(|new| plan::rollout_notices(old, new));
    let of_sources = verdict.status.as_ref().and_then(|new| plan::notice_of_sources(old, new));
    let of_names = verdict.status.as_ref().and_then(|new| plan::notice_of_names(object, new));
    let of_object = plan::notice(old, verdict, object.target_name());
    for notice in of_object.into_iter().chain(of_sources).chain(of_names).chain(of_rollout) {
        context.events.push(object.as_ref(), notice, context.now());
    }
    Ok(())
}

/// A round that the API server failed.
pub(super) fn failed(context: &Context, key: &ObjectKey, error: &Error) {
    context.metrics.failed(error.reason());
    tracing::warn!(namespace = &*key.namespace, name = &*key.name, reason = error.reason(), "{error}");
}
