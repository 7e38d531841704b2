//! `tcp://`.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    task::JoinSet,
    time::sleep,
};

use super::{
    Connection, Protection, Transport, TransportFuture, TransportListener, host,
    scheme::{Scheme, SchemeProfile},
    split,
};

/// How long an address of a name is tried alone before the next one is tried, too: the first may drop
/// packets.
const HEAD_START: Duration = Duration::from_millis(250);
/// The most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

pub(super) static SCHEME: Scheme = Scheme::of_library("tcp", &TcpProfile, |_| Ok(Arc::new(Tcp)));

struct TcpProfile;

impl SchemeProfile for TcpProfile {
    fn mark(&self) -> char {
        '/'
    }

    fn complete(&self, address: &str) -> Result<String, &'static str> {
        host::complete(address)
    }

    fn is_chosen_by_bind(&self, address: &str) -> bool {
        host::has_open_port(address)
    }

    fn protection(&self) -> Protection {
        Protection::Plain
    }

    fn host<'a>(&self, address: &'a str) -> Option<&'a str> {
        host::of(address)
    }

    fn needs_io(&self) -> bool {
        true
    }
}

pub(super) struct Tcp;

impl Transport for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection> {
        Box::pin(async move {
            let (stream, peer) = connect(address).await?;
            Ok(Connection::of_library(split::tcp(stream), peer))
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
        Box::pin(async move { Ok(Box::new(TcpPort::bind(address).await?) as Box<dyn TransportListener>) })
    }
}

/// Connects, and returns the stream with the peer's address.
pub(super) async fn connect(address: &str) -> io::Result<(TcpStream, String)> {
    let stream = prompt(first_of(&resolve(address).await?).await?)?;
    let peer = stream.peer_addr()?.to_string();
    Ok((stream, peer))
}

async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host(host::split(address)?).await?.take(MAX_ADDRESSES).collect())
}

/// Connects to the first address that answers, in their order, and drops the other attempts.
async fn first_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    if let [only] = addresses {
        return TcpStream::connect(only).await;
    }
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut next = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    loop {
        let started = next.next().map(|address| attempts.spawn(TcpStream::connect(address))).is_some();
        let ended = tokio::select! {
            biased;
            ended = attempts.join_next() => ended,
            () = sleep(HEAD_START), if started => continue,
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(failed))) => error = failed,
            Some(Err(failed)) => error = failed.into(),
            None => return Err(error),
        }
    }
}

/// The library batches writes itself; Nagle's algorithm would only delay them (SPEC §2).
fn prompt(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The bound address with its zone, as given or as a number: without it no peer could connect.
fn with_zone(host: &str, local: SocketAddr) -> String {
    let ip = local.ip();
    match (host.split_once('%'), local) {
        (Some((_, zone)), SocketAddr::V6(_)) => format!("{ip}%{zone}"),
        (None, SocketAddr::V6(local)) if local.scope_id() != 0 => format!("{ip}%{}", local.scope_id()),
        _ => ip.to_string(),
    }
}

/// A listener of `tcp://` or `tls://`.
pub(super) struct TcpPort {
    listener: TcpListener,
    address: String,
}

impl TcpPort {
    pub(super) async fn bind(address: &str) -> io::Result<Self> {
        let (host, port) = host::split(address)?;
        let listener = TcpListener::bind((host, port)).await?;
        let local = listener.local_addr()?;
        let address = host::join(&with_zone(host, local), local.port());
        Ok(Self { listener, address })
    }

    /// Returns the next connection, without a wrapper, and the peer's address. Cancel safe.
    pub(super) async fn accept_plain(&self) -> io::Result<(TcpStream, String)> {
        let (stream, peer) = self.listener.accept().await?;
        Ok((prompt(stream)?, peer.to_string()))
    }
}

impl TransportListener for TcpPort {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn accept(&mut self) -> TransportFuture<'_, Connection> {
        Box::pin(async {
            let (stream, peer) = self.accept_plain().await?;
            Ok(Connection::of_library(split::tcp(stream), peer))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpSocket, time::timeout};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn socket() -> (TcpSocket, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn the_address_that_was_bound_keeps_its_zone() {
        let v6 = |scope| SocketAddr::V6(std::net::SocketAddrV6::new("fe80::5".parse().unwrap(), 1, 0, scope));
        assert_eq!(with_zone("fe80::5%eth0", v6(3)), "fe80::5%eth0");
        assert_eq!(with_zone("some-host", v6(3)), "fe80::5%3");
        assert_eq!(with_zone("::", "[::]:1".parse().unwrap()), "::");
        assert_eq!(with_zone("localhost", "127.0.0.1:1".parse().unwrap()), "127.0.0.1");
    }

    #[tokio::test]
    async fn an_address_that_answers_is_connected_to_behind_those_that_refuse() {
        let (listening, good) = socket();
        let _listener = listening.listen(8).unwrap();
        let (_closed, refusing) = socket(); // bound, but not listening
        let stream = timeout(LONG, first_of(&[refusing, refusing, good])).await.unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let error = timeout(LONG, first_of(&[refusing, refusing])).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        first_of(&[]).await.unwrap_err();
    }

    #[tokio::test]
    #[cfg(target_os = "linux")] // where a full backlog drops packets
    async fn an_address_that_answers_is_connected_to_behind_one_that_drops_packets() {
        let (listening, good) = socket();
        let _listener = listening.listen(8).unwrap();
        let (full, silent) = socket();
        let _full = full.listen(1).unwrap();
        let mut held = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(silent)).await {
            held.push(stream.unwrap());
        }
        let stream = timeout(LONG, first_of(&[silent, good])).await.unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
    }
}
