//! Sending many messages. Reserves room before it takes a message from the iterator, so that every message it
//! takes can be sent.

use tidegate_proto::{Machine as _, Pusher, wire::OpenBatch};
use tokio::task::yield_now;

use super::{
    Payload, Permit, Push,
    send::{ANY, failed, not_taken},
    send_queue::ROUNDS,
    waiting::Turn,
};
use crate::{error::SendError, socket::Shared};

/// Messages reserved under one lock. More would not be faster, and would make other senders wait.
const CHUNK: usize = 64;

impl Push {
    /// Accepts all messages of an iterator, in order, and returns their number.
    ///
    /// The iterator is asked for a message only if there is room for it, after all earlier messages were
    /// sent. An iterator may wait for its next item, like a channel or the lines of a file, if the lower
    /// bound of its `size_hint` is 0: the messages before are not held back meanwhile. It blocks the thread
    /// while it waits; see [`blocking_send_all`](crate::blocking::Push::blocking_send_all). If the pusher is closed,
    /// the next message returns the error.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// # let push = tidegate::Push::builder().bind("mem://send-all").max_message(10).build().await.unwrap();
    /// let mut names = ["one", "two", "much too long", "four"].into_iter();
    /// let error = push.send_all(&mut names).await.unwrap_err(); // "one" and "two" have been sent
    /// assert_eq!(error.into_message().payload(), "much too long");
    /// assert_eq!(push.send_all(names).await.unwrap(), 1); // "four"
    /// # }
    /// ```
    ///
    /// # Errors
    /// The same as [`Self::send`], for the first message that is not accepted; the error contains it. The
    /// messages before it are accepted. To keep the messages behind it, pass `&mut iterator`.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, every message taken from the iterator has been accepted,
    /// but their number is lost. The other messages are still in the iterator; to keep them, pass
    /// `&mut iterator`.
    pub async fn send_all<I>(&self, messages: I) -> Result<u64, SendError>
    where
        I: IntoIterator,
        I::Item: Payload,
    {
        self.send_many(messages.into_iter(), true).await
    }

    /// `yields` is false if the links run on a thread of their own.
    pub(crate) async fn send_many<I>(&self, mut messages: I, yields: bool) -> Result<u64, SendError>
    where
        I: Iterator,
        I::Item: Payload,
    {
        let mut sent = 0;
        loop {
            if !self.send_run(&mut messages, &mut sent)? || messages.size_hint().1 == Some(0) {
                return Ok(sent);
            }
            if self.takes_turns() {
                if yields {
                    yield_now().await;
                }
                continue;
            }
            // There is no room, or other senders wait for it.
            let largest = self.shared().local.max_message;
            // The iterator may wait for long, so the permit must not hold bytes that others could use.
            let turn = Turn::new(self, largest).await.map(Permit::of_any_size);
            match (turn, messages.next()) {
                (_, None) => return Ok(sent),
                (Ok(permit), Some(payload)) => permit.send(payload)?,
                (Err(error), Some(payload)) => return Err(not_taken(payload.into_message(), error)),
            }
            sent += 1;
        }
    }

    /// Whether the links should run before more is sent.
    fn takes_turns(&self) -> bool {
        self.shared().with(|inner| {
            let due = inner.state.stretch.is_over();
            if due {
                inner.state.stretch.renew(inner.machine.link_count());
            }
            due
        })
    }

    /// Sends while there is room. Returns false if the iterator is exhausted.
    fn send_run<I>(&self, messages: &mut I, sent: &mut u64) -> Result<bool, SendError>
    where
        I: Iterator,
        I::Item: Payload,
    {
        loop {
            // The iterator may do anything, so the lock is not held while it runs.
            let max = messages.size_hint().0.clamp(1, CHUNK);
            let mut promised = Promised::new(self.shared(), max);
            if promised.left == 0 {
                return Ok(true);
            }
            let mut more = true;
            while more && promised.left > 0 {
                let Some(payload) = messages.next() else { return Ok(false) };
                more = promised.send(payload)?;
                *sent += 1;
            }
        }
    }
}

/// Room reserved for several messages. The drop releases what was not used.
struct Promised<'a> {
    shared: &'a Shared<Pusher>,
    left: usize,
}

impl<'a> Promised<'a> {
    /// Reserves as many messages as there is room for without waiting, up to `most`.
    fn new(shared: &'a Shared<Pusher>, max: usize) -> Self {
        let left = shared.with_message(|inner| {
            if inner.state.stretch.is_over() {
                return 0;
            }
            // Within a sender's share, messages are reserved one at a time, as by every other sender.
            let queue = &mut inner.state.send_queue;
            let max = if queue.is_free() {
                max.min(1 + inner.machine.free_slots() / ROUNDS)
            } else {
                usize::from(queue.admits_at_once())
            };
            (0..max).take_while(|_| inner.machine.reserve(ANY).is_ok()).count()
        });
        Self { shared, left }
    }

    /// Sends into the room, and returns whether there is room for more bytes.
    fn send(&mut self, payload: impl Payload) -> Result<bool, SendError> {
        if let Some(more) = self.send_copied(&payload) {
            return Ok(more);
        }
        let message = payload.into_message();
        self.left -= 1;
        let sent = self.shared.with_send(|inner| {
            let accepted = inner.machine.send_reserved(message, false, ANY)?;
            inner.state.stretch.take(accepted.size);
            Ok(inner.machine.has_byte_room())
        });
        sent.map_err(|refused: tidegate_proto::Refused| {
            failed(self.shared.with(|inner| inner.lost), refused.message, refused.reason)
        })
    }

    /// Does what [`Self::send`] does for a small payload without headers that a link can take now.
    fn send_copied(&mut self, payload: &impl Payload) -> Option<bool> {
        let bytes = payload.plain().filter(|bytes| OpenBatch::copies(bytes))?;
        let more = self.shared.with_send(|inner| {
            let accepted = inner.machine.try_send_reserved_fast(bytes, ANY)?;
            inner.state.stretch.take(accepted.size);
            Some(inner.machine.has_byte_room())
        })?;
        self.left -= 1;
        Some(more)
    }
}

impl Drop for Promised<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.shared.with(|inner| (0..self.left).for_each(|_| inner.machine.unreserve(ANY)));
        }
    }
}
