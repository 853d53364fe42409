//! What is worth an event and a line of the log.

use super::outcome::Outcome;
use super::verdict::Verdict;
use crate::api::{READY, VaultSecretSyncStatus, condition};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::set_condition;
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
}
