//! Connections to vaults: `KeyVault`s of a namespace and `ClusterKeyVault`s of the platform, by one way.
//!
//! ```text
//!  watch ──> feed ──> store: described once a generation ──> connections_of ──> rounds of objects
//!                └──> status: preflight, health of the handles ──> plan::ConnectionReport
//! ```

mod connection_of;
mod described;
mod feed;
pub(super) mod namespace_labels;
mod status;
mod store;

pub(super) use connection_of::{ConnectionsOf, Usable, connections_of, heard_of};
pub(super) use described::{ConnectionKind, as_read_by};
pub(super) use feed::run;
pub(super) use store::Connections;
