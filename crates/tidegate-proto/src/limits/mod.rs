//! The limits on what a peer can cost. Each file is one limit.

mod flood;
mod partial_frames;
mod rate_meter;
mod return_pause;
mod slow_start;

pub(crate) use flood::{AckWork, FloodLimiter};
pub(crate) use partial_frames::PartialFrames;
pub(crate) use return_pause::ReturnPause;
pub(crate) use slow_start::SlowStart;
