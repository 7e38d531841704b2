//! Commands and workers side by side: who is free, who is busy, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tidegate::{Delivery, Pull};
use tokio::task::JoinSet;

use super::exec::Exec;
use super::shortage::Shortage;
use super::source::{Next, Source};
use super::stopper::Stopper;
use super::worker::{Slot, Worker};
use crate::exit::Exit;
use crate::text;

/// How long an idle worker that makes room for others may take to exit before they are told that it has.
const GIVES_WAY: Duration = Duration::from_secs(1);

/// What became of a message.
pub(crate) enum Outcome {
    Acked,
    /// It has another outcome.
    Settled,
    /// There was nothing to run. Until something has succeeded, that is a mistake in the command line and not in the message.
    CannotStart(Delivery, anyhow::Error),
    /// It has another outcome, and until something has succeeded, going on is useless.
    Failing(anyhow::Error),
    /// Going on is useless; the message has been given back.
    Fatal(anyhow::Error),
}

/// What runs for a message.
enum Kind {
    Exec(Arc<Exec>),
    Worker(Arc<Worker>),
}

/// A fixed number of places, each with at most one message.
pub(crate) struct Jobs {
    kind: Kind,
    /// Places without a message. A worker's process stays in its place.
    free: Vec<Slot>,
    running: JoinSet<(Slot, Outcome)>,
    acked: u64,
    shortage: Arc<Shortage>,
    /// Whether a command or worker has succeeded so far. From then on a failure is one of the message, whatever it is: a message
    /// that nobody can process must not stop every puller in turn.
    proven: bool,
    /// Messages whose commands could not be started, while others run that may succeed.
    undecided: Vec<(Delivery, anyhow::Error)>,
}

impl Jobs {
    /// Runs a new process for each message.
    pub(crate) fn exec(exec: Arc<Exec>, jobs: u32, shortage: Arc<Shortage>) -> Self {
        Self::new(Kind::Exec(exec), jobs, shortage)
    }

    /// Runs a process in each place, for message after message.
    pub(crate) fn worker(worker: Arc<Worker>, jobs: u32, shortage: Arc<Shortage>) -> Self {
        Self::new(Kind::Worker(worker), jobs, shortage)
    }

    fn new(kind: Kind, jobs: u32, shortage: Arc<Shortage>) -> Self {
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

    /// Works until there is a reason to leave. Always `None`: what runs has to be waited for, see [`wind_up`].
    ///
    /// # Errors
    /// When a command cannot be started, and when the source fails.
    pub(crate) async fn run(
        &mut self,
        source: &mut Source,
        stopper: &mut Stopper,
        count: Option<u64>,
    ) -> anyhow::Result<Option<Exit>> {
        let count = count.unwrap_or(u64::MAX);
        while self.acked < count {
            // Not more at once than may still be acked: a message too many would be processed and not counted.
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
        // One whose process runs, if there is one: no idle worker should hold what another needs to start.
        let started = self.free.iter().rposition(Slot::is_started);
        let slot = started.map(|at| self.free.swap_remove(at)).or_else(|| self.free.pop());
        let mut slot = slot.unwrap_or_default();
        match &self.kind {
            Kind::Exec(exec) => {
                let exec = Arc::clone(exec);
                self.running.spawn(async move { (slot, exec.run(delivery).await) });
            }
            Kind::Worker(worker) => {
                let worker = Arc::clone(worker);
                self.running.spawn(async move {
                    let outcome = worker.run(&mut slot, delivery).await;
                    (slot, outcome)
                });
            }
        }
    }

    fn done(&mut self, done: Result<(Slot, Outcome), tokio::task::JoinError>) -> anyhow::Result<()> {
        let (mut slot, outcome) = done.map_err(|error| anyhow!(error).context("a job has failed"))?;
        if self.shortage.is_on() && slot.is_started() {
            // Others wait for what an idle worker holds, and no message comes to it meanwhile. This ends as a job of its own.
            self.running.spawn(async move {
                let _ = tokio::time::timeout(GIVES_WAY, slot.finish()).await;
                (slot, Outcome::Settled)
            });
        } else {
            self.free.push(slot);
            self.shortage.job_ended();
        }
        match outcome {
            Outcome::Acked => {
                self.acked += 1;
                self.proven = true;
            }
            Outcome::Settled => {}
            Outcome::CannotStart(delivery, error) => self.undecided.push((delivery, error)),
            Outcome::Failing(error) if self.proven => tracing::debug!("{error:#}"),
            Outcome::Failing(error) | Outcome::Fatal(error) => return Err(error),
        }
        self.decide()
    }

    /// Settles messages whose commands could not be started, once it is known whether any command can.
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

    /// Waits for what runs, then for the workers, whose stdin is closed. Cancel safe: nothing is forgotten.
    async fn finish(&mut self) -> anyhow::Result<()> {
        self.shortage.leave();
        let mut failed = None;
        while let Some(done) = self.running.join_next().await {
            if let Err(error) = self.done(done) {
                failed.get_or_insert(error);
            }
        }
        // All at once: each may have much to do at the end.
        self.free.iter_mut().for_each(Slot::close);
        for slot in &mut self.free {
            slot.finish().await;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Kills whatever is left.
    pub(crate) async fn kill(&mut self) {
        self.running.shutdown().await;
        self.free.clear();
    }
}

/// Leaves: gives back what has not been started, waits for what has, within the linger time, and gives the exit code.
///
/// # Errors
/// When a job that was waited for found that going on is useless.
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
        // The linger time is the stopper's, and it has begun before.
        (worked, left) = async { tokio::join!(work, pull.leave(Duration::MAX)) } => {
            worked?;
            Ok(if left.is_ok() { Exit::Success } else { Exit::Lingered })
        }
        exit = stopper.patience() => Ok(exit),
    }
}
