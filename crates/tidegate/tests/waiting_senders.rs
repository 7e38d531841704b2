//! Senders that wait for room keep their places, and a future that is not polled delays no other sender.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{begin, starts_to_wait, until, within};
use tidegate::{Message, Pull, Push, TryReserveError, TrySendError, Window};
use tokio::time::Instant;

/// A pusher, and a puller with a link to it.
async fn pair(name: &str, mark: usize, window: Window) -> (Push, Pull) {
    let at = format!("mem://waiting-senders-{name}");
    let push = Push::builder().bind(&at).high_water_mark(mark).build().await.unwrap();
    let pull = Pull::builder().connect(&at).window(window).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    (push, pull)
}

#[tokio::test]
async fn neither_try_send_nor_a_new_send_overtakes_a_waiting_send() {
    let (push, pull) = pair("overtaking", 1, Window::messages(1)).await;
    push.send("in flight").await.unwrap();
    until(|| push.stats().in_flight == 1).await;
    push.send("queued").await.unwrap();
    let mut first = pin!(push.send("first"));
    starts_to_wait(&mut first).await;
    within(pull.recv()).await.unwrap().unwrap().ack();
    until(|| push.stats().acked == 1).await;
    // There is room, reserved for the first sender.
    let mut second = pin!(push.send("second"));
    starts_to_wait(&mut second).await;
    assert!(matches!(push.try_send("no"), Err(TrySendError::Full(_))));
    assert!(matches!(push.try_send_tracked("no"), Err(TrySendError::Full(_))));
    assert!(matches!(push.try_reserve(), Err(TryReserveError::Full)));
    within(first).await.unwrap();
    for expected in ["queued", "first"] {
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        assert_eq!(delivery.payload(), expected.as_bytes());
        delivery.ack();
    }
    within(second).await.unwrap();
    assert_eq!(push.stats().accepted, 4);
}

#[tokio::test(start_paused = true)]
async fn the_first_waiting_future_delays_no_sender_if_it_is_not_polled_and_keeps_its_place() {
    for (name, mark, window) in [("parked-1", 1, 1), ("parked-0", 0, 1), ("parked-10", 10, 4)] {
        let (push, pull) = pair(name, mark, Window::messages(window)).await;
        while push.try_send("before").is_ok() {
            until(|| push.stats().queued < mark as u64 + 1).await;
            tokio::task::yield_now().await;
        }
        let mut parked = pin!(push.send("parked"));
        starts_to_wait(&mut parked).await;
        let sender = push.clone();
        let next = tokio::spawn(async move { sender.send("next").await });
        tokio::task::yield_now().await;
        within(pull.recv()).await.unwrap().unwrap().ack(); // room for one
        let begun = Instant::now();
        within(next).await.unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
        // It has kept its place: a later sender does not get the next room.
        let (later_push, mut later) = (push.clone(), pin!(push.reserve()));
        starts_to_wait(&mut parked).await;
        starts_to_wait(&mut later).await;
        within(pull.recv()).await.unwrap().unwrap().ack();
        within(parked).await.unwrap();
        starts_to_wait(&mut later).await;
        drop(later_push);
    }
}

#[tokio::test(start_paused = true)]
async fn parked_futures_delay_no_sender_and_new_senders_overtake_them() {
    let (push, pull) = pair("parked-many", 1, Window::messages(1)).await;
    push.send("0").await.unwrap();
    until(|| push.stats().in_flight == 1).await;
    push.send("1").await.unwrap();
    let mut parked: Vec<_> = (0..100).map(|_| Box::pin(push.send("parked"))).collect();
    for future in &mut parked {
        starts_to_wait(&mut future.as_mut()).await;
    }
    let pulling = async {
        loop {
            pull.recv().await.unwrap().unwrap().ack();
        }
    };
    let begun = Instant::now();
    let sending = async {
        for _ in 0..100 {
            push.send("new").await.unwrap();
        }
    };
    tokio::select! {
        () = pulling => {}
        () = within(sending) => {}
    }
    // Each parked future delays the others once.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(push.try_send("now that all are passed over").is_ok() || push.stats().queued > 0);
}

#[tokio::test]
async fn a_waiter_that_is_dropped_gives_its_turn_to_the_next() {
    let (push, pull) = pair("dropped", 1, Window::messages(1)).await;
    push.send("0").await.unwrap();
    until(|| push.stats().in_flight == 1).await;
    push.send("1").await.unwrap();
    let mut called = Box::pin(push.send("dropped when it was called"));
    starts_to_wait(&mut called.as_mut()).await;
    let mut waiting = Box::pin(push.send("dropped while it waits"));
    starts_to_wait(&mut waiting.as_mut()).await;
    let mut last = pin!(push.send("last"));
    starts_to_wait(&mut last).await;
    within(pull.recv()).await.unwrap().unwrap().ack();
    until(|| push.stats().acked == 1).await;
    drop(waiting);
    starts_to_wait(&mut last).await;
    drop(called);
    within(last).await.unwrap();
    assert_eq!(push.stats().accepted, 3);
}

#[tokio::test]
async fn waiting_senders_get_an_error_when_the_pusher_closes_parked_or_not() {
    let push = Push::builder().bind("mem://waiting-senders-closed").high_water_mark(1).build().await.unwrap();
    push.send("x").await.unwrap();
    let mut waiting = pin!(push.send("waiting"));
    starts_to_wait(&mut waiting).await;
    let mut reserving = pin!(push.reserve());
    starts_to_wait(&mut reserving).await;
    let others: Vec<_> = (0..3)
        .map(|_| {
            let push = push.clone();
            tokio::spawn(async move { push.send("other").await })
        })
        .collect();
    tokio::task::yield_now().await;
    within(push.abort()).await;
    for other in others {
        within(other).await.unwrap().unwrap_err();
    }
    within(waiting).await.unwrap_err();
    within(reserving).await.unwrap_err();
    assert_eq!(push.stats().accepted, 1);
}

#[tokio::test]
async fn a_waiting_send_is_served_although_others_are_cancelled_again_and_again() {
    let (push, pull) = pair("cancelled", 1, Window::messages(1)).await;
    until(|| push.try_send("x").is_err()).await;
    let served = Arc::new(AtomicU64::new(0));
    let (sender, count) = (push.clone(), served.clone());
    tokio::spawn(async move {
        while sender.send("y").await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    tokio::task::yield_now().await;
    while served.load(Ordering::Relaxed) < 100 {
        begin(push.send("cancelled")).await;
        within(pull.recv()).await.unwrap().unwrap().ack();
        tokio::task::yield_now().await;
    }
    let left = within(push.abort()).await;
    let cancelled = |m: &tidegate::Undelivered| m.message == Message::from("cancelled");
    assert!(!left.unsent.iter().chain(&left.unacked).any(cancelled));
}
