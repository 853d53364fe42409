//! Carries the plane's wake-ups to the queues.

use super::connection::{cluster_connection, connection};
use super::{Context, Wakes};
use crate::api::ClusterKeyVault;
use crate::vault::{Connection, Wake};
use kube::ResourceExt as _;
use kube::runtime::reflector::Store;
use std::sync::Arc;

/// Delivers every wake-up, for ever.
pub(super) async fn deliver(context: Arc<Context>, mut wakes: Wakes) {
    while let Some(wake) = wakes.recv().await {
        match wake {
            Wake::User(key) => context.triggers.object(&key),
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
        let Some(namespaces) = concerned(&vault, context.index.namespaces_of(&name), changed) else {
            continue;
        };
        context.cluster_vaults.report(&name);
        if !objects {
            continue;
        }
        for object in context.index.cluster_users(&name) {
            if namespaces.binary_search_by(|namespace| (**namespace).cmp(&*object.namespace)).is_ok() {
                context.triggers.object(&object);
            }
        }
    }
}

/// Those of `namespaces` for which the `ClusterKeyVault` is this connection; `None` if it is for nobody. One with an
/// identity of its own is, though nobody reads yet.
fn concerned(vault: &ClusterKeyVault, namespaces: Vec<String>, changed: &Connection) -> Option<Vec<String>> {
    let is_of = |namespace: &str| cluster_connection(vault, namespace).as_ref() == Ok(changed);
    if vault.spec.identity.workload_identity.is_none() {
        return is_of("default").then_some(namespaces);
    }
    let reading: Vec<String> = namespaces.into_iter().filter(|namespace| is_of(namespace)).collect();
    (!reading.is_empty()).then_some(reading)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vault(identity: &serde_json::Value) -> ClusterKeyVault {
        let spec = json!({"url": "https://prod.vault.azure.net", "identity": identity});
        ClusterKeyVault::new("prod", serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_shared_connection_hears_of_itself_though_nobody_reads_through_it() {
        let shared = vault(&json!({"operatorIdentity": {}}));
        let connection = cluster_connection(&shared, "anything").unwrap();
        assert_eq!(concerned(&shared, Vec::new(), &connection), Some(Vec::new()));
        let namespaces = || vec!["billing".to_owned(), "shop".to_owned()];
        assert_eq!(concerned(&shared, namespaces(), &connection), Some(namespaces()));

        let workload = json!({"workloadIdentity": {"serviceAccountName": "app", "clientId": "c"}});
        let each_its_own = vault(&workload);
        assert_eq!(concerned(&each_its_own, namespaces(), &connection), None);
        let of_shop = cluster_connection(&each_its_own, "shop").unwrap();
        assert_eq!(concerned(&each_its_own, namespaces(), &of_shop), Some(vec!["shop".to_owned()]));
        assert_eq!(concerned(&each_its_own, Vec::new(), &of_shop), None);
    }
}
