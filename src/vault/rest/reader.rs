//! What a handle reads with: its HTTP client, its token and its tenant.
//!
//! One [`Reader::send`] is at most one request to the vault, so that the budget counts them all: learning the
//! tenant, or that a token is rejected, is an outcome of its own.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    challenge,
    client::{self, Asking, Stop},
    http_client::HttpClient,
    transport::Transport,
};
use crate::vault::{
    connection::Connection,
    evidence::{Evidence, Network},
    failure::{Failure, Peer, ProxyProblem, Refused},
    metrics::VaultMetrics,
    plane::{
        errand::{Errand, Fetched, Permission, ReadStep},
        jitter::Jitter,
    },
    token::{Tokens, assertion::Assertions, credentials::Credentials, provider::Provider},
};

/// What a handle reads with.
#[derive(Debug)]
pub(in crate::vault) struct Reader {
    connection: Connection,
    http: Arc<HttpClient>,
    tokens: Arc<Tokens>,
    /// As set, or as the vault last named it.
    tenant: Mutex<Option<Arc<str>>>,
    tenant_is_set: bool,
    network: Mutex<Option<Network>>,
    metrics: VaultMetrics,
}

impl Reader {
    /// A client of its own for `connection`; nothing is sent yet.
    pub(in crate::vault) fn new(
        connection: Connection,
        transport: &Transport,
        assertions: Arc<dyn Assertions>,
        credentials: Arc<Credentials>,
        jitter: Jitter,
        metrics: VaultMetrics,
    ) -> Self {
        let http = Arc::new(HttpClient::new(transport.clone(), connection.url.cloud().clone()));
        let provider = Provider {
            http: Arc::clone(&http),
            transport: transport.clone(),
            connection: connection.clone(),
            assertions,
            credentials,
        };
        let tenant = provider.tenant();
        let tenant_is_set = tenant.is_some();
        let tokens = Tokens::new(Box::new(provider), jitter, metrics.clone());
        let (tenant, network) = (Mutex::new(tenant), Mutex::default());
        Self { connection, http, tokens, tenant, tenant_is_set, network, metrics }
    }

    /// What the requests so far have shown.
    pub(in crate::vault) fn evidence(&self) -> Evidence {
        let network = *self.network.lock().unwrap_or_else(PoisonError::into_inner);
        Evidence { identity: self.tokens.identity(), network }
    }

    /// Does one errand, or learns what it takes to do it.
    pub(in crate::vault) async fn send(&self, errand: &Errand) -> Fetched {
        self.try_to_send(errand).await.unwrap_or_else(|refused| {
            Fetched::Failed(Refused { failure: self.told(refused.failure), ..refused })
        })
    }

    /// What a failure means, with what is known of the way.
    fn told(&self, failure: Failure) -> Failure {
        match failure {
            Failure::TlsFailure(_) => self.http.doubt(),
            Failure::NetworkUnreachable(peer) if self.is_proxied(peer) => {
                return Failure::ProxyFailed { peer, problem: ProxyProblem::NotConnected };
            }
            Failure::PublicAccessDisabled(_) => {
                return Failure::PublicAccessDisabled(self.evidence().network);
            }
            _ => {}
        }
        failure
    }

    fn is_proxied(&self, peer: Peer) -> bool {
        match peer {
            Peer::Vault => self.http.is_proxied(self.connection.url.host()),
            Peer::Authority => self.http.is_proxied(self.connection.url.cloud().authority_host()),
            Peer::ManagedIdentity => false,
        }
    }

    async fn try_to_send(&self, errand: &Errand) -> Result<Fetched, Refused> {
        let known = self.tenant.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(tenant) = known else { return self.discover(errand).await };
        let token = self.tokens.get(&tenant).await?;
        match self.ask(errand, Some(&token)).await {
            Ok(outcome) => Ok(outcome),
            Err(Stop::Unauthorized { challenge, failure }) => {
                self.tokens.reject(&token);
                if challenge.as_deref().is_some_and(challenge::asks_for_claims) {
                    return Ok(Fetched::TokenRejected(Failure::ClaimsChallenge));
                }
                // The vault may have moved to another tenant; what it says now is judged like its first word.
                let learnt = if self.tenant_is_set { Ok(()) } else { self.learn(challenge.as_deref()) };
                Ok(Fetched::TokenRejected(learnt.err().unwrap_or(failure)))
            }
            Err(Stop::Failed(refused)) => Err(refused),
        }
    }

    async fn ask(&self, errand: &Errand, token: Option<&str>) -> Result<Fetched, Stop> {
        let reached = |address| {
            let network = if self.is_proxied(Peer::Vault) { Network::Proxy } else { Network::of(address) };
            *self.network.lock().unwrap_or_else(PoisonError::into_inner) = Some(network);
        };
        let http = self.http.get().await.map_err(|failure| Stop::Failed(failure.into()))?;
        let asking = Asking {
            http: &http,
            connection: &self.connection,
            token,
            metrics: &self.metrics,
            reached: &reached,
        };
        Ok(match errand {
            Errand::Read { source, recheck, step } => {
                let of = match step {
                    ReadStep::Source => source.clone(),
                    ReadStep::Current => source.at(None),
                    ReadStep::Version(version) => source.at(Some(version.clone())),
                    ReadStep::Versions(link) => {
                        let (page, _) = client::versions(asking, source, link.as_ref()).await?;
                        return Ok(Fetched::Versions(page));
                    }
                };
                let (reading, date) = client::get(asking, &of, *recheck).await?;
                Fetched::Read(reading, date)
            }
            Errand::List(link) => {
                let (page, date) = client::list(asking, link.as_ref()).await?;
                Fetched::Listed(page, date)
            }
            Errand::Prove(permission) => {
                client::prove(asking, *permission).await?;
                Fetched::Permitted
            }
        })
    }

    /// Asks without a token, and returns the tenant that the vault's challenge names; it must name one if none is set.
    ///
    /// # Errors
    /// What stands in the way, or [`Failure::UntrustedVaultHost`] if what answers is no vault.
    pub(in crate::vault) async fn challenge(&self) -> Result<Option<String>, Failure> {
        match self.ask(&Errand::Prove(Permission::Read), None).await {
            Err(Stop::Unauthorized { challenge, .. }) => {
                let challenge = challenge.unwrap_or_default();
                let named = challenge::tenant(&challenge, self.connection.url.cloud());
                if self.tenant_is_set {
                    return Ok(named.ok());
                }
                self.learn(Some(&challenge))?;
                named.map(Some)
            }
            Ok(_) => Err(Failure::UntrustedVaultHost),
            Err(Stop::Failed(refused)) => Err(self.told(refused.failure)),
        }
    }

    /// Gets a token, if the tenant is known.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::vault) async fn token(&self) -> Result<(), Failure> {
        let tenant = self.tenant.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tenant = tenant.ok_or(Failure::UntrustedVaultHost)?;
        self.tokens.get(&tenant).await.map(|_| ()).map_err(|refused| self.told(refused.failure))
    }

    /// The vault's challenge names the tenant.
    async fn discover(&self, errand: &Errand) -> Result<Fetched, Refused> {
        match self.ask(errand, None).await {
            Err(Stop::Unauthorized { challenge, .. }) => {
                self.learn(challenge.as_deref())?;
                Ok(Fetched::Again)
            }
            // No vault answers someone without a token.
            Ok(_) => Err(Failure::UntrustedVaultHost.into()),
            Err(Stop::Failed(refused)) => Err(refused),
        }
    }

    fn learn(&self, challenge: Option<&str>) -> Result<(), Failure> {
        let tenant = challenge::tenant(challenge.unwrap_or_default(), self.connection.url.cloud())?;
        *self.tenant.lock().unwrap_or_else(PoisonError::into_inner) = Some(tenant.into());
        Ok(())
    }
}
