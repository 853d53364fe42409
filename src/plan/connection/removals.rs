//! What the status of a connection says of removals that are [held](crate::plan::brake), and what confirms them.

use crate::api::{KeyVaultStatus, MASS_REMOVAL, REMOVAL_CONFIRMED_ANNOTATION, condition, set_condition};
use crate::plan::Notice;
use crate::reason::Reason;
use jiff::Timestamp;
use kube::api::ObjectMeta;
use std::collections::BTreeMap;

/// The removals of a connection that are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldRemovals {
    /// How many names are gone.
    pub names: usize,
    /// When the last of them was first held: a confirmation up to then covers all of them.
    pub until: Timestamp,
}

/// What the annotation of a connection confirms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confirmation {
    /// Nothing.
    #[default]
    None,
    /// What was held up to then.
    Until(Timestamp),
    /// It was a time ahead of now when it was first seen: it would confirm what nobody knows of yet.
    Ahead(Timestamp),
    /// It is no time.
    Invalid,
}

impl Confirmation {
    /// Of the annotations of a connection that are shown `now`; `before`: what they confirmed until then.
    #[must_use]
    pub fn of(annotations: Option<&BTreeMap<String, String>>, before: Self, now: Timestamp) -> Self {
        match annotations.and_then(|all| all.get(REMOVAL_CONFIRMED_ANNOTATION)) {
            None => Self::None,
            Some(text) => match text.parse() {
                Err(_) => Self::Invalid,
                Ok(time) if time > now || before == Self::Ahead(time) => Self::Ahead(time),
                Ok(time) => Self::Until(time),
            },
        }
    }

    /// Up to when what is gone is to go.
    #[must_use]
    pub const fn until(self) -> Option<Timestamp> {
        match self {
            Self::Until(time) => Some(time),
            Self::Ahead(_) | Self::None | Self::Invalid => None,
        }
    }
}

/// What is to be said of the removals of a connection.
#[derive(Clone, Debug)]
pub struct MassRemoval {
    message: Option<String>,
}

impl MassRemoval {
    /// Of those that are held; `kind` and `metadata` are of the connection, which the message tells how to annotate.
    #[must_use]
    pub fn of(
        held: Option<HeldRemovals>,
        confirmation: Confirmation,
        kind: &str,
        metadata: &ObjectMeta,
    ) -> Self {
        let message = held.map(|HeldRemovals { names, until }| {
            let kind = kind.to_lowercase();
            let name = metadata.name.as_deref().unwrap_or_default();
            let place = metadata.namespace.as_deref().map(|namespace| format!(" -n {namespace}"));
            let not = match confirmation {
                Confirmation::Invalid => format!("The annotation {REMOVAL_CONFIRMED_ANNOTATION} is no time, so it confirms nothing. "),
                Confirmation::Ahead(_) => format!("The annotation {REMOVAL_CONFIRMED_ANNOTATION} was ahead of the time when it was set, so it confirms nothing. "),
                Confirmation::Until(_) | Confirmation::None => String::new(),
            };
            format!(
                "Gone from the vault together, or not found any more: {names} of the names that objects read through this connection. vaultsync removes no key for them until that is confirmed. If it is a mistake, recover them in the vault. {not}If they are to go, run: kubectl annotate {kind} {name}{place} --overwrite {REMOVAL_CONFIRMED_ANNOTATION}={until}",
                place = place.unwrap_or_default(),
            )
        });
        Self { message }
    }

    /// The status that follows, if it says something new.
    #[must_use]
    pub fn status(
        &self,
        old: Option<&KeyVaultStatus>,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Option<KeyVaultStatus> {
        let mut new = old.cloned().unwrap_or_default();
        match &self.message {
            Some(message) => {
                let message = message.clone();
                let reason = Reason::MassRemoval;
                set_condition(&mut new.conditions, MASS_REMOVAL, "True", reason, message, generation, now);
            }
            None => new.conditions.retain(|condition| condition.type_ != MASS_REMOVAL),
        }
        new.conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
        (old != Some(&new)).then_some(new)
    }

    /// What it is worth to be told, where it begins.
    #[must_use]
    pub fn notice(&self, old: Option<&KeyVaultStatus>) -> Option<Notice> {
        let is_told = old.is_some_and(|old| condition(&old.conditions, MASS_REMOVAL).is_some());
        let note = self.message.clone().filter(|_| !is_told)?;
        Some(Notice { warning: true, reason: Reason::MassRemoval.as_str().to_owned(), note })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn annotated(text: &str, before: Confirmation, now: Timestamp) -> Confirmation {
        let annotations = [(REMOVAL_CONFIRMED_ANNOTATION.to_owned(), text.to_owned())].into();
        Confirmation::of(Some(&annotations), before, now)
    }

    #[test]
    fn only_a_time_that_had_come_when_it_was_set_confirms_anything() {
        let now = time(1_000_000);
        let of = |text| annotated(text, Confirmation::None, now);
        assert_eq!(of("1970-01-12T13:46:39Z").until(), Some(time(999_999)));
        assert_eq!(of("1970-01-12T14:46:40+01:00").until(), Some(now));
        for nothing in ["1970-01-12T13:46:41Z", "yes", "", "1970-01-12"] {
            assert_eq!(of(nothing).until(), None, "{nothing}");
        }
        assert_eq!(Confirmation::of(None, Confirmation::None, now).until(), None);
        let ahead = of("1970-01-12T13:46:41Z");
        assert_eq!(annotated("1970-01-12T13:46:41Z", ahead, time(2_000_000)).until(), None);
        assert_eq!(annotated("1970-01-12T13:46:42Z", ahead, time(2_000_000)).until(), Some(time(1_000_002)));
    }

    #[test]
    fn the_condition_begins_with_the_first_that_is_held_and_ends_with_the_last() {
        let now = time(1_750_000_000);
        let metadata = ObjectMeta {
            name: Some("prod".to_owned()),
            namespace: Some("shop".to_owned()),
            ..ObjectMeta::default()
        };
        let of = |names: usize, confirmation| {
            let held = (names > 0).then_some(HeldRemovals { names, until: now });
            MassRemoval::of(held, confirmation, "KeyVault", &metadata)
        };
        let first = of(12, Confirmation::None);
        let told = first.status(None, Some(3), now).unwrap();
        let message = &condition(&told.conditions, MASS_REMOVAL).unwrap().message;
        assert!(message.contains(": 12 of the names "), "{message}");
        let command = "kubectl annotate keyvault prod -n shop --overwrite vaultsync.dev/removal-confirmed-at=2025-06-15T15:06:40Z";
        assert!(message.ends_with(command), "{message}");
        assert!(first.notice(None).is_some());
        assert_eq!((first.notice(Some(&told)), first.status(Some(&told), Some(3), now)), (None, None));
        let odd = of(12, Confirmation::Invalid).status(Some(&told), Some(3), now).unwrap();
        assert!(condition(&odd.conditions, MASS_REMOVAL).unwrap().message.contains("is no time"));
        let over = of(0, Confirmation::None);
        assert_eq!(over.status(Some(&told), Some(3), now).unwrap().conditions, []);
        assert!(over.notice(Some(&told)).is_none());
    }
}
