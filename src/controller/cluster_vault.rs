//! The status of a `ClusterKeyVault`: one condition over the handles of all namespaces that read through it.
//!
//! Ready is True while it works for anybody: a namespace whose own identity is broken must not speak for the others,
//! and is named in the message. It is False when nobody who uses it gets an answer. A connection that reads as one
//! identity for all proves itself before anybody uses it.

use super::Context;
use super::connection::cluster_connection;
use super::error::Error;
use super::keyvault::{Found, Said, is_proved, say};
use crate::api::ClusterKeyVault;
use crate::plan::has_selector;
use crate::reason::Reason;
use crate::vault::{Connection, Evidence, Failure, Health, HealthState};
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use std::sync::Arc;

/// Writes the status of a connection where it says something new.
pub(super) async fn reconcile(vault: Arc<ClusterKeyVault>, context: Arc<Context>) -> Result<Action, Error> {
    // An operator that is limited to namespaces speaks only of what is used there; others see the rest.
    let concerned = context.settings.namespaces.is_empty() || context.index.is_used(&vault.name_any());
    if vault.metadata.deletion_timestamp.is_none() && concerned {
        let (said, found) = judge(&context, &vault);
        say(&context, vault.as_ref(), said, found).await?;
    }
    Ok(Action::await_change())
}

fn judge(context: &Context, vault: &ClusterKeyVault) -> (Said, Found) {
    if vault.spec.allow.iter().any(has_selector) && !context.namespace_labels.is_on() {
        let said = Said::failing(
            Reason::SelectorsDisabled,
            "spec.allow selects namespaces by labels, which this vaultsync does not read, so these items allow nobody: name the namespaces, or have vaultsync started with --namespace-selectors (chart: settings.namespaceSelectors).".to_owned(),
        );
        return (said, Found::default());
    }
    let handles = match handles(context, vault) {
        Ok(handles) => handles,
        Err(sentence) => return (Said::failing(Reason::VaultInvalid, sentence), Found::default()),
    };
    let each_its_own = vault.spec.identity.workload_identity.is_some();
    // A namespace that reads as itself proves itself by its objects' reads: without them nobody is concerned.
    if !each_its_own && !is_proved(vault) {
        for (namespace, connection) in &handles {
            context.plane.prove(connection, namespace, vault.spec.settings.detect);
        }
    }
    let health: Vec<(&str, Health)> = handles
        .iter()
        .filter_map(|(namespace, connection)| Some((namespace.as_str(), context.plane.health(connection)?)))
        .collect();
    let working = || health.iter().filter(|(_, health)| matches!(health.state, HealthState::Working));
    let evidence = || health.iter().map(|(_, health)| &health.evidence);
    let found = Found {
        // Handles of several identities may differ: then there is no one word for it.
        detection: one(working().filter_map(|(_, health)| health.detection.clone())),
        evidence: Evidence {
            identity: one(evidence().filter_map(|evidence| evidence.identity.clone())),
            network: one(evidence().filter_map(|evidence| evidence.network)),
        },
    };
    (summary(context, &health, each_its_own, is_proved(vault)), found)
}

/// What all say, if all say one thing.
fn one<T: PartialEq>(mut words: impl Iterator<Item = T>) -> Option<T> {
    let first = words.next()?;
    words.all(|other| other == first).then_some(first)
}

/// The connections of all who read through it, each with the first namespace that does. One that reads as an identity
/// of its own is there for everybody, whether anybody reads or not.
fn handles(context: &Context, vault: &ClusterKeyVault) -> Result<Vec<(String, Connection)>, String> {
    // An invalid spec is to be told of though nobody reads.
    let any = cluster_connection(vault, "default")?;
    if vault.spec.identity.workload_identity.is_none() {
        return Ok(vec![(String::new(), any)]);
    }
    let namespaces = context.index.namespaces_of(&vault.name_any());
    namespaces
        .into_iter()
        .map(|namespace| cluster_connection(vault, &namespace).map(|connection| (namespace, connection)))
        .collect()
}

/// One sentence over all handles. Each has the first namespace that reads through it, which matters where every
/// namespace has a handle of its own.
fn summary(context: &Context, health: &[(&str, Health)], each_its_own: bool, proved: bool) -> Said {
    // One blink does not make a connection that works fail.
    let working = health.iter().filter(|(_, health)| match health.state {
        HealthState::Working => true,
        HealthState::Doubtful(_) => proved,
        _ => false,
    });
    let working = working.count();
    let failing: Vec<(&str, &Failure)> = health
        .iter()
        .filter_map(|(namespace, health)| match &health.state {
            HealthState::Failing { failure, .. } => Some((*namespace, failure.as_ref())),
            HealthState::Doubtful(failure) if !proved => Some((*namespace, failure.as_ref())),
            _ => None,
        })
        .collect();
    match (working, failing.as_slice()) {
        (0, []) => untried(health, each_its_own),
        (_, []) => Said::working(),
        (0, [(namespace, failure), others @ ..]) => {
            let place = match others.len() {
                _ if !each_its_own => String::new(),
                0 => format!("Namespace {namespace}: "),
                more => format!("Namespace {namespace} and {more} more: "),
            };
            Said::refused(context, failure, &format!("{place}{failure}"))
        }
        (_, [(namespace, failure), ..]) => Said::working_for(format!(
            "The vault answers through this connection for {working} of {} identities; not for namespace {namespace} ({}): {failure}",
            health.len(),
            failure.reason(),
        )),
    }
}

/// Nobody reads, and nobody is kept from it.
fn untried(health: &[(&str, Health)], each_its_own: bool) -> Said {
    let refused = health.iter().find_map(|(_, health)| match &health.state {
        HealthState::PermissionUnproven(failure) => Some(failure),
        _ => None,
    });
    if let Some(failure) = refused {
        return Said::permission_unproven(failure);
    }
    if health.iter().any(|(_, health)| matches!(health.state, HealthState::Undecided)) {
        return Said::undecided();
    }
    if health.iter().any(|(_, health)| health.proving) {
        return Said::Nothing;
    }
    Said::unproven(if each_its_own {
        "Each namespace reads as its own ServiceAccount, and none has yet: what it may read shows when an object uses this connection.".to_owned()
    } else {
        "Nothing was read through this connection yet.".to_owned()
    })
}
