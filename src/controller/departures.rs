//! Objects that are gone and had added keys to a Secret of another's: their keys are taken out of it.
//!
//! The object is not held back by a finalizer until that is done: an operator that is not there would hold up the deletion of
//! whole namespaces. So what is deleted while no operator runs leaves its keys.

use super::Context;
use super::apply::WriteTarget;
use super::backoff::backoff;
use super::error::Error;
use super::index::Departure;
use crate::api::{Creation, field_manager};
use crate::plan::Seen;
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// An object that is replaced (`kubectl replace --force`) is deleted and made anew: its keys stay.
const GRACE: Duration = Duration::from_secs(5);
/// So often it is tried, in some six minutes.
const TRIES: u32 = 12;

/// Where departures are handed in.
#[derive(Debug)]
pub(super) struct Departures(UnboundedSender<Departure>);

impl Departures {
    /// The queue, and its other end.
    pub(super) fn new() -> (Self, UnboundedReceiver<Departure>) {
        let (queue, end) = unbounded();
        (Self(queue), end)
    }

    /// The object is gone.
    pub(super) fn begin(&self, departure: Departure) {
        // Nobody listens any more while the process ends.
        self.0.unbounded_send(departure).ok();
    }
}

/// Takes the keys of objects that are gone out of their Secrets. Never ends.
pub(super) async fn carry_out(context: Arc<Context>, departed: UnboundedReceiver<Departure>) {
    // Most of the time of each is its grace.
    let each = departed.for_each_concurrent(None, |departure| {
        let context = Arc::clone(&context);
        async move { leave(&context, &departure).await }
    });
    each.await;
}

async fn leave(context: &Context, departure: &Departure) {
    let Departure { key, target, .. } = departure;
    let mut wait = GRACE;
    for tried in 1..=TRIES {
        tokio::time::sleep(wait).await;
        // One of the same name has come in its place.
        if context.index.contains(key) || context.ignores(&key.namespace) {
            return;
        }
        match take_out(context, departure).await {
            Ok(Some(0)) => return,
            Ok(Some(keys)) => {
                info!(object = %key, secret = %target, keys, "the keys of a deleted VaultSecretSync were removed");
                return;
            }
            Ok(None) => wait = Duration::ZERO,
            Err(error) => wait = backoff(&error, tried, &key.name),
        }
    }
    warn!(
        object = %key, secret = %target,
        "the keys of a deleted VaultSecretSync stay in the Secret: the API server did not take the change. Remove them by kubectl edit"
    );
}

/// How many keys were taken out; `None`: somebody else changed the Secret meanwhile.
async fn take_out(context: &Context, departure: &Departure) -> Result<Option<usize>, Error> {
    let Departure { key, target, keys } = departure;
    let manager = field_manager(&key.name);
    let target = WriteTarget {
        namespace: &key.namespace,
        name: target,
        object: &key.name,
        manager: &manager,
        creation: Creation::Merge,
    };
    let Seen::Ours(observed) = context.server.probe(target, None).await? else { return Ok(Some(0)) };
    let others = context.index.sharing(key, target.name);
    let Some(change) = observed.without(&manager, keys, &others) else { return Ok(Some(0)) };
    Ok(match context.server.change(target, None, &change).await? {
        Seen::Written(_) => Some(change.remove.len()),
        Seen::Changed => None,
        Seen::Refused(_) => {
            warn!(object = %key, secret = target.name, "the keys of a deleted VaultSecretSync stay in the Secret: the API server refused the change. Remove them by kubectl edit");
            Some(0)
        }
        Seen::Absent | Seen::Remembered | Seen::Ours(_) => Some(0),
    })
}
