//! `unix://`.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

use super::{BoxStream, split};

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
    pub(super) async fn bind(path: &Path) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && is_abandoned(path).await => {
                fs::remove_file(path)?;
                UnixListener::bind(path)?
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
