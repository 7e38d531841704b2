//! Wrong peers at a TLS port, and wrong servers for a TLS connector.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{sync::Arc, time::Duration};

use tidegate::{Code, Event, Events, Pull, Push, Tls, TlsConfig};
use tidegate_proto::{
    Rule,
    wire::{self, Body, PREFACE},
};
use tidegate_tests::certs::Ca;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, crypto::ring, pki_types::ServerName, version::TLS13},
};

const LONG: Duration = Duration::from_secs(60);

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("took too long")
}

fn server(ca: &Ca) -> Tls {
    Tls::load(ca.sign(&["127.0.0.1"]).config()).unwrap()
}

fn trusting(ca: &Ca) -> Tls {
    Tls::load(TlsConfig::new().ca(ca.pem())).unwrap()
}

fn place(push: &Push) -> String {
    let at = push.local_endpoints()[0].to_string();
    at.split_once("://").unwrap().1.to_owned()
}

async fn refused(events: &mut Events) -> String {
    loop {
        if let Event::TlsFailed { reason, .. } = within(events.recv()).await.unwrap() {
            return reason;
        }
    }
}

async fn failed(events: &mut Events) -> String {
    loop {
        match within(events.recv()).await.unwrap() {
            Event::ConnectFailed { reason, .. } => return reason,
            Event::Refused { reason, .. } => panic!("the refusal must not be final: {reason}"),
            _ => {}
        }
    }
}

/// Checks that a message is delivered to a correct peer.
async fn serves(push: &Push, tls: Tls) {
    let pull = Pull::builder().connect(push.local_endpoints()[0].to_string()).tls(tls).build().await.unwrap();
    push.send("m").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
}

#[tokio::test]
async fn a_plain_peer_at_a_tls_port_gets_a_plain_close_and_does_not_reconnect() {
    // TL-7, FR-1
    let ca = Ca::new("test");
    let push = Push::builder().bind("tls://127.0.0.1:0").tls(server(&ca)).build().await.unwrap();
    let mut events = push.events();
    let pull = Pull::builder().connect(format!("tcp://{}", place(&push))).build().await.unwrap();
    let error = within(pull.recv()).await.unwrap_err().to_string();
    for part in ["NOT_TIDEGATE", Rule::Tl7.id(), "this port speaks TLS", "plain tidegate", "use tls://"] {
        assert!(error.contains(part), "{error}");
    }
    let reason = refused(&mut events).await;
    assert!(reason.contains("looks like plain tidegate"), "{reason}");

    let mut browser = TcpStream::connect(place(&push)).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    within(browser.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(&PREFACE));
    let Ok(Body::Close(close)) = wire::decode(answer.split_off(12).into(), 0) else { panic!("not a Close") };
    assert_eq!(Code::from_wire(close.code), Code::NotTidegate);
    let reason = refused(&mut events).await;
    assert!(reason.contains("an HTTP request"), "{reason}");
    serves(&push, trusting(&ca)).await;
}

#[tokio::test]
async fn a_tls_peer_at_a_plain_port_reports_that_it_is_plain_and_never_falls_back() {
    // TL-2, TL-7, FR-1
    let ca = Ca::new("test");
    let push = Push::builder().bind("tcp://127.0.0.1:0").token("hush").build().await.unwrap();
    let mut refusals = push.events();
    let pull = Pull::builder()
        .connect(format!("tls://{}", place(&push)))
        .tls(trusting(&ca))
        .token("hush")
        .build()
        .await
        .unwrap();
    let mut events = pull.events();
    for _ in 0..3 {
        let reason = failed(&mut events).await;
        assert!(reason.contains("the server does not speak TLS at this port"), "{reason}");
        loop {
            if let Event::RefusedPeer { code, reason, .. } = within(refusals.recv()).await.unwrap() {
                assert_eq!(code, Code::NotTidegate);
                assert!(reason.contains("it looks like a TLS hello"), "{reason}");
                break;
            }
        }
    }
    assert_eq!(push.stats().links, 0);
}

/// A ClientHello of TLS 1.2: without supported_versions.
fn old_hello() -> Vec<u8> {
    let mut extensions = Vec::new();
    for (kind, content) in [(10_u16, &[0, 2, 0, 29][..]), (11, &[1, 0]), (13, &[0, 4, 4, 3, 8, 4]), (23, &[])]
    {
        extensions.extend(kind.to_be_bytes());
        extensions.extend((content.len() as u16).to_be_bytes());
        extensions.extend(content);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]); // no session, one cipher, no compression
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    record(1, &body)
}

/// A ServerHello of TLS 1.2.
fn old_answer() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0xc0, 0x2f, 0]);
    record(2, &body)
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend(&(body.len() as u32).to_be_bytes()[1..]);
    message.extend(body);
    let mut record = vec![22, 3, 3];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}

#[tokio::test]
async fn peers_with_only_tls_1_2_are_refused_with_the_required_version() {
    // TL-1
    let ca = Ca::new("test");
    let push = Push::builder().bind("tls://127.0.0.1:0").tls(server(&ca)).build().await.unwrap();
    let mut events = push.events();
    let mut old = TcpStream::connect(place(&push)).await.unwrap();
    old.write_all(&old_hello()).await.unwrap();
    let mut answer = Vec::new();
    within(old.read_to_end(&mut answer)).await.unwrap();
    assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "the alert protocol_version");
    let reason = refused(&mut events).await;
    assert!(
        reason.contains("the client supports only TLS 1.2 or older, but TLS 1.3 is required"),
        "{reason}"
    );

    for (answer, says) in [
        (vec![21, 3, 3, 0, 2, 2, 70], "the server does not support TLS 1.3"),
        (old_answer(), "the server supports only TLS 1.2 or older"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("tls://{}", listener.local_addr().unwrap());
        let pull = Pull::builder().connect(at).tls(trusting(&ca)).build().await.unwrap();
        let mut events = pull.events();
        let (mut stream, _) = within(listener.accept()).await.unwrap();
        let mut hello = [0; 5];
        within(stream.read_exact(&mut hello)).await.unwrap();
        stream.write_all(&answer).await.unwrap();
        let reason = failed(&mut events).await;
        assert!(reason.contains(says), "{reason}");
    }
}

#[tokio::test]
async fn a_client_that_offers_another_protocol_is_refused_and_one_that_offers_none_is_not() {
    // TL-3
    let ca = Ca::new("test");
    let push = Push::builder().bind("tls://127.0.0.1:0").tls(server(&ca)).build().await.unwrap();
    let mut events = push.events();
    let connect = async |alpn: &[&[u8]]| {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(ca.roots())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(place(&push)).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    };
    let error = connect(&[b"h2", b"http/1.1"]).await.unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    let reason = refused(&mut events).await;
    assert!(reason.contains("for another protocol than tidegate/1"), "{reason}");
    let stream = connect(&[b"h2", b"tidegate/1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"tidegate/1"[..]));
    // The protocol follows the handshake, starting with the preface.
    let mut stream = connect(&[]).await.unwrap();
    stream.write_all(b"nonsense").await.unwrap();
    let mut answer = [0; 8];
    within(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, PREFACE);
}

#[tokio::test]
async fn a_slow_tls_handshake_occupies_one_place_and_delays_no_other_peer() {
    // TL-6, HS-11, HS-12
    let ca = Ca::new("test");
    let push = Push::builder()
        .bind("tls://127.0.0.1:0")
        .tls(server(&ca))
        .handshake_timeout(Duration::from_millis(500))
        .close_wait(Duration::from_millis(100))
        .build()
        .await
        .unwrap();
    let mut events = push.events();
    let mut silent = TcpStream::connect(place(&push)).await.unwrap();
    let mut half = TcpStream::connect(place(&push)).await.unwrap();
    half.write_all(&old_hello()[..20]).await.unwrap();
    serves(&push, trusting(&ca)).await;
    for stream in [&mut silent, &mut half] {
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await; // the end, or a reset
        assert!(answer.is_empty(), "unencrypted bytes: {answer:?}");
        loop {
            if let Event::RefusedPeer { code, .. } = within(events.recv()).await.unwrap() {
                assert_eq!(code, Code::TooSlow);
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_silent_connection_makes_room_for_a_connector_over_tls_and_sees_only_the_end_of_its_stream() {
    // TL-6, HS-12
    let ca = Ca::new("test");
    let push =
        Push::builder().bind("tls://127.0.0.1:0").tls(server(&ca)).max_handshakes(1).build().await.unwrap();
    let mut first = TcpStream::connect(place(&push)).await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    let pull = Pull::builder()
        .connect(at)
        .tls(trusting(&ca))
        .reconnect_backoff(Duration::from_millis(10), Duration::from_millis(50))
        .build()
        .await
        .unwrap();
    within(pull.connected(1)).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(first.read_to_end(&mut answer)).await; // the end, or a reset
    assert!(answer.is_empty(), "unencrypted bytes: {answer:?}");
}
