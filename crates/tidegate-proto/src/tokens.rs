//! Bearer tokens: what a connector shows and an acceptor asks for (HS-4).

use std::{fmt, hint::black_box};

use bytes::Bytes;

use crate::handshake::MAX_TOKEN;

/// One token or several: a connector shows the first, an acceptor takes each. Several make it possible to change a token while
/// peers go on with the old one. None of them is ever shown: not by `Debug`, not in an error.
///
/// ```
/// use tidegate_proto::Tokens;
///
/// let tokens = Tokens::new(["new", "old"]);
/// assert_eq!(tokens.first().unwrap(), "new"); // shown when connecting
/// assert!(tokens.accept(b"old") && !tokens.accept(b"older"));
/// assert_eq!(format!("{tokens:?}"), "Tokens(2, not shown)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

/// A token, and the same filled up with zeros to the longest that there can be.
#[derive(Clone, PartialEq, Eq)]
struct Token {
    plain: Bytes,
    padded: Vec<u8>,
}

impl Tokens {
    /// These tokens, in this order; empty ones are left out, for an empty token is none.
    pub fn new<T: Into<Bytes>>(all: impl IntoIterator<Item = T>) -> Self {
        let all = all.into_iter().map(Into::into).filter(|plain: &Bytes| !plain.is_empty());
        Self(all.map(|plain| Token { padded: padded(&plain), plain }).collect())
    }

    /// The one to show.
    #[must_use]
    pub fn first(&self) -> Option<&Bytes> {
        self.0.first().map(|token| &token.plain)
    }

    /// Bytes of the longest one.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.0.iter().map(|token| token.plain.len()).max().unwrap_or(0)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `given` is one of them. Each is compared over the whole of [`MAX_TOKEN`] bytes, and all of them are, so that the
    /// time tells neither where two differ nor how long the right one is (HS-4).
    #[must_use]
    pub fn accept(&self, given: &[u8]) -> bool {
        if given.len() > MAX_TOKEN {
            return false;
        }
        let given_padded = padded(given);
        self.0.iter().fold(false, |any, token| {
            let lengths = token.plain.len() ^ given.len();
            let differs = token
                .padded
                .iter()
                .zip(&given_padded)
                .fold(lengths, |all, (a, b)| black_box(all | usize::from(a ^ b)));
            black_box(any | (differs == 0))
        })
    }
}

fn padded(token: &[u8]) -> Vec<u8> {
    let mut bytes = token.to_vec();
    bytes.resize(MAX_TOKEN.max(token.len()), 0);
    bytes
}

impl<T: Into<Bytes>> From<T> for Tokens {
    fn from(token: T) -> Self {
        Self::new([token])
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({}, not shown)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_taken_whole_and_nothing_else() {
        // HS-4
        let tokens = Tokens::new(["new", "", "older"]);
        assert_eq!((tokens.len(), tokens.first().map(|t| &t[..])), (2, Some(&b"new"[..])));
        assert!(tokens.accept(b"new") && tokens.accept(b"older"));
        for wrong in
            [&b""[..], b"ne", b"newer", b"new\0", b"New", b"olde", &[0; MAX_TOKEN], &[b'n'; MAX_TOKEN + 1]]
        {
            assert!(!tokens.accept(wrong), "{wrong:?}");
        }
        let longest = vec![7; MAX_TOKEN];
        assert!(Tokens::from(longest.clone()).accept(&longest));
    }

    #[test]
    fn a_token_is_not_shown() {
        let shown = format!("{:?} {:#?}", Tokens::from("hush"), Tokens::from("hush"));
        assert!(!shown.contains("hush") && !shown.contains("104"), "{shown}");
    }
}
