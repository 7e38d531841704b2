//! Violations by hand-made frames: each closes the link with the code that SPEC.md names, and no message is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use bytes::Bytes;
use tidegate_proto::{
    Code, LinkId, Machine, Puller, Pusher, Role, Rule, Time, Verdict, Window,
    wire::{Body, v1, v1::Verdict as Wire},
};
use tidegate_testkit::{ack, close_of, deliver, frame, outcome, peer, puller, pusher, sent};

const NOW: Time = Time(1_000_000);

fn pusher_with_link() -> (Pusher, LinkId) {
    let mut pusher = pusher(|_| ());
    let link = pusher.open(NOW, peer(Role::Puller, 1, Some((0, 1)))).unwrap();
    (pusher, link)
}

fn puller_with_link() -> (Puller, LinkId) {
    let mut puller = puller(|s| s.window = Window::fixed(4, 1_000));
    let link = puller.open(NOW, peer(Role::Pusher, 1, None)).unwrap();
    sent(&mut puller, NOW, link);
    (puller, link)
}

/// A pusher that has sent three messages of one byte.
fn pusher_with_three() -> (Pusher, LinkId) {
    let (mut pusher, link) = pusher_with_link();
    pusher.handle_frame(NOW, link, ack(Vec::new(), 10, 1_000));
    for payload in ["a", "b", "c"] {
        pusher.send(payload.into(), false).unwrap();
    }
    sent(&mut pusher, NOW, link);
    (pusher, link)
}

fn violated<M: Machine>(machine: &mut M, link: LinkId, bytes: Bytes) -> (Code, String) {
    machine.handle_frame(NOW, link, bytes);
    let close = close_of(machine, NOW, link).expect("a Close");
    (Code::from_wire(close.code), close.reason)
}

#[test]
fn oc_2_an_outcome_for_a_delivery_never_sent_or_skipped_closes_the_link() {
    // OC-2, ER-1
    let (mut pusher, link) = pusher_with_three();
    let (code, reason) = violated(&mut pusher, link, ack(vec![outcome(2, 2, Wire::Ack)], 10, 1_000));
    assert_eq!(code, Code::UnknownDelivery);
    assert_eq!(reason, "OC-2: an outcome for delivery 3; the next id to be sent is 3");
    let (mut pusher, link) = pusher_with_three();
    let recall = v1::Ack { message_limit: 10, byte_limit: 1_000, recall: true, ..Default::default() };
    pusher.handle_frame(NOW, link, frame(v1::frame::Body::Ack(recall)));
    assert_eq!(
        sent(&mut pusher, NOW, link),
        [Body::Skip(v1::Skip { next_id: 10, bytes: 997 })],
        "{}",
        Rule::Rc1
    );
    let (code, reason) = violated(&mut pusher, link, ack(vec![outcome(5, 1, Wire::Ack)], 20, 2_000));
    assert_eq!(code, Code::UnknownDelivery);
    assert!(reason.contains("skipped"), "{reason}");
}

#[test]
fn oc_2_a_message_that_is_not_written_yet_cannot_have_an_outcome() {
    // OC-2
    let (mut pusher, link) = pusher_with_link();
    pusher.handle_frame(NOW, link, ack(Vec::new(), 10, 1_000));
    pusher.send("a".into(), false).unwrap();
    let (code, _) = violated(&mut pusher, link, ack(vec![outcome(0, 1, Wire::Nack)], 10, 1_000));
    assert_eq!(code, Code::UnknownDelivery);
    pusher.handle_link_lost(NOW, link, "");
    assert_eq!(pusher.stats().queued, 1, "the message is not lost");
}

#[test]
fn oc_3_a_repeated_outcome_is_ignored() {
    // OC-3
    let (mut pusher, link) = pusher_with_three();
    for verdict in [Wire::Ack, Wire::Ack, Wire::Nack, Wire::Reject, Wire::Release] {
        pusher.handle_frame(NOW, link, ack(vec![outcome(0, 2, verdict)], 10, 1_000));
    }
    let stats = pusher.stats();
    assert_eq!((stats.acked, stats.nacked, stats.rejected, stats.released, stats.in_flight), (2, 0, 0, 0, 1));
    assert!(sent(&mut pusher, NOW, link).is_empty());
}

#[test]
fn oc_4_outcomes_apply_before_limits_and_flags_last() {
    // OC-4, FR-6
    let (mut pusher, link) = pusher_with_three();
    let all = v1::Ack {
        outcomes: vec![outcome(0, 3, Wire::Release)],
        message_limit: 12,
        byte_limit: 2_000,
        recall: true,
        leaving: false,
    };
    pusher.handle_frame(NOW, link, frame(v1::frame::Body::Ack(all)));
    let bodies = sent(&mut pusher, NOW, link);
    assert_eq!(bodies, [Body::Skip(v1::Skip { next_id: 12, bytes: 1_997 })], "the new limits were given up");
    assert_eq!(pusher.stats().queued, 3, "released messages are not sent back at once");
}

#[test]
fn oc_10_an_invalid_range_or_verdict_is_malformed_and_its_frame_has_no_effect() {
    // OC-10, FR-4
    for bad in [
        outcome(0, 0, Wire::Ack),
        outcome(u64::MAX, 2, Wire::Ack),
        outcome((1 << 53) - 1, 1, Wire::Ack),
        outcome(0, 1, Wire::Unspecified),
    ] {
        let (mut pusher, link) = pusher_with_three();
        let (code, _) = violated(&mut pusher, link, ack(vec![outcome(0, 1, Wire::Ack), bad], 99, 9_999));
        assert_eq!(code, Code::Malformed);
        assert_eq!(pusher.stats().acked, 0, "the valid outcome before it has no effect");
    }
}

#[test]
fn oc_2_oc_10_an_ack_with_one_invalid_outcome_has_no_effect() {
    // OC-2, OC-10, FR-4: neither its other outcomes, nor its limits, nor its flags.
    let bad = [
        outcome(3, 1, Wire::Ack),
        outcome(0, 0, Wire::Ack),
        outcome(1, u64::MAX, Wire::Nack),
        outcome(0, 1, Wire::Unspecified),
    ];
    for bad in bad {
        for place in 0..3 {
            let (mut pusher, link) = pusher_with_three();
            let mut outcomes =
                vec![outcome(0, 1, Wire::Ack), outcome(1, 1, Wire::Reject), outcome(2, 1, Wire::Nack)];
            outcomes.insert(place, bad.clone());
            let all = v1::Ack { outcomes, message_limit: 99, byte_limit: 9_999, recall: true, leaving: true };
            pusher.handle_frame(NOW, link, frame(v1::frame::Body::Ack(all)));
            let stats = pusher.stats();
            assert_eq!((stats.acked, stats.rejected, stats.nacked, stats.in_flight), (0, 0, 0, 3));
            let own = &pusher.link_stats()[0];
            assert_eq!((own.message_limit, own.leaving), (10, false));
            let bodies = sent(&mut pusher, NOW, link);
            assert!(matches!(bodies[..], [Body::Close(_)]), "and no Skip: {bodies:?}");
        }
    }
}

#[test]
fn er_1_a_reason_names_the_rule_that_was_broken() {
    // ER-1: ST-7 and ST-1 for frames that arrive too late, OC-13 for Working.
    let rule = |reason: &str| reason.split(':').next().unwrap().parse::<Rule>().unwrap();
    let end = || frame(v1::frame::Body::End(v1::End {}));
    let skip = || frame(v1::frame::Body::Skip(v1::Skip { next_id: 4, bytes: 1_000 }));
    for late in [deliver(0, &["a"]), skip(), end()] {
        let (mut puller, link) = puller_with_link();
        puller.handle_frame(NOW, link, end());
        let (code, reason) = violated(&mut puller, link, late);
        assert_eq!((code, rule(&reason)), (Code::Unexpected, Rule::St7), "{reason}");
    }
    let (mut puller, link) = puller_with_link();
    puller.handle_frame(NOW, link, deliver(0, &["held"]));
    let _held = puller.recv().unwrap();
    puller.leave();
    sent(&mut puller, NOW, link);
    puller.handle_frame(NOW, link, frame(v1::frame::Body::Skip(v1::Skip { next_id: 4, bytes: 996 })));
    let (code, reason) = violated(&mut puller, link, deliver(4, &["a"]));
    assert_eq!((code, rule(&reason)), (Code::Unexpected, Rule::St1), "{reason}");
    for (delivery, first) in [
        (3, "OC-13: Working for delivery 3; the next id to be sent is 3"),
        ((1 << 53) - 2, "OC-13: "),
        (1 << 53, "FR-7: "),
    ] {
        let (mut pusher, link) = pusher_with_three();
        let working = v1::Working { deliveries: vec![0, delivery] };
        let (_, reason) = violated(&mut pusher, link, frame(v1::frame::Body::Working(working)));
        assert!(reason.starts_with(first), "{reason}");
    }
}

#[test]
fn fr_5_frames_that_a_role_may_not_send_are_refused() {
    // FR-5
    let (mut pusher, link) = pusher_with_three();
    assert_eq!(violated(&mut pusher, link, deliver(0, &["x"])).0, Code::Unexpected);
    for body in [v1::frame::Body::Skip(v1::Skip::default()), v1::frame::Body::End(v1::End {})] {
        let (mut pusher, link) = pusher_with_three();
        assert_eq!(violated(&mut pusher, link, frame(body)).0, Code::Unexpected);
        pusher.handle_link_lost(NOW, link, "");
        assert_eq!(pusher.stats().queued, 3);
    }
    let (mut puller, link) = puller_with_link();
    assert_eq!(violated(&mut puller, link, ack(Vec::new(), 1, 1)).0, Code::Unexpected);
    let (mut puller, link) = puller_with_link();
    let hello = frame(v1::frame::Body::Hello(v1::Hello::default()));
    assert_eq!(violated(&mut puller, link, hello).0, Code::Unexpected);
}

#[test]
fn cr_3_a_deliver_beyond_the_credit_closes_the_link_and_has_no_effect() {
    // CR-3, DL-1
    let (mut puller, link) = puller_with_link();
    assert_eq!(violated(&mut puller, link, deliver(0, &["a", "b", "c", "d", "e"])).0, Code::Credit);
    assert_eq!(puller.stats().received, 0);
    let (mut puller, link) = puller_with_link();
    let long = "x".repeat(1_000);
    assert_eq!(violated(&mut puller, link, deliver(0, &[&long, "y"])).0, Code::Credit);
    let (mut puller, link) = puller_with_link();
    assert_eq!(violated(&mut puller, link, deliver(1, &["a"])).0, Code::Malformed);
}

#[test]
fn dl_6_dl_4_dl_2_messages_that_break_a_rule_are_refused() {
    // DL-2, DL-4, DL-5, DL-6
    let refuse = |messages: Vec<v1::Message>, first_number| {
        let mut puller = puller(|_| ());
        let small = tidegate_proto::Peer { max_message: 10, ..peer(Role::Pusher, 1, None) };
        let link = puller.open(NOW, small).unwrap();
        sent(&mut puller, NOW, link);
        let deliver = v1::Deliver { first_id: 0, first_number, messages };
        violated(&mut puller, link, frame(v1::frame::Body::Deliver(deliver)))
    };
    let message = |payload: &'static str| v1::Message { payload: payload.into(), ..Default::default() };
    assert_eq!(refuse(Vec::new(), 0).0, Code::Malformed);
    let (code, reason) = refuse(vec![message("12345678901")], 0);
    assert_eq!(
        (code, reason.as_str()),
        (Code::MessageSize, "DL-4: a message has 11 bytes; max_message is 10")
    );
    assert_eq!(refuse(vec![message("1")], 1 << 53).0, Code::Malformed);
    let back = v1::Message { gap: -2, ..message("2") };
    assert_eq!(refuse(vec![message("1"), back], 0).0, Code::Malformed);
    let first = v1::Message { gap: 1, ..message("1") };
    assert_eq!(refuse(vec![first], 0).0, Code::Malformed);
    let nameless = v1::Message { headers: vec![v1::Header::default()], ..message("") };
    assert_eq!(refuse(vec![nameless], 0).0, Code::Malformed);
}

#[test]
fn rc_3_a_skip_without_a_recall_is_refused() {
    // RC-3, RC-2
    let (mut puller, link) = puller_with_link();
    let skip = frame(v1::frame::Body::Skip(v1::Skip { next_id: 4, bytes: 1 }));
    assert_eq!(violated(&mut puller, link, skip).0, Code::Unexpected);
}

#[test]
fn st_7_no_frame_of_a_stream_may_follow_its_end() {
    // ST-7
    let end = frame(v1::frame::Body::End(v1::End {}));
    let (mut puller, link) = puller_with_link();
    puller.handle_frame(NOW, link, end.clone());
    let (code, reason) = violated(&mut puller, link, end.clone());
    assert_eq!((code, reason.as_str()), (Code::Unexpected, "ST-7: a second End"));
    let (mut puller, link) = puller_with_link();
    puller.handle_frame(NOW, link, end);
    assert_eq!(puller.pushers_ended(), 1);
    assert_eq!(
        violated(&mut puller, link, deliver(0, &["a"])).0,
        Code::Unexpected,
        "no delivery is left after End"
    );
}

#[test]
fn st_7_an_end_drops_the_queued_deliveries_of_a_stuck_worker() {
    // ST-7, OC-12: the settle time-out of what is un-acked here has passed.
    let (mut puller, link) = puller_with_link();
    puller.handle_frame(NOW, link, deliver(0, &["stuck", "behind"]));
    let stuck = puller.recv().unwrap();
    puller.handle_frame(NOW, link, frame(v1::frame::Body::End(v1::End {})));
    assert_eq!(puller.pushers_ended(), 1);
    assert!(puller.recv().is_none(), "another puller has processed it");
    assert!(puller.is_open(link), "no violation");
    let window = puller.stats().committed;
    puller.settle(&stuck, &Verdict::Ack);
    let stats = puller.stats();
    assert_eq!(stats.committed, window - 1, "dropped deliveries take no budget");
    assert_eq!((stats.received, stats.acked, stats.dropped, stats.queued, stats.in_flight), (2, 1, 1, 0, 0));
}

#[test]
fn lm_2_many_pings_are_answered_by_one_pong() {
    // LM-2, LV-4
    let (mut pusher, link) = pusher_with_link();
    for data in 0..1_000 {
        pusher.handle_frame(NOW, link, frame(v1::frame::Body::Ping(v1::Ping { data })));
    }
    assert_eq!(sent(&mut pusher, NOW, link), [Body::Pong(v1::Pong { data: 999 })]);
    assert_eq!(sent(&mut pusher, NOW, link), [], "once");
}

#[test]
fn fr_6_ping_and_pong_overtake_data_that_waits() {
    // FR-6
    let (mut pusher, link) = pusher_with_link();
    pusher.handle_frame(NOW, link, ack(Vec::new(), 10, 1_000));
    pusher.send("a".into(), false).unwrap();
    pusher.handle_frame(NOW, link, frame(v1::frame::Body::Ping(v1::Ping { data: 5 })));
    let bodies = sent(&mut pusher, NOW, link);
    assert!(matches!(&bodies[..], [Body::Pong(_), Body::Deliver(_)]), "{bodies:?}");
}

#[test]
fn gr_2_gr_1_unknown_fields_and_frames_have_no_effect() {
    // GR-1, GR-2
    let (mut pusher, link) = pusher_with_three();
    let before = pusher.stats();
    pusher.handle_frame(NOW, link, Bytes::from_static(b"\xa2\x06\x05later"));
    // An Ack with the unknown field 15 = 1.
    let mut odd = ack(vec![outcome(0, 1, Wire::Ack)], 10, 1_000).to_vec();
    odd[1] += 2;
    odd.extend_from_slice(b"\x78\x01");
    assert_eq!(pusher.stats(), before);
    pusher.handle_frame(NOW, link, odd.into());
    assert_eq!(pusher.stats().acked, 1);
    assert!(sent(&mut pusher, NOW, link).is_empty());
}

#[test]
fn er_1_a_violation_affects_no_other_link_and_loses_no_message() {
    // ER-1, RD-1
    let (mut pusher, bad) = pusher_with_three();
    let good = pusher.open(NOW, peer(Role::Puller, 2, Some((0, 1)))).unwrap();
    pusher.handle_frame(NOW, good, ack(Vec::new(), 10, 1_000));
    violated(&mut pusher, bad, Bytes::from_static(b"\xff\xff"));
    pusher.handle_frame(NOW, bad, ack(vec![outcome(0, 1, Wire::Ack)], 0, 0));
    assert_eq!(pusher.stats().acked, 1, "ST-4: outcomes count until the end");
    pusher.handle_link_lost(NOW, bad, "");
    assert_eq!(pusher.link_stats()[0].in_flight, 2, "the other messages are on the other link");
    sent(&mut pusher, NOW, good);
    pusher.handle_frame(NOW, good, ack(vec![outcome(0, 2, Wire::Ack)], 20, 2_000));
    assert_eq!(pusher.stats().acked, 3);
}

#[test]
fn rd_1_a_close_that_leaves_deliveries_un_acked_returns_them_at_once() {
    // RD-1, ST-4
    let (mut pusher, link) = pusher_with_three();
    let close = v1::Close { code: Code::Normal.into(), ..Default::default() };
    pusher.handle_frame(NOW, link, frame(v1::frame::Body::Close(close)));
    assert_eq!(pusher.stats().queued, 3);
    assert!(close_of(&mut pusher, NOW, link).is_some(), "the Close is answered");
    assert!(pusher.is_finished(NOW, link));
}

#[test]
fn oc_5_outcomes_held_at_a_violation_are_sent_before_the_close() {
    // ST-4
    let (mut puller, link) = puller_with_link();
    puller.handle_frame(NOW, link, deliver(0, &["a", "b"]));
    let received = puller.recv().unwrap();
    puller.settle(&received, &Verdict::Ack);
    puller.handle_frame(NOW, link, deliver(7, &["c"]));
    let bodies = sent(&mut puller, NOW, link);
    assert!(matches!(&bodies[..], [Body::Ack(_), Body::Close(_)]), "{bodies:?}");
    assert_eq!(puller.stats().dropped, 1);
}

#[test]
fn gr_3_field_numbers_and_codes_do_not_change() {
    // GR-3: a change of one of these breaks every existing peer.
    let descriptor = tidegate_proto::DESCRIPTOR_SET;
    for name in ["Hello", "Deliver", "Ack", "Skip", "Ping", "Pong", "End", "Close"] {
        assert!(descriptor.windows(name.len()).any(|w| w == name.as_bytes()), "{name}");
    }
    let kinds = [
        (v1::frame::Body::Hello(Default::default()), 0x0a),
        (v1::frame::Body::Deliver(Default::default()), 0x12),
        (v1::frame::Body::Ack(Default::default()), 0x1a),
        (v1::frame::Body::Skip(Default::default()), 0x22),
        (v1::frame::Body::Ping(Default::default()), 0x2a),
        (v1::frame::Body::Pong(Default::default()), 0x32),
        (v1::frame::Body::End(Default::default()), 0x3a),
        (v1::frame::Body::Close(Default::default()), 0x42),
    ];
    for (body, key) in kinds {
        assert_eq!(frame(body)[0], key);
    }
    let codes = [1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 30];
    let known: Vec<_> = (1..100).filter(|c| Code::try_from(*c).is_ok()).collect();
    assert_eq!(known, codes);
}
