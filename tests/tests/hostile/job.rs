//! A socket under attack, and a well-behaved link that has a job to complete.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use tidegate::{Pull, PullBuilder, Push, PushBuilder};
use tidegate_proto::{Role, Rule};
use tidegate_tests::hostile::raw::{Raw, address, hello};
use tokio::{sync::oneshot, task::spawn_blocking};

const LONG: Duration = Duration::from_secs(60);
/// The payload of an attacker's messages; the payloads of the job are numbers.
pub(crate) const STRANGE: &[u8] = b"strange";

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("took too long")
}

/// Runs `attack` in a thread of its own. The job keeps the returned value until it is complete.
async fn run<T: Send + 'static>(at: SocketAddr, attack: impl FnOnce(SocketAddr) -> T + Send + 'static) -> T {
    spawn_blocking(move || attack(at)).await.expect("the attack panicked")
}

/// Sends messages until `attack` returns, and then at least as many again, `least` in all, while its result, such as
/// open connections, still exists. Returns the number of messages and the result.
async fn send<T>(push: &Push, least: u32, attack: impl Future<Output = T>) -> (u32, T) {
    let mut sent = 0;
    let sending = async {
        loop {
            for _ in 0..100 {
                push.send(payload(sent)).await.unwrap();
                sent += 1;
            }
            // Wait for each outcome: this test is about outcomes, not about speed.
            let receipt = push.send_tracked(payload(sent)).await.unwrap();
            sent += 1;
            receipt.await.unwrap();
        }
    };
    let attacked = tokio::select! {
        attacked = attack => attacked,
        () = sending => unreachable!(),
    };
    let before = sent;
    while sent < least.max(2 * before) {
        within(push.send(payload(sent))).await.unwrap();
        sent += 1;
    }
    (sent, attacked)
}

fn payload(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// The number of a message of the job.
pub(crate) fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.try_into().ok()?))
}

/// Attacks a pusher that has `count` messages for a well-behaved puller. Only that puller acks them, each at least
/// once; with `once`, exactly once.
pub(crate) async fn pusher<T: Send + 'static>(
    count: u32,
    once: bool,
    settings: impl FnOnce(PushBuilder) -> PushBuilder,
    attack: impl FnOnce(SocketAddr) -> T + Send + 'static,
) {
    pusher_of(count, once, settings, |at| (attack(at), BTreeSet::new())).await;
}

/// Like [`pusher`], for an attacker that acks messages, and returns their numbers. The well-behaved puller gets the
/// others.
pub(crate) async fn pusher_of<T: Send + 'static>(
    count: u32,
    once: bool,
    settings: impl FnOnce(PushBuilder) -> PushBuilder,
    attack: impl FnOnce(SocketAddr) -> (T, BTreeSet<u32>) + Send + 'static,
) {
    let push = settings(Push::builder().bind("tcp://127.0.0.1:0")).build().await.unwrap();
    let endpoint = push.local_endpoints()[0].to_string();
    let pull = Pull::builder().connect(&endpoint).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    let worker = tokio::spawn(async move {
        let mut seen = BTreeMap::new();
        while let Some(delivery) = pull.recv().await.unwrap() {
            *seen.entry(number(delivery.payload()).unwrap()).or_insert(0) += 1;
            delivery.ack();
        }
        seen
    });
    let (count, (attacked, taken)) = send(&push, count, run(address(&endpoint), attack)).await;
    let stats = within(push.finish(LONG)).await.unwrap();
    drop(attacked);
    let seen = within(worker).await.unwrap();
    let expected: Vec<_> = (0..count).filter(|number| !taken.contains(number)).collect();
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), expected, "a message is lost");
    assert!(!once || seen.values().all(|times| *times == 1), "a message was repeated");
    assert_eq!((stats.accepted, stats.acked, stats.rejected), (count.into(), count.into(), 0));
    assert_eq!((stats.queued, stats.in_flight, stats.held_bytes), (0, 0, 0));
}

/// Attacks a puller that gets `count` messages from a well-behaved pusher, each exactly once.
pub(crate) async fn puller<T: Send + 'static>(
    count: u32,
    settings: impl FnOnce(PullBuilder) -> PullBuilder,
    attack: impl FnOnce(SocketAddr) -> T + Send + 'static,
) {
    puller_of(count, 4_096, settings, attack).await;
}

/// Like [`puller`], with a `max_message` for the well-behaved pusher.
pub(crate) async fn puller_of<T: Send + 'static>(
    count: u32,
    max_message: usize,
    settings: impl FnOnce(PullBuilder) -> PullBuilder,
    attack: impl FnOnce(SocketAddr) -> T + Send + 'static,
) {
    let pull = settings(Pull::builder().bind("tcp://127.0.0.1:0")).build().await.unwrap();
    let endpoint = pull.local_endpoints()[0].to_string();
    let push = Push::builder().connect(&endpoint).max_message(max_message).build().await.unwrap();
    let (all, mut wanted) = oneshot::channel::<u32>();
    let worker = tokio::spawn(async move {
        let mut seen = BTreeMap::new();
        let mut count = None;
        while count.is_none_or(|count| seen.len() < count as usize) {
            let delivery = tokio::select! {
                sent = &mut wanted, if count.is_none() => {
                    count = Some(sent.unwrap());
                    continue;
                }
                delivery = pull.recv() => delivery.unwrap().unwrap(),
            };
            match number(delivery.payload()) {
                Some(number) => *seen.entry(number).or_insert(0) += 1,
                None => assert!(delivery.payload() == STRANGE || delivery.payload().is_empty()),
            }
            delivery.ack();
        }
        (seen, pull)
    });
    let (count, attacked) = send(&push, count, run(address(&endpoint), attack)).await;
    all.send(count).unwrap();
    let (seen, pull) = within(worker).await.unwrap();
    let stats = within(push.finish(LONG)).await.unwrap();
    drop((attacked, pull));
    assert!(seen.values().all(|times| *times == 1), "a message was repeated");
    assert_eq!((stats.accepted, stats.acked, stats.in_flight), (count.into(), count.into(), 0));
}

/// Opens a link as a puller to a pusher, or the other way round.
pub(crate) fn link(at: SocketAddr, role: Role, instance: u8) -> Raw {
    let mut raw = Raw::connect(at).unwrap();
    raw.greet(hello(role, instance)).unwrap();
    raw
}

/// The code of the received Close. Checks that its reason names this rule.
pub(crate) fn closed_by(raw: &mut Raw, rule: Rule) -> tidegate::Code {
    let (code, reason) = raw.closed().unwrap();
    assert!(reason.starts_with(&format!("{rule}: ")), "{code}: {reason}, and not {rule}");
    code
}
