//! `tidegate bench`: what this machine can do.

mod load;
mod report;
pub(crate) mod tcp;
pub(crate) mod throughput;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::args::{BenchArgs, BenchCommand};
use crate::exit::Exit;
use crate::own;
use report::Report;

/// Measures what was asked for and prints it on stdout.
///
/// # Errors
/// When one of the processes fails, or a message is not what was sent.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<Exit> {
    let (report, json) = match args.command {
        BenchCommand::Throughput(args) => {
            let (size, count) = (args.load.size, args.load.count());
            let tidegate = throughput::measure(size, count, args.window).await?;
            let tcp = if args.with_tcp { Some(tcp::measure(size, count).await?) } else { None };
            (
                Report::throughput(size, count, args.window.or(throughput::default_window()), tidegate, tcp),
                args.load.json,
            )
        }
        BenchCommand::Tcp(args) => {
            let (size, count) = (args.load.size, args.load.count());
            (Report::tcp(size, count, tcp::measure(size, count).await?), args.load.json)
        }
    };
    let text = if json { serde_json::to_string(&report)? } else { report.text() };
    writeln!(std::io::stdout(), "{text}").context("cannot write to stdout")?;
    Ok(Exit::Success)
}

/// One of the two processes of a measurement. It is killed when this is dropped.
struct Side {
    what: &'static str,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Side {
    /// Starts internal subcommand `what` of this program.
    fn start(what: &'static str, arguments: &[(&str, String)]) -> anyhow::Result<Self> {
        let options =
            arguments.iter().flat_map(|(name, value)| [OsString::from(name), OsString::from(value)]);
        let mut child = Command::new(own::program()?)
            .args(own::internal(what))
            .args(options)
            // Its stdin stays open for as long as this process lives.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the process {what}"))?;
        let stdout = child.stdout.take().context("a process without stdout")?;
        Ok(Self { what, child, lines: BufReader::new(stdout).lines() })
    }

    /// The next line of its stdout.
    async fn line(&mut self) -> anyhow::Result<String> {
        match self.lines.next_line().await.with_context(|| format!("the process {}", self.what))? {
            Some(line) => Ok(line),
            None => bail!("the process {} ended early ({})", self.what, self.child.wait().await?),
        }
    }

    /// Its result: the next line, as JSON; then it must end well.
    async fn result<T: DeserializeOwned>(mut self) -> anyhow::Result<T> {
        let line = self.line().await?;
        let result = serde_json::from_str(&line)
            .with_context(|| format!("the process {} said {line:?}", self.what))?;
        let stdin = self.child.stdin.take();
        let status = self.child.wait().await?;
        drop(stdin);
        if !status.success() {
            bail!("the process {} failed ({status})", self.what);
        }
        Ok(result)
    }
}

/// Tells the parent something: one line on stdout.
fn tell(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")
}
