//! The Kubernetes API of vaultsync: the custom resources and every constant word that stands in one.
//!
//! Nothing here talks to a cluster; what a field means is written on the field, because that text is what
//! `kubectl explain` prints.

mod certificate;
mod cluster_key_vault;
mod conditions;
mod connection;
mod crds;
mod data_from;
mod fingerprint;
mod from;
mod grant;
mod keyvault;
mod rollout;
mod secret_type;
mod status;
mod vault_ref;
mod vaultsecretsync;

pub use crate::certificate::Encryption;
pub use crate::reason::Reason;
pub use certificate::{CertificatePart, CertificateRef, Chain, PasswordRef, Store, TlsSpec};
pub use cluster_key_vault::{
    CloudSpec, ClusterIdentity, ClusterKeyVault, ClusterKeyVaultSpec, ManagedIdentity, OperatorIdentitySpec,
    ServicePrincipal,
};
pub(crate) use conditions::whole_second;
pub use conditions::{MASS_REMOVAL, READY, ROLLED_OUT, STALLED, condition, set_condition};
pub use connection::{IdentityStatus, KeyVaultStatus, ReadSettings, RequestLimits, WorkloadIdentity};
pub use crds::{crd_files, crds};
pub use data_from::{Case, Characters, DataFrom, FindSpec, Format, ObjectSecretRef, RenameStep};
pub use fingerprint::Fingerprint;
pub use from::{Decode, From, KeyFormat, KeyRef, SecretRef};
pub use grant::{Grant, GrantedNamespaces, NamespaceSelector, SelectorOperator, SelectorRequirement};
pub use keyvault::{KeyVault, KeyVaultIdentity, KeyVaultSpec};
pub use rollout::{
    RestartItem, RolloutSpec, RolloutStatus, SECRET_ANNOTATION_PREFIX, WorkloadKind, WorkloadSelector,
    secret_annotation,
};
pub use secret_type::SecretType;
pub use status::{
    EntryKind, EntryState, EntryStatus, EntryVault, KeyStatus, TargetStatus, VaultSecretSyncStatus,
};
pub use vault_ref::{VaultKind, VaultRef};
pub use vaultsecretsync::{
    Creation, DataItem, Deletion, OnMissing, Target, VaultSecretSync, VaultSecretSyncSpec,
};

use jiff::SignedDuration;
use jiff::fmt::friendly::{Spacing, SpanPrinter};
use std::time::Duration;

/// The API group of every kind.
pub const GROUP: &str = "vaultsync.dev";
/// The version of every kind.
pub const VERSION: &str = "v1alpha1";
/// The mark of ownership: an annotation on a Secret that names the `VaultSecretSync` it belongs to.
pub const OWNER_ANNOTATION: &str = "vaultsync.dev/owner";
/// Beside the mark: the namespace of the object. A Secret that was copied from another namespace, annotations and all, is
/// told from one that is ours by it.
pub const OWNER_NAMESPACE_ANNOTATION: &str = "vaultsync.dev/owner-namespace";
/// Set on a Secret by whoever may edit it: the `VaultSecretSync`s of its namespace, parted by commas, that may take it over or
/// add keys to it.
pub const CONSENT_ANNOTATION: &str = "vaultsync.dev/consent";
/// Set by a user on a `VaultSecretSync` to have every source read again at once, though each
/// at most every three seconds; any new value counts.
pub const SYNC_REQUESTED_ANNOTATION: &str = "vaultsync.dev/sync-requested-at";
/// Set by a user on a connection: up to this time (RFC 3339, and not ahead of now) what is gone from the vault is to go, with the
/// keys that objects have of it. The condition [`MASS_REMOVAL`] names the time that covers all that is held.
pub const REMOVAL_CONFIRMED_ANNOTATION: &str = "vaultsync.dev/removal-confirmed-at";
/// The label on every Secret we create; it grants nothing.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`], and the field manager on status.
pub const MANAGER: &str = "vaultsync";

/// The API server refuses a field manager longer than this.
const FIELD_MANAGER_MAX: usize = 128;

/// Whether it is the field manager of an object, whichever that is.
#[must_use]
pub fn is_field_manager(name: &str) -> bool {
    name.strip_prefix(MANAGER).is_some_and(|object| object.starts_with(':'))
}

/// The field manager of the Secret that `object` owns: `vaultsync:<object>`, cut to 128 bytes with a hash of the
/// whole name, so that two long names never share one.
#[must_use]
pub fn field_manager(object: &str) -> String {
    let whole = format!("{MANAGER}:{object}");
    if whole.len() <= FIELD_MANAGER_MAX {
        return whole;
    }
    let hash = format!("-{:016x}", fnv1a(object.as_bytes()));
    let kept: String = whole.chars().take(FIELD_MANAGER_MAX - hash.len()).collect();
    kept + &hash
}

/// FNV-1a, 64 bits: a hash that is the same in every process and release, which `std`'s hashers are not.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A duration as users write it (`90s`, `5m`, `1h30m`), or `None` where it is none.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok().and_then(|parsed| Duration::try_from(parsed).ok())
}

/// A duration as users write it, in hours, minutes and whole seconds.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let seconds = SignedDuration::from_secs(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX));
    SpanPrinter::new().spacing(Spacing::None).duration_to_string(&seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_object_name_keeps_a_field_manager_of_its_own() {
        let (one, other) = ("a".repeat(200) + "1", "a".repeat(200) + "2");
        assert_eq!(field_manager("shop"), "vaultsync:shop");
        assert_eq!(field_manager(&one).len(), 128);
        assert_ne!(field_manager(&one), field_manager(&other));
    }

    #[test]
    fn durations_read_as_kubernetes_users_write_them() {
        assert_eq!(parse_duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("soon"), None);
        assert_eq!(parse_duration("-5s"), None);
        for text in ["30s", "5m", "1h30m", "24h"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
