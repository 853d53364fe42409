//! Backups that are restored: by a tool that drops uids, owners and status, with the vault there or not.

use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::Fault;
use serde_json::{Value, json};
use vaultsync::api::{KeyVault, VaultSecretSync};

use support::scene::{OperatorScene, data};
use support::{History, Says as _};

const NAMES: [&str; 2] = ["shop", "other"];

/// What a backup tool keeps of something: neither uid, nor owners, nor status.
pub(crate) fn kept(kind: &str, object: &impl serde::Serialize) -> Value {
    let mut object = serde_json::to_value(object).unwrap();
    let metadata = &object["metadata"];
    let metadata = json!({"name": metadata["name"], "labels": metadata["labels"], "annotations": metadata["annotations"]});
    object["metadata"] = metadata;
    object.as_object_mut().unwrap().remove("status");
    object["kind"] = json!(kind);
    object["apiVersion"] = json!(if kind == "Secret" { "v1" } else { "vaultsync.dev/v1alpha1" });
    object
}

#[tokio::test]
async fn a_namespace_that_is_restored_has_its_secrets_back_for_a_write_each() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.vault.set("b", "two");
    let spec = data(&[("A", "a"), ("B", "b")]);
    for name in NAMES {
        scene.sync(name, spec.clone()).await;
        scene.synced(name).await;
    }
    for silent in [false, true] {
        let (mut secrets, mut objects) = (Vec::new(), Vec::new());
        for name in NAMES {
            secrets.push(kept("Secret", &scene.api::<Secret>().get(name).await.unwrap()));
            objects.push(kept("VaultSecretSync", &scene.api::<VaultSecretSync>().get(name).await.unwrap()));
        }
        let vault = kept("KeyVault", &scene.api::<KeyVault>().get("default").await.unwrap());
        for name in NAMES {
            scene.delete::<VaultSecretSync>(name).await;
            scene.gone::<Secret>(name).await;
        }
        scene.delete::<KeyVault>("default").await;
        scene.gone::<KeyVault>("default").await;
        if silent {
            _ = scene.vault.fault(Fault::status(503));
        }
        let history = History::of(&scene.namespace).await;
        let mark = scene.namespace.cluster().mark();
        for secret in secrets {
            scene.create::<Secret>(&secret).await;
        }
        scene.create::<KeyVault>(&vault).await;
        for object in objects {
            scene.create::<VaultSecretSync>(&object).await;
        }
        for name in NAMES {
            scene.is_owned(&scene.api().get(name).await.unwrap()).await;
            scene.secret_is(name, &[("A", "one"), ("B", "two")]).await;
        }
        if silent {
            for name in NAMES {
                let object = scene.ready(name, "False", "ServiceUnavailable").await;
                assert!(object.message().contains("KeyVault default"), "{}", object.message());
            }
            scene.vault.clear_faults();
        }
        for name in NAMES {
            scene.synced(name).await;
        }
        let states = history.states();
        for name in NAMES {
            let states = &states[name];
            assert!(states.len() <= 2, "as it was restored, and with its owner: {states:?}");
            assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
        }
        let writes = scene.namespace.cluster().operator_writes_since(mark, &scene.namespace.name);
        assert!(writes.iter().all(|write| !write.verb.starts_with("delete")), "{writes:?}");
    }
}

#[tokio::test]
async fn an_object_deleted_while_its_vault_is_silent_takes_its_secret_along() {
    let scene = OperatorScene::new().await;
    scene.vault.set("a", "one");
    scene.sync("shop", data(&[("A", "a")])).await;
    scene.synced("shop").await;
    _ = scene.vault.fault(Fault::status(503));
    scene.vault.set("a", "two");
    scene.vault_says("default", "False", "ServiceUnavailable").await;
    scene.delete::<VaultSecretSync>("shop").await;
    scene.gone::<Secret>("shop").await;
    // One of the same name is made anew once the vault is back, and not before.
    scene.sync("shop", data(&[("A", "a")])).await;
    scene.ready("shop", "False", "ServiceUnavailable").await;
    assert_eq!(scene.secret("shop").await, None);
    scene.vault.clear_faults();
    scene.secret_is("shop", &[("A", "two")]).await;
    scene.synced("shop").await;
}
