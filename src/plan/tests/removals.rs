//! Sources that are gone with many others: their keys stay until somebody confirms that they are to go.

use super::*;
use crate::api::{DataFrom, FindSpec};
use crate::plan::FoundNames;
use crate::plan::find::Listing;
use crate::vault::{Found, Losses, ObjectName, Why};
use std::collections::HashSet;

/// An object with a key that may go, and one that stays.
fn removable() -> Scene {
    let mut scene = synced();
    scene.object.spec.data[0].on_missing = OnMissing::Remove;
    scene.settle();
    scene
}

fn gone() -> Vec<Answer> {
    vec![failed(Failure::SecretNotFound), Answer::Unchanged]
}

/// The round ends without a write, and the key is told as held.
fn is_held(scene: &mut Scene) -> Verdict {
    scene.answers = gone();
    let verdict = scene.settle();
    assert_eq!((scene.states()[0], scene.ready().1.as_str()), ("RemovalHeld", "RemovalHeld"));
    assert_eq!(scene.keys(), ["A", "B"]);
    verdict
}

fn goes(scene: &mut Scene) {
    scene.answers = gone();
    assert_eq!(scene.changes().remove.iter().collect::<Vec<_>>(), ["A"]);
    scene.sees(changed(ours(scene, "2", &["B"])));
    scene.settle();
    assert_eq!((scene.states()[0], scene.ready().0.as_str()), ("Missing", "True"));
    assert_eq!(scene.status().entries[0].held_since, None);
}

#[test]
fn a_source_that_is_gone_with_many_keeps_its_key_until_that_is_confirmed() {
    let mut scene = removable();
    scene.losses = Losses::Many;
    is_held(&mut scene);
    let held = scene.status().entries[0].held_since.clone().unwrap().0;
    assert_eq!(held, scene.now);
    assert!(scene.ready().2.contains("MassRemoval"), "{}", scene.ready().2);
    // Nothing but a confirmation of just this ends it, be the others there again.
    scene.losses = Losses::Few;
    for (passed, confirmed) in [(100, None), (200, Some(-1)), (300, Some(-100))] {
        scene.now = held + Duration::from_secs(passed);
        scene.removals_confirmed = confirmed.map(|seconds| held + jiff::SignedDuration::from_secs(seconds));
        is_held(&mut scene);
        assert_eq!(scene.status().entries[0].held_since.as_ref().map(|since| since.0), Some(held));
    }
    scene.removals_confirmed = Some(held);
    goes(&mut scene);
}

#[test]
fn while_it_is_not_clear_how_many_are_gone_the_key_stays_and_the_object_looks_again() {
    let mut scene = removable();
    scene.losses = Losses::Undecided;
    assert!(is_held(&mut scene).next.is_some_and(|next| next <= Duration::from_secs(30)));
    assert_eq!(scene.status().entries[0].held_since, None);
    scene.answers = gone();
    scene.says_nothing_new();
    scene.losses = Losses::Few;
    goes(&mut scene);
}

#[test]
fn values_still_flow_while_a_removal_is_held() {
    let mut scene = removable();
    scene.losses = Losses::Many;
    scene.answers = vec![failed(Failure::SecretNotFound), read("v2", "newer")];
    let change = scene.changes();
    assert_eq!((names(&change), change.remove.len()), (vec!["B"], 0));
    scene.sees(changed(ours(&scene, "2", &["A", "B"])));
    scene.settle();
    assert_eq!(scene.states(), ["RemovalHeld", "Synced"]);
}

#[test]
fn a_source_that_comes_back_is_held_no_more() {
    let mut scene = removable();
    scene.losses = Losses::Many;
    is_held(&mut scene);
    assert!(scene.wants()[0].known.is_none(), "whether it is back is to be found out");
    scene.answers = vec![read("v1", "a"), Answer::Unchanged];
    assert_eq!(names(&scene.changes()), ["A"]);
    scene.sees(changed(ours(&scene, "1", &["A", "B"])));
    scene.settle();
    assert_eq!((scene.states()[0], scene.ready().0.as_str()), ("Synced", "True"));
    assert_eq!(scene.status().entries[0].held_since, None);
}

#[test]
fn what_is_held_stays_said_after_a_restart_until_the_vault_has_answered() {
    let mut scene = removable();
    scene.losses = Losses::Many;
    is_held(&mut scene);
    scene.kept = Kept::default();
    scene.answers = vec![Answer::Pending, Answer::Unchanged];
    let verdict = scene.settle();
    assert_eq!((verdict.outcome, verdict.status), (Outcome::Waiting, None));
    assert_eq!(scene.wants()[0].stake, crate::vault::Stake::Held);
}

#[test]
fn a_source_that_never_was_there_is_no_loss() {
    let mut scene = synced();
    let mut item = key("C", "three");
    item.on_missing = OnMissing::Remove;
    scene.object.spec.data.push(item);
    scene.object.metadata.generation = Some(2);
    scene.losses = Losses::Many;
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged, failed(Failure::SecretNotFound)];
    scene.settle();
    assert_eq!((scene.states(), scene.ready().0.as_str()), (vec!["Synced", "Synced", "Missing"], "True"));
}

#[test]
fn a_key_that_stays_anyway_is_told_why_at_once() {
    let mut scene = synced();
    scene.losses = Losses::Many;
    scene.answers = gone();
    scene.settle();
    assert_eq!(scene.ready().1, "SecretNotFound");
}

#[test]
fn a_connection_that_leads_to_another_vault_takes_no_keys_along_that_are_missing_there() {
    let mut scene = removable();
    scene.object.status.as_mut().unwrap().vault = Some("https://before.vault.azure.net".to_owned());
    scene.losses = Losses::Many;
    scene.answers = vec![failed(Failure::SecretNotFound), read("v9", "b")];
    let change = scene.changes();
    assert_eq!((names(&change), change.remove.len()), (vec!["B"], 0));
    scene.sees(changed(ours(&scene, "2", &["A", "B"])));
    scene.settle();
    assert_eq!(scene.states()[0], "RemovalHeld");
    assert_eq!(scene.keys(), ["A", "B"]);
}

#[test]
fn a_template_keeps_an_input_that_is_held() {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    scene.object.spec.data[0].on_missing = OnMissing::Remove;
    scene.object.spec.target.template.insert("T".to_owned(), "{{ A | default('none') }}".to_owned());
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    scene.create();
    scene.losses = Losses::Many;
    scene.answers = gone();
    let verdict = scene.settle();
    assert_eq!(verdict.outcome, Outcome::Failed);
    assert_eq!(scene.keys(), ["A", "B", "T"]);
}

/// An object that has found so many names, and what of them it finds now.
struct Finder {
    scene: Scene,
    names: Vec<ObjectName>,
}

impl Finder {
    fn new(names: usize) -> Self {
        let find = FindSpec { name: Some("shop-*".to_owned()), tags: BTreeMap::new() };
        let item = DataFrom { secret: None, find: Some(Box::new(find)), ..object_source("x") };
        let mut scene = Scene::new(Vec::new(), vec![item]);
        let names: Vec<ObjectName> =
            (0..names).map(|index| ObjectName::parse(&format!("shop-{index:02}")).unwrap()).collect();
        scene.found =
            vec![FoundNames { names: vec![names.clone()], listing: Listing::Whole, lost: HashSet::new() }];
        scene.answers = names.iter().map(|_| read("v1", "a")).collect();
        scene.create();
        Self { scene, names }
    }

    /// The list shows that these are there and fit no more; the round begins.
    fn lose(&mut self, lost: std::ops::Range<usize>) -> usize {
        let finds = super::super::finds(&self.scene.object.spec, &self.scene.object.spec.vault_ref);
        let before = self.scene.found_before(&finds);
        let fit = self.names.iter().enumerate().filter(|(index, _)| !lost.contains(index));
        let names = [fit.map(|(_, name)| name.clone()).collect()].into();
        let found = Found::Names { names, absent: Vec::new(), failed: None };
        self.scene.found = vec![FoundNames::of(found, &before, |_| true)];
        let sources = self.scene.sources().len();
        self.scene.answers = vec![Answer::Unchanged; sources];
        sources
    }
}

#[test]
fn many_names_that_find_no_longer_finds_stay_until_that_is_confirmed() {
    let mut finder = Finder::new(20);
    assert_eq!(finder.lose(0..10), 20);
    finder.scene.settle();
    let held = finder.scene.states().iter().filter(|state| **state == "RemovalHeld").count();
    assert_eq!((held, finder.scene.ready().1.as_str(), finder.scene.keys().len()), (10, "RemovalHeld", 20));
    // They are read as ever.
    assert!(finder.scene.wants().iter().all(|want| want.known.is_some()));
    // Some fit again: the others stay held.
    assert_eq!(finder.lose(0..4), 20);
    finder.scene.settle();
    let held = finder.scene.states().iter().filter(|state| **state == "RemovalHeld").count();
    assert_eq!((held, finder.scene.keys().len()), (4, 20));
    finder.scene.removals_confirmed = Some(finder.scene.now);
    assert_eq!(finder.lose(0..4), 16);
    assert_eq!(finder.scene.changes().remove.len(), 4);
}

#[test]
fn a_few_names_that_find_no_longer_finds_go() {
    for (names, lost) in [(20, 9), (60, 15)] {
        let mut finder = Finder::new(names);
        assert_eq!(finder.lose(0..lost), names - lost);
        assert_eq!(finder.scene.changes().remove.len(), lost);
    }
}

#[test]
fn names_that_an_edited_find_does_not_look_for_go() {
    let mut finder = Finder::new(20);
    finder.scene.object.metadata.generation = Some(2);
    assert_eq!(finder.lose(0..15), 5);
}

#[test]
fn names_that_find_no_longer_finds_stay_held_over_a_restart_in_which_the_list_is_not_read_yet() {
    let mut finder = Finder::new(20);
    finder.lose(0..12);
    finder.scene.settle();
    finder.lose(0..4);
    finder.scene.settle();
    finder.scene.kept = Kept::default();
    let finds = super::super::finds(&finder.scene.object.spec, &finder.scene.object.spec.vault_ref);
    for found in [Found::Pending, Found::Failed(Why::Forbidden)] {
        let before = finder.scene.found_before(&finds);
        finder.scene.found = vec![FoundNames::of(found, &before, |_| true)];
        finder.scene.answers = vec![Answer::Unchanged; finder.scene.sources().len()];
        finder.scene.settle();
        let held = finder.scene.states().iter().filter(|state| **state == "RemovalHeld").count();
        assert_eq!((held, finder.scene.ready().0.as_str()), (4, "False"));
    }
}

#[test]
fn what_is_confirmed_and_cannot_be_done_yet_is_not_held_again() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.object.spec.data[0].on_missing = OnMissing::Remove;
    scene.answers = vec![read("v1", "a")];
    scene.create();
    scene.losses = Losses::Many;
    scene.answers = vec![failed(Failure::SecretNotFound)];
    scene.settle();
    assert_eq!(scene.states(), ["RemovalHeld"]);
    scene.removals_confirmed = Some(scene.now);
    for _ in 0..3 {
        scene.now += Duration::from_secs(60);
        scene.answers = vec![failed(Failure::SecretNotFound)];
        scene.settle();
        // A Secret is never emptied.
        assert_eq!((scene.states(), scene.ready().1.as_str()), (vec!["Pending"], "MissingKey"));
    }
}

#[test]
fn where_a_connection_leads_to_another_vault_what_is_missing_there_stays_held_round_after_round() {
    let mut scene = Scene::new(vec![key("A", "one")], vec![object_source("two")]);
    scene.object.spec.data_from[0].on_missing = OnMissing::Remove;
    scene.answers = vec![read("v1", "a"), read("v1", r#"{"B": "2"}"#)];
    scene.create();
    scene.object.status.as_mut().unwrap().vault = Some("https://before.vault.azure.net".to_owned());
    scene.losses = Losses::Undecided;
    scene.answers = vec![read("v1", "a"), failed(Failure::SecretNotFound)];
    assert_eq!(scene.changes().remove.len(), 0);
    scene.sees(changed(ours(&scene, "2", &["A", "B"])));
    scene.settle();
    for losses in [Losses::Undecided, Losses::Many, Losses::Few] {
        scene.losses = losses;
        scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound)];
        scene.settle();
        assert_eq!((scene.states()[1], scene.keys()), ("RemovalHeld", vec!["A", "B"]), "{losses:?}");
    }
}

#[test]
fn names_that_were_found_in_another_vault_are_asked_for_in_the_new_one_and_held_if_many_are_missing() {
    let mut finder = Finder::new(20);
    finder.scene.object.status.as_mut().unwrap().vault = Some("https://before.vault.azure.net".to_owned());
    let finds = super::super::finds(&finder.scene.object.spec, &finder.scene.object.spec.vault_ref);
    let before = finder.scene.found_before(&finds);
    assert_eq!(before.names.concat(), finder.names);
    let found = Found::Names { names: [Vec::new()].into(), absent: finder.names.clone(), failed: None };
    finder.scene.found = vec![FoundNames::of(found, &before, |_| true)];
    finder.scene.losses = Losses::Many;
    for _ in 0..2 {
        finder.scene.answers = vec![failed(Failure::SecretNotFound); 20];
        finder.scene.settle();
        assert_eq!((finder.scene.states()[0], finder.scene.keys().len()), ("RemovalHeld", 20));
    }
}
