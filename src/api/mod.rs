//! The API: its operations and their parameters, in one table.

pub mod operations;
