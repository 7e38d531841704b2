//! The puller's [`Machine`]: handles frames, timers and the end of links.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::{
    Puller, PullerEvent,
    link::{Leaving, PullLink, Recall},
    mark_ready,
};
use crate::{
    link::{LinkEnd, Machine, Peer, Session, check_generation},
    link_id::LinkId,
    rule::Rule,
    time::Time,
    v1::{self, Role},
    violation::{Code, Violation},
    wire::{self, Batch, Body, FrameProgress, deliver_limit},
};

/// The longest pause of reading (LV-5).
const MAX_READ_PAUSE: Duration = Duration::from_millis(100);

impl<H: Clone + Default> Puller<H> {
    /// Handles a `Deliver`. `frame` is the length of the whole frame.
    fn handle_deliver(&mut self, now: Time, id: LinkId, frame: usize, batch: Batch) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        if let Some(violation) = link.late_violation() {
            return Err(violation);
        }
        link.session.charge_unknown(now, batch.unknown_bytes(frame))?;
        let new = batch.cursor;
        let repeats = batch.repeats && link.session.peer.key.is_some_and(|key| self.dedup.knows(key));
        link.grant.accept(&mut self.budget, new.next_id(), new.amount(), new.last_size())?;
        self.stats.received += new.len();
        self.stats.received_bytes += new.size();
        self.unused -= new.len();
        if link.overdue {
            self.overdue -= new.len();
        }
        (link.unused_since, link.active_at) = (now, now);
        if link.check_at.is_some() && !link.rotates {
            link.check_at = (link.grant.unused().messages > 0).then(|| link.patient_until(now));
        }
        // The pusher has used up all the credit that it may have known of.
        let limited = new.next_id() + new.len() >= link.limit_before;
        self.auto.end_idle(now, limited);
        let waits = self.waiting > 0 || self.polled_empty;
        self.has_waited |= waits && self.queued.messages == 0 && link.grant.settled_deliveries() > 0;
        let asked = std::mem::take(&mut self.polled_empty);
        let (exceeds, last) = (link.grant.overshoot() > 0, new.last_size());
        let (full, queued) = (self.queued.bytes >= self.settings.budget_bytes, link.queued.messages);
        let batch = batch.without_unknown();
        link.record_batch(&batch, self.settings.memory);
        if repeats {
            self.suppress_duplicates(id, batch);
            // Duplicates take no places any more, so that there may be room for more credit (CR-6).
            self.request_grant(id);
        } else {
            self.queued += new.amount();
            link.push(id, batch.bytes, batch.cursor, &self.retained);
        }
        self.measure_need(id, last, exceeds);
        if full {
            self.release_excess(id, queued);
        }
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        if !link.in_turn && !link.inbox.is_empty() {
            link.in_turn = true;
            self.turn.push_back(id);
        }
        if !link.grant.is_usable() {
            self.without_credit.insert(id);
        }
        if asked && self.waiting == 0 && self.minimum_grants > 0 {
            self.wake_minimum_grants();
        }
        Ok(())
    }

    fn handle_skip(&mut self, now: Time, id: LinkId, skip: v1::Skip) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        if link.ended {
            return Err(Violation::new(Code::Unexpected, Rule::St7, "a Skip after End"));
        }
        if !link.skips.are_due() {
            return Err(Violation::new(Code::Unexpected, Rule::Rc3, "a Skip without a recall"));
        }
        let unused = link.grant.unused().messages;
        link.grant.skip(&mut self.budget, skip)?;
        link.skips.handle_skip(now);
        self.memory.unreserve(&mut link.need);
        let given_up = unused - link.grant.unused().messages;
        self.unused -= given_up;
        let was_overdue = std::mem::take(&mut link.overdue);
        if was_overdue {
            self.overdue -= unused;
        }
        link.recall = Recall::No;
        if link.leaving == Leaving::Sent && !link.skips.are_due() {
            link.leaving = Leaving::Skipped;
        }
        self.end_rotation(now, id, given_up, was_overdue);
        self.release_surplus(id);
        self.queue_for_place(id);
        self.without_credit.insert(id);
        // If there are fewer places than links that need one, only the links that get one are woken, below.
        if self.lacks_deliveries() && self.free_places() >= self.without_credit.len() as u64 {
            self.wake_without_credit();
        }
        self.request_grant(id);
        self.grant_to_next();
        Ok(())
    }

    fn handle_violation(&mut self, now: Time, id: LinkId, violation: Violation) {
        self.retire_link(id);
        if let Some(link) = self.links.get_mut(id) {
            link.session.close(now, violation.into());
            mark_ready(&mut self.ready_links, id, link);
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
            return Err(Violation::new(Code::GoingAway, Rule::St1, "the puller is leaving"));
        }
        let key = peer.replaceable();
        let old = key.and_then(|key| self.slots.get(&key).copied());
        // A replaced link still counts until its driver has removed it.
        if self.links.len() >= self.settings.max_links + usize::from(old.is_some()) {
            let detail =
                format!("{} links are open; the limit is {}", self.links.len(), self.settings.max_links);
            return Err(Violation::new(Code::Busy, Rule::Hs12, detail));
        }
        if let Some(old) = old
            && let Some(link) = self.links.get_mut(old)
        {
            check_generation(&link.session.peer, &peer)?;
            link.session.close(now, LinkEnd::own(Code::Replaced, "a newer link of this peer has opened"));
            mark_ready(&mut self.ready_links, old, link);
            self.retire_link(old);
        }
        let id = self.links.insert(PullLink::new(now, Session::new(now, peer, self.settings.timing())));
        self.stats.links_opened += 1;
        if let Some(key) = key {
            self.slots.insert(key, id);
        }
        self.assign_shares(false);
        self.queue_for_place(id);
        self.request_grant(id);
        Ok(id)
    }

    fn replaces(&self, peer: &Peer) -> Option<&Peer> {
        let old = self.slots.get(&peer.replaceable()?)?;
        self.links.get(*old).map(|link| &link.session.peer)
    }

    fn handle_frame(&mut self, now: Time, id: LinkId, frame: Bytes) {
        let Some(link) = self.links.get_mut(id).filter(|link| !link.session.ignores_frames()) else { return };
        let bytes = frame.len();
        link.skips.handle_bytes(bytes);
        let credit = link.grant.unused().messages;
        let received = wire::decode_within(frame, link.session.peer.max_message, credit)
            // After End or leaving there is no credit either, but the violation is the late Deliver (ER-1).
            .map_err(|violation| match link.late_violation() {
                Some(late) if violation.rule == Rule::Cr3 => late,
                _ => violation,
            })
            .and_then(|body| link.session.handle_frame(now, bytes, body));
        let result = match received {
            Err(violation) => Err(violation),
            Ok(received) => match received {
                None => {
                    if link.session.peer_has_closed() {
                        self.retire_link(id);
                    }
                    Ok(())
                }
                Some(_) if link.session.is_closing() => Ok(()), // ST-4
                Some(Body::Deliver(batch)) => self.handle_deliver(now, id, bytes, batch),
                Some(Body::Skip(skip)) => self.handle_skip(now, id, skip),
                Some(Body::End) => self.handle_end(id),
                Some(Body::Hello(_)) => Err(Violation::unexpected("a second Hello")),
                Some(Body::Working(_)) => Err(Violation::unexpected("a Working from a pusher")),
                Some(_) => Err(Violation::unexpected("an Ack from a pusher")),
            },
        };
        if let Err(violation) = result {
            self.handle_violation(now, id, violation);
        } else if let Some(link) = self.links.get_mut(id)
            && (link.session.has_pings() || link.session.close_is_due())
        {
            mark_ready(&mut self.ready_links, id, link);
        }
    }

    fn handle_bytes(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.handle_bytes();
        }
    }

    fn handle_would_block(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.handle_would_block();
        }
    }

    fn handle_framing_error(&mut self, now: Time, id: LinkId, violation: Violation) {
        self.handle_violation(now, id, violation);
    }

    fn handle_partial_frame(&mut self, now: Time, id: LinkId, progress: FrameProgress) -> bool {
        if !self.links.get(id).is_some_and(|link| link.session.is_open()) {
            self.partial_frames.forget(id);
            return false;
        }
        self.partial_frames.set(now, id, progress);
        let bound = self.settings.budget_bytes.saturating_add(self.settings.max_message);
        let bytes = self.partial_frames.bytes();
        if bytes > bound
            && let Some(slowest) = self.partial_frames.slowest(now)
        {
            self.partial_frames.forget(slowest);
            let detail = format!(
                "incomplete frames of all links take {bytes} bytes; the limit is {bound}, and this frame is the slowest"
            );
            self.handle_violation(now, slowest, Violation::new(Code::TooSlow, Rule::Lm4, detail));
            return slowest != id;
        }
        true
    }

    fn wants_read(&mut self, now: Time, id: LinkId) -> bool {
        let Some(link) = self.links.get_mut(id) else { return false };
        if link.queued.bytes < self.settings.read_ahead || link.session.is_closing() {
            link.paused_until = None;
            return true;
        }
        match link.paused_until {
            Some(until) if now < until => {
                link.session.handle_read_pause();
                false
            }
            // LV-5: the pause is over. Read once, then pause again.
            Some(_) => {
                link.paused_until = Some(now + MAX_READ_PAUSE);
                true
            }
            None => {
                link.session.handle_read_pause();
                link.paused_until = Some(now + MAX_READ_PAUSE);
                false
            }
        }
    }

    fn poll_transmit(&mut self, now: Time, id: LinkId, out: &mut VecDeque<Bytes>) {
        self.tune(now);
        self.reconsider_minimum_grant(now, id);
        let Some(link) = self.links.get_mut(id) else { return };
        link.session.ready = false;
        link.session.poll_pings(now, out);
        if link.session.is_open() {
            self.poll_ack(now, id, out);
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
        link.poll_working(now, out);
        link.session.poll_close(now, out);
    }

    fn is_idle(&self, id: LinkId) -> bool {
        self.links
            .get(id)
            .is_some_and(|link| link.session.transmitted_bytes() == link.session.written_bytes())
    }

    fn handle_written(&mut self, now: Time, id: LinkId, bytes: usize) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.handle_written(now, bytes);
        }
    }

    fn handle_write_error(&mut self, now: Time, id: LinkId, reason: &str) {
        self.retire_link(id);
        if let Some(link) = self.links.get_mut(id) {
            link.session.handle_write_error(now, reason);
        }
    }

    fn poll_timeout(&self, id: LinkId) -> Option<Time> {
        let link = self.links.get(id)?;
        let mut deadline = link.session.poll_timeout();
        let tune_at = self.tune_at(id);
        let working_at = link.working_at.filter(|_| !link.working.is_empty());
        let skip_at = link.skips.poll_timeout().filter(|_| link.session.is_open());
        let places = [link.check_at, link.no_credit_until].map(|at| at.filter(|_| link.session.is_open()));
        let times = [
            link.ack_at,
            working_at,
            link.recall_at,
            link.paused_until,
            tune_at,
            skip_at,
            link.memory_timeout(),
        ];
        for at in times.into_iter().chain(places).flatten() {
            deadline = deadline.min(at);
        }
        Some(deadline)
    }

    fn handle_timeout(&mut self, now: Time, id: LinkId, progress: FrameProgress) {
        self.tune(now);
        self.reconsider_minimum_grant(now, id);
        let Some(link) = self.links.get_mut(id) else { return };
        // The outcomes are due from now on, and are sent when the driver can write again. The timer does not fire
        // again.
        link.ack_now |= link.ack_at.take_if(|at| *at <= now).is_some();
        link.working_at.take_if(|at| *at <= now);
        let empty = link.session.has_read_all();
        let result = link
            .session
            .handle_timeout(now, progress)
            .and_then(|()| link.skips.handle_timeout(now, progress, empty));
        match result {
            Ok(()) => mark_ready(&mut self.ready_links, id, link),
            Err(violation) => self.handle_violation(now, id, violation),
        }
        self.handle_place_timeouts(now, id);
    }

    fn is_finished(&self, now: Time, id: LinkId) -> bool {
        self.links.get(id).is_none_or(|link| link.session.is_finished(now))
    }

    fn handle_link_lost(&mut self, _: Time, id: LinkId, reason: &str) -> Option<LinkEnd> {
        self.retire_link(id);
        self.partial_frames.forget(id);
        let link = self.links.remove(id)?;
        link.grant.end(&mut self.budget);
        self.minimum_grants -= usize::from(link.has_minimum_grant);
        self.rotating -= u64::from(link.rotates);
        self.without_credit.remove(id);
        self.waiting_for_budget.remove(id);
        if let Some(key) = link.session.peer.replaceable()
            && self.slots.get(&key) == Some(&id)
        {
            self.slots.remove(&key);
        }
        let end = link.session.into_end(reason);
        self.stats.links_broken += u64::from(end.code.is_none());
        self.assign_shares(false);
        self.grant_to_next();
        Some(end)
    }

    fn poll_socket_timeout(&self) -> Option<Time> {
        self.stuck.poll_timeout()
    }

    fn handle_socket_timeout(&mut self, now: Time) {
        let (cap, held) = (self.cap, self.in_flight);
        if self.stuck.handle_timeout(now, self.done(), held >= cap) {
            self.events.push_back(PullerEvent::AtCap { cap, held });
        }
    }

    #[inline]
    fn has_ready_links(&self) -> bool {
        !self.ready_links.is_empty()
    }

    fn is_link_ready(&self, id: LinkId) -> bool {
        self.links.get(id).is_some_and(|link| link.session.ready)
    }

    fn poll_ready_links(&mut self, wakes: &mut Vec<LinkId>) {
        wakes.append(&mut self.ready_links);
    }

    fn link_count(&self) -> usize {
        self.links.len()
    }

    fn link_ids(&self) -> Vec<LinkId> {
        self.links.ids()
    }
}
