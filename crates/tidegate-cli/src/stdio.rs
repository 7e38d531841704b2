//! The standard streams as they were at the start of the process.
//!
//! Rust's runtime opens /dev/null in place of a closed standard stream, before `main` runs. A daemon would
//! then read an empty input, or discard its messages and ack them. So the streams are checked before that.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};

/// A standard stream, and its bit.
#[derive(Clone, Copy)]
enum StdStream {
    Stdin = 1,
    Stdout = 2,
    Stderr = 4,
}

/// The streams that were closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Runs before `main`. It uses only system calls and an atomic, which do not need Rust's runtime.
#[ctor::ctor]
fn look_at_the_standard_streams() {
    for (stream, fd) in [
        (StdStream::Stdin, rustix::stdio::stdin()),
        (StdStream::Stdout, rustix::stdio::stdout()),
        (StdStream::Stderr, rustix::stdio::stderr()),
    ] {
        if rustix::io::fcntl_getfd(fd).is_err() {
            CLOSED.fetch_or(stream as u8, Ordering::Relaxed);
        }
    }
}

/// Whether `fd` is a standard stream that was closed when this process was started (`>&-` in a shell).
pub(crate) fn was_closed(fd: BorrowedFd<'_>) -> bool {
    let stream = match fd.as_raw_fd() {
        0 => StdStream::Stdin,
        1 => StdStream::Stdout,
        2 => StdStream::Stderr,
        _ => return false,
    };
    CLOSED.load(Ordering::Relaxed) & stream as u8 != 0
}
