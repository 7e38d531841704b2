//! `tls://`: TCP with TLS. The settings are [`crate::Tls`].

mod accepting;
mod stream;

use std::io;

use tokio::{io::BufReader, net::TcpStream};
use tokio_rustls::TlsConnector;

use self::{accepting::Accepting, stream::Secured};
use super::{BoxStream, tcp};
use crate::tls::{Tls, TlsError, TlsSide, explain, not_tls};

/// Bytes read from a socket at a time. By itself, rustls reads 4 KiB for each system call.
const READ_BUFFER: usize = 32 * 1_024;
/// The most encrypted bytes that wait for the socket.
const WRITE_BUFFER: usize = 128 * 1_024;

type Plain = BufReader<TcpStream>;

pub(super) async fn connect(host: &str, port: u16, tls: &Tls) -> io::Result<(BoxStream, String)> {
    let loaded = tls.loaded();
    let (name, config) = (loaded.server_name(host).map_err(unusable)?, loaded.client().map_err(unusable)?);
    let stream = tcp::plain(host, port).await?;
    let address = stream.peer_addr()?.to_string();
    let limit = |session: &mut rustls::ClientConnection| session.set_buffer_limit(Some(WRITE_BUFFER));
    let connected = TlsConnector::from(config)
        .connect_with(name, BufReader::with_capacity(READ_BUFFER, stream), limit)
        .await;
    let stream = connected.map_err(|error| stream::explained(TlsSide::Connector, error))?;
    Ok((Box::new(Secured::new(TlsSide::Connector, stream.into())), address))
}

fn unusable(error: TlsError) -> io::Error {
    super::TlsFailure::into_io(error.to_string())
}

pub(crate) struct Listener {
    tcp: tcp::Listener,
    tls: Tls,
}

impl Listener {
    /// Binds, and returns the host and the port that others connect to.
    pub(super) async fn bind(host: &str, port: u16, tls: &Tls) -> io::Result<(Self, String, u16)> {
        let (tcp, host, port) = tcp::Listener::bind(host, port).await?;
        Ok((Self { tcp, tls: tls.clone() }, host, port))
    }

    /// The TLS handshake is part of the reads that follow, so a slow client does not delay others (TL-6).
    pub(super) async fn accept(&self) -> io::Result<(BoxStream, String)> {
        let (stream, address) = self.tcp.accept_plain().await?;
        let config = self.tls.loaded().server().map_err(unusable)?;
        Ok((Box::new(Accepting::new(stream, config)), address))
    }
}
