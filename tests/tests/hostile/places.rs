//! Who takes the places of others: strangers that hold them, and links from one address.

use std::net::SocketAddr;

use tidegate::{Code, Pull, Push};
use tidegate_proto::{Role, wire::PREFACE};
use tidegate_tests::hostile::raw::{Raw, address, hello};
use tokio::task::spawn_blocking;

use crate::job::{self, closed_by};

/// Connections from an address that never speak, until one is refused.
fn fill(at: SocketAddr, most: usize, rule: &str) -> Vec<Raw> {
    let mut held = Vec::new();
    loop {
        let mut raw = Raw::connect(at).unwrap();
        // Connections are accepted in order, so that after this many the next one is refused, and none is before.
        if held.len() == most {
            assert_eq!(closed_by(&mut raw, rule), Code::Busy);
            return held;
        }
        raw.write(&PREFACE).unwrap();
        held.push(raw);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_of_one_address_cannot_take_all_places_of_a_pusher() {
    // HS-12, HS-13
    job::pusher(20_000, true, |push| push.max_handshakes_per_address(20), |at| fill(at, 20, "HS-13")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_of_one_address_cannot_take_all_places_of_a_puller() {
    // HS-12, HS-13
    job::puller(20_000, |pull| pull.max_handshakes_per_address(20), |at| fill(at, 20, "HS-13")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_all_places_of_strangers_are_taken_links_go_on() {
    // HS-12
    job::pusher(20_000, true, |push| push.max_handshakes(30), |at| fill(at, 30, "HS-12")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_one_address_are_bounded_and_another_address_still_gets_in() {
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
    // The one that has gone leaves its place to the next.
    let pull = Pull::builder().connect(&endpoint).build().await.unwrap();
    pull.connected(1).await.unwrap();
    // A machine of its own, as far as the pusher can see. Not every system lets a program have this address.
    if cfg!(target_os = "linux") {
        let mut other = Raw::connect_from(at, 2).await.unwrap();
        spawn_blocking(move || other.greet(hello(Role::Puller, 5))).await.unwrap().unwrap();
    }
    push.send("m").await.unwrap();
    pull.recv().await.unwrap().unwrap().ack();
    drop(held);
    push.finish(std::time::Duration::from_secs(60)).await.unwrap();
}
