//! `PullStream`, a puller as a `Stream`.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::{FusedStream, Stream};
use tokio_util::sync::ReusableBoxFuture;

use super::{Delivery, Pull};
use crate::error::RecvError;

/// A `Stream` of deliveries, from [`Pull::stream`].
///
/// It ends when [`Pull::recv`] returns `None`, and stays ended. An error does not end it.
#[derive(Debug)]
pub struct PullStream {
    pull: Pull,
    receiving: Option<ReusableBoxFuture<'static, Result<Option<Delivery>, RecvError>>>,
    ended: bool,
}

impl PullStream {
    pub(super) fn new(pull: Pull) -> Self {
        Self { pull, receiving: None, ended: false }
    }
}

impl Stream for PullStream {
    type Item = Result<Delivery, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // A delivery that is there needs no future, unless other tasks wait for it.
        let shared = self.pull.shared();
        if self.receiving.is_none()
            && let Some(delivery) = shared.outside.take(shared)
        {
            return Poll::Ready(Some(Ok(delivery)));
        }
        let pull = self.pull.clone();
        let receiving =
            self.receiving.get_or_insert_with(|| ReusableBoxFuture::new(async move { pull.recv().await }));
        let next = ready!(receiving.poll(cx)).transpose();
        self.receiving = None;
        self.ended = next.is_none();
        Poll::Ready(next)
    }
}

impl FusedStream for PullStream {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}
