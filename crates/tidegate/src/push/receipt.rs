//! `Receipt`, the outcome of one message.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tidegate_proto::MessageId;
use tokio::sync::oneshot;

use crate::{error::ReceiptError, io_thread::OwnThread};

/// A future of the outcome of a message: `Ok` if a puller has acked it.
///
/// It can be polled again after that, with the same result. Dropping a receipt does not affect the message.
#[derive(Debug)]
#[must_use = "the outcome of the message is lost unless the receipt is awaited"]
pub struct Receipt {
    id: MessageId,
    outcome: oneshot::Receiver<Result<(), ReceiptError>>,
    /// The outcome, once it is known.
    known: Option<Result<(), ReceiptError>>,
    thread: Option<OwnThread>,
}

impl Receipt {
    /// `thread` is where the links run, if a thread may block until they settle the message.
    pub(super) fn new(
        id: MessageId,
        outcome: oneshot::Receiver<Result<(), ReceiptError>>,
        thread: Option<OwnThread>,
    ) -> Self {
        Self { id, outcome, known: None, thread }
    }

    pub(crate) fn own_thread(&self) -> Option<OwnThread> {
        self.thread
    }

    /// Returns the id of the message, which is the same for every attempt.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }
}

impl Future for Receipt {
    type Output = Result<(), ReceiptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match self.known.clone() {
            Some(known) => known,
            None => ready!(Pin::new(&mut self.outcome).poll(cx)).unwrap_or(Err(ReceiptError::Unknown)),
        };
        self.known = Some(outcome.clone());
        Poll::Ready(outcome)
    }
}
