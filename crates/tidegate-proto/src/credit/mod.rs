//! The credit of one link on both sides: absolute limits, and how much of them is used.
//!
//! Unused credit is never counted. It is always the difference of a limit and what was used, so that it cannot drift
//! (CR-1).
//!
//! The links of a puller share one [`Budget`], which counts what is outstanding on all of them (CR-9).
//!
//! ```
//! use tidegate_proto::{
//!     Amount,
//!     credit::{Budget, Granting, Spending},
//!     v1::Skip,
//! };
//! # fn main() -> Result<(), tidegate_proto::Violation> {
//! // The worked example of SPEC.md: a window of 4 messages and 1,000 bytes, messages of 300 bytes.
//! let window = Amount::new(4, 1_000);
//! let mut budget = Budget::new(Amount::new(100, 10_000));
//! let (mut puller, mut pusher) = (Granting::default(), Spending::default());
//! assert!(!pusher.may_send());
//! puller.raise(&mut budget, window);
//! pusher.raise(window);
//! for id in 0..4 {
//!     assert!(pusher.may_send()); // id 3 too: 900 bytes are fewer than 1,000
//!     assert_eq!(pusher.spend(300), id);
//! }
//! assert!(!pusher.may_send());
//! puller.accept(&mut budget, 0, Amount::new(4, 1_200), 300)?;
//! puller.settle(&mut budget, Amount::new(2, 600));
//! let limits = puller.wanted(window);
//! assert_eq!(limits, Amount::new(6, 1_600));
//! puller.raise(&mut budget, limits);
//! pusher.raise(limits);
//! assert_eq!(pusher.spend(300), 4);
//! puller.accept(&mut budget, 4, Amount::new(1, 300), 300)?;
//! // A recall: the pusher gives up one id and 100 bytes.
//! let skip = pusher.skip();
//! assert_eq!(skip, Skip { next_id: 6, bytes: 100 });
//! puller.skip(&mut budget, skip)?;
//! puller.settle(&mut budget, Amount::new(3, 900));
//! assert_eq!(puller.wanted(window), Amount::new(10, 2_600));
//! assert_eq!(budget.committed(), Amount::ZERO); // all credit is used or given up, and all deliveries are settled
//! # Ok(())
//! # }
//! ```

mod budget;
mod granting;
mod spending;
#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use granting::Granting;
pub use spending::Spending;
