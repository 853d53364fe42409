//! The secrets of one vault: versions, soft delete and its lag.
//!
//! Invariants: names are one whatever their case; versions stand in the order they were made and the last is the
//! current one; a soft-deleted secret keeps its versions and its name. After a delete or recover over REST the secret
//! settles: the next few looks still miss, counted in requests so that nobody has to wait for a clock.

use std::{collections::BTreeMap, fmt, ops::Bound};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{call::valid_name, refusal::Refusal};

/// Days a soft-deleted secret stays.
pub(crate) const RECOVERABLE_DAYS: i64 = 90;

/// The most bytes a value holds.
const MAX_VALUE: usize = 25 * 1024;

/// What a secret version may carry besides its value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretOptions {
    /// At most 15.
    pub tags: BTreeMap<String, String>,
    /// At most 255 characters.
    pub content_type: Option<String>,
    /// A disabled version cannot be read.
    pub enabled: bool,
    /// Unix seconds; informational, as in the service.
    #[serde(rename = "nbf")]
    pub not_before: Option<i64>,
    /// Unix seconds; informational, as in the service.
    #[serde(rename = "exp")]
    pub expires: Option<i64>,
    /// The secret backs a certificate: it shows `managed` and `kid`.
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

#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) value: String,
    pub(crate) options: SecretOptions,
    pub(crate) created: i64,
    pub(crate) updated: i64,
}

impl fmt::Debug for Version {
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
pub(crate) struct Secret {
    /// As first written.
    pub(crate) name: String,
    pub(crate) versions: Vec<Version>,
    pub(crate) deletion: Option<Deletion>,
    /// Looks that still miss what the last delete or recover did.
    settling: u32,
}

impl Secret {
    pub(crate) fn current(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// Counts one look; true while the last delete or recover does not show yet.
    fn settles(&mut self) -> bool {
        let settling = self.settling > 0;
        self.settling = self.settling.saturating_sub(1);
        settling
    }
}

/// A change of a version's metadata: what is `None` stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) tags: Option<BTreeMap<String, String>>,
    pub(crate) content_type: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) not_before: Option<i64>,
    pub(crate) expires: Option<i64>,
}

#[derive(Debug, Default)]
pub(crate) struct Secrets {
    by_name: BTreeMap<String, Secret>,
}

impl Secrets {
    /// Adds a version and returns its id.
    pub(crate) fn set(
        &mut self,
        name: &str,
        value: String,
        options: SecretOptions,
        now: i64,
    ) -> Result<&Secret, Refusal> {
        valid_name(name)?;
        if value.len() > MAX_VALUE {
            return Err(Refusal::bad_parameter("The specified value is too long: the limit is 25600 bytes."));
        }
        within_limits(Some(&options.tags), options.content_type.as_deref())?;
        let secret = self.by_name.entry(name.to_uppercase()).or_insert_with(|| Secret {
            name: name.to_owned(),
            versions: Vec::new(),
            deletion: None,
            settling: 0,
        });
        match (secret.deletion, secret.settles()) {
            (Some(_), true) => return Err(Refusal::being_deleted(name)),
            (Some(_), false) => return Err(Refusal::deleted_but_recoverable(name)),
            (None, true) => return Err(Refusal::being_recovered(name)),
            (None, false) => {}
        }
        let id = Uuid::new_v4().simple().to_string();
        secret.versions.push(Version { id, value, options, created: now, updated: now });
        Ok(secret)
    }

    /// A secret that is there, however disabled.
    pub(crate) fn find(&mut self, name: &str) -> Result<&mut Secret, Refusal> {
        let missing = || Refusal::secret_not_found(name);
        let secret = self.by_name.get_mut(&name.to_uppercase()).ok_or_else(missing)?;
        if secret.deletion.is_some() {
            let was_disabled = secret.current().is_some_and(|version| !version.options.enabled);
            return Err(if was_disabled { Refusal::disabled() } else { missing() });
        }
        if secret.settles() { Err(missing()) } else { Ok(secret) }
    }

    /// A version that may be read: the one named, else the current one.
    pub(crate) fn read(&mut self, name: &str, version: Option<&str>) -> Result<(&Secret, &Version), Refusal> {
        let secret = &*self.find(name)?;
        let found = match version {
            None => secret.current(),
            Some(id) => secret.versions.iter().find(|version| version.id.eq_ignore_ascii_case(id)),
        };
        let found = found.ok_or_else(|| Refusal::secret_not_found(&label(name, version)))?;
        if found.options.enabled { Ok((secret, found)) } else { Err(Refusal::disabled()) }
    }

    /// Changes metadata of a version and returns where it stands now.
    pub(crate) fn update(
        &mut self,
        name: &str,
        version: Option<&str>,
        change: Change,
        now: i64,
    ) -> Result<(&Secret, &Version), Refusal> {
        within_limits(change.tags.as_ref(), change.content_type.as_deref())?;
        let missing = || Refusal::secret_not_found(&label(name, version));
        let secret = self.find(name)?;
        let index = match version {
            None => secret.versions.len().checked_sub(1),
            Some(id) => secret.versions.iter().position(|version| version.id.eq_ignore_ascii_case(id)),
        };
        let index = index.ok_or_else(missing)?;
        let found = secret.versions.get_mut(index).ok_or_else(missing)?;
        let options = &mut found.options;
        options.tags = change.tags.unwrap_or_else(|| std::mem::take(&mut options.tags));
        options.content_type = change.content_type.or_else(|| options.content_type.take());
        options.enabled = change.enabled.unwrap_or(options.enabled);
        options.not_before = change.not_before.or(options.not_before);
        options.expires = change.expires.or(options.expires);
        found.updated = now;
        let secret = &*secret;
        secret.versions.get(index).map(|version| (secret, version)).ok_or_else(missing)
    }

    /// Soft-deletes all versions; the deleted secret shows after `settle` looks.
    pub(crate) fn delete(&mut self, name: &str, settle: u32, now: i64) -> Result<&Secret, Refusal> {
        let secret = self.find(name)?;
        secret.deletion = Some(Deletion { at: now, purge_at: now + RECOVERABLE_DAYS * 86_400 });
        secret.settling = settle;
        Ok(secret)
    }

    /// A deleted secret, once its deletion shows.
    pub(crate) fn find_deleted(&mut self, name: &str) -> Result<&Secret, Refusal> {
        let missing = || Refusal::deleted_secret_not_found(name);
        let secret = self.by_name.get_mut(&name.to_uppercase()).ok_or_else(missing)?;
        if secret.deletion.is_none() || secret.settles() { Err(missing()) } else { Ok(secret) }
    }

    /// Undoes a soft delete; the secret shows after `settle` looks.
    pub(crate) fn recover(&mut self, name: &str, settle: u32) -> Result<&Secret, Refusal> {
        let secret = self.deleted(name)?;
        secret.deletion = None;
        secret.settling = settle;
        Ok(secret)
    }

    /// Deletes for good.
    pub(crate) fn purge(&mut self, name: &str) -> Result<(), Refusal> {
        self.deleted(name)?;
        self.by_name.remove(&name.to_uppercase());
        Ok(())
    }

    fn deleted(&mut self, name: &str) -> Result<&mut Secret, Refusal> {
        let missing = || Refusal::deleted_secret_not_found(name);
        let secret = self.by_name.get_mut(&name.to_uppercase()).ok_or_else(missing)?;
        if secret.deletion.is_none() {
            return Err(missing());
        }
        if secret.settles() { Err(Refusal::being_deleted(name)) } else { Ok(secret) }
    }

    /// Drops the current version, as a fail-over that lost the last write does; returns the version current now.
    pub(crate) fn rollback(&mut self, name: &str) -> Result<String, Refusal> {
        let secret = self.find(name)?;
        if secret.versions.len() > 1 {
            secret.versions.pop();
        }
        secret.current().map(|version| version.id.clone()).ok_or_else(|| Refusal::secret_not_found(name))
    }

    /// Deletes and recoveries show at once: what in-process setters want.
    pub(crate) fn settle(&mut self, name: &str) {
        if let Some(secret) = self.by_name.get_mut(&name.to_uppercase()) {
            secret.settling = 0;
        }
    }

    /// The secrets that are there, keyed and sorted as LIST sorts: by upper-cased name; those after a key, if given.
    pub(crate) fn present(&self, after: Option<&str>) -> impl Iterator<Item = (&str, &Secret)> {
        self.settled(after).filter(|(_, secret)| secret.deletion.is_none())
    }

    /// The deleted secrets whose deletion shows, in the same order.
    pub(crate) fn absent(&self, after: Option<&str>) -> impl Iterator<Item = (&str, &Secret)> {
        self.settled(after).filter(|(_, secret)| secret.deletion.is_some())
    }

    fn settled(&self, after: Option<&str>) -> impl Iterator<Item = (&str, &Secret)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.by_name.range::<str, _>((start, Bound::Unbounded));
        found.map(|(key, secret)| (key.as_str(), secret)).filter(|(_, secret)| secret.settling == 0)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn set(secrets: &mut Secrets, name: &str, value: &str, now: i64) -> String {
        let secret = secrets.set(name, value.into(), SecretOptions::default(), now).unwrap();
        secret.current().unwrap().id.clone()
    }

    #[test]
    fn names_are_one_whatever_their_case() {
        let mut secrets = Secrets::default();
        let first = set(&mut secrets, "Db-Url", "one", 1);
        let second = set(&mut secrets, "DB-URL", "two", 2);
        assert_eq!(secrets.read("db-url", None).unwrap().1.id, second);
        assert_eq!(secrets.read("db-url", Some(&first.to_uppercase())).unwrap().1.value, "one");
        assert_eq!(
            secrets.present(None).map(|(_, secret)| secret.name.as_str()).collect::<Vec<_>>(),
            ["Db-Url"]
        );
    }

    #[test]
    fn a_deleted_name_is_held_until_it_is_purged() {
        let mut secrets = Secrets::default();
        set(&mut secrets, "db", "one", 1);
        secrets.delete("db", 2, 5).unwrap();
        let inner = |secrets: &mut Secrets| {
            secrets
                .set("db", "two".into(), SecretOptions::default(), 6)
                .err()
                .and_then(|refusal| refusal.inner)
        };
        assert_eq!(secrets.find_deleted("db").unwrap_err().status.as_u16(), 404);
        assert_eq!(inner(&mut secrets), Some("ObjectIsBeingDeleted"));
        assert_eq!(inner(&mut secrets), Some("ObjectIsDeletedButRecoverable"));
        assert_eq!(secrets.read("db", None).unwrap_err().code, "SecretNotFound");
        assert!(secrets.find_deleted("db").is_ok());
        secrets.purge("db").unwrap();
        assert!(inner(&mut secrets).is_none());
    }

    #[test]
    fn a_recovered_secret_is_missed_for_a_moment_and_then_keeps_its_versions() {
        let mut secrets = Secrets::default();
        let id = set(&mut secrets, "db", "one", 1);
        secrets.delete("db", 0, 5).unwrap();
        secrets.recover("db", 1).unwrap();
        assert_eq!(secrets.read("db", None).unwrap_err().code, "SecretNotFound");
        assert_eq!(secrets.read("db", None).unwrap().1.id, id);
    }

    #[test]
    fn a_disabled_current_version_refuses_the_read_even_after_deletion() {
        let mut secrets = Secrets::default();
        let old = set(&mut secrets, "db", "one", 1);
        set(&mut secrets, "db", "two", 2);
        let change = Change { enabled: Some(false), ..Change::default() };
        let updated = secrets.update("db", None, change, 9).unwrap().1.updated;
        assert_eq!(updated, 9);
        assert_eq!(secrets.read("db", None).unwrap_err().inner, Some("SecretDisabled"));
        assert_eq!(secrets.read("db", Some(&old)).unwrap().1.value, "one");
        secrets.delete("db", 0, 10).unwrap();
        assert_eq!(secrets.read("db", None).unwrap_err().inner, Some("SecretDisabled"));
    }

    #[test]
    fn a_rollback_makes_the_version_before_current_again() {
        let mut secrets = Secrets::default();
        let first = set(&mut secrets, "db", "one", 1);
        set(&mut secrets, "db", "two", 2);
        assert_eq!(secrets.rollback("db").unwrap(), first);
        assert_eq!(secrets.rollback("db").unwrap(), first, "the only version stays");
        assert_eq!(secrets.read("db", None).unwrap().1.updated, 1);
    }

    #[test]
    fn limits_are_those_of_the_service() {
        let mut secrets = Secrets::default();
        let mut set = |value: usize, options| secrets.set("db", "x".repeat(value), options, 1).map(|_| ());
        assert!(set(25 * 1024, SecretOptions::default()).is_ok());
        assert!(set(25 * 1024 + 1, SecretOptions::default()).is_err());
        let tags = |count: usize| (0..count).map(|index| (index.to_string(), String::new())).collect();
        assert!(set(1, SecretOptions { tags: tags(15), ..SecretOptions::default() }).is_ok());
        assert!(set(1, SecretOptions { tags: tags(16), ..SecretOptions::default() }).is_err());
    }

    #[test]
    fn debug_of_a_secret_hides_its_value() {
        let mut secrets = Secrets::default();
        set(&mut secrets, "db", "canary", 1);
        assert!(!format!("{secrets:?}").contains("canary"));
    }
}
