//! What is a secret's own among the objects of a vault: the limit of a value, and that a disabled one is not read.

use crate::{
    call::ObjectKind,
    refusal::Refusal,
    store::{Found, Object, SecretOptions, Store},
};

/// The most bytes a value holds.
const MAX_VALUE: usize = 25 * 1024;

/// The secrets of one vault, by value.
pub(crate) type Secrets = Store<String>;

impl Secrets {
    /// Adds a version.
    pub(crate) fn set(
        &mut self,
        name: &str,
        value: String,
        options: SecretOptions,
        now: i64,
    ) -> Result<&Object<String>, Refusal> {
        within_limit(&value)?;
        self.add(name, value, options, now)
    }

    /// A version that may be read: the one named, else the current one.
    pub(crate) fn read(&mut self, name: &str, version: Option<&str>) -> Result<Found<'_, String>, Refusal> {
        let found = self.version(name, version)?;
        if found.1.options.enabled { Ok(found) } else { Err(Refusal::disabled(ObjectKind::Secret)) }
    }
}

/// Whether a secret holds as much.
pub(crate) fn within_limit(value: &str) -> Result<(), Refusal> {
    if value.len() > MAX_VALUE {
        return Err(Refusal::bad_parameter("The specified value is too long: the limit is 25600 bytes."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Change;

    fn secrets() -> Secrets {
        Secrets::new(ObjectKind::Secret)
    }

    fn set(secrets: &mut Secrets, name: &str, value: &str, now: i64) -> String {
        let secret = secrets.set(name, value.into(), SecretOptions::default(), now).unwrap();
        secret.current().unwrap().id.clone()
    }

    #[test]
    fn names_are_one_whatever_their_case() {
        let mut secrets = secrets();
        let first = set(&mut secrets, "Db-Url", "one", 1);
        let second = set(&mut secrets, "DB-URL", "two", 2);
        assert_eq!(secrets.read("db-url", None).unwrap().1.id, second);
        assert_eq!(secrets.read("db-url", Some(&first.to_uppercase())).unwrap().1.held, "one");
        assert_eq!(
            secrets.present(None).map(|(_, secret)| secret.name.as_str()).collect::<Vec<_>>(),
            ["Db-Url"]
        );
    }

    #[test]
    fn a_deleted_name_is_held_until_it_is_purged() {
        let mut secrets = secrets();
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
        let mut secrets = secrets();
        let id = set(&mut secrets, "db", "one", 1);
        secrets.delete("db", 0, 5).unwrap();
        secrets.recover("db", 1).unwrap();
        assert_eq!(secrets.read("db", None).unwrap_err().code, "SecretNotFound");
        assert_eq!(secrets.read("db", None).unwrap().1.id, id);
    }

    #[test]
    fn a_disabled_current_version_refuses_the_read_even_after_deletion() {
        let mut secrets = secrets();
        let old = set(&mut secrets, "db", "one", 1);
        set(&mut secrets, "db", "two", 2);
        let change = Change { enabled: Some(false), ..Change::default() };
        let updated = secrets.update("db", None, change, 9).unwrap().1.updated;
        assert_eq!(updated, 9);
        assert_eq!(secrets.read("db", None).unwrap_err().inner, Some("SecretDisabled"));
        assert_eq!(secrets.read("db", Some(&old)).unwrap().1.held, "one");
        secrets.delete("db", 0, 10).unwrap();
        assert_eq!(secrets.read("db", None).unwrap_err().inner, Some("SecretDisabled"));
    }

    #[test]
    fn a_rollback_makes_the_version_before_current_again() {
        let mut secrets = secrets();
        let first = set(&mut secrets, "db", "one", 1);
        set(&mut secrets, "db", "two", 2);
        assert_eq!(secrets.rollback("db").unwrap(), first);
        assert_eq!(secrets.rollback("db").unwrap(), first, "the only version stays");
        assert_eq!(secrets.read("db", None).unwrap().1.updated, 1);
    }

    #[test]
    fn limits_are_those_of_the_service() {
        let mut secrets = secrets();
        let mut set = |value: usize, options| secrets.set("db", "x".repeat(value), options, 1).map(|_| ());
        assert!(set(25 * 1024, SecretOptions::default()).is_ok());
        assert!(set(25 * 1024 + 1, SecretOptions::default()).is_err());
        let tags = |count: usize| (0..count).map(|index| (index.to_string(), String::new())).collect();
        assert!(set(1, SecretOptions { tags: tags(15), ..SecretOptions::default() }).is_ok());
        assert!(set(1, SecretOptions { tags: tags(16), ..SecretOptions::default() }).is_err());
    }

    #[test]
    fn debug_of_a_secret_hides_its_value() {
        let mut secrets = secrets();
        set(&mut secrets, "db", "canary", 1);
        assert!(!format!("{secrets:?}").contains("canary"));
    }
}
