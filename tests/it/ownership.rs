//! A Secret that is not ours is never touched; one that is ours is, whatever became of it.

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use vaultsync::api::{STALLED, VaultSecretSync};

use support::Says as _;
use support::scene::{OperatorScene, data, version};

const OWNER: &str = "vaultsync.dev/owner";

fn marked(owner: &str, key: &str, value: &str) -> Value {
    json!({"metadata": {"name": "shop", "annotations": {OWNER: owner}}, "stringData": {key: value}})
}

async fn get(scene: &OperatorScene) -> Secret {
    scene.api::<Secret>().get("shop").await.unwrap()
}

fn is_stalled(object: &VaultSecretSync) -> bool {
    object.condition(STALLED).is_some_and(|stalled| stalled.status == "True")
}

/// The scene after somebody took the Secret away and `secret` in its place, all while the operator was not looking.
async fn swapped(secret: Value) -> (OperatorScene, Secret) {
    let mut scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.sync("shop", data(&[("A", "a")])).await;
    scene.synced("shop").await;
    scene.stop().await;
    scene.delete::<Secret>("shop").await;
    scene.gone::<Secret>("shop").await;
    let theirs = scene.create::<Secret>(&secret).await;
    scene.start().await;
    (scene, theirs)
}

#[tokio::test]
async fn a_foreign_secret_is_refused_untouched_and_created_once_it_is_gone() {
    let scene = OperatorScene::new().await;
    let cluster = scene.namespace.cluster();
    let mark = cluster.mark();
    scene.vault.set("a", "one");
    let theirs = scene.foreign_secret("shop", "THEIRS", "kept").await;
    scene.sync("shop", data(&[("A", "a")])).await;
    let object = scene.ready("shop", "False", "TargetNotOwned").await;
    let message = object.message();
    for part in ["Secret shop", "Delete it", "spec.target.name"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!is_stalled(&object), "it heals without an edit of the spec");
    assert_eq!(version(&get(&scene).await), version(&theirs));
    let operator = cluster.operator().user();
    let namespace = scene.namespace.name.clone();
    let reads = cluster.seen_since(mark, |seen| {
        seen.user == operator && seen.namespace == namespace && seen.resource == "secrets" && !seen.is_write()
    });
    assert_eq!(reads, []);
    assert!(
        cluster
            .operator_writes_since(mark, &namespace)
            .iter()
            .filter(|write| write.resource == "secrets")
            .all(|write| write.code == 403 || write.code == 409)
    );

    scene.delete::<Secret>("shop").await;
    scene.secret_is("shop", &[("A", "one")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_secret_with_the_mark_of_another_object_is_refused_untouched() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    let theirs = scene.create::<Secret>(&marked("other", "THEIRS", "kept")).await;
    scene.sync("shop", data(&[("A", "a")])).await;
    let message = scene.ready("shop", "False", "TargetConflict").await.message().to_owned();
    for part in ["Secret shop", "VaultSecretSync other", "vaultsync.dev/owner to shop"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(version(&get(&scene).await), version(&theirs));
}

#[tokio::test]
async fn a_secret_that_was_swapped_for_a_foreign_one_is_refused_untouched() {
    let foreign = json!({"metadata": {"name": "shop"}, "stringData": {"A": "theirs"}});
    let (scene, theirs) = swapped(foreign).await;
    scene.ready("shop", "False", "TargetNotOwned").await;
    // Neither does a change in the vault go over it.
    scene.vault.set("a", "two");
    scene.vault.clear_log();
    scene.looks_again(2).await;
    assert_eq!(scene.vault.count(keyvault_emulator::Operation::Get), 0, "no value is read for it");
    let object = scene.ready("shop", "False", "TargetNotOwned").await;
    assert_eq!(version(&get(&scene).await), version(&theirs));
    assert_eq!(object.status.unwrap().entries.len(), 1, "what was synced is still said");
    scene.delete::<Secret>("shop").await;
    scene.secret_is("shop", &[("A", "two")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_write_never_hits_a_secret_that_was_swapped_since() {
    let mut scene = OperatorScene::without_operator().await;
    // Nothing looks: the write itself has to notice.
    scene.settings.drift_interval = std::time::Duration::ZERO;
    scene.start().await;
    scene.vault.set("a", "one");
    scene.sync("shop", data(&[("A", "a")])).await;
    scene.synced("shop").await;
    scene.delete::<Secret>("shop").await;
    scene.gone::<Secret>("shop").await;
    let theirs = scene.foreign_secret("shop", "A", "theirs").await;
    scene.vault.set("a", "two");
    scene.ready("shop", "False", "TargetNotOwned").await;
    assert_eq!(version(&get(&scene).await), version(&theirs));
}

#[tokio::test]
async fn a_secret_restored_from_a_backup_is_ours_again() {
    let (scene, theirs) = swapped(marked("shop", "A", "old")).await;
    let secret = scene.secret_is("shop", &[("A", "one")]).await;
    assert_eq!(secret.metadata.uid, theirs.metadata.uid, "repaired, not replaced");
    scene.is_owned(&scene.synced("shop").await).await;
}

#[tokio::test]
async fn a_secret_of_an_owner_that_is_no_more_ends_with_the_living_one() {
    let mut restored = marked("shop", "A", "old");
    restored["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "vaultsync.dev/v1alpha1", "kind": "VaultSecretSync", "name": "shop",
        "uid": "00000000-0000-4000-8000-000000000000", "controller": true, "blockOwnerDeletion": false,
    }]);
    let (scene, _) = swapped(restored).await;
    // The garbage collector may be first; then it is created anew.
    let object = scene.api::<VaultSecretSync>().get("shop").await.unwrap();
    scene.is_owned(&object).await;
    scene.secret_is("shop", &[("A", "one")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn copies_from_another_namespace_are_told_as_that_and_handed_over_by_one_command_for_all() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    let names = ["shop", "other"];
    // As a replicator makes them, or a backup that is restored into another namespace.
    for name in names {
        let copy = json!({
            "metadata": {
                "name": name, "labels": {"app.kubernetes.io/managed-by": "vaultsync"},
                "annotations": {OWNER: name, "vaultsync.dev/owner-namespace": "team-a"},
            },
            "stringData": {"A": "theirs"},
        });
        let copy = scene.create::<Secret>(&copy).await;
        scene.sync(name, data(&[("A", "a")])).await;
        let object = scene.ready(name, "False", "TargetCopied").await;
        let message = object.message();
        let command = format!("vaultsync.dev/owner-namespace={}", scene.namespace.name);
        assert!(message.contains("namespace team-a") && message.contains(&command), "{message}");
        assert_eq!(version(&scene.api::<Secret>().get(name).await.unwrap()), version(&copy));
    }
    let mut kubectl = tokio::process::Command::new(support::tools::tool("kubectl").unwrap());
    let output = kubectl
        .args(["annotate", "secrets", "--overwrite", "-l", "app.kubernetes.io/managed-by=vaultsync"])
        .args(["-n", &scene.namespace.name])
        .arg(format!("vaultsync.dev/owner-namespace={}", scene.namespace.name))
        .env("KUBECONFIG", scene.namespace.cluster().kubeconfig_for_admin())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in names {
        scene.secret_is(name, &[("A", "one")]).await;
        scene.synced(name).await;
    }
}

#[tokio::test]
async fn a_secret_of_another_type_is_named_and_only_an_edit_can_help() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    let mut other = marked("shop", "username", "kept");
    other["type"] = "kubernetes.io/basic-auth".into();
    let theirs = scene.create::<Secret>(&other).await;
    scene.sync("shop", data(&[("A", "a")])).await;
    let object = scene.ready("shop", "False", "TypeMismatch").await;
    assert!(is_stalled(&object));
    let message = object.message();
    assert!(message.contains("Secret shop") && message.contains("Opaque"), "{message}");
    assert_eq!(version(&get(&scene).await), version(&theirs));
    scene.delete::<Secret>("shop").await;
    scene.secret_is("shop", &[("A", "one")]).await;
    assert!(!is_stalled(&scene.synced("shop").await));
}

#[tokio::test]
async fn an_immutable_secret_is_named_and_created_anew_once_it_is_deleted() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    let mut immutable = marked("shop", "A", "old");
    immutable["immutable"] = true.into();
    let theirs = scene.create::<Secret>(&immutable).await;
    scene.sync("shop", data(&[("A", "a")])).await;
    let object = scene.ready("shop", "False", "TargetImmutable").await;
    let message = object.message();
    assert!(message.contains("Secret shop") && message.contains("Delete it"), "{message}");
    assert_eq!(version(&get(&scene).await), version(&theirs));
    scene.delete::<Secret>("shop").await;
    scene.secret_is("shop", &[("A", "one")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_synced_secret_that_is_marked_immutable_stays_as_it_is_until_it_is_deleted() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.sync("shop", data(&[("A", "a")])).await;
    scene.synced("shop").await;
    let theirs = scene.edit_secret("shop", json!({"immutable": true})).await;
    scene.vault.set("a", "two");
    scene.ready("shop", "False", "TargetImmutable").await;
    assert_eq!(version(&get(&scene).await), version(&theirs));
    scene.delete::<Secret>("shop").await;
    scene.secret_is("shop", &[("A", "two")]).await;
    scene.synced("shop").await;
}
