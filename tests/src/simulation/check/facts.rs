//! The history of each message, assembled from the events of all processes.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::{Code, MessageId};

use super::super::history::{FrameSummary, Handed, History, Process, Tag, Verdict, What};

/// A delivery as the application received it.
#[derive(Clone, Debug)]
pub(super) struct ObservedDelivery {
    pub(super) handed: Handed,
    pub(super) by: Process,
    pub(super) verdict: Option<Verdict>,
}

/// The facts about messages and links.
#[derive(Default)]
pub(super) struct Facts {
    /// Deliveries by message, in the order of attempts, then of time.
    pub(super) deliveries: BTreeMap<MessageId, Vec<ObservedDelivery>>,
    /// Message ids by tag.
    pub(super) ids: BTreeMap<Tag, MessageId>,
    /// Names of connections, by process and its link id.
    pub(super) connections: BTreeMap<(Process, u64), String>,
    /// How the links of these connections ended, by process and connection.
    pub(super) ends: BTreeMap<(Process, String), Option<Code>>,
    /// The connections over which the pusher sent an attempt of a message.
    sent: BTreeMap<(Process, u64, u32), Vec<String>>,
    /// Killed processes: the ends of their links are not recorded.
    killed: BTreeSet<Process>,
    /// Tags with several ids, and ids with several tags.
    pub(super) mistaken: Vec<String>,
}

impl Facts {
    pub(super) fn new(history: &History) -> Self {
        let mut facts = Self::default();
        for entry in &history.entries {
            let Some(who) = entry.who else { continue };
            match &entry.what {
                What::Handed(handed) => facts.handed(who, *handed),
                What::Settled(handed, verdict, _) => facts.settled(who, handed, *verdict),
                What::Connected(link, name) => {
                    facts.connections.insert((who, *link), name.clone());
                }
                What::Disconnected(_, name, code, _) => {
                    facts.ends.insert((who, name.clone()), *code);
                }
                What::Sent(wire, FrameSummary::Deliver(_, items)) => {
                    for item in items {
                        let key = (who, item.number, item.attempt);
                        facts.sent.entry(key).or_default().push(wire.name.to_string());
                    }
                }
                What::Killed => {
                    facts.killed.insert(who);
                }
                What::Rejection(tag, id, _) => facts.name(*tag, *id),
                _ => {}
            }
        }
        for all in facts.deliveries.values_mut() {
            // A stable sort: equal attempts stay in the order of time.
            all.sort_by_key(|delivery| delivery.handed.attempt);
        }
        facts
    }

    fn name(&mut self, tag: Tag, id: MessageId) {
        let known = *self.ids.entry(tag).or_insert(id);
        if known != id {
            self.mistaken.push(format!("{tag:?} has the ids {known} and {id}"));
        }
    }

    fn handed(&mut self, by: Process, handed: Handed) {
        self.name(handed.tag, handed.id);
        let all = self.deliveries.entry(handed.id).or_default();
        if let Some(other) = all.iter().find(|other| other.handed.tag != handed.tag) {
            let (one, other) = (handed.tag, other.handed.tag);
            self.mistaken.push(format!("{} is the id of {one:?} and of {other:?}", handed.id));
        }
        all.push(ObservedDelivery { handed, by, verdict: None });
    }

    fn settled(&mut self, by: Process, handed: &Handed, verdict: Verdict) {
        let all = self.deliveries.entry(handed.id).or_default();
        let open = |d: &&mut ObservedDelivery| d.by == by && d.handed == *handed && d.verdict.is_none();
        if let Some(delivery) = all.iter_mut().find(open) {
            delivery.verdict = Some(verdict);
        }
    }

    /// The deliveries of a message, by its tag.
    pub(super) fn of(&self, tag: Tag) -> &[ObservedDelivery] {
        self.ids.get(&tag).and_then(|id| self.deliveries.get(id)).map_or(&[], Vec::as_slice)
    }

    /// Whether the pusher saw the link of a delivery end before everything on it was settled.
    pub(super) fn was_lost(&self, delivery: &ObservedDelivery) -> bool {
        let name = self.connections.get(&(delivery.by, delivery.handed.link));
        name.is_some_and(|name| self.has_broken(delivery.handed.tag.from, name))
    }

    /// Whether another link that carried the same attempt was lost.
    pub(super) fn was_lost_again(&self, delivery: &ObservedDelivery) -> bool {
        let Handed { tag, id, attempt, .. } = delivery.handed;
        let sent = self.sent.get(&(tag.from, id.number, attempt));
        sent.is_some_and(|names| names.iter().any(|name| self.has_broken(tag.from, name)))
    }

    fn has_broken(&self, pusher: Process, name: &str) -> bool {
        let end = self.ends.get(&(pusher, name.to_owned()));
        end.map_or(self.killed.contains(&pusher), |code| *code != Some(Code::Normal))
    }
}
