//! The fetch plane: what is in Azure Key Vault, as fresh as its users ask, at the least load.
//!
//! The unit of the schedule is the *source* (handle, name, version), never the Kubernetes object: a thousand
//! users of one secret cost one GET per interval. A user [asks](Plane::ask), gets an [`Answer`] at once and is
//! [woken](Wake) when another answer is there; it never waits for a vault.
//!
//! ```text
//!  ask ──> Host (pure): schedule ─ lanes ─ budget ─ gate ──> poller ──> reader: token, GET ──> vault
//!           ^                                                  │
//!           └────────── fetched <──────────────────────────────┘──> Wake
//! ```
//!
//! One `Host` holds everything that shares a vault's limits: its handles (one per [`Connection`], with
//! a client, a pool and a token of their own) and the budget. Hosts share nothing, so a slow vault delays only
//! its own users. This layer knows no Kubernetes.
//!
//! Three rooms, and on this floor what all of them speak of (`connection`, `identity`, `names`, `url`, `cloud`,
//! `value`, `files`, `limits`, `metrics`):
//!
//! | to learn | open |
//! |---|---|
//! | what users ask and are told | `answer` |
//! | what can go wrong, how it is named and what to do about it | `failure`, `remedy` |
//! | which requests begin when (pure) | `plane/host`, its parts `plane/{schedule, lanes, budget, gate}` |
//! | what is known of a source and who waits for it (pure) | `plane/entry` |
//! | what an answer or a failure means, and for whom (pure) | `plane/fetched` |
//! | how one LIST tells what changed, and when it is the cheaper way (pure) | `plane/sweep`, `plane/sighting`, `plane/detect` |
//! | how a connection proves itself before an object needs it | `plane/preflight`; for a person who waits: `check` |
//! | who drives all that | `plane/poller`; users come in by `plane` |
//! | what a request looks like, and what its answer means | `rest/client`, `rest/list`, `rest/refusal` |
//! | what one request takes: client, tenant, token | `rest/reader`, `rest/challenge`, `rest/transport` |
//! | when a token is got, and kept | `token` |
//! | how an identity is proved | `token/provider`, from there by kind |

mod answer;
mod authorities;
mod check;
mod cloud;
mod connection;
mod evidence;
mod failure;
mod files;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod host_name;
mod identity;
mod limits;
mod metrics;
mod names;
mod plane;
mod remedy;
mod rest;
mod token;
mod url;
mod value;

pub use answer::{
    Answer, Ask, Attributes, Find, Found, Health, HealthState, Losses, Reading, Reply, Sought, Stake, Wake,
    Want,
};
pub use authorities::InvalidAuthorities;
pub use check::{CheckStep, StepName, StepResult, check};
pub use cloud::{AuthorityFault, Cloud, CloudRef, CustomCloud, InvalidCloud};
pub use connection::{Connection, ObjectKind, ServiceVersion, Source, UnknownServiceVersion};
pub use evidence::{Evidence, Network};
pub use failure::{
    CredentialProblem, Failure, IdentityProblem, Peer, Principal, ProxyProblem, ServiceAccount,
};
pub use host_name::InvalidUrl;
pub use identity::{CredentialName, Identity, InvalidCredentialName, ManagedIdentityId};
pub use limits::Limits;
pub(crate) use limits::doubled;
pub use metrics::VaultMetrics;
pub use names::{InvalidName, NamePattern, ObjectName, ObjectVersion, VersionPin};
pub use plane::{
    Plane,
    detect::{Detect, Detection, Mode, NoList, Rate, Terms, Why},
};
pub use rest::{
    proxies::{InvalidProxy, Proxies},
    transport::{InvalidCertificates, Transport},
};
pub use token::{
    assertion::{Assertion, AssertionError, Assertions},
    credentials::{Credentials, IdentityEndpoint, OperatorIdentity},
    token_identity::TokenIdentity,
};
pub use url::VaultUrl;
pub use value::SecretValue;
