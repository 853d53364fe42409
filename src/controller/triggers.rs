//! Everything but the watch that makes an object or a connection be looked at.

use super::index::VaultKey;
use crate::object_key::ObjectKey;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};

/// The queues into the controllers. They hold shared names, of which a controller makes its own as it takes them: all
/// users of a connection may be in there at once. A closed queue is that of a controller that is shutting down.
#[derive(Debug)]
pub(super) struct Triggers {
    scopes: Vec<ScopeQueues>,
    shared: UnboundedSender<VaultKey>,
}

/// The queues of one scope: a namespace, or all.
#[derive(Debug)]
struct ScopeQueues {
    namespace: Option<String>,
    objects: UnboundedSender<ObjectKey>,
    connections: UnboundedSender<VaultKey>,
}

/// The other ends of one scope's queues.
pub(super) type Triggered = (UnboundedReceiver<ObjectKey>, UnboundedReceiver<VaultKey>);

impl Triggers {
    /// Queues for these scopes and for `ClusterKeyVault`s, and their other ends.
    pub(super) fn new(scopes: &[Option<String>]) -> (Self, Vec<Triggered>, UnboundedReceiver<VaultKey>) {
        let (shared, shared_end) = unbounded();
        let both = scopes.iter().map(|namespace| {
            let ((objects, objects_end), (connections, connections_end)) = (unbounded(), unbounded());
            (
                ScopeQueues { namespace: namespace.clone(), objects, connections },
                (objects_end, connections_end),
            )
        });
        let (scopes, ends) = both.unzip();
        (Self { scopes, shared }, ends, shared_end)
    }

    /// Has an object looked at.
    pub(super) fn object(&self, key: &ObjectKey) {
        if let Some(scope) = self.scope(&key.namespace) {
            scope.objects.unbounded_send(key.clone()).ok();
        }
    }

    /// Has the status of a connection looked at.
    pub(super) fn connection(&self, key: &VaultKey) {
        let queue = match &key.namespace {
            None => Some(&self.shared),
            Some(namespace) => self.scope(namespace).map(|scope| &scope.connections),
        };
        if let Some(queue) = queue {
            queue.unbounded_send(key.clone()).ok();
        }
    }

    fn scope(&self, namespace: &str) -> Option<&ScopeQueues> {
        self.scopes.iter().find(|scope| scope.namespace.as_deref().is_none_or(|own| own == namespace))
    }
}
