//! Running commands or workers in parallel: assigning deliveries to free slots, and stopping.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tidegate::{Delivery, Pull};
use tokio::task::JoinSet;

use super::exec::Exec;
use super::job_result::JobResult;
use super::shortage::Shortage;
use super::source::{Next, Source};
use super::stopper::Stopper;
use super::worker::{Slot, Worker};
use crate::exit::Exit;
use crate::text;

/// How long an idle worker may take to exit when another job needs its resources.
const MAX_EXIT_WAIT: Duration = Duration::from_secs(1);

/// What runs for a message.
enum JobKind {
    Exec(Arc<Exec>),
    Worker(Arc<Worker>),
}

/// A fixed number of slots, each with at most one message.
pub(crate) struct Jobs {
    kind: JobKind,
    /// Slots without a message. The process of a worker stays in its slot.
    free: Vec<Slot>,
    running: JoinSet<(Slot, JobResult)>,
    acked: u64,
    shortage: Arc<Shortage>,
    /// Whether a command or worker has succeeded so far. From then on, every failure is attributed to its
    /// message: a message that no puller can process must not stop one puller after another.
    proven: bool,
    /// Messages whose commands could not be started, while other commands run that may succeed.
    undecided: Vec<(Delivery, anyhow::Error)>,
}

impl Jobs {
    /// Runs a new process for each message.
    pub(crate) fn exec(exec: Arc<Exec>, jobs: u32, shortage: Arc<Shortage>) -> Self {
        Self::new(JobKind::Exec(exec), jobs, shortage)
    }

    /// Keeps a process in each slot, for one message after another.
    pub(crate) fn worker(worker: Arc<Worker>, jobs: u32, shortage: Arc<Shortage>) -> Self {
        Self::new(JobKind::Worker(worker), jobs, shortage)
    }

    fn new(kind: JobKind, jobs: u32, shortage: Arc<Shortage>) -> Self {
        Self {
            kind,
            free: (0..jobs).map(|_| Slot::default()).collect(),
            running: JoinSet::new(),
            acked: 0,
            shortage,
            proven: false,
            undecided: Vec::new(),
        }
    }

    /// Works until the daemon has a reason to stop. Always returns `None`: running jobs must be waited for,
    /// see [`wind_up`].
    ///
    /// # Errors
    /// If a command cannot be started, or the source fails.
    pub(crate) async fn run(
        &mut self,
        source: &mut Source,
        stopper: &mut Stopper,
        count: Option<u64>,
    ) -> anyhow::Result<Option<Exit>> {
        let count = count.unwrap_or(u64::MAX);
        while self.acked < count {
            // No more than may still be acked: a further message would be processed and not counted.
            let wanted = self.acked + (self.running.len() as u64) < count
                && self.undecided.is_empty()
                && !self.shortage.is_on();
            let busy = !self.running.is_empty();
            let shortage = Arc::clone(&self.shortage);
            tokio::select! {
                biased;
                () = stopper.requested() => return Ok(None),
                Some(done) = self.running.join_next() => {
                    self.done(done)?;
                    source.touch();
                }
                next = source.next(busy), if wanted && !self.free.is_empty() => match next? {
                    Next::Message(delivery) => self.start(delivery),
                    Next::Ended | Next::Idle => return Ok(None),
                },
                () = shortage.is_over(), if self.shortage.is_on() => {}
            }
        }
        Ok(None)
    }

    fn start(&mut self, delivery: Delivery) {
        // Prefers a slot whose process runs: no idle worker should hold resources that another one needs to
        // start.
        let started = self.free.iter().rposition(Slot::is_started);
        let slot = started.map(|at| self.free.swap_remove(at)).or_else(|| self.free.pop());
        let mut slot = slot.unwrap_or_default();
        match &self.kind {
            JobKind::Exec(exec) => {
                let exec = Arc::clone(exec);
                self.running.spawn(async move { (slot, exec.run(delivery).await) });
            }
            JobKind::Worker(worker) => {
                let worker = Arc::clone(worker);
                self.running.spawn(async move {
                    let outcome = worker.run(&mut slot, delivery).await;
                    (slot, outcome)
                });
            }
        }
    }

    fn done(&mut self, done: Result<(Slot, JobResult), tokio::task::JoinError>) -> anyhow::Result<()> {
        let (mut slot, outcome) = done.map_err(|error| anyhow!(error).context("a job has failed"))?;
        if self.shortage.is_on() && slot.is_started() {
            // Other jobs wait for the resources of an idle worker, and no message arrives for it meanwhile.
            // Its end is awaited as a job.
            self.running.spawn(async move {
                let _ = tokio::time::timeout(MAX_EXIT_WAIT, slot.finish()).await;
                (slot, JobResult::Settled)
            });
        } else {
            self.free.push(slot);
            self.shortage.job_ended();
        }
        match outcome {
            JobResult::Acked => {
                self.acked += 1;
                self.proven = true;
            }
            JobResult::Settled => {}
            JobResult::CannotStart(delivery, error) => self.undecided.push((delivery, error)),
            JobResult::Failing(error) if self.proven => tracing::debug!("{error:#}"),
            JobResult::Failing(error) | JobResult::Fatal(error) => return Err(error),
        }
        self.decide()
    }

    /// Settles messages whose commands could not be started, once it is known whether any command can be.
    fn decide(&mut self) -> anyhow::Result<()> {
        if self.proven {
            for (delivery, error) in self.undecided.drain(..) {
                let what = format!("{error:#}");
                tracing::warn!(id = %delivery.id(), attempt = delivery.attempt(), "{}", text::visible(&what));
                delivery.nack_with(None, "the command could not be started");
            }
        } else if self.running.is_empty() {
            let mut first = None;
            for (delivery, error) in self.undecided.drain(..) {
                delivery.release();
                first.get_or_insert(error);
            }
            return first.map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// Waits for running jobs, then closes the stdin of the workers and waits for them. Cancel safe: nothing
    /// is forgotten.
    async fn finish(&mut self) -> anyhow::Result<()> {
        self.shortage.leave();
        let mut failed = None;
        while let Some(done) = self.running.join_next().await {
            if let Err(error) = self.done(done) {
                failed.get_or_insert(error);
            }
        }
        // All are closed first, because each may have much to do at the end.
        self.free.iter_mut().for_each(Slot::close);
        for slot in &mut self.free {
            slot.finish().await;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Kills everything that still runs.
    pub(crate) async fn kill(&mut self) {
        self.running.shutdown().await;
        self.free.clear();
    }
}

/// Stops the puller: returns messages that have not been started, and waits for those that have, within the
/// linger time. Returns the exit code.
///
/// # Errors
/// If a job fails with an error that stops the daemon.
pub(crate) async fn wind_up(
    pull: &Pull,
    stopper: &mut Stopper,
    jobs: Option<&mut Jobs>,
) -> anyhow::Result<Exit> {
    stopper.begin();
    let work = async {
        match jobs {
            Some(jobs) => jobs.finish().await,
            None => Ok(()),
        }
    };
    tokio::select! {
        biased;
        // The stopper limits the time, which has started already.
        (worked, left) = async { tokio::join!(work, pull.leave(Duration::MAX)) } => {
            worked?;
            Ok(if left.is_ok() { Exit::Success } else { Exit::Lingered })
        }
        exit = stopper.patience() => Ok(exit),
    }
}
