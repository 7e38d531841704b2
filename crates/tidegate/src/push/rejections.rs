//! Messages that will never be sent again.

use std::sync::Arc;

use tidegate_proto::{InstanceId, Message, MessageId, Pusher};

use crate::{
    blocking::block_on,
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

/// The rejected messages of a pusher, from [`crate::Push::rejections`].
pub struct Rejections {
    shared: Arc<Shared<Pusher>>,
    instance: InstanceId,
}

impl std::fmt::Debug for Rejections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rejections").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Rejections {
    pub(super) fn new(shared: Arc<Shared<Pusher>>, instance: InstanceId) -> Self {
        Self { shared, instance }
    }

    /// As [`Self::recv`], blocking the thread; needs [`io_thread`](crate::PushBuilder::io_thread).
    ///
    /// # Errors
    /// The thread cannot block.
    pub fn blocking_recv(&mut self) -> Result<Option<Rejected>, CannotBlock> {
        self.shared.place.may_wait()?;
        Ok(block_on(self.recv()))
    }

    /// The next one; `None` when the pusher is done and all have been fetched. Cancel safe.
    pub async fn recv(&mut self) -> Option<Rejected> {
        let arrived = self.shared.with(|inner| inner.state.rejected.clone());
        loop {
            let (next, done) = self.shared.with(|inner| {
                let done = is_over(inner);
                (inner.machine.take_rejected(), done)
            });
            if let Some(rejected) = next {
                let id = MessageId { instance: self.instance, number: rejected.number };
                let tidegate_proto::Rejected { message, attempts, reason, .. } = rejected;
                return Some(Rejected { id, message, attempts, reason });
            }
            if done {
                return None;
            }
            let done = self.shared.until(|inner| is_over(inner).then_some(()));
            tokio::select! {
                biased;
                () = arrived.notified() => {}
                () = done => {}
            }
        }
    }
}

/// Whether nothing will be rejected any more.
fn is_over(inner: &Inner<Pusher>) -> bool {
    inner.machine.is_done() || inner.state.aborted || inner.lost.is_some()
}
