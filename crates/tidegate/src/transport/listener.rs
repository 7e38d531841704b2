//! A listener of any transport.

use std::io;

use super::{BoxStream, TransportListener};
use crate::caught::caught_in;

/// Accepts connections. A panic of the transport is an error of one `accept`.
pub(crate) struct Listener(Box<dyn TransportListener>);

impl Listener {
    pub(super) fn new(listener: Box<dyn TransportListener>) -> Self {
        Self(listener)
    }

    /// Returns the next connection, and the peer's address as text. Drop the future only directly before the
    /// listener.
    pub(crate) async fn accept(&mut self) -> io::Result<(BoxStream, String)> {
        Ok(caught_in(async { self.0.accept().await }).await??.into_parts())
    }
}
