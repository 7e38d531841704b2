//! Commands, each in its own process group.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::limits;
use crate::reaper::Own;
use crate::socket::TOKEN_VARIABLE;

/// Exit status of a shell for a command that exists and cannot be executed.
const CANNOT_RUN: i32 = 126;
/// Exit status of a shell for a command that does not exist.
const NOT_FOUND: i32 = 127;
/// Time between SIGTERM and SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// How often to check whether a group has ended: the system reports the end of its first process only.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `sh -c command`, in its own process group, so that Ctrl-C reaches the daemon and not the command.
pub(crate) fn shell(command: &str) -> Command {
    shell_after("", command)
}

/// `sh -c`, with `first` before the command on the same line, so that the line numbers in the shell's
/// messages stay right.
pub(crate) fn shell_after(first: &str, command: &str) -> Command {
    let script = format!("{first}{}{command}", limits::restore().unwrap_or_default());
    let mut shell = Command::new("sh");
    // The token is for pushers, not for the command.
    shell.arg("-c").arg(script).process_group(0).stdin(Stdio::piped()).env_remove(TOKEN_VARIABLE);
    shell
}

/// Whether this status means that the command could not be started.
pub(crate) fn cannot_start(status: ExitStatus) -> bool {
    matches!(status.code(), Some(CANNOT_RUN | NOT_FOUND))
}

/// The process group of a running command. If it is dropped, the group is killed, unless the command has
/// ended by itself.
pub(crate) struct Group(Option<Own>);

/// Starts a command made by [`shell`].
///
/// # Errors
/// If the operating system cannot start it.
pub(crate) fn start(command: &mut Command) -> io::Result<(Child, Group)> {
    let (child, own) = Own::start(|| {
        let child = command.spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        io::Result::Ok((child, pid))
    })?;
    Ok((child, Group(own)))
}

impl Group {
    /// The command has ended and has been waited for. From now on, its process id may belong to another
    /// process.
    pub(crate) fn ended(mut self) {
        self.0 = None;
    }

    /// Sends SIGTERM to the group, waits for its end, and kills what is left after [`KILL_AFTER`].
    pub(crate) async fn terminate(self, child: &mut Child) {
        let Some(group) = self.0.as_ref().and_then(Own::pid) else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let until = Instant::now() + KILL_AFTER;
        while Instant::now() < until {
            // The child is waited for here, so that a group with one process is gone when that process has
            // ended.
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
            // This fails if the group has ended already.
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
            // The sleeping process inherits stdout, which ends only when both processes have ended.
            let mut command = shell("sleep 1000 & echo started; wait");
            let (mut child, group) = start(command.stdout(Stdio::piped())).unwrap();
            let mut stdout = child.stdout.take().unwrap();
            let mut line = [0; 8];
            stdout.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"started\n");
            drop(group);
            let mut rest = Vec::new();
            let end = tokio::time::timeout(Duration::from_secs(30), stdout.read_to_end(&mut rest));
            assert_eq!(end.await.expect("the sleeping process was killed").unwrap(), 0);
            child.wait().await.unwrap();
        });
    }

    #[test]
    fn a_group_can_clean_up_after_sigterm_and_is_killed_if_it_does_not_end() {
        on_runtime(async {
            for (command, said) in [
                // The shell ends at once, and its child a little later.
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
    fn a_command_that_cannot_be_started_is_distinguished_from_one_that_fails() {
        on_runtime(async {
            let status = async |command: &str| shell(command).stderr(Stdio::null()).status().await.unwrap();
            assert!(cannot_start(status("/no/such/command").await));
            assert!(cannot_start(status("/").await));
            assert!(!cannot_start(status("exit 1").await));
            assert!(!cannot_start(status("exit 0").await));
        });
    }
}
