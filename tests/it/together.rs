//! Sources of one object arrive together, and Ready=True means that what the vault holds is in the Secret, whatever
//! happened while it was written.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::LoggedRequest;
use serde_json::{Value, json};
use support::history::Values;
use support::scene::{OperatorScene, data};
use support::{Call, Fault, Gate, History, Says as _, eventually};
use vaultsync::api::VaultSecretSync;

/// A scene whose connection finds changes in this way.
async fn finding_by(detect: &str) -> OperatorScene {
    let mut scene = OperatorScene::without_operator().await;
    scene.edit_vault("default", json!({"spec": {"detect": detect}})).await;
    scene.start().await;
    scene
}

/// `K0`, `K1`... from the secrets `k0`, `k1`...
fn keys(count: usize) -> Value {
    let pairs: Vec<(String, String)> = (0..count).map(|n| (format!("K{n}"), format!("k{n}"))).collect();
    data(&pairs.iter().map(|(key, name)| (key.as_str(), name.as_str())).collect::<Vec<_>>())
}

/// Sets them all, as fast as it can be done, and returns what the Secret is to be.
fn set_all(scene: &OperatorScene, count: usize, value: &str) -> Values {
    for n in 0..count {
        scene.vault.set(&format!("k{n}"), value);
    }
    (0..count).map(|n| (format!("K{n}"), value.to_owned())).collect()
}

fn writes_keys(call: &Call) -> bool {
    call.is("patch", "secrets") && !call.keys.is_empty()
}

fn writes_status(call: &Call) -> bool {
    call.is("patch", "vaultsecretsyncs/status")
}

/// How many writes of keys the operator asked for.
fn key_writes(scene: &OperatorScene) -> usize {
    scene.faults.calls().iter().filter(|call| writes_keys(call)).count()
}

/// Waits until the Secret has exactly this, and the object says that it is synced at the versions the vault has now.
async fn equals_the_vault(scene: &OperatorScene, name: &str, values: &Values) -> VaultSecretSync {
    let pairs: Vec<(&str, &str)> = values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    scene.secret_is(name, &pairs).await;
    says_that_it_is_synced(scene, name).await
}

/// Waits until the object says that it is synced, and each of its sources at the version the vault has now.
pub(crate) async fn says_that_it_is_synced(scene: &OperatorScene, name: &str) -> VaultSecretSync {
    eventually(&format!("{name} is synced at the vault's versions"), || async {
        let object = scene.api::<VaultSecretSync>().get(name).await.map_err(|error| error.to_string())?;
        let entries = object.status.as_ref().map(|status| status.entries.clone()).unwrap_or_default();
        let newest = |secret: &str| scene.vault.versions(secret).pop().map(|newest| newest.version);
        let behind: Vec<_> = entries.iter().filter(|entry| entry.version != newest(&entry.name)).collect();
        if object.says("True", "Synced") && behind.is_empty() {
            Ok(object)
        } else {
            Err(format!("{behind:?}"))
        }
    })
    .await
}

async fn all_arrive_in_few_writes(detect: &str, count: usize) {
    let scene = finding_by(detect).await;
    let old = set_all(&scene, count, "one");
    scene.sync("shop", keys(count)).await;
    equals_the_vault(&scene, "shop", &old).await;
    let history = History::of(&scene.namespace).await;
    let before = key_writes(&scene);
    let new = set_all(&scene, count, "two");
    equals_the_vault(&scene, "shop", &new).await;
    let states = history.until("shop", &new).await;
    let mixed = states.iter().filter(|state| **state != old && **state != new).count();
    let writes = key_writes(&scene) - before;
    assert!(mixed == 0 && writes <= 2, "{writes} writes, {mixed} of {} states mixed", states.len());
}

#[tokio::test]
async fn two_keys_that_change_at_once_arrive_at_once_by_list() {
    all_arrive_in_few_writes("List", 2).await;
}

#[tokio::test]
async fn two_keys_that_change_at_once_arrive_at_once_by_get() {
    all_arrive_in_few_writes("Get", 2).await;
}

#[tokio::test]
async fn ten_keys_that_change_at_once_arrive_at_once_by_list() {
    all_arrive_in_few_writes("List", 10).await;
}

#[tokio::test]
async fn ten_keys_that_change_at_once_arrive_at_once_by_get() {
    all_arrive_in_few_writes("Get", 10).await;
}

#[tokio::test]
async fn fifty_keys_that_change_at_once_arrive_at_once_by_list() {
    all_arrive_in_few_writes("List", 50).await;
}

#[tokio::test]
async fn fifty_keys_that_change_at_once_arrive_at_once_by_get() {
    all_arrive_in_few_writes("Get", 50).await;
}

#[tokio::test]
async fn as_many_keys_as_an_object_may_have_arrive_at_once_by_list() {
    all_arrive_in_few_writes("List", 128).await;
}

#[tokio::test]
async fn as_many_keys_as_an_object_may_have_arrive_at_once_by_get() {
    all_arrive_in_few_writes("Get", 128).await;
}

/// Ten pairs for each pause that a script makes between its two secrets, each pair at another time of the interval.
async fn no_pair_is_ever_seen_half(detect: &str) {
    let scene = finding_by(detect).await;
    let pairs: Vec<(String, u64, u64)> = [0, 1200, 3500]
        .into_iter()
        .flat_map(|pause| (0..10).map(move |n| (format!("p{pause}-{n}"), n * 1000, pause)))
        .collect();
    let set = |pair: &str, part: &str, value: &str| scene.vault.set(&format!("{pair}-{part}"), value);
    for (pair, _, _) in &pairs {
        set(pair, "user", "old");
        set(pair, "password", "old");
        let (user, password) = (format!("{pair}-user"), format!("{pair}-password"));
        scene.sync(pair, data(&[("USER", user.as_str()), ("PASSWORD", password.as_str())])).await;
    }
    for (pair, _, _) in &pairs {
        scene.synced(pair).await;
    }
    let history = History::of(&scene.namespace).await;
    join_all(pairs.iter().map(async |(pair, begin, pause)| {
        // The times of a script: nothing is waited for by them.
        tokio::time::sleep(Duration::from_millis(*begin)).await;
        set(pair, "user", "new");
        tokio::time::sleep(Duration::from_millis(*pause)).await;
        set(pair, "password", "new");
    }))
    .await;
    let both = |value: &str| Values::from(["USER", "PASSWORD"].map(|key| (key.to_owned(), value.to_owned())));
    for (pair, _, _) in &pairs {
        equals_the_vault(&scene, pair, &both("new")).await;
        let states = history.until(pair, &both("new")).await;
        assert!(
            states.iter().all(|state| *state == both("old") || *state == both("new")),
            "{pair}: {states:?}"
        );
    }
}

#[tokio::test]
async fn a_pair_that_a_script_rotates_is_never_seen_half_by_list() {
    no_pair_is_ever_seen_half("List").await;
}

#[tokio::test]
async fn a_pair_that_a_script_rotates_is_never_seen_half_by_get() {
    no_pair_is_ever_seen_half("Get").await;
}

#[tokio::test]
async fn keys_that_together_grow_too_large_at_once_stay_all_as_they_were() {
    let scene = OperatorScene::new().await;
    let small = set_all(&scene, 50, "small");
    scene.sync("shop", keys(50)).await;
    equals_the_vault(&scene, "shop", &small).await;
    let (history, before) = (History::of(&scene.namespace).await, key_writes(&scene));
    set_all(&scene, 50, &"a".repeat(24 * 1024));
    let object = scene.ready("shop", "False", "TooLarge").await;
    assert!(object.message().contains("1 MiB"), "{}", object.message());
    let is_as_it_was = scene.secret("shop").await.as_ref() == Some(&small);
    assert_eq!((key_writes(&scene), is_as_it_was), (before, true));
    let fewer = set_all(&scene, 50, "small again");
    equals_the_vault(&scene, "shop", &fewer).await;
    let states = history.until("shop", &fewer).await;
    assert!(states.iter().all(|state| *state == small || *state == fewer), "{} states", states.len());
}

#[tokio::test]
async fn a_source_that_changes_twice_while_it_is_written_ends_as_the_vault_has_it() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.sync("shop", data(&[("A", "a")])).await;
    scene.sync("other", data(&[("B", "a")])).await;
    scene.synced("shop").await;
    scene.synced("other").await;
    let gate = Gate::default();
    let of_shop = |call: &Call| writes_keys(call) && call.name.as_deref() == Some("shop");
    scene.faults.next(1, of_shop, Fault::Hold(gate.clone()));
    scene.vault.set("a", "two");
    scene.ask("shop", "now").await;
    gate.reached().await;
    // Meanwhile the vault goes on, and somebody else has it read each time.
    for (request, value) in [("1", "three"), ("2", "four")] {
        scene.vault.set("a", value);
        scene.force("other", request).await;
        scene.secret_is("other", &[("B", value)]).await;
    }
    gate.release();
    let last = |key: &str| Values::from([(key.to_owned(), "four".to_owned())]);
    equals_the_vault(&scene, "shop", &last("A")).await;
    equals_the_vault(&scene, "other", &last("B")).await;
}

#[tokio::test]
async fn an_edit_of_a_label_and_a_key_at_once_arrives_whole_though_values_come_before_the_label_is_written() {
    let scene = OperatorScene::new().await;
    let whole = set_all(&scene, 3, "one");
    scene.sync("shop", keys(2)).await;
    scene.synced("shop").await;
    // The vault answers sooner than the API server.
    scene.faults.always(|call| call.is("patch", "secrets"), Fault::Delay(Duration::from_millis(500)));
    let labels = json!({"labels": {"helm.sh/chart": "shop-2"}});
    scene.edit("shop", json!({"spec": {"target": labels, "data": keys(3)["data"]}})).await;
    equals_the_vault(&scene, "shop", &whole).await;
    let secret = scene.api::<Secret>().get("shop").await.unwrap();
    assert_eq!(secret.metadata.labels.unwrap()["helm.sh/chart"], "shop-2");
}

/// A spec of these items of `data` beside `OTHER`.
fn beside_other(items: &[Value]) -> Value {
    let other = json!({"key": "OTHER", "from": {"secret": {"name": "other"}}});
    let all = [items, &[other]].concat();
    json!({"refreshInterval": "10s", "data": all})
}

fn item(key: &str, property: &str) -> Value {
    json!({"key": key, "from": {"secret": {"name": "login", "property": property}}})
}

/// The edit of an entry whose source is disabled arrives when the source is enabled again at the same version.
async fn an_edit_waits_for_its_source(edited: &[Value], expected: &[(&str, &str)]) {
    let scene = OperatorScene::new().await;
    let version = scene.vault.set("login", r#"{"user": "shop", "password": "one"}"#);
    scene.vault.set("other", "one");
    scene.sync("shop", beside_other(&[item("LOGIN", "$.user")])).await;
    scene.synced("shop").await;
    scene.vault.disable("login");
    scene.force("shop", "disabled").await;
    scene.ready("shop", "False", "SecretDisabled").await;
    scene.edit("shop", json!({"spec": beside_other(edited)})).await;
    scene.ready("shop", "False", "SecretDisabled").await;
    scene.vault.enable("login");
    assert_eq!(scene.vault.versions("login").pop().unwrap().version, version);
    let all: Values =
        [&[("OTHER", "one")], expected].concat().iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    equals_the_vault(&scene, "shop", &all).await;
}

#[tokio::test]
async fn another_property_of_a_disabled_source_arrives_when_it_is_enabled_at_the_same_version() {
    an_edit_waits_for_its_source(&[item("LOGIN", "$.password")], &[("LOGIN", "one")]).await;
}

#[tokio::test]
async fn a_renamed_key_of_a_disabled_source_arrives_when_it_is_enabled_at_the_same_version() {
    an_edit_waits_for_its_source(&[item("USER", "$.user")], &[("USER", "shop")]).await;
}

#[tokio::test]
async fn a_second_key_of_a_disabled_source_arrives_when_it_is_enabled_at_the_same_version() {
    let edited = [item("LOGIN", "$.user"), item("PASSWORD", "$.password")];
    an_edit_waits_for_its_source(&edited, &[("LOGIN", "shop"), ("PASSWORD", "one")]).await;
}

#[tokio::test]
async fn a_secret_deleted_while_a_source_is_disabled_comes_back_whole_when_it_is_enabled() {
    let scene = OperatorScene::new().await;
    let whole = set_all(&scene, 2, "one");
    scene.sync("shop", keys(2)).await;
    scene.synced("shop").await;
    scene.vault.disable("k0");
    scene.force("shop", "disabled").await;
    scene.ready("shop", "False", "SecretDisabled").await;
    scene.delete::<Secret>("shop").await;
    let history = History::of(&scene.namespace).await;
    eventually("the object says that there is no Secret, and what holds it up", || async {
        let object = scene.ready("shop", "False", "SecretDisabled").await;
        let said =
            ["no Secret", "K0", "onMissing: Remove"].iter().all(|part| object.message().contains(part));
        if said { Ok(()) } else { Err(object.message().to_owned()) }
    })
    .await;
    scene.vault.enable("k0");
    equals_the_vault(&scene, "shop", &whole).await;
    let states = history.until("shop", &whole).await;
    assert!(states.iter().all(|state| *state == whole), "{states:?}");
}

#[tokio::test]
async fn a_status_that_cannot_be_written_keeps_the_time_and_the_event_of_the_change_and_reads_nothing() {
    let scene = finding_by("List").await;
    set_all(&scene, 2, "one");
    scene.sync("shop", keys(2)).await;
    let changed_at = |object: &VaultSecretSync| object.status.as_ref().unwrap().last_change.clone();
    let before = changed_at(&scene.synced("shop").await);
    scene.faults.next(4, writes_status, Fault::internal());
    scene.vault.set("k0", "two");
    let two = Values::from([("K0", "two"), ("K1", "one")].map(|(key, value)| (key.into(), value.into())));
    scene.secret_is("shop", &[("K0", "two"), ("K1", "one")]).await;
    let is_read = |request: &LoggedRequest| matches!(request.secret.as_deref(), Some("k0" | "k1"));
    let (reads, writes) = (scene.vault.count_where(is_read), key_writes(&scene));
    let object = equals_the_vault(&scene, "shop", &two).await;
    assert!(changed_at(&object) > before, "the Secret moved, and it is said when");
    scene.told("shop", "SecretUpdated").await;
    assert_eq!((scene.vault.count_where(is_read), key_writes(&scene)), (reads, writes));
}
