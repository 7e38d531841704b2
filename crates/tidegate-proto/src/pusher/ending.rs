//! How a pusher stops: drain, finish, abort.
//!
//! ```text
//!        drain(end)              nothing unsettled
//! Open ─────────────► Draining ────────────────────► Done ── newcomers: End (after finish) or GOING_AWAY
//!   └───────────────────┴── abort ──► Aborted
//! ```

use std::fmt;

use super::{Blocked, Pusher, PusherEvent, backlog::Pending, stats::PushStats};
use crate::{
    close::LinkEnd,
    links::LinkId,
    message::{Message, MessageId},
    time::Time,
    violation::Code,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Open,
    /// No new messages; when nothing is unsettled the links are closed, with `End` or without.
    Draining {
        end: bool,
    },
    Done {
        end: bool,
    },
    Aborted,
}

impl Phase {
    pub(super) fn accepts(self) -> Result<(), Blocked> {
        if self == Self::Open { Ok(()) } else { Err(Blocked::Closed) }
    }
}

/// A message that was not acked when its pusher stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Undelivered {
    /// Its id.
    pub id: MessageId,
    /// The message.
    pub message: Message,
    /// The attempt that it was at, or would have been at next.
    pub attempt: u32,
}

/// What an abort leaves (ST-8). `Debug` shows how many messages there are and their size.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Leftover {
    /// Certainly not processed: never written, released, or nacked by every puller that had it.
    pub unsent: Vec<Undelivered>,
    /// Unknown: written, and no outcome came.
    pub unacked: Vec<Undelivered>,
    /// The counts at the moment of the abort, before these were taken out.
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

/// Shown as a count: there may be a million, and each would be a line of its own.
struct Many<'a>(&'a [Undelivered]);

impl fmt::Debug for Many<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.0.iter().map(|undelivered| undelivered.message.size()).sum();
        write!(f, "<{} messages, {bytes} bytes>", self.0.len())
    }
}

impl Pusher {
    /// Takes no new messages; when all held ones are settled, closes every link: after an `End` if `end`, so that the
    /// stream is over for good (ST-2), else with GOING_AWAY (ST-5). [`PusherEvent::Drained`] tells when.
    pub fn drain(&mut self, now: Time, end: bool) {
        if self.phase == Phase::Open {
            self.phase = Phase::Draining { end };
            self.check_drained(now);
        }
    }

    /// Whether a drain has completed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done { .. })
    }

    /// Whether new messages are taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the puller at this link has answered the end of the stream: it need not be told again (ST-3).
    #[must_use]
    pub fn has_told_end(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.end_sent && link.session.peer_has_closed())
    }

    /// Whether the puller at this link was to be told the end of the stream and has not answered: it may not have heard it (ST-3).
    #[must_use]
    pub fn may_miss_end(&self, link: LinkId) -> bool {
        self.links
            .get(link)
            .is_some_and(|link| (link.end_due || link.end_sent) && !link.session.peer_has_closed())
    }

    pub(super) fn check_drained(&mut self, now: Time) {
        let Phase::Draining { end } = self.phase else { return };
        if self.unsettled() > 0 {
            return;
        }
        self.phase = Phase::Done { end };
        for id in self.links.ids() {
            self.say_goodbye(now, id, end);
        }
        self.events.push_back(PusherEvent::Drained);
    }

    /// ST-2, ST-5.
    pub(super) fn say_goodbye(&mut self, now: Time, id: LinkId, end: bool) {
        let Some(link) = self.links.get_mut(id).filter(|link| link.session.is_open()) else { return };
        link.end_due = end;
        let (code, reason) =
            if end { (Code::Normal, "the stream has ended") } else { (Code::GoingAway, "the pusher stops") };
        link.session.close(now, LinkEnd::own(code, reason));
        self.refresh(id);
    }

    /// What a link is told that opens when no messages are taken any more; `None` while they are.
    pub(super) fn farewell(&self) -> Option<bool> {
        match self.phase {
            Phase::Open | Phase::Draining { .. } => None,
            Phase::Done { end } => Some(end), // ST-3
            Phase::Aborted => Some(false),
        }
    }

    /// What [`Self::abort`] would give back now; nothing changes. It copies the whole machine, and the memory of payloads is shared.
    #[must_use]
    pub fn leftover(&self, now: Time) -> Leftover {
        self.clone().abort(now)
    }

    /// Stops now, closes every link with ABORTED, and gives back every message that has no outcome (ST-8).
    pub fn abort(&mut self, now: Time) -> Leftover {
        let stats = self.stats();
        let instance = self.instance;
        let mut leftover = Leftover { stats, ..Leftover::default() };
        if !self.is_done() {
            self.phase = Phase::Aborted;
        }
        let mut all: Vec<(Pending, bool)> = self.backlog.take_all().into_iter().map(|p| (p, false)).collect();
        all.extend(self.absent.take_all().map(|pending| (pending, false)));
        for id in self.links.ids() {
            let Some(link) = self.links.get_mut(id) else { continue };
            link.owed.clear();
            // What the driver has been given it goes on writing, before the Close.
            for (mut pending, seen) in link.take_back(u64::MAX) {
                // The attempt under way is the one to report, not the one that will not be made.
                pending.attempt -= u32::from(seen);
                all.push((pending, seen));
            }
            link.session.close(now, LinkEnd::own(Code::Aborted, "the pusher was aborted"));
            self.refresh(id);
        }
        all.sort_unstable_by_key(|(pending, _)| pending.number);
        for (pending, seen) in all {
            let Pending { number, attempt, losses, timed_out, message, .. } = pending;
            // One that was lost with a link, or timed out, may have been processed there.
            let unknown = seen || losses > 0 || timed_out;
            let to = if unknown { &mut leftover.unacked } else { &mut leftover.unsent };
            to.push(Undelivered { id: MessageId { instance, number }, message, attempt });
        }
        self.stats.aborted += (leftover.unsent.len() + leftover.unacked.len()) as u64;
        self.stats.held_bytes = self.rejected.iter().map(|r| r.message.size() as u64).sum();
        leftover
    }
}
