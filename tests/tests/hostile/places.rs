//! Limits on places: connections without a handshake, and links from one address.

use std::{net::SocketAddr, time::Duration};

use tidegate::{Code, Pull, Push};
use tidegate_proto::{
    Role, Rule,
    wire::{self, Body, PREFACE, v1::frame::Body as Frame},
};
use tidegate_tests::hostile::raw::{Raw, address, hello};
use tokio::task::spawn_blocking;

use crate::job::{self, closed_by, within};

/// A handshake time-out that does not affect tests about places.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens three times as many silent connections from one address as there are places. The oldest make room for the
/// others, and for links with `role`.
fn fill(at: SocketAddr, role: Role, most: usize, rule: Rule) -> Vec<Raw> {
    let mut held: Vec<_> = (0..3 * most).map(|_| Raw::connect(at).unwrap()).collect();
    for _ in 0..2 * most {
        assert_eq!(closed_by(&mut held.remove(0), rule), Code::Busy);
    }
    held.extend((1..=3).map(|n| job::link(at, role, n)));
    held
}

/// Opens silent connections from several addresses other than 127.0.0.1.
async fn crowd(at: SocketAddr, addresses: u8, of_each: usize) -> Vec<Raw> {
    let mut held = Vec::new();
    for _ in 0..of_each {
        for last in 0..addresses {
            held.push(Raw::connect_from(at, 10 + last).await.unwrap());
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")] // where every program may use the addresses 127.0.0.x
async fn a_slow_newcomer_connects_although_other_addresses_repeatedly_occupy_all_places() {
    // HS-12, HS-13
    let push = Push::builder()
        .bind("tcp://127.0.0.1:0")
        .max_handshakes(20)
        .handshake_timeout(PATIENCE)
        .build()
        .await
        .unwrap();
    let endpoint = push.local_endpoints()[0].to_string();
    let at = address(&endpoint);
    let mut slow = Raw::connect_from(at, 9).await.unwrap();
    let hello = [&PREFACE[..], &wire::encode(Frame::Hello(hello(Role::Puller, 1)))].concat();
    let mut held = Vec::new();
    for piece in hello.chunks(8) {
        // Now every earlier silent connection has made room.
        held.extend(crowd(at, 5, 8).await);
        // When this link is open, the last silent connection has been accepted, and the slow newcomer still completes.
        let pull = Pull::builder().connect(&endpoint).build().await.unwrap();
        within(pull.connected(1)).await.unwrap();
        slow.write(piece).unwrap();
    }
    spawn_blocking(move || slow.until(|body| matches!(body, Body::Hello(_)).then_some(())))
        .await
        .unwrap()
        .unwrap();
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_of_one_address_make_room_for_newcomers_at_a_pusher() {
    // HS-12, HS-13
    job::pusher(
        20_000,
        true,
        |push| push.max_handshakes_per_address(20).handshake_timeout(PATIENCE),
        |at| fill(at, Role::Puller, 20, Rule::Hs13),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_of_one_address_make_room_for_newcomers_at_a_puller() {
    // HS-12, HS-13
    job::puller(
        20_000,
        |pull| pull.max_handshakes_per_address(20).handshake_timeout(PATIENCE),
        |at| fill(at, Role::Pusher, 20, Rule::Hs13),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_newcomers_work_while_silent_connections_occupy_all_places() {
    // HS-12
    job::pusher(
        20_000,
        true,
        |push| push.max_handshakes(30).handshake_timeout(PATIENCE),
        |at| fill(at, Role::Puller, 30, Rule::Hs12),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_links_of_one_address_are_limited_and_another_address_still_connects() {
    // HS-13
    let push = Push::builder().bind("tcp://127.0.0.1:0").max_links_per_address(3).build().await.unwrap();
    let endpoint = push.local_endpoints()[0].to_string();
    let at = address(&endpoint);
    let held = spawn_blocking(move || {
        let mut held: Vec<_> = (1..=3).map(|n| job::link(at, Role::Puller, n)).collect();
        let refused = Raw::connect(at).unwrap().greet(hello(Role::Puller, 4)).unwrap_err().to_string();
        assert!(
            refused.starts_with("BUSY: HS-13: ") && refused.contains("max_links_per_address"),
            "{refused}"
        );
        held.truncate(2);
        held
    })
    .await
    .unwrap();
    // The place of a closed link is free for the next.
    let pull = Pull::builder().connect(&endpoint).build().await.unwrap();
    pull.connected(1).await.unwrap();
    // To the pusher this is another machine. Not every system lets a program use this address.
    if cfg!(target_os = "linux") {
        let mut other = Raw::connect_from(at, 2).await.unwrap();
        spawn_blocking(move || other.greet(hello(Role::Puller, 5))).await.unwrap().unwrap();
    }
    push.send("m").await.unwrap();
    pull.recv().await.unwrap().unwrap().ack();
    drop(held);
    push.finish(Duration::from_secs(60)).await.unwrap();
}
