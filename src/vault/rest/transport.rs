//! How HTTP clients are made: one per handle, so that identities share no connection.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use reqwest::{Certificate, Client, ClientBuilder, Proxy, redirect::Policy};
use thiserror::Error;

use super::proxies::Proxies;
use crate::vault::{
    authorities::{self, InvalidAuthorities},
    failure::{Failure, Peer},
    files::{self, CERTIFICATES},
};

/// Long enough for a vault in another region under load; a reconcile never waits for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Steady state needs one connection to the vault; the second spares a handshake when two reads overlap.
const IDLE_CONNECTIONS: usize = 2;
/// Longer than the default refresh interval's gaps between slots, shorter than usual idle limits of load balancers.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// To make a client takes milliseconds of computing beside the reading, and many may be made at once.
const CLIENT: Duration = Duration::from_secs(30);

type Make = dyn Fn() -> ClientBuilder + Send + Sync;

/// Makes the HTTP client of a handle.
#[derive(Clone)]
pub struct Transport {
    make: Arc<Make>,
    way: Way,
    /// Where certificates to trust are read from.
    certificates: Arc<[PathBuf]>,
}

/// Which hosts are reached through a proxy.
#[derive(Clone)]
enum Way {
    Proxies(Arc<Proxies>),
    Proxy,
    Direct,
}

/// Which certificates were trusted, to tell them from others that take their place: of each file the time and size.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stamp(Vec<Option<(SystemTime, u64)>>);

/// Why the file of certificates to trust cannot be used.
#[derive(Debug, Error)]
pub enum InvalidCertificates {
    /// It cannot be read.
    #[error(
        "SSL_CERT_FILE names {path}, which cannot be read ({error}). Correct the path, or mount the certificates there."
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// It holds none to trust.
    #[error("SSL_CERT_FILE names {path}: {error}.")]
    NotTrusted {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: InvalidAuthorities,
    },
}

impl Transport {
    /// Starts from what `make` returns; timeouts, redirects, pool, user agent and https are set on top of it.
    /// `proxied` says whether what it returns uses a proxy.
    #[must_use]
    pub fn new(make: Arc<dyn Fn() -> ClientBuilder + Send + Sync>, proxied: bool) -> Self {
        Self { make, way: if proxied { Way::Proxy } else { Way::Direct }, certificates: Arc::default() }
    }

    /// Clients are made anew when one of these files, from which `make` reads certificates, is replaced.
    #[must_use]
    pub fn with_certificates(self, files: Vec<PathBuf>) -> Self {
        Self { certificates: files.into(), ..self }
    }

    /// Through `proxies`, with the certificates of a file (`SSL_CERT_FILE`) and of folders (`SSL_CERT_DIR`), or else those
    /// of the system.
    ///
    /// # Errors
    /// [`InvalidCertificates`] if the file holds none to trust.
    pub fn through(
        proxies: Proxies,
        file: Option<PathBuf>,
        folders: Vec<PathBuf>,
    ) -> Result<Self, InvalidCertificates> {
        if let Some(path) = &file {
            let path = || path.clone();
            let pem = std::fs::read(path())
                .map_err(|error| InvalidCertificates::Unreadable { path: path(), error })?;
            authorities::check_any(&pem)
                .map_err(|error| InvalidCertificates::NotTrusted { path: path(), error })?;
        }
        let proxies = Arc::new(proxies);
        let through = Arc::clone(&proxies);
        let make = move || {
            let proxies = Arc::clone(&through);
            let proxy =
                Proxy::custom(move |url| proxies.of(url.host_str()?, url.port_or_known_default()?).cloned());
            // What the environment says is said already.
            Client::builder().no_proxy().proxy(proxy)
        };
        let transport =
            Self { make: Arc::new(make), way: Way::Proxies(proxies), certificates: Arc::default() };
        Ok(transport.with_certificates(file.into_iter().chain(folders).collect()))
    }

    /// Whether calls to this https host leave through a proxy, which then is who resolves its name.
    pub(in crate::vault) fn is_proxied(&self, host: &str) -> bool {
        match &self.way {
            Way::Proxies(proxies) => proxies.of(host, 443).is_some(),
            Way::Proxy => true,
            Way::Direct => false,
        }
    }

    /// The certificates as they are on disk now; `None` if a file says nothing in time.
    pub(super) async fn stamp(&self) -> Option<Stamp> {
        if self.certificates.is_empty() {
            return Some(Stamp::default());
        }
        let files = Arc::clone(&self.certificates);
        CERTIFICATES.read(files::READ, move || Stamp(files.iter().map(|file| stamp(file)).collect())).await
    }

    /// A client of its own, which trusts the certificates of `ca_bundle` too.
    ///
    /// # Errors
    /// [`Failure::TlsFailure`] if TLS cannot be set up, for example without any trusted certificate;
    /// [`Failure::CertificatesUnread`] if their files say nothing in time.
    pub(super) async fn client(&self, ca_bundle: Option<String>) -> Result<Client, Failure> {
        let transport = self.clone();
        let make =
            move || transport.build(Peer::Vault, ca_bundle.as_deref(), |builder| builder.https_only(true));
        CERTIFICATES.read(CLIENT, make).await.unwrap_or(Err(Failure::CertificatesUnread))
    }

    /// A client that uses no proxy, whatever the environment says, and may speak plain HTTP: for endpoints of the
    /// node or pod itself.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub(in crate::vault) async fn direct_client(&self) -> Result<Client, Failure> {
        let transport = self.clone();
        let make = move || transport.build(Peer::ManagedIdentity, None, ClientBuilder::no_proxy);
        CERTIFICATES.read(CLIENT, make).await.unwrap_or(Err(Failure::CertificatesUnread))
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

fn stamp(file: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}
