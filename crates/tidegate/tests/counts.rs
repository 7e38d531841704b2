//! Counters: they never fall, and they add up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use common::within;
use tidegate::{Pull, Push, PushStats, Window};
use tidegate_testkit::conserved;

/// All counters of a pusher, without the numbers of what it holds now.
fn counts(s: &PushStats) -> [u64; 12] {
    [
        s.accepted,
        s.accepted_bytes,
        s.acked,
        s.acked_bytes,
        s.rejected,
        s.aborted,
        s.nacked,
        s.released,
        s.redelivered,
        s.returned,
        s.timed_out,
        s.sent,
    ]
}

#[tokio::test]
async fn no_counter_falls_at_an_abort_and_aborted_messages_have_a_counter() {
    let push = Push::builder().bind("mem://counts-abort").build().await.unwrap();
    let pull =
        Pull::builder().connect("mem://counts-abort").window(Window::messages(3)).build().await.unwrap();
    for _ in 0..100 {
        push.send("four").await.unwrap();
    }
    let first = within(pull.recv()).await.unwrap().unwrap();
    let _second = within(pull.recv()).await.unwrap().unwrap();
    first.ack();
    within(async {
        while push.stats().acked < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let before = push.stats();
    let left = within(push.abort()).await;
    let after = push.stats();
    assert!(counts(&before).iter().zip(counts(&after)).all(|(b, a)| *b <= a), "{before:?}, then {after:?}");
    assert_eq!((after.accepted, after.accepted_bytes), (100, 400));
    assert_eq!((after.aborted, after.acked), (99, 1));
    assert_eq!(left.unsent.len() + left.unacked.len(), 99);
    assert_eq!((after.queued, after.in_flight, after.held_bytes), (0, 0, 0));
    conserved::assert_pusher(&after);
}
