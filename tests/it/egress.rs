//! Where the operator's tokens go, by the emulator's log of tunnels: to the vault that was named and the token service of
//! its cloud, whatever either of them leads to.

use std::collections::BTreeSet;

use keyvault_emulator::Fault;
use serde_json::json;

use vaultsync::api::KeyVault;

use support::scene::{CLIENT, OperatorScene, data};
use support::{Mounted, Says as _};

#[tokio::test]
async fn no_token_leaves_for_a_host_outside_whatever_the_answers_lead_to() {
    let mut scene = OperatorScene::without_operator().await;
    for number in 0..60 {
        scene.vault.set(&format!("db-{number}"), "one");
    }
    scene.vault.set("db", "one");
    let spec = json!({"detect": "List", "identity": {"workloadIdentity": {"tenantId": null}}});
    scene.edit_vault("default", json!({"spec": spec})).await;
    scene.sync("shop", data(&[("DB", "db")])).await;

    // The question who issues its tokens.
    scene.vault.set_challenge("login.evil.test", "https://vault.azure.net");
    scene.start().await;
    scene.vault_says("default", "False", "UntrustedVaultHost").await;
    scene.vault.set_challenge("login.windows.net", "https://evil.test");
    scene.sync("foreign-resource", data(&[("DB", "db")])).await;
    scene.ready("foreign-resource", "False", "UntrustedVaultHost").await;
    assert!(scene.emulator.token_requests().is_empty());
    scene.vault.set_challenge("login.windows.net", "https://vault.azure.net");
    scene.synced("shop").await;

    // An answer to a read, and the next page of a list.
    let redirect = scene.vault.fault(Fault::redirect("https://evil.test/secrets/db-1").on_secret("db-1"));
    scene.sync("led-away", data(&[("DB", "db-1")])).await;
    scene.ready("led-away", "False", "MalformedResponse").await;
    scene.vault.clear_fault(redirect);
    scene.vault.set_foreign_links(Some("https://evil.test"));
    scene.sync("listed", data(&[("DB", "db-2")])).await;
    scene.synced("listed").await;
    scene.vault.set("db-2", "two");
    scene.secret_is("listed", &[("DB", "two")]).await;

    // The token service's own answer.
    scene.stop().await;
    scene.emulator.token_fault(Fault::redirect("https://evil.test/token"));
    scene.start().await;
    scene.ask("shop", "in vain").await;
    scene.vault_says("default", "False", "MalformedResponse").await;
    scene.emulator.clear_token_faults();
    scene.vault_says("default", "True", "Connected").await;

    let targets: BTreeSet<String> =
        scene.emulator.connects().into_iter().map(|connect| connect.target).collect();
    let vault = format!("{}.vault.azure.net:443", scene.vault.name());
    assert_eq!(targets, BTreeSet::from(["login.microsoftonline.com:443".to_owned(), vault]));

    // Had anybody gone there, it would be in the log.
    let proxy = reqwest::Proxy::all(scene.emulator.proxy_url()).unwrap();
    let stray = reqwest::Client::builder().proxy(proxy).build().unwrap();
    stray.get("https://evil.test/").send().await.unwrap_err();
    assert_eq!(scene.emulator.refused(), ["evil.test:443"]);
}

#[tokio::test]
async fn an_injected_authority_of_another_cloud_gets_no_assertion() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    let (cluster, mut projected) = (scene.namespace.cluster(), Mounted::empty());
    projected.put("token", cluster.assertion(cluster.operator(), 3600).await);
    scene.federate(cluster.operator(), CLIENT);
    scene.give(&[
        format!("--azure-client-id={CLIENT}"),
        format!("--azure-tenant-id={}", scene.emulator.tenant()),
        format!("--azure-federated-token-file={}", projected.path().join("token").display()),
        "--azure-authority-host=https://login.evil.test/".to_owned(),
    ]);
    scene.vault.set("db", "one");
    let shared = scene.share_as(json!({"operatorIdentity": {}})).await;
    scene.start().await;
    scene.sync("shop", shared.spec(&[("DB", "db")])).await;
    scene.synced("shop").await;
    assert!(!scene.emulator.token_requests().is_empty());
    assert_eq!(scene.emulator.refused(), Vec::<String>::new());
}

#[tokio::test]
async fn a_host_that_passes_the_schema_and_is_no_vault_is_asked_nothing() {
    let mut scene = OperatorScene::of_shared_vaults().await;
    scene.start().await;
    let cloud =
        json!({"authority": "https://login.evil.test", "audience": "https://vault.azure.net/.default"});
    let shared = scene.share_as(json!({"managedIdentity": {}})).await;
    scene.sync("shared", shared.spec(&[("DB", "db")])).await;
    for (url, sentence) in [
        ("https://prod.vault.azure.net.", "ends with a dot"),
        ("https://169.254.169.254", "must be a DNS name"),
        ("https://localhost", "must be a DNS name"),
        ("https://xn--prd-sna.vault.test", "characters that no vault's name has"),
    ] {
        shared.edit(json!({"url": url, "cloud": cloud})).await;
        let said = shared.fails_by("VaultInvalid", sentence).await;
        assert!(said.contains("spec.url"), "{said}");
    }
    scene.ready("shared", "False", "VaultInvalid").await;

    let punycode = scene.key_vault("imitation", "https://xn--prd-sna.vault.azure.net");
    scene.create::<KeyVault>(&punycode).await;
    let mut spec = data(&[("DB", "db")]);
    spec["vaultRef"] = json!({"name": "imitation"});
    scene.sync("imitation", spec).await;
    let object = scene.ready("imitation", "False", "VaultInvalid").await;
    assert!(object.message().contains("characters that no vault's name has"));
    scene.vault_says("imitation", "False", "VaultInvalid").await;
    assert!(scene.emulator.connects().is_empty());
    assert!(scene.emulator.token_requests().is_empty());
}
