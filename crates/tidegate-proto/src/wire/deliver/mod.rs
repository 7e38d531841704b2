//! The hand-written codec of `Deliver`. A message is encoded directly into the buffer that is written to the socket,
//! and a received one is a slice of the buffer that was read from it. `tests/deliver.rs` checks that the bytes are
//! those of the generated code, in both directions.
//!
//! Field keys (number << 3 | wire type), as in the .proto file:
//! Frame.deliver 0x12; Deliver: first_id 0x08, first_number 0x10, messages 0x1a;
//! Message: headers 0x0a, gap 0x10, attempt 0x18, tracked 0x20, payload 0x2a; Header: name 0x0a, value 0x12.

mod cursor;
mod fields;
mod numbers;
mod read;
mod write;

pub(in crate::wire) use self::fields::{Content, MAX_FRAME_DEPTH, field, wrong_type};
pub use self::{
    cursor::{Cursor, Item},
    numbers::Numbers,
    read::Batch,
    write::{OpenBatch, Sealed, message_span, read_message},
};
