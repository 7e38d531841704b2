//! What one side announces of itself.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::tokens::Tokens;
use crate::{
    message::InstanceId,
    v1::{self, Role},
    wire::{self, PREFACE, cut_reason},
};

/// The version of the protocol that this crate implements (HS-3).
pub const VERSION: u32 = 1;

/// What one side announces in its `Hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its role.
    pub role: Role,
    /// The instance of its socket (HS-8).
    pub instance: InstanceId,
    /// Its name, for logs and statistics.
    pub name: String,
    /// The pipeline that an acceptor serves, or that a connector requests (HS-5).
    pub pipeline: String,
    /// The token that a connector sends, or the tokens that an acceptor accepts; `None`: no token is sent or required
    /// (HS-4).
    pub token: Option<Tokens>,
    /// The largest message that it sends or accepts, in bytes (HS-7).
    pub max_message: u64,
    /// Its heartbeat interval (LV-1).
    pub heartbeat: Duration,
    /// Features that it supports (HS-10). A frame whose meaning changes needs one (GR-2). Version 1 defines none.
    pub offered: Vec<String>,
    /// Features that the peer must offer (HS-10).
    pub required: Vec<String>,
}

impl Local {
    /// The `Hello`, with the fields that both sides send.
    pub(super) fn hello(&self) -> v1::Hello {
        v1::Hello {
            version_min: VERSION,
            version_max: VERSION,
            role: self.role.into(),
            instance: Bytes::copy_from_slice(&self.instance.0),
            name: cut_reason(&self.name).to_owned(),
            pipeline: self.pipeline.clone(),
            token: Bytes::new(),
            resume: Bytes::new(),
            generation: 0,
            max_message: self.max_message,
            heartbeat_ms: u32::try_from(self.heartbeat.as_millis()).unwrap_or(u32::MAX),
            offered: self.offered.clone(),
            required: self.required.clone(),
        }
    }
}

/// Encodes the first frame of one side, with the preface before it (HS-1).
pub(super) fn with_preface(body: v1::frame::Body) -> Bytes {
    let frame = wire::encode(body);
    let mut bytes = BytesMut::with_capacity(PREFACE.len() + frame.len());
    bytes.put_slice(&PREFACE);
    bytes.put_slice(&frame);
    bytes.freeze()
}
