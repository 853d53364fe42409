//! Why an object is not Ready, in one sentence that names the thing and the remedy.
//!
//! Built from names and parsed fields alone: no text of a service, no piece of a value.

mod of_source;
mod refused;

pub(super) use of_source::SourceKeys;

use super::sources::UsedSource;
use super::value::Fault;
use crate::api::{Deletion, SecretType, VaultKind, VaultRef, VaultSecretSync};
use crate::reason::Reason;
use crate::vault::{Failure, NoList, Why};
use std::time::Duration;

/// A reason with its sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The bounded word.
    pub reason: Reason,
    /// What is wrong and what helps.
    pub message: String,
    /// Whether nothing but an edit of the spec can help.
    pub terminal: bool,
}

impl Problem {
    const fn new(reason: Reason, message: String) -> Self {
        Self { reason, message, terminal: false }
    }

    const fn terminal(reason: Reason, message: String) -> Self {
        Self { reason, message, terminal: true }
    }

    pub(super) fn namespace_ignored() -> Self {
        Self::terminal(
            Reason::NamespaceIgnored,
            "vaultsync writes no Secrets in kube-system or in its own namespace. Create this object in the namespace of the application.".to_owned(),
        )
    }

    pub(super) fn invalid_spec(sentence: &str) -> Self {
        Self::terminal(Reason::InvalidSpec, sentence.to_owned())
    }

    pub(super) fn too_many_matches(most: usize) -> Self {
        Self::terminal(
            Reason::TooManyMatches,
            format!(
                "find makes more than {most} sources of this object, so nothing is read. Narrow spec.dataFrom[].find by name or tags, or split it into several objects."
            ),
        )
    }

    /// A `find` finds nothing.
    pub(super) fn nothing_matched(place: usize) -> Self {
        Self::new(
            Reason::NothingMatched,
            format!(
                "spec.dataFrom[{place}].find finds no secret in the vault. Check name and tags; case counts in tags, secrets of certificates are left out, and on a ClusterKeyVault those that its spec.allow does not name as secrets."
            ),
        )
    }

    /// The list that `find` needs cannot be read.
    pub(super) fn list_failed(vault: &VaultRef, why: &Why) -> Self {
        let why = why.no_list().map_or_else(
            || "The list of the vault's secrets cannot be read.".to_owned(),
            |NoList { cause, remedy, again }| format!("{cause}. {remedy}. {again}."),
        );
        Self::new(
            Reason::ListFailed,
            format!("{} {why} What was found before stays.", Self::is_unlisted(vault)),
        )
    }

    /// What the message begins with that the list of a connection cannot be read.
    pub(super) fn is_unlisted(vault: &VaultRef) -> String {
        format!("{vault}: find looks for secrets by name.")
    }

    /// Whether a message says this of the connection: `KeyVault prod` stands in `ClusterKeyVault prod` too.
    pub(super) fn speaks_of(message: &str, said: &str) -> bool {
        message.match_indices(said).any(|(at, _)| !message[..at].ends_with("Cluster"))
    }

    pub(super) fn target_conflict(target: &str, rival: &str) -> Self {
        Self::new(
            Reason::TargetConflict,
            format!(
                "Secret {target} already belongs to VaultSecretSync {rival}. Create a new object with another spec.target.name, or delete VaultSecretSync {rival}."
            ),
        )
    }

    /// `field` names it.
    pub(crate) fn vault_not_found(vault: &VaultRef, field: &str) -> Self {
        let place = match vault.kind {
            VaultKind::KeyVault => " in this namespace",
            VaultKind::ClusterKeyVault => "",
        };
        Self::new(
            Reason::VaultNotFound,
            format!("There is no {vault}{place}. Create it, or correct {field}."),
        )
    }

    /// The kind of the connection cannot be looked at; `sentence` says why.
    pub(crate) fn vault_unreadable(vault: &VaultRef, sentence: &str) -> Self {
        Self::new(Reason::VaultNotFound, format!("{vault} cannot be found: {sentence}"))
    }

    pub(crate) fn vault_invalid(vault: &VaultRef, sentence: &str) -> Self {
        Self::new(Reason::VaultInvalid, format!("{vault} cannot be used: {sentence}"))
    }

    pub(crate) fn too_many_connections(vault: &VaultRef, sentence: &str) -> Self {
        Self::new(Reason::TooManyConnections, format!("{vault} is not used: {sentence}"))
    }

    /// Sources that nothing permits. `selectors`: some grant selects by labels that cannot be read.
    pub(super) fn not_allowed(
        vault: &VaultRef,
        namespace: &str,
        refused: &[&UsedSource],
        selectors: bool,
    ) -> Self {
        const SPELLED_OUT: usize = 4;
        let told = || refused.iter().take(SPELLED_OUT);
        let what = told().map(|used| used.display()).collect::<Vec<_>>().join(", ");
        let more = match refused.len().saturating_sub(SPELLED_OUT) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let lists = ["secrets", "certificates", "keys"].into_iter().filter_map(|list| {
            let of_list = |used: &&&UsedSource| used.grant() == list;
            let names: Vec<&str> = told().filter(of_list).map(|used| used.source.name.as_str()).collect();
            (!names.is_empty()).then(|| format!("{list} [{}]", names.join(", ")))
        });
        let lists = lists.collect::<Vec<_>>().join(" and ");
        let hint = if selectors {
            " Its grants by label do not count, because vaultsync runs without --namespace-selectors."
        } else {
            ""
        };
        Self::new(
            Reason::NotAllowed,
            format!(
                "{vault} does not allow namespace {namespace} to read {what}{more}. The Secret keeps its last values.{hint} Ask its administrator for an item in spec.allow with namespaces {{names: [{namespace}]}} and {lists}."
            ),
        )
    }

    pub(super) fn missing_key(type_: &SecretType, key: &str) -> Self {
        Self::new(
            Reason::MissingKey,
            format!(
                "A Secret of type {} needs the key {key}, which no source provides now, so nothing was written. Check the source of {key}.",
                type_.as_str()
            ),
        )
    }

    /// The spec would have a key removed that the Secret's type needs.
    pub(super) fn key_stays(type_: &SecretType, key: &str) -> Self {
        Self::new(
            Reason::MissingKey,
            format!(
                "A Secret of type {} needs the key {key}, so {key} keeps its last value although it has none in the vault now and the entry says onMissing: Remove. Give it a value, or delete this VaultSecretSync.",
                type_.as_str()
            ),
        )
    }

    /// Every source is there, or may be missing, and none gives a key. `creates`: else a Secret was to be taken over.
    pub(super) fn nothing_to_write(target: &str, creates: bool) -> Self {
        let so = if creates {
            format!("and vaultsync never creates an empty Secret, so there is no Secret {target} yet")
        } else {
            format!("so Secret {target} is not taken over yet")
        };
        let message = format!("No source provides a key yet, {so}. Check the names and values in the vault.");
        Self::new(Reason::MissingKey, message)
    }

    /// An entry that says `Keep` has no value, for `reason`; what it is follows. `creates`: as above.
    pub(super) fn not_begun(target: &str, reason: Reason, creates: bool) -> Self {
        let so = if creates {
            format!("There is no Secret {target} yet: vaultsync creates it")
        } else {
            format!("Secret {target} is not taken over yet: vaultsync does that")
        };
        Self::new(
            reason,
            format!(
                "{so} once every entry that says onMissing: Keep has a value. Correct what follows, or set onMissing: Remove on entries that the workload can do without."
            ),
        )
    }

    /// What the vault and the spec say now would take every key away.
    pub(super) fn nothing_left(target: &str) -> Self {
        Self::new(
            Reason::MissingKey,
            format!(
                "No source provides a key any more, and vaultsync never empties a Secret, so Secret {target} keeps its keys. Check the names and values in the vault, or delete this VaultSecretSync."
            ),
        )
    }

    pub(super) fn too_large() -> Self {
        Self::new(
            Reason::TooLarge,
            "The Secret would be larger than 1 MiB, the limit of Kubernetes, or have more than 4096 keys, so nothing was written. Split it into several objects.".to_owned(),
        )
    }

    /// The values are there; whose the Secret is could not be changed.
    pub(super) fn owners_refused(object: &VaultSecretSync) -> Self {
        let target = object.target_name();
        let meanwhile = match object.spec.target.deletion {
            Deletion::Delete => "add this object to them",
            Deletion::Retain => "remove this object from them, so the Secret is still deleted with it",
        };
        Self::new(
            Reason::OwnerReferenceRefused,
            format!(
                "The API server does not let vaultsync write Secret {target} as a whole, only without its ownerReferences: vaultsync cannot {meanwhile}. Where the admission plugin OwnerReferencesPermissionEnforcement is on, set the chart's value rbac.ownerReferences to true."
            ),
        )
    }

    pub(super) fn outage(vault: &VaultRef, failure: &Failure) -> Self {
        Self::new(failure.reason(), format!("{vault}: {failure}"))
    }

    pub(super) fn drifted(vault: &VaultRef, target: &str) -> Self {
        Self::new(
            Reason::Drifted,
            format!(
                "Secret {target} was edited or deleted, and {vault} does not answer, so its values cannot be restored yet. See the condition of {vault}."
            ),
        )
    }

    pub(super) fn stale(vault: &VaultRef, allowed: Duration) -> Self {
        Self::new(
            Reason::Stale,
            format!(
                "{} for more than {}s, so the Secret keeps its last values. See the condition of {vault}.",
                Self::is_stale(vault),
                allowed.as_secs()
            ),
        )
    }

    /// What the message begins with that a connection confirms nothing any more.
    pub(super) fn is_stale(vault: &VaultRef) -> String {
        format!("{vault} has confirmed nothing")
    }

    /// A template that cannot be rendered.
    pub(super) fn template(key: &str, fault: &Fault) -> Self {
        Self::new(
            Reason::TemplateFailed,
            format!("key {key} of target.template cannot be rendered: {fault} The key keeps its last value."),
        )
    }
}
