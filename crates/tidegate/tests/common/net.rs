//! A transport within the process. A test can count its connections, break them, and make them drop what is written.

use std::{
    collections::HashMap,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use tidegate::{Connection, Transport, TransportFuture, TransportListener};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex},
    sync::mpsc,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Give clones of it to `transport("net", …)`.
#[derive(Default)]
pub struct Net {
    hosts: Mutex<HashMap<String, Host>>,
}

#[derive(Default)]
struct Host {
    listener: Option<mpsc::Sender<Connection>>,
    /// Connections are refused.
    down: bool,
    /// The number of attempts to connect.
    tries: usize,
    wires: Vec<Arc<Faults>>,
}

/// The faults of a connection.
#[derive(Default)]
struct Faults {
    /// Both ends read the end of the stream.
    cut: CancellationToken,
    /// Written bytes are dropped.
    swallows: AtomicBool,
    /// A shutdown does not complete.
    hangs: AtomicBool,
}

impl Net {
    fn host<T>(&self, address: &str, look: impl FnOnce(&mut Host) -> T) -> T {
        look(self.hosts.lock().unwrap().entry(address.to_owned()).or_default())
    }

    /// The number of attempts to connect to the address.
    pub fn tries(&self, address: &str) -> usize {
        self.host(address, |host| host.tries)
    }

    /// Breaks all connections to the address, and refuses new ones.
    pub fn take_down(&self, address: &str) {
        self.host(address, |host| host.down = true);
        self.cut(address);
    }

    /// Accepts connections again.
    pub fn bring_up(&self, address: &str) {
        self.host(address, |host| host.down = false);
    }

    /// Breaks all connections to the address.
    pub fn cut(&self, address: &str) {
        self.host(address, |host| host.wires.drain(..).for_each(|wire| wire.cut.cancel()));
    }

    /// From now on, bytes written to the connections to the address are dropped.
    pub fn swallow(&self, address: &str) {
        self.host(address, |host| host.wires.iter().for_each(|wire| wire.swallows.store(true, SeqCst)));
    }

    /// The shutdown of the connections to the address does not complete.
    pub fn hang(&self, address: &str) {
        self.host(address, |host| host.wires.iter().for_each(|wire| wire.hangs.store(true, SeqCst)));
    }
}

impl Transport for Net {
    fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection> {
        let accepted = self.host(address, |host| {
            host.tries += 1;
            let listener = host.listener.clone().filter(|_| !host.down)?;
            let faults = Arc::<Faults>::default();
            host.wires.push(faults.clone());
            Some((listener, faults))
        });
        Box::pin(async move {
            let (listener, faults) = accepted.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (here, there) = duplex(64 * 1_024);
            let end = |stream| Connection::new(Wire::new(stream, faults.clone()), "net");
            listener.send(end(there)).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(end(here))
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
        let (sender, incoming) = mpsc::channel(16);
        self.host(address, |host| host.listener = Some(sender));
        let listener = Listener { address: address.to_owned(), incoming };
        Box::pin(async { Ok(Box::new(listener) as Box<dyn TransportListener>) })
    }
}

struct Listener {
    address: String,
    incoming: mpsc::Receiver<Connection>,
}

impl TransportListener for Listener {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn accept(&mut self) -> TransportFuture<'_, Connection> {
        Box::pin(async { Ok(self.incoming.recv().await.ok_or(io::ErrorKind::BrokenPipe)?) })
    }
}

/// One end of a connection.
struct Wire {
    stream: DuplexStream,
    faults: Arc<Faults>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    fn new(stream: DuplexStream, faults: Arc<Faults>) -> Self {
        let cut = Box::pin(faults.cut.clone().cancelled_owned());
        Self { stream, faults, cut }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        pin!(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.faults.swallows.load(SeqCst) {
            return Poll::Ready(Ok(buf.len()));
        }
        if self.faults.cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        pin!(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.faults.hangs.load(SeqCst) {
            return Poll::Pending;
        }
        pin!(&mut self.stream).poll_shutdown(cx)
    }
}
