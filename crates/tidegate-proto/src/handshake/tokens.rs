//! Bearer tokens, which a connector sends and an acceptor requires (HS-4).

use std::{fmt, hint::black_box};

use bytes::Bytes;

/// The maximum length of a token, in bytes (HS-10).
pub const MAX_TOKEN: usize = 4_096;

/// One or several tokens. A connector sends the first one; an acceptor accepts each. With several, a token can be
/// replaced while peers still use the old one. Neither `Debug` nor an error shows a token.
///
/// ```
/// use tidegate_proto::Tokens;
///
/// let tokens = Tokens::new(["new", "old"]);
/// assert_eq!(tokens.first().unwrap(), "new"); // sent when connecting
/// assert!(tokens.accept(b"old") && !tokens.accept(b"older"));
/// assert_eq!(format!("{tokens:?}"), "Tokens(2, not shown)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

/// A token, and the same token padded with zeros to [`MAX_TOKEN`] bytes.
#[derive(Clone, PartialEq, Eq)]
struct Token {
    plain: Bytes,
    padded: Vec<u8>,
}

impl Tokens {
    /// Takes tokens in order. Empty ones are left out, because an empty token means no token.
    pub fn new<T: Into<Bytes>>(all: impl IntoIterator<Item = T>) -> Self {
        let all = all.into_iter().map(Into::into).filter(|plain: &Bytes| !plain.is_empty());
        Self(all.map(|plain| Token { padded: padded(&plain), plain }).collect())
    }

    /// The token that a connector sends.
    #[must_use]
    pub fn first(&self) -> Option<&Bytes> {
        self.0.first().map(|token| &token.plain)
    }

    /// The length of the longest token in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.0.iter().map(|token| token.plain.len()).max().unwrap_or(0)
    }

    /// The number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `given` is one of the tokens. All tokens are compared, each over [`MAX_TOKEN`] bytes, so that the time
    /// reveals neither where two tokens differ nor the length of the right one (HS-4).
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
    fn each_whole_token_is_accepted_and_nothing_else() {
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
