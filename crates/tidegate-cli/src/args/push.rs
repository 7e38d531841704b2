//! `tidegate push`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{self, Header};
use super::{FramingArgs, SocketArgs};
use crate::exit;

/// Sends each line of the input as a message, and ends when all of them have been processed.
///
/// Messages go in turn to the pullers that have credit left, and what a puller loses goes to another one. At the end of the input
/// the stream is over: pullers that connect here end too. A named pipe ends when its last writer has gone (see --follow). The
/// first SIGINT, SIGTERM, SIGQUIT or SIGHUP stops reading and waits for what has been sent (the pullers then wait for this
/// pusher to come back); the second one stops at once. With TLS, --token-file or --dead-letter, SIGHUP reads and opens these
/// files again instead, and SIGUSR1 opens --dead-letter again. Under nohup, SIGHUP does not stop it. Log lines are dropped, and counted, while nobody reads stderr.
#[derive(Args, Debug)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(crate) struct PushArgs {
    /// Reads these files one after another; `-` is stdin [default: stdin]
    #[arg(value_name = "FILE")]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
    #[command(flatten)]
    pub(crate) framing: FramingArgs,
    /// Takes lines that end with CR LF: the CR is not part of the message then [default: it is]
    #[arg(long, conflicts_with_all = ["null", "length_prefixed"])]
    pub(crate) crlf: bool,
    /// Keeps reading the named pipe FILE (or stdin, if it is a pipe) when its last writer has gone, for the next one
    /// [default: the input ends then]
    #[arg(long)]
    pub(crate) follow: bool,
    /// What to do with a record that is larger than --max-message: `stop` reading and exit with 1 (what has been read is
    /// sent, and the record goes to --unsent), `skip` it with a warning, or append it to `dead-letter`
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Oversized::Stop)]
    pub(crate) oversized: Oversized,
    /// Adds a header to every message (repeatable, at most 64)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = values::header)]
    pub(crate) headers: Vec<Header>,
    /// Waits until this many pullers are connected before the first message [default: 0, which does not wait]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) expect: usize,
    /// How many messages may wait here for a puller with credit; then the input is not read further; 0 hands each
    /// message straight to a puller [default: 1000]
    #[arg(long, value_name = "N")]
    pub(crate) high_water_mark: Option<usize>,
    /// How many bytes may wait here, at least 1 [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) high_water_mark_bytes: Option<usize>,
    /// Rejects a message after this many failed attempts; lost connections do not count [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_attempts: Option<u32>,
    /// How long the messages of a lost connection wait for the same puller to come back, before they go to another one; 0s:
    /// not at all; at most 1h [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = values::grace)]
    pub(crate) grace: Option<Duration>,
    /// Tries a message again, elsewhere if it can, when its puller has neither settled it nor said that it is still at it for so
    /// long [default: never]
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    pub(crate) settle_timeout: Option<Duration>,
    /// Tries a message again when it has not been settled for so long after it was sent, even if its puller says that it is still
    /// at it; at least --settle-timeout [default: never]
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    pub(crate) max_work_time: Option<Duration>,
    /// Ends, with 1, if no puller has connected after this long, and says why [default: waits]
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    pub(crate) connect_timeout: Option<Duration>,
    /// How long to wait at the end for the pullers to process what is left, or `forever` [default: forever at the
    /// end of the input or an error of it, 9s after a signal, which fits the usual 10s before a kill]
    #[arg(long, value_name = "DURATION", value_parser = values::linger)]
    pub(crate) linger: Option<Duration>,
    /// Appends rejected messages to this file, in the framing of the input (headers are not kept); if its last
    /// record has no end, it gets one first; made with mode 0600; SIGHUP and SIGUSR1 open it again. At the end it is waited
    /// for up to --linger; what it has not taken by then goes to --unsent, and perhaps to it as well
    #[arg(long, value_name = "FILE")]
    pub(crate) dead_letter: Option<PathBuf>,
    /// Appends what is left when the linger time expires, or after a second signal, to this file, in the framing of the input:
    /// messages that nobody has acked, some of which may have been processed, with rejected ones that --dead-letter has not
    /// taken, then a record that was too large, then what had arrived of an incomplete record, as a record of its own (headers
    /// are not kept). It is written when the linger time begins, and replaced each second, so that a kill loses nothing. If its
    /// last record has no end, it gets one first; made with mode 0600; only one pusher may use it
    #[arg(long, value_name = "FILE")]
    pub(crate) unsent: Option<PathBuf>,
    /// Prints the summary as a JSON object, on stderr
    #[arg(long)]
    pub(crate) json: bool,
}

/// What becomes of a record that is larger than a message may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Oversized {
    /// Stops reading, and exits with 1.
    #[default]
    Stop,
    /// Drops it, with a warning.
    Skip,
    /// Appends it to --dead-letter.
    DeadLetter,
}

const EXAMPLES: &str = "\
Examples:
  One message for each line, for whoever connects:
    seq 1000 | tidegate push --bind tcp://0.0.0.0:8433

  File names of any kind, held back until three workers are there:
    find . -type f -print0 | tidegate push --null --expect 3 --bind tcp://127.0.0.1:8433

  To two pullers that listen, at most 5 attempts each; what fails is kept:
    tidegate push jobs.txt --connect tcp://a:8433 --connect tcp://b:8433 \\
      --max-attempts 5 --dead-letter failed.txt

  A file that is removed only when all of it has been processed:
    tidegate push jobs.txt --bind tcp://0.0.0.0:8433 && rm jobs.txt

  A service that reads a pipe; stopped, it exits with 4, and what it had read and nobody acked is in a file:
    producer | tidegate push --bind tcp://0.0.0.0:8433 --linger 10s --unsent left.txt

  Encrypted, for workers with a certificate by our own CA only; SIGHUP reads the files again:
    tidegate push jobs.txt --bind tls://0.0.0.0:8433 --tls-cert push.crt --tls-key push.key \\
      --tls-ca ca.crt --tls-verify-client";

impl PushArgs {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.headers.len() > values::MAX_HEADERS {
            return Err(format!(
                "--header was given {} times; at most {} would be right",
                self.headers.len(),
                values::MAX_HEADERS
            ));
        }
        let octets = self.header_bytes();
        if let Some(limit) = self.socket.max_message.filter(|limit| octets > *limit) {
            return Err(format!(
                "--header: the headers have {octets} bytes, more than --max-message {limit}"
            ));
        }
        if self.oversized == Oversized::DeadLetter && self.dead_letter.is_none() {
            return Err("--oversized dead-letter needs --dead-letter FILE".to_owned());
        }
        if self.unsent.is_some() && self.unsent == self.dead_letter {
            return Err("--unsent and --dead-letter name the same file; each needs one of its own".to_owned());
        }
        if let (Some(most), Some(timeout)) = (self.max_work_time, self.settle_timeout)
            && most < timeout
        {
            return Err(format!(
                "--max-work-time {most:?} is less than --settle-timeout {timeout:?}; it must be at least as long"
            ));
        }
        self.socket.check()
    }

    /// The octets that the headers add to the size of every message.
    pub(crate) fn header_bytes(&self) -> usize {
        self.headers.iter().map(|h| h.name.len() + h.value.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, tests::parse};
    use super::*;
    use crate::records::Framing;

    fn push(line: &[&str]) -> Box<PushArgs> {
        let whole: Vec<&str> = ["push", "--bind", "tcp://127.0.0.1:0"].iter().chain(line).copied().collect();
        match parse(&whole).unwrap().command {
            Command::Push(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_arrive() {
        let args = push(&[
            "a.txt",
            "-",
            "-0",
            "-H",
            "k: v",
            "-H",
            "k: w",
            "--expect",
            "3",
            "--high-water-mark",
            "0",
            "--linger",
            "forever",
            "--max-attempts",
            "2",
        ]);
        assert_eq!(args.inputs, [PathBuf::from("a.txt"), PathBuf::from("-")]);
        assert_eq!(args.framing.framing(), Framing::Null);
        assert_eq!(args.header_bytes(), 4);
        assert_eq!((args.expect, args.high_water_mark, args.max_attempts), (3, Some(0), Some(2)));
        assert_eq!(args.linger, Some(values::FOR_EVER));
    }

    #[test]
    fn nothing_is_set_unless_asked_for() {
        let args = push(&[]);
        assert_eq!(args.framing.framing(), Framing::Newline);
        assert_eq!((args.expect, args.linger, args.max_attempts), (0, None, None));
        assert!(args.inputs.is_empty() && !args.json);
    }

    #[test]
    fn work_may_take_no_less_than_a_settle_time_out() {
        let bad = push(&["--settle-timeout", "2s", "--max-work-time", "1s"]).check().unwrap_err();
        assert!(bad.contains("--max-work-time 1s is less than --settle-timeout 2s"), "{bad}");
        let good = push(&["--settle-timeout", "2s", "--max-work-time", "2s"]);
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.max_work_time, Some(Duration::from_secs(2)));
    }

    #[test]
    fn too_many_headers_are_named() {
        let line: Vec<&str> = std::iter::repeat_n(["-H", "a: b"], 65).flatten().collect();
        assert!(push(&line).check().unwrap_err().contains("--header was given 65 times"));
        assert_eq!(push(&line[2..]).check(), Ok(()));
        let large = push(&["-H", "a: bcd", "--max-message", "3"]).check().unwrap_err();
        assert!(large.contains("4 bytes, more than --max-message 3"), "{large}");
    }
}
