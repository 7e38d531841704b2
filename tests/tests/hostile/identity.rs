//! Peers that claim to be another peer: with its instance, which is public, and with anything else that they can learn.
//! The real peer loses nothing, and can still replace its own links.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tidegate::{Code, Event, Events, Pull, PullBuilder, Push, Tls, Window};
use tidegate_proto::{
    Role,
    wire::{
        self, Body, PREFACE,
        v1::{self, frame::Body as Frame},
    },
};
use tidegate_tests::{
    certs::Ca,
    hostile::raw::{Raw, ack, address, hello, resume},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, watch},
    task::spawn_blocking,
};

use crate::job::{STRANGE, within};

const MANY: u32 = 50;
const LONG: Duration = Duration::from_secs(60);

/// A relay that can hold back the bytes of both sides, and cut its connections unnoticed by the acceptor.
struct Gate {
    endpoint: String,
    open: watch::Sender<bool>,
    cut: Arc<Notify>,
    /// The connector's most recent Hello.
    hello: watch::Receiver<v1::Hello>,
}

impl Gate {
    async fn before(to: &str) -> Self {
        let (scheme, rest) = to.split_once("://").unwrap();
        let (place, pipeline) = rest.split_once('/').unwrap_or((rest, ""));
        let (to, listener) = (place.to_owned(), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
        let slash = if pipeline.is_empty() { "" } else { "/" };
        let endpoint = format!("{scheme}://{}{slash}{pipeline}", listener.local_addr().unwrap());
        let (open, mut opened) = watch::channel(true);
        let (told, hello) = watch::channel(v1::Hello::default());
        let cut = Arc::new(Notify::new());
        let cutting = cut.clone();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(&to).await.unwrap();
                let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
                loop {
                    let passes = *opened.borrow_and_update();
                    tokio::select! {
                        biased;
                        () = cutting.notified() => break,
                        _ = opened.changed() => {}
                        read = near.read(&mut up), if passes => {
                            let Ok(count @ 1..) = read else { break };
                            if let Some(frame) = up[..count].strip_prefix(&PREFACE)
                                && let Ok(Body::Hello(hello)) = wire::decode(Bytes::copy_from_slice(&frame[4..]), 0)
                            {
                                told.send_replace(hello);
                            }
                            if far.write_all(&up[..count]).await.is_err() {
                                break;
                            }
                        }
                        read = far.read(&mut down), if passes => {
                            let Ok(count @ 1..) = read else { break };
                            if near.write_all(&down[..count]).await.is_err() {
                                break;
                            }
                        }
                    }
                }
                kept.push(far);
            }
        });
        Self { endpoint, open, cut, hello }
    }

    /// From now on, bytes are held back, and lost with the link.
    fn hold(&self) {
        self.open.send_replace(false);
    }

    fn cut(&self) {
        self.cut.notify_one();
        self.open.send_replace(true);
    }
}

/// A puller with room for everything.
fn builder() -> PullBuilder {
    Pull::builder().window(Window::messages(1_000))
}

/// Waits for the end of a link, and returns why.
async fn ended(events: &mut Events) -> Option<Code> {
    loop {
        if let Event::Disconnected { end, .. } = within(events.recv()).await.unwrap() {
            return end.code;
        }
    }
}

/// Checks that no link of this side has ended.
fn none_has_ended(mut events: Events) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        let next = std::pin::pin!(events.recv());
        match next.poll(&mut cx) {
            std::task::Poll::Ready(Some(event)) => {
                assert!(!matches!(event, Event::Disconnected { .. }), "{event:?}");
            }
            _ => return,
        }
    }
}

/// Sends messages under the numbers of another pusher, gets them acked, and breaks its link.
fn send_forged(mut raw: Raw) {
    raw.until(|body| matches!(body, Body::Ack(ack) if ack.message_limit > 0).then_some(())).unwrap();
    for number in 0..u64::from(MANY) {
        let messages = vec![v1::Message { payload: Bytes::from_static(STRANGE), ..Default::default() }];
        let deliver = v1::Deliver { first_id: number, first_number: number + 1, messages };
        raw.send(Frame::Deliver(deliver)).unwrap();
    }
    let mut acked = 0;
    raw.until(|body| {
        if let Body::Ack(ack) = body {
            acked += ack.outcomes.iter().map(|outcome| outcome.count).sum::<u64>();
        }
        (acked >= u64::from(MANY)).then_some(())
    })
    .unwrap();
}

/// The pusher's messages are lost in transit and redelivered. All of them must run, although the forger sent messages
/// with the same numbers before.
async fn all_is_run(push: Push, pull: Pull, gate: &Gate, forge: impl FnOnce(v1::Hello) + Send + 'static) {
    let first = push.send_tracked("first").await.unwrap();
    let delivery = within(pull.recv()).await.unwrap().unwrap();
    assert_eq!(delivery.payload(), b"first");
    let instance = delivery.id().instance;
    delivery.ack();
    within(first).await.unwrap();
    let worker = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(delivery) = pull.recv().await.unwrap() {
            if delivery.payload() != STRANGE {
                seen.push((u32::from_be_bytes(delivery.payload().try_into().unwrap()), delivery.attempt()));
            }
            delivery.ack();
            if seen.len() == MANY as usize {
                break;
            }
        }
        seen.sort_unstable();
        (seen, pull)
    });
    let stolen = v1::Hello { instance: Bytes::copy_from_slice(&instance.0), ..gate.hello.borrow().clone() };
    spawn_blocking(move || forge(stolen)).await.unwrap();
    gate.hold();
    for number in 0..MANY {
        push.send(number.to_be_bytes().to_vec()).await.unwrap();
    }
    while !push.link_stats().iter().any(|link| link.in_flight >= MANY.into() && link.unwritten == 0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gate.cut();
    let (seen, pull) = within(worker).await.unwrap();
    assert_eq!(seen, (0..MANY).map(|number| (number, 2)).collect::<Vec<_>>(), "each message runs");
    let stats = within(push.finish(LONG)).await.unwrap();
    assert_eq!((stats.acked, stats.in_flight), (u64::from(MANY) + 1, 0));
    drop(pull);
}

fn greeted(at: SocketAddr, hello: v1::Hello) -> Raw {
    let mut raw = Raw::connect(at).unwrap();
    raw.greet(hello).unwrap();
    raw
}

/// A puller with two pipelines, a pusher that connects to the first, and a forger at either.
async fn forged(forge: fn(v1::Hello) -> v1::Hello, at_the_other: bool) {
    let pull = builder().bind("tcp://127.0.0.1:0/one").bind("tcp://127.0.0.1:0/two").build().await.unwrap();
    let places: Vec<_> = pull.local_endpoints().iter().map(ToString::to_string).collect();
    let gate = Gate::before(&places[0]).await;
    let push = Push::builder().connect(&gate.endpoint).build().await.unwrap();
    let place = places[usize::from(at_the_other)].rsplit_once('/').unwrap().0;
    let at = address(place);
    all_is_run(push, pull, &gate, move |stolen| send_forged(greeted(at, forge(stolen)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_numbers_under_another_pushers_instance_do_not_have_messages_acked() {
    // HS-9, RD-9: attack S1
    forged(|stolen| v1::Hello { resume: Bytes::new(), ..stolen }, false).await;
    forged(|stolen| v1::Hello { resume: resume(1), ..stolen }, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_numbers_from_another_pipeline_do_not_have_messages_acked() {
    // HS-9, RD-9: attack S1
    forged(|stolen| v1::Hello { pipeline: "two".into(), generation: u64::MAX >> 12, ..stolen }, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_numbers_from_a_listening_peer_do_not_have_messages_acked() {
    // HS-9, RD-9: attack S1
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let forger = format!("tcp://{}", listener.local_addr().unwrap());
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await.unwrap();
    let gate = Gate::before(&push.local_endpoints()[0].to_string()).await;
    let pull = builder().connect(&gate.endpoint).connect(&forger).build().await.unwrap();
    all_is_run(push, pull, &gate, move |stolen| {
        let (mut raw, _) = Raw::accept(&listener).unwrap();
        let answer = v1::Hello { instance: stolen.instance, max_message: 1_000, ..hello(Role::Pusher, 1) };
        raw.write(&PREFACE).unwrap();
        raw.send(Frame::Hello(answer)).unwrap();
        send_forged(raw);
    })
    .await;
}

/// A puller holds messages of a pusher while a forger claims to be that puller. The puller keeps its link and its
/// messages, and can still replace its own link when it reconnects.
async fn keeps_its_messages(steal: fn(v1::Hello) -> v1::Hello, at_the_other: bool) {
    let push =
        Push::builder().bind("tcp://127.0.0.1:0/one").bind("tcp://127.0.0.1:0/two").build().await.unwrap();
    let places: Vec<_> = push.local_endpoints().iter().map(ToString::to_string).collect();
    let gate = Gate::before(&places[0]).await;
    let pull = builder().connect(&gate.endpoint).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    let (at_puller, mut at_pusher) = (pull.events(), push.events());
    push.send("in flight").await.unwrap();
    let held = within(pull.recv()).await.unwrap().unwrap();
    let stolen = gate.hello.borrow().clone();
    let at = address(places[usize::from(at_the_other)].rsplit_once('/').unwrap().0);
    let thief = spawn_blocking(move || {
        let mut raw = greeted(at, v1::Hello { generation: u64::MAX >> 12, ..steal(stolen) });
        raw.send(ack(Vec::new(), (1_000, 1 << 20))).unwrap();
        raw.settle_down().unwrap();
        raw
    })
    .await
    .unwrap();
    assert_eq!(push.stats().links, 2);
    none_has_ended(at_puller);
    // It reconnects although its old link looks alive, and gets its message.
    gate.cut();
    assert_eq!(ended(&mut at_pusher).await, Some(Code::Replaced));
    held.ack();
    while push.stats().acked < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(push.stats().links, 2);
    drop(thief);
    within(push.finish(LONG)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pullers_link_is_not_taken_over_with_its_instance_and_a_huge_generation() {
    // HS-9, RD-8: attack S2
    keeps_its_messages(|stolen| v1::Hello { resume: Bytes::new(), ..stolen }, false).await;
    keeps_its_messages(|stolen| v1::Hello { resume: resume(1), ..stolen }, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pullers_link_is_not_taken_over_from_another_pipeline() {
    // HS-9, RD-8: attack S2
    keeps_its_messages(|stolen| v1::Hello { pipeline: "two".into(), ..stolen }, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pullers_link_is_not_taken_over_by_an_acceptor_with_the_secret_it_received() {
    // HS-9: each endpoint receives a different secret. Attack S2
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let forger = format!("tcp://{}", listener.local_addr().unwrap());
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await.unwrap();
    let here = push.local_endpoints()[0].to_string();
    let at = address(&here);
    let gate = Gate::before(&here).await;
    let pull = builder().connect(&gate.endpoint).connect(&forger).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    let events = push.events();
    push.send("in flight").await.unwrap();
    let held = within(pull.recv()).await.unwrap().unwrap();
    let (learned, thief) = spawn_blocking(move || {
        let (asking, learned) = Raw::accept(&listener).unwrap();
        let mut raw = greeted(at, v1::Hello { generation: u64::MAX >> 12, ..learned.clone() });
        raw.settle_down().unwrap();
        (learned, (asking, raw))
    })
    .await
    .unwrap();
    let shown = gate.hello.borrow().clone();
    assert_eq!((shown.instance, shown.resume.len()), (learned.instance, 16));
    assert_ne!(shown.resume, learned.resume);
    none_has_ended(events);
    held.ack();
    while push.stats().acked < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(thief);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_attack_works_with_another_certificate() {
    // HS-9, TL-4: attacks S1 and S2. Two sockets with one seed have one instance and one secret.
    let ca = Ca::new("test");
    let server = ca.sign(&["127.0.0.1"]).config().ca(ca.pem()).verify_clients(true);
    let tls = |name: &str| Tls::load(ca.sign(&[name]).config().ca(ca.pem())).unwrap();
    let pull = builder().bind("tls://127.0.0.1:0").tls(Tls::load(server).unwrap()).build().await.unwrap();
    let at = pull.local_endpoints()[0].to_string();
    let honest = Push::builder().connect(&at).tls(tls("honest")).seed(7).build().await.unwrap();
    within(pull.connected(1)).await.unwrap();
    let events = honest.events();
    let thief = Push::builder().connect(&at).tls(tls("thief")).seed(7).build().await.unwrap();
    within(pull.connected(2)).await.unwrap();
    let (one, other) =
        (honest.send_tracked("one").await.unwrap(), thief.send_tracked("other").await.unwrap());
    let (first, second) =
        (within(pull.recv()).await.unwrap().unwrap(), within(pull.recv()).await.unwrap().unwrap());
    assert_eq!(first.id(), second.id(), "both claim the same instance");
    assert_ne!(first.payload(), second.payload());
    first.ack();
    second.ack();
    within(one).await.unwrap();
    within(other).await.unwrap();
    assert_eq!(pull.stats().links, 2);
    none_has_ended(events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_whose_secret_was_used_continues_with_another_one() {
    // HS-9: without TLS, an eavesdropper learns everything; the connector still gets a link.
    let push = Push::builder().bind("tcp://127.0.0.1:0").build().await.unwrap();
    let here = push.local_endpoints()[0].to_string();
    let at = address(&here);
    let gate = Gate::before(&here).await;
    let pull = builder().connect(&gate.endpoint).build().await.unwrap();
    within(push.connected(1)).await.unwrap();
    let mut events = push.events();
    let stolen = gate.hello.borrow().clone();
    let used = stolen.resume.clone();
    let thief = spawn_blocking(move || greeted(at, v1::Hello { generation: u64::MAX >> 12, ..stolen }))
        .await
        .unwrap();
    assert_eq!(ended(&mut events).await, Some(Code::Replaced));
    push.send("m").await.unwrap();
    within(pull.recv()).await.unwrap().unwrap().ack();
    assert_ne!(gate.hello.borrow().resume, used);
    assert_eq!(gate.hello.borrow().generation, 1);
    drop(thief);
    within(push.finish(LONG)).await.unwrap();
}
