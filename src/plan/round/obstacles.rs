//! What is in the way of a round before it has asked for anything: the spec, the target, a write that was just refused.

use super::{Round, is_refused, says_of_spec};
use crate::api::Deletion;
use crate::plan::outcome::Outcome;
use crate::plan::sent::Sent;
use crate::plan::target::{Change, Refusal, Seen};
use crate::plan::verdict::{self, Verdict};
use crate::plan::write::metadata_alone;
use crate::plan::{Input, Problem, Step, Vault};
use crate::reason::Reason;

impl Round {
    /// What needs neither vault nor target: the object is going, suspended, wrong, or its target is another's.
    pub(super) fn refused_by_spec(&self, input: &Input<'_>) -> Option<(Step, Option<Sent>)> {
        let object = input.object;
        let problems = if object.metadata.deletion_timestamp.is_some() {
            return Some((Step::end(verdict::quiet(self, Outcome::Deleting)), None));
        } else if input.ignored {
            return Some((Step::end(verdict::refused(self, input, &[Problem::namespace_ignored()])), None));
        } else if object.spec.suspend {
            Vec::new()
        } else if let Err(problem) = input.sources {
            // What is looked for and what is named may both be in the way.
            let unusable = match &input.vault {
                Vault::Unusable(problems) => problems.as_slice(),
                Vault::Unknown | Vault::Usable { .. } => &[],
            };
            [std::slice::from_ref(problem), unusable].concat()
        } else if let Some(rival) = input.rival {
            vec![Problem::target_conflict(object.target_name(), rival)]
        } else {
            match &input.vault {
                Vault::Unknown => return Some((Step::end(verdict::quiet(self, Outcome::Waiting)), None)),
                Vault::Unusable(problems) => problems.clone(),
                Vault::Usable { .. } => return None,
            }
        };
        self.let_go(input).or_else(|| {
            let problems: Vec<Problem> = problems.into_iter().chain(self.not_let_go(input)).collect();
            let verdict = if problems.is_empty() {
                verdict::suspended(self, input)
            } else {
                verdict::refused(self, input, &problems)
            };
            Some((Step::end(verdict), None))
        })
    }

    /// Why the Secret still goes with its object though the spec says that it is to stay.
    fn not_let_go(&self, input: &Input<'_>) -> Option<Problem> {
        if input.object.spec.target.goes_with_object() {
            return None;
        }
        match &self.seen {
            // What is not ours is not for us to say.
            Seen::Refused(refusal) if refusal.is_foreign() => None,
            Seen::Refused(refusal)
                if input.remembered().is_none_or(|target| target.deletion == Deletion::Delete) =>
            {
                Some(Problem::refused(input.object, refusal))
            }
            _ => self.refused_owners(input),
        }
    }

    /// `Retain` takes no value and is put in force at once, whatever else is in the way: the Secret must not go with its
    /// object. That it does not already is believed of no record before it was looked at for the spec as it is: the status
    /// may be lost, or older than the last write. Owner references alone are sent.
    fn let_go(&self, input: &Input<'_>) -> Option<(Step, Option<Sent>)> {
        let bound = input.remembered().is_some_and(|target| target.deletion == Deletion::Delete);
        let look = bound || self.probe || !input.object.is_observed();
        let target = &input.object.spec.target;
        if target.goes_with_object() || target.merges() || !look {
            return None;
        }
        match &self.seen {
            Seen::Remembered | Seen::Changed => Some((Step::Look, None)),
            Seen::Ours(observed) => {
                let Change { uid, resource_version, drop_owners, .. } = self.metadata_change(input, observed);
                let change = Change { uid, resource_version, drop_owners, ..Change::default() };
                let picture = self.picture(input);
                (!change.is_empty()).then(|| (Step::Change(change), Some(Sent::of_metadata(None, &picture))))
            }
            Seen::Absent | Seen::Written(_) | Seen::Refused(_) => None,
        }
    }

    /// A target that is another's, or could not be written: that it still is so is looked at before any value is asked
    /// for.
    pub(super) fn refused_by_target(&self, input: &Input<'_>) -> Option<Step> {
        let merges = input.object.spec.target.merges();
        match &self.seen {
            Seen::Remembered if is_refused(input) => Some(Step::Look),
            // Whoever only adds keys looks first whether there is something to add to.
            Seen::Remembered if merges && input.remembered().is_none() => Some(Step::Look),
            Seen::Absent if merges => {
                Some(Step::end(verdict::refused_target(self, input, &Refusal::NotFound)))
            }
            Seen::Refused(refusal) => Some(Step::end(verdict::refused_target(self, input, refusal))),
            _ => None,
        }
    }

    /// The values of a Secret that was too large are asked for later each time, whatever changed: to find out takes all of
    /// them. Its metadata is kept in order meanwhile.
    pub(super) fn too_large(&self, input: &Input<'_>) -> Option<(Step, Option<Sent>)> {
        let same = says_of_spec(input.object, |reason| reason == Reason::TooLarge);
        // Of one source whose answer is too large the others know nothing.
        if !same || self.open.blocked.is_none() {
            return None;
        }
        let by_hand = input.pending_request().is_some();
        let wait = self.open.too_large?.holds_back_for(by_hand, input.now)?;
        let kept = || self.look_due(input).map(|look| (look, None));
        kept().or_else(|| metadata_alone(self, input, &self.picture(input))).or_else(|| {
            let verdict = Verdict { next: Some(wait), ..verdict::still_blocked(self, input) };
            Some((Step::end(verdict), None))
        })
    }

    /// A write that was refused is tried again later each time, for it takes values: a look alone does not tell that the
    /// next one would be taken.
    pub(super) fn held_back(&self, input: &Input<'_>) -> Option<Step> {
        let same = says_of_spec(input.object, Reason::blocks_target);
        // Where there was a Secret and is none any more, what was in the way may have gone with it.
        let looked = match self.seen {
            Seen::Absent => input.remembered().is_none(),
            Seen::Ours(_) => true,
            _ => false,
        };
        if !same || !looked {
            return None;
        }
        let by_hand = input.pending_request().is_some();
        let wait = self.open.refused?.holds_back_for(by_hand, input.now)?;
        if self.is_key_free(input) {
            return None;
        }
        Some(Step::end(verdict::held_back(self, input, wait)))
    }

    /// Whether a key that another object had is free now, as far as the spec names all keys.
    fn is_key_free(&self, input: &Input<'_>) -> bool {
        let Seen::Ours(observed) = &self.seen else { return false };
        let spec = &input.object.spec;
        let was_taken = says_of_spec(input.object, |reason| reason == Reason::TargetConflict);
        let mut keys = spec.named_keys();
        was_taken
            && spec.data_from.is_empty()
            && keys.all(|key| observed.holder(key, &self.manager, input.sharing).is_none())
    }
}
