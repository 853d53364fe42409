//! What the `Status` of a refused request says: read from its code and causes, and names from where the API server's own
//! words frame them, never from what a webhook or policy says.

use crate::plan::{Refusal, RestartFailure};
use kube::core::Status;
use kube::core::response::StatusCause;

/// The `ValidatingAdmissionPolicy` that refused, whatever code it refuses with: its refusal is a cause of its own, which
/// one by RBAC or a quota has none of. `tests/it/fence.rs` pins that.
pub(super) fn policy(status: &Status) -> Option<&str> {
    causes(status).find_map(|cause| quoted(&cause.message, "ValidatingAdmissionPolicy '", "' "))
}

/// What our own fence has against a Secret that has a mark or a consent; its words are those of the chart's policy, which a
/// test compares.
pub(super) fn fenced(status: &Status) -> Option<Refusal> {
    let says = |words: &str| causes(status).any(|cause| cause.message.contains(words));
    if says(FENCE_UNSHOWN) {
        None
    } else if says(FENCE_TYPE) {
        Some(Refusal::FencedType)
    } else {
        says(FENCE_COPY).then_some(Refusal::CopiedFrom(None))
    }
}

/// How the fence's messages begin: of a Secret that it does not show.
const FENCE_UNSHOWN: &str = "vaultsync may not touch a Secret that has neither its mark";
/// Of one of a type that is never written.
const FENCE_TYPE: &str = "vaultsync may not write a Secret of this type";
/// Of a copy.
const FENCE_COPY: &str = "vaultsync may not change a Secret whose mark is of another namespace";

/// The admission webhook that refused, whatever code it refuses with.
pub(super) fn webhook(status: &Status) -> Option<&str> {
    quoted(&status.message, "admission webhook \"", "\" denied the request")
}

/// The admission webhook that could not be asked.
pub(super) fn unreachable_webhook(status: &Status) -> Option<&str> {
    causes(status).find_map(|cause| quoted(&cause.message, "failed calling webhook \"", "\""))
}

/// The `ResourceQuota` that leaves no room for this Secret.
pub(super) fn quota<'a>(status: &'a Status, secret: &str) -> Option<&'a str> {
    let before = format!("secrets \"{secret}\" is forbidden: exceeded quota: ");
    quoted(&status.message, &before, ",")
}

/// The name between two texts of which the first begins the message; `None` where that is no name of an API object, so
/// that nothing else of a message is ever repeated.
fn quoted<'a>(message: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (name, _) = message.strip_prefix(before)?.split_once(after)?;
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    (!name.is_empty() && name.len() <= 253 && name.bytes().all(is_name)).then_some(name)
}

/// Why a workload is not restarted.
pub(super) fn restart_failure(status: &Status) -> RestartFailure {
    if let Some(name) = webhook(status) {
        RestartFailure::DeniedByWebhook(name.to_owned())
    } else if let Some(name) = policy(status) {
        RestartFailure::DeniedByPolicy(name.to_owned())
    } else if let Some(name) = unreachable_webhook(status) {
        RestartFailure::WebhookFailed(name.to_owned())
    } else if status.code == 403 {
        RestartFailure::Forbidden
    } else {
        RestartFailure::Failed(Some(status.code))
    }
}

/// What the API server finds invalid.
pub(super) fn invalid(status: &Status) -> Refusal {
    if has_cause(status, "FieldValueTooLong") && names_field(status, "data") {
        Refusal::TooLarge
    } else if names_field(status, "type") {
        Refusal::Type
    } else if names_field(status, "immutable")
        || has_exact_field(status, "data") && has_cause(status, "FieldValueForbidden")
    {
        Refusal::Immutable
    } else {
        Refusal::Invalid(field(status))
    }
}

fn causes(status: &Status) -> impl Iterator<Item = &StatusCause> {
    status.details.iter().flat_map(|details| &details.causes)
}

/// Whether one of the causes is of this reason.
pub(super) fn has_cause(status: &Status, reason: &str) -> bool {
    causes(status).any(|cause| cause.reason == reason)
}

/// Whether one of the causes is about this field, or an item of it.
pub(super) fn names_field(status: &Status, field: &str) -> bool {
    causes(status).any(|cause| cause.field == field || cause.field.starts_with(&format!("{field}[")))
}

fn has_exact_field(status: &Status, field: &str) -> bool {
    causes(status).any(|cause| cause.field == field)
}

/// The field that the API server names, without what a key may hold beyond it.
fn field(status: &Status) -> String {
    causes(status)
        .map(|cause| cause.field.as_str())
        .find(|field| !field.is_empty())
        .unwrap_or("data")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_in_the_words_of_the_fence_is_what_the_charts_policy_says() {
        let policy = include_str!("../../charts/vaultsync/templates/policy-secrets.yaml");
        let words = policy.split_whitespace().collect::<Vec<_>>().join(" ");
        for said in [FENCE_UNSHOWN, FENCE_TYPE, FENCE_COPY] {
            assert!(words.contains(said), "{said}");
        }
    }
}
