//! Why a target is not written, told to whoever wrote the object: what it is, whose it is, or who does not let us.

use super::Problem;
use crate::api::{Creation, VaultSecretSync, format_duration};
use crate::plan::target::Refusal;
use crate::reason::Reason;

impl Problem {
    /// The target is refused.
    #[expect(clippy::too_many_lines, reason = "a table with a row for each refusal")]
    pub(in crate::plan) fn refused(object: &VaultSecretSync, refusal: &Refusal) -> Self {
        let target = object.target_name();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let merges = object.spec.target.merges();
        match refusal {
            Refusal::NotOwned => Self::new(
                Reason::TargetNotOwned,
                format!(
                    "Secret {target} exists and is not managed by vaultsync, so it is left untouched. Delete it, have it taken over by spec.target.creation: Adopt, or create a new object with another spec.target.name."
                ),
            ),
            Refusal::NotConsented => Self::new(
                Reason::ConsentMissing,
                format!(
                    "Secret {target} exists and does not consent to VaultSecretSync {name}, so it is left untouched. Whoever may edit the Secret consents by: kubectl annotate secret {target} vaultsync.dev/consent={name}. Several names are parted by commas."
                ),
            ),
            Refusal::Controlled(controller) => Self::new(
                Reason::TargetControlled,
                format!(
                    "Secret {target} is written by {controller}, its controller, so it is not taken over. Create a new object with another spec.target.name, or, if {controller} leaves other keys alone, with creation: Merge."
                ),
            ),
            Refusal::NotFound => Self::new(
                Reason::TargetNotFound,
                format!(
                    "There is no Secret {target}, and spec.target.creation: Merge only adds keys to one that exists. Create it with the annotation vaultsync.dev/consent: {name}, or create a new object without creation: Merge."
                ),
            ),
            Refusal::KeyTaken { key, object } => Self::new(
                Reason::TargetConflict,
                format!(
                    "Key {key} of Secret {target} is that of VaultSecretSync {object}, which adds keys to it too, so nothing was written. Remove the key from one of the two."
                ),
            ),
            Refusal::CopiedFrom(other) => {
                let own = object.metadata.namespace.as_deref().unwrap_or_default();
                let of = other
                    .as_ref()
                    .map_or_else(|| "another namespace".to_owned(), |other| format!("namespace {other}"));
                let remedy = if merges {
                    format!(
                        "Whoever may edit the Secret removes that mark and consents by: kubectl annotate --overwrite secret {target} vaultsync.dev/owner- vaultsync.dev/owner-namespace- vaultsync.dev/consent={name}. Whatever copies it has to stop first."
                    )
                } else {
                    format!(
                        "Delete it, or hand it over to this object by: kubectl annotate --overwrite secret {target} vaultsync.dev/owner={name} vaultsync.dev/owner-namespace={own}."
                    )
                };
                Self::new(
                    Reason::TargetCopied,
                    format!(
                        "Secret {target} carries the mark of {of}, as a copy of a Secret there does, so it is left untouched. {remedy}"
                    ),
                )
            }
            Refusal::OwnedBy(other) => Self::new(
                Reason::TargetConflict,
                format!(
                    "Secret {target} belongs to VaultSecretSync {other}, so it is left untouched. {}",
                    if merges {
                        format!(
                            "Add the keys to the spec of {other}, or create a new object with another spec.target.name."
                        )
                    } else {
                        format!("Delete the Secret, or set its annotation vaultsync.dev/owner to {name}.")
                    }
                ),
            ),
            Refusal::Type => Self::terminal(
                Reason::TypeMismatch,
                format!(
                    "Secret {target} exists with a type other than {}, and the type of a Secret cannot change. Delete the Secret, or create a new object with another spec.target.name.",
                    object.spec.secret_type().as_str()
                ),
            ),
            Refusal::FencedType => Self::terminal(
                Reason::TypeMismatch,
                format!(
                    "Secret {target} has a type that vaultsync never writes, so it is left untouched: of kubernetes.io it writes only tls, dockerconfigjson, basic-auth and ssh-auth, and none of helm.sh, rke.cattle.io and cluster.x-k8s.io. Create a new object with another spec.target.name."
                ),
            ),
            Refusal::Immutable => Self::new(
                Reason::TargetImmutable,
                format!(
                    "Secret {target} is immutable, so it keeps its content. {}",
                    match object.spec.target.creation {
                        Creation::Create => "Delete it, and vaultsync creates it again.",
                        Creation::Adopt | Creation::Merge =>
                            "Whoever made it has to make it anew without immutable: true.",
                    }
                ),
            ),
            Refusal::Forbidden => Self::new(
                Reason::WriteForbidden,
                format!(
                    "The API server does not let vaultsync write Secret {target}, so nothing was written. Check the chart's RBAC (create and patch on secrets; with rbac.secrets: named, whether rbac.namedSecrets names this one) and the admission plugins of this cluster."
                ),
            ),
            Refusal::DeniedByWebhook(webhook) => Self::new(
                Reason::AdmissionDenied,
                format!(
                    "The admission webhook {webhook} does not let vaultsync write Secret {target}, so nothing was written. Ask whoever runs the webhook what it wants."
                ),
            ),
            Refusal::DeniedByPolicy(policy) => Self::new(
                Reason::AdmissionDenied,
                format!(
                    "The ValidatingAdmissionPolicy {policy} does not let vaultsync write Secret {target}, so nothing was written. Ask whoever wrote the policy what it wants, or change spec.target."
                ),
            ),
            Refusal::QuotaExceeded(quota) => Self::new(
                Reason::QuotaExceeded,
                format!(
                    "The ResourceQuota {quota} leaves no room for Secret {target}, so nothing was written. Raise the quota, or delete what is not used."
                ),
            ),
            Refusal::WebhookFailed(webhook) => Self::new(
                Reason::WriteFailed,
                format!(
                    "The admission webhook {webhook} does not answer the API server, so Secret {target} cannot be written. vaultsync tries again. Check the webhook's pods and Service."
                ),
            ),
            Refusal::NoAnswer(after) => Self::new(
                Reason::WriteFailed,
                format!(
                    "The API server does not answer within {} when vaultsync writes Secret {target}, as when an admission webhook hangs. vaultsync tries again. Check the admission webhooks of this cluster.",
                    format_duration(*after)
                ),
            ),
            Refusal::WriteFailed(code) => Self::new(
                Reason::WriteFailed,
                format!(
                    "The API server answers {code} when vaultsync writes Secret {target}. vaultsync tries again. Check the API server's log and the admission webhooks of this cluster."
                ),
            ),
            Refusal::Terminating => Self::new(
                Reason::NamespaceTerminating,
                "The namespace is being deleted, so nothing is written any more.".to_owned(),
            ),
            Refusal::TooLarge => Self::too_large(),
            Refusal::Invalid(field) => Self::new(
                Reason::SecretRejected,
                format!(
                    "The API server rejects Secret {target} as invalid at {field}, so it keeps what it has. Check that the values fit {}.",
                    if merges { "its type" } else { object.spec.secret_type().as_str() }
                ),
            ),
        }
    }
}
