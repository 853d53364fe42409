//! The status of a connection: what the plane knows of it, said once for all its objects; and its preflight, which
//! makes it known before an object needs it.

use super::connection_of::{may_be_tried, too_many};
use super::described::{ConnectionKind, Described, as_read_by};
use super::store::Lookup;
use crate::api::{MASS_REMOVAL, condition};
use crate::controller::Context;
use crate::controller::backoff::backoff;
use crate::controller::error::Error;
use crate::controller::index::VaultKey;
use crate::plan::{ConnectionReport, MassRemoval, Readers, is_proved};
use crate::vault::{Connection, Health};
use kube::api::ObjectMeta;
use kube::runtime::controller::Action;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// For so long the number of removals that are held has not changed, before it is told.
const SETTLED: Duration = Duration::from_secs(10);

/// How often a connection that is one too many looks whether there is a place by now.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Has a connection prove itself where that is not said of its spec, and writes its status where it says something
/// new.
pub(super) async fn reconcile<K: ConnectionKind>(
    vault: Arc<K>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let key = vault.key();
    let Lookup::Found(described) = context.connections.find(&key) else { return Ok(Action::await_change()) };
    let (status, generation) = (described.status.as_ref(), described.spec.generation);
    // An operator that is limited to namespaces speaks only of what is used there; others see the rest.
    let everywhere = key.namespace.is_some() || context.settings.namespaces.is_empty();
    if vault.meta().deletion_timestamp.is_some() || !(everywhere || context.index.is_used(&key)) {
        return Ok(Action::await_change());
    }
    let (report, next) = judge(&context, &key, &described, is_proved(status, generation));
    let reported = report.as_ref().and_then(|report| report.status(status, generation, context.now()));
    let said = reported.as_ref().or(status);
    let (removals, next) = removals(&context, vault.as_ref(), &described, next);
    let with_removals =
        removals.as_ref().and_then(|removals| removals.status(said, generation, context.now()));
    if let Some(new) = with_removals.or(reported) {
        let resource_version = described.resource_version.clone();
        let metadata = ObjectMeta { resource_version, ..vault.meta().clone() };
        let written: K = context.server.write_status(&metadata, status, &new).await?;
        context.connections.keep_written(&key, &described, &written, context.now());
        let notices = [
            report.as_ref().and_then(|report| report.notice(status)),
            removals.as_ref().and_then(|removals| removals.notice(status)),
        ];
        for notice in notices.into_iter().flatten() {
            context.events.push(vault.as_ref(), notice, context.now());
        }
    }
    described.spec.failures.store(0, Ordering::Relaxed);
    Ok(next)
}

/// What is to be said of removals that are held, and when to look again; `None`: for now what was said stands. How many there
/// are grows object by object, and is told once it stands still.
fn removals<K: ConnectionKind>(
    context: &Context,
    vault: &K,
    described: &Described,
    next: Action,
) -> (Option<MassRemoval>, Action) {
    let key = vault.key();
    let held = context.index.held(&key);
    let names = held.as_ref().map_or(0, |held| held.names);
    let before = described.spec.held.swap(names, Ordering::Relaxed);
    let conditions = described.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let is_told = condition(conditions, MASS_REMOVAL).is_some();
    let (says, next) = if names > 0 {
        let settled = before == names;
        (settled, if settled { next } else { Action::requeue(SETTLED) })
    } else {
        // Of a connection that several operators speak of, whoever said it ends it.
        let speaks = before > 0 || key.namespace.is_some() || context.settings.namespaces.is_empty();
        let shown = context.are_all_objects(|_| true);
        let waits = is_told && speaks && !shown;
        (is_told && speaks && shown, if waits { Action::requeue(SETTLED) } else { next })
    };
    let said = || MassRemoval::of(held, described.removals, &K::kind(&()), vault.meta());
    (says.then(said), next)
}

/// After a failure of the API server: again, later each time.
#[expect(clippy::needless_pass_by_value, reason = "the signature is kube's")]
pub(super) fn after_error<K: ConnectionKind>(vault: Arc<K>, error: &Error, context: Arc<Context>) -> Action {
    let key = vault.key();
    let (kind, namespace, name) = (K::kind(&()), key.namespace.as_deref(), &*key.name);
    tracing::warn!(%kind, namespace, name, reason = error.reason(), "{error}");
    let failures = match context.connections.find(&key) {
        Lookup::Found(described) => described.spec.failures.fetch_add(1, Ordering::Relaxed),
        _ => 0,
    };
    Action::requeue(backoff(error, failures.saturating_add(1), name))
}

/// What is to be said of a connection, and when to look again.
fn judge(
    context: &Context,
    key: &VaultKey,
    described: &Described,
    is_proved: bool,
) -> (Option<ConnectionReport>, Action) {
    let obstacle = |report| (Some(report), Action::await_change());
    if key.namespace.as_deref().is_some_and(|namespace| context.ignores(namespace)) {
        return obstacle(ConnectionReport::namespace_ignored());
    }
    if let Some(sentence) = too_many(context, key, described) {
        return (Some(ConnectionReport::too_many(sentence)), Action::requeue(LOOK_AGAIN));
    }
    if described.spec.selects_by_labels() && !context.namespace_labels.is_on() {
        return obstacle(ConnectionReport::selectors_disabled());
    }
    let connection = match &described.spec.connection {
        Ok(connection) => connection,
        Err(sentence) => return obstacle(ConnectionReport::invalid(sentence.clone())),
    };
    let readers = described.spec.readers();
    let handles: Vec<(String, Connection)> = match readers {
        Readers::Each => {
            let namespaces = context.index.namespaces_of(key).into_iter();
            namespaces.map(|namespace| (namespace.clone(), as_read_by(connection, &namespace))).collect()
        }
        Readers::Namespace | Readers::Shared => {
            vec![(key.namespace.as_deref().unwrap_or_default().to_owned(), connection.clone())]
        }
    };
    let mut next = Action::await_change();
    // A namespace that reads as itself proves itself by its objects' reads: without them nobody is concerned.
    if readers != Readers::Each && !is_proved {
        if may_be_tried(context, key, described) {
            for (namespace, connection) in &handles {
                context.plane.prove(connection, namespace, described.spec.terms.detect);
            }
        } else {
            // The place of one that goes is taken.
            next = Action::requeue(LOOK_AGAIN);
        }
    }
    let health: Vec<(&str, Health)> = handles
        .iter()
        .filter_map(|(namespace, connection)| Some((namespace.as_str(), context.plane.health(connection)?)))
        .collect();
    (ConnectionReport::of(readers, &health, is_proved, &context.settings.limits), next)
}
