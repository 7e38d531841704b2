//! Reaping orphaned processes: in a container they become children of its first process.
//!
//! The system gives the status of an ended child to the first caller that waits for it, so the reaper must
//! not wait for the children that this program starts. Those are listed here from before their start until
//! they have been waited for.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, wait, waitpid};
use tokio::signal::unix::{SignalKind, signal};

/// The maximum time for which an ended orphan waits, approximately: each search looks at every process.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The children that this program has started and not yet waited for.
static OWN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn own() -> MutexGuard<'static, BTreeSet<i32>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child that this program has started and waits for elsewhere.
#[derive(Debug)]
pub(crate) struct Own(i32);

impl Own {
    /// Starts a child that the reaper leaves alone.
    ///
    /// # Errors
    /// The error of `start`, which returns the child and its process id.
    pub(crate) fn start<T, E>(
        start: impl FnOnce() -> Result<(T, Option<Pid>), E>,
    ) -> Result<(T, Option<Self>), E> {
        // The lock is held meanwhile: a child that ends at once must not be taken for an orphan.
        let mut own = own();
        let (child, pid) = start()?;
        let pid = pid.map(Pid::as_raw_pid);
        own.extend(pid);
        Ok((child, pid.map(Self)))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.0)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        own().remove(&self.0);
    }
}

/// Reaps orphans until the runtime ends, if this process inherits any.
pub(crate) fn start() {
    if std::process::id() != 1 && !is_subreaper() {
        return;
    }
    let mut ended = match signal(SignalKind::child()) {
        Ok(ended) => ended,
        Err(error) => return tracing::warn!(%error, "cannot wait for orphans (SIGCHLD)"),
    };
    tokio::spawn(async move {
        loop {
            if let Err(error) = tokio::task::spawn_blocking(reap).await {
                tracing::warn!(%error, "cannot wait for orphans");
            }
            tokio::time::sleep(LOOK_EVERY).await;
            // Returns at once if a child has ended meanwhile.
            if ended.recv().await.is_none() {
                return;
            }
        }
    });
}

/// Whether this process inherits the orphans among its descendants although it is not the first process.
#[cfg(target_os = "linux")]
fn is_subreaper() -> bool {
    matches!(rustix::process::child_subreaper(), Ok(Some(_)))
}

/// Other systems have no subreapers.
#[cfg(not(target_os = "linux"))]
fn is_subreaper() -> bool {
    false
}

/// Waits for all ended children that this program has not started.
fn reap() {
    {
        let own = own();
        if own.is_empty() {
            while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
            return;
        }
    }
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read(process.path().join("stat")).unwrap_or_default();
        if is_ended_child(&stat, std::process::id())
            && let own = own()
            && !own.contains(&pid)
        {
            let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
        }
    }
}

/// Whether this content of `/proc/PID/stat` describes an ended child of `parent`.
fn is_ended_child(stat: &[u8], parent: u32) -> bool {
    // The name may contain anything, including this parenthesis, so the last one counts.
    let text = String::from_utf8_lossy(stat);
    let mut fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.next() == Some("Z") && fields.next().and_then(|field| field.parse().ok()) == Some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_child_is_recognized_whatever_its_name() {
        assert!(is_ended_child(b"7 (sh) Z 1 7 7", 1));
        assert!(is_ended_child(b"7 (a) S 2 (b) Z 1 7 7", 1));
        assert!(!is_ended_child(b"7 (a) Z 1 (b) S 1 7 7", 1));
        assert!(!is_ended_child(b"7 (sh) Z 12 7 7", 1));
        assert!(!is_ended_child(b"", 1));
    }
}
