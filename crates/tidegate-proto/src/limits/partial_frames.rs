//! Incomplete large frames: bounds their memory on all links together (LM-4).

use std::collections::BTreeMap;

use crate::{link_id::LinkId, time::Time, wire::FrameProgress};

/// Smaller parts of frames are not counted: the number of links bounds them.
const MIN_COUNTED: usize = 64 * 1_024;

/// The links with an incomplete frame of more than [`MIN_COUNTED`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct PartialFrames {
    links: BTreeMap<LinkId, PartialFrame>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PartialFrame {
    since: Time,
    progress: FrameProgress,
}

impl PartialFrames {
    /// Sets the progress of a link's incomplete frame.
    pub(crate) fn set(&mut self, now: Time, link: LinkId, progress: FrameProgress) {
        let old = self.remove(link);
        if progress.partial > MIN_COUNTED {
            let since = old.filter(|old| old.progress.frames == progress.frames).map_or(now, |old| old.since);
            self.links.insert(link, PartialFrame { since, progress });
            self.bytes += progress.partial as u64;
        }
    }

    /// Forgets a link that was removed or whose frame was dropped.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.remove(link);
    }

    fn remove(&mut self, link: LinkId) -> Option<PartialFrame> {
        let old = self.links.remove(&link)?;
        self.bytes -= old.progress.partial as u64;
        Some(old)
    }

    /// Whether more than [`MIN_COUNTED`] bytes of a frame have arrived on a link.
    pub(crate) fn is_arriving(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The link whose frame has progressed the least for its time. This is not always the oldest one, which may be
    /// almost complete.
    pub(crate) fn slowest(&self, now: Time) -> Option<LinkId> {
        let pace = |frame: &PartialFrame| {
            frame.progress.partial as u64 * 1_000 / (1 + now.since(frame.since).as_millis() as u64)
        };
        self.links.iter().min_by_key(|(_, frame)| pace(frame)).map(|(link, _)| *link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Links;

    #[test]
    fn lm_4_the_slowest_frame_is_found_and_complete_ones_are_forgotten() {
        // LM-4
        let mut links = Links::default();
        let [old, slow, new] = [(); 3].map(|()| links.insert(()));
        let mut unfinished = PartialFrames::default();
        let part = |partial| FrameProgress { frames: 1, partial };
        unfinished.set(Time(0), old, part(1 << 20));
        unfinished.set(Time(1_000_000), slow, part(100_000));
        unfinished.set(Time(2_000_000), old, part(8 << 20));
        unfinished.set(Time(2_900_000), new, part(70_000));
        assert_eq!(unfinished.slowest(Time(3_000_000)), Some(slow));
        assert_eq!(unfinished.bytes(), (8 << 20) + 170_000);
        unfinished.set(Time(3_000_000), slow, part(10));
        unfinished.forget(new);
        assert_eq!(unfinished.bytes(), 8 << 20);
        unfinished.set(Time(9_000_000), old, FrameProgress { frames: 2, partial: 100_000 });
        assert_eq!(unfinished.links[&old].since, Time(9_000_000), "another frame");
    }
}
