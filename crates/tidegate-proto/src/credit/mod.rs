//! The credit of one link on both sides: absolute limits, and how much of them is used.
//!
//! Unused credit is never counted. It is always the difference of a limit and what was used, so that it cannot drift
//! (CR-1).
//!
//! ```
//! use tidegate_proto::credit::{Granting, Spending};
//! # fn main() -> Result<(), tidegate_proto::Violation> {
//! // The worked example of SPEC.md: a window of 4 messages and 1,000 bytes, messages of 300 bytes.
//! let (mut puller, mut pusher) = (Granting::default(), Spending::default());
//! assert!(!pusher.may_send());
//! puller.raise(4, 1_000);
//! pusher.raise(4, 1_000);
//! for id in 0..4 {
//!     assert!(pusher.may_send()); // id 3 too: 900 bytes are fewer than 1,000
//!     assert_eq!(pusher.spend(300), id);
//! }
//! assert!(!pusher.may_send());
//! puller.accept(0, 4, 1_200, 300)?;
//! puller.settle(2, 600);
//! assert_eq!(puller.wanted(4, 1_000), (6, 1_600));
//! puller.raise(6, 1_600);
//! pusher.raise(6, 1_600);
//! assert_eq!(pusher.spend(300), 4);
//! puller.accept(4, 1, 300, 300)?;
//! // A recall: the pusher gives up one id and 100 bytes.
//! assert_eq!(pusher.skip(), (6, 100));
//! puller.skip(6, 100)?;
//! puller.settle(3, 900);
//! assert_eq!(puller.wanted(4, 1_000), (10, 2_600));
//! # Ok(())
//! # }
//! ```

mod granting;
mod spending;
#[cfg(test)]
mod tests;

pub use granting::Granting;
pub use spending::Spending;
