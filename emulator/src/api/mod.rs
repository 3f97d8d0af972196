//! The API: the path of a request, the table of operations, who may do what, and the operations themselves.

pub mod auth;
pub mod environments;
pub mod event_rules;
pub mod events;
pub mod handler;
pub mod memories;
pub mod page;
pub mod poll;
pub mod route;
pub mod sessions;
pub mod skills;
pub mod stream;
pub mod work;
