//! Log records, statistics and latency histograms.

pub mod histogram;
pub mod log;
pub mod stats;
