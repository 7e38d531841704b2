//! `unix://`.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::{BoxStream, split};

/// Connections that may wait to be accepted; the value that tokio's `bind` uses.
const BACKLOG: u32 = 1_024;

pub(crate) async fn connect(path: &Path) -> io::Result<(BoxStream, String)> {
    let stream = UnixStream::connect(path).await?;
    Ok((Box::new(split::unix(stream)), format!("unix:{}", path.display())))
}

/// Removes its socket file when dropped, unless another process has replaced the file.
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    inode: Option<u64>,
}

impl Listener {
    pub(super) async fn bind(path: &Path, mode: Option<u32>) -> io::Result<Self> {
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

    pub(super) async fn accept(&self) -> io::Result<(BoxStream, String)> {
        let (stream, _) = self.listener.accept().await?;
        Ok((Box::new(split::unix(stream)), format!("unix:{}", self.path.display())))
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

impl Drop for Listener {
    fn drop(&mut self) {
        if self.inode.is_some() && fs::metadata(&self.path).ok().map(|m| m.ino()) == self.inode {
            let _ = fs::remove_file(&self.path);
        }
    }
}
