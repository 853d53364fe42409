//! Every way in which a read can fail, as the user is told it.
//!
//! A failure has one bounded [reason](Failure::reason) and a sentence with the remedy. It is built from parsed
//! fields only (status, codes, ids and addresses that parse as such), never from the service's text, so nothing
//! that a vault, proxy or API server says can reach a condition or a log.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;

use super::{connection::ObjectKind, evidence::Network, identity::CredentialName};
use crate::reason::Reason;

/// The ServiceAccount that a connection reads as.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Whose call is refused, as far as the service names it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Principal {
    /// The object id, to which a role is assigned.
    pub object_id: Option<String>,
    /// The application (client) id.
    pub application_id: Option<String>,
    /// The vault's resource id: the scope at which a role is assigned.
    pub scope: Option<String>,
    /// The vault's name.
    pub vault: Option<String>,
    /// What it may not read.
    pub refused: ObjectKind,
}

/// Who was called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// The vault.
    Vault,
    /// The token service.
    Authority,
    /// What gives tokens of managed identities: IMDS, or the endpoint that was injected.
    ManagedIdentity,
}

/// Why the token service does not take an identity for what it says to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IdentityProblem {
    /// The token service's `AADSTS` number.
    Code(u32),
    /// Client or tenant cannot be ids at all.
    Malformed,
    /// The node has no such managed identity.
    NotAssigned,
    /// The node has several managed identities, and none was named.
    Ambiguous,
}

/// What is wrong with a credential's file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialProblem {
    /// It is there, but cannot be read.
    Unreadable,
    /// There is nothing in it.
    Empty,
    /// It is larger than any credential.
    TooLarge,
    /// It is neither a secret's text nor PEM nor PFX.
    Unknown,
    /// A private key without its certificate.
    NoCertificate,
    /// A certificate without its private key.
    NoPrivateKey,
    /// The private key is encrypted, or the PFX has a password.
    Encrypted,
    /// The private key is not of RSA, or its size is not between 2048 and 8192 bits.
    UnsupportedKey,
    /// The certificate is not valid yet.
    NotYetValid,
}

/// Why a proxy leads nowhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyProblem {
    /// Its name does not resolve.
    HostNotFound,
    /// No connection to it.
    Unreachable,
    /// No connection through it: it did not connect in time, or what it connected to was cut.
    NotConnected,
    /// Its own certificate is not trusted.
    Untrusted,
    /// 407.
    CredentialsRequired,
    /// It does not connect: it may not, or it cannot.
    Refused,
}

/// How far a failure reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    /// This source only; the others are read on.
    Source,
    /// This source, unless every source is refused.
    Permission,
    /// All that is read through the handle: its gate closes.
    Handle,
}

/// Why a source, or all of a handle, cannot be read.
///
/// `Display` is one or a few sentences with the remedy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// 404.
    SecretNotFound,
    /// 403: the version is disabled.
    SecretDisabled,
    /// 404 of a key.
    KeyNotFound,
    /// The version of a key is disabled.
    KeyDisabled,
    /// There is no enabled version before the current one.
    NoPreviousVersion(ObjectKind),
    /// There are more versions than are looked through for the one before the current.
    TooManyVersions(ObjectKind),
    /// 403 `ForbiddenByRbac`.
    MissingRole(Box<Principal>),
    /// 403 `AccessDenied` in a vault with access policies.
    MissingAccessPolicy(Box<Principal>),
    /// 403 `ForbiddenByFirewall`, with the address that the vault saw.
    Firewall(Option<IpAddr>),
    /// 403 `ForbiddenByConnection`, with the way that the request took.
    PublicAccessDisabled(Option<Network>),
    /// 403 of another kind.
    Forbidden,
    /// 401: the token's issuer is another tenant than the vault's.
    WrongTenant {
        /// The tenant that the vault trusts.
        vault: Option<String>,
        /// The tenant that issued the token.
        token: Option<String>,
    },
    /// 401: the token is meant for another service.
    WrongAudience,
    /// 401, though the token is fresh.
    TokenRejected,
    /// 401: the vault asks for claims that a fresh token does not have.
    ClaimsChallenge,
    /// The host names a token service outside its cloud, or none.
    UntrustedVaultHost,
    /// No federated credential matches the assertion.
    FederationMismatch {
        /// The token service's `AADSTS` number.
        code: u32,
        /// The assertion's issuer.
        issuer: Option<String>,
        /// The assertion's subject.
        subject: Option<String>,
        /// The assertion's audience.
        audience: Option<String>,
        /// The client id of the identity that lacks it.
        client_id: Option<String>,
    },
    /// The identity is not what the token service knows.
    InvalidIdentity {
        /// What it does not know.
        problem: IdentityProblem,
        /// The identity's id, as it was asked for.
        client_id: Option<String>,
        /// The tenant it was asked for in.
        tenant: Option<String>,
    },
    /// The token service refuses for another reason.
    TokenRefused {
        /// The token service's `AADSTS` number, if it gave one.
        code: Option<u32>,
    },
    /// 429.
    Throttled(Peer),
    /// The vault's name does not resolve.
    VaultHostNotFound,
    /// No TLS session.
    TlsFailure(Peer),
    /// The files of the certificates to trust say nothing.
    CertificatesUnread,
    /// No connection.
    NetworkUnreachable(Peer),
    /// The proxy leads nowhere.
    ProxyFailed {
        /// Where it was to lead.
        peer: Peer,
        /// What is wrong.
        problem: ProxyProblem,
    },
    /// 5xx, reset, or no answer in time.
    ServiceUnavailable {
        /// Who failed.
        peer: Peer,
        /// The HTTP status, if there was one.
        status: Option<u16>,
    },
    /// 400: the service does not take the name.
    InvalidName,
    /// 400: the service does not take the request.
    RequestRejected,
    /// The ServiceAccount does not exist.
    ServiceAccountNotFound(ServiceAccount),
    /// The operator may not request tokens for the ServiceAccount.
    TokenRequestForbidden(ServiceAccount),
    /// The API server made no token for the ServiceAccount.
    TokenRequestFailed(ServiceAccount),
    /// The operator pod has no federated identity.
    WorkloadIdentityNotInjected {
        /// Whether variables are there, but not the token's file.
        file_missing: bool,
    },
    /// Nothing here gives tokens of managed identities.
    ManagedIdentityUnavailable {
        /// The HTTP status, if there was one.
        status: Option<u16>,
    },
    /// There is no such file among the operator's credentials.
    CredentialNotFound {
        /// The file.
        file: CredentialName,
    },
    /// The file cannot be used as a credential.
    CredentialInvalid {
        /// The file.
        file: CredentialName,
        /// What is wrong with it.
        problem: CredentialProblem,
    },
    /// The secret or certificate was valid once.
    CredentialExpired {
        /// The file.
        file: CredentialName,
        /// When the certificate ended; a secret does not say.
        ended: Option<Timestamp>,
    },
    /// The vault takes only tokens bound to a client certificate.
    TokenBindingRequired,
    /// The answer is not what Key Vault answers.
    MalformedResponse {
        /// Who answered.
        peer: Peer,
        /// Where the answer stops making sense, if it is JSON at all: line and column.
        at: Option<(usize, usize)>,
    },
    /// The answer is larger than any secret can be.
    TooLarge,
}

impl Failure {
    /// The bounded word for this failure: the reason of a condition, the label of a metric.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::SecretNotFound | Self::NoPreviousVersion(ObjectKind::Secret) => Reason::SecretNotFound,
            Self::SecretDisabled => Reason::SecretDisabled,
            Self::KeyNotFound | Self::NoPreviousVersion(ObjectKind::Key) => Reason::KeyNotFound,
            Self::KeyDisabled => Reason::KeyDisabled,
            Self::MissingRole(_) => Reason::MissingRole,
            Self::MissingAccessPolicy(_) => Reason::MissingAccessPolicy,
            Self::Firewall(_) => Reason::Firewall,
            Self::PublicAccessDisabled(_) => Reason::PublicAccessDisabled,
            Self::Forbidden => Reason::Forbidden,
            Self::WrongTenant { .. } => Reason::WrongTenant,
            Self::WrongAudience => Reason::WrongAudience,
            Self::TokenRejected => Reason::TokenRejected,
            Self::ClaimsChallenge => Reason::ClaimsChallenge,
            Self::UntrustedVaultHost => Reason::UntrustedVaultHost,
            Self::FederationMismatch { .. } => Reason::FederationMismatch,
            Self::InvalidIdentity { .. } => Reason::InvalidIdentity,
            Self::TokenRefused { .. } => Reason::TokenRefused,
            Self::Throttled(_) => Reason::Throttled,
            Self::VaultHostNotFound => Reason::VaultHostNotFound,
            Self::TlsFailure(_) | Self::CertificatesUnread => Reason::TlsFailure,
            Self::NetworkUnreachable(_) => Reason::NetworkUnreachable,
            Self::ProxyFailed { .. } => Reason::ProxyFailed,
            Self::ServiceUnavailable { .. } => Reason::ServiceUnavailable,
            Self::InvalidName => Reason::InvalidName,
            Self::RequestRejected => Reason::RequestRejected,
            Self::ServiceAccountNotFound(_) => Reason::ServiceAccountNotFound,
            Self::TokenRequestForbidden(_) => Reason::TokenRequestForbidden,
            Self::TokenRequestFailed(_) => Reason::TokenRequestFailed,
            Self::WorkloadIdentityNotInjected { .. } => Reason::WorkloadIdentityNotInjected,
            Self::ManagedIdentityUnavailable { .. } => Reason::ManagedIdentityUnavailable,
            Self::CredentialNotFound { .. } => Reason::CredentialNotFound,
            Self::CredentialInvalid { .. } => Reason::CredentialInvalid,
            Self::CredentialExpired { .. } => Reason::CredentialExpired,
            Self::TokenBindingRequired => Reason::TokenBindingRequired,
            Self::MalformedResponse { .. } => Reason::MalformedResponse,
            Self::TooLarge | Self::TooManyVersions(_) => Reason::TooLarge,
        }
    }

    /// Whether the service says that the source is not there to be read, which proves that the identity may read.
    pub(super) const fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::SecretNotFound
                | Self::SecretDisabled
                | Self::KeyNotFound
                | Self::KeyDisabled
                | Self::NoPreviousVersion(_)
        )
    }

    /// Whether there is no such source, so that its keys may go.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::SecretNotFound | Self::KeyNotFound | Self::NoPreviousVersion(_))
    }

    /// The same, told of this kind of object.
    pub(super) fn of(self, kind: ObjectKind) -> Self {
        match self {
            Self::MissingRole(principal) => {
                Self::MissingRole(Box::new(Principal { refused: kind, ..*principal }))
            }
            Self::MissingAccessPolicy(principal) => {
                Self::MissingAccessPolicy(Box::new(Principal { refused: kind, ..*principal }))
            }
            other => other,
        }
    }

    pub(super) const fn scope(&self) -> Scope {
        match self {
            Self::SecretNotFound
            | Self::SecretDisabled
            | Self::KeyNotFound
            | Self::KeyDisabled
            | Self::NoPreviousVersion(_)
            | Self::TooManyVersions(_)
            | Self::InvalidName
            | Self::RequestRejected
            | Self::TooLarge => Scope::Source,
            Self::MissingRole(_) | Self::MissingAccessPolicy(_) | Self::Forbidden => Scope::Permission,
            _ => Scope::Handle,
        }
    }

    /// Whether no token is given, for want of a setting.
    pub(super) const fn is_of_token(&self) -> bool {
        matches!(
            self,
            Self::FederationMismatch { .. }
                | Self::InvalidIdentity { .. }
                | Self::TokenRefused { .. }
                | Self::ServiceAccountNotFound(_)
                | Self::TokenRequestForbidden(_)
                | Self::WorkloadIdentityNotInjected { .. }
                | Self::CredentialNotFound { .. }
                | Self::CredentialInvalid { .. }
                | Self::CredentialExpired { .. }
        )
    }

    /// Whether it needs someone to change a setting, so that trying soon again is of no use.
    pub(super) const fn is_lasting(&self) -> bool {
        !matches!(
            self,
            Self::Throttled(_)
                | Self::VaultHostNotFound
                | Self::TlsFailure(_)
                | Self::CertificatesUnread
                | Self::NetworkUnreachable(_)
                | Self::ProxyFailed { .. }
                | Self::ServiceUnavailable { .. }
                | Self::MalformedResponse { .. }
                | Self::TokenRequestFailed(_)
                | Self::ManagedIdentityUnavailable { .. }
        )
    }
}

impl std::error::Error for Failure {}

/// A request that brought nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refused {
    /// Why.
    pub(super) failure: Failure,
    /// How long the service asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { failure, retry_after: None }
    }
}
