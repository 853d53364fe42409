//! One source in a snapshot: what the vault said of it, and whether the object may use that.

use crate::api::{EntryState, EntryStatus};
use crate::plan::fingerprint::{Version, version_of};
use crate::plan::grant::Permit;
use crate::plan::sources::{Connected, Hold, UsedSource, entries_of, entry};
use crate::plan::{Input, Vault};
use crate::reason::Reason;
use crate::vault::{Answer, Failure, Reading};

/// One source in this snapshot.
#[derive(Debug)]
pub(in crate::plan) struct Row<'a> {
    pub(in crate::plan) used: &'a UsedSource,
    /// The connection that reads it.
    pub(in crate::plan) connection: &'a Connected<'a>,
    pub(in crate::plan) permit: Permit,
    /// What status says that the vault told of it.
    pub(in crate::plan) before: Option<&'a EntryStatus>,
    pub(in crate::plan) answer: &'a Answer,
    /// Why its keys stay though it is gone.
    pub(in crate::plan) held: Option<Hold>,
}

impl<'a> Row<'a> {
    /// The version that the vault last told.
    pub(in crate::plan) fn version(&self) -> Option<&'a str> {
        match self.answer {
            Answer::Read(reading) => Some(&reading.attributes.version),
            Answer::Unchanged | Answer::Failed(_) | Answer::Pending => {
                let told = self.before.and_then(|before| before.version.as_deref());
                // A pinned version is known before it was ever read.
                told.or_else(|| version_of(&self.used.source))
            }
        }
    }

    /// The name and the version that the vault last told.
    pub(super) fn told(&self) -> Option<Version<'a>> {
        let version = self.version()?;
        Some(Version { name: &self.used.source.name, version })
    }

    /// Whether the source is of a kind that the object may not read, as far as that is known.
    pub(in crate::plan) fn is_refused(&self) -> bool {
        match self.answer {
            Answer::Read(reading) => !self.permit.covers(reading.attributes.managed),
            Answer::Unchanged | Answer::Failed(_) | Answer::Pending => self
                .before
                .is_some_and(|before| before.version.is_some() && !self.permit.covers(before.managed)),
        }
    }

    /// The value, where there is one that the object may use. The one place where values pass: one that may not be used
    /// goes no further.
    pub(in crate::plan) fn value(&self) -> Option<&'a Reading> {
        match self.answer {
            Answer::Read(reading) if !self.is_refused() => Some(reading),
            _ => None,
        }
    }

    /// Whether it is no loss that a source which was found by its name gives nothing, for this reason: it was never read, and
    /// is disabled or went.
    pub(in crate::plan) fn is_no_loss(&self, reason: Reason) -> bool {
        let gone = matches!(reason, Reason::SecretDisabled | Reason::SecretNotFound);
        gone && !self.used.named && self.version().is_none()
    }

    /// Why the source gives no value.
    pub(in crate::plan) fn trouble(&self) -> Option<Reason> {
        if self.held.is_some() {
            return Some(Reason::RemovalHeld);
        }
        match self.answer {
            Answer::Failed(failure) => Some(failure.reason()),
            Answer::Read(_) | Answer::Unchanged if self.is_refused() => Some(Reason::NotAllowed),
            Answer::Read(_) | Answer::Unchanged | Answer::Pending => None,
        }
    }

    /// Whether nothing new was said of it, so that its value would have to be asked for.
    pub(in crate::plan) fn is_unread(&self) -> bool {
        matches!(self.answer, Answer::Unchanged) && !self.is_refused()
    }

    pub(in crate::plan) const fn is_pending(&self) -> bool {
        matches!(self.answer, Answer::Pending)
    }

    /// What the vault says instead of a value, where that is what its keys stay or go for.
    pub(in crate::plan) fn failure(&self) -> Option<&'a Failure> {
        match self.answer {
            Answer::Failed(failure) if self.held.is_none() => Some(failure),
            Answer::Failed(_) | Answer::Read(_) | Answer::Unchanged | Answer::Pending => None,
        }
    }

    /// What was wrong with the keys that its value gives, as status says: that stands until it is read again.
    pub(super) fn carried(&self) -> Option<Reason> {
        match self.before?.state {
            EntryState::Because(reason @ (Reason::DuplicateKey | Reason::InvalidKey)) => Some(reason),
            _ => None,
        }
    }
}

/// One row for each source; none where there is no connection or no answer.
pub(in crate::plan) fn rows<'a>(input: &Input<'a>) -> Vec<Row<'a>> {
    let (Ok(sources), Vault::Usable { connections, permits, snapshot: Some(snapshot) }) =
        (input.sources, &input.vault)
    else {
        return Vec::new();
    };
    let status = input.object.status.as_ref();
    sources
        .used
        .iter()
        .zip(&snapshot.answers)
        .enumerate()
        .filter_map(|(index, (used, answer))| {
            let connection = connections.get(used.vault)?;
            let told = |status| entry(entries_of(status, connections, used.vault), &used.source);
            Some(Row {
                used,
                connection,
                permit: permits.get(index).copied().unwrap_or_default(),
                before: status.and_then(told),
                answer,
                held: snapshot.held.get(&index).copied(),
            })
        })
        .collect()
}
