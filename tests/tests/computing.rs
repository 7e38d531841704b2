//! Applications that compute, or block their threads, for a long time: with `io_thread(true)` their links survive,
//! without it they are lost. Both sides run on a runtime with one thread, which computes until the other side's
//! heartbeats have been counted.
//!
//! With `TIDEGATE_SOAK_SECONDS` set, `a_minute_with_the_default_heartbeat` computes for whole minutes until that time
//! is up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{
    collections::BTreeMap,
    hint::black_box,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tidegate::{Event, Events, Pull, Push, PushStats, Window};
use tidegate_tests::seeds;

const LONG: Duration = Duration::from_secs(60);
const JOBS: u64 = 10;
/// Heartbeats in each direction. Three missed heartbeats close a link, so 20 show whether it survives.
const BEATS: u64 = 20;
/// Three intervals are longer than a busy machine delays a runnable thread.
const HEARTBEAT: Duration = Duration::from_millis(200);

/// Relays the link, and counts the reads in each direction: only heartbeats while both sides compute.
struct Carrier {
    endpoint: String,
    /// Connections accepted so far.
    connections: Arc<AtomicU64>,
    /// Reads with data for the pusher and for the puller.
    pieces: [Arc<AtomicU64>; 2],
}

impl Carrier {
    fn before(pusher: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let carrier = Self { endpoint, connections: Arc::default(), pieces: Default::default() };
        let (connections, pieces) = (carrier.connections.clone(), carrier.pieces.clone());
        let pusher = pusher.strip_prefix("tcp://").unwrap().to_owned();
        thread::spawn(move || {
            for puller in listener.incoming().map_while(Result::ok) {
                connections.fetch_add(1, SeqCst);
                let Ok(pusher) = TcpStream::connect(&pusher) else { continue };
                let back = (pusher.try_clone().unwrap(), puller.try_clone().unwrap());
                for ((from, to), count) in [(puller, pusher), back].into_iter().zip(pieces.clone()) {
                    thread::spawn(move || carry(from, to, &count));
                }
            }
        });
        carrier
    }

    fn count(&self) -> [u64; 2] {
        self.pieces.each_ref().map(|count| count.load(SeqCst))
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut piece = [0; 4_096];
    while let Ok(bytes @ 1..) = from.read(&mut piece) {
        count.fetch_add(1, SeqCst);
        if to.write_all(&piece[..bytes]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Keeps its thread busy until `done`.
fn compute_until(done: &AtomicBool) {
    let mut number = 1_u64;
    while !done.load(SeqCst) {
        for _ in 0..10_000 {
            number = black_box(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7));
        }
    }
}

fn on_one_thread<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A report from one side.
enum News {
    Computing,
    Lost,
}

fn report_losses(mut events: Events, news: mpsc::Sender<News>) {
    thread::spawn(move || {
        on_one_thread(async {
            while let Some(event) = events.recv().await {
                if matches!(event, Event::Disconnected { .. }) {
                    let _ = news.send(News::Lost);
                }
            }
        });
    });
}

struct Observed {
    /// A link was lost while both sides computed.
    lost: bool,
    /// How often each job was delivered.
    deliveries: BTreeMap<Vec<u8>, u32>,
    push: PushStats,
    connections: u64,
}

/// Runs a pusher and a puller, each with or without an I/O thread. Both compute until each has received `BEATS`
/// heartbeats of the other and `least` has passed, or until a link is lost.
fn both_compute(pusher_own: bool, puller_own: bool, heartbeat: Duration, least: Duration) -> Observed {
    let done = Arc::new(AtomicBool::new(false));
    let (news, heard) = mpsc::channel();
    let (tell, endpoint) = mpsc::channel();
    let pushing = {
        let (done, news) = (done.clone(), news.clone());
        thread::spawn(move || {
            on_one_thread(async {
                let push = Push::builder().bind("tcp://127.0.0.1:0").heartbeat(heartbeat);
                let push = push.io_thread(pusher_own).build().await.unwrap();
                report_losses(push.events(), news.clone());
                tell.send(push.local_endpoints()[0].to_string()).unwrap();
                push.connected(1).await.unwrap();
                for job in 0..JOBS {
                    push.send(format!("job {job}")).await.unwrap();
                }
                // All jobs are at the puller, or in transit.
                while push.stats().in_flight < JOBS {
                    tokio::task::yield_now().await;
                }
                push.flush().await;
                news.send(News::Computing).unwrap();
                compute_until(&done);
                push.finish(LONG).await.unwrap()
            })
        })
    };
    let carrier = Carrier::before(&endpoint.recv().unwrap());
    let pulling = {
        let (done, endpoint) = (done.clone(), carrier.endpoint.clone());
        thread::spawn(move || {
            on_one_thread(async {
                let pull = Pull::builder().connect(endpoint).heartbeat(heartbeat);
                let pull = pull.window(Window::messages(JOBS)).io_thread(puller_own).build().await.unwrap();
                report_losses(pull.events(), news.clone());
                let mut deliveries = BTreeMap::new();
                while let Some(delivery) = pull.recv().await.unwrap() {
                    if deliveries.is_empty() {
                        news.send(News::Computing).unwrap();
                        compute_until(&done);
                    }
                    *deliveries.entry(delivery.payload().to_vec()).or_default() += 1;
                    delivery.ack();
                }
                deliveries
            })
        })
    };
    let (mut computing, mut began, mut before) = (0, Instant::now(), [0; 2]);
    let lost = loop {
        match heard.recv_timeout(Duration::from_millis(20)) {
            Ok(News::Lost) => break true,
            Ok(News::Computing) => {
                computing += 1;
                (began, before) = (Instant::now(), carrier.count());
            }
            Err(_) => {}
        }
        let mut beats = carrier.count().into_iter().zip(before).map(|(now, before)| now - before);
        if computing == 2 && beats.all(|beats| beats >= BEATS) && began.elapsed() >= least {
            break false;
        }
    };
    done.store(true, SeqCst);
    let push = pushing.join().unwrap();
    let deliveries = pulling.join().unwrap();
    Observed { lost, deliveries, push, connections: carrier.connections.load(SeqCst) }
}

/// Checks that every job was processed, in any case.
fn assert_all_done(found: &Observed) {
    assert_eq!(found.deliveries.len() as u64, JOBS, "{:?}", found.deliveries);
    assert_eq!((found.push.accepted, found.push.acked), (JOBS, JOBS), "{:?}", found.push);
    assert_eq!((found.push.in_flight, found.push.queued), (0, 0), "{:?}", found.push);
}

fn assert_nothing_noticed(found: &Observed) {
    assert_all_done(found);
    assert!(!found.lost, "the link is lost");
    assert_eq!(found.connections, 1, "a side had to reconnect");
    assert!(found.deliveries.values().all(|times| *times == 1), "{:?}", found.deliveries);
    assert_eq!((found.push.redelivered, found.push.returned), (0, 0), "{:?}", found.push);
}

#[test]
fn with_an_io_thread_links_survive_while_both_sides_compute() {
    // LV-1, LV-3
    let found = both_compute(true, true, HEARTBEAT, Duration::ZERO);
    assert_nothing_noticed(&found);
}

#[test]
fn without_an_io_thread_a_computing_puller_loses_its_link() {
    // LV-3
    let found = both_compute(true, false, HEARTBEAT, Duration::ZERO);
    assert!(found.lost, "a link without an I/O thread survives, so the tests with one prove nothing");
    assert_all_done(&found);
}

#[test]
fn without_an_io_thread_a_computing_pusher_loses_its_link() {
    // LV-3
    let found = both_compute(false, true, HEARTBEAT, Duration::ZERO);
    assert!(found.lost, "a link without an I/O thread survives, so the tests with one prove nothing");
    assert_all_done(&found);
}

#[test]
fn a_minute_with_the_default_heartbeat() {
    let Some(time) = seeds::soak() else { return };
    let (started, mut minutes) = (Instant::now(), 0);
    loop {
        let found = both_compute(true, true, Duration::from_secs(2), Duration::from_secs(60));
        assert_nothing_noticed(&found);
        minutes += 1;
        if started.elapsed() >= time {
            break;
        }
    }
    println!("computed {minutes} times for a minute, no link lost");
}

#[test]
fn a_burst_is_written_at_once_although_the_sender_never_awaits_again() {
    // More than a link writes in one turn (64 KiB): without an I/O thread, the last part would wait for the sender's
    // next await.
    const BURST: usize = 700;
    let push = Push::builder().bind("tcp://127.0.0.1:0").io_thread(true);
    let (received, all) = mpsc::channel();
    on_one_thread(async {
        let push = push.build().await.unwrap();
        let endpoint = push.local_endpoints()[0].to_string();
        let pull = Pull::builder().connect(endpoint).window(Window::messages(2 * BURST as u64));
        let pull = pull.blocking_build().unwrap();
        let pulling = thread::spawn(move || {
            let mut count = 0;
            while let Some(delivery) = pull.blocking_recv().unwrap() {
                delivery.ack();
                count += 1;
                received.send(count).unwrap();
            }
        });
        push.connected(1).await.unwrap();
        for _ in 0..BURST {
            push.send(vec![1; 1_000]).await.unwrap();
        }
        // Block this thread, as if it computed.
        while all.recv_timeout(LONG).expect("the whole burst arrives") < BURST {}
        push.finish(LONG).await.unwrap();
        pulling.join().unwrap();
    });
}
