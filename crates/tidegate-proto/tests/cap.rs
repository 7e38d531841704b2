//! The hard cap of the window, and how links share its places, with machines connected in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate_proto::{Puller, PullerEvent, Received, Verdict, Window};
use tidegate_testkit::{SECOND, World, puller, pusher, text};

const STEP: Duration = Duration::from_millis(200);

/// A puller and some pushers with `messages` messages each.
fn world(pushers: usize, messages: usize, puller: Puller) -> World {
    let mut w = World::new((0..pushers).map(|_| pusher(|_| ())).collect(), vec![puller]);
    for push in 0..pushers {
        w.join(push, 0);
        for n in 0..messages {
            w.pushers[push].send(format!("{push}:{n}").into(), false).unwrap();
        }
    }
    w.settle();
    w
}

fn window(messages: u64) -> Puller {
    puller(|s| s.window = Window::messages(messages))
}

/// Receives deliveries while one `recv` waits, until none arrives for some time.
fn take(w: &mut World) -> Vec<Received> {
    let mut held = Vec::new();
    loop {
        let before = held.len();
        w.pullers[0].start_waiting(w.now);
        for _ in 0..10 {
            w.pass(STEP);
            held.extend(std::iter::from_fn(|| w.recv(0)));
        }
        w.pullers[0].stop_waiting(w.now);
        w.settle();
        if held.len() == before {
            return held;
        }
    }
}

fn of(held: &[Received], push: usize) -> usize {
    held.iter().filter(|received| text(received).starts_with(&format!("{push}:"))).count()
}

#[test]
fn cr_5_the_window_limits_what_is_handed_out_however_many_pushers_there_are() {
    // CR-5
    for pushers in 1..=4 {
        for cap in [1, 2, 3, 7, 20] {
            let mut w = world(pushers, 50, window(cap));
            let mut held = take(&mut w);
            assert_eq!(held.len() as u64, cap, "{pushers} pushers");
            assert!(!w.pullers[0].has_next());
            // For each settled delivery, one more is handed out.
            for _ in 0..30 {
                let done = held.remove(0);
                w.give(0, done, &Verdict::Ack);
                held.extend(take(&mut w));
                assert_eq!(held.len() as u64, cap, "{pushers} pushers");
            }
        }
    }
}

#[test]
fn cr_5_with_an_automatic_window_the_budget_is_the_cap() {
    // CR-5, CR-9
    for (pushers, budget) in [(1, 1), (1, 30), (3, 2), (3, 30)] {
        let mut w = world(pushers, 50, puller(|s| s.budget = budget));
        let held = take(&mut w);
        assert_eq!((held.len() as u64, w.pullers[0].stats().max_in_flight), (budget, budget));
    }
}

#[test]
fn cr_5_the_cap_counts_messages_so_that_large_ones_do_not_block_each_other() {
    // CR-5, CR-6, CR-2
    for polls in [false, true] {
        let mut w = world(1, 0, puller(|s| (s.window, s.budget_bytes) = (Window::fixed(6, 1_000), 2_000)));
        for _ in 0..9 {
            w.pushers[0].send("x".repeat(900).into(), false).unwrap();
        }
        w.settle();
        let mut held = Vec::new();
        if polls {
            for _ in 0..20 {
                held.extend(w.recv(0));
                w.pullers[0].handle_empty_poll();
                w.settle();
            }
        } else {
            held = take(&mut w);
        }
        assert_eq!(held.len(), 6, "polls: {polls}");
    }
}

#[test]
fn cr_7_a_window_of_0_has_no_cap() {
    // CR-7
    let mut w = world(2, 50, window(0));
    assert_eq!(take(&mut w).len(), 100);
}

#[test]
fn cr_6_two_pushers_and_a_worker_with_one_job_take_turns() {
    // CR-6
    let mut w = world(2, 20, window(1));
    let mut order = String::new();
    for _ in 0..40 {
        let mut held = take(&mut w);
        assert_eq!(held.len(), 1);
        order.push_str(&text(&held[0])[..1]);
        w.give(0, held.remove(0), &Verdict::Ack);
    }
    assert!(order.contains("0101010101"), "{order}");
    assert_eq!(w.pullers[0].stats().acked, 40);
}

#[test]
fn cr_6_with_more_links_than_places_every_one_is_served() {
    // CR-6
    let mut w = world(9, 3, window(2));
    let mut first = Vec::new();
    for _ in 0..14 {
        for received in take(&mut w) {
            first.push(text(&received)[..1].to_owned());
            w.give(0, received, &Verdict::Ack);
        }
    }
    assert_eq!(w.pullers[0].stats().acked, 27);
    let distinct: std::collections::BTreeSet<_> = first[..10].iter().collect();
    assert!(distinct.len() >= 8, "every pusher is served before some are served again: {first:?}");
}

#[test]
fn cr_6_an_idle_pusher_does_not_keep_the_only_place() {
    // CR-6
    let mut w = world(3, 0, window(1));
    for n in 0..10 {
        let push = n % 3;
        w.send(push, &format!("{push}:{n}"));
        let mut held = take(&mut w);
        assert_eq!(of(&held, push), 1, "message {n}");
        w.give(0, held.remove(0), &Verdict::Ack);
    }
    // A link that has not used its credit gets none for 100 ms, so that places do not move all the time.
    let before = w.pullers[0].stats().recalls;
    w.pass(10 * SECOND);
    let recalls = w.pullers[0].stats().recalls - before;
    assert!(recalls <= 3 * 100 + 3, "at most one recall of each link every 100 ms: {recalls}");
}

#[test]
fn cr_6_every_link_keeps_a_place_while_another_one_never_settles_its_jobs() {
    // CR-6
    let mut w = world(2, 0, window(4));
    for n in 0..10 {
        w.send(0, &format!("0:{n}"));
    }
    let held = take(&mut w);
    assert_eq!(of(&held, 0), 3, "the fourth place is for the other link");
    w.send(1, "1:0");
    assert_eq!(of(&take(&mut w), 1), 1);
}

#[test]
fn cr_6_a_link_with_nothing_to_deliver_for_10_s_lends_its_place() {
    // CR-6
    let mut w = world(4, 0, window(4));
    w.pass(11 * SECOND);
    for n in 0..10 {
        w.send(0, &format!("0:{n}"));
    }
    let mut held = take(&mut w);
    assert_eq!(of(&held, 0), 4, "no worker is idle because of idle pushers");
    w.send(1, "1:0");
    w.give(0, held.remove(0), &Verdict::Ack);
    let next = take(&mut w);
    assert_eq!((of(&next, 1), next.len()), (1, 1), "link 1 gets its place back");
}

#[test]
fn cr_6_places_follow_what_links_need() {
    // CR-5, CR-6
    let mut w = world(2, 0, window(100));
    for n in 0..900 {
        w.pushers[0].send(format!("0:{n}").into(), false).unwrap();
    }
    for _ in 0..800 {
        w.pass(Duration::from_millis(1));
        let received = w.recv(0).unwrap();
        w.give(0, received, &Verdict::Ack);
    }
    let links = w.pullers[0].link_stats();
    assert!(links[0].window >= 75 && links[1].window >= 10, "{links:?}");
    assert!(links[0].window + links[1].window <= 100, "{links:?}");
}

#[test]
fn rd_9_deliveries_of_a_lost_link_count_and_their_duplicates_have_room() {
    // CR-5, RD-8, RD-9
    for pushers in [1, 2] {
        let mut w = world(pushers, 10, window(2));
        let held = take(&mut w);
        assert_eq!(held.len(), 2);
        let wires: Vec<_> = (0..pushers).collect();
        wires.iter().for_each(|wire| w.cut(*wire));
        w.pass(SECOND / 10);
        (0..pushers).for_each(|push| {
            w.join(push, 0);
        });
        let more = take(&mut w);
        assert_eq!(more.len(), 0, "the two are still being processed: {:?}", w.pullers[0].stats());
        assert_eq!(w.pullers[0].stats().duplicates_waiting, 2, "they were redelivered, beyond the cap");
        for received in held {
            w.give(0, received, &Verdict::Ack);
        }
        for _ in 0..10 * pushers {
            for received in take(&mut w) {
                w.give(0, received, &Verdict::Ack);
            }
        }
        let stats = w.pullers[0].stats();
        assert_eq!((stats.acked, stats.in_flight, stats.duplicates_suppressed), (10 * pushers as u64, 0, 2));
    }
}

#[test]
fn rd_9_suppressed_duplicates_leave_their_credit_to_other_messages() {
    // CR-6, RD-9
    let mut w = world(1, 10, window(4));
    let mut held = take(&mut w);
    w.give(0, held.pop().unwrap(), &Verdict::Ack);
    assert_eq!(held.len(), 3);
    while let Some(received) = w.recv(0) {
        w.give(0, received, &Verdict::Ack); // the fourth place is free, and credit for it may already be granted
        if w.pullers[0].stats().acked >= 5 {
            break;
        }
    }
    w.pullers[0].start_waiting(w.now);
    w.cut(0);
    w.pass(SECOND / 10);
    w.join(0, 0);
    w.pass(STEP);
    assert_eq!(w.pullers[0].stats().duplicates_waiting, 3, "{:?}", w.pullers[0].stats());
    assert!(w.recv(0).is_some(), "the fourth message: {:?}", w.pullers[0].stats());
}

#[test]
fn cr_5_a_place_of_a_lost_link_is_free_when_its_delivery_is_settled() {
    // CR-5, RD-5
    let mut w = world(2, 3, puller(|s| (s.window, s.memory) = (Window::messages(1), 0)));
    let mut held = take(&mut w);
    let lost = usize::from(of(&held, 1) == 1);
    w.cut(lost);
    w.pullers[0].start_waiting(w.now);
    w.pass(SECOND);
    assert!(w.recv(0).is_none(), "the job of the lost link is not settled");
    w.give(0, held.remove(0), &Verdict::Ack);
    w.pass(STEP);
    assert!(w.recv(0).is_some(), "a message of the other pusher");
}

#[test]
fn cr_6_a_recv_that_waits_5_s_at_the_cap_is_reported_once() {
    // CR-5
    let mut w = world(1, 10, window(3));
    let held: Vec<_> = std::iter::from_fn(|| w.recv(0)).collect();
    assert_eq!(held.len(), 3);
    w.pullers[0].start_waiting(w.now);
    w.pass(SECOND * 49 / 10);
    assert_eq!(w.pullers[0].poll_event(), None);
    w.pass(SECOND / 5);
    assert_eq!(w.pullers[0].poll_event(), Some(PullerEvent::AtCap { cap: 3, held: 3 }));
    w.pullers[0].stop_waiting(w.now);
    w.pullers[0].start_waiting(w.now);
    w.pass(60 * SECOND);
    assert_eq!(w.pullers[0].poll_event(), None, "once");
}

#[test]
fn cr_6_a_recv_that_waits_below_the_cap_is_not_reported() {
    let mut w = world(1, 0, window(3));
    w.pullers[0].start_waiting(w.now);
    w.pass(60 * SECOND);
    assert_eq!(w.pullers[0].poll_event(), None);
}

#[test]
fn cr_5_deliveries_that_are_handed_out_at_once_stay_within_the_window() {
    // CR-5
    let mut w = world(1, 100, window(20));
    let held: Vec<_> = (0..19).map(|_| w.recv(0).unwrap()).collect();
    let batch = w.pullers[0].recv_batch(1..=u64::MAX).unwrap();
    assert_eq!(w.pullers[0].stats().in_flight, 20);
    assert!(w.pullers[0].recv_batch(1..=u64::MAX).is_none());
    w.pullers[0].return_batch(batch);
    assert_eq!(w.pullers[0].stats().in_flight, held.len() as u64);
}

#[test]
fn cr_9_a_link_waits_for_budget_until_other_links_free_some() {
    // CR-9
    let mut w = world(1, 0, puller(|s| (s.window, s.budget_bytes) = (Window::fixed(10, 1_000), 1_000)));
    w.wires[0].hung = true; // it cannot answer the recall
    w.pushers.push(pusher(|_| ()));
    w.join(1, 0);
    w.pass(SECOND / 10);
    assert_eq!(w.pullers[0].stats().committed_bytes, 1_000);
    w.wires[0].hung = false;
    w.pass(SECOND / 10);
    assert!(w.pullers[0].link_stats()[1].credit_messages > 0);
    assert!(w.pullers[0].stats().committed_bytes <= 1_000);
}
