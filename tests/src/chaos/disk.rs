//! A small disk that only processes started in its mount namespace see.

use std::{
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::network::have;

/// A tmpfs in a mount namespace of its own, removed when this value is dropped.
pub struct Disk {
    holder: Child,
    directory: tempfile::TempDir,
    starter: Vec<String>,
}

impl Disk {
    /// Creates a disk of `kib` KiB; `None` where that is not possible (see [`have`]).
    #[must_use]
    pub fn new(kib: usize) -> Option<Self> {
        if !have(&["unshare", "nsenter"]) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        // The script keeps the namespace alive until its standard input ends.
        let script = r#"mount -t tmpfs -o "size=$1k" none "$2" && echo mounted && read -r _"#;
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh", &kib.to_string()])
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n");
        let namespace = format!("--mount=/proc/{}/ns/mnt", holder.id());
        Some(Self { holder, directory, starter: vec!["nsenter".into(), namespace] })
    }

    /// The command prefix that starts a program in the namespace.
    #[must_use]
    pub fn starter(&self) -> Vec<&str> {
        self.starter.iter().map(String::as_str).collect()
    }

    /// The path of a file on this disk, as seen within the namespace.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The content of a file on this disk.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn content(&self, name: &str) -> io::Result<String> {
        let inside = self.path(name);
        let inside = inside.strip_prefix("/").unwrap_or(Path::new("")).to_owned();
        std::fs::read_to_string(Path::new(&format!("/proc/{}/root", self.holder.id())).join(inside))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.holder.stdin.take() {
            let _ = stdin.write_all(b"\n");
        }
        let _ = self.holder.wait();
    }
}
