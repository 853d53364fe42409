//! The emulator as its users hold it: started, asked, dropped.

use std::{fmt, io, net::Ipv4Addr, net::SocketAddr, sync::Arc};

use jiff::SignedDuration;
use rustls::{ServerConfig, crypto::ring::default_provider};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::{
    certificate::ClientCertificate,
    certificates::Authority,
    control,
    entra::FederatedCredential,
    fault::{Fault, FaultId},
    journal::{Connect, ConnectOutcome, LoggedRequest, TokenRequest},
    jws::{KeySet, Signer},
    managed_identity::ManagedIdentity,
    proxy,
    state::{Shared, State},
    token::Tokens,
    vault::Vault,
};

/// How to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port of the CONNECT proxy on 127.0.0.1; 0 takes a free one.
    pub proxy_port: u16,
    /// Port of the control API on 127.0.0.1; 0 takes a free one.
    pub control_port: u16,
    /// Where managed identities are served: 127.0.0.1 and a free port by default; the real IMDS is
    /// `169.254.169.254:80`.
    pub identity_address: SocketAddr,
    /// Tenant of vaults that are not given another.
    pub tenant: String,
    /// Seconds an access token lives.
    pub token_lifetime: u32,
    /// How many looks still miss a delete or recover made over REST, and still find a certificate in the making that the
    /// vault signs itself.
    pub settle_looks: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            proxy_port: 0,
            control_port: 0,
            identity_address: (Ipv4Addr::LOCALHOST, 0).into(),
            tenant: "72f988bf-0000-4000-8000-000000000001".to_owned(),
            token_lifetime: 3599,
            settle_looks: 1,
        }
    }
}

/// A running emulator; dropping it ends it and its connections.
pub struct Emulator {
    shared: Arc<Shared>,
    proxy: SocketAddr,
    control: SocketAddr,
    identity: SocketAddr,
    /// Dropped first: every task watches it.
    running: Option<watch::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Emulator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Emulator")
            .field("proxy", &self.proxy)
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

impl Emulator {
    /// Starts proxy and control API on loopback, on the current tokio runtime.
    ///
    /// # Errors
    /// When a port is taken or no key can be made.
    pub async fn start(config: Config) -> io::Result<Self> {
        let provider = Arc::new(default_provider());
        let authority = Arc::new(Authority::generate(Arc::clone(&provider)).map_err(io::Error::other)?);
        let signer = Signer::generate().map_err(|_| io::Error::other("no random key"))?;
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&authority) as Arc<_>);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut state = State { token_lifetime: config.token_lifetime, ..State::default() };
        state.entra.add_tenant(&config.tenant);

        let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, config.proxy_port)).await?;
        let control = TcpListener::bind((Ipv4Addr::LOCALHOST, config.control_port)).await?;
        let identity = TcpListener::bind(config.identity_address).await?;
        let addresses = (proxy.local_addr()?, control.local_addr()?, identity.local_addr()?);
        let (sender, running) = watch::channel(());
        let shared =
            Arc::new(Shared::new(state, Tokens::new(signer), authority, config.tenant, config.settle_looks));
        let tasks = vec![
            tokio::spawn(proxy::run(
                proxy,
                Arc::clone(&shared),
                TlsAcceptor::from(Arc::new(tls)),
                running.clone(),
            )),
            tokio::spawn(control::run(control, Arc::clone(&shared), running.clone())),
            tokio::spawn(proxy::run_managed_identity(identity, Arc::clone(&shared), running)),
        ];
        let (proxy, control, identity) = addresses;
        Ok(Self { shared, proxy, control, identity, running: Some(sender), tasks })
    }

    /// Ends it and waits until both ports are free.
    pub async fn stop(mut self) {
        drop(self.running.take());
        for task in std::mem::take(&mut self.tasks) {
            // Neither is aborted nor panics; an error would mean it ended all the same.
            let _ = task.await;
        }
    }

    /// For `HTTPS_PROXY`.
    #[must_use]
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.proxy)
    }

    /// Root of the control API.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// For `IDENTITY_ENDPOINT`.
    #[must_use]
    pub fn identity_endpoint(&self) -> String {
        format!("http://{}/msi/token", self.identity)
    }

    /// For `IDENTITY_HEADER`.
    #[must_use]
    pub fn identity_header(&self) -> &str {
        &self.shared.identity_header
    }

    /// Where IMDS is served: at the real address only if [`Config::identity_address`] says so.
    #[must_use]
    pub fn imds_url(&self) -> String {
        format!("http://{}/metadata/identity/oauth2/token", self.identity)
    }

    /// The certificate of hosts that [`Self::add_authority`] and [`Vault::set_host`] made; not trusted with
    /// [`Self::ca_pem`].
    #[must_use]
    pub fn private_ca_pem(&self) -> &str {
        self.shared.authority.private_pem()
    }

    /// Makes a token service at a host of its own, which issues tokens for `resource` only.
    pub fn add_authority(&self, host: &str, resource: &str) {
        self.shared.authority.make_private(&host.to_lowercase());
        self.shared.change(|state| state.entra.add_authority(host, resource));
    }

    /// Assigns a managed identity to the node, replacing one with its client id.
    pub fn assign_identity(&self, identity: ManagedIdentity) {
        self.shared.change(|state| {
            state.entra.add_tenant(&identity.tenant);
            state.managed.assign(identity);
        });
    }

    /// Takes a managed identity from the node.
    pub fn unassign_identity(&self, client_id: &str) {
        self.shared.change(|state| state.managed.unassign(client_id));
    }

    /// Puts a fault on the managed identity endpoints; [`Fault::on_secret`] narrows it to one id.
    #[expect(clippy::must_use_candidate, reason = "most faults stay until all are cleared")]
    pub fn identity_fault(&self, fault: Fault) -> FaultId {
        self.shared.change(|state| state.managed.faults.add(fault))
    }

    /// Clears every fault of the managed identity endpoints.
    pub fn clear_identity_faults(&self) {
        self.shared.change(|state| state.managed.faults.clear_all());
    }

    /// The certificate to trust, for `SSL_CERT_FILE` or `REQUESTS_CA_BUNDLE`.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.shared.authority.pem()
    }

    /// Tenant of vaults that were not given another.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.shared.tenant
    }

    /// The vault of this name, made empty and without grants unless it is there. Real names have 3 to 24 letters,
    /// digits and hyphens; the name is compared in lower case.
    #[must_use]
    pub fn vault(&self, name: &str) -> Vault {
        Vault::new(Arc::clone(&self.shared), name)
    }

    /// Takes a vault away: its name does not resolve any more.
    pub fn remove_vault(&self, name: &str) {
        self.shared.change(|state| state.vaults.remove(&name.to_lowercase()));
    }

    /// Makes the keys of an issuer known to Entra, replacing older ones; `jwks_json` is what `/openid/v1/jwks` of an
    /// API server answers.
    ///
    /// # Errors
    /// When it is no JSON Web Key Set.
    pub fn trust_issuer(&self, issuer: &str, jwks_json: &str) -> serde_json::Result<()> {
        let keys: KeySet = serde_json::from_str(jwks_json)?;
        self.shared.change(|state| state.entra.trust_issuer(issuer, keys));
        Ok(())
    }

    /// Has the emulator's tenant take a subject of an issuer (`system:serviceaccount:{namespace}:{name}`) for the
    /// application `client_id`, by the audience of Azure's public cloud.
    pub fn federate_account(&self, issuer: &str, subject: &str, client_id: &str) {
        let credential = self.account_credential(issuer, subject, client_id);
        self.shared.change(|state| state.entra.federate(credential));
    }

    /// Ends that.
    pub fn unfederate_account(&self, issuer: &str, subject: &str, client_id: &str) {
        let credential = self.account_credential(issuer, subject, client_id);
        self.shared.change(|state| state.entra.unfederate(&credential));
    }

    fn account_credential(&self, issuer: &str, subject: &str, client_id: &str) -> FederatedCredential {
        FederatedCredential {
            tenant: self.tenant().to_owned(),
            client_id: client_id.to_owned(),
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            audience: "api://AzureADTokenExchange".to_owned(),
        }
    }

    /// Registers a client secret, and with it application and tenant; replaces an older one.
    pub fn register_secret(&self, tenant: &str, client_id: &str, secret: &str) {
        self.shared.change(|state| state.entra.register_secret(tenant, client_id, secret));
    }

    /// Ends the life of an application's client secret.
    pub fn expire_secret(&self, tenant: &str, client_id: &str) {
        self.shared.change(|state| state.entra.expire_secret(tenant, client_id));
    }

    /// Registers the certificates in `pem`, and with them application and tenant; replaces older ones.
    ///
    /// # Panics
    /// When there is none, or one is no certificate.
    #[expect(clippy::panic, reason = "a wrong setup must fail the test that wrote it")]
    pub fn register_certificates(&self, tenant: &str, client_id: &str, pem: &str) {
        let Some(certificates) = ClientCertificate::parse_all(pem) else { panic!("no certificate in PEM") };
        self.shared.change(|state| state.entra.register_certificates(tenant, client_id, certificates));
    }

    /// Puts a fault on the token endpoint; [`Fault::on_secret`] narrows it to one client id.
    #[expect(clippy::must_use_candidate, reason = "most faults stay until all are cleared")]
    pub fn token_fault(&self, fault: Fault) -> FaultId {
        self.shared.change(|state| state.entra.faults.add(fault))
    }

    /// Clears one fault of the token endpoint.
    pub fn clear_token_fault(&self, id: FaultId) {
        self.shared.change(|state| state.entra.faults.clear(id));
    }

    /// Clears every fault of the token endpoint.
    pub fn clear_token_faults(&self) {
        self.shared.change(|state| state.entra.faults.clear_all());
    }

    /// Sets how far the emulator's clock is ahead of the machine's (behind, if negative).
    pub fn set_clock_offset(&self, seconds: i64) {
        self.shared.change(|state| state.clock.offset = SignedDuration::from_secs(seconds));
    }

    /// Sets how long access tokens issued from now on live.
    pub fn set_token_lifetime(&self, seconds: u32) {
        self.shared.change(|state| state.token_lifetime = seconds);
    }

    /// Every request to a vault so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.shared.look(|state| state.journal.all_requests())
    }

    /// Every request to the token endpoint so far.
    #[must_use]
    pub fn token_requests(&self) -> Vec<TokenRequest> {
        self.shared.look(|state| state.journal.tokens.entries().to_vec())
    }

    /// Waits until the token requests so far satisfy `enough`, and returns them.
    pub async fn token_requests_until(
        &self,
        mut enough: impl FnMut(&[TokenRequest]) -> bool,
    ) -> Vec<TokenRequest> {
        self.shared
            .until(|state| {
                enough(state.journal.tokens.entries()).then(|| state.journal.tokens.entries().to_vec())
            })
            .await
    }

    /// Every request to the proxy so far.
    #[must_use]
    pub fn connects(&self) -> Vec<Connect> {
        self.shared.look(|state| state.journal.connects.entries().to_vec())
    }

    /// Targets that were refused: hosts that a client under test should never talk to.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        let refused =
            |connect: Connect| (connect.outcome == ConnectOutcome::Refused).then_some(connect.target);
        self.connects().into_iter().filter_map(refused).collect()
    }

    /// Empties the logs of requests, token requests and tunnels.
    pub fn clear_log(&self) {
        self.shared.change(|state| state.journal.clear());
    }
}
