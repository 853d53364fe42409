//! An API server that is slow, busy or loses answers delays what is right, and never makes it wrong.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use vaultsync::api::VaultSecretSync;

use support::scene::{OperatorScene, data, version};
use support::{Call, Fault, Gate, eventually};

fn creates(call: &Call) -> bool {
    call.is("create", "secrets")
}

fn writes_keys(call: &Call) -> bool {
    call.is("patch", "secrets") && !call.keys.is_empty()
}

fn writes_status(call: &Call) -> bool {
    call.is("patch", "vaultsecretsyncs/status")
}

async fn apply(scene: &OperatorScene) {
    scene.vault.set("a", "one");
    scene.vault.set("b", "one");
    scene.sync("shop", data(&[("A", "a"), ("B", "b")])).await;
}

async fn synced() -> OperatorScene {
    let scene = OperatorScene::new().await;
    apply(&scene).await;
    scene.synced("shop").await;
    scene
}

/// Changes a secret and waits until Secret and status have it.
async fn change_arrives(scene: &OperatorScene) -> Secret {
    let id = scene.vault.set("a", "two");
    let secret = scene.secret_is("shop", &[("A", "two"), ("B", "one")]).await;
    eventually("status names the version", || async {
        let object = scene.api::<VaultSecretSync>().get("shop").await.unwrap();
        let entries = object.status.unwrap().entries;
        let named = entries.iter().any(|entry| entry.version.as_ref() == Some(&id));
        if named { Ok(()) } else { Err(format!("{entries:?}")) }
    })
    .await;
    scene.synced("shop").await;
    secret
}

#[tokio::test]
async fn a_busy_api_server_is_asked_again_when_it_said_and_not_before() {
    let scene = OperatorScene::new().await;
    let gate = Gate::default();
    scene.faults.next(1, creates, Fault::throttled(Some(5)));
    scene.faults.next(1, creates, Fault::Hold(gate.clone()));
    let begun = Instant::now();
    apply(&scene).await;
    gate.reached().await;
    assert!(begun.elapsed() >= Duration::from_secs(5), "asked again after {:?}", begun.elapsed());
    gate.release();
    scene.secret_is("shop", &[("A", "one"), ("B", "one")]).await;
    scene.synced("shop").await;
    assert_eq!(scene.faults.count("create", "secrets"), 2);
}

#[tokio::test]
async fn a_status_that_could_not_be_written_comes_later_and_moves_no_secret() {
    let scene = OperatorScene::new().await;
    scene.faults.next(2, writes_status, Fault::internal());
    apply(&scene).await;
    let made = scene.secret_is("shop", &[("A", "one"), ("B", "one")]).await;
    scene.synced("shop").await;
    let kept = scene.api::<Secret>().get("shop").await.unwrap();
    assert_eq!(version(&kept), version(&made));
    // The same with a change.
    scene.faults.next(2, writes_status, Fault::internal());
    let changed = change_arrives(&scene).await;
    let kept = scene.api::<Secret>().get("shop").await.unwrap();
    assert_eq!(version(&kept), version(&changed));
}

#[tokio::test]
async fn a_conflict_means_a_fresh_look_and_the_right_end() {
    let scene = synced().await;
    scene.faults.next(1, writes_keys, Fault::conflict());
    change_arrives(&scene).await;
    let calls = scene.faults.calls();
    let refused = calls.iter().position(writes_keys).unwrap();
    let next = calls[refused + 1..].iter().find(|call| call.resource == "secrets").unwrap();
    assert!(next.verb == "patch" && next.keys.is_empty(), "a look comes next, not {next:?}");
}

#[tokio::test]
async fn a_write_that_somebody_overtook_does_not_undo_theirs() {
    let scene = synced().await;
    let gate = Gate::default();
    scene.faults.next(1, writes_keys, Fault::Hold(gate.clone()));
    scene.vault.set("a", "two");
    gate.reached().await;
    scene
        .edit_secret("shop", json!({"data": {"THEIRS": "dGhlaXJz"}, "metadata": {"labels": {"x": "y"}}}))
        .await;
    gate.release();
    let secret = scene.secret_is("shop", &[("A", "two"), ("B", "one"), ("THEIRS", "theirs")]).await;
    assert_eq!(secret.metadata.labels.unwrap()["x"], "y");
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_secret_that_goes_while_it_is_written_is_created_whole() {
    let scene = synced().await;
    let gate = Gate::default();
    scene.faults.next(1, writes_keys, Fault::Hold(gate.clone()));
    scene.vault.set("a", "two");
    gate.reached().await;
    scene.delete::<Secret>("shop").await;
    gate.release();
    scene.secret_is("shop", &[("A", "two"), ("B", "one")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_creation_whose_answer_is_lost_is_found_done() {
    let scene = OperatorScene::new().await;
    scene.faults.next(1, creates, Fault::LoseAnswer);
    apply(&scene).await;
    let made = scene.secret_is("shop", &[("A", "one"), ("B", "one")]).await;
    let object = scene.synced("shop").await;
    let kept = scene.api::<Secret>().get("shop").await.unwrap();
    assert_eq!((kept.metadata.uid.as_ref(), version(&kept)), (made.metadata.uid.as_ref(), version(&made)));
    let target = object.status.unwrap().target.unwrap();
    assert_eq!(target.key_names().collect::<Vec<_>>(), ["A", "B"]);
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_found_done() {
    let scene = synced().await;
    scene.faults.next(1, writes_keys, Fault::LoseAnswer);
    let changed = change_arrives(&scene).await;
    let kept = scene.api::<Secret>().get("shop").await.unwrap();
    assert_eq!(version(&kept), version(&changed));
    // Our own write is nobody's edit.
    assert!(!scene.event_reasons("shop").await.contains(&"SecretRepaired".to_owned()));
}

#[tokio::test]
async fn a_status_whose_answer_is_lost_is_found_done() {
    let scene = OperatorScene::new().await;
    scene.faults.next(1, writes_status, Fault::LoseAnswer);
    apply(&scene).await;
    scene.synced("shop").await;
    change_arrives(&scene).await;
}

#[tokio::test]
async fn an_api_server_that_cannot_be_reached_is_tried_again() {
    let scene = OperatorScene::new().await;
    scene.faults.next(2, |call| creates(call) || writes_status(call), Fault::Refuse);
    apply(&scene).await;
    scene.secret_is("shop", &[("A", "one"), ("B", "one")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn an_event_that_cannot_be_published_fails_nothing_and_is_counted() {
    let scene = OperatorScene::new().await;
    scene.faults.always(|call| call.is("create", "events"), Fault::internal());
    apply(&scene).await;
    scene.synced("shop").await;
    change_arrives(&scene).await;
    eventually("two events were tried and dropped", || async {
        let (_, metrics) = scene.http("/metrics").await;
        let dropped = metrics.lines().find_map(|line| line.strip_prefix("vaultsync_events_dropped_total "));
        let dropped: u64 = dropped.expect("the metric").parse().expect("a count");
        if dropped >= 2 { Ok(()) } else { Err(format!("{dropped} dropped")) }
    })
    .await;
    assert!(scene.event_reasons("shop").await.is_empty());
    assert_eq!(scene.faults.count("create", "secrets"), 1);
}

#[tokio::test]
async fn no_round_waits_for_an_event_and_the_newest_of_a_reason_is_told() {
    let mut scene = OperatorScene::new().await;
    let gate = Gate::default();
    scene.faults.always(|call| call.is("create", "events"), Fault::Hold(gate.clone()));
    apply(&scene).await;
    gate.reached().await;
    scene.synced("shop").await;
    change_arrives(&scene).await;
    let text = |text: &str| json!({"spec": {"data": [{"key": "A", "from": {"secret": {"name": text}}}]}});
    scene.edit("shop", text("first")).await;
    scene.ready("shop", "False", "SecretNotFound").await;
    scene.edit("shop", text("a")).await;
    scene.synced("shop").await;
    scene.edit("shop", text("second")).await;
    scene.ready("shop", "False", "SecretNotFound").await;
    scene.faults.clear();
    gate.release();
    scene.told("shop", "SecretNotFound").await;
    scene.stop().await;
    let mut notes = scene.event_notes("shop").await;
    notes.retain(|(reason, _)| reason == "SecretNotFound");
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].1.contains("secret second"), "{notes:?}");
}

#[tokio::test]
async fn an_operator_that_is_stopped_before_it_has_seen_every_kind_ends() {
    let mut scene = OperatorScene::without_operator().await;
    let gate = Gate::default();
    scene.faults.next(1, |call| call.is("list", "clusterkeyvaults"), Fault::Hold(gate.clone()));
    scene.start().await;
    gate.reached().await;
    let soon = Duration::from_secs(60);
    tokio::time::timeout(soon, scene.stop()).await.expect("it does not wait for what never comes");
}
