//! The outcome of one message.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tidegate_proto::MessageId;
use tokio::sync::oneshot;

use crate::error::ReceiptError;

/// A future of the outcome of a message: `Ok` when a puller has acked it. Dropping it changes nothing for the message.
#[derive(Debug)]
#[must_use = "the outcome is known only to who awaits it"]
pub struct Receipt {
    pub(super) id: MessageId,
    pub(super) outcome: oneshot::Receiver<Result<(), ReceiptError>>,
}

impl Receipt {
    /// The id of the message, the same at every attempt.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }
}

impl Future for Receipt {
    type Output = Result<(), ReceiptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.outcome).poll(cx)).unwrap_or(Err(ReceiptError::Unknown)))
    }
}
