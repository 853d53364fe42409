//! Restarts workloads for what has changed in their Secrets, as `plan::Rolling` says, and never more in a minute than
//! allowed.

mod pace;
mod workloads;

pub(super) use pace::{RolloutPace, deliver};

use super::Context;
use super::memory::Memory;
use crate::api::{VaultSecretSync, secret_annotation};
use crate::object_key::ObjectKey;
use crate::plan::{self, RestartFailure, RestartStep, Rolling, Verdict};
use std::sync::Arc;
use workloads::Restart;

/// Restarts what a round leaves to be restarted, and puts into its verdict what there is to say.
pub(super) async fn after_round(
    context: &Context,
    key: &ObjectKey,
    stored: &Arc<VaultSecretSync>,
    memory: &mut Memory,
    verdict: &mut Verdict,
) {
    let object = memory.kept.known(stored);
    let (allowed, now) = (context.settings.rollouts_per_minute, context.now());
    let (said, kept) = (stored.status.as_ref(), memory.rollout.take());
    let Some(mut rolling) = Rolling::begin(&object, said, verdict, kept, allowed, now) else {
        return context.rollouts.leave(key);
    };
    restart(context, key, &object, &mut rolling).await;
    let end = rolling.end();
    memory.rollout = end.kept;
    verdict.status = (stored.status.as_ref() != Some(&end.status)).then_some(end.status);
    verdict.next = [verdict.next, end.next].into_iter().flatten().min();
}

async fn restart(context: &Context, key: &ObjectKey, object: &VaultSecretSync, rolling: &mut Rolling<'_>) {
    let Some(due) = rolling.acts_for() else { return context.rollouts.leave(key) };
    let (annotation, manager) = (secret_annotation(object.target_name()), plan::manager_of(object));
    let value = due.to_string();
    while let Some(step) = rolling.next() {
        match step {
            RestartStep::List(place) => {
                let item = object.spec.rollout.as_ref().and_then(|rollout| rollout.restart.get(place));
                let found = match item {
                    Some(item) => context.server.workloads(&key.namespace, item).await,
                    None => Ok(Vec::new()),
                };
                rolling.listed(place, found);
            }
            RestartStep::Restart(workload) => {
                let Some(taken) = context.rollouts.take(key) else {
                    rolling.wait();
                    // Who waits is woken.
                    return;
                };
                let restart = Restart {
                    workload: &workload,
                    annotation: &annotation,
                    value: &value,
                    manager: &manager,
                };
                let found = context.server.restart(&key.namespace, restart).await;
                // Whoever was not restarted takes no place; what was not answered may have been.
                if !matches!(
                    found,
                    Ok(true) | Err(RestartFailure::Failed(_) | RestartFailure::WebhookFailed(_))
                ) {
                    context.rollouts.give_back(taken);
                }
                context.metrics.restarted(workload.kind, &found);
                rolling.answered(workload, found);
            }
        }
    }
    context.rollouts.leave(key);
}
