//! The plane as its users see it.

use std::{fmt, sync::Arc};

use tokio::sync::mpsc;

use super::{
    answer::{Answer, Health, HealthState, Reply, User, Wake, Want},
    assertion::Assertions,
    connection::Connection,
    host::Limits,
    metrics::VaultMetrics,
    transport::Transport,
};

/// The fetch plane. Cheap to clone.
#[derive(Clone)]
pub struct Plane(Arc<Shared>);

struct Shared {
    _wakes: mpsc::UnboundedSender<Wake>,
}

impl Plane {
    /// A plane, and the wakes it sends.
    #[must_use]
    pub fn new(
        _limits: Limits,
        _transport: Transport,
        _assertions: Arc<dyn Assertions>,
        _metrics: VaultMetrics,
    ) -> (Self, mpsc::UnboundedReceiver<Wake>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Arc::new(Shared { _wakes: sender })), receiver)
    }

    /// Sync, never waits. Replaces what `user` wanted before, through any connection.
    #[must_use]
    pub fn ask(&self, _user: &User, _connection: &Connection, wants: &[Want]) -> Reply {
        let _ = &self.0;
        Reply {
            answers: wants.iter().map(|_| Answer::Pending).collect(),
            health: Health { state: HealthState::Unproven, users: 1 },
            unconfirmed_for: None,
        }
    }

    /// The object has used its values: what it waited for may be dropped.
    pub fn release(&self, _user: &User) {}

    /// Each of the user's sources is read once more in the interactive lane, never past the gate; until each is
    /// answered by a GET begun after this call, `ask` says `Pending` for it.
    pub fn refresh(&self, _user: &User) {}

    /// The object is gone.
    pub fn forget(&self, _user: &User) {}

    /// How the handle of `connection` fares; `None` if there is none.
    #[must_use]
    pub fn health(&self, _connection: &Connection) -> Option<Health> {
        None
    }
}

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plane").finish_non_exhaustive()
    }
}
