//! The links that get places below the cap if fewer are free than there are links (CR-6), with machines connected in
//! memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate_proto::{Received, Verdict, Window};
use tidegate_testkit::{SECOND, World, puller, pusher, text};

const MS: Duration = Duration::from_millis(1);

fn world(pushers: usize, window: u64) -> World {
    let puller = puller(|s| s.window = Window::messages(window));
    let mut w = World::new((0..pushers).map(|_| pusher(|_| ())).collect(), vec![puller]);
    for push in 0..pushers {
        w.join(push, 0);
    }
    w.settle();
    w
}

/// Waits for at most `time`, as one `recv` does.
fn wait(w: &mut World, time: Duration) -> Option<Received> {
    let until = w.now + time;
    w.pullers[0].start_waiting(w.now);
    let mut received = w.recv(0);
    while received.is_none() && w.now < until {
        w.pass(MS);
        received = w.recv(0);
    }
    w.pullers[0].stop_waiting(w.now);
    w.settle();
    received
}

/// Sends one message and receives it.
fn begin(w: &mut World, push: usize) -> Received {
    let name = format!("{push}");
    w.send(push, &name);
    let received = wait(w, SECOND).expect("the message");
    assert_eq!(text(&received), name);
    received
}

fn process(w: &mut World, push: usize) {
    let received = begin(w, push);
    w.give(0, received, &Verdict::Ack);
}

/// Two links and one place for both: a job of a lost link takes the other place. Link 1 has just delivered a message.
fn a_job_of_a_lost_link() -> (World, [Received; 1]) {
    let mut w = world(3, 2);
    let job = begin(&mut w, 2);
    w.cut(2);
    process(&mut w, 1);
    (w, [job])
}

/// As many links as places: the last link has borrowed the place of link 0, and has two jobs. The others have just
/// delivered a message.
fn a_place_that_is_lent(links: usize) -> (World, [Received; 2]) {
    let mut w = world(links, links as u64);
    for _ in 0..11 {
        (1..links).for_each(|push| process(&mut w, push));
        w.pass(SECOND);
    }
    let jobs = [(); 2].map(|()| begin(&mut w, links - 1));
    (1..links - 1).for_each(|push| process(&mut w, push));
    (w, jobs)
}

#[test]
fn cr_6_a_link_without_a_place_gets_the_one_that_another_link_does_not_use() {
    // CR-6
    for lent in [false, true] {
        let mut w = if lent { a_place_that_is_lent(3).0 } else { a_job_of_a_lost_link().0 };
        for n in 0..20 {
            let push = n / 2 % 2; // at the second message of each link, the other link has the place
            w.send(push, &format!("{push}"));
            let received = wait(&mut w, SECOND / 2)
                .unwrap_or_else(|| panic!("lent: {lent}, message {n}: {:?}", w.pullers[0].link_stats()));
            assert_eq!(text(&received), format!("{push}"));
            w.give(0, received, &Verdict::Ack);
        }
    }
}

/// The recalls in a minute in which the application waits.
fn recalls_in_a_minute_of_waiting(w: &mut World) -> u64 {
    let before = w.pullers[0].stats().recalls;
    w.pullers[0].start_waiting(w.now);
    w.pass(60 * SECOND);
    w.pullers[0].stop_waiting(w.now);
    w.pullers[0].stats().recalls - before
}

#[test]
fn cr_6_idle_links_with_one_place_each_do_not_exchange_places() {
    // CR-6
    for (links, window) in [(2, 2), (2, 5), (3, 3), (3, 8)] {
        let mut w = world(links, window);
        (0..links).for_each(|push| process(&mut w, push));
        let recalls = recalls_in_a_minute_of_waiting(&mut w);
        assert!(recalls <= 2 * links as u64, "{links} links, window {window}: {recalls} recalls");
    }
}

#[test]
fn cr_6_idle_links_exchange_the_only_free_place_at_most_every_100_ms() {
    // CR-6
    for lent in [false, true] {
        let mut w = if lent { a_place_that_is_lent(3).0 } else { a_job_of_a_lost_link().0 };
        let recalls = recalls_in_a_minute_of_waiting(&mut w);
        assert!(recalls <= 2 * 600 + 2, "lent: {lent}: each link every 100 ms at most: {recalls} recalls");
    }
}

#[test]
fn cr_6_a_link_with_a_fast_worker_is_hardly_slowed_down_by_a_link_without_a_place() {
    // CR-6
    for lent in [false, true] {
        let mut w = if lent { a_place_that_is_lent(3).0 } else { a_job_of_a_lost_link().0 };
        let before = (w.pullers[0].stats(), w.now);
        while w.now < before.1 + 5 * SECOND {
            if w.pushers[1].stats().queued == 0 {
                w.send(1, "1");
            }
            if let Some(received) = wait(&mut w, MS) {
                w.pass(MS);
                w.give(0, received, &Verdict::Ack);
            }
        }
        let stats = w.pullers[0].stats();
        let (acked, recalls) = (stats.acked - before.0.acked, stats.recalls - before.0.recalls);
        assert!(recalls <= 2 * 50 + 2, "lent: {lent}: {recalls} recalls");
        assert!(acked > 4_000, "lent: {lent}: {acked} of some 5,000");
    }
}

#[test]
fn cr_6_only_a_link_without_a_place_borrows_one_that_is_not_idle() {
    // CR-6
    let mut w = world(3, 3);
    let job = begin(&mut w, 2);
    for push in [0, 1] {
        process(&mut w, push);
    }
    w.send(2, "2");
    assert!(wait(&mut w, 9 * SECOND).is_none(), "link 0 has a place, so the others keep theirs");
    assert_eq!(w.pullers[0].stats().recalls, 0);
    drop(job);
}

#[test]
fn cr_6_a_borrower_gets_no_second_place_from_a_link_that_is_not_idle() {
    // CR-6
    let (mut w, jobs) = a_place_that_is_lent(4);
    let before = w.pullers[0].stats().recalls;
    w.send(3, "3");
    w.pass(SECOND / 5);
    assert!(wait(&mut w, 3 * MS).is_none());
    assert_eq!(w.pullers[0].stats().recalls - before, 1, "exactly one link lends its place to link 0");
    assert!(wait(&mut w, SECOND).is_none(), "links 1 and 2 share the two places that are left with link 0");
    for push in [0, 2] {
        drop(begin(&mut w, push));
        w.pass(SECOND);
    }
    drop(jobs);
}

#[test]
fn cr_6_every_link_that_could_use_the_only_free_place_gets_it() {
    // CR-6
    for links in [20, 59, 60] {
        let mut w = world(links, links as u64 + 1);
        let jobs: Vec<_> = (0..links).map(|push| begin(&mut w, push)).collect();
        for push in [links - 1, links - 2, 0, 7, 8] {
            w.send(push, "next");
            let received =
                wait(&mut w, 5 * SECOND).unwrap_or_else(|| panic!("{links}: link {push} waits for ever"));
            w.give(0, received, &Verdict::Ack);
        }
        assert_eq!(jobs.len(), links);
    }
}

#[test]
fn cr_9_every_link_that_waits_for_budget_gets_some_when_it_becomes_free() {
    // CR-9
    for others in [1, 40] {
        let settings = |s: &mut tidegate_proto::PullerSettings| {
            (s.window, s.budget_bytes) = (Window::fixed(100, 100_000), 100_000);
        };
        let mut w = World::new((0..=others).map(|_| pusher(|_| ())).collect(), vec![puller(settings)]);
        w.join(0, 0);
        w.send(0, &"x".repeat(100_000));
        let job = w.recv(0).expect("the message takes the budget");
        (1..=others).for_each(|push| {
            w.join(push, 0);
        });
        w.settle();
        let bytes = |w: &World| -> Vec<u64> {
            w.pullers[0].link_stats()[1..].iter().map(|link| link.credit_bytes).collect()
        };
        assert_eq!(bytes(&w), vec![0; others]);
        w.give(0, job, &Verdict::Ack); // without time passing, in which shares could be computed again
        assert!(bytes(&w).iter().all(|bytes| *bytes > 0), "{others}: {:?}", bytes(&w));
    }
}
