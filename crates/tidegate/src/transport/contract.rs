//! The trait of transports, which those of the library implement as those of the application do.

use std::{future::Future, io, pin::Pin};

use super::Connection;

/// The future that the methods of a [`Transport`] return.
pub type TransportFuture<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Carries links: connects to addresses, and listens at them.
///
/// `tcp://`, `tls://`, `unix://` and `mem://` implement this trait within the library. An application can add
/// transports of its own: through a tunnel or a proxy, over SSH or a serial line, in a simulator.
///
/// Register it on a builder with `transport("scheme", …)`. Endpoints `scheme://address#pipeline` then use it.
/// The scheme must be one that the library does not have. The transport defines the form of the address, and is
/// given the text between `://` and the first `#`.
///
/// This one only connects; [`TransportListener`] has an example that also listens.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{io, sync::Arc};
/// use tidegate::{Connection, Pull, Push, Transport, TransportFuture, TransportListener};
/// use tokio::net::TcpStream;
///
/// /// Reaches every address by way of one gate.
/// struct Gate { at: String }
///
/// impl Transport for Gate {
///     fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection> {
///         Box::pin(async move {
///             let stream = TcpStream::connect(&self.at).await?;
///             stream.set_nodelay(true)?;
///             // Here a real one would ask the gate for `address`.
///             Ok(Connection::new(stream, format!("{address} by way of {}", self.at)))
///         })
///     }
///
///     fn bind<'a>(&'a self, _: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
///         Box::pin(async { Err(io::Error::new(io::ErrorKind::Unsupported, "a gate only connects")) })
///     }
/// }
///
/// let push = Push::builder().bind("tcp://127.0.0.1:0").build().await?;
/// let at = push.local_endpoints()[0].to_string().replace("tcp://", "");
/// let pull = Pull::builder().transport("gate", Arc::new(Gate { at })).connect("gate://far.away").build().await?;
/// push.send("hello").await?;
/// pull.recv().await?.expect("a delivery").ack();
/// # Ok(()) }
/// ```
///
/// If a transport, its listener or a connection panics, the panic is caught and counts as an error of that
/// one attempt or connection. It is logged, and the attempt is retried like any other.
///
/// Sockets that are bound to the same address share a listener if they were given clones of the same `Arc`.
/// Otherwise they are independent, even with the same address.
pub trait Transport: Send + Sync + 'static {
    /// Connects once. The library limits the attempt to its handshake timeout, drops the future then, and
    /// retries later. A name in the address should be resolved anew each time.
    ///
    /// # Errors
    /// Any error; it is reported as [`Event::ConnectFailed`](crate::Event::ConnectFailed).
    fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection>;

    /// Starts to listen. Called once for all sockets of the process that share the listener.
    ///
    /// # Errors
    /// Any error; it is reported as [`BuildError::Bind`](crate::BuildError::Bind).
    fn bind<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>>;
}

/// Listens at an address of a [`Transport`]. It is dropped when the last socket that is bound there has
/// stopped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{io, sync::Arc};
/// use tidegate::{Connection, Pull, Push, Transport, TransportFuture, TransportListener};
/// use tokio::net::{TcpListener, TcpStream};
///
/// /// TCP that no router forwards.
/// struct OneHop;
///
/// fn one_hop(stream: TcpStream) -> io::Result<Connection> {
///     stream.set_ttl(1)?;
///     stream.set_nodelay(true)?;
///     let peer = stream.peer_addr()?;
///     Ok(Connection::new(stream, peer.to_string()))
/// }
///
/// impl Transport for OneHop {
///     fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection> {
///         Box::pin(async move { one_hop(TcpStream::connect(address).await?) })
///     }
///
///     fn bind<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
///         Box::pin(async move {
///             let listener = TcpListener::bind(address).await?;
///             let address = listener.local_addr()?.to_string(); // with the port that the system chose
///             Ok(Box::new(Near { listener, address }) as Box<dyn TransportListener>)
///         })
///     }
/// }
///
/// struct Near { listener: TcpListener, address: String }
///
/// impl TransportListener for Near {
///     fn address(&self) -> String {
///         self.address.clone()
///     }
///
///     fn accept(&mut self) -> TransportFuture<'_, Connection> {
///         Box::pin(async { one_hop(self.listener.accept().await?.0) })
///     }
/// }
///
/// let near = Arc::new(OneHop);
/// let push = Push::builder().transport("near", near.clone()).bind("near://127.0.0.1:0#jobs").build().await?;
/// let endpoint = push.local_endpoints()[0].to_string();
/// assert!(endpoint.starts_with("near://127.0.0.1:") && endpoint.ends_with("#jobs"));
/// let pull = Pull::builder().transport("near", near).connect(endpoint).build().await?;
/// push.send("hello").await?;
/// pull.recv().await?.expect("a delivery").ack();
/// # Ok(()) }
/// ```
pub trait TransportListener: Send {
    /// Returns the address that others connect to, including what `bind` chose itself, such as a port for 0.
    fn address(&self) -> String;

    /// Returns the next connection. The future is dropped only directly before the listener, so it need not be
    /// cancel safe.
    ///
    /// # Errors
    /// Any error; it is logged, and `accept` is called again after a pause.
    fn accept(&mut self) -> TransportFuture<'_, Connection>;
}
