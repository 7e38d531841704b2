//! `tidegate bench`: measurements of tidegate on this machine.

pub(crate) mod bounds;
mod certs;
pub(crate) mod echo;
pub(crate) mod flow;
mod html;
pub(crate) mod latency;
pub(crate) mod makespan;
mod report;
pub(crate) mod soak;
pub(crate) mod tcp;
mod times;
mod usage;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use serde::de::DeserializeOwned;
use tidegate::Window;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::args::{BenchArgs, BenchCommand, LoadArgs, TuneArgs};
use crate::exit::Exit;
use crate::own;
use report::{Rate, Report};

/// Runs the selected benchmark and prints its result on stdout.
///
/// # Errors
/// If a process fails, or a message differs from what was sent.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<Exit> {
    // Drawn on a terminal only.
    let waiting = ProgressBar::new_spinner().with_message("measuring");
    waiting.enable_steady_tick(std::time::Duration::from_millis(200));
    let result = measure(args).await;
    waiting.finish_and_clear();
    let (report, json) = match result? {
        ReportFormat::Page(page) => {
            write!(std::io::stdout(), "{page}").context("cannot write to stdout")?;
            return Ok(Exit::Success);
        }
        ReportFormat::Report(report, json) => (report, json),
    };
    let text = if json { serde_json::to_string(&report)? } else { report.text() };
    writeln!(std::io::stdout(), "{text}").context("cannot write to stdout")?;
    Ok(Exit::Success)
}

enum ReportFormat {
    /// A report, and whether to print it as JSON.
    Report(Box<Report>, bool),
    Page(String),
}

async fn measure(args: BenchArgs) -> anyhow::Result<ReportFormat> {
    let (report, json) = match args.command {
        BenchCommand::Throughput(args) => {
            let (load, tune) = (&args.load, &args.tune);
            let rate = rate(load, tune, (1, 1), args.with_tcp).await?;
            (Report::Throughput(rate), load.json)
        }
        BenchCommand::Fanout(args) => {
            (Report::Fanout(rate(&args.load, &args.tune, (1, args.pullers), false).await?), args.load.json)
        }
        BenchCommand::Fanin(args) => {
            (Report::Fanin(rate(&args.load, &args.tune, (args.pushers, 1), false).await?), args.load.json)
        }
        BenchCommand::Latency(args) => (Report::latency(&args, latency::measure(&args).await?), args.json),
        BenchCommand::Makespan(args) => (Report::makespan(&args, makespan::measure(&args).await?), args.json),
        BenchCommand::Soak(args) => (Report::soak(&args, soak::measure(&args).await?), args.json),
        BenchCommand::Links(args) => (Report::Links(bounds::links(&args).await?), args.json),
        BenchCommand::Stopped(args) => (Report::Stopped(bounds::stopped(&args).await?), args.json),
        BenchCommand::Tcp(args) => {
            let (size, count) = (args.load.size, args.load.count());
            (Report::Tcp(Rate::tcp(size, count, tcp::measure(size, count).await?)), args.load.json)
        }
        BenchCommand::Report(args) => return Ok(ReportFormat::Page(html::page(&args.files)?)),
    };
    Ok(ReportFormat::Report(Box::new(report), json))
}

async fn rate(load: &LoadArgs, tune: &TuneArgs, sides: (u16, u16), with_tcp: bool) -> anyhow::Result<Rate> {
    let (size, count) = (load.size, load.count());
    let flow = flow::measure(size, count, sides, tune).await?;
    let tcp = if with_tcp { Some(tcp::measure(size, count).await?) } else { None };
    Ok(Rate::of(size, count, tune.window, sides, &flow, tcp).with_tls(tune.tls))
}

/// A window in the form of the option.
fn window_text(window: Window) -> String {
    match window {
        Window::Fixed { messages, .. } => messages.to_string(),
        _ => "auto".to_owned(),
    }
}

/// A process of a measurement. It is killed when this is dropped.
struct BenchProcess {
    what: &'static str,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl BenchProcess {
    /// Starts internal subcommand `what` of this program.
    fn start(what: &'static str, arguments: &[(&str, String)]) -> anyhow::Result<Self> {
        Self::start_with(what, &[], arguments)
    }

    /// Starts it with flags, which have no values, too.
    fn start_with(what: &'static str, flags: &[&str], arguments: &[(&str, String)]) -> anyhow::Result<Self> {
        let options =
            arguments.iter().flat_map(|(name, value)| [OsString::from(name), OsString::from(value)]);
        let mut child = Command::new(own::program()?)
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

    /// Its current resident memory, in KiB.
    fn resident(&self) -> Option<u64> {
        self.child.id().and_then(usage::resident)
    }

    /// Kills it with SIGKILL.
    async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill the process {}", self.what))
    }

    /// The next line of its stdout.
    async fn line(&mut self) -> anyhow::Result<String> {
        match self.lines.next_line().await.with_context(|| format!("the process {}", self.what))? {
            Some(line) => Ok(line),
            None => bail!("the process {} ended early ({})", self.what, self.child.wait().await?),
        }
    }

    /// Its result: the next line, as JSON. The process must then exit with success.
    async fn result<T: DeserializeOwned>(mut self) -> anyhow::Result<T> {
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

/// Reports to the parent process: one line on stdout.
fn tell(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to stdout")
}
