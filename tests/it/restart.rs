//! A restart is free, a crash at any step is healed, and status is a cache that can be lost.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::Operation;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use vaultsync::api::{KeyVault, VaultSecretSync};

use support::eventually;
use support::scene::{OperatorScene, data, version};
use support::{Call, Fault, Gate};

const SECRETS: [(&str, &str); 5] = [("A", "a"), ("B", "b"), ("C", "c"), ("D", "d"), ("E", "e")];
const ONE: [(&str, &str); 5] = [("A", "one"), ("B", "one"), ("C", "one"), ("D", "one"), ("E", "one")];

/// A synced object `shop` of five secrets that are not due again within a test.
async fn synced() -> OperatorScene {
    let scene = OperatorScene::new().await;
    fill(&scene).await;
    scene.synced("shop").await;
    scene
}

async fn fill(scene: &OperatorScene) {
    for (_, secret) in SECRETS {
        scene.vault.set(secret, "one");
    }
    let mut spec = data(&SECRETS);
    spec["refreshInterval"] = "24h".into();
    scene.sync("shop", spec).await;
}

async fn looked(scene: &OperatorScene, times: usize) {
    let before = scene.faults.count("patch", "secrets");
    eventually("the operator looks at its Secret", || async {
        let now = scene.faults.count("patch", "secrets");
        if now >= before + times { Ok(()) } else { Err(format!("{} looks", now - before)) }
    })
    .await;
}

async fn versions(scene: &OperatorScene) -> [String; 3] {
    [
        version(&scene.api::<VaultSecretSync>().get("shop").await.unwrap()),
        version(&scene.api::<Secret>().get("shop").await.unwrap()),
        version(&scene.api::<KeyVault>().get("default").await.unwrap()),
    ]
}

fn writes_status(call: &Call) -> bool {
    call.is("patch", "vaultsecretsyncs/status")
}

/// A patch of a Secret that is more than a look.
fn writes_keys(call: &Call) -> bool {
    call.is("patch", "secrets") && !call.keys.is_empty()
}

/// Kills the operator when it is about to make this call, and starts it again.
async fn killed_before(
    scene: &mut OperatorScene,
    call: fn(&Call) -> bool,
    done: impl AsyncFnOnce(&OperatorScene),
) {
    let gate = Gate::default();
    scene.faults.next(1, call, Fault::Hold(gate.clone()));
    done(scene).await;
    gate.reached().await;
    scene.kill().await;
    scene.faults.clear();
}

#[tokio::test]
async fn a_restart_writes_nothing_and_demands_no_value() {
    let mut scene = synced().await;
    scene.vault_says("default", "True", "Connected").await;
    scene.stop().await;
    let cluster = scene.namespace.cluster();
    let (before, mark) = (versions(&scene).await, cluster.mark());
    scene.vault.clear_log();
    scene.start().await;
    looked(&scene, 5).await;
    assert_eq!(versions(&scene).await, before);
    let writes = cluster.operator_writes_since(mark, &scene.namespace.name);
    let looks = |write: &&_| {
        let write: &support::Seen = write;
        (write.verb.as_str(), write.resource.as_str()) == ("patch", "secrets")
    };
    let others: Vec<_> = writes.iter().filter(|write| !looks(write)).collect();
    assert!(others.iter().all(|write| write.resource == "serviceaccounts/token"), "{others:?}");
    // The time of each within the day is drawn anew; one may happen to be due, all five are only if demanded.
    assert!(scene.vault.count(Operation::Get) <= 1);
}

#[tokio::test]
async fn what_changed_while_the_operator_was_away_is_found() {
    let mut scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.vault.set("b", "one");
    scene.sync("shop", data(&[("A", "a"), ("B", "b")])).await;
    scene.synced("shop").await;
    scene.stop().await;
    scene.vault.set("a", "two");
    scene.edit_secret("shop", json!({"data": {"B": null}})).await;
    scene.start().await;
    scene.secret_is("shop", &[("A", "two"), ("B", "one")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_lost_status_costs_a_read_a_source_and_moves_no_secret() {
    let mut scene = synced().await;
    wipe_and_find_again(&mut scene, false).await;
}

#[tokio::test]
async fn a_status_lost_while_the_operator_was_away_costs_a_read_a_source_and_moves_no_secret() {
    let mut scene = synced().await;
    wipe_and_find_again(&mut scene, true).await;
}

async fn wipe_and_find_again(scene: &mut OperatorScene, away: bool) {
    let object = scene.synced("shop").await;
    let before = versions(scene).await;
    scene.vault.clear_log();
    if away {
        scene.stop().await;
    }
    let api = scene.api::<VaultSecretSync>();
    let wiped = Patch::Merge(json!({"status": null}));
    api.patch_status("shop", &PatchParams::default(), &wiped).await.unwrap();
    if away {
        scene.start().await;
    }
    let again = scene.synced("shop").await;
    assert_eq!(versions(scene).await[1], before[1], "the Secret did not move");
    let mut reads: Vec<_> = scene.vault.requests().into_iter().filter_map(|read| read.secret).collect();
    reads.sort();
    assert_eq!(reads, ["a", "b", "c", "d", "e"]);
    let (mut old, mut new) = (object.status.unwrap(), again.status.unwrap());
    // What was read within its second stands without its time.
    for entry in old.entries.iter_mut().chain(&mut new.entries) {
        entry.updated = None;
    }
    assert_eq!((new.entries, new.target), (old.entries, old.target));
}

#[tokio::test]
async fn killed_between_the_creation_and_its_status_it_takes_up_its_own_secret() {
    let mut scene = OperatorScene::new().await;
    killed_before(&mut scene, writes_status, async |scene| fill(scene).await).await;
    let made = scene.secret_is("shop", &ONE).await;
    scene.start().await;
    scene.synced("shop").await;
    let kept = scene.secret_is("shop", &ONE).await;
    assert_eq!((kept.metadata.uid.as_ref(), version(&kept)), (made.metadata.uid.as_ref(), version(&made)));
}

#[tokio::test]
async fn killed_between_a_change_and_its_status_it_writes_nothing_twice() {
    let mut scene = OperatorScene::new().await;
    two_polled(&scene).await;
    killed_before(&mut scene, writes_status, async |scene| {
        scene.vault.set("a", "two");
    })
    .await;
    let changed = scene.secret_is("shop", &[("A", "two"), ("B", "one")]).await;
    scene.start().await;
    let versions = scene.vault.versions("a");
    status_names(&scene, &versions.last().unwrap().version).await;
    let kept = scene.secret_is("shop", &[("A", "two"), ("B", "one")]).await;
    assert_eq!(version(&kept), version(&changed));
    scene.synced("shop").await;
}

#[tokio::test]
async fn killed_before_a_change_it_makes_it_after_the_restart() {
    let mut scene = OperatorScene::new().await;
    two_polled(&scene).await;
    killed_before(&mut scene, writes_keys, async |scene| {
        scene.vault.set("a", "two");
    })
    .await;
    scene.secret_is("shop", &[("A", "one"), ("B", "one")]).await;
    scene.start().await;
    scene.secret_is("shop", &[("A", "two"), ("B", "one")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn killed_before_the_creation_it_creates_after_the_restart() {
    let mut scene = OperatorScene::new().await;
    killed_before(&mut scene, |call| call.is("create", "secrets"), async |scene| fill(scene).await).await;
    assert_eq!(scene.secret("shop").await, None);
    scene.start().await;
    scene.secret_is("shop", &ONE).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn killed_in_the_middle_of_an_edit_it_removes_and_adds_what_the_edit_says() {
    let mut scene = OperatorScene::new().await;
    two_polled(&scene).await;
    let edited: Value = json!({"spec": data(&[("A", "a"), ("NEW", "b")])});
    killed_before(&mut scene, writes_keys, async |scene| {
        scene.edit("shop", edited).await;
    })
    .await;
    scene.start().await;
    scene.secret_is("shop", &[("A", "one"), ("NEW", "one")]).await;
    let target = scene.synced("shop").await.status.unwrap().target.unwrap();
    assert_eq!(target.key_names().collect::<Vec<_>>(), ["A", "NEW"]);
}

#[tokio::test]
async fn two_operators_at_once_do_not_fight() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.drift_interval = Duration::from_millis(500);
    scene.start().await;
    two_polled(&scene).await;
    let other = scene.second_operator().await;
    scene.vault.set_ago("a", "two", 20);
    scene.vault.set_ago("b", "two", 20);
    scene.secret_is("shop", &[("A", "two"), ("B", "two")]).await;
    for secret in ["a", "b"] {
        status_names(&scene, &scene.vault.versions(secret).last().unwrap().version).await;
    }
    // Both have read what there is, and both look: neither moves it any more.
    scene.vault.clear_log();
    scene.vault.requests_until(|requests| requests.len() >= 8).await;
    let before = versions(&scene).await;
    looked(&scene, 8).await;
    assert_eq!(versions(&scene).await, before);
    scene.synced("shop").await;
    other.stop().await;
}

#[tokio::test]
async fn an_older_value_that_an_old_leader_writes_late_does_not_stay() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.drift_interval = Duration::from_millis(500);
    scene.start().await;
    two_polled(&scene).await;
    // Who writes under our name, with the resourceVersion that is there now, has the right of an operator.
    let params = PatchParams { field_manager: Some("vaultsync:shop".to_owned()), ..PatchParams::default() };
    let stale = json!({"stringData": {"A": "older"}});
    scene.api::<Secret>().patch("shop", &params, &Patch::Merge(stale)).await.unwrap();
    scene.secret_is("shop", &[("A", "one"), ("B", "one")]).await;
    scene.synced("shop").await;
}

/// A synced object `shop` of two secrets that are read all the time.
async fn two_polled(scene: &OperatorScene) {
    scene.vault.set_ago("a", "one", 60);
    scene.vault.set_ago("b", "one", 60);
    scene.sync("shop", data(&[("A", "a"), ("B", "b")])).await;
    scene.synced("shop").await;
}

async fn status_names(scene: &OperatorScene, version: &str) {
    eventually("status names the version", || async {
        let object = scene.api::<VaultSecretSync>().get("shop").await.unwrap();
        let entries = object.status.unwrap_or_default().entries;
        let named = entries.iter().any(|entry| entry.version.as_deref() == Some(version));
        if named { Ok(()) } else { Err(format!("{entries:?}")) }
    })
    .await;
}
