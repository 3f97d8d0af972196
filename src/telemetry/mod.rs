//! What the library reports of itself: log records and statistics.

pub mod log;
pub mod stats;
