//! How a pusher stops: drain, finish, abort.
//!
//! ```text
//!        drain(end)              all settled
//! Open ─────────────► Draining ────────────────► Done ── answers new links with End or GOING_AWAY
//!   └───────────────────┴── abort ──► Aborted
//! ```

use std::fmt;

use super::{Pusher, PusherEvent, pending::Pending, stats::PushStats};
use crate::{
    link::LinkEnd,
    link_id::LinkId,
    message::{Message, MessageId},
    time::Time,
    violation::Code,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Open,
    /// Accepts no new messages. When all messages are settled, the links are closed, with `End` or without.
    Draining {
        end: bool,
    },
    Done {
        end: bool,
    },
    Aborted,
}

/// A message that was not acked when its pusher stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Undelivered {
    /// The id of the message.
    pub id: MessageId,
    /// The message.
    pub message: Message,
    /// The attempt that was in flight, or that would have been the next one.
    pub attempt: u32,
}

/// The messages that an abort returns (ST-8). `Debug` shows only their number and size.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Leftover {
    /// Certainly not processed: never written, or released or nacked at each delivery.
    pub unsent: Vec<Undelivered>,
    /// Unknown: written, and no outcome arrived.
    pub unacked: Vec<Undelivered>,
    /// The statistics just before the abort.
    pub stats: PushStats,
}

impl fmt::Debug for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leftover")
            .field("unsent", &Many(&self.unsent))
            .field("unacked", &Many(&self.unacked))
            .field("stats", &self.stats)
            .finish()
    }
}

/// Shows only the number and the size of messages, of which there may be a million.
struct Many<'a>(&'a [Undelivered]);

impl fmt::Debug for Many<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.0.iter().map(|undelivered| undelivered.message.size()).sum();
        write!(f, "<{} messages, {bytes} bytes>", self.0.len())
    }
}

impl Pusher {
    /// Stops accepting messages, and closes every link when all held messages are settled. With `end`, each link gets
    /// an `End` first, which ends the stream (ST-2). Otherwise the links are closed with GOING_AWAY (ST-5).
    /// [`PusherEvent::Drained`] reports the end of the drain.
    pub fn drain(&mut self, now: Time, end: bool) {
        if self.phase == Phase::Open {
            self.phase = Phase::Draining { end };
            self.check_drained(now);
        }
    }

    /// Whether a drain is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done { .. })
    }

    /// Whether the pusher accepts new messages.
    #[inline]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the puller of this link has answered `End` with `Close`, so that it need not be sent again (ST-3).
    #[must_use]
    pub fn end_answered(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.end_sent && link.session.peer_has_answered())
    }

    /// Whether `End` was due or sent on this link, and the puller has not answered it with `Close`. The puller may not
    /// have received it (ST-3).
    #[must_use]
    pub fn end_unanswered(&self, link: LinkId) -> bool {
        self.links
            .get(link)
            .is_some_and(|link| (link.end_due || link.end_sent) && !link.session.peer_has_answered())
    }

    pub(super) fn check_drained(&mut self, now: Time) {
        let Phase::Draining { end } = self.phase else { return };
        if self.unsettled() > 0 {
            return;
        }
        // RD-11: the store must have synced the end before the first End is sent.
        if end && !self.synced.end {
            return;
        }
        self.phase = Phase::Done { end };
        for id in self.links.ids() {
            self.close_link(now, id, end);
        }
        self.events.push_back(PusherEvent::Drained);
    }

    /// ST-2, ST-5.
    pub(super) fn close_link(&mut self, now: Time, id: LinkId, end: bool) {
        let Some(link) = self.links.get_mut(id).filter(|link| link.session.is_open()) else { return };
        link.end_due = end;
        let (code, reason) = if end {
            (Code::Normal, "the stream has ended")
        } else {
            (Code::GoingAway, "the pusher is stopping")
        };
        link.session.close(now, LinkEnd::own(code, reason));
        self.refresh(id);
    }

    /// Whether a new link is answered with `End` (true) or refused (false); `None` while links are accepted.
    pub(super) fn end_for_new_links(&self) -> Option<bool> {
        match self.phase {
            Phase::Open | Phase::Draining { .. } => None,
            Phase::Done { end } => Some(end), // ST-3
            Phase::Aborted => Some(false),
        }
    }

    /// Returns what [`Self::abort`] would return now, and changes nothing. It clones the machine; payloads are shared.
    #[must_use]
    pub fn leftover(&self, now: Time) -> Leftover {
        self.clone().abort(now)
    }

    /// Stops at once: closes every link with ABORTED, and returns every message without an outcome (ST-8).
    pub fn abort(&mut self, now: Time) -> Leftover {
        let stats = self.stats();
        let instance = self.instance;
        let mut leftover = Leftover { stats, ..Leftover::default() };
        if !self.is_done() {
            self.phase = Phase::Aborted;
        }
        let mut all: Vec<(Pending, bool)> = self.backlog.take_all().into_iter().map(|p| (p, false)).collect();
        all.extend(self.held_batches.take_all().map(|pending| (pending, false)));
        for id in self.links.ids() {
            let Some(link) = self.links.get_mut(id) else { continue };
            link.held.clear();
            // The driver still writes the bytes that it was given, and then the Close.
            for (mut pending, seen) in link.take_unacked(u64::MAX) {
                // Report the attempt that was in flight, not the next one, which is not made.
                pending.attempt -= u32::from(seen);
                all.push((pending, seen));
            }
            link.session.close(now, LinkEnd::own(Code::Aborted, "the pusher was aborted"));
            self.refresh(id);
        }
        all.sort_unstable_by_key(|(pending, _)| pending.number);
        for (pending, seen) in all {
            let Pending { number, attempt, losses, restored, timed_out, message, .. } = pending;
            let id = MessageId { instance, number: number.get() };
            // A message that was lost with a link or a process, or timed out, may have been processed there.
            let unknown = seen || losses > 0 || restored > 0 || timed_out;
            let to = if unknown { &mut leftover.unacked } else { &mut leftover.unsent };
            to.push(Undelivered { id, message, attempt });
        }
        self.stats.aborted += (leftover.unsent.len() + leftover.unacked.len()) as u64;
        self.stats.held_bytes = self.rejected.iter().map(|r| r.message.size() as u64).sum();
        leftover
    }
}
