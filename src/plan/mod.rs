//! The decision: from what is known of one object to the next step, without a client and with the time as an argument.
//!
//! ```text
//!  object, connection, snapshot, target ──> Round::next ──> Step: Ask | Demand | ReadAnew | Look | Create | Change
//!           ^                                                 │
//!           └──────────── what was answered ──────────────────┘    End(verdict) ──> status, event, metric
//! ```
//!
//! A [`Round`] is asked for its next step until it ends. Its order is the behaviour: what refuses first, wins. What the
//! spec wants and what the Secret holds are compared by fingerprints (`plan::picture`), never by memories of what was done.

mod connection;
mod desired;
mod find;
mod fingerprint;
mod grant;
mod kept;
mod notice;
mod outcome;
mod picture;
mod problem;
mod recipe;
mod render;
mod rollout;
mod round;
mod sent;
mod sources;
mod status;
mod target;
mod value;
mod verdict;
mod write;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use fingerprint::{fingerprints_of, found_fingerprints, template_fingerprint};
#[cfg(any(fuzzing, test))]
pub(crate) use value::fuzzing;

pub use connection::{Confirmation, ConnectionReport, HeldRemovals, MassRemoval, Readers, is_proved};
pub use find::{FoundBefore, FoundNames, finds, found_before};
pub use grant::{Permit, Tenant, has_selector, may_read_secret, permits, reads_secrets};
pub use kept::Kept;
pub use notice::{Notice, notice, notice_of_names, notice_of_sources};
pub use outcome::Outcome;
pub use problem::Problem;
pub use rollout::{Progress, RestartFailure, RestartStep, Rolling, RollingEnd, Workload, rollout_notices};
pub use round::{Anew, Round, is_told_of_failure};
pub use sources::{
    Connected, Fares, Snapshot, Sources, UsedSource, brake, interval, sources, stale_after, wants,
};
use sources::{asked_interval, entries_of};
pub use target::{Change, KeyBytes, NewSecret, Observed, Refusal, Seen, Verified, Written, manager_of};
pub use verdict::Verdict;

use crate::api::{READY, TargetStatus, VaultRef, VaultSecretSync, VaultSecretSyncStatus, condition};
use crate::reason::Reason;
use crate::vault::{Answer, Failure, HealthState, Why};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// Everything that a decision rests on, but for what the [`Round`] itself has done.
#[derive(Debug)]
pub struct Input<'a> {
    /// The object, no older than our own last write, as [this process knows it](Kept::known).
    pub object: &'a VaultSecretSync,
    /// Its status as it is stored.
    pub stored: Option<&'a VaultSecretSyncStatus>,
    /// Its sources, or why the spec has none that can be read.
    pub sources: &'a Result<Sources, Problem>,
    /// Whether the namespace is one that we leave alone.
    pub ignored: bool,
    /// The object that has the better claim to the target, if any.
    pub rival: Option<&'a str>,
    /// The other objects that add keys to the same Secret, if this one does.
    pub sharing: &'a [String],
    /// The connections.
    pub vault: Vault<'a>,
    /// How long before its end a version is called expiring.
    pub expiring_before: Duration,
    /// Now.
    pub now: Timestamp,
}

/// The connections of an object: it reads through all of them, or through none.
#[derive(Debug)]
pub enum Vault<'a> {
    /// Not shown yet, so that nothing can be said.
    Unknown,
    /// One of them is not there, or this object may not use it.
    Unusable(Vec<Problem>),
    /// Here.
    Usable {
        /// As the spec [names](crate::api::VaultSecretSyncSpec::vault_refs) them, in that order.
        connections: &'a [Connected<'a>],
        /// As what each source may be read.
        permits: &'a [Permit],
        /// What the plane said; `None` before it was asked.
        snapshot: Option<&'a Snapshot>,
    },
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Ask the plane for a snapshot.
    Ask,
    /// Ask the plane again, for the values of these sources too.
    Demand(BTreeSet<usize>),
    /// Have the plane read every source once more, and ask it again.
    ReadAnew(Anew),
    /// Look at the target's metadata.
    Look,
    /// Create the target.
    Create(NewSecret),
    /// Change the target.
    Change(Change),
    /// The round is over.
    End(Box<Verdict>),
}

impl Step {
    fn end(verdict: Verdict) -> Self {
        Self::End(Box::new(verdict))
    }
}

impl<'a> Input<'a> {
    /// The request for a sync that is not answered yet.
    fn pending_request(&self) -> Option<&'a str> {
        let handled = self.object.status.as_ref().and_then(|status| status.last_handled_sync.as_deref());
        self.object.sync_requested().filter(|request| Some(*request) != handled)
    }

    /// What status remembers of the target, if it speaks of this one.
    fn remembered(&self) -> Option<&'a TargetStatus> {
        let target = self.object.status.as_ref()?.target.as_ref()?;
        (target.name == self.object.target_name()).then_some(target)
    }

    /// How often the sources are read, where that is less often than the spec asks.
    fn stretched_interval(&self) -> Option<Duration> {
        let longest = self.connections().iter().map(|connection| connection.interval).max()?;
        (longest > asked_interval(self.object)).then_some(longest)
    }

    /// What `find` cannot find: the list is not to be had, or shows nothing that fits.
    fn unfound(&self) -> Option<Problem> {
        let sources = self.sources.as_ref().ok()?;
        if let Some((vault, why)) = &sources.unlisted {
            return Some(Problem::list_failed(self.vault_ref(*vault), why));
        }
        let is_awaited = |vault: &usize| sources.awaited.contains(vault);
        let nothing = |awaited: bool| {
            let mut unmatched = sources.unmatched.iter();
            let (place, _) = unmatched.find(|(_, vault)| is_awaited(vault) == awaited)?;
            Some(Problem::nothing_matched(*place))
        };
        // What is awaited proves nothing: what was said of it stands.
        nothing(false).or_else(|| match status::said(self)? {
            Reason::ListFailed => {
                let ready = condition(&self.object.status.as_ref()?.conditions, READY)?;
                let mut awaited = sources.awaited.iter().map(|vault| self.vault_ref(*vault));
                let vault =
                    awaited.find(|vault| Problem::speaks_of(&ready.message, &Problem::is_unlisted(vault)))?;
                Some(Problem::list_failed(vault, &Why::Finds))
            }
            Reason::NothingMatched => nothing(true),
            _ => None,
        })
    }

    /// Whether a list is awaited of which status tells nothing, so that it cannot be said what there is.
    fn lacks_list(&self) -> bool {
        let Ok(sources) = self.sources else { return false };
        let (connections, status) = (self.connections(), self.object.status.as_ref());
        let is_told = |place: &usize| {
            status.is_some_and(|status| match place {
                0 => status.matched.is_some() && status.vault.as_deref() == self.vault_url(),
                place => {
                    let mut told = entries_of(status, connections, *place);
                    told.any(|entry| !entry.found_by.is_empty())
                }
            })
        };
        !sources.awaited.iter().all(is_told)
    }

    fn connections(&self) -> &'a [Connected<'a>] {
        match self.vault {
            Vault::Usable { connections, .. } => connections,
            Vault::Unknown | Vault::Unusable(_) => &[],
        }
    }

    /// What the spec calls the connection at a place.
    fn vault_ref(&self, place: usize) -> &'a VaultRef {
        self.connections().get(place).map_or(&self.object.spec.vault_ref, |connection| connection.vault)
    }

    /// The vault of the first connection.
    fn vault_url(&self) -> Option<&'a str> {
        self.connections().first().map(|connection| connection.url)
    }

    fn snapshot(&self) -> Option<&'a Snapshot> {
        match self.vault {
            Vault::Usable { snapshot, .. } => snapshot,
            Vault::Unknown | Vault::Unusable(_) => None,
        }
    }

    /// The connections, each with how it fares.
    fn fares(&self) -> impl Iterator<Item = (&'a Connected<'a>, &'a Fares)> {
        self.connections().iter().zip(self.snapshot().into_iter().flat_map(|snapshot| &snapshot.fares))
    }

    /// The connections of which an answer is awaited, by their places.
    fn awaited(&self) -> impl Iterator<Item = usize> {
        let sources = self.sources.iter().flat_map(|sources| &sources.used);
        let answers = self.snapshot().into_iter().flat_map(|snapshot| &snapshot.answers);
        let pending = sources.zip(answers).filter(|(_, answer)| matches!(answer, Answer::Pending));
        let lists = self.sources.iter().flat_map(|sources| &sources.awaited).copied();
        pending.map(|(used, _)| used.vault).chain(lists)
    }

    /// The first connection that fails as a whole while something is awaited of it, and why.
    fn outage(&self) -> Option<(&'a VaultRef, &'a Failure)> {
        let mut failing =
            self.fares().enumerate().filter_map(|(place, (connection, fares))| match &fares.health.state {
                HealthState::Failing { failure, .. } | HealthState::Doubtful(failure) => {
                    Some((place, (connection.vault, &**failure)))
                }
                HealthState::Unproven
                | HealthState::Undecided
                | HealthState::Working
                | HealthState::PermissionUnproven(_) => None,
            });
        failing.find(|(place, _)| self.awaited().any(|awaited| awaited == *place)).map(|(_, outage)| outage)
    }
}
