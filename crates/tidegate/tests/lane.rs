//! The lane: deliveries that are taken from the core in batches, and acks that are collected later. A fixed window of
//! 128 messages or more makes batches of 16 or more, so that these tests use it whatever the speed of the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at once

mod common;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use common::{
    LONG,
    lane::{acked, assert_conserved, hold, number, number_in, pair, send_numbers},
    within,
};
use tidegate::{Delivery, Pull, Window};

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
