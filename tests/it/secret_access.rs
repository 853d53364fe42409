//! The modes in which the operator is given rights on Secrets: each does what it says, with just the rights that the chart gives.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use vaultsync::controller::SecretAccess;

use support::Says as _;
use support::scene::{OperatorScene, data, version};

#[tokio::test]
async fn where_secrets_are_watched_an_edit_is_undone_though_nobody_looks() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.secret_access = SecretAccess::Watch;
    scene.settings.drift_interval = Duration::ZERO;
    scene.operate_with(&["rbac.secrets=watch"]).await;
    scene.start().await;
    scene.vault.set("a", "one");
    scene.sync("shop", data(&[("A", "a")])).await;
    scene.synced("shop").await;
    let theirs = scene.edit_secret("shop", json!({"stringData": {"A": "theirs"}})).await;
    scene.secret_is("shop", &[("A", "one")]).await;
    assert_ne!(version(&scene.api::<Secret>().get("shop").await.unwrap()), version(&theirs));
    scene.delete::<Secret>("shop").await;
    scene.secret_is("shop", &[("A", "one")]).await;
    scene.synced("shop").await;
    // What happened while nobody watched.
    scene.stop().await;
    scene.edit_secret("shop", json!({"stringData": {"A": "theirs"}})).await;
    scene.start().await;
    scene.secret_is("shop", &[("A", "one")]).await;
    scene.stop().await;
    scene.delete::<Secret>("shop").await;
    scene.start().await;
    scene.secret_is("shop", &[("A", "one")]).await;
    scene.synced("shop").await;
    // What is ours to write is written as ever.
    scene.vault.set("a", "two");
    scene.secret_is("shop", &[("A", "two")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn where_secrets_are_named_those_are_written_and_no_others() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.secret_access = SecretAccess::Named;
    let names = format!("rbac.namedSecrets.{}={{shop,foreign}}", scene.namespace.name);
    scene.operate_with(&["rbac.secrets=named", &names]).await;
    scene.start().await;
    scene.vault.set("a", "one");
    scene.vault.set("b", "two");
    scene.sync("shop", data(&[("A", "a"), ("B", "b")])).await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    scene.vault.set("a", "newer");
    scene.edit("shop", json!({"spec": data(&[("A", "a")])})).await;
    scene.secret_is("shop", &[("A", "newer")]).await;
    scene.delete::<Secret>("shop").await;
    scene.secret_is("shop", &[("A", "newer")]).await;
    scene.synced("shop").await;

    let theirs = scene
        .create::<Secret>(&json!({"metadata": {"name": "foreign"}, "stringData": {"A": "theirs"}}))
        .await;
    scene.sync("foreign", data(&[("A", "a")])).await;
    scene.ready("foreign", "False", "TargetNotOwned").await;
    assert_eq!(version(&scene.api::<Secret>().get("foreign").await.unwrap()), version(&theirs));

    scene.sync("other", data(&[("A", "a")])).await;
    let object = scene.ready("other", "False", "WriteForbidden").await;
    assert!(object.message().contains("rbac.namedSecrets"), "{}", object.message());
    assert_eq!(scene.secret("other").await, None);
}
