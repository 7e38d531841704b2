//! The waits of a connector, with a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tidegate::{Code, Connection, Pull, Transport, TransportFuture, TransportListener};
use tidegate_proto::{
    InstanceId, Role,
    handshake::{self, Local},
    wire::{FrameReader, PREFACE, encode, v1},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    time::{Instant, sleep},
};

/// The result of an attempt to connect.
#[derive(Clone, Copy)]
enum Answer {
    /// No socket is bound.
    Unbound,
    /// A `Close` with BUSY in place of `Hello`, and its `retry_after_ms`.
    Busy(u32),
    /// A link that ends after this time, by a `Close` with GOING_AWAY and a `retry_after_ms`.
    Link(Duration, u32),
}

/// Answers the attempts in order, and reports when each began and when its connection ended.
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    attempts: mpsc::UnboundedSender<(Instant, Duration)>,
}

impl Transport for Script {
    fn connect<'a>(&'a self, _: &'a str) -> TransportFuture<'a, Connection> {
        Box::pin(async move {
            let Some(answer) = self.answers.lock().unwrap().pop_front() else {
                return std::future::pending().await;
            };
            let lasts = if let Answer::Link(lasts, _) = answer { lasts } else { Duration::ZERO };
            self.attempts.send((Instant::now(), lasts)).unwrap();
            if matches!(answer, Answer::Unbound) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (here, there) = tokio::io::duplex(1 << 20);
            tokio::spawn(accept(there, answer));
            Ok(Connection::new(here, "script"))
        })
    }

    fn bind<'a>(&'a self, _: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
        Box::pin(std::future::pending())
    }
}

async fn accept(mut stream: DuplexStream, answer: Answer) {
    let local = Local {
        role: Role::Pusher,
        instance: InstanceId([7; 16]),
        name: String::new(),
        pipeline: String::new(),
        token: None,
        max_message: 1_000,
        heartbeat: Duration::from_secs(60),
        offered: Vec::new(),
        required: Vec::new(),
    };
    let mut reader = FrameReader::new();
    let hello = loop {
        let count = stream.read_buf(reader.buffer()).await.unwrap();
        reader.filled(count);
        if let Some(frame) = reader.next_frame().unwrap() {
            break frame;
        }
    };
    let (code, retry_after_ms) = match answer {
        Answer::Link(lasts, retry_after_ms) => {
            let (_, _, greeting) = handshake::accept(hello, &[local]).unwrap();
            stream.write_all(&greeting).await.unwrap();
            sleep(lasts).await;
            (Code::GoingAway, retry_after_ms)
        }
        Answer::Busy(retry_after_ms) => {
            stream.write_all(&PREFACE).await.unwrap();
            (Code::Busy, retry_after_ms)
        }
        Answer::Unbound => unreachable!(),
    };
    let close = v1::Close { code: code.into(), reason: String::new(), retry_after_ms };
    stream.write_all(&encode(v1::frame::Body::Close(close))).await.unwrap();
    while stream.read(&mut [0; 1_024]).await.is_ok_and(|count| count > 0) {}
}

/// How long a puller waits after each of these, in seconds.
async fn waits(answers: &[Answer]) -> Vec<f64> {
    // There is one attempt for each answer, and the test ends with the last one.
    let (attempts, mut noted) = mpsc::unbounded_channel();
    let answers: VecDeque<_> = answers.iter().copied().chain([Answer::Unbound]).collect();
    let count = answers.len();
    let script = Arc::new(Script { answers: Mutex::new(answers), attempts });
    let _pull = Pull::builder().transport("script", script).connect("script://x").build().await.unwrap();
    let mut times = Vec::new();
    while times.len() < count {
        times.push(noted.recv().await.unwrap());
    }
    times.windows(2).map(|pair| (pair[1].0 - pair[0].0 - pair[0].1).as_secs_f64()).collect()
}

#[tokio::test(start_paused = true)]
async fn rd_6_a_link_that_lasted_10_s_resets_the_wait_and_a_shorter_one_does_not() {
    // RD-6
    let mut answers = vec![Answer::Unbound; 8];
    let link = |millis| Answer::Link(Duration::from_millis(millis), 0);
    answers.extend([link(9_900), link(10_000), link(0)]);
    let waits = waits(&answers).await;
    for (index, wait) in waits[..8].iter().enumerate() {
        let least = 0.05 * f64::from(1 << index);
        assert!(*wait >= least && *wait < 1.55 * least, "wait {index} is {wait}");
    }
    assert!(waits[8] >= 10.0, "after 9.9 s: {waits:?}");
    assert!(waits[9] < 0.1, "after 10 s: {waits:?}");
    assert!((0.1..0.2).contains(&waits[10]), "and it grows again: {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn rd_6_a_connector_stays_away_for_as_long_as_it_is_asked_to_up_to_5_min() {
    // RD-6
    let answers = [
        Answer::Busy(60_000),
        Answer::Busy(u32::MAX),
        Answer::Link(Duration::ZERO, 299_000),
        Answer::Link(Duration::from_secs(10), 600_000),
        Answer::Busy(0),
    ];
    let waits = waits(&answers).await;
    for (wait, least) in waits.iter().zip([60.0, 300.0, 299.0, 300.0, 0.1]) {
        assert!(*wait >= least && *wait < least + 1.0, "not {least} s: {waits:?}");
    }
}
