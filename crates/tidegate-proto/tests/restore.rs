//! A pusher that restarts with its store: what was accepted and not settled is sent again, a puller that stayed runs
//! nothing twice, and the restart counts neither as a failure nor as a loss (RD-11).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{ops::Range, time::Duration};

use tidegate_proto::{
    Blocked, Code, FinalOutcome, Generations, InstanceId, Machine, Message, MessageError, NUMBER_BLOCK,
    PeerKey, Pusher, PusherEvent, PusherSettings, RestoreError, Restored, RestoredMessage, Role, Rule,
    StoreRecord, Time, Verdict, Window,
    wire::{Body, v1},
};
use tidegate_testkit::{SECOND, World, ack, frame, outcome, peer, puller, pusher, sent, text};

/// A message of which no frame was written.
fn fresh(number: u64) -> RestoredMessage {
    let message = Message::from(number.to_string());
    RestoredMessage {
        number,
        message,
        attempts: 0,
        failures: 0,
        timed_out: false,
        tracked: false,
        puller: None,
    }
}

/// A message that may have been sent, as attempt 1, to this puller of a [`World`].
fn flying(number: u64, pull: u8) -> RestoredMessage {
    RestoredMessage { attempts: 1, puller: Some(key(pull)), ..fresh(number) }
}

fn key(pull: u8) -> PeerKey {
    peer(Role::Puller, 100 + pull, None).key.unwrap()
}

fn store(messages: Vec<RestoredMessage>) -> Restored {
    Restored {
        instance: InstanceId([7; 16]),
        numbers: NUMBER_BLOCK..2 * NUMBER_BLOCK,
        messages,
        ended: false,
    }
}

fn restored(messages: Vec<RestoredMessage>, change: impl FnOnce(&mut PusherSettings)) -> Pusher {
    let mut settings = PusherSettings::default();
    change(&mut settings);
    Pusher::restore(settings, store(messages), 1, Time::default()).unwrap()
}

fn with_numbers(numbers: Range<u64>) -> Pusher {
    let store = Restored { numbers, ..store(Vec::new()) };
    Pusher::restore(PusherSettings::default(), store, 1, Time::default()).unwrap()
}

/// Kills the only pusher, and restores it at once.
fn restart(w: &mut World, messages: Vec<RestoredMessage>) {
    for wire in 0..w.wires.len() {
        if std::mem::replace(&mut w.wires[wire].open, false) {
            let (now, link) = (w.now, w.pull_link(wire));
            w.pullers[w.wires[wire].pull].handle_link_lost(now, link, "reset");
        }
    }
    w.pushers[0] = Pusher::restore(PusherSettings::default(), store(messages), 1, w.now).unwrap();
    w.check();
}

fn all(expected: &[(&str, u32)]) -> Vec<(String, u32)> {
    expected.iter().map(|(text, attempt)| ((*text).to_owned(), *attempt)).collect()
}

#[test]
fn rd_11_a_puller_that_stayed_runs_nothing_twice_when_its_pusher_restarts() {
    // RD-11, RD-9, DL-3
    let pullers = vec![puller(|s| s.window = Window::messages(10)), puller(|_| ())];
    let mut w = World::new(vec![pusher(|_| ())], pullers);
    let wire = w.join(0, 0);
    w.settle();
    (0..3).for_each(|i| w.send(0, &i.to_string()));
    let (done, working) = (w.recv(0).unwrap(), w.recv(0).unwrap());
    w.wires[wire].hung = true;
    w.give(0, done, &Verdict::Ack);
    restart(&mut w, (0..3).map(|number| flying(number, 0)).collect());
    w.join(0, 1);
    w.pass(14 * SECOND);
    assert_eq!(w.ack_all(1), [], "they are held for the puller that has them");
    w.join(0, 0);
    w.settle();
    assert_eq!(w.ack_all(0), all(&[("2", 2)]), "only the message that it had not received");
    w.give(0, working, &Verdict::Ack);
    w.pass(SECOND);
    let stats = w.pushers[0].stats();
    assert_eq!((stats.accepted, stats.acked, stats.queued, stats.in_flight), (3, 3, 0, 0));
    assert_eq!(w.pullers[0].stats().duplicates_suppressed, 2);
}

#[test]
fn rd_11_messages_of_a_puller_that_does_not_return_go_to_others_after_15_s() {
    // RD-11, DL-3
    let lost = RestoredMessage { attempts: 3, ..flying(1, 0) };
    let unknown = RestoredMessage { puller: None, ..flying(2, 0) };
    let messages = vec![fresh(4), lost, unknown, flying(0, 0)];
    let mut w = World::new(vec![restored(messages, |_| ())], vec![puller(|_| ()), puller(|_| ())]);
    assert_eq!((w.pushers[0].stats().in_grace, w.pushers[0].stats().queued), (2, 4));
    w.join(0, 1);
    w.settle();
    assert_eq!(w.ack_all(1), all(&[("2", 2), ("4", 1)]), "without a known puller there is no grace");
    w.pass(15 * SECOND - Duration::from_millis(1));
    assert_eq!(w.ack_all(1), []);
    w.pass(Duration::from_millis(1));
    assert_eq!(w.ack_all(1), all(&[("0", 2), ("1", 4)]));
}

#[test]
fn rd_11_with_a_restart_grace_of_0_messages_go_to_any_puller_at_once() {
    // RD-11
    let pusher = restored(vec![flying(0, 0)], |s| s.restart_grace = Duration::ZERO);
    let mut w = World::new(vec![pusher], vec![puller(|_| ()), puller(|_| ())]);
    w.join(0, 1);
    w.settle();
    assert_eq!(w.ack_all(1), all(&[("0", 2)]));
}

#[test]
fn rd_11_the_grace_after_a_restart_does_not_depend_on_the_usual_grace() {
    // RD-11, RD-8: with a usual grace of 0, only messages that were written to the new link go to others at once.
    let messages = vec![flying(0, 0), flying(1, 0)];
    let pusher = restored(messages, |s| s.grace = Duration::ZERO);
    let mut w = World::new(vec![pusher], vec![puller(|_| ()), puller(|_| ())]);
    w.join(0, 1);
    w.settle();
    let now = w.now;
    let back = w.pushers[0].open(now, peer(Role::Puller, 100, None)).unwrap();
    w.pushers[0].handle_frame(now, back, ack(Vec::new(), 1, 1 << 20));
    assert_eq!(sent(&mut w.pushers[0], now, back).len(), 1);
    w.pushers[0].handle_frame(now, back, ack(Vec::new(), 2, 1 << 20));
    assert_eq!(w.pushers[0].stats().in_flight, 2);
    w.pushers[0].handle_link_lost(now, back, "cut");
    w.settle();
    assert_eq!(w.ack_all(1), all(&[("0", 3)]));
    w.pass(15 * SECOND - Duration::from_millis(1));
    assert_eq!(w.ack_all(1), []);
    w.pass(Duration::from_millis(1));
    assert_eq!(w.ack_all(1), all(&[("1", 2)]));
}

#[test]
fn rd_9_a_puller_runs_nothing_twice_when_its_pusher_closes_and_then_restarts() {
    // RD-9, RD-11
    for code in [Code::Aborted, Code::GoingAway] {
        let mut w = World::new(vec![pusher(|_| ())], vec![puller(|_| ())]);
        let wire = w.join(0, 0);
        w.settle();
        (0..2).for_each(|i| w.send(0, &i.to_string()));
        let (done, working) = (w.recv(0).unwrap(), w.recv(0).unwrap());
        w.wires[wire].hung = true;
        w.give(0, done, &Verdict::Ack);
        let close = frame(v1::frame::Body::Close(v1::Close { code: code.into(), ..v1::Close::default() }));
        let (now, link) = (w.now, w.pull_link(wire));
        w.pullers[0].handle_frame(now, link, close);
        restart(&mut w, vec![flying(0, 0), flying(1, 0)]);
        w.join(0, 0);
        w.settle();
        assert_eq!(w.ack_all(0), [], "{code:?}");
        w.give(0, working, &Verdict::Ack);
        w.pass(SECOND);
        assert_eq!(w.pushers[0].stats().acked, 2, "{code:?}");
    }
}

#[test]
fn rd_11_the_outcome_of_a_tracked_message_is_reported() {
    // RD-11: so the store can remove it.
    let messages = vec![RestoredMessage { tracked: true, ..flying(0, 0) }, flying(1, 0)];
    let mut w = World::new(vec![restored(messages, |_| ())], vec![puller(|_| ())]);
    w.join(0, 0);
    w.settle();
    assert_eq!(w.ack_all(0), all(&[("0", 2), ("1", 2)]));
    w.pass(SECOND);
    assert_eq!(w.pushers[0].stats().acked, 2);
    assert_eq!(w.pushers[0].poll_event(), Some(PusherEvent::Settled(0, FinalOutcome::Acked)));
    assert_eq!(w.pushers[0].poll_event(), None);
}

#[test]
fn rd_11_a_puller_that_returns_has_the_same_time_again_to_grant_credit() {
    // RD-11, RD-8: the usual grace of 1 s does not shorten it.
    let mut w = World::new(vec![restored(vec![flying(0, 0)], |_| ())], vec![puller(|_| ()), puller(|_| ())]);
    w.join(0, 1);
    w.pass(10 * SECOND);
    let now = w.now;
    let back = w.pushers[0].open(now, peer(Role::Puller, 100, None)).unwrap();
    w.pass(14 * SECOND);
    // It grants credit, and its link is lost before the message is written.
    let now = w.now;
    w.pushers[0].handle_frame(now, back, ack(Vec::new(), 10, 1 << 20));
    assert_eq!(w.pushers[0].stats().in_flight, 1);
    w.pushers[0].handle_link_lost(now, back, "cut");
    assert_eq!(w.pushers[0].stats().in_grace, 1);
    w.pass(SECOND * 99 / 100);
    assert_eq!(w.ack_all(1), []);
    w.pass(SECOND / 100);
    assert_eq!(w.ack_all(1), all(&[("0", 2)]));
}

/// Opens a link with credit, and returns the attempt of the first delivery on it.
fn deliver_once(pusher: &mut Pusher, now: Time, instance: u8) -> (tidegate_proto::LinkId, u32) {
    let link = pusher.open(now, peer(Role::Puller, instance, None)).unwrap();
    pusher.handle_frame(now, link, ack(Vec::new(), 1, 1 << 20));
    let deliver = sent(pusher, now, link).into_iter().find_map(|body| match body {
        Body::Deliver(mut batch) => batch.cursor.next(&batch.bytes).map(|item| item.attempt),
        _ => None,
    });
    (link, deliver.expect("the message is sent"))
}

#[test]
fn rd_11_a_restart_counts_neither_as_a_failure_nor_hides_one() {
    // RD-11, OC-11: the limit is two failures.
    for (failures, rejected) in [(0, 0), (1, 1)] {
        let message = RestoredMessage { attempts: 5, failures, puller: None, ..fresh(0) };
        let mut pusher = restored(vec![message], |s| s.max_attempts = Some(2));
        let (link, attempt) = deliver_once(&mut pusher, Time::default(), 100);
        assert_eq!(attempt, 6);
        let nack = ack(vec![outcome(0, 1, v1::Verdict::Nack)], 1, 1 << 20);
        pusher.handle_frame(Time::default(), link, nack);
        assert_eq!(pusher.stats().rejected, rejected, "{failures} failures before the restart");
    }
}

#[test]
fn rd_11_a_restart_is_no_loss_that_makes_a_message_a_poison_message() {
    // RD-11, RD-4: a message is quarantined after two lost links whose pullers did not return.
    let mut pusher = restored(vec![flying(0, 0)], |_| ());
    let mut now = Time::default() + 15 * SECOND;
    pusher.handle_socket_timeout(now);
    for (losses, delayed) in [(1, 0), (2, 1)] {
        let (link, _) = deliver_once(&mut pusher, now, 100 + losses);
        pusher.handle_link_lost(now, link, "cut");
        now = now + SECOND;
        pusher.handle_socket_timeout(now);
        let stats = pusher.stats();
        assert_eq!((stats.queued, stats.delayed), (1, delayed), "after {losses} losses");
    }
}

#[test]
fn rd_11_a_restart_does_not_start_slowly() {
    // RD-11, RD-10: a lost link that returns 12,000 messages would cap each link at 16.
    let messages: Vec<_> = (0..12_000).map(|n| RestoredMessage { puller: None, ..flying(n, 0) }).collect();
    let mut pusher = restored(messages, |_| ());
    let link = pusher.open(Time::default(), peer(Role::Puller, 100, None)).unwrap();
    pusher.handle_frame(Time::default(), link, ack(Vec::new(), 1_000, 1 << 20));
    assert_eq!(pusher.stats().in_flight, 1_000);
}

#[test]
fn dl_2_numbers_of_restored_messages_need_not_follow_on() {
    // DL-2, RD-9: gaps in the numbers, on the wire and in the puller's memory.
    let numbers = [3, 70, NUMBER_BLOCK - 1];
    let mut w = World::new(vec![restored(Vec::new(), |_| ())], vec![puller(|_| ())]);
    restart(&mut w, numbers.map(fresh).to_vec());
    let wire = w.join(0, 0);
    w.settle();
    w.send(0, "new");
    let mut held: Vec<_> = std::iter::from_fn(|| w.recv(0)).collect();
    let seen: Vec<_> = held.iter().map(|received| (received.id().number, text(received))).collect();
    let expected = numbers.map(|n| (n, n.to_string())).into_iter().chain([(NUMBER_BLOCK, "new".to_owned())]);
    assert_eq!(seen, expected.collect::<Vec<_>>());
    w.wires[wire].hung = true;
    held.drain(..3).for_each(|received| w.give(0, received, &Verdict::Ack));
    w.cut(wire);
    w.join(0, 0);
    w.settle();
    assert_eq!(w.ack_all(0), [], "each is recognized by its number");
    w.give(0, held.remove(0), &Verdict::Ack);
    assert_eq!(w.pushers[0].stats().acked, 4);
}

#[test]
fn rd_11_numbers_are_used_only_when_their_block_is_synced() {
    // RD-11, DL-2
    let mut pusher = with_numbers(10..13);
    let next = StoreRecord::NumbersUntil(13 + NUMBER_BLOCK);
    assert_eq!(pusher.poll_store(), Some(next));
    pusher.reserve(1).unwrap();
    assert_eq!(pusher.free_slots(), 2);
    let numbers = [pusher.send("a".into(), false), pusher.send("b".into(), false)];
    assert_eq!(numbers.map(|accepted| accepted.unwrap().number), [10, 11]);
    assert_eq!(pusher.send("c".into(), false).unwrap_err().reason, Blocked::Full, "12 is reserved");
    assert_eq!(pusher.send_reserved("c".into(), false, 1).unwrap().number, 12);
    assert_eq!(pusher.check_room(), Err(Blocked::Full));
    let unreserved = pusher.send_reserved("d".into(), false, 0);
    assert_eq!(unreserved.unwrap_err().reason, Blocked::Full, "it has no number");
    assert_eq!(pusher.poll_store(), Some(next), "until it is synced");
    pusher.handle_synced(Time::default(), next);
    assert_eq!(pusher.poll_store(), None);
    assert_eq!(pusher.send("d".into(), false).unwrap().number, 13);
}

#[test]
fn rd_11_a_block_of_numbers_is_renewed_at_half() {
    // RD-11
    let half = NUMBER_BLOCK / 2;
    let mut pusher = with_numbers(0..half + 1);
    assert_eq!(pusher.poll_store(), None);
    pusher.send("a".into(), false).unwrap();
    assert_eq!(pusher.poll_store(), Some(StoreRecord::NumbersUntil(half + 1 + NUMBER_BLOCK)));
    let last = with_numbers((1 << 53) - 5..(1 << 53) - 1);
    assert_eq!(last.poll_store(), Some(StoreRecord::NumbersUntil(1 << 53)), "numbers end at 2^53 - 1");
    let mut last = with_numbers((1 << 53) - 1..1 << 53);
    assert_eq!(last.poll_store(), None);
    assert_eq!(last.send("a".into(), false).unwrap().number, (1 << 53) - 1);
    assert_eq!(last.send("b".into(), false).unwrap_err().reason, Blocked::Full);
}

#[test]
fn rd_11_a_pusher_without_a_store_has_nothing_to_sync() {
    // RD-11
    let mut pusher = pusher(|_| ());
    pusher.send("a".into(), false).unwrap();
    assert_eq!(pusher.poll_store(), None);
    pusher.abort(Time::default());
    assert_eq!(pusher.poll_store(), None);
}

#[test]
fn hs_8_the_end_of_a_stream_is_synced_before_it_is_sent() {
    // HS-8, RD-11
    let mut pusher = restored(vec![fresh(0)], |_| ());
    let now = Time::default();
    let (link, _) = deliver_once(&mut pusher, now, 100);
    pusher.drain(now, true);
    pusher.handle_synced(now, StoreRecord::Ended);
    assert_eq!(pusher.poll_store(), None, "a message is not settled");
    pusher.handle_frame(now, link, ack(vec![outcome(0, 1, v1::Verdict::Ack)], 2, 1 << 20));
    assert_eq!(pusher.poll_store(), Some(StoreRecord::Ended));
    assert_eq!(sent(&mut pusher, now, link), []);
    let late = pusher.open(now, peer(Role::Puller, 101, None)).unwrap();
    assert_eq!((sent(&mut pusher, now, late), pusher.is_done()), (Vec::new(), false));
    pusher.handle_synced(now, StoreRecord::Ended);
    assert!(pusher.is_done() && pusher.poll_store().is_none());
    for link in [link, late] {
        assert!(matches!(sent(&mut pusher, now, link)[..], [Body::End, Body::Close(_)]));
    }
}

#[test]
fn rd_11_a_drain_without_an_end_needs_no_sync_and_the_instance_continues() {
    // RD-11, ST-5
    let mut pusher = restored(Vec::new(), |_| ());
    pusher.drain(Time::default(), false);
    assert!(pusher.is_done());
    assert_eq!(pusher.poll_store(), None);
}

#[test]
fn hs_9_a_connector_that_restarts_replaces_its_own_old_link() {
    // HS-9, RD-11: the acceptor has a link of the process before, which still looks alive.
    let mut acceptor = puller(|_| ());
    let mut before = Generations::in_epoch(3).unwrap();
    let from = |generation| peer(Role::Pusher, 0, Some((0, generation)));
    acceptor.open(Time::default(), from(before.draw().unwrap())).unwrap();
    let old = acceptor.open(Time::default(), from(before.draw().unwrap())).unwrap();
    let same_epoch = Generations::in_epoch(3).unwrap().draw().unwrap();
    let refused = acceptor.open(Time::default(), from(same_epoch)).unwrap_err();
    assert_eq!((refused.code, refused.rule), (Code::Stale, Rule::Hs9));
    let next_epoch = Generations::in_epoch(4).unwrap().draw().unwrap();
    acceptor.open(Time::default(), from(next_epoch)).unwrap();
    let close = tidegate_testkit::close_of(&mut acceptor, Time::default(), old).unwrap();
    assert_eq!(Code::from_wire(close.code), Code::Replaced);
}

#[test]
fn st_8_an_abort_returns_what_an_earlier_process_may_have_sent_as_unknown() {
    // ST-8, RD-11
    let failed = RestoredMessage { failures: 1, puller: None, ..flying(1, 0) };
    let timed_out = RestoredMessage { number: 3, timed_out: true, ..failed.clone() };
    let mut pusher = restored(vec![fresh(0), failed, flying(2, 0), timed_out], |_| ());
    let leftover = pusher.abort(Time::default());
    let numbers = |list: &[tidegate_proto::Undelivered]| list.iter().map(|u| u.id.number).collect::<Vec<_>>();
    assert_eq!((numbers(&leftover.unsent), numbers(&leftover.unacked)), (vec![0, 1], vec![2, 3]));
}

#[test]
fn rd_11_restored_messages_may_exceed_the_bounds_and_others_wait_until_they_are_settled() {
    // RD-11, CR-8
    let mut pusher = restored(vec![fresh(0), fresh(1)], |s| (s.max_held, s.high_water_mark) = (1, 1));
    assert_eq!(pusher.send("new".into(), false).unwrap_err().reason, Blocked::Full);
    let link = pusher.open(Time::default(), peer(Role::Puller, 100, None)).unwrap();
    pusher.handle_frame(Time::default(), link, ack(Vec::new(), 9, 1 << 20));
    assert_eq!(sent(&mut pusher, Time::default(), link).len(), 1);
    pusher.handle_frame(Time::default(), link, ack(vec![outcome(0, 2, v1::Verdict::Ack)], 9, 1 << 20));
    assert_eq!(pusher.send("new".into(), false).unwrap().number, NUMBER_BLOCK);
}

#[test]
fn rd_11_an_invalid_store_is_refused_with_the_value_and_the_remedy() {
    // RD-11, HS-8, DL-2, DL-4, LM-1
    let restore = |store: Restored| {
        let mut settings = PusherSettings::default();
        settings.max_message = 3;
        Pusher::restore(settings, store, 1, Time::default()).unwrap_err()
    };
    let ended = Restored { ended: true, ..store(Vec::new()) };
    assert_eq!(restore(ended.clone()), RestoreError::Ended(ended.instance));
    let cases = [
        (
            ended,
            "instance 07070707070707070707070707070707 has ended, and must not be used again; \
             draw a new instance for the store",
        ),
        (
            Restored { numbers: 7..7, ..store(Vec::new()) },
            "the reserved numbers are 7 to 7; there must be at least one, and they must be below 2^53; \
             reserve a block, or if the numbers are used up, draw a new instance when the store is empty",
        ),
        (store(vec![fresh(1), fresh(5), fresh(1)]), "message 1 occurs twice; restore only its latest record"),
        (
            store(vec![fresh(NUMBER_BLOCK)]),
            "message 67108864 is not below the reserved numbers, which begin at 67108864; reserve a later block",
        ),
        (
            store(vec![RestoredMessage { failures: 2, ..flying(1, 0) }]),
            "message 1 has 2 failures and 1 attempts; failures must be at most attempts",
        ),
        (
            store(vec![fresh(1_234)]),
            "message 1234: the message has 4 bytes; max_message is 3; \
             restore with the settings with which it was accepted",
        ),
    ];
    for (store, text) in cases {
        assert_eq!(restore(store).to_string(), text);
    }
    let above = Restored { numbers: 1 << 53..(1 << 53) + 1, ..store(Vec::new()) };
    assert!(matches!(restore(above), RestoreError::Numbers(_)));
    let too_large = MessageError::TooLarge { size: 4, max_message: 3 };
    assert_eq!(restore(store(vec![fresh(1_234)])), RestoreError::Message { number: 1_234, error: too_large });
    let mut settings = PusherSettings::default();
    settings.heartbeat = Duration::ZERO;
    let error = Pusher::restore(settings, store(Vec::new()), 1, Time::default()).unwrap_err();
    assert_eq!(error.to_string(), "heartbeat is 0ns; it must be 100 ms to 60 s");
}
