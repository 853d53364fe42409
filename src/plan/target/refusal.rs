//! Why a target is not to be written: whose it is, what it is, or who does not let us.

use std::time::Duration;

/// Why the target is not to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no mark of ours.
    NotOwned,
    /// It is to be taken over or added to, and does not consent.
    NotConsented,
    /// It is to be taken over, and this other object writes it.
    Controlled(String),
    /// Keys are to be added to it, and there is none.
    NotFound,
    /// This key of it is that of another object, which adds keys to it too.
    KeyTaken {
        /// The key.
        key: String,
        /// The other object.
        object: String,
    },
    /// It carries a mark of another namespace, as a copy of a Secret there does; which one, if that was seen.
    CopiedFrom(Option<String>),
    /// It carries another object's mark.
    OwnedBy(String),
    /// Its type is another one; types cannot change.
    Type,
    /// Its type is one that is never written: it gives power, or belongs to Kubernetes.
    FencedType,
    /// It is immutable.
    Immutable,
    /// The API server's 403: by RBAC, or by an admission plugin that does not name itself.
    Forbidden,
    /// This admission webhook says no.
    DeniedByWebhook(String),
    /// This `ValidatingAdmissionPolicy` says no, and it is not the fence.
    DeniedByPolicy(String),
    /// This `ResourceQuota` leaves no room.
    QuotaExceeded(String),
    /// This admission webhook cannot be asked, time and again.
    WebhookFailed(String),
    /// The API server answers with this status, time and again.
    WriteFailed(u16),
    /// It does not answer in this time, time and again.
    NoAnswer(Duration),
    /// The namespace is going.
    Terminating,
    /// Larger than the API server takes.
    TooLarge,
    /// Anything else that the API server finds invalid; the field it names.
    Invalid(String),
}

impl Refusal {
    /// Whether the Secret is another's.
    pub(in crate::plan) const fn is_foreign(&self) -> bool {
        matches!(
            self,
            Self::NotOwned
                | Self::NotConsented
                | Self::Controlled(_)
                | Self::CopiedFrom(_)
                | Self::OwnedBy(_)
        )
    }

    /// Whether it may be another answer in a minute, though the Secret stays as it is.
    pub(crate) const fn may_pass(&self) -> bool {
        self.is_failure()
            || matches!(
                self,
                Self::Forbidden | Self::DeniedByWebhook(_) | Self::DeniedByPolicy(_) | Self::QuotaExceeded(_)
            )
    }

    /// Whether nobody refused: the write failed on its way.
    pub(in crate::plan) const fn is_failure(&self) -> bool {
        matches!(self, Self::WebhookFailed(_) | Self::WriteFailed(_) | Self::NoAnswer(_))
    }
}
