//! What can go wrong, by operation. Errors that mean a message was not taken hand it back.

use std::{io, time::Duration};

use tidegate_proto::{Code, Leftover, Message, MessageError, SettingError, shown};

use crate::endpoint::{Endpoint, EndpointError};

/// A socket could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An endpoint cannot be read.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A setting is outside its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// No endpoint was given.
    #[error("no endpoint: bind or connect to at least one")]
    NoEndpoint,
    /// There is no tokio runtime here, or it has no timers, or no I/O for endpoints other than `mem://`.
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
        /// Which.
        endpoint: Endpoint,
        /// What the system says.
        source: io::Error,
    },
    /// `require_tls` is set, and an endpoint is plain TCP.
    #[error("require_tls is set, but {endpoint} is plain TCP; tls:// would be right")]
    PlainEndpoint {
        /// Which.
        endpoint: Endpoint,
    },
    /// The TLS settings do not do for an endpoint.
    #[cfg(feature = "tls")]
    #[error("{endpoint}: {source}")]
    Tls {
        /// Which.
        endpoint: Endpoint,
        /// What is missing, or wrong.
        source: Box<crate::TlsError>,
    },
    /// An endpoint is `tls://`, and this build has no TLS.
    #[cfg(not(feature = "tls"))]
    #[error("{endpoint}: this build has no TLS; the feature `tls` of the crate tidegate brings it")]
    NoTls {
        /// Which.
        endpoint: Endpoint,
    },
    /// The names allowed for a pipeline cannot be checked.
    #[error("allow for pipeline {pipeline:?}: {problem}")]
    Allow {
        /// Which.
        pipeline: String,
        /// Why not.
        problem: &'static str,
    },
    /// A name that is allowed for a pipeline is none that a certificate can have.
    #[error("allow for pipeline {pipeline:?}: {name:?}: {problem}")]
    AllowName {
        /// Which pipeline.
        pipeline: String,
        /// Which name.
        name: String,
        /// Why not, and what would be right.
        problem: &'static str,
    },
    /// The system gives no random bytes for the instance id (HS-8).
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

/// An endpoint that refused us for good (RD-7).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint} refused the connection with {code}: {}", shown(reason))]
#[non_exhaustive]
pub struct Refusal {
    /// Which.
    pub endpoint: Endpoint,
    /// Why, for programs.
    pub code: Code,
    /// Why, for people. A stranger's text.
    pub reason: String,
}

/// A blocking call was refused, because what it would wait for could never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotBlock {
    /// The links of the socket run on a runtime of the application's, and may need the thread that would be blocked.
    #[error(
        "a blocking call needs a socket whose links have their own thread: built with io_thread(true) or blocking_build()"
    )]
    NoIoThread,
    /// The thread that would be blocked is the one that runs the links: the call comes from a waker, a log
    /// subscriber, or the drop of a payload's owner.
    #[error("a blocking call on the thread that runs the links would stop what it waits for")]
    OnIoThread,
    /// The socket was built before a fork, and this is the child: the thread that runs the links is in the parent only.
    #[error("the socket belongs to the process that forked this one; build sockets after the fork")]
    OtherProcess,
}

/// A message was not taken: it is certainly not processed, and comes back with [`SendError::into_message`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The pusher is draining, finished or aborted.
    #[error("the pusher takes no new messages: it drains, or has ended")]
    Closed(Message),
    /// The message itself is outside the limits.
    #[error("{source}")]
    Invalid {
        /// The message.
        message: Message,
        /// The limit.
        source: MessageError,
    },
    /// Every endpoint has refused us for good, so that it would wait for ever.
    #[error("{refusal}")]
    Refused {
        /// The message.
        message: Message,
        /// The last refusal.
        refusal: Box<Refusal>,
    },
    /// There was no link for as long as [`give_up_after`](crate::PushBuilder::give_up_after) says.
    #[error("the pusher has given up: there was no link for {after:?}")]
    GaveUp {
        /// The message.
        message: Message,
        /// How long.
        after: Duration,
    },
    /// It was not tried: from blocking calls only.
    #[error("{reason}")]
    CannotBlock {
        /// The message.
        message: Message,
        /// Why not.
        reason: CannotBlock,
    },
}

impl SendError {
    /// The message that was not taken.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            Self::Closed(message)
            | Self::Invalid { message, .. }
            | Self::Refused { message, .. }
            | Self::GaveUp { message, .. }
            | Self::CannotBlock { message, .. } => message,
        }
    }
}

/// A message was not taken at once, or in the time that was given.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// There was no room at once, or in the time that was given; or others waited for it.
    #[error("no room: the high-water mark is reached")]
    Full(Message),
    /// It will not be taken later either.
    #[error(transparent)]
    Failed(#[from] SendError),
}

impl TrySendError {
    /// The message that was not taken.
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
    #[error("the pusher takes no new messages: it drains, or has ended")]
    Closed,
    /// Every endpoint has refused us for good.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// There was no link for as long as [`give_up_after`](crate::PushBuilder::give_up_after) says.
    #[error("the pusher has given up: there was no link for {after:?}")]
    GaveUp {
        /// How long.
        after: Duration,
    },
    /// It was not tried: from blocking calls only.
    #[error(transparent)]
    CannotBlock(#[from] CannotBlock),
}

/// Room could not be reserved at once, or in the time that was given.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryReserveError {
    /// There was no room at once, or in the time that was given; or others waited for it.
    #[error("no room: the high-water mark is reached")]
    Full,
    /// There will not be any later either.
    #[error(transparent)]
    Failed(#[from] ReserveError),
}

/// A tracked message was accepted, but not acked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// A puller, or the limit on attempts, has rejected it for good.
    #[error("rejected after {attempts} attempts: {}", shown(reason))]
    Rejected {
        /// The puller's reason. A stranger's text.
        reason: String,
        /// How often it was attempted.
        attempts: u32,
    },
    /// The pusher was aborted before it was sent: certainly not processed.
    #[error("not sent: the pusher was aborted first")]
    NotSent,
    /// The pusher is gone, and no outcome came: it may have been processed or not.
    #[error("unknown: the pusher is gone, and no outcome had come")]
    Unknown,
    /// It was not tried: from blocking calls only.
    #[error(transparent)]
    CannotBlock(#[from] CannotBlock),
}

/// A drain did not reach its end in its linger time, or was aborted.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{} messages were not sent and {} have no outcome {}",
    leftover.unsent.len(),
    leftover.unacked.len(),
    match (aborted, runtime_gone, gave_up) {
        (true, ..) => "at the abort",
        (_, true, _) => "when the runtime that ran the links was shut down",
        (.., true) => "when the pusher gave up, because there was no link for as long as give_up_after says",
        _ => "at the end of the linger time",
    }
)]
#[non_exhaustive]
pub struct Unfinished {
    /// The messages, and the counts.
    pub leftover: Box<Leftover>,
    /// Somebody else called `abort`, which has the messages then.
    pub aborted: bool,
    /// The runtime on which the pusher was built has been shut down, so that nothing more could be settled, nor the end of
    /// the stream be told.
    pub runtime_gone: bool,
    /// There was no link for as long as [`give_up_after`](crate::PushBuilder::give_up_after) says.
    pub gave_up: bool,
}

/// Waiting for links is pointless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectedError {
    /// The socket is closing, or closed.
    #[error("the socket is closed")]
    Closed,
    /// An endpoint has refused us for good.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// There was no link for as long as [`give_up_after`](crate::PullBuilder::give_up_after) says.
    #[error("the socket has given up: there was no link for {after:?}")]
    GaveUp {
        /// How long.
        after: Duration,
    },
    /// It was not tried: from blocking calls only.
    #[error(transparent)]
    CannotBlock(#[from] CannotBlock),
}

/// No delivery, and not because of an orderly end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// An endpoint has refused us for good. Told once for each, while there are others that further calls go on with; and each
    /// time when there are none. `set_tokens` gives those that have refused another try, and
    /// [`retry_refusals`](crate::PullBuilder::retry_refusals) waits instead.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The runtime on which the socket was built has been shut down, or this is a child of the process that built it:
    /// nothing will come any more. Each further call tells it again.
    #[error("the runtime that ran the links of this puller has been shut down")]
    RuntimeGone,
    /// There was no link for as long as [`give_up_after`](crate::PullBuilder::give_up_after) says. Each further call tells it again.
    #[error("the puller has given up: there was no link for {after:?}")]
    GaveUp {
        /// How long.
        after: Duration,
    },
    /// It was not tried: from blocking calls only.
    #[error(transparent)]
    CannotBlock(#[from] CannotBlock),
}

/// No delivery in the time that was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// Nothing came in that time. It may come later.
    #[error("nothing came in that time")]
    Timeout,
    /// It is not a matter of time.
    #[error(transparent)]
    Failed(#[from] RecvError),
}

/// Deliveries were still held at the end of the linger time: their pushers will send them again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{held} deliveries had no outcome at the end of the linger time")]
#[non_exhaustive]
pub struct LeaveError {
    /// How many.
    pub held: u64,
}

/// A blocking call that was to stop a socket in order did not.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// A pusher has messages left.
    #[error(transparent)]
    Unfinished(#[from] Unfinished),
    /// A puller has deliveries left.
    #[error(transparent)]
    Held(#[from] LeaveError),
    /// It was not tried.
    #[error(transparent)]
    CannotBlock(#[from] CannotBlock),
}
