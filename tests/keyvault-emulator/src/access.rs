//! Who may do what in a vault.
//!
//! Invariant: without a grant nothing is allowed; a denial of one secret wins over every grant.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::call::Call;

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

/// A permission on secrets, in the words of access policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Read values.
    Get,
    /// List secrets, versions and deleted secrets.
    List,
    /// Make versions and change their metadata.
    Set,
    /// Soft-delete.
    Delete,
    /// Undo a soft delete.
    Recover,
    /// Delete for good.
    Purge,
}

impl Permission {
    /// Every permission there is.
    pub const ALL: [Self; 6] = [Self::Get, Self::List, Self::Set, Self::Delete, Self::Recover, Self::Purge];

    /// The word an `AccessDenied` message uses.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Set => "set",
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
    grants: BTreeMap<String, BTreeSet<Permission>>,
    denials: BTreeSet<(String, String)>,
}

impl Access {
    /// Replaces what the client may do.
    pub(crate) fn grant(&mut self, client: &str, permissions: &[Permission]) {
        self.grants.insert(client.to_lowercase(), permissions.iter().copied().collect());
    }

    /// Takes everything from the client, its denials too.
    pub(crate) fn revoke(&mut self, client: &str) {
        let client = client.to_lowercase();
        self.grants.remove(&client);
        self.denials.retain(|(denied, _)| *denied != client);
    }

    pub(crate) fn deny(&mut self, client: &str, secret: &str) {
        self.denials.insert((client.to_lowercase(), secret.to_lowercase()));
    }

    pub(crate) fn allows(&self, client: &str, call: &Call) -> bool {
        let client = client.to_lowercase();
        let granted =
            self.grants.get(&client).is_some_and(|granted| granted.contains(&call.operation.permission()));
        granted && !self.denials.contains(&(client, call.name.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Operation;

    fn get(name: &str) -> Call {
        Call { operation: Operation::Get, name: name.into(), version: None }
    }

    #[test]
    fn a_denied_secret_is_refused_while_others_are_read() {
        let mut access = Access::default();
        assert!(!access.allows("app", &get("db")));
        access.grant("APP", &Permission::ALL);
        access.deny("app", "DB");
        assert!(!access.allows("app", &get("db")));
        assert!(access.allows("app", &get("other")));
        access.revoke("app");
        access.grant("app", &[Permission::Get]);
        assert!(access.allows("app", &get("db")));
    }

    #[test]
    fn get_without_list_reads_but_never_lists() {
        let mut access = Access::default();
        access.grant("app", &[Permission::Get]);
        let list = Call { operation: Operation::List, name: String::new(), version: None };
        assert!(access.allows("app", &get("db")) && !access.allows("app", &list));
    }
}
