//! The ends of streams (ST-6, ST-7).

use super::{
    Puller, PullerEvent,
    link::{Leaving, Recall},
};
use crate::{
    link_id::LinkId,
    message::InstanceId,
    rule::Rule,
    violation::{Code, Violation},
};

/// A pusher that has ended its stream (ST-6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum EndedPusher {
    /// Identified by the names that the transport has verified, so that one peer cannot count as several.
    Verified(Vec<String>),
    /// Identified by its instance, which it may have made up.
    Claimed(InstanceId),
}

impl<H: Clone + Default> Puller<H> {
    /// The pusher has ended its stream on this link (ST-7).
    pub(super) fn handle_end(&mut self, id: LinkId) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        if link.ended {
            return Err(Violation::new(Code::Unexpected, Rule::St7, "a second End"));
        }
        link.ended = true;
        // No Skip is due any more (ST-7).
        link.skips.cancel();
        link.recall = Recall::No;
        if link.leaving == Leaving::Sent {
            link.leaving = Leaving::Skipped;
        }
        self.rotating -= u64::from(std::mem::take(&mut link.rotates));
        self.place_queue.leave(&mut link.ticket);
        self.memory.leave(id, &mut link.need);
        self.without_credit.remove(id);
        // The settle time-out of queued deliveries has passed, and other pullers have processed their messages (ST-7).
        let dropped = link.drop_inbox();
        link.grant.settle(&mut self.budget, dropped);
        // End gives up all unused credit (ST-7).
        let unused = link.grant.unused().messages;
        link.grant.skip_all(&mut self.budget);
        self.unused -= unused;
        if std::mem::take(&mut link.overdue) {
            self.overdue -= unused;
        }
        self.waiting_for_budget.remove(id);
        self.queued -= dropped;
        self.stats.dropped += dropped.messages;
        // ST-6. The set is bounded by the limit on links.
        if self.ended.len() < self.settings.max_links {
            let peer = &link.session.peer;
            self.ended.insert(match peer.names.as_slice() {
                [] => EndedPusher::Claimed(peer.instance),
                names => EndedPusher::Verified(names.to_vec()),
            });
        }
        self.events.push_back(PullerEvent::Ended(id));
        self.grant_to_next();
        Ok(())
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
}
