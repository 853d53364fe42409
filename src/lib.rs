//! vaultsync keeps native Kubernetes `Secret`s equal to what is in Azure Key Vault.
//!
//! ```text
//!  objects, KeyVaults, plane's wake-ups, probe timer ──> queue ──> gather (asks the plane, never waits) ──> Input
//!                                          Input + now ──> Round::next [pure] ──> Step: ask, look, create, change
//!                                                 Step ──> apply (mark, uid, resourceVersion) ──> report
//! ```
//!
//! | module | duty | may know |
//! |---|---|---|
//! | [`ObjectKey`] | the name of an object, on every floor | nothing |
//! | [`Reason`] | the words of conditions, events and metrics, which every layer may name | nothing |
//! | `certificate` | PEM and PFX read, their parts and key stores written | nothing |
//! | [`api`] | the custom resources and their constant words | types of Kubernetes, words of `vault` and `certificate` |
//! | [`plan`] | what to do, as a pure function | `api`, types of `vault` |
//! | [`vault`] | what is in Key Vault, at the least load | no Kubernetes |
//! | [`lease`] | which of several replicas works | types and the client of Kubernetes |
//! | [`controller`] | watches, rounds, writes, reports | everything |
//! | [`convert`] | objects of other tools to ours, as a pure function | `api` |
//! | [`server`], [`telemetry`], [`cli`], [`run`] | the process around it | |

pub mod api;
mod certificate;
pub mod cli;
pub mod controller;
pub mod convert;
#[cfg(test)]
mod dice;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod lease;
mod object_key;
pub mod plan;
mod reason;
pub mod run;
pub mod server;
pub mod telemetry;
pub mod vault;

pub use object_key::ObjectKey;
pub use reason::Reason;
