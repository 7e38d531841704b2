//! The golden frames of `tests/vectors` as inputs, so that the fuzzer starts from valid frames and from frames that
//! break a single rule.

use crate::vectors::{Stage, bad, valid};

/// Larger frames slow the fuzzer down and add no coverage.
const MAX_FRAME: usize = 2_000;

/// An input made from a golden frame.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The target's name.
    pub target: &'static str,
    /// The file's name in the corpus of that target.
    pub name: String,
    /// The file's content.
    pub bytes: Vec<u8>,
}

/// All golden frames that fit a target.
#[must_use]
pub fn golden() -> Vec<Golden> {
    let mut all = Vec::new();
    let mut add = |target, name: &str, head: &[u8], bytes: &[u8]| {
        if bytes.len() <= MAX_FRAME {
            all.push(Golden { target, name: format!("golden-{name}"), bytes: [head, bytes].concat() });
        }
    };
    for vector in valid() {
        let bytes = vector.bytes();
        // These bytes select the largest message, an open link and pieces of 4 bytes.
        add("frames", vector.name, &[62, 0, 0, 3], &bytes);
        add("deliver", vector.name, &[0xe8, 3], &bytes[4..]);
        if vector.name.starts_with("hello") {
            add("handshake", vector.name, &[HANDSHAKE, 0], &bytes[4..]);
        }
    }
    for vector in bad() {
        let greeted = u8::from(!matches!(vector.stage, Stage::Open(_)));
        add("frames", vector.name, &[62, 0, greeted, 3], &vector.bytes);
        if let (Stage::Open(_), Some(frame)) = (vector.stage, vector.bytes.get(4..)) {
            add("deliver", vector.name, &[0xe8, 3], frame);
        }
        if let (Stage::Hello, Some(frame)) = (vector.stage, vector.bytes.get(12..)) {
            add("handshake", vector.name, &[HANDSHAKE, 0], frame);
        }
    }
    all
}

/// Selects a puller with a token that accepts messages of 1,000 bytes.
const HANDSHAKE: u8 = 1 | 4;
