//! What the benchmarks (`tidegate bench`, `tidegate-bench`) and the comparison with other libraries (`comparison/`)
//! share, so that their figures are about the same load and the same reference.
//!
//! | module | content |
//! | --- | --- |
//! | [`load`] | payloads with memory of their own, and a check of each |
//! | [`tcp`] | the sizes of writes and reads with which plain TCP is measured |

#![forbid(unsafe_code)]

pub mod load;
pub mod tcp;
