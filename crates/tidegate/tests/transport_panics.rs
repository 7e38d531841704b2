//! A transport that panics: one attempt or one connection fails, and the next one is made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use common::within;
use tidegate::{BuildError, Connection, Event, Pull, Push, Transport, TransportFuture, TransportListener};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Connect,
    Connecting,
    Bind,
    Binding,
    Address,
    Accept,
    Accepting,
    Read,
    Write,
    Flush,
    Drop,
    DropListener,
}

/// TCP with a bug that panics the first few times.
struct Shaky {
    at: Where,
    left: Arc<AtomicUsize>,
}

impl Shaky {
    fn new(at: Where, times: usize) -> Arc<Self> {
        Arc::new(Self { at, left: Arc::new(AtomicUsize::new(times)) })
    }

    fn pass(&self, at: Where) {
        pass(self.at, &self.left, at);
    }

    fn connection(&self, stream: TcpStream) -> Connection {
        Connection::new(Stream { stream, at: self.at, left: self.left.clone() }, "shaky")
    }
}

fn pass(bug: Where, left: &AtomicUsize, at: Where) {
    if bug == at && left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
        panic!("a bug in {at:?}");
    }
}

impl Transport for Shaky {
    fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection> {
        self.pass(Where::Connect);
        Box::pin(async move {
            self.pass(Where::Connecting);
            Ok(self.connection(TcpStream::connect(address).await?))
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
        self.pass(Where::Bind);
        Box::pin(async move {
            self.pass(Where::Binding);
            let listener = TcpListener::bind(address).await?;
            let shaky = Self { at: self.at, left: self.left.clone() };
            Ok(Box::new(Listener { listener, shaky }) as Box<dyn TransportListener>)
        })
    }
}

struct Listener {
    listener: TcpListener,
    shaky: Shaky,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shaky.pass(Where::DropListener);
    }
}

impl TransportListener for Listener {
    fn address(&self) -> String {
        self.shaky.pass(Where::Address);
        self.listener.local_addr().unwrap().to_string()
    }

    fn accept(&mut self) -> TransportFuture<'_, Connection> {
        self.shaky.pass(Where::Accept);
        Box::pin(async {
            self.shaky.pass(Where::Accepting);
            let (stream, _) = self.listener.accept().await?;
            Ok(self.shaky.connection(stream))
        })
    }
}

struct Stream {
    stream: TcpStream,
    at: Where,
    left: Arc<AtomicUsize>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        pass(self.at, &self.left, Where::Drop);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        pass(self.at, &self.left, Where::Read);
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        pass(self.at, &self.left, Where::Write);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pass(self.at, &self.left, Where::Flush);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Messages arrive, whichever side has the bug, and however often it panics.
#[tokio::test]
async fn messages_arrive_over_a_transport_that_panics_now_and_then() {
    use Where::{Accept, Accepting, Connect, Connecting, Drop, Flush, Read, Write};
    for at in [Connect, Connecting, Accept, Accepting, Read, Write, Flush, Drop] {
        for times in [1, 3] {
            let shaky = Shaky::new(at, times);
            let push = Push::builder()
                .transport("shaky", shaky.clone())
                .bind("shaky://127.0.0.1:0")
                .grace(Duration::ZERO)
                .build()
                .await
                .unwrap();
            let pull = Pull::builder()
                .transport("shaky", shaky.clone())
                .reconnect_backoff(Duration::from_millis(1), Duration::from_millis(10))
                .connect(push.local_endpoints()[0].to_string())
                .build()
                .await
                .unwrap();
            within(async {
                for n in 0..10_u8 {
                    push.send(vec![n]).await.unwrap();
                }
                let mut seen = [false; 10];
                while seen.contains(&false) {
                    let delivery = pull.recv().await.unwrap().unwrap();
                    seen[usize::from(delivery.payload()[0])] = true;
                    delivery.ack();
                }
            })
            .await;
            if at != Drop {
                assert_eq!(shaky.left.load(Relaxed), 0, "{at:?} has panicked {times} times");
            }
        }
    }
}

#[tokio::test]
async fn a_panic_in_bind_is_an_error_of_build() {
    for at in [Where::Bind, Where::Binding, Where::Address] {
        let shaky = Shaky::new(at, 1);
        let build = || Push::builder().transport("shaky", shaky.clone()).bind("shaky://127.0.0.1:0").build();
        match build().await {
            Err(BuildError::Bind { source, .. }) => {
                assert_eq!(source.to_string(), format!("panicked: a bug in {at:?}"));
            }
            other => panic!("{at:?}: {other:?}"),
        }
        within(build()).await.unwrap(); // and nothing is left of it
    }
}

#[tokio::test]
async fn a_panic_in_the_drop_of_a_listener_leaves_nothing_behind() {
    let shaky = Shaky::new(Where::DropListener, 1);
    let push =
        Push::builder().transport("shaky", shaky.clone()).bind("shaky://127.0.0.1:0").build().await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    within(push.finish(Duration::MAX)).await.unwrap();
    drop(push);
    within(async {
        while tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(shaky.left.load(Relaxed), 0);
    within(Push::builder().transport("shaky", shaky).bind(&at).build()).await.unwrap();
}

#[tokio::test]
async fn a_panic_in_connect_is_an_event_and_the_attempt_is_retried() {
    let shaky = Shaky::new(Where::Connect, usize::MAX);
    let pull = Pull::builder()
        .transport("shaky", shaky)
        .reconnect_backoff(Duration::from_millis(1), Duration::from_millis(1))
        .connect("shaky://127.0.0.1:1")
        .build()
        .await
        .unwrap();
    let mut events = pull.events();
    for _ in 0..3 {
        match within(events.recv()).await.unwrap() {
            Event::ConnectFailed { reason, .. } => assert!(reason.contains("a bug in Connect"), "{reason}"),
            other => panic!("{other}"),
        }
    }
}

/// The function of `authorize` is code of the application, too.
#[tokio::test]
async fn an_authorize_function_that_panics_refuses_the_peer_and_admits_the_next_one() {
    let times = AtomicUsize::new(0);
    let push = Push::builder()
        .bind("mem://rule-that-panics")
        .authorize(move |_, _| {
            assert!(times.fetch_add(1, Relaxed) > 0, "a bug in the rule");
            true
        })
        .build()
        .await
        .unwrap();
    let connect = || Pull::builder().connect("mem://rule-that-panics").build();
    let refused = connect().await.unwrap();
    within(refused.recv()).await.unwrap_err();
    let admitted = connect().await.unwrap();
    push.send("x").await.unwrap();
    within(admitted.recv()).await.unwrap().unwrap().ack();
}

/// The owner of a payload, which is dropped when the message is settled, under the lock.
#[tokio::test]
async fn a_payload_whose_drop_panics_costs_its_link_and_no_more() {
    struct Owner(Vec<u8>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            panic!("a bug in a payload");
        }
    }
    let push = Push::builder().bind("mem://payload-that-panics").grace(Duration::ZERO).build().await.unwrap();
    let pull = Pull::builder().connect("mem://payload-that-panics").build().await.unwrap();
    push.send(bytes::Bytes::from_owner(Owner(vec![1; 100_000]))).await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
    push.send("next").await.unwrap();
    within(async {
        loop {
            let delivery = pull.recv().await.unwrap().unwrap();
            let last = delivery.payload() == b"next";
            delivery.ack();
            if last {
                return;
            }
        }
    })
    .await;
}
