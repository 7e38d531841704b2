//! Recalls and leaving, and the `Skip` frames that answer them in time (RC-1, ST-1).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use tidegate_proto::{
    Code, LinkId, Machine, Puller, Role, Rule, Time, Window,
    wire::{Body, FrameProgress, v1},
};
use tidegate_testkit::{close_of, deliver, frame, peer, puller, pusher, sent};

/// A puller that has recalled the credit of its first link for a second one.
fn recalling() -> (Puller, LinkId) {
    let mut puller = puller(|s| s.window = Window::messages(10));
    let link = puller.open(Time(0), peer(Role::Pusher, 1, None)).unwrap();
    sent(&mut puller, Time(0), link);
    puller.open(Time(0), peer(Role::Pusher, 2, None)).unwrap();
    let asked = sent(&mut puller, Time(0), link);
    assert!(asked.iter().any(|body| matches!(body, Body::Ack(ack) if ack.recall)), "{asked:?}");
    (puller, link)
}

/// Lets these half seconds pass, in which only `Ping` frames arrive, and returns the `Close` of the link, if any.
fn silence(
    puller: &mut Puller,
    link: LinkId,
    half_seconds: std::ops::RangeInclusive<u64>,
) -> Option<v1::Close> {
    for step in half_seconds {
        let now = Time(step * 500_000);
        puller.handle_frame(now, link, frame(v1::frame::Body::Ping(v1::Ping { data: step })));
        puller.handle_bytes(link);
        puller.handle_would_block(link);
        puller.handle_timeout(now, link, FrameProgress::default());
        if let Some(close) = close_of(puller, now, link) {
            return Some(close);
        }
    }
    None
}

fn skip(next_id: u64, bytes: u64) -> bytes::Bytes {
    frame(v1::frame::Body::Skip(v1::Skip { next_id, bytes }))
}

fn leaving(bodies: &[Body]) -> usize {
    bodies.iter().filter(|body| matches!(body, Body::Ack(ack) if ack.leaving)).count()
}

#[test]
fn rc_1_a_recall_that_is_not_answered_for_5_s_ends_the_link() {
    // RC-1
    let (mut puller, link) = recalling();
    assert_eq!(silence(&mut puller, link, 1..=9), None);
    let close = silence(&mut puller, link, 10..=10).expect("the time is over");
    assert_eq!(close.code(), Code::TooSlow);
    assert!(close.reason.contains(Rule::Rc1.id()), "{}", close.reason);
}

#[test]
fn rc_1_a_skip_in_time_ends_the_wait() {
    // RC-1
    let (mut puller, link) = recalling();
    assert_eq!(silence(&mut puller, link, 1..=9), None);
    puller.handle_frame(Time(4_600_000), link, skip(10, 8 << 20));
    assert_eq!(silence(&mut puller, link, 10..=60), None);
}

#[test]
fn rc_1_messages_before_a_skip_restart_the_time() {
    // RC-1
    let (mut puller, link) = recalling();
    let large = "x".repeat(17_000);
    for n in 0..8 {
        assert_eq!(silence(&mut puller, link, n * 6 + 1..=n * 6 + 6), None);
        puller.handle_frame(Time((n * 6 + 6) * 500_000), link, deliver(n, &[&large]));
    }
}

#[test]
fn st_1_a_puller_can_leave_while_a_recall_is_not_answered() {
    // ST-1, RC-1
    let (mut puller, link) = recalling();
    assert_eq!(silence(&mut puller, link, 1..=6), None);
    puller.leave();
    assert_eq!(
        leaving(&sent(&mut puller, Time(3_000_000), link)),
        1,
        "leaving does not wait for the first Skip"
    );
    let close = silence(&mut puller, link, 7..=10).expect("no later than for the recall alone");
    assert_eq!(close.code(), Code::TooSlow);
}

#[test]
fn st_1_a_puller_has_left_when_both_skips_have_arrived() {
    // ST-1, RC-1
    let (mut puller, link) = recalling();
    puller.leave();
    assert_eq!(leaving(&sent(&mut puller, Time(1), link)), 1);
    puller.handle_frame(Time(2), link, skip(10, 8 << 20));
    assert_eq!(close_of(&mut puller, Time(2), link), None, "one is still due");
    puller.handle_frame(Time(3), link, skip(10, 0));
    assert_eq!(close_of(&mut puller, Time(3), link).unwrap().code(), Code::Normal);
}

#[test]
fn st_1_an_end_cancels_the_skips_that_are_due() {
    // ST-1, ST-7
    let (mut puller, link) = recalling();
    puller.leave();
    sent(&mut puller, Time(1), link);
    puller.handle_frame(Time(2), link, frame(v1::frame::Body::End(v1::End {})));
    assert_eq!(close_of(&mut puller, Time(2), link).unwrap().code(), Code::Normal);
}

#[test]
fn rc_1_each_request_has_a_skip_of_its_own_and_a_third_request_is_refused() {
    // RC-1, RC-2, LM-2
    for third in [false, true] {
        let mut pusher = pusher(|_| ());
        let link = pusher.open(Time(0), peer(Role::Puller, 1, None)).unwrap();
        let ack = v1::Ack { message_limit: 5, byte_limit: 100, ..Default::default() };
        pusher.handle_frame(
            Time(0),
            link,
            frame(v1::frame::Body::Ack(v1::Ack { recall: true, ..ack.clone() })),
        );
        pusher.handle_frame(
            Time(0),
            link,
            frame(v1::frame::Body::Ack(v1::Ack { leaving: true, ..ack.clone() })),
        );
        if third {
            pusher.handle_frame(Time(0), link, frame(v1::frame::Body::Ack(v1::Ack { recall: true, ..ack })));
            assert_eq!(close_of(&mut pusher, Time(0), link).unwrap().code(), Code::Unexpected);
            continue;
        }
        let skips: Vec<_> = sent(&mut pusher, Time(0), link)
            .into_iter()
            .filter_map(|body| match body {
                Body::Skip(skip) => Some((skip.next_id, skip.bytes)),
                _ => None,
            })
            .collect();
        assert_eq!(skips, [(5, 100), (5, 0)]);
    }
}

#[test]
fn cr_9_the_budget_of_a_link_that_is_too_slow_goes_to_other_links() {
    // RC-1, CR-9
    let (mut puller, link) = recalling();
    silence(&mut puller, link, 1..=10).unwrap();
    let end = puller.handle_link_lost(Time(5_100_000), link, "").unwrap();
    assert_eq!(end.code, Some(Code::TooSlow));
    let other = puller.link_stats()[0].clone();
    assert_eq!(other.window, 10);
}

/// Lets 10 ms pass on each of the links, and returns the highest message limit that was sent on the last one.
fn ten_ms(puller: &mut Puller, now: &mut Time, links: &[LinkId]) -> u64 {
    *now = Time(now.0 + 10_000);
    let mut limit = 0;
    for link in links {
        puller.handle_would_block(*link);
        puller.handle_timeout(*now, *link, FrameProgress::default());
        for body in sent(puller, *now, *link) {
            if let (Body::Ack(ack), Some(last)) = (body, links.last())
                && last == link
            {
                limit = limit.max(ack.message_limit);
            }
        }
        assert!(puller.stats().in_flight <= puller.stats().max_in_flight);
    }
    limit
}

#[test]
fn cr_6_pushers_that_answer_no_recall_keep_the_only_place_only_for_a_short_time() {
    // CR-6, RC-1
    const SILENT: u64 = 20;
    let mut puller = puller(|s| s.window = Window::messages(1));
    let mut now = Time(1);
    let links: Vec<_> = (0..=SILENT)
        .map(|n| puller.open(now, peer(Role::Pusher, u8::try_from(n).unwrap(), None)).unwrap())
        .collect();
    let honest = *links.last().unwrap();
    let mut limit = 0;
    for n in 0..5 {
        puller.start_waiting(now);
        let began = now;
        while limit == n {
            limit = limit.max(ten_ms(&mut puller, &mut now, &links));
            assert!(now.since(began).as_secs() < 4, "message {n}: the link that has work gets no place");
        }
        puller.handle_frame(now, honest, deliver(n, &["x"]));
        let received = puller.recv().expect("a delivery");
        puller.stop_waiting(now);
        assert_eq!(puller.stats().in_flight, 1);
        puller.settle(&received, &tidegate_proto::Verdict::Ack);
    }
    assert!(puller.stats().overdue_recalls > 0);
    // Messages that a silent pusher sends anyway are queued: the cap limits what is handed out.
    puller.handle_frame(now, links[0], deliver(0, &["late"]));
    puller.handle_frame(now, honest, deliver(5, &["x"]));
    puller.recv().expect("a delivery");
    assert!(puller.recv().is_none(), "{:?}", puller.stats());
}

#[test]
fn st_7_an_end_gives_up_unused_credit() {
    // ST-7, CR-5
    for window in [1, 10] {
        let mut puller = puller(|s| s.window = Window::messages(window));
        let ended = puller.open(Time(1), peer(Role::Pusher, 1, None)).unwrap();
        sent(&mut puller, Time(1), ended);
        assert_eq!(puller.stats().committed, window, "the link has the whole window");
        puller.handle_frame(Time(2), ended, frame(v1::frame::Body::End(v1::End {})));
        assert_eq!(puller.stats().committed, 0);
        // The pusher sends no Close, and the link stays open.
        let other = puller.open(Time(3), peer(Role::Pusher, 2, None)).unwrap();
        puller.start_waiting(Time(3));
        let limits = sent(&mut puller, Time(3), other);
        assert!(
            limits.iter().any(|body| matches!(body, Body::Ack(ack) if ack.message_limit > 0)),
            "window {window}: {limits:?}"
        );
    }
}
