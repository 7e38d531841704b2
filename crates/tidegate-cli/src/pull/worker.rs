//! `--worker`: processes that keep running, and answer each record with a line.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use tidegate::Delivery;
use tokio::process::Child;
use tokio::time::Instant;

use super::child::{self, Group};
use super::envelope::Rendering;
use super::job_result::JobResult;
use super::process::{Failure, Process};
use super::separators::{self, Separators};
use super::shortage::Shortage;
use crate::args::SeparatorInPayload;
use crate::text;
use crate::throttle::{Throttle, more};
use crate::timer::at;

/// If no worker has given a valid answer yet, this many failures of one worker in a row stop the daemon.
const MAX_FAILURES: u32 = 5;
/// A slot waits for at most this many earlier processes to finish; the oldest of more is killed. Otherwise a worker
/// that closes its stdin after each message and never exits would fill the process table.
const MAX_ENDING: usize = 16;
/// The pause after the first failure. It doubles with each further failure, up to 16 times this value.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// Number of failures logged per [`REPORT_INTERVAL`]; `-v` logs each.
const MAX_REPORTED: u32 = 5;
/// See [`MAX_REPORTED`].
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// A command that keeps running.
pub(crate) struct Worker {
    command: String,
    rendering: Rendering,
    /// The time limit of an answer.
    timeout: Option<Duration>,
    shortage: Arc<Shortage>,
    /// A worker would answer such a message twice, so these payloads are always rejected.
    separators: Separators,
    failures: Mutex<Throttle>,
}

/// A slot for the process of one worker.
#[derive(Default)]
pub(crate) struct Slot {
    process: Option<Process>,
    /// Processes whose pipes have been closed and that have not exited yet, oldest first; at most [`MAX_ENDING`].
    ending: VecDeque<(Group, Child)>,
    /// Failures since the last valid answer.
    failures: u32,
    /// No process is started before this time.
    not_before: Option<Instant>,
}

impl Worker {
    /// Keeps `command` running with `sh -c`. `timeout` limits each answer.
    pub(crate) fn new(
        command: &str,
        rendering: Rendering,
        timeout: Option<Duration>,
        shortage: Arc<Shortage>,
    ) -> Self {
        let failures = Mutex::new(Throttle::new(MAX_REPORTED, REPORT_INTERVAL));
        let separators = Separators::new(SeparatorInPayload::Reject);
        Self { command: command.to_owned(), rendering, timeout, shortage, separators, failures }
    }

    /// Gives a message to the process in `slot`, which is started if necessary, and settles the message by
    /// the answer. If the future is dropped, the process ends with the slot.
    pub(crate) async fn run(&self, slot: &mut Slot, delivery: Delivery) -> JobResult {
        let mut record = Vec::new();
        let framing = self.rendering.framing;
        let carried = self.rendering.content(&delivery).and_then(|content| {
            framing.put(&mut record, &content)?;
            Ok(self.separators.allow(framing, &content))
        });
        if !matches!(carried, Ok(true)) {
            // Further attempts would fail too.
            delivery.reject(separators::REASON);
            return JobResult::Settled;
        }
        loop {
            let process = match self.ready(slot).await {
                Ok(Some(process)) => process,
                Ok(None) => {
                    delivery.release();
                    return JobResult::Settled;
                }
                Err(error) => {
                    delivery.release();
                    return JobResult::Fatal(
                        anyhow!(error).context(format!("--worker {}: cannot start sh", self.command)),
                    );
                }
            };
            let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            let answer = tokio::select! {
                biased;
                answer = process.ask(&record, || delivery.working()) => answer,
                () = at(deadline) => return self.timed_out(slot, delivery).await,
            };
            match answer {
                Ok(answer) => {
                    let extra = process.take_out_of_step();
                    slot.failures = 0;
                    if extra {
                        self.extra(slot);
                    }
                    return answer.settle(delivery);
                }
                // No process has read the message, so this is not an attempt. The next process answers it or
                // fails.
                Err(Failure::Gone) if process.has_exited() => slot.process = None,
                // The process may have something to finish, as at the end of the daemon.
                Err(Failure::Gone) => slot.close(),
                Err(failure) => return self.failed(slot, delivery, &failure),
            }
        }
    }

    /// The process of a slot. It is started if there is none, if it has ended, or if it is out of step.
    /// `None`: processes are no longer started.
    async fn ready<'a>(&self, slot: &'a mut Slot) -> io::Result<Option<&'a mut Process>> {
        match slot.process.as_mut().map(Process::is_ready) {
            Some(Ok(true)) => {}
            // A process that has only closed its pipes may have something to finish.
            Some(Ok(false)) => slot.close(),
            Some(Err(_)) => self.extra(slot),
            None => {}
        }
        if slot.process.is_none() {
            at_last(slot.not_before.take()).await;
            let what = format!("--worker {}", self.command);
            slot.process = self.shortage.overcome(&what, || Process::start(&self.command)).await?;
        }
        Ok(slot.process.as_mut())
    }

    /// Drops a process that has answered more often than it was asked. Its next output would be taken for the
    /// answer to another message.
    fn extra(&self, slot: &mut Slot) {
        slot.process = None;
        self.tell("it has answered more often than it was asked; it must answer each message once");
    }

    async fn timed_out(&self, slot: &mut Slot, delivery: Delivery) -> JobResult {
        let timeout = humantime::format_duration(self.timeout.unwrap_or_default());
        if let Some(process) = slot.process.take() {
            process.terminate().await;
        }
        self.tell(&format!(
            "it has not answered within --timeout {timeout} and was stopped (id {}, attempt {})",
            delivery.id(),
            delivery.attempt()
        ));
        delivery.nack_with(None, &format!("the worker has not answered within --timeout {timeout}"));
        JobResult::Settled
    }

    fn failed(&self, slot: &mut Slot, delivery: Delivery, failure: &Failure) -> JobResult {
        let answered = slot.process.take().is_some_and(|process| process.has_answered());
        slot.failures = slot.failures.saturating_add(1);
        slot.not_before =
            Instant::now().checked_add(MIN_PAUSE * 2_u32.pow(slot.failures.min(MAX_FAILURES) - 1));
        let what = match failure {
            Failure::Died(Some(status), _) if !answered && child::cannot_start(*status) => {
                let what = format!("--worker {}: it cannot be started ({status})", self.command);
                return JobResult::CannotStart(delivery, anyhow!(what));
            }
            Failure::Died(Some(status), rest) if rest.is_empty() => format!("it ended ({status})"),
            Failure::Died(Some(status), rest) => {
                format!("it ended ({status}) after the output {rest:?}, which is not an answer")
            }
            Failure::Died(None, _) => "it closed its stdout".to_owned(),
            Failure::Nonsense(answer) => {
                format!(
                    "its answer was {answer:?}, not `ok`, `retry [SECONDS]`, `reject REASON` or `working`"
                )
            }
            Failure::Extra => {
                "it has answered more often than it was asked; it must answer each message once".to_owned()
            }
            Failure::Early => "it has answered before it had read the message".to_owned(),
            Failure::StdinClosed => "it closed its stdin and did not answer".to_owned(),
            Failure::Gone => "it has ended".to_owned(),
        };
        self.tell(&format!("{what} (id {}, attempt {})", delivery.id(), delivery.attempt()));
        delivery.nack_with(None, "the worker failed");
        if slot.failures >= MAX_FAILURES {
            let failures = slot.failures;
            return JobResult::Failing(anyhow!(
                "--worker {}: {failures} failures in a row without a valid answer; the last one: {what}",
                self.command
            ));
        }
        JobResult::Settled
    }

    fn tell(&self, what: &str) {
        let command = text::visible(&self.command);
        let what = text::visible(what);
        match self.failures.lock().unwrap_or_else(PoisonError::into_inner).admit() {
            Some(kept_back) => {
                tracing::error!("--worker {command}: {what}; it is restarted{}", more(kept_back));
            }
            None => tracing::info!("--worker {command}: {what}; it is restarted"),
        }
    }
}

/// Waits until `time`, if there is one.
async fn at_last(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time).await;
    }
}

impl Slot {
    /// Whether the slot has a process.
    pub(crate) fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Closes the pipes of the process, which should then exit.
    pub(crate) fn close(&mut self) {
        for (group, mut child) in std::mem::take(&mut self.ending) {
            match child.try_wait() {
                Ok(Some(_)) => group.ended(),
                _ => self.ending.push_back((group, child)),
            }
        }
        if let Some(process) = self.process.take() {
            if self.ending.len() >= MAX_ENDING {
                self.ending.pop_front();
            }
            self.ending.push_back(process.close());
        }
    }

    /// Closes the pipes of the process, and waits until it and all earlier ones have exited. Cancel safe.
    pub(crate) async fn finish(&mut self) {
        self.close();
        while let Some((_, child)) = self.ending.front_mut() {
            let exited = child.wait().await.is_ok();
            if let Some((group, _)) = self.ending.pop_front()
                && exited
            {
                group.ended();
            }
        }
    }
}
