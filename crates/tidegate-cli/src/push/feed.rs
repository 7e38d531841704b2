//! Sending the records of the input, one after another.

use std::collections::VecDeque;

use anyhow::Context as _;
use bytes::Bytes;
use tidegate::{ConnectedError, Message, Push};

use super::dead::DeadLetters;
use super::input::{Input, Read, TooLong};
use super::oversized::Copies;
use crate::args::PushArgs;

/// Sends the input, and keeps what has been read and not accepted.
pub(crate) struct Feeder<'a> {
    push: &'a Push,
    args: &'a PushArgs,
    /// Records that have been read and not accepted yet.
    pending: VecDeque<Bytes>,
    /// Records that were too large.
    copies: Copies,
}

impl<'a> Feeder<'a> {
    pub(crate) fn new(push: &'a Push, args: &'a PushArgs, dead: Option<DeadLetters>) -> Self {
        Self { push, args, pending: VecDeque::new(), copies: Copies::new(dead) }
    }

    /// Sends the whole input. If the future is dropped or fails, [`Self::end`] returns what has been read and
    /// not accepted.
    ///
    /// # Errors
    /// If the input cannot be read, or sending fails.
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
            // A record is removed only after it has been accepted: a `send` that was dropped has certainly
            // not sent it.
            while let Some(payload) = self.pending.front() {
                self.push.send(message(self.args, payload.clone())).await?;
                self.pending.pop_front();
            }
        }
        Ok(())
    }

    /// Waits for the pullers of `--expect`. If an endpoint refuses the pusher, that is an error only if no
    /// other endpoint is left.
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

    /// Ends the feeding: returns what has been read and not accepted, and the records that were too large.
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
