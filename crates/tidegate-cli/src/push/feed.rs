//! From the input to the pusher, one record after another.

use std::collections::VecDeque;

use anyhow::Context as _;
use bytes::Bytes;
use tidegate::{ConnectedError, Message, Push};

use super::dead::DeadLetters;
use super::input::{Input, Read, TooLong};
use super::oversized::Copies;
use crate::args::PushArgs;

/// What is being sent.
pub(crate) struct Feeder<'a> {
    push: &'a Push,
    args: &'a PushArgs,
    /// Read, and not accepted yet.
    pending: VecDeque<Bytes>,
    /// Records that were too large.
    copies: Copies,
}

impl<'a> Feeder<'a> {
    pub(crate) fn new(push: &'a Push, args: &'a PushArgs, dead: Option<DeadLetters>) -> Self {
        Self { push, args, pending: VecDeque::new(), copies: Copies::new(dead) }
    }

    /// Sends the whole input. When it is cancelled or fails, [`Self::end`] returns what has been read and not been accepted.
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
                    self.copies.add([record]);
                    self.copies.all().await?;
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

    /// The end of it, after a stop: what has been read and not been accepted, and the records that were too large.
    pub(crate) fn end(mut self, oversized: Vec<TooLong>) -> (VecDeque<Bytes>, Copies) {
        self.copies.add(oversized);
        (self.pending, self.copies)
    }
}

/// The message of a record.
pub(crate) fn message(args: &PushArgs, payload: Bytes) -> Message {
    let plain = Message::new(payload);
    args.headers.iter().fold(plain, |message, h| message.with_header(h.name.clone(), h.value.clone()))
}
