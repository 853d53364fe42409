//! Two objects and one target: one has it, the other says so and waits.

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use vaultsync::api::VaultSecretSync;

use support::scene::{OperatorScene, data, version};
use support::{Says as _, eventually};

/// `older` has the Secret `shared`, `younger` wants it too.
async fn contended(deletion: &str) -> OperatorScene {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.vault.set("b", "two");
    for (name, key, secret) in [("older", "A", "a"), ("younger", "B", "b")] {
        let mut spec = data(&[(key, secret)]);
        spec["target"] = json!({"name": "shared", "deletion": deletion});
        scene.sync(name, spec).await;
        if name == "older" {
            scene.synced("older").await;
        }
    }
    scene
}

#[tokio::test]
async fn the_older_object_keeps_the_secret_and_the_younger_names_it() {
    let scene = contended("Delete").await;
    let message = scene.ready("younger", "False", "TargetConflict").await.message().to_owned();
    for part in ["Secret shared", "VaultSecretSync older", "spec.target.name"] {
        assert!(message.contains(part), "{message}");
    }
    let before = scene.secret_is("shared", &[("A", "one")]).await;
    // The loser asks neither vault nor API server for anything.
    let (reads, looks) = (scene.vault.requests().len(), scene.faults.count("patch", "secrets"));
    scene
        .vault
        .requests_until(|requests| {
            requests[reads..].iter().filter(|read| read.secret.as_deref() == Some("a")).count() >= 2
        })
        .await;
    eventually("the winner's Secret is looked at", || async {
        let now = scene.faults.count("patch", "secrets");
        if now >= looks + 3 { Ok(()) } else { Err(format!("{} looks", now - looks)) }
    })
    .await;
    assert_eq!(scene.vault.count_where(|read| read.secret.as_deref() == Some("b")), 0);
    assert_eq!(scene.faults.count("create", "secrets"), 1);
    assert_eq!(version(&scene.api::<Secret>().get("shared").await.unwrap()), version(&before));
    scene.synced("older").await;
}

#[tokio::test]
async fn the_younger_object_has_its_turn_when_the_older_goes() {
    let scene = contended("Delete").await;
    scene.ready("younger", "False", "TargetConflict").await;
    scene.delete::<VaultSecretSync>("older").await;
    scene.secret_is("shared", &[("B", "two")]).await;
    scene.synced("younger").await;
}

#[tokio::test]
async fn a_retained_secret_keeps_its_mark_until_somebody_hands_it_over() {
    let scene = contended("Retain").await;
    scene.ready("younger", "False", "TargetConflict").await;
    let before = scene.api::<Secret>().get("shared").await.unwrap();
    scene.delete::<VaultSecretSync>("older").await;
    // Another reason for the same word: the object is gone, its mark is not.
    let message = eventually("the younger speaks of the mark", || async {
        let object = scene.ready("younger", "False", "TargetConflict").await;
        let message = object.message().to_owned();
        if message.contains("Delete the Secret, or set its annotation") { Ok(message) } else { Err(message) }
    })
    .await;
    assert!(message.contains("vaultsync.dev/owner to younger"), "{message}");
    assert_eq!(version(&scene.api::<Secret>().get("shared").await.unwrap()), version(&before));
    let handed_over = json!({"metadata": {"annotations": {"vaultsync.dev/owner": "younger"}}});
    scene.edit_secret("shared", handed_over).await;
    // Its own keys come in; the keys that the other made are not its to take away.
    scene.secret_is("shared", &[("A", "one"), ("B", "two")]).await;
    scene.synced("younger").await;
}

#[tokio::test]
async fn the_object_whose_mark_a_retained_secret_carries_has_it_back_though_another_claimed_it_meanwhile() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.vault.set("b", "two");
    let spec = |key: &str, secret: &str| {
        let mut spec = data(&[(key, secret)]);
        spec["target"] = json!({"name": "shared", "deletion": "Retain"});
        spec
    };
    scene.sync("writer", spec("A", "a")).await;
    scene.synced("writer").await;
    scene.delete::<VaultSecretSync>("writer").await;
    scene.sync("claimer", spec("B", "b")).await;
    scene.ready("claimer", "False", "TargetConflict").await;
    scene.sync("writer", spec("A", "a")).await;
    scene.vault.set("a", "three");
    scene.secret_is("shared", &[("A", "three")]).await;
    scene.synced("writer").await;
    scene.ready("claimer", "False", "TargetConflict").await;
}
