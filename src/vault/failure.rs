//! Every way in which a read can fail, as the user is told it.
//!
//! A failure has one bounded [reason](Failure::reason) and a sentence with the remedy. It is built from parsed
//! fields only (status, codes, ids and addresses that parse as such), never from the service's text, so nothing
//! that a vault, proxy or API server says can reach a condition or a log.

use std::{fmt, net::IpAddr};

use strum::{EnumDiscriminants, IntoStaticStr, VariantArray};

/// Whose call is refused, as far as the service names it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Principal {
    /// The object id, to which a role is assigned.
    pub object_id: Option<String>,
    /// The application (client) id.
    pub application_id: Option<String>,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.object_id, &self.application_id) {
            (Some(object), _) => write!(f, "the identity with object id {object}"),
            (None, Some(application)) => write!(f, "the identity with client id {application}"),
            (None, None) => f.write_str("the identity"),
        }
    }
}

/// Who was called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// The vault.
    Vault,
    /// The token service.
    Authority,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vault => "the vault",
            Self::Authority => "the token service",
        })
    }
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
/// `Display` is one or two sentences with the remedy.
#[derive(Clone, Debug, EnumDiscriminants, Eq, IntoStaticStr, PartialEq)]
#[strum_discriminants(name(Kind), derive(IntoStaticStr, VariantArray), vis(pub(super)))]
pub enum Failure {
    /// 404.
    SecretNotFound,
    /// 403: the version is disabled.
    SecretDisabled,
    /// 403 `ForbiddenByRbac`.
    MissingRole(Principal),
    /// 403 `AccessDenied` in a vault with access policies.
    MissingAccessPolicy(Principal),
    /// 403 `ForbiddenByFirewall`, with the address that the vault saw.
    Firewall(Option<IpAddr>),
    /// 403 `ForbiddenByConnection`.
    PublicAccessDisabled,
    /// 403 of another kind.
    Forbidden,
    /// 401: the token's issuer is another tenant than the vault's.
    WrongTenant,
    /// 401: the token is meant for another service.
    WrongAudience,
    /// 401, though the token is fresh.
    TokenRejected,
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
    },
    /// The client or tenant is unknown to the token service.
    InvalidIdentity {
        /// The token service's `AADSTS` number, if it gave one.
        code: Option<u32>,
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
    /// No connection.
    NetworkUnreachable(Peer),
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
    ServiceAccountNotFound,
    /// The operator may not make tokens for the ServiceAccount.
    TokenRequestForbidden,
    /// The API server made no token for the ServiceAccount.
    TokenRequestFailed,
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
    pub fn reason(&self) -> &'static str {
        self.into()
    }

    /// Every word that [`Self::reason`] can be.
    pub fn reasons() -> impl Iterator<Item = &'static str> {
        Kind::VARIANTS.iter().map(Into::into)
    }

    /// Whether the failure is of the whole vault or identity wherever it appears, whatever the source.
    #[must_use]
    pub fn concerns_all(&self) -> bool {
        self.scope() == Scope::Handle
    }

    pub(super) const fn scope(&self) -> Scope {
        match self {
            Self::SecretNotFound
            | Self::SecretDisabled
            | Self::InvalidName
            | Self::RequestRejected
            | Self::MalformedResponse { peer: Peer::Vault, .. }
            | Self::TooLarge => Scope::Source,
            Self::MissingRole(_) | Self::MissingAccessPolicy(_) | Self::Forbidden => Scope::Permission,
            _ => Scope::Handle,
        }
    }

    /// Whether it needs someone to change a setting, so that trying soon again is of no use.
    pub(super) const fn is_lasting(&self) -> bool {
        !matches!(
            self,
            Self::Throttled(_)
                | Self::VaultHostNotFound
                | Self::TlsFailure(_)
                | Self::NetworkUnreachable(_)
                | Self::ServiceUnavailable { .. }
                | Self::MalformedResponse { .. }
                | Self::TokenRequestFailed
        )
    }
}

impl fmt::Display for Failure {
    #[expect(clippy::too_many_lines, reason = "one arm a failure, all of it text")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecretNotFound => f.write_str(
                "The vault has no secret (or version) of this name, or it is deleted. Check name and vault, or recover it with `az keyvault secret recover`.",
            ),
            Self::SecretDisabled => {
                f.write_str("The secret is disabled in the vault. Enable it, or drop the reference.")
            }
            Self::MissingRole(principal) => write!(
                f,
                "The vault uses Azure RBAC and {principal} may not read secrets. Assign it the role `Key Vault Secrets User` at the vault's scope; a new role takes up to 5 minutes.",
            ),
            Self::MissingAccessPolicy(principal) => write!(
                f,
                "The vault uses access policies and {principal} may not read secrets. Give it the secret permission `get`.",
            ),
            Self::Firewall(Some(address)) => write!(
                f,
                "The vault's firewall refuses the address {address}. Allow it, or use a service endpoint or private endpoint.",
            ),
            Self::Firewall(None) => f.write_str(
                "The vault's firewall or network security perimeter refuses the cluster's address. Allow the cluster's outgoing address, or use a service endpoint or private endpoint.",
            ),
            Self::PublicAccessDisabled => f.write_str(
                "The vault takes no calls from public networks. Reach it through a private endpoint and link its private DNS zone to the cluster's network.",
            ),
            Self::Forbidden => f.write_str(
                "The vault forbids this read for a reason other than role, access policy or network (HTTP 403). Check Azure Policy assignments and deny assignments on the vault.",
            ),
            Self::WrongTenant => f.write_str(
                "The vault trusts another tenant than the one that issued the token. Set tenantId to the vault's tenant, or leave it out.",
            ),
            Self::WrongAudience => {
                f.write_str("The vault does not take tokens of its cloud's audience. Check that the URL is in the right cloud.")
            }
            Self::TokenRejected => f.write_str(
                "The vault rejects a fresh token (HTTP 401). Check the tenant and whether a conditional access policy applies to the identity.",
            ),
            Self::UntrustedVaultHost => f.write_str(
                "The host does not name its cloud's token service, so it is sent no token. Check that the URL is a Key Vault and that no proxy answers in its place, or set tenantId.",
            ),
            Self::FederationMismatch { code, issuer, subject, audience } => {
                let unknown = "(unknown)";
                write!(
                    f,
                    "No federated credential of the identity matches (AADSTS{code}). Create one with issuer `{}`, subject `{}` and audience `{}`; it takes effect within a minute.",
                    issuer.as_deref().unwrap_or(unknown),
                    subject.as_deref().unwrap_or(unknown),
                    audience.as_deref().unwrap_or(unknown),
                )
            }
            Self::InvalidIdentity { code } => write!(
                f,
                "The token service does not know this identity{}. Check clientId and tenantId.",
                Aadsts(*code)
            ),
            Self::TokenRefused { code } => write!(
                f,
                "The token service refuses a token{}. Look the number up at https://login.microsoftonline.com/error and in the sign-in logs of the tenant.",
                Aadsts(*code)
            ),
            Self::Throttled(peer) => write!(
                f,
                "{} throttles (HTTP 429); reads wait. Raise intervals, lower the rate, or split the vault if it lasts.",
                Capital(*peer)
            ),
            Self::VaultHostNotFound => f.write_str(
                "The vault's host name does not resolve. Check the URL for a typo, whether the vault was deleted, and that its private DNS zone is linked.",
            ),
            Self::TlsFailure(peer) => write!(
                f,
                "No TLS session with {peer}: its certificate is not trusted or the handshake fails. If a proxy intercepts TLS, add its CA to the operator's trusted certificates.",
            ),
            Self::NetworkUnreachable(peer) => write!(
                f,
                "No connection to {peer}. Check network policies, routes and the proxy, which may also be unable to resolve the name: port 443 of the vault and of the token service is needed.",
            ),
            Self::ServiceUnavailable { peer, status: Some(status) } => {
                write!(f, "{} fails (HTTP {status}); it is tried again.", Capital(*peer))
            }
            Self::ServiceUnavailable { peer, status: None } => {
                write!(f, "{} did not answer in time or broke the connection; it is tried again.", Capital(*peer))
            }
            Self::InvalidName => f.write_str(
                "The vault does not take this name. Use 1 to 127 letters, digits and hyphens.",
            ),
            Self::RequestRejected => f.write_str(
                "The vault rejects the request (HTTP 4xx). Check that its cloud offers the serviceVersion that is set.",
            ),
            Self::ServiceAccountNotFound => f.write_str(
                "The ServiceAccount of the identity does not exist. Create it, or correct serviceAccountName.",
            ),
            Self::TokenRequestForbidden => f.write_str(
                "The operator may not make tokens for this ServiceAccount. Grant it `create` on `serviceaccounts/token` there, and check the admission policy on token requests.",
            ),
            Self::TokenRequestFailed => f.write_str(
                "The API server made no token for the ServiceAccount; it is tried again.",
            ),
            Self::TokenBindingRequired => f.write_str(
                "The vault takes only tokens bound to a client certificate. Set its token binding to `Enabled` or `Disabled` instead of enforcing it.",
            ),
            Self::MalformedResponse { peer, at: Some((line, column)) } => write!(
                f,
                "The answer of {peer} is not what it should be (line {line}, column {column}). Check whether a proxy answers in its place.",
            ),
            Self::MalformedResponse { peer, at: None } => write!(
                f,
                "The answer of {peer} is not what it should be. Check whether a proxy answers in its place.",
            ),
            Self::TooLarge => f.write_str(
                "The answer is larger than any secret can be. Check whether a proxy answers in the vault's place.",
            ),
        }
    }
}

impl std::error::Error for Failure {}

/// The number of the token service in parentheses, or nothing.
struct Aadsts(Option<u32>);

impl fmt::Display for Aadsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |code| write!(f, " (AADSTS{code})"))
    }
}

/// A peer at the beginning of a sentence.
struct Capital(Peer);

impl fmt::Display for Capital {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Peer::Vault => "The vault",
            Peer::Authority => "The token service",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_is_one_word_and_there_once() {
        let reasons: Vec<_> = Failure::reasons().collect();
        assert_eq!(reasons.iter().collect::<BTreeSet<_>>().len(), reasons.len());
        for reason in &reasons {
            assert!(reason.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{reason}");
        }
        assert!(reasons.contains(&"SecretNotFound") && reasons.contains(&"TooLarge"));
    }

    #[test]
    fn a_mismatched_federation_says_what_to_federate() {
        let failure = Failure::FederationMismatch {
            code: 700_213,
            issuer: Some("https://issuer".to_owned()),
            subject: Some("system:serviceaccount:shop:shop".to_owned()),
            audience: Some("api://AzureADTokenExchange".to_owned()),
        };
        let text = failure.to_string();
        for part in [
            "AADSTS700213",
            "`https://issuer`",
            "`system:serviceaccount:shop:shop`",
            "`api://AzureADTokenExchange`",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_missing_role_names_the_principal_and_the_role() {
        let object_id = Some("0a0a0a0a-0000-0000-0000-000000000001".to_owned());
        let text = Failure::MissingRole(Principal { object_id, application_id: None }).to_string();
        assert!(
            text.contains("0a0a0a0a-0000-0000-0000-000000000001") && text.contains("Key Vault Secrets User")
        );
    }
}
