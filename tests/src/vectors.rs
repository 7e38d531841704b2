//! Golden frames: what `tests/vectors` holds, made here so that every byte of it has a reason.
//!
//! `tests/tests/vectors.rs` compares the files with this, and shows the frames to the real machines.

use serde_json::{Value, json};
use tidegate_proto::{
    Code, Rule,
    wire::v1::{self, Role, frame::Body},
};

mod accepted;
mod bad;
mod files;
mod handshakes;
mod parts;
mod preludes;
pub mod run;
mod script;
mod sequences;
mod valid;

pub use bad::bad;
pub use files::files;
pub use valid::valid;

/// A frame that a peer must take, with its length in front.
#[derive(Clone, Debug)]
pub struct Valid {
    /// The name of its files.
    pub name: &'static str,
    /// Who may send it: `pusher`, `puller` or `both`.
    pub from: &'static str,
    /// The rules of SPEC.md that it shows.
    pub rules: &'static [Rule],
    /// For people.
    pub about: &'static str,
    /// What it says; `None` if that is unknown to this version (GR-1).
    pub body: Option<Body>,
    /// Its bytes, if they are not those that the generated code makes of `body`.
    pub unusual: Option<Vec<u8>>,
}

impl Valid {
    /// The content of its `.bin` file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match &self.unusual {
            Some(bytes) => framed(bytes),
            None => frame(self.body.clone()),
        }
    }

    /// The content of its `.json` file.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "from": self.from, "rules": ids(self.rules), "about": self.about,
            "usual_encoding": self.unusual.is_none(), "frame": describe(self.body.as_ref()),
        })
    }
}

/// How far a link is when a bad vector arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has been received.
    Preface,
    /// The same; the preface is good, what follows is not.
    Hello,
    /// The handshake is done, and the prelude has happened.
    Open(Prelude),
}

/// What has happened on an open link; `tests/vectors/README.md` has the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prelude {
    /// Two deliveries were granted and made; they are un-acked.
    Delivered,
    /// And then credit was asked back: the puller waits for `Skip`, or the pusher has sent it.
    Recalled,
    /// And then both were acked, and `End` was received. Pullers only.
    Ended,
}

impl Prelude {
    /// The name of its script, for a pusher or for a puller.
    const fn script(self, pusher: bool) -> &'static str {
        match (self, pusher) {
            (Self::Delivered, true) => "pusher-delivered",
            (Self::Delivered, false) => "puller-delivered",
            (Self::Recalled, true) => "pusher-recalled",
            (Self::Recalled, false) => "puller-recalled",
            (Self::Ended, _) => "puller-ended",
        }
    }
}

/// Bytes that a peer must refuse.
#[derive(Clone, Debug)]
pub struct Bad {
    /// The name of its files.
    pub name: &'static str,
    /// When it arrives.
    pub stage: Stage,
    /// The role of the side that receives it.
    pub to: Role,
    /// Whether that side is the acceptor. Open links do not care.
    pub acceptor: bool,
    /// The code of the `Close` that it gets.
    pub code: Code,
    /// The rule of SPEC.md that it breaks.
    pub rule: Rule,
    /// For people.
    pub about: &'static str,
    /// The content of its `.bin` file.
    pub bytes: Vec<u8>,
}

/// Parts of the names of vectors that a peer may accept, or answer later: FR-1 and FR-4 say MAY.
const OPTIONAL: [&str; 4] = ["preface-early", "-two-bodies", "-wrong-type", "-not-utf-8"];

impl Bad {
    /// The content of its `.json` file.
    #[must_use]
    pub fn json(&self) -> Value {
        let to = if self.to == Role::Pusher { "pusher" } else { "puller" };
        let mut all = json!({
            "to": to, "code": self.code.name(), "rule": self.rule.id(), "about": self.about,
            "optional": OPTIONAL.iter().any(|part| self.name.contains(part)),
        });
        let side = if self.acceptor { "acceptor" } else { "connector" };
        match self.stage {
            Stage::Preface => (all["stage"], all["side"]) = ("preface".into(), side.into()),
            Stage::Hello => (all["stage"], all["side"]) = ("hello".into(), side.into()),
            Stage::Open(_) => all["stage"] = "open".into(),
        }
        all
    }
}

/// A frame as the generated code encodes it, with its length (FR-2).
fn frame(body: Option<Body>) -> Vec<u8> {
    framed(&prost::Message::encode_to_vec(&v1::Frame { body }))
}

/// Bytes with their length in front (FR-2).
fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// The ids of rules, for `.json` files.
fn ids(rules: &[Rule]) -> Vec<&'static str> {
    rules.iter().map(|rule| rule.id()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(numbers: &[u64]) -> Vec<String> {
    numbers.iter().map(u64::to_string).collect()
}

/// A frame in words: every field by its name in the .proto file, byte strings in hexadecimal, and integers of 64 bits
/// as decimal strings, because JSON readers in other languages round large numbers.
#[must_use]
pub fn describe(body: Option<&Body>) -> Value {
    match body {
        None => Value::Null,
        Some(Body::Hello(h)) => json!({ "hello": {
            "version_min": h.version_min, "version_max": h.version_max, "role": h.role().as_str_name(),
            "instance": hex(&h.instance), "name": h.name, "pipeline": h.pipeline, "token": hex(&h.token),
            "resume": hex(&h.resume), "generation": h.generation.to_string(), "max_message": h.max_message.to_string(),
            "heartbeat_ms": h.heartbeat_ms, "offered": h.offered, "required": h.required,
        }}),
        Some(Body::Deliver(d)) => {
            let header = |h: &v1::Header| json!({ "name": h.name, "value": hex(&h.value) });
            let message = |m: &v1::Message| {
                json!({
                    "headers": m.headers.iter().map(header).collect::<Vec<_>>(), "gap": m.gap.to_string(),
                    "attempt": m.attempt, "tracked": m.tracked, "payload": hex(&m.payload),
                })
            };
            let messages: Vec<_> = d.messages.iter().map(message).collect();
            json!({ "deliver": {
                "first_id": d.first_id.to_string(), "first_number": d.first_number.to_string(), "messages": messages,
            }})
        }
        Some(Body::Ack(a)) => {
            let outcome = |o: &v1::Outcome| {
                json!({
                    "first": o.first.to_string(), "count": o.count.to_string(), "verdict": o.verdict().as_str_name(),
                    "delay_ms": o.delay_ms, "reason": o.reason,
                })
            };
            json!({ "ack": {
                "outcomes": a.outcomes.iter().map(outcome).collect::<Vec<_>>(),
                "message_limit": a.message_limit.to_string(), "byte_limit": a.byte_limit.to_string(),
                "recall": a.recall, "leaving": a.leaving,
            }})
        }
        Some(Body::Skip(s)) => {
            json!({ "skip": { "next_id": s.next_id.to_string(), "bytes": s.bytes.to_string() } })
        }
        Some(Body::Ping(p)) => json!({ "ping": { "data": p.data.to_string() } }),
        Some(Body::Pong(p)) => json!({ "pong": { "data": p.data.to_string() } }),
        Some(Body::Working(w)) => json!({ "working": { "deliveries": texts(&w.deliveries) } }),
        Some(Body::End(_)) => json!({ "end": {} }),
        Some(Body::Close(c)) => {
            json!({ "close": { "code": c.code, "reason": c.reason, "retry_after_ms": c.retry_after_ms } })
        }
    }
}

/// The pusher's first frame as a connector: good for a puller that serves pipeline `work` with token `sesame`.
fn connector_hello() -> v1::Hello {
    v1::Hello {
        version_min: 1,
        version_max: 1,
        role: Role::Pusher.into(),
        instance: vec![0x11; 16].into(),
        name: "pusher".into(),
        pipeline: "work".into(),
        token: "sesame".into(),
        resume: vec![0x33; 16].into(),
        generation: 6,
        max_message: 600,
        heartbeat_ms: 2_000,
        offered: Vec::new(),
        required: Vec::new(),
    }
}

/// The puller's answer as an acceptor.
fn acceptor_hello() -> v1::Hello {
    v1::Hello {
        role: Role::Puller.into(),
        instance: vec![0x22; 16].into(),
        name: "puller".into(),
        token: Default::default(),
        resume: Default::default(),
        generation: 0,
        max_message: 1_000,
        ..connector_hello()
    }
}
