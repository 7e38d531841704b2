//! What is known of messages whose links were lost (RD-9): those that are still being worked on, and those that are done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Verdict;
use crate::{identity::PeerKey, links::LinkId, wire::cut_reason};

/// A delivery, by its link and its id there.
type Place = (LinkId, u64);
/// A message: its pusher, as it is known again, and its number. What a pusher says of its instance names none: another could say
/// the same, and its messages would be taken for done (HS-9).
pub(super) type Known = (PeerKey, u64);

/// Bounded: by what the application holds, and by the setting `memory`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Memory {
    limit: usize,
    /// Outcomes that the pusher may not know of. Only final ones: after a nack the message may as well be tried again.
    done: BTreeMap<Known, Verdict>,
    /// The keys of `done`, oldest first.
    order: VecDeque<Known>,
    /// In the hands of the application, from links that are lost.
    orphans: BTreeMap<Place, Orphan>,
    /// The same, by message.
    running: BTreeMap<Known, Place>,
    /// Those that have come again, by the link over which they have: so that a link that goes is not looked for among all.
    joined: BTreeMap<LinkId, BTreeSet<Place>>,
    /// How many of them have not come again, by pusher.
    expected: BTreeMap<PeerKey, u64>,
}

/// A delivery whose link is lost, and which the application works on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Orphan {
    message: Known,
    joined: Option<Joined>,
}

/// The message has come again: what becomes of the orphan becomes of this delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Joined {
    pub(super) link: LinkId,
    pub(super) id: u64,
    pub(super) size: u64,
    pub(super) tracked: bool,
}

/// What to do with a message that has come again.
pub(super) enum Repeat {
    /// It was not run here, or not to the end: it is to be run.
    Unknown,
    /// It is being worked on, and has been joined to that.
    Joined,
    /// It is done.
    Done(Verdict),
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            done: BTreeMap::new(),
            order: VecDeque::new(),
            orphans: BTreeMap::new(),
            running: BTreeMap::new(),
            joined: BTreeMap::new(),
            expected: BTreeMap::new(),
        }
    }

    /// Whether anything is known of messages of this pusher.
    pub(super) fn knows(&self, pusher: PeerKey) -> bool {
        let (first, last) = ((pusher, 0), (pusher, u64::MAX));
        self.done.range(first..=last).next().is_some() || self.running.range(first..=last).next().is_some()
    }

    /// How many deliveries are being worked on that this pusher may send again.
    pub(super) fn expected(&self, pusher: Option<PeerKey>) -> u64 {
        pusher.and_then(|pusher| self.expected.get(&pusher)).copied().unwrap_or(0)
    }

    /// How many repeats wait for the outcome of a delivery in the hands of the application.
    pub(super) fn joins(&self) -> u64 {
        let expected: u64 = self.expected.values().sum();
        self.orphans.len() as u64 - expected
    }

    /// A message is done, and the pusher may not know.
    pub(super) fn done(&mut self, message: Known, verdict: Verdict) {
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

    /// The link of a delivery is lost, and the application works on it.
    pub(super) fn orphan(&mut self, place: Place, message: Known) {
        // A message that is being run twice (OC-12) is joined to one of the two.
        if self.orphans.len() < self.limit && !self.running.contains_key(&message) {
            self.running.insert(message, place);
            self.orphans.insert(place, Orphan { message, joined: None });
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

    /// A message with an attempt above 1 has come.
    pub(super) fn repeated(&mut self, message: Known, here: Joined) -> Repeat {
        if let Some(verdict) = self.done.get(&message) {
            return Repeat::Done(verdict.clone());
        }
        let Some(place) = self.running.get(&message) else { return Repeat::Unknown };
        match self.orphans.get_mut(place) {
            Some(orphan) if orphan.joined.is_none() => {
                orphan.joined = Some(here);
                self.joined.entry(here.link).or_default().insert(*place);
                self.expect_less(message.0);
                Repeat::Joined
            }
            // A second repeat while the first one has a link: the pusher waits no longer for it (OC-12).
            _ => Repeat::Unknown,
        }
    }

    /// Where a delivery whose link is lost has come again.
    pub(super) fn joined(&self, link: LinkId, id: u64) -> Option<Place> {
        let joined = self.orphans.get(&(link, id))?.joined?;
        Some((joined.link, joined.id))
    }

    /// The application has given an outcome to a delivery of a lost link: the delivery that gets it too, if there is one.
    /// Otherwise it is remembered.
    pub(super) fn settle(&mut self, place: Place, verdict: &Verdict) -> Option<Joined> {
        let Orphan { message, joined } = self.orphans.remove(&place)?;
        self.running.remove(&message);
        if let Some(Joined { link, .. }) = joined
            && let Some(places) = self.joined.get_mut(&link)
        {
            places.remove(&place);
            if places.is_empty() {
                self.joined.remove(&link);
            }
        }
        if joined.is_none() {
            self.expect_less(message.0);
            self.done(message, verdict.clone());
        }
        joined
    }

    /// A link is lost on which messages had come again: their deliveries wait for the next repeat. Returns the ids.
    pub(super) fn part(&mut self, link: LinkId) -> Vec<u64> {
        let mut ids = Vec::new();
        for place in self.joined.remove(&link).unwrap_or_default() {
            let Some(orphan) = self.orphans.get_mut(&place) else { continue };
            if let Some(joined) = orphan.joined.take() {
                ids.push(joined.id);
                *self.expected.entry(orphan.message.0).or_default() += 1;
            }
        }
        ids
    }
}
