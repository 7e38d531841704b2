//! Helpers for waiting in tests, which never sleep.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // each test file uses its part

pub mod lane;
pub mod net;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use tidegate::{Pull, Push};
use tidegate_testkit::conserved;

/// Longer than any wait that does not hang.
pub const LONG: Duration = Duration::from_secs(20);

/// The time after which a waiting test has failed: longer than a wait of [`LONG`] inside it.
const MAX_RUN: Duration = Duration::from_secs(60);

/// A time limit, so that no test waits forever.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(MAX_RUN, work).await.expect("took too long")
}

/// Starts a future that must wait, and cancels it.
pub async fn begin<T>(work: impl Future<Output = T>) {
    tokio::select! {
        biased;
        _ = work => panic!("there was nothing to wait for"),
        () = std::future::ready(()) => {}
    }
}

/// Polls the future once, and checks that it is pending.
pub async fn starts_to_wait<T>(work: &mut Pin<&mut impl Future<Output = T>>) {
    poll_fn(|cx| {
        assert!(work.as_mut().poll(cx).is_pending(), "there was nothing to wait for");
        Poll::Ready(())
    })
    .await;
}

/// Runs other tasks until the condition holds.
pub async fn until(mut done: impl FnMut() -> bool) {
    within(async {
        while !done() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Checks that no message is lost on either side.
#[track_caller]
pub fn assert_conserved(push: &Push, pull: &Pull) {
    conserved::assert_pusher(&push.stats());
    conserved::assert_puller(&pull.stats());
}

/// An executor that knows nothing of tokio, on a thread of its own, so that an endless wait fails its test.
pub fn elsewhere<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    within_thread(move || run(work))
}

/// Runs `work` on a thread of its own, so that a call that blocks forever fails its test.
pub fn within_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || drop(sender.send(work())));
    match receiver.recv_timeout(MAX_RUN) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("took too long"),
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
    }
}

/// An executor that knows nothing of tokio.
pub fn run<F: Future>(work: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(output) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}
