//! Peers that take work and do none of it: nacks, releases, links that break or are replaced, and frames that never end.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::Duration,
};

use tidegate::Code;
use tidegate_proto::{
    Role,
    wire::{
        Body, PREFACE,
        v1::{self, Verdict},
    },
};
use tidegate_tests::{
    hostile::raw::{Raw, ack, hello, outcome, resume},
    process::LONG,
};

use crate::job::{self, closed_by, link};

const ENDLESS: (u64, u64) = (1 << 60, 1 << 60);

/// Gives everything back that comes, until it has answered `times`; then it breaks its link.
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
async fn a_puller_that_nacks_everything_delays_what_it_gets_and_loses_nothing() {
    // OC-6, CR-8
    job::pusher(2_000, true, |push| push, |at| answer(link(at, Role::Puller, 1), Verdict::Nack, 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_puller_that_gives_everything_back_loses_nothing_and_rests_in_between() {
    // OC-8, OC-14
    job::pusher(2_000, true, |push| push, |at| answer(link(at, Role::Puller, 1), Verdict::Release, 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_puller_that_grants_2_to_the_60_and_never_reads_holds_no_more_than_its_bounds() {
    // CR-8, LV-6, LV-3: it falls silent, and what it had goes to the one who works.
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

/// Takes over its own slot again and again; an older generation is refused.
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
async fn a_slot_that_is_taken_over_again_and_again_disturbs_nobody_at_a_pusher() {
    // HS-9
    job::pusher(10_000, true, |push| push, |at| replace(at, Role::Puller)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_taken_over_again_and_again_disturbs_nobody_at_a_puller() {
    // HS-9
    job::puller(10_000, |pull| pull, |at| replace(at, Role::Pusher)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_large_frames_that_do_not_end_the_slowest_goes() {
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
            // Five times 1 MiB are what may be; the sixth is too much.
            for n in 0..6 {
                let mut raw = Raw::connect(at).unwrap();
                raw.greet(hello(n)).unwrap();
                raw.write(&begun).unwrap();
                // It has been read as far as it goes: the end of what is to come would be looked at in order.
                all.push(raw);
            }
            // One of them is told, and it is not the one who does the job.
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
async fn what_comes_after_a_length_that_cannot_be_is_thrown_away() {
    // FR-3
    job::puller(
        10_000,
        |pull| pull,
        |at| {
            let mut raw = link(at, Role::Pusher, 1);
            raw.write(&u32::MAX.to_be_bytes()).unwrap();
            // As long as we are heard; then the connection is gone.
            let mut socket = raw.socket().try_clone().unwrap();
            let writer =
                thread::spawn(move || (0..100_000).find_map(|_| socket.write_all(&[0x12; 16 * 1_024]).err()));
            assert_eq!(closed_by(&mut raw, "FR-3"), Code::TooLarge);
            drop(raw);
            writer.join().unwrap();
            // A preface alone has no effect on anybody.
            let mut raw = Raw::connect(at).unwrap();
            raw.write(&PREFACE).unwrap();
            raw
        },
    )
    .await;
}
