//! The puller: grants credit, checks frames, hands deliveries to the application, and sends outcomes.
//!
//! ```text
//! driver ──► link: inbox ──► recv ──► application ──► settle ──► link: outcomes ──► driver
//!              ▲                                                   │
//!              └──────────── limits = settled + skipped + window ──┘
//! ```

mod allocator;
mod batches;
mod dedup;
mod link;
mod outcomes;
mod receive;
mod received;
mod retained;
mod settings;
mod skips;
mod stats;
mod stuck;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::{
    allocator::{AutoWindow, MemoryQueue, PlaceQueue, Turns},
    dedup::DedupTable,
    link::{Leaving, PullLink},
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
    limits::PartialFrames,
    link::{LinkEnd, Links, PeerKey},
    link_id::LinkId,
    message::InstanceId,
    time::Time,
    violation::{Code, SettingError},
    wire::Item,
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

/// A pusher that has ended its stream (ST-6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum EndedPusher {
    /// Identified by the names that the transport has verified, so that one peer cannot count as several.
    Verified(Vec<String>),
    /// Identified by its instance, which it may have made up.
    Claimed(InstanceId),
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
    /// Deliveries in the inboxes of all links, and their bytes.
    queued: u64,
    queued_bytes: u64,
    /// Deliveries handed out and not settled.
    in_flight: u64,
    /// The number of `recv` calls that wait.
    waiting: usize,
    /// A poll has found no delivery, and none has arrived since.
    polled_empty: bool,
    /// The automatic window.
    auto: AutoWindow,
    /// Messages and bytes granted and not settled, on all links (CR-9).
    committed: (u64, u64),
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
            stuck: Stuck::default(),
            links: Links::default(),
            slots: BTreeMap::new(),
            turn: VecDeque::new(),
            queued: 0,
            queued_bytes: 0,
            in_flight: 0,
            waiting: 0,
            polled_empty: false,
            auto: AutoWindow::new(),
            committed: (0, 0),
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
            link.queued -= 1;
            link.queued_bytes -= received.size();
            self.queued -= 1;
            self.queued_bytes -= received.size();
            self.in_flight += 1;
            self.auto.busy(self.in_flight);
            self.stats.redelivered += u64::from(received.item.attempt > 1);
            if link.paused_until.is_some() && link.queued_bytes < self.settings.read_ahead {
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
        if self.leaving { 0 } else { self.queued }
    }

    /// Whether a delivery waits for the application.
    #[must_use]
    pub fn has_queued(&self) -> bool {
        self.queued > 0 && !self.leaving
    }

    /// Whether [`Self::recv`] would return a delivery.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.queued > 0 && !self.leaving && self.in_flight < self.cap
    }

    /// Reports that a `recv` begins to wait. Links without credit get a minimum grant (CR-6), and held outcomes are
    /// sent (OC-5). Each call must be followed by a call of [`Self::stop_waiting`].
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
        if self.queued == 0 {
            self.auto.begin_idle(now, self.waiting as u64, self.in_flight);
        }
        if self.waiting == 0 && self.minimum_grants > 0 {
            self.wake_minimum_grants();
        } else if self.waiting > 0 && self.queued == 0 {
            // The others still wait for a delivery (CR-6).
            self.wake_without_credit();
        }
    }

    /// Reports that the application has polled and found no delivery. Until one arrives, links get credit as if a
    /// `recv` waited (CR-6). Otherwise an application that only polls would never get the messages of a link without a
    /// share of the window. With a window of 0 this has no effect (CR-7).
    pub fn handle_empty_poll(&mut self) {
        let none = matches!(self.settings.window, Window::Fixed { messages: 0, .. });
        if !none && !self.polled_empty && self.queued == 0 && !self.leaving {
            self.polled_empty = true;
            self.wake_without_credit();
        }
    }

    /// Whether the application waits for a delivery, and is below the cap.
    fn is_wanted(&self) -> bool {
        (self.waiting > 0 || self.polled_empty) && self.in_flight < self.cap
    }

    /// Settles a delivery (OC-1). If its link is lost, the outcome is sent only if the message is redelivered (RD-5,
    /// RD-9).
    ///
    /// Returns whether half of a window has been settled although deliveries wait for the application (OC-5). If so, an
    /// application that shares its thread with the driver should let the driver run. Otherwise the pusher waits for
    /// credit that could be granted.
    #[inline]
    pub fn settle(&mut self, received: &Received<H>, verdict: &Verdict) -> bool {
        self.settle_item(received.link(), &received.item, verdict)
    }

    /// Settles one delivery of a [`DeliveryBatch`], as [`Self::settle`] does.
    #[inline]
    pub fn settle_item(&mut self, link: LinkId, item: &Item, verdict: &Verdict) -> bool {
        self.settle_range(link, item.id, 1, item.size.into(), item.is_tracked(), verdict)
    }

    /// Acks `count` deliveries of a [`DeliveryBatch`] with consecutive ids from `first`. `size` is the sum of their
    /// sizes.
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
            None => self.settle_detached(id, first, count, verdict),
        }
    }

    /// Settles deliveries of an open link, whether they are handed out or not. Returns `None` if the link is not open.
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
        link.grant.settle(count, size);
        self.committed.0 -= count;
        self.committed.1 -= size;
        if link.grant.outstanding().0 == 0 && link.may_be_granted() {
            self.place_queue.enter(id, &mut link.ticket);
        }
        // The first outcome wakes the driver too, so that it sets its timer (OC-5).
        let begins = link.outcomes.is_empty();
        link.outcomes.push(first, count, size, verdict);
        link.ack_now |= tracked;
        let held = &link.outcomes;
        let full = held.messages * 2 >= link.base.0 || held.bytes * 2 >= link.base.1;
        let due = tracked || full || link.queued == 0 || begins;
        if !link.in_pending {
            link.in_pending = true;
            self.pending.push(id);
        }
        if due {
            mark_ready(&mut self.ready_links, id, link);
        }
        Some(full && self.queued > 0)
    }

    /// Reports that the application still works on a delivery. The puller sends `Working`, which restarts the pusher's
    /// settle time-out (OC-13).
    pub fn working(&mut self, link: LinkId, delivery: u64) {
        let (link, delivery) = self.dedup.duplicate_of(link, delivery).unwrap_or((link, delivery));
        if let Some(found) = self.links.get_mut(link).filter(|found| found.session.is_open()) {
            // The first one wakes the driver, so that it sets its timer.
            let begins = found.working.is_empty();
            found.working.insert(delivery);
            if begins {
                mark_ready(&mut self.ready_links, link, found);
            }
        }
    }

    /// Whether an outcome of this delivery could be sent now: on its link, or on the link on which the message was
    /// redelivered (RD-9).
    #[must_use]
    pub fn is_reachable(&self, link: LinkId, delivery: u64) -> bool {
        self.is_open(link) || self.dedup.duplicate_of(link, delivery).is_some()
    }

    /// Whether a link is open.
    #[must_use]
    pub fn is_open(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.session.is_open())
    }

    /// Stops receiving (ST-1): no more deliveries are handed out, queued ones are released, and each link is closed
    /// when the application has settled its deliveries.
    pub fn leave(&mut self) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        for id in self.links.ids() {
            // A link that is being renewed (FR-7) has asked for its Skip already.
            if let Some(link) = self.links.get_mut(id).filter(|link| link.leaving == Leaving::No) {
                link.leaving = Leaving::Due;
                self.place_queue.leave(&mut link.ticket);
                mark_ready(&mut self.ready_links, id, link);
            }
        }
    }

    /// Whether the puller is leaving.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Closes every link at once with ABORTED. The pushers requeue what is un-acked (RD-1).
    pub fn abandon(&mut self, now: Time) {
        self.leave();
        for id in self.links.ids() {
            if let Some(link) = self.links.get_mut(id) {
                link.session.close(now, LinkEnd::own(Code::Aborted, "the puller was stopped"));
                mark_ready(&mut self.ready_links, id, link);
            }
        }
    }

    /// Whether a link is left on which its pusher has neither sent `End` nor closed because it stops.
    #[must_use]
    pub fn has_open_streams(&self) -> bool {
        self.links.iter().any(|(_, link)| !link.ended && !link.session.peer_has_stopped())
    }

    /// The number of pushers that have ended their streams, each counted once (ST-6): by its verified names if it has
    /// any, otherwise by its instance, which a peer may make up.
    #[must_use]
    pub fn pushers_ended(&self) -> usize {
        self.ended.len()
    }

    /// Whether the pusher has ended its stream on this link.
    #[must_use]
    pub fn has_ended(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.ended)
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
        PullStats {
            queued: self.queued,
            queued_bytes: self.queued_bytes,
            in_flight: self.in_flight,
            duplicates_waiting: self.dedup.waiting_duplicates(),
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
