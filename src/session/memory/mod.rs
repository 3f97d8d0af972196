//! Memory stores: a directory for each, which is kept in step with it while the session is served.
//!
//! | to learn about | read |
//! |---|---|
//! | what to do with one path | [`table`] |
//! | what to do with a whole directory, and what is remembered between syncs | [`plan`] |
//! | the requests to a store | [`store`] |
//! | downloads, syncs and uploads of a directory | [`directory`] |
//! | making and removing a directory | [`root`] |

pub mod directory;
pub mod plan;
#[cfg_attr(not(unix), path = "unsupported.rs")]
pub mod root;
pub mod store;
pub mod table;

#[cfg(test)]
mod simulation;
