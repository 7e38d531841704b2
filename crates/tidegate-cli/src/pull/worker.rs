//! `--worker`: processes that stay, with a record in and an answer line out for each message.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::anyhow;
use tidegate::Delivery;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::Instant;

use super::child::{self, Group};
use super::envelope::Rendering;
use super::jobs::Outcome;

/// The longest answer, in bytes, without its newline.
const MAX_ANSWER: u64 = 4096;
/// A worker that has failed so often in a row, without a good answer in between, stops the daemon.
const MAX_FAILURES: u32 = 5;
/// How long a worker that has closed its stdout may take to exit before it is killed.
const EXIT_GRACE: Duration = Duration::from_secs(1);
/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A command that stays.
pub(crate) struct Worker {
    command: String,
    rendering: Rendering,
}

/// A place for one worker's process.
#[derive(Default)]
pub(crate) struct Slot {
    process: Option<Process>,
    /// One whose pipes have been closed, and that has not exited yet.
    ending: Option<(Group, Child)>,
    /// Failures since the last good answer.
    failures: u32,
    /// No process is started before then.
    not_before: Option<Instant>,
}

struct Process {
    group: Group,
    child: Child,
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Whether it has given a good answer.
    answered: bool,
}

/// What a worker says about a message.
#[derive(Debug, PartialEq)]
enum Answer {
    Ok,
    Retry(Option<Duration>),
    Reject(String),
}

/// What came instead of an answer.
enum Failure {
    /// The process has ended, or closed its stdout.
    Died(Option<ExitStatus>),
    /// This is not an answer.
    Nonsense(String),
}

impl Worker {
    /// Keeps `command` running with `sh -c`.
    pub(crate) fn new(command: &str, rendering: Rendering) -> Self {
        Self { command: command.to_owned(), rendering }
    }

    /// Gives a message to the process in `slot`, which is started if need be, and settles it by the answer.
    /// Cancelled, it kills the process with the slot.
    pub(crate) async fn run(&self, slot: &mut Slot, delivery: Delivery) -> Outcome {
        let mut record = Vec::new();
        let carried = self.rendering.content(&delivery).and_then(|content| {
            self.rendering.framing.put(&mut record, &content)?;
            Ok(self.rendering.framing.carries(&content))
        });
        if !matches!(carried, Ok(true)) {
            // No attempt will ever do better.
            delivery.reject(
                "the payload holds the byte that ends a record; the worker needs --length-prefixed or --json",
            );
            return Outcome::Settled;
        }
        let process = match slot.ready(&self.command).await {
            Ok(process) => process,
            Err(error) => {
                delivery.release();
                return Outcome::Fatal(
                    anyhow!(error).context(format!("--worker {}: cannot start sh", self.command)),
                );
            }
        };
        match process.ask(&record, || delivery.working()).await {
            Ok(answer) => {
                process.answered = true;
                slot.failures = 0;
                settle(delivery, answer)
            }
            Err(failure) => self.failed(slot, delivery, &failure),
        }
    }

    fn failed(&self, slot: &mut Slot, delivery: Delivery, failure: &Failure) -> Outcome {
        let answered = slot.process.take().is_some_and(|process| process.answered);
        slot.failures += 1;
        slot.not_before =
            Instant::now().checked_add(FIRST_PAUSE * 2_u32.pow(slot.failures.min(MAX_FAILURES) - 1));
        let what = match failure {
            Failure::Died(Some(status)) if !answered && child::cannot_start(*status) => {
                delivery.release();
                return Outcome::Fatal(anyhow!("--worker {}: it cannot be started ({status})", self.command));
            }
            Failure::Died(Some(status)) => format!("it died ({status})"),
            Failure::Died(None) => "it closed its stdout".to_owned(),
            Failure::Nonsense(answer) => {
                format!(
                    "its answer was {answer:?}, not `ok`, `retry [SECONDS]`, `reject REASON` or `working`"
                )
            }
        };
        tracing::error!(id = %delivery.id(), attempt = delivery.attempt(), worker = %self.command, "{what}; it is restarted");
        delivery.nack_with(None, "the worker failed");
        if slot.failures >= MAX_FAILURES {
            let failures = slot.failures;
            return Outcome::Fatal(anyhow!(
                "--worker {}: {failures} failures in a row without a good answer; the last: {what}",
                self.command
            ));
        }
        Outcome::Settled
    }
}

impl Slot {
    /// The process of this place, started anew if it has ended, or has said something that nobody asked for.
    async fn ready(&mut self, command: &str) -> std::io::Result<&mut Process> {
        let fit = match &mut self.process {
            Some(process) => process.is_in_step().await,
            None => false,
        };
        if !fit {
            self.process = None;
            if let Some(then) = self.not_before.take() {
                tokio::time::sleep_until(then).await;
            }
        }
        match &mut self.process {
            Some(process) => Ok(process),
            empty => Ok(empty.insert(Process::start(command)?)),
        }
    }

    /// Closes the pipes of the process, which should exit then.
    pub(crate) fn close(&mut self) {
        if let Some(Process { group, child, .. }) = self.process.take() {
            self.ending = Some((group, child));
        }
    }

    /// Closes the pipes of the process and waits until it has exited. Cancel safe.
    pub(crate) async fn finish(&mut self) {
        self.close();
        if let Some((_, child)) = &mut self.ending
            && child.wait().await.is_ok()
            && let Some((group, _)) = self.ending.take()
        {
            group.ended();
        }
    }
}

impl Process {
    fn start(command: &str) -> std::io::Result<Self> {
        let mut child = child::shell(command).stdout(Stdio::piped()).spawn()?;
        let group = Group::of(&child);
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("a process without pipes"));
        };
        Ok(Self { group, child, stdin, answers: BufReader::new(stdout), answered: false })
    }

    /// Whether it still runs and has said nothing since its last answer: an extra line would be taken for the answer
    /// to the next message.
    async fn is_in_step(&mut self) -> bool {
        tokio::select! {
            biased;
            extra = self.answers.fill_buf() => {
                if extra.is_ok_and(|bytes| !bytes.is_empty()) {
                    tracing::error!("the worker has written more than its answer; it is restarted");
                }
                false
            }
            () = std::future::ready(()) => matches!(self.child.try_wait(), Ok(None)),
        }
    }

    /// Gives it a record, and waits for its answer; `working` runs whenever it says that it is still at it.
    async fn ask(&mut self, record: &[u8], working: impl Fn()) -> Result<Answer, Failure> {
        let (stdin, answers) = (&mut self.stdin, &mut self.answers);
        // Both at once: a worker may answer before it has read everything. If it does not read, its answer tells.
        let (_, (read, line)) = tokio::join!(
            async {
                stdin.write_all(record).await?;
                stdin.flush().await
            },
            answer(answers, working)
        );
        if read && line.ends_with(b"\n") {
            let text = String::from_utf8_lossy(&line);
            return Answer::parse(text.trim()).ok_or_else(|| Failure::Nonsense(text.trim().to_owned()));
        }
        if line.len() as u64 > MAX_ANSWER {
            return Err(Failure::Nonsense(format!("more than {MAX_ANSWER} bytes long")));
        }
        // It has closed its stdout. Usually it exits, and its status says why; else the group is killed.
        let exited = tokio::time::timeout(EXIT_GRACE, self.child.wait()).await;
        Err(Failure::Died(exited.ok().and_then(Result::ok)))
    }
}

/// The first line that does not only say that work goes on; whether it could be read, and what of it.
async fn answer(answers: &mut BufReader<ChildStdout>, working: impl Fn()) -> (bool, Vec<u8>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut *answers).take(MAX_ANSWER + 1).read_until(b'\n', &mut line).await;
        if read.is_err() || line.trim_ascii() != b"working" {
            return (read.is_ok(), line);
        }
        working();
    }
}

impl Answer {
    fn parse(line: &str) -> Option<Self> {
        let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match (verb, rest) {
            ("ok", "") => Some(Answer::Ok),
            ("retry", "") => Some(Answer::Retry(None)),
            ("retry", seconds) => {
                let seconds = seconds.parse::<f64>().ok()?;
                Some(Answer::Retry(Some(Duration::try_from_secs_f64(seconds).ok()?)))
            }
            ("reject", "") => Some(Answer::Reject("rejected by the worker".to_owned())),
            ("reject", reason) => Some(Answer::Reject(reason.to_owned())),
            _ => None,
        }
    }
}

fn settle(delivery: Delivery, answer: Answer) -> Outcome {
    match answer {
        Answer::Ok => {
            delivery.ack();
            return Outcome::Acked;
        }
        Answer::Retry(delay) => delivery.nack_with(delay, "the worker asked for a retry"),
        Answer::Reject(reason) => delivery.reject(&reason),
    }
    Outcome::Settled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert_eq!(Answer::parse("ok"), Some(Answer::Ok));
        assert_eq!(Answer::parse("retry"), Some(Answer::Retry(None)));
        assert_eq!(Answer::parse("retry 1.5"), Some(Answer::Retry(Some(Duration::from_millis(1500)))));
        assert_eq!(Answer::parse("retry 0"), Some(Answer::Retry(Some(Duration::ZERO))));
        assert_eq!(Answer::parse("reject not a  number"), Some(Answer::Reject("not a  number".into())));
        assert!(matches!(Answer::parse("reject"), Some(Answer::Reject(_))));
    }

    #[test]
    fn nothing_else_is_an_answer() {
        for line in [
            "",
            "OK",
            "ok then",
            "okay",
            "retry soon",
            "retry -1",
            "retry inf",
            "retry NaN",
            "rejected",
            "fail",
        ] {
            assert_eq!(Answer::parse(line), None, "{line:?}");
        }
    }

    fn on_runtime<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn a_process_answers_record_after_record() {
        on_runtime(async {
            let mut slot = Slot::default();
            let command = "while read -r line; do echo \"reject $line\"; done";
            for word in ["one", "two", "three"] {
                let process = slot.ready(command).await.unwrap();
                let answer = process.ask(format!("{word}\n").as_bytes(), || ()).await.ok();
                assert_eq!(answer, Some(Answer::Reject(word.into())));
            }
            slot.finish().await;
            assert!(slot.process.is_none());
        });
    }

    #[test]
    fn a_process_may_say_that_it_is_still_at_it() {
        on_runtime(async {
            let said = std::cell::Cell::new(0);
            let mut process = Process::start("read line; echo working; echo working; echo ok").unwrap();
            let answer = process.ask(b"x\n", || said.set(said.get() + 1)).await.ok();
            assert_eq!((answer, said.get()), (Some(Answer::Ok), 2));
        });
    }

    #[test]
    fn a_process_that_ends_or_talks_nonsense_is_a_failure() {
        on_runtime(async {
            let ask = async |command: &str| Process::start(command).unwrap().ask(b"x\n", || ()).await.err();
            assert!(
                matches!(ask("read line; exit 3").await, Some(Failure::Died(Some(s))) if s.code() == Some(3))
            );
            assert!(
                matches!(ask("read line; printf ok").await, Some(Failure::Died(Some(s))) if s.code() == Some(0))
            );
            assert!(
                matches!(ask("read line; echo perhaps").await, Some(Failure::Nonsense(a)) if a == "perhaps")
            );
            assert!(
                matches!(ask("head -c 9999 /dev/zero").await, Some(Failure::Nonsense(a)) if a.contains("4096"))
            );
            assert!(
                matches!(ask("/no/such/command 2>&-").await, Some(Failure::Died(Some(s))) if child::cannot_start(s))
            );
        });
    }

    #[test]
    fn a_process_that_answers_twice_is_replaced() {
        on_runtime(async {
            let mut slot = Slot::default();
            let command = "read line; printf 'ok\\nok\\n'; read line; echo ok";
            let first = slot.ready(command).await.unwrap();
            let id = first.child.id();
            assert_eq!(first.ask(b"x\n", || ()).await.ok(), Some(Answer::Ok));
            assert_ne!(slot.ready(command).await.unwrap().child.id(), id);
        });
    }
}
