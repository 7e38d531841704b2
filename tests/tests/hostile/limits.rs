//! Every limit of the wire: a value at the limit is accepted, a value beyond it is refused.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes};
use tidegate::{Code, Window};
use tidegate_proto::{
    Role, Rule,
    wire::{
        self, Body, PREFACE,
        v1::{self, Verdict, frame::Body as Frame},
    },
};
use tidegate_tests::hostile::raw::{Raw, ack, framed, hello, outcome, resume, unknown};

use crate::job::{self, STRANGE, closed_by, link};

/// A number below 2^21, in three bytes.
fn varint(number: usize) -> [u8; 3] {
    [number as u8 | 0x80, (number >> 7) as u8 | 0x80, (number >> 14) as u8]
}

/// Adds the unknown field 100, so that `bytes` has `size` bytes.
fn fill_up(bytes: &mut Vec<u8>, size: usize) {
    bytes.put_slice(b"\xa2\x06");
    bytes.put_slice(&varint(size - bytes.len() - 3));
    bytes.resize(size, 0);
}

/// A Hello of `size` bytes.
fn hello_of(role: Role, size: usize) -> Bytes {
    let mut frame = wire::encode(Frame::Hello(hello(role, 1)))[4..].to_vec();
    fill_up(&mut frame, size);
    framed(&frame)
}

fn first_frames(at: SocketAddr, role: Role) {
    // FR-3
    let mut raw = Raw::connect(at).unwrap();
    raw.write(&[&PREFACE[..], &hello_of(role, 16_384)].concat()).unwrap();
    assert!(matches!(raw.frame().unwrap(), Some(Body::Hello(_))), "16,384 bytes are accepted");
    let mut raw = Raw::connect(at).unwrap();
    raw.write(&[&PREFACE[..], &hello_of(role, 16_385)[..4]].concat()).unwrap();
    assert_eq!(closed_by(&mut raw, Rule::Fr3), Code::TooLarge);
}

fn fields(at: SocketAddr, role: Role) {
    // HS-7, HS-8, HS-9, HS-10, LV-1
    let names = |count| (0..count).map(|n| format!("f{n}")).collect::<Vec<_>>();
    let long = |length| "x".repeat(length);
    type Change = Box<dyn Fn(&mut v1::Hello, usize)>;
    let cases: [(Rule, usize, usize, Change); 12] = [
        (Rule::Hs10, 256, 257, Box::new(move |h, n| h.name = long(n))),
        (Rule::Hs10, 4_096, 4_097, Box::new(|h, n| h.token = vec![b't'; n].into())),
        (Rule::Hs10, 32, 33, Box::new(move |h, n| h.offered = names(n))),
        (Rule::Hs10, 64, 65, Box::new(move |h, n| h.offered = vec![long(n)])),
        (Rule::Hs8, 16, 17, Box::new(|h, n| h.instance = vec![1; n].into())),
        (Rule::Hs8, 16, 15, Box::new(|h, n| h.instance = vec![1; n].into())),
        (Rule::Hs9, 1, 0, Box::new(|h, n| (h.resume, h.generation) = (resume(7), n as u64))),
        (Rule::Hs9, 16, 1, Box::new(|h, n| h.resume = vec![8; n].into())),
        (Rule::Hs9, 16, 15, Box::new(|h, n| h.resume = vec![9; n].into())),
        (Rule::Hs9, 0, 17, Box::new(|h, n| h.resume = vec![9; n].into())),
        (Rule::Lv1, 60_000, 60_001, Box::new(|h, n| h.heartbeat_ms = n as u32)),
        (Rule::Lv1, 100, 99, Box::new(|h, n| h.heartbeat_ms = n as u32)),
    ];
    for (rule, good, bad, change) in &cases {
        let greet = |value| {
            let mut hello = hello(role, 50);
            change(&mut hello, value);
            Raw::connect(at).unwrap().greet(hello)
        };
        greet(*good).unwrap_or_else(|error| panic!("{rule} {good}: {error}"));
        let refused = greet(*bad).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("MALFORMED: {rule}: ")), "{rule} {bad}: {refused}");
    }
    // A pipeline name of 256 bytes is unknown here; one of 257 bytes is invalid.
    for (length, answer) in [(256, "NO_PIPELINE: HS-5: "), (257, "MALFORMED: HS-10: ")] {
        let hello = v1::Hello { pipeline: long(length), ..hello(role, 60) };
        let refused = Raw::connect(at).unwrap().greet(hello).unwrap_err().to_string();
        assert!(refused.starts_with(answer), "{refused}");
    }
}

fn control_frames(at: SocketAddr, role: Role) {
    // FR-2, FR-3, GR-1
    let mut raw = link(at, role, 20);
    let largest = unknown(65_536);
    assert_eq!(largest.len(), 4 + 65_536);
    raw.write(&largest).unwrap();
    raw.settle_down().unwrap();
    raw.write(&[0, 1, 0, 1, 0xa2]).unwrap();
    assert_eq!(closed_by(&mut raw, Rule::Fr3), Code::TooLarge);
    let mut raw = link(at, role, 21);
    raw.write(&[0; 4]).unwrap();
    assert_eq!(closed_by(&mut raw, Rule::Fr2), Code::Malformed);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_the_handshake_and_of_control_have_their_limits_at_a_pusher() {
    job::pusher(
        2_000,
        true,
        |push| push,
        |at| {
            first_frames(at, Role::Puller);
            fields(at, Role::Puller);
            control_frames(at, Role::Puller);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_the_handshake_and_of_control_have_their_limits_at_a_puller() {
    job::puller(
        2_000,
        |pull| pull,
        |at| {
            first_frames(at, Role::Pusher);
            fields(at, Role::Pusher);
            control_frames(at, Role::Pusher);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_max_message_that_does_not_fit_is_refused_with_both_numbers() {
    // HS-7
    job::puller(
        1_000,
        |pull| pull,
        |at| {
            let greet = |max_message| {
                let hello = v1::Hello { max_message, ..hello(Role::Pusher, 1) };
                Raw::connect(at).unwrap().greet(hello)
            };
            greet(16 << 20).unwrap();
            greet(1).unwrap();
            let refused = greet((16 << 20) + 1).unwrap_err().to_string();
            assert!(refused.starts_with("MESSAGE_SIZE: HS-7: ") && refused.contains("16777217"), "{refused}");
            for bad in [0, (1 << 31) - 65_535] {
                let refused = greet(bad).unwrap_err().to_string();
                assert!(refused.starts_with("MALFORMED: HS-7: "), "{refused}");
            }
        },
    )
    .await;
}

fn message(payload: Bytes) -> v1::Message {
    v1::Message { payload, ..v1::Message::default() }
}

fn batch(messages: Vec<v1::Message>) -> Frame {
    Frame::Deliver(v1::Deliver { first_id: 0, first_number: 0, messages })
}

/// A pusher's link with credit.
fn granted(at: SocketAddr, instance: u8, max_message: u64) -> Raw {
    let mut raw = Raw::connect(at).unwrap();
    raw.greet(v1::Hello { max_message, ..hello(Role::Pusher, instance) }).unwrap();
    raw.until(|body| matches!(body, Body::Ack(ack) if ack.message_limit > 0).then_some(())).unwrap();
    raw
}

/// Waits until delivery 0 is acked.
fn acked(raw: &mut Raw) {
    let done = |body: &Body| matches!(body, Body::Ack(ack) if !ack.outcomes.is_empty()).then_some(());
    raw.until(done).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_have_their_limits() {
    // DL-2, DL-4, DL-5, DL-6
    let window = Window::fixed(1_000, 1 << 20);
    job::puller(
        1_000,
        |pull| pull.window(window),
        |at| {
            let header = |name: usize| v1::Header { name: "n".repeat(name), value: Bytes::new() };
            let strange = || message(STRANGE.into());
            let with = |headers| batch(vec![v1::Message { headers, ..strange() }]);
            let numbered =
                |first_number| v1::Deliver { first_id: 0, first_number, messages: vec![strange()] };
            let cases = [
                (with(vec![header(1); 64]), with(vec![header(1); 65]), Rule::Dl5),
                (with(vec![header(256)]), with(vec![header(257)]), Rule::Dl5),
                (with(vec![header(1)]), with(vec![header(0)]), Rule::Dl5),
                (batch(vec![strange()]), batch(Vec::new()), Rule::Dl6),
                (Frame::Deliver(numbered((1 << 53) - 1)), Frame::Deliver(numbered(1 << 53)), Rule::Dl2),
            ];
            for (number, (good, bad, rule)) in cases.into_iter().enumerate() {
                let mut raw = granted(at, number as u8, 1_000_000);
                raw.send(good).unwrap();
                acked(&mut raw);
                let mut raw = granted(at, 100 + number as u8, 1_000_000);
                raw.send(bad).unwrap();
                assert_eq!(closed_by(&mut raw, rule), Code::Malformed);
            }
            let mut raw = granted(at, 50, STRANGE.len() as u64);
            raw.send(batch(vec![strange()])).unwrap();
            acked(&mut raw);
            let mut raw = granted(at, 51, STRANGE.len() as u64 - 1);
            raw.send(batch(vec![strange()])).unwrap();
            assert_eq!(closed_by(&mut raw, Rule::Dl4), Code::MessageSize);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_on_a_deliver_frame_depends_on_the_largest_message() {
    // FR-3: at least 262,144 bytes, and 65,536 more than max_message.
    for (max_message, limit) in [(1_000, 262_144), (500_000, 565_536)] {
        let window = Window::fixed(100_000, 8 << 20);
        let attack = move |at| {
            let mut raw = granted(at, 1, max_message as u64);
            let good = wire::encode(batch(vec![message(STRANGE.into())]));
            // Without the length of the frame, and without the key and the length of Deliver.
            let mut deliver = good[4 + 2..].to_vec();
            fill_up(&mut deliver, limit - 4);
            let mut frame = vec![0x12];
            frame.put_slice(&varint(limit - 4));
            frame.put_slice(&deliver);
            assert_eq!(frame.len(), limit);
            raw.write(&framed(&frame)).unwrap();
            acked(&mut raw);
            let mut raw = granted(at, 2, max_message as u64);
            raw.write(&(limit as u32 + 1).to_be_bytes()).unwrap();
            raw.write(b"\x12").unwrap();
            assert_eq!(closed_by(&mut raw, Rule::Fr3), Code::TooLarge);
        };
        job::puller_of(1_000, max_message, |pull| pull.window(window).max_message(max_message), attack).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_of_any_length_is_accepted_and_truncated() {
    // OC-7
    job::pusher(
        1_000,
        false,
        |push| push,
        |at| {
            let mut raw = link(at, Role::Puller, 1);
            for (id, length) in [(0, 256), (1, 257), (2, 60_000)] {
                raw.send(ack(Vec::new(), (id + 1, 1 << 20))).unwrap();
                raw.until(|body| matches!(body, Body::Deliver(_)).then_some(())).unwrap();
                let reason = "r".repeat(length);
                let nack = v1::Outcome { reason, ..outcome(id, 1, Verdict::Nack) };
                raw.send(ack(vec![nack], (id + 1, 1 << 20))).unwrap();
            }
            raw.settle_down().unwrap();
            raw
        },
    )
    .await;
}
