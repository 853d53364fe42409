//! A real control plane for behaviour tests and the demo, with the operator's rights as the chart renders them.
//!
//! Everything here fails by a panic with a sentence: there is nobody to recover in a test.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    missing_debug_implementations,
    reason = "a test ends at the first thing that is not as it should be"
)]

pub mod audit;
mod certificates;
pub mod clients;
pub mod cluster;
pub mod faults;
pub mod history;
mod keep;
pub mod kubelet;
pub mod manifests;
pub mod mounted;
pub mod namespace;
pub mod plane;
pub mod processes;
pub mod samples;
pub mod says;
pub mod scene;
pub mod shared;
pub mod tools;
pub mod wait;
pub mod webhook;
pub mod wire;
pub mod workloads;

pub use audit::{Mark, Seen};
pub use clients::Account;
pub use cluster::{Cluster, Issuer, cluster};
pub use faults::{Call, Fault, Faults, Gate};
pub use history::History;
pub use mounted::Mounted;
pub use namespace::Namespace;
pub use says::Says;
pub use wait::{eventually, until};

/// Why a step of the harness failed: shown to a person, never matched on.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// What fallible steps of the harness return.
pub type Result<T> = std::result::Result<T, Error>;
