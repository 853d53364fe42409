//! What holds whatever the vault answers and whatever the cluster shows: nothing is lost, nothing is half written,
//! nothing is said twice.

use super::desired::Desired;
use super::fixtures::{Scene, failed, key, read, second, secret};
use super::{Observed, Seen, Step, Written};
use crate::api::OnMissing;
use crate::vault::{Answer, Failure};
use proptest::prelude::*;

const KEYS: [&str; 3] = ["A", "B", "C"];

#[derive(Clone, Copy, Debug)]
enum Said {
    Unchanged,
    NewVersion,
    Missing,
    Disabled,
    Pending,
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        Just(Said::Unchanged),
        Just(Said::NewVersion),
        Just(Said::Missing),
        Just(Said::Disabled),
        Just(Said::Pending)
    ]
}

fn answer(said: Said) -> Answer {
    match said {
        Said::Unchanged => Answer::Unchanged,
        Said::NewVersion => read("v2", "new"),
        Said::Missing => failed(Failure::SecretNotFound),
        Said::Disabled => failed(Failure::SecretDisabled),
        Said::Pending => Answer::Pending,
    }
}

/// An object of three keys that was synced, with the Secret as the cluster shows it then.
fn synced(removes: [bool; 3]) -> (Scene, Observed) {
    let mut items: Vec<_> = KEYS.iter().map(|name| key(name, &name.to_lowercase())).collect();
    for (item, removes) in items.iter_mut().zip(removes) {
        item.on_missing = if removes { OnMissing::Remove } else { OnMissing::Keep };
    }
    let mut scene = Scene::new(items, Vec::new());
    scene.answers = vec![read("v1", "old"), read("v1", "old"), read("v1", "old")];
    scene.create();
    let mut observed = secret("1", &KEYS);
    observed.owners = Desired::of(&scene.object).owner.into_iter().collect();
    (scene, observed)
}

/// Plays steps until the round ends, as an API server that accepts everything would answer them.
fn settle(scene: &mut Scene, answers: &[Said], cluster: &mut Observed) {
    for _ in 0..12 {
        match scene.step() {
            Step::Look => scene.sees(Seen::Ours(cluster.clone())),
            Step::Demand(more) => {
                for index in &more {
                    if matches!(answers[*index], Said::Unchanged) {
                        scene.answers[*index] = read("v1", "old");
                    }
                }
            }
            Step::Change(change) => {
                assert!(!change.is_empty());
                assert_eq!(change.uid, cluster.uid);
                for gone in &change.remove {
                    cluster.keys.remove(gone);
                }
                for set in change.set.keys() {
                    cluster.keys.insert(set.clone(), ["vaultsync:shop".to_owned()].into());
                }
                for (label, value) in change.labels {
                    value.map(|value| cluster.labels.insert(label, value));
                }
                "2".clone_into(&mut cluster.resource_version);
                scene.sees(Seen::Written(Written { after: cluster.clone(), created: false, moved: true }));
            }
            Step::End(verdict) => {
                scene.take_over(&verdict);
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("does not end");
}

proptest! {
    #[test]
    fn only_a_key_that_is_missing_and_may_go_goes(
        answers in [said(), said(), said()],
        removes in any::<[bool; 3]>(),
        edited in any::<[bool; 3]>(),
        probe in any::<bool>(),
    ) {
        let (mut scene, mut cluster) = synced(removes);
        cluster.keys.insert("THEIRS".to_owned(), ["kubectl-edit".to_owned()].into());
        for (name, edited) in KEYS.iter().zip(edited) {
            if edited {
                cluster.keys.insert((*name).to_owned(), ["kubectl-edit".to_owned()].into());
            }
        }
        if edited.contains(&true) {
            "1a".clone_into(&mut cluster.resource_version);
            cluster.moved_at.insert("kubectl-edit".to_owned(), second(2));
        }
        scene.probe = probe || edited.contains(&true);
        scene.answers = answers.iter().copied().map(answer).collect();
        let before = cluster.clone();
        settle(&mut scene, &answers, &mut cluster);
        prop_assert!(cluster.keys.contains_key("THEIRS"));
        let waits = answers.iter().any(|said| matches!(said, Said::Pending));
        // Nothing would be left that is ours, so nothing goes.
        let stays = answers.iter().zip(removes).all(|(said, removes)| matches!(said, Said::Missing) && removes);
        for ((name, said), may_go) in KEYS.iter().zip(answers).zip(removes) {
            let goes = !waits && !stays && matches!(said, Said::Missing) && may_go;
            prop_assert_eq!(cluster.keys.contains_key(*name), !goes, "{}", name);
            if waits {
                prop_assert_eq!(&cluster.keys[*name], &before.keys[*name], "half a rotation");
            }
        }
    }

    #[test]
    fn what_was_said_once_is_not_said_again(
        answers in [said(), said(), said()],
        removes in any::<[bool; 3]>(),
    ) {
        let (mut scene, mut cluster) = synced(removes);
        scene.answers = answers.iter().copied().map(answer).collect();
        settle(&mut scene, &answers, &mut cluster);
        // The plane repeats a failure, and calls a version that was written unchanged.
        scene.answers = answers
            .iter()
            .map(|said| match said {
                Said::NewVersion => if answers.iter().any(|other| matches!(other, Said::Pending)) {
                    answer(*said)
                } else {
                    Answer::Unchanged
                },
                other => answer(*other),
            })
            .collect();
        match scene.step() {
            Step::End(verdict) => prop_assert_eq!(verdict.status, None),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
