use super::*;
use crate::api::{Creation, DataItem, KeyStatus, Target, TargetStatus, VaultRef, VaultSecretSyncSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

fn key_of_vault(key: &str, vault: Option<&VaultRef>) -> DataItem {
    let from = serde_json::json!({"secret": {"name": "db"}});
    serde_json::from_value(serde_json::json!({"key": key, "from": from, "vaultRef": vault})).unwrap()
}

fn object(name: &str, target: &str, created: i64) -> VaultSecretSync {
    let spec = VaultSecretSyncSpec {
        vault_ref: VaultRef::default(),
        refresh_interval: "5m".to_owned(),
        suspend: false,
        data: vec![key_of_vault("A", None)],
        data_from: Vec::new(),
        tls: None,
        target: Target { name: Some(target.to_owned()), ..Target::default() },
        rollout: None,
    };
    let mut object = VaultSecretSync::new(name, spec);
    object.metadata.namespace = Some("shop".to_owned());
    object.metadata.creation_timestamp = Timestamp::from_second(created).ok().map(Time);
    object
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

fn vault(namespace: Option<&str>, name: &str) -> VaultKey {
    VaultKey { namespace: namespace.map(Into::into), name: name.into() }
}

#[test]
fn the_older_object_has_the_target_and_the_other_wakes_when_it_goes() {
    let index = ObjectIndex::default();
    let (older, younger) = (object("b", "shop", 1), object("a", "shop", 2));
    index.observe(None, &Event::Apply(younger.clone()));
    assert_eq!(index.rival(&younger), None);
    index.observe(None, &Event::Apply(older.clone()));
    assert_eq!((index.rival(&younger).as_deref(), index.rival(&older)), (Some("b"), None));
    let change = index.observe(None, &Event::Delete(older));
    assert_eq!((change.wake, change.gone), (vec![key("a")], vec![key("b")]));
    assert_eq!(index.rival(&younger), None);
}

#[test]
fn of_two_objects_the_one_that_wrote_the_target_has_it_be_the_other_older_or_not() {
    // Retained and created anew, or dated by an API server whose clock is behind.
    for created in [0, 1, 2] {
        the_writer_has_it(&object("a", "shop", created), object("b", "shop", 1));
    }
}

fn the_writer_has_it(lesser: &VaultSecretSync, mut greater: VaultSecretSync) {
    let index = ObjectIndex::default();
    index.observe(None, &Event::Apply(greater.clone()));
    let target = TargetStatus { name: "shop".to_owned(), ..TargetStatus::default() };
    greater.status = Some(crate::api::VaultSecretSyncStatus { target: Some(target), ..Default::default() });
    index.observe(None, &Event::Apply(lesser.clone()));
    let older = lesser.metadata.creation_timestamp <= greater.metadata.creation_timestamp;
    assert_eq!(index.rival(lesser).is_none(), older, "neither wrote it yet");
    let change = index.observe(None, &Event::Apply(greater.clone()));
    assert_eq!((index.rival(lesser).as_deref(), index.rival(&greater)), (Some("b"), None));
    assert_eq!(change.wake, [key("b"), key("a")]);
}

#[test]
fn an_object_whose_mark_was_seen_has_the_target_though_its_status_was_lost() {
    let index = ObjectIndex::default();
    let (older, mut writer) = (object("a", "shop", 1), object("b", "shop", 2));
    for object in [&older, &writer] {
        index.observe(None, &Event::Apply(object.clone()));
    }
    assert_eq!(index.rival(&writer).as_deref(), Some("a"));
    assert_eq!(index.marked(&key("b"), "shop"), [key("b"), key("a")]);
    assert_eq!((index.rival(&older).as_deref(), index.rival(&writer)), (Some("b"), None));
    assert_eq!(index.marked(&key("b"), "shop"), [], "no news");
    assert_eq!((index.marked(&key("b"), "other"), index.marked(&key("c"), "shop")), (vec![], vec![]));
    // A status that says nothing of it changes nothing; another target does.
    writer.status = Some(crate::api::VaultSecretSyncStatus::default());
    index.observe(None, &Event::Apply(writer.clone()));
    assert_eq!(index.rival(&writer), None);
    writer.spec.target.name = Some("other".to_owned());
    index.observe(None, &Event::Apply(writer.clone()));
    writer.spec.target.name = Some("shop".to_owned());
    index.observe(None, &Event::Apply(writer.clone()));
    assert_eq!(index.rival(&writer).as_deref(), Some("a"));
}

#[test]
fn names_are_kept_once_for_all_who_keep_something_for_an_object() {
    let index = ObjectIndex::default();
    for name in ["a", "b"] {
        index.observe(None, &Event::Apply(object(name, name, 1)));
    }
    let [a, again, b] = ["a", "a", "b"].map(|name| index.shared_key_of(&object(name, name, 2)));
    assert!(Arc::ptr_eq(&a.namespace, &b.namespace) && Arc::ptr_eq(&a.name, &again.name));
    assert_eq!((a, b), (key("a"), key("b")));
    let users = index.lock().users.keys().next().cloned().unwrap();
    assert!(Arc::ptr_eq(
        users.namespace.as_ref().unwrap(),
        &index.shared_key_of(&object("a", "a", 2)).namespace
    ));
}

#[test]
fn names_that_nobody_keeps_any_more_go() {
    let index = ObjectIndex::default();
    for number in 0..1000 {
        let mut object = object("a", "a", 1);
        object.metadata.namespace = Some(format!("shop-{number}"));
        index.observe(None, &Event::Apply(object.clone()));
        index.observe(None, &Event::Delete(object));
    }
    assert!(index.lock().names.0.len() < 10);
}

#[test]
fn an_object_that_went_while_the_watch_was_away_is_gone_after_the_relist() {
    let index = ObjectIndex::default();
    for name in ["a", "b"] {
        index.observe(None, &Event::Apply(object(name, name, 1)));
    }
    index.observe(None, &Event::Init);
    index.observe(None, &Event::InitApply(object("b", "b", 1)));
    assert_eq!(index.observe(None, &Event::InitDone).gone, [key("a")]);
    assert_eq!(index.users(&vault(Some("shop"), "default")), [key("b")]);
}

#[test]
fn the_users_of_a_shared_connection_are_found_over_all_namespaces() {
    let index = ObjectIndex::default();
    for (namespace, name, kind, vault) in [
        ("shop", "a", VaultKind::ClusterKeyVault, "prod"),
        ("shop", "b", VaultKind::ClusterKeyVault, "prod"),
        ("shop", "c", VaultKind::KeyVault, "prod"),
        ("shop", "d", VaultKind::KeyVault, "test"),
        ("billing", "a", VaultKind::ClusterKeyVault, "test"),
        ("billing", "b", VaultKind::ClusterKeyVault, "prod"),
    ] {
        let mut object = object(name, name, 1);
        object.metadata.namespace = Some(namespace.to_owned());
        object.spec.vault_ref = VaultRef { kind, name: vault.to_owned() };
        index.observe(None, &Event::Apply(object));
    }
    let billing = |name: &str| ObjectKey::new("billing", name);
    assert_eq!(index.users(&vault(None, "prod")), [billing("b"), key("a"), key("b")]);
    assert_eq!(index.users(&vault(Some("shop"), "prod")), [key("c")]);
    assert_eq!(index.namespaces_of(&vault(None, "prod")), ["billing", "shop"]);
    assert_eq!(index.vaults_in_use("shop"), [vault(Some("shop"), "prod"), vault(Some("shop"), "test")]);
    assert!(index.vaults_in_use("billing").is_empty());
    assert_eq!(index.all_cluster_users(Some("billing")), [billing("a"), billing("b")]);
    assert_eq!(index.all_cluster_users(None).len(), 4);
}

#[test]
fn an_object_is_a_user_of_each_connection_that_an_entry_names_and_of_no_other() {
    let index = ObjectIndex::default();
    let mut both = object("a", "a", 1);
    let of = |kind, name: &str| VaultRef { kind, name: name.to_owned() };
    both.spec.data = vec![
        key_of_vault("A", Some(&of(VaultKind::ClusterKeyVault, "prod"))),
        key_of_vault("B", Some(&of(VaultKind::KeyVault, "team"))),
        key_of_vault("C", Some(&of(VaultKind::KeyVault, "team"))),
    ];
    index.observe(None, &Event::Apply(both.clone()));
    for used in [vault(None, "prod"), vault(Some("shop"), "team")] {
        assert_eq!(index.users(&used), [key("a")]);
    }
    assert_eq!(
        index.vaults_in_use("shop"),
        [vault(Some("shop"), "team")],
        "spec.vaultRef is used by nothing"
    );
    both.spec.data[0] = key_of_vault("A", None);
    index.observe(None, &Event::Apply(both.clone()));
    assert!(index.users(&vault(None, "prod")).is_empty() && !index.is_used(&vault(None, "prod")));
    assert_eq!(index.vaults_in_use("shop"), [vault(Some("shop"), "default"), vault(Some("shop"), "team")]);
    index.observe(None, &Event::Delete(both));
    assert!(index.vaults_in_use("shop").is_empty());
}

#[test]
fn probes_go_round() {
    let index = ObjectIndex::default();
    for name in ["a", "b", "c"] {
        let mut object = object(name, name, 1);
        if name != "b" {
            object.status = Some(crate::api::VaultSecretSyncStatus {
                target: Some(TargetStatus::default()),
                ..Default::default()
            });
        }
        index.observe(None, &Event::Apply(object));
    }
    assert_eq!(index.next_probed(None), Some(key("a")));
    assert_eq!(index.next_probed(Some(&key("a"))), Some(key("c")));
    assert_eq!(index.next_probed(Some(&key("c"))), Some(key("a")));
    assert_eq!(index.probed(), 2);
}

fn merging(name: &str, created: i64) -> VaultSecretSync {
    let mut object = object(name, "shared", created);
    object.spec.target.creation = Creation::Merge;
    object
}

#[test]
fn objects_that_add_keys_share_a_secret_until_one_has_it() {
    let index = ObjectIndex::default();
    let (one, other) = (merging("a", 2), merging("b", 1));
    for object in [&one, &other] {
        index.observe(None, &Event::Apply(object.clone()));
    }
    assert_eq!((index.rival(&one), index.rival(&other)), (None, None));
    assert_eq!(index.sharing(&key("a"), "shared"), ["b"]);
    // Whoever would make it finds that there is one, and has it only with its mark on it.
    let maker = object("c", "shared", 3);
    index.observe(None, &Event::Apply(maker.clone()));
    assert_eq!((index.rival(&one), index.rival(&maker)), (None, None));
    assert_eq!(index.sharing(&key("a"), "shared"), ["b"]);
    let woken = index.marked(&key("c"), "shared");
    assert_eq!(woken.len(), 3);
    assert_eq!(
        (index.rival(&one).as_deref(), index.rival(&other).as_deref(), index.rival(&maker)),
        (Some("c"), Some("c"), None)
    );
    index.observe(None, &Event::Delete(maker));
    assert_eq!(index.rival(&one), None);
}

#[test]
fn an_object_that_added_keys_leaves_them_to_be_removed_seen_to_go_or_not() {
    let target = TargetStatus {
        name: "shared".to_owned(),
        keys: vec![KeyStatus { name: "A".to_owned(), of: None }],
        ..TargetStatus::default()
    };
    let status = crate::api::VaultSecretSyncStatus { target: Some(target), ..Default::default() };
    let with_status = |mut object: VaultSecretSync| {
        object.status = Some(status.clone());
        object
    };
    let leaves = with_status(merging("leaves", 1));
    let mut retains = with_status(merging("retains", 1));
    retains.spec.target.deletion = Deletion::Retain;
    let owns = with_status(object("owns", "own", 1));
    for unseen in [false, true] {
        let index = ObjectIndex::default();
        let mut departures = Vec::new();
        for object in [&leaves, &retains, &owns] {
            index.observe(None, &Event::Apply(object.clone()));
        }
        if unseen {
            index.observe(None, &Event::Init);
            departures = index.observe(None, &Event::InitDone).departures;
        } else {
            for object in [&leaves, &retains, &owns] {
                departures.extend(index.observe(None, &Event::Delete(object.clone())).departures);
            }
        }
        let departure = Departure { key: key("leaves"), target: "shared".into(), keys: vec!["A".to_owned()] };
        assert_eq!(departures, [departure]);
    }
}
