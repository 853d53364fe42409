//! A connection proves itself before an object needs it: once, without reading a value, and says what it found.

use keyvault_emulator::{LoggedRequest, Operation, Permission};
use serde_json::json;
use vaultsync::api::KeyVault;

use support::scene::{CLIENT, OperatorScene, data};
use support::shared::Shared;
use support::{Account, Mounted, Says as _, eventually};

fn is_trial(request: &LoggedRequest) -> bool {
    let secret = request.secret.as_deref();
    request.operation == Some(Operation::List)
        || secret.is_some_and(|name| name.starts_with("vaultsync-preflight-"))
}

/// How many status writes of the connection the operator asked for.
fn writes(scene: &OperatorScene, mark: support::Mark, name: &str) -> usize {
    let writes = scene.namespace.cluster().operator_writes_since(mark, &scene.namespace.name);
    writes.iter().filter(|seen| seen.resource == "keyvaults/status" && seen.name == name).count()
}

#[tokio::test]
async fn a_connection_proves_itself_before_any_object_names_it_and_says_as_whom() {
    let mut scene = OperatorScene::without_operator().await;
    scene.vault.set("db", "canary");
    let mark = scene.namespace.cluster().mark();
    scene.start().await;
    let vault = scene.namespace.says::<KeyVault>("default", "True", "Connected").await;
    let status = vault.status.unwrap();
    let identity = status.identity.unwrap();
    assert_eq!(identity.client_id.as_deref(), Some(CLIENT));
    assert_eq!(identity.tenant_id.as_deref(), Some(scene.emulator.tenant()));
    assert!(identity.object_id.is_some());
    assert_eq!(identity.issuer, Some(scene.namespace.cluster().issuer().url.clone()));
    assert_eq!(identity.subject, Some(Account::new(&scene.namespace.name, "shop").user()));
    assert_eq!(status.network.as_deref(), Some("Proxy"), "here nobody resolved the vault's name");

    let requests = scene.vault.requests();
    assert!(requests.iter().all(is_trial), "{requests:?}");
    let operations: Vec<_> =
        requests.iter().map(|request| (request.operation.unwrap(), request.status)).collect();
    assert_eq!(operations, [(Operation::Get, Some(404)), (Operation::List, Some(200))]);
    assert_eq!(scene.emulator.token_requests().len(), 1);
    // The audit log has a write a moment after the watch does.
    eventually("the write is in the audit log", || async {
        if writes(&scene, mark, "default") == 0 { Err("none yet".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_eq!(writes(&scene, mark, "default"), 1, "nothing is said before there is something to say");
}

#[tokio::test]
async fn what_is_proved_is_not_tried_again_by_a_restart_and_is_by_an_edit() {
    let mut scene = OperatorScene::new().await;
    scene.namespace.says::<KeyVault>("default", "True", "Connected").await;
    scene.stop().await;
    scene.vault.clear_log();
    scene.start().await;
    // Another connection is tried after the watch has shown both.
    scene.identity("second", "bbbbbbbb-1111-4222-8333-444444444444").await;
    let mut second = scene.key_vault("second", &scene.vault.url());
    second["spec"]["identity"]["workloadIdentity"]["serviceAccountName"] = json!("second");
    second["spec"]["identity"]["workloadIdentity"]["clientId"] =
        json!("bbbbbbbb-1111-4222-8333-444444444444");
    scene.vault.grant("bbbbbbbb-1111-4222-8333-444444444444");
    scene.create::<KeyVault>(&second).await;
    scene.namespace.says::<KeyVault>("second", "True", "Connected").await;
    let of_first = |request: &LoggedRequest| request.client_id.as_deref() == Some(CLIENT);
    assert_eq!(scene.vault.count_where(of_first), 0);

    scene.edit_vault("default", json!({"spec": {"serviceVersion": "7.4"}})).await;
    scene.namespace.says::<KeyVault>("default", "True", "Connected").await;
    let versions: Vec<_> =
        scene.vault.requests().into_iter().filter(of_first).map(|request| request.api_version).collect();
    assert_eq!(versions, [Some("7.4".to_owned()), Some("7.4".to_owned())]);
}

#[tokio::test]
async fn a_connection_that_fails_says_so_before_any_object_names_it_and_heals_by_itself() {
    let mut scene = OperatorScene::without_operator().await;
    let account = Account::new(&scene.namespace.name, "shop");
    scene.unfederate(&account, CLIENT);
    scene.federate(&Account::new(&scene.namespace.name, "other"), CLIENT);
    scene.start().await;
    let vault = scene.namespace.says::<KeyVault>("default", "False", "FederationMismatch").await;
    assert!(vault.message().contains(&account.user()), "{}", vault.message());
    assert!(scene.vault.requests().is_empty(), "without a token nothing is asked of the vault");
    // It is tried again and again, at the gate's pace.
    let before = scene.emulator.token_requests().len();
    scene.emulator.token_requests_until(|requests| requests.len() >= before + 2).await;
    scene.federate(&account, CLIENT);
    scene.namespace.says::<KeyVault>("default", "True", "Connected").await;
}

#[tokio::test]
async fn a_connection_that_is_deleted_while_it_fails_is_not_tried_for_ever() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.limits.idle = std::time::Duration::from_millis(200);
    scene.vault.fault(keyvault_emulator::Fault::status(503));
    scene.start().await;
    scene.namespace.says::<KeyVault>("default", "False", "ServiceUnavailable").await;
    scene.delete::<KeyVault>("default").await;
    scene.gone::<KeyVault>("default").await;
    eventually("the handle is gone", || async {
        let (_, metrics) = scene.http("/metrics").await;
        let host = format!("vault=\"{}.vault.azure.net\"", scene.vault.name());
        if metrics.contains(&host) { Err("the host is still measured".to_owned()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_permission_that_could_not_be_proved_is_decided_by_what_objects_read() {
    let mut scene = OperatorScene::without_operator().await;
    scene.vault.set("db", "one");
    scene.vault.revoke(CLIENT);
    scene.start().await;
    let vault = scene.namespace.says::<KeyVault>("default", "True", "PermissionUnproven").await;
    for part in ["MissingRole", "Key Vault Secrets User", "az role assignment create", "objects"] {
        assert!(vault.message().contains(part), "{}", vault.message());
    }
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.ready("shop", "False", "MissingRole").await;
    scene.namespace.says::<KeyVault>("default", "False", "MissingRole").await;
    scene.vault.grant(CLIENT);
    scene.synced("shop").await;
    scene.namespace.says::<KeyVault>("default", "True", "Connected").await;
}

#[tokio::test]
async fn an_identity_that_may_not_list_is_connected_all_the_same() {
    let mut scene = OperatorScene::without_operator().await;
    scene.vault.set("db", "one");
    scene.vault.revoke(CLIENT);
    scene.vault.grant_only(CLIENT, &[Permission::Get]);
    scene.start().await;
    scene.namespace.says::<KeyVault>("default", "True", "Connected").await;
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    scene.vault_says("default", "True", "Connected").await;
    assert_eq!(scene.vault.count(Operation::List), 1, "the trial has told");
}

#[tokio::test]
async fn of_many_connections_that_nobody_uses_the_oldest_are_tried_and_the_others_say_why_not() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.max_connections_per_namespace = 2;
    let urls: Vec<String> = (0..4)
        .map(|index| scene.emulator.vault(&format!("{}-{index}", scene.namespace.name)).url())
        .collect();
    for (index, url) in urls.iter().enumerate() {
        scene.create::<KeyVault>(&scene.key_vault(&format!("more-{index}"), url)).await;
    }
    scene.start().await;
    scene.namespace.says::<KeyVault>("default", "True", "Connected").await;
    scene.namespace.says::<KeyVault>("more-0", "True", "PermissionUnproven").await;
    for index in 1..4 {
        let vault = scene.namespace.says::<KeyVault>(&format!("more-{index}"), "Unknown", "NotProven").await;
        assert!(vault.message().contains("--max-connections-per-namespace"), "{}", vault.message());
    }
    let hosts: std::collections::BTreeSet<String> = scene
        .emulator
        .connects()
        .into_iter()
        .map(|connect| connect.target)
        .filter(|target| target.contains(".vault."))
        .collect();
    assert_eq!(hosts.len(), 2, "{hosts:?}");
    // Whoever is used is read, tried before or not.
    let mut spec = data(&[("DB", "db")]);
    spec["vaultRef"] = json!({"name": "more-3"});
    scene.sync("shop", spec).await;
    scene.namespace.says::<KeyVault>("more-3", "False", "MissingRole").await;
}

#[tokio::test]
async fn a_namespace_that_is_left_alone_proves_nothing() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.own_namespace = Some(scene.namespace.name.clone());
    scene.start().await;
    let vault = scene.namespace.says::<KeyVault>("default", "False", "NamespaceIgnored").await;
    assert!(vault.message().contains("namespace of the application"), "{}", vault.message());
    assert!(scene.emulator.token_requests().is_empty() && scene.emulator.connects().is_empty());
}

/// An object that names the connection and reads nothing: an operator that is limited to namespaces speaks only of
/// connections that are named there.
async fn suspended(scene: &OperatorScene, shared: &Shared) {
    let mut spec = shared.spec(&[("DB", "db")]);
    spec["suspend"] = true.into();
    scene.sync("shop", spec).await;
}

#[tokio::test]
async fn a_shared_connection_with_one_identity_proves_itself_and_heals_before_anybody_reads() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    let mut mounted = Mounted::empty();
    scene.give(&[format!("--credentials-dir={}", mounted.path().display())]);
    let tenant = scene.emulator.tenant().to_owned();
    scene.emulator.register_secret(&tenant, CLIENT, "canary-7d1f");
    let principal = json!({"tenantId": tenant, "clientId": CLIENT, "credentialFile": "app"});
    let shared = scene.share_as(json!({"servicePrincipal": principal})).await;
    suspended(&scene, &shared).await;
    scene.start().await;
    let message = shared.says("False", "CredentialNotFound").await;
    assert!(message.contains("`app`") && message.contains("pause between attempts"), "{message}");
    mounted.put("app", "canary-7d1f");
    shared.says("True", "Connected").await;
    assert!(scene.vault.requests().iter().all(is_trial));
}

#[tokio::test]
async fn a_shared_connection_that_reads_as_each_namespace_says_that_none_has_yet() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    let shared = scene.share(json!([])).await;
    suspended(&scene, &shared).await;
    scene.start().await;
    let message = shared.says("Unknown", "NotProven").await;
    assert!(message.contains("its own ServiceAccount"), "{message}");
    assert!(scene.emulator.token_requests().is_empty());
}
