//! What an acceptor answers to the first bytes of a connector.

use serde_json::{Value, json};
use tidegate_proto::{
    Code, Rule,
    wire::{
        PREFACE,
        v1::{self, Role, frame::Body},
    },
};

use super::{
    bad::changed,
    connector_hello, frame, framed, ids,
    preludes::peer_of,
    script::{Script, answer, closed, disconnected, expect, role_name, send_files},
};

/// The first bytes of a connector, and the answer.
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    pub(super) name: &'static str,
    to: Role,
    rules: &'static [Rule],
    about: &'static str,
    pub(super) bytes: Vec<u8>,
    answer: Value,
}

impl Handshake {
    pub(super) fn prelude(&self) -> &'static str {
        if self.to == Role::Pusher { "pusher-connected" } else { "puller-connected" }
    }

    pub(super) fn file(&self) -> String {
        format!("handshakes/{}.bin", self.name)
    }

    pub(super) fn json(&self) -> Value {
        let steps = vec![send_files("A", &[self.file()]), expect("A", vec![self.answer.clone()])];
        let script = Script { peer: peer_of(self.prelude()), prelude: Some(self.prelude()), steps };
        script.describe(json!({ "to": role_name(self.to), "rules": ids(self.rules), "about": self.about }))
    }
}

pub(super) fn handshakes() -> Vec<Handshake> {
    let mut all = answered();
    all.extend(refused());
    all
}

fn to_puller(
    name: &'static str,
    rules: &'static [Rule],
    about: &'static str,
    frame: &[u8],
    answer: Value,
) -> Handshake {
    Handshake { name, to: Role::Puller, rules, about, bytes: [&PREFACE[..], frame].concat(), answer }
}

fn answered() -> Vec<Handshake> {
    let from = |change: fn(&mut v1::Hello)| changed(connector_hello(), change);
    let good =
        |name, rules, about, frame: Vec<u8>| to_puller(name, rules, about, &frame, answer(Role::Puller));
    let longest = changed(connector_hello(), |h| {
        h.name = "n".repeat(256);
        h.offered = (0..32).map(|i| format!("{i:064}")).collect();
    });
    let largest = changed(connector_hello(), |h| (h.generation, h.max_message) = ((1 << 53) - 1, 1_000));
    // Field 8 (reserved), field 100 and a Frame's field 101 are not known to version 1.
    let mut later = prost::Message::encode_to_vec(&connector_hello());
    later.extend_from_slice(b"\x40\x07\xa2\x06\x05later");
    let mut length = Vec::new();
    prost::encoding::encode_varint(later.len() as u64, &mut length);
    let later = framed(&[&b"\xa8\x06\x07\x0a"[..], &length, &later].concat());
    let close = v1::Close { code: Code::GoingAway.into(), ..Default::default() };
    let puller = changed(connector_hello(), |h| {
        h.set_role(Role::Puller);
        (h.instance, h.max_message) = (vec![0x22; 16].into(), 1_000);
    });
    vec![
        good(
            "pusher-connects",
            &[Rule::Hs1, Rule::Hs2, Rule::Hs3, Rule::Hs4, Rule::Hs5],
            "A pusher connects to a puller",
            from(|_| ()),
        ),
        Handshake {
            to: Role::Pusher,
            ..to_puller(
                "puller-connects",
                &[Rule::Hs1, Rule::Hs2, Rule::Hs3, Rule::Hs4, Rule::Hs5],
                "A puller connects to a pusher",
                &puller,
                answer(Role::Pusher),
            )
        },
        good(
            "no-resume",
            &[Rule::Hs9],
            "A connector that does not want to be recognized",
            from(|h| h.resume.clear()),
        ),
        good(
            "later-version",
            &[Rule::Hs3],
            "A connector that supports versions 1 to 3: the acceptor selects 1",
            from(|h| h.version_max = 3),
        ),
        good(
            "earlier-version",
            &[Rule::Hs3],
            "A connector that supports versions 0 and 1",
            from(|h| h.version_min = 0),
        ),
        good(
            "offered-feature",
            &[Rule::Hs10],
            "A feature that is offered and not required",
            from(|h| {
                h.offered = vec!["expiry".into()];
            }),
        ),
        good("longest", &[Rule::Hs10], "A name of 256 bytes, and 32 features of 64 bytes each", longest),
        good("no-name", &[Rule::Hs10], "A connector without a name", from(|h| h.name.clear())),
        good("largest", &[Rule::Hs7, Rule::Hs9], "A max_message of 1,000, and generation 2^53 - 1", largest),
        good("shortest-heartbeat", &[Rule::Lv1], "A heartbeat_ms of 100", from(|h| h.heartbeat_ms = 100)),
        good(
            "longest-heartbeat",
            &[Rule::Lv1],
            "A heartbeat_ms of 60,000",
            from(|h| h.heartbeat_ms = 60_000),
        ),
        good("later-fields", &[Rule::Gr1], "Fields that version 1 does not know, in Frame and Hello", later),
        to_puller(
            "close-before-hello",
            &[Rule::Fr5],
            "A Close in place of Hello: the acceptor ends the connection without an answer",
            &frame(Some(Body::Close(close))),
            disconnected(),
        ),
    ]
}

/// Several faults at once: the first in the order of HS-2 decides.
fn refused() -> Vec<Handshake> {
    let bad = |name, about, code, change: fn(&mut v1::Hello)| {
        let frame = changed(connector_hello(), change);
        to_puller(name, &[Rule::Hs2], about, &frame, closed(code))
    };
    let version = |h: &mut v1::Hello| (h.version_min, h.version_max) = (2, 3);
    let text = changed(connector_hello(), |h| {
        version(h);
        h.name = "n".repeat(257);
    });
    vec![
        to_puller(
            "order-lengths-version",
            &[Rule::Hs2],
            "A name of 257 bytes, and versions 2 to 3",
            &text,
            closed(Code::Malformed),
        ),
        bad("order-version-token", "Versions 2 to 3, and a wrong token", Code::Version, |h| {
            (h.version_min, h.version_max, h.token) = (2, 3, "wrong".into());
        }),
        bad("order-token-pipeline", "A wrong token, and an unknown pipeline", Code::Unauthorized, |h| {
            (h.token, h.pipeline) = ("wrong".into(), "play".into());
        }),
        bad("order-pipeline-role", "An unknown pipeline, and the acceptor's role", Code::NoPipeline, |h| {
            h.pipeline = "play".into();
            h.set_role(Role::Puller);
        }),
        bad("order-role-instance", "The acceptor's role, and an instance of 15 bytes", Code::Role, |h| {
            h.set_role(Role::Puller);
            h.instance.truncate(15);
        }),
        bad(
            "order-instance-size",
            "An instance of 15 bytes, and a max_message of 1,001",
            Code::Malformed,
            |h| {
                h.instance.truncate(15);
                h.max_message = 1_001;
            },
        ),
        bad(
            "order-size-heartbeat",
            "A max_message of 1,001, and a heartbeat_ms of 99",
            Code::MessageSize,
            |h| {
                (h.max_message, h.heartbeat_ms) = (1_001, 99);
            },
        ),
        bad(
            "order-heartbeat-feature",
            "A heartbeat_ms of 99, and a required feature",
            Code::Malformed,
            |h| {
                (h.heartbeat_ms, h.required) = (99, vec!["expiry".into()]);
            },
        ),
        bad("order-feature-generation", "A required feature, and generation 0", Code::Feature, |h| {
            (h.required, h.generation) = (vec!["expiry".into()], 0);
        }),
        bad("version-range", "version_min is 2, version_max is 1", Code::Version, |h| h.version_min = 2),
        bad("version-0", "Version 0 only", Code::Version, |h| (h.version_min, h.version_max) = (0, 0)),
    ]
}
