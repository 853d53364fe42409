//! Everything but the watch that makes an object or a connection be looked at.

use crate::api::KeyVault;
use crate::object_key::ObjectKey;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::runtime::reflector::ObjectRef;

/// The queues into the controllers of each scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Triggers(Vec<Scope>);

#[derive(Clone, Debug)]
struct Scope {
    namespace: Option<String>,
    objects: UnboundedSender<ObjectKey>,
    vaults: UnboundedSender<ObjectRef<KeyVault>>,
}

/// The other ends of one scope's queues.
#[derive(Debug)]
pub(super) struct Triggered {
    /// Shared names, of which the controller makes its own as it takes them: all users of a connection may be in here
    /// at once.
    pub(super) objects: UnboundedReceiver<ObjectKey>,
    pub(super) vaults: UnboundedReceiver<ObjectRef<KeyVault>>,
}

impl Triggers {
    /// Adds a scope: a namespace, or all.
    pub(super) fn add(&mut self, namespace: Option<&str>) -> Triggered {
        let (objects, objects_end) = unbounded();
        let (vaults, vaults_end) = unbounded();
        self.0.push(Scope { namespace: namespace.map(str::to_owned), objects, vaults });
        Triggered { objects: objects_end, vaults: vaults_end }
    }

    /// Has an object looked at.
    pub(super) fn object(&self, key: &ObjectKey) {
        if let Some(scope) = self.scope(&key.namespace) {
            // A closed queue is a controller that is shutting down.
            scope.objects.unbounded_send(key.clone()).ok();
        }
    }

    /// Has a connection looked at.
    pub(super) fn vault(&self, namespace: &str, name: &str) {
        if let Some(scope) = self.scope(namespace) {
            scope.vaults.unbounded_send(ObjectRef::new(name).within(namespace)).ok();
        }
    }

    fn scope(&self, namespace: &str) -> Option<&Scope> {
        self.0.iter().find(|scope| scope.namespace.as_deref().is_none_or(|own| own == namespace))
    }
}
