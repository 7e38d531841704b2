//! The simulated network as a transport of the library, with faults in the streams.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use tidegate::{Connection, Transport, TransportFuture, TransportListener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::{
    draw::Draw,
    history::{Pen, What, Wire},
    tap::Tap,
};

/// How a stream breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Break {
    /// Both directions at once, at both ends.
    Reset,
    /// Writing fails; what the peer has sent can still be read.
    Writing,
    /// Written bytes disappear without an error.
    Silence,
    /// Reading finds the end of the stream, and bytes that the peer has sent are lost.
    Reading,
}

/// The faults of a stream.
#[derive(Default)]
struct Fate {
    /// A break after this number of further bytes.
    coming: Option<(Break, usize)>,
    broken: Option<Break>,
    /// Nothing is read or written until the world ends the stall.
    stalled: bool,
    wakers: Vec<Waker>,
    /// How often it was polled while stalled.
    asked: usize,
}

struct NetworkStream {
    /// The hosts at its ends: this one first.
    ends: (usize, usize),
    fate: Arc<Mutex<Fate>>,
}

/// The maximum number of polls of a stalled stream. A task that polls more often does not wait for a wake, and
/// simulated time would not advance.
const MAX_POLLS: usize = 100_000;

/// All streams of the network.
#[derive(Clone, Default)]
pub struct NetworkStreams(Arc<Mutex<Vec<NetworkStream>>>, Arc<Mutex<Graves>>);

/// Streams of killed processes. A dropped runtime drops its tasks in an unpredictable order, and each stream notifies
/// its peer. So the streams are kept, and then dropped in order.
#[derive(Default)]
struct Graves {
    open: bool,
    streams: Vec<(String, TcpStream)>,
}

impl NetworkStreams {
    /// Runs `kill`, which drops streams, and keeps those streams.
    pub fn while_killing(&self, kill: impl FnOnce()) {
        self.1.lock().unwrap().open = true;
        kill();
        self.1.lock().unwrap().open = false;
    }

    /// Drops the kept streams. Within a simulated host this notifies the peers; outside of one it does not.
    pub fn bury(&self) {
        let mut streams = std::mem::take(&mut self.1.lock().unwrap().streams);
        streams.sort_by(|a, b| a.0.cmp(&b.0));
        streams.into_iter().for_each(drop);
    }

    fn each(&self, at: usize, to: Option<usize>, mut f: impl FnMut(&mut Fate)) -> usize {
        let mut lines = self.0.lock().unwrap();
        lines.retain(|line| Arc::strong_count(&line.fate) > 1);
        let mut count = 0;
        for line in lines.iter().filter(|line| line.ends.0 == at && to.is_none_or(|to| line.ends.1 == to)) {
            f(&mut line.fate.lock().unwrap());
            count += 1;
        }
        count
    }

    /// Breaks the streams from host `at` to host `to` after `bytes` more bytes written, or read. Returns the number of
    /// streams.
    #[must_use]
    pub fn cut(&self, at: usize, to: usize, how: Break, bytes: usize) -> usize {
        // A broken stream stays broken.
        self.each(at, Some(to), |fate| fate.coming = Some((how, bytes)).filter(|_| fate.broken.is_none()))
    }

    /// Stalls the streams of a host, or ends the stall.
    pub fn stall(&self, at: usize, stalled: bool) {
        self.each(at, None, |fate| {
            (fate.stalled, fate.asked) = (stalled, 0);
            fate.wakers.drain(..).for_each(Waker::wake);
        });
    }

    fn add(&self, ends: (usize, usize)) -> Arc<Mutex<Fate>> {
        let fate = Arc::<Mutex<Fate>>::default();
        self.0.lock().unwrap().push(NetworkStream { ends, fate: fate.clone() });
        fate
    }
}

/// The network as one process sees it.
pub struct Network {
    /// The host of the process.
    pub host: usize,
    /// The recorder of its frames.
    pub pen: Pen,
    /// The registry of its streams.
    pub lines: NetworkStreams,
    /// The seed for the sizes of its reads and writes.
    pub seed: u64,
}

impl Network {
    /// The name of a host.
    #[must_use]
    pub fn name(host: usize) -> String {
        format!("host-{host}")
    }

    fn connection(&self, stream: TcpStream, name: &str, peer: usize, connector: bool) -> Connection {
        let wire = Wire { name: name.into(), connector };
        // Port numbers increase, so each connection draws differently.
        let part =
            name.bytes().fold(u64::from(connector), |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
        let mut draw = Draw::new(self.seed, part);
        let torn = draw.one(&[0, 0, 10, 50]);
        let fate = self.lines.add((self.host, peer));
        let tap = Tap::new(self.pen.clone(), wire);
        let graves = self.lines.1.clone();
        Connection::new(Faulty { stream: Some(stream), fate, graves, tap, torn, draw }, name)
    }
}

/// The end of the host's name.
fn host_of(address: std::net::IpAddr) -> usize {
    let name = turmoil::reverse_lookup(address).expect("a host with a name");
    name.trim_start_matches("host-").parse().expect("a host of the simulation")
}

impl Transport for Network {
    fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection> {
        Box::pin(async move {
            self.pen.write(What::Dialed(address.to_owned()));
            let stream = TcpStream::connect(address).await?;
            let peer = host_of(stream.peer_addr()?.ip());
            let name = stream.local_addr()?.to_string();
            Ok(self.connection(stream, &name, peer, true))
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let network =
                Self { host: self.host, pen: self.pen.clone(), lines: self.lines.clone(), seed: self.seed };
            let address = listener.local_addr()?.to_string();
            Ok(Box::new(Bound { listener, network, address }) as Box<dyn TransportListener>)
        })
    }
}

struct Bound {
    listener: TcpListener,
    network: Network,
    address: String,
}

impl TransportListener for Bound {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn accept(&mut self) -> TransportFuture<'_, Connection> {
        Box::pin(async {
            let (stream, origin) = self.listener.accept().await?;
            Ok(self.network.connection(stream, &origin.to_string(), host_of(origin.ip()), false))
        })
    }
}

/// A stream with partial reads and writes, and with faults.
struct Faulty {
    stream: Option<TcpStream>,
    fate: Arc<Mutex<Fate>>,
    graves: Arc<Mutex<Graves>>,
    tap: Tap,
    /// The percentage of calls that read or write only a few bytes.
    torn: u64,
    draw: Draw,
}

enum Now {
    /// This number of bytes may pass.
    Go(usize),
    Wait,
    Broken(Break),
}

impl Faulty {
    fn part(&mut self, wanted: usize) -> usize {
        if self.torn > 0 && self.draw.chance(self.torn) {
            wanted.min(1 + self.draw.below(40))
        } else {
            wanted
        }
    }

    fn look(&mut self, cx: &Context<'_>, wanted: usize, writing: bool) -> Now {
        let part = self.part(wanted);
        let mut fate = self.fate.lock().unwrap();
        if fate.stalled {
            if !fate.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                fate.wakers.push(cx.waker().clone());
            }
            fate.asked += 1;
            let asked = fate.asked;
            drop(fate);
            assert!(asked < MAX_POLLS, "a stalled stream is polled in a loop");
            return Now::Wait;
        }
        let concerns = |how| (how == Break::Reading) != writing;
        if let Some((how, left)) = fate.coming
            && concerns(how)
        {
            if left == 0 {
                fate.coming = None;
                fate.broken = Some(how);
            } else {
                return Now::Go(part.min(left));
            }
        }
        fate.broken.map_or(Now::Go(part), Now::Broken)
    }

    fn passed(&mut self, bytes: usize, writing: bool) {
        let mut fate = self.fate.lock().unwrap();
        if let Some((how, left)) = &mut fate.coming
            && (*how == Break::Reading) != writing
        {
            *left = left.saturating_sub(bytes);
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "broken by the simulation")
}

impl AsyncRead for Faulty {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let part = match self.look(cx, buf.remaining(), false) {
            Now::Wait => return Poll::Pending,
            Now::Broken(Break::Reading) => {
                self.stream = None;
                return Poll::Ready(Ok(()));
            }
            Now::Broken(Break::Reset) => return Poll::Ready(Err(gone())),
            Now::Broken(Break::Writing | Break::Silence) => buf.remaining(),
            Now::Go(part) => part,
        };
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(gone())) };
        let mut bytes = vec![0; part.min(16_384)];
        let mut own = ReadBuf::new(&mut bytes);
        match Pin::new(stream).poll_read(cx, &mut own) {
            Poll::Ready(Ok(())) => {
                let read = own.filled();
                buf.put_slice(read);
                self.tap.read(read);
                self.passed(read.len(), false);
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let part = match self.look(cx, buf.len(), true) {
            Now::Wait => return Poll::Pending,
            Now::Broken(Break::Reset) => {
                self.stream = None;
                return Poll::Ready(Err(gone()));
            }
            Now::Broken(Break::Reading) => return Poll::Ready(Err(gone())),
            Now::Broken(Break::Writing) => {
                if let Some(stream) = &mut self.stream {
                    let _ = Pin::new(stream).poll_shutdown(cx);
                }
                return Poll::Ready(Err(gone()));
            }
            Now::Broken(Break::Silence) => {
                self.tap.sent(buf);
                return Poll::Ready(Ok(buf.len()));
            }
            Now::Go(part) => part,
        };
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(gone())) };
        match Pin::new(stream).poll_write(cx, &buf[..part]) {
            Poll::Ready(Ok(written)) => {
                self.tap.sent(&buf[..written]);
                self.passed(written, true);
                Poll::Ready(Ok(written))
            }
            other => other,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        let mut graves = self.graves.lock().unwrap();
        if !graves.open {
            drop(graves);
            self.tap.dropped();
        } else if let Some(stream) = self.stream.take() {
            graves.streams.push((self.tap.name(), stream));
        }
    }
}
