//! A real control plane for behaviour tests and the demo, with the operator's rights as the chart renders them.
//!
//! Everything here fails by a panic with a sentence: there is nobody to recover in a test.
#![allow(
    dead_code,
    unused_imports,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the programs that include this use a part each, and end at the first thing that is not as it should be"
)]

pub(crate) mod audit;
pub(crate) mod certificates;
pub(crate) mod clients;
pub(crate) mod cluster;
pub(crate) mod faults;
pub(crate) mod kubelet;
pub(crate) mod manifests;
pub(crate) mod mounted;
pub(crate) mod namespace;
pub(crate) mod processes;
pub(crate) mod scene;
pub(crate) mod shared;
pub(crate) mod tools;
pub(crate) mod wait;
pub(crate) mod wire;

pub(crate) use audit::{Mark, Seen};
pub(crate) use clients::Account;
pub(crate) use cluster::{Cluster, Issuer, cluster};
pub(crate) use faults::{Call, Fault, Faults, Gate};
pub(crate) use mounted::Mounted;
pub(crate) use namespace::Namespace;
pub(crate) use wait::{eventually, until};

/// Why a step of the harness failed: shown to a person, never matched on.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
/// What fallible steps of the harness return.
pub(crate) type Result<T> = std::result::Result<T, Error>;
