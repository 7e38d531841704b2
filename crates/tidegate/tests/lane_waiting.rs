//! The lane while calls wait, and while several tasks receive.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at once

mod common;

use std::time::Duration;

use common::{
    LONG,
    lane::{acked, assert_conserved, hold, pair, send_numbers},
    within,
};
use tidegate::{Delivery, Pull, Window};

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
