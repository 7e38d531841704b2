//! Messages that will never be sent again.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tidegate_proto::{InstanceId, Message, MessageId, Pusher};
use tokio_util::sync::ReusableBoxFuture;

use crate::{
    blocking::{block_for, block_on},
    error::CannotBlock,
    shared::{Inner, Shared},
};

/// A message that a puller, or the limit on attempts, has rejected for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// Its id.
    pub id: MessageId,
    /// The message.
    pub message: Message,
    /// How often it was attempted.
    pub attempts: u32,
    /// The reason given. A stranger's text.
    pub reason: String,
}

/// The rejected messages of a pusher, from [`crate::Push::rejections`]. Also a `Stream`, which ends when [`Self::recv`] gives `None`.
///
/// Rejected messages are kept for as long as there is a handle like this one. With the last one those that were not fetched are
/// dropped, with a warning; from then on they are only counted.
pub struct Rejections {
    shared: Arc<Shared<Pusher>>,
    instance: InstanceId,
    /// The wait of the stream.
    waiting: Option<ReusableBoxFuture<'static, ()>>,
}

impl std::fmt::Debug for Rejections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rejections").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Rejections {
    pub(super) fn new(shared: Arc<Shared<Pusher>>, instance: InstanceId) -> Self {
        shared.with(|inner| {
            inner.state.rejections += 1;
            inner.machine.keep_rejected();
        });
        Self { shared, instance, waiting: None }
    }

    /// The next one; `None` when the pusher is done or aborted and all have been fetched, and from then on. Cancel safe.
    pub async fn recv(&mut self) -> Option<Rejected> {
        loop {
            match self.fetch() {
                Poll::Ready(next) => return next,
                Poll::Pending => arrival(self.shared.clone()).await,
            }
        }
    }

    /// The next one, if one is there. `None` does not tell whether more will come: [`Self::recv`] does.
    pub fn try_recv(&mut self) -> Option<Rejected> {
        match self.fetch() {
            Poll::Ready(next) => next,
            Poll::Pending => None,
        }
    }

    /// Blocks the thread until there is one, as [`Self::recv`] waits; needs [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// # Errors
    /// The thread cannot block.
    pub fn blocking_recv(&mut self) -> Result<Option<Rejected>, CannotBlock> {
        self.shared.place.may_wait()?;
        Ok(block_on(self.recv()))
    }

    /// Blocks the thread as [`Self::blocking_recv`] does, but for at most `wait`. The outer `None` means that nothing came in that
    /// time; the inner one what it means for [`Self::recv`].
    ///
    /// # Errors
    /// The thread cannot block.
    pub fn blocking_recv_timeout(&mut self, wait: Duration) -> Result<Option<Option<Rejected>>, CannotBlock> {
        self.shared.place.may_wait()?;
        Ok(block_for(wait, self.recv()))
    }

    /// The next one, or the end; pending if there may be more.
    fn fetch(&self) -> Poll<Option<Rejected>> {
        let (next, over) = self.shared.with(|inner| (inner.machine.take_rejected(), is_over(inner)));
        match next {
            Some(tidegate_proto::Rejected { number, message, attempts, reason, .. }) => {
                let id = MessageId { instance: self.instance, number };
                Poll::Ready(Some(Rejected { id, message, attempts, reason }))
            }
            None if over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// Whether nothing will be rejected any more.
fn is_over(inner: &Inner<Pusher>) -> bool {
    inner.machine.is_done() || inner.state.aborted || inner.lost.is_some()
}

/// Waits until there is one, or none will come any more.
async fn arrival(shared: Arc<Shared<Pusher>>) {
    let arrived = shared.with(|inner| inner.state.rejected.clone());
    let over = shared.until(|inner| is_over(inner).then_some(()));
    tokio::select! {
        biased;
        () = arrived.notified() => {}
        () = over => {}
    }
}

impl Stream for Rejections {
    type Item = Rejected;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Rejected>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.poll(cx));
                self.waiting = None;
            }
            match self.fetch() {
                Poll::Pending => {
                    self.waiting = Some(ReusableBoxFuture::new(arrival(self.shared.clone())));
                }
                ready => return ready,
            }
        }
    }
}

impl Drop for Rejections {
    fn drop(&mut self) {
        let gone = self.shared.with(|inner| {
            inner.state.rejections -= 1;
            if inner.state.rejections == 0 { inner.machine.drop_rejected() } else { 0 }
        });
        if gone > 0 {
            tracing::warn!(
                "the last handle on the rejected messages of a pusher was dropped: {gone} that were not fetched are gone"
            );
        }
    }
}
