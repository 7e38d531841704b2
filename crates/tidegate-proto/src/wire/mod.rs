//! Frames on the wire: the framing, and the hand-written codec of `Deliver`.

mod deliver;
mod frame;
mod preface;
mod reader;
mod shown;
mod varint;

pub use deliver::{Batch, Cursor, Item, Numbers, OpenBatch, Sealed, message_span, read_message};
pub use frame::{Body, cut_reason, decode, decode_within, encode};
pub use preface::{PREFACE, check_preface, resembles};
pub use reader::{FrameProgress, FrameReader};

pub use crate::{
    message::{MAX_HEADER_NAME, MAX_HEADERS},
    v1,
};

/// Limit of the first frame of each side, in bytes (FR-3).
pub const MAX_HELLO_FRAME: usize = 16_384;
/// Limit of every frame but `Deliver` and the first, in bytes (FR-3).
pub const MAX_CONTROL_FRAME: usize = 65_536;
/// The minimum of the limit of `Deliver` frames, in bytes (FR-3).
pub const MIN_DELIVER_LIMIT: usize = 262_144;
/// The maximum length of a reason, a name and a pipeline, in bytes (OC-7, HS-10).
pub const MAX_TEXT: usize = 256;
/// The maximum of `max_message`, in bytes (HS-7).
pub const MAX_MAX_MESSAGE: u64 = (1 << 31) - 65_536;
/// Message numbers are below this (DL-2).
pub const MAX_COUNTER: u64 = (1 << 53) - 1;

/// The limit of `Deliver` frames, in bytes, for a puller that accepts messages of `max_message` bytes (FR-3).
#[must_use]
pub fn deliver_limit(max_message: u64) -> usize {
    let whole = max_message.min(MAX_MAX_MESSAGE) + 65_536;
    usize::try_from(whole).unwrap_or(usize::MAX).max(MIN_DELIVER_LIMIT)
}
