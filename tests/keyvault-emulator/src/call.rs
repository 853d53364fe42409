//! What a request to a vault asks for: method and path read into an operation, a name and a version.
//!
//! Invariant: a [`Call`] holds only names that Key Vault would accept.

use hyper::Method;
use serde::{Deserialize, Serialize};

use crate::{access::Permission, refusal::Refusal};

/// An operation of the secrets API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// `GET /secrets/{name}[/{version}]`
    Get,
    /// `GET /secrets`
    List,
    /// `GET /secrets/{name}/versions`
    ListVersions,
    /// `PUT /secrets/{name}`
    Set,
    /// `PATCH /secrets/{name}[/{version}]`
    Update,
    /// `DELETE /secrets/{name}`
    Delete,
    /// `GET /deletedsecrets/{name}`
    GetDeleted,
    /// `GET /deletedsecrets`
    ListDeleted,
    /// `POST /deletedsecrets/{name}/recover`
    Recover,
    /// `DELETE /deletedsecrets/{name}`
    Purge,
}

impl Operation {
    /// The access-policy permission this operation needs; role grants are kept in the same words.
    #[must_use]
    pub fn permission(self) -> Permission {
        match self {
            Self::Get | Self::GetDeleted => Permission::Get,
            Self::List | Self::ListVersions | Self::ListDeleted => Permission::List,
            Self::Set | Self::Update => Permission::Set,
            Self::Delete => Permission::Delete,
            Self::Recover => Permission::Recover,
            Self::Purge => Permission::Purge,
        }
    }

    /// The RBAC data action, as a `ForbiddenByRbac` message names it.
    pub(crate) fn data_action(self) -> &'static str {
        match self {
            Self::Get => "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            Self::List | Self::ListVersions | Self::ListDeleted | Self::GetDeleted => {
                "Microsoft.KeyVault/vaults/secrets/readMetadata/action"
            }
            Self::Set => "Microsoft.KeyVault/vaults/secrets/setSecret/action",
            Self::Update => "Microsoft.KeyVault/vaults/secrets/update/action",
            Self::Delete => "Microsoft.KeyVault/vaults/secrets/delete",
            Self::Recover => "Microsoft.KeyVault/vaults/secrets/recover/action",
            Self::Purge => "Microsoft.KeyVault/vaults/secrets/purge/action",
        }
    }
}

/// One request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) operation: Operation,
    /// As the client wrote it; empty for the two lists.
    pub(crate) name: String,
    pub(crate) version: Option<String>,
}

impl Call {
    /// Reads method and path; a trailing slash changes nothing, as both official SDKs send one.
    pub(crate) fn parse(method: &Method, path: &str) -> Result<Self, Refusal> {
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<&str> = trimmed.split('/').skip(1).collect();
        let (operation, name, version) = match (method.as_str(), segments.as_slice()) {
            ("GET", ["secrets"]) => (Operation::List, "", None),
            ("GET", ["secrets", name, "versions"]) => (Operation::ListVersions, *name, None),
            ("GET", ["secrets", name]) => (Operation::Get, *name, None),
            ("GET", ["secrets", name, version]) => (Operation::Get, *name, Some(*version)),
            ("PUT", ["secrets", name]) => (Operation::Set, *name, None),
            ("PATCH", ["secrets", name]) => (Operation::Update, *name, None),
            ("PATCH", ["secrets", name, version]) => (Operation::Update, *name, Some(*version)),
            ("DELETE", ["secrets", name]) => (Operation::Delete, *name, None),
            ("GET", ["deletedsecrets"]) => (Operation::ListDeleted, "", None),
            ("GET", ["deletedsecrets", name]) => (Operation::GetDeleted, *name, None),
            ("DELETE", ["deletedsecrets", name]) => (Operation::Purge, *name, None),
            ("POST", ["deletedsecrets", name, "recover"]) => (Operation::Recover, *name, None),
            (_, ["secrets" | "deletedsecrets", ..]) => return Err(Refusal::method_not_allowed()),
            _ => return Err(Refusal::no_such_path()),
        };
        if !matches!(operation, Operation::List | Operation::ListDeleted) {
            valid_name(name)?;
        }
        Ok(Self { operation, name: name.to_owned(), version: version.map(str::to_owned) })
    }
}

/// Letters, digits and hyphens, 1 to 127 of them.
pub(crate) fn valid_name(name: &str) -> Result<(), Refusal> {
    let allowed = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if allowed && (1..=127).contains(&name.len()) { Ok(()) } else { Err(Refusal::invalid_name(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_slash_asks_for_the_latest_version() {
        let with = Call::parse(&Method::GET, "/secrets/db/").unwrap();
        assert_eq!(with, Call::parse(&Method::GET, "/secrets/db").unwrap());
        assert_eq!(with, Call { operation: Operation::Get, name: "db".into(), version: None });
    }

    #[test]
    fn a_name_outside_the_alphabet_is_a_bad_parameter() {
        for path in ["/secrets/a_b", "/secrets/a%2Fb", "/secrets//", "/deletedsecrets/a.b"] {
            let refusal = Call::parse(&Method::GET, path).unwrap_err();
            assert_eq!((refusal.status.as_u16(), refusal.code), (400, "BadParameter"), "{path}");
        }
        assert!(Call::parse(&Method::GET, &format!("/secrets/{}", "a".repeat(128))).is_err());
        assert!(Call::parse(&Method::GET, &format!("/secrets/{}", "a".repeat(127))).is_ok());
    }

    #[test]
    fn a_path_beside_the_api_is_not_found() {
        assert_eq!(Call::parse(&Method::GET, "/").unwrap_err().status.as_u16(), 404);
        assert_eq!(Call::parse(&Method::POST, "/secrets/db").unwrap_err().status.as_u16(), 405);
    }
}
