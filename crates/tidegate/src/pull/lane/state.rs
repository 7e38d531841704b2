//! What the lane keeps under its lock.

use tidegate_proto::DeliveryBatch;

use super::{
    super::{
        Delivery,
        body::{DeliveryBody, Word},
        page::PageOwner,
        page_use::PageUse,
        state::{DeliveryContext, PullMachine},
    },
    wake_at_cap,
};
use crate::socket::{Inner, Shared};

/// A refill looks for acks in at most this many pages, so that its cost does not depend on how many are in use. The
/// watch looks in all.
const LAST_PAGES: usize = 4;

#[derive(Default)]
pub(super) struct LaneState {
    /// The batch from which deliveries are taken.
    current: Option<Current>,
    /// Pages from which no more deliveries are taken, but not all are collected. The one used last is the last.
    pub(super) ended: Vec<PageUse>,
    /// Calls that wait, or let others run first. A new `recv` takes nothing before them.
    pub(super) in_line: usize,
    /// Deliveries taken whose attempt is above 1, which the machine does not know of yet.
    redelivered: u64,
    /// The work was slow, so that this many deliveries are taken one by one.
    pub(super) slow_refills: u32,
    /// The watch runs.
    pub(super) watched: bool,
    /// The watch ticks rarely.
    pub(super) quiet: bool,
    /// The socket closes: nothing is taken any more.
    pub(super) closed: bool,
}

struct Current {
    batch: DeliveryBatch<DeliveryContext>,
    page: PageUse,
    /// The number of disruptions when it was taken.
    disruptions: u64,
    /// The number of deliveries taken at the last tick of the watch.
    taken_before: u32,
}

impl LaneState {
    /// The next delivery in the lane.
    #[inline(always)] // runs for every message
    pub(super) fn next(&mut self, disruptions: u64) -> Option<Delivery> {
        let current = self.current.as_mut()?;
        if current.disruptions != disruptions {
            return None;
        }
        let item = current.batch.take()?;
        self.redelivered += u64::from(item.attempt > 1);
        let word = Word { page: current.page.page, index: current.page.hand_out() };
        Some(Delivery::new(DeliveryBody::new(word, item, &current.batch)))
    }

    pub(super) fn len(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.batch.len())
    }

    pub(super) fn has_next(&self) -> bool {
        self.len() > 0
    }

    pub(super) fn has_current(&self) -> bool {
        self.current.is_some()
    }

    pub(super) fn is_used(&self) -> bool {
        self.current.is_some() || !self.ended.is_empty()
    }

    /// Wakes a call that waits, if it could take a delivery of the lane.
    pub(super) fn pass_on(&self, shared: &Shared<PullMachine>) {
        if self.in_line > 0 && self.has_next() {
            shared.wakers.ready.notify_one();
        }
    }

    pub(super) fn begin(
        &mut self,
        inner: &mut Inner<PullMachine>,
        batch: DeliveryBatch<DeliveryContext>,
        disruptions: u64,
    ) {
        let owner = PageOwner {
            context: batch.context().clone(),
            link: batch.link(),
            instance: batch.instance(),
            first: batch.next_id(),
            count: batch.len(),
        };
        inner.state.lane_link = Some(batch.link());
        self.current = Some(Current { batch, page: PageUse::new(owner), disruptions, taken_before: 0 });
    }

    /// Whether deliveries were taken since the last call, and whether none was taken although some are there.
    pub(super) fn progress(&mut self) -> (bool, bool) {
        let Some(current) = &mut self.current else { return (false, false) };
        let taken = current.page.handed_out();
        let moved = std::mem::replace(&mut current.taken_before, taken) != taken;
        (moved, !moved)
    }

    /// Puts the deliveries back that were not taken.
    pub(super) fn put_back(&mut self, inner: &mut Inner<PullMachine>, shared: &Shared<PullMachine>) {
        let Some(Current { batch, page, .. }) = self.current.take() else { return };
        let count = batch.len();
        inner.state.lane_link = None;
        inner.machine.return_batch(batch);
        self.ended.push(page);
        // A call that waits may have left them to another one, which was woken and does not run.
        let waiting = inner.state.waiting as u64;
        for _ in 0..count.min(waiting) {
            wake_at_cap(inner, shared);
        }
    }

    /// Collects the acks of the pages used last, and ends the current one.
    pub(super) fn settle_last(&mut self, inner: &mut Inner<PullMachine>, shared: &Shared<PullMachine>) {
        let ends = self.current.is_some();
        self.put_back(inner, shared);
        let first = self.ended.len().saturating_sub(LAST_PAGES);
        let last = self.ended.len().saturating_sub(1);
        let mut at = 0;
        self.collect_where(inner, shared, |page| {
            at += 1;
            // The page that has just ended is read whole, once.
            at > first && (page.is_short() || (ends && at > last))
        });
    }

    /// Settles the acks since the last call, and returns their number.
    pub(super) fn collect(&mut self, inner: &mut Inner<PullMachine>, shared: &Shared<PullMachine>) -> u64 {
        let before = match &mut self.current {
            Some(current) => current.page.collect(&mut inner.machine, &mut inner.state.yield_due),
            None => 0,
        };
        before + self.collect_where(inner, shared, |_| true)
    }

    /// Lets the acks of all pages be settled at once from now on, and returns the number of those that were stored
    /// before. Pages that were asked before are not read again.
    pub(super) fn attend(&mut self, inner: &mut Inner<PullMachine>, shared: &Shared<PullMachine>) -> u64 {
        self.collect_where(inner, shared, PageUse::attend)
    }

    /// Settles the acks of ended pages that `wanted` selects.
    fn collect_where(
        &mut self,
        inner: &mut Inner<PullMachine>,
        shared: &Shared<PullMachine>,
        mut wanted: impl FnMut(&mut PageUse) -> bool,
    ) -> u64 {
        let Inner { machine, state, .. } = &mut *inner;
        let mut count = 0;
        self.ended.retain_mut(|page| {
            if !wanted(page) {
                return true;
            }
            count += page.collect(machine, &mut state.yield_due);
            !page.end()
        });
        if self.redelivered > 0 {
            machine.count_redelivered(std::mem::take(&mut self.redelivered));
        }
        if count > 0 {
            wake_at_cap(inner, shared);
        }
        count
    }
}
