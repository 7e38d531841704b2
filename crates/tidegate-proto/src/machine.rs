//! The interface between a machine and its driver, the same for both roles.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    close::LinkEnd, links::LinkId, peer::Peer, time::Time, violation::Violation, wire::FrameProgress,
    wire::v1::Role,
};

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

    /// Handles a frame, without its length prefix. If the frame violates a rule, the machine closes the link.
    fn receive(&mut self, now: Time, link: LinkId, frame: Bytes);

    /// Bytes have arrived, with or without a whole frame (LV-2).
    fn heard(&mut self, link: LinkId);

    /// Everything that had arrived was read. Only from then on does time count as silence (LV-3).
    fn found_empty(&mut self, link: LinkId);

    /// The [`FrameReader`](crate::wire::FrameReader) found a violation: no further frame can be read. The machine
    /// closes the link.
    fn unreadable(&mut self, now: Time, link: LinkId, violation: Violation);

    /// Reports how much of an incomplete frame has arrived. Called after each read while that is more than 65,536
    /// bytes, and once when it no longer is. Returns false if the driver is to drop the frame with
    /// [`FrameReader::skip`](crate::wire::FrameReader::skip), because the machine has closed the link, for lack of
    /// memory (LM-4) or for another reason.
    fn unfinished(&mut self, _now: Time, _link: LinkId, _progress: FrameProgress) -> bool {
        true
    }

    /// Whether the driver should read now (LV-5). If not, ask again when the [`Self::deadline`] has passed or the link
    /// is woken.
    fn wants_read(&mut self, now: Time, link: LinkId) -> bool;

    /// Appends the bytes to write, in order. Call it again when they are written.
    fn transmit(&mut self, now: Time, link: LinkId, out: &mut VecDeque<Bytes>);

    /// Whether all bytes from [`Self::transmit`] are written, so that a task other than the link's driver may get and
    /// write the next ones.
    fn is_idle(&self, link: LinkId) -> bool;

    /// Reports that `bytes` more of the bytes from [`Self::transmit`] are written.
    fn written(&mut self, now: Time, link: LinkId, bytes: usize);

    /// Reports that writing has failed. Continue to read until the end of the stream or [`Self::is_finished`] (RD-2).
    fn write_failed(&mut self, now: Time, link: LinkId, reason: &str);

    /// The time at which to call [`Self::advance`]. It may change with every call.
    fn deadline(&self, link: LinkId) -> Option<Time>;

    /// Runs the timers of the link. Call it when the [`Self::deadline`] has passed, and only after reading everything
    /// that had arrived.
    fn advance(&mut self, now: Time, link: LinkId, progress: FrameProgress);

    /// Whether both sides are done with the link (ST-4), so that the driver can remove it and close the connection.
    fn is_finished(&self, now: Time, link: LinkId) -> bool;

    /// Removes a link that is finished or whose stream has ended, and requeues its messages. `reason` is the reason if
    /// no side has sent a `Close`. Returns how the link ended.
    fn lost(&mut self, now: Time, link: LinkId, reason: &str) -> Option<LinkEnd>;

    /// Removes a link as [`Self::lost`] does, if the driver cannot report how much it has written, or may still be
    /// writing. All bytes from [`Self::transmit`] count as written (RD-3).
    fn abandoned(&mut self, now: Time, link: LinkId, reason: &str) -> Option<LinkEnd> {
        self.lost(now, link, reason)
    }

    /// The time at which to call [`Self::advance_socket`].
    fn socket_deadline(&self) -> Option<Time>;

    /// Runs the timers that belong to no link, such as retry delays and the reconnect grace. Call it when the
    /// [`Self::socket_deadline`] has passed.
    fn advance_socket(&mut self, now: Time);

    /// Whether [`Self::take_wakes`] would return a link. It is cheap enough to call after every message.
    fn has_wakes(&self) -> bool;

    /// Whether a link is in the list of [`Self::take_wakes`], or was taken from it, and [`Self::transmit`] was not
    /// called for it since.
    fn is_woken(&self, link: LinkId) -> bool;

    /// Appends the links that have had something to do since the last call.
    fn take_wakes(&mut self, wakes: &mut Vec<LinkId>);

    /// The number of links that were opened and not yet removed.
    fn links(&self) -> usize;

    /// The ids of these links.
    fn link_ids(&self) -> Vec<LinkId>;
}
