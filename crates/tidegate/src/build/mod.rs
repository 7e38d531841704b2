//! Builds sockets. This is the only place that knows all parts; nothing else imports it.
//!
//! ```text
//! PushBuilder, PullBuilder ──► Setup ──► start ──► link::listen, link::dial
//!         └── common settings    ├──► Chance
//!                                └──► subset
//! ```

mod access;
mod chance;
mod common;
mod pull;
mod push;
mod setup;
mod start;
mod subset;

use access::access_settings;
use common::common_settings;
pub use pull::PullBuilder;
pub use push::PushBuilder;
