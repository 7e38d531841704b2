//! Starting commands while the system lacks file descriptors, processes or memory: wait until a job has
//! ended, and retry.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::limits;
use crate::throttle::{Throttle, more};

/// The first pause before a retry: the resource may become available without the end of a job.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before a retry.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// One warning is logged per this time.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The jobs that wait for a retry. While there are any, no further message is received.
pub(crate) struct Shortage {
    jobs: u32,
    waiting: AtomicU32,
    /// Whether jobs are no longer started.
    leaving: AtomicBool,
    /// Notified when a job has ended or stopped waiting, or when jobs are no longer started.
    changed: Notify,
    throttle: Mutex<Throttle>,
}

impl Shortage {
    pub(crate) fn new(jobs: u32) -> Self {
        Self {
            jobs,
            waiting: AtomicU32::new(0),
            leaving: AtomicBool::new(false),
            changed: Notify::new(),
            throttle: Mutex::new(Throttle::new(1, REPORT_INTERVAL)),
        }
    }

    /// Calls `start` until it succeeds, while it fails for lack of resources. `None`: jobs are no longer
    /// started. Cancel safe.
    ///
    /// # Errors
    /// Any other error of `start`.
    pub(crate) async fn overcome<T>(
        &self,
        what: &str,
        mut start: impl FnMut() -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let mut pause = MIN_PAUSE;
        let mut place = None;
        loop {
            // Created before the attempt, so that a job that ends during it is not missed.
            let changed = self.changed.notified();
            let error = match start() {
                Ok(started) => return Ok(Some(started)),
                Err(error) if limits::is_shortage(&error) => error,
                Err(error) => return Err(error),
            };
            place.get_or_insert_with(|| WaitingJob::new(self));
            self.tell(what, &error);
            if self.leaving.load(Ordering::Relaxed) {
                return Ok(None);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(pause) => pause = MAX_PAUSE.min(pause * 2),
            }
            if self.leaving.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
    }

    fn tell(&self, what: &str, error: &io::Error) {
        if let Some(kept_back) = self.throttle.lock().unwrap_or_else(PoisonError::into_inner).admit() {
            tracing::warn!(
                "cannot start {what}: {error}: {} is too low for --jobs {}; retrying when a job has ended{}",
                limits::of(error),
                self.jobs,
                more(kept_back)
            );
        }
    }

    /// Reports that a job has ended and has freed its resources.
    pub(crate) fn job_ended(&self) {
        self.changed.notify_waiters();
    }

    /// Stops starting jobs.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Whether a job waits for a retry.
    pub(crate) fn is_on(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Waits until no job waits for a retry. Cancel safe.
    pub(crate) async fn is_over(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.is_on() {
                return;
            }
            changed.await;
        }
    }
}

/// One waiting job.
struct WaitingJob<'a>(&'a Shortage);

impl<'a> WaitingJob<'a> {
    fn new(shortage: &'a Shortage) -> Self {
        shortage.waiting.fetch_add(1, Ordering::Relaxed);
        Self(shortage)
    }
}

impl Drop for WaitingJob<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rustix::io::Errno;

    use super::*;

    fn on_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn a_start_that_fails_for_lack_of_resources_is_retried() {
        on_runtime(async {
            let shortage = Shortage::new(3);
            for errno in [Errno::MFILE, Errno::AGAIN, Errno::NOMEM] {
                let tries = Cell::new(0);
                let started = shortage.overcome("sh", || {
                    tries.set(tries.get() + 1);
                    if tries.get() < 4 { Err(errno.into()) } else { Ok(tries.get()) }
                });
                assert_eq!(started.await.unwrap(), Some(4));
                assert!(!shortage.is_on());
            }
            let error = shortage.overcome::<()>("sh", || Err(Errno::NOENT.into())).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        });
    }

    #[test]
    fn nothing_is_started_once_the_daemon_stops() {
        on_runtime(async {
            let shortage = Shortage::new(1);
            let start = shortage.overcome::<()>("sh", || Err(Errno::MFILE.into()));
            let leave = async {
                assert!(shortage.is_on());
                shortage.leave();
                shortage.is_over().await;
            };
            let (started, ()) = tokio::join!(biased; start, leave);
            assert_eq!(started.unwrap(), None);
        });
    }
}
