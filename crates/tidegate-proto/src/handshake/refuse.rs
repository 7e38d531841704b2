//! A handshake that fails: the `Close` in place of a `Hello`.

use std::time::Duration;

use bytes::Bytes;

use super::local::with_preface;
use crate::{
    v1,
    violation::Violation,
    wire::{self, Body, cut_reason},
};

/// Makes the bytes with which an acceptor refuses a connection: preface and `Close` (HS-2).
#[must_use]
pub fn refusal(violation: &Violation, retry_after: Duration) -> Bytes {
    with_preface(v1::frame::Body::Close(close(violation, retry_after)))
}

/// Makes the `Close` for a violation.
#[must_use]
pub fn close(violation: &Violation, retry_after: Duration) -> v1::Close {
    v1::Close {
        code: violation.code.into(),
        reason: cut_reason(&violation.to_string()).to_owned(),
        retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
    }
}

/// Reads a first frame that is a `Close` instead of a `Hello`. This is legal, and is not answered (FR-5).
#[must_use]
pub fn early_close(frame: &Bytes) -> Option<v1::Close> {
    match wire::decode(frame.clone(), u64::MAX) {
        Ok(Body::Close(close)) => Some(close),
        _ => None,
    }
}
