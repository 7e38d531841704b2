//! The lane: deliveries that are taken from the core in batches, and acks that are collected later. A fixed window of
//! 128 messages or more makes batches of 16 or more, so that these tests use it whatever the speed of the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at once

mod common;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use common::{LONG, within};
use tidegate::{Delivery, Pull, Push, Window};
use tidegate_testkit::conserved;

fn assert_conserved(push: &Push, pulls: &[&Pull]) {
    conserved::assert_pusher(&push.stats());
    pulls.iter().for_each(|pull| conserved::assert_puller(&pull.stats()));
}

async fn pair(name: &str, window: Window) -> (Push, Pull) {
    let at = format!("mem://lane-{name}");
    let push = Push::builder().bind(&at).retry_backoff(Duration::from_millis(1), LONG).build().await.unwrap();
    let pull = Pull::builder().connect(&at).window(window).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    (push, pull)
}

async fn send_numbers(push: &Push, count: u64) {
    for n in 0..count {
        push.send(n.to_be_bytes().to_vec()).await.unwrap();
    }
}

fn number(delivery: &Delivery) -> u64 {
    number_in(delivery.payload())
}

fn number_in(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload.try_into().unwrap())
}

/// Waits until the pusher knows of `count` acks.
async fn acked(push: &Push, count: u64) {
    within(async {
        while push.stats().acked < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Takes one delivery after another until `count` are held. With them, the lane holds others.
async fn hold(pull: &Pull, count: usize) -> Vec<Delivery> {
    let mut held = Vec::new();
    while held.len() < count {
        held.push(within(pull.recv()).await.unwrap().unwrap());
    }
    held
}

#[tokio::test]
async fn deliveries_come_in_order_and_each_outcome_reaches_the_pusher() {
    for window in [Window::Auto, Window::messages(1), Window::messages(0), Window::messages(500)] {
        let (push, pull) = pair(&format!("outcomes-{window:?}"), window).await;
        let sender = {
            let push = push.clone();
            tokio::spawn(async move {
                send_numbers(&push, 5_000).await;
                push.finish(LONG).await.unwrap()
            })
        };
        let (mut seen, mut next) = (HashSet::new(), 0);
        while let Some(delivery) = within(pull.recv()).await.unwrap() {
            let n = number(&delivery);
            assert_eq!(delivery.id().number, n);
            if delivery.attempt() == 1 {
                assert!(seen.insert(n));
                assert!(n >= next, "first attempts come in order, less those that were released");
                next = n;
            }
            match (n % 100, delivery.attempt()) {
                (7, 1) => delivery.nack(),
                (8, 1) => drop(delivery),
                (9, _) => delivery.reject("odd"),
                _ => delivery.ack(),
            }
        }
        assert_eq!(seen.len(), 5_000);
        let stats = within(sender).await.unwrap();
        assert_eq!((stats.acked, stats.rejected, stats.nacked), (4_950, 50, 100), "{window:?}");
        assert_conserved(&push, &[&pull]);
        assert_eq!((pull.stats().redelivered, pull.stats().in_flight), (100, 0));
    }
}

#[tokio::test]
async fn outcomes_in_any_order_from_any_thread_settle_each_delivery_once() {
    let (push, pull) = pair("order", Window::messages(4_000)).await;
    let sender = tokio::spawn({
        let push = push.clone();
        async move {
            send_numbers(&push, 3_000).await;
            push.finish(LONG).await.unwrap()
        }
    });
    let held = hold(&pull, 3_000).await;
    assert_eq!((pull.stats().in_flight, pull.stats().acked), (3_000, 0));
    let mut parts = BTreeMap::<u64, Vec<Delivery>>::new();
    for delivery in held {
        // 7 and 3,000 have no common factor: neighbours are in different parts, and each part is out of order.
        parts.entry(number(&delivery) * 7 % 4).or_default().push(delivery);
    }
    let threads: Vec<_> = parts
        .into_values()
        .map(|mut part| {
            std::thread::spawn(move || {
                part.sort_by_key(|delivery| number(delivery) * 1_009 % 3_001);
                for delivery in part {
                    match number(&delivery) % 50 {
                        0 => delivery.reject("fifty"),
                        _ => delivery.ack(),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    }
    let stats = within(sender).await.unwrap();
    assert_eq!((stats.acked, stats.rejected), (2_940, 60));
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn an_ack_is_sent_although_the_worker_continues_with_the_next_delivery() {
    // OC-5
    let (push, pull) = pair("watch", Window::messages(1_000)).await;
    send_numbers(&push, 100).await;
    for before in 0..20 {
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        // While this delivery is processed, the watch settles the ones before.
        acked(&push, before).await;
        delivery.ack();
    }
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn an_ack_long_after_the_last_recv_is_sent_too() {
    // OC-5
    let (push, pull) = pair("late", Window::messages(1_000)).await;
    send_numbers(&push, 3).await;
    send_numbers(&push, 97).await;
    let held = hold(&pull, 20).await;
    // Longer than the watch looks often.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (before, delivery) in held.into_iter().enumerate() {
        acked(&push, before as u64).await;
        delivery.ack();
    }
    acked(&push, 20).await;
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn statistics_know_what_the_lane_holds() {
    let (push, pull) = pair("stats", Window::messages(800)).await;
    send_numbers(&push, 300).await;
    let held = hold(&pull, 10).await;
    within(async {
        while pull.stats().received < 300 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!((pull.stats().in_flight, pull.stats().queued), (10, 290));
    assert_eq!((pull.link_stats()[0].unsettled, pull.link_stats()[0].queued), (300, 290));
    Delivery::ack_all(held);
    assert_eq!((pull.stats().in_flight, pull.stats().acked), (0, 10));
    let again = hold(&pull, 290).await;
    assert!(again.iter().map(number).eq(10..300), "what was put back comes in order");
    assert_eq!((pull.stats().in_flight, pull.stats().queued), (290, 0));
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn a_slow_task_does_not_keep_deliveries_from_another_one() {
    let (push, pull) = pair("slow", Window::messages(800)).await;
    send_numbers(&push, 300).await;
    let slow = within(pull.recv()).await.unwrap().unwrap(); // with it, the lane takes others
    let other = pull.clone();
    let taken = tokio::spawn(async move { hold(&other, 299).await });
    Delivery::ack_all(within(taken).await.unwrap());
    acked(&push, 299).await;
    slow.ack();
    acked(&push, 300).await;
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn a_puller_leaves_with_deliveries_in_its_lane_and_others_in_hand() {
    // ST-1
    let (push, pull) = pair("leaves", Window::messages(800)).await;
    send_numbers(&push, 300).await;
    let held = hold(&pull, 10).await;
    let leaving = tokio::spawn({
        let pull = pull.clone();
        async move { pull.leave(LONG).await }
    });
    tokio::task::yield_now().await; // the task has called `leave`
    assert!(within(pull.recv()).await.unwrap().is_none());
    let other = Pull::builder().connect("mem://lane-leaves").build().await.unwrap();
    let again = hold(&other, 290).await;
    assert!(again.iter().all(|delivery| delivery.attempt() == 1), "they were not begun");
    held.into_iter().for_each(Delivery::ack);
    let stats = within(leaving).await.unwrap().unwrap();
    assert_eq!((stats.acked, stats.links), (10, 0));
    Delivery::ack_all(again);
    acked(&push, 300).await;
    assert_conserved(&push, &[&pull, &other]);
}

#[tokio::test]
async fn a_batch_whose_link_is_lost_is_sent_again_and_counted_once() {
    let (push, lost) = pair("lost", Window::messages(800)).await;
    send_numbers(&push, 100).await;
    hold(&lost, 10).await.into_iter().for_each(Delivery::ack);
    // Its ten acks may have arrived; the lane holds others when the links close.
    let leaving = within(lost.leave(Duration::ZERO)).await;
    let other = Pull::builder().connect("mem://lane-lost").build().await.unwrap();
    let finishing = tokio::spawn({
        let push = push.clone();
        async move { push.finish(LONG).await.unwrap() }
    });
    let mut again = 0;
    while let Some(delivery) = within(other.recv()).await.unwrap() {
        again += 1;
        delivery.ack();
    }
    let stats = within(finishing).await.unwrap();
    assert_eq!(stats.acked, 100);
    assert!((90..=100).contains(&again), "{again}, {leaving:?}");
    assert_conserved(&push, &[&lost, &other]);
}

#[tokio::test]
async fn deliveries_of_a_lost_link_are_not_handed_out_any_more() {
    // RD-5
    let (push, pull) = pair("gone", Window::messages(800)).await;
    send_numbers(&push, 100).await;
    let held = hold(&pull, 10).await;
    within(async {
        while pull.link_stats().first().is_none_or(|link| link.received < 100) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let first = within(pull.recv()).await.unwrap().unwrap(); // the lane is full again
    let left = within(push.abort()).await;
    within(first.orphaned()).await;
    assert!(pull.try_recv().unwrap().is_none());
    held.into_iter().chain([first]).for_each(Delivery::ack);
    let stats = pull.stats();
    assert_eq!((stats.in_flight, stats.queued, left.unacked.len() + left.unsent.len()), (0, 0, 100));
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn a_recv_that_is_cancelled_at_any_time_loses_nothing() {
    let (push, pull) = pair("cancelled", Window::messages(200)).await;
    let sender = tokio::spawn({
        let push = push.clone();
        async move {
            send_numbers(&push, 20_000).await;
            push.finish(LONG).await.unwrap()
        }
    });
    let tasks: Vec<_> = (0..3_u64)
        .map(|task| {
            let pull = pull.clone();
            tokio::spawn(async move {
                let mut count = 0_u64;
                for polls in (0_u64..).map(|n| (n * 7 + task) % 5) {
                    // Polls the future a few times, and then drops it.
                    let mut left = polls + 1;
                    let mut recv = std::pin::pin!(pull.recv());
                    let result = std::future::poll_fn(|cx| {
                        left -= 1;
                        match recv.as_mut().poll(cx) {
                            std::task::Poll::Ready(result) => std::task::Poll::Ready(Some(result)),
                            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
                            std::task::Poll::Pending => std::task::Poll::Pending,
                        }
                    });
                    match result.await {
                        Some(Ok(Some(delivery))) => {
                            count += 1;
                            delivery.ack();
                        }
                        Some(Ok(None)) => return count,
                        Some(Err(error)) => panic!("{error}"),
                        None => tokio::task::yield_now().await,
                    }
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += within(task).await.unwrap();
    }
    assert_eq!((count, within(sender).await.unwrap().acked), (20_000, 20_000));
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn a_forgotten_delivery_stays_unacked_and_the_others_are_settled() {
    let (push, pull) = pair("forgotten", Window::messages(2_000)).await;
    send_numbers(&push, 1_500).await;
    for delivery in hold(&pull, 1_500).await {
        // More than one in each batch, and in more batches than pages are used.
        if number(&delivery) % 10 == 3 { std::mem::forget(delivery) } else { delivery.ack() }
    }
    acked(&push, 1_350).await;
    assert_eq!((pull.stats().in_flight, push.stats().in_flight), (150, 150));
    let left = push.leftover().unacked;
    let mut left: Vec<_> = left.iter().map(|left| number_in(left.message.payload())).collect();
    left.sort_unstable();
    assert!(left.iter().copied().eq((3..1_500).step_by(10)), "others than the forgotten ones: {left:?}");
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn deliveries_that_are_held_for_long_use_a_bounded_number_of_pages() {
    // Every 40th delivery is held; further batches do without a page.
    let (push, pull) = pair("pages", Window::messages(160)).await;
    let sender = tokio::spawn({
        let push = push.clone();
        async move {
            send_numbers(&push, 4_000).await;
            push.finish(LONG).await.unwrap()
        }
    });
    let mut held = Vec::new();
    for _ in 0..4_000 {
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        if number(&delivery).is_multiple_of(40) { held.push(delivery) } else { delivery.ack() }
    }
    acked(&push, 3_900).await;
    assert_eq!(pull.stats().in_flight, 100);
    held.into_iter().rev().for_each(Delivery::ack);
    assert_eq!(within(sender).await.unwrap().acked, 4_000);
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn acks_after_the_last_handle_was_dropped_reach_the_pusher() {
    let (push, pull) = pair("handle", Window::messages(800)).await;
    send_numbers(&push, 100).await;
    let held = hold(&pull, 50).await;
    drop(pull);
    for (before, delivery) in held.into_iter().enumerate() {
        acked(&push, before as u64).await;
        delivery.ack();
    }
    acked(&push, 50).await;
    assert_conserved(&push, &[]);
}

#[tokio::test]
async fn a_recv_that_waits_at_the_windows_limit_is_woken_by_an_ack() {
    // CR-5
    let (push, pull) = pair("limit", Window::messages(128)).await;
    send_numbers(&push, 1_000).await;
    let mut held = hold(&pull, 128).await;
    for _ in 0..100 {
        let waiting = tokio::spawn({
            let pull = pull.clone();
            async move { pull.recv().await.unwrap().unwrap() }
        });
        tokio::task::yield_now().await;
        assert_eq!(pull.stats().in_flight, 128);
        held.swap_remove(0).ack();
        held.push(within(waiting).await.unwrap());
    }
    Delivery::ack_all(held);
    acked(&push, 228).await;
    assert_conserved(&push, &[&pull]);
}

#[tokio::test(start_paused = true)]
async fn acks_are_sent_at_once_while_a_recv_waits() {
    // OC-5: no delivery waits for the application. The clock stands still.
    let (push, pull) = pair("waits", Window::messages(800)).await;
    send_numbers(&push, 100).await;
    let held = hold(&pull, 100).await;
    let waiting = tokio::spawn(async move { pull.recv().await });
    tokio::task::yield_now().await;
    held.into_iter().for_each(Delivery::ack);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(push.stats().acked, 100);
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn an_ack_at_the_windows_limit_makes_room_for_a_message_that_waits_at_the_pusher() {
    // CR-5, CR-6
    let (push, pull) = pair("room", Window::messages(128)).await;
    send_numbers(&push, 128).await;
    let mut held = hold(&pull, 128).await;
    let waiting = tokio::spawn(async move { pull.recv().await.unwrap().unwrap() });
    tokio::task::yield_now().await;
    send_numbers(&push, 1).await;
    held.remove(0).ack();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(waiting.is_finished());
    within(waiting).await.unwrap().ack();
}

#[tokio::test(start_paused = true)]
async fn a_task_gets_a_delivery_although_the_one_that_was_woken_for_it_does_not_run() {
    let (push, pull) = pair("parked", Window::messages(800)).await;
    let recv = |pull: &Pull| {
        let pull = pull.clone();
        tokio::spawn(async move {
            let start = tokio::time::Instant::now();
            let delivery = pull.recv().await.unwrap().unwrap();
            (delivery, start.elapsed())
        })
    };
    let first = recv(&pull);
    tokio::task::yield_now().await;
    let mut parked = Box::pin(pull.recv());
    common::begin(parked.as_mut()).await; // it waits, and is not polled any more
    let last = recv(&pull);
    tokio::task::yield_now().await;
    push.send_all((0..100_u64).map(|n| n.to_be_bytes().to_vec())).await.unwrap();
    let (one, _) = within(first).await.unwrap();
    let (other, waited) = within(last).await.unwrap();
    assert!(waited < Duration::from_millis(100), "of a clock that only timers move: {waited:?}");
    drop(parked);
    Delivery::ack_all([one, other]);
    assert_conserved(&push, &[&pull]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_flight_is_what_the_application_holds_while_others_receive() {
    let (push, pull) = pair("truth", Window::messages(4_000)).await;
    let worker = tokio::spawn({
        let pull = pull.clone();
        async move {
            while let Some(delivery) = pull.recv().await.unwrap() {
                delivery.ack(); // it holds one at most
            }
        }
    });
    let sender = tokio::spawn({
        let push = push.clone();
        async move {
            send_numbers(&push, 30_000).await;
            push.finish(LONG).await.unwrap()
        }
    });
    while !sender.is_finished() {
        assert!(pull.stats().in_flight <= 1, "{:?}", pull.stats());
        tokio::task::yield_now().await;
    }
    assert_eq!(within(sender).await.unwrap().acked, 30_000);
    within(worker).await.unwrap();
    assert_conserved(&push, &[&pull]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_on_several_threads_share_the_messages_of_a_pull() {
    let (push, pull) = pair("shared", Window::Auto).await;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let pull = pull.clone();
            tokio::spawn(async move {
                let mut count = 0_u64;
                while let Some(delivery) = pull.recv().await.unwrap() {
                    delivery.ack();
                    count += 1;
                }
                count
            })
        })
        .collect();
    send_numbers(&push, 50_000).await;
    let stats = within(push.finish(LONG)).await.unwrap();
    let mut count = 0;
    for task in tasks {
        count += within(task).await.unwrap();
    }
    assert_eq!((stats.acked, count), (50_000, 50_000));
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn payloads_of_any_size_and_with_headers_arrive_whole() {
    use tidegate::Message;
    let (push, pull) = pair("sizes", Window::messages(500)).await;
    let sizes = [0_usize, 1, 63, 64, 65, 200, 16_383, 16_384, 100_000];
    let sender = tokio::spawn({
        let push = push.clone();
        async move {
            for n in 0..900_usize {
                let message = Message::new(vec![n as u8; sizes[n % sizes.len()]]);
                let message =
                    if n.is_multiple_of(5) { message.with_header("n", n.to_string()) } else { message };
                push.send(message).await.unwrap();
            }
            push.finish(LONG).await.unwrap()
        }
    });
    let mut n = 0_usize;
    while let Some(delivery) = within(pull.recv()).await.unwrap() {
        let expected = vec![n as u8; sizes[n % sizes.len()]];
        assert_eq!(delivery.payload(), expected);
        assert_eq!(delivery.payload_bytes(), expected);
        assert_eq!(delivery.message().payload(), &expected);
        let header = delivery.headers().get("n").map(|value| value.to_vec());
        assert_eq!(header, n.is_multiple_of(5).then(|| n.to_string().into_bytes()));
        assert_eq!((delivery.pipeline(), delivery.peer_names().len()), ("", 0));
        assert!(delivery.link() > 0 || n == 0 || !delivery.is_orphaned());
        n += 1;
        delivery.ack();
    }
    assert_eq!((n, within(sender).await.unwrap().acked), (900, 900));
    assert_conserved(&push, &[&pull]);
}
