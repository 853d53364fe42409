//! Workloads are restarted once for each change of their Secret, and for nothing else.

use crate::admission::deny;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use support::scene::{OperatorScene, data, version};
use support::{Fault, Says as _, eventually, until};
use vaultsync::api::{ROLLED_OUT, VaultSecretSync};

/// A spec of `data` whose workloads are restarted.
fn rolling(pairs: &[(&str, &str)], restart: &Value) -> Value {
    let mut spec = data(pairs);
    spec["rollout"] = json!({"restart": restart});
    spec
}

fn deployment(name: &str) -> Value {
    json!([{"kind": "Deployment", "name": name}])
}

/// Waits until the object says of its newest spec that `RolledOut` is `status` for `reason`.
async fn rolled(scene: &OperatorScene, name: &str, status: &str, reason: &str) -> VaultSecretSync {
    let what = format!("{name} has RolledOut={status} {reason}");
    let says = |object: Option<&VaultSecretSync>| {
        let said =
            object.and_then(|object| Some((object.condition(ROLLED_OUT)?, object.metadata.generation)));
        said.is_some_and(|(said, generation)| {
            said.status == status && said.reason == reason && said.observed_generation == generation
        })
    };
    until(&scene.api(), name, &what, says).await.expect("an object")
}

fn says(object: &VaultSecretSync) -> &str {
    &object.condition(ROLLED_OUT).expect("a condition RolledOut").message
}

/// A scene whose operator may restart workloads, with the secret `db` in its vault and a Deployment `shop`.
async fn scene() -> OperatorScene {
    let mut scene = OperatorScene::without_operator().await;
    scene.let_restart(100).await;
    scene.vault.set("db", "one");
    scene.workload("Deployment", "shop").await;
    scene
}

/// The same, the operator at work and the object `shop` synced.
async fn synced() -> OperatorScene {
    let mut scene = scene().await;
    scene.start().await;
    scene.sync("shop", rolling(&[("DB", "db")], &deployment("shop"))).await;
    rolled(&scene, "shop", "True", "NotNeeded").await;
    scene
}

/// The vault has another value, and the Secret follows.
async fn change(scene: &OperatorScene, value: &str) {
    scene.vault.set("db", value);
    scene.force("shop", value).await;
}

#[tokio::test]
async fn a_change_restarts_the_workload_once_and_the_first_sync_does_not() {
    let mut scene = synced().await;
    assert_eq!(scene.restarts("Deployment", "shop").await, (0, vec![]));
    let first = scene.synced("shop").await.status.unwrap().rollout.unwrap();
    assert_eq!((first.due, first.at), (None, None));

    change(&scene, "two").await;
    let annotations = scene.restarted("Deployment", "shop", 1).await;
    let object = rolled(&scene, "shop", "True", "Restarted").await;
    let rollout = object.status.as_ref().unwrap().rollout.as_ref().unwrap();
    assert_eq!(annotations, [("vaultsync.dev/secret-shop".to_owned(), rollout.hash.to_string())]);
    assert!(rollout.hash != first.hash && rollout.due.is_none() && rollout.at.is_some());
    assert!(says(&object).contains("Deployment shop"), "{}", says(&object));
    assert!(object.says("True", "Synced"));
    scene.told("shop", "Restarted").await;
    let series = "vaultsync_rollouts_total{kind=\"Deployment\",result=\"restarted\"}";
    assert_eq!(scene.metric(series).await, Some(1.0));

    // Neither a look, nor a sync without news, nor a repair, nor other labels, nor a restart of the operator.
    scene.force("shop", "again").await;
    scene.edit_secret("shop", json!({"stringData": {"DB": "edited"}})).await;
    scene.secret_is("shop", &[("DB", "two")]).await;
    scene.edit("shop", json!({"spec": {"target": {"labels": {"team": "shop"}}}})).await;
    scene.synced("shop").await;
    scene.stop().await;
    scene.start().await;
    scene.force("shop", "restarted").await;
    rolled(&scene, "shop", "True", "Restarted").await;
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 1);
    let told = scene.event_reasons("shop").await;
    assert_eq!(told.iter().filter(|reason| *reason == "Restarted").count(), 1, "{told:?}");
}

#[tokio::test]
async fn rollout_that_is_added_to_a_synced_object_restarts_nobody_and_what_is_removed_is_forgotten() {
    let mut scene = scene().await;
    scene.start().await;
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    change(&scene, "two").await;
    scene.edit("shop", json!({"spec": {"rollout": {"restart": deployment("shop")}}})).await;
    rolled(&scene, "shop", "True", "NotNeeded").await;
    change(&scene, "three").await;
    scene.restarted("Deployment", "shop", 1).await;
    rolled(&scene, "shop", "True", "Restarted").await;

    scene.edit("shop", json!({"spec": {"rollout": null}})).await;
    let object = scene.synced("shop").await;
    assert!(object.condition(ROLLED_OUT).is_none() && object.status.unwrap().rollout.is_none());
    change(&scene, "four").await;
    scene.edit("shop", json!({"spec": {"rollout": {"restart": deployment("shop")}}})).await;
    rolled(&scene, "shop", "True", "NotNeeded").await;
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 1);
}

#[tokio::test]
async fn a_change_while_the_operator_was_down_restarts_once_and_a_lost_status_nobody() {
    let mut scene = synced().await;
    scene.stop().await;
    scene.vault.set("db", "two");
    scene.start().await;
    scene.restarted("Deployment", "shop", 1).await;
    rolled(&scene, "shop", "True", "Restarted").await;

    scene.stop().await;
    let wiped = json!([{"op": "remove", "path": "/status"}]);
    let request = http::Request::patch(format!(
        "/apis/vaultsync.dev/v1alpha1/namespaces/{}/vaultsecretsyncs/shop/status",
        scene.namespace.name
    ));
    let request = request.header("content-type", "application/json-patch+json");
    let request = request.body(wiped.to_string().into_bytes()).unwrap();
    scene.admin().request::<VaultSecretSync>(request).await.unwrap();
    scene.vault.set("db", "three");
    scene.start().await;
    scene.secret_is("shop", &[("DB", "three")]).await;
    rolled(&scene, "shop", "True", "NotNeeded").await;
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 1);
}

#[tokio::test]
async fn several_keys_that_change_at_once_are_one_restart() {
    let mut scene = scene().await;
    for name in ["a", "b", "c"] {
        scene.vault.set(name, "one");
    }
    scene.start().await;
    scene.sync("shop", rolling(&[("A", "a"), ("B", "b"), ("C", "c")], &deployment("shop"))).await;
    rolled(&scene, "shop", "True", "NotNeeded").await;
    for name in ["a", "b", "c"] {
        scene.vault.set(name, "two");
    }
    scene.secret_is("shop", &[("A", "two"), ("B", "two"), ("C", "two")]).await;
    scene.restarted("Deployment", "shop", 1).await;
    rolled(&scene, "shop", "True", "Restarted").await;
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 1);
}

#[tokio::test]
async fn bytes_that_stay_as_they_are_restart_nobody_whatever_made_them() {
    let scene = synced().await;
    let before = scene.secret_is("shop", &[("DB", "one")]).await;
    // The text is no Base64, so both write the same.
    let from = json!({"secret": {"name": "db", "decode": "Auto"}});
    scene.edit("shop", json!({"spec": {"data": [{"key": "DB", "from": from}]}})).await;
    rolled(&scene, "shop", "True", "NotNeeded").await;
    let after = scene.secret_is("shop", &[("DB", "one")]).await;
    assert_eq!(version(&before), version(&after));
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 0);
    change(&scene, "two").await;
    scene.restarted("Deployment", "shop", 1).await;
}

#[tokio::test]
async fn a_restart_that_was_done_and_could_not_be_said_is_not_done_again() {
    let mut scene = synced().await;
    // The API server restarts it, and then the operator ends before it hears of that.
    scene.faults.next(1, |call| call.is("patch", "deployments"), Fault::LoseAnswer);
    change(&scene, "two").await;
    scene.restarted("Deployment", "shop", 1).await;
    scene.kill().await;
    scene.start().await;
    rolled(&scene, "shop", "True", "Restarted").await;
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 1);
    assert_eq!(scene.faults.count("patch", "deployments"), 2);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again_and_restarts_nobody_twice() {
    let scene = synced().await;
    scene.faults.next(1, |call| call.is("patch", "deployments"), Fault::LoseAnswer);
    change(&scene, "two").await;
    rolled(&scene, "shop", "True", "Restarted").await;
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 1);
    assert_eq!(scene.faults.count("patch", "deployments"), 2);
}

#[tokio::test]
async fn a_selector_restarts_all_workloads_of_its_kind_that_have_its_labels() {
    let mut scene = scene().await;
    scene.workload("Deployment", "worker").await;
    scene.workload("StatefulSet", "db").await;
    scene.workload("DaemonSet", "agent").await;
    scene.start().await;
    let selector = |kind: &str| json!({"kind": kind, "selector": {"matchLabels": {"part-of": "shop"}}});
    let restart = json!([selector("Deployment"), {"kind": "DaemonSet", "name": "agent"}]);
    scene.sync("shop", rolling(&[("DB", "db")], &restart)).await;
    rolled(&scene, "shop", "True", "NotNeeded").await;
    change(&scene, "two").await;
    for (kind, name) in [("Deployment", "shop"), ("Deployment", "worker"), ("DaemonSet", "agent")] {
        scene.restarted(kind, name, 1).await;
    }
    let object = rolled(&scene, "shop", "True", "Restarted").await;
    for part in ["Deployment shop", "Deployment worker", "DaemonSet agent"] {
        assert!(says(&object).contains(part), "{}", says(&object));
    }
    assert_eq!(scene.restarts("StatefulSet", "db").await.0, 0);

    scene.edit("shop", json!({"spec": {"rollout": {"restart": [selector("StatefulSet")]}}})).await;
    rolled(&scene, "shop", "True", "Restarted").await;
    change(&scene, "three").await;
    scene.restarted("StatefulSet", "db", 1).await;
    rolled(&scene, "shop", "True", "Restarted").await;
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 1);
}

#[tokio::test]
async fn two_objects_restart_one_workload_each_for_its_own_secret() {
    let scene = synced().await;
    let long = "second-".repeat(20) + "object";
    scene.vault.set("other", "one");
    scene.sync(&long, rolling(&[("OTHER", "other")], &deployment("shop"))).await;
    rolled(&scene, &long, "True", "NotNeeded").await;
    change(&scene, "two").await;
    scene.restarted("Deployment", "shop", 1).await;
    scene.vault.set("other", "two");
    scene.force(&long, "two").await;
    let annotations = scene.restarted("Deployment", "shop", 2).await;
    assert_eq!(annotations.len(), 2, "{annotations:?}");
    rolled(&scene, &long, "True", "Restarted").await;
}

#[tokio::test]
async fn a_workload_that_is_not_there_is_told_of_and_not_looked_for_again() {
    let mut scene = scene().await;
    scene.start().await;
    let restart = json!([
        {"kind": "Deployment", "name": "shop"}, {"kind": "StatefulSet", "name": "gone"},
        {"kind": "DaemonSet", "selector": {"matchLabels": {"part-of": "nothing"}}},
    ]);
    scene.sync("shop", rolling(&[("DB", "db")], &restart)).await;
    rolled(&scene, "shop", "True", "NotNeeded").await;
    change(&scene, "two").await;
    let object = rolled(&scene, "shop", "False", "WorkloadNotFound").await;
    for part in
        ["StatefulSet gone", "DaemonSets with the labels part-of=nothing", "Restarted: Deployment shop"]
    {
        assert!(says(&object).contains(part), "{}", says(&object));
    }
    assert!(object.says("True", "Synced"), "the Secret is as it should be");
    scene.told("shop", "WorkloadNotFound").await;
    scene.force("shop", "again").await;
    scene.workload("StatefulSet", "gone").await;
    scene.force("shop", "and again").await;
    assert_eq!(scene.faults.count("patch", "statefulsets"), 1);
    assert_eq!(scene.restarts("StatefulSet", "gone").await.0, 0, "it began with the new value");

    change(&scene, "three").await;
    scene.restarted("StatefulSet", "gone", 1).await;
    scene.restarted("Deployment", "shop", 2).await;
}

#[tokio::test]
async fn more_workloads_than_a_minute_has_room_for_wait_and_say_so() {
    let mut scene = OperatorScene::without_operator().await;
    scene.let_restart(2).await;
    scene.vault.set("db", "one");
    let names = ["a", "b", "c", "d"];
    for name in names {
        scene.workload("Deployment", name).await;
    }
    scene.start().await;
    let restart: Vec<Value> = names.iter().map(|name| json!({"kind": "Deployment", "name": name})).collect();
    scene.sync("shop", rolling(&[("DB", "db")], &json!(restart))).await;
    rolled(&scene, "shop", "True", "NotNeeded").await;
    change(&scene, "two").await;
    let object = eventually("two are restarted and two wait", async || {
        let object = rolled(&scene, "shop", "False", "RolloutWaiting").await;
        if says(&object).contains("at most 2") { Ok(object) } else { Err(says(&object).to_owned()) }
    })
    .await;
    assert!(says(&object).contains("Deployment c, Deployment d"), "{}", says(&object));
    let mut restarts = Vec::new();
    for name in names {
        restarts.push(scene.restarts("Deployment", name).await.0);
    }
    assert_eq!(restarts, [1, 1, 0, 0]);
    // After a minute the rest has its turn.
    scene.restarted("Deployment", "d", 1).await;
    rolled(&scene, "shop", "True", "Restarted").await;
    assert_eq!(scene.restarts("Deployment", "a").await.0, 1);
}

#[tokio::test]
async fn an_object_that_is_suspended_or_not_ready_restarts_nobody_before_it_is() {
    let mut scene = scene().await;
    scene.vault.set("api", "one");
    scene.start().await;
    scene.sync("shop", rolling(&[("DB", "db"), ("API", "api")], &deployment("shop"))).await;
    rolled(&scene, "shop", "True", "NotNeeded").await;
    // One key moves on, the other is missing.
    scene.vault.set("db", "two");
    scene.vault.delete("api");
    scene.force("shop", "half").await;
    scene.ready("shop", "False", "SecretNotFound").await;
    scene.secret_is("shop", &[("DB", "two"), ("API", "one")]).await;
    scene.force("shop", "half again").await;
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 0);

    scene.stop().await;
    scene.edit("shop", json!({"spec": {"suspend": true}})).await;
    scene.vault.recover("api");
    scene.vault.set("api", "two");
    scene.start().await;
    eventually("the suspension is observed", async || {
        let object = scene.api::<VaultSecretSync>().get("shop").await.unwrap();
        if object.is_observed() { Ok(()) } else { Err(format!("{:?}", object.status)) }
    })
    .await;
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 0);

    scene.edit("shop", json!({"spec": {"suspend": false}})).await;
    scene.secret_is("shop", &[("DB", "two"), ("API", "two")]).await;
    scene.restarted("Deployment", "shop", 1).await;
    rolled(&scene, "shop", "True", "Restarted").await;
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 1);
}

#[tokio::test]
async fn an_operator_that_may_not_says_which_value_lets_it_and_then_does_what_is_owed_once() {
    let mut scene = scene().await;
    scene.settings.rollouts_per_minute = None;
    scene.start().await;
    scene.sync("shop", rolling(&[("DB", "db")], &deployment("shop"))).await;
    let object = rolled(&scene, "shop", "False", "RolloutsDisabled").await;
    assert!(says(&object).contains("rollouts.enabled"), "{}", says(&object));
    scene.synced("shop").await;
    change(&scene, "two").await;
    eventually("it is told that a restart is owed", async || {
        let object = rolled(&scene, "shop", "False", "RolloutsDisabled").await;
        if says(&object).contains("have not been: Deployment shop") {
            Ok(())
        } else {
            Err(says(&object).to_owned())
        }
    })
    .await;
    assert_eq!(scene.faults.count("patch", "deployments"), 0);

    scene.stop().await;
    scene.settings.rollouts_per_minute = Some(10);
    scene.start().await;
    scene.restarted("Deployment", "shop", 1).await;
    rolled(&scene, "shop", "True", "Restarted").await;
}

#[tokio::test]
async fn without_the_right_the_value_of_the_chart_is_named_and_the_object_stays_ready() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.rollouts_per_minute = Some(10);
    scene.vault.set("db", "one");
    scene.start().await;
    scene.sync("shop", rolling(&[("DB", "db")], &deployment("shop"))).await;
    rolled(&scene, "shop", "True", "NotNeeded").await;
    change(&scene, "two").await;
    let object = rolled(&scene, "shop", "False", "RolloutForbidden").await;
    assert!(says(&object).contains("rollouts.enabled") && says(&object).contains("Deployment shop"));
    assert!(object.says("True", "Synced"));
    scene.told("shop", "RolloutForbidden").await;
    // It is not tried again with each round.
    for request in ["a", "b", "c"] {
        scene.force("shop", request).await;
    }
    assert_eq!(scene.faults.count("patch", "deployments"), 1);
}

#[tokio::test]
async fn a_policy_of_the_clusters_own_that_refuses_a_restart_is_named_without_its_words() {
    const REMARK: &str = "no restarts on Fridays, says the platform team";
    let mut scene = synced().await;
    let name = format!("{}-friday", scene.namespace.name);
    let validation = json!({"expression": "object.spec == oldObject.spec", "message": REMARK});
    let resources = json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"],
        "operations": ["UPDATE"]});
    deny(&mut scene, &name, &validation, &resources).await;
    let deployments = support::workloads::workloads(&scene.admin(), &scene.namespace, "Deployment");
    eventually("the policy is in force", async || {
        let replicas = Patch::Merge(json!({"spec": {"replicas": 3}}));
        let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
        match deployments.patch("shop", &dry_run, &replicas).await {
            Err(kube::Error::Api(status)) if status.message.contains(&name) => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "allowed"))),
        }
    })
    .await;
    change(&scene, "two").await;
    let object = rolled(&scene, "shop", "False", "RolloutDenied").await;
    assert!(says(&object).contains(&name) && !says(&object).contains("Friday"), "{}", says(&object));
    assert!(object.says("True", "Synced"));
    assert_eq!(scene.restarts("Deployment", "shop").await.0, 0);
}

#[tokio::test]
async fn an_api_server_that_fails_is_told_of_at_the_third_try_and_the_restart_follows() {
    let scene = synced().await;
    scene.faults.always(|call| call.is("patch", "deployments"), Fault::internal());
    change(&scene, "two").await;
    let object = rolled(&scene, "shop", "False", "RolloutFailed").await;
    assert!(says(&object).contains("answers 500"), "{}", says(&object));
    assert_eq!(scene.faults.count("patch", "deployments"), 3);
    assert!(object.says("True", "Synced"));
    scene.faults.clear();
    // An edit of the object is worth a try at once.
    scene.edit("shop", json!({"spec": {"refreshInterval": "11s"}})).await;
    scene.restarted("Deployment", "shop", 1).await;
    rolled(&scene, "shop", "True", "Restarted").await;
}
