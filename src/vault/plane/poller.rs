//! The task of a vault host: does what its [`Host`] says and tells it what came of it.
//!
//! It ends when the host has no handle left, or nobody listens to wakes any more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::{
    sync::Notify,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use super::{
    Shared,
    errand::{Fetch, Fetched},
    host::Host,
    lanes::HandleId,
};
use crate::vault::{
    answer::Wake,
    failure::{Failure, Peer},
    rest::reader::Reader,
};

/// A host and the bell of its task.
#[derive(Debug)]
pub(super) struct Running {
    host: Mutex<Host>,
    changed: Notify,
}

impl Running {
    pub(super) fn new(host: Host) -> Self {
        Self { host: Mutex::new(host), changed: Notify::new() }
    }

    pub(super) fn host(&self) -> MutexGuard<'_, Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host was asked something new.
    pub(super) fn ring(&self) {
        self.changed.notify_one();
    }
}

/// The task's own: what is under way, and what handles read with.
struct Poller {
    name: String,
    running: Arc<Running>,
    shared: Weak<Shared>,
    readers: HashMap<HandleId, Arc<Reader>>,
    reads: JoinSet<Fetched>,
    fetches: HashMap<Id, Fetch>,
}

/// Runs the host `name` until it is empty.
pub(super) async fn run(name: String, running: Arc<Running>, shared: Weak<Shared>) {
    let Some(wakes) = shared.upgrade().map(|shared| shared.wakes.clone()) else { return };
    let mut poller = Poller {
        name,
        running,
        shared,
        readers: HashMap::new(),
        reads: JoinSet::new(),
        fetches: HashMap::new(),
    };
    loop {
        let tick = poller.running.host().tick(Instant::now().into_std());
        for id in tick.ended {
            poller.readers.remove(&id);
        }
        for fetch in tick.fetches {
            poller.begin(fetch);
        }
        poller.wake(tick.wakes);
        if poller.reads.is_empty() && poller.is_done() {
            return;
        }
        let running = Arc::clone(&poller.running);
        tokio::select! {
            Some(read) = poller.reads.join_next_with_id() => poller.finish(read),
            () = running.changed.notified() => {}
            () = wakes.closed() => return,
            () = sleep_until(tick.until) => {}
        }
    }
}

async fn sleep_until(until: Option<std::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

impl Poller {
    fn begin(&mut self, fetch: Fetch) {
        let Some(shared) = self.shared.upgrade() else { return };
        let reader = self.readers.entry(fetch.handle);
        let reader = Arc::clone(reader.or_insert_with(|| Arc::new(shared.reader(&fetch.connection))));
        let errand = fetch.errand.clone();
        let task = self.reads.spawn(async move { reader.send(&errand).await });
        self.fetches.insert(task.id(), fetch);
    }

    fn finish(&mut self, read: Result<(Id, Fetched), JoinError>) {
        // A read that panicked must not be waited for for ever.
        let (id, fetched) = read.unwrap_or_else(|error| {
            let failure = Failure::ServiceUnavailable { peer: Peer::Vault, status: None };
            (error.id(), Fetched::Failed(failure.into()))
        });
        let Some(fetch) = self.fetches.remove(&id) else { return };
        let (wakes, tally) = {
            let mut host = self.running.host();
            if let Some(reader) = self.readers.get(&fetch.handle) {
                host.note(fetch.handle, reader.evidence());
            }
            let wakes = host.finish(&fetch, fetched, Instant::now().into_std());
            (wakes, std::mem::take(&mut host.tally))
        };
        if let Some(shared) = self.shared.upgrade() {
            shared.metrics.tally(&self.name, &tally);
        }
        self.wake(wakes);
    }

    fn wake(&self, wakes: Vec<Wake>) {
        let Some(shared) = self.shared.upgrade() else { return };
        for wake in wakes {
            // Nobody listening is seen in the loop.
            let _ = shared.wakes.send(wake);
        }
    }

    /// Whether the host is empty and was taken off the plane, so that nobody asks it any more.
    fn is_done(&self) -> bool {
        self.shared.upgrade().is_none_or(|shared| shared.remove_if_empty(&self.name))
    }
}
