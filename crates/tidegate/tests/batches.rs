//! Calls that work on batches, and links with busy polling.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may stop at once

mod common;

use std::time::Duration;

use common::{LONG, assert_conserved, within};
use tidegate::{Delivery, Message, Pull, Push, SendError, Window};

fn number(delivery: &Delivery) -> u64 {
    u64::from_be_bytes(delivery.payload().try_into().unwrap())
}

#[tokio::test]
async fn batches_keep_the_order_of_what_is_sent_whatever_room_and_credit_there_is() {
    for (name, mark, window) in [
        ("wide", 10_000, Window::Auto),
        ("narrow", 3, Window::messages(2)),
        ("rendezvous", 0, Window::messages(7)),
    ] {
        let at = format!("mem://batches-{name}");
        let push = Push::builder().bind(&at).high_water_mark(mark).build().await.unwrap();
        let pull = Pull::builder().connect(&at).window(window).build().await.unwrap();
        within(push.connected(1)).await.unwrap();
        let sender = tokio::spawn({
            let push = push.clone();
            async move {
                let sent = push.send_all((0..1_000_u64).map(|n| n.to_be_bytes().to_vec())).await.unwrap();
                assert_eq!(sent, 1_000);
                assert_eq!(push.send_all(Vec::<Message>::new()).await.unwrap(), 0);
                push.finish(LONG).await.unwrap()
            }
        });
        let (mut many, mut next) = (Vec::new(), 0);
        assert_eq!(pull.recv_many(&mut many, 0).await.unwrap(), 0);
        loop {
            let got = within(pull.recv_many(&mut many, 33)).await.unwrap();
            assert!(got <= 33 && got == many.len());
            if got == 0 {
                break;
            }
            for delivery in &many {
                assert_eq!(number(delivery), next);
                next += 1;
            }
            Delivery::ack_all(many.drain(..));
        }
        assert_eq!((next, within(sender).await.unwrap().acked), (1_000, 1_000), "{name}");
        assert_conserved(&push, &pull);
    }
}

#[tokio::test]
async fn send_all_stops_at_the_first_message_that_is_not_accepted_and_leaves_the_rest() {
    let push = Push::builder().bind("mem://batches-stop").max_message(10).build().await.unwrap();
    let sizes = [3, 4, 11, 5, 6];
    let mut messages = sizes.iter().map(|size| vec![b'x'; *size]).collect::<Vec<_>>().into_iter();
    let error = within(push.send_all(&mut messages)).await.unwrap_err();
    assert!(matches!(&error, SendError::Invalid { .. }), "{error}");
    assert_eq!(error.into_message().payload().len(), 11);
    assert_eq!(push.stats().accepted, 2);
}

#[tokio::test]
async fn ack_all_settles_deliveries_of_several_sockets() {
    let mut deliveries = Vec::new();
    let mut pairs = Vec::new();
    for name in ["a", "b"] {
        let at = format!("mem://batches-several-{name}");
        let push = Push::builder().bind(&at).build().await.unwrap();
        let pull = Pull::builder().connect(&at).build().await.unwrap();
        within(push.connected(1)).await.unwrap();
        push.send_all(["1", "2", "3"]).await.unwrap();
        for _ in 0..3 {
            deliveries.push(within(pull.recv()).await.unwrap().unwrap());
        }
        pairs.push((push, pull));
    }
    Delivery::ack_all(deliveries);
    for (push, pull) in &pairs {
        assert_eq!(within(push.finish(LONG)).await.unwrap().acked, 3);
        assert_conserved(push, pull);
    }
}

#[tokio::test]
async fn links_with_busy_polling_carry_the_same_messages_and_then_sleep() {
    let busy = Duration::from_millis(2);
    let push = Push::builder().bind("tcp://127.0.0.1:0").busy_poll(busy).build().await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    let pull = Pull::builder().connect(at).busy_poll(busy).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    for round in 0..200_u64 {
        let receipt = within(push.send_tracked(round.to_be_bytes().to_vec())).await.unwrap();
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        assert_eq!(number(&delivery), round);
        delivery.ack();
        within(receipt).await.unwrap();
    }
    assert_eq!(within(push.finish(LONG)).await.unwrap().acked, 200);
    assert_conserved(&push, &pull);
}

#[test]
fn a_single_message_is_sent_although_its_sender_continues_to_compute() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alone").display().to_string();
    for (scheme, place) in [("tcp", "127.0.0.1:0".to_owned()), ("unix", path)] {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (done, computed) = std::sync::mpsc::channel::<()>();
        let endpoint = format!("{scheme}://{place}");
        // The pusher's only thread.
        let pusher = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let push = Push::builder().bind(&endpoint).build().await.unwrap();
                sender.send(push.local_endpoints()[0].to_string()).unwrap();
                within(push.connected(1)).await.unwrap();
                // Credit has arrived; otherwise this message would wait in the queue for it.
                within(push.send_tracked("first")).await.unwrap().await.unwrap();
                push.send("alone").await.unwrap();
                // The sender occupies its thread until the message has arrived.
                computed.recv_timeout(LONG).expect("the message has not left");
                within(push.finish(LONG)).await.unwrap()
            })
        });
        let at = receiver.recv_timeout(LONG).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pull = Pull::builder().connect(&at).window(Window::messages(10)).build().await.unwrap();
            for expected in ["first", "alone"] {
                let delivery = within(pull.recv()).await.unwrap().unwrap();
                assert_eq!(delivery.payload(), expected.as_bytes());
                delivery.ack();
            }
            done.send(()).unwrap();
            assert!(within(pull.recv()).await.unwrap().is_none());
        });
        assert_eq!(pusher.join().unwrap().acked, 2);
    }
}
