//! What the operator itself was given to prove identities with: its own federation, an endpoint for managed
//! identities, and a folder of credentials.

use std::{fmt, path::PathBuf};

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::vault::host_name::host_of;

/// What the operator was given.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Tells the time that certificates and tokens are measured by.
    pub clock: fn() -> Timestamp,
    /// The pod's own federated identity, if one was injected.
    pub operator: Option<OperatorIdentity>,
    /// Where managed identities are asked for; IMDS if absent.
    pub identity_endpoint: Option<IdentityEndpoint>,
    /// The folder in which a service principal's secret or certificate is looked for by name.
    pub directory: PathBuf,
}

impl Credentials {
    /// A plain pod: no identity of its own, IMDS, and no credentials.
    #[must_use]
    pub fn new(clock: fn() -> Timestamp) -> Self {
        Self { clock, operator: None, identity_endpoint: None, directory: PathBuf::new() }
    }
}

/// The pod's own federated identity, as the workload identity webhook injects it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OperatorIdentity {
    /// `AZURE_CLIENT_ID`.
    pub client_id: String,
    /// `AZURE_TENANT_ID`.
    pub tenant_id: String,
    /// `AZURE_FEDERATED_TOKEN_FILE`: read anew for each token, for it rotates.
    pub token_file: PathBuf,
    /// `AZURE_AUTHORITY_HOST`, a URL; used where it is of the vault's own cloud.
    pub authority: Option<String>,
}

impl OperatorIdentity {
    /// The host of [`Self::authority`], if it is one.
    pub(super) fn authority_host(&self) -> Option<String> {
        host_of(self.authority.as_deref()?).ok()
    }
}

/// An endpoint for managed identities as App Service has it (`IDENTITY_ENDPOINT`, `IDENTITY_HEADER`).
#[derive(Clone)]
pub struct IdentityEndpoint {
    url: ::url::Url,
    header: Zeroizing<String>,
}

impl IdentityEndpoint {
    /// An endpoint at `url` (http or https), which is proved by `header`.
    ///
    /// # Errors
    /// A sentence, for what is no such URL or cannot stand in a header.
    pub fn new(url: &str, header: String) -> Result<Self, &'static str> {
        let header = Zeroizing::new(header);
        let url = ::url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or("IDENTITY_ENDPOINT must be an http or https URL")?;
        if header.is_empty() || !header.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("IDENTITY_HEADER must be printable and not empty");
        }
        Ok(Self { url, header })
    }

    pub(super) const fn url(&self) -> &::url::Url {
        &self.url
    }

    pub(super) fn header(&self) -> &str {
        &self.header
    }
}

impl fmt::Debug for IdentityEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityEndpoint").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}
