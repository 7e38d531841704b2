//! One process of `--worker`: a record in, an answer line out.
//!
//! ```text
//! ready? ──► record ──► stdin │ worker │ stdout ──► working, working, answer ──► more? then it is out of step
//!                             └── exit ──► an answer that it wrote before still counts
//! ```

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::ioctl_fionread;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin};
use tokio::time::Instant;

use super::answer::Answer;
use super::child::{self, Group};
use super::lines::{Lines, MAX_ANSWER};
use crate::timer::at;

/// A write of up to this many bytes to a pipe is atomic.
const PIPE_BUF: usize = 4096;
/// How long a worker that has closed its stdout may take to exit before it is killed.
const EXIT_GRACE: Duration = Duration::from_secs(1);

/// The process of a worker.
pub(crate) struct Process {
    group: Group,
    child: Child,
    stdin: ChildStdin,
    lines: Lines,
    /// Number of valid answers so far.
    answered: u64,
    /// The process has answered more often than it was asked, or has ended.
    out_of_step: bool,
    /// The process has answered before it had read the whole record. It would take the next record for the
    /// rest of this one.
    cut_off: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The process has ended or closed its stdin after its last answer, without having read any part of the
    /// message.
    Gone,
    /// The process has ended or closed its stdout. The text is what it had written of an answer.
    Died(Option<ExitStatus>, String),
    /// The text is not an answer.
    Nonsense(String),
    /// The process has answered more often than it was asked, so no answer can be attributed to the message.
    Extra,
    /// The process has answered before it has read any part of the message, so the answer was for an earlier
    /// one.
    Early,
    /// The process has closed its stdin and still runs, and it has never answered.
    StdinClosed,
}

impl Process {
    /// Starts `command` with `sh -c`.
    ///
    /// # Errors
    /// If the operating system cannot start it.
    pub(crate) fn start(command: &str) -> io::Result<Self> {
        let (mut child, group) = child::start(child::shell(command).stdout(Stdio::piped()))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a process without pipes"));
        };
        Ok(Self {
            group,
            child,
            stdin,
            lines: Lines::new(stdout),
            answered: 0,
            out_of_step: false,
            cut_off: false,
        })
    }

    /// Whether the process has given a valid answer.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered > 0
    }

    /// Whether the process can take a message.
    ///
    /// # Errors
    /// If it has written something since its last answer, which would be taken for the answer to the next
    /// message.
    pub(crate) fn is_ready(&mut self) -> Result<bool, Failure> {
        loop {
            self.lines.take_what_is_there();
            // A late `working` line is allowed.
            if self.lines.next_answer(|| ()).is_some() || !b"working".starts_with(&self.lines.buffer) {
                return Err(Failure::Extra);
            }
            if self.lines.ended || !self.lines.has_more() {
                break;
            }
        }
        Ok(!self.out_of_step
            && !self.cut_off
            && !self.lines.ended
            && matches!(self.child.try_wait(), Ok(None)))
    }

    /// Whether the process has answered more often than it was asked. Resets the flag.
    pub(crate) fn take_out_of_step(&mut self) -> bool {
        std::mem::take(&mut self.out_of_step)
    }

    /// Writes a record to the process, and waits for its answer. Calls `working` for each `working` line.
    ///
    /// # Errors
    /// If there is no answer, or it cannot be one to this record. The process must not be used any more.
    pub(crate) async fn ask(&mut self, record: &[u8], working: impl Fn()) -> Result<Answer, Failure> {
        let mut status = None;
        let mut not_reading = false;
        let (line, written) = {
            let Self { child, stdin, lines, .. } = self;
            let mut rest = record;
            let mut failed = false;
            // Set if it has closed its stdin without reading anything: it may be about to exit, or it will
            // never answer.
            let mut give_up_at = None;
            let line = loop {
                if let Some(line) = lines.next_answer(&working) {
                    break Some(line);
                }
                if lines.ended {
                    break None;
                }
                // Reading, writing and waiting run concurrently. A worker may answer before it has read
                // everything, and a process that it has started may keep its stdout open after it has exited.
                // If the worker does not read, its answer shows that.
                tokio::select! {
                    biased;
                    () = lines.read() => {}
                    exited = child.wait() => {
                        status = exited.ok();
                        lines.take_what_is_there();
                        lines.ended = true;
                        // An answer that it had written before still counts.
                        break lines.next_answer(&working);
                    }
                    result = stdin.write(rest), if !failed && !rest.is_empty() => match result {
                        Ok(n @ 1..) => rest = rest.get(n..).unwrap_or_default(),
                        _ => {
                            failed = true;
                            if rest.len() == record.len() {
                                give_up_at = Instant::now().checked_add(EXIT_GRACE);
                            }
                        }
                    },
                    () = at(give_up_at), if give_up_at.is_some() => {
                        not_reading = true;
                        lines.take_what_is_there();
                        break lines.next_answer(&working);
                    }
                }
            };
            let written = if failed { Some(false) } else { rest.is_empty().then_some(true) };
            (line, written)
        };
        let line = match line {
            Some(line) => line,
            // `Gone` only if it has answered before, as below.
            None if not_reading => {
                return Err(if self.answered > 0 { Failure::Gone } else { Failure::StdinClosed });
            }
            None => return self.died(status, record, written).await,
        };
        if line.len() > MAX_ANSWER {
            return Err(Failure::Nonsense(format!("more than {MAX_ANSWER} bytes long")));
        }
        let answer = parse(&line).ok_or_else(|| Failure::Nonsense(shown(&line)))?;
        if self.has_read_nothing(record, written) {
            return Err(Failure::Early);
        }
        self.lines.take_what_is_there();
        if self.lines.next_answer(&working).is_some() {
            if self.answered > 0 {
                return Err(Failure::Extra);
            }
            // The first answer of a process cannot be a late one.
            self.out_of_step = true;
        }
        self.cut_off = written != Some(true);
        self.answered += 1;
        Ok(answer)
    }

    /// Whether the process has certainly read nothing of the record. `written`: whether the record was
    /// written; `None` if it is still being written.
    fn has_read_nothing(&self, record: &[u8], written: Option<bool>) -> bool {
        match written {
            Some(true) => ioctl_fionread(&self.stdin).is_ok_and(|unread| unread >= record.len() as u64),
            _ => record.len() <= PIPE_BUF,
        }
    }

    /// Handles a process that has exited or closed its stdout. In the second case it usually exits soon, and
    /// its status is the reason; otherwise the group is killed.
    async fn died(
        &mut self,
        status: Option<ExitStatus>,
        record: &[u8],
        written: Option<bool>,
    ) -> Result<Answer, Failure> {
        let status = match status {
            Some(status) => Some(status),
            None => tokio::time::timeout(EXIT_GRACE, self.child.wait()).await.ok().and_then(Result::ok),
        };
        let rest = self.lines.take_rest();
        // An answer without a newline is valid at the end.
        match parse(&rest) {
            Some(_) if self.has_read_nothing(record, written) => Err(Failure::Early),
            Some(answer) => {
                self.answered += 1;
                Ok(answer)
            }
            // `Gone` only if it has answered before: a process that never answers would be restarted for
            // ever.
            None if status.is_some()
                && self.answered > 0
                && rest.is_empty()
                && self.has_read_nothing(record, written) =>
            {
                Err(Failure::Gone)
            }
            None => Err(Failure::Died(status, shown(&rest))),
        }
    }

    /// Whether the process has exited and been waited for.
    pub(crate) fn has_exited(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGTERM to the process group, and kills it if it does not end.
    pub(crate) async fn terminate(mut self) {
        self.group.terminate(&mut self.child).await;
    }

    /// Closes the pipes of the process, which should then exit.
    pub(crate) fn close(self) -> (Group, Child) {
        (self.group, self.child)
    }

    #[cfg(test)]
    fn id(&self) -> Option<u32> {
        self.child.id()
    }
}

fn parse(line: &[u8]) -> Option<Answer> {
    Answer::parse(String::from_utf8_lossy(line).trim())
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    async fn ask(command: &str) -> Result<Answer, Failure> {
        Process::start(command).unwrap().ask(b"x\n", || ()).await
    }

    #[test]
    fn a_process_answers_record_after_record() {
        on_runtime(async {
            let mut process = Process::start("while read -r line; do echo \"reject $line\"; done").unwrap();
            for word in ["one", "two", "three"] {
                assert!(process.is_ready().unwrap());
                let answer = process.ask(format!("{word}\n").as_bytes(), || ()).await.ok();
                assert_eq!(answer, Some(Answer::Reject(word.into())));
            }
        });
    }

    #[test]
    fn a_process_may_report_that_it_is_still_working() {
        on_runtime(async {
            let said = std::cell::Cell::new(0);
            let mut process =
                Process::start("read line; echo working; echo working; echo ok; echo working").unwrap();
            let answer = process.ask(b"x\n", || said.set(said.get() + 1)).await.ok();
            assert_eq!(answer, Some(Answer::Ok));
            assert!((2..=3).contains(&said.get()), "the last `working` may be late");
        });
    }

    #[test]
    fn an_end_or_an_invalid_answer_is_a_failure() {
        on_runtime(async {
            assert!(
                matches!(ask("read line; exit 3").await, Err(Failure::Died(Some(s), _)) if s.code() == Some(3))
            );
            assert!(
                matches!(ask("read line; echo perhaps").await, Err(Failure::Nonsense(a)) if a == "perhaps")
            );
            assert!(
                matches!(ask("head -c 9999 /dev/zero").await, Err(Failure::Nonsense(a)) if a.contains("4096"))
            );
            assert!(
                matches!(ask("/no/such/command 2>&-").await, Err(Failure::Died(Some(s), _)) if child::cannot_start(s))
            );
            assert!(
                matches!(ask("read line; printf perh; exit 3").await, Err(Failure::Died(Some(_), a)) if a == "perh")
            );
        });
    }

    #[test]
    fn an_answer_without_a_newline_is_valid_at_the_end() {
        on_runtime(async {
            assert_eq!(ask("read line; printf ok").await.unwrap(), Answer::Ok);
            assert_eq!(
                ask("read line; printf 'reject why'; exit 3").await.unwrap(),
                Answer::Reject("why".into())
            );
            assert_eq!(ask("read line; printf ok; exec >&-; exec sleep 1000").await.unwrap(), Answer::Ok);
        });
    }

    #[test]
    fn an_exit_is_noticed_although_a_child_holds_stdout_and_the_answer_before_it_counts() {
        on_runtime(async {
            let failure = ask("sleep 1000 & read line; exit 3").await;
            assert!(matches!(failure, Err(Failure::Died(Some(s), _)) if s.code() == Some(3)));
            assert_eq!(ask("sleep 1000 & read line; echo ok; exit 3").await.unwrap(), Answer::Ok);
            assert_eq!(ask("sleep 1000 & read line; printf ok; exit 3").await.unwrap(), Answer::Ok);
            let mut process = Process::start("sleep 1000 & read line; echo ok").unwrap();
            process.ask(b"x\n", || ()).await.unwrap();
            while process.is_ready().unwrap() {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn a_message_that_an_ended_process_has_not_read_is_distinguished_from_one_that_ended_it() {
        on_runtime(async {
            let mut process = Process::start("read a; echo ok; read b; exit 3").unwrap();
            process.ask(b"x\n", || ()).await.unwrap();
            assert!(matches!(process.ask(b"y\n", || ()).await, Err(Failure::Died(Some(_), _))));
            let mut process = Process::start("read a; echo ok; exit 3").unwrap();
            process.ask(b"x\n", || ()).await.unwrap();
            assert!(matches!(process.ask(b"y\n", || ()).await, Err(Failure::Gone)));
            assert!(
                matches!(ask("exit 3").await, Err(Failure::Died(Some(_), _))),
                "the first message of a process"
            );
        });
    }

    #[test]
    fn a_process_that_answers_twice_is_not_asked_again() {
        on_runtime(async {
            let mut process = Process::start("read line; printf 'ok\\nok\\n'; read line; echo ok").unwrap();
            assert_eq!(
                process.ask(b"x\n", || ()).await.unwrap(),
                Answer::Ok,
                "the first answer was not late"
            );
            assert!(!process.is_ready().unwrap_or(false));
        });
    }

    #[test]
    fn a_late_answer_is_not_taken_for_the_next_one() {
        on_runtime(async {
            // This process answers the second message twice.
            let command = "read a; echo ok; read b; printf 'ok\\nok\\n'; read c";
            let mut process = Process::start(command).unwrap();
            process.ask(b"x\n", || ()).await.unwrap();
            assert!(matches!(process.ask(b"y\n", || ()).await, Err(Failure::Extra)));
            // This process answers without reading, as if it were late.
            let mut process = Process::start("echo ok; sleep 1000").unwrap();
            assert!(matches!(process.ask(b"x\n", || ()).await, Err(Failure::Early)));
            for command in ["echo ok", "printf ok"] {
                assert!(matches!(ask(command).await, Err(Failure::Early)), "{command}");
            }
        });
    }

    #[test]
    fn a_process_that_answers_before_it_has_read_a_whole_record_gets_no_other() {
        on_runtime(async {
            let mut process = Process::start("head -c 10 >/dev/null; echo ok; cat >/dev/null").unwrap();
            assert_eq!(process.ask(&[b'x'; 1_000_000], || ()).await.unwrap(), Answer::Ok);
            assert!(!process.is_ready().unwrap());
        });
    }

    #[test]
    fn a_process_that_has_closed_its_stdin_is_gone_although_it_still_runs() {
        on_runtime(async {
            let mut process = Process::start("read a; exec <&-; echo ok; sleep 1000").unwrap();
            process.ask(b"x\n", || ()).await.unwrap();
            assert!(matches!(process.ask(b"y\n", || ()).await, Err(Failure::Gone)));
            assert!(!process.has_exited());
        });
    }

    #[test]
    fn a_process_that_has_ended_is_not_ready() {
        on_runtime(async {
            let mut process = Process::start("exit 0").unwrap();
            assert!(process.id().is_some());
            while process.is_ready().unwrap() {
                tokio::task::yield_now().await;
            }
        });
    }
}
