//! `SendFuture`, the future of [`Push::send`]. Most sends end at the first poll, so it is small, and what follows
//! a wait is in a box.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::{Payload, Push, send::Tried};
use crate::error::SendError;

/// A future that sends one message, from [`Push::send`].
///
/// Nothing is sent before it is polled. If it is dropped before it completes, the message is not sent. After it
/// has completed, it remains pending forever.
#[must_use = "nothing is sent unless the future is awaited"]
pub struct SendFuture<'a, P> {
    push: &'a Push,
    state: State<'a, P>,
}

enum State<'a, P> {
    /// Not polled yet.
    New(P),
    /// Yields to the links, or waits for room.
    Waiting(Pin<Box<dyn Future<Output = Result<(), SendError>> + Send + 'a>>),
    Done,
}

// The payload is never pinned.
impl<P> Unpin for SendFuture<'_, P> {}

impl<'a, P: Payload> SendFuture<'a, P> {
    #[inline]
    pub(super) fn new(push: &'a Push, payload: P) -> Self {
        Self { push, state: State::New(payload) }
    }

    /// What follows if the payload was not copied. Out of line, so that only the first step is inlined into the
    /// caller.
    #[inline(never)]
    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if let State::New(_) = self.state
            && let State::New(payload) = std::mem::replace(&mut self.state, State::Done)
        {
            let push = self.push;
            match push.try_once(push.check(payload.into_message())?, &mut None, true) {
                Tried::Accepted(_) => return Poll::Ready(Ok(())),
                Tried::Failed(error) => return Poll::Ready(Err(error)),
                tried => {
                    let sent = async move { push.send_after(tried, None, true).await.map(|_| ()) };
                    self.state = State::Waiting(Box::pin(sent));
                }
            }
        }
        let State::Waiting(sent) = &mut self.state else { return Poll::Pending };
        let polled = sent.as_mut().poll(cx);
        if polled.is_ready() {
            self.state = State::Done;
        }
        polled
    }
}

impl<P: Payload> Future for SendFuture<'_, P> {
    type Output = Result<(), SendError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::New(payload) = &self.state
            && self.push.send_copied(payload)
        {
            self.state = State::Done;
            return Poll::Ready(Ok(()));
        }
        self.poll_slow(cx)
    }
}

impl<P> fmt::Debug for SendFuture<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").field("push", self.push).finish_non_exhaustive()
    }
}
