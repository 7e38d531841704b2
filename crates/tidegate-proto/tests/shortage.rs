//! A puller whose byte budget is used up: large messages take turns, and what does not fit is released (LM-4, RC-4).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tidegate_proto::{
    LinkId, Machine, PullStats, Received, Role, Time, Verdict, Window,
    wire::{Body, FrameProgress, v1},
};
use tidegate_testkit::{SECOND, World, counted, frame, peer, puller, pusher, sent};

const START: Time = Time(1_000_000);
const MIB: usize = 1 << 20;

/// Pushers that always have messages of `size` bytes, and an application that needs 10 ms for each of `messages`.
/// Returns the acks of each pusher. `shuffled`: the order in which bytes arrive changes.
fn slow_application(
    (window, budget_bytes): (Window, u64),
    (pushers, size): (usize, usize),
    messages: usize,
    shuffled: bool,
) -> (Vec<u64>, PullStats) {
    let puller = puller(|s| (s.window, s.budget_bytes) = (window, budget_bytes));
    let mut world = World::new((0..pushers).map(|_| pusher(|_| ())).collect(), vec![puller]);
    for push in 0..pushers {
        world.join(push, 0);
    }
    let (mut waits, mut done, mut random) = (false, 0, 1_u64);
    for round in 0.. {
        if done == messages {
            break;
        }
        assert!(
            round < 10 * messages,
            "only {done} messages in {round} rounds: {:?}",
            world.pullers[0].stats()
        );
        for pusher in &mut world.pushers {
            while pusher.stats().queued < 3 {
                pusher.send(vec![7; size].into(), false).unwrap();
            }
        }
        if shuffled {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            world.wires.rotate_left((random >> 33) as usize % pushers);
        }
        world.settle();
        let received = world.recv(0);
        if waits != received.is_none() {
            waits = !waits;
            let now = world.now;
            if waits { world.pullers[0].start_waiting(now) } else { world.pullers[0].stop_waiting(now) }
        }
        world.pass(SECOND / 100);
        if let Some(received) = received {
            world.give(0, received, &Verdict::Ack);
            done += 1;
        }
    }
    (world.pushers.iter().map(|pusher| pusher.stats().acked).collect(), world.pullers[0].stats())
}

#[test]
fn lm_4_messages_that_arrive_on_5000_idle_links_at_once_take_the_byte_budget_at_most() {
    // LM-4, RC-4, CR-2, CR-6: while the application waits, each link may deliver one message of any size.
    const LINKS: usize = 5_000;
    const SIZE: usize = MIB / 4;
    for window in [Window::Auto, Window::messages(0), Window::messages(2 * LINKS as u64)] {
        let mut puller = puller(|s| (s.window, s.budget_bytes) = (window, 8 << 20));
        let links: Vec<LinkId> = (0..LINKS)
            .map(|place| puller.open(START, peer(Role::Pusher, 1, Some((place as u64, 1)))).unwrap())
            .collect();
        puller.start_waiting(START);
        for link in &links {
            sent(&mut puller, START, *link);
        }
        assert!(puller.link_stats().iter().all(|link| link.credit_messages > 0), "{window:?}");
        // The application gets one delivery and works on it. All pushers have something to send at this moment.
        let alive = Arc::new(AtomicUsize::new(0));
        let mut most = 0;
        for (place, link) in links.iter().enumerate() {
            let message = v1::Message { payload: vec![7; SIZE].into(), ..Default::default() };
            let deliver = v1::Deliver { first_id: 0, first_number: 0, messages: vec![message] };
            let bytes = frame(v1::frame::Body::Deliver(deliver));
            puller.handle_frame(START, *link, counted(bytes, &alive));
            most = most.max(alive.load(Ordering::Relaxed));
            if place == 0 {
                puller.stop_waiting(START);
                let _held = puller.recv().unwrap();
            }
        }
        assert!(most <= (8 << 20) + 2 * (SIZE + 64), "{window:?}: {most} bytes were kept");
        let stats = puller.stats();
        assert_eq!(stats.queued_bytes, 8 << 20, "{window:?}");
        assert_eq!((stats.in_flight, stats.queued, stats.released), (1, 32, LINKS as u64 - 33), "{window:?}");
        assert_eq!(stats.released_for_memory, stats.released);
        // What was released goes back at once, in an Ack that recalls what is left of the credit.
        for link in &links {
            let Some(Body::Ack(ack)) = sent(&mut puller, START, *link).pop() else { continue };
            let releases = ack.outcomes.iter().any(|one| one.verdict == i32::from(v1::Verdict::Release));
            assert!(ack.recall || !releases, "{window:?}: {ack:?}");
        }
    }
}

#[test]
fn lm_4_what_is_released_for_lack_of_memory_is_delivered_later_without_another_attempt() {
    // LM-4, RC-4, DL-3: 40 pushers with large messages, and an application that is slower than all of them.
    for window in [Window::Auto, Window::messages(0), Window::messages(100)] {
        let puller = puller(|s| (s.window, s.budget_bytes) = (window, 1 << 20));
        let mut world = World::new((0..40).map(|_| pusher(|_| ())).collect(), vec![puller]);
        for push in 0..40 {
            world.join(push, 0);
        }
        world.pullers[0].start_waiting(world.now);
        world.settle();
        for push in 0..40 {
            for place in 0..5 {
                let text = format!("{push}.{place}.{}", "x".repeat(200_000));
                world.pushers[push].send(text.into(), false).unwrap();
            }
        }
        let mut all = Vec::new();
        let mut waits = true;
        for _ in 0..2_000 {
            world.settle();
            assert!(world.pullers[0].stats().queued_bytes <= (1 << 20) + 200_100);
            let received = world.recv(0);
            if std::mem::replace(&mut waits, received.is_none()) != waits {
                let now = world.now;
                if waits { world.pullers[0].start_waiting(now) } else { world.pullers[0].stop_waiting(now) }
            }
            if let Some(received) = received {
                assert_eq!(received.attempt(), 1, "a release costs no attempt");
                let text = tidegate_testkit::text(&received);
                all.push(text.rsplit_once('.').unwrap().0.to_owned());
                world.pass(SECOND / 100);
                world.give(0, received, &Verdict::Ack);
            } else {
                world.pass(SECOND / 100);
            }
        }
        assert!(world.pullers[0].stats().released_for_memory > 0, "{window:?}: nothing was tested");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 200, "{window:?}");
        assert!(world.pushers.iter().all(|pusher| pusher.stats().acked == 5), "{window:?}");
    }
}

#[test]
fn lm_4_large_messages_are_seldom_sent_in_vain() {
    // LM-4: a part of the credit lets a whole message pass (CR-2), so that credit alone would let all links send.
    for window in [Window::fixed(100, 32 << 10), Window::Auto] {
        for (pushers, shuffled) in [(10, false), (10, true), (40, true)] {
            let (_, stats) = slow_application((window, 256 << 10), (pushers, 64 << 10), 200, shuffled);
            // Each link may send one before it is known that its messages are large.
            let most = pushers as u64 + 5;
            assert!(stats.released_for_memory <= most, "{window:?}, {pushers} pushers: {stats:?}");
        }
    }
}

#[test]
fn lm_4_pushers_of_large_messages_get_memory_in_turn() {
    // LM-4: the bytes of the last pusher always arrive last. A budget of 1,000 is less than one message.
    for (window, budget) in [
        (Window::fixed(100, 32 << 10), 256 << 10),
        (Window::messages(0), 1_000),
        (Window::messages(100), 1_000),
    ] {
        let (acked, _) = slow_application((window, budget), (10, 64 << 10), 200, false);
        assert!(acked.iter().all(|acked| *acked >= 10), "{window:?}, {budget}: {acked:?}");
    }
}

#[test]
fn lm_4_an_idle_pusher_that_had_a_large_message_does_not_keep_memory_from_others() {
    // LM-4: a budget of one message; one pusher after the other has one.
    for window in [Window::Auto, Window::messages(0), Window::messages(100)] {
        let puller = puller(|s| (s.window, s.budget_bytes) = (window, 64 << 10));
        let mut world = World::new((0..4).map(|_| pusher(|_| ())).collect(), vec![puller]);
        for push in 0..4 {
            world.join(push, 0);
        }
        world.pullers[0].start_waiting(world.now);
        for round in 0..40 {
            for push in if round == 0 { 0..4 } else { round % 4..round % 4 + 1 } {
                world.pushers[push].send(vec![7; 64 << 10].into(), false).unwrap();
            }
            for _ in if round == 0 { 0..4 } else { 0..1 } {
                let mut waits = 0;
                let received = loop {
                    match world.recv(0) {
                        Some(received) => break received,
                        None => world.pass(SECOND / 1_000),
                    }
                    waits += 1;
                    assert!(waits < 200, "{window:?}, round {round}: {:?}", world.pullers[0].stats());
                };
                world.give(0, received, &Verdict::Ack);
            }
        }
    }
}

#[test]
fn rc_4_a_release_for_memory_is_in_the_ack_with_the_recall_even_if_the_ack_is_divided() {
    // RC-4, FR-3: 1,500 outcomes that cannot be merged are more than one Ack can contain.
    let mut puller = puller(|s| (s.window, s.budget_bytes) = (Window::messages(10_000), 10_000));
    let large = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
    let small = puller.open(START, peer(Role::Pusher, 2, None)).unwrap();
    for link in [large, small] {
        sent(&mut puller, START, link);
    }
    let deliver = |first: u64, sizes: &[usize]| {
        let message = |size: &usize| v1::Message { payload: vec![7; *size].into(), ..Default::default() };
        let messages = sizes.iter().map(message).collect();
        frame(v1::frame::Body::Deliver(v1::Deliver { first_id: first, first_number: first, messages }))
    };
    puller.handle_frame(START, small, deliver(0, &[1; 3_000]));
    let all: Vec<Received> = std::iter::from_fn(|| puller.recv()).collect();
    puller.handle_frame(START, large, deliver(0, &[10_000])); // the budget is used up
    for received in all.iter().filter(|received| received.delivery() % 2 == 0) {
        puller.settle(received, &Verdict::Ack);
    }
    puller.handle_frame(START, small, deliver(3_000, &[1]));
    assert_eq!(puller.stats().released_for_memory, 1);
    let acks: Vec<v1::Ack> = sent(&mut puller, START, small)
        .into_iter()
        .filter_map(|body| if let Body::Ack(ack) = body { Some(ack) } else { None })
        .collect();
    assert!(acks.len() > 1, "the Ack is divided");
    for ack in &acks {
        let releases = ack.outcomes.iter().any(|one| one.verdict == i32::from(v1::Verdict::Release));
        assert_eq!(releases, ack.recall);
    }
}

#[test]
fn lm_4_a_pusher_that_keeps_bytes_at_a_recall_cannot_send_for_ever_while_the_budget_is_used_up() {
    // LM-4, RC-1: it lies about what it gives up.
    let mut puller = puller(|s| (s.window, s.budget_bytes) = (Window::messages(1_000), 100_000));
    let full = puller.open(START, peer(Role::Pusher, 1, None)).unwrap();
    let liar = puller.open(START, peer(Role::Pusher, 2, None)).unwrap();
    sent(&mut puller, START, liar);
    sent(&mut puller, START, full);
    let deliver = |first: u64, size: usize| {
        let messages = vec![v1::Message { payload: vec![7; size].into(), ..Default::default() }];
        frame(v1::frame::Body::Deliver(v1::Deliver { first_id: first, first_number: first, messages }))
    };
    puller.handle_frame(START, full, deliver(0, 100_000));
    let window =
        puller.link_stats().into_iter().find(|link| link.link == liar.as_u64()).unwrap().credit_messages;
    let mut delivered = 0;
    for _ in 0..3_000 {
        for body in sent(&mut puller, START, liar) {
            if let Body::Ack(ack) = body
                && ack.recall
            {
                let skip = v1::Skip { next_id: ack.message_limit, bytes: 0 };
                puller.handle_frame(START, liar, frame(v1::frame::Body::Skip(skip)));
            }
        }
        let link = puller.link_stats().into_iter().find(|link| link.link == liar.as_u64()).unwrap();
        if link.credit_messages > 0 && link.credit_bytes > 0 {
            puller.handle_frame(START, liar, deliver(link.message_limit - link.credit_messages, 40));
            delivered += 1;
        }
    }
    assert!(delivered <= window, "{delivered} messages were delivered with a window of {window}");
}

#[test]
fn lm_4_credit_for_a_large_message_is_not_recalled_before_the_pusher_can_use_it() {
    // LM-4: two pushers with large messages, 50 ms away. The round-trip time is not known at first.
    let mut puller = puller(|s| (s.window, s.budget_bytes) = (Window::messages(100), 1_000));
    let links = [1, 2].map(|instance| puller.open(START, peer(Role::Pusher, instance, None)).unwrap());
    puller.start_waiting(START);
    for link in links {
        sent(&mut puller, START, link);
    }
    for link in links {
        let messages = vec![v1::Message { payload: vec![7; 2_000].into(), ..Default::default() }];
        let deliver = v1::Deliver { first_id: 0, first_number: 0, messages };
        puller.handle_frame(START, link, frame(v1::frame::Body::Deliver(deliver)));
        if link == links[0] {
            puller.stop_waiting(START);
            let received = puller.recv().unwrap();
            puller.settle(&received, &Verdict::Ack);
        }
    }
    let received = puller.recv().unwrap();
    puller.settle(&received, &Verdict::Ack);
    puller.start_waiting(START);
    let mut bodies = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        for (link, bodies) in links.iter().zip(&mut bodies) {
            bodies.extend(sent(&mut puller, START, *link));
        }
    }
    // One of them has got the credit.
    let stats = puller.link_stats();
    let usable = |link: &LinkId| {
        let found = stats.iter().find(|stats| stats.link == link.as_u64()).unwrap();
        found.credit_messages > 0 && found.credit_bytes > 0
    };
    assert_ne!(usable(&links[0]), usable(&links[1]), "{stats:?}");
    let first = usize::from(usable(&links[1]));
    let ping = bodies[first].iter().find_map(|body| match body {
        Body::Ping(ping) => Some(ping.data),
        _ => None,
    });
    let data = ping.expect("its round-trip time is measured");
    let mut recalled = |millis: u64| {
        let now = Time(START.0 + millis * 1_000);
        if millis == 50 {
            puller.handle_frame(now, links[first], frame(v1::frame::Body::Pong(v1::Pong { data })));
        }
        if puller.poll_timeout(links[first]).is_some_and(|at| at <= now) {
            puller.handle_timeout(now, links[first], FrameProgress::default());
        }
        sent(&mut puller, now, links[first]).iter().any(|body| matches!(body, Body::Ack(ack) if ack.recall))
    };
    let when = (0..1_000).find(|millis| recalled(*millis));
    assert_eq!(when, Some(55), "a round trip + 5 ms");
}
