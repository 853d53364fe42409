//! Conditions as the Kubernetes conventions want them: a list keyed by type, `lastTransitionTime` moving only when
//! the status does.

use super::Reason;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The condition that says whether an object does what its spec asks for.
pub const READY: &str = "Ready";
/// The condition that is there, and True, only while nothing but an edit of the spec can help.
pub const STALLED: &str = "Stalled";
/// The condition that says, where `spec.rollout` is set, whether the workloads have what is in the Secret.
pub const ROLLED_OUT: &str = "RolledOut";

/// The condition of a connection that is there, and True, only while removals are held: many names that objects read through it
/// are gone together, and nobody has confirmed yet that they are to go.
pub const MASS_REMOVAL: &str = "MassRemoval";

/// The condition of a type, or `None`.
#[must_use]
pub fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Sets one condition; keeps its transition time while its status stays.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: &str,
    reason: Reason,
    message: String,
    generation: Option<i64>,
    now: Timestamp,
) {
    let since = condition(conditions, type_)
        .filter(|old| old.status == status)
        .map_or_else(|| Time(whole_second(now)), |old| old.last_transition_time.clone());
    conditions.retain(|old| old.type_ != type_);
    conditions.push(Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since,
    });
}

/// The API server keeps whole seconds; a fraction would read back as a difference.
pub(crate) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut conditions = Vec::new();
        let mut set = |status: &str, message: &str, second| {
            set_condition(
                &mut conditions,
                READY,
                status,
                Reason::Synced,
                message.to_owned(),
                Some(1),
                at(second),
            );
            condition(&conditions, READY).unwrap().last_transition_time.0
        };
        assert_eq!(set("False", "one", 10), at(10));
        assert_eq!(set("False", "two", 20), at(10));
        assert_eq!(set("True", "three", 30), at(30));
        assert_eq!(conditions.len(), 1);
    }
}
