//! What is recorded of the Secret for its workloads, beside what they have.

use super::super::fingerprint::of_all;
use crate::api::{Fingerprint, RolloutStatus, TargetStatus};

/// A digest over what made the keys that are in the Secret. `None` where that is not known of each.
pub(super) fn digest(target: &TargetStatus) -> Option<Fingerprint> {
    let mut words = vec!["rollout".to_owned()];
    for key in &target.keys {
        words.extend([key.name.clone(), key.of?.to_string()]);
    }
    (!target.keys.is_empty()).then(|| of_all(&words))
}

/// The record after a round that found, or left, the Secret as the vault says: `before` and after it.
pub(super) fn after(
    old: Option<RolloutStatus>,
    before: Option<&TargetStatus>,
    target: Option<&TargetStatus>,
) -> Option<RolloutStatus> {
    let Some((target, now)) = target.and_then(|target| Some((target, digest(target)?))) else { return old };
    let Some(mut rollout) = old else { return Some(RolloutStatus { hash: now, due: None, at: None }) };
    if rollout.due.is_none() && rollout.hash == now || rollout.due == Some(now) {
        return Some(rollout);
    }
    if rollout.due.is_none()
        && before
            .is_some_and(|before| digest(before) == Some(rollout.hash) && has_the_same_bytes(before, target))
    {
        rollout.hash = now;
    } else {
        // Some workloads may have what was due already: what is there now is due even if it was there before.
        rollout.due = Some(now);
    }
    Some(rollout)
}

/// Whether what was written anew, as for a release that renders otherwise, left every byte as it was: the API server moves
/// the resourceVersion of what changes.
fn has_the_same_bytes(before: &TargetStatus, after: &TargetStatus) -> bool {
    before.uid == after.uid
        && before.resource_version == after.resource_version
        && before.key_names().eq(after.key_names())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::KeyStatus;

    fn target(version: &str, keys: &[(&str, Option<u64>)]) -> TargetStatus {
        let keys =
            keys.iter().map(|(name, of)| KeyStatus { name: (*name).to_owned(), of: of.map(Fingerprint) });
        TargetStatus { resource_version: version.to_owned(), keys: keys.collect(), ..TargetStatus::default() }
    }

    fn recorded(target: &TargetStatus) -> RolloutStatus {
        after(None, None, Some(target)).unwrap()
    }

    #[test]
    fn what_is_there_first_is_recorded_and_nobody_restarts() {
        let first = target("1", &[("a", Some(1))]);
        let rollout = recorded(&first);
        assert_eq!((Some(rollout.hash), rollout.due, &rollout.at), (digest(&first), None, &None));
        assert_eq!(after(Some(rollout.clone()), Some(&first), Some(&first)), Some(rollout));
    }

    #[test]
    fn another_version_another_key_and_one_less_are_changes_and_whatever_else_moves_the_secret_is_none() {
        let first = target("1", &[("a", Some(1)), ("b", Some(2))]);
        let due = |keys| after(Some(recorded(&first)), Some(&first), Some(&target("2", keys))).unwrap().due;
        assert!(due(&[("a", Some(1)), ("b", Some(3))]).is_some());
        assert!(due(&[("a", Some(1)), ("c", Some(2))]).is_some());
        assert!(due(&[("a", Some(1))]).is_some());
        assert_eq!(due(&[("a", Some(1)), ("b", Some(2))]), None);
        assert_eq!(due(&[("a", Some(1)), ("b", None)]), None, "what it is now is not known yet");
    }

    #[test]
    fn a_write_that_moved_nothing_restarts_nobody() {
        let first = target("1", &[("a", Some(1))]);
        let anew = target("1", &[("a", Some(9))]);
        let rollout = after(Some(recorded(&first)), Some(&first), Some(&anew)).unwrap();
        assert_eq!((Some(rollout.hash), rollout.due), (digest(&anew), None));
        let renamed = target("1", &[("b", Some(9))]);
        assert!(after(Some(recorded(&first)), Some(&first), Some(&renamed)).unwrap().due.is_some());
        let swapped = TargetStatus { uid: "other".to_owned(), ..anew };
        assert!(after(Some(recorded(&first)), Some(&first), Some(&swapped)).unwrap().due.is_some());
    }

    #[test]
    fn what_comes_back_while_workloads_are_restarted_is_due_too() {
        let (first, second) = (target("1", &[("a", Some(1))]), target("2", &[("a", Some(2))]));
        let rollout = after(Some(recorded(&first)), Some(&first), Some(&second)).unwrap();
        let back = after(Some(rollout), Some(&second), Some(&target("3", &[("a", Some(1))]))).unwrap();
        assert_eq!(back.due, digest(&first));
    }

    #[test]
    fn the_digest_stays_what_it_is_over_releases() {
        let of = digest(&target("1", &[("a", Some(1)), ("b", Some(2))])).unwrap();
        assert_eq!(of.to_string(), "381265ba0f956f29");
    }
}
