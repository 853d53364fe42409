//! Whatever the API server stores, and however it ends a watch, all that is served goes on.

use k8s_openapi::api::core::v1::Secret;
use kube::Resource as _;
use kube::api::Api;
use serde_json::{Value, json};
use support::scene::{CLIENT, OperatorScene, data, sync};
use support::shared::grant;
use support::{Call, Fault, Namespace, eventually, until};
use vaultsync::api::VaultSecretSync;

fn patch(scene: &OperatorScene, name: &str, managed_fields: &Value) -> http::Request<Vec<u8>> {
    let path = VaultSecretSync::url_path(&(), Some(&scene.namespace.name));
    http::Request::patch(format!("{path}/{name}"))
        .header("content-type", "application/merge-patch+json")
        .body(json!({"metadata": {"managedFields": managed_fields}}).to_string().into_bytes())
        .unwrap()
}

/// Gives an object a date that the API server takes and no clock of ours can show. As text: so is the answer.
async fn poison(scene: &OperatorScene, name: &str) {
    let manager = json!({
        "manager": "tests", "operation": "Update", "apiVersion": "vaultsync.dev/v1alpha1",
        "time": "9999-12-31T23:59:59Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:suspend": {}}},
    });
    let answer = scene.admin().request_text(patch(scene, name, &json!([manager]))).await.unwrap();
    assert!(answer.contains("9999-12-31"), "{answer}");
}

#[tokio::test]
async fn an_object_that_cannot_be_decoded_stops_nobody_else_not_after_a_restart_either() {
    let mut scene = OperatorScene::without_operator().await;
    let other = Namespace::new().await;
    scene.settings.namespaces.insert(other.name.clone());
    scene.identity_in(&other, "shop", CLIENT).await;
    scene.vault.set("db", "one");
    scene.start().await;
    scene.create_in(&other, "keyvaults", &scene.key_vault("default", &scene.vault.url())).await;
    scene.create_in(&other, "vaultsecretsyncs", &sync("shop", &data(&[("DB", "db")]))).await;
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.sync("beside", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    scene.synced("beside").await;
    other.says::<VaultSecretSync>("shop", "True", "Synced").await;

    poison(&scene, "shop").await;
    let series = "vaultsync_undecodable_objects{kind=\"VaultSecretSync\"}";
    for restart in [false, true] {
        if restart {
            scene.stop().await;
            scene.vault.set("db", "two");
            scene.start().await;
        }
        eventually("one object is counted", || async {
            let count = scene.metric(series).await;
            if count == Some(1.0) { Ok(()) } else { Err(format!("{count:?}")) }
        })
        .await;
    }
    scene.secret_is("beside", &[("DB", "two")]).await;
    let secrets: Api<Secret> = other.api(&scene.admin());
    until(&secrets, "shop", "the other namespace has the new value", |secret: Option<&Secret>| {
        let data = secret.and_then(|secret| secret.data.as_ref());
        data.is_some_and(|data| data["DB"].0 == b"two")
    })
    .await;
    assert_eq!(scene.http("/readyz").await.0, 200);
    assert_eq!(scene.secret("shop").await.unwrap()["DB"], "one", "nothing is done for it, and nothing to it");

    // No manager's date, no trouble.
    scene.admin().request_text(patch(&scene, "shop", &json!([{}]))).await.unwrap();
    scene.secret_is("shop", &[("DB", "two")]).await;
    assert_eq!(scene.metric(series).await, Some(0.0));
}

#[tokio::test]
async fn a_status_that_is_not_understood_is_written_anew_and_moves_no_secret() {
    let mut scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    let before = scene.secret_is("shop", &[("DB", "one")]).await;
    for restart in [false, true] {
        if restart {
            scene.stop().await;
        }
        // The API server takes it: dates are a pattern there.
        let odd =
            json!({"status": {"lastChange": "9999-12-31T23:59:59Z", "refreshInterval": "odd"}}).to_string();
        let path = format!(
            "/apis/vaultsync.dev/v1alpha1/namespaces/{}/vaultsecretsyncs/shop/status",
            scene.namespace.name
        );
        let request = http::Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .body(odd.into_bytes())
            .unwrap();
        let answer = scene.admin().request_text(request).await.unwrap();
        assert!(answer.contains("9999-12-31"), "{answer}");
        if restart {
            scene.start().await;
        }
        eventually("the status is understood again", || async {
            let path = format!(
                "/apis/vaultsync.dev/v1alpha1/namespaces/{}/vaultsecretsyncs/shop",
                scene.namespace.name
            );
            let request = http::Request::get(path).body(Vec::new()).unwrap();
            let text = scene.admin().request_text(request).await.unwrap();
            if text.contains("9999-12-31") || text.contains("odd") || !text.contains("Synced") {
                Err(text)
            } else {
                Ok(())
            }
        })
        .await;
        scene.synced("shop").await;
    }
    let after = scene.secret_is("shop", &[("DB", "one")]).await;
    assert_eq!(before.metadata.resource_version, after.metadata.resource_version);
}

fn watches(kind: &'static str) -> impl Fn(&Call) -> bool + Send + 'static {
    move |call| call.is("watch", kind)
}

fn answer(code: u16, reason: &'static str) -> Fault {
    Fault::Answer { code, reason, retry_after: None }
}

#[tokio::test]
async fn a_watch_that_cannot_be_opened_again_is_tried_until_it_can() {
    let mut scene = OperatorScene::without_operator().await;
    scene.faults.next(4, watches("vaultsecretsyncs"), Fault::Refuse);
    scene.faults.next(2, watches("keyvaults"), answer(500, "InternalError"));
    scene.start().await;
    eventually("the operator is ready", || async {
        let (code, text) = scene.http("/readyz").await;
        if code == 200 { Ok(()) } else { Err(text) }
    })
    .await;
    // Not in any list: only the watch shows it.
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_version_that_is_too_old_to_watch_from_is_listed_anew() {
    let mut scene = OperatorScene::without_operator().await;
    scene.faults.next(1, watches("vaultsecretsyncs"), answer(410, "Expired"));
    scene.start().await;
    scene.vault.set("db", "one");
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.synced("shop").await;
    assert!(scene.faults.count("list", "vaultsecretsyncs") >= 2);
}

#[tokio::test]
async fn shared_connections_that_were_shown_stand_though_the_right_is_refused_for_a_while() {
    let mut scene = OperatorScene::without_operator().await;
    scene.vault.set("db", "one");
    let shared = scene.share(json!([grant(&[&scene.namespace.name], &["*"])])).await;
    scene.sync("shop", shared.spec(&[("DB", "db")])).await;
    scene.faults.next(2, watches("clusterkeyvaults"), answer(403, "Forbidden"));
    scene.faults.next(1, watches("clusterkeyvaults"), answer(404, "NotFound"));
    scene.start().await;
    scene.synced("shop").await;
    eventually("the watch is open again", || async {
        let times = scene.faults.count("watch", "clusterkeyvaults");
        if times >= 4 { Ok(()) } else { Err(format!("opened {times} times")) }
    })
    .await;
    scene.vault.set("db", "two");
    scene.secret_is("shop", &[("DB", "two")]).await;
    shared.allow(json!([])).await;
    scene.ready("shop", "False", "NotAllowed").await;
    scene.told("shop", "NotAllowed").await;
    assert_eq!(
        scene.event_reasons("shop").await.iter().filter(|reason| *reason == "VaultNotFound").count(),
        0
    );
}
