//! The API: its operations in one table, and the checks of their parameters.

pub mod operations;
pub mod params;
