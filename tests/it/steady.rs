//! With nothing new, nothing moves; with one thing new, one thing does.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::Operation;
use serde_json::Value;
use vaultsync::api::{KeyVault, VaultSecretSync};

use support::scene::{OperatorScene, data, version};
use support::{Call, eventually};

/// A spec of `data` that is never read again by itself within a test.
fn read_once(pairs: &[(&str, &str)]) -> Value {
    let mut spec = data(pairs);
    spec["refreshInterval"] = "24h".into();
    spec
}

async fn versions(scene: &OperatorScene) -> [String; 3] {
    [
        version(&scene.api::<VaultSecretSync>().get("shop").await.unwrap()),
        version(&scene.api::<Secret>().get("shop").await.unwrap()),
        version(&scene.api::<KeyVault>().get("default").await.unwrap()),
    ]
}

#[tokio::test]
async fn ten_rounds_and_ten_looks_with_nothing_new_move_nothing() {
    let scene = OperatorScene::new().await;
    let secrets = [("A", "a"), ("B", "b"), ("C", "c")];
    for (_, secret) in secrets {
        scene.vault.set_ago(secret, "value", 60);
    }
    scene.sync("shop", data(&secrets)).await;
    scene.synced("shop").await;
    scene.vault_says("default", "True", "Connected").await;
    scene.told("shop", "SecretCreated").await;
    scene.told("default", "Connected").await;
    let cluster = scene.namespace.cluster();
    let (before, mark, looks) =
        (versions(&scene).await, cluster.mark(), scene.faults.count("patch", "secrets"));
    scene.vault.clear_log();
    let polls = scene
        .vault
        .requests_until(|requests| {
            let of = |name| requests.iter().filter(|read| read.secret.as_deref() == Some(name)).count();
            secrets.iter().all(|(_, secret)| of(*secret) >= 10)
        })
        .await;
    assert!(polls.iter().all(|read| read.operation == Some(Operation::Get)));
    eventually("ten looks at the Secret", || async {
        let now = scene.faults.count("patch", "secrets");
        if now >= looks + 10 { Ok(()) } else { Err(format!("{} looks", now - looks)) }
    })
    .await;
    assert_eq!(versions(&scene).await, before);
    // Nothing was even tried but the looks, which send nothing, and the tokens to read with.
    let writes = cluster.operator_writes_since(mark, &scene.namespace.name);
    let tried: Vec<_> = writes
        .iter()
        .filter(|write| write.resource != "serviceaccounts/token")
        .filter(|write| (write.verb.as_str(), write.resource.as_str()) != ("patch", "secrets"))
        .collect();
    assert!(tried.is_empty(), "{tried:?}");
    let patches = scene.faults.calls().into_iter().filter(|call| call.is("patch", "secrets"));
    assert!(patches.skip(looks).all(|call| call.keys.is_empty()));
}

#[tokio::test]
async fn one_changed_secret_of_three_costs_one_read_one_key_and_one_status() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.drift_interval = Duration::ZERO;
    scene.start().await;
    for secret in ["a", "b", "c"] {
        scene.vault.set_ago(secret, "one", 60);
    }
    scene.sync("shop", read_once(&[("A", "a"), ("B", "b"), ("C", "c")])).await;
    scene.sync("poll", read_once(&[("B", "b")])).await;
    scene.synced("shop").await;
    scene.synced("poll").await;
    let calls = scene.faults.calls().len();
    scene.vault.clear_log();
    scene.vault.set_ago("b", "two", 20);
    // The other object has the secret read now; that this one uses it too costs no read.
    scene.force("poll", "now").await;
    scene.secret_is("shop", &[("A", "one"), ("B", "two"), ("C", "one")]).await;
    let version = scene.vault.versions("b").pop().unwrap().version;
    eventually("status names the version", || async {
        let object = scene.api::<VaultSecretSync>().get("shop").await.unwrap();
        let entries = object.status.unwrap().entries;
        if entries[1].version.as_ref() == Some(&version) { Ok(()) } else { Err(format!("{entries:?}")) }
    })
    .await;
    let reads: Vec<_> = scene.vault.requests().into_iter().map(|read| read.secret).collect();
    assert_eq!(reads, [Some("b".to_owned())]);
    let calls = scene.faults.calls().split_off(calls);
    let of_shop = |resource: &str| -> Vec<Call> {
        let wanted = |call: &&Call| call.resource == resource && call.name.as_deref() == Some("shop");
        calls.iter().filter(wanted).cloned().collect()
    };
    let patches = of_shop("secrets");
    assert_eq!(patches.len(), 1, "{patches:?}");
    assert_eq!((patches[0].verb, &patches[0].keys), ("patch", &vec!["B".to_owned()]));
    assert_eq!(of_shop("vaultsecretsyncs/status").len(), 1);
}

#[tokio::test]
async fn a_secret_that_twenty_objects_use_is_read_once_a_change() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.drift_interval = Duration::ZERO;
    scene.start().await;
    scene.vault.set_ago("shared", "one", 60);
    let names: Vec<String> = (0..20).map(|number| format!("shop-{number:02}")).collect();
    for name in &names {
        scene.sync(name, read_once(&[("A", "shared")])).await;
    }
    for name in &names {
        scene.synced(name).await;
    }
    scene.vault.clear_log();
    scene.vault.set_ago("shared", "two", 20);
    scene.force(&names[0], "now").await;
    for name in &names {
        scene.secret_is(name, &[("A", "two")]).await;
    }
    assert_eq!(scene.vault.count(Operation::Get), 1);
}
