//! One round of an object: what it works on, what it has done, and what it leaves to the next.
//!
//! Invariant: a round works on one snapshot. Until its first request that can change the Secret it may ask again, and
//! each answer replaces the snapshot whole. After that request nothing is asked: what is said and recorded comes from
//! the snapshot and from what the request carried. A request that was refused or not answered carried nothing.

mod obstacles;

use super::desired::Desired;
use super::fingerprint::of_metadata;
use super::kept::{Kept, Open};
use super::outcome::Outcome;
use super::picture::{Picture, Record};
use super::sent::Sent;
use super::target::{
    Change, Observed, Refusal, Seen, Verified, drifted, hash_of_record, manager_of, overtaken,
};
use super::verdict::Verdict;
use super::write::write;
use super::{Input, Problem, Step, Vault, verdict};
use crate::api::{Deletion, Fingerprint, READY, VaultSecretSync, VaultSecretSyncStatus, condition};
use crate::reason::Reason;
use std::collections::BTreeSet;
use std::time::Duration;

/// Why every source is read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anew {
    /// A user asked for a sync, by this value of the annotation.
    Requested(String),
    /// Another operator wrote the Secret under our name; its resourceVersion then.
    Overtaken(String),
}

/// See the module.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, true or not whatever the others are"
)]
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
    /// A write of this round was refused, rather than failed.
    pub(super) denied: bool,
    /// The API server refused a change that touches owner references: the rest is written without.
    owners_refused: bool,
    /// The field manager of the object's Secret.
    pub(super) manager: String,
    /// The resourceVersion that status records of the target.
    recorded: Option<String>,
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
        // A process that has proved nothing yet confirms nothing: what an earlier one said stands.
        let stale = says(object.status.as_ref(), |reason| reason == Reason::Stale);
        open.stale = stale && (open.stale || kept.recorded.is_none());
        let target = object.status.as_ref().and_then(|status| status.target.as_ref());
        let replaced = target.is_some() && kept.recorded.is_some_and(|said| said != hash_of_record(target));
        let probe = probe || open.looked || replaced;
        Self {
            kept,
            open,
            seen: Seen::Remembered,
            probe,
            replaced,
            sealed: false,
            sent: None,
            denied: false,
            owners_refused: false,
            manager: manager_of(object),
            recorded: target.map(|target| target.resource_version.clone()),
        }
    }

    /// The sources whose value is needed whatever is known of them, by index.
    #[must_use]
    pub const fn demanded(&self) -> &BTreeSet<usize> {
        &self.open.demanded
    }

    /// Whether an earlier process said that what is known is confirmed no longer.
    #[must_use]
    pub const fn inherits_stale(&self) -> bool {
        self.open.stale
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

    /// The resourceVersion at which this round expects the target.
    #[must_use]
    pub fn expected(&self) -> Option<&str> {
        if !matches!(self.seen, Seen::Remembered) {
            return None;
        }
        let verified = self.kept.verified.as_ref().map(|verified| &verified.resource_version);
        self.open.anew.as_ref().or(verified).or(self.recorded.as_ref()).map(String::as_str)
    }

    /// What the API server answered to the last look or write.
    pub fn answered(&mut self, seen: Seen) {
        if let Seen::Ours(observed) = &seen
            && observed.unmoved
        {
            // It is as it was known to be; what moved did so with the look.
            match &mut self.open.anew {
                Some(anew) => anew.clone_from(&observed.resource_version),
                None => self.kept.verified = Some(Verified::of(observed, &self.manager)),
            }
        }
        let failed = self.sent.take_if(|_| !matches!(seen, Seen::Written(_)));
        let whole = self.sent.as_ref().is_some_and(|sent| sent.rendered.is_some());
        match seen {
            Seen::Written(_) if whole => (self.open.refused, self.open.too_large) = (None, None),
            // What fails may pass by itself, and is tried again at a pace of its own.
            Seen::Refused(ref refusal) if failed.is_some() && !refusal.is_failure() => {
                self.denied = true;
            }
            _ => {}
        }
        self.seen = match seen {
            // Where OwnerReferencesPermissionEnforcement is on, whoever may not delete a Secret may not change whose it is.
            // Whether that was it shows when the rest is tried by itself.
            Seen::Refused(Refusal::Forbidden) if failed.is_some_and(|sent| sent.owners) => {
                self.owners_refused = true;
                Seen::Changed
            }
            seen => seen,
        };
    }

    /// The next step.
    pub fn next(&mut self, input: &Input<'_>) -> Step {
        let (step, sent) = self.decide(input);
        let step = match step {
            Step::Ask | Step::Demand(_) | Step::ReadAnew(_) if self.sealed => {
                Step::end(verdict::again(self, input))
            }
            step => step,
        };
        match step {
            Step::End(verdict) => return Step::end(self.with_unsaid(input, *verdict)),
            Step::Demand(ref rows) => self.open.demanded.extend(rows),
            Step::ReadAnew(Anew::Requested(ref request)) => self.kept.refreshed = Some(request.clone()),
            Step::ReadAnew(Anew::Overtaken(ref version)) => {
                self.open.anew = Some(version.clone());
                let rows = self.picture(input).rows;
                let readable = rows.iter().enumerate().filter(|(_, row)| !row.is_refused());
                let all: Vec<usize> = readable.map(|(row, _)| row).collect();
                self.open.demanded.extend(all);
            }
            Step::Change(ref change) => {
                let owners = change.moves_owners();
                (self.sealed, self.sent) = (true, sent.map(|sent| Sent { owners, ..sent }));
            }
            Step::Create(_) => (self.sealed, self.sent) = (true, sent),
            Step::Ask | Step::Look => {}
        }
        step
    }

    /// The round goes on as it was, in another that begins in this time.
    #[must_use]
    pub fn put_off(&self, input: &Input<'_>, wait: Duration) -> Verdict {
        let verdict = Verdict { next: Some(wait), ..verdict::quiet(self, Outcome::Waiting) };
        let kept = verdict.kept.open(|open| open.blocked = self.open.blocked);
        self.with_unsaid(input, Verdict { kept, ..verdict })
    }

    /// In this order; the first that has something to say is the step.
    fn decide(&self, input: &Input<'_>) -> (Step, Option<Sent>) {
        let ask = || matches!(input.vault, Vault::Usable { snapshot: None, .. }).then_some(Step::Ask);
        let alone = |step: Option<Step>| step.map(|step| (step, None));
        self.refused_by_spec(input)
            .or_else(|| alone(self.refused_by_target(input)))
            .or_else(|| alone(self.held_back(input)))
            .or_else(|| self.too_large(input))
            .or_else(|| alone(ask()))
            .or_else(|| alone(self.requested(input)))
            .or_else(|| alone(self.look_due(input)))
            .or_else(|| alone(self.written(input)))
            .unwrap_or_else(|| write(self, input))
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
                    || (target.deletion == Deletion::Delete) != input.object.spec.target.goes_with_object()
            }),
            Seen::Absent | Seen::Ours(_) | Seen::Written(_) | Seen::Refused(_) => false,
        };
        due.then_some(Step::Look)
    }

    fn written(&self, input: &Input<'_>) -> Option<Step> {
        let Seen::Written(_) = self.seen else { return None };
        let picture = self.picture(input);
        let sent = self.sent.as_ref();
        Some(Step::end(match sent.and_then(|sent| sent.rendered.as_ref()) {
            Some(rendered) => verdict::settled(self, input, &picture, rendered),
            None if picture.is_pending() => {
                verdict::waiting(self, input, sent.is_some_and(|sent| sent.edited))
            }
            // What kept the rest from being written is still to be said.
            None => return None,
        }))
    }

    /// The change that brings the metadata of the target where the spec wants it, as far as the API server allows.
    pub(super) fn metadata_change(&self, input: &Input<'_>, observed: &Observed) -> Change {
        let change = Desired::of(input.object).change(observed);
        if self.owners_refused {
            Change { add_owner: None, drop_owners: Vec::new(), ..change }
        } else {
            change
        }
    }

    /// What a request that carries [`Self::metadata_change`] may be recorded to have applied.
    pub(super) fn metadata_carried(&self, input: &Input<'_>) -> Option<Fingerprint> {
        (!self.owners_refused).then(|| of_metadata(&Desired::of(input.object)))
    }

    /// That the target's owner references could not be changed.
    pub(super) fn refused_owners(&self, input: &Input<'_>) -> Option<Problem> {
        self.owners_refused.then(|| Problem::owners_refused(input.object))
    }

    /// What the spec wants beside what is recorded.
    pub(super) fn picture<'a>(&'a self, input: &Input<'a>) -> Picture<'a> {
        Picture::of(input, self.record(input), &self.open.judged)
    }

    /// What is recorded of the Secret that is there, as far as this round knows.
    pub(super) fn record<'a>(&self, input: &Input<'a>) -> Option<Record<'a>> {
        let target = input.remembered()?;
        let none = || (BTreeSet::new(), false);
        let (drift, edited) = match &self.seen {
            Seen::Absent => return None,
            Seen::Written(written) if written.created || written.after.uid != target.uid => return None,
            Seen::Ours(observed) if observed.uid != target.uid => return None,
            Seen::Ours(_) if self.replaced => (target.key_names().map(str::to_owned).collect(), false),
            Seen::Ours(observed) => drifted(observed, self.kept.verified.as_ref(), target, &self.manager),
            Seen::Written(_) => {
                self.sent.as_ref().map_or_else(none, |sent| (sent.drift.clone(), sent.edited))
            }
            Seen::Remembered | Seen::Changed | Seen::Refused(_) => none(),
        };
        Some(Record::new(target, drift, edited))
    }

    /// The resourceVersion that another operator gave the target under our name, unless every source was read anew for
    /// it.
    pub(super) fn overtaken(&self, input: &Input<'_>) -> Option<&str> {
        let Seen::Ours(observed) = &self.seen else { return None };
        let version = observed.resource_version.as_str();
        let recorded = input.remembered().filter(|recorded| recorded.uid == observed.uid)?;
        let verified = self.kept.verified.as_ref();
        (self.open.anew.as_deref() != Some(version) && overtaken(observed, verified, recorded, &self.manager))
            .then_some(version)
    }

    /// Whether this process saw the target that is recorded, or made it.
    pub(super) fn has_seen_target(&self, input: &Input<'_>) -> bool {
        let verified = self.kept.verified.as_ref();
        verified.zip(input.remembered()).is_some_and(|(verified, target)| verified.is_of(&target.uid))
    }

    /// Whether all of this was judged already and could not be written.
    pub(super) fn is_still_blocked(&self, input: &Input<'_>, picture: &Picture<'_>) -> bool {
        let new_drift = picture.record.as_ref().is_some_and(|record| {
            record.target.keys.iter().any(|key| key.of.is_some() && record.drift.contains(&key.name))
        });
        !new_drift
            && !picture.is_pending()
            && input.pending_request().is_none()
            && says_of_spec(input.object, |reason| reason != Reason::Synced)
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
        !self.owners_refused
            && sent.removed.is_empty()
            && sent.metadata.is_none_or(|metadata| target.metadata == Some(metadata))
            && sent.keys.iter().all(|(name, of)| known(name, *of))
    }
}

/// Whether the last that was said of the target is that it is another's, or could not be written.
pub(super) fn is_refused(input: &Input<'_>) -> bool {
    says(input.object.status.as_ref(), Reason::blocks_target)
}

/// Whether it is said that writes of the Secret fail time and again, of the spec as it is.
#[must_use]
pub fn is_told_of_failure(object: &VaultSecretSync) -> bool {
    says_of_spec(object, |reason| reason == Reason::WriteFailed)
}

/// Whether Ready is not True, for a reason like this, of the spec as it is.
fn says_of_spec(object: &VaultSecretSync, like: impl Fn(Reason) -> bool) -> bool {
    object.is_observed() && says(object.status.as_ref(), like)
}

/// Whether Ready is not True, for a reason like this.
pub(super) fn says(status: Option<&VaultSecretSyncStatus>, like: impl Fn(Reason) -> bool) -> bool {
    let ready = status.and_then(|status| condition(&status.conditions, READY));
    ready.filter(|ready| ready.status != "True").and_then(|ready| ready.reason.parse().ok()).is_some_and(like)
}
