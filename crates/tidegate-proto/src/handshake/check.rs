//! The checks of a `Hello` that both sides make.

use std::time::Duration;

use bytes::Bytes;

use super::{local::Local, tokens::MAX_TOKEN};
use crate::{
    link::{HEARTBEAT_RANGE, Peer, Resume},
    message::InstanceId,
    rule::Rule,
    shown::shown,
    v1::{self, Role},
    violation::{Code, Violation},
    wire::{self, Body, MAX_COUNTER, MAX_MAX_MESSAGE, MAX_TEXT},
};

/// The maximum number of features in a list, and the maximum length of a feature's name in bytes (HS-10).
pub const MAX_FEATURES: (usize, usize) = (32, 64);

/// Reads the first frame, and checks the lengths of its fields (HS-10).
pub(super) fn read(frame: Bytes) -> Result<v1::Hello, Violation> {
    let hello = match wire::decode(frame, u64::MAX) {
        Ok(Body::Hello(hello)) => hello,
        Ok(_) => return Err(Violation::unexpected("the first frame is not a Hello")),
        Err(violation) => return Err(Violation { rule: Rule::Fr4, code: Code::Malformed, ..violation }),
    };
    let (max_features, max_name) = MAX_FEATURES;
    for (what, length, unit, limit) in [
        ("name", hello.name.len(), "bytes", MAX_TEXT),
        ("pipeline", hello.pipeline.len(), "bytes", MAX_TEXT),
        ("token", hello.token.len(), "bytes", MAX_TOKEN),
        ("list of offered features", hello.offered.len(), "names", max_features),
        ("list of required features", hello.required.len(), "names", max_features),
    ] {
        if length > limit {
            let detail = format!("the {what} has {length} {unit}; the maximum is {limit}");
            return Err(Violation::new(Code::Malformed, Rule::Hs10, detail));
        }
    }
    let lengths = hello.offered.iter().chain(&hello.required).map(String::len);
    if let Some(length) = lengths.max().filter(|length| *length > max_name) {
        let detail = format!("the name of a feature has {length} bytes; the maximum is {max_name}");
        return Err(Violation::new(Code::Malformed, Rule::Hs10, detail));
    }
    Ok(hello)
}

/// Whether a peer in this role can have a link with a socket in the role `own` (HS-6).
pub(super) fn complements(own: Role, peer: i32) -> bool {
    matches!((own, Role::try_from(peer)), (Role::Pusher, Ok(Role::Puller)) | (Role::Puller, Ok(Role::Pusher)))
}

pub(super) fn wrong_role(peer: i32) -> Violation {
    let detail = match Role::try_from(peer) {
        Ok(Role::Pusher) => "both sides are pushers; a pusher needs a puller",
        Ok(Role::Puller) => "both sides are pullers; a puller needs a pusher",
        _ => "the role is neither pusher nor puller",
    };
    Violation::new(Code::Role, Rule::Hs6, detail)
}

/// Makes the checks of HS-2 that follow the role, in their order.
pub(super) fn check_hello(hello: v1::Hello, local: &Local, from_connector: bool) -> Result<Peer, Violation> {
    let Ok(instance) = <[u8; 16]>::try_from(&hello.instance[..]) else {
        let detail = format!("instance has {} bytes; it must have 16", hello.instance.len());
        return Err(Violation::new(Code::Malformed, Rule::Hs8, detail));
    };
    let role = if local.role == Role::Pusher { Role::Puller } else { Role::Pusher };
    let theirs = hello.max_message;
    if !(1..=MAX_MAX_MESSAGE).contains(&theirs) {
        let detail = format!("max_message is {theirs}; it must be between 1 and {MAX_MAX_MESSAGE}");
        return Err(Violation::new(Code::Malformed, Rule::Hs7, detail));
    }
    let (pusher, puller) =
        if role == Role::Pusher { (theirs, local.max_message) } else { (local.max_message, theirs) };
    if pusher > puller {
        let detail =
            format!("the pusher's max_message is {pusher} bytes; the puller accepts at most {puller}");
        return Err(Violation::new(Code::MessageSize, Rule::Hs7, detail));
    }
    let heartbeat = Duration::from_millis(hello.heartbeat_ms.into());
    if heartbeat < HEARTBEAT_RANGE.0 || heartbeat > HEARTBEAT_RANGE.1 {
        let detail = format!("heartbeat_ms is {}; it must be between 100 and 60000", hello.heartbeat_ms);
        return Err(Violation::new(Code::Malformed, Rule::Lv1, detail));
    }
    let missing =
        |wanted: &[String], offered: &[String]| wanted.iter().find(|f| !offered.contains(f)).cloned();
    if let Some(feature) =
        missing(&hello.required, &local.offered).or_else(|| missing(&local.required, &hello.offered))
    {
        let detail =
            format!("the feature {} is required, and the other side does not offer it", shown(&feature));
        return Err(Violation::new(Code::Feature, Rule::Hs10, detail));
    }
    if from_connector && !(1..=MAX_COUNTER).contains(&hello.generation) {
        let detail = format!("generation is {}; it must be between 1 and 2^53 - 1", hello.generation);
        return Err(Violation::new(Code::Malformed, Rule::Hs9, detail));
    }
    let resume = match &hello.resume[..] {
        [] => None,
        // HS-9: a connector ignores the resume of an acceptor.
        _ if !from_connector => None,
        shown => match <[u8; 16]>::try_from(shown) {
            Ok(secret) => Some(Resume::new(secret)),
            Err(_) => {
                let detail = format!("resume has {} bytes; it must be empty or have 16", shown.len());
                return Err(Violation::new(Code::Malformed, Rule::Hs9, detail));
            }
        },
    };
    if !from_connector && !hello.token.is_empty() {
        return Err(Violation::new(Code::Malformed, Rule::Hs4, "the acceptor's Hello contains a token"));
    }
    Ok(Peer {
        role,
        instance: InstanceId(instance),
        name: hello.name,
        address: String::new(),
        pipeline: hello.pipeline,
        max_message: theirs,
        heartbeat,
        names: Vec::new(),
        generation: from_connector.then_some(hello.generation),
        resume,
        key: None,
    })
}
