//! Scripts: what the runner of a vector does, as JSON. `tests/vectors/README.md` describes each step and event.

use serde_json::{Value, json};
use tidegate_proto::{Code, Role, wire::v1::Verdict};

/// The time within which something expected must happen.
const SOON: u64 = 5_000;
/// The time in which a connector must have connected: it may wait between two attempts (RD-6).
const CONNECTED: u64 = 10_000;

/// What a runner does with the peer under test.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// The settings of the peer.
    pub(super) peer: Value,
    /// The script that is run before, by name.
    pub(super) prelude: Option<&'static str>,
    /// The steps, in order.
    pub(super) steps: Vec<Value>,
}

impl Script {
    /// The fields that a description of this script has.
    pub(super) fn describe(&self, mut about: Value) -> Value {
        about["peer"] = self.peer.clone();
        about["prelude"] = self.prelude.map(prelude_file).into();
        about["steps"] = self.steps.clone().into();
        about
    }
}

pub(super) fn prelude_file(name: &str) -> String {
    format!("preludes/{name}.json")
}

/// The puller that most vectors are for: a fixed window of 4 messages and 1,000 bytes.
pub(super) fn puller() -> Value {
    json!({
        "role": "puller", "side": "acceptor", "pipeline": "work", "token": super::hex(b"sesame"),
        "max_message": "1000", "heartbeat_ms": 2_000, "window_messages": "4", "window_bytes": "1000",
    })
}

/// The pusher that most vectors are for: without a reconnect grace.
pub(super) fn pusher(side: &str) -> Value {
    json!({
        "role": "pusher", "side": side, "pipeline": "work", "token": super::hex(b"sesame"),
        "max_message": "600", "heartbeat_ms": 2_000, "reconnect_grace_ms": 0,
    })
}

/// A pusher with a grace that outlasts every script.
pub(super) fn graceful_pusher(side: &str) -> Value {
    let mut peer = pusher(side);
    peer["reconnect_grace_ms"] = 10_000.into();
    peer
}

pub(super) fn role_name(role: Role) -> &'static str {
    if role == Role::Pusher { "pusher" } else { "puller" }
}

// The runner's side of the connections.

pub(super) fn connect(connection: &str) -> Value {
    json!({ "connect": { "connection": connection } })
}

pub(super) fn accept(connection: &str) -> Value {
    json!({ "accept": { "connection": connection, "within_ms": CONNECTED } })
}

pub(super) fn close(connection: &str) -> Value {
    json!({ "close": { "connection": connection } })
}

/// Sends files of `tests/vectors`, one after the other, in one write.
pub(super) fn send_files(connection: &str, files: &[String]) -> Value {
    json!({ "send": { "connection": connection, "files": files } })
}

/// Sends frames of [`super::parts`].
pub(super) fn send(connection: &str, frames: &[&str]) -> Value {
    send_files(connection, &frames.iter().map(|name| frame_file(name)).collect::<Vec<_>>())
}

pub(super) fn frame_file(name: &str) -> String {
    format!("frames/{name}.bin")
}

pub(super) fn expect(connection: &str, events: Vec<Value>) -> Value {
    json!({ "expect": {
        "connection": connection, "within_ms": SOON, "any_order": false, "events": events,
    }})
}

pub(super) fn expect_in_any_order(connection: &str, events: Vec<Value>) -> Value {
    json!({ "expect": { "connection": connection, "within_ms": SOON, "any_order": true, "events": events } })
}

pub(super) fn expect_nothing(connection: &str, for_ms: u64) -> Value {
    json!({ "expect_nothing": { "connection": connection, "for_ms": for_ms } })
}

/// Does nothing: it does not read, and so it answers no Ping.
pub(super) fn wait(for_ms: u64) -> Value {
    json!({ "wait": { "for_ms": for_ms } })
}

// The application of the peer under test.

pub(super) fn app_send(count: u64, size: u64) -> Value {
    json!({ "app_send": { "count": count.to_string(), "size": size.to_string() } })
}

pub(super) fn app_finish() -> Value {
    json!({ "app_finish": {} })
}

pub(super) fn app_receive(name: &str, number: u64, attempt: u32) -> Value {
    json!({ "app_receive": {
        "as": name, "number": number.to_string(), "attempt": attempt, "within_ms": SOON,
    }})
}

pub(super) fn app_receive_nothing(for_ms: u64) -> Value {
    json!({ "app_receive_nothing": { "for_ms": for_ms } })
}

pub(super) fn app_settle(name: &str, verdict: Verdict) -> Value {
    json!({ "app_settle": {
        "delivery": name, "verdict": verdict.as_str_name(), "delay_ms": 0, "reason": "",
    }})
}

pub(super) fn app_settle_with(name: &str, verdict: Verdict, delay_ms: u32, reason: &str) -> Value {
    json!({ "app_settle": {
        "delivery": name, "verdict": verdict.as_str_name(), "delay_ms": delay_ms, "reason": reason,
    }})
}

pub(super) fn app_leave() -> Value {
    json!({ "app_leave": {} })
}

pub(super) fn app_end() -> Value {
    json!({ "app_end": { "within_ms": SOON } })
}

// Events.

/// A delivery of the message that the script calls `message`.
pub(super) fn delivery(id: u64, message: &str, attempt: u32, size: u64) -> Value {
    json!({ "delivery": {
        "id": id.to_string(), "number": { "same": message }, "attempt": attempt, "size": size.to_string(),
    }})
}

pub(super) fn outcome(delivery: u64, verdict: Verdict) -> Value {
    json!({ "outcome": { "delivery": delivery.to_string(), "verdict": verdict.as_str_name() } })
}

pub(super) fn limits(messages: u64, bytes: u64) -> Value {
    json!({ "limits": { "message_limit": messages.to_string(), "byte_limit": bytes.to_string() } })
}

pub(super) fn skip(next_id: u64, bytes: u64) -> Value {
    json!({ "skip": { "next_id": next_id.to_string(), "bytes": bytes.to_string() } })
}

pub(super) fn pong(data: u64) -> Value {
    json!({ "pong": { "data": data.to_string() } })
}

pub(super) fn end() -> Value {
    json!({ "end": {} })
}

pub(super) fn closed(code: Code) -> Value {
    json!({ "close": { "code": code.name() } })
}

pub(super) fn disconnected() -> Value {
    json!({ "disconnected": {} })
}

/// The puller leaves.
pub(super) fn leaving() -> Value {
    json!({ "request": { "recall": false, "leaving": true } })
}

/// The `Hello` of an acceptor.
pub(super) fn answer(role: Role) -> Value {
    json!({ "hello": {
        "version_min": 1, "version_max": 1, "role": role.as_str_name(), "pipeline": "work", "token": "",
        "resume": "", "generation": "0", "max_message": if role == Role::Pusher { "600" } else { "1000" },
        "heartbeat_ms": 2_000, "required": [],
    }})
}

/// The `Hello` of a connector that shows the secret that the script calls `resume`.
pub(super) fn greeting(role: Role, generation: Value) -> Value {
    json!({ "hello": {
        "version_min": 1, "role": role.as_str_name(), "pipeline": "work", "token": super::hex(b"sesame"),
        "instance": { "same": "instance" }, "resume": { "same": "resume" }, "generation": generation,
        "max_message": if role == Role::Pusher { "600" } else { "1000" }, "heartbeat_ms": 2_000, "required": [],
    }})
}

/// A number that is at least this one.
pub(super) fn at_least(number: u64) -> Value {
    json!({ "at_least": number.to_string() })
}
