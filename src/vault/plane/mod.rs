//! The plane as its users see it: finds the host of a connection and asks it, under one short lock.

pub(super) mod detect;
pub(super) mod errand;
pub(super) mod gauges;
pub(super) mod jitter;
pub(super) mod sighting;

mod budget;
mod by_user;
mod entry;
mod fetched;
mod gate;
mod gathering;
mod handle;
mod host;
mod lanes;
mod poller;
mod preflight;
mod schedule;
mod sweep;
#[cfg(test)]
mod tests;
mod waits;

use std::{
    collections::{HashMap, HashSet, hash_map},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::mpsc, time::Instant};

use self::{
    detect::{Detect, Terms},
    gauges::Measured,
    host::Host,
    jitter::Jitter,
    poller::Running,
};
use crate::object_key::ObjectKey;
use crate::vault::{
    answer::{Found, Health, Reply, Sought, Wake, Want},
    connection::Connection,
    limits::Limits,
    metrics::VaultMetrics,
    rest::{reader::Reader, transport::Transport},
    token::{assertion::Assertions, credentials::Credentials},
};

/// The fetch plane. Cheap to clone. It lives on the tokio runtime in which it is first asked.
#[derive(Clone)]
pub struct Plane(Arc<Shared>);

/// What all hosts share, and where they are found.
struct Shared {
    limits: Limits,
    transport: Transport,
    assertions: Arc<dyn Assertions>,
    credentials: Arc<Credentials>,
    metrics: VaultMetrics,
    wakes: mpsc::UnboundedSender<Wake>,
    index: Mutex<Index>,
}

#[derive(Default)]
struct Index {
    /// By host name.
    hosts: HashMap<String, Arc<Running>>,
    /// Through which connection a user asked last.
    users: HashMap<ObjectKey, Arc<Connection>>,
    /// Each once, for all its users.
    connections: HashSet<Arc<Connection>>,
}

impl Index {
    fn shared(&mut self, connection: &Connection) -> Arc<Connection> {
        if let Some(known) = self.connections.get(connection) {
            return Arc::clone(known);
        }
        self.connections.retain(|known| Arc::strong_count(known) > 1);
        let new = Arc::new(connection.clone());
        self.connections.insert(Arc::clone(&new));
        new
    }
}

impl Plane {
    /// A plane, and the wakes it sends.
    #[must_use]
    pub fn new(
        limits: Limits,
        transport: Transport,
        assertions: Arc<dyn Assertions>,
        credentials: Credentials,
        metrics: VaultMetrics,
    ) -> (Self, mpsc::UnboundedReceiver<Wake>) {
        let (wakes, receiver) = mpsc::unbounded_channel();
        let (credentials, index) = (Arc::new(credentials), Mutex::default());
        let shared = Shared { limits, transport, assertions, credentials, metrics, wakes, index };
        let shared = Arc::new(shared);
        let hosts = Arc::downgrade(&shared);
        shared
            .metrics
            .measure_hosts(move || hosts.upgrade().map(|shared| shared.measure()).unwrap_or_default());
        (Self(shared), receiver)
    }

    /// Answers at once, and sees to it that what is not known is read. Replaces what `user` wanted before,
    /// through whatever connection and on whatever terms. `together`: the user has what is known in a Secret and may
    /// write to it, so what is new is to arrive together.
    #[must_use]
    pub fn ask(
        &self,
        user: &ObjectKey,
        connection: &Connection,
        terms: Terms,
        wants: &[Want],
        together: bool,
    ) -> Reply {
        self.of_user(user, connection, |host, now| host.ask(user, connection, terms, wants, together, now))
    }

    /// Looks for names in the list of secrets, which is read at this interval from now on, until the user says that it
    /// [looks for none](Self::find_none) any more.
    #[must_use]
    pub fn find(&self, user: &ObjectKey, connection: &Connection, terms: Terms, sought: Sought<'_>) -> Found {
        self.of_user(user, connection, |host, now| host.find(user, connection, terms, sought, now))
    }

    /// The user looks for no names, or for none any more.
    pub fn find_none(&self, user: &ObjectKey) {
        self.with_host(user, |host, connection| host.find_none(user, connection));
    }

    /// Does something with the host of a connection, in the name of a user; whatever that used before it uses no more.
    fn of_user<T>(
        &self,
        user: &ObjectKey,
        connection: &Connection,
        action: impl FnOnce(&mut Host, std::time::Instant) -> T,
    ) -> T {
        let now = Instant::now().into_std();
        let mut index = self.0.index();
        let asked = index.shared(connection);
        let before = index.users.insert(user.clone(), asked);
        if let Some(before) = before.filter(|before| **before != *connection)
            && let Some(running) = index.hosts.get(before.url.host())
        {
            running.host().forget(user, &before, now);
            running.ring();
        }
        let running = self.host(&mut index, connection, now);
        let done = action(&mut running.host(), now);
        running.ring();
        done
    }

    /// Has the connection prove itself, in the name of `namespace`, as far as objects' own reads have not proved it: by
    /// a GET of a name that no secret has, and a LIST of one unless changes are found by GET. [`Wake::Connection`]
    /// follows; a trial that failed is made again only by another call.
    pub fn prove(&self, connection: &Connection, namespace: &str, detect: Detect) {
        let now = Instant::now().into_std();
        let mut index = self.0.index();
        let running = self.host(&mut index, connection, now);
        running.host().prove(connection, &namespace.into(), detect, now);
        running.ring();
    }

    /// The object has used the values that the last [`Self::ask`] gave it: it knows these now, and they may be dropped.
    pub fn release(&self, user: &ObjectKey) {
        self.with_host(user, |host, connection| host.release(user, connection));
    }

    /// Each of the user's sources is read once more in the interactive lane, never past the gate; until each is
    /// answered by a GET begun after this call, [`Self::ask`] says `Pending` for it.
    pub fn refresh(&self, user: &ObjectKey) {
        let now = Instant::now().into_std();
        self.with_host(user, |host, connection| host.refresh(user, connection, now));
    }

    /// The object goes on to want what it asked for last, if that was through this connection and on these terms; else it
    /// wants nothing any more, until it asks again.
    pub fn keep(&self, user: &ObjectKey, connection: &Connection, terms: Terms) {
        let same = self.with_host(user, |host, asked| {
            *asked == *connection && host.is_asked_on(user, connection, terms)
        });
        if same == Some(false) {
            self.forget(user);
        }
    }

    /// The object is gone, or wants nothing any more.
    pub fn forget(&self, user: &ObjectKey) {
        let now = Instant::now().into_std();
        self.with_host(user, |host, connection| host.forget(user, connection, now));
        self.0.index().users.remove(user);
    }

    /// How the handle of `connection` fares; `None` if there is none.
    #[must_use]
    pub fn health(&self, connection: &Connection) -> Option<Health> {
        let now = Instant::now().into_std();
        let index = self.0.index();
        let running = index.hosts.get(connection.url.host())?;
        running.host().health(connection, now)
    }

    /// The host of a connection, which begins to run if it did not.
    fn host<'a>(
        &self,
        index: &'a mut Index,
        connection: &Connection,
        now: std::time::Instant,
    ) -> &'a Arc<Running> {
        match index.hosts.entry(connection.url.host().to_owned()) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(new) => {
                let running = Arc::new(Running::new(Host::new(self.0.limits.clone(), Jitter::random(), now)));
                let weak = Arc::downgrade(&self.0);
                tokio::spawn(poller::run(new.key().clone(), Arc::clone(&running), weak));
                new.insert(running)
            }
        }
    }

    fn with_host<R>(&self, user: &ObjectKey, action: impl FnOnce(&mut Host, &Connection) -> R) -> Option<R> {
        let index = self.0.index();
        let connection = index.users.get(user)?;
        let running = index.hosts.get(connection.url.host())?;
        let result = action(&mut running.host(), connection);
        running.ring();
        Some(result)
    }
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a new handle reads with.
    fn reader(&self, connection: &Connection) -> Reader {
        Reader::new(
            connection.clone(),
            &self.transport,
            Arc::clone(&self.assertions),
            Arc::clone(&self.credentials),
            Jitter::random(),
            self.metrics.clone(),
        )
    }

    /// Every host as it is now.
    fn measure(&self) -> Vec<(String, Measured)> {
        let now = Instant::now().into_std();
        // The rounds of all objects go through the index: it is not held while a host is measured.
        let running: Vec<_> =
            self.index().hosts.iter().map(|(name, running)| (name.clone(), Arc::clone(running))).collect();
        running.into_iter().map(|(name, running)| (name, running.host().measure(now))).collect()
    }

    /// Takes the host off the plane if it has no handle; nobody can ask it meanwhile.
    fn remove_if_empty(&self, host: &str) -> bool {
        let mut index = self.index();
        let empty = index.hosts.get(host).is_none_or(|running| running.host().is_empty());
        if empty {
            index.hosts.remove(host);
            self.metrics.forget(host);
        }
        empty
    }
}

impl fmt::Debug for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plane").finish_non_exhaustive()
    }
}
