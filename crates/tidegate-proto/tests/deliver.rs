//! Compares the hand-written codec of `Deliver` with the generated code, in both directions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use prost::Message as _;
use tidegate_proto::{
    Message,
    wire::{self, Batch, Body, FrameReader, OpenBatch, PREFACE, Sealed, read_message, v1},
};

const MAX_SIZE: u64 = 1 << 30;

/// Message number, attempt, tracked, message.
type Sent = (u64, u32, bool, Message);
/// First id, messages with their positions in the frame, frame.
type Made = (u64, Vec<(Sent, u32)>, Sealed);

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        4 => 0..200usize,
        2 => 0x7b..0x82usize,
        1 => 16_380..16_390usize,
        1 => 60_000..70_000usize
    ];
    (length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length])
}

fn message() -> impl Strategy<Value = Message> {
    let header = ("[a-zé]{1,20}", prop::collection::vec(any::<u8>(), 0..40));
    (payload(), prop::collection::vec(header, 0..3)).prop_map(|(payload, headers)| {
        headers.into_iter().fold(Message::from(payload), |m, (name, value)| m.with_header(name, value))
    })
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let number = prop_oneof![3 => 0..5u64, 1 => 0..1u64 << 52];
    let one = (number, prop_oneof![3 => Just(1u32), 1 => 1..u32::MAX], any::<bool>(), message());
    prop::collection::vec(one, 1..20)
}

/// The same batch encoded by the generated code, with its length prefix.
fn generated(first_id: u64, part: &[Sent]) -> Bytes {
    let mut expected = part[0].0;
    let messages = part.iter().map(|(number, attempt, tracked, message)| {
        let gap = number.wrapping_sub(expected) as i64;
        expected = number + 1;
        let headers = message.headers().iter();
        let headers =
            headers.map(|(name, value)| v1::Header { name: name.to_owned(), value: value.clone() }).collect();
        let attempt = if *attempt == 1 { 0 } else { *attempt };
        v1::Message { headers, gap, attempt, tracked: *tracked, payload: message.payload().clone() }
    });
    let deliver = v1::Deliver { first_id, first_number: part[0].0, messages: messages.collect() };
    wire::encode(v1::frame::Body::Deliver(deliver))
}

fn bytes(sealed: &Sealed) -> Bytes {
    let mut all = BytesMut::from(&sealed.room[sealed.start..]);
    all.extend_from_slice(sealed.tail.as_deref().unwrap_or_default());
    all.freeze()
}

/// Batches encoded by the hand-written codec.
fn sealed(first_id: u64, all: &[Sent]) -> Vec<Made> {
    let mut open = OpenBatch::default();
    let (mut batches, mut part, mut id) = (Vec::new(), Vec::new(), first_id);
    for one in all {
        let (number, attempt, tracked, message) = one;
        if open.is_full_for(message) {
            let first = id - part.len() as u64;
            batches.push((first, std::mem::take(&mut part), open.seal()));
        }
        let at = open.push(id, *number, *attempt, *tracked, message);
        part.push((one.clone(), at));
        id += 1;
    }
    batches.push((id - part.len() as u64, part, open.seal()));
    batches
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_the_generated_code_in_both_directions(
        first_id in prop_oneof![Just(0u64), 0..1u64 << 52],
        all in sent(),
    ) {
        // DL-1, DL-2, DL-3, DL-5
        for (first, part, frame) in sealed(first_id, &all) {
            let plain: Vec<_> = part.iter().map(|(one, _)| one.clone()).collect();
            let bytes = bytes(&frame);
            prop_assert_eq!(&bytes, &generated(first, &plain));
            prop_assert_eq!(bytes.len(), frame.len());
            let Body::Deliver(batch) = wire::decode(bytes.slice(4..), MAX_SIZE).unwrap() else { panic!() };
            prop_assert_eq!(batch.cursor.size(), plain.iter().map(|one| one.3.size() as u64).sum::<u64>());
            prop_assert_eq!(batch.cursor.last_size(), plain.last().unwrap().3.size() as u64);
            prop_assert_eq!(batch.items().count(), plain.len());
            for (item, (id, one)) in batch.items().zip((first..).zip(&plain)) {
                let (number, attempt, tracked, message) = one.clone();
                prop_assert_eq!((item.id, item.number), (id, number));
                prop_assert_eq!((item.attempt, item.is_tracked()), (attempt, tracked));
                prop_assert_eq!(item.size as usize, message.size());
                prop_assert_eq!(item.headers(&batch.bytes), message.headers().clone());
                prop_assert_eq!(item.message(&batch.bytes), message);
            }
            for ((_, attempt, _, message), at) in part {
                prop_assert_eq!(read_message(&frame.room, frame.tail.as_ref(), at), Some((message, attempt)));
            }
        }
    }

    #[test]
    fn bytes_that_the_codec_accepts_are_decoded_alike_by_the_generated_code(
        all in sent(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        // FR-4, GR-1
        let mut bytes = generated(3, &all).slice(4..).to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len().min(300));
            bytes[at] = byte;
        }
        let fast = wire::decode(bytes.clone().into(), MAX_SIZE);
        let slow = v1::Frame::decode(&bytes[..]);
        if let Ok(Body::Deliver(batch)) = fast {
            let Ok(v1::Frame { body: Some(v1::frame::Body::Deliver(deliver)) }) = slow else {
                return Err(TestCaseError::fail("the generated code refuses the frame"));
            };
            let payloads: Vec<_> = batch.items().map(|item| item.payload_bytes(&batch.bytes)).collect();
            let expected: Vec<_> = deliver.messages.into_iter().map(|m| m.payload).collect();
            prop_assert_eq!(payloads, expected);
        } else if slow.is_err() {
            prop_assert!(fast.is_err());
        }
    }

    #[test]
    fn a_copied_slice_is_encoded_like_its_message(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..40),
        numbers in 0..3_u64,
    ) {
        // DL-2: consecutive numbers, and others.
        let (mut slices, mut messages) = (OpenBatch::default(), OpenBatch::default());
        for (id, payload) in (0..).zip(&payloads) {
            let number = id * (numbers + 1) + 5;
            prop_assert!(OpenBatch::copies(payload));
            let at = slices.push_slice(id, number, payload);
            prop_assert_eq!(at, messages.push(id, number, 1, false, &payload.clone().into()));
        }
        prop_assert_eq!(slices.seal(), messages.seal());
    }

    #[test]
    fn truncating_returns_the_size_of_the_removed_messages(all in sent(), count in 0..25u64) {
        // RC-4
        let frame = generated(0, &all).slice(4..);
        let Body::Deliver(mut batch) = wire::decode(frame, MAX_SIZE).unwrap() else { panic!() };
        let left = (all.len() as u64).saturating_sub(count) as usize;
        let taken: usize = all[left..].iter().map(|one| one.3.size()).sum();
        prop_assert_eq!(batch.cursor.truncate(&batch.bytes, count), taken as u64);
        prop_assert_eq!((batch.cursor.len(), batch.items().count()), (left as u64, left));
    }

    #[test]
    fn a_reader_returns_the_same_frames_however_the_stream_is_split(
        all in sent(),
        cuts in prop::collection::vec(1..5_000usize, 1..50),
    ) {
        // FR-2, FR-3
        let hello = wire::encode(v1::frame::Body::Hello(v1::Hello::default()));
        let deliver = generated(0, &all);
        let mut stream = BytesMut::from(&PREFACE[..]);
        stream.extend_from_slice(&hello);
        stream.extend_from_slice(&deliver);
        let (mut reader, mut frames) = (FrameReader::new(), Vec::new());
        for cut in cuts.iter().cycle() {
            if stream.is_empty() {
                break;
            }
            let part = stream.split_to(stream.len().min(*cut));
            reader.buffer().extend_from_slice(&part);
            reader.filled(part.len());
            while let Some(frame) = reader.next_frame().unwrap() {
                reader.open(1 << 24);
                frames.push(frame);
            }
        }
        prop_assert_eq!(frames, [hello.slice(4..), deliver.slice(4..)]);
    }
}

#[test]
fn unusual_encodings_are_decoded_like_the_usual_one() {
    // GR-1, DL-2: messages first, ids after them, repeated ids, unknown fields of each type and a group.
    let odd = b"\x1a\x03\x2a\x01a\x08\x07\x10\x05\x08\x09\x78\x01\x7a\x02zz\x79\0\0\0\0\0\0\0\0\x7d\0\0\0\0\x1a\x03\x2a\x01b\x7b\x7c";
    for with_group in [false, true] {
        let end = if with_group { odd.len() } else { odd.len() - 2 };
        let batch = Batch::parse(Bytes::copy_from_slice(&odd[..end]), 10).unwrap();
        let items: Vec<_> = batch.items().map(|i| (i.id, i.number, i.payload_bytes(&batch.bytes))).collect();
        assert_eq!(items, [(9, 5, "a".into()), (10, 6, "b".into())]);
    }
    // A Frame whose Deliver is in two parts, which are merged.
    let first = generated(4, &[(0, 1, false, "a".into())]);
    let second = generated(4, &[(0, 1, false, "b".into())]);
    let mut both = BytesMut::from(&first[4..]);
    both.extend_from_slice(&second[4..]);
    assert_eq!(wire::decode(both.freeze(), 10).unwrap_err().to_string(), "FR-4: a frame with 2 bodies");
}

#[test]
fn the_committed_descriptor_set_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/tidegate.binpb");
    let file = std::fs::read(path).unwrap();
    assert!(file == tidegate_proto::DESCRIPTOR_SET, "run cargo xtask descriptor");
}

#[test]
fn fr_3_batches_with_large_headers_stay_within_the_limit_of_a_frame() {
    // FR-3: headers are copied into the batch like a payload, and may be as large. Such a message begins a new batch.
    let most = 1 << 20;
    let limit = wire::deliver_limit(most);
    let small: Message = Bytes::from(vec![b'p'; 13_000]).into();
    let large = Message::new("").with_header("h", vec![b'h'; most as usize - 1]);
    let all: Vec<Sent> = (0..12)
        .map(|number| (number, 1, false, if number == 10 { large.clone() } else { small.clone() }))
        .collect();
    let batches = sealed(0, &all);
    assert_eq!(batches.iter().map(|(_, part, _)| part.len()).collect::<Vec<_>>(), [10, 1, 1]);
    for (_, _, frame) in batches {
        assert!(frame.len() - 4 <= limit, "{} bytes, over {limit}", frame.len());
    }
}
