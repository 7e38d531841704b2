//! `tcp://`.

use std::io;

use tokio::net::{TcpListener, TcpStream};

use super::{BoxStream, split};
use crate::endpoint::Address;

pub(crate) async fn connect(host: &str, port: u16) -> io::Result<(BoxStream, String)> {
    let stream = TcpStream::connect((host, port)).await?;
    let address = stream.peer_addr()?.to_string();
    Ok((ready(stream)?, address))
}

/// Batches are made by us, not by the kernel: Nagle's algorithm would only delay them (SPEC §2).
fn ready(stream: TcpStream) -> io::Result<BoxStream> {
    stream.set_nodelay(true)?;
    Ok(Box::new(split::tcp(stream)))
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
        let (stream, address) = self.0.accept().await?;
        Ok((ready(stream)?, address.to_string()))
    }
}
