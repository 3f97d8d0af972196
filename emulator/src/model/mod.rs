//! What the service knows and how it changes: the life of work items and the queue over the database, environments' configs, the
//! clock, identifiers and JSON that passes through.

pub mod archive;
pub mod clock;
pub mod environment_config;
pub mod history;
pub mod ids;
pub mod json;
pub mod memory;
pub mod store;
pub mod work_item;
pub mod work_queue;
