//! Selecting the files that the demo hashes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::text::count;

/// Maximum number of files.
const MAX_FILES: usize = 20_000;
/// Maximum size of all files together, in bytes.
const MAX_BYTES: u64 = 512 << 20;
/// Directories that are skipped: build output and git's data.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// Files, in order of their paths.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) paths: Vec<PathBuf>,
    bytes: u64,
    roots: Vec<PathBuf>,
    /// Whether files were left out because of the limits.
    capped: bool,
}

impl Files {
    /// The files under `dir`, or under this source tree and the sources of its dependencies.
    ///
    /// # Errors
    /// If the directory cannot be read, or contains no file.
    pub(crate) fn find(dir: Option<&Path>) -> anyhow::Result<Self> {
        let roots = match dir {
            Some(dir) => vec![dir.to_owned()],
            None => default_roots(),
        };
        let mut files = Self::default();
        for root in roots {
            let root = root.canonicalize().with_context(|| format!("DIR {}", root.display()))?;
            fs::read_dir(&root).with_context(|| format!("DIR {}", root.display()))?;
            files.walk(&root, MAX_FILES, MAX_BYTES);
            files.roots.push(root);
        }
        if files.paths.is_empty() {
            let roots: Vec<String> = files.roots.iter().map(|root| root.display().to_string()).collect();
            bail!("DIR: there is no file in {}; name a directory that contains files", roots.join(" and "));
        }
        files.paths.sort();
        Ok(files)
    }

    /// Adds the files under `root`. Directories and files that cannot be read are skipped.
    fn walk(&mut self, root: &Path, max_files: usize, max_bytes: u64) {
        let mut open = vec![root.to_owned()];
        while let Some(dir) = open.pop() {
            let Ok(entries) = fs::read_dir(&dir) else {
                continue;
            };
            // Sorted, so that each run selects the same files.
            let mut entries: Vec<_> = entries.flatten().collect();
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                // The metadata of the entry itself: a symbolic link is neither a file nor a directory.
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                if metadata.is_dir() {
                    if !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
                        open.push(entry.path());
                    }
                } else if metadata.is_file() {
                    if self.paths.len() >= max_files || self.bytes.saturating_add(metadata.len()) > max_bytes
                    {
                        self.capped = true;
                        continue;
                    }
                    self.bytes += metadata.len();
                    self.paths.push(entry.path());
                }
            }
        }
    }

    /// The number, size and place of the files.
    pub(crate) fn describe(&self) -> String {
        let roots: Vec<String> = self.roots.iter().map(|root| root.display().to_string()).collect();
        format!(
            "{}, {:.1} MiB, under {}{}",
            count(self.paths.len() as u64, "file"),
            self.bytes as f64 / f64::from(1 << 20),
            roots.join(" and "),
            if self.capped { " (not all of them: the limits are 20,000 files and 512 MiB)" } else { "" }
        )
    }
}

/// This source tree, and the sources of its dependencies if they are in cargo's usual place.
fn default_roots() -> Vec<PathBuf> {
    let mut roots = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")];
    let cargo = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    roots.extend(cargo.map(|cargo| cargo.join("registry/src")).filter(|sources| sources.is_dir()));
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("b/two", "22"),
            ("a", "1"),
            ("b/c/three", "333"),
            ("target/no", "x"),
            ("b/.git/no", "x"),
            ("z", ""),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        std::os::unix::fs::symlink("/", dir.path().join("b/link")).unwrap();
        dir
    }

    #[test]
    fn files_are_found_in_order_without_links_and_builds() {
        let dir = tree();
        let files = Files::find(Some(dir.path())).unwrap();
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(files.paths, ["a", "b/c/three", "b/two", "z"].map(|path| root.join(path)));
        assert!(files.describe().starts_with("4 files, 0.0 MiB") && !files.capped);
    }

    #[test]
    fn the_number_and_size_of_files_are_limited() {
        let dir = tree();
        let mut files = Files::default();
        files.walk(dir.path(), 2, MAX_BYTES);
        assert!(files.capped && files.paths.len() == 2);
        let mut files = Files::default();
        files.walk(dir.path(), MAX_FILES, 3);
        assert!(files.capped && files.bytes <= 3 && files.describe().contains("not all"));
    }

    #[test]
    fn a_missing_or_empty_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Files::find(Some(dir.path())).unwrap_err().to_string().contains("there is no file"));
        assert!(Files::find(Some(&dir.path().join("no"))).unwrap_err().to_string().contains("DIR"));
    }
}
