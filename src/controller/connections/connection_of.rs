//! The connections of an object, if they are there, and what the object may read through each.
//!
//! Every round asks anew and before the plane is asked, so that a grant that was withdrawn counts at once.

use super::described::{Described, DescribedSpec, as_read_by};
use super::namespace_labels::{Labelled, Labels};
use super::store::Lookup;
use crate::api::{VaultKind, VaultRef, VaultSecretSync};
use crate::controller::Context;
use crate::controller::index::VaultKey;
use crate::object_key::ObjectKey;
use crate::plan::{Permit, Problem, Tenant, UsedSource, may_read_secret, permits, reads_secrets};
use crate::reason::Reason;
use crate::vault::{Connection, ObjectName, Terms};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use std::sync::Arc;

/// What became of the connections that an object names.
pub(in crate::controller) enum ConnectionsOf {
    /// The watches have not shown enough yet; the object is woken when they have.
    Unknown,
    /// One is not there, or this object may not use it.
    Unusable(Vec<Problem>),
    /// Here, in the order in which the spec [names](crate::api::VaultSecretSyncSpec::vault_refs) them.
    Usable(Vec<Usable>),
}

/// What became of one.
enum ConnectionOf {
    Unknown,
    Unusable(Problem),
    Usable(Usable),
}

/// A connection that the object may use.
pub(in crate::controller) struct Usable {
    /// As the spec names it.
    pub(in crate::controller) vault: VaultRef,
    pub(in crate::controller) connection: Connection,
    /// On what terms that is asked, whichever of the object's connections lead there.
    pub(in crate::controller) terms: Terms,
    /// Where that is written.
    pub(in crate::controller) described: Arc<Described>,
    /// The labels of the object's namespace, where grants look at them.
    labels: Option<Arc<Labelled>>,
}

impl Usable {
    /// As what each of its sources may be read by an object of this namespace.
    ///
    /// # Errors
    /// The problem of an object that names what nothing permits.
    pub(in crate::controller) fn permits(
        &self,
        object: &VaultSecretSync,
        sources: &[&UsedSource],
    ) -> Result<Vec<Permit>, Problem> {
        let Some(allow) = &self.described.spec.allow else { return Ok(vec![Permit::FULL; sources.len()]) };
        permits(&self.vault, allow, self.reader(object), sources)
    }

    /// Whether an object of this namespace may read secrets of which only the name is known, one after the other.
    pub(in crate::controller) fn names<'a>(
        &'a self,
        object: &'a VaultSecretSync,
    ) -> impl Fn(&ObjectName) -> bool + 'a {
        let reader = self.reader(object);
        move |name| {
            let allow = self.described.spec.allow.as_deref();
            allow.is_none_or(|allow| may_read_secret(allow, reader, name))
        }
    }

    /// Whether an object of this namespace may read any secret at all.
    pub(in crate::controller) fn reads_secrets(&self, object: &VaultSecretSync) -> bool {
        self.described.spec.allow.as_deref().is_none_or(|allow| reads_secrets(allow, self.reader(object)))
    }

    fn reader<'a>(&'a self, object: &'a VaultSecretSync) -> Tenant<'a> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        Tenant { namespace, labels: self.labels.as_ref().map(|namespace| namespace.labels()) }
    }
}

/// Looks the connections up.
pub(in crate::controller) fn connections_of(context: &Context, object: &VaultSecretSync) -> ConnectionsOf {
    let (mut problems, mut usable) = (Vec::new(), Vec::new());
    for vault in object.spec.vault_refs() {
        match connection_of(context, object, vault) {
            ConnectionOf::Unknown => return ConnectionsOf::Unknown,
            ConnectionOf::Unusable(problem) => problems.push(problem),
            ConnectionOf::Usable(connection) => usable.push(connection),
        }
    }
    if !problems.is_empty() {
        return ConnectionsOf::Unusable(problems);
    }
    join_terms(&mut usable);
    ConnectionsOf::Usable(usable)
}

/// Several names may lead to one connection, which is asked on terms that suit all of them.
fn join_terms(usable: &mut [Usable]) {
    let all: Vec<(Connection, Terms)> = if usable.len() > 1 {
        usable.iter().map(|own| (own.connection.clone(), own.terms)).collect()
    } else {
        Vec::new()
    };
    for own in usable {
        let same = all.iter().filter(|(connection, _)| *connection == own.connection);
        own.terms = same.fold(own.terms, |terms, (_, other)| terms.and(*other));
    }
}

fn connection_of(context: &Context, object: &VaultSecretSync, vault_ref: &VaultRef) -> ConnectionOf {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let key = VaultKey::of(namespace, vault_ref);
    let described = match context.connections.find(&key) {
        Lookup::Unknown => return ConnectionOf::Unknown,
        Lookup::Unreadable(why) => {
            return ConnectionOf::Unusable(Problem::vault_unreadable(vault_ref, why.sentence()));
        }
        Lookup::Missing => {
            let field = object.spec.field_of(vault_ref);
            return ConnectionOf::Unusable(Problem::vault_not_found(vault_ref, &field));
        }
        Lookup::Found(described) => described,
    };
    if let Some(sentence) = too_many(context, &key, &described) {
        return ConnectionOf::Unusable(Problem::too_many_connections(vault_ref, &sentence));
    }
    let labels = if described.spec.allow.is_some() && described.spec.selects_by_labels() {
        match context.namespace_labels.of(namespace) {
            Labels::Off => None,
            Labels::Unknown => return ConnectionOf::Unknown,
            Labels::Known(namespace) => Some(namespace),
        }
    } else {
        None
    };
    match &described.spec.connection {
        Err(sentence) => ConnectionOf::Unusable(Problem::vault_invalid(vault_ref, sentence)),
        Ok(connection) => {
            let connection = as_read_by(connection, namespace);
            let (vault, terms) = (vault_ref.clone(), described.spec.terms);
            ConnectionOf::Usable(Usable { vault, connection, terms, described, labels })
        }
    }
}

/// An object said something for a reason. Some things show only in the use of a connection, which itself has not
/// changed: that it is one too many, or works through a handle that it shares. Then it is looked at.
pub(in crate::controller) fn heard_of(
    context: &Context,
    object: &VaultSecretSync,
    key: &ObjectKey,
    reason: Option<Reason>,
) {
    for vault in object.spec.vault_refs() {
        let vault_key = VaultKey::of(&key.namespace, vault);
        let shows = match vault.kind {
            VaultKind::KeyVault => reason == Some(Reason::TooManyConnections),
            VaultKind::ClusterKeyVault => !context.connections.is_ready(&vault_key),
        };
        if shows {
            context.triggers.connection(&vault_key);
        }
    }
}

/// Whether a connection that no object uses may be tried. Of a namespace's own only the oldest are, for whoever may
/// create them could have any number tried.
pub(super) fn may_be_tried(context: &Context, key: &VaultKey, described: &Described) -> bool {
    let Some(namespace) = &key.namespace else { return true };
    let all = context.connections.of_namespace(namespace);
    let older = all.iter().filter(|(other, spec)| rank(other, &spec.spec) < rank(key, &described.spec));
    older.count() < context.settings.max_connections_per_namespace
}

fn rank<'a>(key: &'a VaultKey, spec: &'a DescribedSpec) -> (Option<&'a Time>, &'a str) {
    (spec.created.as_ref(), &key.name)
}

/// Why a `KeyVault` is one too many for its namespace, if it is: the oldest that objects use have their place, so
/// that new ones never take it from them.
pub(super) fn too_many(context: &Context, key: &VaultKey, described: &Described) -> Option<String> {
    let most = context.settings.max_connections_per_namespace;
    let used = context.index.vaults_in_use(key.namespace.as_deref()?);
    if used.len() <= most || !used.contains(key) {
        return None;
    }
    let own = rank(key, &described.spec);
    let older = used.iter().filter(|other| match context.connections.find(other) {
        Lookup::Found(found) => rank(other, &found.spec) < own,
        _ => false,
    });
    (older.count() >= most).then(|| {
        format!(
            "objects of this namespace already use {most} older KeyVaults, the most that vaultsync serves for one namespace: delete those that are not needed, let objects share one, or have --max-connections-per-namespace raised."
        )
    })
}
