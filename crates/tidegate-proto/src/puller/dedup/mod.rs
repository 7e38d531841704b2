//! Duplicate suppression (RD-9): what may be redelivered after a link was lost, and what is then done with it.
//!
//! ```text
//! link ──► LinkHistory ── lost ──► DedupTable ◄── lookup ── redelivered batch
//! ```

mod duplicates;
mod history;
mod table;

pub(super) use history::LinkHistory;
pub(super) use table::DedupTable;
