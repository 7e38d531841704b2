//! `--exec`: one process for each message.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context as _, anyhow};
use tidegate::Delivery;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin};

use super::child::{self, Group};
use super::envelope::Rendering;
use super::jobs::Outcome;
use super::output::Output;

/// EX_DATAERR of sysexits: the message is at fault.
const DATA_ERROR: i32 = 65;

/// A command, and what to do with what it prints.
pub(crate) struct Exec {
    command: String,
    rendering: Rendering,
    /// Where collected stdout and stderr go; `None` lets the only job print by itself.
    collected: Option<(Output, Output)>,
}

/// What one command has printed: unnamed files, so that neither memory nor a process that stays behind matters.
struct Printed {
    stdout: File,
    stderr: File,
}

impl Exec {
    /// Runs `command` with `sh -c`, `jobs` at a time.
    ///
    /// # Errors
    /// When stdout or stderr cannot be used.
    pub(crate) fn new(command: &str, rendering: Rendering, jobs: u32) -> anyhow::Result<Self> {
        let collected = if jobs > 1 { Some((Output::stdout()?, Output::stderr()?)) } else { None };
        Ok(Self { command: command.to_owned(), rendering, collected })
    }

    /// Runs the command for one message and settles it. Cancelled, it kills the command.
    pub(crate) async fn run(&self, delivery: Delivery) -> Outcome {
        let (mut child, printed) = match self.start(&delivery) {
            Ok(started) => started,
            Err(error) => {
                delivery.release();
                return Outcome::Fatal(error);
            }
        };
        let status = match self.wait(&mut child, &delivery).await {
            Ok(status) => status,
            Err(error) => {
                delivery.nack_with(None, "the command was lost");
                return Outcome::Fatal(anyhow!(error).context(format!("--exec {}", self.command)));
            }
        };
        if let (Some(printed), Some((stdout, stderr))) = (printed, &self.collected) {
            // Nobody can be told that stderr does not work; stdout is part of the work.
            let _ = stderr.copy(printed.stderr).await;
            if let Err(error) = stdout.copy(printed.stdout).await {
                delivery.nack_with(None, "the output could not be written");
                return Outcome::Fatal(error);
            }
        }
        self.settle(delivery, status)
    }

    fn start(&self, delivery: &Delivery) -> anyhow::Result<(Child, Option<Printed>)> {
        let mut command = child::shell(&self.command);
        command
            .env("TIDEGATE_MESSAGE_ID", delivery.id().to_string())
            .env("TIDEGATE_ATTEMPT", delivery.attempt().to_string());
        let printed = match &self.collected {
            None => None,
            Some(_) => {
                let file = || {
                    tempfile::tempfile().context("--jobs: no temporary file for a command's output (TMPDIR)")
                };
                let printed = Printed { stdout: file()?, stderr: file()? };
                command
                    .stdout(Stdio::from(printed.stdout.try_clone()?))
                    .stderr(Stdio::from(printed.stderr.try_clone()?));
                Some(printed)
            }
        };
        let child = command.spawn().with_context(|| format!("--exec {}: cannot start sh", self.command))?;
        Ok((child, printed))
    }

    async fn wait(&self, child: &mut Child, delivery: &Delivery) -> io::Result<ExitStatus> {
        let group = Group::of(child);
        let stdin = child.stdin.take();
        let status = tokio::select! {
            status = child.wait() => status?,
            // Whether it reads its stdin is the command's own affair.
            never = self.feed(stdin, delivery) => match never {},
        };
        group.ended();
        Ok(status)
    }

    async fn feed(&self, stdin: Option<ChildStdin>, delivery: &Delivery) -> Infallible {
        if let Some(mut stdin) = stdin {
            let written = match self.rendering.content(delivery) {
                Ok(content) => stdin.write_all(&content).await,
                Err(error) => Err(error),
            };
            let ended = if self.rendering.json { stdin.write_all(b"\n").await } else { Ok(()) };
            if let Err(error) = written.and(ended)
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                tracing::warn!(id = %delivery.id(), %error, "the command did not get all of its message");
            }
        }
        std::future::pending().await
    }

    fn settle(&self, delivery: Delivery, status: ExitStatus) -> Outcome {
        match (status.code(), status.signal()) {
            (Some(0), _) => {
                delivery.ack();
                Outcome::Acked
            }
            (Some(DATA_ERROR), _) => {
                delivery.reject("the command exited with 65 (EX_DATAERR)");
                Outcome::Settled
            }
            (Some(code), _) if child::cannot_start(status) => {
                delivery.release();
                Outcome::Fatal(anyhow!("--exec {}: it cannot be started (exit status {code})", self.command))
            }
            (Some(code), _) => {
                tracing::info!(id = %delivery.id(), attempt = delivery.attempt(), code, "the command failed");
                delivery.nack_with(None, &format!("the command exited with {code}"));
                Outcome::Settled
            }
            (None, signal) => {
                tracing::warn!(id = %delivery.id(), attempt = delivery.attempt(), signal, "the command was killed");
                delivery.nack_with(
                    None,
                    &format!("the command was killed by signal {}", signal.unwrap_or_default()),
                );
                Outcome::Settled
            }
        }
    }
}
