//! From the input to the pusher, one record after another.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use tidegate::{ConnectedError, Message, Push};
use tokio::task::JoinHandle;

use super::dead::{self, DeadLetters};
use super::input::{Input, Read, TooLong};
use crate::args::PushArgs;
use crate::text::{self, thousands};

/// What is being sent.
pub(crate) struct Feeder<'a> {
    push: &'a Push,
    args: &'a PushArgs,
    dead: Option<DeadLetters>,
    /// Read, and not accepted yet.
    pub(crate) pending: VecDeque<Bytes>,
    /// Records that were too large, and have been dropped or written to the dead letters.
    pub(crate) oversized: u64,
    /// Such ones with which that has not been done yet.
    pub(crate) unkept: VecDeque<TooLong>,
    /// The write of the first of these to the dead letters, if one is under way.
    keeping: Option<JoinHandle<anyhow::Result<()>>>,
}

impl<'a> Feeder<'a> {
    pub(crate) fn new(push: &'a Push, args: &'a PushArgs, dead: Option<DeadLetters>) -> Self {
        Self {
            push,
            args,
            dead,
            pending: VecDeque::new(),
            oversized: 0,
            unkept: VecDeque::new(),
            keeping: None,
        }
    }

    /// Sends the whole input. When it is cancelled or fails, what has been read and not been accepted is in `pending` and `unkept`.
    ///
    /// # Errors
    /// When the input cannot be read on, or what it takes to send it fails.
    pub(crate) async fn feed(&mut self, input: &mut Input) -> anyhow::Result<()> {
        if self.args.expect > 0 {
            self.connected().await.context("--expect")?;
        }
        while let Some(read) = input.next().await? {
            match read {
                Read::Records(records) => self.pending = records.into(),
                Read::Oversized(record) => {
                    self.unkept.push_back(record);
                    self.keep().await?;
                }
            }
            // It leaves the line only when it has been accepted: a cancelled `send` has certainly not sent.
            while let Some(payload) = self.pending.front() {
                self.push.send(message(self.args, payload.clone())).await?;
                self.pending.pop_front();
            }
        }
        Ok(())
    }

    /// Waits for the pullers of `--expect`. The refusal of one endpoint ends it only if no other endpoint can bring them.
    async fn connected(&self) -> Result<(), ConnectedError> {
        let mut events = self.push.events();
        loop {
            let connected = self.push.connected(self.args.expect).await;
            let hopes = matches!(connected, Err(ConnectedError::Refused(_))) && self.push.refusal().is_none();
            if !hopes || events.recv().await.is_none() {
                return connected;
            }
        }
    }

    /// The end of it, after a stop: dead letters that are not written within `patience` are left; a write that was under way then may
    /// succeed later. Returns what has been read and not been accepted, how many records were too large, and which of these are left.
    pub(crate) async fn end(
        mut self,
        oversized: Vec<TooLong>,
        patience: Duration,
    ) -> (VecDeque<Bytes>, u64, VecDeque<TooLong>) {
        self.unkept.extend(oversized);
        let kept = tokio::time::timeout(patience, self.keep()).await;
        let kept = kept.unwrap_or_else(|_| Err(anyhow!("--dead-letter: writing does not end")));
        if let Err(error) = kept {
            super::report_error(&error);
        }
        (self.pending, self.oversized, self.unkept)
    }

    /// Puts records that are too large where `--oversized` says. Cancel safe: what is not done is in `unkept`.
    async fn keep(&mut self) -> anyhow::Result<()> {
        while let Some(record) = self.unkept.front() {
            match (&self.dead, &record.kept) {
                (Some(dead), Some(kept)) => {
                    // The one of a call that was cancelled goes on: another one would write the record twice.
                    let keeping = match &mut self.keeping {
                        Some(keeping) => keeping,
                        none => {
                            let kept = kept.try_clone().context("--oversized dead-letter")?;
                            none.insert(dead.copy(kept, record.length))
                        }
                    };
                    let kept = keeping.await;
                    self.keeping = None;
                    dead::ended(kept)?;
                    tracing::info!("{}: it is in --dead-letter", too_large(record));
                }
                _ => dropped(record),
            }
            self.oversized += 1;
            self.unkept.pop_front();
        }
        Ok(())
    }
}

/// Says that nothing but its length is left of a record.
pub(crate) fn dropped(record: &TooLong) {
    let hint = if record.kept.is_some() {
        "it is not in --dead-letter; --unsent FILE would keep it"
    } else {
        "--oversized dead-letter would keep it, a larger --max-message send it"
    };
    tracing::warn!("{}: dropped; {hint}", too_large(record));
}

fn too_large(record: &TooLong) -> String {
    format!(
        "input {}: record {} has {} bytes, more than --max-message leaves room for",
        text::visible(&record.input),
        record.record,
        thousands(record.length)
    )
}

/// The message of a record.
pub(crate) fn message(args: &PushArgs, payload: Bytes) -> Message {
    let plain = Message::new(payload);
    args.headers.iter().fold(plain, |message, h| message.with_header(h.name.clone(), h.value.clone()))
}
