//! An Azure Key Vault and Entra ID to test against, under their real host names.
//!
//! The client under test is given nothing but what every user behind a corporate proxy gives it: a proxy
//! (`HTTPS_PROXY`) and a CA bundle. `CONNECT shop.vault.azure.net:443` and `CONNECT login.microsoftonline.com:443`
//! end in this process, with real TLS and a certificate for that name; a `CONNECT` to any other host is refused and
//! recorded, so a token that leaves for a foreign host is seen.
//!
//! ```text
//! client -- CONNECT --> proxy -- TLS --> server --+-- vault host --> token -> faults -> access -> objects
//!                                                 +-- login host --> faults -> Entra token endpoint
//! client -- plain HTTP on loopback --> managed identity endpoints (IMDS, App Service style) -- faults -> tokens
//! test   -- Emulator, Vault (in process) or the control API (plain HTTP on loopback) --> the same state
//! ```
//!
//! Setters are synchronous and act at once; nothing in here needs a sleep: soft delete lags by a number of looks, not
//! by time, [`Vault::requests_until`] waits for what a client does, and the clock can be moved.

mod access;
mod answer;
mod call;
mod certificate;
mod certificates;
mod clock;
mod control;
mod emulator;
mod entra;
mod fault;
mod gateway;
mod journal;
mod jws;
mod login;
mod managed_identity;
mod material;
mod objects;
mod paging;
mod pending;
mod proxy;
mod refusal;
mod rest;
mod secrets;
mod state;
mod store;
mod token;
mod vault;
#[cfg(test)]
mod wire;

pub use access::{AccessModel, Permission};
pub use call::{ObjectKind, Operation};
pub use emulator::{Config, Emulator};
pub use fault::{Fault, FaultId, FaultKind, Forbidden, Unauthorized};
pub use journal::{Connect, ConnectOutcome, LoggedRequest, TokenEndpoint, TokenRequest, peak_per_second};
pub use jws::Signer;
pub use managed_identity::ManagedIdentity;
pub use material::{
    chain::CertificateFormat,
    keys::{KeyKind, KeySpec},
};
pub use store::{Change, SecretOptions, VersionInfo};
pub use vault::{CertificateSpec, Vault};
