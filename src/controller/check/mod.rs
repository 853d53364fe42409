//! What `vaultsync check` needs of a cluster: the connection that is meant, and as whom it reads for whom.
//!
//! Objects are found by lists of one name, for that is the right that the operator has; a terminal's user has it too.

mod checked;

pub use checked::Checked;

use super::SecretAccess;
use super::api_server::ApiServer;
use super::connections::{ConnectionKind as _, as_read_by};
use super::error::Error;
use super::token_request::TokenRequests;
use super::watch::Guarded;
use crate::api::{ClusterKeyVault, KeyVault, VaultKind, VaultRef, VaultSecretSync};
use crate::lease::Tenure;
use crate::plan::{self, Problem, Tenant, UsedSource, has_selector};
use crate::vault::{self, Connection, Credentials, Identity, Transport};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;
use thiserror::Error;

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection of a namespace.
    KeyVault,
    /// A connection of the platform's.
    ClusterKeyVault,
    /// The connection of an object, and whether the object may use it.
    VaultSecretSync,
}

/// What is checked, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its namespace; for a `ClusterKeyVault` the one that would read.
    pub namespace: Option<String>,
}

/// Why nothing was checked.
#[derive(Debug, Error)]
pub enum CheckError {
    /// There is no such object.
    #[error("there is no {kind} {name}{}", place(.namespace.as_deref()))]
    NotFound {
        /// The kind.
        kind: Cow<'static, str>,
        /// The name.
        name: String,
        /// The namespace, of a kind that has one.
        namespace: Option<String>,
    },
    /// The object cannot use its connection, or the connection cannot be used.
    #[error("{reason}: {message}")]
    Unusable {
        /// The word that the object's Ready would have.
        reason: &'static str,
        /// What is wrong, and what to do about it.
        message: String,
    },
    /// For whom it would be read is not said.
    #[error("ClusterKeyVault {0} reads as a ServiceAccount of each namespace: say which one by --namespace")]
    NamespaceNeeded(String),
    /// There is such an object, of which this release does not understand all.
    #[error(
        "{kind} {name}{} cannot be decoded: it has what this release does not know. Check it with the release that wrote it, or write it as this one understands it",
        place(.namespace.as_deref())
    )]
    NotUnderstood {
        /// The kind.
        kind: Cow<'static, str>,
        /// The name.
        name: String,
        /// The namespace, of a kind that has one.
        namespace: Option<String>,
    },
    /// The API server does not say what there is.
    #[error("{kind} objects cannot be read: {error}")]
    Unreadable {
        /// The kind.
        kind: Cow<'static, str>,
        /// What the API server answered.
        error: Error,
    },
}

fn place(namespace: Option<&str>) -> String {
    namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default()
}

impl From<Problem> for CheckError {
    fn from(problem: Problem) -> Self {
        Self::Unusable { reason: problem.reason.as_str(), message: problem.message }
    }
}

/// Checks a connection, step by step; of an object each that it uses, or why that cannot be tried.
///
/// # Errors
/// See [`CheckError`]; what fails in a step is no error.
pub async fn check(
    client: Client,
    transport: &Transport,
    credentials: Credentials,
    subject: &Subject,
) -> Result<Vec<Result<Checked, CheckError>>, CheckError> {
    let server = ApiServer::new(client, None, SecretAccess::default(), Tenure::endless());
    let mut checked = Vec::new();
    for found in resolve(&server, subject).await? {
        checked.push(match found {
            Ok((name, connection)) => {
                let (url, identity) = (connection.url.as_str().to_owned(), as_whom(&connection.identity));
                let assertions = Arc::new(TokenRequests(server.clone()));
                let steps = vault::check(connection, transport, assertions, credentials.clone()).await;
                Ok(Checked { connection: name, url, identity, steps })
            }
            Err(error) => Err(error),
        });
    }
    Ok(checked)
}

/// A connection with its name, or why there is none.
type Resolved = Result<(String, Connection), CheckError>;

async fn resolve(server: &ApiServer, subject: &Subject) -> Result<Vec<Resolved>, CheckError> {
    let namespace = subject.namespace.as_deref();
    let own = namespace.unwrap_or("default");
    Ok(match subject.kind {
        Kind::KeyVault => vec![of_key_vault(server, &subject.name, own).await],
        Kind::ClusterKeyVault => {
            let vault = of_cluster(server, &subject.name).await?;
            if vault.spec.identity.workload_identity.is_some() && namespace.is_none() {
                return Err(CheckError::NamespaceNeeded(subject.name.clone()));
            }
            vec![shared(&vault, own)]
        }
        Kind::VaultSecretSync => {
            let api: Api<Guarded<VaultSecretSync>> = Api::namespaced(server.client().clone(), own);
            let object = find(server, api, &subject.name, Some(own)).await?;
            let sources = plan::sources(&object.spec, &[])?;
            let mut connections = Vec::new();
            for (place, vault) in object.spec.vault_refs().into_iter().enumerate() {
                let used: Vec<_> = sources.used.iter().filter(|used| used.vault == place).collect();
                connections.push(of_object(server, vault, &used, own).await);
            }
            connections
        }
    })
}

/// A connection of an object that reads `used` through it.
async fn of_object(
    server: &ApiServer,
    vault_ref: &VaultRef,
    used: &[&UsedSource],
    namespace: &str,
) -> Resolved {
    match vault_ref.kind {
        VaultKind::KeyVault => of_key_vault(server, &vault_ref.name, namespace).await,
        VaultKind::ClusterKeyVault => {
            let vault = of_cluster(server, &vault_ref.name).await?;
            let allow = &vault.spec.allow;
            let labels = if allow.iter().any(has_selector) {
                let api: Api<Guarded<Namespace>> = Api::all(server.client().clone());
                let found = find(server, api, namespace, None).await?;
                Some(found.metadata.labels.unwrap_or_default())
            } else {
                None
            };
            plan::permits(vault_ref, allow, Tenant { namespace, labels: labels.as_ref() }, used)?;
            shared(&vault, namespace)
        }
    }
}

async fn of_key_vault(
    server: &ApiServer,
    name: &str,
    namespace: &str,
) -> Result<(String, Connection), CheckError> {
    let api: Api<Guarded<KeyVault>> = Api::namespaced(server.client().clone(), namespace);
    let vault = find(server, api, name, Some(namespace)).await?;
    let connection = vault.connection().map_err(|message| invalid("VaultInvalid", message))?;
    Ok((format!("KeyVault {name}{}", place(Some(namespace))), connection))
}

async fn of_cluster(server: &ApiServer, name: &str) -> Result<ClusterKeyVault, CheckError> {
    let api: Api<Guarded<ClusterKeyVault>> = Api::all(server.client().clone());
    find(server, api, name, None).await
}

fn shared(vault: &ClusterKeyVault, namespace: &str) -> Result<(String, Connection), CheckError> {
    let connection = vault.connection().map_err(|message| invalid("VaultInvalid", message))?;
    let connection = as_read_by(&connection, namespace);
    let mut name = format!("ClusterKeyVault {}", vault.name_any());
    if matches!(connection.identity, Identity::WorkloadIdentity { .. }) {
        name = format!("{name} for namespace {namespace}");
    }
    Ok((name, connection))
}

const fn invalid(reason: &'static str, message: String) -> CheckError {
    CheckError::Unusable { reason, message }
}

fn as_whom(identity: &Identity) -> String {
    match identity {
        Identity::WorkloadIdentity { namespace, service_account, client_id, .. } => {
            format!(
                "ServiceAccount {service_account} of namespace {namespace}, federated with client id {client_id}"
            )
        }
        Identity::Operator => "the federated identity of the pod in which this runs".to_owned(),
        Identity::ManagedIdentity { .. } => "a managed identity of the node on which this runs".to_owned(),
        Identity::ServicePrincipal { client_id, credential, .. } => {
            format!("service principal {client_id} with the credential file {credential}")
        }
    }
}

/// The object of this name among those that `api` shows; its status is not needed, so it may be one that is not understood.
async fn find<K>(
    server: &ApiServer,
    api: Api<Guarded<K>>,
    name: &str,
    namespace: Option<&str>,
) -> Result<K, CheckError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let kind = || K::kind(&());
    let params = ListParams::default().fields(&format!("metadata.name={name}"));
    let found = server.send("list", api.list(&params)).await;
    let found = found.map_err(|error| CheckError::Unreadable { kind: kind(), error })?;
    let (name, namespace) = (name.to_owned(), namespace.map(str::to_owned));
    match found.items.into_iter().next().map(Guarded::understood) {
        Some(Some(object)) => Ok(object),
        Some(None) => Err(CheckError::NotUnderstood { kind: kind(), name, namespace }),
        None => Err(CheckError::NotFound { kind: kind(), name, namespace }),
    }
}
