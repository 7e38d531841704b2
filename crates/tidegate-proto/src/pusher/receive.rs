//! The pusher's [`Machine`]: handles frames, outcomes, timers and the end of links.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::{FinalOutcome, Pending, Pusher, PusherEvent, RejectedMessage, flight::Taken, link::PushLink};
use crate::{
    amount::Amount,
    delivery_id::{DeliveryId, DeliveryRange},
    limits::AckWork,
    link::{LinkEnd, Machine, Peer, Session},
    link_id::LinkId,
    message_number::MessageNumber,
    rule::Rule,
    time::Time,
    v1::{self, Role, Verdict},
    violation::{Code, Violation},
    wire::{self, Body, FrameProgress, MAX_CONTROL_FRAME, cut_reason},
};

/// The number of failures after which a message without a limit on attempts is reported.
const MIN_REPORTED_FAILURES: u32 = 10;

impl Pusher {
    fn handle_ack(&mut self, now: Time, id: LinkId, bytes: usize, ack: &v1::Ack) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        // FR-4: the whole frame is checked before any of it takes effect.
        for outcome in &ack.outcomes {
            if !matches!(Verdict::try_from(outcome.verdict), Ok(verdict) if verdict != Verdict::Unspecified) {
                let detail = format!("verdict is {}; it must be 1 to 4", outcome.verdict);
                return Err(Violation::new(Code::Malformed, Rule::Oc10, detail));
            }
            link.flight.check(outcome.first, outcome.count, link.handed_over())?;
        }
        link.has_outcome |= !ack.outcomes.is_empty();
        let before = link.stats.outcomes();
        let mut idle = 0;
        for outcome in &ack.outcomes {
            idle += self.settle(now, id, outcome);
        }
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        let after = link.stats.outcomes();
        let (done, again) = (after.0 - before.0, after.1 - before.1);
        link.return_pause.count(now, again, done);
        link.session.charge_ack(
            now,
            bytes,
            AckWork { settled: done, returned: again, idle_lookups: idle },
        )?;
        if !link.session.is_closing() {
            // OC-4: limits after outcomes, flags after limits.
            link.credit.raise(Amount::new(ack.message_limit, ack.byte_limit));
            if ack.recall || ack.leaving {
                link.recall()?;
            }
            link.leaving |= ack.leaving; // ST-1
        }
        self.end_quarantine(id);
        self.refresh(id);
        self.pump();
        self.check_drained(now);
        Ok(())
    }

    /// Applies an outcome. If it has settled nothing, returns the number of lookups that it has caused.
    fn settle(&mut self, now: Time, id: LinkId, outcome: &v1::Outcome) -> u64 {
        let Some(link) = self.links.get_mut(id) else { return 0 };
        let verdict = Verdict::try_from(outcome.verdict).unwrap_or_default();
        let mut taken = Taken::default();
        link.flight.settle(DeliveryRange::of(outcome), verdict != Verdict::Ack, &mut taken);
        let Amount { messages, bytes } = taken.amount;
        let idle = if messages == 0 { taken.lookups.max(1) } else { 0 };
        let counts = (&mut link.stats, &mut self.stats);
        match verdict {
            Verdict::Ack | Verdict::Unspecified => {
                counts.0.acked += messages;
                counts.1.acked += messages;
                counts.1.acked_bytes += bytes;
                counts.1.held_bytes -= bytes;
                let settled = |number: MessageNumber| PusherEvent::Settled(number.get(), FinalOutcome::Acked);
                self.events.extend(taken.tracked.into_iter().map(settled));
            }
            Verdict::Nack => {
                counts.0.nacked += messages;
                counts.1.nacked += messages;
                let delay = Duration::from_millis(outcome.delay_ms.into());
                for pending in taken.pending {
                    self.handle_failure(now, pending, delay, cut_reason(&outcome.reason));
                }
            }
            Verdict::Reject => {
                counts.0.rejected += messages;
                for pending in taken.pending {
                    let attempts = pending.attempt;
                    self.reject(pending, attempts, cut_reason(&outcome.reason));
                }
            }
            Verdict::Release => {
                counts.0.released += messages;
                counts.1.released += messages;
                // OC-8: to the front, at once, with the same attempt.
                taken.pending.into_iter().for_each(|pending| self.backlog.push_returned(pending));
            }
        }
        idle
    }

    /// Delays a message for its next attempt, or rejects it after the last one (OC-6, OC-11).
    fn handle_failure(&mut self, now: Time, mut pending: Pending, delay: Duration, reason: &str) {
        let failures = pending.failures();
        let attempts = pending.attempt;
        if self.settings.max_attempts.is_some_and(|max| failures >= max) {
            let reason = format!("attempt {failures} of {failures} failed: {reason}");
            return self.reject(pending, attempts, cut_reason(&reason));
        }
        if failures == MIN_REPORTED_FAILURES && self.settings.max_attempts.is_none() {
            let reason = reason.to_owned();
            let number = pending.number.get();
            self.events.push_back(PusherEvent::Failing { number, failures, reason });
        }
        pending.attempt = pending.attempt.saturating_add(1);
        let delay = self.retry_delay(failures, delay);
        self.backlog.push_delayed(now + delay, pending);
    }

    fn reject(&mut self, pending: Pending, attempts: u32, reason: &str) {
        let Pending { number, tracked, message, .. } = pending;
        let number = number.get();
        self.stats.rejected += 1;
        if tracked {
            let settled = FinalOutcome::Rejected { reason: reason.to_owned(), attempts };
            self.events.push_back(PusherEvent::Settled(number, settled));
        }
        if self.keep_rejected {
            self.rejected.push_back(RejectedMessage { number, message, attempts, reason: reason.to_owned() });
        } else {
            self.stats.held_bytes -= message.size() as u64;
        }
    }

    /// Handles `Working` (OC-13).
    fn handle_working(&mut self, now: Time, id: LinkId, working: &v1::Working) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        let handed = link.handed_over();
        for delivery in &working.deliveries {
            // The checks are those for an outcome, but the violation names another rule.
            let checked = link.flight.check(*delivery, 1, handed);
            checked.map_err(|violation| Violation {
                rule: Rule::Oc13,
                detail: violation.detail.replacen("an outcome for", "Working for", 1),
                ..violation
            })?;
        }
        if let Some((timeout, max_work_time)) = self.settings.settle_times() {
            let max_hold = max_work_time.map(|time| time.saturating_sub(timeout));
            for delivery in &working.deliveries {
                link.flight.worked_on(now, DeliveryId::new(*delivery), max_hold);
            }
        }
        Ok(())
    }

    /// Handles deliveries whose settle time-out has passed as failed attempts (OC-12).
    fn handle_settle_timeouts(&mut self, now: Time, id: LinkId) {
        let Some((timeout, max_work_time)) = self.settings.settle_times() else { return };
        let Some(link) = self.links.get_mut(id).filter(|link| link.session.is_open()) else { return };
        let mut taken = Taken::default();
        link.flight.take_overdue(now, timeout, &mut taken);
        if taken.amount == Amount::ZERO {
            return;
        }
        self.stats.timed_out += taken.amount.messages;
        let reason = match max_work_time {
            Some(max) if max > timeout => {
                format!("no outcome or sign of work within {timeout:?}, or no outcome within {max:?}")
            }
            _ => format!("no outcome within {timeout:?}"),
        };
        for mut pending in taken.pending {
            pending.timed_out = true;
            self.handle_failure(now, pending, Duration::ZERO, &reason);
        }
        self.end_quarantine(id);
        self.refresh(id);
        self.pump();
        self.check_drained(now);
    }

    /// Requeues the un-acked messages of a link that gets no more outcomes (RD-3).
    fn requeue_link(&mut self, now: Time, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            let detached = link.detach(link.session.written_bytes());
            self.requeue_unacked(now, detached);
        }
    }

    fn handle_violation(&mut self, now: Time, id: LinkId, violation: Violation) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.close(now, violation.into());
            // LV-3, LV-8: the link is lost now. A silent peer, or one that does not read, does not answer Close. To
            // wait for the answer would only delay its messages. The driver may still write the bytes that it was
            // given.
            if link.session.is_interrupted() {
                let detached = link.detach(link.session.maybe_written_bytes());
                self.requeue_unacked(now, detached);
            }
        }
        self.refresh(id);
    }
}

impl Pusher {
    /// Removes a link and requeues its messages. `written` returns the number of bytes that count as written (RD-3).
    fn end_link(
        &mut self,
        now: Time,
        id: LinkId,
        reason: &str,
        written: fn(&Session) -> u64,
    ) -> Option<LinkEnd> {
        // The link is removed first, so that its messages are not sent on it again.
        let mut link = self.links.remove(id)?;
        let detached = link.detach(written(&link.session));
        self.requeue_unacked(now, detached);
        if let Some(key) = link.session.peer.replaceable()
            && self.slots.get(&key) == Some(&id)
        {
            self.slots.remove(&key);
        }
        let end = link.session.into_end(reason);
        self.stats.links_broken += u64::from(end.code.is_none());
        self.pump();
        self.check_drained(now);
        Some(end)
    }
}

impl Machine for Pusher {
    fn role(&self) -> Role {
        Role::Pusher
    }

    fn frame_limit(&self) -> usize {
        MAX_CONTROL_FRAME
    }

    fn open(&mut self, now: Time, peer: Peer) -> Result<LinkId, Violation> {
        if self.end_for_new_links() == Some(false) {
            return Err(Violation::new(Code::GoingAway, Rule::St5, "the pusher is stopping"));
        }
        let key = peer.replaceable();
        let old = key.and_then(|key| self.slots.get(&key).copied());
        // A replaced link still counts until its driver has removed it.
        if self.links.len() >= self.settings.max_links + usize::from(old.is_some()) {
            let detail =
                format!("{} links are open; the limit is {}", self.links.len(), self.settings.max_links);
            return Err(Violation::new(Code::Busy, Rule::Hs12, detail));
        }
        if let Some(old) = old {
            self.replace(now, old, &peer)?;
        }
        let id = self.links.insert(PushLink::new(Session::new(now, peer, self.settings.timing())));
        self.stats.links_opened += 1;
        if let Some(key) = key {
            self.slots.insert(key, id);
        }
        if let Some(end) = self.end_for_new_links() {
            self.close_link(now, id, end); // ST-3
        }
        self.resume_held(now, id);
        Ok(id)
    }

    fn replaces(&self, peer: &Peer) -> Option<&Peer> {
        let old = self.slots.get(&peer.replaceable()?)?;
        self.links.get(*old).map(|link| &link.session.peer)
    }

    fn handle_frame(&mut self, now: Time, id: LinkId, frame: Bytes) {
        let Some(link) = self.links.get_mut(id).filter(|link| !link.session.ignores_frames()) else { return };
        let bytes = frame.len();
        let received =
            wire::decode(frame, u64::MAX).and_then(|body| link.session.handle_frame(now, bytes, body));
        let result = match received {
            Err(violation) => Err(violation),
            Ok(received) => match received {
                None => {
                    if link.session.peer_has_closed() {
                        self.requeue_link(now, id); // RD-1: no outcome will arrive any more
                    }
                    Ok(())
                }
                Some(Body::Ack(ack)) => self.handle_ack(now, id, bytes, &ack),
                Some(Body::Working(working)) => {
                    let weighed = link.session.charge_ids(now, bytes);
                    weighed.and_then(|()| self.handle_working(now, id, &working))
                }
                Some(other) if !link.session.is_closing() => {
                    let name = match other {
                        Body::Hello(_) => "a second Hello",
                        Body::Deliver(_) => "a Deliver from a puller",
                        Body::Skip(_) => "a Skip from a puller",
                        _ => "an End from a puller",
                    };
                    Err(Violation::unexpected(name))
                }
                Some(_) => Ok(()), // ST-4
            },
        };
        match result {
            Ok(()) => self.refresh(id),
            Err(violation) => self.handle_violation(now, id, violation),
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

    fn wants_read(&mut self, _: Time, _: LinkId) -> bool {
        true // frames of a puller are small, and grant credit
    }

    fn poll_transmit(&mut self, now: Time, id: LinkId, out: &mut VecDeque<Bytes>) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.ready = false;
            link.poll_transmit(now, out);
            self.refresh(id);
        }
    }

    fn is_idle(&self, id: LinkId) -> bool {
        self.links
            .get(id)
            .is_some_and(|link| link.session.transmitted_bytes() == link.session.written_bytes())
    }

    fn handle_written(&mut self, now: Time, id: LinkId, bytes: usize) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.handle_written(now, bytes);
            self.refresh(id);
            self.pump();
        }
    }

    fn handle_write_error(&mut self, now: Time, id: LinkId, reason: &str) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.handle_write_error(now, reason); // RD-2: outcomes may still arrive
        }
    }

    fn poll_timeout(&self, id: LinkId) -> Option<Time> {
        let link = self.links.get(id)?;
        let overdue = self.settings.settle_times().filter(|_| link.session.is_open());
        let overdue = overdue.and_then(|(timeout, _)| link.flight.next_overdue(timeout));
        let others = [overdue, link.return_pause.until()].into_iter().flatten();
        Some(others.fold(link.session.poll_timeout(), Ord::min))
    }

    fn handle_timeout(&mut self, now: Time, id: LinkId, progress: FrameProgress) {
        let Some(link) = self.links.get_mut(id) else { return };
        let was_paused = link.return_pause.is_active();
        link.return_pause.handle_timeout(now);
        if let Err(violation) = link.session.handle_timeout(now, progress) {
            self.handle_violation(now, id, violation);
        }
        self.handle_settle_timeouts(now, id);
        self.refresh(id);
        if was_paused {
            self.pump();
        }
    }

    fn is_finished(&self, now: Time, id: LinkId) -> bool {
        self.links.get(id).is_none_or(|link| link.session.is_finished(now))
    }

    fn handle_link_lost(&mut self, now: Time, id: LinkId, reason: &str) -> Option<LinkEnd> {
        self.end_link(now, id, reason, Session::written_bytes)
    }

    fn handle_driver_lost(&mut self, now: Time, id: LinkId, reason: &str) -> Option<LinkEnd> {
        self.end_link(now, id, reason, Session::maybe_written_bytes)
    }

    fn poll_socket_timeout(&self) -> Option<Time> {
        [self.backlog.next_delayed(), self.held_batches.next_expiry(), self.slow_start.until()]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle_socket_timeout(&mut self, now: Time) {
        self.backlog.requeue_due(now);
        self.expire_held(now);
        if self.slow_start.handle_timeout(now) {
            self.links.ids().into_iter().for_each(|id| self.refresh(id));
        }
        self.pump();
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

impl Pusher {
    /// Closes the old link of a peer with REPLACED, or refuses the new one with STALE (HS-9).
    fn replace(&mut self, now: Time, old: LinkId, peer: &Peer) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(old) else { return Ok(()) };
        crate::link::check_generation(&link.session.peer, peer)?;
        link.session.close(now, LinkEnd::own(Code::Replaced, "a newer link of this peer has opened"));
        // RD-3: the driver still writes the bytes that it was given, and has not yet reported them as written.
        let detached = link.detach(link.session.maybe_written_bytes());
        self.requeue_unacked(now, detached);
        self.refresh(old);
        Ok(())
    }
}
