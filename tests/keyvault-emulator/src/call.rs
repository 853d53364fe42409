//! What a request to a vault asks for: method and path read into a kind of object, an operation, a name and a
//! version.
//!
//! Invariant: a [`Call`] holds only names that Key Vault would accept.

use hyper::Method;
use serde::{Deserialize, Serialize};

use crate::{access::Permission, refusal::Refusal};

/// A kind of object in a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ObjectKind {
    /// Of `/secrets`.
    Secret,
    /// Of `/keys`.
    Key,
    /// Of `/certificates`.
    Certificate,
}

impl ObjectKind {
    /// Every kind there is.
    pub const ALL: [Self; 3] = [Self::Secret, Self::Key, Self::Certificate];

    /// The first segment of its paths; access policies use the same words.
    #[must_use]
    pub fn collection(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Key => "keys",
            Self::Certificate => "certificates",
        }
    }

    /// Its name in a sentence.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Key => "key",
            Self::Certificate => "certificate",
        }
    }

    /// Its name at the start of a sentence, and of an error code.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::Key => "Key",
            Self::Certificate => "Certificate",
        }
    }

    pub(crate) fn of_collection(collection: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.collection() == collection)
    }
}

/// An operation of the API; `{objects}` is `secrets`, `keys` or `certificates`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// `GET /{objects}/{name}[/{version}]`
    Get,
    /// `GET /{objects}`
    List,
    /// `GET /{objects}/{name}/versions`
    ListVersions,
    /// `PUT /secrets/{name}`
    Set,
    /// `POST /keys/{name}/create`, `POST /certificates/{name}/create`
    Create,
    /// `PUT /keys/{name}`, `POST /certificates/{name}/import`
    Import,
    /// `PATCH /{objects}/{name}[/{version}]`
    Update,
    /// `DELETE /{objects}/{name}`
    Delete,
    /// `GET /deleted{objects}/{name}`
    GetDeleted,
    /// `GET /deleted{objects}`
    ListDeleted,
    /// `POST /deleted{objects}/{name}/recover`
    Recover,
    /// `DELETE /deleted{objects}/{name}`
    Purge,
    /// `GET /certificates/{name}/policy`
    GetPolicy,
    /// `PATCH /certificates/{name}/policy`
    UpdatePolicy,
    /// `GET /certificates/{name}/pending`
    GetPending,
    /// `PATCH /certificates/{name}/pending`
    CancelPending,
    /// `DELETE /certificates/{name}/pending`
    DeletePending,
}

impl Operation {
    /// The access-policy permission this operation needs on an object of that kind; role grants are kept in the same
    /// words.
    #[must_use]
    pub fn permission(self, kind: ObjectKind) -> Permission {
        match self {
            Self::Get | Self::GetDeleted | Self::GetPolicy | Self::GetPending => Permission::Get,
            Self::List | Self::ListVersions | Self::ListDeleted => Permission::List,
            Self::Set => Permission::Set,
            Self::Update if kind == ObjectKind::Secret => Permission::Set,
            Self::Update | Self::UpdatePolicy | Self::CancelPending | Self::DeletePending => {
                Permission::Update
            }
            Self::Create => Permission::Create,
            Self::Import => Permission::Import,
            Self::Delete => Permission::Delete,
            Self::Recover => Permission::Recover,
            Self::Purge => Permission::Purge,
        }
    }

    /// The RBAC data action, as a `ForbiddenByRbac` message names it.
    fn data_action(self, kind: ObjectKind) -> String {
        let action = match (self, kind) {
            (Self::Get, ObjectKind::Secret) => "getSecret/action",
            (Self::List | Self::ListVersions | Self::ListDeleted | Self::GetDeleted, ObjectKind::Secret) => {
                "readMetadata/action"
            }
            (Self::Set, _) => "setSecret/action",
            (Self::Create, _) => "create/action",
            (Self::Import, _) => "import/action",
            (Self::Update | Self::UpdatePolicy | Self::CancelPending | Self::DeletePending, _) => {
                "update/action"
            }
            (Self::Delete, _) => "delete",
            (Self::Recover, _) => "recover/action",
            (Self::Purge, _) => "purge/action",
            _ => "read",
        };
        format!("Microsoft.KeyVault/vaults/{}/{action}", kind.collection())
    }

    /// How the service names it when a managed object refuses it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Create => "create",
            Self::Import => "import",
            Self::Update | Self::UpdatePolicy | Self::CancelPending | Self::DeletePending => "update",
            Self::Delete => "delete",
            Self::Recover => "recover",
            Self::Purge => "purge",
            Self::List | Self::ListVersions | Self::ListDeleted => "list",
            Self::Get | Self::GetDeleted | Self::GetPolicy | Self::GetPending => "get",
        }
    }
}

/// One request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) kind: ObjectKind,
    pub(crate) operation: Operation,
    /// As the client wrote it; empty for the two lists.
    pub(crate) name: String,
    pub(crate) version: Option<String>,
}

impl Call {
    /// Reads method and path; a trailing slash changes nothing, as both official SDKs send one.
    pub(crate) fn parse(method: &Method, path: &str) -> Result<Self, Refusal> {
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        let mut segments = trimmed.split('/').skip(1);
        let first = segments.next().unwrap_or_default();
        let rest: Vec<&str> = segments.collect();
        let live = ObjectKind::of_collection(first);
        let kind = live.or_else(|| ObjectKind::of_collection(first.strip_prefix("deleted")?));
        let kind = kind.ok_or_else(Refusal::no_such_path)?;
        let found = match live {
            Some(_) => of_present(method.as_str(), kind, &rest)?,
            None => of_deleted(method.as_str(), &rest),
        };
        let (operation, name, version) = found.ok_or_else(Refusal::method_not_allowed)?;
        if !matches!(operation, Operation::List | Operation::ListDeleted) {
            valid_name(name)?;
        }
        Ok(Self { kind, operation, name: name.to_owned(), version: version.map(str::to_owned) })
    }

    /// The permission this call needs.
    pub(crate) fn permission(&self) -> Permission {
        self.operation.permission(self.kind)
    }

    /// The RBAC data action this call needs.
    pub(crate) fn data_action(&self) -> String {
        self.operation.data_action(self.kind)
    }
}

/// Operation, name and version.
type Parts<'a> = (Operation, &'a str, Option<&'a str>);

fn of_present<'a>(method: &str, kind: ObjectKind, rest: &[&'a str]) -> Result<Option<Parts<'a>>, Refusal> {
    use ObjectKind::{Certificate, Key, Secret};
    Ok(Some(match (method, kind, rest) {
        // Certificate authorities and contacts are not there; nor may a certificate have these names.
        (_, Certificate, ["issuers" | "contacts", ..]) => return Err(Refusal::no_such_path()),
        ("GET", _, []) => (Operation::List, "", None),
        ("GET", _, [name, "versions"]) => (Operation::ListVersions, *name, None),
        ("POST", Key | Certificate, [name, "create"]) => (Operation::Create, *name, None),
        ("POST", Certificate, [name, "import"]) | ("PUT", Key, [name]) => (Operation::Import, *name, None),
        ("GET", Certificate, [name, "policy"]) => (Operation::GetPolicy, *name, None),
        ("PATCH", Certificate, [name, "policy"]) => (Operation::UpdatePolicy, *name, None),
        ("GET", Certificate, [name, "pending"]) => (Operation::GetPending, *name, None),
        ("PATCH", Certificate, [name, "pending"]) => (Operation::CancelPending, *name, None),
        ("DELETE", Certificate, [name, "pending"]) => (Operation::DeletePending, *name, None),
        ("GET", _, [name]) => (Operation::Get, *name, None),
        ("GET", _, [name, version]) => (Operation::Get, *name, Some(*version)),
        ("PUT", Secret, [name]) => (Operation::Set, *name, None),
        ("PATCH", _, [name]) => (Operation::Update, *name, None),
        ("PATCH", _, [name, version]) => (Operation::Update, *name, Some(*version)),
        ("DELETE", _, [name]) => (Operation::Delete, *name, None),
        _ => return Ok(None),
    }))
}

fn of_deleted<'a>(method: &str, rest: &[&'a str]) -> Option<Parts<'a>> {
    Some(match (method, rest) {
        ("GET", []) => (Operation::ListDeleted, "", None),
        ("GET", [name]) => (Operation::GetDeleted, *name, None),
        ("DELETE", [name]) => (Operation::Purge, *name, None),
        ("POST", [name, "recover"]) => (Operation::Recover, *name, None),
        _ => return None,
    })
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
        assert_eq!(
            with,
            Call { kind: ObjectKind::Secret, operation: Operation::Get, name: "db".into(), version: None }
        );
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
    fn keys_and_certificates_have_paths_of_their_own() {
        let parse = |method, path: &str| Call::parse(&method, path).map(|call| (call.kind, call.operation));
        let key = (ObjectKind::Key, Operation::Import);
        assert_eq!(parse(Method::PUT, "/keys/k").unwrap(), key);
        let pending = (ObjectKind::Certificate, Operation::GetPending);
        assert_eq!(parse(Method::GET, "/certificates/c/pending").unwrap(), pending);
        let version = Call::parse(&Method::GET, "/secrets/c/pending").unwrap().version;
        assert_eq!(version.as_deref(), Some("pending"), "only certificates have pending operations");
        assert_eq!(parse(Method::POST, "/secrets/s/create").unwrap_err().status.as_u16(), 405);
        assert_eq!(parse(Method::GET, "/certificates/issuers").unwrap_err().status.as_u16(), 404);
        assert_eq!(parse(Method::GET, "/deletedthings/x").unwrap_err().status.as_u16(), 404);
    }

    #[test]
    fn a_permission_is_one_of_the_kind_of_object() {
        let update = |kind| Operation::Update.permission(kind);
        assert_eq!(update(ObjectKind::Secret), Permission::Set);
        assert_eq!(update(ObjectKind::Key), Permission::Update);
        let action = |operation: Operation, kind| operation.data_action(kind);
        assert_eq!(
            action(Operation::Get, ObjectKind::Secret),
            "Microsoft.KeyVault/vaults/secrets/getSecret/action"
        );
        assert_eq!(action(Operation::Get, ObjectKind::Key), "Microsoft.KeyVault/vaults/keys/read");
        assert_eq!(
            action(Operation::GetPolicy, ObjectKind::Certificate),
            "Microsoft.KeyVault/vaults/certificates/read"
        );
    }

    #[test]
    fn a_path_beside_the_api_is_not_found() {
        assert_eq!(Call::parse(&Method::GET, "/").unwrap_err().status.as_u16(), 404);
        assert_eq!(Call::parse(&Method::POST, "/secrets/db").unwrap_err().status.as_u16(), 405);
    }
}
