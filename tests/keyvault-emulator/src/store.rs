//! The objects of one kind in one vault: versions, soft delete and its lag.
//!
//! Invariants: names are one whatever their case; versions stand in the order they were made and the last is the
//! current one; a soft-deleted object keeps its versions and its name. After a delete or recover over REST the object
//! settles: the next few looks still miss, counted in requests so that nobody has to wait for a clock.

use std::{collections::BTreeMap, fmt, mem, ops::Bound};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    call::{ObjectKind, valid_name},
    refusal::Refusal,
};

/// Days a soft-deleted object stays.
pub(crate) const RECOVERABLE_DAYS: i64 = 90;

/// What a version of a secret may carry besides its value, and one of a key or certificate besides itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretOptions {
    /// At most 15.
    pub tags: BTreeMap<String, String>,
    /// At most 255 characters; only secrets have it.
    pub content_type: Option<String>,
    /// A disabled version of a secret cannot be read.
    pub enabled: bool,
    /// Unix seconds; informational, as in the service.
    #[serde(rename = "nbf")]
    pub not_before: Option<i64>,
    /// Unix seconds; informational, as in the service.
    #[serde(rename = "exp")]
    pub expires: Option<i64>,
    /// The secret or key backs a certificate: it shows `managed`, and a secret `kid`.
    pub managed: bool,
}

impl Default for SecretOptions {
    fn default() -> Self {
        Self {
            tags: BTreeMap::new(),
            content_type: None,
            enabled: true,
            not_before: None,
            expires: None,
            managed: false,
        }
    }
}

/// What is known of a version besides its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// 32 hex digits.
    pub version: String,
    /// Whether it can be read.
    pub enabled: bool,
    /// Unix seconds.
    pub created: i64,
    /// Unix seconds.
    pub updated: i64,
}

/// A change of a version's metadata: what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// In place of all tags so far.
    pub tags: Option<BTreeMap<String, String>>,
    /// Only secrets have it.
    pub content_type: Option<String>,
    /// Whether it is enabled.
    pub enabled: Option<bool>,
    /// Unix seconds.
    #[serde(rename = "nbf")]
    pub not_before: Option<i64>,
    /// Unix seconds.
    #[serde(rename = "exp")]
    pub expires: Option<i64>,
}

#[derive(Clone)]
pub(crate) struct Version<P> {
    pub(crate) id: String,
    /// The value of a secret, the public part of a key, the certificate of a certificate.
    pub(crate) held: P,
    pub(crate) options: SecretOptions,
    pub(crate) created: i64,
    pub(crate) updated: i64,
}

impl<P> Version<P> {
    pub(crate) fn info(&self) -> VersionInfo {
        VersionInfo {
            version: self.id.clone(),
            enabled: self.options.enabled,
            created: self.created,
            updated: self.updated,
        }
    }
}

impl<P> fmt::Debug for Version<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Version").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Deletion {
    pub(crate) at: i64,
    pub(crate) purge_at: i64,
}

#[derive(Debug)]
pub(crate) struct Object<P> {
    /// As first written.
    pub(crate) name: String,
    pub(crate) versions: Vec<Version<P>>,
    pub(crate) deletion: Option<Deletion>,
    /// Looks that still miss what the last delete or recover did.
    settling: u32,
}

impl<P> Object<P> {
    pub(crate) fn current(&self) -> Option<&Version<P>> {
        self.versions.last()
    }

    /// Where the version named stands, else the current one.
    fn index(&self, version: Option<&str>) -> Option<usize> {
        match version {
            None => self.versions.len().checked_sub(1),
            Some(id) => self.versions.iter().position(|version| version.id.eq_ignore_ascii_case(id)),
        }
    }

    /// Counts one look; true while the last delete or recover does not show yet.
    fn settles(&mut self) -> bool {
        let settling = self.settling > 0;
        self.settling = self.settling.saturating_sub(1);
        settling
    }
}

/// An object and one of its versions.
pub(crate) type Found<'a, P> = (&'a Object<P>, &'a Version<P>);

#[derive(Debug)]
pub(crate) struct Store<P> {
    kind: ObjectKind,
    by_name: BTreeMap<String, Object<P>>,
}

impl<P> Store<P> {
    pub(crate) fn new(kind: ObjectKind) -> Self {
        Self { kind, by_name: BTreeMap::new() }
    }

    /// Whether a version may be added under this name.
    pub(crate) fn writable(&mut self, name: &str, options: &SecretOptions) -> Result<(), Refusal> {
        valid_name(name)?;
        within_limits(Some(&options.tags), options.content_type.as_deref())?;
        let Some(object) = self.by_name.get_mut(&name.to_uppercase()) else { return Ok(()) };
        match (object.deletion, object.settles()) {
            (Some(_), true) => Err(Refusal::being_deleted(self.kind, name)),
            (Some(_), false) => Err(Refusal::deleted_but_recoverable(self.kind, name)),
            (None, true) => Err(Refusal::being_recovered(self.kind, name)),
            (None, false) => Ok(()),
        }
    }

    /// Adds a version, or fills the one of this id.
    pub(crate) fn put(
        &mut self,
        name: &str,
        id: &str,
        held: P,
        options: SecretOptions,
        now: i64,
    ) -> &Object<P> {
        let object = self.by_name.entry(name.to_uppercase()).or_insert_with(|| Object {
            name: name.to_owned(),
            versions: Vec::new(),
            deletion: None,
            settling: 0,
        });
        object.versions.retain(|version| version.id != id);
        object.versions.push(Version { id: id.to_owned(), held, options, created: now, updated: now });
        object
    }

    /// Adds a version of its own.
    pub(crate) fn add(
        &mut self,
        name: &str,
        held: P,
        options: SecretOptions,
        now: i64,
    ) -> Result<&Object<P>, Refusal> {
        self.writable(name, &options)?;
        Ok(self.put(name, &new_version_id(), held, options, now))
    }

    /// An object that is there, however disabled.
    pub(crate) fn find(&mut self, name: &str) -> Result<&mut Object<P>, Refusal> {
        let kind = self.kind;
        let missing = || Refusal::not_found(kind, name);
        let object = self.by_name.get_mut(&name.to_uppercase()).ok_or_else(missing)?;
        if object.deletion.is_some() {
            let was_disabled = object.current().is_some_and(|version| !version.options.enabled);
            let tells = kind == ObjectKind::Secret && was_disabled;
            return Err(if tells { Refusal::disabled(kind) } else { missing() });
        }
        if object.settles() { Err(missing()) } else { Ok(object) }
    }

    /// The version named, else the current one, disabled or not.
    pub(crate) fn version(&mut self, name: &str, version: Option<&str>) -> Result<Found<'_, P>, Refusal> {
        let kind = self.kind;
        let object = &*self.find(name)?;
        let found = object.index(version).and_then(|index| object.versions.get(index));
        found.map(|found| (object, found)).ok_or_else(|| Refusal::not_found(kind, &label(name, version)))
    }

    /// Changes metadata of a version and returns where it stands now.
    pub(crate) fn update(
        &mut self,
        name: &str,
        version: Option<&str>,
        change: Change,
        now: i64,
    ) -> Result<Found<'_, P>, Refusal> {
        within_limits(change.tags.as_ref(), change.content_type.as_deref())?;
        let kind = self.kind;
        let missing = || Refusal::not_found(kind, &label(name, version));
        let object = self.find(name)?;
        let index = object.index(version).ok_or_else(missing)?;
        let found = object.versions.get_mut(index).ok_or_else(missing)?;
        let options = &mut found.options;
        options.tags = change.tags.unwrap_or_else(|| mem::take(&mut options.tags));
        options.content_type = change.content_type.or_else(|| options.content_type.take());
        options.enabled = change.enabled.unwrap_or(options.enabled);
        options.not_before = change.not_before.or(options.not_before);
        options.expires = change.expires.or(options.expires);
        found.updated = now;
        let object = &*object;
        object.versions.get(index).map(|version| (object, version)).ok_or_else(missing)
    }

    /// Soft-deletes all versions; the deleted object shows after `settle` looks.
    pub(crate) fn delete(&mut self, name: &str, settle: u32, now: i64) -> Result<&Object<P>, Refusal> {
        let object = self.find(name)?;
        object.deletion = Some(Deletion { at: now, purge_at: now + RECOVERABLE_DAYS * 86_400 });
        object.settling = settle;
        Ok(object)
    }

    /// A deleted object, once its deletion shows.
    pub(crate) fn find_deleted(&mut self, name: &str) -> Result<&Object<P>, Refusal> {
        let kind = self.kind;
        let missing = || Refusal::deleted_not_found(kind, name);
        let object = self.by_name.get_mut(&name.to_uppercase()).ok_or_else(missing)?;
        if object.deletion.is_none() || object.settles() { Err(missing()) } else { Ok(object) }
    }

    /// Undoes a soft delete; the object shows after `settle` looks.
    pub(crate) fn recover(&mut self, name: &str, settle: u32) -> Result<&Object<P>, Refusal> {
        let object = self.deleted(name)?;
        object.deletion = None;
        object.settling = settle;
        Ok(object)
    }

    /// Deletes for good.
    pub(crate) fn purge(&mut self, name: &str) -> Result<(), Refusal> {
        self.deleted(name)?;
        self.remove(name);
        Ok(())
    }

    /// Takes an object away, as if it had never been.
    pub(crate) fn remove(&mut self, name: &str) {
        self.by_name.remove(&name.to_uppercase());
    }

    fn deleted(&mut self, name: &str) -> Result<&mut Object<P>, Refusal> {
        let kind = self.kind;
        let missing = || Refusal::deleted_not_found(kind, name);
        let object = self.by_name.get_mut(&name.to_uppercase()).ok_or_else(missing)?;
        if object.deletion.is_none() {
            return Err(missing());
        }
        if object.settles() { Err(Refusal::being_deleted(kind, name)) } else { Ok(object) }
    }

    /// Drops the current version, as a fail-over that lost the last write does; returns the version current now.
    pub(crate) fn rollback(&mut self, name: &str) -> Result<String, Refusal> {
        let kind = self.kind;
        let object = self.find(name)?;
        if object.versions.len() > 1 {
            object.versions.pop();
        }
        object.current().map(|version| version.id.clone()).ok_or_else(|| Refusal::not_found(kind, name))
    }

    /// Deletions and recoveries show at once: what in-process setters want.
    pub(crate) fn settle(&mut self, name: &str) {
        if let Some(object) = self.by_name.get_mut(&name.to_uppercase()) {
            object.settling = 0;
        }
    }

    /// The object of this name, deleted or not; this is no look.
    pub(crate) fn peek(&self, name: &str) -> Option<&Object<P>> {
        self.by_name.get(&name.to_uppercase())
    }

    /// The objects that are there, keyed and sorted as LIST sorts: by upper-cased name; those after a key, if given.
    pub(crate) fn present(&self, after: Option<&str>) -> impl Iterator<Item = (&str, &Object<P>)> {
        self.settled(after).filter(|(_, object)| object.deletion.is_none())
    }

    /// The deleted objects whose deletion shows, in the same order.
    pub(crate) fn absent(&self, after: Option<&str>) -> impl Iterator<Item = (&str, &Object<P>)> {
        self.settled(after).filter(|(_, object)| object.deletion.is_some())
    }

    fn settled(&self, after: Option<&str>) -> impl Iterator<Item = (&str, &Object<P>)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.by_name.range::<str, _>((start, Bound::Unbounded));
        found.map(|(key, object)| (key.as_str(), object)).filter(|(_, object)| object.settling == 0)
    }
}

/// 32 random hex digits.
pub(crate) fn new_version_id() -> String {
    Uuid::new_v4().simple().to_string()
}

fn label(name: &str, version: Option<&str>) -> String {
    version.map_or_else(|| name.to_owned(), |version| format!("{name}/{version}"))
}

fn within_limits(tags: Option<&BTreeMap<String, String>>, content_type: Option<&str>) -> Result<(), Refusal> {
    if let Some(tags) = tags {
        if tags.len() > 15 {
            return Err(Refusal::bad_parameter("Too many tags: the limit is 15."));
        }
        if tags.iter().any(|(key, value)| key.len() > 512 || value.len() > 512) {
            return Err(Refusal::bad_parameter("A tag is too long: the limit is 512 characters."));
        }
    }
    if content_type.is_some_and(|text| text.len() > 255) {
        return Err(Refusal::bad_parameter("The contentType is too long: the limit is 255 characters."));
    }
    Ok(())
}
