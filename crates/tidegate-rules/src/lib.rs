//! Reads the rules of SPEC.md and docs/IMPLEMENTATION.md, and generates `enum Rule` of tidegate-proto from them.
//!
//! ```text
//! SPEC.md ────────────────┐
//!                         ├──► Documents ──► text() ──► crates/tidegate-proto/src/rule/list.rs
//! docs/IMPLEMENTATION.md ─┘        └──► the tests that compare rules, code and tests
//! ```
//!
//! The generated file is in the repository, because a published crate must build without the documents. `cargo xtask
//! rules` writes it, and a test of this crate fails if it differs from the documents. This crate and
//! xtask do not depend on tidegate-proto, so that the list can be written while tidegate-proto does not compile.

#![forbid(unsafe_code)]

mod documents;
mod id;
mod list;

pub use documents::{Definition, Documents, RuleTag};
pub use id::Id;
pub use list::{FILE, check, listed, text, write};
