//! The processes of the demo: one push daemon and three workers.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};

use crate::socket::{LISTENING, TOKEN_VARIABLE};
use crate::{own, text};

/// The workers and their speeds.
pub(crate) const WORKERS: [(&str, u32); 3] = [("worker-1", 1), ("worker-2", 2), ("worker-4", 4)];
/// The worker that is killed: its loss is visible, and the others still finish soon.
const VICTIM: usize = 1;
/// How long the three workers together take, if there are enough files.
const PLANNED: Duration = Duration::from_secs(12);
/// The longest pause of speed 1 per file, so that a few files are done soon.
const MAX_PAUSE: Duration = Duration::from_millis(40);
/// How long a process may take to exit when its work is done.
const MAX_EXIT_TIME: Duration = Duration::from_secs(30);

/// The processes. All of them are killed when this is dropped.
pub(crate) struct Processes {
    push: Child,
    workers: Vec<Child>,
}

impl Processes {
    /// Starts the processes. The results go to the endpoint `results`.
    ///
    /// # Errors
    /// If a process cannot be started, or the daemon does not listen.
    pub(crate) async fn start(files: &[PathBuf], results: &str) -> anyhow::Result<Self> {
        let mut push = command()?
            .args(["push", "--null", "--bind", "tcp://127.0.0.1:0/paths", "--name", "demo-push"])
            .args(["--expect", &WORKERS.len().to_string()])
            // If this process is killed, the daemon must not wait for workers for ever.
            .args(["--linger", "5min"])
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start tidegate push")?;
        let (Some(stdin), Some(stderr)) = (push.stdin.take(), push.stderr.take()) else {
            bail!("a process without pipes");
        };
        let mut lines = BufReader::new(stderr).lines();
        let paths = endpoint(&mut lines).await?;
        tokio::spawn(forward(lines));
        tokio::spawn(feed(stdin, list(files)));

        let mut workers = Vec::new();
        for (name, speed) in WORKERS {
            let pause = pause(files.len(), speed).as_micros().to_string();
            let options = ["--name", name, "--paths", &paths, "--results", results, "--pause-micros", &pause];
            let worker = command()?
                .args(own::internal("demo-worker"))
                .args(options.map(OsString::from))
                .spawn()
                .with_context(|| format!("cannot start {name}"))?;
            workers.push(worker);
        }
        Ok(Self { push, workers })
    }

    /// Kills one worker with SIGKILL and returns its name.
    ///
    /// # Errors
    /// If it has ended before.
    pub(crate) async fn kill_one(&mut self) -> anyhow::Result<&'static str> {
        let name = WORKERS.get(VICTIM).map(|(name, _)| *name).unwrap_or_default();
        let victim = self.workers.get_mut(VICTIM).context("there is no worker to kill")?;
        if let Some(status) = victim.try_wait()? {
            bail!("{name} ended before it was killed ({status})");
        }
        victim.start_kill().with_context(|| format!("cannot kill {name}"))?;
        victim.wait().await?;
        Ok(name)
    }

    /// Waits until the daemon has exited, with everything acked. Cancel safe.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) async fn push_ended(&mut self) -> anyhow::Result<()> {
        check("tidegate push", self.push.wait().await?)
    }

    /// Waits until the other workers have ended.
    ///
    /// # Errors
    /// If a worker fails, or does not exit in time.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        for (i, (worker, (name, _))) in self.workers.iter_mut().zip(WORKERS).enumerate() {
            if i == VICTIM {
                continue;
            }
            // Its stdin stays open meanwhile: the end of stdin means the end of this process.
            let stdin = worker.stdin.take();
            let status = tokio::time::timeout(MAX_EXIT_TIME, worker.wait())
                .await
                .with_context(|| format!("{name} does not exit"))??;
            drop(stdin);
            check(name, status)?;
        }
        Ok(())
    }
}

fn command() -> anyhow::Result<Command> {
    let mut command = Command::new(own::path()?);
    // Stdin is a pipe that ends with this process. The user's token is not meant for these processes.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).env_remove(TOKEN_VARIABLE).kill_on_drop(true);
    Ok(command)
}

fn check(name: &str, status: ExitStatus) -> anyhow::Result<()> {
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// The endpoint at which the daemon reports to listen. Other lines go to stderr.
async fn endpoint(lines: &mut Lines<BufReader<ChildStderr>>) -> anyhow::Result<String> {
    while let Some(line) = lines.next_line().await? {
        match line.strip_prefix(LISTENING) {
            Some(endpoint) => return Ok(endpoint.to_owned()),
            None => text::say(format_args!("push: {line}")),
        }
    }
    bail!("tidegate push ended before it listened");
}

async fn forward(mut lines: Lines<BufReader<ChildStderr>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        text::say(format_args!("push: {line}"));
    }
}

/// All paths, each followed by NUL.
fn list(paths: &[PathBuf]) -> Vec<u8> {
    let mut list = Vec::new();
    for path in paths {
        list.extend_from_slice(path.as_os_str().as_bytes());
        list.push(0);
    }
    list
}

/// Writes the daemon's input. If the daemon ends early, its exit status is reported elsewhere.
async fn feed(mut stdin: ChildStdin, list: Vec<u8>) {
    let _ = stdin.write_all(&list).await;
}

/// The pause per file at a speed, such that all workers together take the planned time.
fn pause(files: usize, speed: u32) -> Duration {
    let speeds: u32 = WORKERS.iter().map(|(_, speed)| speed).sum();
    let files = u32::try_from(files).unwrap_or(u32::MAX).max(1);
    (PLANNED * speeds / files).min(MAX_PAUSE) / speed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_depend_on_the_speeds_and_the_planned_time() {
        // 7,000 files at 12, 6 and 3 ms: 83 + 167 + 333 a second take 12 s.
        assert_eq!([1, 2, 4].map(|speed| pause(7000, speed).as_millis()), [12, 6, 3]);
        assert_eq!(pause(1, 1), MAX_PAUSE);
        assert_eq!(pause(0, 2), MAX_PAUSE / 2);
    }

    #[test]
    fn each_path_is_followed_by_nul() {
        assert_eq!(list(&["/a\nb".into(), "/c".into()]), b"/a\nb\0/c\0");
    }
}
