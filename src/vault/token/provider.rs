//! How each kind of identity gets its token: what it proves itself with, and where.
//!
//! Invariant: everything that can be replaced while the operator runs (assertions, token files, credential files) is
//! read anew for each token.

use std::{io::ErrorKind, path::Path, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use zeroize::Zeroizing;

use super::{
    Token, TokenProvider,
    assertion::{Assertion, AssertionError, Assertions},
    credential_file::{self, Material},
    credentials::Credentials,
    exchange::{self, Application, Proof},
    managed_identity,
};
use crate::vault::{
    cloud::CloudRef,
    connection::Connection,
    failure::{CredentialProblem, Failure, IdentityProblem, Refused, ServiceAccount},
    files::{self, CREDENTIALS},
    identity::{CredentialName, Identity},
    rest::{http_client::HttpClient, transport::Transport},
};

/// The API server answers a TokenRequest in milliseconds; a hanging one must not hold the handle.
const ASSERTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Gets the tokens of a connection's identity.
pub(in crate::vault) struct Provider {
    pub(in crate::vault) http: Arc<HttpClient>,
    pub(in crate::vault) transport: Transport,
    pub(in crate::vault) connection: Connection,
    pub(in crate::vault) assertions: Arc<dyn Assertions>,
    pub(in crate::vault) credentials: Arc<Credentials>,
}

impl Provider {
    /// The tenant as far as it is set; `None` if only the vault can tell.
    pub(in crate::vault) fn tenant(&self) -> Option<Arc<str>> {
        match &self.connection.identity {
            Identity::WorkloadIdentity { tenant_id, .. } => tenant_id.as_deref().map(Into::into),
            Identity::ServicePrincipal { tenant_id, .. } => Some(tenant_id.as_str().into()),
            Identity::Operator => {
                let own = self.credentials.operator.as_ref();
                Some(own.map(|own| own.tenant_id.as_str()).unwrap_or_default().into())
            }
            // It is of one tenant, which nobody needs to name.
            Identity::ManagedIdentity { .. } => Some("".into()),
        }
    }

    const fn cloud(&self) -> &CloudRef {
        self.connection.url.cloud()
    }

    async fn workload(&self, namespace: &str, service_account: &str) -> Result<Assertion, Refused> {
        let audience = self.cloud().exchange_audience();
        let assertion = self.assertions.assertion(namespace, service_account, audience);
        let account = || ServiceAccount { namespace: namespace.to_owned(), name: service_account.to_owned() };
        match tokio::time::timeout(ASSERTION_TIMEOUT, assertion).await {
            Ok(Ok(assertion)) => Ok(assertion),
            Ok(Err(AssertionError::ServiceAccountNotFound)) => {
                Err(Failure::ServiceAccountNotFound(account()).into())
            }
            Ok(Err(AssertionError::Forbidden)) => Err(Failure::TokenRequestForbidden(account()).into()),
            Ok(Err(AssertionError::NotMade)) | Err(_) => Err(Failure::TokenRequestFailed(account()).into()),
        }
    }

    async fn exchange(
        &self,
        tenant: &str,
        client_id: &str,
        authority_host: &str,
        proof: Proof,
    ) -> Result<Token, Refused> {
        let scope = self.cloud().scope();
        let application = Application { authority_host, scope: &scope, tenant, client_id };
        let http = self.http.get().await?;
        Box::pin(exchange::exchange(&http, &application, proof)).await
    }

    async fn operator(&self, tenant: &str) -> Result<Token, Refused> {
        let Some(own) = &self.credentials.operator else {
            return Err(Failure::WorkloadIdentityNotInjected { file_missing: false }.into());
        };
        let missing = Failure::WorkloadIdentityNotInjected { file_missing: true };
        let file = read(&own.token_file).await.map_err(|_| missing.clone())?;
        let token = std::str::from_utf8(&file).ok().map(str::trim).filter(|token| !token.is_empty());
        let assertion = Assertion::new(Zeroizing::new(token.ok_or(missing)?.to_owned()));
        let host = own.authority_host().filter(|host| self.cloud().trusts_authority(host));
        let host = host.unwrap_or_else(|| self.cloud().authority_host().to_owned());
        self.exchange(tenant, &own.client_id, &host, Proof::Assertion(assertion)).await
    }

    async fn principal(
        &self,
        tenant: &str,
        client_id: &str,
        name: &CredentialName,
    ) -> Result<Token, Refused> {
        let invalid = |problem| Failure::CredentialInvalid { file: name.clone(), problem };
        let file = read(&self.credentials.directory.join(name.as_str())).await;
        let file = file.map_err(|error| match error {
            Unread::NotFound => Failure::CredentialNotFound { file: name.clone() },
            Unread::Failed => invalid(CredentialProblem::Unreadable),
            Unread::TooLarge => invalid(CredentialProblem::TooLarge),
        })?;
        let host = self.cloud().authority_host();
        let proof = match credential_file::parse(&file).map_err(invalid)? {
            Material::Secret(secret) => Proof::Secret(secret),
            Material::Certificate(certificate) => {
                let now = (self.credentials.clock)();
                if now >= certificate.ends() {
                    let ended = Some(certificate.ends());
                    return Err(Failure::CredentialExpired { file: name.clone(), ended }.into());
                }
                if now < certificate.begins() {
                    return Err(invalid(CredentialProblem::NotYetValid).into());
                }
                let audience = format!("https://{host}/{tenant}/oauth2/v2.0/token");
                let assertion = certificate.assertion(client_id, &audience, now);
                Proof::Assertion(assertion.map_err(invalid)?)
            }
        };
        self.exchange(tenant, client_id, host, proof).await.map_err(|refused| match refused.failure {
            Failure::InvalidIdentity { problem: IdentityProblem::Code(7_000_222), .. } => {
                Failure::CredentialExpired { file: name.clone(), ended: None }.into()
            }
            _ => refused,
        })
    }
}

impl TokenProvider for Provider {
    fn token<'a>(&'a self, tenant: &'a str) -> BoxFuture<'a, Result<Token, Refused>> {
        Box::pin(async move {
            match &self.connection.identity {
                Identity::WorkloadIdentity { namespace, service_account, client_id, .. } => {
                    let assertion = self.workload(namespace, service_account).await?;
                    let host = self.cloud().authority_host();
                    self.exchange(tenant, client_id, host, Proof::Assertion(assertion)).await
                }
                Identity::Operator => self.operator(tenant).await,
                Identity::ManagedIdentity { id } => {
                    let http = self.transport.direct_client().await?;
                    let resource = self.cloud().resource();
                    managed_identity::token(&http, &self.credentials, id.as_ref(), resource).await
                }
                Identity::ServicePrincipal { client_id, credential, .. } => {
                    self.principal(tenant, client_id, credential).await
                }
            }
        })
    }
}

/// Why a file was not read.
enum Unread {
    NotFound,
    Failed,
    TooLarge,
}

/// A small file, in a buffer that is wiped.
async fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unread> {
    let path = path.to_owned();
    let read = move || {
        use std::io::Read as _;
        // To open a pipe waits for whoever writes into it.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let file = std::fs::File::open(path)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(credential_file::LARGEST + 1));
        file.take(credential_file::LARGEST as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let read: Result<_, std::io::Error> = CREDENTIALS.read(files::READ, read).await.ok_or(Unread::Failed)?;
    match read {
        Ok(bytes) if bytes.len() > credential_file::LARGEST => Err(Unread::TooLarge),
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Unread::NotFound),
        Err(_) => Err(Unread::Failed),
    }
}
