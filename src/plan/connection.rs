//! What the status of a connection says, from how its handles fare: one sentence for all who read through it.
//!
//! A connection through which each namespace reads as itself has a handle for each. Ready is True while it works for
//! anybody: a namespace whose own identity is broken must not speak for the others, and is named in the message. It is
//! False when nobody who uses it gets an answer.

mod removals;

pub use removals::{Confirmation, HeldRemovals, MassRemoval};

use super::Notice;
use crate::api::{IdentityStatus, KeyVaultStatus, READY, STALLED, condition, set_condition};
use crate::reason::Reason;
use crate::vault::{Detection, Evidence, Failure, Health, HealthState, Limits, TokenIdentity};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use std::sync::Arc;

/// Who reads through a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Objects of its own namespace.
    Namespace,
    /// Objects of many namespaces, all as one identity.
    Shared,
    /// Objects of many namespaces, each as an identity of its own.
    Each,
}

/// What is to be said of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionReport {
    status: &'static str,
    reason: Reason,
    message: String,
    /// Ready=False is not so any more, whatever took its place.
    ends_failure: bool,
    /// How changes are found, if there is one word for it.
    detection: Option<Detection>,
    evidence: Evidence,
}

impl ConnectionReport {
    /// The connection is in a namespace that is left alone.
    #[must_use]
    pub fn namespace_ignored() -> Self {
        Self::failing(
            Reason::NamespaceIgnored,
            "vaultsync serves no KeyVaults in kube-system or in its own namespace. Create this one in the namespace of the application.".to_owned(),
        )
    }

    /// Its namespace uses more than it may; the sentence says how many that is.
    #[must_use]
    pub fn too_many(sentence: String) -> Self {
        Self::failing(Reason::TooManyConnections, sentence)
    }

    /// Its grants select by labels, which are not read.
    #[must_use]
    pub fn selectors_disabled() -> Self {
        Self::failing(
            Reason::SelectorsDisabled,
            "spec.allow selects namespaces by labels, which this vaultsync does not read, so these items allow nobody. Name the namespaces, or have vaultsync started with --namespace-selectors (chart: settings.namespaceSelectors).".to_owned(),
        )
    }

    /// Its spec cannot be used; the sentence names the field.
    #[must_use]
    pub fn invalid(sentence: String) -> Self {
        Self::failing(Reason::VaultInvalid, sentence)
    }

    /// What the handles say, each with the first namespace that reads through it; `proved`: Ready=True stands for this
    /// very spec. `None`: nothing for now, what there is to say follows.
    #[must_use]
    pub fn of(readers: Readers, handles: &[(&str, Health)], proved: bool, limits: &Limits) -> Option<Self> {
        // One blink does not make a connection that works fail.
        let failure_of = |health: &Health| match &health.state {
            HealthState::Failing { failure, .. } => Some(failure.clone()),
            HealthState::Doubtful(failure) if !proved => Some(failure.clone()),
            _ => None,
        };
        let failing: Vec<(&str, Arc<Failure>)> = handles
            .iter()
            .filter_map(|(namespace, health)| Some((*namespace, failure_of(health)?)))
            .collect();
        let is_any =
            |wanted: fn(&HealthState) -> bool| handles.iter().any(|(_, health)| wanted(&health.state));
        let works = is_any(|state| matches!(state, HealthState::Working));
        let doubtful = proved && is_any(|state| matches!(state, HealthState::Doubtful(_)));
        let report = match failing.as_slice() {
            [] if works => Self::working("The vault answers through this connection.".to_owned()),
            [] if doubtful => return None,
            [] => Self::untried(readers, handles)?,
            [(namespace, failure), ..] if works || doubtful => Self::working(format!(
                "The vault answers through this connection, but not to every identity. It does not for namespace {namespace} ({}): {failure}",
                failure.reason(),
            )),
            [(namespace, failure), others @ ..] => {
                let place = match readers {
                    Readers::Each if others.is_empty() => format!("Namespace {namespace}: "),
                    Readers::Each => format!("Namespace {namespace} and others: "),
                    Readers::Namespace | Readers::Shared => String::new(),
                };
                Self::refused(failure, &place, limits)
            }
        };
        // While the vault fails, how changes are found is of no matter.
        let served = || {
            let fails = |health: &Health| {
                matches!(health.state, HealthState::Failing { .. } | HealthState::Doubtful(_))
            };
            handles.iter().filter(move |(_, health)| !fails(health))
        };
        let evidence = || handles.iter().map(|(_, health)| &health.evidence);
        Some(Self {
            detection: one(served().filter_map(|(_, health)| health.detection.clone())),
            evidence: Evidence {
                identity: one(evidence().filter_map(|evidence| evidence.identity.clone())),
                network: one(evidence().filter_map(|evidence| evidence.network)),
            },
            ..report
        })
    }

    /// Nobody reads, and nobody is kept from it.
    fn untried(readers: Readers, handles: &[(&str, Health)]) -> Option<Self> {
        let unproven = handles.iter().find_map(|(_, health)| match &health.state {
            HealthState::PermissionUnproven(failure) => Some(failure),
            _ => None,
        });
        if let Some(failure) = unproven {
            // The identity may be meant to read some secrets only.
            let message = format!(
                "The vault accepts this identity, but refused a GET of a name that does not exist ({}). That is expected if the identity may read only some secrets; objects that read them will show it. If it should read all: {failure}",
                failure.reason(),
            );
            return Some(Self { reason: Reason::PermissionUnproven, ..Self::working(message) });
        }
        if handles.iter().any(|(_, health)| matches!(health.state, HealthState::Undecided)) {
            let message = "The vault answers, but no object got what it asked for yet. The objects say why.";
            return Some(Self::new("Unknown", Reason::NotProven, message.to_owned(), true));
        }
        if handles.iter().any(|(_, health)| health.proving) {
            return None;
        }
        let message = match readers {
            Readers::Namespace => {
                "Nothing was read through this connection yet. Only the oldest KeyVaults of a namespace are tried at once, as many as its objects may use (--max-connections-per-namespace). This one is tried when an object names it."
            }
            Readers::Shared => "Nothing was read through this connection yet.",
            Readers::Each => {
                "Each namespace reads as its own ServiceAccount, and none has read yet. What it may read shows when an object uses this connection."
            }
        };
        Some(Self::new("Unknown", Reason::NotProven, message.to_owned(), false))
    }

    /// Appends the pace of the retries, not the time of the next: a time would change the message with every try.
    fn refused(failure: &Failure, place: &str, limits: &Limits) -> Self {
        let (first, longest) = limits.retry_after_failure(failure);
        let message = format!(
            "{place}{failure} vaultsync tries again by itself; the pause between attempts grows from {first:?} to {longest:?}."
        );
        Self::failing(failure.reason(), message)
    }

    fn working(message: String) -> Self {
        Self::new("True", Reason::Connected, message, true)
    }

    fn failing(reason: Reason, message: String) -> Self {
        Self::new("False", reason, message, false)
    }

    fn new(status: &'static str, reason: Reason, message: String, ends_failure: bool) -> Self {
        Self { status, reason, message, ends_failure, detection: None, evidence: Evidence::default() }
    }

    /// The status that follows, if it says something new. What nothing new is known of stays, as long as the spec does.
    #[must_use]
    pub fn status(
        &self,
        old: Option<&KeyVaultStatus>,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Option<KeyVaultStatus> {
        let ready = ready(old);
        let ends = self.ends_failure && ready.is_some_and(|ready| ready.status == "False");
        if self.reason == Reason::NotProven && ready.is_some_and(|ready| stands(ready, generation)) && !ends {
            return None;
        }
        let mut new = old.cloned().unwrap_or_default();
        if new.observed_generation != generation {
            (new.identity, new.network) = (None, None);
            (new.mode, new.mode_reason) = (None, None);
        }
        if let Some(detection) = &self.detection {
            new.mode = Some(detection.mode.as_str().to_owned());
            new.mode_reason = Some(detection.to_string());
        }
        if let Some(identity) = &self.evidence.identity {
            let TokenIdentity { client_id, object_id, tenant_id, issuer, subject } = (**identity).clone();
            new.identity = Some(IdentityStatus { client_id, object_id, tenant_id, issuer, subject });
        }
        if let Some(network) = self.evidence.network {
            new.network = Some(network.as_str().to_owned());
        }
        new.observed_generation = generation;
        let mut say = |type_, status| {
            let message = self.message.clone();
            set_condition(&mut new.conditions, type_, status, self.reason, message, generation, now);
        };
        say(READY, self.status);
        if self.reason == Reason::VaultInvalid {
            say(STALLED, "True");
        } else {
            new.conditions.retain(|condition| condition.type_ != STALLED);
        }
        new.conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
        (old != Some(&new)).then_some(new)
    }

    /// What it is worth to be told, where Ready or its reason changed.
    #[must_use]
    pub fn notice(&self, old: Option<&KeyVaultStatus>) -> Option<Notice> {
        let said = |ready: &Condition| ready.status == self.status && ready.reason == self.reason.as_str();
        (self.status != "Unknown" && !ready(old).is_some_and(said)).then(|| Notice {
            warning: self.status == "False",
            reason: self.reason.as_str().to_owned(),
            note: self.message.clone(),
        })
    }
}

/// Whether Ready=True stands for this very spec: then nothing is tried again.
#[must_use]
pub fn is_proved(status: Option<&KeyVaultStatus>, generation: Option<i64>) -> bool {
    ready(status).is_some_and(|ready| ready.status == "True" && ready.observed_generation == generation)
}

fn ready(status: Option<&KeyVaultStatus>) -> Option<&Condition> {
    condition(&status?.conditions, READY)
}

/// Whether what was once learned of this very spec still holds: it does unless it was an obstacle that went.
fn stands(ready: &Condition, generation: Option<i64>) -> bool {
    let passing = [
        Reason::NotProven,
        Reason::NamespaceIgnored,
        Reason::TooManyConnections,
        Reason::SelectorsDisabled,
        Reason::VaultInvalid,
    ];
    ready.observed_generation == generation && !passing.iter().any(|reason| reason.as_str() == ready.reason)
}

/// What all say, if all say one thing.
fn one<T: PartialEq>(mut words: impl Iterator<Item = T>) -> Option<T> {
    let first = words.next()?;
    words.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{Mode, Network, Peer, Why};
    use std::time::Duration;

    const GENERATION: Option<i64> = Some(2);

    fn health(state: HealthState) -> Health {
        Health { state, users: 1, detection: None, proving: false, evidence: Evidence::default() }
    }

    fn failing() -> Health {
        health(HealthState::Failing {
            failure: Arc::new(Failure::Throttled(Peer::Vault)),
            lasting: Duration::ZERO,
            retry_in: Duration::ZERO,
        })
    }

    fn report(readers: Readers, handles: &[(&str, Health)]) -> Option<ConnectionReport> {
        ConnectionReport::of(readers, handles, false, &Limits::default())
    }

    fn said(report: &ConnectionReport) -> (&str, &str) {
        (report.status, report.reason.as_str())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn one_handle_speaks_for_its_connection() {
        let of = |state| report(Readers::Namespace, &[("shop", health(state))]).unwrap();
        assert_eq!(said(&of(HealthState::Working)), ("True", "Connected"));
        assert_eq!(said(&of(HealthState::Unproven)), ("Unknown", "NotProven"));
        assert_eq!(said(&of(HealthState::Undecided)), ("Unknown", "NotProven"));
        let refused = Arc::new(Failure::Throttled(Peer::Vault));
        assert_eq!(said(&of(HealthState::PermissionUnproven(refused))), ("True", "PermissionUnproven"));
        let failed = report(Readers::Namespace, &[("shop", failing())]).unwrap();
        assert_eq!(said(&failed), ("False", "Throttled"));
        assert!(failed.message.ends_with("grows from 1s to 30s.") && !failed.message.contains("shop"));
        let proving = Health { proving: true, ..health(HealthState::Unproven) };
        assert_eq!(report(Readers::Namespace, &[("shop", proving)]), None, "what there is to say follows");
        assert!(report(Readers::Namespace, &[]).unwrap().message.contains("oldest KeyVaults"));
    }

    #[test]
    fn one_blink_is_told_of_a_connection_that_never_worked_and_of_no_other() {
        let doubtful = || health(HealthState::Doubtful(Arc::new(Failure::Throttled(Peer::Vault))));
        let of = |handles: &[(&str, Health)], proved| {
            ConnectionReport::of(Readers::Each, handles, proved, &Limits::default())
        };
        assert_eq!(said(&of(&[("a", doubtful())], false).unwrap()), ("False", "Throttled"));
        assert_eq!(of(&[("a", doubtful())], true), None);
        let beside = of(&[("a", health(HealthState::Working)), ("b", doubtful())], true).unwrap();
        assert_eq!(said(&beside), ("True", "Connected"));
        assert!(!beside.message.contains("namespace"), "{}", beside.message);
        assert_eq!(said(&of(&[("a", doubtful()), ("b", failing())], true).unwrap()), ("True", "Connected"));
    }

    #[test]
    fn a_namespace_with_a_broken_identity_does_not_speak_for_the_others_and_is_named() {
        let works = || health(HealthState::Working);
        let one = report(Readers::Each, &[("a", works()), ("b", failing())]).unwrap();
        assert_eq!(said(&one), ("True", "Connected"));
        assert!(one.message.contains("not for namespace b (Throttled)"), "{}", one.message);
        let more = report(Readers::Each, &[("a", works()), ("b", failing()), ("c", failing())]).unwrap();
        assert_eq!(more.message, one.message, "no number that changes with each namespace");
        let none = report(Readers::Each, &[("b", failing()), ("c", failing())]).unwrap();
        assert_eq!(said(&none), ("False", "Throttled"));
        assert!(none.message.starts_with("Namespace b and others: "), "{}", none.message);
        let shared = report(Readers::Shared, &[("b", failing())]).unwrap();
        assert!(!shared.message.contains("amespace b"), "{}", shared.message);
    }

    #[test]
    fn what_was_found_is_said_where_all_handles_agree_and_not_while_the_vault_fails() {
        let found = |mode, network| Health {
            detection: Some(Detection { mode, why: Why::Asked }),
            evidence: Evidence { identity: None, network: Some(network) },
            ..health(HealthState::Working)
        };
        let of = |handles: &[(&str, Health)]| {
            let status = report(Readers::Each, handles).unwrap().status(None, GENERATION, at(1)).unwrap();
            (status.mode, status.network)
        };
        let (list, public) = (Some("List".to_owned()), Some("Public".to_owned()));
        assert_eq!(of(&[("a", found(Mode::List, Network::Public))]), (list.clone(), public.clone()));
        let private = ("b", found(Mode::List, Network::Private));
        assert_eq!(of(&[("a", found(Mode::List, Network::Public)), private]), (list, None));
        let fails = Health { state: failing().state, ..found(Mode::List, Network::Public) };
        assert_eq!(of(&[("a", fails)]), (None, public));
    }

    #[test]
    fn what_was_proved_stands_until_the_spec_changes_and_an_obstacle_until_it_goes() {
        let untried = report(Readers::Namespace, &[]).unwrap();
        let undecided = report(Readers::Namespace, &[("shop", health(HealthState::Undecided))]).unwrap();
        let after = |report: &ConnectionReport| report.status(None, GENERATION, at(1));
        let works = after(&report(Readers::Namespace, &[("shop", health(HealthState::Working))]).unwrap());
        assert!(is_proved(works.as_ref(), GENERATION) && !is_proved(works.as_ref(), Some(3)));
        assert_eq!(untried.status(works.as_ref(), GENERATION, at(2)), None);
        assert!(untried.status(works.as_ref(), Some(3), at(2)).is_some(), "another spec has proved nothing");
        let failed = after(&report(Readers::Namespace, &[("shop", failing())]).unwrap());
        assert_eq!(untried.status(failed.as_ref(), GENERATION, at(2)), None, "a restart unsays no outage");
        assert!(undecided.status(failed.as_ref(), GENERATION, at(2)).is_some(), "the vault answers again");
        for obstacle in [ConnectionReport::namespace_ignored(), ConnectionReport::selectors_disabled()] {
            assert!(untried.status(after(&obstacle).as_ref(), GENERATION, at(2)).is_some());
        }
    }

    #[test]
    fn what_says_nothing_new_is_not_written_and_only_changes_are_told() {
        let works = report(Readers::Namespace, &[("shop", health(HealthState::Working))]).unwrap();
        let status = works.status(None, GENERATION, at(1));
        assert_eq!(works.status(status.as_ref(), GENERATION, at(9)), None);
        assert!(works.notice(None).is_some_and(|notice| !notice.warning));
        assert_eq!(works.notice(status.as_ref()), None);
        let invalid = ConnectionReport::invalid("spec.url: no".to_owned());
        let after = invalid.status(status.as_ref(), GENERATION, at(2)).unwrap();
        let types: Vec<&str> = after.conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, [READY, STALLED]);
        assert!(invalid.notice(status.as_ref()).is_some_and(|notice| notice.warning));
        let healed = works.status(Some(&after), GENERATION, at(3)).unwrap();
        assert_eq!(healed.conditions.len(), 1, "not stalled any more");
        assert_eq!(report(Readers::Namespace, &[]).unwrap().notice(None), None, "nothing is known yet");
    }
}
