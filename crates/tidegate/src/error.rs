//! The errors of each operation. An error that means that a message was not accepted contains the message.

use std::{io, time::Duration};

use tidegate_proto::{Code, Leftover, Message, MessageError, SettingError, shown};

use crate::transport::{Endpoint, EndpointError};

/// A socket could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An endpoint cannot be parsed.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A setting is out of range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// No endpoint was given.
    #[error("no endpoint: bind or connect to at least one")]
    NoEndpoint,
    /// There is no tokio runtime here, or it lacks timers, or I/O for endpoints other than `mem://`.
    #[error(
        "no tokio runtime: build() must be called within one, with time and I/O enabled, or with io_thread(true)"
    )]
    NoRuntime,
    /// The library's own thread could not be started.
    #[error("cannot start the thread for io_thread(true): {0}")]
    Thread(io::Error),
    /// An endpoint could not be bound.
    #[error("cannot bind to {endpoint}: {source}")]
    Bind {
        /// The endpoint.
        endpoint: Endpoint,
        /// The error of the system.
        source: io::Error,
    },
    /// `require_tls` is set, and an endpoint is plain TCP.
    #[error("require_tls is set, but {endpoint} is plain TCP; use tls://")]
    PlainEndpoint {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The TLS settings do not suffice for an endpoint.
    #[cfg(feature = "tls")]
    #[error("{endpoint}: {source}")]
    Tls {
        /// The endpoint.
        endpoint: Endpoint,
        /// What is missing or invalid.
        source: Box<crate::TlsError>,
    },
    /// An endpoint is `tls://`, and this build does not include TLS.
    #[cfg(not(feature = "tls"))]
    #[error("{endpoint}: this build does not include TLS; enable the feature `tls` of the crate tidegate")]
    NoTls {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The names allowed for a pipeline cannot be verified.
    #[error("allow for pipeline {pipeline:?}: {problem}")]
    Allow {
        /// The pipeline.
        pipeline: String,
        /// Why they cannot be verified.
        problem: &'static str,
    },
    /// A name allowed for a pipeline cannot occur in a certificate.
    #[error("allow for pipeline {pipeline:?}: {name:?}: {problem}")]
    AllowName {
        /// The pipeline.
        pipeline: String,
        /// The name.
        name: String,
        /// Why it cannot occur, and which names can.
        problem: &'static str,
    },
    /// The system provides no random bytes for the instance id (HS-8).
    #[error("the system provides no random bytes: {0}")]
    Random(String),
}

/// The permanent refusal of a connection by an endpoint (RD-7).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint} refused the connection with {code}: {}", shown(reason))]
#[non_exhaustive]
pub struct Refusal {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The code of the refusal.
    pub code: Code,
    /// The reason, as text. The peer controls this text; see [`shown`](crate::shown).
    pub reason: String,
}

/// Blocking is not possible here: the call could wait forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotBlock {
    /// The links run on the application's runtime, and may need the thread that would be blocked.
    #[error(
        "blocking calls require links on a thread of their own: build the socket with io_thread(true) or \
         blocking_build()"
    )]
    NoIoThread,
    /// The current thread runs the links: the call comes from a waker, a log subscriber, or the drop of a
    /// payload's owner.
    #[error("a blocking call on the thread that runs the links would deadlock")]
    OnIoThread,
    /// The events come from a builder, and no socket was built with it yet.
    #[error("no socket was built with this builder yet; build it first, its events are kept")]
    NotBuilt,
    /// This process is a fork of the one that built the socket. The thread that runs the links exists only in
    /// the parent.
    #[error("the socket belongs to the parent of this forked process; build sockets after the fork")]
    OtherProcess,
}

/// A message was not accepted, so it is certainly not processed.
///
/// [`SendError::into_message`] returns the message.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let push = tidegate::Push::builder().bind("mem://doc-send-error").build().await?;
/// push.abort().await;
/// let error = push.send("resize 17.png").await.unwrap_err();
/// assert_eq!(error.into_message().payload(), "resize 17.png");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The pusher is draining, finished or aborted.
    #[error("the pusher accepts no new messages: it is draining or has stopped")]
    Closed(Message),
    /// The message exceeds a limit.
    #[error("{source}")]
    Invalid {
        /// The message.
        message: Message,
        /// The limit.
        source: MessageError,
    },
    /// Every endpoint has refused the pusher permanently, so the send would wait forever.
    #[error("{refusal}")]
    Refused {
        /// The message.
        message: Message,
        /// The most recent refusal.
        refusal: Box<Refusal>,
    },
    /// The pusher had no link for the time of [`give_up_after`](crate::PushBuilder::give_up_after).
    #[error("the pusher gave up: it had no link for {after:?}")]
    GaveUp {
        /// The message.
        message: Message,
        /// The time without a link.
        after: Duration,
    },
}

impl SendError {
    /// Returns the message that was not accepted.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            Self::Closed(message)
            | Self::Invalid { message, .. }
            | Self::Refused { message, .. }
            | Self::GaveUp { message, .. } => message,
        }
    }
}

/// A message was not accepted at once, or within the time given.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// There was no room at once or within the time given, or other senders waited for it.
    #[error("no room: the high-water mark is reached")]
    Full(Message),
    /// The message would not be accepted later either.
    #[error(transparent)]
    Failed(#[from] SendError),
}

impl TrySendError {
    /// Returns the message that was not accepted.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            Self::Full(message) => message,
            Self::Failed(error) => error.into_message(),
        }
    }
}

/// Room could not be reserved.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// The pusher is draining, finished or aborted.
    #[error("the pusher accepts no new messages: it is draining or has stopped")]
    Closed,
    /// Every endpoint has refused the pusher permanently.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The pusher had no link for the time of [`give_up_after`](crate::PushBuilder::give_up_after).
    #[error("the pusher gave up: it had no link for {after:?}")]
    GaveUp {
        /// The time without a link.
        after: Duration,
    },
}

/// Room could not be reserved at once, or within the time given.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryReserveError {
    /// There was no room at once or within the time given, or other senders waited for it.
    #[error("no room: the high-water mark is reached")]
    Full,
    /// There will be no room later either.
    #[error(transparent)]
    Failed(#[from] ReserveError),
}

/// A tracked message was accepted, but not acked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// A puller rejected the message, or its attempts reached the limit.
    #[error("rejected after {attempts} attempts: {}", shown(reason))]
    Rejected {
        /// The puller's reason. The peer controls this text; see [`shown`](crate::shown).
        reason: String,
        /// The number of attempts.
        attempts: u32,
    },
    /// The pusher was aborted before it sent the message, so it is certainly not processed.
    #[error("not sent: the pusher was aborted before it sent the message")]
    NotSent,
    /// The pusher is gone before an outcome arrived. Whether the message was processed is unknown.
    #[error("outcome unknown: the pusher stopped before an outcome arrived")]
    Unknown,
}

/// A pusher stopped before all messages were settled: its linger time ended, or it was aborted.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{} messages were not sent and {} are unacknowledged {}",
    leftover.unsent.len(),
    leftover.unacked.len(),
    match (aborted, runtime_gone, gave_up) {
        (true, ..) => "after abort was called",
        (_, true, _) => "because the runtime that ran the links was shut down",
        (.., true) => "because the pusher had no link for the time of give_up_after",
        _ => "at the end of the linger time",
    }
)]
#[non_exhaustive]
pub struct Unfinished {
    /// The messages and counters.
    pub leftover: Box<Leftover>,
    /// Another call of `abort` stopped the pusher, and returned the messages.
    pub aborted: bool,
    /// The runtime that ran the links was shut down, so no message could be settled and no end of stream
    /// could be sent.
    pub runtime_gone: bool,
    /// The pusher had no link for the time of [`give_up_after`](crate::PushBuilder::give_up_after).
    pub gave_up: bool,
}

/// Waiting for links would never end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectedError {
    /// The socket is closing or closed.
    #[error("the socket is closed")]
    Closed,
    /// An endpoint has refused the socket permanently.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The socket had no link for the time of [`give_up_after`](crate::PullBuilder::give_up_after).
    #[error("the socket gave up: it had no link for {after:?}")]
    GaveUp {
        /// The time without a link.
        after: Duration,
    },
}

/// There is no delivery, for a reason other than the end of all streams.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// An endpoint has refused the puller permanently.
    ///
    /// While other endpoints are left, the error is returned once for each refusal, and further calls receive
    /// from the others. Otherwise every call returns it. `set_tokens` allows another try, and
    /// [`retry_refusals`](crate::PullBuilder::retry_refusals) retries instead of returning the error.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The runtime that ran the links was shut down, or this process is a fork of the one that built the
    /// socket.
    ///
    /// No delivery will come. Every further call returns this error.
    #[error("the runtime that ran the links of this puller was shut down")]
    RuntimeGone,
    /// The puller had no link for the time of [`give_up_after`](crate::PullBuilder::give_up_after).
    ///
    /// Every further call returns this error.
    #[error("the puller gave up: it had no link for {after:?}")]
    GaveUp {
        /// The time without a link.
        after: Duration,
    },
}

/// There was no delivery within the time given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// No delivery came within the time. One may come later.
    #[error("no delivery came within the time limit")]
    Timeout,
    /// The call failed for another reason.
    #[error(transparent)]
    Failed(#[from] RecvError),
}

/// Deliveries were still held at the end of the linger time. Their pushers will send them again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{held} deliveries were un-acked at the end of the linger time")]
#[non_exhaustive]
pub struct LeaveError {
    /// The number of deliveries.
    pub held: u64,
}
