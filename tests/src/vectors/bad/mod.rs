//! The bytes that a peer must refuse, and with what code.

mod handshake;

pub(super) use handshake::changed;

use tidegate_proto::{
    Code, Rule,
    wire::v1::{self, Role, Verdict, frame::Body},
};

use super::{Bad, Prelude, Stage, acceptor_hello, connector_hello, frame, framed};

/// Every bad vector, in the order of the stages.
#[must_use]
pub fn bad() -> Vec<Bad> {
    let mut all = handshake::bad();
    all.extend(to_puller());
    all.extend(delivers());
    all.extend(skips());
    all.extend(to_pusher());
    all
}

/// On an open link whose prelude is [`Prelude::Delivered`].
fn open(to: Role, name: &'static str, code: Code, rule: Rule, about: &'static str, bytes: Vec<u8>) -> Bad {
    let stage = Stage::Open(Prelude::Delivered);
    Bad { name, stage, to, acceptor: to == Role::Puller, code, rule, about, bytes }
}

fn after(prelude: Prelude, bad: Bad) -> Bad {
    Bad { stage: Stage::Open(prelude), ..bad }
}

pub(super) fn deliver(first_id: u64, first_number: u64, messages: Vec<v1::Message>) -> Vec<u8> {
    frame(Some(Body::Deliver(v1::Deliver { first_id, first_number, messages })))
}

pub(super) fn sized(size: usize) -> v1::Message {
    v1::Message { payload: vec![b'm'; size].into(), ..Default::default() }
}

fn to_puller() -> Vec<Bad> {
    let bad = |name, code, rule, about, bytes| open(Role::Puller, name, code, rule, about, bytes);
    let unexpected = |name, about, body| bad(name, Code::Unexpected, Rule::Fr5, about, frame(Some(body)));
    let control = [&65_537u32.to_be_bytes()[..], &[0x22]].concat();
    let huge = [&262_145u32.to_be_bytes()[..], &[0x12]].concat();
    let late = bad(
        "puller-deliver-after-end",
        Code::Unexpected,
        Rule::St7,
        "A delivery after End",
        deliver(2, 2, vec![sized(1)]),
    );
    let end = frame(Some(Body::End(v1::End {})));
    let second_end = bad("puller-second-end", Code::Unexpected, Rule::St7, "A second End", end);
    vec![
        bad("puller-length-0", Code::Malformed, Rule::Fr2, "A frame of length 0", vec![0; 4]),
        bad("puller-control-too-large", Code::TooLarge, Rule::Fr3, "65,537 bytes for a Skip", control),
        bad("puller-deliver-too-large", Code::TooLarge, Rule::Fr3, "262,145 bytes for a Deliver", huge),
        bad(
            "puller-field-0",
            Code::Malformed,
            Rule::Fr4,
            "Field number 0 in a Deliver",
            framed(b"\x12\x04\x1a\x00\x00\x00"),
        ),
        bad(
            "puller-cut-message",
            Code::Malformed,
            Rule::Fr4,
            "A message said to have 9 bytes in a Deliver of 4",
            framed(b"\x12\x04\x1a\x09\x2a\x00"),
        ),
        bad(
            "puller-two-bodies",
            Code::Malformed,
            Rule::Fr4,
            "Two Delivers in one frame, which a protobuf library merges",
            framed(b"\x12\x09\x08\x02\x10\x02\x1a\x03\x2a\x01a\x12\x05\x1a\x03\x2a\x01b"),
        ),
        bad(
            "puller-wrong-type",
            Code::Malformed,
            Rule::Fr4,
            "The field first_id of a Deliver as 4 bytes",
            framed(b"\x12\x0c\x0d\x02\0\0\0\x10\x02\x1a\x03\x2a\x01a"),
        ),
        unexpected("puller-second-hello", "A second Hello", Body::Hello(connector_hello())),
        unexpected("puller-ack", "Acks come from pullers", Body::Ack(v1::Ack::default())),
        after(Prelude::Ended, late),
        after(Prelude::Ended, second_end),
    ]
}

fn delivers() -> Vec<Bad> {
    let bad = |name, code, rule, about, bytes| open(Role::Puller, name, code, rule, about, bytes);
    let malformed = |name, rule, about, bytes| bad(name, Code::Malformed, rule, about, bytes);
    let headers = |count, length| {
        let header = v1::Header { name: "n".repeat(length), value: Default::default() };
        deliver(2, 2, vec![v1::Message { headers: vec![header; count], ..Default::default() }])
    };
    let gap = |gap| v1::Message { gap, ..sized(1) };
    vec![
        bad(
            "deliver-over-messages",
            Code::Credit,
            Rule::Cr3,
            "Ids 2 to 4, but message_limit is 4",
            deliver(2, 2, vec![sized(1), sized(1), sized(1)]),
        ),
        bad(
            "deliver-over-bytes",
            Code::Credit,
            Rule::Cr3,
            "Id 3 after 600 + 400 bytes, but byte_limit is 1,000",
            deliver(2, 2, vec![sized(400), sized(0)]),
        ),
        malformed("deliver-id-again", Rule::Dl1, "Id 1 again", deliver(1, 2, vec![sized(1)])),
        malformed("deliver-id-ahead", Rule::Dl1, "Id 3, but the next is 2", deliver(3, 2, vec![sized(1)])),
        malformed(
            "deliver-id-2-53",
            Rule::Dl1,
            "first_id + count is 2^53",
            deliver((1 << 53) - 1, 2, vec![sized(1)]),
        ),
        malformed(
            "deliver-first-gap",
            Rule::Dl2,
            "The first message of a batch has a gap",
            deliver(2, 2, vec![gap(1)]),
        ),
        malformed("deliver-number-2-53", Rule::Dl2, "Number 2^53", deliver(2, 1 << 53, vec![sized(1)])),
        malformed(
            "deliver-number-past-end",
            Rule::Dl2,
            "Number 2^53 - 1, and then one more",
            deliver(2, (1 << 53) - 1, vec![sized(1), sized(1)]),
        ),
        malformed(
            "deliver-number-below-0",
            Rule::Dl2,
            "Number 2, and then -1",
            deliver(2, 2, vec![sized(1), gap(-4)]),
        ),
        bad(
            "deliver-message-size",
            Code::MessageSize,
            Rule::Dl4,
            "601 bytes, but the pusher's max_message is 600",
            deliver(2, 2, vec![sized(601)]),
        ),
        malformed("deliver-65-headers", Rule::Dl5, "65 headers", headers(65, 1)),
        malformed("deliver-header-no-name", Rule::Dl5, "A header without a name", headers(1, 0)),
        malformed("deliver-header-long-name", Rule::Dl5, "A header name of 257 bytes", headers(1, 257)),
        malformed(
            "deliver-header-not-utf-8",
            Rule::Fr4,
            "A header name that is not UTF-8: no such string exists in protobuf",
            framed(b"\x12\x0b\x08\x02\x10\x02\x1a\x05\x0a\x03\x0a\x01\xff"),
        ),
        malformed("deliver-empty", Rule::Dl6, "A batch without messages", deliver(2, 2, vec![])),
    ]
}

fn skips() -> Vec<Bad> {
    let skip = |name, code, about, next_id, bytes| {
        let bytes = frame(Some(Body::Skip(v1::Skip { next_id, bytes })));
        open(Role::Puller, name, code, Rule::Rc3, about, bytes)
    };
    let recalled = |bad| after(Prelude::Recalled, bad);
    vec![
        skip("skip-no-recall", Code::Unexpected, "Nobody asked", 4, 400),
        recalled(skip("skip-back", Code::Credit, "Goes back to id 1; the next is 2", 1, 400)),
        recalled(skip("skip-over-messages", Code::Credit, "To id 5, but message_limit is 4", 5, 400)),
        recalled(skip("skip-over-bytes", Code::Credit, "401 bytes, but 400 are unused", 4, 401)),
        recalled(Bad {
            code: Code::Malformed,
            rule: Rule::Fr7,
            ..skip("skip-2-53", Code::Malformed, "2^53 bytes", 4, 1 << 53)
        }),
    ]
}

fn to_pusher() -> Vec<Bad> {
    let bad = |name, code, rule, about, bytes| open(Role::Pusher, name, code, rule, about, bytes);
    let unexpected = |name, about, body| bad(name, Code::Unexpected, Rule::Fr5, about, frame(Some(body)));
    let outcome = |name, code, rule, about, first, count, verdict| {
        let outcome = v1::Outcome { first, count, verdict, ..Default::default() };
        let ack = v1::Ack { outcomes: vec![outcome], ..Default::default() };
        bad(name, code, rule, about, frame(Some(Body::Ack(ack))))
    };
    let ack = Verdict::Ack.into();
    let control = [&65_537u32.to_be_bytes()[..], &[0x1a]].concat();
    let malformed = |name, about, first, count, verdict| {
        outcome(name, Code::Malformed, Rule::Oc10, about, first, count, verdict)
    };
    let unknown =
        |name, about, first, count| outcome(name, Code::UnknownDelivery, Rule::Oc2, about, first, count, ack);
    let one = v1::Deliver { messages: vec![sized(1)], ..Default::default() };
    let counter = |name, about, body| bad(name, Code::Malformed, Rule::Fr7, about, frame(Some(body)));
    vec![
        bad("pusher-length-0", Code::Malformed, Rule::Fr2, "A frame of length 0", vec![0; 4]),
        bad("pusher-ack-too-large", Code::TooLarge, Rule::Fr3, "65,537 bytes for an Ack", control),
        bad(
            "pusher-cut-ack",
            Code::Malformed,
            Rule::Fr4,
            "An Ack said to have 9 bytes, with 2",
            framed(b"\x1a\x09\x10\x04"),
        ),
        bad(
            "pusher-two-bodies",
            Code::Malformed,
            Rule::Fr4,
            "Two Acks in one frame, which a protobuf library merges",
            framed(b"\x1a\x05\x10\x04\x18\xe8\x07\x1a\x02\x10\x04"),
        ),
        bad(
            "pusher-wrong-type",
            Code::Malformed,
            Rule::Fr4,
            "The message_limit of an Ack as 4 bytes",
            framed(b"\x1a\x05\x15\x04\0\0\0"),
        ),
        bad(
            "pusher-reason-not-utf-8",
            Code::Malformed,
            Rule::Fr4,
            "The reason of a Close that is not UTF-8",
            framed(b"\x42\x05\x08\x01\x12\x01\xff"),
        ),
        unexpected("pusher-second-hello", "A second Hello", Body::Hello(acceptor_hello())),
        unexpected("pusher-deliver", "Messages come from pushers", Body::Deliver(one)),
        unexpected("pusher-skip", "Skips come from pushers", Body::Skip(v1::Skip { next_id: 4, bytes: 400 })),
        unexpected("pusher-end", "Ends come from pushers", Body::End(v1::End {})),
        unknown("outcome-never-sent", "Ids 1 and 2; 2 was never sent", 1, 2),
        after(Prelude::Recalled, unknown("outcome-skipped", "Id 3 was skipped", 3, 1)),
        malformed("outcome-count-0", "No delivery", 0, 0, ack),
        malformed("outcome-overflow", "first + count is 2^64", u64::MAX, 1, ack),
        malformed("outcome-2-53", "first + count is 2^53", (1 << 53) - 1, 1, ack),
        counter(
            "ack-message-limit-2-53",
            "A message_limit of 2^53",
            Body::Ack(v1::Ack { message_limit: 1 << 53, byte_limit: 1_000, ..Default::default() }),
        ),
        counter(
            "ack-byte-limit-2-53",
            "A byte_limit of 2^53",
            Body::Ack(v1::Ack { message_limit: 4, byte_limit: 1 << 53, ..Default::default() }),
        ),
        counter(
            "working-2-53",
            "Works on delivery 2^53",
            Body::Working(v1::Working { deliveries: vec![0, 1 << 53] }),
        ),
        malformed("outcome-no-verdict", "Verdict 0", 0, 1, 0),
        malformed("outcome-unknown-verdict", "Verdict 5", 0, 1, 5),
    ]
}
