//! Links over TLS: lost connections, stalls, changed certificates.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::time::Duration;

use tidegate::{Event, Pem, Pull, Push, Tls, TlsConfig, Window};
use tidegate_tests::certs::Ca;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
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

async fn pusher(ca: &Ca) -> (Push, String) {
    let push = Push::builder().bind("tls://127.0.0.1:0").tls(server(ca)).build().await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    (push, at)
}

/// A relay for one connection: forwards bytes while `open`. Aborting the task cuts the connection.
async fn between(at: &str, mut open: watch::Receiver<bool>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = format!("tls://{}", listener.local_addr().unwrap());
    let there = at.strip_prefix("tls://").unwrap().to_owned();
    let task = tokio::spawn(async move {
        let (mut one, _) = listener.accept().await.unwrap();
        let mut other = TcpStream::connect(there).await.unwrap();
        loop {
            open.wait_for(|open| *open).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut one, &mut other) => return,
                _ = open.changed() => {}
            }
        }
    });
    (here, task)
}

#[tokio::test]
async fn a_tls_stream_without_close_notify_is_a_lost_link_and_loses_nothing() {
    // TL-9, RD-1, RD-3
    let ca = Ca::new("test");
    let (push, at) = pusher(&ca).await;
    let (_open, opened) = watch::channel(true);
    let (through, wire) = between(&at, opened).await;
    let first = Pull::builder().connect(through).tls(trusting(&ca)).build().await.unwrap();
    let mut events = push.events();
    push.send("once").await.unwrap();
    let held = within(first.recv()).await.unwrap().unwrap();
    wire.abort(); // both sockets are closed: TCP ends without a TLS close_notify
    loop {
        if let Event::Disconnected { end, .. } = within(events.recv()).await.unwrap() {
            assert_eq!(end.code, None, "{end}");
            break;
        }
    }
    let second = Pull::builder().connect(at).tls(trusting(&ca)).build().await.unwrap();
    let again = within(second.recv()).await.unwrap().unwrap();
    assert_eq!((again.payload(), again.attempt(), again.id()), (&b"once"[..], 2, held.id()));
    again.ack();
    assert_eq!(within(push.finish(LONG)).await.unwrap().acked, 1);
}

#[tokio::test]
async fn bytes_that_a_full_socket_did_not_accept_are_written_as_soon_as_it_does() {
    // LV-5, LV-6: also through the buffers of TLS, while nothing else happens on the link.
    let ca = Ca::new("test");
    let (push, at) = pusher(&ca).await;
    let (open, opened) = watch::channel(true);
    let (through, _wire) = between(&at, opened).await;
    let pull = Pull::builder()
        .connect(through)
        .tls(trusting(&ca))
        .window(Window::messages(1_000))
        .build()
        .await
        .unwrap();
    within(pull.connected(1)).await.unwrap();
    for round in 0..3_u8 {
        open.send_replace(false);
        // As much as the pusher accepts: more than the sockets in between hold.
        let mut sent = 0;
        while push.try_send(vec![round; 200_000]).is_ok() {
            sent += 1;
            tokio::task::yield_now().await;
        }
        assert!(sent > 5, "{sent}");
        open.send_replace(true);
        for _ in 0..sent {
            let delivery = within(pull.recv()).await.unwrap().unwrap();
            assert_eq!((delivery.payload().len(), delivery.payload()[199_999]), (200_000, round));
            delivery.ack();
        }
    }
    within(push.finish(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_reload_is_for_new_connections_and_a_broken_file_changes_nothing() {
    // TL-8
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = old.sign(&["127.0.0.1"]).write(dir.path(), "push");
    let tls = Tls::load(TlsConfig::new().identity(Pem::file(&certificate), Pem::file(&key))).unwrap();
    let push = Push::builder().bind("tls://127.0.0.1:0").tls(tls.clone()).build().await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    let pull_old = Pull::builder().connect(&at).tls(trusting(&old)).build().await.unwrap();
    within(pull_old.connected(1)).await.unwrap();
    let mut events = pull_old.events();

    std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\nbm9uc2Vuc2U=\n-----END PRIVATE KEY-----\n").unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("push.key"), "{error}");
    let another = Pull::builder().connect(&at).tls(trusting(&old)).build().await.unwrap();
    within(another.connected(1)).await.unwrap();
    drop(another);

    new.sign(&["127.0.0.1"]).write(dir.path(), "push");
    tls.reload().unwrap();
    let pull_new = Pull::builder().connect(&at).tls(trusting(&new)).build().await.unwrap();
    within(pull_new.connected(1)).await.unwrap();
    // The old link is not affected, and gets its share as before.
    for _ in 0..10 {
        push.send("m").await.unwrap();
    }
    for pull in [&pull_old, &pull_new] {
        within(pull.recv()).await.unwrap().unwrap().ack();
    }
    while let Ok(event) = tokio::time::timeout(Duration::ZERO, events.recv()).await {
        assert!(!matches!(event, Some(Event::Disconnected { .. })), "{event:?}");
    }
}

#[tokio::test]
async fn a_removed_ca_admits_no_further_client_not_even_by_session_resumption() {
    // TL-1, TL-8
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let identity = new.sign(&["127.0.0.1"]);
    let tls = Tls::load(identity.config().ca(old.pem()).verify_clients(true)).unwrap();
    let push = Push::builder().bind("tls://127.0.0.1:0").tls(tls.clone()).build().await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    let worker = Tls::load(old.sign(&["worker"]).config().ca(new.pem())).unwrap();
    let pull = Pull::builder().connect(&at).tls(worker.clone()).build().await.unwrap();
    within(pull.connected(1)).await.unwrap();
    let error = tls.replace(identity.config().ca(new.pem())).unwrap_err().to_string();
    assert!(error.contains("client verification is on"), "{error}");
    tls.replace(identity.config().ca(new.pem()).verify_clients(true)).unwrap();
    let mut events = push.events();
    let _again = Pull::builder().connect(&at).tls(worker).build().await.unwrap();
    loop {
        match within(events.recv()).await.unwrap() {
            Event::TlsFailed { reason, .. } => {
                assert!(reason.contains("for worker is signed by an unknown CA"), "{reason}");
                break;
            }
            Event::Connected { .. } => panic!("a client with the removed CA connected"),
            _ => {}
        }
    }
    assert_eq!(push.stats().links, 1, "the existing link stays");
}
