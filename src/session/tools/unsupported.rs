//! The helper where there is none: the toolset runs on Linux. The configuration is rejected, so nothing here is ever made.

use super::config::HelperConfig;
use crate::client::PoolHandle;
use crate::error::Result;
use crate::session::event::ToolUse;
use crate::session::result::ToolResult;
use serde_json::value::RawValue;
use std::path::PathBuf;

/// Directories besides the working directory.
#[derive(Debug, Clone, Default)]
pub struct Directories {
    /// Memory directories that the tools may write.
    pub memory: Vec<PathBuf>,
    /// Memory directories that they may only read.
    pub memory_read_only: Vec<PathBuf>,
}

/// What happened so far.
#[derive(Debug, Clone, Default)]
pub struct HelperStats {
    /// What is in force.
    pub confinement: Option<Box<RawValue>>,
    /// How often it was started.
    pub starts: u64,
    /// How many calls it was given.
    pub calls: u64,
    /// How many of them took too long.
    pub timed_out: u64,
}

/// A helper that cannot exist.
pub enum Helper {}

impl Helper {
    /// Makes no helper.
    pub fn new(_config: HelperConfig, _session_id: &str, _pool: PoolHandle) -> Option<Helper> {
        None
    }

    /// Starts the helper.
    pub async fn start(&self, _directories: Directories) -> Result<()> {
        match *self {}
    }

    /// Returns what happened so far.
    pub fn stats(&self) -> HelperStats {
        match *self {}
    }

    /// Sends a request.
    pub async fn request(&self, _members: &str) -> Result<String> {
        match *self {}
    }

    /// Returns the folder for temporary files.
    pub async fn tmpdir(&self) -> Result<String> {
        match *self {}
    }

    /// Sends a request of the library's own.
    pub async fn ask<T>(&self, _request: &str, _input: &serde_json::Value) -> Result<T> {
        match *self {}
    }

    /// Runs a call of a tool.
    pub async fn call(&self, _call: &ToolUse) -> ToolResult {
        match *self {}
    }

    /// Ends the helper.
    pub async fn end(&self) {
        match *self {}
    }
}
