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

pub use connection::{ConnectionReport, Readers, is_proved};
pub use find::{FoundNames, finds, found_before};
pub use grant::{Permit, Tenant, has_selector, may_read_secret, permits, reads_secrets};
pub use kept::Kept;
pub use notice::{Notice, notice, notice_of_names, notice_of_sources};
pub use outcome::Outcome;
pub use problem::Problem;
pub use rollout::{Progress, RestartFailure, RestartStep, Rolling, RollingEnd, Workload, rollout_notices};
pub use round::{Anew, Round, is_told_of_failure};
use sources::asked_interval;
pub use sources::{Sources, UsedSource, interval, sources, stale_after, wants};
pub use target::{Change, KeyBytes, NewSecret, Observed, Refusal, Seen, Verified, Written, manager_of};
pub use verdict::Verdict;

use crate::api::{TargetStatus, VaultSecretSync, VaultSecretSyncStatus};
use crate::reason::Reason;
use crate::vault::{Failure, HealthState, Reply, Why};
use find::Listing;
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
    /// The connection.
    pub vault: Vault<'a>,
    /// How long values may go unconfirmed.
    pub stale_after: Duration,
    /// How long before its end a version is called expiring.
    pub expiring_before: Duration,
    /// Now.
    pub now: Timestamp,
}

/// The connection of an object.
#[derive(Debug)]
pub enum Vault<'a> {
    /// Not shown yet, so that nothing can be said.
    Unknown,
    /// There is none, or this object may not use it.
    Unusable(Problem),
    /// Here.
    Usable {
        /// The vault's address.
        url: &'a str,
        /// How often the sources are read.
        interval: Duration,
        /// As what each source may be read.
        permits: &'a [Permit],
        /// The snapshot: what the plane said to [`wants`]; `None` before it was asked.
        reply: Option<&'a Reply>,
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
        let Vault::Usable { interval, .. } = self.vault else { return None };
        (interval > asked_interval(self.object)).then_some(interval)
    }

    /// What `find` cannot find: the list is not to be had, or shows nothing that fits.
    fn unfound(&self) -> Option<Problem> {
        let sources = self.sources.as_ref().ok()?;
        match (&sources.listing, sources.unmatched.first()) {
            (Listing::Failed(why), _) => Some(Problem::list_failed(&self.object.spec.vault_ref, why)),
            (Listing::Whole, Some(&place)) => Some(Problem::nothing_matched(place)),
            (Listing::Awaited, place) => match (status::said(self)?, place) {
                // What is awaited proves nothing: what an earlier list showed stands.
                (Reason::ListFailed, _) => {
                    Some(Problem::list_failed(&self.object.spec.vault_ref, &Why::Finds))
                }
                (Reason::NothingMatched, Some(&place)) => Some(Problem::nothing_matched(place)),
                _ => None,
            },
            (Listing::Whole, _) => None,
        }
    }

    fn vault_url(&self) -> Option<&'a str> {
        match self.vault {
            Vault::Usable { url, .. } => Some(url),
            Vault::Unknown | Vault::Unusable(_) => None,
        }
    }

    fn reply(&self) -> Option<&'a Reply> {
        match self.vault {
            Vault::Usable { reply, .. } => reply,
            Vault::Unknown | Vault::Unusable(_) => None,
        }
    }

    /// Why the whole vault or identity fails, if it does.
    fn outage(&self) -> Option<&'a Failure> {
        match &self.reply()?.health.state {
            HealthState::Failing { failure, .. } | HealthState::Doubtful(failure) => Some(failure),
            HealthState::Unproven
            | HealthState::Undecided
            | HealthState::Working
            | HealthState::PermissionUnproven(_) => None,
        }
    }
}
