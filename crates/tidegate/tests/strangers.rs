//! Unknown peers at a bound port: raw connections that violate the protocol.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod common;

use std::time::Duration;

use common::{LONG, within};
use tidegate::{Code, Event, Events, Pull, Push};
use tidegate_proto::{
    InstanceId, Resume, Role, Rule,
    handshake::{self, Local},
    wire::{self, Body, FrameReader, PREFACE},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn stranger(push: &Push) -> TcpStream {
    let at = push.local_endpoints()[0].to_string();
    TcpStream::connect(at.strip_prefix("tcp://").unwrap()).await.unwrap()
}

/// Reads until the end of the stream: the acceptor's preface and its Close.
async fn refusal(stream: &mut TcpStream) -> (Code, String) {
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.unwrap();
    assert!(bytes.starts_with(&PREFACE), "HS-2: preface first");
    let frame = bytes.split_off(12);
    let Ok(Body::Close(close)) = wire::decode(frame.into(), 0) else { panic!("not a Close") };
    (Code::from_wire(close.code), close.reason)
}

async fn refused_peer(events: &mut Events) -> (Code, String) {
    loop {
        if let Event::RefusedPeer { code, reason, .. } = within(events.recv()).await.unwrap() {
            return (code, reason);
        }
    }
}

#[tokio::test]
async fn an_http_request_is_refused_and_named_while_other_links_continue() {
    // FR-1, HS-2, ER-1
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await.unwrap();
    let pull = Pull::builder().connect(push.local_endpoints()[0].to_string()).build().await.unwrap();
    let mut events = push.events();
    let mut stranger = stranger(&push).await;
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n").await.unwrap();
    let (code, reason) = refusal(&mut stranger).await;
    assert_eq!(code, Code::NotTidegate);
    assert!(reason.contains("an HTTP request"), "{reason}");
    assert_eq!(refused_peer(&mut events).await, (code, reason));
    push.send("m").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
    within(push.finish(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_handshake_that_does_not_complete_is_closed() {
    // HS-11: silence, and a byte now and then, which does not extend the deadline.
    let push = Push::builder()
        .bind("tcp://127.0.0.1:0")
        .handshake_timeout(Duration::from_millis(200))
        .build()
        .await
        .unwrap();
    let mut silent = stranger(&push).await;
    assert_eq!(refusal(&mut silent).await.0, Code::TooSlow);
    let mut slow = stranger(&push).await;
    slow.write_all(&PREFACE[..5]).await.unwrap();
    let (code, reason) = refusal(&mut slow).await;
    assert_eq!(code, Code::TooSlow);
    assert!(reason.contains(Rule::Hs11.id()), "{reason}");
}

#[tokio::test]
async fn unfinished_handshakes_are_bounded_and_the_oldest_makes_room_and_gets_busy() {
    // HS-12
    let push = Push::builder().bind("tcp://127.0.0.1:0").max_handshakes(1).build().await.unwrap();
    let mut first = stranger(&push).await;
    first.write_all(&PREFACE).await.unwrap();
    let mut second = stranger(&push).await;
    let (code, reason) = refusal(&mut first).await;
    assert!(code == Code::Busy && reason.starts_with("HS-12: "), "{code}: {reason}");
    // A connection that was refused and does not disconnect is no obstacle either.
    second.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let pull = Pull::builder().connect(push.local_endpoints()[0].to_string()).build().await.unwrap();
    within(pull.connected(1)).await.unwrap();
}

#[tokio::test]
async fn a_frame_that_claims_4_gib_is_refused_before_it_arrives() {
    // FR-3
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await.unwrap();
    let mut stranger = stranger(&push).await;
    stranger.write_all(&PREFACE).await.unwrap();
    stranger.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    let (code, reason) = refusal(&mut stranger).await;
    assert_eq!(code, Code::TooLarge);
    assert!(reason.contains("4294967295"), "{reason}");
}

/// A raw puller that sends nothing after its Hello.
async fn mute(push: &Push, generation: u64) -> TcpStream {
    let local = Local {
        role: Role::Puller,
        instance: InstanceId([7; 16]),
        name: "mute".into(),
        pipeline: String::new(),
        token: None,
        max_message: 16 << 20,
        heartbeat: Duration::from_millis(100),
        offered: Vec::new(),
        required: Vec::new(),
    };
    let mut stream = stranger(push).await;
    stream.write_all(&handshake::greet(&local, Some(&Resume::new([1; 16])), generation)).await.unwrap();
    stream
}

#[tokio::test]
async fn the_pusher_waits_for_a_puller_that_was_silent_at_the_end_and_sends_it_the_end() {
    // ST-3, LV-3
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await.unwrap();
    let mut events = push.events();
    let silent = mute(&push, 1).await;
    let end = loop {
        match within(events.recv()).await.unwrap() {
            Event::Disconnected { end, .. } => break end,
            _ => continue,
        }
    };
    assert_eq!(end.code, Some(Code::Silent));
    drop(silent);
    let back = async {
        let mut stream = mute(&push, 2).await;
        let mut reader = FrameReader::new();
        loop {
            let count = stream.read_buf(reader.buffer()).await.unwrap();
            assert!(count > 0, "the end arrives before the connection is closed");
            reader.filled(count);
            while let Some(frame) = reader.next_frame().unwrap() {
                if matches!(wire::decode(frame, u64::MAX), Ok(Body::End)) {
                    return;
                }
            }
        }
    };
    let (finished, ()) = within(async { tokio::join!(push.finish(LONG), back) }).await;
    finished.unwrap();
}
