//! Connects and accepts, with the TLS settings of one socket.

use std::io;

use tokio::io::BufReader;
use tokio_rustls::TlsConnector;

use super::{
    accepting::Accepting,
    stream::{READ_BUFFER, Secured, WRITE_BUFFER, explained},
};
use crate::{
    tls::{Tls, TlsError, TlsSide},
    transport::{
        Connection, TlsFailure, Transport, TransportFuture, TransportListener, host,
        tcp::{self, TcpPort},
    },
};

pub(super) struct TlsTransport(Tls);

impl TlsTransport {
    pub(super) fn new(tls: Tls) -> Self {
        Self(tls)
    }
}

impl Transport for TlsTransport {
    fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection> {
        Box::pin(async move {
            let (host, _) = host::split(address)?;
            let loaded = self.0.loaded();
            let name = loaded.server_name(host).map_err(unusable)?;
            let config = loaded.client().map_err(unusable)?;
            let (stream, peer) = tcp::connect(address).await?;
            let limit = |session: &mut rustls::ClientConnection| session.set_buffer_limit(Some(WRITE_BUFFER));
            let connected = TlsConnector::from(config)
                .connect_with(name, BufReader::with_capacity(READ_BUFFER, stream), limit)
                .await;
            let stream = connected.map_err(|error| explained(TlsSide::Connector, error))?;
            Ok(Connection::of_library(Secured::new(TlsSide::Connector, stream.into()), peer))
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
        Box::pin(async move {
            let listener = TlsPort { tcp: TcpPort::bind(address).await?, tls: self.0.clone() };
            Ok(Box::new(listener) as Box<dyn TransportListener>)
        })
    }
}

fn unusable(error: TlsError) -> io::Error {
    TlsFailure::into_io(error.to_string())
}

struct TlsPort {
    tcp: TcpPort,
    tls: Tls,
}

impl TransportListener for TlsPort {
    fn address(&self) -> String {
        self.tcp.address()
    }

    /// The TLS handshake is part of the reads that follow, so a slow client does not delay others (TL-6).
    fn accept(&mut self) -> TransportFuture<'_, Connection> {
        Box::pin(async {
            let (stream, peer) = self.tcp.accept_plain().await?;
            let config = self.tls.loaded().server().map_err(unusable)?;
            Ok(Connection::of_library(Accepting::new(stream, config), peer))
        })
    }
}
