//! Default values of the settings that are also command-line options, so that `--help` can show them.

use std::time::Duration;

/// Default of `max_message` of both roles: 16 MiB.
pub const DEFAULT_MAX_MESSAGE: usize = 16 << 20;
/// Default of `heartbeat` of both roles.
pub const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(2);
/// Default of `high_water_mark` of a pusher, in messages.
pub const DEFAULT_HIGH_WATER_MARK: usize = 1_000;
/// Default of `high_water_mark_bytes` of a pusher: 64 MiB.
pub const DEFAULT_HIGH_WATER_MARK_BYTES: usize = 64 << 20;
/// Default of `grace` of a pusher.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(1);
/// Default of `restart_grace` of a pusher: pullers connect again within 10 s, and up to 50 % more at random (RD-6).
pub const DEFAULT_RESTART_GRACE: Duration = Duration::from_secs(15);
/// Default of `memory` of a puller, the size of its dedup table in entries.
pub const DEFAULT_MEMORY: usize = 65_536;
