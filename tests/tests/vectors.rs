//! The golden frames in `tests/vectors/`: what is committed equals what is made here, the valid ones are read, and each
//! bad one is refused by the real machines with the code that its description names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use std::{collections::VecDeque, fs, path::PathBuf, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use serde_json::json;
use tidegate_proto::{
    Code, InstanceId, Machine, Peer, Puller, PullerSettings, Pusher, PusherSettings, Role, Time, Violation,
    Window,
    handshake::{self, Local},
    wire::{self, Body, FrameReader, PREFACE, v1, v1::frame::Body as Wire},
};

const NOW: Time = Time(1_000_000);

fn local(role: Role) -> Local {
    Local {
        role,
        instance: InstanceId([7; 16]),
        name: "golden".into(),
        pipeline: "work".into(),
        token: Some("secret".into()),
        max_message: 1_000,
        heartbeat: Duration::from_secs(2),
        offered: Vec::new(),
        required: Vec::new(),
    }
}

fn hello() -> v1::Hello {
    v1::Hello {
        version_min: 1,
        version_max: 1,
        role: Role::Puller.into(),
        instance: Bytes::from_static(&[9; 16]),
        name: "golden".into(),
        pipeline: "work".into(),
        token: "secret".into(),
        slot: 1,
        generation: 1,
        max_message: 1_000,
        heartbeat_ms: 2_000,
        offered: Vec::new(),
        required: Vec::new(),
    }
}

fn message(payload: &'static str) -> v1::Message {
    v1::Message { payload: payload.into(), ..Default::default() }
}

fn deliver(first_id: u64, messages: Vec<v1::Message>) -> Wire {
    Wire::Deliver(v1::Deliver { first_id, first_number: 0, messages })
}

fn outcome(first: u64, count: u64, verdict: i32) -> v1::Outcome {
    v1::Outcome { first, count, verdict, ..Default::default() }
}

fn ack(outcomes: Vec<v1::Outcome>) -> v1::Ack {
    v1::Ack { outcomes, message_limit: 10, byte_limit: 1_000, recall: false, leaving: false }
}

fn valid() -> Vec<(&'static str, &'static str, Wire)> {
    let header = v1::Header { name: "traceparent".into(), value: "00-ab".into() };
    let full =
        v1::Message { headers: vec![header], gap: 4, attempt: 2, tracked: true, payload: "third".into() };
    let back = v1::Message { gap: -7, attempt: 3, ..message("again") };
    let nack = v1::Outcome { delay_ms: 1_500, reason: "busy".into(), ..outcome(5, 2, 2) };
    let reject = v1::Outcome { reason: "no such file".into(), ..outcome(7, 1, 3) };
    vec![
        ("hello", "a puller's Hello: token secret, pipeline work (HS-1)", Wire::Hello(hello())),
        ("deliver-plain", "two messages, ids 0 and 1 (DL-1)", deliver(0, vec![message("a"), message("b")])),
        (
            "deliver-full",
            "headers, a gap, attempt 2, tracked (DL-2, DL-3, DL-5)",
            deliver(3, vec![message(""), full]),
        ),
        (
            "deliver-back",
            "a retried message with a lower number (DL-2)",
            deliver(9, vec![message("x"), back]).with_number(20),
        ),
        ("ack-grant", "a plain grant (CR-10)", Wire::Ack(ack(Vec::new()))),
        (
            "ack-outcomes",
            "all four outcomes (OC-1)",
            Wire::Ack(ack(vec![outcome(0, 5, 1), nack, reject, outcome(8, 1, 4)])),
        ),
        ("ack-recall", "a recall (RC-1)", Wire::Ack(v1::Ack { recall: true, ..ack(Vec::new()) })),
        ("ack-leaving", "leaving (ST-1)", Wire::Ack(v1::Ack { leaving: true, ..ack(Vec::new()) })),
        ("skip", "the worked example's Skip (RC-1)", Wire::Skip(v1::Skip { next_id: 6, bytes: 100 })),
        ("ping", "a Ping (LV-4)", Wire::Ping(v1::Ping { data: 0x0102_0304 })),
        ("pong", "its Pong (LV-4)", Wire::Pong(v1::Pong { data: 0x0102_0304 })),
        ("end", "the stream is over (ST-2)", Wire::End(v1::End {})),
        (
            "close",
            "come back in a second (HS-12)",
            Wire::Close(v1::Close {
                code: Code::Busy.into(),
                reason: "too many links".into(),
                retry_after_ms: 1_000,
            }),
        ),
    ]
}

trait WithNumber {
    fn with_number(self, number: u64) -> Self;
}

impl WithNumber for Wire {
    fn with_number(self, number: u64) -> Self {
        match self {
            Self::Deliver(deliver) => Self::Deliver(v1::Deliver { first_number: number, ..deliver }),
            other => other,
        }
    }
}

struct Bad {
    name: &'static str,
    stage: &'static str,
    to: Role,
    code: Code,
    rule: &'static str,
    octets: Vec<u8>,
}

fn bad() -> Vec<Bad> {
    let mut all = Vec::new();
    let mut add = |name, stage, to, code, rule, octets: Vec<u8>| {
        all.push(Bad { name, stage, to, code, rule, octets });
    };
    let (pusher, puller) = (Role::Pusher, Role::Puller);
    add("preface-http", "preface", pusher, Code::NotTidegate, "FR-1", b"GET / HTTP/1.1\r\n\r\n".to_vec());
    add(
        "preface-zeromq",
        "preface",
        pusher,
        Code::NotTidegate,
        "FR-1",
        vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f],
    );
    add("hello-empty", "hello", pusher, Code::Malformed, "FR-2", vec![0; 4]);
    add("hello-huge", "hello", pusher, Code::TooLarge, "FR-3", vec![0xff; 4]);
    add("hello-noise", "hello", pusher, Code::Malformed, "FR-4", vec![0, 0, 0, 2, 0xff, 0xff]);
    let ping = wire::encode(Wire::Ping(v1::Ping { data: 1 })).to_vec();
    add("hello-ping", "hello", pusher, Code::Unexpected, "FR-5", ping);
    let mut greet = |name, code, rule, change: fn(&mut v1::Hello)| {
        let mut changed = hello();
        change(&mut changed);
        add(name, "hello", pusher, code, rule, wire::encode(Wire::Hello(changed)).to_vec());
    };
    greet("hello-version", Code::Version, "HS-3", |h| (h.version_min, h.version_max) = (2, 9));
    greet("hello-no-token", Code::Unauthorized, "HS-4", |h| h.token = Bytes::new());
    greet("hello-wrong-token", Code::Unauthorized, "HS-4", |h| h.token = "guess".into());
    greet("hello-pipeline", Code::NoPipeline, "HS-5", |h| h.pipeline = "play".into());
    greet("hello-role", Code::Role, "HS-6", |h| h.role = Role::Pusher.into());
    greet("hello-size", Code::MessageSize, "HS-7", |h| h.max_message = 999);
    greet("hello-size-0", Code::Malformed, "HS-7", |h| h.max_message = 0);
    greet("hello-instance", Code::Malformed, "HS-8", |h| h.instance = "short".into());
    greet("hello-generation", Code::Malformed, "HS-9", |h| h.generation = 0);
    greet("hello-feature", Code::Feature, "HS-10", |h| h.required = vec!["chunks".into()]);
    greet("hello-name", Code::Malformed, "HS-10", |h| h.name = "n".repeat(257));
    greet("hello-heartbeat", Code::Malformed, "LV-1", |h| h.heartbeat_ms = 1);
    let mut open = |name, to, code, rule, body: Wire| {
        add(name, "open", to, code, rule, wire::encode(body).to_vec());
    };
    open("deliver-to-pusher", pusher, Code::Unexpected, "FR-5", deliver(0, vec![message("a")]));
    open("ack-to-puller", puller, Code::Unexpected, "FR-5", Wire::Ack(ack(Vec::new())));
    open("second-hello", puller, Code::Unexpected, "FR-5", Wire::Hello(hello()));
    open("deliver-beyond-credit", puller, Code::Credit, "CR-3", deliver(0, vec![message("a"); 5]));
    open("deliver-wrong-id", puller, Code::Malformed, "DL-1", deliver(1, vec![message("a")]));
    open(
        "deliver-number",
        puller,
        Code::Malformed,
        "DL-2",
        deliver(0, vec![message("a")]).with_number(1 << 63),
    );
    let first = v1::Message { gap: 1, ..message("a") };
    open("deliver-first-gap", puller, Code::Malformed, "DL-2", deliver(0, vec![first]));
    let large = v1::Message { payload: vec![0; 1_001].into(), ..Default::default() };
    open("deliver-large", puller, Code::MessageSize, "DL-4", deliver(0, vec![large]));
    let nameless = v1::Message { headers: vec![v1::Header::default()], ..message("a") };
    open("deliver-nameless-header", puller, Code::Malformed, "DL-5", deliver(0, vec![nameless]));
    let many = v1::Message {
        headers: vec![v1::Header { name: "h".into(), ..Default::default() }; 65],
        ..message("")
    };
    open("deliver-65-headers", puller, Code::Malformed, "DL-5", deliver(0, vec![many]));
    open("deliver-empty", puller, Code::Malformed, "DL-6", deliver(0, Vec::new()));
    open("ack-never-sent", pusher, Code::UnknownDelivery, "OC-2", Wire::Ack(ack(vec![outcome(3, 1, 1)])));
    open("ack-count-0", pusher, Code::Malformed, "OC-10", Wire::Ack(ack(vec![outcome(0, 0, 1)])));
    open("ack-overflow", pusher, Code::Malformed, "OC-10", Wire::Ack(ack(vec![outcome(u64::MAX, 2, 1)])));
    open("ack-verdict", pusher, Code::Malformed, "OC-10", Wire::Ack(ack(vec![outcome(0, 1, 9)])));
    open("skip-unasked", puller, Code::Unexpected, "RC-3", Wire::Skip(v1::Skip { next_id: 1, bytes: 0 }));
    open("skip-to-pusher", pusher, Code::Unexpected, "FR-5", Wire::Skip(v1::Skip::default()));
    open("end-to-pusher", pusher, Code::Unexpected, "FR-5", Wire::End(v1::End {}));
    add("control-large", "open", pusher, Code::TooLarge, "FR-3", vec![0, 1, 0, 1, 0x1a]);
    add("frame-noise", "open", puller, Code::Malformed, "FR-4", vec![0, 0, 0, 3, 0x12, 0xff, 0xff]);
    all
}

/// The Close that the real code answers with.
fn answer(bad: &Bad) -> (Code, String) {
    let mut reader = FrameReader::new();
    if bad.stage != "preface" {
        reader.buffer().extend_from_slice(&PREFACE);
    }
    if bad.stage == "open" {
        return answer_open(bad, reader);
    }
    reader.buffer().extend_from_slice(&bad.octets);
    let refused = |violation: Violation| {
        let mut octets = handshake::refusal(&violation, Duration::ZERO);
        octets.advance(12);
        let Ok(Body::Close(close)) = wire::decode(octets, 0) else { panic!("not a Close") };
        (Code::from_wire(close.code), close.reason)
    };
    match reader.next_frame() {
        Err(violation) => refused(violation),
        Ok(frame) => refused(handshake::accept(frame.expect("a whole frame"), &[local(bad.to)]).unwrap_err()),
    }
}

fn answer_open(bad: &Bad, reader: FrameReader) -> (Code, String) {
    let peer = Peer {
        role: Role::Puller,
        instance: InstanceId([9; 16]),
        name: String::new(),
        address: String::new(),
        pipeline: String::new(),
        max_message: 1_000,
        heartbeat: Duration::from_secs(2),
        slot: None,
    };
    if bad.to == Role::Pusher {
        let mut pusher = Pusher::new(PusherSettings::default(), InstanceId([7; 16]), 1).unwrap();
        let link = pusher.open(NOW, peer).unwrap();
        pusher.receive(NOW, link, wire::encode(Wire::Ack(ack(Vec::new()))).slice(4..));
        for payload in ["a", "b", "c"] {
            pusher.send(payload.into(), false).unwrap();
        }
        let answer = feed(&mut pusher, link, reader, &bad.octets);
        pusher.lost(NOW, link, "");
        let stats = pusher.stats();
        assert_eq!(
            (stats.queued, stats.acked),
            (3, 0),
            "{}: nothing is lost, and nothing took effect",
            bad.name
        );
        answer
    } else {
        let mut settings = PullerSettings::default();
        settings.window = Window::fixed(4, 1_000);
        let mut puller: Puller = Puller::new(settings).unwrap();
        let link = puller.open(NOW, Peer { role: Role::Pusher, ..peer }).unwrap();
        let answer = feed(&mut puller, link, reader, &bad.octets);
        assert_eq!(puller.stats().received, 0, "{}: nothing took effect", bad.name);
        answer
    }
}

fn feed<M: Machine>(
    machine: &mut M,
    link: tidegate_proto::LinkId,
    mut reader: FrameReader,
    octets: &[u8],
) -> (Code, String) {
    let hello = wire::encode(Wire::Hello(hello()));
    reader.buffer().extend_from_slice(&hello);
    reader.next_frame().unwrap().expect("the Hello");
    reader.open(machine.frame_limit());
    let mut out = VecDeque::new();
    machine.transmit(NOW, link, &mut out); // the prelude goes out
    machine.written(NOW, link, out.drain(..).map(|piece| piece.len()).sum());
    reader.buffer().extend_from_slice(octets);
    match reader.next_frame() {
        Ok(frame) => machine.receive(NOW, link, frame.expect("a whole frame")),
        Err(violation) => machine.unreadable(NOW, link, violation),
    }
    machine.transmit(NOW, link, &mut out);
    let mut all: BytesMut = out.into_iter().flatten().collect();
    while !all.is_empty() {
        let length = all.get_u32() as usize;
        if let Ok(Body::Close(close)) = wire::decode(all.split_to(length).freeze(), 1_000) {
            return (Code::from_wire(close.code), close.reason);
        }
    }
    panic!("no Close")
}

fn compare(folder: &str, name: &str, octets: &[u8], about: &serde_json::Value) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(folder);
    let text = format!("{about:#}\n");
    let (bin, json) = (folder.join(format!("{name}.bin")), folder.join(format!("{name}.json")));
    if std::env::var_os("TIDEGATE_UPDATE_VECTORS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&bin, octets).unwrap();
        fs::write(&json, &text).unwrap();
    }
    assert!(fs::read(&bin).unwrap() == octets, "{} differs", bin.display());
    assert!(fs::read_to_string(&json).unwrap() == text, "{} differs", json.display());
}

#[test]
fn valid_frames_are_what_they_were_and_are_read() {
    // GR-3, FR-2
    for (name, about, body) in valid() {
        let octets = wire::encode(body.clone());
        compare("valid", name, &octets, &json!({ "about": about, "octets": octets.len() }));
        let read = wire::decode(octets.slice(4..), 1_000).unwrap();
        assert!(!matches!(read, Body::Unknown), "{name}");
        if let (Wire::Deliver(deliver), Body::Deliver(batch)) = (body, read) {
            let payloads: Vec<_> = batch.items().map(|item| item.payload_bytes(&batch.octets)).collect();
            assert_eq!(payloads, deliver.messages.into_iter().map(|m| m.payload).collect::<Vec<_>>());
        }
    }
}

#[test]
fn bad_octets_are_refused_with_the_code_that_they_must_give() {
    // ER-1, FR-1, FR-2, FR-3, FR-4, FR-5
    for bad in bad() {
        let to = if bad.to == Role::Pusher { "pusher" } else { "puller" };
        let about = json!({ "stage": bad.stage, "to": to, "code": bad.code.name(), "rule": bad.rule });
        compare("bad", bad.name, &bad.octets, &about);
        let (code, reason) = answer(&bad);
        assert_eq!(code, bad.code, "{}: {reason}", bad.name);
        assert!(reason.starts_with(bad.rule), "{}: {reason}", bad.name);
    }
}
