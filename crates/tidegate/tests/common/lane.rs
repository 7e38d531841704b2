//! A pusher and a puller whose messages are numbers.

use std::time::Duration;

use tidegate::{Delivery, Pull, Push, Window};
use tidegate_testkit::conserved;

use super::{LONG, within};

pub fn assert_conserved(push: &Push, pulls: &[&Pull]) {
    conserved::assert_pusher(&push.stats());
    pulls.iter().for_each(|pull| conserved::assert_puller(&pull.stats()));
}

pub async fn pair(name: &str, window: Window) -> (Push, Pull) {
    let at = format!("mem://lane-{name}");
    let push = Push::builder().bind(&at).retry_backoff(Duration::from_millis(1), LONG).build().await.unwrap();
    let pull = Pull::builder().connect(&at).window(window).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    (push, pull)
}

pub async fn send_numbers(push: &Push, count: u64) {
    for n in 0..count {
        push.send(n.to_be_bytes().to_vec()).await.unwrap();
    }
}

pub fn number(delivery: &Delivery) -> u64 {
    number_in(delivery.payload())
}

pub fn number_in(payload: &[u8]) -> u64 {
    u64::from_be_bytes(payload.try_into().unwrap())
}

/// Waits until the pusher knows of `count` acks.
pub async fn acked(push: &Push, count: u64) {
    within(async {
        while push.stats().acked < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Takes one delivery after another until `count` are held. With them, the lane holds others.
pub async fn hold(pull: &Pull, count: usize) -> Vec<Delivery> {
    let mut held = Vec::new();
    while held.len() < count {
        held.push(within(pull.recv()).await.unwrap().unwrap());
    }
    held
}
