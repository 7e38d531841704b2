//! The library's own thread. It runs the links of all sockets of the process that ask for it
//! (`io_thread(true)`), so that they make progress whatever the application does with its threads.
//!
//! There is one thread for all of them. So its number needs no setting, a program that forwards from one
//! socket to another has both on one core, and sockets that share an address share its listener. The thread
//! starts with the first such socket and ends with the last:
//!
//! ```text
//! handles, links, deliveries ──► Shared ──► IoThread ──► (dropped) ──► the thread's runtime ends
//! ```

use std::{
    io, process,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
    time::Duration,
};

use tokio::runtime::{self, Handle};
use tokio_util::sync::CancellationToken;

use crate::{caught::caught, error::CannotBlock};

/// The name of the thread, as `top -H` and debuggers show it.
const NAME: &str = "tidegate-io";
/// Name of the threads that resolve host names, because the system call blocks. They end when idle. Further
/// look-ups wait, within the time limit for connecting.
const NAME_NAMES: &str = "tidegate-names";
const MAX_NAMES: usize = 4;

/// The thread of this process. A fork copies this variable, but not the thread.
static CURRENT: Mutex<Weak<IoThread>> = Mutex::new(Weak::new());

/// Keeps the thread running; it ends when the last of these is dropped.
#[derive(Debug)]
pub(crate) struct IoThread {
    handle: Handle,
    id: ThreadId,
    /// The process that the thread belongs to.
    process: u32,
    /// Set when the thread has ended, for whatever reason.
    ended: Arc<AtomicBool>,
    stop: CancellationToken,
}

/// Reports that the thread has ended, also by a panic.
struct EndedGuard(Arc<AtomicBool>);

impl Drop for EndedGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl IoThread {
    /// Returns the thread of this process, starting it if necessary.
    pub(crate) fn get() -> io::Result<Arc<Self>> {
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = current.upgrade().filter(|thread| thread.runs_here()) {
            return Ok(thread);
        }
        let thread = Arc::new(Self::start()?);
        *current = Arc::downgrade(&thread);
        Ok(thread)
    }

    /// Whether the current thread is the thread of this process.
    pub(crate) fn is_current() -> bool {
        let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        current.is_some_and(|thread| thread.runs_here() && thread.id == thread::current().id())
    }

    fn runs_here(&self) -> bool {
        self.process == process::id() && !self.ended.load(Ordering::Acquire)
    }

    fn start() -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let ended = Arc::new(AtomicBool::new(false));
        let guard = EndedGuard(ended.clone());
        // The runtime stays on its own thread, because dropping it within another runtime would panic.
        let thread = thread::Builder::new().name(NAME.to_owned()).spawn(move || {
            let _guard = guard;
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(MAX_NAMES)
                .thread_name(NAME_NAMES)
                .build();
            match runtime {
                Ok(runtime) => {
                    let _ = sender.send(Ok(runtime.handle().clone()));
                    runtime.block_on(stopped.cancelled());
                    // A name look-up that never completes must not keep the thread.
                    runtime.shutdown_background();
                }
                Err(error) => {
                    let _ = sender.send(Err(error));
                }
            }
        })?;
        let handle = receiver.recv().map_err(|_| io::Error::other("the thread ended at once"))??;
        Ok(Self { handle, id: thread.thread().id(), process: process::id(), ended, stop })
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Where the links of a socket run.
#[derive(Clone, Debug)]
pub(crate) struct LinkRuntime {
    pub(crate) handle: Handle,
    /// Keeps the library's own thread as long as the socket exists, if the links run there.
    thread: Option<Arc<IoThread>>,
    process: u32,
}

impl LinkRuntime {
    /// The runtime of the caller, if there is one.
    pub(crate) fn here() -> Option<Self> {
        Handle::try_current().ok().map(|handle| Self { handle, thread: None, process: process::id() })
    }

    /// Whether the runtime has timers, and I/O if system sockets are used. Tokio reports a missing driver
    /// only by a panic, which is caught here; the program's panic hook still sees it.
    pub(crate) fn has_drivers(&self, needs_io: bool) -> bool {
        self.thread.is_some()
            || (caught(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok()
                && (!needs_io || caught(tokio::net::UnixStream::pair).is_ok()))
    }

    /// The library's own thread.
    pub(crate) fn own() -> io::Result<Self> {
        let thread = IoThread::get()?;
        Ok(Self { handle: thread.handle.clone(), process: thread.process, thread: Some(thread) })
    }

    /// Whether the threads that run the links belong to the parent of this forked process.
    pub(crate) fn is_of_other_process(&self) -> bool {
        self.process != process::id()
    }

    /// The library's own thread, if the links run there.
    pub(crate) fn own_thread(&self) -> Option<OwnThread> {
        self.thread.as_ref().map(|thread| OwnThread { id: thread.id, process: self.process })
    }
}

/// Proves that the links of a socket run on the library's own thread, so that they go on while another thread
/// is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnThread {
    id: ThreadId,
    process: u32,
}

impl OwnThread {
    /// Whether the current thread may block. Cheap, for calls that rarely wait; [`Self::may_wait`] is for those that
    /// are about to.
    pub(crate) fn may_block(self) -> Result<(), CannotBlock> {
        if self.id == thread::current().id() { Err(CannotBlock::OnIoThread) } else { Ok(()) }
    }

    /// Like [`Self::may_block`], for a call that is about to wait: also refuses in the child of a fork.
    pub(crate) fn may_wait(self) -> Result<(), CannotBlock> {
        self.may_block()?;
        if self.process == process::id() { Ok(()) } else { Err(CannotBlock::OtherProcess) }
    }
}
