//! What each failure tells its reader: what is wrong, and what to do about it, ready to paste where there is
//! something to paste.

use std::fmt;

use super::connection::ObjectKind;
use super::evidence::Network;
use super::failure::{
    CredentialProblem, Failure, IdentityProblem, Peer, Principal, ProxyProblem, ServiceAccount,
};

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vault => "the vault",
            Self::Authority => "the token service",
            Self::ManagedIdentity => "the managed identity endpoint",
        })
    }
}

impl fmt::Display for Failure {
    #[expect(clippy::too_many_lines, reason = "one arm a failure, all of it text")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecretNotFound => f.write_str(
                "The vault has no secret (or version) with this name, or it was deleted. Check the name and the vault, or recover it with `az keyvault secret recover`.",
            ),
            Self::SecretDisabled => {
                f.write_str("The secret is disabled in the vault. Enable it, or remove the reference.")
            }
            Self::KeyNotFound => f.write_str(
                "The vault has no key (or version) with this name, or it was deleted. Check the name and the vault, or recover it with `az keyvault key recover`.",
            ),
            Self::KeyDisabled => {
                f.write_str("The key is disabled in the vault. Enable it, or remove the reference.")
            }
            Self::NoPreviousVersion(kind) => write!(
                f,
                "The vault has no enabled version of this {0} before the current one, which version: Previous names. Keep the version before enabled, or set onMissing: Remove for a {0} that was not rotated yet.",
                word(*kind),
            ),
            Self::TooManyVersions(kind) => write!(
                f,
                "The vault has more than 10,000 versions of this {0}, which are too many to find the one before the current. Name a version by its 32 digits, or make a new {0}.",
                word(*kind),
            ),
            Self::MissingRole(principal) => write!(
                f,
                "The vault uses Azure RBAC and {} may not read {what}s. Assign it the role `{role}` on the vault: `az role assignment create --role \"{role}\" --assignee-principal-type ServicePrincipal --assignee-object-id {} --scope {}`; a new role takes up to 5 minutes.",
                Named(principal),
                or_blank(principal.object_id.as_ref(), "<object id>"),
                or_blank(principal.scope.as_ref(), "<resource id of the vault>"),
                what = word(principal.refused),
                role = match principal.refused {
                    ObjectKind::Secret => "Key Vault Secrets User",
                    ObjectKind::Key => "Key Vault Crypto User",
                },
            ),
            Self::MissingAccessPolicy(principal) => write!(
                f,
                "The vault uses access policies and {} may not read {what}s. Grant it the {what} permissions: `az keyvault set-policy --name {} --object-id {} --{what}-permissions get list`.",
                Named(principal),
                or_blank(principal.vault.as_ref(), "<vault>"),
                or_blank(principal.object_id.as_ref(), "<object id>"),
                what = word(principal.refused),
            ),
            Self::Firewall(Some(address)) => write!(
                f,
                "The vault's firewall refuses the address {address}. Allow it, or use a service endpoint or private endpoint.",
            ),
            Self::Firewall(None) => f.write_str(
                "The vault's firewall or network security perimeter refuses the cluster's address. Allow the cluster's outgoing address, or use a service endpoint or private endpoint.",
            ),
            Self::PublicAccessDisabled(network) => write!(
                f,
                "The vault accepts no calls from public networks{}. Reach it through a private endpoint and link its private DNS zone to the cluster's network.",
                match network {
                    Some(Network::Public) => ", and its name resolves to a public address here",
                    Some(Network::Proxy) => ", and the proxy uses one",
                    Some(Network::Private) | None => "",
                },
            ),
            Self::Forbidden => f.write_str(
                "The vault forbids this read for a reason other than role, access policy or network (HTTP 403). Check Azure Policy assignments and deny assignments on the vault.",
            ),
            Self::WrongTenant { vault: Some(vault), token } => write!(
                f,
                "The vault trusts tenant {vault}, but the token was issued by tenant {}. Set tenantId to {vault}, or leave it out where it is optional.",
                or_blank(token.as_ref(), "(unknown)"),
            ),
            Self::WrongTenant { vault: None, .. } => f.write_str(
                "The vault trusts another tenant than the one that issued the token. Set tenantId to the vault's tenant, or leave it out where it is optional.",
            ),
            Self::WrongAudience => {
                f.write_str("The vault does not accept tokens for the audience of its cloud. Check that the URL belongs to the right cloud.")
            }
            Self::TokenRejected => f.write_str(
                "The vault rejects a fresh token (HTTP 401). Check the tenant, and whether a conditional access policy applies to the identity.",
            ),
            Self::UntrustedVaultHost => f.write_str(
                "The host does not name the token service of its cloud, so vaultsync sends it no token. Check that the URL is that of a Key Vault and that no proxy answers in its place, or set tenantId.",
            ),
            Self::FederationMismatch { code, issuer, subject, audience, client_id } => {
                let unknown = "(unknown)";
                write!(
                    f,
                    "The identity with client id {} has no federated credential that matches (AADSTS{code}). Create one with issuer `{}`, subject `{}` and audience `{}`; it takes effect within a minute.",
                    or_blank(client_id.as_ref(), unknown),
                    or_blank(issuer.as_ref(), unknown),
                    or_blank(subject.as_ref(), unknown),
                    or_blank(audience.as_ref(), unknown),
                )
            }
            Self::InvalidIdentity { problem, client_id, tenant } => {
                let client = or_blank(client_id.as_ref(), "(unknown)");
                let tenant = or_blank(tenant.as_ref(), "(unknown)");
                invalid_identity(f, *problem, client, tenant)
            }
            Self::TokenRefused { code } => write!(
                f,
                "The token service refuses to issue a token{}. Look the number up at https://login.microsoftonline.com/error and in the sign-in logs of the tenant.",
                Aadsts(*code)
            ),
            Self::Throttled(peer) => write!(
                f,
                "{} throttles requests (HTTP 429), so reads wait. If it lasts, raise the intervals, lower the rate, or split the vault.",
                Capital(*peer)
            ),
            Self::VaultHostNotFound => f.write_str(
                "The vault's host name does not resolve. Check the URL for a typo, check that the vault still exists, and that its private DNS zone is linked.",
            ),
            Self::TlsFailure(peer) => write!(
                f,
                "No TLS session with {peer}: its certificate is not trusted, or the handshake fails. If a proxy intercepts TLS, add its CA to the operator's trusted certificates.",
            ),
            Self::CertificatesUnread => f.write_str(
                "The certificates to trust cannot be read: their folder does not answer. Check what is mounted where the operator's SSL_CERT_FILE and SSL_CERT_DIR point.",
            ),
            Self::NetworkUnreachable(peer) => write!(
                f,
                "No connection to {peer}. Allow port 443 to the vault and to the token service; check network policies and routes.",
            ),
            Self::ProxyFailed { peer, problem } => match problem {
                ProxyProblem::HostNotFound => f.write_str(
                    "The proxy's host name does not resolve. Correct HTTPS_PROXY (chart: proxy.https).",
                ),
                ProxyProblem::Unreachable => f.write_str(
                    "No connection to the proxy. Check the address in HTTPS_PROXY (chart: proxy.https), and that network policies allow the way there.",
                ),
                ProxyProblem::NotConnected => write!(
                    f,
                    "No connection to {peer} through the proxy: it did not connect in time, or the connection was cut. Check the address in HTTPS_PROXY (chart: proxy.https), that network policies allow the way there, and that neither the proxy nor a filter behind it keeps {peer} away.",
                ),
                ProxyProblem::Untrusted => f.write_str(
                    "No TLS session with the proxy. Add its CA to the operator's trusted certificates (chart: caBundle), or write http:// in HTTPS_PROXY (chart: proxy.https) if it speaks no TLS.",
                ),
                ProxyProblem::CredentialsRequired => f.write_str(
                    "The proxy asks for a user name and a password, or does not accept those in HTTPS_PROXY (HTTP 407). Write http://user:password@host:port there, with every special character of the password percent-encoded (chart: proxy.secret).",
                ),
                ProxyProblem::Refused => write!(
                    f,
                    "The proxy does not connect to {peer}. Check the URL for a typo, and have the proxy allow the host at port 443, or name the host in NO_PROXY (chart: proxy.noProxy).",
                ),
            },
            Self::ServiceUnavailable { peer, status: Some(status) } => {
                write!(f, "{} fails (HTTP {status}).", Capital(*peer))
            }
            Self::ServiceUnavailable { peer, status: None } => {
                write!(f, "{} did not answer in time or broke the connection.", Capital(*peer))
            }
            Self::InvalidName => f.write_str(
                "The vault does not accept this name. Use 1 to 127 letters, digits and hyphens.",
            ),
            Self::RequestRejected => f.write_str(
                "The vault rejects the request (HTTP 4xx). Check that its cloud supports the serviceVersion that is set.",
            ),
            Self::ServiceAccountNotFound(ServiceAccount { namespace, name }) => write!(
                f,
                "ServiceAccount {name} does not exist in namespace {namespace}. Create it, or correct serviceAccountName.",
            ),
            Self::TokenRequestForbidden(ServiceAccount { namespace, name }) => write!(
                f,
                "The operator may not request tokens for ServiceAccount {name} in namespace {namespace}. Grant it `create` on `serviceaccounts/token` there, and check the admission policy on token requests.",
            ),
            Self::TokenRequestFailed(ServiceAccount { namespace, name }) => write!(
                f,
                "The API server made no token for ServiceAccount {name} in namespace {namespace}.",
            ),
            Self::WorkloadIdentityNotInjected { file_missing: false } => f.write_str(
                "The operator's pod has no federated identity: AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE are not all set. Give the operator's pod the label `azure.workload.identity/use: \"true\"` and its ServiceAccount the annotation `azure.workload.identity/client-id`, check that the workload identity webhook runs, and restart the pod.",
            ),
            Self::WorkloadIdentityNotInjected { file_missing: true } => f.write_str(
                "The operator's pod has no federated token: the file that AZURE_FEDERATED_TOKEN_FILE names cannot be read. Check that the workload identity webhook mounts it, and restart the pod.",
            ),
            Self::ManagedIdentityUnavailable { status: None } => f.write_str(
                "Nothing answers at the managed identity endpoint (IMDS, http://169.254.169.254). Run the operator on an Azure node, and let its pod reach that address: network policies or pod identity rules may block it.",
            ),
            Self::ManagedIdentityUnavailable { status: Some(status) } => write!(
                f,
                "The managed identity endpoint gives no token (HTTP {status}). Check that the operator runs on an Azure node and that nothing else answers at http://169.254.169.254.",
            ),
            Self::CredentialNotFound { file } => write!(
                f,
                "The operator's credentials folder (`--credentials-dir`) has no file `{file}`. Mount a Secret with the key `{file}` there, or correct credentialFile.",
            ),
            Self::CredentialInvalid { file, problem } => {
                write!(f, "The credential file `{file}` cannot be used: {}.", problem_of(*problem))
            }
            Self::CredentialExpired { file, ended: Some(ended) } => write!(
                f,
                "The certificate in the credential file `{file}` expired at {ended}. Replace the file with one that is registered with the application; no restart is needed.",
            ),
            Self::CredentialExpired { file, ended: None } => write!(
                f,
                "The client secret in the credential file `{file}` expired (AADSTS7000222). Create a new one for the application and replace the file; no restart is needed.",
            ),
            Self::ClaimsChallenge => f.write_str(
                "The vault asks for claims that a fresh token of this identity does not carry (continuous access evaluation). Check the conditional access policies that apply to the identity, and whether it or its tokens were revoked.",
            ),
            Self::TokenBindingRequired => f.write_str(
                "The vault accepts only tokens that are bound to a client certificate. Set its token binding to `Enabled` or `Disabled` instead of enforcing it.",
            ),
            Self::MalformedResponse { peer, at: Some((line, column)) } => write!(
                f,
                "The answer of {peer} cannot be understood (line {line}, column {column}). Check whether a proxy answers in its place.",
            ),
            Self::MalformedResponse { peer, at: None } => write!(
                f,
                "The answer of {peer} cannot be understood. Check whether a proxy answers in its place.",
            ),
            Self::TooLarge => f.write_str(
                "The answer is larger than any secret can be. Check whether a proxy answers in the vault's place.",
            ),
        }
    }
}

fn invalid_identity(
    f: &mut fmt::Formatter<'_>,
    problem: IdentityProblem,
    client: &str,
    tenant: &str,
) -> fmt::Result {
    match problem {
        IdentityProblem::Code(code @ (90_002 | 900_023)) => write!(
            f,
            "The token service does not know tenant {tenant} (AADSTS{code}). Correct tenantId, and check that the vault is in the right cloud.",
        ),
        IdentityProblem::Code(code @ 700_016) => write!(
            f,
            "Tenant {tenant} has no application or managed identity with client id {client} (AADSTS{code}). Correct clientId or tenantId.",
        ),
        IdentityProblem::Code(code @ 7_000_229) => write!(
            f,
            "Application {client} has no service principal in tenant {tenant} (AADSTS{code}). Create it with `az ad sp create --id {client}`, or correct tenantId.",
        ),
        IdentityProblem::Code(code @ 500_011) => write!(
            f,
            "Tenant {tenant} does not know Key Vault (AADSTS{code}). Correct tenantId, and check that the vault is in the right cloud.",
        ),
        IdentityProblem::Code(code @ 900_382) => write!(
            f,
            "The token service of this cloud does not serve application {client} of tenant {tenant} (AADSTS{code}). Use an application of the cloud that the vault is in.",
        ),
        IdentityProblem::Code(code @ 50_013) => write!(
            f,
            "The token service cannot verify the assertion for {client} (AADSTS{code}). Check that the cluster's OIDC issuer publishes the keys that it signs with.",
        ),
        IdentityProblem::Code(code @ 7_000_215) => write!(
            f,
            "The client secret does not belong to application {client} (AADSTS{code}). Put the secret's value into the credential file, not its id.",
        ),
        IdentityProblem::Code(code @ 700_024) => write!(
            f,
            "The assertion for {client} is expired or not valid yet (AADSTS{code}). Check the clocks of the nodes; for the operator's own identity, also check that the kubelet renews the file that AZURE_FEDERATED_TOKEN_FILE names.",
        ),
        IdentityProblem::Code(code @ 700_027) => write!(
            f,
            "Application {client} has no key that matches the signature of the assertion (AADSTS{code}). Register the certificate of the credential file with it: `az ad app credential reset --id {client} --append --cert @certificate.pem`; for a federated identity, check that the issuer publishes the cluster's signing keys.",
        ),
        IdentityProblem::Code(code) => write!(
            f,
            "The token service does not know identity {client} in tenant {tenant} (AADSTS{code}). Check clientId and tenantId.",
        ),
        IdentityProblem::Malformed => f.write_str(
            "The client id or tenant id is malformed. Copy both from the overview page of the identity.",
        ),
        IdentityProblem::NotAssigned => write!(
            f,
            "The node has no managed identity {client}. Assign it to the node pool's virtual machine scale set, or correct the id.",
        ),
        IdentityProblem::Ambiguous => f.write_str(
            "The node has several managed identities. Name one by clientId, objectId or resourceId.",
        ),
    }
}

const fn problem_of(problem: CredentialProblem) -> &'static str {
    match problem {
        CredentialProblem::Unreadable => "it cannot be read. Give the operator's user the right to read it",
        CredentialProblem::Empty => "it is empty. Write the client secret or the certificate into it",
        CredentialProblem::TooLarge => "it is too large to be a credential",
        CredentialProblem::Unknown => {
            "it is not a client secret (one line of text), PEM or PFX. Write one of these into it"
        }
        CredentialProblem::NoCertificate => "it has a private key but not its certificate. Put both into it",
        CredentialProblem::NoPrivateKey => "it has a certificate but not its private key. Put both into it",
        CredentialProblem::Encrypted => "it is protected by a password. Export it without one",
        CredentialProblem::UnsupportedKey => {
            "its private key is not an RSA key with 2048 to 8192 bits, which client assertions need. Create such a key and its certificate"
        }
        CredentialProblem::NotYetValid => {
            "its certificate is not valid yet. Check its dates and the node's clock"
        }
    }
}

fn or_blank<'a>(value: Option<&'a String>, blank: &'a str) -> &'a str {
    value.map_or(blank, String::as_str)
}

/// A principal within a sentence.
struct Named<'a>(&'a Principal);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.object_id, &self.0.application_id) {
            (Some(object), _) => write!(f, "the identity with object id {object}"),
            (None, Some(application)) => write!(f, "the identity with client id {application}"),
            (None, None) => f.write_str("the identity"),
        }
    }
}

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
            Peer::ManagedIdentity => "The managed identity endpoint",
        })
    }
}

/// A kind of object, as users and the Azure CLI call it.
const fn word(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Secret => "secret",
        ObjectKind::Key => "key",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatched_federation_says_what_to_federate() {
        let failure = Failure::FederationMismatch {
            code: 700_213,
            issuer: Some("https://issuer".to_owned()),
            subject: Some("system:serviceaccount:shop:shop".to_owned()),
            audience: Some("api://AzureADTokenExchange".to_owned()),
            client_id: Some("aaaaaaaa-1111-4222-8333-444444444444".to_owned()),
        };
        let text = failure.to_string();
        for part in [
            "AADSTS700213",
            "`https://issuer`",
            "`system:serviceaccount:shop:shop`",
            "`api://AzureADTokenExchange`",
            "client id aaaaaaaa-1111-4222-8333-444444444444",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_missing_right_comes_with_the_command_that_gives_it() {
        let principal = Box::new(Principal {
            object_id: Some("0a0a0a0a-0000-0000-0000-000000000001".to_owned()),
            application_id: None,
            scope: Some(
                "/subscriptions/s/resourcegroups/g/providers/microsoft.keyvault/vaults/prod".to_owned(),
            ),
            vault: Some("prod".to_owned()),
            refused: ObjectKind::Secret,
        });
        let role = Failure::MissingRole(principal.clone()).to_string();
        assert!(
            role.contains(
                "`az role assignment create --role \"Key Vault Secrets User\" --assignee-principal-type ServicePrincipal --assignee-object-id 0a0a0a0a-0000-0000-0000-000000000001 --scope /subscriptions/s/resourcegroups/g/providers/microsoft.keyvault/vaults/prod`"
            ),
            "{role}"
        );
        let policy = Failure::MissingAccessPolicy(principal).to_string();
        assert!(
            policy.contains(
                "`az keyvault set-policy --name prod --object-id 0a0a0a0a-0000-0000-0000-000000000001 --secret-permissions get list`"
            ),
            "{policy}"
        );
    }

    #[test]
    fn what_is_not_known_is_left_for_the_reader_to_fill_in() {
        let text = Failure::MissingRole(Box::default()).to_string();
        assert!(
            text.contains("--assignee-object-id <object id> --scope <resource id of the vault>"),
            "{text}"
        );
    }

    #[test]
    fn each_way_of_being_an_invalid_identity_has_its_own_remedy() {
        let problems = [
            IdentityProblem::Code(50_013),
            IdentityProblem::Code(90_002),
            IdentityProblem::Code(500_011),
            IdentityProblem::Code(900_382),
            IdentityProblem::Code(7_000_229),
            IdentityProblem::Code(700_016),
            IdentityProblem::Code(7_000_215),
            IdentityProblem::Code(700_024),
            IdentityProblem::Code(700_027),
            IdentityProblem::Malformed,
            IdentityProblem::NotAssigned,
            IdentityProblem::Ambiguous,
        ];
        let text = |problem| {
            Failure::InvalidIdentity { problem, client_id: Some("the-client".to_owned()), tenant: None }
                .to_string()
        };
        let texts: std::collections::BTreeSet<_> = problems.into_iter().map(text).collect();
        assert_eq!(texts.len(), problems.len(), "{texts:#?}");
    }
}
