//! Messages, their headers and their ids.

use std::{fmt, sync::Arc};

use bytes::Bytes;

/// The maximum number of headers of a message (DL-5).
pub const MAX_HEADERS: usize = 64;
/// The maximum length of a header's name, in bytes (DL-5).
pub const MAX_HEADER_NAME: usize = 256;

/// A payload and optional headers.
///
/// Cloning is cheap: clones share the payload. `Debug` shows sizes and the names of headers, but no content, because
/// errors that return a message may be logged.
///
/// ```
/// use tidegate_proto::Message;
///
/// let message = Message::new("resize 17.png").with_header("key", "17");
/// assert_eq!(message.payload(), "resize 17.png");
/// assert_eq!(message.headers().get("key").unwrap(), "17");
/// assert_eq!(message.size(), 13 + 3 + 2);
/// assert_eq!(Message::from("resize 17.png").headers().len(), 0);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Message {
    payload: Bytes,
    headers: Headers,
}

impl Message {
    /// Makes a message without headers.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), headers: Headers::default() }
    }

    /// Adds a header. Names may repeat, and the order is kept. The limits of DL-5 are checked when the message is sent.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(name.into(), value.into());
        self
    }

    pub(crate) fn from_parts(payload: Bytes, headers: Headers) -> Self {
        Self { payload, headers }
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Returns the payload and drops the headers.
    #[must_use]
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// The size in bytes, as byte credit counts it: payload plus header names and values (CR-4).
    #[must_use]
    #[inline]
    pub fn size(&self) -> usize {
        self.payload.len() + self.headers.size()
    }

    /// Checks the limits of DL-4 and DL-5.
    ///
    /// # Errors
    /// The first limit that the message exceeds.
    pub fn check(&self, max_message: u64) -> Result<(), MessageError> {
        let size = self.size() as u64;
        if size > max_message {
            return Err(MessageError::TooLarge { size, max_message });
        }
        if self.headers.len() > MAX_HEADERS {
            return Err(MessageError::TooManyHeaders { count: self.headers.len() });
        }
        match self.headers.iter().find(|(name, _)| name.is_empty() || name.len() > MAX_HEADER_NAME) {
            Some((name, _)) => Err(MessageError::HeaderName { length: name.len() }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut message = f.debug_struct("Message");
        message.field("payload", &Hidden(&self.payload));
        if !self.headers.is_empty() {
            message.field("headers", &self.headers);
        }
        message.finish()
    }
}

/// Bytes of which `Debug` shows only the number.
pub(crate) struct Hidden<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl<T: Into<Bytes>> From<T> for Message {
    fn from(payload: T) -> Self {
        Self::new(payload)
    }
}

/// Why a message cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Larger than the socket's `max_message` (DL-4).
    #[error("the message has {size} bytes; max_message is {max_message}")]
    TooLarge {
        /// The size of the message: payload and headers.
        size: u64,
        /// The value of the setting.
        max_message: u64,
    },
    /// More than 64 headers (DL-5).
    #[error("the message has {count} headers; the maximum is {MAX_HEADERS}")]
    TooManyHeaders {
        /// The number of headers.
        count: usize,
    },
    /// A name that is empty or longer than 256 bytes (DL-5).
    #[error("a header name has {length} bytes; it must have 1 to {MAX_HEADER_NAME}")]
    HeaderName {
        /// The length of that name in bytes.
        length: usize,
    },
}

/// Pairs of name and value, in the order in which they were added. Names may repeat. `Debug` shows only the sizes of
/// values.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Headers(Option<Arc<Pairs>>);

/// Behind an optional pointer, because messages are moved often and few have headers. Clones of a message share it, and
/// dropping a message without headers is a single check.
type Pairs = Vec<(String, Bytes)>;

impl Headers {
    pub(crate) fn push(&mut self, name: String, value: Bytes) {
        Arc::make_mut(self.0.get_or_insert_default()).push((name, value));
    }

    fn pairs(&self) -> &[(String, Bytes)] {
        self.0.as_ref().map_or(&[], |pairs| pairs.as_slice())
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Bytes)> {
        self.pairs().iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The first value with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.pairs().iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// The number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs().len()
    }

    /// Whether there are no headers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    #[inline]
    fn size(&self) -> usize {
        self.pairs().iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, Hidden(value)))).finish()
    }
}

/// The instance of a pusher's store of messages, or of a puller's socket: 16 random bytes (HS-8). `Display` shows 32
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub [u8; 16]);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The id of a message, the same at every attempt (DL-2). `Display` shows `<instance>-<number>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The instance of the pusher that accepted the message.
    pub instance: InstanceId,
    /// The number of the message. Numbers grow, but need not follow on.
    pub number: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.instance, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cr_4_size_counts_payload_and_header_bytes_only() {
        // CR-4
        let message = Message::from("12345").with_header("ab", "c").with_header("d", "");
        assert_eq!(message.size(), 5 + 3 + 1);
    }

    #[test]
    fn debug_of_a_message_shows_sizes_and_header_names_and_no_content() {
        let message = Message::from("hunter2").with_header("authorization", "Bearer hunter2");
        assert_eq!(
            format!("{message:?}"),
            r#"Message { payload: <7 bytes>, headers: {"authorization": <14 bytes>} }"#
        );
        assert_eq!(format!("{:?}", Message::from("hunter2")), "Message { payload: <7 bytes> }");
    }

    #[test]
    fn dl_5_a_message_beyond_a_limit_is_refused_with_value_and_limit() {
        // DL-5
        assert_eq!(Message::from("123").check(3), Ok(()));
        assert_eq!(
            Message::from("1234").check(3).unwrap_err().to_string(),
            "the message has 4 bytes; max_message is 3"
        );
        let many = (0..65).fold(Message::from(""), |m, i| m.with_header(format!("h{i}"), ""));
        assert_eq!(many.check(10_000), Err(MessageError::TooManyHeaders { count: 65 }));
        assert_eq!(
            Message::from("").with_header("", "v").check(9),
            Err(MessageError::HeaderName { length: 0 })
        );
        let long = Message::from("").with_header("n".repeat(257), "");
        assert_eq!(long.check(9_999), Err(MessageError::HeaderName { length: 257 }));
    }
}
