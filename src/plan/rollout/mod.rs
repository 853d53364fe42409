//! Which workloads are to be restarted for what is in the Secret; pure.
//!
//! ```text
//!  a round ended ──> record: what is in the Secret, beside what the workloads have ──> due, once that stands in status
//!                                            restart each (annotation, then status) <──┘
//! ```
//!
//! It rests on levels, not on events: only a recorded digest that differs from that of the Secret restarts anybody. So a
//! first sync, a lost status and a restart of the operator touch nothing, and a change is taken up once, whenever the
//! operator ran. A restart writes the digest into the pod template; to write it twice is none.

mod progress;
mod record;
mod words;

#[cfg(test)]
mod model;

pub use progress::{Progress, RestartFailure, RestartStep, Workload};
pub use words::rollout_notices;

use super::Outcome;
use super::verdict::Verdict;
use crate::api::{
    Fingerprint, READY, ROLLED_OUT, RolloutSpec, VaultSecretSync, VaultSecretSyncStatus, condition,
    set_condition, whole_second,
};
use crate::reason::Reason;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// The rollout of one object after one of its rounds.
#[derive(Debug)]
pub struct Rolling<'a> {
    object: &'a VaultSecretSync,
    status: VaultSecretSyncStatus,
    progress: Progress,
    /// How many workloads may be restarted in a minute; `None`: none.
    per_minute: Option<u32>,
    /// What workloads are restarted for now.
    acts_for: Option<Fingerprint>,
    now: Timestamp,
}

/// What a rollout came to.
#[derive(Debug)]
pub struct RollingEnd {
    /// The object's status.
    pub status: VaultSecretSyncStatus,
    /// What is kept for the next round.
    pub kept: Option<Box<Progress>>,
    /// When to look again without being woken.
    pub next: Option<Duration>,
}

impl<'a> Rolling<'a> {
    /// What follows from a round. `object`: as this process knew it before the round; `stored`: its status as the API
    /// server has it; `kept`: what the last round left. `None` where there is nothing to do or to say.
    #[must_use]
    pub fn begin(
        object: &'a VaultSecretSync,
        stored: Option<&VaultSecretSyncStatus>,
        verdict: &Verdict,
        kept: Option<Box<Progress>>,
        per_minute: Option<u32>,
        now: Timestamp,
    ) -> Option<Self> {
        if verdict.outcome == Outcome::Deleting || object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let status = verdict.status.as_ref().or(object.status.as_ref())?;
        let speaks = status.rollout.is_some() || condition(&status.conditions, ROLLED_OUT).is_some();
        if object.spec.rollout.is_none() && !speaks {
            return None;
        }
        let mut status = status.clone();
        let known = object.status.as_ref();
        let before = stored.and_then(|status| status.rollout.as_ref()).and_then(|rollout| rollout.due);
        if object.spec.rollout.is_none() {
            // To turn it on again begins anew.
            status.rollout = None;
            status.conditions.retain(|condition| condition.type_ != ROLLED_OUT);
        } else if is_settled(verdict) {
            let recorded = known.and_then(|status| status.target.as_ref());
            status.rollout = record::after(status.rollout.take(), recorded, status.target.as_ref());
        }
        let due = status.rollout.as_ref().and_then(|rollout| rollout.due);
        let mut progress = kept.map(|kept| *kept).unwrap_or_default();
        progress.turn_to(due, object.metadata.generation, now);
        if is_settled(verdict) {
            progress.confirm();
        }
        // What is due stands in status before anybody is restarted for it, or the next process would do so for what was due
        // before. It is still what is in the Secret: not while more of a change is being written. And this process has found
        // it so: a status may have been put back.
        let here = status.target.as_ref().and_then(record::digest);
        let acts = due == before && due == here && progress.is_confirmed() && per_minute.is_some();
        let acts_for = due.filter(|_| acts && may_restart(object, &status));
        Some(Self { object, status, progress, per_minute, acts_for, now })
    }

    /// What is in the Secret, as the pod templates are to have it.
    #[must_use]
    pub const fn acts_for(&self) -> Option<Fingerprint> {
        self.acts_for
    }

    /// The next step; `None` where there is nothing to do now.
    #[must_use]
    pub fn next(&self) -> Option<RestartStep> {
        self.acts_for?;
        if self.progress.holds_back_for(self.now).is_some() || self.progress.waits() {
            return None;
        }
        self.progress.next(self.spec()?)
    }

    /// The workloads that an item selects.
    pub fn listed(&mut self, item: usize, found: Result<Vec<String>, RestartFailure>) {
        self.progress.listed(item, found);
    }

    /// What became of a restart; false: there is no such workload.
    pub fn answered(&mut self, workload: Workload, found: Result<bool, RestartFailure>) {
        self.progress.answered(workload, found);
    }

    /// It is the turn of others.
    pub const fn wait(&mut self) {
        self.progress.wait();
    }

    /// What is to be said, and kept.
    #[must_use]
    pub fn end(mut self) -> RollingEnd {
        let complete = self.close();
        // Of a spec that was not looked at yet nothing is said.
        let observed = self.status.observed_generation == self.object.metadata.generation;
        let told = self.spec().filter(|_| observed).and_then(|spec| {
            words::told(&words::RolloutNews {
                spec,
                secret: self.object.target_name(),
                said: condition(&self.status.conditions, ROLLED_OUT),
                generation: self.object.metadata.generation,
                rollout: self.status.rollout.as_ref(),
                progress: &self.progress,
                complete,
                per_minute: self.per_minute,
                idle: !may_restart(self.object, &self.status),
            })
        });
        if let Some((reason, message)) = told {
            self.say(reason, message);
        }
        let next = self.next_look();
        let over = self.status.rollout.as_ref().is_none_or(|rollout| rollout.due.is_none());
        let kept = (!over && !self.progress.is_empty()).then(|| Box::new(self.progress));
        RollingEnd { status: self.status, kept, next }
    }

    /// Ends a pass: records what is over. Returns whether all of it is.
    fn close(&mut self) -> bool {
        if self.acts_for.is_none() || self.next().is_some() || self.progress.waits() {
            return false;
        }
        if self.progress.holds_back_for(self.now).is_none() {
            self.progress.pass(self.now);
        }
        let complete = self.progress.is_complete();
        if let Some(rollout) = self.status.rollout.as_mut().filter(|_| complete)
            && let Some(due) = rollout.due.take()
        {
            rollout.hash = due;
            if self.progress.has_restarted() {
                rollout.at = Some(Time(whole_second(self.now)));
            }
        }
        complete
    }

    fn say(&mut self, reason: Reason, message: String) {
        let status = if matches!(reason, Reason::NotNeeded | Reason::Restarted) { "True" } else { "False" };
        let generation = self.object.metadata.generation;
        set_condition(&mut self.status.conditions, ROLLED_OUT, status, reason, message, generation, self.now);
        self.status.conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
    }

    /// What is due and not begun is begun at once, and what failed is tried again when its time has come.
    fn next_look(&self) -> Option<Duration> {
        let due = self.status.rollout.as_ref()?.due;
        due.filter(|_| self.per_minute.is_some() && may_restart(self.object, &self.status))?;
        if self.acts_for.is_none() {
            // What was written in part, or is not confirmed, is awaited like any value.
            let here = self.status.target.as_ref().and_then(record::digest);
            return (here == due && self.progress.is_confirmed()).then_some(Duration::ZERO);
        }
        self.progress.holds_back_for(self.now)
    }

    fn spec(&self) -> Option<&'a RolloutSpec> {
        self.object.spec.rollout.as_ref()
    }
}

/// Whether the round ended with the Secret as the vault says: what is recorded of its keys is one snapshot then.
fn is_settled(verdict: &Verdict) -> bool {
    let moves = matches!(
        verdict.outcome,
        Outcome::Created | Outcome::Updated | Outcome::Repaired | Outcome::Unchanged
    );
    moves && verdict.reason == Some(Reason::Synced)
}

/// Whether anybody may be restarted for an object that is as it says: Ready, of the spec as it is, and not suspended.
fn may_restart(object: &VaultSecretSync, status: &VaultSecretSyncStatus) -> bool {
    let ready = condition(&status.conditions, READY).is_some_and(|ready| ready.status == "True");
    ready
        && object.spec.rollout.is_some()
        && !object.spec.suspend
        && object.metadata.deletion_timestamp.is_none()
        && status.observed_generation == object.metadata.generation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{KeyStatus, RolloutStatus, TargetStatus, VaultSecretSyncSpec};
    use crate::plan::Kept;

    #[test]
    fn nobody_is_restarted_for_what_does_not_stand_in_status_yet() {
        let spec = r#"{"data": [], "rollout": {"restart": [{"kind": "Deployment", "name": "shop"}]}}"#;
        let spec: VaultSecretSyncSpec = serde_json::from_str(spec).unwrap();
        let mut object = VaultSecretSync::new("shop", spec);
        object.metadata.generation = Some(1);
        let target = TargetStatus {
            keys: vec![KeyStatus { name: "a".to_owned(), of: Some(Fingerprint(2)) }],
            ..TargetStatus::default()
        };
        let due = record::digest(&target);
        let mut known = VaultSecretSyncStatus {
            observed_generation: Some(1),
            target: Some(target),
            rollout: Some(RolloutStatus { hash: Fingerprint(1), due, at: None }),
            ..VaultSecretSyncStatus::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        let (reason, message) = (Reason::Synced, String::new());
        set_condition(&mut known.conditions, READY, "True", reason, message, Some(1), now);
        let mut stored = known.clone();
        stored.rollout = Some(RolloutStatus { hash: Fingerprint(1), due: None, at: None });
        object.status = Some(known.clone());
        let verdict = Verdict {
            outcome: Outcome::Unchanged,
            reason: Some(reason),
            status: Some(known.clone()),
            next: None,
            waits: false,
            kept: Kept::default(),
        };
        let acts_for = |stored: &VaultSecretSyncStatus| {
            Rolling::begin(&object, Some(stored), &verdict, None, Some(10), now).unwrap().acts_for()
        };
        assert_eq!(acts_for(&stored), None, "it could not be said");
        assert_eq!(acts_for(&known), due);
    }
}
