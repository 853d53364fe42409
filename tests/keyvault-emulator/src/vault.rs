//! A vault as tests hold it.
//!
//! These setters are the administrator's: they ask no permission and act at once. They panic on what only a broken
//! test asks for (a secret that is not there, a bad name), naming the test's own line.
#![expect(clippy::panic, reason = "a wrong setup must fail the test that wrote it, where it wrote it")]
#![expect(clippy::must_use_candidate, reason = "setters return ids that most tests have no use for")]

mod objects;

use std::{fmt, sync::Arc};

use crate::{
    access::{AccessModel, Permission},
    call::{ObjectKind, Operation},
    fault::{Fault, FaultId},
    journal::LoggedRequest,
    objects::Objects,
    refusal::Refusal,
    state::{Shared, VaultState},
    store::{Change, SecretOptions, VersionInfo},
    token::Realm,
};

pub use objects::CertificateSpec;

/// A handle on one vault; clones are the same vault.
#[derive(Clone)]
pub struct Vault {
    shared: Arc<Shared>,
    name: String,
}

impl fmt::Debug for Vault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Vault").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Vault {
    pub(crate) fn new(shared: Arc<Shared>, name: &str) -> Self {
        let name = name.to_lowercase();
        shared.change(|state| {
            shared.vault_of(state, &name);
        });
        Self { shared, name }
    }

    /// The lower-cased name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `https://{name}.vault.azure.net`
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}.vault.azure.net", self.name)
    }

    /// Moves the vault into another tenant, which Entra then knows too.
    pub fn set_tenant(&self, tenant: &str) {
        self.shared.change(|state| state.entra.add_tenant(tenant));
        self.change(|vault| tenant.clone_into(&mut vault.tenant));
    }

    /// Gives the vault a host of its own, beside the usual one, with a certificate of the private CA.
    pub fn set_host(&self, host: &str) {
        let host = host.to_lowercase();
        self.shared.authority.make_private(&host);
        self.shared.change(|state| state.vault_hosts.insert(host, self.name.clone()));
    }

    /// Sets what the vault's challenge names, and with it the audience of tokens that it takes.
    pub fn set_challenge(&self, authority_host: &str, resource: &str) {
        let realm = Realm { authority_host: authority_host.to_owned(), resource: resource.to_owned() };
        self.change(|vault| vault.realm = realm);
    }

    /// Chooses roles or access policies; roles are the default.
    pub fn set_access_model(&self, model: AccessModel) {
        self.change(|vault| vault.access.model = model);
    }

    /// Puts an empty page, with a link, before each page of a list but the first.
    pub fn set_sparse_pages(&self, sparse: bool) {
        self.change(|vault| vault.sparse = sparse);
    }

    /// Makes the links of lists lead to `origin` (scheme and host, as in `https://evil.test`), or to the vault again.
    pub fn set_foreign_links(&self, origin: Option<&str>) {
        self.change(|vault| vault.foreign_links = origin.map(ToOwned::to_owned));
    }

    /// Allows the client everything.
    pub fn grant(&self, client_id: &str) {
        for kind in ObjectKind::ALL {
            self.grant_on(client_id, kind, &Permission::ALL);
        }
    }

    /// Allows the client exactly this on secrets, and nothing on keys and certificates.
    pub fn grant_only(&self, client_id: &str, permissions: &[Permission]) {
        self.grant_on(client_id, ObjectKind::Secret, permissions);
        self.grant_on(client_id, ObjectKind::Key, &[]);
        self.grant_on(client_id, ObjectKind::Certificate, &[]);
    }

    /// Allows the client exactly this on objects of that kind; what it may do with others stays.
    pub fn grant_on(&self, client_id: &str, kind: ObjectKind, permissions: &[Permission]) {
        self.change(|vault| vault.access.grant(client_id, kind, permissions));
    }

    /// Takes everything from the client, denials of single objects too.
    pub fn revoke(&self, client_id: &str) {
        self.change(|vault| vault.access.revoke(client_id));
    }

    /// Refuses one secret to the client, whatever it was granted.
    pub fn deny(&self, client_id: &str, secret: &str) {
        self.deny_on(client_id, ObjectKind::Secret, secret);
    }

    /// Refuses one object to the client, whatever it was granted. A certificate, its key and its secret are three.
    pub fn deny_on(&self, client_id: &str, kind: ObjectKind, name: &str) {
        self.change(|vault| vault.access.deny(client_id, kind, name));
    }

    /// Adds a version and returns its id.
    ///
    /// # Panics
    /// On a name or value the service refuses, and on a soft-deleted name.
    #[track_caller]
    pub fn set(&self, name: &str, value: &str) -> String {
        self.set_with(name, value, SecretOptions::default())
    }

    /// Adds a version as of so many seconds ago, for those who are not concerned with what is just changing.
    ///
    /// # Panics
    /// As [`Self::set`].
    #[track_caller]
    pub fn set_ago(&self, name: &str, value: &str, seconds: i64) {
        self.must(name, |objects, now| {
            let options = SecretOptions::default();
            objects.secrets.set(name, value.to_owned(), options, now - seconds).map(|_| ())
        });
    }

    /// Adds a version with tags, content type, dates or disabled, and returns its id.
    ///
    /// # Panics
    /// As [`Self::set`].
    #[track_caller]
    pub fn set_with(&self, name: &str, value: &str, options: SecretOptions) -> String {
        self.must(name, |objects, now| {
            let secret = objects.secrets.set(name, value.to_owned(), options, now)?;
            let current = secret.current().map(|version| version.id.clone());
            current.ok_or_else(|| Refusal::not_found(ObjectKind::Secret, name))
        })
    }

    /// Makes the current version unreadable.
    ///
    /// # Panics
    /// When there is no such secret.
    #[track_caller]
    pub fn disable(&self, name: &str) {
        self.update(ObjectKind::Secret, name, Change { enabled: Some(false), ..Change::default() });
    }

    /// Makes the current version readable again.
    ///
    /// # Panics
    /// When there is no such secret.
    #[track_caller]
    pub fn enable(&self, name: &str) {
        self.update(ObjectKind::Secret, name, Change { enabled: Some(true), ..Change::default() });
    }

    /// Soft-deletes the secret; that shows at once.
    ///
    /// # Panics
    /// When there is no such secret.
    #[track_caller]
    pub fn delete(&self, name: &str) {
        self.delete_object(ObjectKind::Secret, name);
    }

    /// Undoes a soft delete; that shows at once.
    ///
    /// # Panics
    /// When there is no such deleted secret.
    #[track_caller]
    pub fn recover(&self, name: &str) {
        self.recover_object(ObjectKind::Secret, name);
    }

    /// Deletes a soft-deleted secret for good.
    ///
    /// # Panics
    /// When there is no such deleted secret.
    #[track_caller]
    pub fn purge(&self, name: &str) {
        self.purge_object(ObjectKind::Secret, name);
    }

    /// Loses the last write, as a fail-over may: the version before is current again. The only version stays. Returns
    /// the id that is current now.
    ///
    /// # Panics
    /// When there is no such secret.
    #[track_caller]
    pub fn rollback(&self, name: &str) -> String {
        self.rollback_object(ObjectKind::Secret, name)
    }

    /// The secrets that are there, in the order LIST has.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.names_of(ObjectKind::Secret)
    }

    /// The versions of a secret in the order they were made; none when there is no such secret.
    #[must_use]
    pub fn versions(&self, name: &str) -> Vec<VersionInfo> {
        self.versions_of(ObjectKind::Secret, name)
    }

    /// Puts a fault on this vault.
    pub fn fault(&self, fault: Fault) -> FaultId {
        self.change(|vault| vault.faults.add(fault))
    }

    /// Clears one fault; what it stalled goes on.
    pub fn clear_fault(&self, id: FaultId) {
        self.change(|vault| vault.faults.clear(id));
    }

    /// Clears every fault of this vault; what they stalled goes on.
    pub fn clear_faults(&self) {
        self.change(|vault| vault.faults.clear_all());
    }

    /// The requests to this vault so far, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.shared.look(|state| state.journal.of_vault(&self.name).to_vec())
    }

    /// Waits until the requests to this vault satisfy `enough`, and returns them. It looks again at every arrival and
    /// every answer.
    pub async fn requests_until(
        &self,
        mut enough: impl FnMut(&[LoggedRequest]) -> bool,
    ) -> Vec<LoggedRequest> {
        self.shared
            .until(|state| {
                let requests = state.journal.of_vault(&self.name);
                enough(requests).then(|| requests.to_vec())
            })
            .await
    }

    /// Empties the log of this vault's requests; other vaults and the token log keep theirs.
    pub fn clear_log(&self) {
        self.shared.change(|state| state.journal.vault_mut(&self.name).clear());
    }

    /// How many requests of this kind came, whatever they were answered.
    #[must_use]
    pub fn count(&self, operation: Operation) -> usize {
        self.count_where(|request| request.operation == Some(operation))
    }

    /// How many requests satisfy the condition.
    #[must_use]
    pub fn count_where(&self, mut wanted: impl FnMut(&LoggedRequest) -> bool) -> usize {
        self.shared.look(|state| {
            let requests = state.journal.of_vault(&self.name).iter();
            requests.filter(|request| wanted(request)).count()
        })
    }

    /// Runs `change` on the vault, which is made again if it was removed.
    fn change<T>(&self, change: impl FnOnce(&mut VaultState) -> T) -> T {
        self.change_at(|vault, _| change(vault))
    }

    fn change_at<T>(&self, change: impl FnOnce(&mut VaultState, i64) -> T) -> T {
        self.shared.change(|state| {
            let now = state.clock.seconds();
            let vault = self.shared.vault_of(state, &self.name);
            change(vault, now)
        })
    }

    /// An operation of the control API on the objects of this name, whose refusal is an answer and not a panic.
    pub(crate) fn attempt<T>(
        &self,
        name: &str,
        operate: impl FnOnce(&mut Objects, i64) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.change_at(|vault, now| {
            vault.objects.settle(name);
            operate(&mut vault.objects, now)
        })
    }

    #[track_caller]
    fn must<T>(&self, name: &str, operate: impl FnOnce(&mut Objects, i64) -> Result<T, Refusal>) -> T {
        match self.attempt(name, operate) {
            Ok(done) => done,
            Err(refusal) => panic!("vault {}: {}", self.name, refusal.message),
        }
    }
}
