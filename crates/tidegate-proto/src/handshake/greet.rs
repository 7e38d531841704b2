//! The first step: the connector introduces itself.

use bytes::Bytes;

use super::{
    local::{Local, with_preface},
    tokens::Tokens,
};
use crate::{link::Resume, v1};

/// Makes the first bytes of a connector: preface and `Hello` (HS-1). Without `resume`, the acceptor cannot recognize
/// the connector when it reconnects (HS-9).
#[must_use]
pub fn greet(local: &Local, resume: Option<&Resume>, generation: u64) -> Bytes {
    // HS-4: a token is sent from connector to acceptor only.
    let token = local.token.as_ref().and_then(Tokens::first).cloned().unwrap_or_default();
    let resume = resume.map(|resume| Bytes::copy_from_slice(resume.as_bytes())).unwrap_or_default();
    with_preface(v1::frame::Body::Hello(v1::Hello { token, resume, generation, ..local.hello() }))
}
