//! What carries a link: a bidirectional byte stream, and the endpoints that select it.
//!
//! ```text
//! Endpoint ──► Registry ──► Scheme ──► Transport ──► Connection: Box<dyn Stream>
//!                             │            ▲
//!                   SchemeProfile          ├── tcp, unix, mem, tls
//!                                          └── of the application
//! ```
//!
//! The transports of the library implement the same public trait as one of the application. What the library must know
//! about its own ones beyond that trait has three places. A `SchemeProfile` says how addresses are written, and what
//! holds for the connections. `TransportSettings` are what a socket sets for its transports. `Stream` is what a
//! connection can do beyond reading and writing.

mod address;
mod connection;
mod contract;
mod endpoint;
mod failure;
mod host;
mod listener;
mod mem;
mod registry;
mod scheme;
mod settings;
mod split;
mod stream;
mod tcp;
mod tls;
mod unix;

pub(crate) use self::{
    address::Address,
    failure::TlsFailure,
    listener::Listener,
    registry::Registry,
    scheme::Protection,
    settings::TransportSettings,
    stream::{BoxStream, Direct, Stream},
};
pub use self::{
    connection::Connection,
    contract::{Transport, TransportFuture, TransportListener},
    endpoint::{Endpoint, EndpointError},
    host::DEFAULT_PORT,
};
