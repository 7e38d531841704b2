//! `Debug` of frames, for logs: a `Hello` without its token (HS-4) and `resume` (HS-9), and messages without their
//! content.

use std::fmt;

use super::v1::{Header, Hello, Message};
use crate::message::Hidden;

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version_min,
            version_max,
            role,
            instance,
            name,
            pipeline,
            token,
            resume,
            generation,
            max_message,
            heartbeat_ms,
            offered,
            required,
        } = self;
        f.debug_struct("Hello")
            .field("version_min", version_min)
            .field("version_max", version_max)
            .field("role", role)
            .field("instance", instance)
            .field("name", name)
            .field("pipeline", pipeline)
            .field("token", if token.is_empty() { &"none" } else { &"not shown" })
            .field("resume", if resume.is_empty() { &"none" } else { &"not shown" })
            .field("generation", generation)
            .field("max_message", max_message)
            .field("heartbeat_ms", heartbeat_ms)
            .field("offered", offered)
            .field("required", required)
            .finish()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The other fields are not shown, because they are not needed to identify a message.
        f.debug_struct("Message")
            .field("headers", &self.headers)
            .field("payload", &Hidden(&self.payload))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").field("name", &self.name).field("value", &Hidden(&self.value)).finish()
    }
}
