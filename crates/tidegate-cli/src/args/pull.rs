//! `tidegate pull`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{FramingArgs, SocketArgs, values};
use crate::exit;

/// Receives messages and writes them out, or runs a command for each; acks what has been processed.
///
/// Without --exec and --worker each payload is written to stdout as a line, and acked when the write has
/// succeeded. It ends when every pusher that it connects to has ended its stream; a pusher that was stopped or restarted is
/// waited for. The first SIGINT, SIGTERM, SIGQUIT or SIGHUP gives back what has not been started and finishes what has; the
/// second one stops at once. With TLS, --token-file or --output, SIGHUP reads and opens these files again instead, and SIGUSR1
/// opens --output again. Under nohup, SIGHUP does not stop it. Log lines are dropped, and counted, while nobody reads stderr.
#[derive(Args, Debug)]
#[command(after_help = format!("{EXAMPLES}\n\n{COMMANDS}\n\n{}", exit::HELP))]
#[command(group = clap::ArgGroup::new("command").args(["exec", "worker"]))]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
    #[command(flatten)]
    pub(crate) framing: FramingArgs,
    /// Gives each message as one JSON object instead of its bare payload: id, attempt, headers (a list of pairs), and
    /// payload, or payload_base64 if it is not UTF-8; the summary on stderr becomes an object too
    #[arg(long)]
    pub(crate) json: bool,
    /// Appends to this file instead of writing to stdout, and makes it (mode 0600) if need be; if its last record has no end, it
    /// gets one first. SIGHUP and SIGUSR1 open it again by its name, for log rotation; a file that was removed or replaced is
    /// noticed at the next write. A named pipe is waited for until it has a reader
    #[arg(long, value_name = "FILE", conflicts_with_all = ["exec", "worker"])]
    pub(crate) output: Option<PathBuf>,
    /// Says what to do with a payload that holds the byte that ends a record, a newline or with --null a NUL: `warn` writes it as
    /// it is, and warns once; `reject` rejects it; --worker always rejects it [default: warn]
    #[arg(long, value_name = "RULE", conflicts_with = "exec")]
    pub(crate) separator_in_payload: Option<SeparatorInPayload>,
    /// Runs this with `sh -c` once for each message, payload on its stdin, without a newline at its end (so that `read` fails,
    /// though it reads it); its exit status is the outcome
    #[arg(long, value_name = "CMD", conflicts_with_all = ["worker", "null", "length_prefixed"])]
    pub(crate) exec: Option<String>,
    /// Keeps this running with `sh -c`: it gets one record at a time on stdin and answers each with one line
    #[arg(long, value_name = "CMD")]
    pub(crate) worker: Option<String>,
    /// How many commands or workers run at once [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), requires = "command")]
    pub(crate) jobs: Option<u32>,
    /// Stops a command, or a worker that has not answered, after this long (SIGTERM to its process group, and SIGKILL 5 s
    /// later), and counts a failed attempt [default: never]
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration, requires = "command")]
    pub(crate) timeout: Option<Duration>,
    /// How many messages of all pushers together may be un-acked here; 0 asks for one only when one is wanted [default: sets
    /// itself by how quickly they are processed; with --exec and --worker as many as --jobs]
    #[arg(long, value_name = "N")]
    pub(crate) window: Option<u64>,
    /// How many outcomes, and runs of message ids, to remember, so that what comes again after a lost connection is not run a
    /// second time; 0: none [default: 65536]
    #[arg(long, value_name = "N")]
    pub(crate) memory: Option<usize>,
    /// Stays when all pushers have ended, and waits for more
    #[arg(long, conflicts_with = "expect")]
    pub(crate) keep: bool,
    /// With --bind: ends when this many pushers have ended their streams, and no other one is connected. With --tls-verify-client
    /// they are counted by the names in their certificates, else by ids that they give themselves [default: stays]
    #[arg(long, value_name = "N", requires = "bind", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) expect: Option<u32>,
    /// Ends, with 0, once this many messages have been acked
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Ends, with 0, when no message has come and no command has run for this long
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    pub(crate) idle_exit: Option<Duration>,
    /// Ends, with 1, if no pusher has connected after this long, and says why
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    pub(crate) connect_timeout: Option<Duration>,
    /// How long to wait at the end for running commands and the last acks, or `forever`
    #[arg(long, value_name = "DURATION", value_parser = values::linger, default_value = "9s")]
    pub(crate) linger: Duration,
}

/// What becomes of a payload that holds the byte that ends a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SeparatorInPayload {
    Warn,
    Reject,
}

const EXAMPLES: &str = "\
Examples:
  Payloads to stdout, until the pusher's input has ended:
    tidegate pull --connect tcp://127.0.0.1:8433

  Four commands at a time; a failing one is tried again, here or elsewhere:
    tidegate pull --connect tcp://127.0.0.1:8433 --jobs 4 --exec 'read -r f; gzip -- \"$f\"'

  Two workers that stay, each answering `ok`, `retry` or `reject why` to every line:
    tidegate pull --connect tcp://127.0.0.1:8433 --jobs 2 --worker ./resize.py

  A collector that listens and never ends, with ids and attempts:
    tidegate pull --bind tcp://0.0.0.0:8433 --json --output results.jsonl

  Encrypted, to a pusher with a certificate by our own CA, which asks for ours too:
    tidegate pull --connect tls://jobs.example:8433 --tls-ca ca.crt --tls-cert w1.crt --tls-key w1.key";

const COMMANDS: &str = "\
Commands (--exec):
  Exit status 0 acks the message; 65 (EX_DATAERR) rejects it for good; 75
  (EX_TEMPFAIL) and any other failure gives it back to be tried again, after a
  growing delay. 126 and 127, a command that cannot be started, stop the
  daemon before the first command has succeeded, so that no message is burnt on
  a wrong command line; after that they are failures like any other. The first
  failure is a warning with the last line of the command's stderr; more of them
  are counted, and -v tells of each. TIDEGATE_MESSAGE_ID and TIDEGATE_ATTEMPT
  tell which message it is. With --jobs above 1, what a command prints is kept
  in unnamed temporary files (in TMPDIR, one each for stdout and stderr), and
  written whole when it has ended. Redirect the stderr of what a command leaves
  behind: with one job it is a pipe, and whoever writes to it after the daemon
  has ended gets SIGPIPE.

Workers (--worker):
  Each message is one line on stdin (or a record, with --null or
  --length-prefixed); the answer is one line on stdout, of at most 4096 bytes:
  `ok`, `retry`, `retry SECONDS` or `reject REASON`. Before it, any number of
  lines `working` say that it is still at it: push --settle-timeout begins
  anew, push --max-work-time does not. `retry` leaves the wait to the pusher,
  `retry SECONDS` names it (at most 5 min by default). Each
  message gets exactly one answer, after it has been read: a worker that answers
  too often or too early is restarted, and the message in progress is tried
  again. So is one that exits or answers anything else; what it had answered
  before its exit counts, also without a newline. Before the first good answer,
  5 failures in a row and the exit statuses 126 and 127 stop the daemon. A
  payload that the framing cannot carry is rejected. At the end a worker's stdin
  is closed, and it should exit.

  Commands and workers run in process groups of their own, so Ctrl-C reaches
  only the daemon. While the system has no file descriptors, processes or memory
  for one more, the daemon waits until a job has ended. It raises its own soft
  limit on file descriptors to the hard one; commands get the limit as it was.

When the daemon itself has rejected a message, it exits with 3.";

impl PullArgs {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.worker.is_some() && self.separator_in_payload == Some(SeparatorInPayload::Warn) {
            return Err("--separator-in-payload warn does not go with --worker, which would take one message for several; \
                 give --length-prefixed or --json"
                .to_owned());
        }
        if let Some(window) = self.window.filter(|window| *window > 0 && *window < u64::from(self.jobs())) {
            return Err(format!(
                "--jobs {0} is more than --window {window} lets be un-acked at once: set --window to at least {0}, or to 0",
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
    fn options_arrive() {
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
    fn more_jobs_than_the_window_has_places_are_refused() {
        let check = |jobs, window| pull(&["--exec", "true", "--jobs", jobs, "--window", window]).check();
        let wrong = check("8", "4").unwrap_err();
        assert!(wrong.contains("--jobs 8") && wrong.contains("--window 4"), "{wrong}");
        assert_eq!(
            (check("4", "4"), check("8", "0"), pull(&["--exec", "true", "--jobs", "8"]).check()),
            (Ok(()), Ok(()), Ok(()))
        );
    }

    #[test]
    fn the_linger_time_fits_into_the_usual_10_seconds_before_a_kill_unless_given() {
        assert_eq!(pull(&[]).linger, Duration::from_secs(9));
        assert_eq!(pull(&["--linger", "1s"]).linger, Duration::from_secs(1));
        assert_eq!(pull(&[]).jobs(), 1);
    }
}
