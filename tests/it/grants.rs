//! Who may read what through a `ClusterKeyVault`: nobody and nothing, but for what `allow` says, at every moment.

use k8s_openapi::api::core::v1::Namespace as Object;
use keyvault_emulator::SecretOptions;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use support::scene::{OperatorScene, data};
use support::shared::grant;
use support::{Says as _, eventually};

#[tokio::test]
async fn without_a_grant_nothing_is_read_and_no_token_is_asked_for() {
    let scene = OperatorScene::of_shared_vaults().await;
    scene.vault.set("db", "one");
    let shared = scene.share(json!([])).await;
    let mut scene = scene;
    scene.start().await;
    scene.sync("shop", shared.spec(&[("DB", "db")])).await;
    let object = scene.ready("shop", "False", "NotAllowed").await;
    let message = object.message();
    for part in
        [&format!("ClusterKeyVault {}", shared.name), "secret db", "spec.allow", &scene.namespace.name]
    {
        assert!(message.contains(part), "{message}");
    }
    assert!(scene.vault.requests().is_empty());
    assert!(scene.emulator.token_requests().is_empty());
    assert_eq!(scene.secret("shop").await, None);
    shared.allow(json!([grant(&[&scene.namespace.name], &["db"])])).await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("DB", "one")]).await;
}

#[tokio::test]
async fn a_withdrawn_grant_stops_refresh_and_keeps_the_secret_until_it_is_given_again() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    scene.vault.set("clock", "x");
    let granted = json!([grant(&[&scene.namespace.name], &["db"])]);
    let shared = scene.share(granted.clone()).await;
    scene.sync("shop", shared.spec(&[("DB", "db")])).await;
    // Through a connection of its own, to tell that time goes on.
    scene.sync("clock", data(&[("CLOCK", "clock")])).await;
    scene.synced("shop").await;
    scene.synced("clock").await;

    shared.allow(json!([])).await;
    scene.ready("shop", "False", "NotAllowed").await;
    scene.vault.set("db", "two");
    scene.vault.clear_log();
    eventually("the clock was read twice more", || async {
        let seen = scene.reads("clock");
        if seen >= 2 { Ok(()) } else { Err(format!("{seen} reads")) }
    })
    .await;
    assert_eq!(scene.reads("db"), 0);
    scene.secret_is("shop", &[("DB", "one")]).await;

    shared.allow(granted).await;
    scene.secret_is("shop", &[("DB", "two")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn patterns_cover_names_in_any_case_and_nothing_beside_them() {
    let scene = OperatorScene::new().await;
    for name in ["Shop-DB", "shopping", "a-shop-db"] {
        scene.vault.set(name, "value");
    }
    let shared = scene.share(json!([grant(&[&scene.namespace.name], &["SHOP-*"])])).await;
    scene.sync("good", shared.spec(&[("A", "Shop-DB"), ("B", "shop-db")])).await;
    scene.synced("good").await;
    for bad in ["shopping", "a-shop-db"] {
        scene.sync(bad, shared.spec(&[("A", bad)])).await;
        scene.ready(bad, "False", "NotAllowed").await;
        assert_eq!(scene.reads(bad), 0);
    }
}

#[tokio::test]
async fn a_grant_for_another_namespace_is_none_for_this_one() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    let prefix = &scene.namespace.name[..scene.namespace.name.len() - 1];
    let shared = scene.share(json!([grant(&["default", prefix], &["*"])])).await;
    scene.sync("shop", shared.spec(&[("DB", "db")])).await;
    scene.ready("shop", "False", "NotAllowed").await;
    assert_eq!(scene.reads("db"), 0);
}

#[tokio::test]
async fn the_secret_of_a_certificate_takes_a_grant_for_the_certificate() {
    let scene = OperatorScene::new().await;
    let managed = SecretOptions { managed: true, ..SecretOptions::default() };
    scene.vault.set_with("tls", "private-key", managed);
    scene.vault.set("db", "one");
    let shared = scene.share(json!([grant(&[&scene.namespace.name], &["*"])])).await;
    scene.sync("only", shared.spec(&[("KEY", "tls")])).await;
    scene.sync("both", shared.spec(&[("DB", "db"), ("KEY", "tls")])).await;
    let object = scene.ready("only", "False", "NotAllowed").await;
    let message = object.message();
    assert!(
        message.contains("private side of a certificate") && message.contains("certificates [tls]"),
        "{message}"
    );
    assert_eq!(scene.secret("only").await, None);
    scene.ready("both", "False", "NotAllowed").await;
    assert_eq!(scene.secret("both").await, None, "it is made whole or not at all");

    let (secrets, namespace) = (&["*"], &scene.namespace.name);
    shared
        .allow(json!([{"namespaces": {"names": [namespace]}, "secrets": secrets, "certificates": ["t*"]}]))
        .await;
    scene.synced("only").await;
    scene.synced("both").await;
    scene.secret_is("both", &[("DB", "one"), ("KEY", "private-key")]).await;

    shared.allow(json!([grant(&[namespace], &["*"])])).await;
    scene.ready("only", "False", "NotAllowed").await;
    scene.secret_is("only", &[("KEY", "private-key")]).await;
}

#[tokio::test]
async fn a_selector_grants_by_the_labels_that_a_namespace_has_now() {
    let mut scene = OperatorScene::without_operator().await;
    scene.operate_with(&["settings.namespaceSelectors=true"]).await;
    scene.settings.namespace_selectors = true;
    scene.vault.set("db", "one");
    let team = json!({"matchLabels": {"team": "shop"}});
    let shared = scene.share(json!([{"namespaces": {"selector": team}, "secrets": ["db"]}])).await;
    scene.start().await;
    scene.sync("shop", shared.spec(&[("DB", "db")])).await;
    scene.ready("shop", "False", "NotAllowed").await;
    let label = async |value: Option<&str>| {
        let namespaces: Api<Object> = Api::all(scene.admin());
        let patch = Patch::Merge(json!({"metadata": {"labels": {"team": value}}}));
        namespaces.patch(&scene.namespace.name, &PatchParams::default(), &patch).await.unwrap();
    };
    label(Some("shop")).await;
    scene.synced("shop").await;
    label(None).await;
    scene.ready("shop", "False", "NotAllowed").await;
}

#[tokio::test]
async fn a_selector_grants_nothing_where_namespaces_are_not_read() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    scene.vault.set("named", "two");
    let shared = scene
        .share(json!([
            {"namespaces": {"selector": {}}, "secrets": ["db"]},
            grant(&[&scene.namespace.name], &["named"]),
        ]))
        .await;
    scene.sync("shop", shared.spec(&[("DB", "db")])).await;
    scene.sync("named", shared.spec(&[("NAMED", "named")])).await;
    let object = scene.ready("shop", "False", "NotAllowed").await;
    assert!(object.message().contains("--namespace-selectors"), "{}", object.message());
    shared.says("False", "SelectorsDisabled").await;
    scene.synced("named").await;
}

#[tokio::test]
async fn an_operator_that_is_to_read_namespaces_and_may_not_does_not_start() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.namespace_selectors = true;
    scene.start().await;
    let error = scene.end().await.unwrap_err().to_string();
    assert!(error.contains("--namespace-selectors") && error.contains("namespaces"), "{error}");
}
