//! The second step: the acceptor checks the connector and answers.

use bytes::Bytes;

use super::{
    check::{check_hello, complements, read, wrong_role},
    local::{Local, VERSION, with_preface},
};
use crate::{
    link::Peer,
    rule::Rule,
    v1,
    violation::{Code, Violation},
};

/// Checks a connector's `Hello` at the acceptor. Returns the index of the matching entry of `locals`, the peer, and the
/// bytes to answer with: preface and `Hello`.
///
/// # Errors
/// The first check that fails, in the order of HS-2.
pub fn accept(frame: Bytes, locals: &[Local]) -> Result<(usize, Peer, Bytes), Violation> {
    accept_where(frame, locals, |_| true)
}

/// Checks a connector's `Hello` as [`accept`] does, for a connector that may use only the entries of `locals` whose
/// index `admits` accepts (TL-5). A pipeline that the connector may not use is refused like an unknown one.
///
/// # Errors
/// The first check that fails, in the order of HS-2.
pub fn accept_where(
    frame: Bytes,
    locals: &[Local],
    admits: impl Fn(usize) -> bool,
) -> Result<(usize, Peer, Bytes), Violation> {
    let hello = read(frame)?;
    let (low, high) = (hello.version_min, hello.version_max);
    if low > VERSION || high < VERSION || low > high {
        let detail = format!(
            "the connector supports versions {low} to {high}; the acceptor supports {VERSION} to {VERSION}"
        );
        return Err(Violation::new(Code::Version, Rule::Hs3, detail));
    }
    // HS-5: for an unknown pipeline, any token of this port is enough to learn that the pipeline does not exist. A
    // connector without a valid token cannot find out which pipelines exist. All tokens are compared in any case, so
    // that the time does not reveal it either.
    let (mut known, mut trusted_there, mut trusted_here) = (false, false, false);
    for local in locals {
        let (serves, matches) = (local.pipeline == hello.pipeline, token_matches(local, &hello.token));
        known |= serves;
        trusted_there |= serves & matches;
        trusted_here |= matches;
    }
    let trusted = if known { trusted_there } else { trusted_here };
    if !trusted {
        let detail = if hello.token.is_empty() { "a token is required" } else { "the token is wrong" };
        return Err(Violation::new(Code::Unauthorized, Rule::Hs4, detail));
    }
    let serves = |(index, local): &(usize, &Local)| local.pipeline == hello.pipeline && admits(*index);
    let mut serving = locals.iter().enumerate().filter(serves).peekable();
    if serving.peek().is_none() {
        let detail = "the pipeline does not exist, or this peer may not use it";
        return Err(Violation::new(Code::NoPipeline, Rule::Hs5, detail));
    }
    let role = hello.role;
    let Some((index, local)) = serving.find(|(_, local)| complements(local.role, role)) else {
        return Err(wrong_role(role));
    };
    let peer = check_hello(hello, local, true)?;
    Ok((index, peer, with_preface(v1::frame::Body::Hello(local.hello()))))
}

/// Whether `local` requires no token, or `given` is one of its tokens (HS-4).
fn token_matches(local: &Local, given: &[u8]) -> bool {
    local.token.as_ref().is_none_or(|tokens| tokens.accept(given))
}
