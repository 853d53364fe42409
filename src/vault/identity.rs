//! As whom a vault is read, in words that are checked before anything is looked up by them.

use std::{fmt, sync::Arc};

use thiserror::Error;

/// As whom a vault is read.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Identity {
    /// A ServiceAccount's token, exchanged for one of the application or managed identity that trusts it.
    WorkloadIdentity {
        /// The namespace of the ServiceAccount.
        namespace: String,
        /// Its name.
        service_account: String,
        /// The client id of the application or managed identity.
        client_id: String,
        /// The tenant; when absent, the vault's own challenge names it.
        tenant_id: Option<String>,
    },
    /// The operator pod's own federated identity, as the workload identity webhook injects it.
    Operator,
    /// A managed identity of the node, or of whatever else offers managed identities to the pod.
    ManagedIdentity {
        /// Which one; when absent, the one that was assigned to the node itself.
        id: Option<ManagedIdentityId>,
    },
    /// An application with a secret or certificate of its own.
    ServicePrincipal {
        /// The tenant.
        tenant_id: String,
        /// The application's client id.
        client_id: String,
        /// The file with its secret or certificate.
        credential: CredentialName,
    },
}

impl Identity {
    /// Whether objects of many namespaces read as this identity.
    pub(super) const fn is_shared(&self) -> bool {
        !matches!(self, Self::WorkloadIdentity { .. })
    }
}

/// By what a managed identity is known.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ManagedIdentityId {
    /// Its client id.
    ClientId(String),
    /// Its object (principal) id.
    ObjectId(String),
    /// Its resource id, `/subscriptions/...`.
    ResourceId(String),
}

/// The name of a credential's file: one name within one folder, never a path.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CredentialName(Arc<str>);

impl CredentialName {
    /// Takes 1 to 253 letters, digits, `-`, `_` and `.`, of which no dot comes first or second in a row.
    ///
    /// # Errors
    /// [`InvalidCredentialName`] for anything else.
    pub fn parse(name: &str) -> Result<Self, InvalidCredentialName> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let fits = (1..=253).contains(&name.len())
            && name.bytes().all(plain)
            && !name.starts_with('.')
            && !name.contains("..");
        if fits { Ok(Self(name.into())) } else { Err(InvalidCredentialName) }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name cannot be that of a credential's file.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "the credential file must be the name of a file in the operator's folder of credentials: 1 to 253 letters, digits, hyphens, underscores and single dots, without a slash and without a dot in front"
)]
pub struct InvalidCredentialName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_named_by_one_name_within_its_folder() {
        for name in ["shop", "shop.pem", "shop_2.client-secret", "A"] {
            assert_eq!(CredentialName::parse(name).unwrap().as_str(), name);
        }
        let long = "a".repeat(254);
        for name in [
            "",
            ".",
            "..",
            "..data",
            ".hidden",
            "a/b",
            "/etc/passwd",
            "a..b",
            "a\\b",
            "a b",
            "a\0",
            "\u{e4}",
            &long,
        ] {
            assert_eq!(CredentialName::parse(name), Err(InvalidCredentialName), "{name}");
        }
    }
}
