//! The memory of deliveries that an application holds. The only test of this process, because it reads the memory of
//! the process.

#![cfg(target_os = "linux")] // it reads /proc/self/statm
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod common;

use std::{fs, time::Duration};

use common::within;
use tidegate::{Pull, Push, Window};

/// The default budget of a puller.
const HELD: usize = 100_000;
const SIZE: usize = 64;
/// For both sides together, with the message of 64 bytes and the `Delivery` of 128 bytes. 278 were measured.
const MAX_BYTES_EACH: usize = 400;

/// The resident memory of this process in bytes.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

async fn send_and_hold(push: &Push, pull: &Pull, count: usize) -> Vec<tidegate::Delivery> {
    let sender = push.clone();
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            sender.send([7; SIZE]).await.unwrap();
        }
    });
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        held.push(pull.recv().await.unwrap().unwrap());
    }
    sending.await.unwrap();
    held
}

#[tokio::test]
async fn a_hundred_thousand_deliveries_are_held_in_bounded_memory_and_settled() {
    let push = Push::builder().bind("mem://held-memory").build().await.unwrap();
    let window = Window::messages(HELD as u64);
    let pull = Pull::builder().connect("mem://held-memory").window(window).build().await.unwrap();
    // Buffers and tables have their usual size first.
    within(send_and_hold(&push, &pull, 100)).await.into_iter().for_each(tidegate::Delivery::ack);
    let before = resident();
    let held = within(send_and_hold(&push, &pull, HELD)).await;
    let bytes = resident().saturating_sub(before) / HELD;
    println!(
        "{HELD} deliveries of {SIZE} B held: {bytes} B each, of which {} in the Vec of this test",
        size_of::<tidegate::Delivery>()
    );
    assert!(bytes <= MAX_BYTES_EACH, "{bytes} bytes for each");
    assert_eq!(push.stats().in_flight, HELD as u64);
    held.into_iter().for_each(tidegate::Delivery::ack);
    within(push.finish(Duration::from_secs(60))).await.unwrap();
    assert_eq!(push.stats().acked, HELD as u64 + 100);
    assert!(within(pull.recv()).await.unwrap().is_none());
}
