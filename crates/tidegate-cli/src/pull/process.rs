//! One process of `--worker`: a record in, an answer line out.
//!
//! ```text
//! ready? ──► record ──► stdin │ worker │ stdout ──► working, working, answer ──► anything else? then it is not in step
//!                             └── exit ──► what it had written before still counts
//! ```

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::io::{Errno, ioctl_fionread};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::Instant;

use super::answer::Answer;
use super::child::{self, Group};
use super::source::at;
use super::tee::has_more;

/// The longest answer, in bytes, without its newline.
const MAX_ANSWER: usize = 4096;
/// The system writes as many bytes to a pipe as a whole or not at all.
const PIPE_BUF: usize = 4096;
/// How long a worker that has closed its stdout may take to exit before it is killed.
const EXIT_GRACE: Duration = Duration::from_secs(1);

/// A worker's process.
pub(crate) struct Process {
    group: Group,
    child: Child,
    stdin: ChildStdin,
    lines: Lines,
    /// Good answers so far.
    answered: u64,
    /// It has said something that nobody asked for, or has ended.
    out_of_step: bool,
    /// It has answered before it had got all of a record: it would take the next one for the rest.
    cut_off: bool,
}

/// What came instead of an answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The process has ended, or closed its stdin, after its last answer, before it has read any of the message.
    Gone,
    /// The process has ended, or closed its stdout. What it had written of an answer.
    Died(Option<ExitStatus>, String),
    /// This is not an answer.
    Nonsense(String),
    /// It has answered more often than it was asked: nobody knows which answer belongs to the message.
    Extra,
    /// It has answered before it has read any of the message: this was for an earlier one.
    Early,
    /// It has closed its stdin and lives on, without an answer so far.
    Deaf,
}

impl Process {
    /// Starts `command` with `sh -c`.
    ///
    /// # Errors
    /// When the operating system cannot.
    pub(crate) fn start(command: &str) -> io::Result<Self> {
        let (mut child, group) = child::start(child::shell(command).stdout(Stdio::piped()))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a process without pipes"));
        };
        let lines = Lines { stdout, buffer: Vec::new(), ended: false };
        Ok(Self { group, child, stdin, lines, answered: 0, out_of_step: false, cut_off: false })
    }

    /// Whether it has given a good answer.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered > 0
    }

    /// Whether it can take a message. `Err` if it has said something since its last answer: that would be taken for the answer to
    /// the next message.
    ///
    /// # Errors
    /// See above.
    pub(crate) fn is_ready(&mut self) -> Result<bool, Failure> {
        loop {
            self.lines.take_what_is_there();
            // A process may say that it is still at it when it is not any more.
            if self.lines.next_answer(|| ()).is_some() || !b"working".starts_with(&self.lines.buffer) {
                return Err(Failure::Extra);
            }
            if self.lines.ended || !has_more(&self.lines.stdout) {
                break;
            }
        }
        Ok(!self.out_of_step
            && !self.cut_off
            && !self.lines.ended
            && matches!(self.child.try_wait(), Ok(None)))
    }

    /// Whether it has answered more often than it was asked. To be asked once.
    pub(crate) fn take_out_of_step(&mut self) -> bool {
        std::mem::take(&mut self.out_of_step)
    }

    /// Gives it a record, and waits for its answer; `working` runs whenever it says that it is still at it.
    ///
    /// # Errors
    /// When there is no answer, or it cannot be one to this record. The process is of no more use then.
    pub(crate) async fn ask(&mut self, record: &[u8], working: impl Fn()) -> Result<Answer, Failure> {
        let mut status = None;
        let mut deaf = false;
        let (line, written) = {
            let Self { child, stdin, lines, .. } = self;
            let mut rest = record;
            let mut failed = false;
            // When it has closed its stdin and got nothing: it may be about to exit, or will never answer.
            let mut deaf_at = None;
            let line = loop {
                if let Some(line) = lines.next_answer(&working) {
                    break Some(line);
                }
                if lines.ended {
                    break None;
                }
                // All at once: a worker may answer before it has read everything, and a process that it has started may hold its
                // stdout open when it has exited. If it does not read, its answer tells.
                tokio::select! {
                    biased;
                    () = lines.read() => {}
                    exited = child.wait() => {
                        status = exited.ok();
                        lines.take_what_is_there();
                        lines.ended = true;
                        // What it had answered before still counts.
                        break lines.next_answer(&working);
                    }
                    result = stdin.write(rest), if !failed && !rest.is_empty() => match result {
                        Ok(n @ 1..) => rest = rest.get(n..).unwrap_or_default(),
                        _ => {
                            failed = true;
                            if rest.len() == record.len() {
                                deaf_at = Instant::now().checked_add(EXIT_GRACE);
                            }
                        }
                    },
                    () = at(deaf_at), if deaf_at.is_some() => {
                        deaf = true;
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
            // Only if it has answered before, as below.
            None if deaf => return Err(if self.answered > 0 { Failure::Gone } else { Failure::Deaf }),
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
            // The first answer cannot be a late one.
            self.out_of_step = true;
        }
        self.cut_off = written != Some(true);
        self.answered += 1;
        Ok(answer)
    }

    /// Whether it has certainly read nothing of the record, which was written, or could not be, or is still being written.
    fn has_read_nothing(&self, record: &[u8], written: Option<bool>) -> bool {
        match written {
            Some(true) => ioctl_fionread(&self.stdin).is_ok_and(|unread| unread >= record.len() as u64),
            _ => record.len() <= PIPE_BUF,
        }
    }

    /// It has exited, or has closed its stdout: then it usually exits, and its status says why; else the group is killed.
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
        let rest = std::mem::take(&mut self.lines.buffer);
        // An answer without a newline is an answer.
        match parse(&rest) {
            Some(_) if self.has_read_nothing(record, written) => Err(Failure::Early),
            Some(answer) => {
                self.answered += 1;
                Ok(answer)
            }
            // Only if it has answered before: one that never does would be started for ever.
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

    /// Whether it has exited and been waited for.
    pub(crate) fn has_exited(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, and kills it if it does not.
    pub(crate) async fn terminate(mut self) {
        self.group.terminate(&mut self.child).await;
    }

    /// Closes the pipes of the process, which should exit then.
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

/// The lines of a worker's stdout.
struct Lines {
    stdout: ChildStdout,
    /// What has been read and is not a whole line yet, at most [`MAX_ANSWER`] and what one read brings.
    buffer: Vec<u8>,
    /// No more will be read.
    ended: bool,
}

impl Lines {
    /// The next line that does not only say that work goes on, if it is there; one that is too long is cut off.
    fn next_answer(&mut self, working: impl Fn()) -> Option<Vec<u8>> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.buffer) else {
                return (self.buffer.len() > MAX_ANSWER).then(|| std::mem::take(&mut self.buffer));
            };
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            if line.trim_ascii() != b"working" {
                return Some(line.strip_suffix(b"\n").unwrap_or(&line).to_vec());
            }
            working();
        }
    }

    /// Reads some more. Cancel safe.
    async fn read(&mut self) {
        if self.ended {
            return std::future::pending().await;
        }
        match self.stdout.read_buf(&mut self.buffer).await {
            Ok(1..) => {}
            _ => self.ended = true,
        }
    }

    /// Reads what can be read without waiting, as long as there is no whole line: another one would wait in the pipe.
    fn take_what_is_there(&mut self) {
        let mut chunk = [0; MAX_ANSWER];
        while !self.ended && self.buffer.len() <= MAX_ANSWER && has_more(&self.stdout) {
            match rustix::io::read(&self.stdout, &mut chunk) {
                Ok(0) => self.ended = true,
                Ok(n) => self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.ended = true,
            }
        }
    }
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
    fn a_process_may_say_that_it_is_still_at_it() {
        on_runtime(async {
            let said = std::cell::Cell::new(0);
            let mut process =
                Process::start("read line; echo working; echo working; echo ok; echo working").unwrap();
            let answer = process.ask(b"x\n", || said.set(said.get() + 1)).await.ok();
            assert_eq!(answer, Some(Answer::Ok));
            assert!((2..=3).contains(&said.get()), "once more it may be late");
        });
    }

    #[test]
    fn a_process_that_ends_or_talks_nonsense_is_a_failure() {
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
    fn an_answer_without_a_newline_counts_at_the_end() {
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
    fn an_exit_is_noticed_although_a_child_holds_stdout_and_what_was_answered_before_counts() {
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
    fn a_message_that_an_ended_process_has_not_read_is_told_from_one_that_ended_it() {
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
    fn an_answer_that_came_too_late_is_not_taken_for_the_next_one() {
        on_runtime(async {
            // It answers the second message twice.
            let command = "read a; echo ok; read b; printf 'ok\\nok\\n'; read c";
            let mut process = Process::start(command).unwrap();
            process.ask(b"x\n", || ()).await.unwrap();
            assert!(matches!(process.ask(b"y\n", || ()).await, Err(Failure::Extra)));
            // It answers without having read, as if it were late.
            let mut process = Process::start("echo ok; sleep 1000").unwrap();
            assert!(matches!(process.ask(b"x\n", || ()).await, Err(Failure::Early)));
            for command in ["echo ok", "printf ok"] {
                assert!(matches!(ask(command).await, Err(Failure::Early)), "{command}");
            }
        });
    }

    #[test]
    fn a_process_that_answers_before_it_has_got_all_of_a_record_gets_no_other() {
        on_runtime(async {
            let mut process = Process::start("head -c 10 >/dev/null; echo ok; cat >/dev/null").unwrap();
            assert_eq!(process.ask(&[b'x'; 1_000_000], || ()).await.unwrap(), Answer::Ok);
            assert!(!process.is_ready().unwrap());
        });
    }

    #[test]
    fn a_process_that_has_closed_its_stdin_is_gone_although_it_lives() {
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
