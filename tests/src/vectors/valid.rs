//! The frames that a peer must take.

use tidegate_proto::{
    Rule,
    wire::v1::{self, Code, Verdict, frame::Body},
};

use super::{Valid, acceptor_hello, connector_hello};

fn usual(
    name: &'static str,
    from: &'static str,
    rules: &'static [Rule],
    about: &'static str,
    body: Body,
) -> Valid {
    Valid { name, from, rules, about, body: Some(body), unusual: None }
}

fn plain(payload: &'static str) -> v1::Message {
    v1::Message { payload: payload.into(), ..Default::default() }
}

fn close(code: i32, reason: &str, retry_after_ms: u32) -> Body {
    Body::Close(v1::Close { code, reason: reason.into(), retry_after_ms })
}

fn outcome(first: u64, count: u64, verdict: Verdict, delay_ms: u32, reason: &str) -> v1::Outcome {
    v1::Outcome { first, count, verdict: verdict.into(), delay_ms, reason: reason.into() }
}

/// Every valid frame, in the order of SPEC.md.
#[must_use]
pub fn valid() -> Vec<Valid> {
    let mut all = vec![
        usual(
            "hello-connector",
            "pusher",
            &[Rule::Hs1, Rule::Hs4, Rule::Hs9],
            "A connector's Hello: token, resume and generation",
            Body::Hello(connector_hello()),
        ),
        usual(
            "hello-no-resume",
            "pusher",
            &[Rule::Hs9],
            "A connector that is not known again: an empty resume",
            Body::Hello(v1::Hello { resume: Default::default(), ..connector_hello() }),
        ),
        usual(
            "hello-acceptor",
            "puller",
            &[Rule::Hs3, Rule::Hs4, Rule::Hs5],
            "An acceptor's Hello: the chosen version twice, no token",
            Body::Hello(acceptor_hello()),
        ),
        usual(
            "skip",
            "pusher",
            &[Rule::Rc1],
            "The answer to a recall in SPEC.md's worked example",
            Body::Skip(v1::Skip { next_id: 6, bytes: 100 }),
        ),
        usual(
            "ping",
            "both",
            &[Rule::Lv4],
            "data is 8 bytes, little-endian, as protobuf has it",
            Body::Ping(v1::Ping { data: 0x0102_0304_0506_0708 }),
        ),
        usual(
            "pong",
            "both",
            &[Rule::Lv4],
            "The answer",
            Body::Pong(v1::Pong { data: 0x0102_0304_0506_0708 }),
        ),
        usual("pong-zero", "both", &[Rule::Lv4], "data 0 takes no bytes", Body::Pong(v1::Pong { data: 0 })),
        usual("end", "pusher", &[Rule::St2], "An End has no fields", Body::End(v1::End {})),
        usual("close-normal", "both", &[Rule::St4], "Done", close(Code::Normal.into(), "", 0)),
        usual(
            "close-busy",
            "both",
            &[Rule::Hs12],
            "With advice when to come back",
            close(Code::Busy.into(), "HS-12: this side has 2 links", 5_000),
        ),
        usual(
            "close-unknown-code",
            "both",
            &[Rule::Er2],
            "A code of a later version is read as INTERNAL",
            close(9_999, "later", 0),
        ),
    ];
    all.extend(delivers());
    all.extend(acks());
    all.extend(unusual());
    all
}

fn delivers() -> [Valid; 5] {
    let deliver = |first_id, first_number, messages: Vec<v1::Message>| {
        Body::Deliver(v1::Deliver { first_id, first_number, messages })
    };
    let header = |name: &str, value: &'static str| v1::Header { name: name.into(), value: value.into() };
    let headers = vec![header("traceparent", "00-01"), header("é", ""), header("traceparent", "00-02")];
    [
        usual(
            "deliver-first",
            "pusher",
            &[Rule::Dl1, Rule::Dl2],
            "The first delivery of a link: id 0, number 0, both absent on the wire",
            deliver(0, 0, vec![plain("hello")]),
        ),
        usual(
            "deliver-empty-payload",
            "pusher",
            &[Rule::Dl6],
            "A batch of two messages without any bytes is not an empty batch",
            deliver(1, 1, vec![plain(""), plain("")]),
        ),
        usual(
            "deliver-headers",
            "pusher",
            &[Rule::Dl5],
            "Names may repeat, order is kept, a value may be empty",
            deliver(3, 3, vec![v1::Message { headers, ..plain("traced") }]),
        ),
        usual(
            "deliver-mixed",
            "pusher",
            &[Rule::Dl2, Rule::Dl3, Rule::Oc5],
            "Numbers 300, 290 (gap -11) and 292 (gap 1); attempts 2, 1 and 300; the last is tracked",
            deliver(
                128,
                300,
                vec![
                    v1::Message { attempt: 2, ..plain("a") },
                    v1::Message { gap: -11, ..plain("b") },
                    v1::Message { gap: 1, attempt: 300, tracked: true, ..plain("c") },
                ],
            ),
        ),
        usual(
            "deliver-largest-number",
            "pusher",
            &[Rule::Dl2],
            "The largest number, and then the smallest: a gap of -2^53",
            deliver(
                (1 << 53) - 3,
                (1 << 53) - 1,
                vec![plain("last"), v1::Message { gap: -(1 << 53), ..plain("first") }],
            ),
        ),
    ]
}

fn acks() -> [Valid; 6] {
    let grant = v1::Ack { message_limit: 4, byte_limit: 1_000, ..Default::default() };
    let outcomes = vec![
        outcome(0, 300, Verdict::Ack, 0, ""),
        outcome(301, 1, Verdict::Nack, 1_500, "database is down"),
        outcome(300, 1, Verdict::Reject, 0, "not a job: é"),
        outcome(302, 2, Verdict::Release, 0, ""),
    ];
    [
        usual("ack-grant", "puller", &[Rule::Cr1, Rule::Cr10], "A plain grant", Body::Ack(grant.clone())),
        usual(
            "ack-empty",
            "puller",
            &[Rule::Cr1],
            "Limits of 0 take no bytes; lower than before, so they are ignored",
            Body::Ack(v1::Ack::default()),
        ),
        usual(
            "ack-outcomes",
            "puller",
            &[Rule::Oc1, Rule::Oc4, Rule::Oc6, Rule::Oc7],
            "All four verdicts, in any order, and a grant of 2^53 - 1 bytes",
            Body::Ack(v1::Ack { outcomes, message_limit: 1_304, byte_limit: (1 << 53) - 1, ..grant.clone() }),
        ),
        usual(
            "ack-recall",
            "puller",
            &[Rule::Rc1],
            "Asks for unused credit back",
            Body::Ack(v1::Ack { recall: true, ..grant.clone() }),
        ),
        usual(
            "ack-leaving",
            "puller",
            &[Rule::St1],
            "The puller leaves",
            Body::Ack(v1::Ack { leaving: true, ..grant }),
        ),
        usual(
            "working",
            "puller",
            &[Rule::Oc13],
            "Two deliveries that are still being worked on",
            Body::Working(v1::Working { deliveries: vec![0, 1] }),
        ),
    ]
}

/// Legal encodings that few encoders make, and frames of a later version.
fn unusual() -> [Valid; 4] {
    let odd = [
        &b"\x12\x29"[..],
        b"\xfa\x01\x02??",                           // field 31: two bytes
        b"\xf3\x01\x08\x01\xf4\x01",                 // field 30: a group with one integer in it
        b"\x1a\x05\x2a\x03odd",                      // a message, before the ids that it has
        b"\x10\x01\x10\x87\x00", // first_number 1, and then 7 in two bytes: the last one counts
        b"\x08\x05",             // first_id 5
        b"\xed\x01\0\0\0\0",     // field 29: 4 bytes
        b"\x9a\x00\x07\x20\x01\x2a\x03\x6f\x6e\x65", // a message whose key takes two bytes; tracked first
    ]
    .concat();
    let tracked = v1::Message { tracked: true, ..plain("one") };
    let deliver = v1::Deliver { first_id: 5, first_number: 7, messages: vec![plain("odd"), tracked] };
    [
        Valid {
            name: "deliver-unusual",
            from: "pusher",
            rules: &[Rule::Fr4, Rule::Gr1],
            about: "Fields in another order, twice, padded, and unknown ones of several wire types",
            body: Some(Body::Deliver(deliver)),
            unusual: Some(odd),
        },
        Valid {
            name: "later-frame",
            from: "both",
            rules: &[Rule::Gr1],
            about: "A body that version 1 does not know (field 100): ignored",
            body: None,
            unusual: Some(b"\xa2\x06\x05later".to_vec()),
        },
        Valid {
            name: "later-field",
            from: "both",
            rules: &[Rule::Gr1],
            about: "A Ping with a field that version 1 does not know (15): read without it",
            body: Some(Body::Ping(v1::Ping { data: 0x0102 })),
            unusual: Some(b"\x2a\x0b\x09\x02\x01\0\0\0\0\0\0\x78\x01".to_vec()),
        },
        Valid {
            name: "later-around",
            from: "both",
            rules: &[Rule::Gr1],
            about: "A Pong after a field of the Frame that version 1 does not know (101): still a Pong",
            body: Some(Body::Pong(v1::Pong { data: 0x0102 })),
            unusual: Some(b"\xa8\x06\x07\x32\x09\x09\x02\x01\0\0\0\0\0\0".to_vec()),
        },
    ]
}
