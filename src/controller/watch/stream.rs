//! One watch of one kind, for as long as the process lives: whatever ends it, it is opened again within seconds, and
//! past what cannot be decoded.

use super::guarded::{Guarded, Sieve};
use crate::controller::metrics::ObjectMetrics;
use futures::stream::{BoxStream, Stream, StreamExt as _, unfold};
use kube::Resource;
use kube::api::Api;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// The pause after a first failure; twice as long after each that follows, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(500);
/// New objects wait for it once the API server is back.
const LONGEST: Duration = Duration::from_secs(5);
/// Failures further apart are not in a row: a watch that was opened again tells of it only when there is something new.
const APART: Duration = Duration::from_secs(20);
/// Small pages: a list of 500 large objects would be held whole.
const PAGE: u32 = 100;

/// Watches what `api` shows; `shown` is the store that follows. An error is passed on and followed by a pause:
/// `after_refusal`, if there is one and the API server refused the very first list. The stream never ends.
pub(in crate::controller) fn watch<K>(
    api: Api<Guarded<K>>,
    shown: Store<K>,
    metrics: &ObjectMetrics,
    after_refusal: Option<Duration>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut sieve = Sieve::new(shown, metrics.undecodable::<K>());
    let open = move || watcher(api.clone(), watcher::Config::default().page_size(PAGE)).boxed();
    watched(K::kind(&()).into_owned(), open, after_refusal)
        .filter_map(move |event| std::future::ready(event.map(|event| sieve.pass(event)).transpose()))
}

/// The same of what carries these labels. Of `PartialObjectMeta` the API server sends metadata alone, of which nothing can be
/// so that it is not understood.
pub(in crate::controller) fn watch_labelled<K>(
    api: Api<K>,
    labels: &str,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let config = watcher::Config::default().page_size(PAGE).labels(labels);
    let open = move || watcher(api.clone(), config.clone()).boxed();
    watched(K::kind(&()).into_owned(), open, None)
}

fn watched<T: Send + 'static>(
    kind: String,
    open: impl Fn() -> Opened<T> + Send + 'static,
    after_refusal: Option<Duration>,
) -> impl Stream<Item = watcher::Result<Event<T>>> + Send {
    let watched = Watched {
        kind,
        open: Box::new(open),
        after_refusal,
        watch: None,
        pauses: Pauses::default(),
        listed: false,
        pause: Duration::ZERO,
    };
    unfold(watched, |mut watched| async { Some((watched.next().await, watched)) })
}

/// A watch as kube has it.
type Opened<T> = BoxStream<'static, watcher::Result<Event<T>>>;

struct Watched<T> {
    /// Of what.
    kind: String,
    open: Box<dyn Fn() -> Opened<T> + Send>,
    after_refusal: Option<Duration>,
    watch: Option<Opened<T>>,
    pauses: Pauses,
    /// Whether a list was ever complete.
    listed: bool,
    pause: Duration,
}

impl<T> Watched<T> {
    async fn next(&mut self) -> watcher::Result<Event<T>> {
        // Not for nothing: even the shortest sleep lasts a millisecond, and there is an event for each object.
        if !self.pause.is_zero() {
            tokio::time::sleep(std::mem::take(&mut self.pause)).await;
        }
        let watch = self.watch.get_or_insert_with(&self.open);
        // It never ends either.
        let next = watch.next().await.unwrap_or(Err(watcher::Error::NoResourceVersion));
        match &next {
            // Said before anything is asked.
            Ok(Event::Init) => {}
            Ok(event) => {
                self.listed |= matches!(event, Event::InitDone);
                self.pauses.answered();
            }
            Err(error) => self.failed(error),
        }
        next
    }

    fn failed(&mut self, error: &watcher::Error) {
        let gone = code(error) == Some(410);
        if gone {
            // kube would go on from the same version where the watch could not even be opened.
            self.watch = None;
        }
        self.pause = self.pauses.after(gone, tokio::time::Instant::now().into_std());
        if let Some(pause) = self.after_refusal.filter(|_| !self.listed && refusal(error).is_some()) {
            self.pause = pause;
        } else if self.pauses.failures.is_power_of_two() {
            let (kind, what) = (&self.kind, in_words(error));
            tracing::warn!(kind, "a watch failed and is opened again: {what}");
        }
    }
}

/// The pauses between failures in a row; pure.
#[derive(Debug, Default)]
struct Pauses {
    failures: u32,
    last: Option<Instant>,
}

impl Pauses {
    /// How long to wait after a failure; not at all after the first that only says that a version is too old.
    fn after(&mut self, gone: bool, now: Instant) -> Duration {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > APART) {
            self.failures = 0;
        }
        self.last = Some(now);
        self.failures = self.failures.saturating_add(1);
        if gone && self.failures == 1 {
            return Duration::ZERO;
        }
        FIRST.saturating_mul(1 << (self.failures - 1).min(8)).min(LONGEST)
    }

    /// The API server answered as it should.
    const fn answered(&mut self) {
        self.failures = 0;
    }
}

/// What the API server answered, if it did.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// The code of a refusal: 403, the right is missing, or 404, the kind.
pub(in crate::controller) fn refusal(error: &watcher::Error) -> Option<u16> {
    code(error).filter(|code| matches!(code, 403 | 404))
}

/// Category alone: kube's own text may quote what it could not read.
fn in_words(error: &watcher::Error) -> String {
    code(error).map_or_else(
        || "the API server cannot be reached or understood".to_owned(),
        |code| format!("the API server answered {code}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_opened_again_within_seconds_and_from_the_start_after_a_good_answer() {
        let (mut pauses, mut now) = (Pauses::default(), Instant::now());
        let mut fails = |pauses: &mut Pauses, gone| {
            let pause = pauses.after(gone, now);
            now += pause + Duration::from_secs(10);
            pause
        };
        let row: Vec<u128> = (0..7).map(|_| fails(&mut pauses, false).as_millis()).collect();
        assert_eq!(row, [500, 1000, 2000, 4000, 5000, 5000, 5000]);
        pauses.answered();
        assert_eq!(fails(&mut pauses, false), FIRST);
    }

    #[test]
    fn failures_far_apart_are_no_row() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        assert_eq!(pauses.after(false, now), FIRST);
        assert_eq!(pauses.after(false, now + APART * 2), FIRST);
    }

    #[test]
    fn a_version_that_is_too_old_is_listed_anew_at_once_but_not_in_a_loop() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        assert_eq!(pauses.after(true, now), Duration::ZERO);
        assert_eq!(pauses.after(true, now), FIRST * 2);
    }
}
