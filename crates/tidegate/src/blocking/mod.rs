//! Sockets for programs without async: their calls block the thread instead of returning a future.
//!
//! [`PushBuilder::blocking_build`](crate::PushBuilder::blocking_build) and
//! [`PullBuilder::blocking_build`](crate::PullBuilder::blocking_build) build them. An async socket that was
//! built with [`io_thread(true)`](crate::PushBuilder::io_thread) has a blocking form too:
//! [`Push::blocking`](crate::Push::blocking) and [`Pull::blocking`](crate::Pull::blocking).
//!
//! A blocking socket is a handle of an async one and the proof that its links run on a thread of the library:
//! they go on while another thread is blocked. It dereferences to the async socket, for everything that does
//! not wait: `try_send`, `try_recv`, `stats`, `local_endpoints` and so on. The calls that block have the prefix
//! `blocking_`, because the async call of the same name can be reached too; without `.await`, that one does
//! nothing.
//!
//! Blocking calls work within an async runtime, but block its thread. Use the async forms there, in particular
//! if the peer of the socket runs on that runtime.
//!
//! An error is either [`CannotBlock`](crate::CannotBlock), or the error of the async form in
//! [`BlockingError::Failed`] or [`BlockingSendError::Failed`].
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{thread, time::Duration};
//! use tidegate::{Pull, Push, blocking};
//!
//! fn work(pull: blocking::Pull) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
//!     let mut done = 0;
//!     while let Some(delivery) = pull.blocking_recv()? {
//!         delivery.ack(); // the work may take minutes
//!         done += 1;
//!     }
//!     Ok(done)
//! }
//!
//! let push = Push::builder().bind("mem://doc-blocking").blocking_build()?;
//! let pull = Pull::builder().connect("mem://doc-blocking").blocking_build()?;
//! let worker = thread::spawn(move || work(pull));
//! push.blocking_send_all(["17.png", "18.png"])?;
//! push.blocking_finish(Duration::from_secs(10))?;
//! assert_eq!(worker.join().unwrap().unwrap(), 2);
//! # Ok(()) }
//! ```

mod error;
mod events;
mod pull;
mod push;
mod receipt;
mod rejections;
#[cfg(test)]
mod tests;

pub use self::{
    error::{BlockingError, BlockingSendError, IntoBlockingError},
    events::Events,
    pull::Pull,
    push::Push,
    receipt::Receipt,
    rejections::Rejections,
};
