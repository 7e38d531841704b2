//! One link of a pusher: its credit, its outgoing frames, and its un-acked messages.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    PusherSettings,
    flight::Flight,
    held::HeldKey,
    pending::{Extra, Pending},
    quarantine::Quarantine,
    stats::PushLinkStats,
};
use crate::{
    credit::Spending,
    delivery_id::{DeliveryId, DeliveryRange},
    limits::{ReturnPause, SlowStart},
    link::{PeerKey, Session},
    link_id::LinkId,
    message::Message,
    message_number::MessageNumber,
    rule::Rule,
    time::Time,
    v1,
    violation::{Code, Violation},
    wire::{self, OpenBatch, Sealed},
};

/// The number of `Skip` frames that may wait: one for a recall and one for leaving (RC-2).
const MAX_SKIPS: usize = 2;

/// What remains of a lost link.
pub(super) struct Detached {
    pub(super) puller: Option<PeerKey>,
    /// The puller may reconnect: it was not leaving, and the link was interrupted.
    pub(super) may_return: bool,
    /// Held batches that were attached to the link and have messages left.
    pub(super) held: VecDeque<HeldKey>,
    /// The result of [`PushLink::take_un_acked`].
    pub(super) un_acked: Vec<(Pending, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PushLink {
    pub(super) session: Session,
    pub(super) credit: Spending,
    pub(super) flight: Flight,
    batch: OpenBatch,
    /// Complete frames that were not yet given to the driver, with their first ids.
    ready: VecDeque<(DeliveryId, Sealed)>,
    ready_bytes: usize,
    batch_first_id: DeliveryId,
    /// Ids below this were given to the driver, so that they may have outcomes.
    handed_over: DeliveryId,
    /// Answers to recalls and leaving that wait to be sent: at most [`MAX_SKIPS`] (LM-2).
    skips: VecDeque<v1::Skip>,
    pub(super) leaving: bool,
    pub(super) end_due: bool,
    /// `End` was given to the driver.
    pub(super) end_sent: bool,
    pub(super) in_ring: bool,
    pub(super) quarantine: Quarantine,
    /// Held batches that are sent on this link first: its puller had them on a lost link (RD-8).
    pub(super) held: VecDeque<HeldKey>,
    pub(super) return_pause: ReturnPause,
    /// An outcome has arrived, so that the wait before the next reconnect starts at its first value (RD-6).
    pub(super) has_outcome: bool,
    pub(super) stats: PushLinkStats,
}

impl PushLink {
    pub(super) fn new(session: Session) -> Self {
        let peer = &session.peer;
        let stats = PushLinkStats {
            peer_name: peer.name.clone(),
            peer: peer.address.clone(),
            peer_instance: peer.instance.to_string(),
            pipeline: peer.pipeline.clone(),
            ..PushLinkStats::default()
        };
        Self {
            session,
            credit: Spending::default(),
            flight: Flight::default(),
            batch: OpenBatch::default(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            batch_first_id: DeliveryId::default(),
            handed_over: DeliveryId::default(),
            skips: VecDeque::new(),
            leaving: false,
            end_due: false,
            end_sent: false,
            in_ring: false,
            quarantine: Quarantine::Off,
            held: VecDeque::new(),
            return_pause: ReturnPause::default(),
            has_outcome: false,
            stats,
        }
    }

    fn unwritten(&self) -> usize {
        let on_its_way = self.session.transmitted_bytes() - self.session.written_bytes();
        self.batch.len() + self.ready_bytes + on_its_way as usize
    }

    /// Whether the link can take a message, without regard to slow start, quarantine and held batches.
    #[inline]
    pub(super) fn can_send(&self, settings: &PusherSettings) -> bool {
        let in_flight = self.flight.amount();
        self.credit.may_send()
            && in_flight.messages < settings.max_in_flight as u64 // CR-8
            && in_flight.bytes < settings.max_in_flight_bytes
            && self.unwritten() < settings.max_unwritten
            && self.session.is_open()
            && !self.session.is_stalled() // LV-6
            && !self.leaving
            && !self.return_pause.is_active() // OC-14
            && self.skips.is_empty() // a Skip must be sent before later deliveries
    }

    /// Whether held batches can be attached to the link (RD-8).
    pub(super) fn takes_held(&self) -> bool {
        self.session.is_open() && !self.leaving
    }

    /// Whether the in-flight messages are below the cap of the slow start (RD-10).
    #[inline]
    pub(super) fn is_below_cap(&self, slow_start: &SlowStart) -> bool {
        self.flight.amount().messages < slow_start.in_flight_cap(self.stats.acked + self.stats.rejected)
    }

    /// The number of messages that the link can take, without regard to their bytes.
    pub(super) fn room(&self, settings: &PusherSettings, slow_start: &SlowStart) -> u64 {
        if !self.is_eligible(settings, slow_start) {
            return 0;
        }
        let max = slow_start
            .in_flight_cap(self.stats.acked + self.stats.rejected)
            .min(settings.max_in_flight as u64);
        self.credit.left().messages.min(max - self.flight.amount().messages)
    }

    /// Whether the link takes part in the round-robin (RR-1).
    #[inline]
    pub(super) fn is_eligible(&self, settings: &PusherSettings, slow_start: &SlowStart) -> bool {
        self.quarantine == Quarantine::Off
            && self.held.is_empty()
            && self.can_send(settings)
            && self.is_below_cap(slow_start)
    }

    /// Spends credit on a message and encodes it into the open batch.
    #[inline]
    pub(super) fn put(&mut self, number: MessageNumber, attempt: u32, extra: Extra, message: &Message) {
        if self.batch.is_full_for(message) {
            self.seal();
        }
        let size = message.size() as u64;
        let id = DeliveryId::new(self.credit.spend(size));
        let new_frame = self.batch.is_empty();
        if new_frame {
            self.batch_first_id = id;
        }
        let at = self.batch.push(id.get(), number.get(), attempt, extra.tracked, message);
        self.flight.push(id, number, at, size, extra, new_frame);
        self.stats.sent += 1;
        self.stats.sent_bytes += size;
    }

    /// Does what [`Self::put`] does, for the next attempt of a message that waited.
    #[inline]
    pub(super) fn put_pending(&mut self, pending: &Pending, extra: Extra) {
        self.put(pending.number, pending.attempt, extra, &pending.message);
    }

    /// Does what [`Self::put`] does, for the first attempt of a payload that is copied.
    #[inline]
    pub(super) fn put_slice(&mut self, number: MessageNumber, payload: &[u8]) {
        if self.batch.is_full_for_slice() {
            self.seal();
        }
        let size = payload.len() as u64;
        let id = DeliveryId::new(self.credit.spend(size));
        let new_frame = self.batch.is_empty();
        if new_frame {
            self.batch_first_id = id;
        }
        let at = self.batch.push_slice(id.get(), number.get(), payload);
        self.flight.push(id, number, at, size, Extra::default(), new_frame);
        self.stats.sent += 1;
        self.stats.sent_bytes += size;
    }

    fn seal(&mut self) {
        if !self.batch.is_empty() {
            let sealed = self.batch.seal();
            self.flight.seal(&sealed);
            self.ready_bytes += sealed.len();
            self.ready.push_back((self.batch_first_id, sealed));
        }
    }

    /// Ids below this may have outcomes (OC-2).
    pub(super) fn handed_over(&self) -> DeliveryId {
        self.handed_over
    }

    pub(super) fn has_output(&self) -> bool {
        let data = !self.batch.is_empty() || !self.ready.is_empty() || !self.skips.is_empty() || self.end_due;
        (data && self.session.is_open()) || self.session.has_pings() || self.session.close_is_due()
    }

    pub(super) fn poll_transmit(&mut self, now: Time, out: &mut VecDeque<Bytes>) {
        self.session.poll_pings(now, out);
        if self.session.is_open() {
            self.poll_data(now, out);
        }
        // End may be due although the link is closing: an orderly stop has already asked for the Close.
        if std::mem::take(&mut self.end_due) {
            self.end_sent = true;
            self.session.put(now, out, wire::encode(v1::frame::Body::End(v1::End {})));
        }
        self.session.poll_close(now, out);
    }

    fn poll_data(&mut self, now: Time, out: &mut VecDeque<Bytes>) {
        self.seal();
        self.ready_bytes = 0;
        for (first_id, sealed) in self.ready.drain(..) {
            self.session.put(now, out, sealed.room.slice(sealed.start..));
            if let Some(tail) = sealed.tail {
                self.session.put(now, out, tail);
            }
            self.flight.handed_over(now, first_id, self.session.transmitted_bytes());
        }
        self.handed_over = DeliveryId::new(self.credit.next_id());
        for skip in std::mem::take(&mut self.skips) {
            self.session.put(now, out, wire::encode(v1::frame::Body::Skip(skip)));
        }
        if self.flight.is_empty() {
            self.batch.shrink();
        }
    }

    /// Gives up unused credit, with a `Skip` after all deliveries that are assigned to the link. Each `Ack` that asks
    /// for it is answered by a `Skip` of its own (RC-1).
    ///
    /// # Errors
    /// Two `Skip` frames already wait to be sent (RC-2).
    pub(super) fn recall(&mut self) -> Result<(), Violation> {
        if self.skips.len() >= MAX_SKIPS {
            let detail = "a third recall or leaving while two Skip frames wait to be sent";
            return Err(Violation::new(Code::Unexpected, Rule::Rc2, detail));
        }
        let first = DeliveryId::new(self.credit.next_id());
        let skip = self.credit.skip();
        self.flight.skip(DeliveryRange { first, end: DeliveryId::new(skip.next_id) });
        self.skips.push_back(skip);
        Ok(())
    }

    /// Takes everything that remains of a link that was lost. It takes no further part in the round-robin.
    pub(super) fn detach(&mut self, written: u64) -> Detached {
        self.quarantine = Quarantine::Off;
        Detached {
            puller: self.session.peer.key,
            may_return: !self.leaving && self.session.is_interrupted(),
            held: std::mem::take(&mut self.held),
            un_acked: self.take_unacked(written),
        }
    }

    /// Takes the un-acked messages, each with whether the puller may have received it (RD-3). If so, its attempt and
    /// its losses are incremented. `written`: the number of bytes that the driver has written or will write.
    pub(super) fn take_unacked(&mut self, written: u64) -> Vec<(Pending, bool)> {
        self.seal();
        (self.ready, self.ready_bytes) = (VecDeque::new(), 0);
        let mut all = self.flight.take_all(written);
        for (pending, _) in all.iter_mut().filter(|(_, seen)| *seen) {
            pending.attempt = pending.attempt.saturating_add(1);
            pending.losses = pending.losses.saturating_add(1);
        }
        all
    }

    pub(super) fn stats(&self, id: LinkId) -> PushLinkStats {
        let (credit, in_flight) = (self.credit.left(), self.flight.amount());
        PushLinkStats {
            link: id.as_u64(),
            message_limit: self.credit.message_limit(),
            credit_messages: credit.messages,
            credit_bytes: credit.bytes,
            in_flight: in_flight.messages,
            in_flight_bytes: in_flight.bytes,
            unwritten: self.unwritten() as u64,
            stalled: self.session.is_stalled(),
            leaving: self.leaving,
            round_trip: self.session.round_trip(),
            ..self.stats.clone()
        }
    }
}
