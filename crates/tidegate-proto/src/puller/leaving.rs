//! Stops receiving: leaves all links in order (ST-1), or closes them at once.

use super::{Puller, link::Leaving, mark_ready};
use crate::{link::LinkEnd, time::Time, violation::Code};

impl<H: Clone + Default> Puller<H> {
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
}
