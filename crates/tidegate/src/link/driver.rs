//! Drives one open link: reads, writes and keeps time, as the contract of `tidegate-proto` says. One task a link; the
//! lock is taken once a round, not once a frame.

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
use tidegate_proto::{
    LinkEnd, LinkId, Peer, Time,
    wire::{FrameReader, Progress},
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    task::yield_now,
    time::{Instant, Sleep, timeout},
};
use tokio_util::io::poll_read_buf;

use super::outgoing;
use crate::{
    caught::caught,
    shared::{Role, Shared},
    transport::BoxStream,
};

/// What a link may do before it lets others have their turn, whatever its peer sends: about as much as a full read of ordinary data
/// takes. Without it a flood of tiny frames would have the thread, and the lock, for as long as it goes on (LM-3, HS-14).
const TURN: usize = 256;

/// Bytes of an unfinished frame that the machine wants to know of (LM-4).
const LARGE: usize = 64 * 1_024;

/// What a frame costs of a turn: messages are mostly handed on where they lie; in an Ack, a few bytes are an outcome to look up.
fn cost(frame: &[u8]) -> usize {
    // The first byte tells which field of Frame it is.
    let unit = match frame.first() {
        Some(0x12) => 2_048, // Deliver
        Some(0x1a) => 32,    // Ack
        _ => 256,
    };
    1 + frame.len() / unit
}

struct Driver<M: Role> {
    shared: Arc<Shared<M>>,
    link: LinkId,
    stream: BoxStream,
    reader: FrameReader,
    out: VecDeque<Bytes>,
    /// What has been written may still be on its way through TLS.
    unflushed: bool,
    sleep: Pin<Box<Sleep>>,
    sleep_until: Instant,
    /// Until when it does not sleep, if it is to be quick.
    busy_until: Time,
    /// It woke itself, to look again.
    spinning: bool,
    /// It let others go first.
    gave_way: bool,
    /// What the last round of I/O brought, for the machine.
    news: News,
    /// What is left of this turn; when nothing is, there may be whole frames left in the reader.
    turn: usize,
    /// Much of a frame is in the reader.
    large: bool,
    peer: Peer,
    /// The end of its stream was told as an event.
    end_told: bool,
}

#[derive(Default)]
struct News {
    written: usize,
    read: bool,
    empty: bool,
    due: bool,
    write_error: Option<io::Error>,
    write_dead: bool,
}

/// What the machine wants of the next round.
struct Step {
    wants_read: bool,
    finished: bool,
    /// The peer has ended its stream.
    ended: bool,
    deadline: Option<Time>,
}

/// What is left of a link that has been driven to its end.
pub(super) struct Driven {
    /// Why it has ended; `None` if it had been removed before.
    pub(super) end: Option<LinkEnd>,
    /// Something had been settled over it (RD-6).
    pub(super) proven: bool,
    /// For how long it was driven (RD-6).
    pub(super) lasted: Duration,
    /// The stream is over for both sides (ST-3, ST-6).
    pub(super) over: bool,
}

/// Drives the link until it ends, and removes it from the machine.
pub(super) async fn drive<M: Role>(
    shared: Arc<Shared<M>>,
    link: LinkId,
    stream: BoxStream,
    mut reader: FrameReader,
    peer: Peer,
) -> Driven {
    reader.open(shared.with(|inner| {
        M::opened(inner, link, &shared);
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
        // There may be frames that came with the Hello.
        news: News { read: true, ..News::default() },
        turn: TURN,
        large: false,
        peer,
        end_told: false,
        shared,
    };
    // The owner of a payload or a waker may panic in it: that ends the link, and not what would connect it again.
    let reason = poll_fn(|cx| {
        caught(|| driver.poll(cx)).unwrap_or_else(|panicked| Poll::Ready(format!("its driver {panicked}")))
    })
    .await;
    let Driver { shared, mut stream, news, peer, .. } = driver;
    attached.done();
    let result = shared.with(|inner| {
        inner.forget(link);
        // RD-3: what was written in the round that found the end may have been seen.
        if news.written > 0 {
            inner.machine.written(shared.now(), link, news.written);
        }
        let (proven, over) = (inner.machine.is_proven(link), inner.machine.is_over(link));
        let lasted = opened.elapsed();
        Driven { end: inner.closed(shared.now(), link, peer.instance, &reason), proven, lasted, over }
    });
    shared.signals.changed();
    // It may have been the last one that others waited for.
    shared.signals.ready.notify_waiters();
    // The peer has said Close, or does not answer: nothing is lost by not waiting much longer. TLS has a last word to say, which a
    // peer that does not read would hold up for ever.
    let _ = timeout(shared.times.close_wait, stream.shutdown()).await;
    result
}

/// Sees to it that a link does not outlive what has been begun with it, also when the runtime is shut down.
pub(super) struct Attached<M: Role> {
    shared: Arc<Shared<M>>,
    link: LinkId,
    reason: Option<&'static str>,
}

impl<M: Role> Attached<M> {
    /// `reason`: why the link is lost, if this is dropped before it is done.
    pub(super) fn new(shared: &Arc<Shared<M>>, link: LinkId, reason: &'static str) -> Self {
        Self { shared: shared.clone(), link, reason: Some(reason) }
    }

    /// Somebody else sees to the link.
    pub(super) fn done(mut self) {
        self.reason = None;
    }
}

impl<M: Role> Drop for Attached<M> {
    fn drop(&mut self) {
        let Some(reason) = self.reason else { return };
        let now = self.shared.now();
        self.shared.with(|inner| {
            inner.forget(self.link);
            inner.machine.abandoned(now, self.link, reason)
        });
        self.shared.signals.changed();
        self.shared.signals.ready.notify_waiters();
    }
}

impl<M: Role> Driver<M> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        if std::mem::take(&mut self.spinning) && self.spin(cx) {
            return Poll::Pending;
        }
        if M::GIVES_WAY
            && !std::mem::replace(&mut self.gave_way, false)
            && self.shared.with_message(|inner| inner.machine.is_woken(self.link))
        {
            self.gave_way = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.turn = TURN;
        loop {
            let step = self.consult(cx);
            if step.ended && !std::mem::replace(&mut self.end_told, true) {
                self.shared.ended(&self.peer);
            }
            if step.finished {
                return Poll::Ready("no answer to Close".to_owned());
            }
            let mut again = self.write(cx);
            if self.turn == 0 {
                if let Some(deadline) = step.deadline {
                    self.wait_until(cx, self.shared.instant(deadline));
                }
                self.news.read = true; // what is left in the reader
                // Woken by itself it would be polled again before the runtime has looked at the sockets of the others.
                let _ = pin!(yield_now()).poll(cx);
                return Poll::Pending;
            }
            if step.wants_read {
                let buffer = self.reader.buffer();
                match poll_read_buf(Pin::new(&mut self.stream), cx, buffer) {
                    Poll::Ready(Ok(0)) => return Poll::Ready("the stream ended without Close".to_owned()),
                    Poll::Ready(Ok(count)) => {
                        self.reader.filled(count);
                        self.news.read = true;
                        again = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(error.to_string()),
                    Poll::Pending => self.news.empty = true,
                }
            }
            if let Some(deadline) = step.deadline {
                again |= self.wait_until(cx, self.shared.instant(deadline));
            }
            if !again {
                self.spinning = step.wants_read
                    && !self.shared.times.busy_poll.is_zero()
                    && self.shared.now() < self.busy_until;
                if self.spinning {
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            if !self.shared.times.busy_poll.is_zero() && (self.news.read || self.news.written > 0) {
                self.busy_until = self.shared.now() + self.shared.times.busy_poll;
            }
        }
    }

    /// Looks whether there is something to do. If not, looks again as soon as the runtime has looked at its sockets.
    fn spin(&mut self, cx: &mut Context<'_>) -> bool {
        let waits = self.out.is_empty()
            && self.shared.now() < self.busy_until
            && !self.shared.with_message(|inner| inner.machine.is_woken(self.link));
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
                self.news.read = true;
                self.busy_until = self.shared.now() + self.shared.times.busy_poll;
                false
            }
            // The end of the stream, or an error: found again on the ordinary way.
            Poll::Ready(_) => false,
        }
    }

    /// One visit to the machine: tells it what has happened, and asks what to do.
    fn consult(&mut self, cx: &Context<'_>) -> Step {
        let Self { shared, link, reader, out, news, turn, large, .. } = self;
        let link = *link;
        let news = std::mem::replace(news, News { write_dead: news.write_dead, ..News::default() });
        shared.with_link(Some(link), |inner| {
            let now = shared.now();
            inner.set_waker(link, cx.waker());
            let machine = &mut inner.machine;
            // Before what was read after it: a Close takes back what is un-acked (RD-3).
            if news.written > 0 {
                machine.written(now, link, news.written);
            }
            if news.read {
                machine.heard(link);
                while *turn > 0 {
                    match reader.next_frame() {
                        Ok(Some(frame)) => {
                            *turn = turn.saturating_sub(cost(&frame));
                            machine.receive(now, link, frame);
                        }
                        Ok(None) => break,
                        Err(violation) => {
                            machine.unreadable(now, link, violation);
                            reader.abandon();
                            break;
                        }
                    }
                }
            }
            // With nothing left of the turn there may be whole frames in the reader.
            let progress = if *turn > 0 { reader.progress() } else { Progress::default() };
            if (progress.partial > LARGE || *large) && !machine.unfinished(now, link, progress) {
                reader.skip();
            }
            *large = progress.partial > LARGE;
            if news.empty {
                machine.found_empty(link);
            }
            if let Some(error) = &news.write_error {
                machine.write_failed(now, link, &error.to_string());
            }
            if news.due {
                machine.advance(now, link, reader.progress());
                if !news.read {
                    reader.rest();
                }
            }
            if out.is_empty() && !inner.leftovers.take(link, out) {
                inner.machine.transmit(now, link, out);
            }
            let machine = &mut inner.machine;
            Step {
                finished: machine.is_finished(now, link),
                ended: machine.has_ended(link),
                wants_read: machine.wants_read(now, link),
                deadline: machine.deadline(link),
            }
        })
    }

    /// Writes as much as the socket takes. True if the machine should hear of it.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.news.written;
        while !self.out.is_empty() && !self.news.write_dead {
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
                    self.news.write_dead = true;
                    self.news.write_error = Some(error);
                    return true;
                }
            }
        }
        let progress = self.news.written > before;
        // TLS and the like keep bytes back until they are flushed; a failure shows at the next write.
        if progress || self.unflushed {
            self.unflushed = Pin::new(&mut self.stream).poll_flush(cx).is_pending();
        }
        progress
    }

    fn advance(&mut self, count: usize) {
        self.news.written += count;
        outgoing::advance(&mut self.out, count);
    }

    /// True if the time has come.
    fn wait_until(&mut self, cx: &mut Context<'_>, until: Instant) -> bool {
        if until != self.sleep_until {
            self.sleep_until = until;
            self.sleep.as_mut().reset(until);
        }
        self.news.due = self.sleep.as_mut().poll(cx).is_ready();
        self.news.due
    }
}
