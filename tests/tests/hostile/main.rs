//! Hostile peers against real sockets: each is answered as SPEC.md says, a well-behaved link completes its job
//! meanwhile, and no message is lost. The `flood` binary measures the cost, which no test asserts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

mod churn;
mod floods;
mod identity;
mod job;
mod keeping;
mod limits;
mod places;
mod violations;
