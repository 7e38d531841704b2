//! Bad prefaces and bad Hellos.

use tidegate_proto::{
    Code, Rule,
    wire::{
        PREFACE,
        v1::{self, Role, frame::Body},
    },
};

use super::super::{Bad, Stage, acceptor_hello, connector_hello, frame, framed};

/// In the order of the stages.
pub(super) fn bad() -> Vec<Bad> {
    let mut all = prefaces();
    all.extend(hellos());
    all.extend(answers());
    all
}

fn prefaces() -> Vec<Bad> {
    let bad = |name, about, bytes: &[u8]| Bad {
        name,
        stage: Stage::Preface,
        to: Role::Puller,
        acceptor: true,
        code: Code::NotTidegate,
        rule: Rule::Fr1,
        about,
        bytes: bytes.to_vec(),
    };
    vec![
        bad("preface-http", "An HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        bad("preface-tls", "The beginning of a TLS hello", &[0x16, 0x03, 0x01, 0x00, 0xc8, 0x01, 0x00, 0x00]),
        bad("preface-zeromq", "A ZeroMQ greeting", &[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f]),
        bad("preface-last-byte", "Seven bytes are right, the eighth is not", b"TIDEGATe"),
        bad("preface-early", "One wrong byte is enough, before the other seven", b"t"),
    ]
}

/// After the connector's preface, at an acceptor.
fn hello(name: &'static str, code: Code, rule: Rule, about: &'static str, bytes: impl AsRef<[u8]>) -> Bad {
    let bytes = [&PREFACE[..], bytes.as_ref()].concat();
    Bad { name, stage: Stage::Hello, to: Role::Puller, acceptor: true, code, rule, about, bytes }
}

pub(in super::super) fn changed(hello: v1::Hello, change: impl FnOnce(&mut v1::Hello)) -> Vec<u8> {
    let mut hello = hello;
    change(&mut hello);
    frame(Some(Body::Hello(hello)))
}

fn hellos() -> Vec<Bad> {
    let from = |change: fn(&mut v1::Hello)| changed(connector_hello(), change);
    let names = |count| (0..count).map(|i| format!("f{i}")).collect::<Vec<_>>();
    let many = changed(connector_hello(), |h| h.offered = names(33));
    vec![
        hello("hello-length-0", Code::Malformed, Rule::Fr2, "A frame of length 0", [0; 4]),
        hello(
            "hello-too-large",
            Code::TooLarge,
            Rule::Fr3,
            "16,385 bytes announced: refused before they come",
            16_385u32.to_be_bytes(),
        ),
        hello(
            "hello-huge",
            Code::TooLarge,
            Rule::Fr3,
            "The largest length that there is: no memory may be taken for it",
            u32::MAX.to_be_bytes(),
        ),
        hello(
            "hello-not-a-frame",
            Code::Malformed,
            Rule::Fr4,
            "A Hello said to have 5 bytes, with 1",
            framed(b"\x0a\x05\x08"),
        ),
        hello(
            "hello-not-first",
            Code::Unexpected,
            Rule::Fr5,
            "A Ping before Hello",
            frame(Some(Body::Ping(v1::Ping { data: 1 }))),
        ),
        hello(
            "hello-version",
            Code::Version,
            Rule::Hs3,
            "Speaks versions 2 to 3",
            from(|h| (h.version_min, h.version_max) = (2, 3)),
        ),
        hello("hello-no-token", Code::Unauthorized, Rule::Hs4, "Without a token", from(|h| h.token.clear())),
        hello(
            "hello-wrong-token",
            Code::Unauthorized,
            Rule::Hs4,
            "A longer token that begins with the right one",
            from(|h| h.token = "sesame!".into()),
        ),
        hello(
            "hello-pipeline",
            Code::NoPipeline,
            Rule::Hs5,
            "A pipeline that is not served",
            from(|h| h.pipeline = "play".into()),
        ),
        hello(
            "hello-same-role",
            Code::Role,
            Rule::Hs6,
            "A puller connects to a puller",
            from(|h| h.set_role(Role::Puller)),
        ),
        hello("hello-no-role", Code::Role, Rule::Hs6, "Neither role", from(|h| h.role = 0)),
        hello(
            "hello-size",
            Code::MessageSize,
            Rule::Hs7,
            "The pusher's max_message is 1,001, the puller's 1,000",
            from(|h| h.max_message = 1_001),
        ),
        hello("hello-size-0", Code::Malformed, Rule::Hs7, "max_message is 0", from(|h| h.max_message = 0)),
        hello(
            "hello-size-2-31",
            Code::Malformed,
            Rule::Hs7,
            "max_message is over 2,147,418,112",
            from(|h| h.max_message = (1 << 31) - 65_535),
        ),
        hello(
            "hello-instance",
            Code::Malformed,
            Rule::Hs8,
            "An instance of 15 bytes",
            from(|h| h.instance.truncate(15)),
        ),
        hello(
            "hello-generation-0",
            Code::Malformed,
            Rule::Hs9,
            "Generations begin at 1",
            from(|h| h.generation = 0),
        ),
        hello(
            "hello-resume-15",
            Code::Malformed,
            Rule::Hs9,
            "A resume of 15 bytes",
            from(|h| h.resume.truncate(15)),
        ),
        hello(
            "hello-resume-17",
            Code::Malformed,
            Rule::Hs9,
            "A resume of 17 bytes",
            from(|h| h.resume = vec![0x33; 17].into()),
        ),
        hello(
            "hello-generation-2-53",
            Code::Malformed,
            Rule::Hs9,
            "Generation 2^53",
            from(|h| h.generation = 1 << 53),
        ),
        hello(
            "hello-stale",
            Code::Stale,
            Rule::Hs9,
            "Generation 5 of a peer that is here with 5 already",
            from(|h| h.generation = 5),
        ),
        hello(
            "hello-feature",
            Code::Feature,
            Rule::Hs10,
            "Requires a feature that is not offered",
            from(|h| h.required = vec!["expiry".into()]),
        ),
        hello("hello-many-features", Code::Malformed, Rule::Hs10, "33 offered features", many),
        hello(
            "hello-long-feature",
            Code::Malformed,
            Rule::Hs10,
            "A feature's name of 65 bytes",
            from(|h| h.offered = vec!["f".repeat(65)]),
        ),
        hello(
            "hello-long-name",
            Code::Malformed,
            Rule::Hs10,
            "A name of 257 bytes",
            from(|h| h.name = "n".repeat(257)),
        ),
        hello(
            "hello-long-token",
            Code::Malformed,
            Rule::Hs10,
            "A token of 4,097 bytes",
            from(|h| h.token = vec![b't'; 4_097].into()),
        ),
        hello("hello-heartbeat", Code::Malformed, Rule::Lv1, "Every 99 ms", from(|h| h.heartbeat_ms = 99)),
    ]
}

/// After the acceptor's preface, at a connector.
fn answers() -> Vec<Bad> {
    let from = |change: fn(&mut v1::Hello)| changed(acceptor_hello(), change);
    let at_connector = |bad: Bad| Bad { to: Role::Pusher, acceptor: false, ..bad };
    vec![
        at_connector(hello(
            "answer-token",
            Code::Malformed,
            Rule::Hs4,
            "An acceptor's Hello holds a token",
            from(|h| h.token = "sesame".into()),
        )),
        at_connector(hello(
            "answer-version",
            Code::Version,
            Rule::Hs3,
            "The acceptor must choose one version",
            from(|h| h.version_max = 2),
        )),
        at_connector(hello(
            "answer-pipeline",
            Code::NoPipeline,
            Rule::Hs5,
            "Another pipeline than the one asked for",
            from(|h| h.pipeline = "play".into()),
        )),
        at_connector(hello(
            "answer-size",
            Code::MessageSize,
            Rule::Hs7,
            "The puller takes 599 bytes, the pusher may send 600",
            from(|h| h.max_message = 599),
        )),
    ]
}
