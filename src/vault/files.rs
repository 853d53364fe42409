//! Reads files where a mounted folder that hangs hurts nobody else.
//!
//! A thread that waits for such a folder cannot be given up, and all of the runtime's are as many as tokio has for
//! looking up host names too. So few jobs of one kind run at once; whoever comes while all of them hang is told so.

use std::time::Duration;

use tokio::sync::Semaphore;

/// How many jobs of one kind run at once.
const JOBS: usize = 8;

/// A file of a mounted folder is read in milliseconds; a mount that hangs must not hold a request.
pub(super) const READ: Duration = Duration::from_secs(5);

/// Certificates to trust.
pub(super) static CERTIFICATES: Files = Files::new();

/// Credentials and tokens.
pub(super) static CREDENTIALS: Files = Files::new();

/// Files of one kind, which lie in one place.
pub(super) struct Files(Semaphore);

impl Files {
    const fn new() -> Self {
        Self(Semaphore::const_new(JOBS))
    }

    /// What `work` reads, off the runtime; `None` if it does not end within this time. It goes on then, and counts as a
    /// job until its end.
    pub(super) async fn read<T: Send + 'static>(
        &'static self,
        within: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let read = async {
            let job = self.0.acquire().await.ok()?;
            let read = tokio::task::spawn_blocking(move || {
                let result = work();
                drop(job);
                result
            });
            read.await.ok()
        };
        tokio::time::timeout(within, read).await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use super::*;

    /// A folder that hangs until it is let go of.
    fn hanging() -> (mpsc::Sender<()>, impl Fn() -> usize + Clone + Send + 'static) {
        let (go, hold) = mpsc::channel::<()>();
        let hold = Arc::new(Mutex::new(hold));
        (go, move || hold.lock().map_or(0, |hold| hold.recv().map_or(1, |()| 1)))
    }

    #[tokio::test]
    async fn a_folder_that_hangs_takes_a_few_threads_and_no_more_and_is_read_again_once_it_answers() {
        static MOUNT: Files = Files::new();
        static OTHER: Files = Files::new();
        let (go, read) = hanging();
        let (begun, count) = mpsc::channel();
        for _ in 0..5 * JOBS {
            let (read, begun) = (read.clone(), begun.clone());
            let job = move || {
                begun.send(()).ok();
                read()
            };
            assert_eq!(MOUNT.read(Duration::from_millis(5), job).await, None);
        }
        for _ in 0..JOBS {
            count.recv().unwrap();
        }
        assert_eq!(OTHER.read(READ, || 7).await, Some(7), "what lies elsewhere is read meanwhile");
        drop(go);
        assert_eq!(MOUNT.read(Duration::from_secs(60), || 7).await, Some(7));
        assert!(count.try_recv().is_err(), "who was told so has not read");
    }
}
