//! One connection of a runner to the peer under test.

use std::{collections::VecDeque, net::SocketAddr};

use bytes::{Buf, BytesMut};
use prost::Message;
use serde_json::{Value, json};
use tidegate_proto::wire::{
    self, PREFACE,
    v1::{self, frame::Body},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    Wrong,
    event::{Names, matches, may_be_passed_over, split},
};

pub(super) struct Connection {
    stream: TcpStream,
    unread: BytesMut,
    /// Whether the peer's preface has arrived.
    greeted: bool,
    /// Whether the stream of the peer has ended.
    ended: bool,
    events: VecDeque<Value>,
}

impl Connection {
    pub(super) async fn connect(to: SocketAddr) -> Result<Self, Wrong> {
        Self::new(TcpStream::connect(to).await.map_err(|e| e.to_string())?)
    }

    pub(super) fn new(stream: TcpStream) -> Result<Self, Wrong> {
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        Ok(Self { stream, unread: BytesMut::new(), greeted: false, ended: false, events: VecDeque::new() })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        self.stream.write_all(bytes).await.map_err(|e| format!("cannot send: {e}"))
    }

    /// Waits until each of these events has come.
    pub(super) async fn expect(
        &mut self,
        events: &[Value],
        in_order: bool,
        deadline: Instant,
        names: &mut Names,
    ) -> Result<(), Wrong> {
        let mut expected: Vec<_> = events.iter().collect();
        while !expected.is_empty() {
            let Some(event) = self.next(deadline).await? else {
                return Err(format!("in time did not come: {expected:?}"));
            };
            let candidates = if in_order { 1 } else { expected.len() };
            let mut found = None;
            for (index, wanted) in expected[..candidates].iter().enumerate() {
                if matches(wanted, &event, names)? {
                    found = Some(index);
                    break;
                }
            }
            match found {
                Some(index) => {
                    expected.remove(index);
                }
                None if may_be_passed_over(&event) => {}
                None => return Err(format!("instead of {expected:?} came {event}")),
            }
        }
        Ok(())
    }

    /// Nothing comes but what may come at any time.
    pub(super) async fn expect_nothing(&mut self, until: Instant) -> Result<(), Wrong> {
        while let Some(event) = self.next(until).await? {
            if !may_be_passed_over(&event) {
                return Err(format!("unexpected: {event}"));
            }
        }
        Ok(())
    }

    /// The next event, or `None` if there was none in time.
    async fn next(&mut self, deadline: Instant) -> Result<Option<Value>, Wrong> {
        loop {
            while self.events.is_empty() && self.frame().await? {}
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.ended {
                return Err("the connection has ended".into());
            }
            match timeout_at(deadline, self.stream.read_buf(&mut self.unread)).await {
                Err(_) => return Ok(None),
                Ok(Ok(count)) if count > 0 => {}
                Ok(_) => {
                    self.ended = true;
                    self.events.push_back(json!({ "disconnected": {} }));
                }
            }
        }
    }

    /// Takes a frame from what has arrived. False if there is none.
    async fn frame(&mut self) -> Result<bool, Wrong> {
        if !self.greeted {
            if self.unread.len() < PREFACE.len() {
                return Ok(false);
            }
            if !self.unread.starts_with(&PREFACE) {
                return Err(format!("the peer begins with {:?}", &self.unread[..PREFACE.len()]));
            }
            self.unread.advance(PREFACE.len());
            self.greeted = true;
        }
        let Some(Ok(length)) =
            self.unread.first_chunk().map(|length| usize::try_from(u32::from_be_bytes(*length)))
        else {
            return Ok(false);
        };
        if self.unread.len() < 4 + length {
            return Ok(false);
        }
        self.unread.advance(4);
        let frame =
            v1::Frame::decode(self.unread.split_to(length)).map_err(|e| format!("not a frame: {e}"))?;
        if let Some(Body::Ping(ping)) = &frame.body {
            // The peer may have closed its side already: that is not the runner's concern here.
            let _ = self.stream.write_all(&wire::encode(Body::Pong(v1::Pong { data: ping.data }))).await;
        }
        self.events.extend(split(frame.body.as_ref()));
        Ok(true)
    }
}
