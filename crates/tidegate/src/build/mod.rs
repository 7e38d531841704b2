//! Builds sockets. This is the only place that knows all parts; nothing else imports it.
//!
//! ```text
//! PushBuilder, PullBuilder ──► Setup ──► start ──► link::listen, link::dial
//!         └── common settings    └──► Chance
//! ```

mod access;
mod chance;
mod common;
mod pull;
mod push;
mod setup;
mod start;

use access::access_settings;
use common::common_settings;
pub use pull::PullBuilder;
pub use push::PushBuilder;
