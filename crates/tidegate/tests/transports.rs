//! Transports of the application, and sockets with a seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // tests may panic

mod common;

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use common::{LONG, within};
use tidegate::{
    BuildError, Connection, Event, Pull, PullBuilder, Push, PushBuilder, Transport, TransportFuture,
    TransportListener,
};
use tidegate_proto::{
    InstanceId, Role, handshake,
    wire::{self, v1},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    sync::mpsc,
};

type Doors = Mutex<BTreeMap<String, mpsc::UnboundedSender<Narrow>>>;

/// A stream whose reads return at most this number of bytes each.
struct Narrow(DuplexStream, usize);

impl AsyncRead for Narrow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = self.1.min(buf.remaining());
        let mut part = vec![0; most];
        let mut part = ReadBuf::new(&mut part);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Narrow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A transport within the process.
#[derive(Default)]
struct InProcess(Doors);

impl Transport for InProcess {
    fn connect<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Connection> {
        Box::pin(async move {
            let door = self.0.lock().unwrap().get(address).cloned();
            let door = door.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such door"))?;
            let (here, there) = duplex(1_000);
            door.send(Narrow(there, usize::MAX)).map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Connection::new(here, format!("door {address}")))
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> TransportFuture<'a, Box<dyn TransportListener>> {
        Box::pin(async move {
            let address = if address == "any" { "chosen" } else { address }.to_owned();
            let (sender, incoming) = mpsc::unbounded_channel();
            self.0.lock().unwrap().insert(address.clone(), sender);
            Ok(Box::new(Door { address, incoming }) as Box<dyn TransportListener>)
        })
    }
}

struct Door {
    address: String,
    incoming: mpsc::UnboundedReceiver<Narrow>,
}

impl TransportListener for Door {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn accept(&mut self) -> TransportFuture<'_, Connection> {
        Box::pin(async {
            let stream = self.incoming.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
            let peer = if self.address == "network" { "192.0.2.1:5000" } else { "somebody" };
            Ok(Connection::new(stream, peer))
        })
    }
}

fn push(place: &Arc<InProcess>) -> PushBuilder {
    Push::builder().transport("door", place.clone())
}

fn pull(place: &Arc<InProcess>) -> PullBuilder {
    Pull::builder().transport("door", place.clone())
}

#[tokio::test]
async fn messages_go_over_a_transport_of_the_application_to_the_address_that_it_chose() {
    let place = Arc::<InProcess>::default();
    let push = push(&place).bind("door://any#work").build().await.unwrap();
    let at = push.local_endpoints()[0].to_string();
    assert_eq!(at, "door://chosen#work");
    let builder = pull(&place).connect(&at);
    let pull = builder.build().await.unwrap();
    let mut events = pull.events();
    within(push.connected(1)).await.unwrap();
    let Some(Event::Connected { peer, link }) = within(events.recv()).await else { panic!("no link") };
    assert_eq!((peer.address.as_str(), peer.pipeline.as_str()), ("door chosen", "work"));
    // Larger than the buffer of the stream, so that it is written in parts.
    let receipt = push.send_tracked(vec![7; 100_000]).await.unwrap();
    let delivery = within(pull.recv()).await.unwrap().unwrap();
    assert_eq!((delivery.payload().len(), delivery.link()), (100_000, link));
    delivery.ack();
    within(receipt).await.unwrap();
    within(push.finish(LONG)).await.unwrap();
    assert!(within(pull.recv()).await.unwrap().is_none());
}

#[tokio::test]
async fn the_same_address_on_another_transport_is_another_listener_and_on_the_same_one_the_same() {
    let (here, there) = (Arc::<InProcess>::default(), Arc::<InProcess>::default());
    let first = push(&here).bind("door://a").build().await.unwrap();
    let second = push(&there).bind("door://a").build().await.unwrap();
    assert_ne!(first.local_endpoints(), second.local_endpoints());
    let other = push(&here).bind("door://a#other").build().await.unwrap();
    let taken = push(&here).bind("door://a").build().await;
    assert!(matches!(taken, Err(BuildError::Bind { .. })), "{taken:?}");
    let pull = pull(&here).connect("door://a#other").build().await.unwrap();
    other.send("for the other").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
    within(other.finish(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_scheme_that_is_invalid_or_taken_is_refused_with_the_valid_form() {
    // LM-1
    let place = Arc::<InProcess>::default();
    let error = Push::builder().bind("door://a").build().await.unwrap_err().to_string();
    assert!(error.contains("unix or mem") && error.contains("register a transport"), "{error}");
    let error = push(&place).bind("dor://a").build().await.unwrap_err().to_string();
    assert!(error.contains("unix, mem or door"), "{error}");
    for scheme in ["tcp", "tls", "unix", "mem", "", "a b", "Door", "door"] {
        let builder = push(&place).transport(scheme, place.clone());
        let error = builder.bind("door://a").build().await.unwrap_err().to_string();
        assert!(error.contains("transport is") && error.contains("scheme of its own"), "{error}");
    }
}

#[tokio::test]
async fn the_limit_of_links_per_address_applies_to_a_transport_that_names_network_addresses() {
    // HS-13
    let place = Arc::<InProcess>::default();
    for at in ["door://network", "door://elsewhere"] {
        let push = push(&place).bind(at).max_links_per_address(1).build().await.unwrap();
        let _first = pull(&place).connect(at).build().await.unwrap();
        within(push.connected(1)).await.unwrap();
        let mut builder = pull(&place).connect(at);
        let mut events = builder.events();
        let _second = builder.build().await.unwrap();
        match within(events.recv()).await.unwrap() {
            Event::ConnectFailed { reason, .. } if at == "door://network" => {
                assert!(reason.contains("BUSY") && reason.contains("max_links_per_address"), "{reason}");
            }
            Event::Connected { .. } if at == "door://elsewhere" => {}
            other => panic!("{at}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_failed_connection_attempt_is_retried() {
    let place = Arc::<InProcess>::default();
    let backoff = Duration::from_millis(5);
    let pull = pull(&place).reconnect_backoff(backoff, backoff).connect("door://late").build().await.unwrap();
    let mut events = pull.events();
    let Some(Event::ConnectFailed { reason, .. }) = within(events.recv()).await else { panic!("no failure") };
    assert_eq!(reason, "no such door");
    let push = push(&place).bind("door://late").build().await.unwrap();
    push.send("at last").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
}

#[tokio::test]
async fn the_same_seed_gives_the_same_message_ids_and_another_one_does_not() {
    async fn id(seed: Option<u64>) -> tidegate::MessageId {
        let push = Push::builder().bind("tcp://127.0.0.1:0");
        let push = seed.map_or(push.clone(), |seed| push.seed(seed)).build().await.unwrap();
        push.send_tracked("").await.unwrap().id()
    }
    assert_eq!(id(Some(1)).await, id(Some(1)).await);
    assert_ne!(id(Some(1)).await, id(Some(2)).await);
    assert_ne!(id(None).await, id(None).await, "HS-8: without a seed every socket has a name of its own");
}

/// A puller that takes one message and closes with these bytes before it can have read it. Returns what the next
/// puller receives.
async fn goodbye(bytes: &[u8]) -> u32 {
    let place = Arc::<InProcess>::default();
    let push = push(&place).bind("door://a").build().await.unwrap();
    push.send("seen, perhaps").await.unwrap();
    let (mut here, there) = duplex(1_000);
    let ack = v1::Ack { message_limit: 1, byte_limit: 100, ..v1::Ack::default() };
    let ack = wire::encode(v1::frame::Body::Ack(ack));
    assert!(bytes.len() <= ack.len(), "so that each comes with a read of its own");
    place.0.lock().unwrap().get("a").unwrap().send(Narrow(there, ack.len())).unwrap();
    let local = handshake::Local {
        role: Role::Puller,
        instance: InstanceId([7; 16]),
        name: String::new(),
        pipeline: String::new(),
        token: None,
        max_message: 1 << 24,
        heartbeat: Duration::from_secs(2),
        offered: Vec::new(),
        required: Vec::new(),
    };
    here.write_all(&handshake::greet(&local, None, 1)).await.unwrap();
    assert!(within(here.read(&mut [0; 1_000])).await.unwrap() > 0, "its Hello");
    // In one write, so that the pusher writes its message after it has read the first part and before the rest.
    here.write_all(&[&ack, bytes].concat()).await.unwrap();
    here.shutdown().await.unwrap();
    let mut deliver = Vec::new();
    within(here.read_to_end(&mut deliver)).await.unwrap();
    let payload = b"seen, perhaps";
    assert!(deliver.windows(payload.len()).any(|part| part == payload), "it was written: {deliver:?}");
    let pull = pull(&place).connect("door://a").build().await.unwrap();
    let delivery = within(pull.recv()).await.unwrap().unwrap();
    let attempt = delivery.attempt();
    delivery.ack();
    within(push.finish(LONG)).await.unwrap();
    attempt
}

#[tokio::test]
async fn what_was_written_in_the_poll_that_found_the_end_of_the_link_may_have_been_received() {
    // RD-3
    assert_eq!(goodbye(&[]).await, 2, "the end of the stream");
    let close = v1::Close { code: v1::Code::Aborted.into(), ..v1::Close::default() };
    assert_eq!(goodbye(&wire::encode(v1::frame::Body::Close(close))).await, 2, "Close");
}
