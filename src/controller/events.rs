//! Events about objects and connections, and their lines in the log. A round only queues them; they are published one by one at a pace of their
//! own, so that no round waits for an Event or fails by one, and thousands of first syncs are not slower for them.

use super::Context;
use super::api_server::ApiServer;
use super::error::Error;
use crate::api::MANAGER;
use crate::plan::Notice;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Resource;
use prometheus::IntCounter;
use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Events that may wait: some 300 bytes each, and less than a minute at [`PACE`].
const MOST_WAITING: usize = 1_000;
/// The time between two events: 20 a second.
const PACE: Duration = Duration::from_millis(50);
/// The same while other calls wait for their turn, as in a first sync of thousands: two a second.
const BUSY_PACE: Duration = Duration::from_millis(500);
/// The pause after one that the API server did not take, so that an outage costs few of those that wait.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long the shutdown may be held up by what still waits.
const AT_SHUTDOWN: Duration = Duration::from_secs(2);
/// A note of an event may not be longer.
const MOST_NOTE: usize = 1024;

/// The events that wait.
#[derive(Debug)]
pub(super) struct Events {
    queue: Mutex<Queue>,
    pushed: Notify,
    dropped: IntCounter,
}

impl Events {
    /// An empty queue that counts what it drops.
    pub(super) fn new(dropped: IntCounter) -> Self {
        Self { queue: Mutex::new(Queue::new(MOST_WAITING)), pushed: Notify::new(), dropped }
    }

    /// Says it in the log, and queues an event about the object, of which nothing is held but its reference.
    pub(super) fn push<K: Resource<DynamicType = ()>>(&self, object: &K, notice: Notice, now: Timestamp) {
        let metadata = object.meta();
        let (kind, namespace, name) = (K::kind(&()), &metadata.namespace, &metadata.name);
        let (reason, note) = (&notice.reason, &notice.note);
        if notice.warning {
            tracing::warn!(%kind, namespace, name, reason, "{note}");
        } else {
            tracing::info!(%kind, namespace, name, reason, "{note}");
        }
        let regarding = ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(kind.into_owned()),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            ..ObjectReference::default()
        };
        if self.queue().push(Queued { regarding, notice, at: now }) {
            self.dropped.inc();
        }
        self.pushed.notify_one();
    }

    /// The next one, when its time has come.
    async fn next(&self, server: &ApiServer) -> Queued {
        loop {
            let pace = if server.is_busy() { BUSY_PACE } else { PACE };
            let taken = self.queue().take(tokio::time::Instant::now().into_std(), pace);
            match taken {
                Ok(waiting) => return waiting,
                Err(Some(pause)) => tokio::time::sleep(pause).await,
                Err(None) => self.pushed.notified().await,
            }
        }
    }

    async fn send(&self, server: &ApiServer, waiting: Queued) {
        let Queued { regarding, notice, at } = waiting;
        // Events about what has no namespace live in this one; the API server takes them nowhere else.
        let namespace = regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let name = regarding.name.clone().unwrap_or_default();
        if let Err(error) = server.create_event(&namespace, &event(&namespace, regarding, notice, at)).await {
            tracing::debug!(namespace, name, "{error}");
            self.dropped.inc();
            self.queue().hold(tokio::time::Instant::now().into_std(), &error);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing under this lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes what is queued until no round is under way any more, and briefly what waits then.
pub(super) async fn publish(context: Arc<Context>, rounds: impl Future<Output = ()>) {
    let (events, server) = (&context.events, &context.server);
    let mut rounds = std::pin::pin!(rounds);
    loop {
        tokio::select! {
            waiting = events.next(server) => events.send(server, waiting).await,
            () = &mut rounds => break,
        }
    }
    let rest = async {
        loop {
            let Some(waiting) = events.queue().pop() else { break };
            events.send(server, waiting).await;
        }
    };
    tokio::time::timeout(AT_SHUTDOWN, rest).await.ok();
}

/// One event, and about what.
#[derive(Clone, Debug, PartialEq)]
struct Queued {
    regarding: ObjectReference,
    notice: Notice,
    /// When it happened; it may be published much later.
    at: Timestamp,
}

/// The queue and its pace; pure.
#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Queued>,
    /// Of which object and reason there is one, as hashes: a thousand need not be looked through for each that is new.
    told_of: HashSet<u64>,
    most: usize,
    /// When the next one may go.
    free: Option<Instant>,
}

impl Queue {
    fn new(most: usize) -> Self {
        Self { waiting: VecDeque::new(), told_of: HashSet::new(), most, free: None }
    }

    fn key_of(&self, waiting: &Queued) -> u64 {
        self.told_of.hasher().hash_one((&waiting.regarding.uid, &waiting.notice.reason))
    }

    /// Takes one in: for an older one of the same object and reason, at its place, or behind all others. Returns
    /// whether one was dropped for want of room: the oldest that is no warning.
    fn push(&mut self, new: Queued) -> bool {
        let same = |old: &&mut Queued| {
            old.notice.reason == new.notice.reason && old.regarding.uid == new.regarding.uid
        };
        let is_new = self.told_of.insert(self.key_of(&new));
        if !is_new && let Some(old) = self.waiting.iter_mut().find(same) {
            *old = new;
            return false;
        }
        self.waiting.push_back(new);
        if self.waiting.len() <= self.most {
            return false;
        }
        let least = self.waiting.iter().position(|waiting| !waiting.notice.warning);
        self.remove(least.unwrap_or_default()).is_some()
    }

    fn remove(&mut self, place: usize) -> Option<Queued> {
        let removed = self.waiting.remove(place)?;
        self.told_of.remove(&self.key_of(&removed));
        Some(removed)
    }

    /// The next one; else how long it has to wait yet, or `None` where there is none.
    fn take(&mut self, now: Instant, pace: Duration) -> Result<Queued, Option<Duration>> {
        let pause = self.free.map_or(Duration::ZERO, |free| free.saturating_duration_since(now));
        if !pause.is_zero() && !self.waiting.is_empty() {
            return Err(Some(pause));
        }
        let next = self.pop().ok_or(None)?;
        self.free = Some(now + pace);
        Ok(next)
    }

    /// The next one, whatever its time.
    fn pop(&mut self) -> Option<Queued> {
        self.remove(0)
    }

    /// Lets nothing go for a while, after a failure.
    fn hold(&mut self, now: Instant, error: &Error) {
        self.free = Some(now + error.retry_after().unwrap_or_default().max(AFTER_FAILURE));
    }
}

fn event(namespace: &str, regarding: ObjectReference, notice: Notice, at: Timestamp) -> Event {
    let mut note = notice.note;
    if note.len() > MOST_NOTE {
        let end = (0..=MOST_NOTE).rev().find(|end| note.is_char_boundary(*end)).unwrap_or_default();
        note.truncate(end);
    }
    Event {
        metadata: ObjectMeta {
            // A trailing hyphen, not a dot: the API server checks the prefix as a name.
            generate_name: Some(format!("{}-", regarding.name.as_deref().unwrap_or_default())),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        action: Some("Sync".to_owned()),
        event_time: Some(MicroTime(at)),
        note: Some(note),
        reason: Some(notice.reason),
        regarding: Some(regarding),
        reporting_controller: Some("vaultsync.dev/vaultsync".to_owned()),
        reporting_instance: Some(MANAGER.to_owned()),
        type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waiting(object: u8, reason: &str, warning: bool, note: &str) -> Queued {
        Queued {
            regarding: ObjectReference { uid: Some(object.to_string()), ..ObjectReference::default() },
            notice: Notice { warning, reason: reason.to_owned(), note: note.to_owned() },
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn notes(queue: &Queue) -> Vec<&str> {
        queue.waiting.iter().map(|waiting| waiting.notice.note.as_str()).collect()
    }

    #[test]
    fn of_one_reason_of_an_object_the_newest_is_told() {
        let mut queue = Queue::new(9);
        queue.push(waiting(1, "Synced", false, "old"));
        queue.push(waiting(2, "Synced", false, "another object"));
        queue.push(waiting(1, "SecretNotFound", true, "another reason"));
        assert!(!queue.push(waiting(1, "Synced", false, "new")));
        assert_eq!(notes(&queue), ["new", "another object", "another reason"]);
    }

    #[test]
    fn what_is_too_much_goes_the_oldest_first_and_warnings_last() {
        let mut queue = Queue::new(2);
        queue.push(waiting(1, "Stale", true, "first warning"));
        queue.push(waiting(2, "Synced", false, "news"));
        assert!(queue.push(waiting(3, "Synced", false, "newer")));
        assert_eq!(notes(&queue), ["first warning", "newer"]);
        assert!(queue.push(waiting(4, "Stale", true, "second warning")));
        assert_eq!(notes(&queue), ["first warning", "second warning"]);
        assert!(queue.push(waiting(5, "Synced", false, "no room")));
        assert!(queue.push(waiting(6, "Stale", true, "third warning")));
        assert_eq!(notes(&queue), ["second warning", "third warning"]);
    }

    #[test]
    fn after_one_that_was_not_taken_the_rest_waits_as_long_as_the_api_server_wants() {
        let error = |seconds| Error::Api {
            verb: "create event",
            code: 429,
            reason: String::new(),
            webhook: None,
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let (mut queue, now) = (Queue::new(9), Instant::now());
        queue.push(waiting(1, "Synced", false, ""));
        queue.hold(now, &error(0));
        assert_eq!(queue.take(now, PACE), Err(Some(AFTER_FAILURE)));
        queue.hold(now, &error(30));
        assert_eq!(queue.take(now, PACE), Err(Some(Duration::from_secs(30))));
        assert!(queue.take(now + Duration::from_secs(30), PACE).is_ok());
        assert_eq!(queue.take(now + Duration::from_secs(30), PACE), Err(None));
    }

    #[test]
    fn a_note_is_cut_between_two_letters() {
        let note = format!("{}ä", "a".repeat(MOST_NOTE - 1));
        let Queued { regarding, notice, at } = waiting(1, "Synced", false, &note);
        assert_eq!(event("shop", regarding, notice, at).note.unwrap().len(), MOST_NOTE - 1);
    }

    #[derive(Clone, Debug)]
    enum Move {
        Push { object: u8, reason: u8, warning: bool },
        Take { after: u64 },
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let push = (0_u8..6, 0_u8..3, any::<bool>()).prop_map(|(object, reason, warning)| Move::Push {
            object,
            reason,
            warning,
        });
        let take = (0_u64..120).prop_map(|after| Move::Take { after });
        prop::collection::vec(prop_oneof![push, take], 0..80)
    }

    proptest! {
        #[test]
        fn each_is_told_once_in_order_at_its_pace_or_counted(moves in moves(), most in 1_usize..6) {
            let (mut queue, mut now) = (Queue::new(most), Instant::now());
            let (mut pushed, mut replaced, mut dropped, mut told) = (0, 0, 0, 0);
            let mut last_told: Option<Instant> = None;
            let mut newest = std::collections::HashMap::new();
            for step in moves {
                match step {
                    Move::Push { object, reason, warning } => {
                        pushed += 1;
                        let new = waiting(object, &reason.to_string(), warning, &pushed.to_string());
                        let (before, warnings) = (queue.waiting.len(), queue.waiting.iter().filter(|waiting| waiting.notice.warning).count());
                        let was_dropped = queue.push(new);
                        dropped += u32::from(was_dropped);
                        replaced += u32::from(!was_dropped && queue.waiting.len() == before);
                        newest.insert((object.to_string(), reason.to_string()), pushed.to_string());
                        prop_assert!(queue.waiting.len() <= most);
                        if was_dropped && warnings < before {
                            let left = queue.waiting.iter().filter(|waiting| waiting.notice.warning).count();
                            prop_assert!(left >= warnings, "a warning went before what is none");
                        }
                    }
                    Move::Take { after } => {
                        now += Duration::from_millis(after);
                        match queue.take(now, PACE) {
                            Ok(waiting) => {
                                told += 1;
                                prop_assert!(last_told.is_none_or(|last| now >= last + PACE));
                                last_told = Some(now);
                                let kind = (waiting.regarding.uid.unwrap_or_default(), waiting.notice.reason);
                                prop_assert_eq!(newest.get(&kind), Some(&waiting.notice.note), "an older one was told");
                            }
                            Err(Some(pause)) => {
                                prop_assert!(!queue.waiting.is_empty() && pause <= PACE && !pause.is_zero());
                            }
                            Err(None) => prop_assert!(queue.waiting.is_empty()),
                        }
                    }
                }
                let waiting = u32::try_from(queue.waiting.len()).unwrap();
                prop_assert_eq!(pushed, told + dropped + replaced + waiting);
            }
        }
    }
}
