//! Key Vault's error bodies, word for word where the words are known.
//!
//! Clients decide by status, `error.code` and `error.innererror.code`; people read the message, which names caller,
//! action and resource as the service does.

use hyper::StatusCode;
use serde_json::json;

use crate::{
    access::AccessModel,
    answer::Answer,
    call::{Call, ObjectKind, Operation},
    fault::Forbidden,
    token::Caller,
};

/// The client address that firewall messages and headers show; from a documentation range.
pub(crate) const CLIENT_ADDRESS: &str = "203.0.113.7";

/// The one region every emulated vault is in.
pub(crate) const REGION: &str = "westeurope";

/// Why a request is not done.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) inner: Option<&'static str>,
    /// The `WWW-Authenticate` header of a 401.
    pub(crate) challenge: Option<String>,
    pub(crate) retry_after: Option<u32>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), inner: None, challenge: None, retry_after: None }
    }

    fn inner(self, inner: &'static str) -> Self {
        Self { inner: Some(inner), ..self }
    }

    pub(crate) fn bad_parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadParameter", message)
    }

    pub(crate) fn invalid_name(name: &str) -> Self {
        Self::bad_parameter(format!("The request URI contains an invalid name: {name}"))
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "The HTTP method is not allowed here.")
    }

    pub(crate) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", "The requested resource does not exist.")
    }

    pub(crate) fn not_found(kind: ObjectKind, name: &str) -> Self {
        let word = kind.word();
        Self::missing(
            kind,
            format!(
                "A {word} with (name/id) {name} was not found in this key vault. If you recently deleted this {word} \
                 you may be able to recover it using the correct recovery command. For help resolving this issue, \
                 please see https://go.microsoft.com/fwlink/?linkid=2125182"
            ),
        )
    }

    pub(crate) fn deleted_not_found(kind: ObjectKind, name: &str) -> Self {
        Self::missing(kind, format!("Deleted {} not found: {name}", kind.title()))
    }

    fn missing(kind: ObjectKind, message: String) -> Self {
        let code = match kind {
            ObjectKind::Secret => "SecretNotFound",
            ObjectKind::Key => "KeyNotFound",
            ObjectKind::Certificate => "CertificateNotFound",
        };
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn pending_not_found(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "PendingCertificateNotFound",
            format!("Pending certificate not found: {name}"),
        )
    }

    pub(crate) fn still_pending() -> Self {
        Self::conflict(
            "A new key vault certificate can not be created or imported while a pending key vault certificate's \
             status is inProgress."
                .to_owned(),
        )
    }

    pub(crate) fn deleted_but_recoverable(kind: ObjectKind, name: &str) -> Self {
        let (title, word) = (kind.title(), kind.word());
        Self::conflict(format!(
            "{title} {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this \
             state, the {word} can only be recovered or purged."
        ))
        .inner("ObjectIsDeletedButRecoverable")
    }

    pub(crate) fn being_deleted(kind: ObjectKind, name: &str) -> Self {
        Self::conflict(format!("{} {name} is currently being deleted.", kind.title()))
            .inner("ObjectIsBeingDeleted")
    }

    pub(crate) fn being_recovered(kind: ObjectKind, name: &str) -> Self {
        Self::conflict(format!("{} {name} is currently being recovered.", kind.title()))
            .inner("ObjectIsBeingRecovered")
    }

    /// A secret or key that backs a certificate is changed through the certificate alone.
    pub(crate) fn managed(kind: ObjectKind, operation: Operation) -> Self {
        let inner = match kind {
            ObjectKind::Key => "KeyManagedByKeyVault",
            ObjectKind::Secret | ObjectKind::Certificate => "SecretManagedByKeyVault",
        };
        Self::forbidden(format!(
            "Operation \"{}\" is not allowed on this {}, since it is associated with a certificate. Perform the \
             operation on the corresponding certificate. For more information refer to \
             https://docs.microsoft.com/en-us/azure/key-vault/certificates/about-certificates#composition-of-a-certificate",
            operation.word(),
            kind.word(),
        ))
        .inner(inner)
    }

    fn conflict(message: String) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }

    fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    pub(crate) fn disabled(kind: ObjectKind) -> Self {
        let inner = match kind {
            ObjectKind::Secret => "SecretDisabled",
            ObjectKind::Key => "KeyDisabled",
            ObjectKind::Certificate => "CertificateDisabled",
        };
        Self::forbidden(format!("Operation get is not allowed on a disabled {}.", kind.word())).inner(inner)
    }

    pub(crate) fn throttled(retry_after: Option<u32>) -> Self {
        let message = "Request was not processed because too many requests were received. Reason: \
                       VaultRequestTypeLimitReached";
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "Throttled", message) }
    }

    /// A server error; the code follows the status.
    pub(crate) fn server_error(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
            StatusCode::BAD_GATEWAY => "BadGateway",
            StatusCode::GATEWAY_TIMEOUT => "GatewayTimeout",
            _ => "InternalServerError",
        };
        Self::new(status, code, "An internal error has occurred.")
    }

    pub(crate) fn unauthorized(message: impl Into<String>, challenge: String) -> Self {
        Self { challenge: Some(challenge), ..Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message) }
    }

    /// What a caller without the right reads, in the words of the vault's permission system.
    pub(crate) fn not_granted(model: AccessModel, caller: &Caller, call: &Call, vault: &str) -> Self {
        match model {
            AccessModel::Rbac => Self::by_rbac(caller, call, vault),
            AccessModel::AccessPolicy => Self::by_access_policy(caller, call, vault),
        }
    }

    /// A scripted 403.
    pub(crate) fn scripted(kind: Forbidden, caller: &Caller, call: &Call, vault: &str) -> Self {
        match kind {
            Forbidden::ByRbac => Self::by_rbac(caller, call, vault),
            Forbidden::AccessDenied => Self::by_access_policy(caller, call, vault),
            Forbidden::ByFirewall => Self::forbidden(format!(
                "Client address is not authorized and caller is not a trusted service.\r\nClient address: \
                 {CLIENT_ADDRESS}\r\nCaller: {caller}\r\nVault: {vault};location={REGION}"
            ))
            .inner("ForbiddenByFirewall"),
            Forbidden::ByConnection => Self::forbidden(format!(
                "Public network access is disabled and request is not from a trusted service nor via an approved \
                 private link.\r\nCaller: {caller}\r\nVault: {vault};location={REGION}"
            ))
            .inner("ForbiddenByConnection"),
            Forbidden::ByPolicy => Self::forbidden(format!(
                "The operation on {} '{}' was denied by policy.\r\nVault: {vault};location={REGION}",
                call.kind.word(),
                call.name
            ))
            .inner("ForbiddenByPolicy"),
            Forbidden::SecretDisabled => Self::disabled(call.kind),
        }
    }

    fn by_rbac(caller: &Caller, call: &Call, vault: &str) -> Self {
        let scope = format!(
            "/subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/emulator/providers/\
             microsoft.keyvault/vaults/{vault}"
        );
        let resource = if call.name.is_empty() {
            scope
        } else {
            format!("{scope}/{}/{}", call.kind.collection(), call.name.to_lowercase())
        };
        Self::forbidden(format!(
            "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role \
             definitions were changed recently, please observe propagation time.\r\nCaller: {caller}\r\nAction: \
             '{}'\r\nResource: '{resource}'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: \
             null\r\nVault: {vault};location={REGION}\r\n",
            call.data_action()
        ))
        .inner("ForbiddenByRbac")
    }

    fn by_access_policy(caller: &Caller, call: &Call, vault: &str) -> Self {
        Self::forbidden(format!(
            "The user, group or application '{caller}' does not have {} {} permission on key vault \
             '{vault};location={REGION}'. For help resolving this issue, please see \
             https://go.microsoft.com/fwlink/?linkid=2125287",
            call.kind.collection(),
            call.permission().word()
        ))
        .inner("AccessDenied")
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let error = match refusal.inner {
            Some(inner) => {
                json!({"code": refusal.code, "message": refusal.message, "innererror": {"code": inner}})
            }
            None => json!({"code": refusal.code, "message": refusal.message}),
        };
        let mut answer = Self::json(refusal.status, &json!({"error": error}));
        answer.code = Some(refusal.code.to_owned());
        answer.inner = refusal.inner.map(str::to_owned);
        if let Some(challenge) = refusal.challenge {
            answer = answer.header("www-authenticate", challenge);
        }
        if let Some(seconds) = refusal.retry_after {
            answer = answer.header("retry-after", seconds.to_string());
        }
        answer
    }
}
