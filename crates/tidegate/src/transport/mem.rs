//! `mem://`: connections within the process, for tests and for programs that may become several processes.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, LazyLock},
};

use tokio::{io::DuplexStream, sync::mpsc};

use super::{
    Connection, Stream, Transport, TransportFuture, TransportListener,
    scheme::{Scheme, SchemeProfile},
};
use crate::of_process::OfProcess;

/// Bytes that each direction buffers, like a socket.
const BUFFER: usize = 256 * 1_024;
/// Connections that may wait to be accepted, like the backlog of a socket.
const BACKLOG: usize = 128;

static NAMES: LazyLock<OfProcess<HashMap<String, mpsc::Sender<DuplexStream>>>> =
    LazyLock::new(OfProcess::default);

impl Stream for DuplexStream {}

pub(super) static SCHEME: Scheme = Scheme::of_library("mem", &MemProfile, |_| Ok(Arc::new(Mem)));

struct MemProfile;

impl SchemeProfile for MemProfile {
    fn complete(&self, address: &str) -> Result<String, &'static str> {
        if address.is_empty() { Err("it has no name; write mem://name") } else { Ok(address.to_owned()) }
    }

    fn is_chosen_by_bind(&self, _address: &str) -> bool {
        false
    }
}

struct Mem;

impl Transport for Mem {
    fn connect<'a>(&'a self, name: &'a str) -> TransportFuture<'a, Connection> {
        Box::pin(async move {
            let refused = || {
                let message = format!("no socket is bound to mem://{name}");
                io::Error::new(io::ErrorKind::ConnectionRefused, message)
            };
            let sender = NAMES.lock().get(name).cloned().ok_or_else(refused)?;
            let (here, there) = tokio::io::duplex(BUFFER);
            sender.send(there).await.map_err(|_| refused())?;
            Ok(Connection::of_library(here, format!("mem:{name}")))
        })
    }

    fn bind<'a>(&'a self, name: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
        Box::pin(async move { Ok(Box::new(MemPort::bind(name)?) as Box<dyn TransportListener>) })
    }
}

struct MemPort {
    name: String,
    incoming: mpsc::Receiver<DuplexStream>,
}

impl MemPort {
    fn bind(name: &str) -> io::Result<Self> {
        let (sender, incoming) = mpsc::channel(BACKLOG);
        let mut names = NAMES.lock();
        if names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("mem://{name} is already bound")));
        }
        names.insert(name.to_owned(), sender);
        Ok(Self { name: name.to_owned(), incoming })
    }
}

impl TransportListener for MemPort {
    fn address(&self) -> String {
        self.name.clone()
    }

    fn accept(&mut self) -> TransportFuture<'_, Connection> {
        Box::pin(async {
            // The sender stays in the table as long as this listener exists.
            let stream = self.incoming.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(Connection::of_library(stream, format!("mem:{}", self.name)))
        })
    }
}

impl Drop for MemPort {
    fn drop(&mut self) {
        NAMES.lock().remove(&self.name);
    }
}
