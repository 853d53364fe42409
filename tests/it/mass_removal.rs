//! Many secrets of a vault that go at once: nothing is removed before somebody confirms it.

use serde_json::json;
use vaultsync::api::{KeyVault, condition};

use support::Says as _;
use support::eventually;
use support::scene::{OperatorScene, data};

#[tokio::test]
async fn many_secrets_that_go_at_once_take_no_key_along_before_that_is_confirmed() {
    let mut scene = OperatorScene::new().await;
    let names: Vec<String> = (0..14).map(|index| format!("s{index}")).collect();
    let keys: Vec<String> = (0..14).map(|index| format!("K{index}")).collect();
    for name in &names {
        scene.vault.set(name, "kept");
    }
    let pairs: Vec<(&str, &str)> = keys.iter().zip(&names).map(|(key, name)| (&**key, &**name)).collect();
    let mut spec = data(&pairs);
    for item in spec["data"].as_array_mut().unwrap() {
        item["onMissing"] = json!("Remove");
    }
    scene.sync("shop", spec).await;
    scene.synced("shop").await;
    for name in &names[..12] {
        scene.vault.delete(name);
    }
    scene.vault.set("s13", "newer");
    let mut all: Vec<(&str, &str)> = keys.iter().map(|key| (&**key, "kept")).collect();
    all[13].1 = "newer";
    for restarts in [true, false] {
        scene
            .vault_where("default", "its removals are held", |vault| told_of_removals(vault).is_some())
            .await;
        let object = scene.ready("shop", "False", "RemovalHeld").await;
        assert!(object.message().contains("MassRemoval"), "{}", object.message());
        scene.secret_is("shop", &all).await;
        if restarts {
            // What is held is found anew, and none of it goes.
            scene.stop().await;
            scene.start().await;
            scene.looks_again(3).await;
        }
    }
    eventually("what is confirmed goes", async || {
        let vault = scene.api::<KeyVault>().get("default").await.unwrap();
        if let Some(message) = told_of_removals(&vault) {
            let (_, time) = message.rsplit_once('=').unwrap();
            let confirmed =
                json!({"metadata": {"annotations": {"vaultsync.dev/removal-confirmed-at": time}}});
            scene.edit_vault("default", confirmed).await;
        }
        let keys = scene.secret("shop").await.unwrap().len();
        if keys == 2 { Ok(()) } else { Err(format!("{keys} keys")) }
    })
    .await;
    scene.secret_is("shop", &all[12..]).await;
    scene.synced("shop").await;
    scene.vault_where("default", "nothing is held", |vault| told_of_removals(vault).is_none()).await;
}

fn told_of_removals(vault: &KeyVault) -> Option<&str> {
    let condition = condition(&vault.status.as_ref()?.conditions, "MassRemoval")?;
    Some(condition.message.as_str())
}
