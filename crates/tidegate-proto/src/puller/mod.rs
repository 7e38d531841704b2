//! The puller: grants credit, checks what arrives, hands deliveries to the application, and sends outcomes.
//!
//! ```text
//! driver ──► link: inbox ──► recv ──► application ──► settle ──► link: outcomes ──► driver
//!              ▲                                                   │
//!              └──────────── limits = settled + skipped + window ──┘
//! ```

mod auto;
mod granting;
mod history;
mod kept;
mod link;
mod lots;
mod memory;
mod outcomes;
mod places;
mod recalling;
mod receive;
mod received;
mod repeats;
mod settings;
mod skips;
mod stats;
mod stuck;
mod turns;
mod unfinished;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::{
    auto::Auto,
    kept::Kept,
    link::{Leaving, PullLink},
    memory::Memory,
    places::Queue,
    stuck::Stuck,
    turns::Turns,
    unfinished::Unfinished,
};
pub use self::{
    outcomes::Verdict,
    received::{Lot, Received},
    settings::{PullerSettings, Window},
    stats::{PullLinkStats, PullStats},
};
use crate::{
    close::LinkEnd,
    identity::PeerKey,
    links::{LinkId, Links},
    message::InstanceId,
    time::Time,
    violation::{Code, SettingError},
    wire::Item,
};

/// What happens inside a puller that its owner may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PullerEvent {
    /// A pusher has ended its stream over this link.
    Ended(LinkId),
    /// A `recv` has been waiting for 5 s although deliveries may be there: as many are un-acked as may be handed out. Once.
    AtCap {
        /// The cap: messages of a fixed window, or of the budget.
        cap: u64,
        /// How many deliveries are handed out and un-acked.
        held: u64,
    },
}

/// A pusher that has ended its stream (ST-6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Ended {
    /// By what the transport has verified: one peer cannot be several.
    Verified(Vec<String>),
    Claimed(InstanceId),
}

/// The machine of the puller role. `H`: see [`Received`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Puller<H = ()> {
    settings: PullerSettings,
    links: Links<PullLink<H>>,
    /// Slots of links that the peer connected (HS-9).
    slots: BTreeMap<PeerKey, LinkId>,
    /// Links with messages for the application, in turn.
    turn: VecDeque<LinkId>,
    /// What is in the inboxes of all links.
    queued: u64,
    /// Handed out and not settled.
    in_flight: u64,
    /// How many `recv` wait.
    waiting: usize,
    /// A poll has found nothing, and nothing has come since.
    asked: bool,
    /// The window that sets itself, if it does.
    auto: Auto,
    /// Granted and not settled, on all links (CR-9).
    committed: (u64, u64),
    /// The most deliveries that may be handed out and un-acked (CR-5).
    cap: u64,
    /// Messages of credit that open links have not used.
    unused: u64,
    /// How much of that is on links whose pushers have not answered a recall in time: it takes no places (CR-6).
    overdue: u64,
    /// Links without credit and deliveries, in the order in which they get places (CR-6).
    bare: Queue,
    /// Recalls under way because somebody else could use the credit (CR-6).
    rotating: u64,
    /// When the shares of a fixed window are decided next.
    share_at: Time,
    /// Since when a `recv` has been waiting, and [`Self::done`] then; until it is warned of the cap.
    stuck: Stuck,
    /// Links without unused credit: the ones to look at when a `recv` begins to wait (CR-6).
    dry: Turns,
    /// Links that did not get their part because the budget was spent.
    hungry: Turns,
    /// How many links got credit beyond their window (CR-6).
    floored: usize,
    /// Links with outcomes that are held back.
    pending: Vec<LinkId>,
    /// What is known of messages whose links were lost (RD-9).
    memory: Memory,
    /// Answered from memory: no work, and no sign of how quickly work is done.
    answered: u64,
    /// Large frames that have begun to arrive.
    unfinished: Unfinished,
    /// What batches keep.
    kept: Kept,
    leaving: bool,
    ended: BTreeSet<Ended>,
    events: VecDeque<PullerEvent>,
    wakes: Vec<LinkId>,
    stats: PullStats,
}

impl<H: Clone + Default> Puller<H> {
    /// A puller without links.
    ///
    /// # Errors
    /// The first setting outside its range (LM-1).
    pub fn new(settings: PullerSettings) -> Result<Self, SettingError> {
        settings.check()?;
        let (memory, kept) = (settings.memory, Kept::new(settings.budget_bytes));
        let cap = places::cap(&settings);
        Ok(Self {
            settings,
            cap,
            unused: 0,
            overdue: 0,
            bare: Queue::default(),
            rotating: 0,
            share_at: Time::default(),
            stuck: Stuck::default(),
            links: Links::default(),
            slots: BTreeMap::new(),
            turn: VecDeque::new(),
            queued: 0,
            in_flight: 0,
            waiting: 0,
            asked: false,
            auto: Auto::new(),
            committed: (0, 0),
            dry: Turns::default(),
            hungry: Turns::default(),
            floored: 0,
            pending: Vec::new(),
            memory: Memory::new(memory),
            answered: 0,
            unfinished: Unfinished::default(),
            kept,
            leaving: false,
            ended: BTreeSet::new(),
            events: VecDeque::new(),
            wakes: Vec::new(),
            stats: PullStats::default(),
        })
    }

    /// What deliveries of this link shall carry from now on; until then they carry the default.
    pub fn set_home(&mut self, link: LinkId, home: H) {
        if let Some(link) = self.links.get_mut(link) {
            link.home = home;
        }
    }

    /// The next delivery for the application: links take turns, a batch each; within a link in the order of ids (DL-7).
    /// `None` while as many are un-acked as the window allows (CR-5).
    #[inline]
    pub fn recv(&mut self) -> Option<Received<H>> {
        if self.leaving || self.in_flight >= self.cap {
            return None;
        }
        loop {
            // As `next_link`, without looking the link up twice: this runs for every message.
            let id = *self.turn.front()?;
            let Some(link) = self.links.get_mut(id) else {
                self.turn.pop_front();
                continue;
            };
            let Some(batch) = link.inbox.front_mut() else {
                link.in_turn = false;
                self.turn.pop_front();
                continue;
            };
            let received = batch.next();
            if batch.cursor.is_empty() {
                link.inbox.pop_front();
                self.turn.rotate_left(1);
            }
            let Some(received) = received else {
                link.inbox.pop_front(); // a batch is read as it was checked, so that this does not happen
                continue;
            };
            link.queued -= 1;
            link.queued_bytes -= received.size();
            self.queued -= 1;
            self.in_flight += 1;
            self.auto.busy(self.in_flight);
            self.stats.redelivered += u64::from(received.item.attempt > 1);
            if link.paused_until.is_some() && link.queued_bytes < self.settings.read_ahead {
                wake(&mut self.wakes, id, link);
            }
            return Some(received);
        }
    }

    /// The link that gives the next message.
    #[inline]
    fn next_link(&mut self) -> Option<LinkId> {
        loop {
            let id = *self.turn.front()?;
            match self.links.get_mut(id) {
                Some(link) if !link.inbox.is_empty() => return Some(id),
                Some(link) => link.in_turn = false,
                None => {}
            }
            self.turn.pop_front();
        }
    }

    /// How many deliveries wait for the application.
    #[must_use]
    pub fn queued(&self) -> u64 {
        if self.leaving { 0 } else { self.queued }
    }

    /// Whether a delivery waits for the application.
    #[must_use]
    pub fn has_queued(&self) -> bool {
        self.queued > 0 && !self.leaving
    }

    /// Whether [`Self::recv`] would give one.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.queued > 0 && !self.leaving && self.in_flight < self.cap
    }

    /// A `recv` begins to wait: links without credit get some (CR-6), and outcomes that are held back go out (OC-5).
    pub fn start_waiting(&mut self, now: Time) {
        self.waiting += 1;
        if self.waiting == 1 {
            self.stuck.begin(now, self.done());
        }
        if self.queued > 0 {
            return;
        }
        let waiting = self.waiting as u64;
        self.auto.busy(self.in_flight + waiting);
        self.auto.starve(now, waiting, self.in_flight);
        for id in std::mem::take(&mut self.pending) {
            if let Some(link) = self.links.get_mut(id) {
                link.in_pending = false;
                wake(&mut self.wakes, id, link);
            }
        }
        for id in self.dry.iter() {
            if let Some(link) = self.links.get_mut(id) {
                link.asked_others = None; // it may not have been wanted when it last asked
            }
        }
        self.feed_dry();
    }

    /// It waits no longer: what it was granted beyond the window is taken back (CR-7).
    pub fn stop_waiting(&mut self, now: Time) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            self.stuck.end();
        }
        if self.queued == 0 {
            self.auto.starve(now, self.waiting as u64, self.in_flight);
        }
        if self.waiting == 0 && self.floored > 0 {
            self.wake_floored();
        } else if self.waiting > 0 && self.queued == 0 {
            // It has what the others wait for as well (CR-6).
            self.feed_dry();
        }
    }

    /// A poll has found nothing: until something comes, every link has credit as if a `recv` waited, or an application that
    /// only polls would never get what a link without a share of the window has (CR-6). A window of 0 is taken at its word (CR-7).
    pub fn ask(&mut self) {
        let none = matches!(self.settings.window, Window::Fixed { messages: 0, .. });
        if !none && !self.asked && self.queued == 0 && !self.leaving {
            self.asked = true;
            self.feed_dry();
        }
    }

    /// Whether somebody wants a message now, and may have one.
    fn is_wanted(&self) -> bool {
        (self.waiting > 0 || self.asked) && self.in_flight < self.cap
    }

    /// Gives a delivery its outcome (OC-1). If its link is gone, the outcome reaches nobody (RD-5).
    ///
    /// True if an Ack is due now although deliveries wait for the application (OC-5): one that shares its thread with the
    /// driver should let that run, or the pusher waits for credit that is there.
    #[inline]
    pub fn settle(&mut self, received: &Received<H>, verdict: &Verdict) -> bool {
        self.settle_item(received.link(), &received.item, verdict)
    }

    /// The same for one of a [`Lot`].
    #[inline]
    pub fn settle_item(&mut self, link: LinkId, item: &Item, verdict: &Verdict) -> bool {
        self.settle_range(link, item.id, 1, item.size.into(), item.is_tracked(), verdict)
    }

    /// The same for `count` deliveries of a [`Lot`], which take `size` bytes together and have been processed.
    pub fn settle_acked(&mut self, link: LinkId, first: u64, count: u64, size: u64) -> bool {
        self.settle_range(link, first, count, size, false, &Verdict::Ack)
    }

    #[inline]
    fn settle_range(
        &mut self,
        id: LinkId,
        first: u64,
        count: u64,
        size: u64,
        tracked: bool,
        verdict: &Verdict,
    ) -> bool {
        self.in_flight -= count;
        match self.settle_open(id, first, count, size, tracked, verdict) {
            Some(due) => due,
            None => self.settle_orphans(id, first, count, verdict),
        }
    }

    /// Settles deliveries of an open link, handed out or not. `None` if it is not open.
    #[inline]
    fn settle_open(
        &mut self,
        id: LinkId,
        first: u64,
        count: u64,
        size: u64,
        tracked: bool,
        verdict: &Verdict,
    ) -> Option<bool> {
        let link = self.links.get_mut(id).filter(|link| link.session.is_open())?;
        match verdict {
            Verdict::Ack => self.stats.acked += count,
            Verdict::Nack { .. } => self.stats.nacked += count,
            Verdict::Reject { .. } => self.stats.rejected += count,
            Verdict::Release => self.stats.released += count,
        }
        let before = link.grant.outstanding();
        link.grant.settle(count, size);
        let after = link.grant.outstanding();
        self.committed.0 -= before.0 - after.0;
        self.committed.1 -= before.1 - after.1;
        if after.0 == 0 && link.may_be_granted() {
            self.bare.enter(id, &mut link.ticket);
        }
        // The first one wakes the driver too, so that its timer is set (OC-5).
        let begins = link.outcomes.is_empty();
        link.outcomes.push(first, count, size, verdict);
        link.hurry |= tracked;
        let held = &link.outcomes;
        let full = held.messages * 2 >= link.base.0 || held.bytes * 2 >= link.base.1;
        let due = tracked || full || self.queued == 0 || begins;
        if !link.in_pending {
            link.in_pending = true;
            self.pending.push(id);
        }
        if due {
            wake(&mut self.wakes, id, link);
        }
        Some(full && self.queued > 0)
    }

    /// The application works on a delivery: tells the pusher, whose settle time-out begins anew (OC-13).
    pub fn working(&mut self, link: LinkId, delivery: u64) {
        let (link, delivery) = self.memory.joined(link, delivery).unwrap_or((link, delivery));
        if let Some(found) = self.links.get_mut(link).filter(|found| found.session.is_open()) {
            // The driver has to hear of the first one: it sets its timer, if they have to wait for more.
            let begins = found.working.is_empty();
            found.working.insert(delivery);
            if begins {
                wake(&mut self.wakes, link, found);
            }
        }
    }

    /// Whether an outcome of this delivery, given now, would reach the pusher: over its link, or over the one on which
    /// the message has come again (RD-9).
    #[must_use]
    pub fn is_reachable(&self, link: LinkId, delivery: u64) -> bool {
        self.is_open(link) || self.memory.joined(link, delivery).is_some()
    }

    /// Whether a link is open.
    #[must_use]
    pub fn is_open(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.session.is_open())
    }

    /// Leaves: hands nothing more out, gives back what was not, and closes each link when what the application holds of
    /// it is settled (ST-1).
    pub fn leave(&mut self) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        for id in self.links.ids() {
            if let Some(link) = self.links.get_mut(id) {
                link.leaving = Leaving::Due;
                self.bare.leave(&mut link.ticket);
                wake(&mut self.wakes, id, link);
            }
        }
    }

    /// Whether [`Self::leave`] has been called.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Closes every link at once: what is un-acked goes back to its pusher (RD-1).
    pub fn abandon(&mut self, now: Time) {
        self.leave();
        for id in self.links.ids() {
            if let Some(link) = self.links.get_mut(id) {
                link.session.close(now, LinkEnd::own(Code::Aborted, "the puller stops"));
                wake(&mut self.wakes, id, link);
            }
        }
    }

    /// Whether a pusher has a link here and has not ended its stream over it, nor said that it goes.
    #[must_use]
    pub fn has_open_streams(&self) -> bool {
        self.links.iter().any(|(_, link)| !link.ended && !link.session.peer_is_gone())
    }

    /// How many pushers have ended their streams, each counted once (ST-6): by the names that the transport has verified, if it
    /// has verified any, else by its instance, which a peer may make up.
    #[must_use]
    pub fn pushers_ended(&self) -> usize {
        self.ended.len()
    }

    /// Whether the pusher at the other end of this link has ended its stream.
    #[must_use]
    pub fn has_ended(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.ended)
    }

    /// Whether something has been settled over this link (RD-6).
    #[must_use]
    pub fn is_proven(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.grant.settled_deliveries() > 0)
    }

    /// What has happened since the last call.
    pub fn poll_event(&mut self) -> Option<PullerEvent> {
        self.events.pop_front()
    }

    /// Counts and what is held now.
    #[must_use]
    pub fn stats(&self) -> PullStats {
        PullStats {
            queued: self.queued,
            in_flight: self.in_flight,
            joined: self.memory.joins(),
            links: self.links.len() as u64,
            pushers_ended: self.ended.len() as u64,
            committed: self.committed.0,
            committed_bytes: self.committed.1,
            window: match self.settings.window {
                Window::Fixed { messages: 1.., .. } => self.cap,
                _ => self.links.iter().map(|(_, link)| link.base.0).sum(),
            },
            max_in_flight: self.cap,
            service_rate: self.auto.rate(),
            round_trip: self.round_trip(),
            ..self.stats.clone()
        }
    }

    /// Every open link.
    #[must_use]
    pub fn link_stats(&self) -> Vec<PullLinkStats> {
        self.links.iter().map(|(id, link)| link.stats(id)).collect()
    }
}

/// Names a link to the driver as having something to do, once.
#[inline]
fn wake<H>(wakes: &mut Vec<LinkId>, id: LinkId, link: &mut PullLink<H>) {
    if !link.session.woken {
        link.session.woken = true;
        wakes.push(id);
    }
}
