//! `Rejections`, the messages that will never be sent again.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tidegate_proto::{InstanceId, Message, MessageId, Pusher};
use tokio_util::sync::ReusableBoxFuture;

use crate::{
    io_thread::OwnThread,
    socket::{Inner, Shared},
};

/// A message that will never be sent again: a puller rejected it, or its attempts reached the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// The id of the message.
    pub id: MessageId,
    /// The message.
    pub message: Message,
    /// The number of attempts.
    pub attempts: u32,
    /// The puller's reason. The peer controls this text; see [`shown`](crate::shown).
    pub reason: String,
}

/// The rejected messages of a pusher, from [`Push::rejections`](crate::Push::rejections).
///
/// It is also a `Stream`, which ends when [`Self::recv`] returns `None`. While a handle exists, rejected
/// messages are kept until they are fetched. When the last handle is dropped, messages that were not fetched
/// are lost, with a warning; later ones are only counted.
pub struct Rejections {
    shared: Arc<Shared<Pusher>>,
    instance: InstanceId,
    /// The pending wait of the stream.
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

    /// Returns the next rejected message, waiting for it if necessary.
    ///
    /// Returns `None` when the pusher has stopped and all messages have been fetched.
    /// [`Push::rejections`](crate::Push::rejections) has an example.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, no message is lost.
    pub async fn recv(&mut self) -> Option<Rejected> {
        loop {
            match self.fetch() {
                Poll::Ready(next) => return next,
                Poll::Pending => arrival(self.shared.clone()).await,
            }
        }
    }

    /// Returns the next rejected message, if there is one now.
    ///
    /// `None` does not mean that no more will come; only [`Self::recv`] reports the end.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let push = tidegate::Push::builder().bind("mem://doc-rejections-try-recv").build().await?;
    /// let mut rejections = push.rejections();
    /// assert!(rejections.try_recv().is_none());
    /// # Ok(()) }
    /// ```
    pub fn try_recv(&mut self) -> Option<Rejected> {
        match self.fetch() {
            Poll::Ready(next) => next,
            Poll::Pending => None,
        }
    }

    pub(crate) fn own_thread(&self) -> Option<OwnThread> {
        self.shared.runtime.own_thread()
    }

    /// The next message or the end; pending if more may come.
    fn fetch(&self) -> Poll<Option<Rejected>> {
        let (next, over) = self.shared.with(|inner| (inner.machine.take_rejected(), is_over(inner)));
        match next {
            Some(tidegate_proto::RejectedMessage { number, message, attempts, reason, .. }) => {
                let id = MessageId { instance: self.instance, number };
                Poll::Ready(Some(Rejected { id, message, attempts, reason }))
            }
            None if over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// Whether no more messages will be rejected.
fn is_over(inner: &Inner<Pusher>) -> bool {
    inner.machine.is_done() || inner.state.aborted || inner.lost.is_some()
}

/// Waits until there is a rejected message, or none will come any more.
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
                "the last handle of a pusher's rejected messages was dropped: {gone} messages were not fetched \
                 and are lost"
            );
        }
    }
}
