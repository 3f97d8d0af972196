//! Memory stores: a directory that is kept in step with a store while the session is served.
//!
//! | to learn about | read |
//! |---|---|
//! | what to do with one path | [`table`] |
//! | what to do with a whole directory, and what is remembered between syncs | [`plan`] |

pub mod plan;
pub mod table;

#[cfg(test)]
mod simulation;
