//! What somebody else does to our Secret is undone, and nothing that is theirs is touched.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::Fault;
use serde_json::{Value, json};
use vaultsync::api::{READY, VaultSecretSync, condition};

use support::scene::{OperatorScene, data, version};
use support::{Says as _, eventually, until};

/// A synced object `shop` with the keys `A` and `B`, a label and an annotation.
async fn synced() -> OperatorScene {
    let scene = OperatorScene::new().await;
    sync(&scene).await;
    scene
}

async fn sync(scene: &OperatorScene) {
    scene.vault.set("a", "one");
    scene.vault.set("b", "two");
    let mut spec = data(&[("A", "a"), ("B", "b")]);
    spec["target"] = json!({"labels": {"tier": "web"}, "annotations": {"team": "shop"}});
    scene.sync("shop", spec).await;
    scene.synced("shop").await;
}

/// `one`, edited by somebody, in Base64.
const EDITED: &str = "ZWRpdGVk";

async fn probed(scene: &OperatorScene, times: usize) {
    let before = scene.faults.count("patch", "secrets");
    eventually("the operator looks at its Secret", || async {
        let now = scene.faults.count("patch", "secrets");
        if now >= before + times { Ok(()) } else { Err(format!("{} looks", now - before)) }
    })
    .await;
}

#[tokio::test]
async fn a_deleted_secret_comes_back() {
    let scene = synced().await;
    let old = scene.api::<Secret>().get("shop").await.unwrap();
    scene.delete::<Secret>("shop").await;
    let new = scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    assert_ne!(new.metadata.uid, old.metadata.uid);
    let uid = new.metadata.uid.clone();
    let known = move |object: Option<&VaultSecretSync>| {
        let status = object.and_then(|object| object.status.as_ref());
        status
            .and_then(|status| status.target.as_ref())
            .is_some_and(|target| Some(&target.uid) == uid.as_ref())
    };
    until(&scene.api(), "shop", "status names the new Secret", known).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn an_edited_key_is_brought_back_and_said() {
    let scene = synced().await;
    scene.edit_secret("shop", json!({"data": {"A": EDITED}})).await;
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    scene.told("shop", "SecretRepaired").await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_removed_key_comes_back() {
    let scene = synced().await;
    scene.edit_secret("shop", json!({"data": {"B": null}})).await;
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    scene.told("shop", "SecretRepaired").await;
}

#[tokio::test]
async fn a_drifted_key_is_read_once_and_the_others_never() {
    let mut scene = OperatorScene::without_operator().await;
    scene.start().await;
    scene.vault.set_ago("a", "one", 60);
    scene.vault.set_ago("b", "two", 60);
    let mut spec = data(&[("A", "a"), ("B", "b")]);
    spec["refreshInterval"] = "24h".into();
    scene.sync("shop", spec).await;
    scene.synced("shop").await;
    scene.vault.clear_log();
    scene.edit_secret("shop", json!({"data": {"A": EDITED}})).await;
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    probed(&scene, 3).await;
    let read: Vec<_> = scene.vault.requests().into_iter().map(|request| request.secret).collect();
    assert_eq!(read, [Some("a".to_owned())]);
}

#[tokio::test]
async fn edited_and_removed_metadata_comes_back() {
    let scene = synced().await;
    let labels = json!({"tier": null, "app.kubernetes.io/managed-by": null});
    let metadata = json!({"labels": labels, "annotations": {"team": "other"}, "ownerReferences": null});
    scene.edit_secret("shop", json!({"metadata": metadata})).await;
    let whole = |secret: Option<&Secret>| {
        let Some(secret) = secret else { return false };
        let metadata = &secret.metadata;
        let has = |map: &Option<BTreeMap<String, String>>, key: &str, value: &str| {
            map.as_ref().and_then(|map| map.get(key)).is_some_and(|found| found == value)
        };
        has(&metadata.labels, "tier", "web")
            && has(&metadata.labels, "app.kubernetes.io/managed-by", "vaultsync")
            && has(&metadata.annotations, "team", "shop")
            && metadata.owner_references.as_ref().is_some_and(|owners| owners.len() == 1)
    };
    until(&scene.api(), "shop", "labels, annotation and owner are back", whole).await;
}

#[tokio::test]
async fn what_others_add_stays_and_is_no_drift() {
    let scene = synced().await;
    let metadata = json!({"labels": {"theirs": "yes"}, "annotations": {"note": "theirs"}});
    let added = json!({"data": {"THEIRS": EDITED}, "metadata": metadata});
    let edited = scene.edit_secret("shop", added).await;
    probed(&scene, 3).await;
    let secret = scene.api::<Secret>().get("shop").await.unwrap();
    assert_eq!(version(&secret), version(&edited));
    // A change from the vault goes beside it.
    scene.vault.set("a", "three");
    scene.force("shop", "now").await;
    scene.secret_is("shop", &[("A", "three"), ("B", "two"), ("THEIRS", "edited")]).await;
    let target = scene.synced("shop").await.status.unwrap().target.unwrap();
    assert_eq!(target.key_names().collect::<Vec<_>>(), ["A", "B"]);
    assert!(!scene.event_reasons("shop").await.contains(&"SecretRepaired".to_owned()));
}

#[tokio::test]
async fn a_secret_whose_managed_fields_somebody_cleared_is_still_kept_equal_and_loses_what_left_the_spec() {
    let scene = synced().await;
    scene.edit_secret("shop", json!({"metadata": {"managedFields": [{}]}})).await;
    scene.edit_secret("shop", json!({"data": {"A": EDITED}})).await;
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    scene.edit("shop", json!({"spec": {"data": [{"key": "A", "from": {"secret": {"name": "a"}}}]}})).await;
    let secret = scene.secret_is("shop", &[("A", "one")]).await;
    assert_eq!(secret.metadata.managed_fields, None);
    scene.synced("shop").await;
}

#[tokio::test]
async fn an_edit_while_the_vault_is_silent_is_said_at_once_and_undone_afterwards() {
    let scene = synced().await;
    scene.vault.fault(Fault::status(503));
    scene.vault_says("default", "False", "ServiceUnavailable").await;
    scene.edit_secret("shop", json!({"data": {"A": EDITED}})).await;
    let object = scene.ready("shop", "False", "Drifted").await;
    let message = object.message();
    assert!(message.contains("Secret shop") && message.contains("KeyVault default"), "{message}");
    // It stays said, whatever wakes the object meanwhile.
    let since = ready_since(&object);
    probed(&scene, 3).await;
    let object = scene.api::<VaultSecretSync>().get("shop").await.unwrap();
    assert_eq!(ready_since(&object), since);
    scene.vault.clear_faults();
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    scene.synced("shop").await;
    scene.told("shop", "SecretRepaired").await;
}

#[tokio::test]
async fn a_secret_deleted_while_the_vault_is_silent_is_said_at_once_and_comes_back() {
    let scene = synced().await;
    scene.vault.fault(Fault::status(503));
    scene.vault_says("default", "False", "ServiceUnavailable").await;
    scene.delete::<Secret>("shop").await;
    let object = scene.ready("shop", "False", "Drifted").await;
    let since = ready_since(&object);
    probed(&scene, 3).await;
    let object = scene.api::<VaultSecretSync>().get("shop").await.unwrap();
    assert_eq!(ready_since(&object), since);
    assert_eq!(scene.secret("shop").await, None);
    scene.vault.clear_faults();
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn metadata_is_repaired_though_the_vault_is_silent() {
    let scene = synced().await;
    scene.vault.fault(Fault::status(503));
    scene.vault_says("default", "False", "ServiceUnavailable").await;
    scene.edit_secret("shop", json!({"data": {"A": EDITED}, "metadata": {"labels": {"tier": null}}})).await;
    let labelled = |secret: Option<&Secret>| {
        secret
            .and_then(|secret| secret.metadata.labels.as_ref())
            .is_some_and(|labels| labels.contains_key("tier"))
    };
    until(&scene.api(), "shop", "the label is back", labelled).await;
    scene.ready("shop", "False", "Drifted").await;
    scene.vault.clear_faults();
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    scene.synced("shop").await;
}

fn ready_since(object: &VaultSecretSync) -> Value {
    let conditions = &object.status.as_ref().unwrap().conditions;
    let ready = condition(conditions, READY).unwrap();
    assert_eq!(ready.reason, "Drifted");
    json!(ready.last_transition_time)
}
