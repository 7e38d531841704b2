//! `mem://`: connections within the process, for tests and for programs that may become several processes.

use std::{collections::HashMap, io, sync::LazyLock};

use tokio::{io::DuplexStream, sync::mpsc};

use super::{BoxStream, Stream};
use crate::of_process::OfProcess;

/// Bytes that each direction buffers, like a socket.
const BUFFER: usize = 256 * 1_024;
/// Connections that may wait to be accepted, like the backlog of a socket.
const BACKLOG: usize = 128;

static NAMES: LazyLock<OfProcess<HashMap<String, mpsc::Sender<DuplexStream>>>> =
    LazyLock::new(OfProcess::default);

impl Stream for DuplexStream {}

pub(crate) async fn connect(name: &str) -> io::Result<(BoxStream, String)> {
    let refused =
        || io::Error::new(io::ErrorKind::ConnectionRefused, format!("no socket is bound to mem://{name}"));
    let sender = NAMES.lock().get(name).cloned().ok_or_else(refused)?;
    let (here, there) = tokio::io::duplex(BUFFER);
    sender.send(there).await.map_err(|_| refused())?;
    Ok((Box::new(here), format!("mem:{name}")))
}

pub(crate) struct Listener {
    name: String,
    incoming: mpsc::Receiver<DuplexStream>,
}

impl Listener {
    pub(super) fn bind(name: &str) -> io::Result<Self> {
        let (sender, incoming) = mpsc::channel(BACKLOG);
        let mut names = NAMES.lock();
        if names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("mem://{name} is already bound")));
        }
        names.insert(name.to_owned(), sender);
        Ok(Self { name: name.to_owned(), incoming })
    }

    pub(super) async fn accept(&mut self) -> io::Result<(BoxStream, String)> {
        // The sender stays in the table as long as this listener exists.
        let stream = self.incoming.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok((Box::new(stream), format!("mem:{}", self.name)))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        NAMES.lock().remove(&self.name);
    }
}
