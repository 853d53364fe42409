//! Objects that are gone and had added keys to a Secret of another's: their keys are taken out of it.
//!
//! The object is not held back by a finalizer until that is done: an operator that is not there would hold up the deletion of
//! whole namespaces. So what is deleted while no operator runs leaves its keys.

use super::Context;
use super::apply::WriteTarget;
use super::backoff::backoff;
use super::error::Error;
use super::index::{Departure, ObjectIndex, Share};
use super::watch::Guarded;
use crate::api::{Creation, VaultSecretSync, field_manager};
use crate::object_key::ObjectKey;
use crate::plan::{Refusal, Seen};
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::Resource as _;
use kube::api::{Api, ListParams};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// An object that is replaced (`kubectl replace --force`) is deleted and made anew: its keys stay.
const GRACE: Duration = Duration::from_secs(5);
/// So often it is tried, in some six minutes.
const TRIES: u32 = 12;
/// Objects are listed in pages of so many.
const PAGE: u32 = 100;
/// So long a round may outlive its object, and write keys: more than all its calls may take.
const LATE: Duration = Duration::from_secs(180);

/// Where departures are handed in.
#[derive(Debug)]
pub(super) struct Departures {
    queue: UnboundedSender<Departure>,
    departed: Mutex<Departed>,
}

#[derive(Debug, Default)]
struct Departed {
    /// Those of the last minutes, by their object and Secret, and until when their rounds may write.
    late: BTreeMap<(ObjectKey, Arc<str>), (Departure, Instant)>,
    /// The objects and the Secrets of those that are not carried out yet.
    pending: BTreeSet<(ObjectKey, Arc<str>)>,
}

impl Departures {
    /// The queue, and its other end.
    pub(super) fn new() -> (Self, UnboundedReceiver<Departure>) {
        let (queue, end) = unbounded();
        (Self { queue, departed: Mutex::default() }, end)
    }

    /// The object is gone.
    pub(super) fn begin(&self, departure: Departure) {
        let entry = (departure.clone(), Instant::now() + LATE);
        self.departed().late.insert((departure.key.clone(), Arc::clone(&departure.target)), entry);
        self.hand_in(departure);
    }

    /// A round of this object ended after the object did: it may have written keys.
    pub(super) fn round_ended(&self, key: &ObjectKey) {
        let departed = self.departed();
        let of_object =
            departed.late.range((key.clone(), "".into())..).take_while(|((other, _), _)| other == key);
        let late: Vec<Departure> = of_object.map(|(_, (departure, _))| departure.clone()).collect();
        drop(departed);
        for departure in late {
            self.hand_in(departure);
        }
    }

    /// The process ends: those that are not carried out are left to people.
    pub(super) fn tell_of_pending(&self, index: &ObjectIndex) {
        let departed = self.departed();
        // One of the same name may have come in its place.
        for (object, secret) in
            departed.pending.iter().filter(|(object, secret)| !index.has_target(object, secret))
        {
            warn!(
                %object, %secret,
                "vaultsync stops before the keys of a deleted VaultSecretSync were removed from the Secret. Remove them by kubectl edit, if no other object wants them"
            );
        }
    }

    fn hand_in(&self, departure: Departure) {
        self.departed().pending.insert((departure.key.clone(), Arc::clone(&departure.target)));
        // Nobody listens any more while the process ends.
        self.queue.unbounded_send(departure).ok();
    }

    fn carried_out(&self, departure: &Departure) {
        self.departed().pending.remove(&(departure.key.clone(), Arc::clone(&departure.target)));
    }

    /// Forgets those whose rounds have ended by now.
    fn tidy(&self) {
        let now = Instant::now();
        self.departed().late.retain(|_, (_, until)| *until > now);
    }

    fn departed(&self) -> MutexGuard<'_, Departed> {
        // Nothing under this lock can panic.
        self.departed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the keys of objects that are gone out of their Secrets. Never ends.
pub(super) async fn carry_out(context: Arc<Context>, departed: UnboundedReceiver<Departure>) {
    // Most of the time of each is its grace.
    let each = departed.for_each_concurrent(None, |departure| {
        let context = Arc::clone(&context);
        async move {
            leave(&context, &departure).await;
            context.departures.carried_out(&departure);
            tokio::time::sleep(LATE).await;
            context.departures.tidy();
        }
    });
    each.await;
}

async fn leave(context: &Context, departure: &Departure) {
    let Departure { key, target, keys } = departure;
    let mut wait = GRACE;
    for tried in 1..=TRIES {
        tokio::time::sleep(wait).await;
        if context.ignores(&key.namespace) {
            return;
        }
        match take_out(context, departure).await {
            Ok(TakenOut::Keys(keys)) => {
                info!(object = %key, secret = %target, keys, "the keys of a deleted VaultSecretSync were removed");
                context.tell_sharing(key, target);
                return;
            }
            Ok(TakenOut::Nothing) => return,
            Ok(TakenOut::Refused(refusal)) if refusal.may_pass() => {
                wait = backoff(&Error::Unsettled, tried, &key.name);
            }
            // Nothing of its keys is known to be there.
            Ok(TakenOut::Refused(refusal)) if refusal == Refusal::Terminating || keys.is_empty() => return,
            Ok(TakenOut::Refused(_)) => break,
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
    /// There was none, or an object of the same name has come in its place.
    Nothing,
    /// The Secret may not be changed.
    Refused(Refusal),
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
        Seen::Refused(refusal) => return Ok(TakenOut::Refused(refusal)),
        Seen::Absent | Seen::Changed | Seen::Remembered | Seen::Written(_) => return Ok(TakenOut::Nothing),
    };
    if observed.without(&manager, keys, &BTreeSet::new()).is_none() {
        return Ok(TakenOut::Nothing);
    }
    let Some(others) = wanted_by_others(context, departure).await? else { return Ok(TakenOut::Nothing) };
    let Some(change) = observed.without(&manager, keys, &others) else { return Ok(TakenOut::Nothing) };
    Ok(match context.server.change(target, None, &change).await? {
        Seen::Written(_) => TakenOut::Keys(change.remove.len()),
        Seen::Changed => TakenOut::Moved,
        Seen::Refused(refusal) => TakenOut::Refused(refusal),
        Seen::Absent | Seen::Remembered | Seen::Ours(_) => TakenOut::Nothing,
    })
}

/// The keys that other objects want in the Secret; `None` where an object of the same name has it. The API server is asked,
/// for the watch may be behind.
async fn wanted_by_others(
    context: &Context,
    departure: &Departure,
) -> Result<Option<BTreeSet<String>>, Error> {
    let Departure { key, target, .. } = departure;
    let api: Api<Guarded<VaultSecretSync>> = Api::namespaced(context.server.client().clone(), &key.namespace);
    // Those that are not understood any more are shared as they last were.
    let mut wanted = context.index.shared_keys(key, target);
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = context.server.send("list vaultsecretsyncs", api.list(&params)).await?;
        for object in page.items {
            let same = object.meta().name.as_deref() == Some(&*key.name);
            match object.understood() {
                None if same => return Ok(None),
                None => {}
                Some(object) if *object.target_name() != **target => {}
                Some(_) if same => return Ok(None),
                Some(object) => wanted.extend(Share::of(&object).into_iter().flat_map(Share::into_keys)),
            }
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(Some(wanted));
        }
    }
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
