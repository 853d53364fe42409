//! What is worth an event and a line of the log.

use super::outcome::Outcome;
use super::verdict::Verdict;
use crate::api::{
    EntryState, EntryStatus, READY, SecretType, TargetStatus, VaultSecretSync, VaultSecretSyncStatus,
    condition,
};
use std::collections::BTreeSet;

/// What is to be told of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether something is not as it should be.
    pub warning: bool,
    /// The event's reason.
    pub reason: String,
    /// What happened.
    pub note: String,
}

/// The event that a round is worth: a Secret that moved, or Ready that changed its reason.
#[must_use]
pub fn notice(old: Option<&VaultSecretSyncStatus>, verdict: &Verdict, target: &str) -> Option<Notice> {
    let moved = match verdict.outcome {
        Outcome::Created => Some(("SecretCreated", "created")),
        Outcome::Updated => Some(("SecretUpdated", "updated")),
        Outcome::Repaired => Some(("SecretRepaired", "brought back after somebody else's edit")),
        _ => None,
    };
    let new = condition(&verdict.status.as_ref()?.conditions, READY)?;
    let old = old.and_then(|status| condition(&status.conditions, READY));
    let changed = old.is_none_or(|old| (&old.status, &old.reason) != (&new.status, &new.reason));
    if changed && new.status == "False" {
        return Some(Notice { warning: true, reason: new.reason.clone(), note: new.message.clone() });
    }
    if let Some((reason, what)) = moved {
        return Some(Notice {
            warning: false,
            reason: reason.to_owned(),
            note: format!("Secret {target} was {what}."),
        });
    }
    (changed && new.status == "True").then(|| Notice {
        warning: false,
        reason: new.reason.clone(),
        note: new.message.clone(),
    })
}

/// How many sources a notice names.
const NAMED: usize = 4;

/// The event that is worth what became of sources which are in the Secret all the same: one is about to expire, did, or
/// comes without its chain. Told when it becomes so, and not again.
#[must_use]
pub fn notice_of_sources(old: Option<&VaultSecretSyncStatus>, new: &VaultSecretSyncStatus) -> Option<Notice> {
    const TOLD: [(EntryState, &str); 3] = [
        (
            EntryState::Expired,
            "expired in the vault, and is delivered all the same. Renew it, or set another date.",
        ),
        (EntryState::Expiring, "expires soon in the vault. Renew it."),
        (
            EntryState::IncompleteChain,
            "comes without its issuer, so that clients which do not know that one will not trust it. Import the certificate with its chain.",
        ),
    ];
    // In which vault: by which connection may be written otherwise.
    let vault = |status: &VaultSecretSyncStatus, entry: &EntryStatus| {
        entry.vault.as_ref().map(|vault| vault.url.clone()).or_else(|| status.vault.clone())
    };
    let was = |entry: &EntryStatus| {
        let same = |old: &VaultSecretSyncStatus, other: &EntryStatus| {
            (entry.kind, &entry.name, &entry.pin) == (other.kind, &other.name, &other.pin)
                && vault(new, entry) == vault(old, other)
        };
        let before = old.and_then(|old| old.entries.iter().find(|before| same(old, before)));
        before.map(|before| before.state)
    };
    TOLD.into_iter().find_map(|(state, what)| {
        let became = new.entries.iter().filter(|entry| entry.state == state && was(entry) != Some(state));
        let names: Vec<String> = became
            .map(|entry| match (&entry.expires, state) {
                (Some(time), EntryState::Expired | EntryState::Expiring) => {
                    format!("{} ({})", entry.name, time.0)
                }
                _ => entry.name.clone(),
            })
            .collect();
        let more = match names.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let told = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        (!names.is_empty()).then(|| Notice {
            warning: true,
            reason: state.as_str().to_owned(),
            note: format!("{told}{more}: {what}"),
        })
    })
}

/// The event that is worth keys which a pod does not see that takes the Secret by `envFrom`: of those whose names come from
/// the vault, for what the spec names is meant so. Told when they come.
#[must_use]
pub fn notice_of_names(object: &VaultSecretSync, new: &VaultSecretSyncStatus) -> Option<Notice> {
    let (spec, old) = (&object.spec, object.status.as_ref());
    if *spec.secret_type() != SecretType::Opaque || spec.data_from.is_empty() {
        return None;
    }
    let named =
        |name: &str| spec.data.iter().any(|item| item.key == name) || spec.target.template.contains_key(name);
    let unfit = |status: Option<&VaultSecretSyncStatus>| -> BTreeSet<String> {
        let keys =
            status.and_then(|status| status.target.as_ref()).into_iter().flat_map(TargetStatus::key_names);
        keys.filter(|name| !named(name) && !is_variable(name)).map(str::to_owned).collect()
    };
    let (before, now) = (unfit(old), unfit(Some(new)));
    let came: Vec<&str> = now.difference(&before).map(String::as_str).collect();
    let more = match came.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let told = came.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    (!came.is_empty()).then(|| Notice {
        warning: false,
        reason: "NotEnvironmentVariables".to_owned(),
        note: format!(
            "{told}{more}: keys of dataFrom that begin with a digit, so a pod that takes the Secret by envFrom does not see them before Kubernetes 1.34. Where one does, write rename: [{{characters: EnvironmentVariable}}]."
        ),
    })
}

/// Whether every release of Kubernetes makes an environment variable of a key by `envFrom`: letters, digits, `-`, `_` and `.`,
/// which a key is made of anyway, but no digit first.
fn is_variable(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{KeyStatus, set_condition};
    use crate::plan::Kept;
    use crate::reason::Reason;
    use jiff::Timestamp;

    fn says(status: &str, reason: Reason, message: &str) -> VaultSecretSyncStatus {
        let mut said = VaultSecretSyncStatus::default();
        let message = message.to_owned();
        set_condition(&mut said.conditions, READY, status, reason, message, Some(1), Timestamp::UNIX_EPOCH);
        said
    }

    fn told(
        old: Option<&VaultSecretSyncStatus>,
        outcome: Outcome,
        new: VaultSecretSyncStatus,
    ) -> Option<String> {
        let kept = Kept::default();
        let verdict = Verdict { outcome, reason: None, status: Some(new), next: None, waits: false, kept };
        notice(old, &verdict, "shop").map(|notice| format!("{} {}", notice.warning, notice.reason))
    }

    #[test]
    fn a_round_is_told_of_when_the_secret_moved_or_ready_changed_its_reason() {
        let synced = || says("True", Reason::Synced, "");
        let missing = |message| says("False", Reason::SecretNotFound, message);
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(told(None, Outcome::Created, synced()), is("false SecretCreated"));
        assert_eq!(told(Some(&synced()), Outcome::Updated, synced()), is("false SecretUpdated"));
        assert_eq!(told(Some(&synced()), Outcome::Repaired, synced()), is("false SecretRepaired"));
        assert_eq!(told(Some(&synced()), Outcome::Unchanged, synced()), None);
        assert_eq!(told(Some(&missing("a")), Outcome::Unchanged, synced()), is("false Synced"));
        assert_eq!(told(Some(&synced()), Outcome::Failed, missing("a")), is("true SecretNotFound"));
        assert_eq!(
            told(Some(&missing("a")), Outcome::Failed, missing("b")),
            None,
            "another text alone is none"
        );
        assert_eq!(
            told(Some(&synced()), Outcome::Updated, missing("a")),
            is("true SecretNotFound"),
            "failures first"
        );
        assert_eq!(told(None, Outcome::Suspended, says("Unknown", Reason::Suspended, "")), None);
    }

    #[test]
    fn what_expires_is_told_when_it_becomes_so_and_once() {
        let with = |states: &[(&str, EntryState)]| VaultSecretSyncStatus {
            entries: states
                .iter()
                .map(|(name, state)| EntryStatus {
                    name: (*name).to_owned(),
                    state: *state,
                    ..EntryStatus::default()
                })
                .collect(),
            ..VaultSecretSyncStatus::default()
        };
        let told = |old: Option<&VaultSecretSyncStatus>, new: &VaultSecretSyncStatus| {
            notice_of_sources(old, new).map(|notice| format!("{} {}", notice.reason, notice.note))
        };
        let fresh = with(&[("a", EntryState::Synced), ("b", EntryState::Synced)]);
        let soon = with(&[("a", EntryState::Expiring), ("b", EntryState::Synced)]);
        let over = with(&[("a", EntryState::Expired), ("b", EntryState::Expiring)]);
        assert_eq!(told(Some(&fresh), &fresh), None);
        assert!(told(Some(&fresh), &soon).unwrap().starts_with("Expiring a: expires soon"));
        assert_eq!(told(Some(&soon), &soon), None);
        assert!(told(Some(&soon), &over).unwrap().starts_with("Expired a: expired"), "the graver first");
        assert!(told(None, &soon).is_some());
        let many: Vec<(String, EntryState)> =
            (0..6).map(|index| (format!("s{index}"), EntryState::IncompleteChain)).collect();
        let many: Vec<(&str, EntryState)> =
            many.iter().map(|(name, state)| (name.as_str(), *state)).collect();
        assert!(told(None, &with(&many)).unwrap().contains("s0, s1, s2, s3 and 2 more: comes without"));
    }

    #[test]
    fn keys_of_data_from_that_are_no_environment_variables_are_told_when_they_come() {
        let mut object = crate::plan::fixtures::Scene::new(
            vec![crate::plan::fixtures::key("config.ini", "one")],
            vec![crate::plan::fixtures::object_source("conf")],
        )
        .object;
        let with = |names: &[&str]| {
            let keys = names.iter().map(|name| KeyStatus { name: (*name).to_owned(), of: None }).collect();
            let target = Some(TargetStatus { keys, ..TargetStatus::default() });
            VaultSecretSyncStatus { target, ..VaultSecretSyncStatus::default() }
        };
        let told = |object: &VaultSecretSync, names: &[&str]| {
            notice_of_names(object, &with(names)).map(|notice| notice.note)
        };
        assert_eq!(told(&object, &["config.ini", "A_B", "_1", "a-b", "c.d"]), None);
        let names = ["a-b", "2fa", "1st", "A"];
        assert!(told(&object, &names).unwrap().starts_with("1st, 2fa: keys of dataFrom"));
        object.status = Some(with(&names));
        assert_eq!(told(&object, &names), None);
        assert!(told(&object, &["2fa", "3rd"]).unwrap().starts_with("3rd: "));
        object.spec.target.type_ = Some(SecretType::Other("fstab/cifs".to_owned()));
        assert_eq!(told(&object, &["4th"]), None);
    }
}
