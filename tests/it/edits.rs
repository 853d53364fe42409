//! What an edit of a spec does, and nothing more.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::Fault;
use kube::api::ListParams;
use serde_json::{Value, json};
use vaultsync::api::{Deletion, KeyVault, READY, VaultSecretSync};

use support::scene::{OperatorScene, data, version};
use support::{Says as _, eventually, until};

/// `theirs`, in Base64.
const THEIRS: &str = "dGhlaXJz";

/// A synced object `shop` with the keys `A` and `B`.
async fn synced() -> OperatorScene {
    let scene = OperatorScene::new().await;
    synced_in(&scene).await;
    scene
}

async fn synced_in(scene: &OperatorScene) {
    scene.vault.set("a", "one");
    scene.vault.set("b", "two");
    scene.sync("shop", data(&[("A", "a"), ("B", "b")])).await;
    scene.synced("shop").await;
}

async fn looked(scene: &OperatorScene, times: usize) {
    let before = scene.faults.count("patch", "secrets");
    eventually("the operator looks at its Secret", || async {
        let now = scene.faults.count("patch", "secrets");
        if now >= before + times { Ok(()) } else { Err(format!("{} looks", now - before)) }
    })
    .await;
}

async fn get(scene: &OperatorScene) -> Secret {
    scene.api::<Secret>().get("shop").await.unwrap()
}

fn keys(object: &VaultSecretSync) -> Vec<String> {
    object.status.as_ref().unwrap().target.as_ref().unwrap().key_names().map(str::to_owned).collect()
}

#[tokio::test]
async fn an_entry_that_is_removed_takes_its_key_along_and_no_other() {
    let scene = synced().await;
    scene.edit_secret("shop", json!({"data": {"THEIRS": THEIRS}})).await;
    scene.edit("shop", json!({"spec": data(&[("A", "a")])})).await;
    scene.secret_is("shop", &[("A", "one"), ("THEIRS", "theirs")]).await;
    assert_eq!(keys(&scene.synced("shop").await), ["A"]);
}

#[tokio::test]
async fn an_entry_that_is_added_brings_its_key() {
    let scene = synced().await;
    scene.vault.set("c", "three");
    scene.edit("shop", json!({"spec": data(&[("A", "a"), ("B", "b"), ("C", "c")])})).await;
    scene.secret_is("shop", &[("A", "one"), ("B", "two"), ("C", "three")]).await;
    assert_eq!(keys(&scene.synced("shop").await), ["A", "B", "C"]);
}

#[tokio::test]
async fn a_key_that_is_renamed_moves() {
    let scene = synced().await;
    scene.edit("shop", json!({"spec": data(&[("A", "a"), ("NEW", "b")])})).await;
    scene.secret_is("shop", &[("A", "one"), ("NEW", "two")]).await;
    assert_eq!(keys(&scene.synced("shop").await), ["A", "NEW"]);
}

#[tokio::test]
async fn another_property_or_decoding_of_the_same_version_is_written() {
    let scene = OperatorScene::new().await;
    scene.vault.set("login", r#"{"user": "shop", "token": "b25l"}"#);
    let with = |secret: Value| json!({"spec": {"refreshInterval": "24h", "data": [{"key": "A", "from": {"secret": secret}}]}});
    let spec = with(json!({"name": "login", "property": "$.user"}))["spec"].clone();
    scene.sync("shop", spec).await;
    scene.secret_is("shop", &[("A", "shop")]).await;
    scene.synced("shop").await;
    scene.edit("shop", with(json!({"name": "login", "property": "$.token"}))).await;
    scene.secret_is("shop", &[("A", "b25l")]).await;
    scene.edit("shop", with(json!({"name": "login", "property": "$.token", "decode": "Base64"}))).await;
    scene.secret_is("shop", &[("A", "one")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn labels_and_annotations_come_and_go_with_the_spec() {
    let scene = synced().await;
    let theirs = json!({"labels": {"theirs": "yes"}, "annotations": {"note": "theirs"}});
    scene.edit_secret("shop", json!({"metadata": theirs})).await;
    let target = json!({"labels": {"tier": "web", "zone": "a"}, "annotations": {"team": "shop"}});
    scene.edit("shop", json!({"spec": {"target": target}})).await;
    metadata_is(
        &scene,
        &[("theirs", "yes"), ("tier", "web"), ("zone", "a")],
        &[("note", "theirs"), ("team", "shop")],
    )
    .await;
    let target = json!({"labels": {"tier": "api", "zone": null}, "annotations": {"team": null}});
    scene.edit("shop", json!({"spec": {"target": target}})).await;
    metadata_is(&scene, &[("theirs", "yes"), ("tier", "api")], &[("note", "theirs")]).await;
    scene.synced("shop").await;
}

/// Waits until the Secret has exactly these labels and annotations, and those that are always ours.
async fn metadata_is(scene: &OperatorScene, labels: &[(&str, &str)], annotations: &[(&str, &str)]) {
    let map = |pairs: &[(&str, &str)], ours: &[(&str, &str)]| -> Option<BTreeMap<String, String>> {
        let pairs = pairs.iter().chain(ours);
        Some(pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    };
    let labels = map(labels, &[("app.kubernetes.io/managed-by", "vaultsync")]);
    let namespace = scene.namespace.name.as_str();
    let ours = [("vaultsync.dev/owner", "shop"), ("vaultsync.dev/owner-namespace", namespace)];
    let annotations = map(annotations, &ours);
    let equal = |secret: Option<&Secret>| {
        secret.is_some_and(|secret| {
            secret.metadata.labels == labels && secret.metadata.annotations == annotations
        })
    };
    until(&scene.api(), "shop", "labels and annotations are as the spec says", equal).await;
}

#[tokio::test]
async fn the_deletion_policy_in_force_is_on_the_secret_and_in_status() {
    let scene = synced().await;
    for (word, policy, owners) in
        [("Retain", Deletion::Retain, 0), ("Delete", Deletion::Delete, 1), ("Retain", Deletion::Retain, 0)]
    {
        scene.edit("shop", json!({"spec": {"target": {"deletion": word}}})).await;
        let object = scene.synced("shop").await;
        assert_eq!(object.status.as_ref().unwrap().target.as_ref().unwrap().deletion, policy);
        let secret = get(&scene).await;
        assert_eq!(secret.metadata.owner_references.iter().flatten().count(), owners, "{word}");
        assert_eq!(secret.metadata.annotations.unwrap()["vaultsync.dev/owner"], "shop");
    }
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
}

#[tokio::test]
async fn another_target_name_or_type_is_refused_with_the_way_to_get_there() {
    let scene = synced().await;
    for (target, field) in [
        (json!({"name": "other"}), "spec.target.name cannot change"),
        (json!({"type": "kubernetes.io/basic-auth"}), "spec.target.type cannot change"),
    ] {
        let refusal =
            scene.try_edit("shop", json!({"spec": {"target": target}})).await.unwrap_err().to_string();
        for part in [field, "create a second VaultSecretSync", "then delete this one"] {
            assert!(refusal.contains(part), "{refusal}");
        }
    }
    // Said in other words, it is no change.
    scene.edit("shop", json!({"spec": {"target": {"name": "shop"}}})).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_connection_that_moves_to_another_vault_has_all_read_anew() {
    let scene = synced().await;
    let other = scene.emulator.vault(&format!("{}-b", scene.namespace.name));
    other.grant(support::scene::CLIENT);
    other.set("a", "eins");
    other.set("b", "zwei");
    scene.edit_vault("default", json!({"spec": {"url": other.url()}})).await;
    scene.secret_is("shop", &[("A", "eins"), ("B", "zwei")]).await;
    let read_there = |object: Option<&VaultSecretSync>| {
        let status = object.and_then(|object| object.status.as_ref());
        status.is_some_and(|status| status.vault.as_deref() == Some(&other.url()))
    };
    until(&scene.api(), "shop", "status names the vault", read_there).await;
    // The old one is left alone from now on.
    let before = scene.vault.requests().len();
    other.clear_log();
    other.requests_until(|requests| requests.len() >= 4).await;
    assert_eq!(scene.vault.requests().len(), before);
}

#[tokio::test]
async fn an_object_that_refers_to_another_connection_reads_there() {
    let scene = synced().await;
    let other = scene.emulator.vault(&format!("{}-b", scene.namespace.name));
    other.grant(support::scene::CLIENT);
    other.set("a", "eins");
    other.set("b", "zwei");
    scene.edit("shop", json!({"spec": {"vaultRef": {"name": "other"}}})).await;
    let message = scene.ready("shop", "False", "VaultNotFound").await.message().to_owned();
    assert!(message.contains("KeyVault other") && message.contains("Create it"), "{message}");
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    // It need not be told: the connection wakes it.
    scene.create::<KeyVault>(&scene.key_vault("other", &other.url())).await;
    scene.secret_is("shop", &[("A", "eins"), ("B", "zwei")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_connection_that_is_deleted_is_said_at_once_and_keeps_the_secret() {
    let scene = synced().await;
    scene.delete::<KeyVault>("default").await;
    scene.ready("shop", "False", "VaultNotFound").await;
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    scene.create::<KeyVault>(&scene.key_vault("default", &scene.vault.url())).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn an_edit_during_an_outage_waits_and_names_the_vault() {
    let scene = synced().await;
    let before = get(&scene).await;
    scene.vault.fault(Fault::status(503));
    scene.vault_says("default", "False", "ServiceUnavailable").await;
    scene.edit("shop", json!({"spec": data(&[("A", "b"), ("B", "a")])})).await;
    let message = scene.ready("shop", "False", "ServiceUnavailable").await.message().to_owned();
    assert!(message.contains("KeyVault default"), "{message}");
    assert_eq!(version(&get(&scene).await), version(&before));
    scene.vault.clear_faults();
    scene.secret_is("shop", &[("A", "two"), ("B", "one")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn an_entry_that_is_removed_during_an_outage_takes_its_key_along_at_once() {
    let scene = synced().await;
    scene.vault.fault(Fault::status(503));
    scene.vault_says("default", "False", "ServiceUnavailable").await;
    scene.edit("shop", json!({"spec": data(&[("B", "b")])})).await;
    scene.secret_is("shop", &[("B", "two")]).await;
    scene.vault.clear_faults();
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_suspended_object_reads_and_writes_nothing_until_it_is_resumed() {
    let scene = synced().await;
    // Somebody else whose sources go on being read, to count by.
    scene.vault.set("other", "value");
    scene.sync("clock", data(&[("OTHER", "other")])).await;
    scene.synced("clock").await;
    scene.edit("shop", json!({"spec": {"suspend": true}})).await;
    let object = scene.ready("shop", "True", "Synced").await;
    assert_eq!(object.status.as_ref().unwrap().observed_generation, object.metadata.generation);
    scene.edit_secret("shop", json!({"data": {"A": THEIRS}})).await;
    let edited = version(&get(&scene).await);
    scene.vault.set("b", "three");
    scene.vault.clear_log();
    let polled = |requests: &[keyvault_emulator::LoggedRequest]| requests.len() >= 2;
    let requests = scene.vault.requests_until(polled).await;
    looked(&scene, 3).await;
    assert!(requests.iter().all(|request| request.secret.as_deref() == Some("other")), "{requests:?}");
    assert_eq!(version(&get(&scene).await), edited);
    scene.edit("shop", json!({"spec": {"suspend": false}})).await;
    scene.secret_is("shop", &[("A", "one"), ("B", "three")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn an_object_that_is_suspended_from_the_start_says_so() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    let mut spec = data(&[("A", "a")]);
    spec["suspend"] = true.into();
    scene.sync("shop", spec).await;
    let object = scene.ready("shop", "Unknown", "Suspended").await;
    assert_eq!(object.status.as_ref().unwrap().observed_generation, Some(1));
    assert_eq!(scene.secret("shop").await, None);
    assert_eq!(scene.vault.count_where(|request| request.secret.as_deref() == Some("a")), 0);
    scene.edit("shop", json!({"spec": {"suspend": false}})).await;
    scene.secret_is("shop", &[("A", "one")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_forced_sync_reads_each_source_once_and_is_echoed() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.vault.set("b", "two");
    let mut spec = data(&[("A", "a"), ("B", "b"), ("B2", "b")]);
    spec["refreshInterval"] = "24h".into();
    scene.sync("shop", spec).await;
    scene.synced("shop").await;
    let before = version(&get(&scene).await);
    for request in ["2026-11-02T09:00:00Z", "again"] {
        scene.vault.clear_log();
        let object = scene.force("shop", request).await;
        let ready = object.condition(READY).unwrap();
        assert_eq!(ready.status, "True");
        let mut read: Vec<_> =
            scene.vault.requests().into_iter().filter_map(|request| request.secret).collect();
        read.sort();
        assert_eq!(read, ["a", "b"]);
    }
    assert_eq!(version(&get(&scene).await), before);
    scene.vault.set("a", "three");
    scene.force("shop", "changed").await;
    scene.secret_is("shop", &[("A", "three"), ("B", "two"), ("B2", "two")]).await;
}

#[tokio::test]
async fn a_request_longer_than_status_has_room_for_is_answered_once() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.sync("shop", data(&[("A", "a")])).await;
    scene.synced("shop").await;
    scene.vault.set("a", "two");
    scene.ask("shop", &"é".repeat(2000)).await;
    scene.secret_is("shop", &[("A", "two")]).await;
    let answered = |object: Option<&VaultSecretSync>| {
        let handled = object?.status.as_ref()?.last_handled_sync.as_ref()?;
        Some(handled.chars().count() == 1024)
    };
    support::until(&scene.api(), "shop", "the request is answered", |object: Option<&VaultSecretSync>| {
        answered(object) == Some(true)
    })
    .await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_forced_sync_repairs_though_nothing_else_looks() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.drift_interval = std::time::Duration::ZERO;
    scene.start().await;
    synced_in(&scene).await;
    scene.edit_secret("shop", json!({"data": {"A": THEIRS}})).await;
    scene.force("shop", "edited").await;
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    scene.delete::<Secret>("shop").await;
    scene.force("shop", "deleted").await;
    scene.secret_is("shop", &[("A", "one"), ("B", "two")]).await;
    scene.synced("shop").await;
    assert_eq!(scene.api::<Secret>().list(&ListParams::default()).await.unwrap().items.len(), 1);
}
