//! One request to a vault over HTTPS, and what its answer means.

pub(super) mod body;
pub(super) mod client;
pub(super) mod http_client;
pub(super) mod list;
pub(super) mod proxies;
pub(super) mod reader;
pub(super) mod refusal;
pub(super) mod transport;
pub(super) mod versions;

mod challenge;
#[cfg(any(fuzzing, test))]
pub(super) mod fuzzing;
mod key;
