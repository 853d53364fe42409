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
    host::{Host, ask},
    jitter::Jitter,
    poller::Running,
    sweep::finders::find_joined,
};
use crate::object_key::ObjectKey;
use crate::vault::{
    answer::{Ask, Found, Health, Losses, Reply, Sought, Wake},
    connection::{Connection, Source},
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
    /// Through which connections a user asked last.
    users: HashMap<ObjectKey, Arc<Box<[Connection]>>>,
    /// Those of one user, mostly one, each once for all who have the same.
    connections: HashSet<Arc<Box<[Connection]>>>,
}

impl Index {
    /// `user` uses these from now on; returns what it used before and uses no more.
    fn replace<'a>(
        &mut self,
        user: &ObjectKey,
        connections: impl Iterator<Item = &'a Connection> + Clone,
    ) -> Vec<Connection> {
        let before = self.users.get(user);
        if before.is_some_and(|before| before.iter().eq(connections.clone())) {
            return Vec::new();
        }
        let new: Box<[Connection]> = connections.cloned().collect();
        let left = before.iter().flat_map(|before| before.iter());
        let left = left.filter(|connection| !new.contains(connection)).cloned().collect();
        let known = self.connections.get(&new).map(Arc::clone);
        let shared = known.unwrap_or_else(|| {
            self.connections.retain(|known| Arc::strong_count(known) > 1);
            let new = Arc::new(new);
            self.connections.insert(Arc::clone(&new));
            new
        });
        self.users.insert(user.clone(), shared);
        left
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

    /// Answers at once, in the order of `asks`, and sees to it that what is not known is read. Replaces what `user` wanted
    /// before, through whatever connections and on whatever terms. `together`: the user has what is known in a Secret and may
    /// write to it, so what is new is to arrive together, of all connections.
    #[must_use]
    pub fn ask(&self, user: &ObjectKey, asks: &[Ask<'_>], together: bool) -> Vec<Reply> {
        let now = Instant::now().into_std();
        let mut index = self.0.index();
        let mut connections: Vec<&Connection> = Vec::with_capacity(asks.len());
        for ask in asks {
            if !connections.contains(&ask.connection) {
                connections.push(ask.connection);
            }
        }
        for left in index.replace(user, connections.into_iter()) {
            forget_in(&index, user, &left, now);
        }
        let mut running: Vec<Arc<Running>> = Vec::with_capacity(asks.len());
        let mut placed = Vec::with_capacity(asks.len());
        for ask in asks {
            let host = self.host(&mut index, ask.connection, now);
            let place = running.iter().position(|known| Arc::ptr_eq(known, host)).unwrap_or(running.len());
            if place == running.len() {
                running.push(Arc::clone(host));
            }
            placed.push((place, *ask));
        }
        // All at once, so that no news comes to one while another is asked. Who holds several holds the index too.
        let mut guards: Vec<MutexGuard<'_, Host>> = running.iter().map(|running| running.host()).collect();
        let mut hosts: Vec<&mut Host> = guards.iter_mut().map(|guard| &mut **guard).collect();
        let replies = ask(&mut hosts, user, &placed, together, now);
        drop(guards);
        for running in &running {
            running.ring();
        }
        replies
    }

    /// Looks for names in the lists of secrets, which are read at these intervals from now on: what each shows. Of others the
    /// user looks into none any more.
    #[must_use]
    pub fn find(&self, user: &ObjectKey, sought: &[Sought<'_>]) -> Vec<Found> {
        let now = Instant::now().into_std();
        let mut index = self.0.index();
        let before = index.users.get(user).map(Arc::clone);
        let before = || before.iter().flat_map(|before| before.iter());
        let looks_into =
            |connection: &Connection| sought.iter().any(|sought| sought.connection == connection);
        for connection in before().filter(|connection| !looks_into(connection)) {
            if let Some(running) = index.hosts.get(connection.url.host()) {
                running.host().find_none(user, connection);
            }
        }
        let is_new = |sought: &&Sought<'_>| !before().any(|connection| connection == sought.connection);
        let new = sought.iter().filter(is_new).map(|sought| sought.connection);
        if new.clone().next().is_some() {
            index.replace(user, before().chain(new));
        }
        find_joined(sought, |sought| {
            let running = self.host(&mut index, sought.connection, now);
            let found = running.host().find(user, sought, now);
            running.ring();
            found
        })
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
        self.with_hosts(user, |host, connection| host.release(user, connection));
    }

    /// Each of the user's sources is read once more in the interactive lane, never past the gate; until each is
    /// answered by a GET begun after this call, [`Self::ask`] says `Pending` for it.
    pub fn refresh(&self, user: &ObjectKey) {
        let now = Instant::now().into_std();
        self.with_hosts(user, |host, connection| host.refresh(user, connection, now));
    }

    /// The object goes on to want what it asked for last of those connections that it names with the same terms; of others
    /// it wants nothing any more, until it asks again.
    pub fn keep(&self, user: &ObjectKey, terms: &[(&Connection, Terms)]) {
        let now = Instant::now().into_std();
        let mut index = self.0.index();
        let Some(known) = index.users.get(user).map(Arc::clone) else { return };
        let stays = |connection: &&Connection| {
            let of_connection = terms.iter().find(|(other, _)| other == connection);
            let running = index.hosts.get(connection.url.host());
            of_connection
                .zip(running)
                .is_some_and(|((_, terms), running)| running.host().is_asked_on(user, connection, *terms))
        };
        let kept: Vec<&Connection> = known.iter().filter(stays).collect();
        let left = index.replace(user, kept.iter().copied());
        if kept.is_empty() {
            index.users.remove(user);
        }
        for connection in left {
            forget_in(&index, user, &connection, now);
        }
    }

    /// The object is gone, or wants nothing any more.
    pub fn forget(&self, user: &ObjectKey) {
        let now = Instant::now().into_std();
        let mut index = self.0.index();
        let Some(connections) = index.users.remove(user) else { return };
        for connection in connections.iter() {
            forget_in(&index, user, connection, now);
        }
    }

    /// How the handle of `connection` fares; `None` if there is none.
    #[must_use]
    pub fn health(&self, connection: &Connection) -> Option<Health> {
        let now = Instant::now().into_std();
        let index = self.0.index();
        let running = index.hosts.get(connection.url.host())?;
        running.host().health(connection, now)
    }

    /// Whether these sources of a connection, of which the last answer was that they are gone, went together with many names
    /// of the vault, by all that its users have said to [have](super::Stake) and all that was read since.
    #[must_use]
    pub fn losses(&self, connection: &Connection, sources: &[&Source]) -> Losses {
        let now = Instant::now().into_std();
        // All that the host knows is counted, for which nobody else is to wait.
        let running = self.0.index().hosts.get(connection.url.host()).map(Arc::clone);
        running.map_or(Losses::Undecided, |running| running.host().losses(connection, sources, now))
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

    fn with_hosts(&self, user: &ObjectKey, mut action: impl FnMut(&mut Host, &Connection)) {
        let index = self.0.index();
        for connection in index.users.get(user).into_iter().flat_map(|connections| connections.iter()) {
            if let Some(running) = index.hosts.get(connection.url.host()) {
                action(&mut running.host(), connection);
                running.ring();
            }
        }
    }
}

/// A user wants nothing of a connection any more.
fn forget_in(index: &Index, user: &ObjectKey, connection: &Connection, now: std::time::Instant) {
    if let Some(running) = index.hosts.get(connection.url.host()) {
        running.host().forget(user, connection, now);
        running.ring();
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
