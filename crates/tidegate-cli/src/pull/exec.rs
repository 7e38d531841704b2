//! `--exec`: one process for each message.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use tidegate::Delivery;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin};
use tokio::time::Instant;

use super::child::{self, Group};
use super::envelope::Rendering;
use super::job_result::JobResult;
use super::output::Output;
use super::shortage::Shortage;
use super::tee::{LastLine, Tee};
use crate::stdio;
use crate::throttle::{Throttle, more};
use crate::timer::at;

/// EX_DATAERR of sysexits.h: the message itself is wrong.
const DATA_ERROR: i32 = 65;
/// One failure is logged as a warning per this time; `-v` logs each.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// A command, and what to do with what it prints.
pub(crate) struct Exec {
    command: String,
    rendering: Rendering,
    /// The time limit of one command.
    timeout: Option<Duration>,
    /// Where collected stdout and stderr go. `None` with one job, whose command writes directly.
    collected: Option<(Output, Output)>,
    shortage: Arc<Shortage>,
    /// The number of stderr pipes that are still read although their commands have ended.
    left_open: Arc<AtomicUsize>,
    failures: Mutex<Throttle>,
}

/// The output of one command, in unnamed files: it takes no memory, and processes that the command leaves
/// behind do not delay it.
struct Printed {
    stdout: Option<File>,
    stderr: File,
}

/// A running command.
struct Running {
    child: Child,
    group: Group,
    printed: Option<Printed>,
}

/// How a command ended.
enum Ended {
    Exited(ExitStatus),
    TimedOut(Duration),
}

impl Exec {
    /// Runs `command` with `sh -c`, `jobs` at a time, each for at most `timeout`.
    ///
    /// # Errors
    /// If stdout or stderr cannot be used.
    pub(crate) fn new(
        command: &str,
        rendering: Rendering,
        jobs: u32,
        timeout: Option<Duration>,
        shortage: Arc<Shortage>,
    ) -> anyhow::Result<Self> {
        let collected = if jobs > 1 { Some((Output::stdout()?, Output::stderr()?)) } else { None };
        Ok(Self {
            command: command.to_owned(),
            rendering,
            timeout,
            collected,
            shortage,
            left_open: Arc::default(),
            failures: Mutex::new(Throttle::new(1, REPORT_INTERVAL)),
        })
    }

    /// Runs the command for one message and settles the message. If the future is dropped, the command is
    /// killed.
    pub(crate) async fn run(&self, delivery: Delivery) -> JobResult {
        let what = format!("--exec {}", self.command);
        let Running { mut child, group, printed } =
            match self.shortage.overcome(&what, || self.start(&delivery)).await {
                Ok(Some(running)) => running,
                Ok(None) => {
                    delivery.release();
                    return JobResult::Settled;
                }
                Err(error) => {
                    delivery.release();
                    return JobResult::Fatal(anyhow!(error).context(format!("{what}: cannot start sh")));
                }
            };
        let mut tee = Tee::new(child.stderr.take(), Arc::clone(&self.left_open));
        let ended = match self.wait(&mut child, group, &mut tee, &delivery).await {
            Ok(ended) => ended,
            Err(error) => {
                delivery.nack_with(None, "cannot wait for the command");
                return JobResult::Fatal(anyhow!(error).context(what));
            }
        };
        let said = match printed {
            None => tee.finish().await,
            Some(printed) => match self.pass_on(printed).await {
                Ok(said) => said,
                Err(error) => {
                    delivery.nack_with(None, "the output of the command could not be written");
                    return JobResult::Fatal(error);
                }
            },
        };
        self.settle(delivery, &ended, &said)
    }

    fn start(&self, delivery: &Delivery) -> io::Result<Running> {
        // Rust's runtime has opened /dev/null instead. A command that writes to a closed stdout should fail,
        // as it would without this daemon.
        let closed = stdio::was_closed(io::stdout().as_fd());
        let mut command = child::shell_after(if closed { "exec >&-; " } else { "" }, &self.command);
        command
            .env("TIDEGATE_MESSAGE_ID", delivery.id().to_string())
            .env("TIDEGATE_ATTEMPT", delivery.attempt().to_string());
        let printed = match &self.collected {
            None => {
                command.stderr(Stdio::piped());
                None
            }
            Some(_) => {
                let file = || tempfile::tempfile().map_err(no_temporary_file);
                let stdout = if closed { None } else { Some(file()?) };
                let printed = Printed { stdout, stderr: file()? };
                if let Some(stdout) = &printed.stdout {
                    command.stdout(Stdio::from(stdout.try_clone()?));
                }
                command.stderr(Stdio::from(printed.stderr.try_clone()?));
                Some(printed)
            }
        };
        let (child, group) = child::start(&mut command)?;
        Ok(Running { child, group, printed })
    }

    async fn wait(
        &self,
        child: &mut Child,
        group: Group,
        tee: &mut Tee,
        delivery: &Delivery,
    ) -> io::Result<Ended> {
        let stdin = child.stdin.take();
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        tokio::select! {
            status = child.wait() => {
                group.ended();
                return Ok(Ended::Exited(status?));
            }
            () = at(deadline) => {}
            // A command does not have to read its stdin.
            never = self.feed(stdin, delivery) => match never {},
            never = tee.run() => match never {},
        }
        tokio::select! {
            () = group.terminate(child) => {}
            never = tee.run() => match never {},
        }
        Ok(Ended::TimedOut(self.timeout.unwrap_or_default()))
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
                tracing::warn!(id = %delivery.id(), %error, "cannot write the whole message to the command's stdin");
            }
        }
        std::future::pending().await
    }

    /// Writes the output of a command, and returns the last line of its stderr.
    async fn pass_on(&self, printed: Printed) -> anyhow::Result<LastLine> {
        let Some((stdout, stderr)) = &self.collected else { return Ok(LastLine::default()) };
        let said = LastLine::of(&printed.stderr).unwrap_or_default();
        // A failure to write to stderr cannot be reported. Stdout is part of the work, so its failures count.
        stderr.copy_if_read(printed.stderr).await;
        if let Some(file) = printed.stdout {
            stdout.copy(file).await?;
        }
        Ok(said)
    }

    fn settle(&self, delivery: Delivery, ended: &Ended, said: &LastLine) -> JobResult {
        let status = match ended {
            Ended::Exited(status) => *status,
            Ended::TimedOut(timeout) => {
                let timeout = humantime::format_duration(*timeout);
                let what = format!("the command was stopped because it ran longer than --timeout {timeout}");
                self.tell(&delivery, &what, said);
                delivery.nack_with(None, &what);
                return JobResult::Settled;
            }
        };
        match (status.code(), status.signal()) {
            (Some(0), _) => {
                delivery.ack();
                JobResult::Acked
            }
            (Some(DATA_ERROR), _) => {
                let what = "the command rejected the message (exit status 65, EX_DATAERR)";
                self.tell(&delivery, what, said);
                delivery.reject("the command exited with 65 (EX_DATAERR)");
                JobResult::Settled
            }
            (Some(code), _) if child::cannot_start(status) => {
                let last_line = said.describe();
                let what =
                    format!("--exec {}: it cannot be started (exit status {code}{last_line})", self.command);
                JobResult::CannotStart(delivery, anyhow!(what))
            }
            (Some(code), _) => {
                let what = format!("the command exited with {code}");
                self.tell(&delivery, &what, said);
                delivery.nack_with(None, &what);
                JobResult::Settled
            }
            (None, signal) => {
                let what = format!("the command was killed by signal {}", signal.unwrap_or_default());
                self.tell(&delivery, &what, said);
                delivery.nack_with(None, &what);
                JobResult::Settled
            }
        }
    }

    fn tell(&self, delivery: &Delivery, what: &str, said: &LastLine) {
        let (id, attempt, said) = (delivery.id(), delivery.attempt(), said.describe());
        match self.failures.lock().unwrap_or_else(PoisonError::into_inner).admit() {
            Some(kept_back) => {
                let hint = if kept_back == 0 { "; -v logs each failure" } else { "" };
                let more = more(kept_back);
                tracing::warn!(%id, attempt, "{what}{said}{more}{hint}");
            }
            None => tracing::info!(%id, attempt, "{what}{said}"),
        }
    }
}

fn no_temporary_file(error: io::Error) -> io::Error {
    if crate::limits::is_shortage(&error) {
        return error;
    }
    let what = format!("--jobs: cannot create a temporary file for a command's output in TMPDIR: {error}");
    io::Error::new(error.kind(), what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Framing;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Logged(Arc<Mutex<Vec<u8>>>);

    impl Logged {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Logged {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn failures_that_cause_no_warning_are_counted_in_the_next_one() {
        let push = tidegate::Push::builder().bind("mem://exec-failures").build().await.unwrap();
        let pull = tidegate::Pull::builder().connect("mem://exec-failures").build().await.unwrap();
        push.send("x").await.unwrap();
        let delivery = pull.recv().await.unwrap().unwrap();
        let rendering = Rendering { json: false, framing: Framing::Newline };
        let exec = Exec::new("false", rendering, 1, None, Arc::new(Shortage::new(1))).unwrap();
        let exec = Exec { failures: Mutex::new(Throttle::new(1, Duration::from_millis(10))), ..exec };
        let (logged, mut told) = (Logged::default(), 0);
        let writer = logged.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, || {
            while !logged.text().contains("suppressed before this one") {
                exec.tell(&delivery, "it failed", &LastLine::default());
                told += 1;
            }
        });
        let text = logged.text();
        assert!(text.lines().next().unwrap().contains("WARN"), "{text}");
        let with = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        let (_, count) = text.rsplit_once('(').unwrap();
        let count = count.split(' ').next().unwrap().replace(',', "");
        assert_eq!((with("WARN") + with("INFO"), count), (told, with("INFO").to_string()), "{text}");
    }
}
