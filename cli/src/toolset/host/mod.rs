//! The requests of the host, besides the calls of the agent: unpacking and removing skills, and the files of memory directories.
//!
//! | to learn about | read |
//! |---|---|
//! | unpacking and removing a skill | [`skills`] |
//! | the members of an archive | [`archive`] |
//! | the files of a memory directory | [`memory`] |
//! | removing a directory that commands have filled | [`tree`] |
//!
//! Commands may have planted links, pipes and large files wherever they write. So nothing here follows a link out of a root, opens anything
//! but regular files, or reads more than a bound.

mod archive;
mod memory;
mod skills;
mod tree;

use super::error::{ToolError, ToolResult};
use super::roots::Roots;
use super::server::Cancel;
use cap_std::fs::Dir;
use memory::MemoryRequest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skills::{RemoveInput, UnpackInput};

/// A request of the host: an object with one member.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostRequest {
    Unpack(UnpackInput),
    Remove(RemoveInput),
    Memory(MemoryRequest),
}

impl HostRequest {
    /// Reads a request. Returns an error for any other object.
    pub fn parse(members: Map<String, Value>) -> ToolResult<HostRequest> {
        HostRequest::deserialize(Value::Object(members)).map_err(|error| ToolError::new(format!("not a request: {error}")))
    }

    /// Does what the request asks for, and returns the result. `tmp`: the folder that archives are left in.
    pub fn run(&self, roots: &Roots, tmp: &Dir, cancel: &Cancel) -> ToolResult<Value> {
        match self {
            HostRequest::Unpack(input) => to_value(&skills::unpack(roots, tmp, input, cancel)?),
            HostRequest::Remove(input) => skills::remove(roots, input, cancel).map(|()| Value::Object(Map::new())),
            HostRequest::Memory(request) => memory::run(roots, request, cancel),
        }
    }
}

fn to_value(result: &impl Serialize) -> ToolResult<Value> {
    serde_json::to_value(result).map_err(|_| ToolError::new("the result cannot be written as JSON"))
}
