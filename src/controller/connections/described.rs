//! From a connection's spec to what the plane knows, made once a generation; or the sentence that says why it cannot
//! be used.

use crate::api::{
    ClusterIdentity, ClusterKeyVault, Grant, KeyVault, KeyVaultStatus, READY, ReadSettings, WorkloadIdentity,
    condition,
};
use crate::controller::index::VaultKey;
use crate::controller::watch::Replaced;
use crate::plan::{Confirmation, Readers, has_selector};
use crate::vault::{
    Connection, CredentialName, CustomCloud, Identity, InvalidUrl, ManagedIdentityId, Rate, ServiceVersion,
    Terms, VaultUrl,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::core::object::HasStatus;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};

/// The kinds of connection, by what sets them apart.
pub(in crate::controller) trait ConnectionKind:
    Resource<DynamicType = ()>
    + HasStatus<Status = KeyVaultStatus>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Whether it is for objects of many namespaces, in a kind that an operator may lack the right to.
    const SHARED: bool;

    /// How the vault is read.
    fn settings(&self) -> &ReadSettings;

    /// Who may read what; `None`: objects of its namespace everything.
    fn allow(&self) -> Option<&[Grant]>;

    /// The connection. Where each namespace reads as itself, the namespace in it is empty: [`as_read_by`] fills it in.
    ///
    /// # Errors
    /// A sentence that names the field, for a spec that the schema would refuse (one stored before a rule came).
    fn connection(&self) -> Result<Connection, String>;

    /// Its name among connections.
    fn key(&self) -> VaultKey {
        let metadata = self.meta();
        VaultKey {
            namespace: metadata.namespace.as_deref().map(Into::into),
            name: metadata.name.as_deref().unwrap_or_default().into(),
        }
    }
}

impl ConnectionKind for KeyVault {
    const SHARED: bool = false;

    fn settings(&self) -> &ReadSettings {
        &self.spec.settings
    }

    fn allow(&self) -> Option<&[Grant]> {
        None
    }

    fn connection(&self) -> Result<Connection, String> {
        let Some(workload) = &self.spec.identity.workload_identity else {
            return Err(
                "spec.identity needs workloadIdentity with serviceAccountName and clientId.".to_owned()
            );
        };
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        build(VaultUrl::parse(&self.spec.url), self.settings(), workload_identity(namespace, workload))
    }
}

impl ConnectionKind for ClusterKeyVault {
    const SHARED: bool = true;

    fn settings(&self) -> &ReadSettings {
        &self.spec.settings
    }

    fn allow(&self) -> Option<&[Grant]> {
        Some(&self.spec.allow)
    }

    fn connection(&self) -> Result<Connection, String> {
        let url = match &self.spec.cloud {
            None => VaultUrl::parse(&self.spec.url),
            Some(cloud) => {
                let cloud = CustomCloud::new(&cloud.authority, &cloud.audience, cloud.ca_bundle.as_deref())
                    .map_err(|error| format!("spec.cloud.{error}"))?;
                VaultUrl::parse_custom(&self.spec.url, cloud)
            }
        };
        build(url, self.settings(), cluster_identity(&self.spec.identity)?)
    }
}

/// A connection as objects of a namespace read through it.
pub(in crate::controller) fn as_read_by(connection: &Connection, reader: &str) -> Connection {
    let mut connection = connection.clone();
    if let Identity::WorkloadIdentity { namespace, .. } = &mut connection.identity
        && namespace.is_empty()
    {
        reader.clone_into(namespace);
    }
    connection
}

/// The connection of each namespace, of which this is one's.
pub(super) fn of_each(connection: &Connection) -> Option<Connection> {
    let mut connection = connection.clone();
    let Identity::WorkloadIdentity { namespace, .. } = &mut connection.identity else { return None };
    namespace.clear();
    Some(connection)
}

/// A connection as it was shown last, or as we wrote it since.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Described {
    /// Which state of the object this is.
    pub(super) resource_version: Option<String>,
    /// Which states it took the place of, where we wrote it.
    pub(super) replaced: Replaced,
    /// What follows from its spec.
    pub(in crate::controller) spec: Arc<DescribedSpec>,
    /// What its status says.
    pub(in crate::controller) status: Option<KeyVaultStatus>,
    /// What of it is confirmed to go.
    pub(in crate::controller) removals: Confirmation,
}

/// What follows from the spec of a connection.
#[derive(Debug)]
pub(in crate::controller) struct DescribedSpec {
    uid: Option<String>,
    pub(super) generation: Option<i64>,
    pub(super) created: Option<Time>,
    pub(super) connection: Result<Connection, String>,
    /// On what terms the vault is asked.
    pub(in crate::controller) terms: Terms,
    /// The connection's floor of every interval.
    pub(in crate::controller) min_refresh_interval: String,
    /// Who may read what; `None`: objects of its namespace everything.
    pub(super) allow: Option<Vec<Grant>>,
    /// Failures in a row to write its status.
    pub(super) failures: AtomicU32,
    /// How many removals were held when its status was last looked at.
    pub(super) held: AtomicUsize,
}

impl Described {
    /// What an object says `now`; `before` is what was last known of it.
    pub(in crate::controller) fn new<K: ConnectionKind>(
        vault: &K,
        before: Option<&Self>,
        now: Timestamp,
    ) -> Self {
        let (metadata, status) = (vault.meta(), vault.status().cloned());
        let confirmed = before.map(|before| before.removals).unwrap_or_default();
        let removals = Confirmation::of(metadata.annotations.as_ref(), confirmed, now);
        let resource_version = metadata.resource_version.clone();
        let same =
            before.filter(|old| old.spec.uid == metadata.uid && old.spec.generation == metadata.generation);
        if let Some(old) = same {
            return Self {
                resource_version,
                replaced: Replaced::default(),
                spec: Arc::clone(&old.spec),
                status,
                removals,
            };
        }
        let settings = vault.settings();
        let rate = settings
            .limits
            .as_ref()
            .map(|limits| Rate { requests_per_second: limits.requests_per_second, burst: limits.burst });
        let spec = DescribedSpec {
            uid: metadata.uid.clone(),
            generation: metadata.generation,
            created: metadata.creation_timestamp.clone(),
            connection: vault.connection(),
            // What a namespace may create bounds what that namespace reads, nobody else.
            terms: Terms {
                detect: settings.detect,
                host_rate: rate.filter(|_| K::SHARED),
                handle_rate: rate.filter(|_| !K::SHARED),
            },
            min_refresh_interval: settings.min_refresh_interval.clone(),
            allow: vault.allow().map(<[Grant]>::to_vec),
            failures: AtomicU32::new(0),
            held: AtomicUsize::new(0),
        };
        Self { resource_version, replaced: Replaced::default(), spec: Arc::new(spec), status, removals }
    }

    /// Whether it says that it is Ready.
    pub(in crate::controller) fn is_ready(&self) -> bool {
        let ready = self.status.as_ref().and_then(|status| condition(&status.conditions, READY));
        ready.is_some_and(|ready| ready.status == "True")
    }
}

impl DescribedSpec {
    /// Who reads through it.
    pub(super) const fn readers(&self) -> Readers {
        match (&self.allow, &self.connection) {
            (None, _) => Readers::Namespace,
            (Some(_), Ok(Connection { identity: Identity::WorkloadIdentity { .. }, .. })) => Readers::Each,
            (Some(_), _) => Readers::Shared,
        }
    }

    /// Whether a grant selects namespaces by their labels.
    pub(super) fn selects_by_labels(&self) -> bool {
        self.allow.iter().flatten().any(has_selector)
    }
}

fn cluster_identity(identity: &ClusterIdentity) -> Result<Identity, String> {
    let ClusterIdentity {
        workload_identity: workload,
        operator_identity,
        managed_identity,
        service_principal,
    } = identity;
    match (workload, operator_identity, managed_identity, service_principal) {
        (Some(workload), None, None, None) => Ok(workload_identity("", workload)),
        (None, Some(_), None, None) => Ok(Identity::Operator),
        (None, None, Some(managed), None) => {
            let ids = [
                managed.client_id.clone().map(ManagedIdentityId::ClientId),
                managed.object_id.clone().map(ManagedIdentityId::ObjectId),
                managed.resource_id.clone().map(ManagedIdentityId::ResourceId),
            ];
            let mut ids = ids.into_iter().flatten();
            match (ids.next(), ids.next()) {
                (id, None) => Ok(Identity::ManagedIdentity { id }),
                (_, Some(_)) => {
                    Err("spec.identity.managedIdentity must have at most one of clientId, objectId and resourceId."
                        .to_owned())
                }
            }
        }
        (None, None, None, Some(principal)) => Ok(Identity::ServicePrincipal {
            tenant_id: principal.tenant_id.clone(),
            client_id: principal.client_id.clone(),
            credential: CredentialName::parse(&principal.credential_file)
                .map_err(|error| format!("spec.identity.servicePrincipal.credentialFile: {error}"))?,
        }),
        _ => Err(
            "spec.identity must be exactly one of workloadIdentity, operatorIdentity, managedIdentity and servicePrincipal."
                .to_owned(),
        ),
    }
}

/// The ServiceAccount is always one of the namespace that reads: no spec can name another's.
fn workload_identity(namespace: &str, workload: &WorkloadIdentity) -> Identity {
    Identity::WorkloadIdentity {
        namespace: namespace.to_owned(),
        service_account: workload.service_account_name.clone(),
        client_id: workload.client_id.clone(),
        tenant_id: workload.tenant_id.clone(),
    }
}

fn build(
    url: Result<VaultUrl, InvalidUrl>,
    settings: &ReadSettings,
    identity: Identity,
) -> Result<Connection, String> {
    let url = url.map_err(|error| format!("spec.url: {error}"))?;
    let service_version = ServiceVersion::parse(&settings.service_version)
        .map_err(|error| format!("spec.serviceVersion: {error}"))?;
    Ok(Connection { url, identity, service_version })
}
