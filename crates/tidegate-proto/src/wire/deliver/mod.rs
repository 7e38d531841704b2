//! `Deliver`, written and read by hand: a message is encoded straight into the buffer that the socket gets, and a
//! received one is a slice of the buffer that the socket filled. `tests/deliver.rs` shows that the bytes are those
//! of the generated code, both ways.
//!
//! Field keys (number << 3 | wire type), as in the .proto file:
//! Frame.deliver 0x12; Deliver: first_id 0x08, first_number 0x10, messages 0x1a;
//! Message: headers 0x0a, gap 0x10, attempt 0x18, tracked 0x20, payload 0x2a; Header: name 0x0a, value 0x12.

mod fields;
mod numbers;
mod read;
mod write;

pub(in crate::wire) use self::fields::{Content, IN_FRAME, field, wrong_type};
pub use self::{
    numbers::Numbers,
    read::{Batch, Cursor, Item},
    write::{OpenBatch, Sealed, message_span, read_message},
};
