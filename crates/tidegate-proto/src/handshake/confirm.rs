//! The third step: the connector checks the answer.

use bytes::Bytes;

use super::{
    check::{check_hello, complements, read, wrong_role},
    local::{Local, VERSION},
};
use crate::{
    link::Peer,
    rule::Rule,
    v1,
    violation::{Code, Violation},
    wire::{self, Body},
};

/// Checks the acceptor's answer at the connector.
///
/// # Errors
/// `Err(Ok(close))` if the acceptor refuses the connector; `Err(Err(violation))` if the answer breaks a rule.
pub fn confirm(frame: Bytes, local: &Local) -> Result<Peer, Result<v1::Close, Violation>> {
    if let Ok(Body::Close(close)) = wire::decode(frame.clone(), u64::MAX) {
        return Err(Ok(close));
    }
    let hello = read(frame).map_err(Err)?;
    let (low, high) = (hello.version_min, hello.version_max);
    if low != high || low != VERSION {
        let detail = format!(
            "the acceptor selected versions {low} to {high}; the connector supports {VERSION} to {VERSION}"
        );
        return Err(Err(Violation::new(Code::Version, Rule::Hs3, detail)));
    }
    if hello.pipeline != local.pipeline {
        let detail = "the acceptor's Hello has another pipeline than the requested one";
        return Err(Err(Violation::new(Code::NoPipeline, Rule::Hs5, detail)));
    }
    if !complements(local.role, hello.role) {
        return Err(Err(wrong_role(hello.role)));
    }
    check_hello(hello, local, false).map_err(Err)
}
