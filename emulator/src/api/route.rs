//! THE TABLE: every operation with its method, its path and the credentials it accepts. Everything else reads it from here.

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::http::response::ApiError;

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    EnvironmentsCreate,
    EnvironmentsList,
    EnvironmentsRetrieve,
    EnvironmentsUpdate,
    EnvironmentsDelete,
    EnvironmentsArchive,
    WorkList,
    WorkPoll,
    WorkStats,
    WorkRetrieve,
    WorkUpdate,
    WorkAck,
    WorkHeartbeat,
    WorkStop,
    SkillsVersionsRetrieve,
    SkillsVersionsDownload,
    MemoryStoresRetrieve,
    MemoriesList,
    MemoriesRetrieve,
    MemoriesCreate,
    MemoriesUpdate,
    MemoriesDelete,
    SessionsCreate,
    SessionsRetrieve,
    SessionsArchive,
    EventsList,
    EventsSend,
    EventsStream,
}

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// Whatever is neither of the others.
    ApiKey,
    /// `sk-ant-oat01-…`, issued for one environment.
    EnvironmentKey,
    /// `sk-ant-req-…`, from the secret of one work item.
    SessionsToken,
}

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// What the row is about.
    pub operation: Operation,
    /// The name in faults and in the request log.
    pub name: &'static str,
    method: Method,
    path: &'static str,
    /// The credentials that may do it.
    pub accepts: &'static [CredentialKind],
}

/// The beta that most of the API belongs to.
const MANAGED_AGENTS: &str = "managed-agents-2026-04-01";

const API: &[CredentialKind] = &[CredentialKind::ApiKey];
const ENVIRONMENT: &[CredentialKind] = &[CredentialKind::EnvironmentKey];
const WORKER: &[CredentialKind] = &[CredentialKind::EnvironmentKey, CredentialKind::SessionsToken];
const API_OR_ENVIRONMENT: &[CredentialKind] = &[CredentialKind::ApiKey, CredentialKind::EnvironmentKey];
const API_OR_ITEM: &[CredentialKind] = &[CredentialKind::ApiKey, CredentialKind::SessionsToken];
const ALL: &[CredentialKind] = &[CredentialKind::ApiKey, CredentialKind::EnvironmentKey, CredentialKind::SessionsToken];

const fn row(
    operation: Operation,
    name: &'static str,
    method: Method,
    path: &'static str,
    accepts: &'static [CredentialKind],
) -> Row {
    Row { operation, name, method, path, accepts }
}

impl Row {
    /// The betas that the operation belongs to. A request names one of them; without any, it needs none.
    pub fn betas(&self) -> &'static [&'static str] {
        match self.name.split('.').next() {
            Some("skills") => &[],
            Some("memory_stores") => &["agent-memory-2026-07-22", MANAGED_AGENTS],
            _ => &[MANAGED_AGENTS],
        }
    }
}

/// Fixed segments come before `{…}` ones, because the first match wins.
#[rustfmt::skip]
pub static OPERATIONS: &[Row] = &[
    row(Operation::EnvironmentsCreate,   "environments.create",   Method::POST,   "/v1/environments",                          API),
    row(Operation::EnvironmentsList,     "environments.list",     Method::GET,    "/v1/environments",                          API),
    row(Operation::EnvironmentsRetrieve, "environments.retrieve", Method::GET,    "/v1/environments/{environment}",            API),
    row(Operation::EnvironmentsUpdate,   "environments.update",   Method::POST,   "/v1/environments/{environment}",            API),
    row(Operation::EnvironmentsDelete,   "environments.delete",   Method::DELETE, "/v1/environments/{environment}",            API),
    row(Operation::EnvironmentsArchive,  "environments.archive",  Method::POST,   "/v1/environments/{environment}/archive",    API),
    row(Operation::WorkList,             "work.list",             Method::GET,    "/v1/environments/{environment}/work",       ENVIRONMENT),
    row(Operation::WorkPoll,             "work.poll",             Method::GET,    "/v1/environments/{environment}/work/poll",  ENVIRONMENT),
    row(Operation::WorkStats,            "work.stats",            Method::GET,    "/v1/environments/{environment}/work/stats", API_OR_ENVIRONMENT),
    row(Operation::WorkRetrieve,         "work.retrieve",         Method::GET,    "/v1/environments/{environment}/work/{work}", API),
    row(Operation::WorkUpdate,           "work.update",           Method::POST,   "/v1/environments/{environment}/work/{work}", API),
    row(Operation::WorkAck,              "work.ack",              Method::POST,   "/v1/environments/{environment}/work/{work}/ack", WORKER),
    row(Operation::WorkHeartbeat,        "work.heartbeat",        Method::POST,   "/v1/environments/{environment}/work/{work}/heartbeat", WORKER),
    row(Operation::WorkStop,             "work.stop",             Method::POST,   "/v1/environments/{environment}/work/{work}/stop", ALL),
    row(Operation::SkillsVersionsRetrieve, "skills.versions.retrieve", Method::GET, "/v1/skills/{skill}/versions/{version}",      ALL),
    row(Operation::SkillsVersionsDownload, "skills.versions.download", Method::GET, "/v1/skills/{skill}/versions/{version}/content", ALL),
    row(Operation::MemoryStoresRetrieve, "memory_stores.retrieve",      Method::GET,    "/v1/memory_stores/{store}",               API_OR_ITEM),
    row(Operation::MemoriesList,     "memory_stores.memories.list",     Method::GET,    "/v1/memory_stores/{store}/memories",      API_OR_ITEM),
    row(Operation::MemoriesCreate,   "memory_stores.memories.create",   Method::POST,   "/v1/memory_stores/{store}/memories",      API_OR_ITEM),
    row(Operation::MemoriesRetrieve, "memory_stores.memories.retrieve", Method::GET,    "/v1/memory_stores/{store}/memories/{memory}", API_OR_ITEM),
    row(Operation::MemoriesUpdate,   "memory_stores.memories.update",   Method::POST,   "/v1/memory_stores/{store}/memories/{memory}", API_OR_ITEM),
    row(Operation::MemoriesDelete,   "memory_stores.memories.delete",   Method::DELETE, "/v1/memory_stores/{store}/memories/{memory}", API_OR_ITEM),
    row(Operation::SessionsCreate,       "sessions.create",       Method::POST,   "/v1/sessions",                              API),
    row(Operation::SessionsRetrieve,     "sessions.retrieve",     Method::GET,    "/v1/sessions/{session}",                    ALL),
    row(Operation::SessionsArchive,      "sessions.archive",      Method::POST,   "/v1/sessions/{session}/archive",            API),
    row(Operation::EventsList,           "sessions.events.list",  Method::GET,    "/v1/sessions/{session}/events",             ALL),
    row(Operation::EventsSend,           "sessions.events.send",  Method::POST,   "/v1/sessions/{session}/events",             ALL),
    row(Operation::EventsStream,         "sessions.events.stream", Method::GET,   "/v1/sessions/{session}/events/stream",      ALL),
];

/// The ids of a path, decoded. Those that the path does not have are empty.
#[derive(Debug, Default)]
pub struct Ids {
    /// `{environment}`.
    pub environment: String,
    /// `{work}`.
    pub work: String,
    /// `{session}`.
    pub session: String,
    /// `{skill}`.
    pub skill: String,
    /// `{version}`.
    pub version: String,
    /// `{store}`.
    pub store: String,
    /// `{memory}`.
    pub memory: String,
}

/// Finds the row for a request.
pub fn find(method: &Method, path: &str) -> Result<(&'static Row, Ids), ApiError> {
    let (fits, ids) = OPERATIONS
        .iter()
        .find_map(|row| Some((row.path, match_path(row.path, path)?)))
        .ok_or_else(|| ApiError::not_found(format!("There is nothing at {path}.")))?;
    let same_path = || OPERATIONS.iter().filter(|row| row.path == fits);
    match same_path().find(|row| row.method == method) {
        Some(row) => Ok((row, ids)),
        None => {
            let allowed: Vec<&str> = same_path().map(|row| row.method.as_str()).collect();
            Err(ApiError::method_not_allowed(method.as_str(), path, &allowed.join(", ")))
        }
    }
}

fn match_path(pattern: &str, path: &str) -> Option<Ids> {
    let mut ids = Ids::default();
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        let id = match expected {
            "{environment}" => &mut ids.environment,
            "{work}" => &mut ids.work,
            "{session}" => &mut ids.session,
            "{skill}" => &mut ids.skill,
            "{version}" => &mut ids.version,
            "{store}" => &mut ids.store,
            "{memory}" => &mut ids.memory,
            fixed if fixed == segment => continue,
            _ => return None,
        };
        if segment.is_empty() {
            return None;
        }
        *id = percent_decode_str(segment).decode_utf8_lossy().into_owned();
    }
    segments.next().is_none().then_some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_own_method_and_path() {
        for row in OPERATIONS {
            let path = row.path.replace("{environment}", "env_%41").replace("{work}", "work%2F1").replace(['{', '}'], "");
            let (found, ids) = find(&row.method, &path).unwrap();
            assert_eq!(found.operation, row.operation);
            if row.path.contains("{environment}") {
                assert_eq!(ids.environment, "env_A");
            }
            if row.path.contains("{work}") {
                assert_eq!(ids.work, "work/1");
            }
        }
    }

    #[test]
    fn paths_that_only_resemble_a_row_are_not_found() {
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v1/environments/",
            "/v1/environments//archive",
            "/v1/environments/e/",
            "/v1/environments/e/work/w/ack/more",
            "/v2/environments",
            "//v1/environments",
            "*",
        ] {
            assert!(find(&Method::GET, path).is_err(), "{path}");
        }
    }
}
