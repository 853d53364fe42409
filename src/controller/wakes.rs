//! Carries the plane's wake-ups to the queues.

use super::connection::{cluster_connection, connection};
use super::{Context, Wakes};
use crate::vault::{Connection, Wake};
use kube::ResourceExt as _;
use kube::runtime::reflector::Store;
use std::sync::Arc;

/// Delivers every wake-up, for ever.
pub(super) async fn deliver(context: Arc<Context>, mut wakes: Wakes) {
    while let Some(wake) = wakes.recv().await {
        match wake {
            Wake::User(user) => {
                context.triggers.object(&(user.namespace.to_string(), user.name.to_string()));
            }
            Wake::Outage(failing) => wake_connection(&context, &failing, true),
            Wake::Connection(changed) => wake_connection(&context, &changed, false),
        }
    }
    // The plane lives as long as the context does.
    std::future::pending::<()>().await;
}

/// The connection says how it fares; its objects, where it matters to them, set their clock for staleness.
fn wake_connection(context: &Context, changed: &Connection, objects: bool) {
    for vault in context.vaults.iter().flat_map(Store::state) {
        if connection(&vault).as_ref() != Ok(changed) {
            continue;
        }
        let (Some(namespace), Some(name)) = (&vault.metadata.namespace, &vault.metadata.name) else {
            continue;
        };
        context.triggers.vault(namespace, name);
        if !objects {
            continue;
        }
        for object in context.index.users(namespace, name) {
            context.triggers.object(&object);
        }
    }
    for vault in context.cluster_vaults.all() {
        let name = vault.name_any();
        let reads = |namespace: &String| cluster_connection(&vault, namespace).as_ref() == Ok(changed);
        let namespaces: Vec<String> = context.index.namespaces_of(&name).into_iter().filter(reads).collect();
        if namespaces.is_empty() {
            continue;
        }
        context.cluster_vaults.report(&name);
        for object in context.index.cluster_users(&name) {
            if namespaces.binary_search(&object.0).is_ok() {
                context.triggers.object(&object);
            }
        }
    }
}
