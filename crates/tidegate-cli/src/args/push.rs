//! `tidegate push`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tidegate::{DEFAULT_GRACE, DEFAULT_HIGH_WATER_MARK, DEFAULT_HIGH_WATER_MARK_BYTES};

use super::values::{self, Header};
use super::{FramingArgs, SocketArgs};
use crate::exit;

/// Sends each line of the input as a message, and exits when all are processed.
///
/// Messages go in turn to the pullers that have credit left. If a puller is lost, its messages go to another
/// one. The stream ends at the end of the input, and then the pullers that connect here exit too. A named
/// pipe ends when its last writer closes it (see --follow).
///
/// The first SIGINT, SIGTERM, SIGQUIT or SIGHUP stops reading and waits for the messages that have been sent;
/// their pullers then wait for this pusher to come back. The second such signal stops the pusher at once.
/// With TLS, --token-file or --dead-letter, SIGHUP reloads and reopens those files instead, and SIGUSR1
/// reopens --dead-letter. Under nohup, SIGHUP does not stop the pusher. If stderr is not read, log lines are
/// dropped and counted.
#[derive(Args, Debug)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(crate) struct PushArgs {
    /// Input files, read one after another; `-` is stdin [default: stdin]
    #[arg(value_name = "FILE")]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) socket: SocketArgs,
    #[command(flatten)]
    pub(crate) framing: FramingArgs,
    /// Strips the CR of lines that end with CR LF [default: the CR belongs to the message]
    #[arg(long, conflicts_with_all = ["null", "length_prefixed"])]
    pub(crate) crlf: bool,
    /// Keeps a named pipe open when its last writer closes it [default: the input ends]
    ///
    /// The pusher then waits for the next writer. This also applies to stdin, if stdin is a pipe.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Selects what happens to a record that is larger than --max-message
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Oversized::Stop)]
    pub(crate) oversized: Oversized,
    /// Adds a header to every message (repeatable, at most 64)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = values::header)]
    pub(crate) headers: Vec<Header>,
    /// Waits until N pullers are connected before it sends anything [default: does not wait]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) expect: usize,
    /// Maximum number of messages that wait for a puller with credit
    ///
    /// At this limit the pusher stops reading its input. With 0, each message is handed directly to a puller.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_HIGH_WATER_MARK)]
    pub(crate) high_water_mark: usize,
    /// Maximum size of the messages that wait for a puller, at least 1 byte
    #[arg(
        long, value_name = "SIZE", value_parser = values::size,
        default_value = values::size_text(DEFAULT_HIGH_WATER_MARK_BYTES)
    )]
    pub(crate) high_water_mark_bytes: usize,
    /// Rejects a message after N failed attempts [default: no limit]
    ///
    /// Lost connections do not count as failed attempts.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_attempts: Option<u32>,
    /// Reconnect grace: how long to hold a disconnected puller's messages for its return
    ///
    /// After this time they are redelivered to other pullers. With 0s they are redelivered at once. The
    /// maximum is 1h.
    #[arg(
        long, value_name = "DURATION", value_parser = values::grace,
        default_value = values::duration_text(DEFAULT_GRACE)
    )]
    pub(crate) grace: Duration,
    /// Retries a message that its puller has not settled in time [default: never]
    ///
    /// The time starts when the message is sent, and restarts each time the puller reports that it is still
    /// working on the message. The retry goes to another puller if possible.
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    pub(crate) settle_timeout: Option<Duration>,
    /// Retries a message that is not settled within this total time [default: never]
    ///
    /// The time starts when the message is sent, and reports of work do not restart it. It must be at least
    /// --settle-timeout.
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    pub(crate) max_work_time: Option<Duration>,
    /// Exits with 1, and says why, if no puller connects within this time [default: waits]
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Maximum wait at the end for outstanding messages, or `forever`
    ///
    /// The default is forever at the end of the input and after an input error, and 9s after a signal. A
    /// supervisor usually waits 10s between SIGTERM and SIGKILL.
    #[arg(long, value_name = "DURATION", value_parser = values::linger)]
    pub(crate) linger: Option<Duration>,
    /// Appends rejected messages to this file, in the framing of the input
    ///
    /// Headers are not kept. The file is created with mode 0600; SIGHUP and SIGUSR1 reopen it. If its last
    /// record is not terminated, the record is terminated first. At the end the pusher waits for this file
    /// for up to --linger; without a limit, until one write has taken 9s. Messages that are not written by
    /// then go to --unsent, and may be in both files.
    #[arg(long, value_name = "FILE")]
    pub(crate) dead_letter: Option<PathBuf>,
    /// Appends messages that are left at the end to this file, in the framing of the input
    ///
    /// Messages are left if the linger time expires or a second signal arrives. The file gets, in this order:
    /// un-acked messages, some of which may have been processed, with the rejected messages that
    /// --dead-letter has not taken; then a record that was too large; then the received part of an incomplete
    /// record, as a separate record. Headers are not kept. The file is written when the linger time begins
    /// and replaced each second, so that a kill loses nothing. If it cannot be replaced (a pipe, a device, a
    /// file with two hard links, a mount point, or a directory without write permission), it is written only
    /// at the end, and a kill before then loses the messages; a warning says so. The file is created with
    /// mode 0600. If its last record is not terminated, the record is terminated first. Only one pusher can
    /// use a file.
    #[arg(long, value_name = "FILE")]
    pub(crate) unsent: Option<PathBuf>,
    /// Prints the summary as a JSON object, on stderr
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with a record that is larger than a message may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Oversized {
    /// Stops reading, sends what has been read, writes the record to --unsent, and exits with 1.
    #[default]
    Stop,
    /// Drops the record, with a warning.
    Skip,
    /// Appends the record to --dead-letter.
    DeadLetter,
}

const EXAMPLES: &str = "\
Examples:
  One message for each line, for any puller that connects:
    seq 1000 | tidegate push --bind tcp://0.0.0.0:8433

  File names with any characters, held back until three workers are connected:
    find . -type f -print0 | tidegate push --null --expect 3 --bind tcp://127.0.0.1:8433

  To two pullers that listen, with at most 5 attempts for each message; failures are kept:
    tidegate push jobs.txt --connect tcp://a:8433 --connect tcp://b:8433 \\
      --max-attempts 5 --dead-letter failed.txt

  A file that is removed only when all of it has been processed:
    tidegate push jobs.txt --bind tcp://0.0.0.0:8433 && rm jobs.txt

  A service that reads a pipe; when stopped, it writes un-acked messages to a file and exits with 4:
    producer | tidegate push --bind tcp://0.0.0.0:8433 --linger 10s --unsent left.txt

  Encrypted, only for workers with a certificate from your own CA; SIGHUP reloads the files:
    tidegate push jobs.txt --bind tls://0.0.0.0:8433 --tls-cert push.crt --tls-key push.key \\
      --tls-ca ca.crt --tls-verify-client";

impl PushArgs {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.headers.len() > values::MAX_HEADERS {
            return Err(format!(
                "--header was given {} times; the maximum is {}",
                self.headers.len(),
                values::MAX_HEADERS
            ));
        }
        let bytes = self.header_bytes();
        let limit = self.socket.max_message;
        if bytes > limit {
            return Err(format!("--header: the headers have {bytes} bytes, more than --max-message {limit}"));
        }
        if self.oversized == Oversized::DeadLetter && self.dead_letter.is_none() {
            return Err("--oversized dead-letter needs --dead-letter FILE".to_owned());
        }
        if self.unsent.is_some() && self.unsent == self.dead_letter {
            return Err("--unsent and --dead-letter name the same file; each needs its own file".to_owned());
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

    /// The bytes that the headers add to the size of every message.
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
    fn options_are_parsed() {
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
        assert_eq!((args.expect, args.high_water_mark, args.max_attempts), (3, 0, Some(2)));
        assert_eq!(args.linger, Some(values::FOR_EVER));
    }

    #[test]
    fn options_that_are_not_given_have_no_effect() {
        let args = push(&[]);
        assert_eq!(args.framing.framing(), Framing::Newline);
        assert_eq!((args.expect, args.linger, args.max_attempts), (0, None, None));
        assert!(args.inputs.is_empty() && !args.json);
    }

    #[test]
    fn max_work_time_must_not_be_less_than_settle_timeout() {
        let bad = push(&["--settle-timeout", "2s", "--max-work-time", "1s"]).check().unwrap_err();
        assert!(bad.contains("--max-work-time 1s is less than --settle-timeout 2s"), "{bad}");
        let good = push(&["--settle-timeout", "2s", "--max-work-time", "2s"]);
        assert_eq!(good.check(), Ok(()));
        assert_eq!(good.max_work_time, Some(Duration::from_secs(2)));
    }

    #[test]
    fn too_many_or_too_large_headers_are_refused() {
        let line: Vec<&str> = std::iter::repeat_n(["-H", "a: b"], 65).flatten().collect();
        assert!(push(&line).check().unwrap_err().contains("--header was given 65 times"));
        assert_eq!(push(&line[2..]).check(), Ok(()));
        let large = push(&["-H", "a: bcd", "--max-message", "3"]).check().unwrap_err();
        assert!(large.contains("4 bytes, more than --max-message 3"), "{large}");
    }
}
