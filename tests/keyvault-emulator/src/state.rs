//! Everything the emulator knows, behind one lock.
//!
//! Invariant: the lock is never held over an await; whoever changes something wakes those who wait for a change.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{
    access::Access, certificates::Authority, clock::Clock, entra::Entra, fault::Faults, journal::Journal,
    managed_identity::ManagedIdentities, objects::Objects, token::Realm, token::Tokens,
};

/// One vault.
pub(crate) struct VaultState {
    pub(crate) name: String,
    pub(crate) tenant: String,
    pub(crate) realm: Realm,
    pub(crate) access: Access,
    pub(crate) faults: Faults,
    pub(crate) objects: Objects,
    /// Lists have empty pages in between.
    pub(crate) sparse: bool,
    /// Where the links of lists lead, if not to the vault: scheme and host.
    pub(crate) foreign_links: Option<String>,
    /// Looks that miss a delete or recover after it was asked for.
    pub(crate) settle: u32,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) clock: Clock,
    /// By lower-cased name.
    pub(crate) vaults: BTreeMap<String, VaultState>,
    /// Vaults by hosts of their own.
    pub(crate) vault_hosts: BTreeMap<String, String>,
    pub(crate) entra: Entra,
    pub(crate) managed: ManagedIdentities,
    pub(crate) journal: Journal,
    pub(crate) token_lifetime: u32,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    pub(crate) tokens: Tokens,
    pub(crate) authority: Arc<Authority>,
    pub(crate) tenant: String,
    /// What proves a request to the App Service style endpoint.
    pub(crate) identity_header: String,
    settle: u32,
}

impl Shared {
    pub(crate) fn new(
        state: State,
        tokens: Tokens,
        authority: Arc<Authority>,
        tenant: String,
        settle: u32,
    ) -> Self {
        let identity_header = uuid::Uuid::new_v4().to_string();
        let (state, changes) = (Mutex::new(state), watch::Sender::new(0));
        Self { state, changes, tokens, authority, tenant, identity_header, settle }
    }

    /// Runs `change` on the state and wakes who waits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let outcome = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut state)
        };
        self.changes.send_modify(|count| *count += 1);
        outcome
    }

    /// Looks at the state.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `look` finds something.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut(&State) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = self.look(&mut look) {
                return found;
            }
            // The sender is in `self`, so this cannot fail.
            let _ = changes.changed().await;
        }
    }

    /// The vault of this lower-cased name, made unless it is there.
    pub(crate) fn vault_of<'a>(&self, state: &'a mut State, name: &str) -> &'a mut VaultState {
        state.vaults.entry(name.to_owned()).or_insert_with(|| VaultState {
            name: name.to_owned(),
            tenant: self.tenant.clone(),
            realm: Realm::default(),
            access: Access::default(),
            faults: Faults::default(),
            objects: Objects::default(),
            sparse: false,
            foreign_links: None,
            settle: self.settle,
        })
    }
}
