//! What can go wrong with the API server, without a word of its text: a message may quote what was sent.

use super::api_status::unreachable_webhook;
use crate::plan::Refusal;
use kube::core::response::StatusSummary;
use std::time::Duration;
use thiserror::Error;

/// A call that did not succeed and is worth trying again.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The API server answered with a failure.
    #[error("{verb}: the API server answered {code} {reason}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// The HTTP status.
        code: u16,
        /// The API server's own word for it.
        reason: String,
        /// The admission webhook that could not be asked.
        webhook: Option<String>,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// No answer in time.
    #[error("{verb}: no answer from the API server within {}s", .after.as_secs())]
    Timeout {
        /// What was tried.
        verb: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// No connection, or an answer that is none.
    #[error("{verb}: the API server cannot be reached or understood")]
    Transport {
        /// What was tried.
        verb: &'static str,
    },
    /// The lease is not ours, or not surely.
    #[error("{verb}: not asked, for the Lease could not be renewed")]
    NotLeading {
        /// What was to be tried.
        verb: &'static str,
    },
    /// The target kept changing under our hands.
    #[error("the Secret keeps changing")]
    Unsettled,
}

/// Why there is no answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Nothing was asked: the lease is not ours, or not surely.
    NotLeading,
    /// None came within this time.
    Within(Duration),
}

impl Unanswered {
    /// As the error of what was to be done.
    pub(super) const fn of(self, verb: &'static str) -> Error {
        match self {
            Self::NotLeading => Error::NotLeading { verb },
            Self::Within(after) => Error::Timeout { verb, after },
        }
    }
}

impl Error {
    /// Takes the parts of kube's error that quote nothing.
    pub(super) fn of(verb: &'static str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status)
                if status.status == Some(StatusSummary::Failure) || status.code >= 400 =>
            {
                Self::Api {
                    verb,
                    code: status.code,
                    reason: bounded(&status.reason),
                    webhook: unreachable_webhook(status).map(str::to_owned),
                    retry_after: status
                        .details
                        .as_ref()
                        .map(|details| u64::from(details.retry_after_seconds))
                        .filter(|seconds| *seconds > 0)
                        .map(Duration::from_secs),
                }
            }
            _ => Self::Transport { verb },
        }
    }

    /// What it means if it keeps coming for writes of a Secret; `None` where nobody could be told of it, or it is usual.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Api { webhook: Some(name), .. } => Some(Refusal::WebhookFailed(name.clone())),
            Self::Api { code, .. } if !matches!(code, 401 | 409 | 429) => Some(Refusal::WriteFailed(*code)),
            // A webhook may hang for longer than we wait.
            Self::Timeout { after, .. } => Some(Refusal::NoAnswer(*after)),
            Self::Api { .. } | Self::Transport { .. } | Self::NotLeading { .. } | Self::Unsettled => None,
        }
    }

    /// When the API server wants to be asked again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api { retry_after, .. } => *retry_after,
            Self::Timeout { .. } | Self::Transport { .. } | Self::NotLeading { .. } | Self::Unsettled => None,
        }
    }

    /// The bounded word of the metric.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Api { code: 409, .. } => "ApiConflict",
            Self::Api { code: 429, .. } => "ApiThrottled",
            Self::Api { code: 401 | 403, .. } => "ApiForbidden",
            Self::Api { .. } => "ApiError",
            Self::Timeout { .. } => "ApiTimeout",
            Self::Transport { .. } => "ApiUnreachable",
            Self::NotLeading { .. } => "NotLeading",
            Self::Unsettled => "Unsettled",
        }
    }
}

/// A reason is one CamelCase word; anything else is not repeated.
fn bounded(reason: &str) -> String {
    let word = reason.len() <= 64 && reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if word { reason.to_owned() } else { String::new() }
}
