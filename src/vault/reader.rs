//! What a handle reads with: its HTTP client, its token and its tenant.
//!
//! One [`Reader::read`] is at most one request to the vault, so that the budget counts them all: learning the
//! tenant, or that a token is rejected, is an outcome of its own.

use std::sync::{Arc, OnceLock};

use reqwest::Client;

use super::{
    assertion::Assertions,
    challenge,
    client::{self, Got},
    connection::{Connection, Identity, Source},
    failure::Failure,
    jitter::Jitter,
    metrics::VaultMetrics,
    outcome::Outcome,
    token::{Federated, Tokens},
    transport::Transport,
};

/// What a handle reads with.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Connection,
    http: Client,
    tokens: Arc<Tokens>,
    tenant: OnceLock<String>,
    metrics: VaultMetrics,
}

impl Reader {
    /// A client of its own for `connection`; nothing is sent yet.
    pub(super) fn new(
        connection: Connection,
        transport: &Transport,
        assertions: Arc<dyn Assertions>,
        jitter: Jitter,
        metrics: VaultMetrics,
    ) -> Result<Self, Failure> {
        let http = transport.client()?;
        let Identity::WorkloadIdentity { tenant_id, .. } = &connection.identity;
        let tenant = OnceLock::new();
        if let Some(tenant_id) = tenant_id {
            tenant.get_or_init(|| tenant_id.clone());
        }
        let provider = Federated { http: http.clone(), connection: connection.clone(), assertions };
        let tokens = Tokens::new(Box::new(provider), jitter, metrics.clone());
        Ok(Self { connection, http, tokens, tenant, metrics })
    }

    /// Reads one source, or learns what it takes to read it.
    pub(super) async fn read(&self, source: &Source) -> Outcome {
        let Some(tenant) = self.tenant.get() else { return self.discover(source).await };
        let token = match self.tokens.get(tenant).await {
            Ok(token) => token,
            Err(refused) => {
                return Outcome::Failed { failure: refused.failure, retry_after: refused.retry_after };
            }
        };
        match client::get(&self.http, &self.connection, source, Some(&token), &self.metrics).await {
            Got::Value(reading) => Outcome::Read(reading),
            Got::Unauthorized { failure, .. } => {
                self.tokens.reject(&token);
                Outcome::TokenRejected(failure)
            }
            Got::Failed { failure, retry_after } => Outcome::Failed { failure, retry_after },
        }
    }

    /// The vault's challenge names the tenant.
    async fn discover(&self, source: &Source) -> Outcome {
        let failure = match client::get(&self.http, &self.connection, source, None, &self.metrics).await {
            Got::Unauthorized { challenge, .. } => {
                match challenge::tenant(challenge.as_deref().unwrap_or_default(), self.connection.url.cloud())
                {
                    Ok(tenant) => {
                        self.tenant.get_or_init(|| tenant);
                        return Outcome::Again;
                    }
                    Err(failure) => failure,
                }
            }
            // No vault gives a value to someone without a token.
            Got::Value(_) => Failure::UntrustedVaultHost,
            Got::Failed { failure, retry_after } => return Outcome::Failed { failure, retry_after },
        };
        Outcome::Failed { failure, retry_after: None }
    }
}
