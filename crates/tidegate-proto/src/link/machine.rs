//! The interface between a machine and its driver, the same for both roles.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{close::LinkEnd, peer::Peer, poll_budget::PollBudget};
use crate::{
    link_id::LinkId,
    time::Time,
    v1::Role,
    violation::Violation,
    wire::{FrameProgress, FrameReader},
};

/// The size from which an incomplete frame is reported (LM-4).
const MIN_REPORTED_PARTIAL: usize = 64 * 1_024;

/// The interface that a driver uses. The documentation of the [crate] describes the order of the calls.
///
/// A call with the id of a link that was removed does nothing.
pub trait Machine {
    /// The role of this side.
    fn role(&self) -> Role;

    /// The largest `Deliver` frame in bytes, for [`FrameReader::open`](crate::wire::FrameReader::open) after the
    /// handshake (FR-3).
    fn frame_limit(&self) -> usize;

    /// Adds a link after a successful handshake. Set `peer.address`, `peer.names` and `peer.key` before the call.
    ///
    /// If the peer already has a link, and its generation is lower, the machine closes that link with REPLACED.
    ///
    /// # Errors
    /// The machine refuses the link: STALE (HS-9), BUSY (HS-12), or GOING_AWAY if it stops. The driver sends the
    /// violation to the peer as a `Close`.
    fn open(&mut self, now: Time, peer: Peer) -> Result<LinkId, Violation>;

    /// The peer of the link that [`Self::open`] would replace with a link of `peer`, if there is one (HS-9).
    fn replaces(&self, peer: &Peer) -> Option<&Peer>;

    /// Handles what has arrived: all complete frames of `reader`, as far as `budget` allows. Call it after each read.
    /// If the budget is used up, frames may be left in the reader; call it again, with a new one, before the next read.
    ///
    /// After a framing error, or if the machine has no memory for an incomplete frame, it makes the reader drop what
    /// cannot be read.
    fn feed(&mut self, now: Time, link: LinkId, reader: &mut FrameReader, budget: &mut PollBudget) {
        self.handle_bytes(link);
        while !budget.is_used_up() {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    budget.charge(&frame);
                    self.handle_frame(now, link, frame);
                }
                Ok(None) => break,
                Err(violation) => {
                    self.handle_framing_error(now, link, violation);
                    reader.discard_all();
                    break;
                }
            }
        }
        // If the budget is used up, whole frames may be left in the reader.
        let progress = if budget.is_used_up() { FrameProgress::default() } else { reader.progress() };
        let is_large = progress.partial > MIN_REPORTED_PARTIAL;
        let was_large = reader.set_reported(is_large);
        if (is_large || was_large) && !self.handle_partial_frame(now, link, progress) {
            reader.discard_frame();
        }
    }

    /// Handles a frame, without its length prefix. If the frame violates a rule, the machine closes the link.
    /// [`Self::feed`] calls it.
    fn handle_frame(&mut self, now: Time, link: LinkId, frame: Bytes);

    /// Bytes have arrived, with or without a whole frame (LV-2). [`Self::feed`] calls it.
    fn handle_bytes(&mut self, link: LinkId);

    /// Everything that had arrived was read. Only from then on does time count as silence (LV-3).
    fn handle_would_block(&mut self, link: LinkId);

    /// The [`FrameReader`] found a violation: no further frame can be read. The machine closes the link.
    /// [`Self::feed`] calls it.
    fn handle_framing_error(&mut self, now: Time, link: LinkId, violation: Violation);

    /// Reports how much of an incomplete frame has arrived. [`Self::feed`] calls it while that is more than 65,536
    /// bytes, and once when it no longer is. Returns false if the frame is to be dropped with
    /// [`FrameReader::discard_frame`], because the machine has closed the link, for lack of memory (LM-4) or for
    /// another reason.
    fn handle_partial_frame(&mut self, _now: Time, _link: LinkId, _progress: FrameProgress) -> bool {
        true
    }

    /// Whether the driver should read now (LV-5). If not, ask again when the [`Self::poll_timeout`] has passed or the
    /// link is woken.
    fn wants_read(&mut self, now: Time, link: LinkId) -> bool;

    /// Appends the bytes to write, in order. Call it again when they are written.
    fn poll_transmit(&mut self, now: Time, link: LinkId, out: &mut VecDeque<Bytes>);

    /// Whether all bytes from [`Self::poll_transmit`] are written, so that a task other than the link's driver may get
    /// and write the next ones.
    fn is_idle(&self, link: LinkId) -> bool;

    /// Reports that `bytes` more of the bytes from [`Self::poll_transmit`] are written.
    fn handle_written(&mut self, now: Time, link: LinkId, bytes: usize);

    /// Reports that writing has failed. Continue to read until the end of the stream or [`Self::is_finished`] (RD-2).
    fn handle_write_error(&mut self, now: Time, link: LinkId, reason: &str);

    /// The time at which to call [`Self::handle_timeout`]. It may change with every call.
    fn poll_timeout(&self, link: LinkId) -> Option<Time>;

    /// Runs the timers of the link. Call it when the [`Self::poll_timeout`] has passed, and only after reading
    /// everything that had arrived.
    fn handle_timeout(&mut self, now: Time, link: LinkId, progress: FrameProgress);

    /// Whether both sides are done with the link (ST-4), so that the driver can remove it and close the connection.
    fn is_finished(&self, now: Time, link: LinkId) -> bool;

    /// Removes a link that is finished or whose stream has ended, and requeues its messages. `reason` is the reason if
    /// no side has sent a `Close`. Returns how the link ended.
    fn handle_link_lost(&mut self, now: Time, link: LinkId, reason: &str) -> Option<LinkEnd>;

    /// Removes a link as [`Self::handle_link_lost`] does, if the driver cannot report how much it has written, or may
    /// still be writing. All bytes from [`Self::poll_transmit`] count as written (RD-3).
    fn handle_driver_lost(&mut self, now: Time, link: LinkId, reason: &str) -> Option<LinkEnd> {
        self.handle_link_lost(now, link, reason)
    }

    /// The time at which to call [`Self::handle_socket_timeout`].
    fn poll_socket_timeout(&self) -> Option<Time>;

    /// Runs the timers that belong to no link, such as retry delays and the reconnect grace. Call it when the
    /// [`Self::poll_socket_timeout`] has passed.
    fn handle_socket_timeout(&mut self, now: Time);

    /// Whether [`Self::poll_ready_links`] would return a link. It is cheap enough to call after every message.
    fn has_ready_links(&self) -> bool;

    /// Whether a link is in the list of [`Self::poll_ready_links`], or was taken from it, and [`Self::poll_transmit`]
    /// was not called for it since.
    fn is_link_ready(&self, link: LinkId) -> bool;

    /// Appends the links that have had something to do since the last call.
    fn poll_ready_links(&mut self, links: &mut Vec<LinkId>);

    /// The number of links that were opened and not yet removed.
    fn link_count(&self) -> usize;

    /// The ids of these links.
    fn link_ids(&self) -> Vec<LinkId>;
}
