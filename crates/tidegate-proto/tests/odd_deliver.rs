//! Unusual encodings of `Deliver`, legal and damaged: the hand-written codec decodes them as the generated code and the
//! rules of SPEC.md require.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use prost::Message as _;
use tidegate_proto::{
    Code, Message, Rule,
    wire::{Batch, Body, Item, MAX_COUNTER, MAX_HEADER_NAME, MAX_HEADERS, decode, v1},
};

/// Large enough for all messages made here.
const ROOMY: u64 = 1 << 20;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A message with the fields that the application and the pusher set.
#[derive(Clone, Debug)]
struct Sent {
    number: u64,
    attempt: u32,
    tracked: bool,
    message: Message,
}

fn payloads() -> impl Strategy<Value = Bytes> {
    // Edge cases: lengths around 0x80, where the length needs a second byte, and around 16 KiB.
    let lengths = prop_oneof![
        4 => Just(0),
        8 => 1..40usize,
        8 => 0x78..0x84usize,
        2 => 0x3ff0..0x4010usize,
        1 => 20_000..70_000usize,
    ];
    (lengths, any::<u8>()).prop_map(|(length, byte)| vec![byte; length].into())
}

fn headers() -> impl Strategy<Value = Vec<(String, Bytes)>> {
    let names = prop_oneof!["[a-zé]{1,6}", "x{125,129}", "n{256}"];
    let values = prop_oneof![Just(0), 1..9usize, 0x7c..0x82usize].prop_map(|n| Bytes::from(vec![b'v'; n]));
    prop_oneof![3 => Just(Vec::new()), 1 => vec((names, values), 1..5)]
}

/// Numbers that are mostly consecutive, as those of a pusher, and sometimes jump.
fn sents() -> impl Strategy<Value = Vec<Sent>> {
    let jumps = prop_oneof![
        6 => Just(None),
        1 => (0..=MAX_COUNTER).prop_map(Some),
        1 => Just(Some(MAX_COUNTER)),
        1 => Just(Some(0)),
    ];
    let attempts = prop_oneof![4 => Just(1), 1 => 2..300u32, 1 => Just(u32::MAX)];
    let one = (jumps, attempts, prop::bool::weighted(0.2), headers(), payloads());
    (0..=MAX_COUNTER, vec(one, 1..12)).prop_map(|(first, all)| {
        let mut next = first;
        let sent = |(jump, attempt, tracked, headers, payload): (
            Option<u64>,
            u32,
            bool,
            Vec<(String, Bytes)>,
            Bytes,
        )| {
            let number = jump.unwrap_or(next) % (MAX_COUNTER + 1);
            next = number + 1;
            let message = headers.into_iter().fold(Message::new(payload), |m, (n, v)| m.with_header(n, v));
            Sent { number, attempt, tracked, message }
        };
        all.into_iter().map(sent).collect()
    })
}

fn first_ids() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..300u64, 0..=MAX_COUNTER, Just(MAX_COUNTER)]
        .prop_map(|id| id.min(MAX_COUNTER - 20))
}

/// These messages in the generated types.
fn generated(first_id: u64, sents: &[Sent]) -> v1::Deliver {
    let first_number = sents[0].number;
    let mut next = first_number;
    let messages = sents.iter().map(|sent| {
        let gap = sent.number.wrapping_sub(next) as i64;
        next = sent.number + 1;
        let headers = sent.message.headers().iter();
        v1::Message {
            headers: headers.map(|(n, v)| v1::Header { name: n.to_owned(), value: v.clone() }).collect(),
            gap,
            attempt: if sent.attempt == 1 { 0 } else { sent.attempt },
            tracked: sent.tracked,
            payload: sent.message.payload().clone(),
        }
    });
    let messages = messages.collect();
    v1::Deliver { first_id, first_number, messages }
}

/// A delivery with the fields that a puller reads.
#[derive(Clone, Debug, PartialEq)]
struct DecodedDelivery {
    id: u64,
    number: u64,
    attempt: u32,
    tracked: bool,
    message: Message,
}

/// The deliveries that the hand-written codec has decoded.
fn read(batch: &Batch) -> Vec<DecodedDelivery> {
    let delivery = |item: Item| DecodedDelivery {
        id: item.id,
        number: item.number,
        attempt: item.attempt,
        tracked: item.is_tracked(),
        message: item.message(&batch.bytes),
    };
    batch.items().map(delivery).collect()
}

fn items(first_id: u64, sents: &[Sent]) -> Vec<DecodedDelivery> {
    let item = |(sent, id): (&Sent, u64)| DecodedDelivery {
        id,
        number: sent.number,
        attempt: sent.attempt,
        tracked: sent.tracked,
        message: sent.message.clone(),
    };
    sents.iter().zip(first_id..).map(item).collect()
}

/// The deliveries of a decoded `Deliver` by the rules of SPEC.md; `None` if it breaks one.
fn meaning(deliver: v1::Deliver, max_message: u64) -> Option<Vec<DecodedDelivery>> {
    let first = deliver.messages.first()?; // DL-6
    if first.gap != 0 {
        return None; // DL-2
    }
    deliver.first_id.checked_add(deliver.messages.len() as u64).filter(|end| *end <= MAX_COUNTER)?; // DL-1
    let mut number = i128::from(deliver.first_number);
    let mut items = Vec::new();
    for (message, id) in deliver.messages.into_iter().zip(deliver.first_id..) {
        number += i128::from(message.gap);
        if !(0..=i128::from(MAX_COUNTER)).contains(&number) || message.headers.len() > MAX_HEADERS {
            return None; // DL-2, DL-5
        }
        let mut whole = Message::new(message.payload);
        for header in message.headers {
            if header.name.is_empty() || header.name.len() > MAX_HEADER_NAME {
                return None; // DL-5
            }
            whole = whole.with_header(header.name, header.value);
        }
        if whole.size() as u64 > max_message {
            return None; // DL-4
        }
        let attempt = message.attempt.max(1);
        items.push(DecodedDelivery {
            id,
            number: number as u64,
            attempt,
            tracked: message.tracked,
            message: whole,
        });
        number += 1;
    }
    Some(items)
}

/// An integer with up to `pad` bytes more than it needs, ten at most. This is legal.
fn varint(out: &mut Vec<u8>, mut value: u64, pad: usize) {
    let start = out.len();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    for _ in 0..pad.min(10 - (out.len() - start)) {
        *out.last_mut().unwrap() |= 0x80;
        out.push(0);
    }
}

/// Encodes a field with its number, wire type and content. `pads`: the padding of its integers.
fn field(number: u32, wire_type: u32, content: &[u8], pads: (usize, usize)) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, u64::from(number << 3 | wire_type), pads.0);
    if wire_type == 2 {
        varint(&mut out, content.len() as u64, pads.1);
    }
    out.extend_from_slice(content);
    out
}

fn pads() -> impl Strategy<Value = (usize, usize)> {
    let pad = || prop_oneof![12 => Just(0usize), 1 => 1..10usize];
    (pad(), pad())
}

fn integer_field(number: u32) -> impl Strategy<Value = Vec<u8>> {
    let values = prop_oneof![Just(0), Just(1), 0..300u64, Just(MAX_COUNTER - 1), any::<u64>()];
    (values, pads()).prop_map(move |(value, pads)| {
        let mut content = Vec::new();
        varint(&mut content, value, pads.1);
        field(number, 0, &content, pads)
    })
}

fn delimited_field(number: u32, content: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (content, pads()).prop_map(move |(content, pads)| field(number, 2, &content, pads))
}

/// Unknown fields of every wire type, sometimes with the number of a known field.
fn strange_field() -> impl Strategy<Value = Vec<u8>> {
    let numbers = prop_oneof![1 => 1..6u32, 8 => 6..40u32, 1 => Just((1 << 29) - 1)];
    (numbers, 0..6u32, vec(any::<u8>(), 0..9), pads()).prop_map(|(number, kind, some, pads)| match kind {
        0 => {
            let mut content = Vec::new();
            varint(&mut content, some.len() as u64 * 99, pads.1);
            field(number, 0, &content, pads)
        }
        1 => field(number, 1, &[7; 8], pads),
        3 | 4 => {
            // A group with a field in it, sometimes with another number at its end.
            let last = if pads.1 > 5 { 5 } else { number };
            let parts = [field(9, 2, &some, (0, 0)), field(last, 4, &[], (0, 0))].concat();
            field(number, 3, &parts, pads)
        }
        5 => field(number, 5, &[5; 4], pads),
        _ => field(number, 2, &some, pads),
    })
}

fn joined(parts: impl Strategy<Value = Vec<Vec<u8>>>) -> impl Strategy<Value = Vec<u8>> {
    parts.prop_map(|parts| parts.concat())
}

/// Unusual encodings of `Deliver`, most of them legal: fields in any order, repeated and unknown.
fn odd_delivers() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        9 => "[a-z]{1,5}".prop_map(String::into_bytes),
        1 => Just(vec![0xff, 0xfe]),
        1 => Just(Vec::new()),
        1 => Just(vec![b'n'; 257]),
    ];
    let header = vec(
        prop_oneof![
            8 => delimited_field(1, text),
            2 => delimited_field(2, vec(any::<u8>(), 0..5)),
            1 => strange_field(),
        ],
        1..4,
    );
    let message = vec(
        prop_oneof![
            2 => delimited_field(1, joined(header)),
            1 => integer_field(2),
            2 => integer_field(3),
            2 => integer_field(4),
            6 => delimited_field(5, vec(any::<u8>(), 0..9)),
            1 => strange_field(),
        ],
        0..5,
    );
    let deliver = vec(
        prop_oneof![
            2 => integer_field(1),
            2 => integer_field(2),
            6 => delimited_field(3, joined(message)),
            1 => strange_field(),
        ],
        0..7,
    );
    joined(deliver)
}

type Change = (u8, prop::sample::Index, u8);

/// Changes, inserts or removes single bytes.
fn mutated(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for (kind, index, byte) in changes {
        if bytes.is_empty() {
            return bytes;
        }
        let at = index.index(bytes.len());
        match kind % 4 {
            0 => bytes[at] = *byte,
            1 => bytes[at] ^= 1 << (byte % 8),
            2 => bytes.insert(at, *byte),
            _ => _ = bytes.remove(at),
        }
    }
    bytes
}

/// Checks that a `Deliver` is decoded as by the generated code and the rules.
fn same_deliver(deliver: Vec<u8>, max_message: u64) -> Result<(), TestCaseError> {
    let deliver = Bytes::from(deliver);
    let expected = v1::Deliver::decode(deliver.clone()).ok().and_then(|d| meaning(d, max_message));
    let batch = Batch::parse(deliver, max_message).ok();
    if let Some(batch) = &batch {
        let sizes: Vec<_> = read(batch).iter().map(|one| one.message.size() as u64).collect();
        prop_assert_eq!(batch.cursor.len(), sizes.len() as u64);
        prop_assert_eq!(batch.cursor.size(), sizes.iter().sum::<u64>());
        prop_assert_eq!(Some(&batch.cursor.last_size()), sizes.last());
    }
    prop_assert_eq!(batch.as_ref().map(read), expected);
    Ok(())
}

/// Checks that a whole frame is decoded as by the generated code and the rules.
fn same_frame(frame: Vec<u8>, max_message: u64) -> Result<(), TestCaseError> {
    let frame = Bytes::from(frame);
    let read = decode(frame.clone(), max_message);
    // The generated code takes several bodies, and keeps the last or merges them (FR-4).
    if read.as_ref().is_err_and(|violation| violation.detail.ends_with(" bodies")) {
        return Ok(());
    }
    match v1::Frame::decode(frame) {
        Err(_) => {
            prop_assert!(
                read.is_err(),
                "the generated code refuses the frame, but it is decoded as {read:?}"
            );
        }
        Ok(v1::Frame { body: Some(v1::frame::Body::Deliver(deliver)) }) => {
            let items = match read {
                Ok(Body::Deliver(batch)) => Some(self::read(&batch)),
                Ok(other) => return Err(TestCaseError::fail(format!("a Deliver is decoded as {other:?}"))),
                Err(_) => None,
            };
            prop_assert_eq!(items, meaning(deliver, max_message));
        }
        Ok(_) if read.as_ref().is_err_and(|violation| violation.rule == Rule::Fr7) => {}
        Ok(_) => prop_assert!(!matches!(read, Ok(Body::Deliver(_)) | Err(_)), "{read:?}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(300))]

    /// DL-2, DL-3, DL-5, CR-4: the bytes of the generated code are decoded correctly.
    #[test]
    fn generated_encodings_are_decoded_alike(first_id in first_ids(), sents in sents()) {
        let bytes = generated(first_id, &sents).encode_to_vec();
        let batch = Batch::parse(bytes.clone().into(), ROOMY).unwrap();
        prop_assert_eq!(batch.cursor.next_id(), first_id);
        prop_assert_eq!(read(&batch), items(first_id, &sents));
        same_deliver(bytes, ROOMY)?;
    }

    /// RC-4: a truncated batch is equal to a batch that never had its last messages.
    #[test]
    fn truncating_removes_the_last_messages(
        first_id in first_ids(), sents in sents(), taken in 0..12usize, cut in 0..14u64,
    ) {
        let mut batch = Batch::parse(generated(first_id, &sents).encode_to_vec().into(), ROOMY).unwrap();
        let taken = (0..taken).filter(|_| batch.cursor.next(&batch.bytes).is_some()).count();
        let kept = sents.len() - (cut as usize).min(sents.len() - taken);
        let size = |sents: &[Sent]| sents.iter().map(|s| s.message.size() as u64).sum::<u64>();
        prop_assert_eq!(batch.cursor.truncate(&batch.bytes, cut), size(&sents[kept..]));
        prop_assert_eq!(batch.cursor.len(), (kept - taken) as u64);
        prop_assert_eq!(batch.cursor.is_empty(), kept == taken);
        prop_assert_eq!(batch.cursor.size(), size(&sents[taken..kept]));
        if kept > taken {
            prop_assert_eq!(batch.cursor.last_size(), size(&sents[kept - 1..kept]));
        }
        prop_assert_eq!(read(&batch), items(first_id, &sents)[taken..kept].to_vec());
    }
}

proptest! {
    #![proptest_config(config(3_000))]

    /// FR-4, GR-1, DL-1, DL-2, DL-4, DL-5, DL-6: unusual encodings, legal or not, are decoded as by the generated code.
    #[test]
    fn unusual_encodings_are_decoded_alike(deliver in odd_delivers(), max_message in 4..40u64, pads in pads()) {
        same_frame(field(2, 2, &deliver, pads), max_message)?;
        same_deliver(deliver, max_message)?;
    }

    /// FR-4: damage that the generated code detects is detected, and nothing is decoded differently.
    #[test]
    fn damaged_encodings_are_decoded_alike(deliver in odd_delivers(), changes in vec(any::<Change>(), 1..4)) {
        same_deliver(mutated(deliver.clone(), &changes), 300)?;
        same_frame(mutated(field(2, 2, &deliver, (0, 0)), &changes), 300)?;
    }

    /// FR-4, GR-1: a frame with two Deliver bodies is malformed. Unknown fields around a body have no effect.
    #[test]
    fn frames_with_other_fields_are_decoded_alike(
        one in odd_delivers(), two in odd_delivers(), strange in strange_field(),
    ) {
        let both = [field(2, 2, &one, (0, 0)), strange.clone(), field(2, 2, &two, (0, 0))].concat();
        prop_assert_eq!(decode(both.into(), 300).unwrap_err().code, Code::Malformed);
        same_frame([strange, field(2, 2, &one, (0, 0))].concat(), 300)?;
    }
}

#[test]
fn dl_5_the_largest_legal_headers_are_accepted_and_one_more_is_not() {
    // DL-5
    let header = |length| v1::Header { name: "n".repeat(length), value: Bytes::new() };
    let parse = |headers| {
        let messages = vec![v1::Message { headers, ..Default::default() }];
        Batch::parse(v1::Deliver { messages, ..Default::default() }.encode_to_vec().into(), ROOMY)
    };
    assert_eq!(parse(vec![header(256); 64]).unwrap().cursor.size(), 64 * 256);
    assert_eq!(parse(vec![header(1); 65]).unwrap_err().rule, Rule::Dl5);
    assert_eq!(parse(vec![header(257)]).unwrap_err().rule, Rule::Dl5);
    assert_eq!(parse(vec![header(0)]).unwrap_err().rule, Rule::Dl5);
}
