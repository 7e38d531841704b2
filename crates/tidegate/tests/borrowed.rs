//! Borrowed deliveries of a `Receiver`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at once

mod common;

use std::{collections::HashSet, time::Duration};

use common::{LONG, within};
use tidegate::{Pull, Push, Window};

fn assert_conserved(push: &Push, pulls: &[&Pull]) {
    let s = push.stats();
    assert_eq!(s.accepted, s.acked + s.rejected + s.aborted + s.in_flight + s.queued, "{s:?}");
    for pull in pulls {
        let s = pull.stats();
        let settled = s.acked + s.nacked + s.rejected + s.released + s.dropped;
        assert_eq!(s.received, settled + s.in_flight + s.queued, "{s:?}");
    }
}

async fn pair(name: &str, window: Window) -> (Push, Pull) {
    let at = format!("mem://borrowed-{name}");
    let push = Push::builder().bind(&at).retry_backoff(Duration::from_millis(1), LONG).build().await.unwrap();
    let pull = Pull::builder().connect(&at).window(window).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    (push, pull)
}

#[tokio::test]
async fn borrowed_deliveries_come_in_order_and_each_outcome_reaches_the_pusher() {
    for window in [Window::Auto, Window::messages(1), Window::messages(0), Window::messages(500)] {
        let (push, pull) = pair(&format!("outcomes-{window:?}"), window).await;
        let sender = {
            let push = push.clone();
            tokio::spawn(async move {
                for n in 0..5_000_u64 {
                    push.send(n.to_be_bytes().to_vec()).await.unwrap();
                }
                push.finish(LONG).await.unwrap()
            })
        };
        let mut receiver = pull.receiver();
        let (mut seen, mut next) = (HashSet::new(), 0);
        while let Some(borrowed) = within(receiver.recv()).await.unwrap() {
            let n = u64::from_be_bytes(borrowed.payload().try_into().unwrap());
            assert_eq!(borrowed.id().number, n);
            if borrowed.attempt() == 1 {
                assert!(seen.insert(n));
                assert!(n >= next, "first attempts come in order, less those that were released");
                next = n;
            }
            match (n % 100, borrowed.attempt()) {
                (7, 1) => borrowed.nack(),
                (8, 1) => drop(borrowed),
                (9, _) => borrowed.reject("odd"),
                _ => borrowed.ack(),
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
async fn an_ack_is_sent_although_the_worker_continues_with_the_next_delivery_of_its_batch() {
    // OC-5
    let (push, pull) = pair("watch", Window::messages(1_000)).await;
    let first = within(push.send_tracked("first")).await.unwrap();
    for n in 1..100 {
        push.send(format!("{n}")).await.unwrap();
    }
    let mut receiver = pull.receiver();
    within(receiver.recv()).await.unwrap().unwrap().ack();
    within(first).await.unwrap();
    for acked in 2..20 {
        within(receiver.recv()).await.unwrap().unwrap().ack();
        let borrowed = within(receiver.recv()).await.unwrap().unwrap();
        // While this delivery is processed, the watch settles the one before.
        within(async {
            while push.stats().acked + 1 < acked * 2 - 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        borrowed.ack();
    }
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn what_a_dropped_receiver_has_not_borrowed_goes_to_the_next_recv() {
    let (push, pull) = pair("dropped", Window::messages(800)).await;
    for n in 0..300 {
        push.send(format!("{n}")).await.unwrap();
    }
    let mut receiver = pull.receiver();
    let mut seen = HashSet::new();
    for _ in 0..10 {
        let borrowed = within(receiver.recv()).await.unwrap().unwrap();
        assert!(seen.insert(borrowed.payload().to_vec()));
        borrowed.ack();
    }
    drop(receiver);
    assert_conserved(&push, &[&pull]);
    for _ in 0..290 {
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        assert_eq!(delivery.attempt(), 1);
        assert!(seen.insert(delivery.payload().to_vec()));
        delivery.ack();
    }
    let stats = within(push.finish(LONG)).await.unwrap();
    assert_eq!((stats.acked, seen.len()), (300, 300));
    assert_conserved(&push, &[&pull]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_and_recv_share_the_messages_of_a_pull() {
    let (push, pull) = pair("shared", Window::Auto).await;
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let pull = pull.clone();
            tokio::spawn(async move {
                let mut count = 0_u64;
                if task % 2 == 0 {
                    let mut receiver = pull.receiver();
                    while let Some(borrowed) = receiver.recv().await.unwrap() {
                        borrowed.ack();
                        count += 1;
                    }
                } else {
                    while let Some(delivery) = pull.recv().await.unwrap() {
                        delivery.ack();
                        count += 1;
                    }
                }
                count
            })
        })
        .collect();
    for n in 0..50_000_u64 {
        push.send(n.to_be_bytes().to_vec()).await.unwrap();
    }
    let stats = within(push.finish(LONG)).await.unwrap();
    let mut count = 0;
    for task in tasks {
        count += within(task).await.unwrap();
    }
    assert_eq!((stats.acked, count), (50_000, 50_000));
    assert_conserved(&push, &[&pull]);
}

#[tokio::test]
async fn a_batch_whose_link_is_lost_is_sent_again_and_counted_once() {
    let (push, lost) = pair("lost", Window::messages(800)).await;
    for n in 0..100 {
        push.send(format!("{n}")).await.unwrap();
    }
    let mut receiver = lost.receiver();
    for _ in 0..10 {
        within(receiver.recv()).await.unwrap().unwrap().ack();
    }
    // Its ten acks may have arrived; the receiver holds the rest when the links close.
    let leaving = within(lost.leave(Duration::ZERO)).await;
    let other = Pull::builder().connect("mem://borrowed-lost").build().await.unwrap();
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
    drop(receiver);
    assert_conserved(&push, &[&lost, &other]);
}

#[tokio::test]
async fn slices_of_any_size_arrive_in_order_even_without_credit() {
    let (push, pull) = pair("slices", Window::messages(10)).await;
    let sizes = [0_usize, 1, 63, 200, 16_383, 16_384, 100_000];
    let sender = tokio::spawn({
        let push = push.clone();
        async move {
            for n in 0..700_usize {
                push.send(vec![n as u8; sizes[n % sizes.len()]]).await.unwrap();
            }
            push.finish(LONG).await.unwrap()
        }
    });
    let mut receiver = pull.receiver();
    let mut n = 0_usize;
    while let Some(borrowed) = within(receiver.recv()).await.unwrap() {
        assert_eq!(borrowed.payload(), vec![n as u8; sizes[n % sizes.len()]]);
        n += 1;
        borrowed.ack();
    }
    assert_eq!((n, within(sender).await.unwrap().acked), (700, 700));
    assert_conserved(&push, &[&pull]);
}
