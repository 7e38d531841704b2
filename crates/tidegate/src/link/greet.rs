//! The I/O of the handshake, for both sides. The bytes of an unauthenticated peer are read into one small
//! buffer, up to a deadline.

use std::{io, pin::Pin, task::Poll, time::Duration};

use bytes::Bytes;
use tidegate_proto::{
    Code, Violation, handshake,
    wire::{self, FrameReader, v1},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_util::io::poll_read_buf;

use crate::transport::BoxStream;

/// Bytes of a refused peer that are read and discarded, so that it receives the Close (ST-4).
const MAX_DISCARDED: usize = 1 << 20;

/// Why there was no first frame.
pub(super) enum NoHello {
    Violation(Violation),
    Io(io::Error),
    /// The peer disconnected without sending a frame.
    Gone,
}

/// Reads the first frame of the peer, for at most `wait` (HS-11). Calls `begun` when the first byte has
/// arrived.
pub(super) async fn first_frame(
    stream: &mut BoxStream,
    reader: &mut FrameReader,
    wait: Duration,
    mut begun: impl FnMut(),
) -> Result<Bytes, NoHello> {
    let mut has_begun = false;
    let read = async {
        loop {
            if let Some(frame) = reader.next_frame().map_err(NoHello::Violation)? {
                return Ok(frame);
            }
            let buffer = reader.buffer();
            let count = std::future::poll_fn(|cx| {
                let count = poll_read_buf(Pin::new(&mut *stream), cx, buffer);
                if !has_begun && (stream.has_begun() || matches!(count, Poll::Ready(Ok(1..)))) {
                    has_begun = true;
                    begun();
                }
                count
            })
            .await
            .map_err(NoHello::Io)?;
            if count == 0 {
                return Err(NoHello::Gone);
            }
        }
    };
    timeout(wait, read).await.unwrap_or_else(|_| {
        let detail = format!("no complete Hello within {wait:?}");
        Err(NoHello::Violation(Violation::new_timeout(detail)))
    })
}

/// Writes and flushes: TLS buffers what is written.
pub(super) async fn send(stream: &mut BoxStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Sends a refusal and lets the peer read it. An acceptor's refusal begins with the preface; a connector's
/// does not.
pub(super) async fn refuse(
    mut stream: BoxStream,
    violation: &Violation,
    retry_after: Duration,
    with_preface: bool,
    wait: Duration,
) {
    let bytes = if with_preface {
        handshake::refusal(violation, retry_after)
    } else {
        wire::encode(v1::frame::Body::Close(handshake::close(violation, retry_after)))
    };
    // The peer is refused, whether it receives this or not.
    let _ = timeout(wait, async {
        stream.write_all(&bytes).await?;
        say_goodbye(stream).await
    })
    .await;
}

/// Closes a connection so that what was written arrives: reads until the peer has disconnected, too (ST-4).
pub(super) async fn hang_up(stream: BoxStream, wait: Duration) {
    let _ = timeout(wait, say_goodbye(stream)).await;
}

async fn say_goodbye(mut stream: BoxStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut discarded = [0; 4_096];
    let mut total = 0;
    loop {
        let count = stream.read(&mut discarded).await?;
        total += count;
        if count == 0 || total > MAX_DISCARDED {
            return Ok(());
        }
    }
}

/// How long a refused peer should wait: only if there is no room should it come back (HS-12).
pub(super) fn retry_after(code: Code) -> Duration {
    if code == Code::Busy { Duration::from_secs(1) } else { Duration::ZERO }
}
