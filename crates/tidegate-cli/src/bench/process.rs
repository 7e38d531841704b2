//! The processes that a measurement starts.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::usage;
use crate::own;

/// A process of a measurement. It is killed when this is dropped.
#[derive(Debug)]
pub struct BenchProcess {
    what: &'static str,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl BenchProcess {
    /// Starts internal subcommand `what` of the running program.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(what: &'static str, arguments: &[(&str, String)]) -> anyhow::Result<Self> {
        Self::start_with(what, &[], arguments)
    }

    /// Starts it with flags, which have no values, too.
    pub(super) fn start_with(
        what: &'static str,
        flags: &[&str],
        arguments: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let options =
            arguments.iter().flat_map(|(name, value)| [OsString::from(name), OsString::from(value)]);
        let mut child = Command::new(own::path()?)
            .args(own::internal(what))
            .args(options)
            .args(flags)
            // Its stdin stays open until this process ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the process {what}"))?;
        let stdout = child.stdout.take().context("a process without stdout")?;
        Ok(Self { what, child, lines: BufReader::new(stdout).lines() })
    }

    /// Its id; `None` if it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its current resident memory, in KiB. `None` if it has ended, or the system does not report it.
    #[must_use]
    pub fn resident(&self) -> Option<u64> {
        self.id().and_then(usage::resident)
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// If it has already ended and was waited for.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill the process {}", self.what))
    }

    /// The next line of its stdout.
    ///
    /// # Errors
    /// If the process has ended.
    pub async fn line(&mut self) -> anyhow::Result<String> {
        match self.lines.next_line().await.with_context(|| format!("the process {}", self.what))? {
            Some(line) => Ok(line),
            None => bail!("the process {} ended early ({})", self.what, self.child.wait().await?),
        }
    }

    /// Its result: the next line, as JSON.
    ///
    /// # Errors
    /// If the process does not print a result, or does not exit with success.
    pub async fn result<T: DeserializeOwned>(mut self) -> anyhow::Result<T> {
        let line = self.line().await?;
        let result = serde_json::from_str(&line)
            .with_context(|| format!("the process {} printed {line:?}", self.what))?;
        let stdin = self.child.stdin.take();
        let status = self.child.wait().await?;
        drop(stdin);
        if !status.success() {
            bail!("the process {} failed ({status})", self.what);
        }
        Ok(result)
    }
}

/// Reports to the process that started this one: one line on stdout.
///
/// # Errors
/// If stdout cannot be written.
pub fn tell(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")
}
