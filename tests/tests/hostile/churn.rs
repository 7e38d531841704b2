//! Peers that take messages and process none: nacks, releases, links that break or are replaced, and incomplete frames.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::Duration,
};

use tidegate::Code;
use tidegate_proto::{
    Role, Rule,
    wire::{
        Body, MAX_COUNTER, PREFACE,
        v1::{self, Verdict},
    },
};
use tidegate_tests::{
    hostile::raw::{Raw, ack, hello, outcome, resume},
    process::LONG,
};

use crate::job::{self, closed_by, link};

const ENDLESS: (u64, u64) = (MAX_COUNTER, MAX_COUNTER);

/// Answers `times` frames with this verdict, then breaks its link.
fn answer(mut raw: Raw, verdict: Verdict, times: usize) {
    raw.send(ack(Vec::new(), ENDLESS)).unwrap();
    for _ in 0..times {
        let range = |body: &Body| match body {
            Body::Deliver(batch) => Some((batch.cursor.next_id(), batch.cursor.len())),
            _ => None,
        };
        let (first, count) = raw.until(range).unwrap();
        raw.send(ack(vec![outcome(first, count, verdict)], ENDLESS)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_puller_that_nacks_everything_delays_its_messages_and_loses_none() {
    // OC-6, CR-8
    job::pusher(2_000, true, |push| push, |at| answer(link(at, Role::Puller, 1), Verdict::Nack, 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_puller_that_releases_everything_is_paused_and_loses_nothing() {
    // OC-8, OC-14
    job::pusher(2_000, true, |push| push, |at| answer(link(at, Role::Puller, 1), Verdict::Release, 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_puller_that_grants_2_to_the_60_and_never_reads_holds_a_bounded_number_of_messages() {
    // CR-8, LV-6, LV-3: it becomes silent, and its messages go to the well-behaved puller.
    job::pusher(
        2_000,
        true,
        |push| push.max_in_flight(100, 1 << 20),
        |at| {
            let mut raw = Raw::connect(at).unwrap();
            raw.greet(v1::Hello { heartbeat_ms: 100, ..hello(Role::Puller, 1) }).unwrap();
            raw.send(ack(Vec::new(), ENDLESS)).unwrap();
            raw
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_take_a_window_and_break_lose_nothing() {
    // RD-3, RD-4, RD-8
    let quick = Duration::from_millis(10);
    job::pusher(
        2_000,
        true,
        |push| push.grace(quick).retry_backoff(quick, quick),
        |at| {
            for instance in 1..20 {
                let mut raw = link(at, Role::Puller, instance);
                raw.send(ack(Vec::new(), (3, 1_000))).unwrap();
                raw.until(|body| matches!(body, Body::Deliver(_)).then_some(())).unwrap();
            }
        },
    )
    .await;
}

/// Replaces its own link repeatedly; an older generation is refused.
fn replace(at: SocketAddr, role: Role) -> Raw {
    let greet = |generation| {
        let mut raw = Raw::connect(at)?;
        raw.greet(v1::Hello { resume: resume(5), generation, ..hello(role, 9) }).map(|()| raw)
    };
    let mut held = greet(1).unwrap();
    for generation in 2..100 {
        let new = greet(generation).unwrap();
        let (code, _) = held.closed().unwrap();
        assert_eq!(code, Code::Replaced);
        held = new;
    }
    let stale: io::Error = greet(99).unwrap_err();
    assert!(stale.to_string().starts_with("STALE: HS-9: "), "{stale}");
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_replaced_repeatedly_does_not_affect_other_links_of_a_pusher() {
    // HS-9
    job::pusher(10_000, true, |push| push, |at| replace(at, Role::Puller)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_replaced_repeatedly_does_not_affect_other_links_of_a_puller() {
    // HS-9
    job::puller(10_000, |pull| pull, |at| replace(at, Role::Pusher)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_of_too_many_large_incomplete_frames_closes_its_link() {
    // LM-4, FR-3
    job::puller(
        10_000,
        |pull| pull.budget(1_000, 1 << 20).max_message(4 << 20),
        |at| {
            let hello = |n| v1::Hello { max_message: 4 << 20, ..hello(Role::Pusher, n) };
            let mut begun = Vec::from((4u32 << 20).to_be_bytes());
            begun.extend_from_slice(b"\x12\xfb\xff\xff\x01");
            begun.resize(1 << 20, 0);
            let mut all: Vec<Raw> = Vec::new();
            // Five incomplete frames of 1 MiB are allowed; the sixth is one too many.
            for n in 0..6 {
                let mut raw = Raw::connect(at).unwrap();
                raw.greet(hello(n)).unwrap();
                raw.write(&begun).unwrap();
                all.push(raw);
            }
            // One of these links is closed, and not the well-behaved one.
            let (tell, told) = mpsc::channel();
            let listening: Vec<_> = all
                .into_iter()
                .map(|mut raw| {
                    let tell = tell.clone();
                    thread::spawn(move || raw.closed().map(|said| tell.send(said)))
                })
                .collect();
            let (code, reason) = told.recv_timeout(LONG).expect("one of them is closed");
            assert_eq!(code, Code::TooSlow);
            assert!(reason.starts_with("LM-4: "), "{reason}");
            listening
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_an_invalid_length_are_discarded() {
    // FR-3
    job::puller(
        10_000,
        |pull| pull,
        |at| {
            let mut raw = link(at, Role::Pusher, 1);
            raw.write(&u32::MAX.to_be_bytes()).unwrap();
            // Write until the connection ends.
            let mut socket = raw.socket().try_clone().unwrap();
            let writer =
                thread::spawn(move || (0..100_000).find_map(|_| socket.write_all(&[0x12; 16 * 1_024]).err()));
            assert_eq!(closed_by(&mut raw, Rule::Fr3), Code::TooLarge);
            drop(raw);
            writer.join().unwrap();
            // A preface alone has no effect.
            let mut raw = Raw::connect(at).unwrap();
            raw.write(&PREFACE).unwrap();
            raw
        },
    )
    .await;
}
