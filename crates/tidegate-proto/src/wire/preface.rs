//! The preface, and what a stream with another beginning looks like.

use crate::rule::Rule;
use crate::violation::{Code, Violation};

/// The first bytes in each direction (FR-1).
pub const PREFACE: [u8; 8] = *b"TIDEGATE";

/// Checks whether a stream that begins with `bytes` has a correct preface. Returns whether the preface is complete.
///
/// # Errors
/// One byte differs (FR-1). The detail says what the stream looks like.
pub fn check_preface(bytes: &[u8]) -> Result<bool, Violation> {
    let n = bytes.len().min(PREFACE.len());
    if bytes[..n] == PREFACE[..n] {
        return Ok(n == PREFACE.len());
    }
    let detail = format!("the stream does not begin with TIDEGATE; it looks like {}", resembles(bytes));
    Err(Violation::new(Code::NotTidegate, Rule::Fr1, detail))
}

/// Describes what a stream that is not tidegate looks like, for a log.
#[must_use]
pub fn resembles(bytes: &[u8]) -> &'static str {
    const METHODS: [&[u8]; 9] =
        [b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE", b"PATC", b"CONN", b"TRAC"];
    let starts = |prefix: &[u8]| bytes.starts_with(prefix);
    if METHODS.iter().any(|m| starts(m)) {
        "an HTTP request"
    } else if starts(b"PRI * HTTP/2") || starts(b"PRI ") {
        "an HTTP/2 connection"
    } else if starts(b"HTTP/") {
        "an HTTP server"
    } else if starts(&[0x16, 0x03]) {
        "a TLS hello"
    } else if starts(&[0xff, 0, 0, 0, 0, 0, 0, 0]) || starts(&[0xff]) && bytes.get(9) == Some(&0x7f) {
        "a ZeroMQ greeting"
    } else if starts(b"SSH-") {
        "an SSH client"
    } else if starts(b"AMQP") {
        "an AMQP client"
    } else if starts(b"CONNECT {") || starts(b"INFO {") {
        "a NATS peer"
    } else if starts(b"*") || starts(b"PING\r") {
        "a Redis client"
    } else if bytes.iter().take(8).all(|o| o.is_ascii_graphic() || b" \r\n\t".contains(o)) {
        "plain text"
    } else {
        "random or binary bytes"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fr_1_a_wrong_preface_is_refused_at_its_first_wrong_byte_and_described() {
        // FR-1
        assert_eq!(check_preface(b""), Ok(false));
        assert_eq!(check_preface(b"TIDE"), Ok(false));
        assert_eq!(check_preface(b"TIDEGATE..."), Ok(true));
        assert!(check_preface(b"TIDEg").is_err());
        for (bytes, name) in [
            (&b"GET / HTTP/1.1\r\n"[..], "an HTTP request"),
            (&[0x16, 3, 1, 2][..], "a TLS hello"),
            (&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3][..], "a ZeroMQ greeting"),
            (&[0xff, 0, 0, 0, 0, 0, 0, 0][..], "a ZeroMQ greeting"),
            (&b"hello\n"[..], "plain text"),
            (&[0, 1, 2, 200][..], "random or binary bytes"),
        ] {
            let violation = check_preface(bytes).unwrap_err();
            assert_eq!(violation.code, Code::NotTidegate);
            assert!(violation.detail.ends_with(name), "{violation}");
        }
    }
}
