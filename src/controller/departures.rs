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
use crate::object_key::ObjectKey;
use crate::plan::Seen;
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// An object that is replaced (`kubectl replace --force`) is deleted and made anew: its keys stay.
const GRACE: Duration = Duration::from_secs(5);
/// So often it is tried, in some six minutes.
const TRIES: u32 = 12;

/// So long a round may outlive its object, and write keys: more than all its calls may take.
const LATE: Duration = Duration::from_secs(180);

/// Where departures are handed in.
#[derive(Debug)]
pub(super) struct Departures {
    queue: UnboundedSender<Departure>,
    /// Those of the last minutes, and until when their rounds may write.
    late: Mutex<HashMap<ObjectKey, (Departure, Instant)>>,
}

impl Departures {
    /// The queue, and its other end.
    pub(super) fn new() -> (Self, UnboundedReceiver<Departure>) {
        let (queue, end) = unbounded();
        (Self { queue, late: Mutex::default() }, end)
    }

    /// The object is gone.
    pub(super) fn begin(&self, departure: Departure) {
        self.late().insert(departure.key.clone(), (departure.clone(), Instant::now() + LATE));
        // Nobody listens any more while the process ends.
        self.queue.unbounded_send(departure).ok();
    }

    /// A round of this object ended after the object did: it may have written keys.
    pub(super) fn round_ended(&self, key: &ObjectKey) {
        if let Some((departure, _)) = self.late().get(key) {
            self.queue.unbounded_send(departure.clone()).ok();
        }
    }

    /// Forgets those whose rounds have ended by now.
    fn tidy(&self) {
        let now = Instant::now();
        self.late().retain(|_, (_, until)| *until > now);
    }

    fn late(&self) -> MutexGuard<'_, HashMap<ObjectKey, (Departure, Instant)>> {
        // Nothing under this lock can panic.
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the keys of objects that are gone out of their Secrets. Never ends.
pub(super) async fn carry_out(context: Arc<Context>, departed: UnboundedReceiver<Departure>) {
    // Most of the time of each is its grace.
    let each = departed.for_each_concurrent(None, |departure| {
        let context = Arc::clone(&context);
        async move {
            leave(&context, &departure).await;
            tokio::time::sleep(LATE).await;
            context.departures.tidy();
        }
    });
    each.await;
}

async fn leave(context: &Context, departure: &Departure) {
    let Departure { key, target, .. } = departure;
    let mut wait = GRACE;
    for tried in 1..=TRIES {
        tokio::time::sleep(wait).await;
        // One of the same name has come in its place.
        if context.index.has_target(key, target) || context.ignores(&key.namespace) {
            return;
        }
        match take_out(context, departure).await {
            Ok(TakenOut::Keys(keys)) => {
                info!(object = %key, secret = %target, keys, "the keys of a deleted VaultSecretSync were removed");
                // A key that one of them waited for is free.
                for name in context.index.sharing(key, target) {
                    let sharer = key.beside(name);
                    context.memories.want_probe(sharer.clone());
                    context.triggers.object(&sharer);
                }
                return;
            }
            Ok(TakenOut::Nothing) => return,
            Ok(TakenOut::Refused) => break,
            Ok(TakenOut::Moved) => wait = Duration::ZERO,
            Err(error) => wait = backoff(&error, tried, &key.name),
        }
    }
    warn!(
        object = %key, secret = %target,
        "the keys of a deleted VaultSecretSync may still be in the Secret: it does not consent any more, or the API server did not take the change. Remove them by kubectl edit"
    );
}

/// What became of a try.
enum TakenOut {
    /// So many keys.
    Keys(usize),
    /// There was none.
    Nothing,
    /// The Secret may not be changed.
    Refused,
    /// Somebody else changed the Secret meanwhile.
    Moved,
}

async fn take_out(context: &Context, departure: &Departure) -> Result<TakenOut, Error> {
    let Departure { key, target, keys } = departure;
    let manager = field_manager(&key.name);
    let target = WriteTarget {
        namespace: &key.namespace,
        name: target,
        object: &key.name,
        manager: &manager,
        creation: Creation::Merge,
    };
    let observed = match context.server.probe(target, None).await? {
        Seen::Ours(observed) => observed,
        Seen::Refused(_) => return Ok(TakenOut::Refused),
        Seen::Absent | Seen::Changed | Seen::Remembered | Seen::Written(_) => return Ok(TakenOut::Nothing),
    };
    let others = context.index.shared_keys(key, target.name);
    let Some(change) = observed.without(&manager, keys, &others) else { return Ok(TakenOut::Nothing) };
    Ok(match context.server.change(target, None, &change).await? {
        Seen::Written(_) => TakenOut::Keys(change.remove.len()),
        Seen::Changed => TakenOut::Moved,
        Seen::Refused(_) => TakenOut::Refused,
        Seen::Absent | Seen::Remembered | Seen::Ours(_) => TakenOut::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn departure(target: &str) -> Departure {
        let key = ObjectKey { namespace: "shop".into(), name: "db".into() };
        Departure { key, target: target.into(), keys: Vec::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_made_anew_and_deleted_again_has_its_keys_taken_out_though_a_round_ends_late() {
        let (departures, mut queue) = Departures::new();
        departures.begin(departure("first"));
        tokio::time::advance(LATE).await;
        departures.begin(departure("second"));
        departures.tidy();
        departures.round_ended(&departure("second").key);
        let mut next = || queue.try_recv().map(|departure| departure.target.to_string()).ok();
        assert_eq!(
            [next(), next(), next(), next()].map(Option::unwrap_or_default),
            ["first", "second", "second", ""]
        );
        tokio::time::advance(LATE).await;
        departures.tidy();
        departures.round_ended(&departure("second").key);
        assert!(queue.try_recv().is_err());
    }
}
