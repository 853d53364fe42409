//! Secrets that others made: taken over, or added to, by whoever their holders let.

use super::*;
use crate::api::{CONSENT_ANNOTATION, Creation, field_manager};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// A Secret that Helm made and that has neither mark nor consent.
fn helms(version: &str, keys: &[&str]) -> Observed {
    let mut observed = secret(version, &[]);
    (observed.annotations, observed.labels) = (BTreeMap::new(), BTreeMap::new());
    observed.moved_at = [("helm".to_owned(), second(1))].into();
    observed.keys = keys.iter().map(|key| ((*key).to_owned(), ["helm".to_owned()].into())).collect();
    observed
}

fn consenting(consent: &str, observed: Observed) -> Observed {
    let mut observed = observed;
    observed.annotations.insert(CONSENT_ANNOTATION.to_owned(), consent.to_owned());
    observed
}

/// The same with keys that the object of this name wrote.
fn with_keys(name: &str, keys: &[&str], observed: Observed) -> Observed {
    let mut observed = observed;
    for key in keys {
        observed.keys.insert((*key).to_owned(), [field_manager(name)].into());
    }
    observed.moved_at.insert(field_manager(name), second(2));
    observed
}

fn scene(creation: Creation) -> Scene {
    let mut scene = Scene::new(vec![key("A", "one"), key("B", "two")], Vec::new());
    scene.object.spec.target.creation = creation;
    scene.answers = vec![read("v1", "a"), read("v1", "b")];
    scene
}

/// The Secret as it is to an object of this name.
fn claimed(scene: &Scene, observed: Observed) -> Seen {
    observed.claimed_by("shop", "shop", scene.object.spec.target.creation)
}

/// `A` and `B` were added to Helm's Secret.
fn merged() -> Scene {
    let mut scene = scene(Creation::Merge);
    assert!(scene.looks());
    scene.sees(claimed(&scene, consenting("shop", helms("1", &["admin.password"]))));
    scene.changes();
    let after = with_keys("shop", &["A", "B"], consenting("shop", helms("2", &["admin.password"])));
    scene.sees(changed(after));
    assert_eq!(scene.settle().outcome, Outcome::Updated);
    assert_eq!((scene.ready().0.as_str(), scene.keys()), ("True", vec!["A", "B"]));
    scene
}

#[test]
fn without_a_consent_that_names_the_object_nothing_is_taken_over_or_added() {
    for creation in [Creation::Create, Creation::Adopt, Creation::Merge] {
        let scene = scene(creation);
        for consent in ["", "shops", "other", "other,shops"] {
            let seen = claimed(&scene, consenting(consent, helms("1", &[])));
            let refusal =
                if creation == Creation::Create { Refusal::NotOwned } else { Refusal::NotConsented };
            assert_eq!(seen, Seen::Refused(refusal));
        }
        for consent in ["shop", " other , shop "] {
            let seen = claimed(&scene, consenting(consent, helms("1", &[])));
            assert_eq!(matches!(seen, Seen::Ours(_)), creation != Creation::Create, "{seen:?}");
        }
        // What says nothing is as if it were not there.
        let mut empty = consenting("shop", helms("1", &[]));
        for annotation in ["vaultsync.dev/owner", "vaultsync.dev/owner-namespace"] {
            empty.annotations.insert(annotation.to_owned(), String::new());
        }
        assert_eq!(matches!(claimed(&scene, empty), Seen::Ours(_)), creation != Creation::Create);
        // The mark of another is stronger than any consent.
        let mut marked = consenting("shop", helms("1", &[]));
        marked.annotations.insert("vaultsync.dev/owner".to_owned(), "other".to_owned());
        assert_eq!(claimed(&scene, marked), Seen::Refused(Refusal::OwnedBy("other".to_owned())));
    }
}

#[test]
fn a_copy_of_a_secret_of_another_namespace_is_nobodys_here_until_it_is_handed_over() {
    for creation in [Creation::Create, Creation::Adopt, Creation::Merge] {
        let scene = scene(creation);
        for mark in ["shop", "other"] {
            let mut copy = consenting("shop", secret("1", &["A"]));
            copy.annotations.insert("vaultsync.dev/owner".to_owned(), mark.to_owned());
            copy.annotations.insert("vaultsync.dev/owner-namespace".to_owned(), "team-a".to_owned());
            assert_eq!(
                claimed(&scene, copy.clone()),
                Seen::Refused(Refusal::CopiedFrom(Some("team-a".to_owned())))
            );
            let mut half = copy.clone();
            half.annotations.remove("vaultsync.dev/owner");
            assert_eq!(claimed(&scene, half), Seen::Refused(Refusal::CopiedFrom(Some("team-a".to_owned()))));
            copy.annotations.insert("vaultsync.dev/owner-namespace".to_owned(), "shop".to_owned());
            assert_eq!(matches!(claimed(&scene, copy.clone()), Seen::Ours(_)), mark == "shop");
            // Nothing is added without a consent, whoever had the Secret before.
            copy.annotations.remove(CONSENT_ANNOTATION);
            let ours = mark == "shop" && creation != Creation::Merge;
            assert_eq!(matches!(claimed(&scene, copy), Seen::Ours(_)), ours);
        }
    }
    for (creation, remedy) in [
        (Creation::Create, "vaultsync.dev/owner=shop vaultsync.dev/owner-namespace=shop"),
        (Creation::Merge, "vaultsync.dev/owner- vaultsync.dev/owner-namespace- vaultsync.dev/consent=shop"),
    ] {
        let mut scene = self::scene(creation);
        if !scene.looks() {
            scene.sees(Seen::Changed);
            assert!(scene.looks());
        }
        scene.sees(Seen::Refused(Refusal::CopiedFrom(Some("team-a".to_owned()))));
        scene.settle();
        let (_, reason, message) = scene.ready();
        assert_eq!(reason, "TargetCopied");
        assert!(message.contains(remedy) && message.contains("namespace team-a"), "{message}");
    }
}

#[test]
fn a_mark_that_tells_no_namespace_is_completed() {
    let mut scene = synced();
    scene.probe = true;
    assert!(scene.looks());
    let mut older = ours(&scene, "5", &["A", "B"]);
    older.annotations.remove("vaultsync.dev/owner-namespace");
    older.moved_at.insert("velero".to_owned(), second(9));
    scene.sees(claimed(&scene, older));
    let change = scene.changes();
    assert_eq!(change.annotations["vaultsync.dev/owner-namespace"].as_deref(), Some("shop"));
    assert!(change.set.is_empty());
}

#[test]
fn a_secret_with_another_controller_is_added_to_and_never_taken_over() {
    let controller = OwnerReference {
        kind: "Certificate".to_owned(),
        name: "tls".to_owned(),
        controller: Some(true),
        ..OwnerReference::default()
    };
    let mut theirs = consenting("shop", helms("1", &["x"]));
    theirs.owners.push(controller);
    let seen = claimed(&scene(Creation::Merge), theirs.clone());
    assert!(matches!(seen, Seen::Ours(_)), "{seen:?}");
    let mut scene = scene(Creation::Adopt);
    scene.step();
    scene.sees(Seen::Changed);
    assert!(scene.looks());
    scene.sees(claimed(&scene, theirs));
    scene.settle();
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "TargetControlled");
    assert!(message.contains("written by Certificate tls"), "{message}");
}

/// Helm's Secret with `A` was taken over; the Secret as it is then.
fn taken_over() -> (Scene, Observed) {
    let mut scene = scene(Creation::Adopt);
    let step = scene.step();
    assert!(matches!(step, Step::Create(_)), "{step:?}");
    scene.sees(Seen::Changed);
    assert!(scene.looks());
    scene.sees(claimed(&scene, consenting("shop", helms("1", &["A", "old"]))));
    let change = scene.changes();
    assert_eq!((names(&change), change.remove.len()), (vec!["A", "B"], 0));
    assert_eq!(change.annotations["vaultsync.dev/owner"].as_deref(), Some("shop"));
    // The owner would have it deleted, were the object gone by now.
    assert_eq!(change.add_owner, None);
    let mut after = with_keys("shop", &["A", "B"], consenting("shop", helms("2", &["old"])));
    for annotation in ["vaultsync.dev/owner", "vaultsync.dev/owner-namespace"] {
        after.annotations.insert(annotation.to_owned(), "shop".to_owned());
    }
    after.labels.insert("app.kubernetes.io/managed-by".to_owned(), "vaultsync".to_owned());
    scene.sees(changed(after.clone()));
    let verdict = scene.settle();
    assert!(verdict.next.is_some_and(|next| next <= Duration::from_secs(1)));
    // Without its owner it would outlive the object.
    assert_eq!(scene.keys(), ["A", "B"]);
    assert!(condition(&scene.status().conditions, READY).is_none());
    assert!(scene.looks());
    scene.sees(claimed(&scene, after.clone()));
    let change = scene.changes();
    assert_eq!((names(&change).len(), change.remove.len()), (0, 0));
    after.owners = change.add_owner.into_iter().collect();
    after.resource_version = "3".to_owned();
    scene.sees(changed(after.clone()));
    assert_eq!(scene.settle().next, None);
    assert_eq!(scene.ready().0, "True");
    assert_eq!(scene.status().target.as_ref().unwrap().deletion, Deletion::Delete);
    (scene, after)
}

#[test]
fn a_secret_that_is_taken_over_gets_mark_and_keys_in_one_write_its_owner_in_another_and_keeps_the_rest() {
    let (mut scene, mut after) = taken_over();
    // An entry that goes takes its key with it, and none of the others.
    scene.object.spec.data.pop();
    scene.object.metadata.generation = Some(2);
    scene.answers.pop();
    let change = scene.changes();
    assert_eq!(change.remove.iter().collect::<Vec<_>>(), ["B"]);
    // The consent was needed once.
    after.annotations.remove(CONSENT_ANNOTATION);
    assert!(matches!(claimed(&scene, after), Seen::Ours(_)));
}

#[test]
fn a_secret_that_was_taken_over_and_loses_its_mark_alone_gets_it_back_whatever_the_vault_says() {
    for answer in [Answer::Unchanged, Answer::Pending] {
        let (mut scene, after) = taken_over();
        let mut unmarked = Observed { resource_version: "4".to_owned(), ..after.clone() };
        unmarked.annotations.remove("vaultsync.dev/owner");
        unmarked.moved_at.insert("kubectl".to_owned(), second(9));
        scene.probe = true;
        scene.answers = vec![answer; 2];
        assert!(scene.looks());
        scene.sees(claimed(&scene, unmarked));
        let change = scene.changes();
        assert_eq!((names(&change).len(), change.remove.len()), (0, 0));
        assert_eq!(change.annotations["vaultsync.dev/owner"].as_deref(), Some("shop"));
        scene.sees(changed(Observed { resource_version: "5".to_owned(), ..after }));
        scene.settle();
        assert_eq!((scene.ready().0.as_str(), scene.keys()), ("True", vec!["A", "B"]));
    }
}

#[test]
fn a_secret_is_not_taken_over_before_the_values_are_there() {
    let mut scene = scene(Creation::Adopt);
    scene.step();
    scene.sees(Seen::Changed);
    scene.answers[1] = Answer::Pending;
    assert!(scene.looks());
    scene.sees(claimed(&scene, consenting("shop", helms("1", &["A"]))));
    assert!(scene.settle().waits);
    // Nor with half of them, nor with none.
    for answers in [
        vec![read("v1", "a"), failed(Failure::SecretNotFound)],
        vec![failed(Failure::SecretNotFound), failed(Failure::SecretDisabled)],
    ] {
        scene.answers = answers;
        if scene.looks() {
            scene.sees(claimed(&scene, consenting("shop", helms("1", &["A"]))));
        }
        scene.settle();
        let (_, reason, message) = scene.ready();
        assert_eq!((reason.as_str(), scene.keys().len()), ("SecretNotFound", 0));
        assert!(message.contains("Secret shop is not taken over yet"), "{message}");
    }
}

#[test]
fn only_our_keys_are_added_to_a_secret_and_removed_from_it() {
    let mut scene = scene(Creation::Merge);
    // It is looked before anything is read.
    assert!(scene.looks());
    scene.sees(claimed(&scene, consenting("shop", helms("1", &["admin.password"]))));
    let change = scene.changes();
    assert_eq!(names(&change), ["A", "B"]);
    assert_eq!(
        Change { set: BTreeMap::new(), ..change },
        Change { uid: "secret-uid".to_owned(), resource_version: "1".to_owned(), ..Change::default() }
    );

    let mut scene = merged();
    assert_eq!(scene.status().target.as_ref().unwrap().deletion, Deletion::Retain, "nobody owns it");
    scene.object.spec.data.pop();
    scene.object.metadata.generation = Some(2);
    scene.answers.pop();
    assert!(scene.looks(), "others write it too");
    let there = with_keys("shop", &["A", "B"], consenting("shop", helms("2", &["admin.password"])));
    scene.sees(claimed(&scene, there));
    let change = scene.changes();
    assert_eq!((names(&change).len(), change.remove), (0, ["B".to_owned()].into()));
}

#[test]
fn what_somebody_else_writes_into_a_shared_secret_moves_nothing_and_what_he_takes_out_of_ours_is_put_back() {
    let mut scene = merged();
    scene.probe = true;
    assert!(scene.looks());
    let mut upgraded =
        with_keys("shop", &["A", "B"], consenting("shop", helms("3", &["admin.password", "new"])));
    upgraded.moved_at.insert("helm".to_owned(), second(9));
    scene.sees(claimed(&scene, upgraded.clone()));
    assert_eq!(scene.settle().outcome, Outcome::Unchanged);
    upgraded.resource_version = "4".to_owned();
    upgraded.keys.remove("A");
    upgraded.moved_at.insert("helm".to_owned(), second(10));
    assert!(scene.looks());
    scene.sees(claimed(&scene, upgraded.clone()));
    assert_eq!(scene.demands(), [0]);
    scene.answers = vec![read("v1", "a"), Answer::Unchanged];
    assert_eq!(names(&scene.changes()), ["A"]);
}

#[test]
fn a_secret_to_add_to_that_is_not_there_is_told_and_nothing_is_created_or_read() {
    let mut scene = scene(Creation::Merge);
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "TargetNotFound");
    assert!(message.contains("vaultsync.dev/consent: shop"), "{message}");
    assert!(scene.looks());
    // The one that was there is deleted: nothing is said to be in it any more.
    let mut scene = merged();
    scene.probe = true;
    assert!(scene.looks());
    scene.sees(Seen::Absent);
    scene.settle();
    assert_eq!((scene.ready().1.as_str(), scene.keys().len()), ("TargetNotFound", 0));
    assert!(scene.looks());
    scene.sees(claimed(&scene, consenting("shop", Observed { uid: "other".to_owned(), ..helms("9", &[]) })));
    assert_eq!(scene.demands(), [0, 1]);
}

#[test]
fn a_consent_that_is_withdrawn_leaves_the_keys_and_is_told_once() {
    let mut scene = merged();
    scene.probe = true;
    assert!(scene.looks());
    let mut keys = with_keys("shop", &["A", "B"], helms("3", &["admin.password"]));
    keys.moved_at.insert("helm".to_owned(), second(9));
    scene.sees(claimed(&scene, keys.clone()));
    scene.settle();
    assert_eq!((scene.ready().1.as_str(), scene.keys()), ("ConsentMissing", vec!["A", "B"]));
    assert!(scene.ready().2.contains("kubectl annotate secret shop vaultsync.dev/consent=shop"));
    for _ in 0..3 {
        assert!(scene.looks());
        scene.sees(claimed(&scene, keys.clone()));
        scene.says_nothing_new();
    }
    assert!(scene.looks());
    scene.sees(claimed(&scene, consenting("shop", keys)));
    scene.settle();
    assert_eq!(scene.ready().0, "True");
}

/// `B` is that of another object; the Secret as it is.
fn contested() -> (Scene, Observed) {
    let mut scene = scene(Creation::Merge);
    scene.sharing = vec!["billing".to_owned()];
    assert!(scene.looks());
    let shared = with_keys("billing", &["B"], consenting("shop,billing", helms("1", &["admin.password"])));
    scene.sees(claimed(&scene, shared.clone()));
    scene.settle();
    let (_, reason, message) = scene.ready();
    assert_eq!(reason, "TargetConflict");
    assert!(message.contains("Key B of Secret shop is that of VaultSecretSync billing"), "{message}");
    // What was refused is tried again later each time, for it takes values.
    assert!(scene.looks());
    scene.sees(claimed(&scene, shared.clone()));
    assert!(scene.settle().next.is_some());
    (scene, shared)
}

#[test]
fn a_key_that_another_object_added_stays_its_own() {
    // Once the other is gone its key is free, and so it is at once when the other gives it up.
    let free = with_keys("billing", &["C"], consenting("shop,billing", helms("2", &["admin.password"])));
    for (sharing, there, is_free) in
        [(true, contested().1, false), (true, free, true), (false, contested().1, true)]
    {
        let (mut scene, _) = contested();
        scene.answers = vec![read("v1", "a"), read("v1", "b")];
        scene.sharing.retain(|_| sharing);
        assert!(scene.looks());
        scene.sees(claimed(&scene, there));
        if is_free {
            assert_eq!(names(&scene.changes()), ["A", "B"]);
        } else {
            assert!(scene.settle().next.is_some());
        }
    }
}

#[test]
fn a_key_that_was_equal_and_is_written_by_another_object_now_is_not_removed_with_our_entry() {
    let mut scene = merged();
    scene.sharing = vec!["billing".to_owned()];
    scene.object.spec.data.pop();
    scene.object.metadata.generation = Some(2);
    scene.answers.pop();
    assert!(scene.looks());
    let there = with_keys("shop", &["A"], consenting("shop,billing", helms("3", &["admin.password"])));
    scene.sees(claimed(&scene, with_keys("billing", &["B"], there)));
    let verdict = scene.settle();
    assert_eq!((verdict.outcome, scene.keys()), (Outcome::Unchanged, vec!["A"]));
}

#[test]
fn every_key_of_ours_may_go_from_a_secret_in_which_others_stay() {
    let mut scene = merged();
    for item in &mut scene.object.spec.data {
        item.on_missing = OnMissing::Remove;
    }
    scene.object.metadata.generation = Some(2);
    scene.answers = vec![failed(Failure::SecretNotFound), failed(Failure::SecretNotFound)];
    assert!(scene.looks());
    let there = with_keys("shop", &["A", "B"], consenting("shop", helms("2", &["admin.password"])));
    scene.sees(claimed(&scene, there));
    assert_eq!(scene.changes().remove.len(), 2);
}

#[test]
fn an_object_that_goes_takes_its_keys_out_and_those_of_nobody_else() {
    let manager = field_manager("shop");
    let there = consenting("shop,billing", helms("3", &["admin.password", "THEIRS_NOW"]));
    let there = with_keys("billing", &["C"], with_keys("shop", &["A", "SHARED", "UNRECORDED"], there));
    let recorded = ["A", "B", "C", "THEIRS_NOW"].map(str::to_owned);
    let others = ["SHARED", "C"].map(str::to_owned).into();
    let change = there.without(&manager, &recorded, &others).unwrap();
    assert_eq!(change.remove.iter().collect::<Vec<_>>(), ["A", "UNRECORDED"]);
    assert_eq!(
        change,
        Change {
            uid: "secret-uid".to_owned(),
            resource_version: "3".to_owned(),
            remove: change.remove.clone(),
            ..Change::default()
        }
    );
    // What an object that is gone wrote, and this one took along without a write.
    let change = there.without(&manager, &recorded, &BTreeSet::new()).unwrap();
    assert_eq!(change.remove.iter().collect::<Vec<_>>(), ["A", "C", "SHARED", "UNRECORDED"]);
    assert_eq!(helms("3", &["admin.password"]).without(&manager, &["A".to_owned()], &BTreeSet::new()), None);
}
