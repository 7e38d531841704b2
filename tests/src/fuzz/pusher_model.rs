//! What must hold for a pusher whatever its pullers do: a second, simpler account of its links and messages, from its
//! input and output.

use std::{collections::BTreeMap, ops::Range};

use tidegate_proto::{
    Code, LinkId, Message, PushStats, Pusher, PusherSettings,
    wire::{Body, v1},
};
use tidegate_testkit::conserved;

/// An accepted message.
struct Kept {
    message: Message,
    /// The highest attempt seen.
    attempt: u32,
    /// Acked or rejected by a puller: it must not be sent again.
    done: bool,
}

/// One link, with the counts that an honest puller would keep.
#[derive(Default)]
pub(super) struct Account {
    /// The highest limits granted.
    pub(super) limits: (u64, u64),
    /// The next delivery id. `bytes` counts bytes sent and skipped.
    pub(super) next_id: u64,
    pub(super) bytes: u64,
    /// Message numbers in flight, by delivery id.
    pub(super) flight: BTreeMap<u64, u64>,
    skipped: Vec<Range<u64>>,
    /// Recalls without a Skip.
    recalls: u64,
    ended: bool,
    /// Frames from the peer no longer count, after its Close or because a newer link replaced this one.
    ignored: bool,
    /// The pusher has requeued the link's messages by itself.
    given_up: bool,
}

#[derive(Default)]
pub(super) struct Model {
    messages: BTreeMap<u64, Kept>,
    pub(super) links: BTreeMap<LinkId, Account>,
    acked: u64,
    /// Messages rejected by a puller, and nacks, which reject at the last attempt.
    rejected: u64,
    nacked: u64,
    /// Messages for which room was reserved before their size was known.
    promised: u64,
}

/// The maximum number of recalls on a link: after more, the pusher may forget skipped ranges (OC-2).
const MAX_SKIPS: usize = 60;

impl Model {
    pub(super) fn accepted(&mut self, number: u64, message: Message, promised: bool) {
        self.promised += u64::from(promised);
        let before = self.messages.insert(number, Kept { message, attempt: 0, done: false });
        assert!(before.is_none(), "DL-2: number {number} is used twice");
        assert_eq!(number + 1, self.messages.len() as u64, "DL-2: numbers count from 0");
    }

    /// The pusher requeues the link's messages.
    pub(super) fn emptied(&mut self, link: LinkId) {
        if let Some(account) = self.links.get_mut(&link) {
            account.flight.clear();
            account.ignored = true;
        }
    }

    /// The pusher has nothing in flight on the link. If it should have, it has given up the link, and must say so in
    /// its Close (LV-3, LV-7, LV-8).
    pub(super) fn nothing_in_flight(&mut self, link: LinkId) {
        if let Some(account) = self.links.get_mut(&link).filter(|account| !account.flight.is_empty()) {
            account.given_up = true;
            self.emptied(link);
        }
    }

    /// Whether this frame may be passed to the machine. Recalls beyond the number that it must remember, or that may
    /// wait (RC-2), would test nothing.
    pub(super) fn may_receive(&self, link: LinkId, body: &Body) -> bool {
        let Some(account) = self.links.get(&link) else { return true };
        !matches!(body, Body::Ack(ack) if ack.recall || ack.leaving)
            || (account.skipped.len() < MAX_SKIPS && account.recalls < 2)
    }

    /// Records a frame that the pusher is about to receive.
    pub(super) fn receives(&mut self, link: LinkId, body: &Body) {
        match body {
            Body::Ack(ack) => self.ack(link, ack),
            Body::Close(_) => self.emptied(link),
            _ => {}
        }
    }

    fn ack(&mut self, link: LinkId, ack: &v1::Ack) {
        let Some(account) = self.links.get_mut(&link) else { return };
        if !ack.outcomes.iter().all(|outcome| account.takes(outcome)) {
            return; // FR-4: no part of the frame takes effect
        }
        for outcome in &ack.outcomes {
            let ids = outcome.first..outcome.first + outcome.count;
            let settled: Vec<u64> = account.flight.range(ids).map(|(id, _)| *id).collect();
            for id in settled {
                let number = account.flight.remove(&id).unwrap();
                let kept = self.messages.get_mut(&number).unwrap();
                match outcome.verdict() {
                    v1::Verdict::Ack => (self.acked, kept.done) = (self.acked + 1, true),
                    v1::Verdict::Reject => (self.rejected, kept.done) = (self.rejected + 1, true),
                    v1::Verdict::Nack => self.nacked += 1,
                    _ => {}
                }
            }
        }
        if !account.ignored {
            account.limits.0 = account.limits.0.max(ack.message_limit); // CR-1
            account.limits.1 = account.limits.1.max(ack.byte_limit);
            account.recalls += u64::from(ack.recall || ack.leaving);
        }
    }

    /// Checks frames that the pusher has written.
    pub(super) fn sent(&mut self, link: LinkId, bodies: &[Body]) {
        let Some(account) = self.links.get_mut(&link) else { return };
        for body in bodies {
            match body {
                Body::Deliver(batch) => {
                    assert!(!account.ended, "ST-7: Deliver after End");
                    for item in batch.items() {
                        account.delivers(item.id, item.size.into());
                        account.flight.insert(item.id, item.number);
                        let kept =
                            self.messages.get_mut(&item.number).expect("only accepted messages are sent");
                        assert_eq!(
                            item.message(&batch.bytes),
                            kept.message,
                            "a redelivered message has changed"
                        );
                        assert!(!kept.done, "OC-3: message {} is sent after its outcome", item.number);
                        let attempts = kept.attempt.max(1)..=kept.attempt + 1;
                        assert!(attempts.contains(&item.attempt), "DL-3: {} not {attempts:?}", item.attempt);
                        kept.attempt = item.attempt;
                    }
                }
                Body::Skip(skip) => {
                    assert!(!account.ended, "ST-7: Skip after End");
                    assert!(account.recalls > 0, "RC-3: a Skip without a recall");
                    account.recalls -= 1; // RC-1: one Skip for each recall
                    account.skips(skip);
                }
                Body::End => {
                    assert!(!std::mem::replace(&mut account.ended, true), "ST-7: a second End");
                    assert!(account.flight.is_empty(), "ST-7: End while deliveries are un-acked");
                }
                Body::Close(close) if account.given_up => {
                    let code = close.code();
                    assert!(matches!(code, Code::Silent | Code::TooSlow), "messages requeued at a {code:?}");
                }
                _ => {}
            }
        }
    }

    /// Checks the counts after every step.
    pub(super) fn check(&self, pusher: &Pusher, settings: &PusherSettings) {
        let s = pusher.stats();
        conserved::assert_pusher(&s);
        assert_eq!(s.acked, self.acked, "acks are counted wrongly: {s:?}");
        let rejected = self.rejected..=self.rejected + settings.max_attempts.map_or(0, |_| self.nacked);
        assert!(rejected.contains(&s.rejected), "{rejected:?}: {s:?}");
        bounds(&s, pusher, settings, self.promised);
    }
}

/// CR-8, LM-2: limits on what the pusher holds, whatever credit it has.
fn bounds(s: &PushStats, pusher: &Pusher, settings: &PusherSettings, promised: u64) {
    let (largest, held) = (settings.max_message, s.in_flight + s.queued + s.rejected_waiting);
    assert!(held <= settings.max_held as u64, "max_held: {s:?}");
    let most_bytes = settings.max_held_bytes + largest * (1 + promised);
    assert!(s.held_bytes < most_bytes, "max_held_bytes: {s:?}");
    assert!(s.links <= 2 * settings.max_links as u64, "max_links: {s:?}");
    for link in pusher.link_stats() {
        assert!(link.in_flight <= settings.max_in_flight as u64, "max_in_flight: {link:?}");
        assert!(link.in_flight_bytes < settings.max_in_flight_bytes + largest, "{link:?}");
        // The limit may be exceeded by one message, its fields, and control frames.
        assert!(link.unwritten < settings.max_unwritten as u64 + largest + 4_096, "max_unwritten: {link:?}");
    }
}

impl Account {
    /// OC-2, OC-10.
    fn takes(&self, outcome: &v1::Outcome) -> bool {
        let verdict = matches!(
            v1::Verdict::try_from(outcome.verdict),
            Ok(v1::Verdict::Ack | v1::Verdict::Nack | v1::Verdict::Reject | v1::Verdict::Release)
        );
        let Some(end) = outcome.first.checked_add(outcome.count) else { return false };
        let skipped = self.skipped.iter().any(|ids| ids.start < end && outcome.first < ids.end);
        verdict && outcome.count > 0 && end <= self.next_id && !skipped
    }

    /// CR-2, DL-1.
    fn delivers(&mut self, id: u64, size: u64) {
        assert_eq!(id, self.next_id, "DL-1: delivery ids have a gap");
        assert!(id < self.limits.0, "CR-2: delivery {id}, limits {:?}", self.limits);
        assert!(self.bytes < self.limits.1, "CR-2: {} bytes, limits {:?}", self.bytes, self.limits);
        self.next_id += 1;
        self.bytes = self.bytes.saturating_add(size);
    }

    /// RC-1, RC-3.
    fn skips(&mut self, skip: &v1::Skip) {
        assert!((self.next_id..=self.limits.0.max(self.next_id)).contains(&skip.next_id), "{skip:?}");
        assert!(skip.bytes <= self.limits.1.saturating_sub(self.bytes), "{skip:?}: {} sent", self.bytes);
        if self.next_id < skip.next_id {
            self.skipped.push(self.next_id..skip.next_id);
        }
        self.next_id = skip.next_id;
        self.bytes += skip.bytes;
    }
}
