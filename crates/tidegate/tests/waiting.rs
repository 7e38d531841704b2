//! Calls that wait return when their event happens, and when it cannot happen any more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::{
    io,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{LONG, begin, within};
use tidegate::{
    ConnectedError, Connection, Pull, Push, RecvError, SendError, Transport, TransportFuture,
    TransportListener,
};
use tidegate_proto::{
    InstanceId, Role,
    handshake::{self, Local},
};
use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
    runtime,
};

/// The first bytes that a puller sends.
fn greeting() -> Vec<u8> {
    let local = Local {
        role: Role::Puller,
        instance: InstanceId([7; 16]),
        name: "raw".into(),
        pipeline: String::new(),
        token: None,
        max_message: 16 << 20,
        heartbeat: Duration::from_secs(60),
        offered: Vec::new(),
        required: Vec::new(),
    };
    handshake::greet(&local, None, 1).to_vec()
}

/// A transport that accepts one connection, which was made beforehand.
struct One(Mutex<Option<DuplexStream>>);

impl Transport for One {
    fn connect<'a>(&'a self, _: &'a str) -> TransportFuture<'a, Connection> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn bind<'a>(&'a self, _: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
        let stream = self.0.lock().unwrap().take();
        Box::pin(async { Ok(Box::new(Ready(stream)) as Box<dyn TransportListener>) })
    }
}

struct Ready(Option<DuplexStream>);

impl TransportListener for Ready {
    fn address(&self) -> String {
        "here".into()
    }

    fn accept(&mut self) -> TransportFuture<'_, Connection> {
        let stream = self.0.take();
        Box::pin(async {
            match stream {
                Some(stream) => Ok(Connection::new(stream, "somebody")),
                None => std::future::pending().await,
            }
        })
    }
}

#[tokio::test]
async fn a_finish_that_waits_for_a_link_whose_hello_cannot_be_sent_ends() {
    // Smaller than our Hello, which the peer does not read.
    let (mut peer, stream) = duplex(16);
    let push = Push::builder()
        .transport("one", Arc::new(One(Mutex::new(Some(stream)))))
        .bind("one://here")
        .handshake_timeout(Duration::from_millis(500))
        .build()
        .await
        .unwrap();
    within(peer.write_all(&greeting())).await.unwrap();
    within(async {
        while push.link_stats().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within(push.finish(LONG)).await.unwrap();
    assert!(push.link_stats().is_empty());
}

#[tokio::test]
async fn an_abort_that_waits_for_links_ends_when_their_runtime_is_shut_down() {
    let links = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let builder = Push::builder().bind("tcp://127.0.0.1:0").close_wait(Duration::from_secs(3_600));
    let push = links.spawn(builder.build()).await.unwrap().unwrap();
    let at = push.local_endpoints()[0].to_string();
    let mut mute = TcpStream::connect(at.strip_prefix("tcp://").unwrap()).await.unwrap();
    mute.write_all(&greeting()).await.unwrap();
    within(push.connected(1)).await.unwrap();
    let mut abort = pin!(push.abort());
    begin(&mut abort).await; // the peer does not answer the Close
    links.shutdown_background();
    within(abort).await;
}

#[tokio::test]
async fn a_refusal_is_an_error_of_connected_also_after_another_call_has_returned_it() {
    let _push = Push::builder().bind("mem://told#here").build().await.unwrap();
    let _pull = Pull::builder().bind("mem://told#elsewhere").build().await.unwrap();
    let push = Push::builder().connect("mem://told#there").high_water_mark(0).build().await.unwrap();
    let error = within(push.send("m")).await.unwrap_err();
    assert!(matches!(error, SendError::Refused { .. }), "{error}");
    for _ in 0..2 {
        let error = within(push.connected(1)).await.unwrap_err();
        assert!(matches!(error, ConnectedError::Refused(_)), "{error}");
    }
    let error = within(push.send("m")).await.unwrap_err();
    assert!(matches!(error, SendError::Refused { .. }), "and sending stays pointless: {error}");
    let pull = Pull::builder().connect("mem://told#there").keep(true).build().await.unwrap();
    let error = within(pull.recv()).await.unwrap_err();
    assert!(matches!(error, RecvError::Refused(_)), "{error}");
    for _ in 0..2 {
        let error = within(pull.connected(1)).await.unwrap_err();
        assert!(matches!(error, ConnectedError::Refused(_)), "{error}");
    }
    assert!(pull.try_recv().unwrap().is_none(), "returned once for each");
}

#[tokio::test]
async fn connected_returns_when_a_drain_begins() {
    let push = Push::builder().bind("mem://drained").build().await.unwrap();
    push.send("m").await.unwrap();
    let mut connected = pin!(push.connected(1));
    begin(&mut connected).await;
    begin(push.finish(LONG)).await;
    assert_eq!(within(connected).await, Err(ConnectedError::Closed));
}

#[tokio::test]
async fn connected_returns_when_a_recv_finds_that_the_streams_are_over() {
    let push = Push::builder().bind("mem://over").build().await.unwrap();
    let pull = Pull::builder().connect("mem://over").build().await.unwrap();
    within(pull.connected(1)).await.unwrap();
    let mut connected = pin!(pull.connected(2));
    begin(&mut connected).await;
    let both = async { tokio::join!(biased; connected, pull.recv(), push.finish(LONG)) };
    let (connected, received, finished) = within(both).await;
    assert_eq!(connected, Err(ConnectedError::Closed));
    assert!(received.unwrap().is_none());
    finished.unwrap();
}
