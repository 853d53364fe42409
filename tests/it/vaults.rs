//! Several vaults in one object: one Secret of what all of them say, and nothing of it while one of them is silent.

use std::time::Duration;

use keyvault_emulator::{Fault, Vault};
use serde_json::{Value, json};
use support::history::Values;
use support::scene::{CLIENT, OperatorScene, version};
use support::shared::grant;
use support::{History, Says as _, eventually};
use vaultsync::api::KeyVault;

/// The vault of a team beside the scene's own, and the connection `db-team` to it.
async fn of_team(scene: &OperatorScene) -> Vault {
    let name: String = scene.namespace.name.chars().rev().take(20).collect();
    let vault = scene.emulator.vault(&format!("t{}", name.trim_matches('-')));
    vault.grant(CLIENT);
    scene.create::<KeyVault>(&scene.key_vault("db-team", &vault.url())).await;
    vault
}

fn item(key: &str, secret: &str) -> Value {
    json!({"key": key, "from": {"secret": {"name": secret}}})
}

fn through(vault: &Value, item: &Value) -> Value {
    let mut item = item.clone();
    item["vaultRef"] = vault.clone();
    item
}

/// `API` of the scene's vault, `DB` of the team's.
fn both() -> Value {
    let data = [item("API", "shared"), through(&json!({"name": "db-team"}), &item("DB", "shared"))];
    json!({"refreshInterval": "10s", "data": data})
}

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_secret_of_two_vaults_changes_once_when_both_change() {
    let scene = OperatorScene::new().await;
    let team = of_team(&scene).await;
    scene.vault.set("shared", "api-1");
    team.set("shared", "db-1");
    scene.sync("shop", both()).await;
    let object = scene.synced("shop").await;
    let old = values(&[("API", "api-1"), ("DB", "db-1")]);
    scene.secret_is("shop", &[("API", "api-1"), ("DB", "db-1")]).await;
    let status = serde_json::to_value(object.status.unwrap()).unwrap();
    assert_eq!(status["vault"], json!(scene.vault.url()));
    assert_eq!(status["entries"][0]["vault"], Value::Null);
    let told = json!({"kind": "KeyVault", "name": "db-team", "url": team.url()});
    assert_eq!(status["entries"][1]["vault"], told);

    let history = History::of(&scene.namespace).await;
    scene.vault.set("shared", "api-2");
    team.set("shared", "db-2");
    let new = values(&[("API", "api-2"), ("DB", "db-2")]);
    let seen = history.until("shop", &new).await;
    assert!(seen.iter().all(|state| *state == old || *state == new), "{seen:?}");
    scene.synced("shop").await;
}

#[tokio::test]
async fn trouble_of_one_vault_writes_nothing_of_the_other_and_stale_names_the_one() {
    let mut scene = OperatorScene::without_operator().await;
    scene.settings.stale_after = Some(Duration::from_secs(1));
    scene.start().await;
    let team = of_team(&scene).await;
    scene.vault.set("shared", "api-1");
    team.set("shared", "db-1");
    scene.sync("shop", both()).await;
    scene.synced("shop").await;
    let before = scene.secret_is("shop", &[("API", "api-1"), ("DB", "db-1")]).await;

    team.fault(Fault::status(503));
    scene.vault.set("shared", "api-2");
    scene.ask("shop", "in vain").await;
    let object = scene.ready("shop", "False", "Stale").await;
    let message = object.message();
    assert!(message.contains("KeyVault db-team has confirmed nothing"), "{message}");
    let during = scene.secret_is("shop", &[("API", "api-1"), ("DB", "db-1")]).await;
    assert_eq!(version(&before), version(&during));
    // Nor is anything else said by a restart.
    scene.stop().await;
    scene.start().await;
    scene.vault_says("db-team", "False", "ServiceUnavailable").await;
    let object = scene.ready("shop", "False", "Stale").await;
    assert!(object.message().contains("KeyVault db-team"), "{}", object.message());
    scene.secret_is("shop", &[("API", "api-1"), ("DB", "db-1")]).await;

    team.clear_faults();
    scene.secret_is("shop", &[("API", "api-2"), ("DB", "db-1")]).await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn each_vault_is_read_as_its_own_connection_may_and_nothing_before_all_of_it_is_granted() {
    let scene = OperatorScene::of_shared_vaults().await;
    let team = of_team(&scene).await;
    scene.vault.set("db", "shared");
    team.set("api", "own");
    let shared = scene.share(json!([])).await;
    let mut scene = scene;
    scene.start().await;
    let data = [item("API", "api"), through(&shared.reference(), &item("DB", "db"))];
    let spec = json!({"refreshInterval": "10s", "vaultRef": {"name": "db-team"}, "data": data});
    scene.sync("shop", spec).await;
    let object = scene.ready("shop", "False", "NotAllowed").await;
    let message = object.message();
    assert!(message.contains(&format!("ClusterKeyVault {}", shared.name)), "{message}");
    assert!(message.contains("secret db") && !message.contains("api"), "{message}");
    let reads =
        |vault: &Vault| vault.count_where(|request| matches!(request.secret.as_deref(), Some("api" | "db")));
    assert_eq!((reads(&scene.vault), reads(&team)), (0, 0));
    assert_eq!(scene.secret("shop").await, None);

    shared.allow(json!([grant(&[&scene.namespace.name], &["db"])])).await;
    scene.secret_is("shop", &[("API", "own"), ("DB", "shared")]).await;
    // A grant that is withdrawn stops the whole object, and takes nothing away.
    shared.allow(json!([])).await;
    scene.ready("shop", "False", "NotAllowed").await;
    team.set("api", "new");
    scene.ask("shop", "in vain").await;
    scene.secret_is("shop", &[("API", "own"), ("DB", "shared")]).await;
    shared.allow(json!([grant(&[&scene.namespace.name], &["db"])])).await;
    scene.secret_is("shop", &[("API", "new"), ("DB", "shared")]).await;
}

#[tokio::test]
async fn an_entry_whose_connection_is_not_there_is_named_by_its_field_and_heals() {
    let scene = OperatorScene::new().await;
    scene.vault.set("shared", "api");
    scene.sync("shop", both()).await;
    let object = scene.ready("shop", "False", "VaultNotFound").await;
    let message = object.message();
    assert!(message.contains("There is no KeyVault db-team in this namespace."), "{message}");
    assert!(message.contains("correct spec.data[1].vaultRef"), "{message}");
    let team = of_team(&scene).await;
    team.set("shared", "db");
    scene.synced("shop").await;
    scene.secret_is("shop", &[("API", "api"), ("DB", "db")]).await;
}

#[tokio::test]
async fn what_two_connections_to_one_vault_read_is_one_secret_and_one_value() {
    let scene = OperatorScene::new().await;
    scene.create::<KeyVault>(&scene.key_vault("again", &scene.vault.url())).await;
    scene.vault.set("shared", "one");
    let again = json!({"name": "again"});
    let find = json!({"find": {"name": "sha*"}, "rename": [{"case": "Upper"}], "vaultRef": again});
    let data = [item("A", "shared"), through(&again, &item("B", "shared"))];
    scene.sync("shop", json!({"refreshInterval": "10s", "data": data, "dataFrom": [find]})).await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("A", "one"), ("B", "one"), ("SHARED", "one")]).await;
    scene.vault.set("shared", "two");
    scene.secret_is("shop", &[("A", "two"), ("B", "two"), ("SHARED", "two")]).await;
    eventually("the object is synced", || async {
        let object = scene.synced("shop").await;
        let entries = object.status.unwrap().entries.len();
        if entries == 2 { Ok(()) } else { Err(format!("{entries} entries")) }
    })
    .await;
}
