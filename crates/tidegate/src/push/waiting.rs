//! Waiting for room: a future with a place in the queue, and the task that passes over futures that are not
//! polled.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tidegate_proto::{Blocked, Pusher};

use super::{Permit, Push, refusal, send::closed, send_queue::Watch};
use crate::{
    error::ReserveError,
    socket::{Inner, Shared},
};

/// The least time for which room is kept for a woken future that is not polled. It is longer than a busy
/// machine takes to run a woken thread, and short enough not to be noticed by the senders behind.
const MIN_CALL_TIME: Duration = Duration::from_millis(10);

/// A future of room for one message. Dropping it leaves the queue.
pub(crate) struct Turn<'a> {
    push: &'a Push,
    /// Bytes of the message; 0 if its size is not known.
    size: u64,
    place: Option<u64>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(push: &'a Push, size: u64) -> Self {
        Self { push, size, place: None }
    }
}

impl Future for Turn<'_> {
    type Output = Result<Permit, ReserveError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let shared = this.push.shared();
        let mut starts = false;
        let polled = shared.with(|inner| {
            let polled = poll(inner, &mut this.place, this.size, cx);
            starts = this.place.is_some() && inner.state.send_queue.needs_watch();
            polled
        });
        if polled.is_pending() && shared.lost_by_fork() {
            return Poll::Ready(Err(ReserveError::Closed));
        }
        if starts {
            shared.runtime.handle.spawn(watch(shared.clone()));
        }
        polled.map_ok(|()| Permit::new(this.push.clone(), this.size))
    }
}

fn poll(
    inner: &mut Inner<Pusher>,
    place: &mut Option<u64>,
    size: u64,
    cx: &mut Context<'_>,
) -> Poll<Result<(), ReserveError>> {
    if !inner.machine.is_open() {
        return Poll::Ready(Err(closed(inner.lost)));
    }
    if let Some(own) = *place {
        if inner.state.send_queue.claim(own, cx.waker(), size, &mut inner.machine) {
            *place = None;
            return Poll::Ready(Ok(()));
        }
    } else if !inner.must_join() {
        match inner.machine.reserve(size) {
            Ok(()) => return Poll::Ready(Ok(())),
            Err(Blocked::Full) => {}
            Err(_) => return Poll::Ready(Err(closed(inner.lost))),
        }
    }
    if let Some(refusal) = refusal(inner) {
        return Poll::Ready(Err(ReserveError::Refused(Box::new(refusal))));
    }
    place.get_or_insert_with(|| inner.state.send_queue.join(cx.waker(), size));
    Poll::Pending
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.push.shared().with(|inner| inner.state.send_queue.leave(place, &mut inner.machine));
        }
    }
}

/// Runs while the queue is not empty. Every waiting future holds a handle, so this task does not prolong the
/// life of the socket.
async fn watch(shared: Arc<Shared<Pusher>>) {
    loop {
        // Created before the check, so that no notification is missed in between.
        let changed = shared.wakers.ready.notified();
        match shared.with(|inner| inner.state.send_queue.watch()) {
            Watch::Over => return,
            Watch::Idle => changed.await,
            Watch::Called => {
                tokio::time::sleep(MIN_CALL_TIME).await;
                shared.with(|inner| inner.state.send_queue.expire_calls(&mut inner.machine));
            }
        }
    }
}
