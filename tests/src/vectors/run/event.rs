//! What a runner sees of a frame, and whether that is what it expects.

use std::collections::HashMap;

use serde_json::{Value, json};
use tidegate_proto::{
    Code,
    wire::v1::{self, frame::Body},
};

use super::Wrong;
use crate::vectors::describe;

/// The values of `{"same": name}`, by their names.
pub(super) type Names = HashMap<String, Value>;

/// Events that may come at any time.
const PASSED_OVER: [&str; 5] = ["ping", "pong", "limits", "request", "working"];

/// The only field of an object, with its name.
pub(super) fn only(value: &Value) -> Result<(&str, &Value), Wrong> {
    match value.as_object().map(|object| (object.len(), object.iter().next())) {
        Some((1, Some((name, content)))) => Ok((name, content)),
        _ => Err(format!("not an object with one field: {value}")),
    }
}

/// The events of a frame. How a sender groups messages and outcomes into frames has no meaning and is not visible here.
pub(super) fn split(body: Option<&Body>) -> Vec<Value> {
    match body {
        None => vec![json!({ "unknown": {} })],
        Some(Body::Deliver(deliver)) => deliveries(deliver),
        Some(Body::Ack(ack)) => parts(ack),
        Some(Body::Close(close)) => vec![json!({ "close": {
            "code": Code::from_wire(close.code).name(), "reason": close.reason,
            "retry_after_ms": close.retry_after_ms,
        }})],
        other => vec![describe(other)],
    }
}

fn deliveries(deliver: &v1::Deliver) -> Vec<Value> {
    let mut next = deliver.first_number;
    let each = |(message, id): (&v1::Message, u64)| {
        let number = next.wrapping_add_signed(message.gap);
        next = number.wrapping_add(1);
        let headers: usize = message.headers.iter().map(|h| h.name.len() + h.value.len()).sum();
        json!({ "delivery": {
            "id": id.to_string(), "number": number.to_string(), "attempt": message.attempt.max(1),
            "size": (message.payload.len() + headers).to_string(), "tracked": message.tracked,
        }})
    };
    deliver.messages.iter().zip(deliver.first_id..).map(each).collect()
}

/// One event for each delivery with an outcome, one for the limits, and one for recall and leaving.
fn parts(ack: &v1::Ack) -> Vec<Value> {
    let mut all = Vec::new();
    for outcome in &ack.outcomes {
        for delivery in (outcome.first..).take(usize::try_from(outcome.count).unwrap_or(usize::MAX)) {
            all.push(json!({ "outcome": {
                "delivery": delivery.to_string(), "verdict": outcome.verdict().as_str_name(),
                "delay_ms": outcome.delay_ms, "reason": outcome.reason,
            }}));
        }
    }
    all.push(json!({ "limits": {
        "message_limit": ack.message_limit.to_string(), "byte_limit": ack.byte_limit.to_string(),
    }}));
    if ack.recall || ack.leaving {
        all.push(json!({ "request": { "recall": ack.recall, "leaving": ack.leaving } }));
    }
    all
}

/// Whether an event is of a kind that may come at any time.
pub(super) fn may_be_passed_over(event: &Value) -> bool {
    only(event).is_ok_and(|(kind, _)| PASSED_OVER.contains(&kind))
}

/// Whether an event has the expected kind and fields. If so, adds to `names` what the expectation calls by a name.
pub(super) fn matches(expected: &Value, event: &Value, names: &mut Names) -> Result<bool, Wrong> {
    let ((kind, fields), (event_kind, event_fields)) = (only(expected)?, only(event)?);
    if kind != event_kind {
        return Ok(false);
    }
    let mut found = names.clone();
    for (field, wanted) in fields.as_object().into_iter().flatten() {
        let value = &event_fields[field];
        let same = match wanted.as_object().map(|_| only(wanted)).transpose()? {
            Some(("same", name)) => {
                let name = name.as_str().ok_or("a name is not a string")?.to_owned();
                found.entry(name).or_insert_with(|| value.clone()) == value
            }
            Some(("at_least", _)) => {
                let least = super::number(wanted, "at_least")?;
                super::number(event_fields, field)? >= least
            }
            Some((other, _)) => return Err(format!("unknown condition {other}")),
            None => wanted == value,
        };
        if !same {
            return Ok(false);
        }
    }
    *names = found;
    Ok(true)
}
