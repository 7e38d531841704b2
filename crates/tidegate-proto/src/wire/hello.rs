//! A Hello as it may be shown: without its token, which must never get into a log (HS-4).

use std::fmt;

use super::v1::Hello;

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
            slot,
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
            .field("slot", slot)
            .field("generation", generation)
            .field("max_message", max_message)
            .field("heartbeat_ms", heartbeat_ms)
            .field("offered", offered)
            .field("required", required)
            .finish()
    }
}
