//! Outgoing bytes, in pieces.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

/// The most pieces given to one vectored write.
const MAX_PIECES: usize = 64;

/// Calls `write` with the first pieces.
pub(crate) fn with_pieces<T>(out: &VecDeque<Bytes>, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
    let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
    let mut count = 0;
    for (piece, bytes) in pieces.iter_mut().zip(out) {
        *piece = IoSlice::new(bytes);
        count += 1;
    }
    write(&pieces[..count])
}

/// Removes `count` bytes that have been written.
pub(crate) fn advance(out: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(front) = out.front_mut() {
        if count < front.len() {
            front.advance(count);
            return;
        }
        count -= front.len();
        out.pop_front();
    }
}
