//! The puller: grants credit, checks frames, hands deliveries to the application, and sends outcomes.
//!
//! ```text
//! driver ──► link: inbox ──► recv ──► application ──► settle ──► link: outcomes ──► driver
//!              ▲                                                   │
//!              └──────────── limits = settled + skipped + window ──┘
//! ```

mod acks;
mod allocator;
mod batches;
mod dedup;
mod ended;
mod leaving;
mod link;
mod outcomes;
mod receive;
mod received;
mod retained;
mod settings;
mod settle;
mod skips;
mod stats;
mod stuck;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::{
    allocator::{AutoWindow, MemoryQueue, PlaceQueue, Turns},
    dedup::DedupTable,
    ended::EndedPusher,
    link::PullLink,
    retained::RetainedBytes,
    stuck::Stuck,
};
pub use self::{
    outcomes::Verdict,
    received::{DeliveryBatch, Received},
    settings::{PullerSettings, Window},
    stats::{PullLinkStats, PullStats},
};
use crate::{
    amount::Amount,
    credit::Budget,
    limits::PartialFrames,
    link::{Links, PeerKey},
    link_id::LinkId,
    time::Time,
    violation::SettingError,
};

/// An event of a puller, for its driver; see [`Puller::poll_event`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PullerEvent {
    /// A pusher has ended its stream on this link.
    Ended(LinkId),
    /// A `recv` has waited for 5 s at the cap: the application holds as many deliveries as it may. Reported once.
    AtCap {
        /// The cap: the messages of a fixed window, or of the budget.
        cap: u64,
        /// The number of deliveries that are handed out and not settled.
        held: u64,
    },
}

/// The state machine of the puller role. [`Received`] describes `H`.
///
/// The documentation of the [crate] describes how a driver uses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Puller<H = ()> {
    settings: PullerSettings,
    links: Links<PullLink<H>>,
    /// Links whose peer is the connector, by its key (HS-9).
    slots: BTreeMap<PeerKey, LinkId>,
    /// Links with messages for the application, in turn.
    turn: VecDeque<LinkId>,
    /// Deliveries in the inboxes of all links.
    queued: Amount,
    /// Deliveries handed out and not settled.
    in_flight: u64,
    /// The number of `recv` calls that wait.
    waiting: usize,
    /// A poll has found no delivery, and none has arrived since.
    polled_empty: bool,
    /// The automatic window.
    auto: AutoWindow,
    /// The budget, and what all links have of it (CR-9).
    budget: Budget,
    /// The maximum of `in_flight` (CR-6).
    cap: u64,
    /// Unused credit of open links, in messages.
    unused: u64,
    /// The part of it on links whose pushers have not answered a recall in time. It takes no places (CR-6).
    overdue: u64,
    /// Links without credit and deliveries, in the order in which they get places (CR-6).
    place_queue: PlaceQueue,
    /// Links that wait for memory (LM-4).
    memory: MemoryQueue,
    /// The number of recalls that wait for their `Skip` and were sent because another link could use the credit (CR-6).
    rotating: u64,
    /// When the shares of a fixed window are computed next.
    share_at: Time,
    /// Whether the application has waited since then for another delivery of a link.
    has_waited: bool,
    /// Detects a `recv` that waits at the cap.
    stuck: Stuck,
    /// Links without unused credit, which get some when a `recv` begins to wait (CR-6).
    without_credit: Turns,
    /// Links that wait for budget: they did not get their share because the budget was spent (CR-9).
    waiting_for_budget: Turns,
    /// The number of links with credit beyond their window: a minimum grant, or credit for redelivered messages (CR-6,
    /// RD-9).
    minimum_grants: usize,
    /// Links with outcomes that are held back.
    pending: Vec<LinkId>,
    /// The dedup table (RD-9).
    dedup: DedupTable,
    /// Deliveries that the dedup table has answered. They do not count as work done.
    answered: u64,
    /// Large frames that have begun to arrive.
    partial_frames: PartialFrames,
    /// The memory that batches keep.
    retained: RetainedBytes,
    leaving: bool,
    ended: BTreeSet<EndedPusher>,
    events: VecDeque<PullerEvent>,
    ready_links: Vec<LinkId>,
    stats: PullStats,
}

impl<H: Clone + Default> Puller<H> {
    /// Makes a puller without links.
    ///
    /// # Errors
    /// The first setting outside its range (LM-1).
    pub fn new(settings: PullerSettings) -> Result<Self, SettingError> {
        settings.check()?;
        let (memory, retained) = (settings.memory, RetainedBytes::new(settings.budget_bytes));
        let budget = Budget::new(Amount::new(settings.budget, settings.budget_bytes));
        let cap = allocator::cap(&settings);
        Ok(Self {
            settings,
            cap,
            unused: 0,
            overdue: 0,
            place_queue: PlaceQueue::default(),
            memory: MemoryQueue::default(),
            rotating: 0,
            share_at: Time::default(),
            has_waited: false,
            stuck: Stuck::default(),
            links: Links::default(),
            slots: BTreeMap::new(),
            turn: VecDeque::new(),
            queued: Amount::ZERO,
            in_flight: 0,
            waiting: 0,
            polled_empty: false,
            auto: AutoWindow::new(),
            budget,
            without_credit: Turns::default(),
            waiting_for_budget: Turns::default(),
            minimum_grants: 0,
            pending: Vec::new(),
            dedup: DedupTable::new(memory),
            answered: 0,
            partial_frames: PartialFrames::default(),
            retained,
            leaving: false,
            ended: BTreeSet::new(),
            events: VecDeque::new(),
            ready_links: Vec::new(),
            stats: PullStats::default(),
        })
    }

    /// Sets the value of `H` that deliveries of this link carry from now on. Until then they carry the default.
    pub fn set_context(&mut self, link: LinkId, context: H) {
        if let Some(link) = self.links.get_mut(link) {
            link.context = context;
        }
    }

    /// Takes the next delivery for the application. Links take turns, one batch each; on one link, deliveries are in
    /// the order of their ids (DL-7).
    ///
    /// Returns `None` if no delivery is queued, if the application holds as many as the window allows (CR-6), or if the
    /// puller is leaving.
    #[inline]
    pub fn recv(&mut self) -> Option<Received<H>> {
        if self.leaving || self.in_flight >= self.cap {
            return None;
        }
        loop {
            // The same as `next_link`, but with a single lookup of the link, because this runs for every message.
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
                link.inbox.pop_front(); // cannot happen: the whole batch was checked when it arrived
                continue;
            };
            let one = Amount::new(1, received.size());
            link.queued -= one;
            self.queued -= one;
            self.in_flight += 1;
            self.auto.busy(self.in_flight);
            self.stats.redelivered += u64::from(received.item.attempt > 1);
            if link.paused_until.is_some() && link.queued.bytes < self.settings.read_ahead {
                mark_ready(&mut self.ready_links, id, link);
            }
            return Some(received);
        }
    }

    /// The link that has the next delivery.
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

    /// The number of deliveries that wait for the application.
    #[must_use]
    pub fn queued(&self) -> u64 {
        if self.leaving { 0 } else { self.queued.messages }
    }

    /// Whether a delivery waits for the application.
    #[must_use]
    pub fn has_queued(&self) -> bool {
        self.queued.messages > 0 && !self.leaving
    }

    /// Whether [`Self::recv`] would return a delivery.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.queued.messages > 0 && !self.leaving && self.in_flight < self.cap
    }

    /// Reports that a `recv` begins to wait. Links without credit get a minimum grant (CR-6), and held outcomes are
    /// sent (OC-5). Each call must be followed by a call of [`Self::stop_waiting`].
    pub fn start_waiting(&mut self, now: Time) {
        self.waiting += 1;
        if self.waiting == 1 {
            self.stuck.begin(now, self.done());
        }
        if self.queued.messages > 0 {
            return;
        }
        let waiting = self.waiting as u64;
        self.auto.busy(self.in_flight + waiting);
        self.auto.begin_idle(now, waiting, self.in_flight);
        for id in std::mem::take(&mut self.pending) {
            if let Some(link) = self.links.get_mut(id) {
                link.in_pending = false;
                mark_ready(&mut self.ready_links, id, link);
            }
        }
        for id in self.without_credit.iter() {
            if let Some(link) = self.links.get_mut(id) {
                link.asked_others = None; // no `recv` may have waited when it last caused recalls
            }
        }
        self.wake_without_credit();
    }

    /// Reports that a `recv` waits no longer, because it got a delivery or was cancelled. If no other one waits, credit
    /// beyond the window is recalled (CR-7).
    pub fn stop_waiting(&mut self, now: Time) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            self.stuck.end();
        }
        if self.queued.messages == 0 {
            self.auto.begin_idle(now, self.waiting as u64, self.in_flight);
        }
        if self.waiting == 0 && self.minimum_grants > 0 {
            self.wake_minimum_grants();
        } else if self.waiting > 0 && self.queued.messages == 0 {
            // The others still wait for a delivery (CR-6).
            self.wake_without_credit();
        }
    }

    /// Reports that the application has polled and found no delivery. Until one arrives, links get credit as if a
    /// `recv` waited (CR-6). Otherwise an application that only polls would never get the messages of a link without a
    /// share of the window. With a window of 0 this has no effect (CR-7).
    pub fn handle_empty_poll(&mut self) {
        let none = matches!(self.settings.window, Window::Fixed { messages: 0, .. });
        if !none && !self.polled_empty && self.queued.messages == 0 && !self.leaving {
            self.polled_empty = true;
            self.wake_without_credit();
        }
    }

    /// Whether the application waits for a delivery, and is below the cap.
    fn is_wanted(&self) -> bool {
        (self.waiting > 0 || self.polled_empty) && self.in_flight < self.cap
    }

    /// Whether the application waits for a delivery, is below the cap, and none is queued.
    fn lacks_deliveries(&self) -> bool {
        self.is_wanted() && self.queued.messages == 0
    }

    /// Whether a link is open.
    #[must_use]
    pub fn is_open(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.session.is_open())
    }

    /// Whether a delivery was settled on this link, so that the wait before the next connection attempt is reset
    /// (RD-6).
    #[must_use]
    pub fn has_outcome(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.grant.settled_deliveries() > 0)
    }

    /// Takes the next event. Call it until it returns `None`, after frames and timers were handled.
    pub fn poll_event(&mut self) -> Option<PullerEvent> {
        self.events.pop_front()
    }

    /// The statistics of this puller.
    #[must_use]
    pub fn stats(&self) -> PullStats {
        let (queued, committed) = (self.queued, self.budget.committed());
        PullStats {
            queued: queued.messages,
            queued_bytes: queued.bytes,
            in_flight: self.in_flight,
            duplicates_waiting: self.dedup.waiting_duplicates(),
            links: self.links.len() as u64,
            pushers_ended: self.ended.len() as u64,
            committed: committed.messages,
            committed_bytes: committed.bytes,
            window: match self.settings.window {
                Window::Fixed { messages: 1.., .. } => self.cap,
                _ => self.links.iter().map(|(_, link)| link.base.messages).sum(),
            },
            max_in_flight: self.cap,
            service_rate: self.auto.rate(),
            round_trip: self.round_trip(),
            ..self.stats.clone()
        }
    }

    /// The statistics of each link.
    #[must_use]
    pub fn link_stats(&self) -> Vec<PullLinkStats> {
        self.links.iter().map(|(id, link)| link.stats(id)).collect()
    }
}

/// Puts a link into the list of links to wake, once.
#[inline]
fn mark_ready<H>(ready_links: &mut Vec<LinkId>, id: LinkId, link: &mut PullLink<H>) {
    if !link.session.ready {
        link.session.ready = true;
        ready_links.push(id);
    }
}
