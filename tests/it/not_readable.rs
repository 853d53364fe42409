//! Not everything is readable: what cannot be read keeps its key, and everything else goes on.

use k8s_openapi::api::core::v1::Secret;
use keyvault_emulator::{Fault, Forbidden, SecretOptions};
use serde_json::{Value, json};
use support::history::Values;
use support::scene::{OperatorScene, data, version};
use support::{History, Says as _, until};
use vaultsync::api::{STALLED, VaultSecretSync};

use support::scene::CLIENT;

/// What status says of a source.
fn state(object: &VaultSecretSync, source: &str) -> String {
    let entries = &object.status.as_ref().expect("a status").entries;
    let entry = entries.iter().find(|entry| entry.name == source);
    entry.unwrap_or_else(|| panic!("no entry {source} in {entries:?}")).state.to_string()
}

/// Ready's message names each of these.
#[track_caller]
fn says(object: &VaultSecretSync, parts: &[&str]) {
    let message = object.message();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// An object of one entry `DB` from the secret `db`, with more fields of its source and its `onMissing`, beside a
/// plain entry `OTHER` from `other`.
fn beside_another(source: &Value, on_missing: &str) -> Value {
    let mut secret = json!({"name": "db"});
    secret.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    json!({"refreshInterval": "10s", "data": [
        {"key": "DB", "from": {"secret": secret}, "onMissing": on_missing},
        {"key": "OTHER", "from": {"secret": {"name": "other"}}},
    ]})
}

/// One way in which an entry cannot be read, and all that a user is promised of it.
struct Row {
    /// More fields of the source.
    source: Value,
    /// Sets `db` so that it reads as `one` or `two`.
    good: fn(&OperatorScene, &str),
    /// Makes `db` unreadable.
    break_it: fn(&OperatorScene),
    /// Makes it readable again, as `two`.
    mend: fn(&OperatorScene),
    reason: &'static str,
    /// What the message says, beside the source and its key.
    remedy: &'static str,
}

fn plain(scene: &OperatorScene, value: &str) {
    scene.vault.set("db", value);
}

impl Row {
    /// There is no Secret until every entry can be read; Ready says which one holds it up, and the ways out.
    async fn at_first_creation(&self) {
        let scene = OperatorScene::new().await;
        let history = History::of(&scene.namespace).await;
        (self.good)(&scene, "one");
        (self.break_it)(&scene);
        scene.vault.set("other", "one");
        scene.sync("shop", beside_another(&self.source, "Keep")).await;
        // What fails for the first time may be the whole vault.
        let held_up = |object: Option<&VaultSecretSync>| {
            object.is_some_and(|object| {
                object.says("False", self.reason) && object.message().contains("no Secret shop yet")
            })
        };
        let object = support::until(&scene.api(), "shop", "the entry holds it up", held_up).await.unwrap();
        says(&object, &["no Secret shop yet", "onMissing: Remove", "secret db (key DB)", self.remedy]);
        assert_eq!(state(&object, "db"), self.reason);
        let stalled = object.condition(STALLED).cloned();
        assert_eq!(stalled, None, "the vault can mend it, so nothing is stalled");
        assert_eq!(scene.secret("shop").await, None);
        // One entry of one object is no outage of the vault.
        scene.vault_says("default", "True", "Connected").await;

        (self.mend)(&scene);
        scene.force("shop", "mended").await;
        let object = scene.synced("shop").await;
        assert_eq!(
            (state(&object, "db"), state(&object, "other")),
            ("Synced".to_owned(), "Synced".to_owned())
        );
        let whole =
            Values::from([("DB", "two"), ("OTHER", "one")].map(|(key, value)| (key.into(), value.into())));
        assert_eq!(history.until("shop", &whole).await, [whole]);
    }

    /// An entry that says `Remove` holds nothing up: the Secret is created without it, and it comes when it can.
    async fn at_first_creation_without_it(&self) {
        let scene = OperatorScene::new().await;
        (self.good)(&scene, "one");
        (self.break_it)(&scene);
        scene.vault.set("other", "one");
        scene.sync("shop", beside_another(&self.source, "Remove")).await;
        if matches!(self.reason, "SecretNotFound" | "PropertyNotFound") {
            let object = scene.synced("shop").await;
            assert_eq!(state(&object, "db"), "Missing");
        } else {
            let object = scene.ready("shop", "False", self.reason).await;
            says(&object, &["secret db (key DB)", self.remedy]);
        }
        scene.secret_is("shop", &[("OTHER", "one")]).await;

        (self.mend)(&scene);
        scene.force("shop", "mended").await;
        scene.synced("shop").await;
        scene.secret_is("shop", &[("DB", "two"), ("OTHER", "one")]).await;
    }

    /// Later the key keeps its value, the others follow the vault, and when the cause goes it follows too.
    async fn later(&self) {
        let scene = OperatorScene::new().await;
        (self.good)(&scene, "one");
        scene.vault.set("other", "one");
        scene.sync("shop", beside_another(&self.source, "Keep")).await;
        scene.synced("shop").await;
        scene.secret_is("shop", &[("DB", "one"), ("OTHER", "one")]).await;

        (self.break_it)(&scene);
        scene.vault.set("other", "two");
        scene.force("shop", "broken").await;
        let object = scene.ready("shop", "False", self.reason).await;
        says(&object, &["secret db (key DB)", self.remedy, "keep their last value"]);
        assert_eq!(
            (state(&object, "db"), state(&object, "other")),
            (self.reason.to_owned(), "Synced".to_owned())
        );
        let kept = scene.secret_is("shop", &[("DB", "one"), ("OTHER", "two")]).await;
        // Read once more, and again nothing moves.
        let object = scene.force("shop", "still broken").await;
        says(&object, &["secret db (key DB)", self.remedy]);
        let after = scene.secret_is("shop", &[("DB", "one"), ("OTHER", "two")]).await;
        assert_eq!(version(&kept), version(&after));
        scene.vault_says("default", "True", "Connected").await;

        (self.mend)(&scene);
        scene.force("shop", "mended").await;
        let object = scene.synced("shop").await;
        assert_eq!(state(&object, "db"), "Synced");
        scene.secret_is("shop", &[("DB", "two"), ("OTHER", "two")]).await;
    }
}

fn deleted() -> Row {
    Row {
        source: json!({}),
        good: plain,
        break_it: |scene| scene.vault.delete("db"),
        mend: |scene| {
            scene.vault.recover("db");
            scene.vault.set("db", "two");
        },
        reason: "SecretNotFound",
        remedy: "az keyvault secret recover",
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_holds_up_the_first_creation() {
    deleted().at_first_creation().await;
}

#[tokio::test]
async fn an_optional_secret_that_is_missing_holds_nothing_up() {
    deleted().at_first_creation_without_it().await;
}

#[tokio::test]
async fn a_secret_that_is_deleted_keeps_its_key_until_it_is_recovered() {
    deleted().later().await;
}

fn disabled() -> Row {
    Row {
        source: json!({}),
        good: plain,
        break_it: |scene| {
            scene.vault.set("db", "never read");
            scene.vault.disable("db");
        },
        mend: |scene| plain(scene, "two"),
        reason: "SecretDisabled",
        remedy: "Enable it, or remove the reference",
    }
}

#[tokio::test]
async fn a_disabled_secret_holds_up_the_first_creation() {
    disabled().at_first_creation().await;
}

#[tokio::test]
async fn an_optional_secret_that_is_disabled_holds_nothing_up() {
    disabled().at_first_creation_without_it().await;
}

#[tokio::test]
async fn a_secret_that_is_disabled_keeps_its_last_value() {
    disabled().later().await;
}

fn denied() -> Row {
    Row {
        source: json!({}),
        good: plain,
        break_it: |scene| scene.vault.deny(CLIENT, "db"),
        mend: |scene| {
            scene.vault.revoke(CLIENT);
            scene.vault.grant(CLIENT);
            plain(scene, "two");
        },
        reason: "MissingRole",
        remedy: "Key Vault Secrets User",
    }
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_holds_up_the_first_creation() {
    denied().at_first_creation().await;
}

#[tokio::test]
async fn an_optional_secret_that_may_not_be_read_holds_nothing_up() {
    denied().at_first_creation_without_it().await;
}

#[tokio::test]
async fn a_secret_that_may_no_longer_be_read_keeps_its_last_value() {
    denied().later().await;
}

fn without_property() -> Row {
    Row {
        source: json!({"property": "$.token"}),
        good: |scene, value| plain(scene, &json!({"token": value}).to_string()),
        break_it: |scene| plain(scene, r#"{"tok": "hidden"}"#),
        mend: |scene| plain(scene, r#"{"token": "two"}"#),
        reason: "PropertyNotFound",
        remedy: "Correct the property",
    }
}

#[tokio::test]
async fn a_property_that_is_absent_holds_up_the_first_creation() {
    without_property().at_first_creation().await;
}

#[tokio::test]
async fn an_optional_property_that_is_absent_holds_nothing_up() {
    without_property().at_first_creation_without_it().await;
}

#[tokio::test]
async fn a_property_that_goes_keeps_its_last_value() {
    without_property().later().await;
}

fn not_json() -> Row {
    Row {
        break_it: |scene| plain(scene, r#"{"token": "hidden"#),
        reason: "InvalidJson",
        remedy: "not JSON",
        ..without_property()
    }
}

#[tokio::test]
async fn a_value_that_should_be_json_and_is_not_holds_up_the_first_creation() {
    not_json().at_first_creation().await;
}

#[tokio::test]
async fn an_optional_value_that_should_be_json_and_is_not_holds_nothing_up() {
    not_json().at_first_creation_without_it().await;
}

#[tokio::test]
async fn a_value_that_stops_being_json_keeps_its_last_value() {
    not_json().later().await;
}

fn not_base64() -> Row {
    Row {
        source: json!({"decode": "Base64"}),
        good: |scene, value| plain(scene, if value == "one" { "b25l" } else { "dHdv" }),
        break_it: |scene| plain(scene, "hidden!"),
        mend: |scene| plain(scene, "dHdv"),
        reason: "DecodeFailed",
        remedy: "Correct decode",
    }
}

#[tokio::test]
async fn a_value_that_should_be_base64_and_is_not_holds_up_the_first_creation() {
    not_base64().at_first_creation().await;
}

#[tokio::test]
async fn an_optional_value_that_should_be_base64_and_is_not_holds_nothing_up() {
    not_base64().at_first_creation_without_it().await;
}

#[tokio::test]
async fn a_value_that_stops_being_base64_keeps_its_last_value() {
    not_base64().later().await;
}

/// What stands in the way of one secret only, by a fault that the vault plays.
fn fault(break_it: fn(&OperatorScene), reason: &'static str, remedy: &'static str) -> Row {
    let mend: fn(&OperatorScene) = |scene| {
        scene.vault.clear_faults();
        plain(scene, "two");
    };
    Row { source: json!({}), good: plain, break_it, mend, reason, remedy }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_keeps_the_last_value_and_holds_up_the_first_creation() {
    let garbage: fn(&OperatorScene) = |scene| _ = scene.vault.fault(Fault::garbage().on_secret("db"));
    let row = fault(garbage, "MalformedResponse", "Check whether a proxy answers");
    row.later().await;
    row.at_first_creation().await;
}

#[tokio::test]
async fn an_answer_larger_than_any_secret_keeps_the_last_value_and_holds_up_the_first_creation() {
    let oversized: fn(&OperatorScene) =
        |scene| _ = scene.vault.fault(Fault::oversized(400_000).on_secret("db"));
    let row = fault(oversized, "TooLarge", "larger than any secret can be");
    row.later().await;
    row.at_first_creation().await;
}

#[tokio::test]
async fn a_read_that_a_policy_forbids_keeps_the_last_value_and_holds_up_the_first_creation() {
    let policy: fn(&OperatorScene) =
        |scene| _ = scene.vault.fault(Fault::forbidden(Forbidden::ByPolicy).on_secret("db"));
    let row = fault(policy, "Forbidden", "Azure Policy");
    row.later().await;
    row.at_first_creation().await;
}

#[tokio::test]
async fn a_missing_secret_may_remove_its_key_and_the_object_stays_ready() {
    let scene = OperatorScene::new().await;
    scene.vault.set("other", "one");
    scene.sync("shop", beside_another(&json!({}), "Remove")).await;
    let object = scene.synced("shop").await;
    assert_eq!(state(&object, "db"), "Missing");
    scene.secret_is("shop", &[("OTHER", "one")]).await;

    scene.vault.set("db", "one");
    let object = scene.force("shop", "it is there").await;
    assert_eq!(state(&object, "db"), "Synced");
    scene.secret_is("shop", &[("DB", "one"), ("OTHER", "one")]).await;

    scene.vault.delete("db");
    let object = scene.force("shop", "it is gone").await;
    assert_eq!(state(&object, "db"), "Missing");
    scene.synced("shop").await;
    scene.secret_is("shop", &[("OTHER", "one")]).await;

    scene.vault.recover("db");
    scene.force("shop", "it is back").await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("DB", "one"), ("OTHER", "one")]).await;
}

#[tokio::test]
async fn a_missing_property_may_remove_its_key_and_the_object_stays_ready() {
    let scene = OperatorScene::new().await;
    scene.vault.set("other", "one");
    scene.vault.set("db", r#"{"token": null}"#);
    scene.sync("shop", beside_another(&json!({"property": "$.token"}), "Remove")).await;
    let object = scene.synced("shop").await;
    assert_eq!(state(&object, "db"), "Missing");
    scene.secret_is("shop", &[("OTHER", "one")]).await;

    scene.vault.set("db", r#"{"token": "one"}"#);
    scene.force("shop", "it is there").await;
    scene.secret_is("shop", &[("DB", "one"), ("OTHER", "one")]).await;
    scene.vault.set("db", "{}");
    scene.force("shop", "it is gone").await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("OTHER", "one")]).await;
}

#[tokio::test]
async fn a_value_that_is_not_readable_is_never_removed_though_missing_ones_may_be() {
    let scene = OperatorScene::new().await;
    scene.vault.set("other", "one");
    scene.vault.set("db", r#"{"token": "one"}"#);
    scene.sync("shop", beside_another(&json!({"property": "$.token"}), "Remove")).await;
    scene.synced("shop").await;
    scene.vault.set("db", "no JSON");
    scene.force("shop", "1").await;
    scene.ready("shop", "False", "InvalidJson").await;
    scene.secret_is("shop", &[("DB", "one"), ("OTHER", "one")]).await;
    scene.vault.disable("db");
    scene.force("shop", "2").await;
    scene.ready("shop", "False", "SecretDisabled").await;
    scene.secret_is("shop", &[("DB", "one"), ("OTHER", "one")]).await;
}

#[tokio::test]
async fn nothing_that_is_missing_ever_makes_an_empty_secret() {
    let scene = OperatorScene::new().await;
    let mark = scene.namespace.cluster().mark();
    scene.sync("kept", data(&[("DB", "db")])).await;
    scene
        .sync(
            "removed",
            json!({"refreshInterval": "10s", "data": [
                {"key": "DB", "from": {"secret": {"name": "db"}}, "onMissing": "Remove"},
            ]}),
        )
        .await;
    scene
        .sync("whole", json!({"refreshInterval": "10s", "dataFrom": [{"secret": {"name": "config"}}]}))
        .await;
    let object = scene.ready("kept", "False", "SecretNotFound").await;
    says(&object, &["secret db (key DB)"]);
    scene.ready("whole", "False", "SecretNotFound").await;
    let object = scene.ready("removed", "False", "MissingKey").await;
    says(&object, &["No source provides a key yet", "no Secret removed yet"]);
    scene.force("removed", "1").await;
    for name in ["kept", "removed", "whole"] {
        assert_eq!(scene.secret(name).await, None, "{name}");
    }
    let writes = scene.namespace.cluster().operator_writes_since(mark, &scene.namespace.name);
    assert!(!writes.iter().any(|seen| seen.resource == "secrets" && seen.verb == "create"), "{writes:?}");

    scene.vault.set("db", "one");
    scene.vault.set("config", r#"{"A": "1"}"#);
    for name in ["kept", "removed", "whole"] {
        scene.force(name, "2").await;
        scene.synced(name).await;
    }
    scene.secret_is("kept", &[("DB", "one")]).await;
    scene.secret_is("removed", &[("DB", "one")]).await;
    scene.secret_is("whole", &[("A", "1")]).await;

    // Nor is one emptied.
    scene.vault.delete("db");
    let object = scene.ready("removed", "False", "MissingKey").await;
    says(&object, &["No source provides a key any more", "never empties a Secret"]);
    scene.secret_is("removed", &[("DB", "one")]).await;
}

fn from_object(names: &[&str]) -> Value {
    let sources: Vec<Value> = names.iter().map(|name| json!({"secret": {"name": name}})).collect();
    json!({
        "refreshInterval": "10s",
        "data": [{"key": "OTHER", "from": {"secret": {"name": "other"}}}],
        "dataFrom": sources,
    })
}

#[tokio::test]
async fn an_object_that_stops_being_one_keeps_its_keys() {
    let scene = OperatorScene::new().await;
    scene.vault.set("other", "one");
    scene.vault.set("config", r#"{"A": "1", "B": "1"}"#);
    scene.sync("shop", from_object(&["config"])).await;
    scene.synced("shop").await;
    for (request, broken) in
        [("1", r#"{"A": "hidden"#), ("2", r#"["hidden"]"#), ("3", r#""hidden""#), ("4", "null")]
    {
        scene.vault.set("config", broken);
        let object = scene.force("shop", request).await;
        says(&object, &["secret config (dataFrom)", "not a JSON object"]);
        assert!(!object.message().contains("hidden"));
        assert_eq!(state(&object, "config"), "InvalidJson");
        scene.secret_is("shop", &[("A", "1"), ("B", "1"), ("OTHER", "one")]).await;
    }
    scene.vault.set("config", r#"{"A": "2"}"#);
    scene.force("shop", "mended").await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("A", "2"), ("OTHER", "one")]).await;
}

#[tokio::test]
async fn a_member_that_can_be_no_key_is_reported_and_the_others_are_written() {
    let scene = OperatorScene::new().await;
    scene.vault.set("other", "one");
    scene.vault.set("config", r#"{"A": "1", "no key": "hidden"}"#);
    scene.sync("shop", from_object(&["config"])).await;
    let object = scene.ready("shop", "False", "InvalidKey").await;
    says(&object, &["secret config (dataFrom)", "cannot be keys of a Secret", "[\"no key\"]"]);
    scene.secret_is("shop", &[("A", "1"), ("OTHER", "one")]).await;
    scene.vault.set("config", r#"{"A": "1", "a-key": "2"}"#);
    scene.force("shop", "mended").await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("A", "1"), ("OTHER", "one"), ("a-key", "2")]).await;
}

/// One `dataFrom` source beside the key `OTHER`.
fn from_config(source: &Value) -> Value {
    let mut spec = data(&[("OTHER", "other")]);
    let mut config = json!({"secret": {"name": "config"}});
    config.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    spec["dataFrom"] = json!([config]);
    spec
}

#[tokio::test]
async fn a_value_of_another_format_than_its_source_names_keeps_its_keys_until_it_is_one() {
    for (format, good, next) in [("Yaml", "A: one\nB: 010", "A: two"), ("Dotenv", "A=one\nB=010", "A=two")] {
        let scene = OperatorScene::new().await;
        scene.vault.set("other", "one");
        scene.vault.set("config", good);
        scene.sync("shop", from_config(&json!({"secret": {"name": "config", "format": format}}))).await;
        scene.synced("shop").await;
        scene.secret_is("shop", &[("A", "one"), ("B", "010"), ("OTHER", "one")]).await;
        scene.vault.set("config", "hidden");
        scene.force("shop", "broken").await;
        let object = scene.ready("shop", "False", "InvalidFormat").await;
        says(&object, &["secret config (dataFrom)", format, "Its keys keep their last value"]);
        assert!(!object.message().contains("hidden"));
        scene.vault.set("config", next);
        scene.force("shop", "mended").await;
        scene.synced("shop").await;
        scene.secret_is("shop", &[("A", "two"), ("OTHER", "one")]).await;
    }
}

#[tokio::test]
async fn members_get_other_names_and_two_that_come_to_one_are_told() {
    let scene = OperatorScene::new().await;
    scene.vault.set("other", "one");
    scene.vault.set("config", r#"{"ConnectionStrings:Default": "x", "shop-a": "1"}"#);
    let colons = json!({"match": ":", "to": "__"});
    scene.sync("shop", from_config(&json!({"rename": [colons]}))).await;
    scene.synced("shop").await;
    let key = "ConnectionStrings__Default";
    scene.secret_is("shop", &[(key, "x"), ("OTHER", "one"), ("shop-a", "1")]).await;
    // An edit of the steps is written without a new version.
    let prefix = json!({"match": "^shop-", "to": ""});
    let edited = from_config(&json!({"rename": [colons, prefix]}));
    scene.edit("shop", json!({"spec": {"dataFrom": edited["dataFrom"]}})).await;
    scene.secret_is("shop", &[(key, "x"), ("OTHER", "one"), ("a", "1")]).await;
    scene.synced("shop").await;
    scene.vault.set("config", r#"{"ConnectionStrings:Default": "y", "shop-a": "1", "a": "2"}"#);
    scene.force("shop", "doubled").await;
    let object = scene.ready("shop", "False", "DuplicateKey").await;
    says(&object, &["another member of this one", "by rename"]);
    scene.secret_is("shop", &[(key, "y"), ("OTHER", "one"), ("a", "1")]).await;
    // The API server takes any text for a pattern.
    let wrong = from_config(&json!({"rename": [{"match": "(", "to": ""}]}));
    scene.edit("shop", json!({"spec": {"dataFrom": wrong["dataFrom"]}})).await;
    let object = scene.ready("shop", "False", "InvalidSpec").await;
    says(&object, &["spec.dataFrom[0].rename[0].match is not a regular expression"]);
    scene.secret_is("shop", &[(key, "y"), ("OTHER", "one"), ("a", "1")]).await;
}

#[tokio::test]
async fn a_key_that_two_objects_give_is_reported_and_neither_wins() {
    let scene = OperatorScene::new().await;
    scene.vault.set("other", "one");
    scene.vault.set("config", r#"{"A": "1", "SHARED": "1", "OTHER": "data wins"}"#);
    scene.vault.set("more", r#"{"B": "1", "OTHER": "data wins"}"#);
    scene.sync("shop", from_object(&["config", "more"])).await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("A", "1"), ("B", "1"), ("OTHER", "one"), ("SHARED", "1")]).await;

    scene.vault.set("more", r#"{"B": "2", "SHARED": "2"}"#);
    scene.force("shop", "doubled").await;
    let object = scene.ready("shop", "False", "DuplicateKey").await;
    says(&object, &["secret config", "secret more", "name the key in data"]);
    scene.secret_is("shop", &[("A", "1"), ("B", "2"), ("OTHER", "one"), ("SHARED", "1")]).await;

    scene.vault.set("more", r#"{"B": "2"}"#);
    scene.force("shop", "mended").await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("A", "1"), ("B", "2"), ("OTHER", "one"), ("SHARED", "1")]).await;
}

#[tokio::test]
async fn keys_that_left_an_object_go_only_when_every_object_was_read() {
    let scene = OperatorScene::new().await;
    scene.vault.set("other", "one");
    scene.vault.set("config", r#"{"A": "1", "OLD": "1"}"#);
    scene.vault.set("more", r#"{"B": "1"}"#);
    scene.sync("shop", from_object(&["config", "more"])).await;
    scene.synced("shop").await;

    scene.vault.disable("more");
    scene.vault.set("config", r#"{"A": "2"}"#);
    scene.force("shop", "half a picture").await;
    scene.ready("shop", "False", "SecretDisabled").await;
    scene.secret_is("shop", &[("A", "2"), ("B", "1"), ("OLD", "1"), ("OTHER", "one")]).await;

    scene.vault.enable("more");
    scene.force("shop", "the whole picture").await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("A", "2"), ("B", "1"), ("OTHER", "one")]).await;
}

#[tokio::test]
async fn a_missing_object_may_remove_its_keys() {
    let scene = OperatorScene::new().await;
    scene.vault.set("other", "one");
    scene.vault.set("config", r#"{"A": "1"}"#);
    let mut spec = from_object(&["config"]);
    spec["dataFrom"][0]["onMissing"] = json!("Remove");
    scene.sync("shop", spec).await;
    scene.synced("shop").await;
    scene.vault.delete("config");
    let object = scene.force("shop", "gone").await;
    assert_eq!(state(&object, "config"), "Missing");
    scene.synced("shop").await;
    scene.secret_is("shop", &[("OTHER", "one")]).await;
    scene.vault.recover("config");
    scene.force("shop", "back").await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("A", "1"), ("OTHER", "one")]).await;
}

/// As much as the vault keeps in one secret, a little less.
fn large(letter: &str) -> String {
    letter.repeat(24 * 1024)
}

fn many(count: usize) -> Value {
    let pairs: Vec<(String, String)> =
        (0..count).map(|n| (format!("KEY{n}"), format!("large-{n}"))).collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, name)| (key.as_str(), name.as_str())).collect();
    data(&pairs)
}

#[tokio::test]
async fn a_secret_that_would_be_too_large_is_not_even_tried() {
    let scene = OperatorScene::new().await;
    for n in 0..64 {
        scene.vault.set(&format!("large-{n}"), &large("a"));
    }
    let mark = scene.namespace.cluster().mark();
    scene.sync("shop", many(64)).await;
    let object = scene.ready("shop", "False", "TooLarge").await;
    says(&object, &["1 MiB", "Split it into several objects"]);
    assert_eq!(scene.secret("shop").await, None);
    let writes = scene.namespace.cluster().operator_writes_since(mark, &scene.namespace.name);
    assert!(!writes.iter().any(|seen| seen.resource == "secrets" && seen.code < 300), "{writes:?}");

    scene.edit("shop", json!({"spec": {"data": many(2)["data"]}})).await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("KEY0", &large("a")), ("KEY1", &large("a"))]).await;
}

#[tokio::test]
async fn a_secret_that_grows_too_large_stays_as_it_was() {
    let scene = OperatorScene::new().await;
    for n in 0..50 {
        scene.vault.set(&format!("large-{n}"), if n < 40 { large("a") } else { "small".to_owned() }.as_str());
    }
    scene.sync("shop", many(50)).await;
    scene.synced("shop").await;
    let before = scene.api::<Secret>().get("shop").await.unwrap();
    for n in 40..50 {
        scene.vault.set(&format!("large-{n}"), &large("b"));
    }
    let asked = json!({"metadata": {"annotations": {"vaultsync.dev/sync-requested-at": "1"}}});
    scene.edit("shop", asked).await;
    let object = scene.ready("shop", "False", "TooLarge").await;
    says(&object, &["1 MiB", "Split it into several objects"]);
    let after = scene.api::<Secret>().get("shop").await.unwrap();
    assert_eq!((version(&before), &before.data), (version(&after), &after.data));

    for n in 40..50 {
        scene.vault.set(&format!("large-{n}"), "small again");
    }
    scene.force("shop", "2").await;
    scene.synced("shop").await;
    let secret = scene.secret("shop").await.unwrap();
    assert_eq!((secret["KEY49"].as_str(), secret["KEY0"].len()), ("small again", 24 * 1024));
}

#[tokio::test]
async fn an_expired_secret_and_one_that_is_not_yet_valid_are_delivered_and_say_so() {
    let scene = OperatorScene::new().await;
    let (past, future) = (946_684_800, 4_102_444_800);
    scene.vault.set_with("old", "one", SecretOptions { expires: Some(past), ..SecretOptions::default() });
    scene.vault.set_with(
        "new",
        "two",
        SecretOptions { not_before: Some(future), ..SecretOptions::default() },
    );
    scene.sync("shop", data(&[("OLD", "old"), ("NEW", "new")])).await;
    let object = scene.synced("shop").await;
    assert_eq!((state(&object, "old").as_str(), state(&object, "new").as_str()), ("Expired", "NotYetValid"));
    let entries = &object.status.as_ref().unwrap().entries;
    assert_eq!(entries[0].expires.as_ref().unwrap().0.as_second(), past);
    assert_eq!(entries[1].not_before.as_ref().unwrap().0.as_second(), future);
    scene.secret_is("shop", &[("NEW", "two"), ("OLD", "one")]).await;
    // Nor does one take its key along that was valid when it was synced.
    let soon = vaultsync::run::clock().as_second() + 8;
    scene.vault.set_with("new", "three", SecretOptions { expires: Some(soon), ..SecretOptions::default() });
    scene.secret_is("shop", &[("NEW", "three"), ("OLD", "one")]).await;
    until(&scene.api(), "shop", "its secret has expired", |object: Option<&VaultSecretSync>| {
        object.is_some_and(|object| state(object, "new") == "Expired")
    })
    .await;
    scene.secret_is("shop", &[("NEW", "three"), ("OLD", "one")]).await;
}

#[tokio::test]
async fn a_pinned_version_is_delivered_and_stays() {
    let scene = OperatorScene::new().await;
    let first = scene.vault.set("db", "one");
    scene.vault.set("db", "two");
    scene
        .sync(
            "shop",
            json!({"refreshInterval": "10s", "data": [
                {"key": "PINNED", "from": {"secret": {"name": "db", "version": first}}},
                {"key": "CURRENT", "from": {"secret": {"name": "db"}}},
            ]}),
        )
        .await;
    let object = scene.synced("shop").await;
    let entries = &object.status.as_ref().unwrap().entries;
    assert_eq!(entries[0].version.as_ref(), Some(&first));
    assert_eq!((entries[0].pin.as_deref(), entries[1].pin.as_deref()), (Some(first.as_str()), None));
    scene.secret_is("shop", &[("CURRENT", "two"), ("PINNED", "one")]).await;
    scene.vault.set("db", "three");
    scene.force("shop", "1").await;
    scene.secret_is("shop", &[("CURRENT", "three"), ("PINNED", "one")]).await;
}

#[tokio::test]
async fn a_pinned_version_that_does_not_exist_is_named() {
    let scene = OperatorScene::new().await;
    scene.vault.set("db", "one");
    scene.vault.set("other", "one");
    let wrong = "0".repeat(32);
    scene.sync("shop", beside_another(&json!({"version": wrong}), "Keep")).await;
    let object = scene.ready("shop", "False", "SecretNotFound").await;
    says(&object, &["no Secret shop yet", &format!("secret db version {wrong} (key DB)")]);
    assert_eq!(scene.secret("shop").await, None);
}

fn typed(type_: &str, keys: &[(&str, &str)]) -> Value {
    let mut spec = data(keys);
    spec["target"] = json!({"type": type_});
    spec
}

#[tokio::test]
async fn a_tls_secret_is_made_only_whole() {
    let scene = OperatorScene::new().await;
    scene.vault.set("crt", "certificate");
    scene.sync("shop", typed("kubernetes.io/tls", &[("tls.crt", "crt"), ("tls.key", "key")])).await;
    let object = scene.ready("shop", "False", "MissingKey").await;
    says(&object, &["kubernetes.io/tls", "tls.key", "secret key (key tls.key)", "nothing was written"]);
    assert_eq!(scene.secret("shop").await, None);

    scene.vault.set("key", "private");
    scene.force("shop", "1").await;
    scene.synced("shop").await;
    let secret = scene.secret_is("shop", &[("tls.crt", "certificate"), ("tls.key", "private")]).await;
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
}

#[tokio::test]
async fn a_tls_secret_never_loses_a_key_it_needs_and_the_others_arrive_meanwhile() {
    let scene = OperatorScene::new().await;
    scene.vault.set("crt", "certificate");
    scene.vault.set("key", "private");
    let mut spec = typed("kubernetes.io/tls", &[("tls.crt", "crt"), ("tls.key", "key")]);
    spec["data"][1]["onMissing"] = json!("Remove");
    scene.sync("shop", spec).await;
    scene.synced("shop").await;
    scene.vault.delete("key");
    scene.vault.set("crt", "another certificate");
    scene.force("shop", "1").await;
    let object = scene.ready("shop", "False", "MissingKey").await;
    says(&object, &["kubernetes.io/tls", "tls.key", "keeps its last value", "secret key (key tls.key)"]);
    scene.secret_is("shop", &[("tls.crt", "another certificate"), ("tls.key", "private")]).await;
    scene.vault.recover("key");
    scene.force("shop", "2").await;
    scene.synced("shop").await;
    scene.secret_is("shop", &[("tls.crt", "another certificate"), ("tls.key", "private")]).await;
}

#[tokio::test]
async fn a_pull_secret_that_is_no_json_is_refused_without_a_word_of_it() {
    let scene = OperatorScene::new().await;
    scene.vault.set("pull", "canary-not-json");
    let good = r#"{"auths":{}}"#;
    scene.sync("shop", typed("kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", "pull")])).await;
    let object = scene.ready("shop", "False", "SecretRejected").await;
    says(&object, &["Secret shop", "data[.dockerconfigjson]", "kubernetes.io/dockerconfigjson"]);
    assert_eq!(scene.secret("shop").await, None);

    scene.vault.set("pull", good);
    let made = scene.secret_is("shop", &[(".dockerconfigjson", good)]).await;
    assert_eq!(made.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    scene.synced("shop").await;

    scene.vault.set("pull", "canary-not-json-again");
    let object = scene.ready("shop", "False", "SecretRejected").await;
    let kept = scene.secret_is("shop", &[(".dockerconfigjson", good)]).await;
    assert_eq!(version(&made), version(&kept));
    for text in [serde_json::to_string(&object.status).unwrap(), scene.event_reasons("shop").await.join(" ")]
    {
        assert!(!text.contains("canary"), "{text}");
    }
    scene.vault.set("pull", r#"{"auths": {}}"#);
    scene.synced("shop").await;
    scene.secret_is("shop", &[(".dockerconfigjson", r#"{"auths": {}}"#)]).await;
}

#[tokio::test]
async fn a_pull_secret_whose_source_is_missing_says_which_key_it_needs() {
    let scene = OperatorScene::new().await;
    scene.sync("shop", typed("kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", "pull")])).await;
    let object = scene.ready("shop", "False", "MissingKey").await;
    says(&object, &["kubernetes.io/dockerconfigjson", ".dockerconfigjson", "secret pull"]);
    scene.vault.set("pull", r#"{"auths":{}}"#);
    scene.force("shop", "1").await;
    scene.synced("shop").await;
}

#[tokio::test]
async fn a_source_that_fails_for_another_reason_says_the_new_one() {
    let scene = OperatorScene::new().await;
    scene.sync("shop", data(&[("DB", "db")])).await;
    scene.ready("shop", "False", "SecretNotFound").await;
    scene.vault.set("db", "one");
    scene.vault.disable("db");
    let asked = json!({"metadata": {"annotations": {"vaultsync.dev/sync-requested-at": "1"}}});
    scene.edit("shop", asked).await;
    let object = scene.ready("shop", "False", "SecretDisabled").await;
    assert_eq!(state(&object, "db"), "SecretDisabled");
    let answered = |object: Option<&VaultSecretSync>| {
        let status = object.and_then(|object| object.status.as_ref());
        status.is_some_and(|status| status.last_handled_sync.as_deref() == Some("1"))
    };
    until(&scene.api(), "shop", "the request is answered though nothing can be written", answered).await;
}
