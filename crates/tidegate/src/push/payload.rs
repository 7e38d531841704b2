//! `Payload`, what can be sent.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use tidegate_proto::Message;

/// What [`Push::send`](super::Push::send) and the other forms of sending accept: bytes, text, or a [`Message`].
///
/// A payload of less than 16 KiB without headers is copied once, into the buffer that is written to the
/// connection, if a link can take it at once. So a borrowed `&[u8]` or `&str` is as fast as an owned payload,
/// and its buffer can be used again. Only a message that has to wait becomes a `Bytes`. That copies a
/// borrowed payload, and does not copy a `Bytes`, `Vec<u8>` or `String`.
///
/// A payload of 16 KiB or more is written from where it is. To send such a payload without a copy, pass a
/// `Bytes`, `Vec<u8>` or `String`. For a large `&'static [u8]`, pass `Bytes::from_static`. Tracked sends
/// convert each payload into a [`Message`] first.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tidegate::Message;
/// # let push = tidegate::Push::builder().bind("mem://doc-payload").build().await?;
/// # let pull = tidegate::Pull::builder().connect("mem://doc-payload").build().await?;
///
/// let mut line = String::new();
/// for n in 0..3 {
///     line.clear();
///     line.push_str(&n.to_string()); // one buffer for all messages
///     push.send(&line).await?;
/// }
/// push.send(7_u32.to_be_bytes()).await?;
/// push.send(Message::new("resize").with_header("key", "17.png")).await?;
///
/// for expected in [&b"0"[..], b"1", b"2", b"\0\0\0\x07", b"resize"] {
///     let delivery = pull.recv().await?.expect("the pusher has not finished");
///     assert_eq!(delivery.payload(), expected);
///     delivery.ack();
/// }
/// # Ok(()) }
/// ```
///
/// Implement it for a type that contains an encoded message:
///
/// ```
/// use tidegate::{Message, Payload};
///
/// struct Job(Vec<u8>);
///
/// impl Payload for Job {
///     fn plain(&self) -> Option<&[u8]> {
///         Some(&self.0)
///     }
///
///     fn into_message(self) -> Message {
///         self.0.into()
///     }
/// }
/// ```
pub trait Payload {
    /// Returns the payload if the message has no headers.
    ///
    /// The bytes must be those of [`Self::into_message`], because either of the two is sent. `None` is always
    /// correct, and slower.
    fn plain(&self) -> Option<&[u8]>;

    /// Converts the payload into a message.
    fn into_message(self) -> Message;
}

impl Payload for Message {
    #[inline]
    fn plain(&self) -> Option<&[u8]> {
        self.headers().is_empty().then_some(self.payload())
    }

    fn into_message(self) -> Message {
        self
    }
}

impl Payload for &Message {
    #[inline]
    fn plain(&self) -> Option<&[u8]> {
        Payload::plain(*self)
    }

    fn into_message(self) -> Message {
        self.clone()
    }
}

/// Implements [`Payload`] for types without headers: a view of the bytes, and a conversion into `Bytes`.
macro_rules! plain {
    ($($type:ty: $view:expr, $into_bytes:expr;)+) => {$(
        impl Payload for $type {
            #[inline]
            fn plain(&self) -> Option<&[u8]> {
                let view: fn(&Self) -> &[u8] = $view;
                Some(view(self))
            }

            fn into_message(self) -> Message {
                let into_bytes: fn(Self) -> Bytes = $into_bytes;
                Message::new(into_bytes(self))
            }
        }
    )+};
}

plain! {
    &[u8]: |bytes| bytes, Bytes::copy_from_slice;
    &Vec<u8>: |bytes| bytes, |bytes| Bytes::copy_from_slice(bytes);
    Vec<u8>: |bytes| bytes, Bytes::from;
    Box<[u8]>: |bytes| bytes, Bytes::from;
    Cow<'_, [u8]>: |bytes| bytes, |bytes| bytes.into_owned().into();
    Bytes: |bytes| bytes, |bytes| bytes;
    &Bytes: |bytes| bytes, Bytes::clone;
    BytesMut: |bytes| bytes, Bytes::from;
    &str: |text| text.as_bytes(), |text| Bytes::copy_from_slice(text.as_bytes());
    &String: |text| text.as_bytes(), |text| Bytes::copy_from_slice(text.as_bytes());
    String: |text| text.as_bytes(), Bytes::from;
    Box<str>: |text| text.as_bytes(), |text| text.into_string().into();
    Cow<'_, str>: |text| text.as_bytes(), |text| text.into_owned().into();
}

impl<const N: usize> Payload for [u8; N] {
    #[inline]
    fn plain(&self) -> Option<&[u8]> {
        Some(self)
    }

    fn into_message(self) -> Message {
        Message::new(Bytes::copy_from_slice(&self))
    }
}

impl<const N: usize> Payload for &[u8; N] {
    #[inline]
    fn plain(&self) -> Option<&[u8]> {
        Some(*self)
    }

    fn into_message(self) -> Message {
        Message::new(Bytes::copy_from_slice(self))
    }
}
