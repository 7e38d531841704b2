//! One link of a puller: its credit, the deliveries that have arrived, and the outcomes that wait to be sent.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;

use super::{
    allocator::{Need, Ticket},
    dedup::LinkHistory,
    outcomes::{Outcomes, Verdict},
    received::QueuedBatch,
    retained::RetainedBytes,
    skips::Skips,
    stats::PullLinkStats,
};
use crate::{
    amount::Amount,
    credit::{Budget, Granting},
    delivery_id::{DeliveryId, DeliveryRange},
    link::Session,
    link_id::LinkId,
    rule::Rule,
    time::Time,
    v1,
    violation::{Code, Violation},
    wire::{self, Batch, Cursor},
};

/// The time for which unused credit is not recalled after the `recv` that caused it was served. A fast worker waits
/// again at once, and would only pay for the recall. With a window of 0, credit is recalled at once (CR-7).
pub(super) const RECALL_DELAY: Duration = Duration::from_millis(5);
/// Ids in one `Working`: each has at most ten bytes, so that the frame is within FR-3.
const MAX_WORKING_IDS: usize = 6_000;
/// Signs of work are collected, like outcomes. The more bytes a `Working` has, the longer the next one waits. So a link
/// stays below the flood limit (LM-3), however often the application reports work.
const MIN_WORKING_INTERVAL: Duration = Duration::from_millis(1);
const WORKING_INTERVAL_PER_BYTE: Duration = Duration::from_micros(2);
/// A link that has delivered nothing for this time lends its only place while the application waits (CR-6).
const IDLE_AFTER: Duration = Duration::from_secs(10);
/// The time after the opening of a link in which its limits allow for redelivered messages (RD-9).
const MAX_REDELIVERY_TIME: Duration = Duration::from_secs(1);

/// The state of a recall (RC-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Recall {
    No,
    Due,
    /// Sent: no limit is raised until its `Skip` arrives.
    Sent,
}

/// The state of leaving (ST-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Leaving {
    No,
    Due,
    Sent,
    /// No `Skip` is due any more: a `Deliver` is a violation.
    Skipped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PullLink<H> {
    pub(super) session: Session,
    pub(super) grant: Granting,
    /// Its share of the window.
    pub(super) base: Amount,
    /// The message limit before it was last raised. The pusher may have used up its credit.
    pub(super) limit_before: u64,
    /// Deliveries settled when its share was last computed.
    settled_before: u64,
    /// The weight of its recently settled deliveries, for its share of a fixed window.
    pub(super) weight: u64,
    /// Its number in the queue of links that have neither credit nor deliveries.
    pub(super) ticket: Ticket,
    /// Since when its unused credit has been unused.
    pub(super) unused_since: Time,
    /// When a delivery has last arrived.
    pub(super) active_at: Time,
    /// When to check whether another link needs its unused credit.
    pub(super) check_at: Option<Time>,
    /// Its unused credit was recalled because another link could use it.
    pub(super) rotates: bool,
    /// Such a recall was not answered in time: the unused credit takes no places.
    pub(super) overdue: bool,
    /// Until then it gets no credit that other links could use, because it has not used its credit.
    pub(super) no_credit_until: Option<Time>,
    /// `Skip` frames that are due.
    pub(super) skips: Skips,
    pub(super) inbox: VecDeque<QueuedBatch<H>>,
    /// The value that its deliveries carry.
    pub(super) context: H,
    /// Deliveries in the inbox.
    pub(super) queued: Amount,
    /// The memory that its large messages need (LM-4).
    pub(super) need: Need,
    pub(super) outcomes: Outcomes,
    /// The deliveries that the pusher may send again if the link is lost.
    pub(super) history: LinkHistory,
    /// Deliveries that the next `Working` will name (OC-13).
    pub(super) working: BTreeSet<DeliveryId>,
    /// When the next `Working` may be sent.
    pub(super) working_at: Option<Time>,
    /// The link is lost or closing, and its deliveries were dropped or recorded in the dedup table.
    pub(super) retired: bool,
    /// Until then, its limits allow for messages that the pusher may send again (RD-9).
    pub(super) expects_until: Time,
    /// It waits for budget for these messages.
    pub(super) wants_repeats: bool,
    /// Held outcomes are due now (OC-5).
    pub(super) ack_now: bool,
    /// The limits may have to be raised although no outcome is due.
    pub(super) grant_due: bool,
    pub(super) recall: Recall,
    pub(super) leaving: Leaving,
    pub(super) ended: bool,
    /// The link is in the list of links with deliveries to hand out.
    pub(super) in_turn: bool,
    /// The link is in the list of links with held outcomes.
    pub(super) in_pending: bool,
    /// The machine's counter of work when this link last caused recalls on other links.
    pub(super) asked_others: Option<u64>,
    /// The link has credit beyond its window: a minimum grant (CR-6), or credit for redelivered messages (RD-9).
    pub(super) has_minimum_grant: bool,
    pub(super) ack_at: Option<Time>,
    pub(super) recall_at: Option<Time>,
    pub(super) paused_until: Option<Time>,
    received: Amount,
}

impl<H: Clone + Default> PullLink<H> {
    pub(super) fn new(now: Time, session: Session) -> Self {
        Self {
            session,
            grant: Granting::default(),
            base: Amount::ZERO,
            limit_before: 0,
            settled_before: 0,
            weight: 0,
            ticket: Ticket::default(),
            unused_since: now,
            active_at: now,
            check_at: None,
            rotates: false,
            overdue: false,
            no_credit_until: None,
            skips: Skips::default(),
            inbox: VecDeque::new(),
            context: H::default(),
            queued: Amount::ZERO,
            need: Need::default(),
            outcomes: Outcomes::default(),
            history: LinkHistory::default(),
            working: BTreeSet::new(),
            working_at: None,
            retired: false,
            expects_until: now + MAX_REDELIVERY_TIME,
            wants_repeats: false,
            ack_now: false,
            grant_due: true,
            recall: Recall::No,
            leaving: Leaving::No,
            ended: false,
            in_turn: false,
            in_pending: false,
            asked_others: None,
            has_minimum_grant: false,
            ack_at: None,
            recall_at: None,
            paused_until: None,
            received: Amount::ZERO,
        }
    }

    /// Counts a batch, and records it in the history (RD-9).
    pub(super) fn record_batch(&mut self, batch: &Batch, memory: usize) {
        self.received += batch.cursor.amount();
        let ids = DeliveryRange::new(DeliveryId::new(batch.cursor.next_id()), batch.cursor.len());
        self.history.record_batch(ids.first, batch.numbers.clone(), memory);
        self.history.confirm(ids.end, self.session.confirmed_bytes());
    }

    /// Puts deliveries into the inbox.
    pub(super) fn push(&mut self, id: LinkId, bytes: Bytes, cursor: Cursor, retained: &RetainedBytes) {
        self.queued += cursor.amount();
        let (instance, context) = (self.session.peer.instance, self.context.clone());
        self.inbox.push_back(QueuedBatch::new(bytes, cursor, id, instance, context, retained));
    }

    /// The violation of any `Deliver` that arrives now, after `End` or after the last `Skip` for leaving (ST-7, ST-1).
    pub(super) fn late_violation(&self) -> Option<Violation> {
        let (rule, detail) = match (self.ended, self.leaving) {
            (true, _) => (Rule::St7, "a Deliver after End"),
            (false, Leaving::Skipped) => (Rule::St1, "a Deliver after the Skip that answers leaving"),
            (false, _) => return None,
        };
        Some(Violation::new(Code::Unexpected, rule, detail))
    }

    /// Appends `Working` for the deliveries that are being worked on (OC-13), unless the last one was sent just before.
    pub(super) fn poll_working(&mut self, now: Time, out: &mut VecDeque<Bytes>) {
        self.working_at.take_if(|at| *at <= now);
        if self.working.is_empty() || self.working_at.is_some() || !self.session.is_open() {
            return;
        }
        let all: Vec<u64> = std::mem::take(&mut self.working).into_iter().map(DeliveryId::get).collect();
        let mut bytes = 0;
        for deliveries in all.chunks(MAX_WORKING_IDS) {
            let working = v1::Working { deliveries: deliveries.to_vec() };
            let frame = wire::encode(v1::frame::Body::Working(working));
            bytes += u32::try_from(frame.len()).unwrap_or(u32::MAX);
            self.session.put(now, out, frame);
        }
        self.working_at = Some(now + MIN_WORKING_INTERVAL + WORKING_INTERVAL_PER_BYTE.saturating_mul(bytes));
    }

    /// Whether held outcomes must be sent now (OC-5).
    pub(super) fn outcomes_due(&self, now: Time) -> bool {
        !self.outcomes.is_empty()
            && (self.ack_now
                || self.queued.messages == 0
                || self.outcomes_fill_half()
                || self.ack_at.is_some_and(|at| at <= now))
    }

    /// Whether the held outcomes are for half of the link's share of the window, in messages or in bytes (OC-5).
    #[inline]
    pub(super) fn outcomes_fill_half(&self) -> bool {
        let held = self.outcomes.amount();
        held.messages * 2 >= self.base.messages || held.bytes * 2 >= self.base.bytes
    }

    /// Whether its limits may be raised: it is open, and there is no recall, leaving or `End`.
    #[inline]
    pub(super) fn may_be_granted(&self) -> bool {
        self.recall == Recall::No && self.leaving == Leaving::No && !self.ended && self.session.is_open()
    }

    /// Until when credit that is granted now may be unused while another link could use it (CR-6).
    pub(super) fn patient_until(&self, now: Time) -> Time {
        now + self.session.round_trip().unwrap_or_default() + RECALL_DELAY
    }

    /// Until when its present credit may be unused. Unless it `lends` its only place, it keeps this place until it is
    /// idle.
    pub(super) fn unused_until(&self, lends: bool) -> Time {
        let until = self.patient_until(self.unused_since);
        if lends || !self.unused_is_last() { until } else { until.max(self.active_at + IDLE_AFTER) }
    }

    /// Whether it has only unused credit for one message, and no deliveries.
    pub(super) fn unused_is_last(&self) -> bool {
        self.grant.outstanding().messages == 1 && self.grant.unused().messages == 1
    }

    /// Whether it has delivered nothing for [`IDLE_AFTER`].
    pub(super) fn is_idle(&self, now: Time) -> bool {
        now >= self.active_at + IDLE_AFTER
    }

    /// Whether it is over its window, and has unused credit or queued deliveries to give up.
    pub(super) fn has_surplus(&self, may_keep: u64) -> bool {
        let unused = self.grant.unused().messages;
        self.recall == Recall::No
            && self.leaving == Leaving::No
            && !self.ended
            && self.session.is_open()
            && self.grant.outstanding().messages > self.base.messages
            && (unused > 0 || self.queued.messages > may_keep)
    }

    /// Whether it is so far over its share that withholding grants would take too long.
    pub(super) fn is_far_over_window(&self) -> bool {
        let (held, share) = (self.grant.outstanding().messages, self.base.messages);
        held > share * 2 || (held > share && share <= 4)
    }

    /// Deliveries settled since the last [`Self::begin_recent`].
    pub(super) fn recent(&self) -> u64 {
        self.grant.settled_deliveries() - self.settled_before
    }

    pub(super) fn begin_recent(&mut self) {
        self.settled_before = self.grant.settled_deliveries();
    }

    /// Releases the last `count` deliveries of the inbox (RC-4), and returns what was released.
    pub(super) fn release(&mut self, budget: &mut Budget, mut count: u64) -> Amount {
        let before = self.queued;
        while count > 0 {
            let Some(batch) = self.inbox.back_mut() else { break };
            let part = count.min(batch.cursor.len());
            let first = DeliveryId::new(batch.cursor.next_id() + batch.cursor.len() - part);
            let released = Amount::new(part, batch.truncate(part));
            if batch.cursor.is_empty() {
                self.inbox.pop_back();
            }
            self.outcomes.push(first, released, &Verdict::Release);
            self.grant.settle(budget, released);
            self.queued -= released;
            count -= part;
        }
        before - self.queued
    }

    /// The deliveries in the inbox.
    pub(super) fn queued_ids(&self) -> impl Iterator<Item = DeliveryRange> + '_ {
        let ids = |cursor: Cursor| DeliveryRange::new(DeliveryId::new(cursor.next_id()), cursor.len());
        self.inbox.iter().map(move |batch| ids(batch.cursor))
    }

    /// Drops the deliveries that were not handed out (RD-5), and returns what was dropped.
    pub(super) fn drop_inbox(&mut self) -> Amount {
        self.inbox.clear();
        std::mem::take(&mut self.queued)
    }

    pub(super) fn stats(&self, id: LinkId) -> PullLinkStats {
        let peer = &self.session.peer;
        let credit = self.grant.unused();
        PullLinkStats {
            link: id.as_u64(),
            peer_name: peer.name.clone(),
            peer: peer.address.clone(),
            peer_instance: peer.instance.to_string(),
            pipeline: peer.pipeline.clone(),
            window: self.base.messages,
            window_bytes: self.base.bytes,
            message_limit: self.grant.limits().messages,
            credit_messages: credit.messages,
            credit_bytes: credit.bytes,
            received: self.received.messages,
            received_bytes: self.received.bytes,
            queued: self.queued.messages,
            unsettled: self.grant.unsettled(),
            leaving: self.leaving != Leaving::No,
            closing: self.retired,
            round_trip: self.session.round_trip(),
        }
    }
}
