//! What the spec wants beside what is recorded of the Secret, one row for each source: which keys are due, which values
//! that takes, and what stands in the way whatever those values are.

use super::fingerprint::{of_all, of_key, of_object, of_others, version_of};
use super::grant::Permit;
use super::sources::{UsedSource, entry};
use super::{Input, Vault};
use crate::api::{DataFrom, DataItem, EntryState, EntryStatus, Fingerprint, OnMissing, TargetStatus};
use crate::reason::Reason;
use crate::vault::{Answer, Failure, Reading};
use std::collections::{BTreeMap, BTreeSet};

/// One source in this snapshot.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) used: &'a UsedSource,
    pub(super) permit: Permit,
    /// What status says that the vault told of it.
    pub(super) before: Option<&'a EntryStatus>,
    pub(super) answer: &'a Answer,
}

impl<'a> Row<'a> {
    /// The version that the vault last told.
    pub(super) fn version(&self) -> Option<&'a str> {
        match self.answer {
            Answer::Read(reading) => Some(&reading.attributes.version),
            Answer::Unchanged | Answer::Failed(_) | Answer::Pending => {
                let told = self.before.and_then(|before| before.version.as_deref());
                // A pinned version is known before it was ever read.
                told.or_else(|| version_of(self.used.source.version.as_ref()))
            }
        }
    }

    /// Whether the source is of a kind that the object may not read, as far as that is known.
    pub(super) fn is_refused(&self) -> bool {
        match self.answer {
            Answer::Read(reading) => !self.permit.covers(reading.attributes.managed),
            Answer::Unchanged | Answer::Failed(_) | Answer::Pending => self
                .before
                .is_some_and(|before| before.version.is_some() && !self.permit.covers(before.managed)),
        }
    }

    /// The value, where there is one that the object may use. The one place where values pass: one that may not be used
    /// goes no further.
    pub(super) fn value(&self) -> Option<&'a Reading> {
        match self.answer {
            Answer::Read(reading) if !self.is_refused() => Some(reading),
            _ => None,
        }
    }

    /// Why the source gives no value.
    pub(super) fn trouble(&self) -> Option<Reason> {
        match self.answer {
            Answer::Failed(failure) => Some(failure.reason()),
            Answer::Read(_) | Answer::Unchanged if self.is_refused() => Some(Reason::NotAllowed),
            Answer::Read(_) | Answer::Unchanged | Answer::Pending => None,
        }
    }

    /// Whether nothing new was said of it, so that its value would have to be asked for.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self.answer, Answer::Unchanged) && !self.is_refused()
    }

    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.answer, Answer::Pending)
    }

    pub(super) fn failure(&self) -> Option<&'a Failure> {
        match self.answer {
            Answer::Failed(failure) => Some(failure),
            Answer::Read(_) | Answer::Unchanged | Answer::Pending => None,
        }
    }

    /// What was wrong with the keys that its value gives, as status says: that stands until it is read again.
    fn carried(&self) -> Option<Reason> {
        match self.before?.state {
            EntryState::Because(reason @ (Reason::DuplicateKey | Reason::InvalidKey)) => Some(reason),
            _ => None,
        }
    }
}

/// A key of `spec.data`.
#[derive(Debug)]
pub(super) struct WantedKey<'a> {
    pub(super) item: &'a DataItem,
    /// Its source, by index.
    pub(super) row: usize,
    /// What makes it, where the version is known.
    pub(super) of: Option<Fingerprint>,
    /// Whether the Secret's type needs it: then it stays, whatever the entry says.
    required: bool,
}

/// What `spec.dataFrom` makes of a source.
#[derive(Debug)]
pub(super) struct WantedObject<'a> {
    pub(super) item: &'a DataFrom,
    /// Its source, by index.
    pub(super) row: usize,
    /// What makes its keys, where the version is known.
    pub(super) of: Option<Fingerprint>,
    pub(super) on_missing: OnMissing,
}

/// What becomes of a key, or of all that a `dataFrom` source gave, without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It keeps what it has, and no Secret is created without it.
    Needed,
    /// It keeps what it has, and a Secret is created without it.
    Stays,
    /// It leaves the Secret.
    Goes,
}

impl Fate {
    /// As an entry asks; `missing`: there is no such thing, rather than none that can be had or used now.
    const fn of(on_missing: OnMissing, missing: bool) -> Self {
        match on_missing {
            OnMissing::Keep => Self::Needed,
            OnMissing::Remove if missing => Self::Goes,
            OnMissing::Remove => Self::Stays,
        }
    }
}

/// Whether there is no such secret, or no such part of it.
const fn is_missing(reason: Reason) -> bool {
    matches!(reason, Reason::SecretNotFound | Reason::PropertyNotFound)
}

impl WantedKey<'_> {
    /// What becomes of it without a value, for this reason.
    pub(super) const fn fate(&self, reason: Reason) -> Fate {
        if self.required { Fate::Needed } else { Fate::of(self.item.on_missing, is_missing(reason)) }
    }

    /// Whether it would go, were it not for the Secret's type.
    pub(super) const fn is_kept_by_type(&self, reason: Reason) -> bool {
        self.required && matches!(Fate::of(self.item.on_missing, is_missing(reason)), Fate::Goes)
    }
}

impl WantedObject<'_> {
    /// What becomes of its keys without a value, for this reason.
    pub(super) const fn fate(&self, reason: Reason) -> Fate {
        match reason {
            // The other members are as whole as they can ever be.
            Reason::InvalidKey => Fate::Stays,
            _ => Fate::of(self.on_missing, matches!(reason, Reason::SecretNotFound)),
        }
    }
}

/// What is recorded of the Secret, without the keys that somebody else changed since.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) target: &'a TargetStatus,
    pub(super) drift: BTreeSet<String>,
    /// Somebody edited a key for certain, rather than perhaps.
    pub(super) edited: bool,
    of: BTreeMap<&'a str, Option<Fingerprint>>,
}

impl<'a> Record<'a> {
    pub(super) fn new(target: &'a TargetStatus, drift: BTreeSet<String>, edited: bool) -> Self {
        let of = target
            .keys
            .iter()
            .map(|key| (key.name.as_str(), key.of.filter(|_| !drift.contains(&key.name))))
            .collect();
        Self { target, drift, edited, of }
    }

    fn has_key(&self, key: &str, of: Fingerprint) -> bool {
        self.of.get(key).copied().flatten() == Some(of)
    }

    /// Whether all keys of a `dataFrom` source are in the Secret.
    pub(super) fn has_object(&self, of: Fingerprint) -> bool {
        let drifted =
            |key: &crate::api::KeyStatus| key.of == Some(of) && self.drift.contains(key.name.as_str());
        self.target.data_from.contains(&of) && !self.target.keys.iter().any(drifted)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    pub(super) rows: Vec<Row<'a>>,
    pub(super) keys: Vec<WantedKey<'a>>,
    pub(super) objects: Vec<WantedObject<'a>>,
    /// `None`: there is no Secret of ours, as far as is known.
    pub(super) record: Option<Record<'a>>,
    /// What this process found out of values that cannot be rendered, by the fingerprint of what they would make.
    pub(super) judged: &'a BTreeMap<Fingerprint, Reason>,
}

impl<'a> Picture<'a> {
    pub(super) fn of(
        input: &Input<'a>,
        record: Option<Record<'a>>,
        judged: &'a BTreeMap<Fingerprint, Reason>,
    ) -> Self {
        let rows = rows(input);
        let vault = input.vault_url().unwrap_or_default();
        let spec = &input.object.spec;
        let others = of_others(spec);
        let mut keys = Vec::with_capacity(spec.data.len());
        let mut objects = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let name = &row.used.source.name;
            let version = row.version();
            for item in row.used.data.iter().filter_map(|&place| spec.data.get(place)) {
                let of = version.map(|version| of_key(vault, name, version, &item.from.secret));
                let required = spec.target.type_.required_keys().contains(&item.key.as_str());
                keys.push(WantedKey { item, row: index, of, required });
            }
            let first = objects.len();
            for item in row.used.data_from.iter().filter_map(|&place| spec.data_from.get(place)) {
                let alike = |object: &&mut WantedObject<'_>| {
                    object.item.secret.format == item.secret.format && object.item.rename == item.rename
                };
                // Of several uses that make the same of it, one that says something else than the default decides.
                if let Some(same) = objects.iter_mut().skip(first).find(alike) {
                    if same.on_missing == OnMissing::Keep {
                        same.on_missing = item.on_missing;
                    }
                } else {
                    objects.push(WantedObject { item, row: index, of: None, on_missing: item.on_missing });
                }
            }
            for object in objects.iter_mut().skip(first) {
                // Of what is gone and may go nothing is wanted any more.
                let goes = row.trouble().is_some_and(|reason| object.fate(reason) == Fate::Goes);
                let version = version.filter(|_| !goes);
                object.of = version.map(|version| of_object(vault, name, version, object.item, others));
            }
        }
        Self { rows, keys, objects, record, judged }
    }

    /// Whether a source has no answer yet: then nothing moves that needs a value.
    pub(super) fn is_pending(&self) -> bool {
        self.rows.iter().any(Row::is_pending)
    }

    /// The sources whose value is needed and not at hand.
    pub(super) fn needed(&self) -> BTreeSet<usize> {
        let unread = |row: usize| self.rows.get(row).is_some_and(Row::is_unread);
        let mut needed: BTreeSet<usize> =
            self.keys.iter().filter(|key| unread(key.row) && self.is_due(key)).map(|key| key.row).collect();
        // Keys that left one JSON object, or stand in two, show only when all are read.
        if self.objects.iter().any(|object| self.is_news(object)) || self.can_prune() {
            needed.extend(self.objects.iter().map(|object| object.row).filter(|row| unread(*row)));
        }
        needed
    }

    /// Whether the Secret does not hold the key as this snapshot wants it, though it could.
    pub(super) fn is_due(&self, key: &WantedKey<'_>) -> bool {
        key.of.is_some_and(|of| {
            !self.judged.contains_key(&of)
                && self.record.as_ref().is_none_or(|record| !record.has_key(&key.item.key, of))
        })
    }

    fn is_news(&self, object: &WantedObject<'_>) -> bool {
        let Some(row) = self.rows.get(object.row) else { return false };
        row.value().is_some()
            || (row.is_unread()
                && object.of.is_some_and(|of| !self.judged.contains_key(&of) && !self.is_recorded(of)))
    }

    fn is_recorded(&self, of: Fingerprint) -> bool {
        self.record.as_ref().is_some_and(|record| record.has_object(of))
    }

    /// Whether keys of ours are there that nothing gives any more as far as is known, and reading every `dataFrom`
    /// source would prove it.
    fn can_prune(&self) -> bool {
        let Some(record) = &self.record else { return false };
        let complete = self.objects.iter().all(|object| {
            let Some(row) = self.rows.get(object.row) else { return false };
            match row.trouble() {
                Some(reason) => object.fate(reason) == Fate::Goes,
                None => {
                    row.carried() != Some(Reason::DuplicateKey)
                        && object.of.is_none_or(|of| !self.judged.contains_key(&of))
                }
            }
        });
        complete
            && record.of.iter().any(|(name, of)| {
                !self.keys.iter().any(|key| key.item.key == **name)
                    && !self.objects.iter().any(|object| object.of.is_some() && object.of == *of)
            })
    }

    /// Why a key of `data` cannot be rendered, as far as is known without its value.
    pub(super) fn trouble_of_key(&self, key: &WantedKey<'_>) -> Option<Reason> {
        let row = self.rows.get(key.row)?;
        row.trouble().or_else(|| {
            let of = key.of.filter(|_| row.value().is_none())?;
            self.judged.get(&of).copied()
        })
    }

    /// The same of a `dataFrom` source.
    pub(super) fn trouble_of_object(&self, object: &WantedObject<'_>) -> Option<Reason> {
        let row = self.rows.get(object.row)?;
        row.trouble().or_else(|| {
            let of = object.of.filter(|_| row.value().is_none())?;
            self.judged.get(&of).copied().or_else(|| row.carried().filter(|_| self.is_recorded(of)))
        })
    }

    /// Why a key that is [needed](Fate::Needed) has no value, as far as is known without asking for any: then no Secret is
    /// created.
    pub(super) fn holds_up_creation(&self) -> Option<Reason> {
        let keys = self
            .keys
            .iter()
            .filter_map(|key| self.trouble_of_key(key).filter(|reason| key.fate(*reason) == Fate::Needed));
        let objects = self.objects.iter().filter_map(|object| {
            self.trouble_of_object(object).filter(|reason| object.fate(*reason) == Fate::Needed)
        });
        keys.chain(objects).next()
    }

    /// A key that the Secret's type needs and that cannot be had, whatever the values are.
    pub(super) fn lacking(&self, required: &'static [&'static str]) -> Option<&'static str> {
        let troubled = |name: &str| {
            self.keys.iter().any(|key| key.item.key == name && self.trouble_of_key(key).is_some())
        };
        required.iter().copied().find(|name| troubled(name))
    }

    /// All of this as one fingerprint: what could not be written stays so while it is the same.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let word = |of: Option<Fingerprint>, trouble: Option<Reason>| match (trouble, of) {
            (Some(reason), _) => reason.as_str().to_owned(),
            (None, Some(of)) => of.to_string(),
            (None, None) => String::new(),
        };
        let row = |row: usize| self.rows.get(row).and_then(Row::trouble);
        let keys = self
            .keys
            .iter()
            .map(|key| format!("{}:{:?}:{}", key.item.key, key.item.on_missing, word(key.of, row(key.row))));
        let objects = self
            .objects
            .iter()
            .map(|object| format!("{:?}:{}", object.on_missing, word(object.of, row(object.row))));
        of_all(&keys.chain(objects).collect::<Vec<_>>())
    }
}

/// One row for each source; none where there is no connection or no answer.
pub(super) fn rows<'a>(input: &Input<'a>) -> Vec<Row<'a>> {
    let (Ok(sources), Vault::Usable { url, permits, reply: Some(reply), .. }) = (input.sources, &input.vault)
    else {
        return Vec::new();
    };
    // What status says of another vault says nothing of this one.
    let told = input.object.status.as_ref().filter(|status| status.vault.as_deref() == Some(*url));
    let entries = told.map_or(&[][..], |status| &status.entries);
    sources
        .iter()
        .zip(&reply.answers)
        .enumerate()
        .map(|(index, (used, answer))| Row {
            used,
            permit: permits.get(index).copied().unwrap_or_default(),
            before: entry(entries, &used.source),
            answer,
        })
        .collect()
}
