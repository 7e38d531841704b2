//! The pusher's [`Machine`]: handles frames, outcomes, timers and the end of links.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use super::{FinalOutcome, Pending, Pusher, PusherEvent, RejectedMessage, flight::Taken, link::PushLink};
use crate::{
    close::LinkEnd,
    flood::AckWork,
    links::LinkId,
    machine::Machine,
    peer::Peer,
    session::Session,
    time::Time,
    violation::{Code, Violation},
    wire::{self, Body, FrameProgress, MAX_CONTROL_FRAME, cut_reason, v1, v1::Role, v1::Verdict},
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
                return Err(Violation::new(Code::Malformed, "OC-10", detail));
            }
            link.flight.check(outcome.first, outcome.count, link.handed())?;
        }
        link.proven |= !ack.outcomes.is_empty();
        let before = link.stats.outcomes();
        let mut idle = 0;
        for outcome in &ack.outcomes {
            idle += self.settle(now, id, outcome);
        }
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        let after = link.stats.outcomes();
        let (done, again) = (after.0 - before.0, after.1 - before.1);
        link.rest.count(now, again, done);
        link.session.weigh_ack(now, bytes, AckWork { done, again, idle })?;
        if !link.session.is_ending() {
            // OC-4: limits after outcomes, flags after limits.
            link.credit.raise(ack.message_limit, ack.byte_limit);
            if ack.recall || ack.leaving {
                link.recall()?;
            }
            link.leaving |= ack.leaving; // ST-1
        }
        self.release_alone(id);
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
        link.flight.settle(outcome.first, outcome.count, verdict != Verdict::Ack, &mut taken);
        let idle = if taken.messages == 0 { taken.looks.max(1) } else { 0 };
        let counts = (&mut link.stats, &mut self.stats);
        match verdict {
            Verdict::Ack | Verdict::Unspecified => {
                counts.0.acked += taken.messages;
                counts.1.acked += taken.messages;
                counts.1.acked_bytes += taken.bytes;
                counts.1.held_bytes -= taken.bytes;
                let settled = taken.tracked.into_iter().map(|n| PusherEvent::Settled(n, FinalOutcome::Acked));
                self.events.extend(settled);
            }
            Verdict::Nack => {
                counts.0.nacked += taken.messages;
                counts.1.nacked += taken.messages;
                let delay = Duration::from_millis(outcome.delay_ms.into());
                for pending in taken.pending {
                    self.failed(now, pending, delay, cut_reason(&outcome.reason));
                }
            }
            Verdict::Reject => {
                counts.0.rejected += taken.messages;
                for pending in taken.pending {
                    let attempts = pending.attempt;
                    self.reject(pending, attempts, cut_reason(&outcome.reason));
                }
            }
            Verdict::Release => {
                counts.0.released += taken.messages;
                counts.1.released += taken.messages;
                // OC-8: to the front, at once, with the same attempt.
                taken.pending.into_iter().for_each(|pending| self.backlog.push_returned(pending));
            }
        }
        idle
    }

    /// Delays a message for its next attempt, or rejects it after the last one (OC-6, OC-11).
    fn failed(&mut self, now: Time, mut pending: Pending, delay: Duration, reason: &str) {
        let failures = pending.failures();
        let attempts = pending.attempt;
        if self.settings.max_attempts.is_some_and(|most| failures >= most) {
            let reason = format!("attempt {failures} of {failures} failed: {reason}");
            return self.reject(pending, attempts, cut_reason(&reason));
        }
        if failures == MIN_REPORTED_FAILURES && self.settings.max_attempts.is_none() {
            let reason = reason.to_owned();
            self.events.push_back(PusherEvent::Failing { number: pending.number, failures, reason });
        }
        pending.attempt = pending.attempt.saturating_add(1);
        let delay = self.retry_delay(failures, delay);
        self.backlog.push_delayed(now + delay, pending);
    }

    fn reject(&mut self, pending: Pending, attempts: u32, reason: &str) {
        let Pending { number, tracked, message, .. } = pending;
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
        let handed = link.handed();
        for delivery in &working.deliveries {
            // The checks are those for an outcome, but the violation names another rule.
            let checked = link.flight.check(*delivery, 1, handed);
            checked.map_err(|violation| Violation {
                rule: "OC-13",
                detail: violation.detail.replacen("an outcome for", "Working for", 1),
                ..violation
            })?;
        }
        if let Some((timeout, most)) = self.settings.settle_times() {
            let most = most.map(|most| most.saturating_sub(timeout));
            working.deliveries.iter().for_each(|delivery| link.flight.worked_on(now, *delivery, most));
        }
        Ok(())
    }

    /// Handles deliveries whose settle time-out has passed as failed attempts (OC-12).
    fn time_out(&mut self, now: Time, id: LinkId) {
        let Some((timeout, most)) = self.settings.settle_times() else { return };
        let Some(link) = self.links.get_mut(id).filter(|link| link.session.is_open()) else { return };
        let mut taken = Taken::default();
        link.flight.take_overdue(now, timeout, &mut taken);
        if taken.messages == 0 {
            return;
        }
        self.stats.timed_out += taken.messages;
        let reason = match most {
            Some(most) if most > timeout => {
                format!("no outcome or sign of work within {timeout:?}, or no outcome within {most:?}")
            }
            _ => format!("no outcome within {timeout:?}"),
        };
        for mut pending in taken.pending {
            pending.timed_out = true;
            self.failed(now, pending, Duration::ZERO, &reason);
        }
        self.release_alone(id);
        self.refresh(id);
        self.pump();
        self.check_drained(now);
    }

    /// Requeues the un-acked messages of a link that gets no more outcomes (RD-3).
    fn take_back(&mut self, now: Time, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            let parting = link.part(link.session.written_bytes());
            self.part_with(now, parting);
        }
    }

    fn violated(&mut self, now: Time, id: LinkId, violation: Violation) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.close(now, violation.into());
            // LV-3, LV-8: the link is lost now. A silent peer, or one that does not read, does not answer Close. To
            // wait for the answer would only delay its messages. The driver may still write the bytes that it was
            // given.
            if link.session.is_interrupted() {
                let parting = link.part(link.session.bytes_at_risk());
                self.part_with(now, parting);
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
        let parting = link.part(written(&link.session));
        self.part_with(now, parting);
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
        if self.farewell() == Some(false) {
            return Err(Violation::new(Code::GoingAway, "ST-5", "the pusher is stopping"));
        }
        let key = peer.replaceable();
        let old = key.and_then(|key| self.slots.get(&key).copied());
        // A replaced link still counts until its driver has removed it.
        if self.links.len() >= self.settings.max_links + usize::from(old.is_some()) {
            let detail =
                format!("{} links are open; the limit is {}", self.links.len(), self.settings.max_links);
            return Err(Violation::new(Code::Busy, "HS-12", detail));
        }
        if let Some(old) = old {
            self.replace(now, old, &peer)?;
        }
        let id = self.links.insert(PushLink::new(Session::new(now, peer, self.settings.timing())));
        self.stats.links_opened += 1;
        if let Some(key) = key {
            self.slots.insert(key, id);
        }
        if let Some(end) = self.farewell() {
            self.say_goodbye(now, id, end); // ST-3
        }
        self.welcome_back(now, id);
        Ok(id)
    }

    fn replaces(&self, peer: &Peer) -> Option<&Peer> {
        let old = self.slots.get(&peer.replaceable()?)?;
        self.links.get(*old).map(|link| &link.session.peer)
    }

    fn receive(&mut self, now: Time, id: LinkId, frame: Bytes) {
        let Some(link) = self.links.get_mut(id).filter(|link| !link.session.is_ignoring()) else { return };
        let bytes = frame.len();
        let received = wire::decode(frame, u64::MAX).and_then(|body| link.session.receive(now, bytes, body));
        let result = match received {
            Err(violation) => Err(violation),
            Ok(received) => match received {
                None => {
                    if link.session.peer_has_closed() {
                        self.take_back(now, id); // RD-1: no outcome will arrive any more
                    }
                    Ok(())
                }
                Some(Body::Ack(ack)) => self.handle_ack(now, id, bytes, &ack),
                Some(Body::Working(working)) => {
                    let weighed = link.session.weigh_ids(now, bytes);
                    weighed.and_then(|()| self.handle_working(now, id, &working))
                }
                Some(other) if !link.session.is_ending() => {
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
            Err(violation) => self.violated(now, id, violation),
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

    fn wants_read(&mut self, _: Time, _: LinkId) -> bool {
        true // frames of a puller are small, and grant credit
    }

    fn transmit(&mut self, now: Time, id: LinkId, out: &mut VecDeque<Bytes>) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.woken = false;
            link.transmit(now, out);
            self.refresh(id);
        }
    }

    fn is_idle(&self, id: LinkId) -> bool {
        self.links.get(id).is_some_and(|link| link.session.taken_bytes() == link.session.written_bytes())
    }

    fn written(&mut self, now: Time, id: LinkId, bytes: usize) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.written(now, bytes);
            self.refresh(id);
            self.pump();
        }
    }

    fn write_failed(&mut self, now: Time, id: LinkId, reason: &str) {
        if let Some(link) = self.links.get_mut(id) {
            link.session.write_failed(now, reason); // RD-2: outcomes may still arrive
        }
    }

    fn deadline(&self, id: LinkId) -> Option<Time> {
        let link = self.links.get(id)?;
        let overdue = self.settings.settle_times().filter(|_| link.session.is_open());
        let overdue = overdue.and_then(|(timeout, _)| link.flight.next_overdue(timeout));
        let others = [overdue, link.rest.until()].into_iter().flatten();
        Some(others.fold(link.session.deadline(), Ord::min))
    }

    fn advance(&mut self, now: Time, id: LinkId, progress: FrameProgress) {
        let Some(link) = self.links.get_mut(id) else { return };
        let rested = link.rest.is_on();
        link.rest.advance(now);
        if let Err(violation) = link.session.advance(now, progress) {
            self.violated(now, id, violation);
        }
        self.time_out(now, id);
        self.refresh(id);
        if rested {
            self.pump();
        }
    }

    fn is_finished(&self, now: Time, id: LinkId) -> bool {
        self.links.get(id).is_none_or(|link| link.session.is_finished(now))
    }

    fn lost(&mut self, now: Time, id: LinkId, reason: &str) -> Option<LinkEnd> {
        self.end_link(now, id, reason, Session::written_bytes)
    }

    fn abandoned(&mut self, now: Time, id: LinkId, reason: &str) -> Option<LinkEnd> {
        self.end_link(now, id, reason, Session::bytes_at_risk)
    }

    fn socket_deadline(&self) -> Option<Time> {
        [self.backlog.next_delayed(), self.absent.next_over(), self.losses.until()]
            .into_iter()
            .flatten()
            .min()
    }

    fn advance_socket(&mut self, now: Time) {
        self.backlog.wake_delayed(now);
        self.give_up_absent(now);
        if self.losses.advance(now) {
            self.links.ids().into_iter().for_each(|id| self.refresh(id));
        }
        self.pump();
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

impl Pusher {
    /// Closes the old link of a peer with REPLACED, or refuses the new one with STALE (HS-9).
    fn replace(&mut self, now: Time, old: LinkId, peer: &Peer) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(old) else { return Ok(()) };
        crate::session::check_generation(&link.session.peer, peer)?;
        link.session.close(now, LinkEnd::own(Code::Replaced, "a newer link of this peer has opened"));
        // RD-3: the driver still writes the bytes that it was given, and has not yet reported them as written.
        let parting = link.part(link.session.bytes_at_risk());
        self.part_with(now, parting);
        self.refresh(old);
        Ok(())
    }
}
