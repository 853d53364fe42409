//! Behaviour tests, on a real control plane and with the operator's own rights.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod admission;
mod api_server;
mod bad_input;
mod canary;
mod chart;
mod check;
mod cluster_key_vault;
mod convert;
mod crds;
mod deletion;
mod docs;
mod drift;
mod each_identity;
mod edits;
mod egress;
mod existing_secrets;
mod failures;
mod fence;
mod first_sync;
mod grants;
mod harness;
mod identities;
mod layers;
mod lease;
mod lives;
mod mass_removal;
mod not_readable;
mod outage;
mod ownership;
mod plane;
mod plane_list;
mod preflight;
mod process;
mod program;
mod protocol;
mod proxy;
mod random;
mod restart;
mod restore;
mod rollouts;
mod samples;
mod secret_access;
mod shapes;
mod source;
mod steady;
mod tenants;
mod together;
mod truth;
mod two_objects;
mod vaults;
mod watches;
