//! Commands in process groups of their own.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::socket::TOKEN_VARIABLE;

/// Exit status of a shell for a command that is there and cannot be run.
const CANNOT_RUN: i32 = 126;
/// Exit status of a shell for a command that is not there.
const NOT_FOUND: i32 = 127;

/// `sh -c command`, in a process group of its own, so that Ctrl-C reaches the daemon and not the command.
pub(crate) fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    // The token is for pushers, not for whatever the command starts.
    shell.arg("-c").arg(command).process_group(0).stdin(Stdio::piped()).env_remove(TOKEN_VARIABLE);
    shell
}

/// Whether this status means that there was nothing to run.
pub(crate) fn cannot_start(status: ExitStatus) -> bool {
    matches!(status.code(), Some(CANNOT_RUN | NOT_FOUND))
}

/// The process group of a running command. Dropped, it is killed, unless the command has ended by itself.
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// The group of a command made by [`shell`] that has not been waited for.
    pub(crate) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// The command has ended and been waited for: its number may belong to somebody else from now on.
    pub(crate) fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[test]
    fn dropping_the_group_kills_what_the_command_started() {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            // The sleeper inherits stdout, which ends only when both are gone.
            let mut child = shell("sleep 1000 & echo started; wait").stdout(Stdio::piped()).spawn().unwrap();
            let group = Group::of(&child);
            let mut stdout = child.stdout.take().unwrap();
            let mut line = [0; 8];
            stdout.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"started\n");
            drop(group);
            let mut rest = Vec::new();
            let end = tokio::time::timeout(std::time::Duration::from_secs(30), stdout.read_to_end(&mut rest));
            assert_eq!(end.await.expect("the sleeper is dead").unwrap(), 0);
            child.wait().await.unwrap();
        });
    }

    #[test]
    fn a_command_that_is_not_there_is_told_from_one_that_fails() {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let status = async |command: &str| shell(command).stderr(Stdio::null()).status().await.unwrap();
            assert!(cannot_start(status("/no/such/command").await));
            assert!(cannot_start(status("/").await));
            assert!(!cannot_start(status("exit 1").await));
            assert!(!cannot_start(status("exit 0").await));
        });
    }
}
