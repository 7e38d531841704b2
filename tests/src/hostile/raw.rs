//! A peer that sends arbitrary bytes over one connection.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use tidegate_proto::{
    Code, Role,
    wire::{
        self, Body, FrameReader, PREFACE,
        v1::{self, frame::Body as Frame},
    },
};
use tokio::net::TcpSocket;

/// The limit of a wait for an answer, long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A hand-made peer.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    reader: FrameReader,
    /// Whether the other side's first frame has been received.
    open: bool,
}

/// The address in an endpoint such as `tcp://127.0.0.1:1234`.
///
/// # Panics
/// The endpoint has another form.
#[must_use]
#[allow(clippy::expect_used)]
pub fn address(endpoint: &str) -> SocketAddr {
    endpoint.trim_start_matches("tcp://").parse().expect("a tcp endpoint with an IP address")
}

/// A frame with its length in front.
#[must_use]
pub fn framed(body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(4 + body.len());
    bytes.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    bytes.put_slice(body);
    bytes.freeze()
}

/// A frame of an unknown type (field 100), padded to `size` bytes in all.
#[must_use]
pub fn unknown(size: usize) -> Bytes {
    let mut body = BytesMut::from(&b"\xa2\x06"[..]);
    for padding in (0..size).rev() {
        let mut length = BytesMut::new();
        prost::encoding::encode_varint(padding as u64, &mut length);
        if 2 + length.len() + padding <= size {
            body.put_slice(&length);
            body.put_bytes(b'x', padding);
            break;
        }
    }
    framed(&body)
}

/// A connector's `resume` (HS-9). Different numbers give different values.
#[must_use]
pub fn resume(number: u64) -> Bytes {
    Bytes::copy_from_slice(&u128::from(number).to_be_bytes())
}

/// A Hello for an acceptor that has no token and serves the default pipeline.
#[must_use]
pub fn hello(role: Role, instance: u8) -> v1::Hello {
    v1::Hello {
        version_min: 1,
        version_max: 1,
        role: role.into(),
        instance: Bytes::from(vec![instance; 16]),
        name: "hostile".to_owned(),
        generation: 1,
        max_message: 16 << 20,
        heartbeat_ms: 60_000,
        ..v1::Hello::default()
    }
}

/// An Ack with outcomes and limits.
#[must_use]
pub fn ack(outcomes: Vec<v1::Outcome>, limits: (u64, u64)) -> Frame {
    let (message_limit, byte_limit) = limits;
    Frame::Ack(v1::Ack { outcomes, message_limit, byte_limit, recall: false, leaving: false })
}

/// One outcome.
#[must_use]
pub fn outcome(first: u64, count: u64, verdict: v1::Verdict) -> v1::Outcome {
    v1::Outcome { first, count, verdict: verdict.into(), delay_ms: 0, reason: String::new() }
}

/// A batch of equal messages.
#[must_use]
pub fn deliver(first_id: u64, payloads: &[&[u8]]) -> Frame {
    let message = |p: &&[u8]| v1::Message { payload: Bytes::copy_from_slice(p), ..v1::Message::default() };
    let messages = payloads.iter().map(message).collect();
    Frame::Deliver(v1::Deliver { first_id, first_number: first_id, messages })
}

impl Raw {
    /// Connects.
    ///
    /// # Errors
    /// The connection fails.
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, reader: FrameReader::new(), open: false })
    }

    /// Connects from another loopback address, such as 127.0.0.2. Needs a tokio runtime.
    ///
    /// # Errors
    /// The connection fails: not every system lets a program use these addresses.
    pub async fn connect_from(to: SocketAddr, last_byte: u8) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((IpAddr::V4(Ipv4Addr::new(127, 0, 0, last_byte)), 0).into())?;
        let stream = socket.connect(to).await?.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, reader: FrameReader::new(), open: false })
    }

    /// Waits for a peer to connect, and reads its Hello.
    ///
    /// # Errors
    /// No peer connects, or its first frame is not Hello.
    pub fn accept(listener: &TcpListener) -> io::Result<(Self, v1::Hello)> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut raw = Self { stream, reader: FrameReader::new(), open: false };
        match raw.frame()? {
            Some(Body::Hello(hello)) => Ok((raw, hello)),
            other => Err(io::Error::other(format!("{other:?} instead of Hello"))),
        }
    }

    /// Sends preface and Hello, and waits for the answer.
    ///
    /// # Errors
    /// There is no answer, or it is a Close: `ConnectionRefused`, with its code and reason.
    pub fn greet(&mut self, hello: v1::Hello) -> io::Result<()> {
        self.write(&PREFACE)?;
        self.send(Frame::Hello(hello))?;
        match self.frame()? {
            Some(Body::Hello(_)) => Ok(()),
            Some(Body::Close(close)) => {
                let reason = format!("{}: {}", Code::from_wire(close.code), close.reason);
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason))
            }
            other => Err(io::Error::other(format!("{other:?} instead of Hello"))),
        }
    }

    /// Writes raw bytes.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, body: Frame) -> io::Result<()> {
        self.write(&wire::encode(body))
    }

    /// The next frame, or `None` at the end of the stream.
    ///
    /// # Errors
    /// No frame arrives in time, or it is invalid.
    pub fn frame(&mut self) -> io::Result<Option<Body>> {
        loop {
            match self.reader.next_frame() {
                Ok(Some(frame)) => {
                    if !self.open {
                        self.open = true;
                        self.reader.open(32 << 20);
                    }
                    return wire::decode(frame, u64::MAX).map(Some).map_err(io::Error::other);
                }
                Ok(None) => {}
                Err(violation) => return Err(io::Error::other(violation)),
            }
            let mut bytes = [0; 16 * 1_024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(count) => self.reader.buffer().put_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the Close that ends this connection, and returns its code and reason. Skips other frames.
    ///
    /// # Errors
    /// The connection ends without a Close.
    pub fn closed(&mut self) -> io::Result<(Code, String)> {
        loop {
            match self.frame()? {
                Some(Body::Close(close)) => return Ok((Code::from_wire(close.code), close.reason)),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Waits for a frame for which `wanted` returns a value. Skips other frames.
    ///
    /// # Errors
    /// The connection ends first, or is closed: `ConnectionAborted`, with the code and reason.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(&Body) -> Option<T>) -> io::Result<T> {
        loop {
            let Some(body) = self.frame()? else { return Err(io::ErrorKind::UnexpectedEof.into()) };
            if let Some(found) = wanted(&body) {
                return Ok(found);
            }
            if let Body::Close(close) = body {
                let reason = format!("{}: {}", Code::from_wire(close.code), close.reason);
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
            }
        }
    }

    /// Sends a Ping and reads until its Pong: everything sent before has taken effect then.
    ///
    /// # Errors
    /// As [`Self::until`].
    pub fn settle_down(&mut self) -> io::Result<()> {
        self.send(Frame::Ping(v1::Ping { data: 77 }))?;
        self.until(|body| matches!(body, Body::Pong(pong) if pong.data == 77).then_some(()))
    }

    /// The underlying socket.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Shuts down the writing side; reading remains possible.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn shut(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}
