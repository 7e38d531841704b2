//! The hand-written `Deliver` codec against the generated code: for any bytes, both decode the same, or both refuse.

use bytes::Bytes;
use prost::Message as _;
use tidegate_proto::{
    Code, Rule,
    wire::{self, Batch, Body, Item, MAX_CONTROL_FRAME, MAX_COUNTER, MAX_HEADER_NAME, MAX_HEADERS, v1},
};

use super::Input;

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let max_message = u64::from(input.short());
    let frame = Bytes::copy_from_slice(input.rest());
    let read = wire::decode(frame.clone(), max_message);
    // The generated code takes several bodies, and keeps the last or merges them (FR-4).
    if read.as_ref().is_err_and(|violation| violation.detail.ends_with(" bodies")) {
        return;
    }
    let generated = v1::Frame::decode(frame.clone());
    match (&read, generated.map(|frame| frame.body)) {
        (Ok(Body::Deliver(batch)), Ok(Some(v1::frame::Body::Deliver(deliver)))) => {
            assert_eq!(rules(&deliver, max_message), None, "an accepted frame keeps the rules");
            same(batch, &deliver);
        }
        (Err(violation), Ok(Some(v1::frame::Body::Deliver(deliver)))) => {
            // Both codecs accept groups of unknown fields, to the depth that the generated code allows.
            let expected = rules(&deliver, max_message);
            assert!(
                expected.is_some() || looser(&frame),
                "refused a frame that keeps the rules: {violation}"
            );
            if expected == Some(Code::MessageSize) && violation.code != Code::MessageSize {
                assert_eq!(violation.code, Code::Malformed, "{violation}");
            }
        }
        (Ok(Body::Deliver(_)), other) => panic!("accepted, but the generated code decodes {other:?}"),
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
        (Ok(body), Err(wrong)) => panic!("{body:?}, but the generated code fails with {wrong}"),
        (Err(violation), Ok(_)) if violation.code == Code::TooLarge && looser(&frame) => {}
        (Err(violation), Ok(_)) if violation.rule == Rule::Fr7 => {}
        (Err(violation), Ok(body)) => panic!("{violation}, but the generated code decodes {body:?}"),
    }
}

/// The known case in which the generated code accepts more than the hand-written code: a frame that is too large for
/// the type that it contains besides a Deliver (FR-3).
fn looser(frame: &[u8]) -> bool {
    frame.len() > MAX_CONTROL_FRAME
}

/// The violation in a `Deliver`, found with the generated types.
fn rules(deliver: &v1::Deliver, max_message: u64) -> Option<Code> {
    if deliver.messages.is_empty() {
        return Some(Code::Malformed); // DL-6
    }
    let mut number = i128::from(deliver.first_number);
    for (at, message) in deliver.messages.iter().enumerate() {
        number += i128::from(message.gap) + i128::from(at > 0);
        let names = || message.headers.iter().map(|header| header.name.len());
        if (at == 0 && message.gap != 0) || !(0..=i128::from(MAX_COUNTER)).contains(&number) {
            return Some(Code::Malformed); // DL-2
        }
        if message.headers.len() > MAX_HEADERS || names().any(|name| name == 0 || name > MAX_HEADER_NAME) {
            return Some(Code::Malformed); // DL-5
        }
    }
    if deliver.first_id.saturating_add(deliver.messages.len() as u64) > MAX_COUNTER {
        return Some(Code::Malformed); // DL-1
    }
    let size = |message: &v1::Message| {
        let headers = message.headers.iter().map(|header| header.name.len() + header.value.len());
        message.payload.len() + headers.sum::<usize>()
    };
    let large = deliver.messages.iter().any(|message| size(message) as u64 > max_message);
    large.then_some(Code::MessageSize) // DL-4
}

fn same(batch: &Batch, deliver: &v1::Deliver) {
    let items: Vec<Item> = batch.items().collect();
    assert_eq!(batch.cursor.len(), deliver.messages.len() as u64);
    assert_eq!(items.len(), deliver.messages.len());
    let (mut id, mut number) = (deliver.first_id, deliver.first_number);
    for (at, (item, message)) in items.iter().zip(&deliver.messages).enumerate() {
        number = number.wrapping_add_signed(message.gap).wrapping_add(u64::from(at > 0));
        assert_eq!((item.id, item.number), (id, number), "DL-1, DL-2");
        assert_eq!(item.attempt, message.attempt.max(1), "{}", Rule::Dl3);
        assert_eq!(item.is_tracked(), message.tracked);
        let read = item.message(&batch.bytes);
        assert_eq!(read.payload(), &message.payload);
        assert_eq!(read.size(), item.size as usize, "{}", Rule::Cr4);
        let headers: Vec<_> = read.headers().iter().map(|(n, v)| (n.to_owned(), v.clone())).collect();
        let wanted: Vec<_> = message.headers.iter().map(|h| (h.name.clone(), h.value.clone())).collect();
        assert_eq!(headers, wanted, "{}", Rule::Dl5);
        id += 1;
    }
    let size: u64 = items.iter().map(|item| u64::from(item.size)).sum();
    assert_eq!(batch.cursor.size(), size);
    assert_eq!(items.last().map(|item| u64::from(item.size)), Some(batch.cursor.last_size()));
    // Removing messages from the end keeps the others (RC-4).
    let mut cursor = batch.cursor;
    let taken = cursor.truncate(&batch.bytes, cursor.len() / 2);
    assert_eq!(taken + cursor.size(), size);
    assert_eq!(std::iter::from_fn(|| cursor.next(&batch.bytes)).count(), items.len() - items.len() / 2);
}
