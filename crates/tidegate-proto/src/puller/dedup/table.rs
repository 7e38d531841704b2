//! Duplicate suppression (RD-9): the messages of lost links that are done, and those that are still being worked on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    delivery_id::DeliveryId, link::PeerKey, link_id::LinkId, message_number::MessageNumber, puller::Verdict,
    wire::cut_reason,
};

/// A delivery, by its link and its id there.
type DeliveryKey = (LinkId, DeliveryId);
/// A message, by the key of its pusher and its number. The instance is not enough: another peer could send the same
/// one, and its messages would be suppressed (HS-9).
pub(in crate::puller) type MessageKey = (PeerKey, MessageNumber);

/// The dedup table of a puller. The setting `memory` bounds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::puller) struct DedupTable {
    limit: usize,
    /// Acks and rejects that may not have arrived. Nacks are not recorded: such a message may be processed again.
    done: BTreeMap<MessageKey, Verdict>,
    /// The keys of `done`, oldest first.
    order: VecDeque<MessageKey>,
    /// Deliveries of lost links that the application is working on.
    in_progress: BTreeMap<DeliveryKey, InProgress>,
    /// The same deliveries, by message.
    in_progress_by_message: BTreeMap<MessageKey, DeliveryKey>,
    /// Those whose message was redelivered, by the link of the duplicate.
    duplicates: BTreeMap<LinkId, BTreeSet<DeliveryKey>>,
    /// The number of those whose message was not redelivered, by pusher.
    expected: BTreeMap<PeerKey, u64>,
}

/// A delivery of a lost link that the application is working on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InProgress {
    message: MessageKey,
    duplicate: Option<Duplicate>,
}

/// The duplicate of a delivery that the application is working on. It gets the outcome of that delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::puller) struct Duplicate {
    pub(in crate::puller) link: LinkId,
    pub(in crate::puller) id: DeliveryId,
    pub(in crate::puller) size: u64,
    pub(in crate::puller) tracked: bool,
}

/// What to do with a redelivered message.
pub(in crate::puller) enum Lookup {
    /// Hand it to the application: it was not processed here.
    Unknown,
    /// Wait for the outcome of the delivery that is being worked on.
    Attached,
    /// Settle it at once with the recorded outcome.
    Done(Verdict),
}

impl DedupTable {
    pub(in crate::puller) fn new(limit: usize) -> Self {
        Self {
            limit,
            done: BTreeMap::new(),
            order: VecDeque::new(),
            in_progress: BTreeMap::new(),
            in_progress_by_message: BTreeMap::new(),
            duplicates: BTreeMap::new(),
            expected: BTreeMap::new(),
        }
    }

    /// Whether the table has messages of this pusher.
    pub(in crate::puller) fn knows(&self, pusher: PeerKey) -> bool {
        let (first, last) = ((pusher, MessageNumber::MIN), (pusher, MessageNumber::MAX));
        self.done.range(first..=last).next().is_some()
            || self.in_progress_by_message.range(first..=last).next().is_some()
    }

    /// The number of messages that are being worked on and that this pusher may send again.
    pub(in crate::puller) fn expected(&self, pusher: Option<PeerKey>) -> u64 {
        pusher.and_then(|pusher| self.expected.get(&pusher)).copied().unwrap_or(0)
    }

    /// The number of duplicates that wait for the outcome of a delivery that is being worked on.
    pub(in crate::puller) fn waiting_duplicates(&self) -> u64 {
        let expected: u64 = self.expected.values().sum();
        self.in_progress.len() as u64 - expected
    }

    /// Records the outcome of a message that the pusher may not have received.
    pub(in crate::puller) fn record_done(&mut self, message: MessageKey, verdict: Verdict) {
        if !matches!(verdict, Verdict::Ack | Verdict::Reject { .. }) || self.limit == 0 {
            return;
        }
        let verdict = match verdict {
            Verdict::Reject { reason } => Verdict::Reject { reason: cut_reason(&reason).to_owned() },
            other => other,
        };
        if self.done.insert(message, verdict).is_none() {
            self.order.push_back(message);
            if self.order.len() > self.limit
                && let Some(oldest) = self.order.pop_front()
            {
                self.done.remove(&oldest);
            }
        }
    }

    /// Records a delivery of a lost link that the application is working on.
    pub(in crate::puller) fn record_in_progress(&mut self, delivery: DeliveryKey, message: MessageKey) {
        // If a message is being worked on twice (OC-12), one of the two deliveries is recorded.
        if self.in_progress.len() < self.limit && !self.in_progress_by_message.contains_key(&message) {
            self.in_progress_by_message.insert(message, delivery);
            self.in_progress.insert(delivery, InProgress { message, duplicate: None });
            *self.expected.entry(message.0).or_default() += 1;
        }
    }

    fn expect_less(&mut self, pusher: PeerKey) {
        if let Some(count) = self.expected.get_mut(&pusher) {
            *count -= 1;
            if *count == 0 {
                self.expected.remove(&pusher);
            }
        }
    }

    /// Looks up a message that has arrived with an attempt above 1.
    pub(in crate::puller) fn look_up(&mut self, message: MessageKey, here: Duplicate) -> Lookup {
        if let Some(verdict) = self.done.get(&message) {
            return Lookup::Done(verdict.clone());
        }
        let Some(delivery) = self.in_progress_by_message.get(&message) else { return Lookup::Unknown };
        match self.in_progress.get_mut(delivery) {
            Some(entry) if entry.duplicate.is_none() => {
                entry.duplicate = Some(here);
                self.duplicates.entry(here.link).or_default().insert(*delivery);
                self.expect_less(message.0);
                Lookup::Attached
            }
            // A second duplicate while the first one waits: the pusher no longer waits for the first one (OC-12).
            _ => Lookup::Unknown,
        }
    }

    /// The duplicate of a delivery of a lost link.
    pub(in crate::puller) fn duplicate_of(&self, delivery: DeliveryKey) -> Option<DeliveryKey> {
        let duplicate = self.in_progress.get(&delivery)?.duplicate?;
        Some((duplicate.link, duplicate.id))
    }

    /// The application has settled a delivery of a lost link. Returns the duplicate that gets the same outcome. Without
    /// one, the outcome is recorded.
    pub(in crate::puller) fn settle(
        &mut self,
        delivery: DeliveryKey,
        verdict: &Verdict,
    ) -> Option<Duplicate> {
        let InProgress { message, duplicate } = self.in_progress.remove(&delivery)?;
        self.in_progress_by_message.remove(&message);
        if let Some(Duplicate { link, .. }) = duplicate
            && let Some(deliveries) = self.duplicates.get_mut(&link)
        {
            deliveries.remove(&delivery);
            if deliveries.is_empty() {
                self.duplicates.remove(&link);
            }
        }
        if duplicate.is_none() {
            self.expect_less(message.0);
            self.record_done(message, verdict.clone());
        }
        duplicate
    }

    /// A link with duplicates was lost, so that their messages may be redelivered once more. Returns the ids of the
    /// duplicates.
    pub(in crate::puller) fn detach_link(&mut self, link: LinkId) -> Vec<DeliveryId> {
        let mut ids = Vec::new();
        for delivery in self.duplicates.remove(&link).unwrap_or_default() {
            let Some(entry) = self.in_progress.get_mut(&delivery) else { continue };
            if let Some(duplicate) = entry.duplicate.take() {
                ids.push(duplicate.id);
                *self.expected.entry(entry.message.0).or_default() += 1;
            }
        }
        ids
    }
}
