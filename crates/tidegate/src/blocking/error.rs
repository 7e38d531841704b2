//! The errors of blocking calls.

use tidegate_proto::Message;

use crate::error::{CannotBlock, SendError, TrySendError};

/// A blocking call failed. `E` is the error of its async form.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use tidegate::{Pull, RecvTimeoutError, blocking::BlockingError};
///
/// let pull = Pull::builder().bind("mem://doc-blocking-error").blocking_build()?;
/// match pull.blocking_recv_timeout(Duration::from_millis(5)) {
///     Err(BlockingError::Failed(RecvTimeoutError::Timeout)) => {} // nothing came
///     other => panic!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockingError<E> {
    /// The call must not block here. Nothing was sent, received or changed.
    #[error(transparent)]
    CannotBlock(#[from] CannotBlock),
    /// The call failed as its async form does.
    #[error(transparent)]
    Failed(E),
}

/// A receipt, events or rejections have no blocking form. The error contains them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let push = tidegate::Push::builder().bind("mem://doc-into-blocking-error").build().await?;
/// # let pull = tidegate::Pull::builder().connect("mem://doc-into-blocking-error").build().await?;
/// let receipt = push.send_tracked("resize 17.png").await?; // without io_thread(true)
/// pull.recv().await?.expect("the pusher has not finished").ack();
/// match receipt.blocking() {
///     Ok(receipt) => receipt.blocking_wait()?,
///     Err(error) => error.into_inner().await?,
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct IntoBlockingError<T> {
    reason: CannotBlock,
    value: T,
}

impl<T> IntoBlockingError<T> {
    pub(super) fn new(reason: CannotBlock, value: T) -> Self {
        Self { reason, value }
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> CannotBlock {
        self.reason
    }

    /// Returns the object in its async form.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }
}

/// A message was not accepted by a blocking call, so it is certainly not processed. `E` is the error of the
/// async form.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let push = tidegate::Push::builder().bind("mem://doc-blocking-send-error").blocking_build()?;
/// push.blocking_abort()?;
/// let error = push.blocking_send("resize 17.png").unwrap_err();
/// assert_eq!(error.into_message().payload(), "resize 17.png");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockingSendError<E> {
    /// The call must not block here.
    #[error("{reason}")]
    CannotBlock {
        /// The message.
        message: Message,
        /// Why it must not.
        reason: CannotBlock,
    },
    /// The call failed as its async form does.
    #[error(transparent)]
    Failed(E),
}

impl BlockingSendError<SendError> {
    /// Returns the message that was not accepted.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            Self::CannotBlock { message, .. } => message,
            Self::Failed(error) => error.into_message(),
        }
    }
}

impl BlockingSendError<TrySendError> {
    /// Returns the message that was not accepted.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            Self::CannotBlock { message, .. } => message,
            Self::Failed(error) => error.into_message(),
        }
    }
}
