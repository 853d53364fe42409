//! One round of one object: gather, plan, apply, until it settles; then one report.

use super::Context;
use super::apply::Target;
use super::backoff::backoff;
use super::error::Error;
use super::index::key_of;
use super::memory::{Blocked, Memory, Unfinished};
use super::place::{Place, Usable, place};
use super::report;
use crate::api::{READY, Reason, VaultKind, VaultSecretSync, condition, fnv1a};
use crate::object_key::ObjectKey;
use crate::plan::{self, Input, Seen, Step, UsedSource, Vault, Verdict};
use crate::vault::{Attributes, HealthState, Reply, Want};
use kube::runtime::controller::Action;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The longest chain that makes progress is refresh, probe, read, change, probe, change; twice that is somebody
/// who keeps changing the Secret under our hands.
const MOST_STEPS: usize = 12;

/// How many objects become stale in a second when a vault stays silent, so that their status writes do not come at
/// once.
const STALE_PER_SECOND: usize = 20;

/// Reconciles one object.
pub(super) async fn reconcile(shown: Arc<VaultSecretSync>, context: Arc<Context>) -> Result<Action, Error> {
    let key = context.index.shared_key_of(&shown);
    let mut memory = context.memories.of(&key, shown.metadata.uid.as_deref().unwrap_or_default());
    let object = memory.newest(&shown);
    let timer = context.metrics.start();
    let result = round(&context, &object, &mut memory).await;
    let result = match result {
        Ok(verdict) => report::report(&context, &object, &mut memory, &verdict).await.map(|()| verdict),
        Err(error) => Err(error),
    };
    if result.is_ok() {
        memory.failures = 0;
    } else {
        // What was judged was not said: it has to be judged again.
        memory.blocked = None;
    }
    context.memories.keep(key.clone(), memory);
    // A round may outlive its object.
    context.forget_if_gone(&key);
    timer.observe_duration();
    let verdict = result?;
    if verdict.status.is_some() {
        let vault = &object.spec.vault_ref;
        // Some things show only in the use of a connection, which itself has not changed: that it is one too many, or
        // works through a handle that it shares.
        match (verdict.reason, vault.kind) {
            (Some(Reason::TooManyConnections), VaultKind::KeyVault) => {
                context.triggers.vault(&key.namespace, &vault.name);
            }
            (_, VaultKind::ClusterKeyVault) if !context.cluster_vaults.is_ready(&vault.name) => {
                context.cluster_vaults.report(&vault.name);
            }
            _ => {}
        }
    }
    Ok(verdict.next.map_or_else(Action::await_change, Action::requeue))
}

/// After a failure of the API server: again, later each time.
#[expect(clippy::needless_pass_by_value, reason = "the signature is kube's")]
pub(super) fn after_error(object: Arc<VaultSecretSync>, error: &Error, context: Arc<Context>) -> Action {
    let key = key_of(&object);
    report::failed(&context, &key, error);
    let failures = context.memories.count_failure(&key);
    Action::requeue(backoff(error, failures, &key.name))
}

async fn round(context: &Context, object: &VaultSecretSync, memory: &mut Memory) -> Result<Verdict, Error> {
    let key = context.index.shared_key_of(object);
    let sources = plan::sources(&object.spec);
    let place = sources.as_ref().map_or(Place::Unknown, |sources| place(context, object, sources));
    let rival = context.index.rival(object);
    let ignored = context.ignores(&key.namespace);
    let idle =
        ignored || rival.is_some() || object.spec.suspend || object.metadata.deletion_timestamp.is_some();
    let manager = plan::manager_of(object);
    let target = Target {
        namespace: &key.namespace,
        name: object.target_name(),
        object: &key.name,
        manager: &manager,
    };
    let unfinished = memory.unfinished.take().filter(|left| left.generation == object.metadata.generation);
    let looked = unfinished.as_ref().is_some_and(|left| left.looked);
    let probe = context.memories.take_probe(&key) || looked;
    let (mut demanded, mut rechecked) =
        unfinished.map(|left| (left.demanded, left.rechecked)).unwrap_or_default();
    let mut seen = Seen::Remembered;
    let blocked = memory.blocked.take().filter(|blocked| blocked.generation == object.metadata.generation);
    let judged = blocked.as_ref().map(|blocked| blocked.judged.as_slice());
    for _ in 0..MOST_STEPS {
        let asked = match (&place, &sources) {
            (Place::Usable(usable), Ok(sources)) if !idle => {
                Some(ask(context, &key, object, usable, sources, judged, &demanded))
            }
            _ => {
                // What is not read any more is not polled any more.
                context.plane.forget(&key);
                None
            }
        };
        let vault = match (&place, &asked) {
            (Place::Usable(Usable { connection, permits, .. }), Some((_, reply))) => {
                Vault::Found { url: connection.url.as_str(), reply, permits }
            }
            (Place::Unusable(problem), _) => Vault::Unusable(problem.clone()),
            (Place::Unknown | Place::Usable(_), _) => Vault::Unknown,
        };
        let users = asked.as_ref().map_or(0, |(_, reply)| reply.health.users);
        let step = plan::plan(&Input {
            object,
            sources: &sources,
            ignored,
            rival: rival.as_deref(),
            vault,
            demanded: &demanded,
            refreshed: memory.refreshed.as_deref(),
            rechecked: rechecked.as_deref(),
            seen: &seen,
            verified: memory.verified.as_ref(),
            probe,
            blocked: blocked.is_some(),
            stale_after: stale_after(context, object, &place, users),
            now: context.now(),
        });
        match step {
            Step::Refresh(request) => {
                context.plane.refresh(&key);
                memory.refreshed = Some(request);
            }
            Step::Read(more) => demanded.extend(more),
            Step::Recheck { resource_version, sources } => {
                context.plane.refresh(&key);
                demanded.extend(sources);
                rechecked = Some(resource_version);
            }
            Step::Probe => seen = context.server.probe(target).await?,
            Step::Create(new) => seen = context.server.create(target, &new).await?,
            Step::Change(change) => {
                seen = context.server.change(target, object.spec.target.type_.as_str(), &change).await?;
            }
            Step::Settle(verdict) => {
                if verdict.is_final() {
                    context.plane.release(&key);
                }
                memory.blocked = match &asked {
                    Some((wants, reply)) if verdict.blocked => Some(Box::new(Blocked {
                        generation: object.metadata.generation,
                        judged: plan::judged(wants, &reply.answers),
                    })),
                    _ if verdict.is_final() => None,
                    _ => blocked,
                };
                memory.unfinished = verdict.unfinished.then(|| {
                    Box::new(Unfinished {
                        generation: object.metadata.generation,
                        demanded,
                        looked: seen != Seen::Remembered,
                        rechecked,
                    })
                });
                return Ok(verdict);
            }
        }
    }
    Err(Error::Unsettled)
}

fn ask(
    context: &Context,
    key: &ObjectKey,
    object: &VaultSecretSync,
    usable: &Usable,
    sources: &[UsedSource],
    judged: Option<&[Option<Attributes>]>,
    demanded: &BTreeSet<usize>,
) -> (Vec<Want>, Reply) {
    let floor = context.settings.min_refresh_interval;
    let connection = &usable.connection;
    let interval = plan::interval(object, &usable.min_refresh_interval, floor);
    let wants = plan::wants(object, connection.url.as_str(), sources, interval, judged, demanded);
    let together = object.status.as_ref().is_some_and(|status| status.target.is_some());
    let mut reply = context.plane.ask(key, connection, usable.terms, &wants, together);
    // A restart forgets for how long the vault has been silent; the KeyVault's condition does not.
    if matches!(reply.health.state, HealthState::Failing { .. }) {
        // Who needs no confirmation, as of a pinned version that was read, needs none after a restart either.
        let here = reply.unconfirmed_for;
        reply.unconfirmed_for = here.map(|here| here.max(not_ready_for(context, usable).unwrap_or_default()));
    }
    (wants, reply)
}

fn not_ready_for(context: &Context, usable: &Usable) -> Option<Duration> {
    let conditions = &usable.status.as_ref()?.conditions;
    let ready = condition(conditions, READY).filter(|ready| ready.status == "False")?;
    Duration::try_from(context.now().duration_since(ready.last_transition_time.0)).ok()
}

/// How long this object's values may go unconfirmed: as set, or three intervals and at least 15 minutes; plus its
/// place in a queue with the connection's other users.
fn stale_after(context: &Context, object: &VaultSecretSync, place: &Place, users: usize) -> Duration {
    const LEAST: Duration = Duration::from_secs(15 * 60);
    let base = context.settings.stale_after.unwrap_or_else(|| {
        let floor = match place {
            Place::Usable(usable) => usable.min_refresh_interval.as_str(),
            Place::Unknown | Place::Unusable(_) => "",
        };
        (plan::interval(object, floor, context.settings.min_refresh_interval) * 3).max(LEAST)
    });
    let queue = u64::try_from(users / STALE_PER_SECOND).unwrap_or_default();
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    base + Duration::from_secs(fnv1a(uid.as_bytes()) % (queue + 1))
}
