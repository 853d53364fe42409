//! What is left when an object, its Secret or its namespace goes.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vaultsync::api::VaultSecretSync;

use support::scene::{OperatorScene, data, version};
use support::{Call, Fault, Gate, eventually, until};

const HOLD: &str = "tests.vaultsync.dev/hold";

fn with_deletion(policy: &str) -> Value {
    let mut spec = data(&[("A", "a")]);
    spec["target"] = json!({"deletion": policy});
    spec
}

async fn synced(policy: &str) -> OperatorScene {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.sync("shop", with_deletion(policy)).await;
    scene.synced("shop").await;
    scene
}

async fn looked(scene: &OperatorScene, times: usize) {
    let before = scene.faults.count("patch", "secrets");
    eventually("the operator looks at its Secrets", || async {
        let now = scene.faults.count("patch", "secrets");
        if now >= before + times { Ok(()) } else { Err(format!("{} looks", now - before)) }
    })
    .await;
}

#[tokio::test]
async fn the_secret_of_a_deleted_object_goes_and_stays_away() {
    let scene = synced("Delete").await;
    // Another object, to see the operator at work meanwhile.
    scene.sync("clock", data(&[("A", "a")])).await;
    scene.synced("clock").await;
    scene.delete::<VaultSecretSync>("shop").await;
    scene.gone::<Secret>("shop").await;
    scene.vault.clear_log();
    scene.vault.requests_until(|requests| !requests.is_empty()).await;
    looked(&scene, 3).await;
    assert_eq!(scene.secret("shop").await, None);
    assert_eq!(scene.faults.count("create", "secrets"), 2);
}

#[tokio::test]
async fn an_object_that_goes_in_the_middle_of_its_round_leaves_nothing_behind() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.limits.idle = Duration::from_millis(200);
    scene.vault.set("a", "one");
    scene.start().await;
    // One round is about to create its Secret, the other to say that it cannot.
    let (creation, report) = (Gate::default(), Gate::default());
    scene.faults.next(1, |call| call.is("create", "secrets"), Fault::Hold(creation.clone()));
    let writes =
        |call: &Call| call.is("patch", "vaultsecretsyncs/status") && call.name.as_deref() == Some("broken");
    scene.faults.next(1, writes, Fault::Hold(report.clone()));
    scene.sync("shop", data(&[("A", "a")])).await;
    scene.sync("broken", data(&[("A", "missing")])).await;
    creation.reached().await;
    report.reached().await;
    for name in ["shop", "broken"] {
        scene.delete::<VaultSecretSync>(name).await;
    }
    // The watch shows all in order: when it has shown the later one, it has shown that the others went.
    scene.sync("later", data(&[("A", "a")])).await;
    scene.synced("later").await;
    creation.release();
    report.release();
    scene.delete::<VaultSecretSync>("later").await;
    eventually("nothing is read for them any more", || async {
        let (_, metrics) = scene.http("/metrics").await;
        let kept = metrics.lines().find(|line| {
            line.starts_with("vaultsync_object_not_ready") || line.starts_with("vaultsync_vault_connections")
        });
        kept.map_or(Ok(()), |line| Err(line.to_owned()))
    })
    .await;
}

#[tokio::test]
async fn a_retained_secret_stays_and_a_new_object_of_the_name_has_it_back() {
    let scene = synced("Retain").await;
    let before = scene.api::<Secret>().get("shop").await.unwrap();
    assert_eq!(before.metadata.owner_references, None);
    scene.delete::<VaultSecretSync>("shop").await;
    scene.gone::<VaultSecretSync>("shop").await;
    scene.sync("shop", with_deletion("Retain")).await;
    scene.synced("shop").await;
    let after = scene.secret_is("shop", &[("A", "one")]).await;
    assert_eq!(
        (after.metadata.uid.as_ref(), version(&after)),
        (before.metadata.uid.as_ref(), version(&before))
    );
    // From now on it is kept up again.
    scene.vault.set("a", "two");
    scene.secret_is("shop", &[("A", "two")]).await;
}

#[tokio::test]
async fn a_retained_secret_outlives_its_object() {
    let scene = synced("Retain").await;
    scene.sync("clock", with_deletion("Delete")).await;
    scene.synced("clock").await;
    let before = scene.api::<Secret>().get("shop").await.unwrap();
    for name in ["shop", "clock"] {
        scene.delete::<VaultSecretSync>(name).await;
    }
    // The garbage collector has been at work when the other Secret is gone.
    scene.gone::<Secret>("clock").await;
    let after = scene.secret_is("shop", &[("A", "one")]).await;
    assert_eq!(version(&after), version(&before));
    assert_eq!(after.metadata.annotations.unwrap()["vaultsync.dev/owner"], "shop");
}

#[tokio::test]
async fn an_object_that_is_made_anew_at_once_ends_synced() {
    let scene = synced("Delete").await;
    for _ in 0..3 {
        scene.delete::<VaultSecretSync>("shop").await;
        let object = scene.sync("shop", with_deletion("Delete")).await;
        scene.is_owned(&object).await;
        scene.secret_is("shop", &[("A", "one")]).await;
        scene.synced("shop").await;
    }
    scene.delete::<VaultSecretSync>("shop").await;
    scene.sync("shop", data(&[("B", "a")])).await;
    scene.secret_is("shop", &[("B", "one")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn no_object_of_ours_ever_has_a_finalizer() {
    let scene = synced("Delete").await;
    let object = scene.api::<VaultSecretSync>().get("shop").await.unwrap();
    let secret = scene.api::<Secret>().get("shop").await.unwrap();
    assert_eq!((object.metadata.finalizers, secret.metadata.finalizers), (None, None));
}

#[tokio::test]
async fn a_namespace_that_is_deleted_ends_and_nothing_is_written_into_it_meanwhile() {
    let scene = synced("Delete").await;
    // Somebody's finalizers hold the namespace, and our object in it, for as long as this test wants to look.
    let held = json!({"metadata": {"name": "held", "finalizers": [HOLD]}});
    let held: ConfigMap = serde_json::from_value(held).unwrap();
    scene.api::<ConfigMap>().create(&PostParams::default(), &held).await.unwrap();
    scene.edit("shop", json!({"metadata": {"finalizers": [HOLD]}})).await;
    let namespaces: Api<Namespace> = Api::all(scene.admin());
    namespaces.delete(&scene.namespace.name, &DeleteParams::default()).await.unwrap();
    let deleting = |object: Option<&VaultSecretSync>| {
        object.is_some_and(|object| object.metadata.deletion_timestamp.is_some())
    };
    until(&scene.api(), "shop", "the object is being deleted", deleting).await;
    scene.gone::<Secret>("shop").await;
    rounds(&scene, 2).await;
    let cluster = scene.namespace.cluster();
    let mark = cluster.mark();
    rounds(&scene, 3).await;
    assert_eq!(cluster.operator_writes_since(mark, &scene.namespace.name), []);
    let free = json!({"metadata": {"finalizers": null}});
    scene.edit("shop", free.clone()).await;
    scene.gone::<VaultSecretSync>("shop").await;
    let free = Patch::Merge(free);
    scene.api::<ConfigMap>().patch("held", &PatchParams::default(), &free).await.unwrap();
    let gone = |namespace: Option<&Namespace>| namespace.is_none();
    until(&namespaces, &scene.namespace.name, "the namespace is gone", gone).await;
}

/// Waits until the operator has had so many more rounds.
async fn rounds(scene: &OperatorScene, more: u64) {
    let before = reconciled(scene).await;
    eventually("more rounds", || async {
        let now = reconciled(scene).await;
        if now >= before + more { Ok(()) } else { Err(format!("{} rounds", now - before)) }
    })
    .await;
}

async fn reconciled(scene: &OperatorScene) -> u64 {
    let (_, text) = scene.http("/metrics").await;
    let lines = text.lines().filter(|line| line.starts_with("vaultsync_reconciles_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}
