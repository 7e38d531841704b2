//! A pusher as a `Sink`.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_sink::Sink;
use tidegate_proto::Message;
use tokio_util::sync::ReusableBoxFuture;

use super::{Permit, Push};
use crate::error::{ReserveError, SendError, Unfinished};

/// An error of a [`PushSink`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// Room could not be reserved.
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    /// The message was not accepted.
    #[error(transparent)]
    Send(#[from] SendError),
    /// `start_send` was called before `poll_ready` returned ready.
    #[error("start_send without poll_ready")]
    NotReady,
    /// Closing did not settle everything within its linger time.
    #[error(transparent)]
    Unfinished(#[from] Unfinished),
}

/// A `Sink` of messages, from [`Push::sink`].
///
/// Ready means that there is room, flush means written, and close means [`Push::finish`]. Once ready, it
/// holds a [`Permit`] until it is given a message. To send values that are not a [`Message`], convert them
/// with `futures_util::SinkExt`:
///
/// ```text
/// push.sink(linger).with(async |line: String| Ok::<_, SinkError>(Message::from(line)))
/// ```
#[derive(Debug)]
pub struct PushSink {
    push: Push,
    linger: Duration,
    permit: Option<Permit>,
    reserving: Option<ReusableBoxFuture<'static, Result<Permit, ReserveError>>>,
    flushing: Option<ReusableBoxFuture<'static, ()>>,
    closing: Option<ReusableBoxFuture<'static, Result<(), Unfinished>>>,
}

impl PushSink {
    pub(super) fn new(push: Push, linger: Duration) -> Self {
        Self { push, linger, permit: None, reserving: None, flushing: None, closing: None }
    }
}

impl Sink<Message> for PushSink {
    type Error = SinkError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        if self.permit.is_some() {
            return Poll::Ready(Ok(()));
        }
        let push = self.push.clone();
        let reserving =
            self.reserving.get_or_insert_with(|| ReusableBoxFuture::new(async move { push.reserve().await }));
        let result = ready!(reserving.poll(cx));
        self.reserving = None;
        self.permit = Some(result?);
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SinkError> {
        let permit = self.permit.take().ok_or(SinkError::NotReady)?;
        Ok(permit.send(message)?)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        let push = self.push.clone();
        let flushing =
            self.flushing.get_or_insert_with(|| ReusableBoxFuture::new(async move { push.flush().await }));
        ready!(flushing.poll(cx));
        self.flushing = None;
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        self.permit = None;
        let (push, linger) = (self.push.clone(), self.linger);
        let closing = self.closing.get_or_insert_with(|| {
            ReusableBoxFuture::new(async move { push.finish(linger).await.map(|_| ()) })
        });
        let result = ready!(closing.poll(cx));
        self.closing = None;
        Poll::Ready(Ok(result?))
    }
}
