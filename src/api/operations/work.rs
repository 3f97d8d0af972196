//! The work queue of a self-hosted environment.

use super::{CredentialKind, ENVIRONMENT_ID, LIMIT, Operation, PAGE, READ, Traffic};
use crate::api::params::ParamLocation::{Body, Header, Path, Query};
use crate::api::params::ParamType::{Bool, Id, Integer, Object, Text};
use crate::api::params::{ParamType, Parameter, optional, required};

const WORK_ID: Parameter = required("work_id", Path, Id, "Work identifier (`work_...`).");

/// `work.list`
pub const WORK_LIST: Operation = Operation {
    name: "work.list",
    title: "List Work Items",
    doc: "Lists work items.",
    result: "Work",
    path: "/v1/environments/{environment_id}/work",
    parameters: &[ENVIRONMENT_ID, LIMIT, PAGE],
    credential: CredentialKind::EnvironmentKey,
    paged: true,
    ..READ
};

/// `work.poll`
pub const WORK_POLL: Operation = Operation {
    name: "work.poll",
    title: "Poll for Work",
    doc: "Claims the next item; returns `null` when there is none. Acknowledge the item soon, or another poll may claim it. \
          An item that is claimed while the call is being cancelled may be lost to this process until it is reclaimed.",
    result: "Work",
    path: "/v1/environments/{environment_id}/work/poll",
    parameters: &[
        ENVIRONMENT_ID,
        optional("block_ms", Query, Integer(1, 999), "Milliseconds to wait for work, 1 to 999; absent: do not wait."),
        optional(
            "reclaim_older_than_ms",
            Query,
            ParamType::ANY_INTEGER,
            "Reclaim items unacknowledged for longer than this many milliseconds; absent: 5000.",
        ),
        optional(
            "anthropic_worker_id",
            Header("anthropic-worker-id"),
            Text,
            "Name of the polling worker, one per worker, for the work queue's statistics.",
        ),
    ],
    credential: CredentialKind::EnvironmentKey,
    allows_empty_body: true,
    traffic: Traffic::Poll,
    ..READ
};

/// `work.stats`
pub const WORK_STATS: Operation = Operation {
    name: "work.stats",
    title: "Get Queue Statistics",
    doc: "Returns the work queue's statistics.",
    result: "WorkQueueStats",
    path: "/v1/environments/{environment_id}/work/stats",
    parameters: &[ENVIRONMENT_ID],
    credential: CredentialKind::Both,
    ..READ
};

/// `work.retrieve`
pub const WORK_RETRIEVE: Operation = Operation {
    name: "work.retrieve",
    title: "Get Work Item",
    doc: "Retrieves an item.",
    result: "Work",
    path: "/v1/environments/{environment_id}/work/{work_id}",
    parameters: &[ENVIRONMENT_ID, WORK_ID],
    ..READ
};

/// `work.update`
pub const WORK_UPDATE: Operation = Operation {
    name: "work.update",
    title: "Update Work Item",
    doc: "Updates an item's metadata.",
    result: "Work",
    method: "POST",
    path: "/v1/environments/{environment_id}/work/{work_id}",
    parameters: &[
        ENVIRONMENT_ID,
        WORK_ID,
        required("metadata", Body, Object, "Merged into the existing metadata; `null` deletes a key."),
    ],
    has_body: true,
    ..READ
};

/// `work.ack`
pub const WORK_ACK: Operation = Operation {
    name: "work.ack",
    title: "Acknowledge Work",
    doc: "Acknowledges an item. It then leaves the queue.",
    result: "Work",
    method: "POST",
    path: "/v1/environments/{environment_id}/work/{work_id}/ack",
    parameters: &[ENVIRONMENT_ID, WORK_ID],
    credential: CredentialKind::EnvironmentKey,
    ..READ
};

/// `work.heartbeat`
pub const WORK_HEARTBEAT: Operation = Operation {
    name: "work.heartbeat",
    title: "Record Heartbeat",
    doc: "Extends an item's lease. Fails with `precondition_failed` when the last heartbeat is not the expected one: another \
          worker may hold the lease.",
    result: "WorkHeartbeat",
    method: "POST",
    path: "/v1/environments/{environment_id}/work/{work_id}/heartbeat",
    parameters: &[
        ENVIRONMENT_ID,
        WORK_ID,
        optional("desired_ttl_seconds", Query, ParamType::ANY_INTEGER, "Desired lifetime of the lease in seconds."),
        optional(
            "expected_last_heartbeat",
            Query,
            Text,
            "`NO_HEARTBEAT` for the first heartbeat, then the previous response's `last_heartbeat` verbatim.",
        ),
    ],
    credential: CredentialKind::EnvironmentKey,
    traffic: Traffic::Heartbeat,
    ..READ
};

/// `work.stop`
pub const WORK_STOP: Operation = Operation {
    name: "work.stop",
    title: "Stop Work",
    doc: "Stops an item. Returns `null` when the server sends no content.",
    result: "Work",
    method: "POST",
    path: "/v1/environments/{environment_id}/work/{work_id}/stop",
    parameters: &[
        ENVIRONMENT_ID,
        WORK_ID,
        optional("force", Body, Bool, "Whether to stop immediately instead of asking the worker to stop."),
    ],
    credential: CredentialKind::Both,
    has_body: true,
    allows_empty_body: true,
    ..READ
};
