//! What a namespace may create changes nothing of what another gets.

use serde_json::json;
use support::Namespace;
use support::scene::{OperatorScene, data, sync};
use vaultsync::api::{KeyVault, VaultSecretSync};

#[tokio::test]
async fn the_limits_of_a_namespaces_key_vault_bound_nobody_else() {
    const MANY: usize = 30;
    let mut scene = OperatorScene::without_operator().await;
    let evil = Namespace::new().await;
    scene.settings.namespaces.insert(evil.name.clone());
    scene.vault.set("db", "one");
    scene.start().await;
    scene.sync("before", data(&[("DB", "db")])).await;
    scene.synced("before").await;
    // Its identity need not even exist.
    let mut modest = scene.key_vault("default", &scene.vault.url());
    modest["spec"]["limits"] = json!({"requestsPerSecond": 1, "burst": 1});
    scene.create_in(&evil, "keyvaults", &modest).await;
    scene.create_in(&evil, "vaultsecretsyncs", &sync("shop", &data(&[("DB", "db")]))).await;
    evil.says::<VaultSecretSync>("shop", "False", "ServiceAccountNotFound").await;

    let host = scene.vault.url().trim_start_matches("https://").to_owned();
    let budget = format!("vaultsync_vault_budget_requests_per_second{{vault=\"{host}\"}}");
    assert_eq!(scene.metric(&budget).await, Some(50.0));
    scene.emulator.clear_log();
    for number in 0..MANY {
        let secret = format!("s{number}");
        scene.vault.set(&secret, "value");
        scene.sync(&secret, data(&[("KEY", &secret)])).await;
    }
    for number in 0..MANY {
        scene.synced(&format!("s{number}")).await;
    }
    assert_eq!(scene.metric(&budget).await, Some(50.0));
}

#[tokio::test]
async fn a_thousand_bogus_connections_in_one_namespace_do_no_harm_elsewhere() {
    use futures::StreamExt as _;
    const MANY: usize = 1000;
    let mut scene = OperatorScene::without_operator().await;
    let bad = Namespace::new().await;
    scene.settings.namespaces.insert(bad.name.clone());
    scene.vault.set("db", "one");
    let name = |number: usize| format!("bogus-{number:04}");
    futures::stream::iter(0..MANY)
        .for_each_concurrent(16, async |number| {
            let vault = scene.key_vault(&name(number), &format!("https://{}.vault.azure.net", name(number)));
            scene.create_in(&bad, "keyvaults", &vault).await;
            let mut spec = data(&[("DB", "db")]);
            spec["vaultRef"] = json!({"name": name(number)});
            scene.create_in(&bad, "vaultsecretsyncs", &sync(&name(number), &spec)).await;
        })
        .await;
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.start().await;
    scene.synced("shop").await;
    // With all of it shown, the oldest have their place and the others none.
    let last = name(MANY - 1);
    bad.says::<VaultSecretSync>(&last, "False", "TooManyConnections").await;
    let vaults: kube::Api<KeyVault> = bad.api(&scene.admin());
    support::until(&vaults, &last, "the connection says so too", |vault: Option<&KeyVault>| {
        let status = vault.and_then(|vault| vault.status.as_ref());
        status.is_some_and(|status| status.conditions.iter().any(|one| one.reason == "TooManyConnections"))
    })
    .await;
    scene.emulator.clear_log();
    scene.vault.set("db", "two");
    scene.secret_is("shop", &[("DB", "two")]).await;
    let tried: std::collections::BTreeSet<String> = scene
        .emulator
        .connects()
        .into_iter()
        .map(|connect| connect.target)
        .filter(|target| target.starts_with("bogus-"))
        .collect();
    assert!(tried.len() <= scene.settings.max_connections_per_namespace, "{tried:?}");
}
