//! An accepted connection. Its TLS handshake proceeds while it is read, so that the time limit of the
//! protocol's handshake covers both (HS-11, TL-6), and an unauthenticated peer costs nothing but this (HS-2).

use std::{
    future::Future,
    io::{self, IoSlice},
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{ServerConfig, ServerConnection};
use tidegate_proto::{Code, Rule, Violation, handshake, wire};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::FallibleAccept};

use super::stream::{Plain, READ_BUFFER, Secured, WRITE_BUFFER, explained};
use crate::{
    tls::{TlsSide, not_tls},
    transport::{Stream, TlsFailure},
};

/// The first byte of every TLS stream: a handshake record.
const HANDSHAKE: u8 = 22;

pub(super) struct Accepting(AcceptState);

enum AcceptState {
    /// No byte has arrived.
    Silent(TcpStream, Arc<ServerConfig>),
    Handshaking(Box<FallibleAccept<Plain>>),
    Open(Box<Secured>),
    /// The peer does not use TLS, or its handshake failed. Nothing more is written. Bytes that arrive are
    /// discarded, so that the peer receives what was written (ST-4).
    Failed(Plain),
    /// Between two states.
    Gone,
}

impl Accepting {
    pub(super) fn new(stream: TcpStream, config: Arc<ServerConfig>) -> Self {
        Self(AcceptState::Silent(stream, config))
    }

    /// Continues the handshake until it is complete. `Ok(None)`: the peer has disconnected.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<&mut Secured>>> {
        if let AcceptState::Silent(stream, _) = &mut self.0 {
            let mut first = [0; 64];
            let mut first = ReadBuf::new(&mut first);
            if ready!(stream.poll_peek(cx, &mut first))? == 0 {
                return Poll::Ready(Ok(None));
            }
            let AcceptState::Silent(stream, config) = std::mem::replace(&mut self.0, AcceptState::Gone)
            else {
                return Poll::Ready(Ok(None));
            };
            if first.filled().first() != Some(&HANDSHAKE) {
                let reason = not_tls(TlsSide::Acceptor, looks_like(first.filled()));
                refuse_plain(&stream, &reason);
                self.0 = AcceptState::Failed(BufReader::with_capacity(1, stream));
                return Poll::Ready(Err(TlsFailure::into_io(reason)));
            }
            let limit = |session: &mut ServerConnection| session.set_buffer_limit(Some(WRITE_BUFFER));
            let stream = BufReader::with_capacity(READ_BUFFER, stream);
            let accept = TlsAcceptor::from(config).accept_with(stream, limit).into_fallible();
            self.0 = AcceptState::Handshaking(Box::new(accept));
        }
        if let AcceptState::Handshaking(accept) = &mut self.0 {
            match ready!(Pin::new(&mut **accept).poll(cx)) {
                Ok(stream) => {
                    self.0 = AcceptState::Open(Box::new(Secured::new(TlsSide::Acceptor, stream.into())));
                }
                Err((error, stream)) => {
                    self.0 = AcceptState::Failed(stream);
                    return Poll::Ready(Err(explained(TlsSide::Acceptor, error)));
                }
            }
        }
        match &mut self.0 {
            AcceptState::Open(stream) => Poll::Ready(Ok(Some(stream))),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_writer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut Secured>> {
        let open = ready!(self.poll_open(cx))?;
        Poll::Ready(open.ok_or_else(|| io::ErrorKind::BrokenPipe.into()))
    }
}

/// Sends a refusal in plain tidegate to a peer without TLS, as far as the socket takes it at once (TL-7).
fn refuse_plain(stream: &TcpStream, reason: &str) {
    let detail = reason
        .strip_prefix(Rule::Tl7.id())
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(reason)
        .to_owned();
    let violation = Violation { code: Code::NotTidegate, rule: Rule::Tl7, detail };
    let _ = stream.try_write(&handshake::refusal(&violation, std::time::Duration::ZERO));
}

fn looks_like(bytes: &[u8]) -> &'static str {
    let n = bytes.len().min(wire::PREFACE.len());
    if bytes[..n] == wire::PREFACE[..n] { "plain tidegate" } else { wire::resembles(bytes) }
}

impl Stream for Accepting {
    fn descriptor(&self) -> Option<RawFd> {
        match &self.0 {
            AcceptState::Silent(stream, _) => Some(stream.as_raw_fd()),
            _ => None,
        }
    }

    fn has_begun(&self) -> bool {
        !matches!(self.0, AcceptState::Silent(..))
    }

    fn names(&self) -> &[String] {
        match &self.0 {
            AcceptState::Open(stream) => stream.names(),
            _ => &[],
        }
    }
}

impl AsyncRead for Accepting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            AcceptState::Failed(stream) => Pin::new(stream).poll_read(cx, buf),
            _ => match ready!(self.poll_open(cx))? {
                Some(stream) => Pin::new(stream).poll_read(cx, buf),
                None => Poll::Ready(Ok(())),
            },
        }
    }
}

impl AsyncWrite for Accepting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(ready!(self.poll_writer(cx))?).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(ready!(self.poll_writer(cx))?).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            AcceptState::Open(stream) => Pin::new(stream).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            AcceptState::Open(stream) => Pin::new(stream).poll_shutdown(cx),
            AcceptState::Failed(stream) => Pin::new(stream).poll_shutdown(cx),
            AcceptState::Silent(stream, _) => Pin::new(stream).poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}
