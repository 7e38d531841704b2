//! The library over its in-process and local transports: the ways in which a program uses it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{LONG, assert_conserved, within};
use tidegate::{Pull, PullBuilder, Push, PushBuilder, ReceiptError, TrySendError, Window};

fn push() -> PushBuilder {
    Push::builder().retry_backoff(Duration::from_millis(5), Duration::from_millis(20))
}

fn pull() -> PullBuilder {
    Pull::builder().reconnect_backoff(Duration::from_millis(5), Duration::from_millis(50))
}

async fn pair(name: &str, window: Window) -> (Push, Pull) {
    let at = format!("mem://{name}");
    let push = push().bind(&at).build().await.unwrap();
    let pull = pull().connect(&at).window(window).build().await.unwrap();
    push.connected(1).await.unwrap();
    (push, pull)
}

#[tokio::test]
async fn every_message_arrives_in_order_over_one_link_and_the_stream_ends() {
    for at in ["mem://order", "tcp://127.0.0.1:0", "unix:///tmp/tidegate-order.sock#p"] {
        let push = push().bind(at).build().await.unwrap();
        let at = push.local_endpoints()[0].to_string();
        let pull = pull().connect(at).window(Window::messages(10)).build().await.unwrap();
        let sender = push.clone();
        let sending = tokio::spawn(async move {
            for i in 0..5_000u32 {
                sender.send(i.to_be_bytes().to_vec()).await.unwrap();
            }
            sender.finish(LONG).await.unwrap()
        });
        for i in 0..5_000u32 {
            let delivery = within(pull.recv()).await.unwrap().unwrap();
            assert_eq!(delivery.payload()[..], i.to_be_bytes());
            assert_eq!(delivery.attempt(), 1);
            delivery.ack();
        }
        assert!(within(pull.recv()).await.unwrap().is_none());
        assert!(within(pull.recv()).await.unwrap().is_none(), "and on every later call");
        let stats = within(sending).await.unwrap();
        assert_eq!((stats.accepted, stats.acked, stats.redelivered), (5_000, 5_000, 0));
        assert_conserved(&push, &pull);
    }
}

#[tokio::test]
async fn messages_go_round_robin_to_pullers_with_credit_and_a_late_joiner_is_used_at_once() {
    // RR-1, RR-2
    let (push, first) = pair("robin", Window::messages(2)).await;
    let second = pull().connect("mem://robin").window(Window::messages(2)).build().await.unwrap();
    within(push.connected(2)).await.unwrap();
    // Both have granted when both windows can be filled.
    for i in 0..8 {
        push.send(format!("{i}")).await.unwrap();
    }
    let mut held = Vec::new();
    for pull in [&first, &second] {
        for _ in 0..2 {
            held.push(within(pull.recv()).await.unwrap().unwrap());
        }
        assert!(pull.try_recv().unwrap().is_none(), "no more than its window");
    }
    let late = pull().connect("mem://robin").build().await.unwrap();
    for _ in 0..4 {
        within(late.recv()).await.unwrap().unwrap().ack();
    }
    held.into_iter().for_each(tidegate::Delivery::ack);
    within(push.finish(LONG)).await.unwrap();
}

#[tokio::test]
async fn outcomes_have_their_effect_and_a_dropped_delivery_is_nacked() {
    // OC-1, OC-8, OC-9, DL-3
    let (push, pull) = pair("outcomes", Window::default()).await;
    let mut rejections = push.rejections();
    let names = ["ack", "nack", "reject", "release", "drop", "panic"];
    for name in names {
        push.send(name).await.unwrap();
    }
    let mut attempts = BTreeMap::<String, Vec<u32>>::new();
    let mut acked = 0;
    while acked < 5 {
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        let name = String::from_utf8(delivery.payload().to_vec()).unwrap();
        let seen = attempts.entry(name.clone()).or_default();
        seen.push(delivery.attempt());
        match (name.as_str(), seen.len()) {
            ("nack", 1) => delivery.nack_after(Duration::from_millis(3)),
            ("reject", 1) => delivery.reject("no good"),
            ("release", 1) => delivery.release(),
            ("drop", 1) => drop(delivery),
            ("panic", 1) => {
                let task = tokio::spawn(async move {
                    let _held = delivery;
                    std::panic::resume_unwind(Box::new("the handler fails"));
                });
                assert!(task.await.unwrap_err().is_panic());
            }
            _ => {
                delivery.ack();
                acked += 1;
            }
        }
    }
    let rejected = within(rejections.recv()).await.unwrap();
    assert_eq!((rejected.message.payload(), rejected.attempts), (&"reject".into(), 1));
    assert_eq!(rejected.reason, "no good");
    within(push.finish(LONG)).await.unwrap();
    assert!(within(rejections.recv()).await.is_none());
    let expected = [("ack", vec![1]), ("drop", vec![1, 2]), ("nack", vec![1, 2]), ("panic", vec![1, 2])];
    for (name, seen) in expected.into_iter().chain([("reject", vec![1]), ("release", vec![1, 1])]) {
        assert_eq!(attempts[name], seen, "{name}");
    }
    assert_conserved(&push, &pull);
}

#[tokio::test]
async fn a_receipt_returns_the_outcome() {
    let (push, pull) = pair("receipt", Window::default()).await;
    let good = push.send_tracked("good").await.unwrap();
    let bad = push.send_tracked("bad").await.unwrap();
    let lost = push.send_tracked("lost").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
    within(pull.recv()).await.unwrap().unwrap().reject("why not");
    within(good).await.unwrap();
    let error = within(bad).await.unwrap_err();
    assert_eq!(error, ReceiptError::Rejected { reason: "why not".into(), attempts: 1 });
    let leftover = within(push.abort()).await;
    assert_eq!(leftover.unsent.len() + leftover.unacked.len(), 1);
    assert!(matches!(within(lost).await, Err(ReceiptError::Unknown | ReceiptError::NotSent)));
}

#[tokio::test]
async fn try_send_is_full_at_the_high_water_mark_and_a_waiting_send_continues_when_there_is_room() {
    let push = push().bind("mem://hwm").high_water_mark(3).build().await.unwrap();
    for i in 0..3 {
        push.try_send(format!("{i}")).unwrap();
    }
    let full = push.try_send("x").unwrap_err();
    assert!(matches!(&full, TrySendError::Full(_)));
    assert_eq!(full.into_message().payload(), "x");
    let waiting = tokio::spawn({
        let push = push.clone();
        async move { push.send("3").await }
    });
    let pull = pull().connect("mem://hwm").build().await.unwrap();
    for i in 0..4 {
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        assert_eq!(delivery.payload(), format!("{i}").as_bytes());
        delivery.ack();
    }
    within(waiting).await.unwrap().unwrap();
    within(push.finish(LONG)).await.unwrap();
    assert_conserved(&push, &pull);
}

#[tokio::test]
async fn with_a_high_water_mark_of_0_a_send_completes_when_a_puller_has_room() {
    let push = push().bind("mem://rendezvous").high_water_mark(0).build().await.unwrap();
    assert!(matches!(push.try_send("x"), Err(TrySendError::Full(_))));
    let sending = tokio::spawn({
        let push = push.clone();
        async move { push.send("x").await }
    });
    let pull = pull().connect("mem://rendezvous").window(Window::messages(0)).build().await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
    within(sending).await.unwrap().unwrap();
    within(push.finish(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_permit_holds_room_and_releases_it_when_dropped() {
    let push = push().bind("mem://permit").high_water_mark(1).build().await.unwrap();
    let permit = within(push.reserve()).await.unwrap();
    assert!(matches!(push.try_send("x"), Err(TrySendError::Full(_))));
    drop(permit);
    let permit = within(push.reserve()).await.unwrap();
    permit.send("y").unwrap();
    assert!(matches!(push.try_send("x"), Err(TrySendError::Full(_))));
    assert_eq!(push.stats().queued, 1);
    let leftover = within(push.abort()).await;
    assert_eq!(leftover.unsent.len(), 1);
}

#[tokio::test]
async fn a_message_sent_with_a_permit_can_be_tracked() {
    let (push, pull) = pair("permit-tracked", Window::messages(1)).await;
    let receipt = within(push.reserve()).await.unwrap().send_tracked("x").unwrap();
    let delivery = within(pull.recv()).await.unwrap().unwrap();
    assert_eq!(delivery.id(), receipt.id());
    delivery.reject("no");
    let error = within(receipt).await.unwrap_err();
    assert_eq!(error, ReceiptError::Rejected { reason: "no".to_owned(), attempts: 1 });
    assert_conserved(&push, &pull);
}

#[tokio::test]
async fn with_window_0_credit_exists_only_while_a_recv_waits() {
    // CR-7
    let (push, pull) = pair("zero", Window::messages(0)).await;
    push.send("a").await.unwrap();
    push.send("b").await.unwrap();
    assert_eq!(push.stats().queued, 2);
    for name in ["a", "b"] {
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        assert_eq!(delivery.payload(), name.as_bytes());
        delivery.ack();
    }
    within(push.finish(LONG)).await.unwrap();
    assert_conserved(&push, &pull);
}

#[tokio::test]
async fn two_pushers_and_one_slow_puller_never_starve_each_other() {
    // CR-6, CR-9, RC-1: one job at a time, two pushers of which one is idle most of the time.
    let busy = push().bind("mem://busy").build().await.unwrap();
    let idle = push().bind("mem://idle").build().await.unwrap();
    let pull = pull()
        .connect("mem://busy")
        .connect("mem://idle")
        .window(Window::messages(1))
        .budget(1, 1_000)
        .build()
        .await
        .unwrap();
    within(pull.connected(2)).await.unwrap();
    for i in 0..50 {
        busy.send(format!("busy {i}")).await.unwrap();
    }
    let mut seen = 0;
    for round in 0..60 {
        if round == 20 {
            for i in 0..10 {
                idle.send(format!("idle {i}")).await.unwrap();
            }
        }
        within(pull.recv()).await.unwrap().unwrap().ack();
        seen += 1;
    }
    assert_eq!(seen, 60);
    within(busy.finish(LONG)).await.unwrap();
    within(idle.finish(LONG)).await.unwrap();
    assert!(within(pull.recv()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_puller_that_leaves_returns_what_it_has_not_started_and_keeps_the_rest() {
    // ST-1
    let (push, leaver) = pair("leave", Window::messages(10)).await;
    for i in 0..10 {
        push.send(format!("{i}")).await.unwrap();
    }
    let held = within(leaver.recv()).await.unwrap().unwrap();
    let stayer = pull().connect("mem://leave").build().await.unwrap();
    let leaving = tokio::spawn({
        let leaver = leaver.clone();
        async move { leaver.leave(LONG).await }
    });
    for _ in 0..9 {
        let delivery = within(stayer.recv()).await.unwrap().unwrap();
        assert_eq!(delivery.attempt(), 1, "released, not failed");
        delivery.ack();
    }
    held.ack();
    within(leaving).await.unwrap().unwrap();
    assert!(within(leaver.recv()).await.unwrap().is_none());
    let stats = within(push.finish(LONG)).await.unwrap();
    assert_eq!((stats.acked, stats.redelivered), (10, 0));
    assert_conserved(&push, &stayer);
    assert_conserved(&push, &leaver);
}

#[tokio::test]
async fn dropping_the_last_pull_leaves_and_a_held_delivery_keeps_its_link() {
    let (push, pull) = pair("drop", Window::messages(10)).await;
    push.send("held").await.unwrap();
    let held = within(pull.recv()).await.unwrap().unwrap();
    drop(pull);
    held.ack();
    let stats = within(push.finish(LONG)).await.unwrap();
    assert_eq!((stats.acked, stats.returned), (1, 0));
}

#[tokio::test]
async fn connecting_before_a_socket_is_bound_works_and_a_restarted_pusher_is_found_again() {
    // RD-6, ST-5
    let pull = pull().connect("mem://restart").build().await.unwrap();
    for round in 0..3 {
        let push = loop {
            match push().bind("mem://restart").build().await {
                Ok(push) => break push,
                Err(_) => tokio::task::yield_now().await, // the one before gives the name up in a moment
            }
        };
        push.send(format!("{round}")).await.unwrap();
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        assert_eq!(delivery.payload(), format!("{round}").as_bytes());
        delivery.ack();
        within(push.drain(LONG)).await.unwrap();
    }
    assert!(pull.try_recv().unwrap().is_none(), "a drain is not the end of the stream");
}

#[tokio::test]
async fn a_wrong_role_token_or_pipeline_is_an_error_and_not_a_silent_retry() {
    // HS-4, HS-5, HS-6, RD-7
    let server = push().bind("tcp://127.0.0.1:0/work").token("secret").build().await.unwrap();
    let at = server.local_endpoints()[0].to_string();
    let wrong = pull().connect(&at).token("guess").build().await.unwrap();
    let error = within(wrong.recv()).await.unwrap_err().to_string();
    assert!(error.contains("UNAUTHORIZED"), "{error}");
    let again = within(wrong.recv()).await.unwrap_err().to_string();
    assert_eq!(again, error, "no endpoint is left, which is not the end of a stream");
    let other = pull().connect(at.replace("/work", "/play")).token("secret").build().await.unwrap();
    let error = within(other.recv()).await.unwrap_err().to_string();
    assert!(error.contains("NO_PIPELINE"), "{error}");
    let same = push().connect(&at).token("secret").high_water_mark(0).build().await.unwrap();
    let error = within(same.send("x")).await.unwrap_err();
    assert!(error.to_string().contains("ROLE"), "{error}");
    assert_eq!(error.into_message().payload(), "x");
}

#[tokio::test]
async fn one_listener_serves_several_pipelines_of_several_sockets() {
    let red = push().bind("tcp://127.0.0.1:0/red").build().await.unwrap();
    let at = red.local_endpoints()[0].to_string();
    let blue = push().bind(at.replace("/red", "/blue")).build().await.unwrap();
    assert!(push().bind(&at).build().await.unwrap_err().to_string().contains("same pipeline"));
    red.send("red").await.unwrap();
    blue.send("blue").await.unwrap();
    for name in ["blue", "red"] {
        let pull = pull().connect(at.replace("/red", &format!("/{name}"))).build().await.unwrap();
        let delivery = within(pull.recv()).await.unwrap().unwrap();
        assert_eq!(delivery.payload(), name.as_bytes());
        assert_eq!((delivery.pipeline(), delivery.peer_names().len()), (name, 0));
        delivery.ack();
        [&red, &blue][usize::from(name == "blue")].send("again").await.unwrap();
        let again = within(pull.recv()).await.unwrap().unwrap();
        assert_eq!((again.pipeline(), again.peer_names().len()), (name, 0));
        again.ack();
    }
    within(red.finish(LONG)).await.unwrap();
    within(blue.finish(LONG)).await.unwrap();
}

#[tokio::test]
async fn when_the_linger_time_is_over_the_error_has_exactly_what_is_left() {
    // ST-8
    let (push, pull) = pair("linger", Window::messages(2)).await;
    for i in 0..5 {
        push.send(format!("{i}")).await.unwrap();
    }
    within(pull.recv()).await.unwrap().unwrap().ack();
    let held = within(pull.recv()).await.unwrap().unwrap();
    let unfinished = within(push.finish(Duration::from_millis(100))).await.unwrap_err();
    let left = unfinished.leftover;
    assert_eq!(left.stats.acked + (left.unsent.len() + left.unacked.len()) as u64, 5);
    assert!(left.unacked.iter().any(|m| m.message.payload() == held.payload()));
    assert!(push.send("late").await.is_err());
    within(held.orphaned()).await;
    assert!(held.is_orphaned());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_senders_and_receivers_share_one_socket_each() {
    let (push, pull) = pair("many", Window::messages(50)).await;
    let senders: Vec<_> = (0..4)
        .map(|s| {
            let push = push.clone();
            tokio::spawn(async move {
                for i in 0..5_000 {
                    push.send(format!("{s} {i}")).await.unwrap();
                }
            })
        })
        .collect();
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let pull = pull.clone();
            tokio::spawn(async move {
                let mut all = Vec::new();
                while let Some(delivery) = pull.recv().await.unwrap() {
                    all.push(delivery.payload().to_vec());
                    delivery.ack();
                }
                all
            })
        })
        .collect();
    for sender in senders {
        within(sender).await.unwrap();
    }
    within(push.finish(LONG)).await.unwrap();
    let mut all = Vec::new();
    for receiver in receivers {
        all.extend(within(receiver).await.unwrap());
    }
    assert_eq!(all.len(), 20_000);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 20_000, "no message twice");
    assert_conserved(&push, &pull);
}

#[test]
fn building_without_a_runtime_says_so() {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };
    let mut build = pin!(Push::builder().bind("mem://none").build());
    let Poll::Ready(result) = build.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("build waits for something")
    };
    assert!(result.unwrap_err().to_string().contains("no tokio runtime"));
}
