//! The fetch plane: what is in Azure Key Vault, as fresh as its users ask, at the least load.
//!
//! The unit of the schedule is the *source* (handle, name, version), never the Kubernetes object: a thousand
//! users of one secret cost one GET per interval. A user [asks](Plane::ask), gets an [`Answer`] at once and is
//! [woken](Wake) when another answer is there; it never waits for a vault.
//!
//! ```text
//!  ask ──> Host (pure): schedule ─ lanes ─ budget ─ gate ──> poller ──> reader: token, GET ──> vault
//!           ^                                                  │
//!           └────────── outcome <──────────────────────────────┘──> Wake
//! ```
//!
//! One `Host` holds everything that shares a vault's limits: its handles (one per [`Connection`], with
//! a client, a pool and a token of their own) and the budget. Hosts share nothing, so a slow vault delays only
//! its own users. This layer knows no Kubernetes.

mod answer;
mod assertion;
mod budget;
mod by_user;
mod challenge;
mod check;
mod client;
mod client_certificate;
mod cloud;
mod connection;
mod credential;
mod credential_file;
mod credentials;
mod detect;
mod entry;
mod failure;
mod gate;
mod gauges;
mod handle;
mod host;
mod identity;
mod jitter;
mod lanes;
mod limits;
mod list;
mod managed_identity;
mod metrics;
mod names;
mod outcome;
mod plane;
mod poller;
mod preflight;
mod provider;
mod reader;
mod refusal;
mod remedy;
mod schedule;
mod sighting;
mod sweep;
#[cfg(test)]
mod tests;
mod token;
mod token_identity;
mod token_service;
mod transport;
mod url;
mod value;

pub use answer::{Answer, Attributes, Health, HealthState, Reading, Reply, User, Wake, Want};
pub use assertion::{Assertion, AssertionError, Assertions};
pub use check::{Step, StepName, StepResult, check};
pub use cloud::{AuthorityFault, Cloud, CloudRef, CustomCloud, InvalidCloud};
pub use connection::{Connection, ServiceVersion, Source, UnknownServiceVersion};
pub use credentials::{Credentials, IdentityEndpoint, OperatorIdentity};
pub use detect::{Detect, Detection, Mode, Rate, Terms, Why};
pub use failure::{CredentialProblem, Failure, IdentityProblem, Peer, Principal};
pub use identity::{CredentialName, Identity, InvalidCredentialName, ManagedIdentityId};
pub use limits::Limits;
pub use metrics::VaultMetrics;
pub use names::{InvalidName, SecretName, SecretVersion};
pub use plane::Plane;
pub use reader::{Evidence, Network};
pub use token_identity::TokenIdentity;
pub use transport::Transport;
pub use url::{InvalidUrl, VaultUrl};
pub use value::SecretValue;
