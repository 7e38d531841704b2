//! Waits for a future by blocking the thread, for sockets whose links run on the library's own thread.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::task::unconstrained;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs the future on this thread, which sleeps while it waits. It works within a runtime too, where tokio's own would
/// panic: what the future waits for comes from another thread.
///
/// The future must not yield: within a runtime, who yields is woken by a scheduler that we keep from running.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(unconstrained(future)); // a spent budget would be such a yield
    let waker = waker();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// The same, for at most `wait`; then the future is dropped.
pub(crate) fn block_for<F: Future>(wait: Duration, future: F) -> Option<F::Output> {
    // The deadline is out of range, so there is none.
    let Some(deadline) = Instant::now().checked_add(wait) else { return Some(block_on(future)) };
    let mut future = pin!(unconstrained(future));
    let waker = waker();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

fn waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_is_polled_until_it_is_ready_and_a_time_limit_ends_the_wait() {
        assert_eq!(block_on(async { 7 }), 7);
        assert_eq!(block_for(Duration::ZERO, async { 7 }), Some(7), "a ready future needs no time");
        assert_eq!(block_for(Duration::from_millis(1), std::future::pending::<()>()), None);
        assert_eq!(block_for(Duration::MAX, async { 7 }), Some(7));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = thread::spawn(move || block_on(receiver));
        sender.send(8).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(8));
    }
}
