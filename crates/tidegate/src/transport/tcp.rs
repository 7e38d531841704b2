//! `tcp://`.

use std::io;

use tokio::net::{TcpListener, TcpStream};

use super::{BoxStream, split};
use crate::endpoint::Address;

pub(super) async fn connect(host: &str, port: u16) -> io::Result<(BoxStream, String)> {
    let stream = plain(host, port).await?;
    let address = stream.peer_addr()?.to_string();
    Ok((Box::new(split::tcp(stream)), address))
}

/// A connection without anything around it.
pub(super) async fn plain(host: &str, port: u16) -> io::Result<TcpStream> {
    prompt(TcpStream::connect((host, port)).await?)
}

/// Batches are made by us, not by the kernel: Nagle's algorithm would only delay them (SPEC §2).
fn prompt(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) struct Listener(TcpListener);

impl Listener {
    pub(super) async fn bind(host: &str, port: u16) -> io::Result<(Self, Address)> {
        let listener = TcpListener::bind((host, port)).await?;
        let local = listener.local_addr()?;
        let address = Address::Tcp { host: local.ip().to_string(), port: local.port() };
        Ok((Self(listener), address))
    }

    pub(super) async fn accept(&self) -> io::Result<(BoxStream, String)> {
        let (stream, address) = self.accept_plain().await?;
        Ok((Box::new(split::tcp(stream)), address))
    }

    /// The next connection, without anything around it.
    pub(super) async fn accept_plain(&self) -> io::Result<(TcpStream, String)> {
        let (stream, address) = self.0.accept().await?;
        Ok((prompt(stream)?, address.to_string()))
    }
}
