//! Hostile peers against real sockets: each is answered as SPEC.md says, a link that behaves well finishes its whole job
//! meanwhile, and nothing is lost. What it costs is measured by the `flood` binary, and asserted nowhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod churn;
mod floods;
mod identity;
mod job;
mod keeping;
mod limits;
mod places;
mod violations;
