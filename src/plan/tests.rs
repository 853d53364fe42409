//! What a user gets, decided without a cluster: each row of the behaviour tables.

use super::fixtures::{Scene, failed, key, object_source, read, second, secret};
use super::*;
use crate::api::{Deletion, EntryStatus, OnMissing, SYNC_REQUESTED_ANNOTATION};
use crate::vault::{Answer, Failure, HealthState};
use std::sync::Arc;

fn synced() -> Scene {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    scene.create();
    scene
}

fn outage() -> HealthState {
    HealthState::Failing {
        failure: Arc::new(Failure::PublicAccessDisabled(None)),
        lasting: Duration::from_secs(1),
        retry_in: Duration::from_secs(1),
    }
}

fn change_of(step: Step) -> Change {
    match step {
        Step::Change(change) => change,
        other => panic!("no change: {other:?}"),
    }
}

fn text(change: &Change, key: &str) -> String {
    String::from_utf8_lossy(change.set[key].expose()).into_owned()
}

#[test]
fn the_first_sync_creates_the_secret_with_mark_owner_and_all_keys() {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    scene.answers = vec![Answer::Pending, read("v1", "b")];
    assert_eq!(scene.verdict().outcome, Outcome::Waiting);
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    let Step::Create(new) = scene.step() else { panic!() };
    assert_eq!(new.annotations["vaultsync.dev/owner"], "shop");
    assert_eq!(new.owner.as_ref().map(|owner| owner.uid.as_str()), Some("object-uid"));
    assert_eq!(new.data.keys().collect::<Vec<_>>(), ["A", "B"]);
    let verdict = scene.create();
    assert_eq!(verdict.outcome, Outcome::Created);
    assert_eq!(scene.ready().0, "True");
    assert_eq!(scene.object.status.as_ref().unwrap().observed_generation, Some(1));
}

#[test]
fn nothing_new_says_nothing() {
    let scene = synced();
    let verdict = scene.verdict();
    assert_eq!((verdict.outcome, verdict.status, verdict.next), (Outcome::Unchanged, None, None));
}

#[test]
fn one_changed_secret_costs_one_key() {
    let mut scene = synced();
    scene.answers = vec![read("v2", "a2"), Answer::Unchanged];
    let change = change_of(scene.step());
    assert_eq!(change.set.keys().collect::<Vec<_>>(), ["A"]);
    assert_eq!(text(&change, "A"), "a2");
    assert_eq!((change.uid.as_str(), change.resource_version.as_str()), ("secret-uid", "1"));
    assert!(change.remove.is_empty());
}

#[test]
fn a_rotation_is_never_torn_in_half() {
    let mut scene = synced();
    scene.answers = vec![read("v2", "a2"), Answer::Pending];
    assert_eq!(scene.verdict().outcome, Outcome::Waiting);
}

#[test]
fn a_missing_secret_keeps_the_last_good_value() {
    let mut scene = synced();
    scene.answers = vec![failed(Failure::SecretNotFound), read("v2", "b2")];
    let change = change_of(scene.step());
    assert_eq!((change.set.len(), change.remove.len()), (1, 0));
    scene.answers = vec![failed(Failure::SecretNotFound), Answer::Unchanged];
    scene.settle();
    let (status, reason, message) = scene.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "SecretNotFound"));
    assert!(message.contains("secret one") && message.contains("key A"), "{message}");
    assert_eq!(scene.object.status.as_ref().unwrap().entries[0].version.as_deref(), Some("v1"));
}

#[test]
fn a_missing_secret_is_removed_where_the_spec_says_so() {
    let mut scene = synced();
    scene.object.spec.data[0].on_missing = OnMissing::Remove;
    scene.answers = vec![failed(Failure::SecretNotFound), Answer::Unchanged];
    let change = change_of(scene.step());
    assert_eq!(change.remove.iter().collect::<Vec<_>>(), ["A"]);
    scene.seen = Seen::Written(Written { after: secret("2", &["B"]), created: false, moved: true });
    scene.settle();
    assert_eq!(scene.ready().0, "True");
    let status = scene.object.status.as_ref().unwrap();
    assert_eq!(status.entries[0].state, "Missing");
    assert_eq!(status.target.as_ref().unwrap().keys, ["B"]);
}

#[test]
fn a_source_that_comes_back_is_written_again() {
    let mut scene = synced();
    scene.object.spec.data[0].on_missing = OnMissing::Remove;
    scene.object.status.as_mut().unwrap().entries[0] =
        EntryStatus { name: "one".to_owned(), state: "Missing".to_owned(), ..EntryStatus::default() };
    scene.answers = vec![read("v1", "a"), Answer::Unchanged];
    assert_eq!(change_of(scene.step()).set.keys().collect::<Vec<_>>(), ["A"]);
}

#[test]
fn the_first_creation_never_makes_an_empty_secret() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.answers = vec![failed(Failure::SecretNotFound)];
    let verdict = scene.settle();
    assert_eq!((verdict.outcome, scene.ready().1.as_str()), (Outcome::Failed, "SecretNotFound"));
}

#[test]
fn the_first_creation_goes_on_without_a_missing_entry() {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    scene.answers = vec![failed(Failure::SecretDisabled), read("v1", "b")];
    scene.create();
    assert_eq!(scene.ready().1, "SecretDisabled");
    assert_eq!(scene.object.status.as_ref().unwrap().target.as_ref().unwrap().keys, ["B"]);
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
    assert_eq!(scene.verdict().status, None, "said once");
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
    scene.settle();
    assert_eq!(scene.ready().1, "PublicAccessDisabled");
}

#[test]
fn an_edit_of_the_spec_reads_all_and_looks_first() {
    let mut scene = synced();
    scene.object.metadata.generation = Some(2);
    scene.object.spec.data.pop();
    scene.answers.pop();
    assert_eq!(scene.step(), Step::Probe);
    scene.seen = Seen::Ours(secret("1", &["A", "B"]));
    assert_eq!(scene.step(), Step::Read([0].into()));
    scene.demanded = [0].into();
    scene.answers = vec![read("v1", "a")];
    let change = change_of(scene.step());
    assert_eq!(change.remove.iter().collect::<Vec<_>>(), ["B"]);
    assert_eq!(change.set.keys().collect::<Vec<_>>(), ["A"]);
}

#[test]
fn a_foreign_key_in_our_secret_is_left_alone() {
    let mut scene = synced();
    scene.object.metadata.generation = Some(2);
    let mut observed = secret("7", &["A", "B"]);
    observed.keys.insert("THEIRS".to_owned(), ["kubectl-edit".to_owned()].into());
    observed.moved_at.insert("kubectl-edit".to_owned(), second(2));
    scene.seen = Seen::Ours(observed);
    scene.demanded = [0, 1].into();
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    assert!(change_of(scene.step()).remove.is_empty());
}

#[test]
fn an_edited_key_is_read_and_brought_back() {
    let mut scene = synced();
    let mut observed = secret("9", &["B"]);
    observed.keys.insert("A".to_owned(), ["kubectl-edit".to_owned()].into());
    observed.moved_at.insert("kubectl-edit".to_owned(), second(2));
    scene.probe = true;
    assert_eq!(scene.step(), Step::Probe);
    scene.seen = Seen::Ours(observed);
    assert_eq!(scene.step(), Step::Read([0].into()));
    scene.demanded = [0].into();
    scene.answers[0] = read("v1", "a");
    let change = change_of(scene.step());
    assert_eq!((change.set.len(), change.resource_version.as_str()), (1, "9"));
    scene.seen = Seen::Written(Written { after: secret("10", &["A", "B"]), created: false, moved: true });
    assert_eq!(scene.settle().outcome, Outcome::Repaired);
}

#[test]
fn a_secret_deleted_while_the_vault_is_silent_is_drifted_at_once() {
    let mut scene = synced();
    scene.seen = Seen::Absent;
    assert_eq!(scene.step(), Step::Read([0, 1].into()));
    scene.demanded = [0, 1].into();
    scene.answers = vec![Answer::Pending, Answer::Pending];
    scene.state = outage();
    assert!(scene.settle().unfinished);
    assert_eq!(scene.ready().1, "Drifted");
    // Only a look can tell that it is not so any more.
    assert_eq!(scene.step(), Step::Probe);
}

#[test]
fn a_target_that_was_refused_is_not_called_synced_without_a_look() {
    for refusal in [Refusal::NotOwned, Refusal::OwnedBy("other".to_owned()), Refusal::Forbidden] {
        let mut scene = synced();
        scene.seen = Seen::Refused(refusal);
        scene.settle();
        assert_eq!(scene.ready().0, "False");
        assert_eq!(scene.step(), Step::Probe);
    }
}

#[test]
fn a_lost_label_is_restored_though_the_vault_is_silent() {
    let mut scene = synced();
    scene.answers = vec![Answer::Pending, Answer::Unchanged];
    scene.state = outage();
    let mut observed = secret("9", &["A", "B"]);
    observed.labels.clear();
    observed.moved_at.insert("kubectl-edit".to_owned(), second(2));
    observed.owners = Desired::of(&scene.object).owner.into_iter().collect();
    scene.seen = Seen::Ours(observed);
    let change = change_of(scene.step());
    assert!(change.set.is_empty() && change.remove.is_empty());
    assert_eq!(change.labels.keys().collect::<Vec<_>>(), ["app.kubernetes.io/managed-by"]);
}

#[test]
fn a_touched_but_unchanged_secret_is_no_drift() {
    let mut scene = synced();
    let mut observed = secret("9", &["A", "B"]);
    observed.moved_at.insert("kubectl".to_owned(), second(2));
    observed.owners = Desired::of(&scene.object).owner.into_iter().collect();
    scene.seen = Seen::Ours(observed);
    let verdict = scene.verdict();
    assert_eq!((verdict.outcome, verdict.status), (Outcome::Unchanged, None));
    assert_eq!(verdict.verified.map(|verified| verified.resource_version).as_deref(), Some("9"));
}

#[test]
fn an_older_value_that_another_operator_wrote_under_our_name_is_written_over() {
    let mut scene = synced();
    let mut observed = secret("9", &["A", "B"]);
    observed.owners = Desired::of(&scene.object).owner.into_iter().collect();
    // Within the second of our own write only the resourceVersion tells.
    for moved_at in [second(1), second(2)] {
        observed.moved_at.insert("vaultsync:shop".to_owned(), moved_at);
        scene.seen = Seen::Ours(observed.clone());
        let Step::Recheck { resource_version, sources } = scene.step() else { panic!("{:?}", scene.step()) };
        assert_eq!((resource_version.as_str(), sources.len()), ("9", 2));
    }
    scene.rechecked = Some("9".to_owned());
    scene.answers = vec![Answer::Pending, Answer::Pending];
    assert_eq!(scene.verdict().outcome, Outcome::Waiting);
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    let change = change_of(scene.step());
    assert_eq!((change.set.len(), change.resource_version.as_str()), (2, "9"));
    scene.seen = Seen::Written(Written { after: observed, created: false, moved: false });
    let verdict = scene.settle();
    assert_eq!(verdict.outcome, Outcome::Unchanged);
    assert_eq!(verdict.verified.map(|verified| verified.resource_version).as_deref(), Some("9"));
}

#[test]
fn a_lost_status_is_found_again_without_moving_anything() {
    let mut scene = synced();
    scene.object.status = None;
    scene.verified = None;
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    assert!(matches!(scene.step(), Step::Create(_)));
    scene.seen = Seen::Changed;
    assert_eq!(scene.step(), Step::Probe);
    let mut observed = secret("1", &["A", "B"]);
    observed.owners = Desired::of(&scene.object).owner.into_iter().collect();
    scene.seen = Seen::Ours(observed.clone());
    assert_eq!(change_of(scene.step()).set.len(), 2);
    scene.seen = Seen::Written(Written { after: observed, created: false, moved: false });
    assert_eq!(scene.settle().outcome, Outcome::Unchanged);
    assert_eq!(scene.ready().0, "True");
    assert_eq!(scene.object.status.as_ref().unwrap().last_change, None);
}

#[test]
fn keys_that_left_a_json_object_go_only_from_a_complete_picture() {
    let mut scene = Scene::new(Vec::new(), vec![object_source("one"), object_source("two")]);
    scene.answers = vec![read("v1", r#"{"A": "1", "B": 2}"#), read("v1", r#"{"C": true}"#)];
    scene.create();
    scene.answers = vec![read("v2", r#"{"A": "1"}"#), Answer::Unchanged];
    assert_eq!(scene.step(), Step::Read([1].into()));
    scene.demanded = [1].into();
    scene.answers[1] = failed(Failure::SecretDisabled);
    assert!(change_of(scene.step()).remove.is_empty());
    scene.answers[1] = read("v1", r#"{"C": true}"#);
    assert_eq!(change_of(scene.step()).remove.iter().collect::<Vec<_>>(), ["B"]);
}

#[test]
fn a_key_of_two_json_objects_is_kept_and_named() {
    let mut scene = Scene::new(vec![key("D", "three")], vec![object_source("one"), object_source("two")]);
    scene.answers =
        vec![read("v1", "d"), read("v1", r#"{"A": "1", "D": "x"}"#), read("v1", r#"{"A": "2", "B": "3"}"#)];
    scene.create();
    assert_eq!(scene.ready().1, "DuplicateKey");
    assert_eq!(scene.object.status.as_ref().unwrap().target.as_ref().unwrap().keys, ["B", "D"]);
}

#[test]
fn more_than_one_mebibyte_is_refused_before_any_write() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.answers = vec![read("v1", &"x".repeat(MAX_SECRET_BYTES + 1))];
    scene.settle();
    assert_eq!(scene.ready().1, "TooLarge");
}

#[test]
fn a_blocked_object_reads_nothing_until_an_answer_changes() {
    let mut scene = Scene::new(vec![key("tls.crt", "one"), key("tls.key", "two")], Vec::new());
    scene.object.spec.target.type_ = crate::api::SecretType::Tls;
    scene.answers = vec![read("v1", "crt"), failed(Failure::SecretNotFound)];
    scene.settle();
    assert_eq!(scene.ready().1, "MissingKey");
    scene.answers = vec![Answer::Unchanged, failed(Failure::SecretNotFound)];
    assert_eq!(scene.verdict().outcome, Outcome::Failed);
    scene.answers = vec![Answer::Unchanged, read("v1", "key")];
    assert_eq!(scene.step(), Step::Read([0].into()));
}

#[test]
fn a_change_that_could_not_be_written_is_written_whole_when_the_cause_goes() {
    let mut scene = Scene::new(vec![key("tls.crt", "one"), key("tls.key", "two")], Vec::new());
    scene.object.spec.target.type_ = crate::api::SecretType::Tls;
    scene.object.spec.data[1].on_missing = OnMissing::Remove;
    scene.answers = vec![read("v1", "crt"), read("v1", "key")];
    scene.create();
    scene.answers = vec![read("v2", "new crt"), failed(Failure::SecretNotFound)];
    assert!(scene.settle().blocked);
    let entry = scene.object.status.as_ref().unwrap().entries[0].clone();
    assert_eq!((entry.version.as_deref(), entry.state.as_str()), (Some("v1"), "MissingKey"));
    scene.answers = vec![Answer::Unchanged, read("v1", "key")];
    assert_eq!(scene.step(), Step::Read([0].into()));
    scene.answers[0] = read("v2", "new crt");
    let Step::Change(change) = scene.step() else { panic!("{:?}", scene.step()) };
    assert!(change.set.contains_key("tls.crt"));
}

#[test]
fn a_blocked_object_says_another_reason_and_answers_a_request() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.answers = vec![failed(Failure::SecretNotFound)];
    assert!(scene.settle().blocked);
    scene.answers = vec![failed(Failure::SecretNotFound)];
    assert_eq!(scene.verdict().status, None);
    scene.answers = vec![failed(Failure::SecretDisabled)];
    scene.settle();
    assert_eq!(scene.ready().1, "SecretDisabled");
    let annotations = scene.object.metadata.annotations.get_or_insert_default();
    annotations.insert(SYNC_REQUESTED_ANNOTATION.to_owned(), "now".to_owned());
    scene.refreshed = Some("now".to_owned());
    scene.answers = vec![failed(Failure::SecretDisabled)];
    scene.settle();
    assert_eq!(scene.object.status.unwrap().last_handled_sync.as_deref(), Some("now"));
}

#[test]
fn a_secret_without_keys_is_never_made_nor_called_synced() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.object.spec.data[0].on_missing = OnMissing::Remove;
    scene.answers = vec![failed(Failure::SecretNotFound)];
    assert!(scene.settle().blocked);
    let (status, reason, _) = scene.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "MissingKey"));
    assert_eq!(scene.object.status.unwrap().entries[0].state, "Missing");
}

#[test]
fn a_refused_target_is_named_and_looked_at_again() {
    let mut scene = Scene::new(vec![key("A", "one")], Vec::new());
    scene.answers = vec![read("v1", "a")];
    scene.seen = Seen::Refused(Refusal::NotOwned);
    scene.settle();
    assert_eq!(scene.ready().1, "TargetNotOwned");
    assert_eq!(scene.step(), Step::Probe);
    scene.seen = Seen::Absent;
    scene.answers = vec![read("v1", "a")];
    assert!(matches!(scene.step(), Step::Create(_)));
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
    assert_eq!(scene.object.status.as_ref().unwrap().observed_generation, Some(2));
    let mut fresh = Scene::new(vec![key("A", "one")], Vec::new());
    fresh.object.spec.suspend = true;
    fresh.settle();
    assert_eq!((fresh.ready().0.as_str(), fresh.ready().1.as_str()), ("Unknown", "Suspended"));
}

#[test]
fn a_forced_sync_reads_once_looks_and_is_echoed() {
    let mut scene = synced();
    let request = [(SYNC_REQUESTED_ANNOTATION.to_owned(), "now".to_owned())];
    scene.object.metadata.annotations = Some(request.into());
    assert_eq!(scene.step(), Step::Refresh("now".to_owned()));
    scene.refreshed = Some("now".to_owned());
    assert_eq!(scene.step(), Step::Probe);
    let mut observed = secret("1", &["A", "B"]);
    observed.owners = Desired::of(&scene.object).owner.into_iter().collect();
    scene.seen = Seen::Ours(observed);
    scene.answers = vec![Answer::Pending, Answer::Unchanged];
    assert_eq!(scene.verdict().outcome, Outcome::Waiting);
    scene.answers = vec![Answer::Unchanged, Answer::Unchanged];
    scene.settle();
    assert_eq!(scene.object.status.as_ref().unwrap().last_handled_sync.as_deref(), Some("now"));
}

#[test]
fn a_deleted_object_writes_nothing() {
    let mut scene = synced();
    scene.object.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(scene.now));
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
    scene.demanded = [0, 1].into();
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    let mut owner = Desired::of(&synced().object).owner.unwrap();
    observed.owners = vec![owner.clone()];
    scene.seen = Seen::Ours(observed.clone());
    assert_eq!(change_of(scene.step()).drop_owners, ["object-uid"]);
    scene.object.spec.target.deletion = Deletion::Delete;
    "replaced-object".clone_into(&mut owner.uid);
    observed.owners = vec![owner];
    scene.seen = Seen::Ours(observed);
    let change = change_of(scene.step());
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
    scene.seen = Seen::Written(Written { after: secret("2", &["A", "B"]), created: false, moved: true });
    assert_eq!(scene.settle().next, Some(Duration::from_secs(61)));
    assert_eq!(scene.object.status.as_ref().unwrap().entries[0].state, "Synced");
    scene.now = Timestamp::from_second(scene.now.as_second() + 61).unwrap();
    scene.settle();
    assert_eq!(scene.object.status.as_ref().unwrap().entries[0].state, "Expired");
    assert_eq!(scene.ready().0, "True");
}

#[test]
fn a_restart_knows_what_was_read_and_asks_again_only_for_what_failed() {
    let mut scene = synced();
    scene.answers = vec![failed(Failure::SecretNotFound), Answer::Unchanged];
    scene.settle();
    let wants = wants(
        &scene.object,
        super::fixtures::URL,
        &scene.sources(),
        Duration::from_secs(60),
        None,
        &BTreeSet::new(),
    );
    assert_eq!(wants[0].known, None);
    assert_eq!(wants[1].known.as_ref().map(|known| known.version.as_str()), Some("v1"));
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
    scene.answers = vec![read("v1", "a"), of_certificate("v1", "private")];
    let Step::Create(new) = scene.step() else { panic!("{:?}", scene.step()) };
    assert_eq!(new.data.keys().collect::<Vec<_>>(), ["A"]);
    scene.create();
    let (status, reason, message) = scene.ready();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NotAllowed"));
    assert!(message.contains("key TLS") && message.contains("certificates [tls]"), "{message}");
    // Nothing new: it stays refused and costs no read.
    assert_eq!(scene.verdict().status, None);
    // Granted: its value is asked for, and written.
    scene.permit = Permit::FULL;
    assert_eq!(scene.step(), Step::Read([1].into()));
    scene.demanded = [1].into();
    scene.answers = vec![Answer::Unchanged, of_certificate("v1", "private")];
    let change = change_of(scene.step());
    assert_eq!(change.set.keys().collect::<Vec<_>>(), ["TLS"]);
}

#[test]
fn a_withdrawn_grant_for_certificates_keeps_what_was_written() {
    let mut scene = Scene::new(vec![key("TLS", "tls")], Vec::new());
    scene.answers = vec![of_certificate("v1", "private")];
    scene.create();
    scene.permit = SECRETS_ONLY;
    let verdict = scene.settle();
    assert_eq!((verdict.outcome, verdict.reason), (Outcome::Failed, Some(crate::api::Reason::NotAllowed)));
    assert_eq!(scene.object.status.as_ref().unwrap().target.as_ref().unwrap().keys, ["TLS"]);
    // Another version is not written either.
    scene.answers = vec![of_certificate("v2", "private2")];
    assert!(matches!(scene.step(), Step::Settle(_)));
}

#[test]
fn an_object_that_only_reads_a_certificates_secret_is_created_once_it_is_granted() {
    let mut scene = Scene::new(vec![key("TLS", "tls")], Vec::new());
    scene.permit = SECRETS_ONLY;
    scene.answers = vec![of_certificate("v1", "private")];
    assert!(scene.settle().blocked);
    assert!(scene.settle().blocked);
    scene.permit = Permit::FULL;
    assert_eq!(scene.step(), Step::Read([0].into()));
}
