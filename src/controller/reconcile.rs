//! One round of one object: gather, plan, apply, until it settles; then one report.

use super::Context;
use super::apply::WriteTarget;
use super::backoff::backoff;
use super::connections::{ConnectionsOf, Usable, heard_of};
use super::error::Error;
use super::index::key_of;
use super::memory::Memory;
use super::reads::Reads;
use super::{report, rollouts};
use crate::api::{READY, VaultSecretSync, condition};
use crate::object_key::ObjectKey;
use crate::plan::{
    self, Change, Connected, Input, Refusal, Round, Seen, Snapshot, Step, UsedSource, Vault, Verdict,
};
use crate::reason::Reason;
use crate::vault::{Answer, Ask, HealthState, Losses};
use kube::runtime::controller::Action;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// The longest chain that makes progress is look, ask, read anew, demand, change, look, change; twice that is somebody
/// who keeps changing the Secret under our hands.
const MOST_STEPS: usize = 14;

/// Reconciles one object.
pub(super) async fn reconcile(shown: Arc<VaultSecretSync>, context: Arc<Context>) -> Result<Action, Error> {
    let key = context.index.shared_key_of(&shown);
    let mut memory = context.memories.of(&key, shown.metadata.uid.as_deref().unwrap_or_default());
    let stored = memory.newest(&shown);
    let timer = context.metrics.start();
    let result = match round(&context, &stored, &memory).await {
        Ok(mut end) => {
            rollouts::after_round(&context, &key, &stored, &mut memory, &mut end.verdict).await;
            let said = report::report(&context, &stored, &mut memory, &end.verdict).await;
            // Values are let go of once the round that used them was said.
            if said.is_ok() && end.asked && !end.verdict.waits && end.failed.is_none() {
                context.plane.release(&key);
            }
            said.and_then(|()| end.failed.map_or(Ok(end.verdict), Err))
        }
        Err(error) => Err(error),
    };
    // A round that still waits for values has passed nothing.
    if result.as_ref().is_ok_and(|verdict| !verdict.waits) {
        memory.failures = 0;
    }
    context.memories.keep(key.clone(), memory);
    // A round may outlive its object.
    if context.forget_if_gone(&key) {
        context.departures.round_ended(&key);
    }
    timer.observe_duration();
    let verdict = result?;
    if verdict.status.is_some() {
        heard_of(&context, &stored, &key, verdict.reason);
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

/// How a round ended.
struct End {
    verdict: Verdict,
    /// Whether the plane was asked.
    asked: bool,
    /// The failure of the API server that ended it, once that has lasted so long that it is told.
    failed: Option<Error>,
}

/// A failure of the API server that a Secret's write meets is told of at this try.
const TOLD_AT: u32 = 3;

/// The next step of a round. Values that take work are rendered at the pace of their namespace; `Err`: not before this
/// time. A round that was `admitted` goes on to its end: each of its steps renders, and to begin anew would render more.
fn decide(
    context: &Context,
    namespace: &Arc<str>,
    round: &mut Round,
    input: &Input<'_>,
    admitted: &mut bool,
) -> Result<Step, Duration> {
    let has_values =
        |snapshot: &Snapshot| snapshot.answers.iter().any(|answer| matches!(answer, Answer::Read(_)));
    let takes_work = || input.sources.as_ref().is_ok_and(|sources| sources.take_work(&input.object.spec));
    let Vault::Usable { snapshot: Some(snapshot), .. } = input.vault else { return Ok(round.next(input)) };
    if !has_values(snapshot) || !takes_work() {
        return Ok(round.next(input));
    }
    if !*admitted && let Some(wait) = context.render_pace.wait(namespace, Instant::now()) {
        return Err(wait);
    }
    *admitted = true;
    let begun = Instant::now();
    let step = if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        // The other tasks of this thread go on elsewhere meanwhile.
        block_in_place(|| round.next(input))
    } else {
        round.next(input)
    };
    context.render_pace.took(namespace, begun.elapsed(), Instant::now());
    Ok(step)
}

async fn round(context: &Context, stored: &Arc<VaultSecretSync>, memory: &Memory) -> Result<End, Error> {
    let key = context.index.shared_key_of(stored);
    let object = memory.kept.known(stored);
    let reads = Reads::gather(context, &key, &object);
    let rival = context.index.rival(&object);
    let merges = object.spec.target.merges();
    let sharing = if merges { context.index.sharing(&key, object.target_name()) } else { Vec::new() };
    let manager = plan::manager_of(&object);
    let target = WriteTarget {
        namespace: &key.namespace,
        name: object.target_name(),
        object: &key.name,
        manager: &manager,
        creation: object.spec.target.creation,
    };
    let type_ = (!merges).then(|| object.spec.secret_type().as_str());
    let probe = context.memories.take_probe(&key, memory.kept.expects(&object));
    let mut round = Round::begin(memory.kept.clone(), &object, probe);
    let mut snapshot: Option<Snapshot> = None;
    let (mut failed, mut admitted) = (None, false);
    for _ in 0..MOST_STEPS {
        let fares = snapshot.iter().flat_map(|snapshot| &snapshot.fares);
        let users: Vec<usize> = fares.map(|fares| fares.health.users).collect();
        let connections = reads.connected(context, &object, &users);
        let vault = match &reads.found {
            ConnectionsOf::Usable(_) => {
                let (permits, snapshot) = (reads.permits.as_slice(), snapshot.as_ref());
                Vault::Usable { connections: &connections, permits, snapshot }
            }
            ConnectionsOf::Unusable(problems) => Vault::Unusable(problems.clone()),
            ConnectionsOf::Unknown => Vault::Unknown,
        };
        let input = Input {
            object: &object,
            stored: stored.status.as_ref(),
            sources: &reads.sources,
            ignored: context.ignores(&key.namespace),
            rival: rival.as_deref(),
            sharing: &sharing,
            vault,
            expiring_before: context.settings.expiring_before,
            now: context.now(),
        };
        let step = match decide(context, &key.namespace, &mut round, &input, &mut admitted) {
            Ok(step) => step,
            Err(wait) => {
                if probe {
                    context.memories.want_probe(ObjectKey::clone(&key));
                }
                return Ok(End { verdict: round.put_off(&input, wait), asked: true, failed: None });
            }
        };
        let written = match step {
            Step::Ask | Step::Demand(_) => None,
            Step::ReadAnew(_) => {
                context.plane.refresh(&key);
                None
            }
            Step::Look => Some(context.server.probe(target, round.expected()).await),
            Step::Create(new) => Some(context.server.create(target, &new).await),
            Step::Change(planned) => Some(change(context, &key, target, type_, &planned).await),
            Step::End(verdict) => {
                let refused = failed.is_none() && verdict.reason.is_some_and(Reason::blocks_target);
                if snapshot.is_none()
                    && matches!(verdict.reason, Some(Reason::TooLarge | Reason::TooManyMatches))
                {
                    // What is too large is asked for later, and what is new of it until then is not to be missed. So is what
                    // would be fewer names.
                    let terms = reads.usable().iter().map(|usable| (&usable.connection, usable.terms));
                    context.plane.keep(&key, &terms.collect::<Vec<_>>());
                } else if snapshot.is_none() || refused {
                    // What is not read any more, or cannot be written, is not polled any more.
                    context.plane.forget(&key);
                }
                return Ok(End { verdict: *verdict, asked: snapshot.is_some(), failed });
            }
        };
        if let Some(written) = written {
            let seen = match written {
                Err(error)
                    if memory.failures + 1 >= TOLD_AT
                        && !plan::is_told_of_failure(&object)
                        && let Some(refusal) = error.refusal() =>
                {
                    failed = Some(error);
                    Seen::Refused(refusal)
                }
                written => written?,
            };
            if let Seen::Refused(Refusal::OwnedBy(owner)) = &seen {
                let owner = key.beside(owner.as_str());
                for key in context.index.marked(&owner, target.name) {
                    context.triggers.object(&key);
                }
            }
            round.answered(seen);
        } else if let Ok(sources) = &reads.sources {
            snapshot =
                Some(ask(context, &key, &object, (reads.usable(), &connections), &sources.used, &round));
        }
    }
    Err(Error::Unsettled)
}

async fn change(
    context: &Context,
    key: &ObjectKey,
    target: WriteTarget<'_>,
    type_: Option<&str>,
    change: &Change,
) -> Result<Seen, Error> {
    let written = context.server.change(target, type_, change).await;
    if !change.remove.is_empty() && matches!(written, Ok(Seen::Written(_))) {
        context.tell_sharing(key, target.name);
    }
    written
}

fn ask(
    context: &Context,
    key: &ObjectKey,
    object: &VaultSecretSync,
    (usable, connected): (&[Usable], &[Connected<'_>]),
    sources: &[UsedSource],
    round: &Round,
) -> Snapshot {
    let wants = plan::wants(object, connected, sources, round.demanded(), round.inherits_stale());
    let asks = usable.iter().zip(&wants).map(|(usable, wants)| Ask {
        connection: &usable.connection,
        terms: usable.terms,
        wants,
    });
    let mut replies = context.plane.ask(key, &asks.collect::<Vec<_>>(), round.waits_for_all(object));
    // A restart forgets for how long the vault has been silent; the KeyVault's condition does not.
    for (usable, reply) in usable.iter().zip(&mut replies) {
        if matches!(reply.health.state, HealthState::Failing { .. }) {
            // Who needs no confirmation, as of a pinned version that was read, needs none after a restart either.
            let here = reply.unconfirmed_for;
            reply.unconfirmed_for =
                here.map(|here| here.max(not_ready_for(context, usable).unwrap_or_default()));
        }
    }
    let mut snapshot = Snapshot::of(sources, replies);
    plan::brake(object, connected, sources, &mut snapshot, |vault, sources| {
        let connection = usable.get(vault).filter(|_| context.all_have_asked());
        connection.map_or(Losses::Undecided, |usable| context.plane.losses(&usable.connection, sources))
    });
    snapshot
}

fn not_ready_for(context: &Context, usable: &Usable) -> Option<Duration> {
    let conditions = &usable.described.status.as_ref()?.conditions;
    let ready = condition(conditions, READY).filter(|ready| ready.status == "False")?;
    Duration::try_from(context.now().duration_since(ready.last_transition_time.0)).ok()
}
