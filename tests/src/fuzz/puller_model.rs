//! What must hold for a puller whatever its pushers do: a second, simpler account of its input and output.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_proto::{
    LinkId, Puller, PullerSettings, Rule, Window,
    wire::{Body, v1},
};
use tidegate_testkit::conserved;

/// One link, with the counts that an honest pusher would keep.
#[derive(Default)]
pub(super) struct Account {
    /// The limits written last.
    pub(super) limits: (u64, u64),
    /// The next delivery id. `bytes` counts bytes received and skipped.
    pub(super) next_id: u64,
    pub(super) bytes: u64,
    /// Deliveries received for which no outcome has been written.
    unsettled: BTreeSet<u64>,
    /// Messages and bytes settled or skipped, as far as the outcomes have been written (CR-5).
    done: (u64, u64),
    /// The last id received by the application: ids increase (DL-7).
    pub(super) handed: Option<u64>,
    /// Skips due: one for each Ack with `recall` or `leaving` (RC-1).
    owed: u8,
    left: bool,
    /// The machine may have begun to close although it has not written a Close.
    pub(super) doubtful: bool,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) links: BTreeMap<LinkId, Account>,
    /// The count at the last check.
    received: u64,
    /// The Deliver received since the last check: link, first id, number of messages, size without the last message,
    /// total size.
    given: Option<(LinkId, u64, u64, u64, u64)>,
}

impl Model {
    /// Records a frame that the puller is about to receive.
    pub(super) fn receives(&mut self, link: LinkId, body: Option<&Body>, puller: &Puller) {
        let Some(account) = self.links.get_mut(&link) else { return };
        match body {
            Some(Body::Deliver(batch)) => {
                let cursor = batch.cursor;
                let before_last = account.bytes.saturating_add(cursor.size() - cursor.last_size());
                self.received = puller.stats().received;
                self.given = Some((link, cursor.next_id(), cursor.len(), before_last, cursor.size()));
            }
            Some(Body::Skip(skip)) if account.owed > 0 => {
                let unused =
                    (account.limits.0 - account.next_id, account.limits.1.saturating_sub(account.bytes));
                let legal = skip.next_id.checked_sub(account.next_id).is_some_and(|ids| ids <= unused.0);
                if legal && skip.bytes <= unused.1 {
                    account.done.0 += skip.next_id - account.next_id;
                    account.done.1 += skip.bytes;
                    account.next_id = skip.next_id;
                    account.bytes += skip.bytes;
                    account.owed -= 1;
                } else {
                    account.doubtful = true;
                }
            }
            Some(Body::Ping(_) | Body::Pong(_) | Body::Unknown) => {}
            _ => account.doubtful = true,
        }
    }

    /// After a frame: checks that the puller was right to accept or refuse it (CR-3, DL-1).
    pub(super) fn received(&mut self, puller: &Puller) {
        let Some((link, first, count, before_last, size)) = self.given.take() else { return };
        let account = self.links.get_mut(&link).unwrap();
        let taken = puller.stats().received - self.received;
        let legal = first == account.next_id
            && first.checked_add(count).is_some_and(|end| end <= account.limits.0)
            && before_last < account.limits.1;
        if taken == 0 {
            assert!(
                !legal || account.doubtful || account.left,
                "CR-2: a Deliver within the limits was refused"
            );
            account.doubtful = true;
            return;
        }
        assert_eq!(taken, count, "CR-3: a part of a batch was accepted");
        assert!(legal, "CR-3, DL-1: delivery {first} of {count}, limits {:?}", account.limits);
        account.unsettled.extend(first..first + count);
        account.next_id = first + count;
        account.bytes = account.bytes.saturating_add(size);
    }

    /// Checks frames that the puller has written.
    pub(super) fn sent(&mut self, link: LinkId, bodies: &[Body], puller: &Puller, settings: &PullerSettings) {
        let Some(account) = self.links.get_mut(&link) else { return };
        for body in bodies {
            let Body::Ack(ack) = body else { continue };
            for outcome in &ack.outcomes {
                account.settles(outcome);
            }
            let (before, limits) = (account.limits, (ack.message_limit, ack.byte_limit));
            assert!(limits.0 >= before.0 && limits.1 >= before.1, "CR-1: {limits:?} after {before:?}");
            if account.owed > 0 || account.left {
                assert_eq!(limits, before, "RC-2: a limit was raised before the Skip");
            }
            if let (Window::Fixed { messages, .. }, false) = (settings.window, account.doubtful) {
                // CR-5. RD-9 adds messages that may be redelivered, and CR-6 one message beyond those received.
                let again = puller.stats().in_flight;
                let messages = messages.min(settings.budget);
                let most = (account.done.0 + messages).max(account.next_id + 1) + again;
                assert!(limits.0 <= most.max(before.0), "CR-5: {limits:?}, at most {most}");
            }
            account.limits = limits;
            if ack.recall || ack.leaving {
                assert!(
                    !account.left && (account.owed == 0 || ack.leaving),
                    "RC-2: a second recall before the Skip"
                );
                account.owed += 1;
                account.left = ack.leaving;
            }
        }
    }

    /// Checks the counts after every step.
    pub(super) fn check(&self, puller: &Puller, settings: &PullerSettings) {
        let s = puller.stats();
        conserved::assert_puller(&s);
        let links = puller.link_stats();
        let committed: u64 = links.iter().map(|link| link.credit_messages + link.unsettled).sum();
        assert_eq!(s.committed, committed, "CR-9: {s:?}");
        assert_eq!(s.queued, links.iter().map(|link| link.queued).sum::<u64>(), "{s:?}");
        // Only CR-6 exceeds the budget, by one message at a time for each link.
        let most = settings.budget + s.links + s.queued + s.in_flight;
        assert!(s.committed <= most, "CR-9: {s:?}");
        assert!(s.in_flight <= s.max_in_flight, "CR-5, the hard cap: {s:?}");
        if s.links == s.links_opened && s.overdue_recalls == 0 {
            // Nothing is redelivered, so that there is no credit beyond the cap (RD-9).
            let open = links.iter().filter(|link| !link.closing);
            let places = s.in_flight + s.queued + open.map(|link| link.credit_messages).sum::<u64>();
            assert!(places <= s.max_in_flight, "CR-5, places: {s:?}");
        }
        assert!(s.links <= 2 * settings.max_links as u64, "HS-12: {s:?}");
        assert!(s.pushers_ended <= settings.max_links as u64, "ST-6: {s:?}");
    }
}

impl Account {
    /// OC-1: one outcome for each delivery, and for nothing else.
    fn settles(&mut self, outcome: &v1::Outcome) {
        assert!((1..=4).contains(&outcome.verdict) && outcome.count > 0, "OC-10: {outcome:?}");
        assert!(outcome.reason.len() <= 256, "{}", Rule::Oc7);
        for id in outcome.first..outcome.first + outcome.count {
            assert!(self.unsettled.remove(&id), "OC-1: {outcome:?}, but delivery {id} is settled or unknown");
        }
        self.done.0 += outcome.count;
    }

    /// DL-7: deliveries are received in the order of their ids.
    pub(super) fn hands(&mut self, id: u64) {
        assert!(self.handed.is_none_or(|last| last < id), "DL-7: {id} after {:?}", self.handed);
        self.handed = Some(id);
    }
}
