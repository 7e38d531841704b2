//! A copy of the tracked files, in which code can be broken without affecting the working tree.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// The copy. It is kept between runs, so that builds in it are incremental.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

/// Restores a file when dropped.
#[derive(Debug)]
pub(super) struct Restore {
    path: PathBuf,
    text: String,
}

impl Drop for Restore {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.text) {
            crate::complain(&format!("cannot restore {}: {error}\n", self.path.display()));
        }
    }
}

impl Tree {
    /// Updates the copy from the tracked files in the working tree.
    ///
    /// # Errors
    /// If git cannot list the files, or a file cannot be copied.
    pub(super) fn copy(workspace: &Workspace) -> Result<Self> {
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(workspace.path("")).output();
        let listed = listed.context("cannot start git, which lists the files to copy")?;
        if !listed.status.success() {
            bail!("`git ls-files` ended with {}: {}", listed.status, String::from_utf8_lossy(&listed.stderr));
        }
        let names = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
        let root = workspace.built("mutants/tree");
        let mut kept = BTreeSet::new();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            let to = root.join(name);
            let content = match fs::read(workspace.path(name)) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // removed, and not yet committed
                Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
            };
            kept.insert(to.clone());
            // Unchanged files are not written, because cargo would rebuild them.
            if fs::read(&to).is_ok_and(|old| old == content) {
                continue;
            }
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
            }
            fs::write(&to, content).with_context(|| format!("cannot write {}", to.display()))?;
        }
        remove_others(&root, &kept).context("cannot clear the copy")?;
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Replaces the only occurrence of `find`.
    ///
    /// # Errors
    /// If `find` does not occur exactly once.
    pub(super) fn replace(&self, file: &str, find: &str, replace: &str) -> Result<Restore> {
        let path = self.root.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        let count = if find.is_empty() { 0 } else { text.matches(find).count() };
        if count != 1 {
            bail!("`{}` occurs {count} times in {file}; it must occur once", find.escape_debug());
        }
        fs::write(&path, text.replacen(find, replace, 1)).with_context(|| format!("cannot write {file}"))?;
        Ok(Restore { path, text })
    }
}

/// Removes files that are no longer tracked.
fn remove_others(directory: &Path, kept: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) && path.file_name().is_some_and(|name| name != "Cargo.lock") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_made_in_one_place_and_undone() {
        let root = std::env::temp_dir().join(format!("tidegate-xtask-tree-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("a.rs"), "one two two").unwrap();
        let tree = Tree { root: root.clone() };
        let text = || fs::read_to_string(root.join("a.rs")).unwrap();
        for (find, count) in [("two", "2 times"), ("three", "0 times"), ("", "0 times")] {
            let wrong = tree.replace("a.rs", find, "x").unwrap_err().to_string();
            assert!(wrong.contains(count), "{wrong}");
        }
        let restore = tree.replace("a.rs", "one", "1").unwrap();
        assert_eq!(text(), "1 two two");
        drop(restore);
        assert_eq!(text(), "one two two");
        fs::remove_dir_all(&root).unwrap();
    }
}
