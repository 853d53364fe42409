//! The main job: a value in the vault becomes a Secret, and follows it.

use serde_json::json;
use support::scene::{OperatorScene, data};

#[tokio::test]
async fn a_value_in_the_vault_becomes_a_secret() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db-url", "postgres://shop");
    scene.vault.set("api", r#"{"token": "t0k3n"}"#);
    scene.vault.set("config", r#"{"LOG_LEVEL": "info", "PORT": 8080, "NONE": null}"#);
    scene
        .sync(
            "shop",
            json!({
                "data": [
                    {"key": "DATABASE_URL", "from": {"secret": {"name": "db-url"}}},
                    {"key": "API_TOKEN", "from": {"secret": {"name": "api", "property": "$.token"}}},
                ],
                "dataFrom": [{"secret": {"name": "config"}}],
            }),
        )
        .await;
    let object = scene.synced("shop").await;
    let expected = [
        ("API_TOKEN", "t0k3n"),
        ("DATABASE_URL", "postgres://shop"),
        ("LOG_LEVEL", "info"),
        ("PORT", "8080"),
    ];
    scene.secret_is("shop", &expected).await;
    let status = object.status.unwrap();
    let target = status.target.unwrap();
    assert_eq!(target.key_names().collect::<Vec<_>>(), ["API_TOKEN", "DATABASE_URL", "LOG_LEVEL", "PORT"]);
    assert_eq!(status.entries.len(), 3);
    // They were set a moment ago: each is read once more.
    assert!(
        status
            .entries
            .iter()
            .all(|entry| entry.state == vaultsync::api::EntryState::Synced && entry.version.is_some())
    );
    scene.vault_says("default", "True", "Connected").await;
}

#[tokio::test]
async fn a_change_in_the_vault_arrives() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    scene.vault.set("db", "two");
    scene.secret_is("shop", &[("DB", "two")]).await;
}
