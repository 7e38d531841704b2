//! Drives one open link: reads, writes and timers, as the contract of `tidegate-proto` requires. Each link
//! has one task, which takes the lock once for each poll of the machine, not once for each frame.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tidegate_proto::{LinkEnd, LinkId, Peer, PollBudget, Time, wire::FrameReader};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    task::yield_now,
    time::{Instant, Sleep, timeout},
};
use tokio_util::io::poll_read_buf;

use crate::{
    caught::caught,
    socket::{Shared, SocketMachine, outgoing},
    transport::BoxStream,
};

struct Driver<M: SocketMachine> {
    shared: Arc<Shared<M>>,
    link: LinkId,
    stream: BoxStream,
    reader: FrameReader,
    out: VecDeque<Bytes>,
    /// Written bytes may still be in the buffer of TLS.
    unflushed: bool,
    sleep: Pin<Box<Sleep>>,
    sleep_until: Instant,
    /// With busy polling: the time until which the driver does not sleep.
    busy_until: Time,
    /// The driver woke itself to poll again.
    spinning: bool,
    /// The driver has yielded once before sending.
    gave_way: bool,
    /// The results of the last I/O, for the machine.
    io_result: IoResult,
    /// What is left of this turn. If it is used up, whole frames may be left in the reader.
    turn: PollBudget,
    peer: Peer,
    /// The end of the peer's stream was reported as an event.
    end_reported: bool,
}

#[derive(Default)]
struct IoResult {
    written: usize,
    read: bool,
    empty: bool,
    due: bool,
    write_error: Option<io::Error>,
    write_dead: bool,
}

/// What the machine requests next.
struct Directives {
    wants_read: bool,
    finished: bool,
    /// The peer has ended its stream.
    ended: bool,
    deadline: Option<Time>,
}

/// The result of driving a link to its end.
pub(super) struct Driven {
    /// Why the link ended; `None` if it was already removed.
    pub(super) end: Option<LinkEnd>,
    /// A message was settled over the link (RD-6).
    pub(super) had_outcome: bool,
    /// How long the link was driven (RD-6).
    pub(super) lasted: Duration,
    /// The stream is over for both sides (ST-3, ST-6).
    pub(super) over: bool,
}

/// Drives the link until it ends, and removes it from the machine.
pub(super) async fn drive<M: SocketMachine>(
    shared: Arc<Shared<M>>,
    link: LinkId,
    stream: BoxStream,
    mut reader: FrameReader,
    peer: Peer,
) -> Driven {
    reader.open(shared.with(|inner| {
        M::opened(inner, link, &peer, &shared);
        if !M::GIVES_WAY
            && let Some(direct) = stream.direct()
        {
            inner.directs.insert(link, direct);
        }
        inner.machine.frame_limit()
    }));
    let attached = Attached::new(&shared, link, "the runtime has been shut down");
    let opened = Instant::now();
    let sleep_until = opened;
    let mut driver = Driver {
        link,
        stream,
        reader,
        out: VecDeque::new(),
        unflushed: false,
        sleep: Box::pin(tokio::time::sleep_until(sleep_until)),
        sleep_until,
        busy_until: Time::default(),
        spinning: false,
        gave_way: false,
        // Frames may have arrived together with the Hello.
        io_result: IoResult { read: true, ..IoResult::default() },
        turn: PollBudget::new(),
        peer,
        end_reported: false,
        shared,
    };
    // The owner of a payload or a waker may panic. That ends the link, but must not end the task that
    // reconnects.
    let reason = poll_fn(|cx| {
        caught(|| driver.poll(cx)).unwrap_or_else(|panicked| Poll::Ready(format!("its driver {panicked}")))
    })
    .await;
    let Driver { shared, mut stream, io_result, peer, .. } = driver;
    attached.done();
    let result = shared.with(|inner| {
        inner.forget(link);
        // RD-3: the peer may have received what was written during the last poll.
        if io_result.written > 0 {
            inner.machine.handle_written(shared.now(), link, io_result.written);
        }
        let (had_outcome, over) = (inner.machine.has_outcome(link), inner.machine.is_over(link));
        let lasted = opened.elapsed();
        Driven { end: inner.closed(shared.now(), link, peer.instance, &reason), had_outcome, lasted, over }
    });
    shared.wakers.changed();
    // Other tasks may wait for the last link to end.
    shared.wakers.ready.notify_waiters();
    // The peer has sent Close or does not answer, so a longer wait gains nothing. TLS writes a close_notify,
    // which would block if the peer does not read.
    let _ = timeout(shared.times.close_wait, stream.shutdown()).await;
    result
}

/// Removes the link from the machine if the task that drives it is dropped, for example when the runtime is
/// shut down.
pub(super) struct Attached<M: SocketMachine> {
    shared: Arc<Shared<M>>,
    link: LinkId,
    reason: Option<&'static str>,
}

impl<M: SocketMachine> Attached<M> {
    /// `reason` is why the link is lost if this is dropped before `done`.
    pub(super) fn new(shared: &Arc<Shared<M>>, link: LinkId, reason: &'static str) -> Self {
        Self { shared: shared.clone(), link, reason: Some(reason) }
    }

    /// Another owner is responsible for the link from now on.
    pub(super) fn done(mut self) {
        self.reason = None;
    }
}

impl<M: SocketMachine> Drop for Attached<M> {
    fn drop(&mut self) {
        let Some(reason) = self.reason else { return };
        let now = self.shared.now();
        self.shared.with(|inner| {
            inner.forget(self.link);
            inner.machine.handle_driver_lost(now, self.link, reason)
        });
        self.shared.wakers.changed();
        self.shared.wakers.ready.notify_waiters();
    }
}

impl<M: SocketMachine> Driver<M> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        if std::mem::take(&mut self.spinning) && self.spin(cx) {
            return Poll::Pending;
        }
        if M::GIVES_WAY
            && !std::mem::replace(&mut self.gave_way, false)
            && self.shared.with_message(|inner| inner.machine.is_link_ready(self.link))
        {
            self.gave_way = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.turn = PollBudget::new();
        loop {
            let directives = self.poll_machine(cx);
            if directives.ended && !std::mem::replace(&mut self.end_reported, true) {
                self.shared.ended(&self.peer);
            }
            if directives.finished {
                return Poll::Ready("no answer to Close".to_owned());
            }
            let mut again = self.write(cx);
            if self.turn.is_used_up() {
                if let Some(deadline) = directives.deadline {
                    self.wait_until(cx, self.shared.instant(deadline));
                }
                self.io_result.read = true; // frames are left in the reader
                // A driver that wakes itself directly is polled again before the runtime polls the other
                // sockets.
                let _ = pin!(yield_now()).poll(cx);
                return Poll::Pending;
            }
            if directives.wants_read {
                let buffer = self.reader.buffer();
                match poll_read_buf(Pin::new(&mut self.stream), cx, buffer) {
                    Poll::Ready(Ok(0)) => return Poll::Ready("the stream ended without Close".to_owned()),
                    Poll::Ready(Ok(count)) => {
                        self.reader.filled(count);
                        self.io_result.read = true;
                        again = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(error.to_string()),
                    Poll::Pending => self.io_result.empty = true,
                }
            }
            if let Some(deadline) = directives.deadline {
                again |= self.wait_until(cx, self.shared.instant(deadline));
            }
            if !again {
                self.spinning = directives.wants_read
                    && !self.shared.times.busy_poll.is_zero()
                    && self.shared.now() < self.busy_until;
                if self.spinning {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            if !self.shared.times.busy_poll.is_zero() && (self.io_result.read || self.io_result.written > 0) {
                self.busy_until = self.shared.now() + self.shared.times.busy_poll;
            }
        }
    }

    /// Checks whether there is work. If not, polls again after the runtime has polled its sockets.
    fn spin(&mut self, cx: &mut Context<'_>) -> bool {
        let waits = self.out.is_empty()
            && self.shared.now() < self.busy_until
            && !self.shared.with_message(|inner| inner.machine.is_link_ready(self.link));
        if !waits {
            return false;
        }
        match poll_read_buf(Pin::new(&mut self.stream), cx, self.reader.buffer()) {
            Poll::Pending if self.sleep.as_mut().poll(cx).is_pending() => {
                self.spinning = true;
                cx.waker().wake_by_ref();
                true
            }
            Poll::Pending => false,
            Poll::Ready(Ok(count)) if count > 0 => {
                self.reader.filled(count);
                self.io_result.read = true;
                self.busy_until = self.shared.now() + self.shared.times.busy_poll;
                false
            }
            // The end of the stream or an error; the regular path finds it again.
            Poll::Ready(_) => false,
        }
    }

    /// Passes the results of I/O to the machine, and asks what to do next.
    fn poll_machine(&mut self, cx: &Context<'_>) -> Directives {
        let Self { shared, link, reader, out, io_result, turn, .. } = self;
        let link = *link;
        let io_result = std::mem::replace(
            io_result,
            IoResult { write_dead: io_result.write_dead, ..IoResult::default() },
        );
        shared.with_link(Some(link), |inner| {
            let now = shared.now();
            inner.set_waker(link, cx.waker());
            let machine = &mut inner.machine;
            // First what was written, then what was read: a Close requeues what is un-acked (RD-3).
            if io_result.written > 0 {
                machine.handle_written(now, link, io_result.written);
            }
            if io_result.read {
                machine.feed(now, link, reader, turn);
            }
            if io_result.empty {
                machine.handle_would_block(link);
            }
            if let Some(error) = &io_result.write_error {
                machine.handle_write_error(now, link, &error.to_string());
            }
            if io_result.due {
                machine.handle_timeout(now, link, reader.progress());
                if !io_result.read {
                    reader.release_memory();
                }
            }
            if out.is_empty() && !inner.pending_writes.take(link, out) {
                inner.machine.poll_transmit(now, link, out);
            }
            let machine = &mut inner.machine;
            Directives {
                finished: machine.is_finished(now, link),
                ended: machine.has_ended(link),
                wants_read: machine.wants_read(now, link),
                deadline: machine.poll_timeout(link),
            }
        })
    }

    /// Writes as much as the socket accepts. Returns true if the machine must be polled.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.io_result.written;
        while !self.out.is_empty() && !self.io_result.write_dead {
            let stream = Pin::new(&mut self.stream);
            let polled = outgoing::with_pieces(&self.out, |pieces| stream.poll_write_vectored(cx, pieces));
            let written = match polled {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(result) => result,
            };
            match written {
                Ok(count) => self.advance(count),
                Err(error) => {
                    self.out.clear();
                    self.io_result.write_dead = true;
                    self.io_result.write_error = Some(error);
                    return true;
                }
            }
        }
        let progress = self.io_result.written > before;
        // TLS buffers bytes until a flush. An error shows at the next write.
        if progress || self.unflushed {
            self.unflushed = Pin::new(&mut self.stream).poll_flush(cx).is_pending();
        }
        progress
    }

    fn advance(&mut self, count: usize) {
        self.io_result.written += count;
        outgoing::advance(&mut self.out, count);
    }

    /// Sets the timer. Returns true if the time has come.
    fn wait_until(&mut self, cx: &mut Context<'_>, until: Instant) -> bool {
        if until != self.sleep_until {
            self.sleep_until = until;
            self.sleep.as_mut().reset(until);
        }
        self.io_result.due = self.sleep.as_mut().poll(cx).is_ready();
        self.io_result.due
    }
}
