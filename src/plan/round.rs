//! One round of an object: what it works on, what it has done, and what it leaves to the next.
//!
//! Invariant: a round works on one snapshot. Until its first request that can change the Secret it may ask again, and
//! each answer replaces the snapshot whole. After that request nothing is asked: what is said and recorded comes from
//! the snapshot and from what the request carried. A request that was refused or not answered carried nothing.

use super::desired::Desired;
use super::fingerprint::of_metadata;
use super::kept::{Kept, Open};
use super::outcome::Outcome;
use super::picture::{Picture, Record};
use super::render::Rendered;
use super::target::{Seen, drifted, hash_of_record, manager_of, our_owners, overtaken};
use super::verdict::Verdict;
use super::write::{Data, write};
use super::{Input, Problem, Step, Vault, verdict};
use crate::api::{Deletion, Fingerprint, READY, VaultSecretSync, VaultSecretSyncStatus, condition};
use crate::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};

/// Why every source is read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anew {
    /// A user asked for a sync, by this value of the annotation.
    Requested(String),
    /// Another operator wrote the Secret under our name; its resourceVersion then.
    Overtaken(String),
}

/// What a request to the API server carries, without the bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) keys: BTreeMap<String, Fingerprint>,
    pub(super) removed: BTreeSet<String>,
    /// The labels, annotations and owner, where it carries them.
    pub(super) metadata: Option<Fingerprint>,
    /// Keys that somebody else changed and that it does not restore.
    pub(super) drift: BTreeSet<String>,
    /// What the snapshot made of the Secret, without its bytes; `None` for a request of metadata alone.
    pub(super) rendered: Option<Rendered>,
}

impl Sent {
    /// The bytes of a request, and all else that it carries.
    pub(super) fn of(
        mut rendered: Rendered,
        removed: BTreeSet<String>,
        metadata: Option<Fingerprint>,
        picture: &Picture<'_>,
    ) -> (Data, Self) {
        let set = std::mem::take(&mut rendered.set);
        let mut carried = Self { removed, ..Self::of_metadata(metadata, picture) };
        carried.keys = set.iter().map(|(key, (_, of))| (key.clone(), *of)).collect();
        carried.drift.retain(|key| !carried.keys.contains_key(key) && !carried.removed.contains(key));
        carried.rendered = Some(rendered);
        (set.into_iter().map(|(key, (bytes, _))| (key, bytes)).collect(), carried)
    }

    /// A request of metadata alone.
    pub(super) fn of_metadata(metadata: Option<Fingerprint>, picture: &Picture<'_>) -> Self {
        let drift = picture.record.as_ref().map(|record| record.drift.clone()).unwrap_or_default();
        Self { keys: BTreeMap::new(), removed: BTreeSet::new(), metadata, drift, rendered: None }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Round {
    pub(super) kept: Kept,
    pub(super) open: Open,
    /// The target, as far as this round has looked.
    pub(super) seen: Seen,
    /// Whether this round is to look at the target.
    probe: bool,
    /// The record of the target is not the one that this process said: somebody put another status in its place.
    replaced: bool,
    /// Whether a request went out that can change the Secret.
    sealed: bool,
    /// What the last such request carried, until it is known to have failed.
    pub(super) sent: Option<Sent>,
}

impl Round {
    /// Begins a round; `probe`: it is time to look at the target.
    #[must_use]
    pub fn begin(kept: Kept, object: &VaultSecretSync, probe: bool) -> Self {
        let mut open = kept.open.as_deref().cloned().unwrap_or_default();
        if open.generation != object.metadata.generation {
            open.demanded.clear();
            (open.looked, open.anew, open.generation) = (false, None, object.metadata.generation);
        }
        let target = object.status.as_ref().and_then(|status| status.target.as_ref());
        let replaced = target.is_some() && kept.recorded.is_some_and(|said| said != hash_of_record(target));
        let probe = probe || open.looked || replaced;
        let seen = Seen::Remembered;
        Self { kept, open, seen, probe, replaced, sealed: false, sent: None }
    }

    /// The sources whose value is needed whatever is known of them, by index.
    #[must_use]
    pub const fn demanded(&self) -> &BTreeSet<usize> {
        &self.open.demanded
    }

    /// Whether news of one source is to wait until all agree: not before there is a Secret that others could see half
    /// changed, nor while nothing can be written.
    #[must_use]
    pub fn waits_for_all(&self, object: &VaultSecretSync) -> bool {
        let target = object.status.as_ref().and_then(|status| status.target.as_ref());
        target.is_some() && self.open.blocked.is_none() && !matches!(self.seen, Seen::Absent)
    }

    /// Whether a request went out that can change the Secret.
    #[cfg(test)]
    pub(crate) const fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// What the API server answered to the last look or write.
    pub fn answered(&mut self, seen: Seen) {
        if !matches!(seen, Seen::Written(_)) {
            self.sent = None;
        }
        self.seen = seen;
    }

    /// The next step.
    pub fn next(&mut self, input: &Input<'_>) -> Step {
        let (step, sent) = self.decide(input);
        let step = match step {
            Step::Ask | Step::Demand(_) | Step::ReadAnew(_) if self.sealed => {
                Step::End(verdict::again(self, input))
            }
            step => step,
        };
        match step {
            Step::End(verdict) => return Step::End(self.with_unsaid(input, verdict)),
            Step::Demand(ref rows) => self.open.demanded.extend(rows),
            Step::ReadAnew(Anew::Requested(ref request)) => self.kept.refreshed = Some(request.clone()),
            Step::ReadAnew(Anew::Overtaken(ref version)) => {
                self.open.anew = Some(version.clone());
                let rows = self.picture(input).rows;
                let readable = rows.iter().enumerate().filter(|(_, row)| !row.is_refused());
                let all: Vec<usize> = readable.map(|(row, _)| row).collect();
                self.open.demanded.extend(all);
            }
            Step::Create(_) | Step::Change(_) => (self.sealed, self.sent) = (true, sent),
            Step::Ask | Step::Look => {}
        }
        step
    }

    /// In this order; the first that has something to say is the step.
    fn decide(&self, input: &Input<'_>) -> (Step, Option<Sent>) {
        if let Some(decided) = self.refused_by_spec(input) {
            return decided;
        }
        let step = self
            .refused_by_target(input)
            .or_else(|| matches!(input.vault, Vault::Usable { reply: None, .. }).then_some(Step::Ask))
            .or_else(|| self.requested(input))
            .or_else(|| self.look_due(input))
            .or_else(|| self.written(input));
        step.map_or_else(|| write(self, input), |step| (step, None))
    }

    /// What needs neither vault nor target: the object is going, suspended, wrong, or its target is another's.
    fn refused_by_spec(&self, input: &Input<'_>) -> Option<(Step, Option<Sent>)> {
        let object = input.object;
        let problem = if object.metadata.deletion_timestamp.is_some() {
            return Some((Step::End(verdict::quiet(self, Outcome::Deleting)), None));
        } else if input.ignored {
            return Some((Step::End(verdict::refused(self, input, Problem::namespace_ignored())), None));
        } else if object.spec.suspend {
            None
        } else if let Err(sentence) = input.sources {
            Some(Problem::invalid_spec(sentence))
        } else if let Some(rival) = input.rival {
            Some(Problem::target_conflict(object.target_name(), rival))
        } else {
            match &input.vault {
                Vault::Unknown => return Some((Step::End(verdict::quiet(self, Outcome::Waiting)), None)),
                Vault::Unusable(problem) => Some(problem.clone()),
                Vault::Usable { .. } => return None,
            }
        };
        self.let_go(input).or_else(|| {
            let verdict = match problem {
                Some(problem) => verdict::refused(self, input, problem),
                None => verdict::suspended(self, input),
            };
            Some((Step::End(verdict), None))
        })
    }

    /// `Delete` to `Retain` takes no value and is made at once, whatever else is in the way: the Secret must not go with
    /// its object. Owner references alone are sent.
    fn let_go(&self, input: &Input<'_>) -> Option<(Step, Option<Sent>)> {
        let target = input.remembered()?;
        if target.deletion != Deletion::Delete || input.object.spec.target.deletion != Deletion::Retain {
            return None;
        }
        match &self.seen {
            Seen::Remembered | Seen::Changed => Some((Step::Look, None)),
            Seen::Ours(observed) => {
                let drop_owners: Vec<String> = our_owners(observed).map(str::to_owned).collect();
                let nothing = drop_owners.is_empty();
                let change = super::Change {
                    uid: observed.uid.clone(),
                    resource_version: observed.resource_version.clone(),
                    drop_owners,
                    ..super::Change::default()
                };
                let picture = self.picture(input);
                (!nothing).then(|| (Step::Change(change), Some(Sent::of_metadata(None, &picture))))
            }
            Seen::Absent | Seen::Written(_) | Seen::Refused(_) => None,
        }
    }

    /// A target that is another's, or could not be written: that it still is so is looked at before any value is asked
    /// for.
    fn refused_by_target(&self, input: &Input<'_>) -> Option<Step> {
        match &self.seen {
            Seen::Remembered if is_refused(input) => Some(Step::Look),
            Seen::Refused(refusal) => Some(Step::End(verdict::refused_target(self, input, refusal))),
            _ => None,
        }
    }

    /// A new `sync-requested-at`: every source once, and a look at the target.
    fn requested(&self, input: &Input<'_>) -> Option<Step> {
        let request = input.pending_request()?;
        let told = self.kept.refreshed.as_deref() == Some(request);
        (!told).then(|| Step::ReadAnew(Anew::Requested(request.to_owned())))
    }

    /// The target is looked at when it is time to, when a write said that it changed, and when metadata or deletion
    /// policy are to change, to see what of it is ours.
    fn look_due(&self, input: &Input<'_>) -> Option<Step> {
        let due = match self.seen {
            Seen::Changed => true,
            Seen::Remembered => input.remembered().is_some_and(|target| {
                self.probe
                    || input.pending_request().is_some()
                    || target.metadata != Some(of_metadata(&Desired::of(input.object)))
                    || target.deletion != input.object.spec.target.deletion
            }),
            Seen::Absent | Seen::Ours(_) | Seen::Written(_) | Seen::Refused(_) => false,
        };
        due.then_some(Step::Look)
    }

    fn written(&self, input: &Input<'_>) -> Option<Step> {
        let Seen::Written(_) = self.seen else { return None };
        Some(Step::End(match self.sent.as_ref().and_then(|sent| sent.rendered.as_ref()) {
            Some(rendered) => verdict::settled(self, input, &self.picture(input), rendered),
            None => {
                verdict::waiting(self, input, self.sent.as_ref().is_some_and(|sent| !sent.drift.is_empty()))
            }
        }))
    }

    /// What the spec wants beside what is recorded.
    pub(super) fn picture<'a>(&'a self, input: &Input<'a>) -> Picture<'a> {
        Picture::of(input, self.record(input), &self.open.judged)
    }

    /// What is recorded of the Secret that is there, as far as this round knows.
    pub(super) fn record<'a>(&self, input: &Input<'a>) -> Option<Record<'a>> {
        let target = input.remembered()?;
        let drift = match &self.seen {
            Seen::Absent => return None,
            Seen::Written(written) if written.created || written.after.uid != target.uid => return None,
            Seen::Ours(observed) if observed.uid != target.uid => return None,
            Seen::Ours(_) if self.replaced => target.key_names().map(str::to_owned).collect(),
            Seen::Ours(observed) => {
                drifted(observed, self.kept.verified.as_ref(), target, &manager_of(input.object))
            }
            Seen::Written(_) => self.sent.as_ref().map(|sent| sent.drift.clone()).unwrap_or_default(),
            Seen::Remembered | Seen::Changed | Seen::Refused(_) => BTreeSet::new(),
        };
        Some(Record::new(target, drift))
    }

    /// The resourceVersion that another operator gave the target under our name, unless every source was read anew for
    /// it.
    pub(super) fn overtaken(&self, input: &Input<'_>) -> Option<&str> {
        let Seen::Ours(observed) = &self.seen else { return None };
        let version = observed.resource_version.as_str();
        let recorded = input.remembered().filter(|recorded| recorded.uid == observed.uid)?;
        let verified = self.kept.verified.as_ref();
        (self.open.anew.as_deref() != Some(version)
            && overtaken(observed, verified, recorded, &manager_of(input.object)))
        .then_some(version)
    }

    /// Whether all of this was judged already and could not be written.
    pub(super) fn is_still_blocked(&self, input: &Input<'_>, picture: &Picture<'_>) -> bool {
        let known = input.object.status.as_ref();
        let new_drift = picture.record.as_ref().is_some_and(|record| {
            record.target.keys.iter().any(|key| key.of.is_some() && record.drift.contains(&key.name))
        });
        !new_drift
            && !picture.is_pending()
            && input.pending_request().is_none()
            && known.is_some_and(|known| known.observed_generation == input.object.metadata.generation)
            && says(known, |reason| reason != Reason::Synced)
            && self.open.blocked == Some(picture.fingerprint())
    }

    /// What the next round begins with. `waits`: for values that this one demanded.
    pub(super) fn keep(&self, waits: bool) -> Kept {
        let mut open = Open { drifted: None, unsaid: None, blocked: None, ..self.open.clone() };
        if waits {
            open.looked = match self.seen {
                Seen::Remembered => open.looked,
                // What was seen before is recorded now.
                Seen::Written(_) => false,
                Seen::Changed | Seen::Absent | Seen::Ours(_) | Seen::Refused(_) => true,
            };
            open.drifted = self.open.drifted;
        } else {
            open.demanded.clear();
            (open.looked, open.anew, open.generation) = (false, None, None);
        }
        let mut kept = Kept { open: None, ..self.kept.clone() };
        kept.set_open(open);
        kept
    }

    /// What an earlier round could not say is said with this one, with the event that it is worth.
    fn with_unsaid(&self, input: &Input<'_>, mut verdict: Verdict) -> Verdict {
        if let Some((status, outcome)) = &self.open.unsaid
            && verdict.outcome != Outcome::Deleting
        {
            verdict.status.get_or_insert_with(|| status.clone());
            if matches!(verdict.outcome, Outcome::Unchanged | Outcome::Waiting) {
                verdict.outcome = *outcome;
            }
        }
        let record = |status: Option<&VaultSecretSyncStatus>| {
            hash_of_record(status.and_then(|status| status.target.as_ref()))
        };
        let before = record(input.object.status.as_ref());
        let after = verdict.status.as_ref().map_or(before, |status| record(Some(status)));
        // A record that somebody put in the place of ours stays in doubt until the round has looked into it.
        let in_doubt = self.replaced && after == before && !matches!(self.seen, Seen::Written(_));
        if !in_doubt {
            verdict.kept.recorded = Some(after);
        }
        verdict
    }

    /// Whether the write of this round only undid what somebody else did to the Secret.
    pub(super) fn restores_only(&self, input: &Input<'_>) -> bool {
        let (Some(sent), Some(target)) = (&self.sent, input.remembered()) else { return false };
        let known = |name: &String, of: Fingerprint| {
            target.keys.iter().any(|key| key.name == *name && key.of.is_none_or(|recorded| recorded == of))
        };
        sent.removed.is_empty()
            && sent.metadata.is_none_or(|metadata| target.metadata == Some(metadata))
            && sent.keys.iter().all(|(name, of)| known(name, *of))
    }
}

/// Whether the last that was said of the target is that it is another's, or could not be written.
pub(super) fn is_refused(input: &Input<'_>) -> bool {
    says(input.object.status.as_ref(), Reason::blocks_target)
}

/// Whether Ready is not True, for a reason like this.
fn says(status: Option<&VaultSecretSyncStatus>, like: impl Fn(Reason) -> bool) -> bool {
    let ready = status.and_then(|status| condition(&status.conditions, READY));
    ready.filter(|ready| ready.status != "True").and_then(|ready| ready.reason.parse().ok()).is_some_and(like)
}
