//! The lane: the deliveries that the next calls of `recv` take, beside the machine and under a lock of its own.
//!
//! ```text
//! machine: inbox ──refill──► lane ──recv──► application ──ack──► page ──collect──► machine
//!            ▲                 │ put back: a link has changed, nobody takes them,
//!            └─────────────────┘ somebody asks for statistics, or the socket closes
//! ```
//! Fast work is taken from the core in batches, and their acks are stored in a page, so that `recv` and `ack` do not
//! take the machine's lock for each message. Slow work does not use the lane: in an automatic window its batches would
//! have fewer than [`MIN_BATCH`] deliveries, and in a fixed window it is noticed by the watch.
//!
//! Each delivery id is in one place: the inbox, the lane, an open word of a page, an acked word, or settled.
//!
//! Acks are collected at a refill, from the pages used last, and at each tick of the watch, from all. If a call finds
//! no delivery, the acks of the pages in use are settled at once from then on: the pusher, or a call at the window's
//! limit, may wait for them.
//!
//! Locks: the lane's, then the machine's. Drivers never take the lane's lock. Under it, the machine is used only with
//! `with_message`, because what `with` does at last may use the socket.

mod state;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidegate_proto::{Amount, Verdict};
use tokio::sync::Notify;

use self::state::LaneState;
use super::{
    Delivery,
    body::{DeliveryBody, Word},
    page::{MAX_PAGES, MAX_WORDS},
    state::PullMachine,
    watch,
    words::WordState,
};
use crate::socket::{Inner, Shared};

/// The smallest batch for which a page is worth its cost.
pub(crate) const MIN_BATCH: u64 = 16;
/// After deliveries in the lane had to be put back because nobody took them, this many are taken one by one.
const SLOW_REFILLS: u32 = 64;

pub(crate) struct Lane {
    inner: Mutex<LaneState>,
    /// Counts the events after which the deliveries in the lane must be put back. Written under the machine's lock.
    disruptions: Arc<AtomicU64>,
    /// Wakes the watch when there is something to collect again.
    wake: Arc<Notify>,
    /// [`MIN_BATCH`], but for tests.
    min_batch: u64,
    /// Whether acks that the watch has collected are due at once: they have waited for as long as an ack may.
    sends_at_tick: bool,
}

/// What a tick of the watch has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tick {
    /// Acks were collected, or deliveries taken.
    Moved,
    /// Deliveries are handed out, and none of them was settled.
    Still,
    /// No page is in use.
    Unused,
}

/// Whether a call takes a delivery although a link should run first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manners {
    Yield,
    Insist,
}

impl Lane {
    pub(crate) fn new(disruptions: Arc<AtomicU64>, min_batch: u64, ack_delay: Duration) -> Self {
        Self {
            inner: Mutex::default(),
            disruptions,
            wake: Arc::default(),
            min_batch,
            sends_at_tick: ack_delay <= watch::TICK,
        }
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, LaneState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn disruptions(&self) -> u64 {
        self.disruptions.load(Ordering::Acquire)
    }

    /// The next delivery, unless other tasks wait or a link should run first (OC-5).
    #[inline(always)] // runs for every message
    pub(super) fn take(&self, shared: &Arc<Shared<PullMachine>>) -> Option<Delivery> {
        let mut lane = self.lock();
        if lane.in_line > 0 {
            return None;
        }
        if let Some(delivery) = lane.next(self.disruptions()) {
            return Some(delivery);
        }
        self.refill(&mut lane, shared, Manners::Yield)
    }

    /// Like [`Self::take`], for a thread beside those that run the links: it need not let them run first.
    pub(super) fn take_blocking(&self, shared: &Arc<Shared<PullMachine>>) -> Option<Delivery> {
        let mut lane = self.lock();
        if lane.in_line > 0 {
            return None;
        }
        match lane.next(self.disruptions()) {
            None => self.refill(&mut lane, shared, Manners::Insist),
            next => next,
        }
    }

    /// The next delivery, for a call whose turn it is. It wakes another waiting call if more are there.
    pub(super) fn take_in_turn(&self, shared: &Arc<Shared<PullMachine>>) -> Option<Delivery> {
        let mut lane = self.lock();
        let delivery = match lane.next(self.disruptions()) {
            None => self.refill(&mut lane, shared, Manners::Insist),
            next => next,
        };
        lane.pass_on(shared);
        delivery
    }

    /// Takes up to `limit` deliveries that are there, unless other tasks wait or a link should run first.
    pub(super) fn take_many(
        &self,
        shared: &Arc<Shared<PullMachine>>,
        to: &mut Vec<Delivery>,
        limit: usize,
    ) -> usize {
        let mut lane = self.lock();
        if lane.in_line > 0 {
            return 0;
        }
        self.fill(&mut lane, shared, to, limit)
    }

    /// Takes more deliveries after the first one, up to the share of one call beside the tasks that wait.
    pub(super) fn take_share(
        &self,
        shared: &Arc<Shared<PullMachine>>,
        to: &mut Vec<Delivery>,
        limit: usize,
    ) -> usize {
        let mut lane = self.lock();
        let there = lane.len() + shared.with_message(|inner| inner.machine.queued());
        let share = there / (lane.in_line as u64 + 1);
        self.fill(&mut lane, shared, to, limit.min(usize::try_from(share).unwrap_or(usize::MAX)))
    }

    fn fill(
        &self,
        lane: &mut LaneState,
        shared: &Arc<Shared<PullMachine>>,
        to: &mut Vec<Delivery>,
        limit: usize,
    ) -> usize {
        let before = to.len();
        to.extend(std::iter::from_fn(|| lane.next(self.disruptions())).take(limit));
        if to.len() - before < limit && !lane.closed {
            shared.with_message(|inner| {
                lane.settle_last(inner, shared);
                while to.len() - before < limit {
                    let next = match lane.next(self.disruptions()) {
                        None => self.take_new(lane, inner, shared, Manners::Yield),
                        next => next,
                    };
                    let Some(delivery) = next else { break };
                    to.push(delivery);
                }
            });
            self.watch(lane, shared);
        }
        to.len() - before
    }

    /// Collects acks, takes a new batch, and returns its first delivery.
    #[inline(never)]
    fn refill(
        &self,
        lane: &mut LaneState,
        shared: &Arc<Shared<PullMachine>>,
        manners: Manners,
    ) -> Option<Delivery> {
        if lane.closed {
            return None;
        }
        let delivery = shared.with_message(|inner| {
            lane.settle_last(inner, shared);
            self.take_new(lane, inner, shared, manners)
        });
        self.watch(lane, shared);
        delivery
    }

    /// Takes a delivery from the machine: the first one of a new batch, or a single one.
    fn take_new(
        &self,
        lane: &mut LaneState,
        inner: &mut Inner<PullMachine>,
        shared: &Shared<PullMachine>,
        manners: Manners,
    ) -> Option<Delivery> {
        if manners == Manners::Yield && inner.state.yield_due {
            return None;
        }
        lane.put_back(inner, shared); // if it has one, its link was lost meanwhile
        if lane.slow_refills > 0 {
            lane.slow_refills -= 1;
        } else if lane.ended.len() < MAX_PAGES
            && let Some(batch) = inner.machine.recv_batch(self.min_batch..=MAX_WORDS)
        {
            lane.begin(inner, batch, self.disruptions());
            return lane.next(self.disruptions());
        }
        let mut received = inner.machine.recv();
        // Acks that were stored before may have made room at the window's limit.
        if received.is_none() && lane.attend(inner, shared) > 0 {
            received = inner.machine.recv();
        }
        let received = received?;
        // Others may take the deliveries after this one.
        if inner.state.waiting > 0 && inner.machine.has_next() {
            shared.wakers.ready.notify_one();
        }
        Some(Delivery::new(DeliveryBody::Single(received)))
    }

    /// Collects acks, puts the deliveries back that were not taken, and uses the machine, which then knows all.
    pub(super) fn inspect<R>(
        &self,
        shared: &Shared<PullMachine>,
        f: impl FnOnce(&mut PullMachine) -> R,
    ) -> R {
        let mut lane = self.lock();
        shared.with_message(|inner| {
            lane.put_back(inner, shared);
            lane.collect(inner, shared);
            f(&mut inner.machine)
        })
    }

    /// Hands nothing out any more, puts everything back, and lets acks be settled at once.
    pub(super) fn close(&self, shared: &Shared<PullMachine>) {
        let mut lane = self.lock();
        lane.closed = true;
        shared.with_message(|inner| {
            lane.put_back(inner, shared);
            lane.attend(inner, shared);
            lane.collect(inner, shared);
        });
    }

    /// Settles an ack that was stored in a page that asks for that.
    pub(super) fn settle_ack(&self, shared: &Shared<PullMachine>, word: Word) {
        let lane = self.lock();
        // It may have been collected, and its page may be in use for other deliveries. If one of these has just stored
        // its ack in this word, that is settled instead, which does no harm.
        let owner = word.page.owner().filter(|owner| owner.is_of(shared));
        if let (Some(owner), WordState::Acked(size)) = (owner, word.page.words.state(word.index)) {
            word.page.words.collect(word.index);
            shared.with_message(|inner| {
                let (id, one) = (owner.first + u64::from(word.index), Amount::new(1, size.into()));
                inner.state.yield_due |= inner.machine.settle_untracked(owner.link, id, one, &Verdict::Ack);
                wake_at_cap(inner, shared);
            });
        }
        drop(lane);
    }

    /// Settles a delivery of a page with an outcome other than an ack.
    pub(super) fn settle(
        &self,
        shared: &Shared<PullMachine>,
        word: Word,
        outcome: impl FnOnce(&mut PullMachine) -> bool,
    ) {
        let lane = self.lock();
        word.page.words.collect(word.index);
        shared.with_message(|inner| {
            inner.state.yield_due |= outcome(&mut inner.machine);
            wake_at_cap(inner, shared);
        });
        drop(lane);
    }

    /// Begins to wait, or to let others run first: a new `recv` takes nothing before that ends.
    pub(super) fn enter_line(&self) {
        self.lock().in_line += 1;
    }

    /// Enters the line if others are in it and could take a delivery. `queued`: the machine has one.
    pub(super) fn enter_line_behind(&self, queued: bool) -> bool {
        let mut lane = self.lock();
        let others = lane.in_line > 0 && (queued || lane.has_next());
        lane.in_line += usize::from(others);
        others
    }

    /// Ends what [`Self::enter_line`] has begun. Another waiting call gets the wake-up that this one may have got.
    pub(super) fn leave_line(&self, shared: &Shared<PullMachine>) {
        let mut lane = self.lock();
        lane.in_line -= 1;
        lane.pass_on(shared);
    }

    /// One tick of the watch. `quiet`: nothing has moved for some ticks, so acks are settled at once from now on.
    pub(super) fn tick(&self, shared: &Shared<PullMachine>, quiet: bool) -> Tick {
        let mut lane = self.lock();
        lane.quiet = quiet;
        let (taken, still) = lane.progress();
        let moved = shared.with_message(|inner| {
            if quiet {
                lane.attend(inner, shared);
            }
            let collected = lane.collect(inner, shared) > 0;
            if collected && self.sends_at_tick {
                inner.machine.send_outcomes(); // OC-5
            }
            if still {
                // Nobody has taken a delivery since the last tick: other pullers could get them.
                lane.put_back(inner, shared);
                lane.slow_refills = SLOW_REFILLS;
            }
            taken || collected
        });
        match (moved, lane.is_used()) {
            (true, _) => Tick::Moved,
            (false, true) => Tick::Still,
            (false, false) => Tick::Unused,
        }
    }

    /// Ends the watch, unless a page is in use again. Returns whether it ends.
    pub(super) fn end_watch(&self) -> bool {
        let mut lane = self.lock();
        lane.watched = lane.is_used();
        !lane.watched
    }

    /// Starts the watch if a page is in use, or makes it tick often again.
    fn watch(&self, lane: &mut LaneState, shared: &Arc<Shared<PullMachine>>) {
        if lane.has_current() {
            if !std::mem::replace(&mut lane.watched, true) {
                watch::spawn(shared, self.wake.clone());
            } else if std::mem::take(&mut lane.quiet) {
                self.wake.notify_one();
            }
        }
    }
}

/// At the window's limit a `recv` may wait for an outcome rather than for a message, so wake it after each outcome.
#[inline]
pub(super) fn wake_at_cap(inner: &Inner<PullMachine>, shared: &Shared<PullMachine>) {
    if inner.state.waiting > 0 {
        wake_waiting(inner, shared);
    }
}

#[cold]
fn wake_waiting(inner: &Inner<PullMachine>, shared: &Shared<PullMachine>) {
    if inner.machine.has_next() {
        shared.wakers.ready.notify_one();
    }
}
