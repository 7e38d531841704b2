//! PUSH/PULL messaging with credit-based flow control.
//!
//! Pullers grant credit: how many messages and bytes they can take. Pushers send messages round-robin to
//! pullers that have credit left, and an ack returns the credit. There is no broker, all memory use is
//! bounded, and no message is lost when a puller, a connection or a puller's machine fails.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use tidegate::{Pull, Push};
//!
//! let push = Push::builder().bind("tcp://127.0.0.1:0").build().await?;
//! let pull = Pull::builder().connect(push.local_endpoints()[0].to_string()).build().await?;
//!
//! push.send("resize 17.png").await?;
//! let receipt = push.send_tracked("resize 18.png").await?; // reports the outcome
//!
//! for _ in 0..2 {
//!     let delivery = pull.recv().await?.expect("the pusher has not ended");
//!     println!("{:?}, attempt {}", delivery.payload(), delivery.attempt());
//!     delivery.ack(); // if it is dropped without an outcome, it is nacked and sent again
//! }
//! receipt.await?; // acked: processed, not merely arrived
//! push.finish(Duration::from_secs(10)).await?; // everything settled, then the end of the stream
//! assert!(pull.recv().await?.is_none());
//! # Ok(()) }
//! ```
//!
//! The [guide] leads from here to a service in production: pipelines, retries, stopping, tuning, testing.
//!
//! # Speed
//!
//! [`Push::send`], [`Pull::recv`] and [`Delivery::ack`] handle one message each, and are the fastest way.
//! `send` copies a small [`Payload`] once, whether it is owned or borrowed. [`Push::send_all`],
//! [`Pull::recv_many`] and [`Delivery::ack_all`] work on batches, where an application has them.
//!
//! # Where messages live
//!
//! A message that a [`Push`] has accepted stays in the memory of its process until it is acked, and is lost
//! with the process. That includes messages that a puller holds un-acked: if the puller is lost, another one
//! gets them.
//!
//! # Runtimes
//!
//! Any tokio runtime with time and I/O. A single-threaded runtime is the fastest. With a multi-threaded one,
//! spawn the loops that send and receive: the future of `#[tokio::main]` itself runs on a thread of its own,
//! and each message would wake one thread from another. A task that computes for long without yielding delays
//! the links on its thread. With [`io_thread`](crate::PushBuilder::io_thread) the links
//! run on a thread of the library instead, independent of the program's threads.
//!
//! # Platforms
//!
//! Unix systems. Linux is tested; macOS is built. On other systems the crate does not compile.
//!
//! # Without async
//!
//! [`PushBuilder::blocking_build`] and [`PullBuilder::blocking_build`] require no runtime. They return the
//! sockets of the module [`blocking`], whose calls block the thread.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use tidegate::{Pull, Push};
//!
//! let push = Push::builder().bind("tcp://127.0.0.1:0").blocking_build()?;
//! let pull = Pull::builder().connect(push.local_endpoints()[0].to_string()).blocking_build()?;
//! let receipt = push.blocking_send_tracked("resize 19.png")?;
//! if let Some(delivery) = pull.blocking_recv()? {
//!     delivery.ack(); // the work may take minutes
//! }
//! receipt.blocking_wait()?;
//! push.blocking_finish(Duration::from_secs(10))?;
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("tidegate needs a Unix system: it uses Unix sockets, file descriptors and resource limits");

mod admission;
pub mod blocking;
mod build;
mod caught;
mod error;
mod events;
#[doc = include_str!("../docs/GUIDE.md")]
pub mod guide {}
mod io_thread;
mod link;
mod names;
mod of_process;
mod park;
mod pull;
mod push;
mod socket;
mod throttle;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
mod transport;

pub use admission::PeerIdentity;
pub use build::{PullBuilder, PushBuilder};
pub use error::{
    BuildError, CannotBlock, ConnectedError, LeaveError, ReceiptError, RecvError, RecvTimeoutError, Refusal,
    ReserveError, SendError, TryReserveError, TrySendError, Unfinished,
};
pub use events::{End, Event, Events, PeerInfo};
pub use pull::{Delivery, Pull, PullStream, Recv};
pub use push::{Payload, Permit, Push, PushSink, Receipt, Rejected, Rejections, SendFuture, SinkError};
pub use tidegate_proto::{
    Code, DEFAULT_GRACE, DEFAULT_HEARTBEAT, DEFAULT_HIGH_WATER_MARK, DEFAULT_HIGH_WATER_MARK_BYTES,
    DEFAULT_MAX_MESSAGE, DEFAULT_MEMORY, Headers, InstanceId, Leftover, Message, MessageError, MessageId,
    PullLinkStats, PullStats, PushLinkStats, PushStats, SettingError, Shown, Tokens, Undelivered, Window,
    shown,
};
#[cfg(feature = "tls")]
pub use tls::{Pem, Prepared, Tls, TlsConfig, TlsError, TlsPart};
pub use transport::{
    Connection, DEFAULT_PORT, Endpoint, EndpointError, Transport, TransportFuture, TransportListener,
};
