//! The library's own thread: it runs the links of all sockets of the process that ask for it (`io_thread(true)`), so that
//! they go on whatever the application does with its threads.
//!
//! One thread for all of them: it is bounded without a setting, a program that takes from one socket and gives to another has
//! both on one core, and sockets that share an address share its listener. It starts with the first such socket and
//! ends with the last:
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
/// Threads that look up names, because the system can only do that blocking; they end when there is nothing to look up. More
/// look-ups than that at once wait for each other, within the time for a connection to be made.
const NAME_NAMES: &str = "tidegate-names";
const MAX_NAMES: usize = 4;

/// Of a process. A fork copies it, but not the thread.
static CURRENT: Mutex<Weak<IoThread>> = Mutex::new(Weak::new());

/// Keeps the thread; it ends when the last of these is dropped.
#[derive(Debug)]
pub(crate) struct IoThread {
    handle: Handle,
    id: ThreadId,
    /// The process whose thread it is.
    process: u32,
    /// It runs no more, whatever has ended it.
    ended: Arc<AtomicBool>,
    stop: CancellationToken,
}

/// Tells that the thread has ended, also by a panic.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl IoThread {
    /// The thread of this process: the one that runs, or a new one.
    pub(crate) fn get() -> io::Result<Arc<Self>> {
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = current.upgrade().filter(|thread| thread.runs_here()) {
            return Ok(thread);
        }
        let thread = Arc::new(Self::start()?);
        *current = Arc::downgrade(&thread);
        Ok(thread)
    }

    fn runs_here(&self) -> bool {
        self.process == process::id() && !self.ended.load(Ordering::Acquire)
    }

    fn start() -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let ended = Arc::new(AtomicBool::new(false));
        let guard = Ended(ended.clone());
        // The runtime never leaves its thread: dropped within another one, it would panic.
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
                    // A look-up that the system does not answer must not keep the thread.
                    runtime.shutdown_background();
                }
                Err(error) => {
                    let _ = sender.send(Err(error));
                }
            }
        })?;
        let handle = receiver.recv().map_err(|_| io::Error::other("the thread has ended at once"))??;
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
pub(crate) struct Place {
    pub(crate) handle: Handle,
    /// Kept for as long as the socket is, if it is the library's own.
    thread: Option<Arc<IoThread>>,
    process: u32,
}

impl Place {
    /// On the runtime of who calls, if there is one.
    pub(crate) fn here() -> Option<Self> {
        Handle::try_current().ok().map(|handle| Self { handle, thread: None, process: process::id() })
    }

    /// Whether the runtime here has timers, and I/O if sockets of the system are used. Tokio tells that by a panic only, which
    /// is caught; the program's panic hook sees it.
    pub(crate) fn has_drivers(&self, needs_io: bool) -> bool {
        self.thread.is_some()
            || (caught(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok()
                && (!needs_io || caught(tokio::net::UnixStream::pair).is_ok()))
    }

    /// On the library's own thread.
    pub(crate) fn own() -> io::Result<Self> {
        let thread = IoThread::get()?;
        Ok(Self { handle: thread.handle.clone(), process: thread.process, thread: Some(thread) })
    }

    /// Whether the threads that run the links are those of another process: of the one that forked this one.
    pub(crate) fn is_of_other_process(&self) -> bool {
        self.process != process::id()
    }

    /// For what may outlive the socket.
    pub(crate) fn links(&self) -> Links {
        Links { thread: self.thread.as_ref().map(|thread| thread.id), process: self.process }
    }

    /// Whether a call may block until the links have done something. Cheap, for a call that seldom blocks: a wait looks itself
    /// whether this is still the same process.
    pub(crate) fn may_block(&self) -> Result<(), CannotBlock> {
        self.links().may_block()
    }

    /// As [`Self::may_block`], for a call that is about to wait: also not in a child of a fork.
    pub(crate) fn may_wait(&self) -> Result<(), CannotBlock> {
        self.links().may_wait()
    }
}

/// Which thread of the library's own runs the links, if one does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    thread: Option<ThreadId>,
    process: u32,
}

impl Links {
    /// As [`Place::may_block`].
    pub(crate) fn may_block(self) -> Result<(), CannotBlock> {
        match self.thread {
            None => Err(CannotBlock::NoIoThread),
            Some(own) if own == thread::current().id() => Err(CannotBlock::OnIoThread),
            Some(_) => Ok(()),
        }
    }

    /// As [`Place::may_wait`].
    pub(crate) fn may_wait(self) -> Result<(), CannotBlock> {
        self.may_block()?;
        if self.process == process::id() { Ok(()) } else { Err(CannotBlock::OtherProcess) }
    }
}
