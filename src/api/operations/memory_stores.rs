//! The memories in a memory store.

use super::{Operation, PAGE, READ};
use crate::api::params::ParamLocation::{Body, Path, Query};
use crate::api::params::ParamType::{self, Id, Integer, NullableText, Object, Text};
use crate::api::params::{Parameter, optional, required};

const MEMORY_STORE_ID: Parameter = required("memory_store_id", Path, Id, "Memory store identifier (`memstore_...`).");
const MEMORY_ID: Parameter = required("memory_id", Path, Id, "Memory identifier (`mem_...`).");
const VIEW: Parameter = optional("view", Query, Text, "Whether the result has the `content`: `full`, or `basic` without it.");

/// The defaults of the rows below.
const MEMORY: Operation = Operation { beta: Some("agent-memory-2026-07-22"), ..READ };

/// `memory_stores.memories.create`
pub const MEMORY_STORES_MEMORIES_CREATE: Operation = Operation {
    name: "memory_stores.memories.create",
    title: "Create a Memory",
    doc: "Creates a memory.",
    result: "Memory",
    method: "POST",
    path: "/v1/memory_stores/{memory_store_id}/memories",
    parameters: &[
        MEMORY_STORE_ID,
        required("content", Body, NullableText, "Text of the memory, at most 102400 bytes of UTF-8."),
        required("path", Body, Text, "Path of the memory, such as `/notes/todo.md`."),
        VIEW,
    ],
    has_body: true,
    ..MEMORY
};

/// `memory_stores.memories.retrieve`
pub const MEMORY_STORES_MEMORIES_RETRIEVE: Operation = Operation {
    name: "memory_stores.memories.retrieve",
    title: "Retrieve a Memory",
    doc: "Retrieves a memory.",
    result: "Memory",
    path: "/v1/memory_stores/{memory_store_id}/memories/{memory_id}",
    parameters: &[MEMORY_STORE_ID, MEMORY_ID, VIEW],
    ..MEMORY
};

/// `memory_stores.memories.update`
pub const MEMORY_STORES_MEMORIES_UPDATE: Operation = Operation {
    name: "memory_stores.memories.update",
    title: "Update a Memory",
    doc: "Updates a memory. Absent parameters change nothing.",
    result: "Memory",
    method: "POST",
    path: "/v1/memory_stores/{memory_store_id}/memories/{memory_id}",
    parameters: &[
        MEMORY_STORE_ID,
        MEMORY_ID,
        optional("content", Body, Text, "New text of the memory, at most 102400 bytes of UTF-8."),
        optional("path", Body, Text, "New path of the memory, which renames it."),
        optional(
            "precondition",
            Body,
            Object,
            "Condition for the update: `{\"type\":\"content_sha256\",\"content_sha256\":...}`; the server rejects it with 409 if the \
             memory has another content.",
        ),
        VIEW,
    ],
    has_body: true,
    ..MEMORY
};

/// `memory_stores.memories.list`
pub const MEMORY_STORES_MEMORIES_LIST: Operation = Operation {
    name: "memory_stores.memories.list",
    title: "List Memories",
    doc: "Lists the memories of a memory store.",
    result: "Memory",
    path: "/v1/memory_stores/{memory_store_id}/memories",
    parameters: &[
        MEMORY_STORE_ID,
        optional("depth", Query, ParamType::ANY_INTEGER, "Levels below `path_prefix` to list: 0 (the default) lists them all."),
        optional("limit", Query, Integer(1, 100), "Maximum number of items in a page; with `view` `full` a page has at most 20."),
        PAGE,
        optional("path_prefix", Query, Text, "Only memories below this path, which ends with `/`."),
        VIEW,
    ],
    paged: true,
    ..MEMORY
};

/// `memory_stores.memories.delete`
pub const MEMORY_STORES_MEMORIES_DELETE: Operation = Operation {
    name: "memory_stores.memories.delete",
    title: "Delete a Memory",
    doc: "Deletes a memory.",
    result: "MemoryDeleted",
    method: "DELETE",
    path: "/v1/memory_stores/{memory_store_id}/memories/{memory_id}",
    parameters: &[
        MEMORY_STORE_ID,
        MEMORY_ID,
        optional(
            "expected_content_sha256",
            Query,
            Text,
            "Delete the memory only if its content has this SHA-256, in lowercase hexadecimal; the server rejects another with 409.",
        ),
    ],
    ..MEMORY
};
