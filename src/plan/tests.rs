//! What a user gets, decided without a cluster: each row of the behaviour tables.

use super::desired::Desired;
use super::fixtures::{Scene, failed, key, object_source, read, second, secret};
use super::render::MAX_SECRET_BYTES;
use super::*;
use crate::api::{Deletion, EntryState, EntryStatus, OnMissing, SYNC_REQUESTED_ANNOTATION, SecretType};
use crate::reason::Reason;
use crate::vault::Answer;
use std::collections::BTreeMap;
use std::sync::Arc;

mod removals;
mod shapes;
mod taken_over;
mod vaults;

fn synced() -> Scene {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    scene.create();
    scene
}

/// The Secret of [`synced`] as the API server shows it.
fn ours(scene: &Scene, version: &str, keys: &[&str]) -> Observed {
    let mut observed = secret(version, keys);
    observed.owners = Desired::of(&scene.object).owner.into_iter().collect();
    observed
}

fn changed(after: Observed) -> Seen {
    Seen::Written(Written { after, created: false, moved: true })
}

fn outage() -> HealthState {
    HealthState::Failing {
        failure: Arc::new(Failure::PublicAccessDisabled(None)),
        lasting: Duration::from_secs(1),
        retry_in: Duration::from_secs(1),
    }
}

fn text(change: &Change, key: &str) -> String {
    String::from_utf8_lossy(change.set[key].expose()).into_owned()
}

fn names(change: &Change) -> Vec<&str> {
    change.set.keys().map(String::as_str).collect()
}

#[test]
fn the_first_sync_creates_the_secret_with_mark_owner_and_all_keys() {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    scene.answers = vec![Answer::Pending, read("v1", "b")];
    assert_eq!(scene.verdict().outcome, Outcome::Waiting);
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    let step = scene.step();
    let Step::Create(new) = step else { panic!("{step:?}") };
    assert_eq!(new.annotations["vaultsync.dev/owner"], "shop");
    assert_eq!(new.owner.as_ref().map(|owner| owner.uid.as_str()), Some("object-uid"));
    assert_eq!(new.data.keys().collect::<Vec<_>>(), ["A", "B"]);
    let verdict = scene.create();
    assert_eq!(verdict.outcome, Outcome::Created);
    assert_eq!(scene.ready().0, "True");
    assert_eq!(scene.status().observed_generation, Some(1));
}

#[test]
fn nothing_new_says_nothing() {
    let mut scene = synced();
    let verdict = scene.verdict();
    assert_eq!((verdict.outcome, verdict.status, verdict.next), (Outcome::Unchanged, None, None));
}

#[test]
fn an_interval_that_the_connection_stretches_is_told_and_one_that_it_does_not_is_not() {
    let mut scene = synced();
    assert_eq!(
        (scene.status().refresh_interval.clone(), scene.ready().2.as_str()),
        (None, "The Secret matches the vault.")
    );
    scene.object.spec.refresh_interval = "10s".to_owned();
    scene.interval = Duration::from_secs(90);
    scene.settle();
    assert_eq!(scene.status().refresh_interval.as_deref(), Some("1m30s"));
    assert_eq!(
        scene.ready().2,
        "The Secret matches the vault. It is compared every 1m30s, not every 10s: the shortest interval that the connection or the operator allows is longer."
    );
    scene.interval = Duration::from_secs(10);
    scene.settle();
    assert_eq!(scene.status().refresh_interval, None);
}

#[test]
fn one_changed_secret_costs_one_key() {
    let mut scene = synced();
    scene.answers = vec![read("v2", "a2"), Answer::Unchanged];
    let change = scene.changes();
    assert_eq!(names(&change), ["A"]);
    assert_eq!(text(&change, "A"), "a2");
    assert_eq!((change.uid.as_str(), change.resource_version.as_str()), ("secret-uid", "1"));
    assert!(change.remove.is_empty());
    scene.sees(changed(ours(&scene, "2", &["A", "B"])));
    assert_eq!(scene.settle().outcome, Outcome::Updated);
    assert_eq!(scene.status().entries[0].version.as_deref(), Some("v2"));
    assert_eq!(scene.states(), ["Synced", "Synced"]);
}

#[test]
fn a_rotation_is_never_torn_in_half() {
    let mut scene = synced();
    scene.answers = vec![read("v2", "a2"), Answer::Pending];
    assert_eq!(scene.verdict().outcome, Outcome::Waiting);
}

#[test]
fn an_answer_that_arrives_during_a_write_is_neither_said_nor_lost() {
    let mut scene = synced();
    scene.answers = vec![read("v2", "a2"), Answer::Unchanged];
    assert_eq!(names(&scene.changes()), ["A"]);
    // The plane has it by now, and the round does not ask: it ends with its own snapshot.
    scene.sees(changed(ours(&scene, "2", &["A", "B"])));
    scene.settle();
    assert_eq!(scene.status().entries[1].version.as_deref(), Some("v1"));
    scene.answers = vec![Answer::Unchanged, read("v2", "b2")];
    assert_eq!(names(&scene.changes()), ["B"]);
}

#[test]
fn nothing_is_asked_after_a_request_that_can_change_the_secret() {
    let mut scene = synced();
    scene.answers = vec![read("v2", "a2"), Answer::Unchanged];
    scene.changes();
    // A conflict: somebody edited B. Its value is not in the snapshot, so the next round has to ask for it.
    scene.sees(Seen::Changed);
    assert!(scene.looks());
    let mut observed = ours(&scene, "9", &["A"]);
    observed.keys.insert("B".to_owned(), ["kubectl-edit".to_owned()].into());
    observed.moved_at.insert("kubectl-edit".to_owned(), second(2));
    scene.sees(Seen::Ours(observed));
    let verdict = scene.settle();
    assert_eq!((verdict.outcome, verdict.next), (Outcome::Waiting, Some(Duration::from_secs(1))));
    assert!(verdict.waits && verdict.status.is_none());
}

#[test]
fn a_label_and_a_key_of_one_edit_both_arrive() {
    let mut scene = synced();
    scene.object.metadata.generation = Some(2);
    scene.object.spec.target.labels = [("chart".to_owned(), "2".to_owned())].into();
    scene.object.spec.data.push(key("C", "three"));
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged, Answer::Pending];
    assert!(scene.looks());
    let mut observed = ours(&scene, "1", &["A", "B"]);
    scene.sees(Seen::Ours(observed.clone()));
    let change = scene.changes();
    assert!(change.set.is_empty());
    // The value comes while the label is written.
    scene.answers[2] = read("v1", "c");
    observed.labels.insert("chart".to_owned(), "2".to_owned());
    observed.resource_version = "2".to_owned();
    scene.sees(changed(observed));
    let (before, ready) = (scene.status().observed_generation, scene.ready());
    // The snapshot of the round has no value of it.
    scene.answers[2] = Answer::Pending;
    scene.settle();
    assert_eq!((scene.status().observed_generation, scene.ready()), (before, ready));
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged, read("v1", "c")];
    assert_eq!(names(&scene.changes()), ["C"]);
}

#[test]
fn an_edit_of_a_source_that_fails_is_written_when_it_comes_back_at_the_same_version() {
    let mut scene = synced();
    scene.answers = vec![failed(Failure::SecretDisabled), Answer::Unchanged];
    scene.settle();
    scene.object.metadata.generation = Some(2);
    scene.object.spec.data[0].from.secret.as_mut().unwrap().decode = crate::api::Decode::Base64;
    scene.answers = vec![failed(Failure::SecretDisabled), Answer::Unchanged];
    scene.settle();
    assert_eq!(scene.ready().1, "SecretDisabled");
    scene.answers = vec![read("v1", "YQ=="), Answer::Unchanged];
    let change = scene.changes();
    assert_eq!((names(&change), text(&change, "A")), (vec!["A"], "a".to_owned()));
}

#[test]
fn a_key_that_was_edited_while_its_source_fails_is_restored_when_the_source_is_back() {
    let mut scene = synced();
    scene.probe = true;
    let mut observed = ours(&scene, "9", &["B"]);
    observed.keys.insert("A".to_owned(), ["kubectl-edit".to_owned()].into());
    observed.moved_at.insert("kubectl-edit".to_owned(), second(2));
    scene.answers = vec![failed(Failure::SecretDisabled), read("v2", "b2")];
    assert!(scene.looks());
    scene.sees(Seen::Ours(observed.clone()));
    assert_eq!(names(&scene.changes()), ["B"]);
    observed.resource_version = "10".to_owned();
    scene.sees(changed(observed));
    scene.settle();
    assert_eq!(scene.status().target.as_ref().unwrap().keys[0].of, None);
    scene.probe = false;
    scene.answers = vec![read("v1", "a"), Answer::Unchanged];
    assert_eq!(names(&scene.changes()), ["A"]);
}

#[test]
fn what_could_not_be_said_is_said_later_with_its_event_and_nothing_is_read_for_it() {
    let mut scene = synced();
    scene.answers = vec![read("v2", "a2"), Answer::Unchanged];
    scene.changes();
    scene.sees(changed(ours(&scene, "2", &["A", "B"])));
    let unsaid = scene.settle_unsaid();
    assert_eq!(scene.status().entries[0].version.as_deref(), Some("v1"));
    let wants = scene.wants();
    assert_eq!(wants[0].known.as_ref().map(|known| known.version.as_str()), Some("v2"));
    let said = scene.settle();
    assert_eq!((said.outcome, said.status), (Outcome::Updated, unsaid.status));
    assert!(scene.status().last_change.is_some());
    scene.says_nothing_new();
}

#[test]
fn a_missing_secret_keeps_the_last_good_value() {
    let mut scene = synced();
    scene.answers = vec![failed(Failure::SecretNotFound), read("v2", "b2")];
    let change = scene.changes();
    assert_eq!((change.set.len(), change.remove.len()), (1, 0));
    scene.sees(changed(ours(&scene, "2", &["A", "B"])));
    scene.settle();
    scene.answers = vec![failed(Failure::SecretNotFound), Answer::Unchanged];
    scene.settle();
    let (status, reason, message) = scene.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "SecretNotFound"));
    assert!(message.contains("secret one") && message.contains("key A"), "{message}");
    assert_eq!(scene.status().entries[0].version.as_deref(), Some("v1"));
}

#[test]
fn a_missing_secret_is_removed_where_the_spec_says_so() {
    let mut scene = synced();
    scene.object.spec.data[0].on_missing = OnMissing::Remove;
    scene.answers = vec![failed(Failure::SecretNotFound), Answer::Unchanged];
    assert_eq!(scene.changes().remove.iter().collect::<Vec<_>>(), ["A"]);
    scene.sees(changed(ours(&scene, "2", &["B"])));
    assert_eq!(scene.settle().outcome, Outcome::Updated);
    assert_eq!(scene.ready().0, "True");
    assert_eq!(scene.states()[0], "Missing");
    assert_eq!(scene.keys(), ["B"]);
    // It comes back, at the version it had.
    scene.answers = vec![read("v1", "a"), Answer::Unchanged];
    assert_eq!(names(&scene.changes()), ["A"]);
}

#[test]
fn a_secret_used_by_a_key_that_stays_and_one_that_goes_is_not_called_synced() {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "one"), key("C", "two")], Vec::new());
    scene.object.spec.data[1].on_missing = OnMissing::Remove;
    scene.answers = vec![read("v1", "a"), read("v1", "c")];
    scene.create();
    scene.answers = vec![failed(Failure::SecretNotFound), Answer::Unchanged];
    assert_eq!(scene.changes().remove.iter().collect::<Vec<_>>(), ["B"]);
    scene.sees(changed(ours(&scene, "2", &["A", "C"])));
    scene.settle();
    assert_eq!((scene.ready().1.as_str(), scene.states()[0]), ("SecretNotFound", "SecretNotFound"));
    scene.answers = vec![read("v1", "a"), Answer::Unchanged];
    assert_eq!(names(&scene.changes()), ["A", "B"]);
    // The same where its members are what may go.
    let mut scene = Scene::new(vec![key("A", "one")], vec![object_source("one"), object_source("two")]);
    scene.object.spec.data_from[0].on_missing = OnMissing::Remove;
    scene.answers = vec![read("v1", r#"{"B": "1"}"#), read("v1", r#"{"C": "2"}"#)];
    scene.create();
    scene.answers = vec![failed(Failure::SecretNotFound), Answer::Unchanged];
    assert_eq!(scene.demands(), [1]);
    scene.answers[1] = read("v1", r#"{"C": "2"}"#);
    assert_eq!(scene.changes().remove.iter().collect::<Vec<_>>(), ["B"]);
    scene.sees(changed(ours(&scene, "2", &["A", "C"])));
    scene.settle();
    let (status, reason, _) = scene.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "SecretNotFound"));
    assert_eq!((scene.states(), scene.keys()), (vec!["SecretNotFound", "Synced"], vec!["A", "C"]));
}

#[test]
fn a_secret_is_never_emptied() {
    let mut scene = synced();
    for item in &mut scene.object.spec.data {
        item.on_missing = OnMissing::Remove;
    }
    scene.answers = vec![failed(Failure::SecretNotFound), failed(Failure::SecretNotFound)];
    scene.settle();
    let (status, reason, message) = scene.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "MissingKey"));
    assert!(message.contains("never empties"), "{message}");
    assert_eq!(scene.keys(), ["A", "B"]);
    // One JSON object whose members are all gone.
    let mut scene = Scene::new(Vec::new(), vec![object_source("one")]);
    scene.answers = vec![read("v1", r#"{"A": "1"}"#)];
    scene.create();
    scene.answers = vec![read("v2", "{}")];
    scene.settle();
    assert_eq!(scene.ready().1, "MissingKey");
    scene.says_nothing_new();
}

#[test]
fn the_first_creation_is_whole_or_not_at_all() {
    for failure in [Failure::SecretNotFound, Failure::SecretDisabled, Failure::Forbidden] {
        let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
        scene.answers = vec![failed(failure.clone()), read("v1", "b")];
        // Before it says that there is no Secret it looks.
        assert!(scene.looks());
        scene.sees(Seen::Absent);
        let verdict = scene.settle();
        assert_eq!(verdict.outcome, Outcome::Failed);
        let (_, _, message) = scene.ready();
        for part in ["There is no Secret shop yet", "onMissing: Remove", "secret one", "key A"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!((scene.states()[1], scene.status().target.as_ref()), ("Pending", None));
        // What the others bring meanwhile is not asked for.
        scene.answers = vec![failed(failure), Answer::Unchanged];
        assert_eq!(scene.settle().status, None);
        scene.answers = vec![read("v1", "a"), Answer::Unchanged];
        assert_eq!(scene.demands(), [1]);
        scene.answers[1] = read("v1", "b");
        assert!(matches!(scene.step(), Step::Create(_)));
    }
}

#[test]
fn an_entry_that_may_be_missing_never_holds_up_the_first_creation() {
    for failure in [Failure::SecretNotFound, Failure::SecretDisabled, Failure::Forbidden] {
        let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], vec![object_source("three")]);
        scene.object.spec.data[0].on_missing = OnMissing::Remove;
        scene.object.spec.data_from[0].on_missing = OnMissing::Remove;
        scene.answers = vec![failed(failure.clone()), read("v1", "b"), read("v1", "no JSON")];
        scene.create();
        assert_eq!(scene.keys(), ["B"]);
    }
}

#[test]
fn a_member_that_can_be_no_key_does_not_hold_up_the_first_creation() {
    let mut scene = Scene::new(Vec::new(), vec![object_source("one")]);
    scene.answers = vec![read("v1", r#"{"A": "1", "my key": "2"}"#)];
    scene.create();
    assert_eq!((scene.keys(), scene.ready().1.as_str()), (vec!["A"], "InvalidKey"));
    scene.says_nothing_new();
}

#[test]
fn a_secret_with_our_mark_is_not_made_anew_whatever_status_remembers() {
    let mut scene = synced();
    scene.object.status = None;
    scene.kept = Kept::default();
    scene.answers = vec![failed(Failure::SecretDisabled), read("v2", "b2")];
    assert!(scene.looks());
    scene.sees(Seen::Ours(ours(&scene, "1", &["A", "B"])));
    assert_eq!(names(&scene.changes()), ["B"]);
    scene.sees(changed(ours(&scene, "2", &["A", "B"])));
    scene.settle();
    let (_, reason, message) = scene.ready();
    assert!(reason == "SecretDisabled" && message.contains("keep their last value"), "{message}");
}

#[test]
fn a_secret_that_was_deleted_comes_back_whole() {
    let mut scene = synced();
    scene.probe = true;
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.answers = vec![failed(Failure::SecretDisabled), Answer::Unchanged];
    scene.settle();
    assert!(scene.ready().2.contains("There is no Secret shop yet"), "{}", scene.ready().2);
    scene.answers = vec![read("v1", "a"), Answer::Unchanged];
    assert_eq!(scene.demands(), [1]);
    scene.answers[1] = read("v1", "b");
    let step = scene.step();
    let Step::Create(new) = step else { panic!("{step:?}") };
    assert_eq!(new.data.len(), 2);
}

#[test]
fn an_outage_writes_nothing_and_leaves_ready_until_it_is_stale() {
    let mut scene = synced();
    scene.state = outage();
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged];
    scene.unconfirmed_for = Some(Duration::from_secs(600));
    let verdict = scene.verdict();
    assert_eq!((verdict.status, verdict.next), (None, Some(Duration::from_secs(300))));
    scene.unconfirmed_for = Some(Duration::from_secs(900));
    scene.settle();
    assert_eq!(scene.ready().1, "Stale");
    scene.unconfirmed_for = Some(Duration::from_secs(901));
    scene.says_nothing_new();
    scene.state = HealthState::Working;
    scene.unconfirmed_for = None;
    scene.settle();
    assert_eq!(scene.ready().0, "True");
}

#[test]
fn an_object_never_synced_says_the_vaults_reason_at_once() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.state = outage();
    scene.answers = vec![Answer::Pending];
    assert!(scene.looks(), "once, for one that may be there from an earlier life");
    scene.sees(Seen::Absent);
    scene.answers = vec![Answer::Pending];
    scene.settle();
    assert_eq!(scene.ready().1, "PublicAccessDisabled");
    scene.answers = vec![Answer::Pending];
    assert!(scene.settle().waits);
}

#[test]
fn an_entry_that_left_the_spec_takes_its_key_with_it_and_costs_no_read() {
    let mut scene = synced();
    scene.object.metadata.generation = Some(2);
    scene.object.spec.data.pop();
    scene.answers.pop();
    let change = scene.changes();
    assert_eq!(change.remove.iter().collect::<Vec<_>>(), ["B"]);
    assert!(change.set.is_empty());
}

#[test]
fn an_edit_of_labels_looks_first() {
    let mut scene = synced();
    scene.object.metadata.generation = Some(2);
    scene.object.spec.target.labels = [("team".to_owned(), "shop".to_owned())].into();
    assert!(scene.looks());
    scene.sees(Seen::Ours(ours(&scene, "1", &["A", "B"])));
    let change = scene.changes();
    assert_eq!(change.labels.keys().collect::<Vec<_>>(), ["team"]);
    let mut after = ours(&scene, "2", &["A", "B"]);
    after.labels.insert("team".to_owned(), "shop".to_owned());
    scene.sees(changed(after));
    assert_eq!(scene.settle().outcome, Outcome::Updated);
    scene.says_nothing_new();
}

#[test]
fn our_own_change_of_metadata_is_not_taken_for_another_operators_while_values_are_awaited() {
    let mut scene = synced();
    scene.object.metadata.generation = Some(2);
    scene.object.spec.target.labels = [("team".to_owned(), "shop".to_owned())].into();
    scene.answers = vec![Answer::Pending, Answer::Unchanged];
    assert!(scene.looks());
    scene.sees(Seen::Ours(ours(&scene, "1", &["A", "B"])));
    assert_eq!(scene.changes().labels.keys().collect::<Vec<_>>(), ["team"]);
    let mut after = ours(&scene, "2", &["A", "B"]);
    after.labels.insert("team".to_owned(), "shop".to_owned());
    after.moved_at.insert("vaultsync:shop".to_owned(), second(2));
    scene.sees(changed(after.clone()));
    assert_eq!(scene.settle().outcome, Outcome::Waiting);
    scene.probe = true;
    assert!(scene.looks());
    scene.sees(Seen::Ours(after));
    assert_eq!(scene.settle().outcome, Outcome::Unchanged);
}

#[test]
fn a_secret_of_which_nobody_is_said_to_have_written_anything_is_read_for_and_loses_what_left_the_spec() {
    let mut scene = synced();
    let untracked = |scene: &Scene, version: &str| Observed {
        keys: BTreeMap::new(),
        moved_at: BTreeMap::new(),
        ..ours(scene, version, &[])
    };
    scene.probe = true;
    assert!(scene.looks());
    scene.sees(Seen::Ours(untracked(&scene, "9")));
    assert!(matches!(scene.step(), Step::ReadAnew(_)));
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    assert_eq!(names(&scene.changes()), ["A", "B"]);
    scene.sees(Seen::Written(Written { after: untracked(&scene, "9"), created: false, moved: false }));
    assert_eq!(scene.settle().outcome, Outcome::Unchanged);
    assert_eq!(scene.keys(), ["A", "B"]);
    scene.object.metadata.generation = Some(2);
    scene.object.spec.data.pop();
    scene.answers.pop();
    // Somebody touched it meanwhile: the keys are not listed, and are there all the same.
    assert!(scene.looks());
    scene.sees(Seen::Ours(untracked(&scene, "10")));
    assert!(matches!(scene.step(), Step::ReadAnew(_)));
    scene.answers = vec![read("v1", "a")];
    assert_eq!(scene.changes().remove.iter().collect::<Vec<_>>(), ["B"]);
    scene.sees(changed(untracked(&scene, "11")));
    scene.settle();
    assert_eq!((scene.ready().0.as_str(), scene.keys()), ("True", vec!["A"]));
}

#[test]
fn a_key_that_others_wrote_is_read_for_whenever_any_of_them_moved_again() {
    let mut scene = synced();
    let theirs = |version: &str, at: i64| {
        let mut observed = secret(version, &["B"]);
        observed.keys.insert("A".to_owned(), ["kubectl-edit".to_owned()].into());
        observed.moved_at.insert("kubectl-edit".to_owned(), second(at));
        observed
    };
    scene.probe = true;
    assert!(scene.looks());
    scene.sees(Seen::Ours(theirs("9", 2)));
    assert_eq!(scene.demands(), [0]);
    scene.answers[0] = read("v1", "a");
    scene.changes();
    // Their bytes were the vault's, so the key stays theirs.
    scene.sees(Seen::Written(Written { after: theirs("9", 2), created: false, moved: false }));
    scene.settle();
    assert!(scene.looks());
    scene.sees(Seen::Ours(theirs("10", 3)));
    assert_eq!(scene.demands(), [0]);
    scene.answers[0] = read("v1", "a");
    assert_eq!(names(&scene.changes()), ["A"]);
}

#[test]
fn a_foreign_key_in_our_secret_is_left_alone() {
    let mut scene = synced();
    scene.object.metadata.generation = Some(2);
    scene.object.spec.data.pop();
    scene.answers.pop();
    let mut observed = ours(&scene, "7", &["A", "B"]);
    observed.keys.insert("THEIRS".to_owned(), ["kubectl-edit".to_owned()].into());
    observed.moved_at.insert("kubectl-edit".to_owned(), second(2));
    scene.probe = true;
    assert!(scene.looks());
    scene.sees(Seen::Ours(observed));
    assert_eq!(scene.changes().remove.iter().collect::<Vec<_>>(), ["B"]);
}

#[test]
fn an_edited_key_is_read_and_brought_back() {
    let mut scene = synced();
    let mut observed = secret("9", &["B"]);
    observed.keys.insert("A".to_owned(), ["kubectl-edit".to_owned()].into());
    observed.moved_at.insert("kubectl-edit".to_owned(), second(2));
    scene.probe = true;
    assert!(scene.looks());
    scene.sees(Seen::Ours(observed));
    assert_eq!(scene.demands(), [0]);
    scene.answers[0] = read("v1", "a");
    let change = scene.changes();
    assert_eq!((change.set.len(), change.resource_version.as_str()), (1, "9"));
    scene.sees(changed(ours(&scene, "10", &["A", "B"])));
    assert_eq!(scene.settle().outcome, Outcome::Repaired);
}

#[test]
fn a_secret_deleted_while_the_vault_is_silent_is_drifted_after_five_seconds() {
    let mut scene = synced();
    scene.probe = true;
    scene.state = outage();
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    assert_eq!(scene.demands(), [0, 1]);
    scene.answers = vec![Answer::Pending, Answer::Pending];
    let verdict = scene.settle();
    assert_eq!((verdict.outcome, verdict.next), (Outcome::Waiting, Some(Duration::from_secs(5))));
    scene.probe = false;
    scene.now = second(5);
    // What was seen is looked at again.
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.answers = vec![Answer::Pending, Answer::Pending];
    assert!(scene.settle().waits);
    assert_eq!(scene.ready().1, "Drifted");
    // Only a look can tell that it is not so any more.
    assert!(scene.looks());
}

/// A Secret whose owner is gone, as after a restore.
fn disowned(scene: &Scene, version: &str, keys: &[&str]) -> Observed {
    let mut observed = Observed { owners: Vec::new(), ..ours(scene, version, keys) };
    observed.moved_at.insert("velero".to_owned(), second(9));
    observed
}

#[test]
fn values_arrive_though_the_api_server_refuses_to_have_the_owner_changed() {
    let mut scene = synced();
    scene.answers = vec![read("v2", "a2"), Answer::Unchanged];
    scene.probe = true;
    scene.sees(Seen::Ours(disowned(&scene, "5", &["A", "B"])));
    let change = scene.changes();
    assert!(change.add_owner.is_some());
    assert_eq!(names(&change), ["A"]);
    scene.sees(Seen::Refused(Refusal::Forbidden));
    // Which 403 that was shows without the owner.
    let step = scene.step();
    assert!(matches!(step, Step::Look), "{step:?}");
    scene.sees(Seen::Ours(disowned(&scene, "5", &["A", "B"])));
    let change = scene.changes();
    assert_eq!((names(&change), change.add_owner.is_none()), (vec!["A"], true));
    scene.sees(changed(disowned(&scene, "6", &["A", "B"])));
    assert_eq!(scene.settle().outcome, Outcome::Updated);
    let (status, reason, message) = scene.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "OwnerReferenceRefused"));
    assert!(message.contains("cannot add this object to them"), "{message}");
    assert_eq!(scene.status().target.as_ref().unwrap().deletion, Deletion::Retain, "what is in force");
    // The next value arrives as well; once it is allowed the owner does.
    scene.answers = vec![read("v3", "a3"), Answer::Unchanged];
    scene.sees(Seen::Ours(disowned(&scene, "6", &["A", "B"])));
    assert!(scene.changes().add_owner.is_some());
    scene.sees(changed(ours(&scene, "7", &["A", "B"])));
    scene.settle();
    assert_eq!(scene.ready().0, "True");
    assert_eq!(scene.status().target.as_ref().unwrap().deletion, Deletion::Delete);
}

#[test]
fn a_write_that_is_forbidden_with_and_without_its_owner_is_forbidden() {
    let mut scene = synced();
    scene.answers = vec![read("v2", "a2"), Answer::Unchanged];
    scene.probe = true;
    scene.sees(Seen::Ours(disowned(&scene, "5", &["A", "B"])));
    scene.changes();
    scene.sees(Seen::Refused(Refusal::Forbidden));
    scene.step();
    scene.sees(Seen::Ours(disowned(&scene, "5", &["A", "B"])));
    scene.changes();
    scene.sees(Seen::Refused(Refusal::Forbidden));
    scene.settle();
    assert_eq!(scene.ready().1, "WriteForbidden");
}

#[test]
fn a_retain_that_the_api_server_refuses_is_told_whatever_else_is_in_the_way() {
    for (suspend, vault_exists) in [(true, true), (false, false)] {
        let mut scene = synced();
        let observed = Seen::Ours(ours(&scene, "1", &["A", "B"]));
        scene.object.spec.suspend = suspend;
        scene.vault_exists = vault_exists;
        scene.object.spec.target.deletion = Deletion::Retain;
        scene.object.metadata.generation = Some(2);
        scene.sees(observed.clone());
        let change = scene.changes();
        assert_eq!(change.drop_owners, ["object-uid"]);
        scene.sees(Seen::Refused(Refusal::Forbidden));
        scene.step();
        scene.sees(observed.clone());
        scene.settle();
        let (_, reason, message) = scene.ready();
        assert_eq!(reason, if suspend { "OwnerReferenceRefused" } else { "VaultNotFound" });
        assert!(message.contains("so the Secret is still deleted with it"), "{message}");
        assert_eq!(scene.status().target.as_ref().unwrap().deletion, Deletion::Delete);
        // Once it is allowed, nothing false is said any more.
        scene.sees(observed.clone());
        assert_eq!(scene.changes().drop_owners, ["object-uid"]);
        let Seen::Ours(mut after) = observed else { panic!("not ours") };
        after.owners.clear();
        scene.sees(changed(after));
        scene.settle();
        let (_, reason, _) = scene.ready();
        assert_eq!(reason, if suspend { "Suspended" } else { "VaultNotFound" });
        assert_eq!(scene.status().target.as_ref().unwrap().deletion, Deletion::Retain);
    }
}

#[test]
fn a_target_that_was_refused_is_not_called_synced_without_a_look_nor_asked_for_values() {
    for refusal in [Refusal::NotOwned, Refusal::OwnedBy("other".to_owned()), Refusal::Forbidden] {
        let mut scene = synced();
        scene.probe = true;
        assert!(scene.looks());
        scene.sees(Seen::Refused(refusal));
        scene.settle();
        assert_eq!(scene.ready().0, "False");
        scene.probe = false;
        let mut round = Round::begin(scene.kept.clone(), &scene.object, false);
        let sources = super::sources(&scene.object.spec, &scene.found);
        let connection = Connected {
            vault: &scene.object.spec.vault_ref,
            url: super::fixtures::URL,
            interval: Duration::from_secs(300),
            stale_after: Duration::from_secs(900),
            removals_confirmed: None,
        };
        let vault = Vault::Usable { connections: &[connection], permits: &[], snapshot: None };
        let input = Input {
            object: &scene.object,
            stored: scene.object.status.as_ref(),
            sources: &sources,
            ignored: false,
            rival: None,
            sharing: &[],
            vault,
            expiring_before: Duration::ZERO,
            now: scene.now,
        };
        assert!(matches!(round.next(&input), Step::Look), "before the plane is asked");
    }
}

#[test]
fn a_lost_label_is_restored_though_the_vault_is_silent() {
    let mut scene = synced();
    scene.answers = vec![Answer::Pending, Answer::Unchanged];
    scene.state = outage();
    scene.probe = true;
    let mut observed = ours(&scene, "9", &["A", "B"]);
    observed.labels.clear();
    observed.moved_at.insert("kubectl-edit".to_owned(), second(2));
    assert!(scene.looks());
    scene.sees(Seen::Ours(observed));
    let change = scene.changes();
    assert!(change.set.is_empty() && change.remove.is_empty());
    assert_eq!(change.labels.keys().collect::<Vec<_>>(), ["app.kubernetes.io/managed-by"]);
    // Our own write is not taken for another operator's.
    let mut after = ours(&scene, "10", &["A", "B"]);
    after.moved_at.insert("kubectl-edit".to_owned(), second(2));
    scene.sees(changed(after.clone()));
    scene.settle();
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged];
    assert!(scene.looks());
    scene.sees(Seen::Ours(after));
    assert_eq!(scene.verdict().outcome, Outcome::Unchanged);
}

#[test]
fn a_target_that_was_refused_stays_untouched_though_its_labels_need_no_value() {
    for refusal in [Refusal::Immutable, Refusal::Forbidden] {
        let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
        scene.answers = vec![read("v1", "a")];
        scene.step();
        scene.sees(Seen::Refused(refusal));
        scene.settle();
        let mut observed = ours(&scene, "9", &["A"]);
        observed.labels.clear();
        scene.now += Duration::from_secs(5);
        assert!(scene.looks());
        scene.sees(Seen::Ours(observed));
        scene.answers = vec![Answer::Pending];
        assert_eq!(scene.settle().outcome, Outcome::Waiting);
    }
}

#[test]
fn what_moves_with_the_look_itself_is_nobodys_doing() {
    let mut scene = synced();
    for version in ["9", "10"] {
        scene.probe = true;
        assert!(scene.looks());
        // A policy stamps every update, this look too.
        scene.sees(Seen::Ours(Observed { unmoved: true, ..ours(&scene, version, &["A", "B"]) }));
        let verdict = scene.settle();
        assert_eq!((verdict.outcome, verdict.status), (Outcome::Unchanged, None));
    }
    // Without that it is another operator's, for it was under our name.
    scene.probe = true;
    assert!(scene.looks());
    scene.sees(Seen::Ours(ours(&scene, "11", &["A", "B"])));
    assert!(matches!(scene.step(), Step::ReadAnew(Anew::Overtaken(_))));
}

#[test]
fn where_every_look_is_a_write_of_its_own_a_restarted_process_comes_to_its_end() {
    // The Secret is as it was recorded, or was stamped since: then every source is read, once.
    for stamped_since in [false, true] {
        let mut scene = synced();
        scene.kept = Kept::default();
        scene.answers = vec![read("v2", "a2"), Answer::Unchanged];
        assert!(scene.looks());
        assert_eq!(scene.round.as_ref().unwrap().expected(), Some("1"));
        let stamp = |scene: &Scene, version: &str, unmoved| {
            let mut observed = Observed { unmoved, ..ours(scene, version, &["A", "B"]) };
            observed.moved_at.insert("vaultsync:shop".to_owned(), second(version.parse().unwrap()));
            observed
        };
        scene.sees(Seen::Ours(stamp(&scene, "10", !stamped_since)));
        if stamped_since {
            assert!(matches!(scene.step(), Step::ReadAnew(Anew::Overtaken(_))));
            scene.answers = vec![Answer::Pending, Answer::Pending];
            assert_eq!(scene.settle().outcome, Outcome::Waiting);
            for version in ["11", "12"] {
                assert!(scene.looks());
                let before = (version.parse::<u32>().unwrap() - 1).to_string();
                assert_eq!(scene.round.as_ref().unwrap().expected(), Some(before.as_str()));
                scene.sees(Seen::Ours(stamp(&scene, version, true)));
                scene.answers = vec![read("v2", "a2"), Answer::Pending];
                assert_eq!(scene.settle().outcome, Outcome::Waiting);
            }
            assert!(scene.looks());
            scene.sees(Seen::Ours(stamp(&scene, "13", true)));
            scene.answers = vec![read("v2", "a2"), read("v1", "b")];
        }
        assert_eq!(names(&scene.changes()).contains(&"B"), stamped_since);
        scene.sees(changed(stamp(&scene, "14", false)));
        assert_eq!(scene.settle().outcome, Outcome::Updated);
        assert_eq!(scene.ready().0, "True");
    }
}

#[test]
fn a_touched_but_unchanged_secret_is_no_drift() {
    let mut scene = synced();
    let mut observed = ours(&scene, "9", &["A", "B"]);
    observed.moved_at.insert("kubectl".to_owned(), second(2));
    scene.probe = true;
    assert!(scene.looks());
    scene.sees(Seen::Ours(observed));
    let verdict = scene.verdict();
    assert_eq!((verdict.outcome, verdict.status), (Outcome::Unchanged, None));
    let verified = verdict.kept.verified.map(|verified| verified.resource_version);
    assert_eq!(verified.as_deref(), Some("9"));
}

#[test]
fn an_older_value_that_another_operator_wrote_under_our_name_is_written_over() {
    // Within the second of our own write only the resourceVersion tells.
    for moved_at in [second(1), second(2)] {
        let mut scene = synced();
        let mut observed = ours(&scene, "9", &["A", "B"]);
        observed.moved_at.insert("vaultsync:shop".to_owned(), moved_at);
        scene.probe = true;
        assert!(scene.looks());
        scene.sees(Seen::Ours(observed.clone()));
        let step = scene.step();
        let Step::ReadAnew(Anew::Overtaken(version)) = step else { panic!("{step:?}") };
        assert_eq!(version, "9");
        assert_eq!(scene.round.as_ref().unwrap().demanded().len(), 2);
        scene.answers = vec![Answer::Pending, Answer::Pending];
        assert_eq!(scene.settle().outcome, Outcome::Waiting);
        scene.probe = false;
        scene.answers = vec![read("v1", "a"), read("v1", "b")];
        assert!(scene.looks());
        scene.sees(Seen::Ours(observed.clone()));
        let change = scene.changes();
        assert_eq!((change.set.len(), change.resource_version.as_str()), (2, "9"));
        scene.sees(Seen::Written(Written { after: observed, created: false, moved: false }));
        let verdict = scene.settle();
        assert_eq!(verdict.outcome, Outcome::Unchanged);
        let verified = verdict.kept.verified.map(|verified| verified.resource_version);
        assert_eq!(verified.as_deref(), Some("9"));
    }
}

#[test]
fn a_lost_status_is_found_again_without_moving_anything() {
    let mut scene = synced();
    scene.object.status = None;
    scene.kept = Kept::default();
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    assert!(matches!(scene.step(), Step::Create(_)));
    scene.sees(Seen::Changed);
    assert!(scene.looks());
    let observed = ours(&scene, "1", &["A", "B"]);
    scene.sees(Seen::Ours(observed.clone()));
    assert_eq!(scene.changes().set.len(), 2);
    scene.sees(Seen::Written(Written { after: observed, created: false, moved: false }));
    assert_eq!(scene.settle().outcome, Outcome::Unchanged);
    assert_eq!(scene.ready().0, "True");
    assert_eq!(scene.status().last_change, None);
}

#[test]
fn keys_that_left_a_json_object_go_only_from_a_complete_picture() {
    let synced = || {
        let mut scene = Scene::new(Vec::new(), vec![object_source("one"), object_source("two")]);
        scene.answers = vec![read("v1", r#"{"A": "1", "B": 2}"#), read("v1", r#"{"C": true}"#)];
        scene.create();
        scene.answers = vec![read("v2", r#"{"A": "1"}"#), Answer::Unchanged];
        assert_eq!(scene.demands(), [1]);
        scene
    };
    let mut scene = synced();
    scene.answers[1] = read("v1", r#"{"C": true}"#);
    assert_eq!(scene.changes().remove.iter().collect::<Vec<_>>(), ["B"]);
    let mut scene = synced();
    scene.answers[1] = failed(Failure::SecretDisabled);
    assert!(scene.changes().remove.is_empty());
    scene.sees(changed(ours(&scene, "2", &["A", "B", "C"])));
    scene.settle();
    // While the other cannot be read nothing is read for it; once it can be, all are.
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretDisabled)];
    scene.says_nothing_new();
    scene.answers = vec![Answer::Unchanged, read("v1", r#"{"C": true}"#)];
    assert_eq!(scene.demands(), [0]);
    scene.answers[0] = read("v2", r#"{"A": "1"}"#);
    assert_eq!(scene.changes().remove.iter().collect::<Vec<_>>(), ["B"]);
}

#[test]
fn of_an_object_that_cannot_be_read_any_more_it_is_said_that_its_keys_stay() {
    let mut scene = Scene::new(vec![key("D", "two")], vec![object_source("one")]);
    scene.answers = vec![read("v1", "d"), read("v1", r#"{"A": "1"}"#)];
    scene.create();
    for version in ["v2", "v3"] {
        scene.answers = vec![Answer::Unchanged, read(version, "no object")];
        scene.settle();
        let (_, reason, message) = scene.ready();
        assert!(reason == "InvalidJson" && message.contains("keep their last value"), "{message}");
    }
}

#[test]
fn the_keys_of_a_json_object_that_may_go_and_is_gone_go_with_it() {
    let mut scene = Scene::new(Vec::new(), vec![object_source("one"), object_source("two")]);
    scene.object.spec.data_from[1].on_missing = OnMissing::Remove;
    scene.answers = vec![read("v1", r#"{"A": "1"}"#), read("v1", r#"{"B": "2"}"#)];
    scene.create();
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound)];
    assert_eq!(scene.demands(), [0]);
    scene.answers[0] = read("v1", r#"{"A": "1"}"#);
    assert_eq!(scene.changes().remove.iter().collect::<Vec<_>>(), ["B"]);
    scene.sees(changed(ours(&scene, "2", &["A"])));
    scene.settle();
    assert_eq!((scene.ready().0.as_str(), scene.states()), ("True", vec!["Synced", "Missing"]));
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound)];
    scene.says_nothing_new();
}

#[test]
fn a_key_of_two_json_objects_is_kept_and_named() {
    let mut scene = Scene::new(vec![key("D", "three")], vec![object_source("one"), object_source("two")]);
    scene.answers = vec![read("v1", "d"), read("v1", r#"{"A": "1", "D": "x"}"#), read("v1", r#"{"B": "3"}"#)];
    scene.create();
    assert_eq!(scene.ready().0, "True");
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged, read("v2", r#"{"A": "2", "B": "4"}"#)];
    assert_eq!(scene.demands(), [1]);
    scene.answers[1] = read("v1", r#"{"A": "1", "D": "x"}"#);
    assert_eq!(names(&scene.changes()), ["B"]);
    scene.sees(changed(ours(&scene, "2", &["A", "B", "D"])));
    scene.settle();
    assert_eq!(scene.ready().1, "DuplicateKey");
    assert_eq!(scene.keys(), ["A", "B", "D"]);
    // It stays said, over a restart too, and costs no read.
    scene.kept = Kept::default();
    scene.says_nothing_new();
    // A key of data takes the place of both.
    scene.object.spec.data.push(key("A", "four"));
    scene.object.metadata.generation = Some(2);
    scene.answers = vec![Answer::Unchanged, read("v1", "4"), Answer::Unchanged, Answer::Unchanged];
    assert_eq!(scene.demands(), [2, 3]);
}

#[test]
fn a_key_of_two_json_objects_holds_up_the_first_creation() {
    let mut scene = Scene::new(Vec::new(), vec![object_source("one"), object_source("two")]);
    scene.answers = vec![read("v1", r#"{"A": "1"}"#), read("v1", r#"{"A": "2", "B": "3"}"#)];
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    assert_eq!(scene.ready().1, "DuplicateKey");
    scene.says_nothing_new();
}

#[test]
fn more_than_one_mebibyte_is_refused_before_any_write() {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    let half = "x".repeat(MAX_SECRET_BYTES / 2);
    scene.answers = vec![read("v1", &half), read("v1", &half)];
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    assert_eq!(scene.ready().1, "TooLarge");
    scene.says_nothing_new();
    // One of them shrinks: both are asked for.
    scene.now += Duration::from_secs(5);
    scene.answers = vec![read("v2", "small"), Answer::Unchanged];
    assert_eq!(scene.demands(), [1]);
}

#[test]
fn a_secret_that_the_api_server_finds_too_large_keeps_what_it_has_and_is_not_read_for() {
    let mut scene = synced();
    scene.answers = vec![read("v2", "large"), Answer::Unchanged];
    scene.changes();
    scene.sees(Seen::Refused(Refusal::TooLarge));
    scene.settle();
    assert_eq!((scene.ready().1.as_str(), scene.states()), ("TooLarge", vec!["Pending", "Synced"]));
    scene.says_nothing_new();
    scene.now += Duration::from_secs(5);
    scene.answers = vec![Answer::Unchanged, read("v2", "small")];
    assert_eq!(scene.demands(), [0]);
}

#[test]
fn an_object_that_is_too_large_reads_all_its_values_later_each_time_whatever_changes() {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    let half = "x".repeat(MAX_SECRET_BYTES / 2);
    let mut waits = Vec::new();
    for version in 1..=9 {
        // The vault has a new version each second, and one second before the wait is over nothing is read for it.
        if let Some(wait) = waits.last() {
            for seconds in [1, *wait - 2] {
                scene.answers = vec![read(&format!("v{version}-{seconds}"), &half), Answer::Unchanged];
                let held = scene.verdict();
                assert_eq!((held.status, held.waits), (None, false));
                scene.kept = held.kept;
                scene.now += Duration::from_secs(seconds);
            }
            scene.now += Duration::from_secs(1);
            scene.answers = vec![read(&format!("v{version}"), &half), Answer::Unchanged];
            assert_eq!(scene.demands(), [1]);
        }
        scene.answers = vec![read(&format!("v{version}"), &half), read("v1", &half)];
        assert!(scene.looks());
        scene.sees(Seen::Absent);
        scene.settle();
        assert_eq!(scene.ready().1, "TooLarge");
        let too_large = scene.kept.open.as_ref().unwrap().too_large.unwrap();
        let wait = too_large.holds_back_for(false, scene.now).unwrap();
        waits.push(wait.as_secs());
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    // An edit is tried at once, and a sync that somebody asks for three seconds after the last try.
    scene.object.metadata.generation = Some(2);
    scene.answers = vec![read("v10", &half), Answer::Unchanged];
    assert_eq!(scene.demands(), [1]);
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    scene.answers = vec![read("v1", &half), read("v1", &half)];
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    let annotations = scene.object.metadata.annotations.get_or_insert_default();
    annotations.insert(SYNC_REQUESTED_ANNOTATION.to_owned(), "now".to_owned());
    scene.answers = vec![read("v2", &half), Answer::Unchanged];
    assert_eq!(scene.verdict().next, Some(Duration::from_secs(3)));
    scene.now += Duration::from_secs(3);
    assert!(matches!(scene.step(), Step::ReadAnew(Anew::Requested(_))));
}

#[test]
fn keys_that_a_change_of_metadata_did_not_carry_are_written_once_they_fit() {
    let mut scene = Scene::new(vec![key("BIG", "one")], Vec::new());
    scene.answers = vec![read("v1", "small")];
    scene.create();
    let there = ours(&scene, "1", &["BIG"]);
    // One edit adds a label and a JSON object, and the values have become too large.
    scene.object.metadata.generation = Some(2);
    scene.object.spec.target.labels.insert("team".to_owned(), "shop".to_owned());
    scene.object.spec.data_from.push(object_source("conf"));
    let conf = r#"{"HOST": "db"}"#;
    scene.answers = vec![read("v2", &"x".repeat(MAX_SECRET_BYTES)), read("v1", conf)];
    assert!(scene.looks());
    scene.sees(Seen::Ours(there.clone()));
    let change = scene.changes();
    assert!(!change.labels.is_empty() && change.set.is_empty());
    let mut after = Observed { resource_version: "2".to_owned(), ..there };
    after.labels.insert("team".to_owned(), "shop".to_owned());
    scene.sees(changed(after));
    scene.settle();
    assert_eq!((scene.ready().1.as_str(), scene.states()), ("TooLarge", vec!["Pending", "Pending"]));
    assert!(scene.status().target.as_ref().unwrap().data_from.is_empty());
    // The value shrinks: the other's keys come with it.
    scene.now += Duration::from_secs(5);
    scene.answers = vec![read("v3", "small again"), Answer::Unchanged];
    assert_eq!(scene.demands(), [1]);
    scene.answers[1] = read("v1", conf);
    assert_eq!(names(&scene.changes()), ["BIG", "HOST"]);
}

#[test]
fn what_was_written_over_is_recorded_no_longer_though_the_vault_went_before_the_verdict() {
    let mut scene = Scene::new(Vec::new(), vec![object_source("one")]);
    scene.answers = vec![read("v1", r#"{"A": "1"}"#)];
    scene.create();
    scene.answers = vec![read("v2", r#"{"A": "2"}"#)];
    scene.changes();
    scene.sees(changed(ours(&scene, "2", &["A"])));
    scene.vault_exists = false;
    scene.settle();
    assert_eq!(scene.ready().1, "VaultNotFound");
    // The vault is back, and at the older version again.
    scene.vault_exists = true;
    scene.answers = vec![read("v1", r#"{"A": "1"}"#)];
    assert_eq!(text(&scene.changes(), "A"), "1");
}

#[test]
fn refusals_that_are_over_make_no_later_one_wait_longer() {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    for _ in 0..4 {
        scene.answers = vec![read("v1", "a"), read("v1", "b")];
        if matches!(scene.step(), Step::Look) {
            scene.sees(Seen::Absent);
            assert!(matches!(scene.step(), Step::Create(_)));
        }
        scene.sees(Seen::Refused(Refusal::DeniedByWebhook("guard".to_owned())));
        let wait = scene.settle().next.unwrap();
        scene.now += wait;
    }
    let half = "x".repeat(MAX_SECRET_BYTES / 2);
    scene.answers = vec![read("v2", &half), read("v2", &half)];
    while matches!(scene.step(), Step::Look) {
        scene.sees(Seen::Absent);
    }
    scene.settle();
    assert_eq!(scene.ready().1, "TooLarge");
    let wait = |scene: &Scene| {
        let open = scene.kept.open.as_ref().unwrap();
        open.too_large.and_then(|denied| denied.holds_back_for(false, scene.now))
    };
    assert_eq!(wait(&scene), Some(Duration::from_secs(5)));
    for version in ["v3", "v4", "v5", "v6"] {
        scene.now += wait(&scene).unwrap();
        scene.answers = vec![read(version, &half), read(version, &half)];
        while matches!(scene.step(), Step::Look) {
            scene.sees(Seen::Absent);
        }
        scene.settle();
    }
    assert_eq!(wait(&scene), Some(Duration::from_secs(80)));
    scene.now += Duration::from_secs(80);
    scene.answers = vec![read("v7", "a"), read("v7", "b")];
    while matches!(scene.step(), Step::Look) {
        scene.sees(Seen::Absent);
    }
    scene.sees(Seen::Refused(Refusal::DeniedByWebhook("guard".to_owned())));
    scene.settle();
    // The two are counted apart, so that neither makes the other begin anew.
    let open = scene.kept.open.as_ref().unwrap();
    let refused = open.refused.and_then(|denied| denied.holds_back_for(false, scene.now));
    assert_eq!((scene.ready().1.as_str(), refused), ("AdmissionDenied", Some(Duration::from_secs(80))));
}

#[test]
fn a_blocked_object_reads_nothing_until_an_answer_changes() {
    let mut scene = Scene::new(vec![key("tls.crt", "one"), key("tls.key", "two")], Vec::new());
    scene.object.spec.target.type_ = Some(SecretType::Tls);
    scene.answers = vec![read("v1", "crt"), failed(Failure::SecretNotFound)];
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    assert_eq!(scene.ready().1, "MissingKey");
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound)];
    assert_eq!(scene.verdict().outcome, Outcome::Failed);
    scene.answers = vec![Answer::Unchanged, read("v1", "key")];
    assert_eq!(scene.demands(), [0]);
}

/// A tls Secret whose private key comes from a JSON object that may be missing.
fn tls() -> Scene {
    let mut scene = Scene::new(vec![key("tls.crt", "one")], vec![object_source("two")]);
    scene.object.spec.target.type_ = Some(SecretType::Tls);
    scene.object.spec.data[0].from.secret.as_mut().unwrap().property = Some("$.a".to_owned());
    scene.object.spec.data_from[0].on_missing = OnMissing::Remove;
    scene.answers = vec![read("v1", r#"{"a": "1", "b": "2"}"#), read("v1", r#"{"tls.key": "key"}"#)];
    scene.create();
    scene
}

#[test]
fn a_change_that_could_not_be_written_is_written_whole_when_the_cause_goes() {
    let mut scene = tls();
    scene.answers = vec![read("v2", r#"{"a": "3"}"#), failed(Failure::SecretNotFound)];
    scene.settle();
    assert_eq!(scene.ready().1, "MissingKey");
    let entry = scene.status().entries[0].clone();
    assert_eq!((entry.version.as_deref(), entry.state), (Some("v2"), EntryState::Pending));
    // After a restart too: what is in the Secret is recorded with the Secret.
    scene.kept = Kept::default();
    scene.answers = vec![Answer::Unchanged, read("v1", r#"{"tls.key": "key"}"#)];
    assert_eq!(scene.demands(), [0]);
    scene.answers[0] = read("v2", r#"{"a": "3"}"#);
    // What a process has not seen it looks at before it writes.
    assert!(scene.looks());
    scene.sees(Seen::Ours(ours(&tls(), "1", &["tls.crt", "tls.key"])));
    assert_eq!(text(&scene.changes(), "tls.crt"), "3");
}

#[test]
fn an_edit_that_ended_blocked_is_not_taken_for_done() {
    let mut scene = tls();
    let there = ours(&scene, "1", &["tls.crt", "tls.key"]);
    scene.object.metadata.generation = Some(2);
    scene.object.spec.data[0].from.secret.as_mut().unwrap().property = Some("$.b".to_owned());
    scene.object.spec.target.deletion = Deletion::Retain;
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound)];
    assert!(scene.looks());
    scene.sees(Seen::Ours(there.clone()));
    assert_eq!(scene.demands(), [0]);
    scene.answers[0] = read("v1", r#"{"a": "1", "b": "2"}"#);
    // What needs no value is done, and the rest is said in the same round.
    let change = scene.changes();
    assert!(!change.drop_owners.is_empty() && change.set.is_empty() && change.remove.is_empty());
    let after = Observed { owners: Vec::new(), resource_version: "2".to_owned(), ..there };
    scene.sees(changed(after.clone()));
    scene.settle();
    assert_eq!(scene.ready().1, "MissingKey");
    assert_eq!(scene.status().target.as_ref().unwrap().deletion, Deletion::Retain);
    scene.kept = Kept::default();
    scene.answers = vec![Answer::Unchanged, read("v1", r#"{"tls.key": "key"}"#)];
    assert_eq!(scene.demands(), [0]);
    scene.answers[0] = read("v1", r#"{"a": "1", "b": "2"}"#);
    assert!(scene.looks());
    scene.sees(Seen::Ours(after));
    assert_eq!(text(&scene.changes(), "tls.crt"), "2");
}

#[test]
fn metadata_is_repaired_though_the_values_cannot_be_written() {
    let mut scene = tls();
    let there = ours(&scene, "1", &["tls.crt", "tls.key"]);
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound)];
    scene.settle();
    // Somebody removes a label, and a probe sees it; nothing is read for that.
    let repaired = there.clone();
    let mut moved = Observed { resource_version: "2".to_owned(), ..there };
    moved.labels.clear();
    moved.moved_at.insert("kubectl-edit".to_owned(), second(2));
    scene.probe = true;
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound)];
    assert!(scene.looks());
    scene.sees(Seen::Ours(moved));
    let change = scene.changes();
    assert!(!change.labels.is_empty() && change.set.is_empty());
    scene.sees(changed(Observed { resource_version: "3".to_owned(), ..repaired.clone() }));
    let verdict = scene.settle();
    assert_eq!((verdict.outcome, verdict.waits), (Outcome::Failed, false));
    assert_eq!(scene.ready().1, "MissingKey");
    scene.probe = true;
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound)];
    assert!(scene.looks());
    scene.sees(Seen::Ours(Observed { resource_version: "3".to_owned(), ..repaired }));
    scene.says_nothing_new();
}

#[test]
fn a_key_that_the_type_needs_stays_though_it_may_go_and_holds_up_no_other() {
    let missing = failed(Failure::SecretNotFound);
    let without = || read("v2", r#"{"other": "key"}"#);
    for (answer, reason) in [(missing, "SecretNotFound"), (without(), "PropertyNotFound")] {
        let items = vec![key("tls.crt", "one"), key("tls.key", "two"), key("ca.crt", "three")];
        let mut scene = Scene::new(items, Vec::new());
        scene.object.spec.target.type_ = Some(SecretType::Tls);
        scene.object.spec.data[1].on_missing = OnMissing::Remove;
        scene.object.spec.data[1].from.secret.as_mut().unwrap().property = Some("$.key".to_owned());
        scene.answers = vec![read("v1", "crt"), read("v1", r#"{"key": "key"}"#), read("v1", "ca")];
        scene.create();
        scene.answers = vec![read("v2", "new crt"), answer, Answer::Unchanged];
        let change = scene.changes();
        assert_eq!((names(&change), change.remove.len()), (vec!["tls.crt"], 0));
        let there = ours(&scene, "2", &["tls.crt", "tls.key", "ca.crt"]);
        scene.sees(changed(there));
        scene.settle();
        let (status, first, message) = scene.ready();
        assert_eq!((status.as_str(), first.as_str()), ("False", "MissingKey"));
        for part in ["kubernetes.io/tls", "keeps its last value", "onMissing: Remove", "secret two"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!(scene.states(), ["Synced", reason, "Synced"]);
        scene.answers = vec![Answer::Unchanged, answer_again(reason), Answer::Unchanged];
        scene.says_nothing_new();
        // After a restart too, but that what was found out of a value is found out anew.
        scene.kept = Kept::default();
        scene.answers = vec![Answer::Unchanged, answer_again(reason), Answer::Unchanged];
        if reason == "PropertyNotFound" {
            assert_eq!(scene.demands(), [1]);
            scene.answers[1] = without();
        }
        scene.says_nothing_new();
    }
}

fn answer_again(reason: &str) -> Answer {
    if reason == "SecretNotFound" { failed(Failure::SecretNotFound) } else { Answer::Unchanged }
}

#[test]
fn a_blocked_object_says_another_reason_and_answers_a_request() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    let fail = |scene: &mut Scene, failure| {
        scene.answers = vec![failed(failure)];
        if scene.looks() {
            scene.sees(Seen::Absent);
        }
    };
    fail(&mut scene, Failure::SecretNotFound);
    scene.settle();
    fail(&mut scene, Failure::SecretNotFound);
    scene.says_nothing_new();
    fail(&mut scene, Failure::SecretDisabled);
    scene.settle();
    assert_eq!(scene.ready().1, "SecretDisabled");
    let annotations = scene.object.metadata.annotations.get_or_insert_default();
    annotations.insert(SYNC_REQUESTED_ANNOTATION.to_owned(), "now".to_owned());
    scene.answers = vec![failed(Failure::SecretDisabled)];
    assert!(matches!(scene.step(), Step::ReadAnew(Anew::Requested(_))));
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    assert_eq!(scene.status().last_handled_sync.as_deref(), Some("now"));
}

#[test]
fn a_type_that_is_a_power_is_never_written_though_a_schema_of_old_took_it() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.answers = vec![read("v1", "a")];
    scene.object.spec.target.type_ = Some("helm.sh/release.v1".to_owned().into());
    let Err(problem) = super::sources(&scene.object.spec, &scene.found) else { panic!("taken") };
    let sentence = problem.message;
    assert!(sentence.contains("spec.target.type") && sentence.contains("never written"), "{sentence}");
    scene.settle();
    assert_eq!(scene.ready().1, "InvalidSpec");
}

#[test]
fn a_secret_without_keys_is_never_made_nor_called_synced() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.object.spec.data[0].on_missing = OnMissing::Remove;
    scene.answers = vec![failed(Failure::SecretNotFound)];
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    let (status, reason, _) = scene.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "MissingKey"));
    assert_eq!(scene.states(), ["Missing"]);
}

#[test]
fn a_refused_target_is_named_and_looked_at_again() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.answers = vec![read("v1", "a")];
    scene.step();
    scene.sees(Seen::Changed);
    assert!(scene.looks());
    scene.sees(Seen::Refused(Refusal::NotOwned));
    scene.settle();
    assert_eq!(scene.ready().1, "TargetNotOwned");
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.answers = vec![read("v1", "a")];
    assert!(matches!(scene.step(), Step::Create(_)));
}

#[test]
fn a_write_that_was_refused_is_tried_again_later_each_time_and_takes_no_value_meanwhile() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    let mut waits = Vec::new();
    for _ in 0..9 {
        scene.answers = vec![read("v1", "a")];
        let step = scene.step();
        if matches!(step, Step::Look) {
            scene.sees(Seen::Absent);
            assert!(matches!(scene.step(), Step::Create(_)));
        }
        scene.sees(Seen::Refused(Refusal::DeniedByWebhook("guard".to_owned())));
        let verdict = scene.settle();
        assert_eq!((verdict.outcome, scene.ready().1.as_str()), (Outcome::Failed, "AdmissionDenied"));
        let wait = verdict.next.unwrap();
        waits.push(wait.as_secs());
        // Whoever looks before that asks for nothing.
        scene.now += wait.checked_sub(Duration::from_secs(1)).unwrap();
        assert!(scene.looks());
        scene.sees(Seen::Absent);
        let early = scene.settle();
        assert_eq!(
            (early.outcome, early.status, early.next),
            (Outcome::Failed, None, Some(Duration::from_secs(1)))
        );
        scene.now += Duration::from_secs(1);
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    // An edit, or a user who asks, need not wait.
    scene.object.metadata.generation = Some(2);
    scene.answers = vec![read("v1", "a")];
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.create();
    assert_eq!(scene.ready().0, "True");
}

#[test]
fn of_two_objects_and_one_target_the_other_is_in_conflict() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.answers = vec![read("v1", "a")];
    scene.rival = Some("older".to_owned());
    scene.settle();
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "TargetConflict");
    assert!(message.contains("older"));
}

#[test]
fn suspend_observes_the_generation_and_leaves_ready() {
    let mut scene = synced();
    scene.object.spec.suspend = true;
    scene.object.metadata.generation = Some(2);
    let verdict = scene.settle();
    assert_eq!((verdict.outcome, scene.ready().0.as_str()), (Outcome::Suspended, "True"));
    assert_eq!(scene.status().observed_generation, Some(2));
    let mut fresh = Scene::new(vec![key("A", "one")], Vec::new());
    fresh.object.spec.suspend = true;
    fresh.settle();
    assert_eq!((fresh.ready().0.as_str(), fresh.ready().1.as_str()), ("Unknown", "Suspended"));
}

#[test]
fn retain_is_in_force_at_once_though_the_object_is_suspended_or_its_connection_gone() {
    for suspend in [true, false] {
        let mut scene = synced();
        scene.object.metadata.generation = Some(2);
        (scene.object.spec.suspend, scene.vault_exists) = (suspend, suspend);
        scene.object.spec.target.deletion = Deletion::Retain;
        scene.object.spec.target.labels = [("frozen".to_owned(), "too".to_owned())].into();
        assert!(scene.looks());
        scene.sees(Seen::Ours(ours(&synced(), "1", &["A", "B"])));
        let change = scene.changes();
        assert_eq!(change.drop_owners, ["object-uid"]);
        assert!(change.labels.is_empty() && change.annotations.is_empty() && change.set.is_empty());
        scene.sees(changed(secret("2", &["A", "B"])));
        scene.settle();
        assert_eq!(scene.ready().0, if suspend { "True" } else { "False" });
        let target = scene.status().target.clone().unwrap();
        assert_eq!((target.deletion, target.resource_version.as_str()), (Deletion::Retain, "2"));
        scene.says_nothing_new();
        // The way back arms garbage collection again, so it waits for the end of the suspension.
        scene.object.spec.target.deletion = Deletion::Delete;
        assert!(matches!(scene.step(), Step::End(_)));
    }
}

#[test]
fn retain_is_in_force_at_once_though_the_status_was_lost() {
    // Suspended, without its connection, or with a vault that says nothing.
    for (suspend, vault_exists, silent) in [(true, true, false), (false, false, false), (false, true, true)] {
        let mut scene = synced();
        (scene.object.status, scene.kept) = (None, Kept::default());
        (scene.object.spec.suspend, scene.vault_exists) = (suspend, vault_exists);
        if silent {
            scene.state = outage();
            scene.answers = vec![Answer::Pending, Answer::Pending];
        }
        let mut observed = ours(&scene, "9", &["A", "B"]);
        scene.object.spec.target.deletion = Deletion::Retain;
        assert!(scene.looks());
        scene.sees(Seen::Ours(observed.clone()));
        let change = scene.changes();
        assert_eq!(change.drop_owners, ["object-uid"]);
        assert!(change.set.is_empty() && change.remove.is_empty());
        observed.owners.clear();
        scene.sees(changed(observed));
        scene.settle();
        let target = scene.status().target.as_ref().unwrap();
        assert_eq!((target.deletion, scene.keys()), (Deletion::Retain, vec!["A", "B"]));
        // The keys are not vouched for, which nobody did on purpose.
        assert!(target.keys.iter().all(|key| key.of.is_none()));
        if silent {
            scene.answers = vec![Answer::Pending, Answer::Pending];
            scene.settle();
            scene.now += Duration::from_secs(6);
            scene.answers = vec![Answer::Pending, Answer::Pending];
            scene.settle();
            assert_eq!(scene.ready().1, "PublicAccessDisabled");
        }
    }
}

#[test]
fn that_a_secret_stays_is_believed_of_no_record_before_a_look_at_the_spec_as_it_is() {
    // An edit to Delete was written, the process was killed before it said so, and another edit came.
    let mut scene = synced();
    let target = scene.object.status.as_mut().unwrap().target.as_mut().unwrap();
    target.deletion = Deletion::Retain;
    scene.kept = Kept::default();
    scene.object.metadata.generation = Some(3);
    (scene.object.spec.suspend, scene.object.spec.target.deletion) = (true, Deletion::Retain);
    let mut observed = ours(&synced(), "9", &["A", "B"]);
    assert!(scene.looks());
    scene.sees(Seen::Ours(observed.clone()));
    assert_eq!(scene.changes().drop_owners, ["object-uid"]);
    observed.owners.clear();
    scene.sees(changed(observed.clone()));
    scene.settle();
    // Once is enough, but for the looks that every Secret gets.
    scene.says_nothing_new();
    scene.probe = true;
    assert!(scene.looks());
    scene.sees(Seen::Ours(observed));
    scene.says_nothing_new();
}

#[test]
fn an_object_that_has_no_secret_looks_for_one_once_while_the_vault_is_silent() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.object.spec.target.deletion = Deletion::Retain;
    (scene.state, scene.answers) = (outage(), vec![Answer::Pending]);
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    for _ in 0..3 {
        scene.answers = vec![Answer::Pending];
        assert_eq!(scene.settle().status, None);
    }
}

#[test]
fn a_secret_that_was_only_stamped_is_not_called_edited_while_the_vault_is_silent() {
    let mut scene = synced();
    scene.kept = Kept::default();
    scene.probe = true;
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged];
    assert!(scene.looks());
    scene.sees(Seen::Ours(ours(&scene, "9", &["A", "B"])));
    assert!(matches!(scene.step(), Step::ReadAnew(_)));
    scene.state = outage();
    for version in ["10", "11"] {
        scene.answers = vec![Answer::Pending, Answer::Pending];
        assert_eq!(scene.settle().outcome, Outcome::Waiting);
        scene.now += Duration::from_secs(6);
        assert!(scene.looks());
        scene.sees(Seen::Ours(Observed { unmoved: true, ..ours(&scene, version, &["A", "B"]) }));
    }
    scene.answers = vec![Answer::Pending, Answer::Pending];
    scene.settle();
    assert_eq!(scene.ready().0, "True");
}

#[test]
fn an_edited_key_is_told_though_the_label_that_was_edited_with_it_was_put_right() {
    let mut scene = synced();
    scene.probe = true;
    (scene.state, scene.answers) = (outage(), vec![Answer::Unchanged, Answer::Unchanged]);
    let edited = |version: &str| {
        let mut observed = ours(&synced(), version, &["B"]);
        observed.keys.insert("A".to_owned(), ["kubectl-edit".to_owned()].into());
        observed.moved_at.insert("kubectl-edit".to_owned(), second(2));
        observed
    };
    assert!(scene.looks());
    scene.sees(Seen::Ours(Observed { labels: BTreeMap::new(), ..edited("9") }));
    assert_eq!(scene.demands(), [0]);
    scene.answers = vec![Answer::Pending, Answer::Unchanged];
    assert!(!scene.changes().labels.is_empty());
    scene.sees(changed(edited("10")));
    scene.settle();
    scene.probe = false;
    // Also by another process, and though nothing moved since.
    for restart in [false, true] {
        if restart {
            scene.kept = Kept::default();
            scene.answers = vec![Answer::Pending, Answer::Pending];
            scene.settle();
        }
        scene.now += Duration::from_secs(6);
        scene.answers = vec![Answer::Pending, Answer::Unchanged];
        scene.settle();
        assert_eq!(scene.ready().1, "Drifted");
    }
}

#[test]
fn an_overtaken_secret_for_which_nothing_can_be_read_is_read_for_once() {
    for failure in [Failure::SecretDisabled, Failure::SecretNotFound] {
        let mut scene = synced();
        scene.probe = true;
        assert!(scene.looks());
        scene.sees(Seen::Ours(ours(&scene, "9", &["A", "B"])));
        assert!(matches!(scene.step(), Step::ReadAnew(_)));
        scene.answers = vec![failed(failure.clone()), failed(failure.clone())];
        scene.settle();
        assert_eq!(scene.ready().0, "False");
        assert!(scene.status().target.as_ref().unwrap().keys.iter().all(|key| key.of.is_none()));
        for _ in 0..3 {
            scene.probe = true;
            scene.answers = vec![failed(failure.clone()), failed(failure.clone())];
            assert!(scene.looks());
            assert_eq!(scene.round.as_ref().unwrap().expected(), Some("9"));
            scene.sees(Seen::Ours(Observed { unmoved: true, ..ours(&scene, "9", &["A", "B"]) }));
            assert_eq!(scene.settle().status, None);
        }
        // Once they can be read all is written that may be another's.
        scene.probe = false;
        scene.answers = vec![read("v1", "a"), read("v1", "b")];
        assert_eq!(names(&scene.changes()), ["A", "B"]);
    }
}

#[test]
fn a_sync_by_hand_tries_a_refused_write_once_more_and_leaves_its_pace_alone() {
    let mut scene = synced();
    let ask = |scene: &mut Scene, request: &str| {
        let annotations = scene.object.metadata.annotations.get_or_insert_default();
        annotations.insert(SYNC_REQUESTED_ANNOTATION.to_owned(), request.to_owned());
    };
    let refusal = || Seen::Refused(Refusal::QuotaExceeded("small".to_owned()));
    scene.answers = vec![read("v2", "a2"), Answer::Unchanged];
    scene.changes();
    scene.sees(refusal());
    scene.settle();
    for request in ["one", "two"] {
        ask(&mut scene, request);
        // Not within three seconds of the last try, however often somebody asks.
        assert!(scene.looks());
        scene.sees(Seen::Ours(ours(&scene, "1", &["A", "B"])));
        let verdict = scene.settle();
        assert_eq!((verdict.status, verdict.next), (None, Some(Duration::from_secs(3))));
        scene.now += Duration::from_secs(3);
        assert!(scene.looks());
        scene.sees(Seen::Ours(ours(&scene, "1", &["A", "B"])));
        assert!(matches!(scene.step(), Step::ReadAnew(Anew::Requested(_))));
        scene.answers = vec![read("v2", "a2"), read("v1", "b")];
        scene.changes();
        scene.sees(refusal());
        scene.settle();
        assert_eq!(scene.status().last_handled_sync.as_deref(), Some(request));
    }
    assert!(scene.looks());
    scene.sees(Seen::Ours(ours(&scene, "1", &["A", "B"])));
    assert_eq!(scene.settle().next, Some(Duration::from_secs(20)));
}

#[test]
fn a_secret_that_is_not_ours_keeps_its_owner_while_the_object_is_suspended() {
    let mut scene = synced();
    scene.object.spec.suspend = true;
    scene.object.spec.target.deletion = Deletion::Retain;
    assert!(scene.looks());
    scene.sees(Seen::Refused(Refusal::NotOwned));
    scene.settle();
    assert_eq!(scene.ready().0, "True");
    assert_eq!(scene.status().target.as_ref().unwrap().deletion, Deletion::Delete);
}

#[test]
fn a_forced_sync_reads_once_looks_and_is_echoed() {
    let mut scene = synced();
    let request = [(SYNC_REQUESTED_ANNOTATION.to_owned(), "now".to_owned())];
    scene.object.metadata.annotations = Some(request.into());
    let step = scene.step();
    assert!(matches!(&step, Step::ReadAnew(Anew::Requested(request)) if request == "now"), "{step:?}");
    scene.answers = vec![Answer::Pending, Answer::Unchanged];
    assert!(scene.looks());
    let observed = ours(&scene, "1", &["A", "B"]);
    scene.sees(Seen::Ours(observed.clone()));
    assert_eq!(scene.settle().outcome, Outcome::Waiting);
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged];
    assert!(scene.looks());
    scene.sees(Seen::Ours(observed));
    scene.settle();
    assert_eq!(scene.status().last_handled_sync.as_deref(), Some("now"));
}

#[test]
fn a_deleted_object_writes_nothing() {
    let mut scene = synced();
    scene.object.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(scene.now));
    scene.object.spec.target.deletion = Deletion::Retain;
    scene.answers = vec![read("v2", "a2"), Answer::Unchanged];
    let verdict = scene.verdict();
    assert_eq!((verdict.outcome, verdict.status), (Outcome::Deleting, None));
}

#[test]
fn retain_drops_the_owner_reference_and_delete_adds_it() {
    let mut scene = synced();
    scene.object.spec.target.deletion = Deletion::Retain;
    scene.object.metadata.generation = Some(2);
    let mut observed = secret("1", &["A", "B"]);
    let mut owner = Desired::of(&synced().object).owner.unwrap();
    observed.owners = vec![owner.clone()];
    assert!(scene.looks());
    scene.sees(Seen::Ours(observed.clone()));
    assert_eq!(scene.changes().drop_owners, ["object-uid"]);
    scene.object.spec.target.deletion = Deletion::Delete;
    "replaced-object".clone_into(&mut owner.uid);
    observed.owners = vec![owner];
    scene.sees(Seen::Ours(observed));
    let change = scene.changes();
    assert_eq!(change.drop_owners, ["replaced-object"]);
    assert_eq!(change.add_owner.map(|owner| owner.uid).as_deref(), Some("object-uid"));
}

#[test]
fn an_expired_source_is_delivered_and_says_so_in_time() {
    let mut scene = synced();
    let Answer::Read(reading) = read("v2", "a2") else { unreachable!() };
    let mut reading = (*reading).clone();
    reading.attributes.expires = Timestamp::from_second(scene.now.as_second() + 60).ok();
    scene.answers[0] = Answer::Read(Arc::new(reading));
    scene.changes();
    scene.sees(changed(ours(&scene, "2", &["A", "B"])));
    assert_eq!(scene.settle().next, Some(Duration::from_secs(61)));
    assert_eq!(scene.states()[0], "Synced");
    scene.now = Timestamp::from_second(scene.now.as_second() + 61).unwrap();
    scene.settle();
    assert_eq!(scene.states()[0], "Expired");
    assert_eq!(scene.ready().0, "True");
}

#[test]
fn a_source_that_expires_soon_says_so_when_soon_begins() {
    let mut scene = synced();
    scene.expiring_before = Duration::from_secs(3600);
    let Answer::Read(reading) = read("v2", "a2") else { unreachable!() };
    let mut reading = (*reading).clone();
    reading.attributes.expires = Timestamp::from_second(scene.now.as_second() + 3660).ok();
    scene.answers[0] = Answer::Read(Arc::new(reading));
    scene.changes();
    scene.sees(changed(ours(&scene, "2", &["A", "B"])));
    assert_eq!((scene.settle().next, scene.states()[0]), (Some(Duration::from_secs(61)), "Synced"));
    scene.now = Timestamp::from_second(scene.now.as_second() + 61).unwrap();
    assert_eq!((scene.settle().next, scene.states()[0]), (Some(Duration::from_secs(3600)), "Expiring"));
    assert_eq!(scene.ready().0, "True");
    scene.says_nothing_new();
}

#[test]
fn a_restart_knows_what_was_read_and_asks_again_only_for_what_failed() {
    let mut scene = synced();
    scene.answers = vec![failed(Failure::SecretNotFound), Answer::Unchanged];
    scene.settle();
    let wants = scene.wants();
    assert_eq!(wants[0].known, None);
    assert_eq!(wants[1].known.as_ref().map(|known| known.version.as_str()), Some("v1"));
}

#[test]
fn a_value_that_gives_no_key_is_read_once() {
    let mut scene = synced();
    scene.object.spec.data[0].from.secret.as_mut().unwrap().property = Some("$.a".to_owned());
    scene.object.metadata.generation = Some(2);
    assert_eq!(scene.demands(), [0]);
    scene.answers[0] = read("v1", "no JSON");
    assert_eq!(scene.settle().outcome, Outcome::Failed);
    assert_eq!((scene.ready().1.as_str(), scene.keys()), ("InvalidJson", vec!["A", "B"]));
    scene.says_nothing_new();
    // Its last value stays, and after a restart it is judged once more.
    scene.kept = Kept::default();
    assert_eq!(scene.demands(), [0]);
}

#[test]
fn a_property_that_is_gone_takes_its_key_with_it_where_the_spec_says_so() {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    scene.object.spec.data[0].from.secret.as_mut().unwrap().property = Some("$.a".to_owned());
    scene.object.spec.data[0].on_missing = OnMissing::Remove;
    scene.answers = vec![read("v1", r#"{"a": "1"}"#), read("v1", "b")];
    scene.create();
    scene.answers = vec![read("v2", "{}"), Answer::Unchanged];
    assert_eq!(scene.changes().remove.iter().collect::<Vec<_>>(), ["A"]);
    scene.sees(changed(ours(&scene, "2", &["B"])));
    scene.settle();
    assert_eq!((scene.ready().0.as_str(), scene.states()[0]), ("True", "Missing"));
    scene.says_nothing_new();
}

#[test]
fn a_status_of_an_earlier_release_costs_a_read_of_each_source_and_moves_nothing() {
    let mut scene = synced();
    let mut stored = serde_json::to_value(scene.status()).unwrap();
    stored["target"]["keys"] = serde_json::json!(["A", "B"]);
    stored["target"].as_object_mut().unwrap().remove("metadata");
    stored["entries"][0]["state"] = serde_json::json!("Settling");
    scene.object.status = Some(serde_json::from_value(stored).unwrap());
    assert_eq!(scene.status().entries[0].state, EntryState::Unknown);
    scene.kept = Kept::default();
    assert!(scene.looks(), "nothing is recorded of its metadata");
    scene.sees(Seen::Ours(ours(&scene, "1", &["A", "B"])));
    assert_eq!(scene.demands(), [0, 1]);
}

const SECRETS_ONLY: Permit = Permit { secret: true, certificate: false };

fn of_certificate(version: &str, value: &str) -> Answer {
    let mut reading = super::fixtures::reading(version, value);
    reading.attributes.managed = true;
    Answer::Read(Arc::new(reading))
}

#[test]
fn the_secret_of_a_certificate_is_never_written_by_a_grant_for_secrets() {
    let mut scene = Scene::new(vec![key("A", "one"), key("TLS", "tls")], Vec::new());
    scene.permit = SECRETS_ONLY;
    scene.object.spec.data[1].on_missing = OnMissing::Remove;
    scene.answers = vec![read("v1", "a"), of_certificate("v1", "private")];
    scene.create();
    assert_eq!(scene.keys(), ["A"]);
    let (status, reason, message) = scene.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NotAllowed"));
    assert!(message.contains("key TLS") && message.contains("certificates [tls]"), "{message}");
    // Nothing new: it stays refused and costs no read.
    scene.says_nothing_new();
    // Granted: its value is asked for, and written.
    scene.permit = Permit::FULL;
    assert_eq!(scene.demands(), [1]);
    scene.answers = vec![Answer::Unchanged, of_certificate("v1", "private")];
    assert_eq!(names(&scene.changes()), ["TLS"]);
}

#[test]
fn a_withdrawn_grant_for_certificates_keeps_what_was_written() {
    let mut scene = Scene::new(vec![key("TLS", "tls")], Vec::new());
    scene.answers = vec![of_certificate("v1", "private")];
    scene.create();
    scene.permit = SECRETS_ONLY;
    let verdict = scene.settle();
    assert_eq!((verdict.outcome, verdict.reason), (Outcome::Failed, Some(Reason::NotAllowed)));
    assert_eq!(scene.keys(), ["TLS"]);
    // Another version is not written either.
    scene.answers = vec![of_certificate("v2", "private2")];
    assert!(matches!(scene.step(), Step::End(_)));
}

#[test]
fn an_object_that_only_reads_a_certificates_secret_is_created_once_it_is_granted() {
    let mut scene = Scene::new(vec![key("TLS", "tls")], Vec::new());
    scene.permit = SECRETS_ONLY;
    scene.answers = vec![of_certificate("v1", "private")];
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    assert_eq!(scene.ready().1, "NotAllowed");
    scene.permit = Permit::FULL;
    assert_eq!(scene.demands(), [0]);
}

#[test]
fn a_record_that_somebody_put_in_the_place_of_ours_is_not_believed() {
    let mut scene = synced();
    let older = scene.status().clone();
    scene.answers = vec![read("v2", "a2"), Answer::Unchanged];
    scene.changes();
    scene.sees(changed(ours(&scene, "2", &["A", "B"])));
    scene.settle();
    scene.object.status = Some(older);
    assert!(scene.looks());
    scene.sees(Seen::Ours(ours(&scene, "2", &["A", "B"])));
    assert_eq!(scene.demands(), [0, 1]);
}

#[test]
fn a_source_of_which_one_key_is_there_and_another_went_as_asked_is_synced() {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "one")], Vec::new());
    scene.object.spec.data[1].from.secret.as_mut().unwrap().property = Some("$.b".to_owned());
    scene.object.spec.data[1].on_missing = OnMissing::Remove;
    scene.answers = vec![read("v1", r#"{"a": "1"}"#)];
    scene.create();
    assert_eq!((scene.ready().0.as_str(), scene.states()), ("True", vec!["Synced"]));
    scene.says_nothing_new();
}

#[test]
fn an_entry_of_status_that_speaks_of_nothing_known_is_read() {
    let entry =
        EntryStatus { name: "one".to_owned(), version: Some("v1".to_owned()), ..EntryStatus::default() };
    let mut scene = synced();
    scene.object.status.as_mut().unwrap().entries[0] = entry;
    assert_eq!(scene.wants()[0].known, None);
}

#[test]
fn no_status_makes_a_process_write_a_secret_that_it_has_not_seen_to_be_ours() {
    // Somebody may put any record into status before the first round.
    for (uid, version) in [("uid-1", "1"), ("", "")] {
        let mut scene = synced();
        let target = scene.object.status.as_mut().unwrap().target.as_mut().unwrap();
        uid.clone_into(&mut target.uid);
        version.clone_into(&mut target.resource_version);
        scene.kept = Kept::default();
        scene.answers = vec![read("v2", "new"), Answer::Unchanged];
        assert!(scene.looks(), "{uid}");
        scene.sees(Seen::Refused(Refusal::NotOwned));
        scene.settle();
        assert_eq!(scene.ready().1, "TargetNotOwned");
    }
}
