//! Environments.

use super::{ENVIRONMENT_ID, LIMIT, Operation, PAGE, READ};
use crate::api::params::ParamLocation::{Body, Query};
use crate::api::params::ParamType::{Bool, NonEmptyText, Object, Text};
use crate::api::params::{Parameter, optional, required};

const CONFIG: Parameter =
    optional("config", Body, Object, "Configuration: `{\"type\":\"cloud\",...}` or `{\"type\":\"self_hosted\"}`.");
const DESCRIPTION: Parameter = optional("description", Body, Text, "Description of the environment.");
const SCOPE: Parameter =
    optional("scope", Body, Text, "Visibility: `organization` or `account`; only for self-hosted environments.");

/// `environments.create`
pub const ENVIRONMENTS_CREATE: Operation = Operation {
    name: "environments.create",
    title: "Create Environment",
    doc: "Creates an environment.",
    result: "Environment",
    method: "POST",
    path: "/v1/environments",
    parameters: &[
        required("name", Body, NonEmptyText, "Human-readable name, one character at least."),
        CONFIG,
        DESCRIPTION,
        optional("metadata", Body, Object, "String keys and string values."),
        SCOPE,
    ],
    has_body: true,
    ..READ
};

/// `environments.list`
pub const ENVIRONMENTS_LIST: Operation = Operation {
    name: "environments.list",
    title: "List Environments",
    doc: "Lists environments.",
    result: "Environment",
    path: "/v1/environments",
    parameters: &[optional("include_archived", Query, Bool, "Whether to list archived environments, too."), LIMIT, PAGE],
    paged: true,
    ..READ
};

/// `environments.retrieve`
pub const ENVIRONMENTS_RETRIEVE: Operation = Operation {
    name: "environments.retrieve",
    title: "Get Environment",
    doc: "Retrieves an environment.",
    result: "Environment",
    path: "/v1/environments/{environment_id}",
    parameters: &[ENVIRONMENT_ID],
    ..READ
};

/// `environments.update`
pub const ENVIRONMENTS_UPDATE: Operation = Operation {
    name: "environments.update",
    title: "Update Environment",
    doc: "Updates an environment. Absent parameters change nothing.",
    result: "Environment",
    method: "POST",
    path: "/v1/environments/{environment_id}",
    parameters: &[
        ENVIRONMENT_ID,
        CONFIG,
        DESCRIPTION,
        optional("metadata", Body, Object, "Merged into the existing metadata; `null` or an empty string deletes a key."),
        optional("name", Body, Text, "Human-readable name."),
        SCOPE,
    ],
    has_body: true,
    ..READ
};

/// `environments.delete`
pub const ENVIRONMENTS_DELETE: Operation = Operation {
    name: "environments.delete",
    title: "Delete Environment",
    doc: "Deletes an environment.",
    result: "EnvironmentDeleted",
    method: "DELETE",
    path: "/v1/environments/{environment_id}",
    parameters: &[ENVIRONMENT_ID],
    ..READ
};

/// `environments.archive`
pub const ENVIRONMENTS_ARCHIVE: Operation = Operation {
    name: "environments.archive",
    title: "Archive Environment",
    doc: "Archives an environment. It takes no new sessions.",
    result: "Environment",
    method: "POST",
    path: "/v1/environments/{environment_id}/archive",
    parameters: &[ENVIRONMENT_ID],
    ..READ
};
