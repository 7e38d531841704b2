//! Commands in process groups of their own.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::limits;
use crate::reaper::Own;
use crate::socket::TOKEN_VARIABLE;

/// Exit status of a shell for a command that is there and cannot be run.
const CANNOT_RUN: i32 = 126;
/// Exit status of a shell for a command that is not there.
const NOT_FOUND: i32 = 127;
/// A command that is asked to end (SIGTERM) gets this long before it is killed.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// How often to look whether a group has ended: the system tells of its first process only.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `sh -c command`, in a process group of its own, so that Ctrl-C reaches the daemon and not the command.
pub(crate) fn shell(command: &str) -> Command {
    shell_after("", command)
}

/// The same, after the shell has done something else on the same line, so that its messages still tell the right line.
pub(crate) fn shell_after(first: &str, command: &str) -> Command {
    let script = format!("{first}{}{command}", limits::restore().unwrap_or_default());
    let mut shell = Command::new("sh");
    // The token is for pushers, not for whatever the command starts.
    shell.arg("-c").arg(script).process_group(0).stdin(Stdio::piped()).env_remove(TOKEN_VARIABLE);
    shell
}

/// Whether this status means that there was nothing to run.
pub(crate) fn cannot_start(status: ExitStatus) -> bool {
    matches!(status.code(), Some(CANNOT_RUN | NOT_FOUND))
}

/// The process group of a running command. Dropped, it is killed, unless the command has ended by itself.
pub(crate) struct Group(Option<Own>);

/// Starts a command made by [`shell`].
///
/// # Errors
/// When the operating system cannot.
pub(crate) fn start(command: &mut Command) -> io::Result<(Child, Group)> {
    let (child, own) = Own::start(|| {
        let child = command.spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        io::Result::Ok((child, pid))
    })?;
    Ok((child, Group(own)))
}

impl Group {
    /// The command has ended and been waited for: its number may belong to somebody else from now on.
    pub(crate) fn ended(mut self) {
        self.0 = None;
    }

    /// Asks all of the group to end, waits for a while until it has, and kills what is left of it.
    pub(crate) async fn terminate(self, child: &mut Child) {
        let Some(group) = self.0.as_ref().and_then(Own::pid) else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let until = Instant::now() + KILL_AFTER;
        while Instant::now() < until {
            // Waited for, so that a group of one process is gone when that has ended.
            if matches!(child.try_wait(), Ok(Some(_))) && test_kill_process_group(group).is_err() {
                self.ended();
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        drop(self);
        let _ = child.wait().await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.as_ref().and_then(Own::pid) {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    fn on_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn dropping_the_group_kills_what_the_command_started() {
        on_runtime(async {
            // The sleeper inherits stdout, which ends only when both are gone.
            let mut command = shell("sleep 1000 & echo started; wait");
            let (mut child, group) = start(command.stdout(Stdio::piped())).unwrap();
            let mut stdout = child.stdout.take().unwrap();
            let mut line = [0; 8];
            stdout.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"started\n");
            drop(group);
            let mut rest = Vec::new();
            let end = tokio::time::timeout(Duration::from_secs(30), stdout.read_to_end(&mut rest));
            assert_eq!(end.await.expect("the sleeper is dead").unwrap(), 0);
            child.wait().await.unwrap();
        });
    }

    #[test]
    fn a_group_may_clean_up_when_it_is_asked_to_end_and_is_killed_if_it_does_not() {
        on_runtime(async {
            for (command, said) in [
                // The shell ends at once, and what it has started a little later.
                (
                    "sh -c 'trap \"sleep 0.1; echo cleaned; exit\" TERM; echo up; while :; do sleep 0.01; done' & wait",
                    "cleaned\n",
                ),
                ("trap '' TERM; echo up; while :; do sleep 1; done", ""),
            ] {
                let (mut child, group) = start(shell(command).stdout(Stdio::piped())).unwrap();
                let mut stdout = child.stdout.take().unwrap();
                let mut line = [0; 3];
                stdout.read_exact(&mut line).await.unwrap();
                group.terminate(&mut child).await;
                let mut rest = String::new();
                let end = tokio::time::timeout(Duration::from_secs(30), stdout.read_to_string(&mut rest));
                end.await.expect("all of the group has ended").unwrap();
                assert_eq!(rest, said);
            }
        });
    }

    #[test]
    fn a_command_that_is_not_there_is_told_from_one_that_fails() {
        on_runtime(async {
            let status = async |command: &str| shell(command).stderr(Stdio::null()).status().await.unwrap();
            assert!(cannot_start(status("/no/such/command").await));
            assert!(cannot_start(status("/").await));
            assert!(!cannot_start(status("exit 1").await));
            assert!(!cannot_start(status("exit 0").await));
        });
    }
}
