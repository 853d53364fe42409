//! How HTTP clients are made: one per handle, so that identities share no connection.

use std::{fmt, sync::Arc, time::Duration};

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Certificate, Client, ClientBuilder, redirect::Policy};

use crate::vault::failure::{Failure, Peer};

/// Long enough for a vault in another region under load; a reconcile never waits for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Steady state needs one connection to the vault; the second spares a handshake when two reads overlap.
const IDLE_CONNECTIONS: usize = 2;
/// Longer than the default refresh interval's gaps between slots, shorter than usual idle limits of load balancers.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

type Make = dyn Fn() -> ClientBuilder + Send + Sync;

/// Makes the HTTP client of a handle.
#[derive(Clone)]
pub struct Transport {
    make: Arc<Make>,
    proxies: Proxies,
}

/// Which hosts are reached through a proxy.
#[derive(Clone)]
enum Proxies {
    /// As the environment says.
    Environment(Arc<Matcher>),
    All,
    None,
}

impl Transport {
    /// Starts from what `make` returns; timeouts, redirects, pool, user agent and https are set on top of it.
    /// `proxied` says whether what it returns uses a proxy.
    #[must_use]
    pub fn new(make: Arc<dyn Fn() -> ClientBuilder + Send + Sync>, proxied: bool) -> Self {
        Self { make, proxies: if proxied { Proxies::All } else { Proxies::None } }
    }

    /// Proxies and certificates as the process's environment says (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`).
    #[must_use]
    pub fn from_environment() -> Self {
        // What reqwest itself asks, which it does not tell.
        let proxies = Proxies::Environment(Arc::new(Matcher::from_env()));
        Self { make: Arc::new(Client::builder), proxies }
    }

    /// Whether calls to this https host leave through a proxy, which then is who resolves its name.
    pub(in crate::vault) fn is_proxied(&self, host: &str) -> bool {
        match &self.proxies {
            Proxies::Environment(matcher) => {
                let uri = http::Uri::try_from(format!("https://{host}/"));
                uri.is_ok_and(|uri| matcher.intercept(&uri).is_some())
            }
            Proxies::All => true,
            Proxies::None => false,
        }
    }

    /// A client of its own, which trusts the certificates of `ca_bundle` too.
    ///
    /// # Errors
    /// [`Failure::TlsFailure`] if TLS cannot be set up, for example without any trusted certificate.
    pub(super) fn client(&self, ca_bundle: Option<&str>) -> Result<Client, Failure> {
        self.build(Peer::Vault, ca_bundle, |builder| builder.https_only(true))
    }

    /// A client that uses no proxy, whatever the environment says, and may speak plain HTTP: for endpoints of the
    /// node or pod itself.
    ///
    /// # Errors
    /// [`Failure::TlsFailure`] if TLS cannot be set up.
    pub(in crate::vault) fn direct_client(&self) -> Result<Client, Failure> {
        self.build(Peer::ManagedIdentity, None, ClientBuilder::no_proxy)
    }

    fn build(
        &self,
        peer: Peer,
        ca_bundle: Option<&str>,
        finish: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Client, Failure> {
        // Without a provider reqwest panics; `main` installs it.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(Failure::TlsFailure(peer));
        }
        let mut builder = (self.make)();
        if let Some(pem) = ca_bundle {
            let certificates = Certificate::from_pem_bundle(pem.as_bytes());
            builder = builder.tls_certs_merge(certificates.map_err(|_| Failure::TlsFailure(peer))?);
        }
        let builder = builder
            .user_agent(concat!("vaultsync/", env!("CARGO_PKG_VERSION")))
            // A try that the budget and the gate do not know of would be one too many.
            .retry(reqwest::retry::never())
            .redirect(Policy::none())
            .referer(false)
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_TIMEOUT);
        finish(builder).build().map_err(|_| Failure::TlsFailure(peer))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}
