//! `unix://`.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::{
    Connection, Transport, TransportFuture, TransportListener, TransportSettings,
    scheme::{Scheme, SchemeProfile},
    split,
};

/// Connections that may wait to be accepted; the value that tokio's `bind` uses.
const BACKLOG: u32 = 1_024;

pub(super) static SCHEME: Scheme =
    Scheme::of_library("unix", &UnixProfile, |settings| Ok(Arc::new(Unix { mode: settings.unix_mode })));

struct UnixProfile;

impl SchemeProfile for UnixProfile {
    /// Removes slashes and dots that do not matter, so that each path is written in one way.
    fn complete(&self, address: &str) -> Result<String, &'static str> {
        if address.is_empty() {
            return Err("it has no path; write unix:///run/work.sock");
        }
        if address.starts_with('\0') {
            return Ok(address.to_owned()); // an abstract name, which is no path
        }
        Ok(Path::new(address).components().collect::<PathBuf>().display().to_string())
    }

    fn is_chosen_by_bind(&self, _address: &str) -> bool {
        false
    }

    fn needs_io(&self) -> bool {
        true
    }

    fn check_shared(&self, own: &TransportSettings, other: &TransportSettings) -> Result<(), String> {
        match other.unix_mode {
            Some(mode) if own.unix_mode != Some(mode) => Err(format!(
                "a socket of this process is bound there without unix_mode {mode:o}; use the same mode for both"
            )),
            _ => Ok(()),
        }
    }
}

struct Unix {
    /// The mode of the files that `bind` creates.
    mode: Option<u32>,
}

impl Transport for Unix {
    fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection> {
        Box::pin(async move {
            let stream = UnixStream::connect(address).await?;
            Ok(Connection::of_library(split::unix(stream), format!("unix:{address}")))
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
        Box::pin(async move {
            let listener = UnixPort::bind(Path::new(address), self.mode).await?;
            Ok(Box::new(listener) as Box<dyn TransportListener>)
        })
    }
}

/// Removes its socket file when dropped, unless another process has replaced the file.
struct UnixPort {
    listener: UnixListener,
    path: PathBuf,
    inode: Option<u64>,
}

impl UnixPort {
    async fn bind(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        let listener = match listen(path, mode) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && is_abandoned(path).await => {
                fs::remove_file(path)?;
                listen(path, mode)?
            }
            other => other?,
        };
        let inode = fs::metadata(path).ok().map(|m| m.ino());
        Ok(Self { listener, path: path.to_owned(), inode })
    }
}

impl TransportListener for UnixPort {
    fn address(&self) -> String {
        self.path.display().to_string()
    }

    fn accept(&mut self) -> TransportFuture<'_, Connection> {
        Box::pin(async {
            let (stream, _) = self.listener.accept().await?;
            Ok(Connection::of_library(split::unix(stream), format!("unix:{}", self.path.display())))
        })
    }
}

/// Listens. If a mode is given, the file has it before `listen`, so no peer can connect earlier.
fn listen(path: &Path, mode: Option<u32>) -> io::Result<UnixListener> {
    let Some(mode) = mode else { return UnixListener::bind(path) };
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let set = || {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        socket.listen(BACKLOG)
    };
    set().inspect_err(|_| {
        let _ = fs::remove_file(path); // created by our `bind`
    })
}

/// Whether a killed process left this socket file behind: no process accepts connections on it.
async fn is_abandoned(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
        && matches!(UnixStream::connect(path).await, Err(e) if e.kind() == io::ErrorKind::ConnectionRefused)
}

impl Drop for UnixPort {
    fn drop(&mut self) {
        if self.inode.is_some() && fs::metadata(&self.path).ok().map(|m| m.ino()) == self.inode {
            let _ = fs::remove_file(&self.path);
        }
    }
}
