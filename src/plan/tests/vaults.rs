//! Several vaults in one object: what each says counts for what is read through it, and nothing moves without all of them.

use super::*;
use crate::api::{DataFrom, DataItem, VaultKind};
use crate::plan::find::Listing;
use crate::plan::fixtures::url_of;
use crate::vault::{ObjectName, Why};
use std::collections::HashSet;

const TEAM: &str = "db-team";

fn vault(name: &str) -> VaultRef {
    VaultRef { kind: VaultKind::KeyVault, name: name.to_owned() }
}

fn through(name: &str, item: DataItem) -> DataItem {
    DataItem { vault_ref: Some(Box::new(vault(name))), ..item }
}

/// `API` of the vault of the object, `DB` of the one of its team.
fn both() -> Scene {
    let mut scene = Scene::new(vec![key("API", "shared"), through(TEAM, key("DB", "shared"))], Vec::new());
    scene.answers = vec![read("v1", "api"), read("v1", "db")];
    scene.create();
    scene
}

/// The wants of each connection, with the version that is known.
fn known(scene: &Scene) -> Vec<(String, Option<String>)> {
    let wants = scene.wants();
    let told = wants
        .iter()
        .map(|want| (want.source.name.to_string(), want.known.as_ref().map(|known| known.version.clone())));
    told.collect()
}

#[test]
fn a_secret_holds_keys_of_two_vaults_and_status_says_which_is_whose() {
    let mut scene = both();
    assert_eq!((scene.ready().0.as_str(), scene.keys()), ("True", vec!["API", "DB"]));
    let status = scene.status();
    assert_eq!(status.vault.as_deref(), Some(url_of(&VaultRef::default()).as_str()));
    assert_eq!(status.entries[0].vault, None);
    let told = status.entries[1].vault.as_deref().unwrap();
    assert_eq!((told.name.as_str(), told.url.clone()), (TEAM, url_of(&vault(TEAM))));
    let of: Vec<_> = status.target.as_ref().unwrap().keys.iter().map(|key| key.of).collect();
    assert_ne!(of[0], of[1], "one name and version in two vaults is two values");
    assert_eq!(
        known(&scene),
        [("shared", "v1"), ("shared", "v1")].map(|(name, of)| (name.into(), Some(of.into())))
    );
    scene.answers = vec![Answer::Unchanged; 2];
    scene.says_nothing_new();
}

#[test]
fn a_spec_whose_entries_all_name_their_vault_needs_no_other() {
    let scene = Scene::new(vec![through(TEAM, key("DB", "db"))], Vec::new());
    assert_eq!(scene.object.spec.vault_refs(), [&vault(TEAM)]);
    let mut object = through(TEAM, key("DB", "db"));
    object.vault_ref = Some(Box::default());
    let scene = Scene::new(vec![object, key("API", "api")], Vec::new());
    assert_eq!(scene.object.spec.vault_refs(), [&VaultRef::default()], "the same, said twice");
    assert_eq!(scene.sources().iter().map(|used| used.vault).collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn trouble_of_one_vault_writes_nothing_of_the_other_and_stale_names_the_one() {
    let mut scene = both();
    scene.answers = vec![read("v2", "new"), Answer::Pending];
    scene.others = vec![(outage(), Some(Duration::from_secs(600)))];
    let verdict = scene.verdict();
    assert_eq!(
        (verdict.outcome, verdict.status, verdict.next),
        (Outcome::Waiting, None, Some(Duration::from_secs(300)))
    );
    scene.others = vec![(outage(), Some(Duration::from_secs(900)))];
    let verdict = scene.verdict();
    scene.take_over(&verdict);
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "Stale");
    assert!(message.starts_with("KeyVault db-team has confirmed nothing"), "{message}");
    scene.others.clear();
    scene.answers = vec![read("v2", "new"), Answer::Unchanged];
    assert_eq!(scene.changes().set.keys().collect::<Vec<_>>(), ["API"]);
}

#[test]
fn while_there_is_no_secret_the_vault_that_fails_is_named() {
    let mut scene = Scene::new(vec![key("API", "api"), through(TEAM, key("DB", "db"))], Vec::new());
    scene.answers = vec![read("v1", "api"), Answer::Pending];
    scene.others = vec![(outage(), None)];
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    let verdict = scene.verdict();
    scene.take_over(&verdict);
    let (status, _, message) = scene.ready();
    assert_eq!(status, "False");
    assert!(message.starts_with("KeyVault db-team: "), "{message}");
    // Both fail: the one whose answer is awaited.
    scene.state = outage();
    scene.answers = vec![Answer::Unchanged, Answer::Pending];
    let verdict = scene.verdict();
    assert!(verdict.status.is_none_or(|status| {
        let ready = crate::api::condition(&status.conditions, crate::api::READY).unwrap().clone();
        ready.message.starts_with("KeyVault db-team: ")
    }));
}

#[test]
fn a_source_that_fails_is_told_with_its_vault() {
    let mut scene = both();
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound)];
    scene.settle();
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "SecretNotFound");
    assert!(message.starts_with("secret shared of KeyVault db-team (key DB): "), "{message}");
    assert_eq!(scene.states(), ["Synced", "SecretNotFound"]);
    assert_eq!(scene.status().entries[1].vault.as_ref().unwrap().name, TEAM);
}

#[test]
fn an_entry_that_moves_to_another_vault_is_read_there_and_the_others_stay() {
    let mut scene = both();
    scene.object.spec.data[1] = through("other", key("DB", "shared"));
    scene.object.metadata.generation = Some(2);
    assert_eq!(known(&scene)[1].1, None, "what another vault told says nothing");
    assert_eq!(known(&scene)[0].1.as_deref(), Some("v1"));
    scene.answers = vec![Answer::Unchanged, read("v1", "elsewhere")];
    assert_eq!(scene.changes().set.keys().collect::<Vec<_>>(), ["DB"]);
    // The same connection, and another vault behind it.
    let mut scene = both();
    scene.object.status.as_mut().unwrap().entries[1].vault.as_mut().unwrap().url = url_of(&vault("before"));
    assert_eq!(known(&scene)[1].1, None);
}

#[test]
fn the_vault_that_is_read_first_changes_and_nothing_is_mixed_up() {
    let mut scene = both();
    // Nothing is read through spec.vaultRef any more: the other takes the first place, and is known all the same.
    scene.object.spec.data.remove(0);
    scene.object.metadata.generation = Some(2);
    assert_eq!(known(&scene), [("shared".to_owned(), Some("v1".to_owned()))]);
    scene.answers = vec![read("v1", "db")];
    let change = scene.changes();
    assert_eq!((names(&change), change.remove.clone()), (vec!["DB"], ["API".to_owned()].into()));
}

#[test]
fn two_vaults_are_looked_through_by_name_each_for_its_own_find() {
    let find = |name: &str, vault_ref: Option<&str>| DataFrom {
        vault_ref: vault_ref.map(|name| Box::new(vault(name))),
        ..serde_json::from_value(serde_json::json!({"find": {"name": name}})).unwrap()
    };
    let names =
        |names: &[&str]| names.iter().map(|name| ObjectName::parse(name).unwrap()).collect::<Vec<_>>();
    let whole = |found| FoundNames { names: found, listing: Listing::Whole, lost: HashSet::new() };
    let mut scene = Scene::new(Vec::new(), vec![find("a*", None), find("b*", Some(TEAM)), find("c*", None)]);
    scene.found = vec![whole(vec![names(&["a1"]), names(&["c1"])]), whole(vec![names(&["b1"])])];
    scene.answers = vec![read("v1", "a"), read("v1", "b"), read("v1", "c")];
    scene.create();
    let of: Vec<(String, usize)> =
        scene.sources().iter().map(|used| (used.source.name.to_string(), used.vault)).collect();
    assert_eq!(of, [("a1".to_owned(), 0), ("b1".to_owned(), 1), ("c1".to_owned(), 0)]);
    assert_eq!((scene.keys(), scene.status().matched), (vec!["a1", "b1", "c1"], Some(3)));
    // One list cannot be read: nothing of it goes, and it is named.
    let failed = FoundNames {
        names: vec![names(&["b1"])],
        listing: Listing::Failed(Why::Forbidden),
        lost: HashSet::new(),
    };
    scene.found[1] = failed;
    scene.answers = vec![Answer::Unchanged; 3];
    scene.settle();
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "ListFailed");
    assert!(message.starts_with("KeyVault db-team: find looks for secrets by name."), "{message}");
    assert_eq!(scene.keys(), ["a1", "b1", "c1"]);
    // Two vaults that give one key: neither takes the other's place.
    let mut scene = Scene::new(vec![key("A", "a")], vec![find("x", None), find("x", Some(TEAM))]);
    scene.found = vec![whole(vec![names(&["x"])]), whole(vec![names(&["x"])])];
    scene.answers = vec![read("v1", "a"), read("v1", "b"), read("v1", "c")];
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    assert_eq!(scene.ready().1, "DuplicateKey");
}

#[test]
fn a_connection_that_moves_to_another_place_is_known_there_too() {
    let mut scene = Scene::new(vec![through(TEAM, key("DB", "shared"))], Vec::new());
    scene.answers = vec![read("v1", "db")];
    scene.create();
    assert_eq!(scene.status().entries[0].vault, None, "the only one needs no name");
    scene.object.spec.data.push(key("API", "shared"));
    scene.object.metadata.generation = Some(2);
    assert_eq!(scene.object.spec.vault_refs().len(), 2);
    assert_eq!(known(&scene), [("shared".into(), None), ("shared".into(), Some("v1".into()))]);
    scene.answers = vec![Answer::Unchanged, read("v1", "api")];
    assert_eq!(scene.changes().set.keys().collect::<Vec<_>>(), ["API"]);
}

fn find_through(name: &str, vault_ref: Option<&str>) -> DataFrom {
    DataFrom {
        vault_ref: vault_ref.map(|name| Box::new(vault(name))),
        ..serde_json::from_value(serde_json::json!({"find": {"name": name}})).unwrap()
    }
}

fn listed(names: &[&str], listing: Listing) -> FoundNames {
    let names = names.iter().map(|name| ObjectName::parse(name).unwrap()).collect();
    FoundNames { names: vec![names], listing, lost: HashSet::new() }
}

/// `API` of the vault of the object, and what is found in the one of its team.
fn finding() -> Scene {
    let mut scene = Scene::new(vec![key("API", "api")], vec![find_through("b*", Some(TEAM))]);
    scene.found = vec![listed(&[], Listing::Whole), listed(&["b1"], Listing::Whole)];
    scene.found[0].names.clear();
    scene.answers = vec![read("v1", "api"), read("v1", "b")];
    scene.create();
    assert_eq!(scene.keys(), ["API", "b1"]);
    scene
}

#[test]
fn another_vault_behind_a_connection_is_waited_for_though_only_names_are_looked_for_there() {
    let mut scene = finding();
    // The KeyVault of the team leads elsewhere now: nothing is known of what is there.
    scene.object.status.as_mut().unwrap().entries[1].vault.as_mut().unwrap().url = url_of(&vault("before"));
    scene.found[1] = listed(&[], Listing::Awaited);
    scene.answers = vec![read("v2", "new")];
    let verdict = scene.verdict();
    assert_eq!((verdict.outcome, verdict.status), (Outcome::Waiting, None));
    scene.others = vec![(outage(), None)];
    let verdict = scene.verdict();
    scene.take_over(&verdict);
    assert!(scene.ready().2.starts_with("KeyVault db-team: "), "{:?}", scene.ready());
    // After a restart alone what was found stands.
    let mut scene = finding();
    scene.kept = Kept::default();
    scene.found[1] = listed(&["b1"], Listing::Awaited);
    scene.answers = vec![Answer::Unchanged; 2];
    scene.says_nothing_new();
}

#[test]
fn a_name_that_comes_while_its_vault_stumbles_makes_nobody_unready() {
    let mut scene = finding();
    scene.found[1] = listed(&["b1", "b2"], Listing::Whole);
    scene.others = vec![(outage(), None)];
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged, Answer::Pending];
    let verdict = scene.verdict();
    assert_eq!((verdict.outcome, verdict.status), (Outcome::Waiting, None));
}

#[test]
fn a_list_that_is_awaited_hides_nothing_of_another() {
    let find = || {
        let mut scene =
            Scene::new(Vec::new(), vec![find_through("a*", None), find_through("b*", Some(TEAM))]);
        scene.found = vec![listed(&["a1"], Listing::Whole), listed(&["b1"], Listing::Whole)];
        scene.answers = vec![read("v1", "a"), read("v1", "b")];
        scene.create();
        scene.kept = Kept::default();
        scene
    };
    let mut scene = find();
    scene.found = vec![listed(&["a1"], Listing::Failed(Why::Forbidden)), listed(&["b1"], Listing::Awaited)];
    scene.answers = vec![Answer::Unchanged; 2];
    scene.settle();
    assert!(scene.ready().2.starts_with("KeyVault default: find looks for secrets"), "{:?}", scene.ready());
    let mut scene = find();
    scene.found = vec![listed(&["a1"], Listing::Whole), listed(&["b1"], Listing::Failed(Why::Forbidden))];
    scene.answers = vec![Answer::Unchanged; 2];
    scene.settle();
    scene.found[1] = listed(&["b1"], Listing::Awaited);
    scene.answers = vec![Answer::Unchanged; 2];
    let verdict = scene.verdict();
    scene.take_over(&verdict);
    assert!(scene.ready().2.starts_with("KeyVault db-team: find looks for secrets"), "{:?}", scene.ready());
}

#[test]
fn after_a_restart_only_the_connection_that_was_stale_is_to_be_confirmed() {
    let mut scene = both();
    scene.answers = vec![Answer::Unchanged; 2];
    scene.others = vec![(outage(), Some(Duration::from_secs(900)))];
    scene.settle();
    assert_eq!(scene.ready().1, "Stale");
    let urls: Vec<String> = scene.object.spec.vault_refs().into_iter().map(url_of).collect();
    let connected = scene.connected(&urls);
    let wants = super::super::wants(&scene.object, &connected, &scene.sources(), &BTreeSet::new(), true);
    assert_eq!(wants.iter().map(|wants| wants[0].stale).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn two_silent_vaults_are_both_named_and_both_are_to_be_confirmed_after_a_restart() {
    let mut scene = both();
    scene.answers = vec![Answer::Unchanged; 2];
    (scene.state, scene.unconfirmed_for) = (outage(), Some(Duration::from_secs(900)));
    scene.others = vec![(outage(), Some(Duration::from_secs(900)))];
    scene.settle();
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "Stale");
    for name in ["default", TEAM] {
        assert!(message.contains(&format!("KeyVault {name} has confirmed nothing")), "{message}");
    }
    let urls: Vec<String> = scene.object.spec.vault_refs().into_iter().map(url_of).collect();
    let connected = scene.connected(&urls);
    let wants = super::super::wants(&scene.object, &connected, &scene.sources(), &BTreeSet::new(), true);
    assert!(wants.iter().flatten().all(|want| want.stale));
}

#[test]
fn that_a_list_failed_is_said_of_no_other_that_is_awaited() {
    let mut scene = Scene::new(Vec::new(), vec![find_through("a*", None), find_through("b*", Some(TEAM))]);
    scene.found = vec![listed(&["a1"], Listing::Whole), listed(&["b1"], Listing::Whole)];
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    scene.create();
    scene.found[1] = listed(&["b1"], Listing::Failed(Why::Forbidden));
    scene.answers = vec![Answer::Unchanged; 2];
    scene.settle();
    assert_eq!(scene.ready().1, "ListFailed");
    // The right was given while nobody looked, and the other list is awaited.
    scene.kept = Kept::default();
    scene.found = vec![listed(&["a1"], Listing::Awaited), listed(&["b1"], Listing::Whole)];
    scene.answers = vec![Answer::Unchanged; 2];
    scene.settle();
    assert_eq!(scene.ready().0, "True");
}
