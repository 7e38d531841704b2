//! `unix://`.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::{BoxStream, split};

/// Connections that wait to be accepted, as many as tokio's own `bind` asks for.
const BACKLOG: u32 = 1_024;

pub(crate) async fn connect(path: &Path) -> io::Result<(BoxStream, String)> {
    let stream = UnixStream::connect(path).await?;
    Ok((Box::new(split::unix(stream)), format!("unix:{}", path.display())))
}

/// Removes its file when dropped, unless somebody else has put another one there.
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

/// Listens. With a mode, nobody can connect before the file has it: only `listen` lets them.
fn listen(path: &Path, mode: Option<u32>) -> io::Result<UnixListener> {
    let Some(mode) = mode else { return UnixListener::bind(path) };
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let set = || {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        socket.listen(BACKLOG)
    };
    set().inspect_err(|_| {
        let _ = fs::remove_file(path); // ours: bind has made it
    })
}

/// A socket file that a process left behind when it was killed: nobody answers.
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
