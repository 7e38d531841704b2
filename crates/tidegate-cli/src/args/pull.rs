//! `tidegate pull`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tidegate::DEFAULT_MEMORY;

use super::{FramingArgs, SocketArgs, values};
use crate::exit;

/// Receives messages, writes them out or runs a command for each, and acks them.
///
/// Without --exec and --worker, each payload is written to stdout as a line, and acked when the write has
/// succeeded. The puller exits when every pusher that it connects to has ended its stream. If a pusher was
/// stopped or restarted, the puller waits for it.
///
/// The first SIGINT, SIGTERM, SIGQUIT or SIGHUP returns messages that have not been started and finishes
/// those that have. The second such signal stops the puller at once. With TLS, --token-file or --output,
/// SIGHUP reloads and reopens those files instead, and SIGUSR1 reopens --output. Under nohup, SIGHUP does not
/// stop the puller. If stderr is not read, log lines are dropped and counted.
#[derive(Args, Debug)]
#[command(after_help = format!("{EXAMPLES}\n\n{COMMANDS}\n\n{}", exit::HELP))]
#[command(group = clap::ArgGroup::new("command").args(["exec", "worker"]))]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
    #[command(flatten)]
    pub(crate) framing: FramingArgs,
    /// Writes each message as one JSON object instead of its bare payload
    ///
    /// The object has id, attempt, pipeline, names (the verified names of the pusher, if there are some),
    /// headers (a list of pairs), and payload, or payload_base64 if the payload is not UTF-8. The summary on
    /// stderr becomes an object too.
    #[arg(long)]
    pub(crate) json: bool,
    /// Appends to this file instead of writing to stdout
    ///
    /// The file is created with mode 0600. If its last record is not terminated, the record is terminated
    /// first. SIGHUP and SIGUSR1 reopen the file by its name, for log rotation. If the file was removed or
    /// replaced, the next write notices it. If the file is a named pipe, the puller waits until the pipe has
    /// a reader.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["exec", "worker"])]
    pub(crate) output: Option<PathBuf>,
    /// Selects what happens to a payload that contains the record separator [default: warn]
    ///
    /// The separator is a newline, or NUL with --null. `warn` writes the payload unchanged and warns once;
    /// `reject` rejects the message. --worker always rejects it.
    #[arg(long, value_name = "RULE", conflicts_with = "exec")]
    pub(crate) separator_in_payload: Option<SeparatorInPayload>,
    /// Runs this command with `sh -c` for each message; its exit status is the outcome
    ///
    /// The command gets the payload on stdin, without a newline at its end. (`read` then sets its variable,
    /// but fails.)
    #[arg(long, value_name = "CMD", conflicts_with_all = ["worker", "null", "length_prefixed"])]
    pub(crate) exec: Option<String>,
    /// Keeps this command running with `sh -c`, and gives it one record at a time
    ///
    /// The command reads records on stdin and answers each with one line.
    #[arg(long, value_name = "CMD")]
    pub(crate) worker: Option<String>,
    /// Maximum number of commands or workers that run at once [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), requires = "command")]
    pub(crate) jobs: Option<u32>,
    /// Stops a command, or a worker that has not answered, after this time [default: never]
    ///
    /// Its process group gets SIGTERM, and SIGKILL 5 s later. This counts as a failed attempt.
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration, requires = "command")]
    pub(crate) timeout: Option<Duration>,
    /// Maximum number of un-acked messages, of all pushers together
    ///
    /// With 0, the puller requests a message only when it can start one. The default with --exec or --worker
    /// is the value of --jobs. Otherwise the window is sized automatically, by the rate at which messages are
    /// processed.
    #[arg(long, value_name = "N")]
    pub(crate) window: Option<u64>,
    /// Size of the duplicate-suppression table, in entries; 0 disables it
    ///
    /// Each entry is an outcome or a run of message ids. A message that is redelivered after a lost
    /// connection is not run again if the table has an entry for it.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MEMORY)]
    pub(crate) memory: usize,
    /// Keeps running when all pushers have ended, and waits for more
    #[arg(long, conflicts_with = "expect")]
    pub(crate) keep: bool,
    /// With --bind, exits when N pushers have ended their streams [default: keeps running]
    ///
    /// The puller does not exit while another pusher is connected. With --tls-verify-client it counts pushers
    /// by the names in their certificates, otherwise by ids that the pushers choose.
    #[arg(long, value_name = "N", requires = "bind", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) expect: Option<u32>,
    /// Exits with 0 once N messages have been acked
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Exits with 0 when no message has arrived and no command has run for this time
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    pub(crate) idle_exit: Option<Duration>,
    /// Exits with 1, and says why, if no pusher connects within this time [default: waits]
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Maximum wait at the end for running commands and the last acks, or `forever`
    #[arg(long, value_name = "DURATION", value_parser = values::linger, default_value = "9s")]
    pub(crate) linger: Duration,
}

/// What to do with a payload that contains the byte that ends a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SeparatorInPayload {
    Warn,
    Reject,
}

const EXAMPLES: &str = "\
Examples:
  Payloads to stdout, until the pusher's input has ended:
    tidegate pull --connect tcp://127.0.0.1:8433

  Four commands at a time; a message whose command fails is retried, here or elsewhere:
    tidegate pull --connect tcp://127.0.0.1:8433 --jobs 4 --exec 'read -r f; gzip -- \"$f\"'

  Two worker processes, each of which answers `ok`, `retry` or `reject why` to every line:
    tidegate pull --connect tcp://127.0.0.1:8433 --jobs 2 --worker ./resize.py

  A collector that listens and never exits, with ids and attempts:
    tidegate pull --bind tcp://0.0.0.0:8433 --json --output results.jsonl

  Encrypted, to a pusher with a certificate from your own CA that requires a client certificate:
    tidegate pull --connect tls://jobs.example:8433 --tls-ca ca.crt \\
      --tls-cert w1.crt --tls-key w1.key";

const COMMANDS: &str = "\
Commands (--exec):
  Exit status 0 acks the message. 65 (EX_DATAERR) rejects it permanently. 75
  (EX_TEMPFAIL) and any other failure returns it; the pusher retries it after
  a delay that grows with each attempt. 126 and 127 mean that the command
  cannot be started. Before the first command has succeeded they stop the daemon,
  so that a wrong command line does not use up the attempts of every message;
  after that they are ordinary failures.

  The first failure is logged as a warning with the last line of the command's
  stderr. Later failures are counted, and -v logs each. The command finds the
  message's id and attempt in TIDEGATE_MESSAGE_ID and TIDEGATE_ATTEMPT.

  With --jobs above 1, the output of each command is kept in unnamed temporary
  files (in TMPDIR, one each for stdout and stderr), and written in one piece
  when the command has ended. With one job, stderr is a pipe. If the command
  leaves a process behind, redirect that process's stderr: a write to the pipe
  after the daemon has exited raises SIGPIPE.

Workers (--worker):
  A worker gets each message as one line on stdin (or as a record, with --null
  or --length-prefixed). It answers with one line of at most 4096 bytes on
  stdout: `ok`, `retry`, `retry SECONDS` or `reject REASON`. With `retry` the
  pusher chooses the delay; `retry SECONDS` sets it (at most 5 min by default).

  Before the answer, a worker may write any number of lines `working` to report
  progress. Each one restarts push --settle-timeout, but not push
  --max-work-time.

  A worker must answer each message exactly once, after it has read the
  message. If it answers too often or too early, exits, or answers anything
  else, it is restarted, and the message in progress is retried. Answers that
  it wrote before its exit count, even without a newline. Before the first good
  answer, 5 failures in a row, or exit status 126 or 127, stop the daemon. A
  payload that the framing cannot represent is rejected. At the end the daemon
  closes the worker's stdin, and the worker should exit.

  Commands and workers run in their own process groups, so Ctrl-C reaches only
  the daemon. If the system is out of file descriptors, processes or memory,
  the daemon waits until a job has ended. The daemon raises its own soft limit
  on file descriptors to the hard limit; commands get the original limit.

The daemon exits with 3 if it has rejected a message itself.";

impl PullArgs {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.worker.is_some() && self.separator_in_payload == Some(SeparatorInPayload::Warn) {
            return Err("--separator-in-payload warn cannot be used with --worker: the worker would read one message \
                        as several; use --length-prefixed or --json"
                .to_owned());
        }
        if let Some(window) = self.window.filter(|window| *window > 0 && *window < u64::from(self.jobs())) {
            return Err(format!(
                "--jobs {0} exceeds --window {window}: set --window to at least {0}, or to 0",
                self.jobs()
            ));
        }
        self.socket.check()
    }

    /// How many commands or workers may run at once.
    pub(crate) fn jobs(&self) -> u32 {
        self.jobs.unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, tests::parse};
    use super::*;

    fn pull(line: &[&str]) -> Box<PullArgs> {
        let whole: Vec<&str> =
            ["pull", "--connect", "tcp://127.0.0.1:1"].iter().chain(line).copied().collect();
        match parse(&whole).unwrap().command {
            Command::Pull(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_are_parsed() {
        let args = pull(&[
            "--worker",
            "cat",
            "--jobs",
            "3",
            "--window",
            "0",
            "--count",
            "7",
            "--idle-exit",
            "2s",
            "--connect-timeout",
            "500ms",
            "--length-prefixed",
            "--json",
        ]);
        assert_eq!(
            (args.worker.as_deref(), args.jobs(), args.window, args.count),
            (Some("cat"), 3, Some(0), Some(7))
        );
        assert_eq!(args.idle_exit, Some(Duration::from_secs(2)));
        assert_eq!(args.connect_timeout, Some(Duration::from_millis(500)));
    }

    #[test]
    fn more_jobs_than_the_window_allows_are_refused() {
        let check = |jobs, window| pull(&["--exec", "true", "--jobs", jobs, "--window", window]).check();
        let wrong = check("8", "4").unwrap_err();
        assert!(wrong.contains("--jobs 8") && wrong.contains("--window 4"), "{wrong}");
        assert_eq!(
            (check("4", "4"), check("8", "0"), pull(&["--exec", "true", "--jobs", "8"]).check()),
            (Ok(()), Ok(()), Ok(()))
        );
    }

    #[test]
    fn the_default_linger_time_is_shorter_than_the_10_seconds_before_a_kill() {
        assert_eq!(pull(&[]).linger, Duration::from_secs(9));
        assert_eq!(pull(&["--linger", "1s"]).linger, Duration::from_secs(1));
        assert_eq!(pull(&[]).jobs(), 1);
    }
}
