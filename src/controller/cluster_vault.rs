//! The status of a `ClusterKeyVault`: one condition over the handles of all namespaces that read through it.
//!
//! Ready is True while it works for anybody: a namespace whose own identity is broken must not speak for the others,
//! and is named in the message. It is False when nobody who uses it gets an answer.

use super::Context;
use super::connection::cluster_connection;
use super::error::Error;
use super::keyvault::{Said, say};
use crate::api::{ClusterKeyVault, Reason};
use crate::plan::has_selector;
use crate::vault::{Connection, Detection, Failure, Health, HealthState};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use std::sync::Arc;

/// Writes the status of a connection where it says something new.
pub(super) async fn reconcile(vault: Arc<ClusterKeyVault>, context: Arc<Context>) -> Result<Action, Error> {
    // An operator that is limited to namespaces speaks only of what is used there; others see the rest.
    let concerned = context.settings.namespaces.is_empty() || context.index.is_used(&vault.name_any());
    if vault.metadata.deletion_timestamp.is_none() && concerned {
        let (said, detection) = judge(&context, &vault);
        say(&context, vault.as_ref(), said, detection.as_ref()).await?;
    }
    Ok(Action::await_change())
}

fn judge(context: &Context, vault: &ClusterKeyVault) -> (Said, Option<Detection>) {
    if vault.spec.allow.iter().any(has_selector) && !context.namespace_labels.is_on() {
        let said = Said::failing(
            Reason::SelectorsDisabled,
            "spec.allow selects namespaces by labels, which this vaultsync does not read, so these items allow nobody: name the namespaces, or have vaultsync started with --namespace-selectors (chart: settings.namespaceSelectors).".to_owned(),
        );
        return (said, None);
    }
    let mut handles: Vec<(String, Connection)> = Vec::new();
    for namespace in context.index.namespaces_of(&vault.name_any()) {
        match cluster_connection(vault, &namespace) {
            Err(sentence) => return (Said::failing(Reason::VaultInvalid, sentence), None),
            // One handle may serve many namespaces.
            Ok(connection) if handles.iter().any(|(_, known)| *known == connection) => {}
            Ok(connection) => handles.push((namespace, connection)),
        }
    }
    if handles.is_empty()
        && let Err(sentence) = cluster_connection(vault, "default")
    {
        return (Said::failing(Reason::VaultInvalid, sentence), None);
    }
    let health: Vec<(&str, Health)> = handles
        .iter()
        .filter_map(|(namespace, connection)| Some((namespace.as_str(), context.plane.health(connection)?)))
        .collect();
    let working = health.iter().filter(|(_, health)| matches!(health.state, HealthState::Working));
    let mut detections = working.filter_map(|(_, health)| health.detection.clone());
    // Handles of several identities may differ: then there is no one word for it.
    let first = detections.next();
    let detection = first.filter(|first| detections.all(|other| other == *first));
    let states: Vec<(&str, HealthState)> =
        health.into_iter().map(|(namespace, health)| (namespace, health.state)).collect();
    (summary(&states, vault.spec.identity.workload_identity.is_some()), detection)
}

/// One sentence over all handles. Each has the first namespace that reads through it, which matters where every
/// namespace has a handle of its own.
fn summary(states: &[(&str, HealthState)], each_its_own: bool) -> Said {
    let working = states.iter().filter(|(_, state)| matches!(state, HealthState::Working)).count();
    let failing: Vec<(&str, &Failure)> = states
        .iter()
        .filter_map(|(namespace, state)| match state {
            HealthState::Failing { failure, .. } => Some((*namespace, failure.as_ref())),
            HealthState::Working | HealthState::Unproven => None,
        })
        .collect();
    match (working, failing.as_slice()) {
        (0, []) => Said::Nothing,
        (_, []) => Said::working("The vault answers through this connection.".to_owned()),
        (0, [(namespace, failure), others @ ..]) => {
            let place = match others.len() {
                _ if !each_its_own => String::new(),
                0 => format!("Namespace {namespace}: "),
                more => format!("Namespace {namespace} and {more} more: "),
            };
            let reason = failure.reason().parse().unwrap_or(Reason::ServiceUnavailable);
            Said::failing(reason, format!("{place}{failure}"))
        }
        (_, [(namespace, failure), ..]) => Said::working(format!(
            "The vault answers through this connection for {working} of {} identities; not for namespace {namespace} ({}): {failure}",
            states.len(),
            failure.reason(),
        )),
    }
}
