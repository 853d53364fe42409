//! Who may do what in a vault.
//!
//! Invariant: without a grant nothing is allowed, and a grant on secrets says nothing of keys or certificates; a denial
//! of one object wins over every grant.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::call::{Call, ObjectKind};

/// Which of Key Vault's two permission systems a vault uses; it decides the inner code of a 403.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AccessModel {
    /// Azure roles: a refusal is `ForbiddenByRbac`.
    #[default]
    Rbac,
    /// Access policies: a refusal is `AccessDenied`.
    AccessPolicy,
}

/// A permission on objects of one kind, in the words of access policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Read values, public keys or certificates.
    Get,
    /// List objects, versions and deleted objects.
    List,
    /// Make versions of secrets and change their metadata.
    Set,
    /// Make keys or certificates.
    Create,
    /// Bring keys or certificates.
    Import,
    /// Change metadata of keys or certificates.
    Update,
    /// Soft-delete.
    Delete,
    /// Undo a soft delete.
    Recover,
    /// Delete for good.
    Purge,
}

impl Permission {
    /// Every permission there is.
    pub const ALL: [Self; 9] = [
        Self::Get,
        Self::List,
        Self::Set,
        Self::Create,
        Self::Import,
        Self::Update,
        Self::Delete,
        Self::Recover,
        Self::Purge,
    ];

    /// The word an `AccessDenied` message uses.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Set => "set",
            Self::Create => "create",
            Self::Import => "import",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Recover => "recover",
            Self::Purge => "purge",
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Access {
    pub(crate) model: AccessModel,
    /// Client ids are compared in lower case, as Entra does.
    grants: BTreeMap<(String, ObjectKind), BTreeSet<Permission>>,
    denials: BTreeSet<(String, ObjectKind, String)>,
}

impl Access {
    /// Replaces what the client may do with objects of this kind.
    pub(crate) fn grant(&mut self, client: &str, kind: ObjectKind, permissions: &[Permission]) {
        self.grants.insert((client.to_lowercase(), kind), permissions.iter().copied().collect());
    }

    /// Takes everything from the client, its denials too.
    pub(crate) fn revoke(&mut self, client: &str) {
        let client = client.to_lowercase();
        self.grants.retain(|(granted, _), _| *granted != client);
        self.denials.retain(|(denied, ..)| *denied != client);
    }

    pub(crate) fn deny(&mut self, client: &str, kind: ObjectKind, name: &str) {
        self.denials.insert((client.to_lowercase(), kind, name.to_lowercase()));
    }

    pub(crate) fn allows(&self, client: &str, call: &Call) -> bool {
        let client = client.to_lowercase();
        let denial = (client.clone(), call.kind, call.name.to_lowercase());
        let granted =
            self.grants.get(&(client, call.kind)).is_some_and(|granted| granted.contains(&call.permission()));
        granted && !self.denials.contains(&denial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Operation;

    fn get(name: &str) -> Call {
        Call { kind: ObjectKind::Secret, operation: Operation::Get, name: name.into(), version: None }
    }

    #[test]
    fn a_denied_secret_is_refused_while_others_are_read() {
        let mut access = Access::default();
        assert!(!access.allows("app", &get("db")));
        access.grant("APP", ObjectKind::Secret, &Permission::ALL);
        access.deny("app", ObjectKind::Secret, "DB");
        assert!(!access.allows("app", &get("db")));
        assert!(access.allows("app", &get("other")));
        access.revoke("app");
        access.grant("app", ObjectKind::Secret, &[Permission::Get]);
        assert!(access.allows("app", &get("db")));
    }

    #[test]
    fn get_without_list_reads_but_never_lists() {
        let mut access = Access::default();
        access.grant("app", ObjectKind::Secret, &[Permission::Get]);
        let list =
            Call { kind: ObjectKind::Secret, operation: Operation::List, name: String::new(), version: None };
        assert!(access.allows("app", &get("db")) && !access.allows("app", &list));
    }

    #[test]
    fn a_grant_on_secrets_is_none_on_keys() {
        let mut access = Access::default();
        access.grant("app", ObjectKind::Secret, &Permission::ALL);
        let key = Call { kind: ObjectKind::Key, ..get("db") };
        assert!(access.allows("app", &get("db")) && !access.allows("app", &key));
        access.grant("app", ObjectKind::Key, &[Permission::Get]);
        access.deny("app", ObjectKind::Secret, "db");
        assert!(!access.allows("app", &get("db")) && access.allows("app", &key));
    }
}
