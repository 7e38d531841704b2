//! The puller's [`Machine`]: handles frames, timers and the end of links, and sends `Ack` frames.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::{
    EndedPusher, Puller, PullerEvent,
    link::{Leaving, PullLink, Recall},
    wake,
};
use crate::{
    close::LinkEnd,
    links::LinkId,
    machine::Machine,
    peer::Peer,
    session::{Session, check_generation},
    time::Time,
    violation::{Code, Violation},
    wire::{self, Batch, Body, FrameProgress, deliver_limit, v1, v1::Role},
};

/// The longest pause of reading (LV-5).
const MAX_READ_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of outcomes in one `Ack`: safely below the limit of a control frame (FR-3).
const MAX_ACK_BYTES: usize = 48 * 1_024;

impl<H: Clone + Default> Puller<H> {
    /// Handles a `Deliver`. `frame` is the length of the whole frame.
    fn handle_deliver(&mut self, now: Time, id: LinkId, frame: usize, batch: Batch) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        if let Some(violation) = link.too_late() {
            return Err(violation);
        }
        link.session.weigh_junk(now, batch.junk(frame))?;
        let before = link.grant.outstanding();
        let new = batch.cursor;
        let repeats = batch.repeats && link.session.peer.key.is_some_and(|key| self.memory.knows(key));
        link.grant.accept(new.next_id(), new.len(), new.size(), new.last_size())?;
        self.committed.1 += link.grant.outstanding().1 - before.1; // one message may overshoot (CR-2)
        self.stats.received += new.len();
        self.stats.received_bytes += new.size();
        self.unused -= new.len();
        if link.overdue {
            self.overdue -= new.len();
        }
        (link.unused_since, link.active_at) = (now, now);
        if link.check_at.is_some() && !link.rotates {
            link.check_at = (link.grant.unused().0 > 0).then(|| link.patient_until(now));
        }
        // The pusher has used up all the credit that it may have known of.
        let limited = new.next_id() + new.len() >= link.limit_before;
        self.auto.feed(now, limited);
        let asked = std::mem::take(&mut self.asked);
        let batch = batch.slimmed();
        link.arrived(&batch, self.settings.memory);
        if repeats {
            self.sift(id, batch);
            // Duplicates take no places any more, so that there may be room for more credit (CR-6).
            self.want_grant(id);
        } else {
            self.queued += new.len();
            link.push(id, batch.bytes, batch.cursor, &self.kept);
        }
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        if !link.in_turn && !link.inbox.is_empty() {
            link.in_turn = true;
            self.turn.push_back(id);
        }
        if link.grant.unused().0 == 0 || link.grant.unused().1 == 0 {
            self.dry.insert(id);
        }
        if asked && self.waiting == 0 && self.floored > 0 {
            self.wake_floored();
        }
        Ok(())
    }

    fn handle_skip(&mut self, now: Time, id: LinkId, skip: v1::Skip) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        if link.ended {
            return Err(Violation::new(Code::Unexpected, "ST-7", "a Skip after End"));
        }
        if !link.skips.are_owed() {
            return Err(Violation::new(Code::Unexpected, "RC-3", "a Skip without a recall"));
        }
        let (before, unused) = (link.grant.outstanding(), link.grant.unused().0);
        link.grant.skip(skip.next_id, skip.bytes)?;
        link.skips.come(now);
        let given_up = unused - link.grant.unused().0;
        self.unused -= given_up;
        let was_overdue = std::mem::take(&mut link.overdue);
        if was_overdue {
            self.overdue -= unused;
        }
        let after = link.grant.outstanding();
        self.committed.0 -= before.0 - after.0;
        self.committed.1 -= before.1 - after.1;
        link.recall = Recall::No;
        if link.leaving == Leaving::Sent && !link.skips.are_owed() {
            link.leaving = Leaving::Skipped;
        }
        self.end_rotation(now, id, given_up, was_overdue);
        self.release_surplus(id);
        self.note_bare(id);
        self.dry.insert(id);
        // If there are fewer places than links that need one, only the links that get one are woken, below.
        if self.is_wanted() && self.queued == 0 && self.free_places() >= self.dry.len() as u64 {
            self.feed_dry();
        }
        self.want_grant(id);
        self.feed_hungry();
        Ok(())
    }

    fn handle_end(&mut self, id: LinkId) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        if link.ended {
            return Err(Violation::new(Code::Unexpected, "ST-7", "a second End"));
        }
        link.ended = true;
        // No Skip is due any more (ST-7).
        link.skips.cancel();
        link.recall = Recall::No;
        if link.leaving == Leaving::Sent {
            link.leaving = Leaving::Skipped;
        }
        self.rotating -= u64::from(std::mem::take(&mut link.rotates));
        self.bare.leave(&mut link.ticket);
        self.dry.remove(id);
        // The settle time-out of queued deliveries has passed, and other pullers have processed their messages (ST-7).
        let (before, bytes) = (link.grant.outstanding(), link.queued_bytes);
        let dropped = link.drop_inbox();
        link.grant.settle(dropped, bytes);
        // End gives up all unused credit (ST-7).
        let (unused, unused_bytes) = link.grant.unused();
        link.grant.skip(link.grant.limits().0, unused_bytes)?;
        self.unused -= unused;
        if std::mem::take(&mut link.overdue) {
            self.overdue -= unused;
        }
        let after = link.grant.outstanding();
        self.hungry.remove(id);
        self.committed.0 -= before.0 - after.0;
        self.committed.1 -= before.1 - after.1;
        self.queued -= dropped;
        self.stats.dropped += dropped;
        // ST-6. The set is bounded by the limit on links.
        if self.ended.len() < self.settings.max_links {
            let peer = &link.session.peer;
            self.ended.insert(match peer.names.as_slice() {
                [] => EndedPusher::Claimed(peer.instance),
                names => EndedPusher::Verified(names.to_vec()),
            });
        }
        self.events.push_back(PullerEvent::Ended(id));
        self.feed_hungry();
        Ok(())
    }

    fn violated(&mut self, now: Time, id: LinkId, violation: Violation) {
        self.forsake(id);
        if let Some(link) = self.links.get_mut(id) {
            link.session.close(now, violation.into());
            wake(&mut self.wakes, id, link);
        }
    }

    /// Sends an `Ack` if one is due. Otherwise sets the time for held outcomes.
    fn transmit_ack(&mut self, now: Time, id: LinkId, out: &mut VecDeque<Bytes>) {
        let Some(link) = self.links.get_mut(id) else { return };
        let leave = link.leaving == Leaving::Due;
        if leave && link.recall == Recall::Due {
            // One Ack with `leaving` also recalls the credit. A recall that was already sent has a Skip of its own
            // (RC-1).
            link.recall = Recall::No;
        }
        let recall = link.recall == Recall::Due;
        if !link.outcomes_due(now) && !link.grant_due && !leave && !recall {
            if !link.outcomes.is_empty() {
                link.ack_at.get_or_insert(now + self.settings.ack_delay);
            }
            return;
        }
        let before = link.grant.limits();
        self.raise(now, id);
        self.renew(id);
        let Some(link) = self.links.get_mut(id) else { return };
        link.grant_due = false;
        let news = !link.outcomes.is_empty() || link.grant.limits() != before;
        // Raising the limits may have made a recall due.
        let recall = recall || (link.recall == Recall::Due && !leave);
        if news || recall || leave {
            self.send_ack(now, id, out, recall, leave);
        }
        self.feed_hungry();
    }

    /// A link whose ids or bytes are nearly used up leaves, and its connector opens another one (FR-7).
    fn renew(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.grant.is_nearly_used_up() && link.leaving == Leaving::No && !link.ended {
            link.leaving = Leaving::Due;
            self.bare.leave(&mut link.ticket);
            wake(&mut self.wakes, id, link);
        }
    }

    fn send_ack(&mut self, now: Time, id: LinkId, out: &mut VecDeque<Bytes>, recall: bool, leaving: bool) {
        let Some(link) = self.links.get_mut(id) else { return };
        (link.ack_at, link.hurry) = (None, false);
        let (message_limit, byte_limit) = link.grant.limits();
        let all = link.outcomes.take();
        let told = all.clone();
        let mut outcomes = all.into_iter().peekable();
        loop {
            let mut part = Vec::new();
            let mut bytes = 0;
            while let Some(outcome) = outcomes.next_if(|o| bytes + 40 + o.reason.len() <= MAX_ACK_BYTES) {
                bytes += 40 + outcome.reason.len();
                part.push(outcome);
            }
            // Only the last Ack has the flags, so that they take effect after all outcomes (OC-4).
            let last = outcomes.peek().is_none();
            let (recall, leaving) = (recall && last, leaving && last);
            let ack = v1::Ack { outcomes: part, message_limit, byte_limit, recall, leaving };
            link.session.put(now, out, wire::encode(v1::frame::Body::Ack(ack)));
            if last {
                break;
            }
        }
        link.history.told(told, message_limit, link.session.taken_bytes(), self.settings.memory);
        if recall {
            link.recall = Recall::Sent;
            self.stats.recalls += 1;
        }
        if leaving {
            link.leaving = Leaving::Sent;
        }
        if recall || leaving {
            link.skips.owe(now);
        }
    }
}

impl<H: Clone + Default> Machine for Puller<H> {
    fn role(&self) -> Role {
        Role::Puller
    }

    fn frame_limit(&self) -> usize {
        deliver_limit(self.settings.max_message)
    }

    fn open(&mut self, now: Time, peer: Peer) -> Result<LinkId, Violation> {
        if self.leaving {
            return Err(Violation::new(Code::GoingAway, "ST-1", "the puller is leaving"));
        }
        let key = peer.replaceable();
        let old = key.and_then(|key| self.slots.get(&key).copied());
        // A replaced link still counts until its driver has removed it.
        if self.links.len() >= self.settings.max_links + usize::from(old.is_some()) {
            let detail =
                format!("{} links are open; the limit is {}", self.links.len(), self.settings.max_links);
            return Err(Violation::new(Code::Busy, "HS-12", detail));
        }
        if let Some(old) = old
            && let Some(link) = self.links.get_mut(old)
        {
            check_generation(&link.session.peer, &peer)?;
            link.session.close(now, LinkEnd::own(Code::Replaced, "a newer link of this peer has opened"));
            wake(&mut self.wakes, old, link);
            self.forsake(old);
        }
        let id = self.links.insert(PullLink::new(now, Session::new(now, peer, self.settings.timing())));
        self.stats.links_opened += 1;
        if let Some(key) = key {
            self.slots.insert(key, id);
        }
        self.share_out(false);
        self.note_bare(id);
        self.want_grant(id);
        Ok(id)
    }

    fn replaces(&self, peer: &Peer) -> Option<&Peer> {
        let old = self.slots.get(&peer.replaceable()?)?;
        self.links.get(*old).map(|link| &link.session.peer)
    }

    fn receive(&mut self, now: Time, id: LinkId, frame: Bytes) {
        let Some(link) = self.links.get_mut(id).filter(|link| !link.session.is_ignoring()) else { return };
        let bytes = frame.len();
        link.skips.received(bytes);
        let credit = link.grant.unused().0;
        let received = wire::decode_within(frame, link.session.peer.max_message, credit)
            // After End or leaving there is no credit either, but the violation is the late Deliver (ER-1).
            .map_err(|violation| match link.too_late() {
                Some(late) if violation.rule == "CR-3" => late,
                _ => violation,
            })
            .and_then(|body| link.session.receive(now, bytes, body));
        let result = match received {
            Err(violation) => Err(violation),
            Ok(received) => match received {
                None => {
                    if link.session.peer_has_closed() {
                        self.forsake(id);
                    }
                    Ok(())
                }
                Some(_) if link.session.is_ending() => Ok(()), // ST-4
                Some(Body::Deliver(batch)) => self.handle_deliver(now, id, bytes, batch),
                Some(Body::Skip(skip)) => self.handle_skip(now, id, skip),
                Some(Body::End) => self.handle_end(id),
                Some(Body::Hello(_)) => Err(Violation::unexpected("a second Hello")),
                Some(Body::Working(_)) => Err(Violation::unexpected("a Working from a pusher")),
                Some(_) => Err(Violation::unexpected("an Ack from a pusher")),
            },
        };
        if let Err(violation) = result {
            self.violated(now, id, violation);
        } else if let Some(link) = self.links.get_mut(id)
            && (link.session.has_signs() || link.session.close_is_due())
        {
            wake(&mut self.wakes, id, link);
        }
    }

    fn heard(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.heard();
        }
    }

    fn found_empty(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.found_empty();
        }
    }

    fn unreadable(&mut self, now: Time, id: LinkId, violation: Violation) {
        self.violated(now, id, violation);
    }

    fn unfinished(&mut self, now: Time, id: LinkId, progress: FrameProgress) -> bool {
        if !self.links.get(id).is_some_and(|link| link.session.is_open()) {
            self.unfinished.forget(id);
            return false;
        }
        self.unfinished.set(now, id, progress);
        let bound = self.settings.budget_bytes.saturating_add(self.settings.max_message);
        let bytes = self.unfinished.bytes();
        if bytes > bound
            && let Some(slowest) = self.unfinished.slowest(now)
        {
            self.unfinished.forget(slowest);
            let detail = format!(
                "incomplete frames of all links take {bytes} bytes; the limit is {bound}, and this frame is the slowest"
            );
            self.violated(now, slowest, Violation::new(Code::TooSlow, "LM-4", detail));
            return slowest != id;
        }
        true
    }

    fn wants_read(&mut self, now: Time, id: LinkId) -> bool {
        let Some(link) = self.links.get_mut(id) else { return false };
        if link.queued_bytes < self.settings.read_ahead || link.session.is_ending() {
            link.paused_until = None;
            return true;
        }
        match link.paused_until {
            Some(until) if now < until => {
                link.session.paused();
                false
            }
            // LV-5: the pause is over. Read once, then pause again.
            Some(_) => {
                link.paused_until = Some(now + MAX_READ_PAUSE);
                true
            }
            None => {
                link.session.paused();
                link.paused_until = Some(now + MAX_READ_PAUSE);
                false
            }
        }
    }

    fn transmit(&mut self, now: Time, id: LinkId, out: &mut VecDeque<Bytes>) {
        self.tune(now);
        self.reconsider_floor(now, id);
        let Some(link) = self.links.get_mut(id) else { return };
        link.session.woken = false;
        link.session.transmit_signs(now, out);
        if link.session.is_open() {
            self.transmit_ack(now, id, out);
        } else if link.session.close_is_due() && !link.session.peer_has_closed() && !link.outcomes.is_empty()
        {
            self.send_ack(now, id, out, false, false); // so that settled messages are not processed again
        }
        let Some(link) = self.links.get_mut(id) else { return };
        if link.leaving == Leaving::Skipped && link.grant.unsettled() == 0 && link.outcomes.is_empty() {
            let end = if self.leaving {
                LinkEnd::own(Code::Normal, "the puller has left") // ST-1
            } else {
                LinkEnd::own(Code::GoingAway, "the ids or bytes of this link are used up") // FR-7
            };
            link.session.close(now, end);
        }
        link.transmit_working(now, out);
        link.session.transmit_close(now, out);
    }

    fn is_idle(&self, id: LinkId) -> bool {
        self.links.get(id).is_some_and(|link| link.session.taken_bytes() == link.session.written_bytes())
    }

    fn written(&mut self, now: Time, id: LinkId, bytes: usize) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.written(now, bytes);
        }
    }

    fn write_failed(&mut self, now: Time, id: LinkId, reason: &str) {
        self.forsake(id);
        if let Some(link) = self.links.get_mut(id) {
            link.session.write_failed(now, reason);
        }
    }

    fn deadline(&self, id: LinkId) -> Option<Time> {
        let link = self.links.get(id)?;
        let mut deadline = link.session.deadline();
        let tune_at = self.tune_at(id);
        let working_at = link.working_at.filter(|_| !link.working.is_empty());
        let skip_at = link.skips.deadline().filter(|_| link.session.is_open());
        let places = [link.check_at, link.rest_until].map(|at| at.filter(|_| link.session.is_open()));
        let times = [link.ack_at, working_at, link.recall_at, link.paused_until, tune_at, skip_at];
        for at in times.into_iter().chain(places).flatten() {
            deadline = deadline.min(at);
        }
        Some(deadline)
    }

    fn advance(&mut self, now: Time, id: LinkId, progress: FrameProgress) {
        self.tune(now);
        self.reconsider_floor(now, id);
        let Some(link) = self.links.get_mut(id) else { return };
        // The outcomes are due from now on, and are sent when the driver can write again. The timer does not fire
        // again.
        link.hurry |= link.ack_at.take_if(|at| *at <= now).is_some();
        link.working_at.take_if(|at| *at <= now);
        let empty = link.session.has_found_empty();
        let result =
            link.session.advance(now, progress).and_then(|()| link.skips.advance(now, progress, empty));
        match result {
            Ok(()) => wake(&mut self.wakes, id, link),
            Err(violation) => self.violated(now, id, violation),
        }
        self.advance_places(now, id);
    }

    fn is_finished(&self, now: Time, id: LinkId) -> bool {
        self.links.get(id).is_none_or(|link| link.session.is_finished(now))
    }

    fn lost(&mut self, _: Time, id: LinkId, reason: &str) -> Option<LinkEnd> {
        self.forsake(id);
        self.unfinished.forget(id);
        let link = self.links.remove(id)?;
        let (messages, bytes) = link.grant.outstanding();
        self.committed.0 -= messages;
        self.committed.1 -= bytes;
        self.floored -= usize::from(link.floored);
        self.rotating -= u64::from(link.rotates);
        self.dry.remove(id);
        self.hungry.remove(id);
        if let Some(key) = link.session.peer.replaceable()
            && self.slots.get(&key) == Some(&id)
        {
            self.slots.remove(&key);
        }
        let end = link.session.into_end(reason);
        self.stats.links_broken += u64::from(end.code.is_none());
        self.share_out(false);
        self.feed_hungry();
        Some(end)
    }

    fn socket_deadline(&self) -> Option<Time> {
        self.stuck.deadline()
    }

    fn advance_socket(&mut self, now: Time) {
        let (cap, held) = (self.cap, self.in_flight);
        if self.stuck.advance(now, self.done(), held >= cap) {
            self.events.push_back(PullerEvent::AtCap { cap, held });
        }
    }

    #[inline]
    fn has_wakes(&self) -> bool {
        !self.wakes.is_empty()
    }

    fn is_woken(&self, id: LinkId) -> bool {
        self.links.get(id).is_some_and(|link| link.session.woken)
    }

    fn take_wakes(&mut self, wakes: &mut Vec<LinkId>) {
        wakes.append(&mut self.wakes);
    }

    fn links(&self) -> usize {
        self.links.len()
    }

    fn link_ids(&self) -> Vec<LinkId> {
        self.links.ids()
    }
}
