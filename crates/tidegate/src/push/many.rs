//! Sending many: room first, and then the message, so that nothing is taken from an iterator that cannot be sent.

use tidegate_proto::{Machine as _, Message, Pusher};
use tokio::task::yield_now;

use super::{
    Permit, Push,
    line::ROUNDS,
    send::{ANY, failed, not_taken},
    waiting::Turn,
};
use crate::{error::SendError, shared::Shared};

/// Rooms that are promised under one lock: more makes nothing quicker, and keeps others waiting.
const CHUNK: usize = 64;

impl Push {
    /// Accepts all of them, in order, and returns how many there were: does what [`Self::send`] does for each, for less.
    ///
    /// It asks the iterator for a message only when there is room for it, and has sent everything before. So an iterator may wait for
    /// its next item, if it says that it might have none: if the lower bound of its `size_hint` is 0, as for a channel or the lines of
    /// a file. (The thread waits with it; see [`Self::blocking_send_all`].) An iterator that does not say where it ends is asked for
    /// more only when there is room for more. That the pusher has been closed shows at the next message.
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
    /// As [`Self::send`], for the first message that is not taken, which comes back; those before it are accepted. Give `&mut iterator`
    /// to keep those behind it.
    ///
    /// # Cancel safety
    /// If the future is dropped before it completes, every message that was taken from the iterator is accepted. The others are
    /// still in the iterator: give `&mut iterator` to keep them. How many were accepted is lost.
    pub async fn send_all<I>(&self, messages: I) -> Result<u64, SendError>
    where
        I: IntoIterator,
        I::Item: Into<Message>,
    {
        self.send_many(messages.into_iter(), true).await
    }

    /// Unless it `yields`, the links have a thread of their own.
    pub(super) async fn send_many<I>(&self, mut messages: I, yields: bool) -> Result<u64, SendError>
    where
        I: Iterator,
        I::Item: Into<Message>,
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
            // There is no room, or others wait for it.
            let largest = self.shared().local.max_message;
            // The iterator may wait for long, and keeps no bytes from others meanwhile.
            let turn = Turn::new(self, largest).await.map(Permit::of_any_size);
            match (turn, messages.next()) {
                (_, None) => return Ok(sent),
                (Ok(permit), Some(message)) => permit.send(message)?,
                (Err(error), Some(message)) => return Err(not_taken(message.into(), error)),
            }
            sent += 1;
        }
    }

    /// Whether the links should run before more is sent.
    fn takes_turns(&self) -> bool {
        self.shared().with(|inner| {
            let due = inner.state.stretch.is_over();
            if due {
                inner.state.stretch.renew(inner.machine.links());
            }
            due
        })
    }

    /// Sends for as long as there is room. False if that were all.
    fn send_run<I>(&self, messages: &mut I, sent: &mut u64) -> Result<bool, SendError>
    where
        I: Iterator,
        I::Item: Into<Message>,
    {
        loop {
            // The lock is not held while the iterator is asked, which may do anything.
            let most = messages.size_hint().0.clamp(1, CHUNK);
            let mut promised = Promised::new(self.shared(), most);
            if promised.left == 0 {
                return Ok(true);
            }
            let mut more = true;
            while more && promised.left > 0 {
                let Some(message) = messages.next() else { return Ok(false) };
                more = promised.send(self.check(message.into())?)?;
                *sent += 1;
            }
        }
    }
}

/// Room for some messages; what is left of it is given back.
struct Promised<'a> {
    shared: &'a Shared<Pusher>,
    left: usize,
}

impl<'a> Promised<'a> {
    /// As many as there is room for without waiting, `most` at most.
    fn new(shared: &'a Shared<Pusher>, most: usize) -> Self {
        let left = shared.with_message(|inner| {
            if inner.state.stretch.is_over() {
                return 0;
            }
            // Of a share of the room it takes one at a time, as every sender does.
            let line = &mut inner.state.line;
            let most = if line.is_free() {
                most.min(1 + inner.machine.spare() / ROUNDS)
            } else {
                usize::from(line.lets_pass())
            };
            (0..most).take_while(|_| inner.machine.reserve(ANY).is_ok()).count()
        });
        Self { shared, left }
    }

    /// Whether there is room for more bytes, too.
    fn send(&mut self, message: Message) -> Result<bool, SendError> {
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
}

impl Drop for Promised<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.shared.with(|inner| (0..self.left).for_each(|_| inner.machine.unreserve(ANY)));
        }
    }
}
