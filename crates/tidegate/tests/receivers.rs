//! Several tasks that receive from clones of one puller: in turn, and without delaying each other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use common::{LONG, within};
use futures_core::Stream;
use tidegate::{Delivery, Pull, Push, Window};

const MESSAGES: usize = 4_000;

#[derive(Clone, Copy, Debug)]
enum Form {
    Recv,
    Many,
    Timeout,
    Stream,
}

/// Receives until the end of the stream, and returns the number of deliveries.
async fn receive(pull: Pull, form: Form) -> usize {
    let mut count = 0;
    let mut stream = pull.stream();
    let mut many = Vec::new();
    loop {
        let delivery = match form {
            Form::Recv => pull.recv().await.unwrap(),
            Form::Timeout => pull.recv_timeout(LONG).await.unwrap(),
            Form::Stream => poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await.transpose().unwrap(),
            Form::Many => {
                pull.recv_many(&mut many, 1).await.unwrap();
                many.pop()
            }
        };
        let Some(delivery) = delivery else { return count };
        count += 1;
        delivery.ack();
    }
}

async fn pair(name: &str) -> (Push, Pull) {
    let at = format!("mem://receivers-{name}");
    let push = Push::builder().bind(&at).high_water_mark(MESSAGES).build().await.unwrap();
    let pull = Pull::builder().connect(&at).window(Window::messages(1_000)).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    (push, pull)
}

/// Polls the future once, and checks that it is pending.
async fn starts_to_wait<T>(work: &mut Pin<&mut impl Future<Output = T>>) {
    poll_fn(|cx| {
        assert!(work.as_mut().poll(cx).is_pending(), "it did not have to wait");
        Poll::Ready(())
    })
    .await;
}

/// Waits until `count` messages are queued.
async fn arrived(pull: &Pull, count: u64) {
    within(async {
        while pull.stats().queued < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// How many messages two tasks received, and in how many batches, while there were enough for both.
async fn batches(pull: Pull) -> (usize, usize) {
    let (mut batch, mut count, mut batches) = (Vec::new(), 0, 0);
    while pull.recv_many(&mut batch, 100).await.unwrap() > 0 {
        (count, batches) = (count + batch.len(), batches + 1);
        Delivery::ack_all(batch.drain(..));
    }
    (count, batches)
}

#[tokio::test]
async fn two_tasks_that_receive_many_at_once_get_batches_and_equal_shares() {
    let (push, pull) = pair("batches").await;
    let tasks: Vec<_> = (0..2).map(|_| tokio::spawn(batches(pull.clone()))).collect();
    for _ in 0..MESSAGES {
        within(push.send("work")).await.unwrap();
    }
    within(push.finish(LONG)).await.unwrap();
    let mut got = Vec::new();
    for task in tasks {
        got.push(within(task).await.unwrap());
    }
    let all: usize = got.iter().map(|(count, _)| count).sum();
    let batches: usize = got.iter().map(|(_, batches)| batches).sum();
    assert_eq!(all, MESSAGES);
    assert!(batches * 10 <= MESSAGES, "{MESSAGES} messages came in {batches} batches: {got:?}");
    assert!(got.iter().all(|(count, _)| *count >= MESSAGES / 4), "{got:?}");
}

#[tokio::test]
async fn four_tasks_that_receive_get_equal_shares_whether_they_do_anything_else_or_not() {
    for form in [Form::Recv, Form::Many, Form::Timeout, Form::Stream] {
        let (push, pull) = pair(&format!("shares-{form:?}").to_lowercase()).await;
        let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(receive(pull.clone(), form))).collect();
        for _ in 0..MESSAGES {
            push.send("x").await.unwrap();
        }
        within(push.finish(LONG)).await.unwrap();
        let mut shares = Vec::new();
        for task in tasks {
            shares.push(within(task).await.unwrap());
        }
        assert_eq!(shares.iter().sum::<usize>(), MESSAGES, "{form:?}: {shares:?}");
        let fair = shares.iter().all(|share| share * 10 >= MESSAGES * 2 && share * 10 <= MESSAGES * 3);
        assert!(fair, "{form:?}: {shares:?}");
    }
}

#[tokio::test]
async fn a_later_recv_takes_nothing_before_one_that_waits() {
    let (push, pull) = pair("later").await;
    let mut first = pin!(pull.recv());
    starts_to_wait(&mut first).await;
    push.send("x").await.unwrap();
    arrived(&pull, 1).await;
    let mut later = pin!(pull.recv());
    starts_to_wait(&mut later).await;
    within(first).await.unwrap().expect("it is its turn").ack();
    push.send("y").await.unwrap();
    assert_eq!(within(later).await.unwrap().unwrap().payload(), &b"y"[..]);
}

#[tokio::test]
async fn a_recv_that_is_not_polled_any_more_delays_no_other() {
    let (push, pull) = pair("parked").await;
    let mut parked = pin!(pull.recv());
    starts_to_wait(&mut parked).await;
    for _ in 0..3 {
        push.send("x").await.unwrap();
        arrived(&pull, 1).await;
        within(pull.recv()).await.unwrap().unwrap().ack();
    }
}
