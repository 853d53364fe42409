//! What the spec wants beside what is recorded of the Secret, one row for each source: which keys are due, which values
//! that takes, and what stands in the way whatever those values are.

mod row;
mod wanted;

pub(super) use row::{Row, rows};
pub(super) use wanted::{Fate, Flaw, WantedKey, WantedObject};

use super::Input;
use super::fingerprint::{of_all, of_object, of_others, of_recipe, of_template};
use super::recipe::Made;
use super::sources::{Sources, TemplateUse};
use super::value::{Renaming, TlsKey};
use crate::api::{Fingerprint, OnMissing, SecretType, TargetStatus};
use crate::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use wanted::{format_of, wanted_keys};

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
    pub(super) fn has_object(&self, of: Fingerprint, key: Option<&str>) -> bool {
        if let Some(key) = key {
            return self.has_key(key, of);
        }
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
    /// Whether all that `find` looks for is among the rows, as far as is known.
    pub(super) listed: bool,
    /// The list is awaited, and nothing stands that could be said without it.
    awaits_list: bool,
    /// Whether the Secret is of type `kubernetes.io/tls`.
    tls: bool,
    /// `None`: there is no Secret of ours, as far as is known.
    pub(super) record: Option<Record<'a>>,
    /// What this process found out of values that cannot be rendered, by the fingerprint of what they would make.
    pub(super) judged: &'a BTreeMap<Fingerprint, Flaw>,
}

impl<'a> Picture<'a> {
    pub(super) fn of(
        input: &Input<'a>,
        record: Option<Record<'a>>,
        judged: &'a BTreeMap<Fingerprint, Flaw>,
    ) -> Self {
        let rows = rows(input);
        let spec = &input.object.spec;
        let mut keys = if rows.is_empty() { Vec::new() } else { wanted_keys(input, &rows) };
        for key in &mut keys {
            let versions = key.rows.iter().map(|row| rows.get(*row).and_then(Row::told));
            let versions = versions.collect::<Option<Vec<_>>>();
            // All of one vault.
            let vault = key.rows.first().and_then(|row| rows.get(*row)).map(|row| row.connection.url);
            key.of =
                vault.zip(versions).and_then(|(vault, versions)| of_recipe(vault, &key.recipe, &versions));
        }
        let others = of_others(spec);
        let mut objects = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let name = &row.used.source.name;
            let version = row.version();
            let first = objects.len();
            for item in row.used.data_from.iter().filter_map(|&place| spec.data_from.get(place)) {
                let is_same = |other: &WantedObject<'_>, key: Option<&String>| {
                    key.is_some() && other.key.as_ref() == key && other.item.publish == item.publish
                };
                let alike = |object: &&mut WantedObject<'_>| {
                    let other = object.item;
                    other.find.is_none()
                        && format_of(other) == format_of(item)
                        && other.rename == item.rename
                        && other.publish == item.publish
                };
                // Of several uses that make the same of it, one that says something else than the default decides.
                let key = item.find.as_ref().and_then(|_| Renaming::of(&item.rename)?.key(name.as_str()));
                // What the spec names beats what is found.
                if key
                    .as_ref()
                    .is_some_and(|key| keys.iter().any(|named: &WantedKey<'_>| named.recipe.key == key))
                {
                    continue;
                }
                if let Some(same) =
                    objects.iter_mut().skip(first).find(|other| alike(other) || is_same(other, key.as_ref()))
                {
                    if same.on_missing == OnMissing::Keep {
                        same.on_missing = item.on_missing;
                    }
                } else {
                    let (of, clashes) = (None, false);
                    objects.push(WantedObject {
                        item,
                        row: index,
                        of,
                        on_missing: item.on_missing,
                        key,
                        clashes,
                    });
                }
            }
            for object in objects.iter_mut().skip(first) {
                // Of what is gone and may go nothing is wanted any more.
                let goes = row.trouble().is_some_and(|reason| object.fate(reason) == Fate::Goes);
                let version = version.filter(|_| !goes);
                let vault = row.connection.url;
                object.of = version.map(|version| of_object(vault, name, version, object.item, others));
            }
        }
        let mut by_key: BTreeMap<String, usize> = BTreeMap::new();
        for key in objects.iter().filter_map(|object: &WantedObject<'_>| object.key.as_ref()) {
            *by_key.entry(key.clone()).or_default() += 1;
        }
        for object in &mut objects {
            object.clashes =
                object.key.as_ref().is_some_and(|key| by_key.get(key).is_some_and(|count| *count > 1));
        }
        let tls = *spec.secret_type() == SecretType::Tls;
        let listed = input.sources.as_ref().is_ok_and(Sources::is_listed);
        let stands = record.is_some() && input.object.is_observed() && !input.lacks_list();
        let awaits_list = input.sources.as_ref().is_ok_and(|sources| !sources.awaited.is_empty()) && !stands;
        let mut picture = Self { rows, keys, objects, listed, awaits_list, tls, record, judged };
        picture.wire_templates();
        picture
    }

    /// What makes a template are its text and what makes its inputs.
    fn wire_templates(&mut self) {
        let inputs_of = |template: &TemplateUse| {
            let mut rows = BTreeSet::new();
            let mut made_of = Vec::new();
            for key in template.recipes.iter().filter_map(|&index| self.keys.get(index)) {
                rows.extend(&key.rows);
                // A value that is missing and may be is none that the template has.
                let goes = self.is_missing_input(key);
                made_of.push((key.recipe.key, if goes { None } else { Some(key.of?) }));
            }
            for object in self.objects.iter().filter(|_| template.objects) {
                let goes = match self.trouble_of_object(object) {
                    Some(reason) if object.fate(reason) == Fate::Goes => true,
                    Some(reason) if self.rows.get(object.row).is_some_and(|row| row.is_no_loss(reason)) => {
                        true
                    }
                    // A template that had it keeps what it was made of.
                    Some(_) => return None,
                    None => false,
                };
                if !goes {
                    rows.insert(object.row);
                }
                let key = object.key.as_deref().unwrap_or_default();
                made_of.push((key, if goes { None } else { Some(object.of?) }));
            }
            Some((rows, made_of))
        };
        let made: Vec<_> = self
            .keys
            .iter()
            .map(|key| match (key.template, key.recipe.made) {
                (Some(template), Made::Template(text)) => {
                    inputs_of(template).map(|(rows, made_of)| (rows, of_template(text, &made_of)))
                }
                _ => None,
            })
            .collect();
        for (key, made) in self.keys.iter_mut().zip(made) {
            if let Some((rows, of)) = made {
                (key.rows, key.of) = (rows.into_iter().collect(), Some(of));
            }
        }
    }

    /// Whether a key is one that a Secret of type `kubernetes.io/tls` is read for.
    pub(super) fn part_of_tls(&self, key: &WantedKey<'_>) -> Option<TlsKey> {
        match key.recipe.key {
            _ if !self.tls => None,
            "tls.crt" => Some(TlsKey::Certificate),
            "tls.key" => Some(TlsKey::PrivateKey),
            _ => None,
        }
    }

    /// The keys that a source gives, as the spec names them.
    pub(super) fn keys_of(&self, row: usize) -> Vec<&'a str> {
        let gives = |key: &&WantedKey<'a>| key.template.is_none() && key.rows.contains(&row);
        self.keys.iter().filter(gives).map(|key| key.recipe.key).collect()
    }

    /// Whether a source has no answer yet: then nothing moves that needs a value.
    pub(super) fn is_pending(&self) -> bool {
        self.awaits_list || self.rows.iter().any(Row::is_pending)
    }

    /// The sources whose value is needed and not at hand.
    pub(super) fn needed(&self) -> BTreeSet<usize> {
        let unread = |row: usize| self.rows.get(row).is_some_and(Row::is_unread);
        let due = self.keys.iter().filter(|key| self.is_due(key));
        let mut needed: BTreeSet<usize> =
            due.flat_map(|key| &key.rows).copied().filter(|row| unread(*row)).collect();
        // Keys that left one JSON object, or stand in two, show only when all are read. What is found by name is one key, and
        // known before it is read.
        let (found, objects): (Vec<_>, Vec<_>) = self.objects.iter().partition(|object| object.key.is_some());
        needed.extend(found.iter().filter(|object| self.is_news(object)).map(|object| object.row));
        // One that takes the place of a member has to be seen beside it.
        let takes_place = |object: &&&WantedObject<'_>| {
            let recorded = self
                .record
                .as_ref()
                .and_then(|record| record.of.get(object.key.as_deref()?).copied().flatten());
            recorded.is_some_and(|of| objects.iter().any(|other| other.of == Some(of)))
        };
        let taken = found.iter().filter(|object| self.is_news(object)).any(|object| takes_place(&object));
        if taken
            || objects.iter().any(|object| self.is_news(object))
            || (!objects.is_empty() && self.can_prune())
        {
            needed.extend(objects.iter().map(|object| object.row).filter(|row| unread(*row)));
        }
        needed.retain(|row| unread(*row));
        needed
    }

    /// Whether the Secret does not hold the key as this snapshot wants it, though it could.
    pub(super) fn is_due(&self, key: &WantedKey<'_>) -> bool {
        key.recipe.publish
            && key.of.is_some_and(|of| {
                !self.judged.contains_key(&of)
                    && self.record.as_ref().is_none_or(|record| !record.has_key(key.recipe.key, of))
            })
    }

    fn is_news(&self, object: &WantedObject<'_>) -> bool {
        let Some(row) = self.rows.get(object.row) else { return false };
        if object.clashes || (object.key.is_some() && !object.item.publish) {
            // Neither can be written; of what is hidden only a template has use.
            return false;
        }
        row.value().is_some()
            || (row.is_unread()
                && object
                    .of
                    .is_some_and(|of| !self.judged.contains_key(&of) && !self.is_recorded(object, of)))
    }

    fn is_recorded(&self, object: &WantedObject<'_>, of: Fingerprint) -> bool {
        self.record.as_ref().is_some_and(|record| record.has_object(of, object.key.as_deref()))
    }

    /// Whether keys of ours are there that nothing gives any more as far as is known, and reading every `dataFrom`
    /// source would prove it.
    fn can_prune(&self) -> bool {
        let Some(record) = &self.record else { return false };
        // Of what is found by its name the key is known without a value.
        let mut objects = self.objects.iter().filter(|object| object.key.is_none());
        let complete = objects.all(|object| {
            let Some(row) = self.rows.get(object.row) else { return false };
            match row.trouble() {
                Some(reason) => object.fate(reason) == Fate::Goes,
                None => row.carried().is_none() && object.of.is_none_or(|of| !self.judged.contains_key(&of)),
            }
        });
        complete
            && self.listed
            && record.of.iter().any(|(name, of)| {
                !self.keys.iter().any(|key| key.recipe.key == *name)
                    && !self.objects.iter().any(|object| object.of.is_some() && object.of == *of)
            })
    }

    /// Why a key cannot be rendered, as far as is known without its value, and the source at fault. What troubles the inputs
    /// of a template is theirs.
    pub(super) fn trouble_of_key(&self, key: &WantedKey<'_>) -> Option<(usize, Reason)> {
        let own = key.rows.first().copied().unwrap_or_default();
        let mut rows = key.rows.iter().filter(|_| key.template.is_none());
        let trouble = rows.find_map(|row| self.rows.get(*row)?.trouble().map(|reason| (*row, reason)));
        trouble.or_else(|| {
            let of = key.of.filter(|_| !self.is_at_hand(&key.rows))?;
            self.judged.get(&of).map(|flaw| (own, flaw.reason()))
        })
    }

    /// Whether a template has to do without this value, because it is missing and may be. What was found out of a value counts
    /// though it is at hand: else the template would be another one each time it is read.
    pub(super) fn is_missing_input(&self, key: &WantedKey<'_>) -> bool {
        let judged = || self.judged.get(&key.of?).map(Flaw::reason);
        let reason = self.trouble_of_key(key).map(|(_, reason)| reason).or_else(judged);
        reason.is_some_and(|reason| key.fate(reason) == Fate::Goes)
    }

    /// Whether all of these sources have values that the object may use.
    pub(super) fn is_at_hand(&self, rows: &[usize]) -> bool {
        rows.iter().all(|row| self.rows.get(*row).is_some_and(|row| row.value().is_some()))
    }

    /// The same of a `dataFrom` source.
    pub(super) fn trouble_of_object(&self, object: &WantedObject<'_>) -> Option<Reason> {
        let row = self.rows.get(object.row)?;
        let clash = object.clashes.then_some(Reason::DuplicateKey);
        row.trouble().or(clash).or_else(|| {
            let of = object.of.filter(|_| row.value().is_none())?;
            let judged = self.judged.get(&of).map(Flaw::reason);
            judged.or_else(|| row.carried().filter(|_| self.is_recorded(object, of)))
        })
    }

    /// Why a key that is [needed](Fate::Needed) has no value, as far as is known without asking for any: then no Secret is
    /// created.
    pub(super) fn holds_up_creation(&self) -> Option<Reason> {
        let keys = self.keys.iter().filter_map(|key| {
            let (_, reason) = self.trouble_of_key(key)?;
            (key.fate(reason) == Fate::Needed).then_some(reason)
        });
        let objects = self.objects.iter().filter_map(|object| {
            self.trouble_of_object(object).filter(|reason| object.fate(*reason) == Fate::Needed)
        });
        keys.chain(objects).next()
    }

    /// A key that the Secret's type needs and that cannot be had, whatever the values are.
    pub(super) fn lacking(&self, required: &'static [&'static str]) -> Option<&'static str> {
        let troubled = |name: &str| {
            self.keys.iter().any(|key| key.recipe.key == name && self.trouble_of_key(key).is_some())
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
        let keys = self.keys.iter().map(|key| {
            let trouble = key.rows.iter().find_map(|other| row(*other));
            format!("{}:{:?}:{}", key.recipe.key, key.recipe.on_missing, word(key.of, trouble))
        });
        let objects = self
            .objects
            .iter()
            .map(|object| format!("{:?}:{}", object.on_missing, word(object.of, row(object.row))));
        of_all(&keys.chain(objects).collect::<Vec<_>>())
    }
}
