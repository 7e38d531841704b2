//! Bytes on an open link that a peer must not refuse.

use serde_json::{Value, json};
use tidegate_proto::{
    Code, Rule,
    wire::v1::{self, Role, Verdict, frame::Body},
};

use super::{
    bad::{deliver, sized},
    frame, framed, ids,
    parts::PING,
    preludes::peer_of,
    script::{
        Script, closed, expect_in_any_order, frame_file, outcome as settled, pong, role_name, send_files,
        skip,
    },
};

/// Bytes, and what a peer answers. The link stays open unless it answers with `Close`.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) name: &'static str,
    to: Role,
    pub(super) prelude: &'static str,
    rules: &'static [Rule],
    about: &'static str,
    pub(super) bytes: Vec<u8>,
    answers: Vec<Value>,
}

impl Accepted {
    pub(super) fn file(&self) -> String {
        format!("accepted/{}.bin", self.name)
    }

    pub(super) fn json(&self) -> Value {
        let mut files = vec![self.file()];
        let mut answers = self.answers.clone();
        // A Pong shows that the link is still open. Only the latest of two Pings needs one (LV-4).
        let shown = |answer: &Value| answer.get("close").is_some() || answer.get("pong").is_some();
        if !answers.iter().any(shown) {
            files.push(frame_file("ping"));
            answers.push(pong(PING));
        }
        let steps = vec![send_files("A", &files), expect_in_any_order("A", answers)];
        let script = Script { peer: peer_of(self.prelude), prelude: Some(self.prelude), steps };
        script.describe(json!({ "to": role_name(self.to), "rules": ids(self.rules), "about": self.about }))
    }
}

pub(super) fn accepted() -> Vec<Accepted> {
    let mut all = to_both();
    all.extend(to_puller());
    all.extend(while_recalled());
    all.extend(to_pusher());
    all
}

/// For each role one.
fn both(
    names: [&'static str; 2],
    rules: &'static [Rule],
    about: &'static str,
    bytes: &[u8],
    answers: &[Value],
) -> [Accepted; 2] {
    [(Role::Puller, "puller-delivered"), (Role::Pusher, "pusher-delivered")].map(|(to, prelude)| Accepted {
        name: names[usize::from(to == Role::Pusher)],
        to,
        prelude,
        rules,
        about,
        bytes: bytes.to_vec(),
        answers: answers.to_vec(),
    })
}

fn to_both() -> Vec<Accepted> {
    let ping = |data| frame(Some(Body::Ping(v1::Ping { data })));
    let unasked = frame(Some(Body::Pong(v1::Pong { data: 9 })));
    let close =
        frame(Some(Body::Close(v1::Close { code: 9_999, reason: "later".into(), retry_after_ms: 0 })));
    [
        both(
            ["puller-later-frame", "pusher-later-frame"],
            &[Rule::Gr1],
            "A body that version 1 does not know (field 100)",
            &framed(b"\xa2\x06\x05later"),
            &[],
        ),
        both(
            ["puller-largest-later-frame", "pusher-largest-later-frame"],
            &[Rule::Gr1, Rule::Fr3],
            "The same, of 65,536 bytes",
            &padded(),
            &[],
        ),
        both(
            ["puller-later-field", "pusher-later-field"],
            &[Rule::Gr1],
            "A Ping with a field that version 1 does not know (15)",
            &framed(b"\x2a\x0b\x09\x02\x01\0\0\0\0\0\0\x78\x01"),
            &[pong(0x0102)],
        ),
        both(
            ["puller-later-around", "pusher-later-around"],
            &[Rule::Gr1],
            "A Ping after a field of the Frame that version 1 does not know (101)",
            &framed(b"\xa8\x06\x07\x2a\x09\x09\x02\x01\0\0\0\0\0\0"),
            &[pong(0x0102)],
        ),
        both(["puller-pong", "pusher-pong"], &[Rule::Lv4], "A Pong that was not asked for", &unasked, &[]),
        both(
            ["puller-pings", "pusher-pings"],
            &[Rule::Lv4],
            "Two Pings: the first may stay without an answer",
            &[ping(1), ping(2)].concat(),
            &[],
        ),
        both(
            ["puller-unknown-code", "pusher-unknown-code"],
            &[Rule::Er2, Rule::St4],
            "A Close with a code of a later version is answered by Close",
            &close,
            &[closed(Code::Normal)],
        ),
    ]
    .concat()
}

/// A frame of exactly 65,536 bytes: a tag of 2 bytes, a length of 3, and as many bytes as are left.
fn padded() -> Vec<u8> {
    let content = 65_536 - 2 - 3;
    framed(&[&b"\xa2\x06\xfb\xff\x03"[..], &vec![b'x'; content]].concat())
}

fn puller(name: &'static str, rules: &'static [Rule], about: &'static str, bytes: Vec<u8>) -> Accepted {
    Accepted { name, to: Role::Puller, prelude: "puller-delivered", rules, about, bytes, answers: Vec::new() }
}

fn to_puller() -> Vec<Accepted> {
    let header = |name: String| v1::Header { name, value: Default::default() };
    let headers = |headers| deliver(2, 2, vec![v1::Message { headers, ..sized(1) }]);
    let gap = |gap| v1::Message { gap, ..sized(1) };
    let odd = [
        &b"\xfa\x01\x02??"[..],         // field 31: two bytes
        b"\x1a\x07\x2a\x03odd\x78\x01", // a message with field 15, before the ids that it has
        b"\x10\x01\x10\x82\x00",        // first_number 1, and then 2 in two bytes: the last one counts
        b"\x08\x02",                    // first_id 2
        b"\xed\x01\0\0\0\0",            // field 29: 4 bytes
    ]
    .concat();
    let odd = framed(&[&[0x12, u8::try_from(odd.len()).unwrap_or(0)][..], &odd].concat());
    vec![
        puller(
            "puller-whole-credit",
            &[Rule::Cr2, Rule::Cr3],
            "Deliveries 2 and 3 of 399 and 600 bytes: 999 bytes were sent before the last, which exceeds byte_limit",
            deliver(2, 2, vec![sized(399), sized(600)]),
        ),
        puller("puller-empty-payload", &[Rule::Dl6], "A message of no bytes", deliver(2, 2, vec![sized(0)])),
        puller(
            "puller-64-headers",
            &[Rule::Dl5],
            "64 headers with the same name",
            headers(vec![header("n".into()); 64]),
        ),
        puller(
            "puller-long-header",
            &[Rule::Dl5],
            "A header name of 256 bytes",
            headers(vec![header("n".repeat(256))]),
        ),
        puller(
            "puller-numbers",
            &[Rule::Dl2],
            "Numbers 700 and 600 (gap -101): numbers need not be consecutive",
            deliver(2, 700, vec![sized(1), gap(-101)]),
        ),
        puller(
            "puller-number-again",
            &[Rule::Dl2, Rule::Dl3],
            "Number 0 again, at attempt 2: the settle time-out of the pusher has passed",
            deliver(2, 0, vec![v1::Message { attempt: 2, ..sized(300) }]),
        ),
        puller(
            "puller-large-attempt",
            &[Rule::Dl3],
            "The largest attempt",
            deliver(2, 2, vec![v1::Message { attempt: u32::MAX, ..sized(1) }]),
        ),
        puller(
            "puller-unusual",
            &[Rule::Fr4, Rule::Gr1],
            "Fields in another order, twice, padded, and unknown ones of several wire types",
            odd,
        ),
    ]
}

/// After leaving, before `Skip`.
fn while_recalled() -> Vec<Accepted> {
    let recalled = |name, rules, about, bytes| Accepted {
        prelude: "puller-recalled",
        ..puller(name, rules, about, bytes)
    };
    let skipped = |bytes| frame(Some(Body::Skip(v1::Skip { next_id: 4, bytes })));
    vec![
        recalled("puller-skip", &[Rule::Rc1, Rule::Rc3], "All unused credit is given up", skipped(400)),
        Accepted {
            answers: vec![settled(2, Verdict::Release)],
            ..recalled(
                "puller-deliver-before-skip",
                &[Rule::St1, Rule::Rc4],
                "Delivery 2 was sent before leaving arrived. The puller releases it after Skip",
                [deliver(2, 2, vec![sized(100)]), skipped(300)].concat(),
            )
        },
        recalled(
            "puller-end-before-skip",
            &[Rule::St1, Rule::St7],
            "End in place of Skip: no Skip is due any more",
            frame(Some(Body::End(v1::End {}))),
        ),
    ]
}

fn to_pusher() -> Vec<Accepted> {
    let pusher = |name, rules, about, acks: &[v1::Ack], answers| Accepted {
        name,
        to: Role::Pusher,
        prelude: "pusher-delivered",
        rules,
        about,
        bytes: acks.iter().flat_map(|ack| frame(Some(Body::Ack(ack.clone())))).collect(),
        answers,
    };
    let outcome = |first, count, verdict: Verdict| v1::Outcome {
        first,
        count,
        verdict: verdict.into(),
        ..Default::default()
    };
    let granted = v1::Ack { message_limit: 4, byte_limit: 1_000, ..Default::default() };
    let settles = |outcomes: Vec<v1::Outcome>| v1::Ack { outcomes, ..granted.clone() };
    let long = v1::Outcome { reason: "r".repeat(300), ..outcome(0, 1, Verdict::Reject) };
    let working = |deliveries| frame(Some(Body::Working(v1::Working { deliveries })));
    let acked = settles(vec![outcome(0, 1, Verdict::Ack)]);
    let recall = v1::Ack { recall: true, ..granted.clone() };
    vec![
        pusher(
            "pusher-lower-limits",
            &[Rule::Cr1],
            "Limits lower than before are ignored",
            &[v1::Ack::default()],
            vec![],
        ),
        pusher(
            "pusher-large-limits",
            &[Rule::Cr1, Rule::Cr8],
            "Limits of 2^53 - 1: a pusher has bounds of its own",
            &[v1::Ack { message_limit: (1 << 53) - 1, byte_limit: (1 << 53) - 1, ..Default::default() }],
            vec![],
        ),
        pusher(
            "pusher-outcome-again",
            &[Rule::Oc3],
            "A second outcome for delivery 0, in a frame of its own",
            &[acked.clone(), settles(vec![outcome(0, 1, Verdict::Reject)])],
            vec![],
        ),
        pusher(
            "pusher-outcomes-overlap",
            &[Rule::Oc1, Rule::Oc3],
            "Outcomes in any order; the second one for delivery 1 is ignored",
            &[settles(vec![outcome(1, 1, Verdict::Ack), outcome(0, 2, Verdict::Ack)])],
            vec![],
        ),
        pusher(
            "pusher-long-reason",
            &[Rule::Oc7],
            "A reason of 300 bytes is truncated",
            &[settles(vec![long])],
            vec![],
        ),
        pusher(
            "pusher-recall-twice",
            &[Rule::Rc1, Rule::Rc2],
            "A recall, and then leaving: each is answered by a Skip of its own",
            &[recall, v1::Ack { leaving: true, ..granted.clone() }],
            vec![skip(4, 400), skip(4, 0)],
        ),
        Accepted {
            bytes: working(vec![0, 1]),
            ..pusher("pusher-working", &[Rule::Oc13], "Both deliveries are being worked on", &[], vec![])
        },
        Accepted {
            bytes: [frame(Some(Body::Ack(acked))), working(vec![0])].concat(),
            ..pusher(
                "pusher-working-settled",
                &[Rule::Oc13],
                "Working names a delivery that has an outcome",
                &[],
                vec![],
            )
        },
    ]
}
