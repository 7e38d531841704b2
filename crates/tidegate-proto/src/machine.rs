//! What a driver needs of a machine, whichever its role.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    close::LinkEnd, links::LinkId, peer::Peer, time::Time, violation::Violation, wire::Progress,
    wire::v1::Role,
};

/// The driving contract; the [crate] documentation has the order of the calls. A call with the id of a link that is
/// gone does nothing.
pub trait Machine {
    /// The role of this side.
    fn role(&self) -> Role;

    /// The limit of frames that a [`crate::wire::FrameReader`] of this machine must take after the handshake (FR-3).
    fn frame_limit(&self) -> usize;

    /// A handshake has succeeded: the link takes part from now on.
    ///
    /// # Errors
    /// The link is refused: HS-9, HS-12.
    fn open(&mut self, now: Time, peer: Peer) -> Result<LinkId, Violation>;

    /// The other end of the link that [`Self::open`] would replace for this peer (HS-9).
    fn replaces(&self, peer: &Peer) -> Option<&Peer>;

    /// A whole frame has arrived, without its length. A violation closes the link.
    fn receive(&mut self, now: Time, link: LinkId, frame: Bytes);

    /// Bytes have arrived, whole frames or not (LV-2).
    fn heard(&mut self, link: LinkId);

    /// The socket has nothing more to read (LV-3).
    fn found_empty(&mut self, link: LinkId);

    /// The stream cannot be cut into frames: the link is closed.
    fn unreadable(&mut self, now: Time, link: LinkId, violation: Violation);

    /// Much of a frame is here, or was at the last call: whether to keep it. If not, what comes of it is to be thrown away
    /// (LM-4).
    fn unfinished(&mut self, _now: Time, _link: LinkId, _progress: Progress) -> bool {
        true
    }

    /// Whether to read now; when the answer is no, ask again at the [`Self::deadline`] or when woken (LV-5).
    fn wants_read(&mut self, now: Time, link: LinkId) -> bool;

    /// Appends bytes to be written, in order. Call it again when they are out.
    fn transmit(&mut self, now: Time, link: LinkId, out: &mut VecDeque<Bytes>);

    /// Whether all bytes got from [`Self::transmit`] have been written, so that somebody else than the driver may ask for
    /// the next ones.
    fn is_idle(&self, link: LinkId) -> bool;

    /// Bytes got from [`Self::transmit`] have been written.
    fn written(&mut self, now: Time, link: LinkId, bytes: usize);

    /// Writing failed. Go on reading until the end of the stream or [`Self::is_finished`] (RD-2).
    fn write_failed(&mut self, now: Time, link: LinkId, reason: &str);

    /// When [`Self::advance`] is to be called.
    fn deadline(&self, link: LinkId) -> Option<Time>;

    /// The time of a deadline has come, and the socket has been read before this call.
    fn advance(&mut self, now: Time, link: LinkId, progress: Progress);

    /// Whether the link is done, so that the connection can be closed and the link removed.
    fn is_finished(&self, now: Time, link: LinkId) -> bool;

    /// Removes a link whose stream has ended or which is finished. `reason` counts if nobody has said Close.
    fn lost(&mut self, now: Time, link: LinkId, reason: &str) -> Option<LinkEnd>;

    /// As [`Self::lost`], of a link whose driver can no longer say how much it has written, or may still be writing: everything that it
    /// was given counts as written.
    fn abandoned(&mut self, now: Time, link: LinkId, reason: &str) -> Option<LinkEnd> {
        self.lost(now, link, reason)
    }

    /// When [`Self::advance_socket`] is to be called.
    fn socket_deadline(&self) -> Option<Time>;

    /// The time of the socket's deadline has come.
    fn advance_socket(&mut self, now: Time);

    /// Whether [`Self::take_wakes`] would name a link: asked after every single message.
    fn has_wakes(&self) -> bool;

    /// Whether a link has been named by [`Self::take_wakes`], or is about to be, and has not been asked to
    /// [`Self::transmit`] since.
    fn is_woken(&self, link: LinkId) -> bool;

    /// The links that have something to do since the last call.
    fn take_wakes(&mut self, wakes: &mut Vec<LinkId>);

    /// How many links are open.
    fn links(&self) -> usize;

    /// Which they are.
    fn link_ids(&self) -> Vec<LinkId>;
}
