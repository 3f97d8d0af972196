//! What the service knows and how it changes: the life of work items and the queue over the database; sessions, the calls of their
//! agents and the scripts that agents play; environments' configs, the clock, identifiers and JSON that passes through.

pub mod agent;
pub mod archive;
pub mod call;
pub mod clock;
pub mod environment_config;
pub mod event;
pub mod history;
pub mod ids;
pub mod json;
pub mod memory;
pub mod script;
pub mod session;
pub mod store;
pub mod work_item;
pub mod work_queue;
