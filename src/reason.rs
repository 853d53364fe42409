//! The bounded words that conditions, entries, events and metrics use. Every layer may name them; they name none.

use std::fmt;
use strum::{EnumIter, EnumString, IntoStaticStr};

/// Why a condition is as it is. `docs/troubleshooting.md` has a section for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EnumIter, EnumString, IntoStaticStr)]
pub enum Reason {
    /// The Secret equals what the vault last told.
    Synced,
    /// `spec.suspend` is set, and no sync is on record.
    Suspended,
    /// The spec holds something that the schema would refuse; only an edit helps.
    InvalidSpec,
    /// The namespace is one that vaultsync leaves alone.
    NamespaceIgnored,
    /// The connection that `vaultRef` names does not exist.
    VaultNotFound,
    /// The connection's spec cannot be used; it says why.
    VaultInvalid,
    /// The `ClusterKeyVault` does not grant this namespace what the object reads.
    NotAllowed,
    /// A grant selects namespaces by labels, and vaultsync may not read namespaces.
    SelectorsDisabled,
    /// The namespace uses more connections than one namespace may.
    TooManyConnections,
    /// The connection was not tried yet.
    NotProven,
    /// The vault takes the identity; whether it may read shows when objects do.
    PermissionUnproven,
    /// The vault answered through the connection.
    Connected,
    /// Many of the names that are read through the connection are gone together.
    MassRemoval,
    /// The vault has not confirmed the values for longer than allowed.
    Stale,
    /// The Secret was edited or deleted and the vault is silent.
    Drifted,
    /// A Secret of the target's name exists and is not ours.
    TargetNotOwned,
    /// The target is to be taken over or added to, and does not consent.
    ConsentMissing,
    /// The target is to be taken over, and another controller writes it.
    TargetControlled,
    /// Keys are to be added to the target, and it does not exist.
    TargetNotFound,
    /// The target is a copy of a Secret of another namespace.
    TargetCopied,
    /// Another object owns the target, or a key of it.
    TargetConflict,
    /// The target exists with another type.
    TypeMismatch,
    /// The target is marked immutable.
    TargetImmutable,
    /// The API server does not let vaultsync write the Secret.
    WriteForbidden,
    /// An admission webhook or policy does not let vaultsync write the Secret.
    AdmissionDenied,
    /// A quota of the namespace leaves no room for the Secret.
    QuotaExceeded,
    /// The API server, or a webhook that it asks, fails time and again when the Secret is written.
    WriteFailed,
    /// The Secret has its values, but the API server does not let vaultsync change its ownerReferences.
    OwnerReferenceRefused,
    /// The API server refuses the Secret's content.
    SecretRejected,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// No workload needs a restart: the Secret is as it was when it was last recorded.
    NotNeeded,
    /// The workloads were restarted for what is in the Secret.
    Restarted,
    /// Workloads are to be restarted and it is not their turn yet.
    RolloutWaiting,
    /// The operator was not given the right to restart workloads.
    RolloutsDisabled,
    /// A workload that is to be restarted does not exist.
    WorkloadNotFound,
    /// The API server does not let vaultsync restart a workload.
    RolloutForbidden,
    /// An admission webhook or policy does not let vaultsync restart a workload.
    RolloutDenied,
    /// The API server, or a webhook that it asks, fails time and again when a workload is restarted.
    RolloutFailed,
    /// The Secret would be larger than 1 MiB.
    TooLarge,
    /// A key that the Secret's type needs is not available.
    MissingKey,
    /// Two dataFrom sources give the same key.
    DuplicateKey,
    /// `find` finds more than status has room for.
    TooManyMatches,
    /// The list that `find` needs cannot be read.
    ListFailed,
    /// No secret of the vault is as `find` says.
    NothingMatched,
    /// A member of a JSON object cannot be a key of a Secret.
    InvalidKey,
    /// The value is not JSON, or not a JSON object.
    InvalidJson,
    /// A value is not in the format that `dataFrom` names.
    InvalidFormat,
    /// A pattern of `rename` takes too much to run.
    InvalidPattern,
    /// The value is no certificate that can be read.
    InvalidCertificate,
    /// The private key belongs to none of the certificates beside it.
    KeyMismatch,
    /// The value is larger, or takes more to decrypt, than any honest certificate.
    CertificateTooCostly,
    /// The certificate is kept as PEM, so that there is no PFX of it.
    NotPfx,
    /// The password for a PKCS#12 file has characters that no file can have.
    InvalidPassword,
    /// The vault gives no private key with the certificate.
    NoPrivateKey,
    /// The value holds no issuer of the certificate.
    NoIssuer,
    /// A key of a TLS Secret would be a whole certificate, private key and all.
    WholeCertificate,
    /// The key is of a kind that has no public part.
    InvalidKeyType,
    /// A template cannot be rendered.
    TemplateFailed,
    /// The property is not in the value.
    PropertyNotFound,
    /// The value is not what `decode` says.
    DecodeFailed,
    /// The vault has no such secret or version.
    SecretNotFound,
    /// The source is gone, and its keys stay: many may be gone with it.
    RemovalHeld,
    /// The secret is disabled in the vault.
    SecretDisabled,
    /// The vault has no such key or version.
    KeyNotFound,
    /// The key is disabled in the vault.
    KeyDisabled,
    /// The identity has no role that lets it read.
    MissingRole,
    /// The vault's access policies do not let the identity read.
    MissingAccessPolicy,
    /// The vault refuses the read with another 403.
    Forbidden,
    /// The vault refuses the name.
    InvalidName,
    /// The vault refuses the request.
    RequestRejected,
    /// The vault's firewall refuses our address.
    Firewall,
    /// The vault accepts private connections only.
    PublicAccessDisabled,
    /// The token is of another tenant than the vault's.
    WrongTenant,
    /// The token is not meant for this vault.
    WrongAudience,
    /// The vault refuses a fresh token.
    TokenRejected,
    /// The host behaves as no vault of this cloud does.
    UntrustedVaultHost,
    /// No federated credential matches the ServiceAccount's token.
    FederationMismatch,
    /// The client or tenant is unknown, or its credential invalid.
    InvalidIdentity,
    /// vaultsync may not ask for a token of the ServiceAccount.
    TokenRequestForbidden,
    /// The ServiceAccount does not exist.
    ServiceAccountNotFound,
    /// The token endpoint refuses for another reason.
    TokenRefused,
    /// The API server made no token for the ServiceAccount.
    TokenRequestFailed,
    /// The operator's pod has no federated identity of its own.
    WorkloadIdentityNotInjected,
    /// Nothing gives tokens of managed identities here.
    ManagedIdentityUnavailable,
    /// The operator has no credential file of that name.
    CredentialNotFound,
    /// The credential file cannot be used.
    CredentialInvalid,
    /// The client secret or certificate expired.
    CredentialExpired,
    /// The vault asks for claims that a fresh token does not carry.
    ClaimsChallenge,
    /// The vault accepts only bound tokens.
    TokenBindingRequired,
    /// The vault answers 429.
    Throttled,
    /// The vault's name does not resolve.
    VaultHostNotFound,
    /// TLS with the vault fails.
    TlsFailure,
    /// No connection to the vault.
    NetworkUnreachable,
    /// The proxy leads nowhere.
    ProxyFailed,
    /// The vault answers 5xx.
    ServiceUnavailable,
    /// The answer is not one of Key Vault.
    MalformedResponse,
}

impl Reason {
    /// The word as it stands in a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether it speaks of the target Secret, or of the right to write it: only a look can tell that it is over.
    #[must_use]
    pub const fn blocks_target(self) -> bool {
        matches!(
            self,
            Self::TargetNotOwned
                | Self::ConsentMissing
                | Self::TargetControlled
                | Self::TargetNotFound
                | Self::TargetCopied
                | Self::TargetConflict
                | Self::TypeMismatch
                | Self::TargetImmutable
                | Self::WriteForbidden
                | Self::AdmissionDenied
                | Self::QuotaExceeded
                | Self::WriteFailed
                | Self::SecretRejected
                | Self::NamespaceTerminating
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
