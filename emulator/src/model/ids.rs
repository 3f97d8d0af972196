//! Names for new things. They look like the real service's, so that code which checks a prefix or a length works here too.

/// A fresh environment id.
pub fn environment() -> String {
    fresh("env_01", 22)
}

/// A fresh work item id.
pub fn work() -> String {
    fresh("work_01", 22)
}

/// A fresh session id.
pub fn session() -> String {
    fresh("session_01", 22)
}

/// A fresh id of a session's event.
pub fn event() -> String {
    fresh("sevt_01", 22)
}

/// A fresh id of a sub-agent's thread.
pub fn thread() -> String {
    fresh("sthr_01", 22)
}

/// A fresh agent id.
pub fn agent() -> String {
    fresh("agent_01", 22)
}

/// A fresh skill id.
pub fn skill() -> String {
    fresh("skill_01", 22)
}

/// A fresh id of a skill's version.
pub fn skill_version() -> String {
    fresh("skillver_01", 22)
}

/// A fresh memory store id.
pub fn memory_store() -> String {
    fresh("memstore_01", 22)
}

/// A fresh memory id.
pub fn memory() -> String {
    fresh("mem_01", 22)
}

/// A fresh id of a memory's version.
pub fn memory_version() -> String {
    fresh("memver_01", 22)
}

/// A fresh request id, for the `request-id` header.
pub fn request() -> String {
    fresh("req_01", 22)
}

/// What every environment key begins with.
pub const ENVIRONMENT_KEY_PREFIX: &str = "sk-ant-oat01-";

/// What every sessions token begins with.
pub const SESSIONS_TOKEN_PREFIX: &str = "sk-ant-req-";

/// A fresh environment key.
pub fn environment_key() -> String {
    fresh(ENVIRONMENT_KEY_PREFIX, 48)
}

/// A fresh sessions token.
pub fn sessions_token() -> String {
    fresh(SESSIONS_TOKEN_PREFIX, 48)
}

fn fresh(prefix: &str, length: usize) -> String {
    let mut id = String::with_capacity(prefix.len() + length);
    id.push_str(prefix);
    id.extend(std::iter::repeat_with(fastrand::alphanumeric).take(length));
    id
}
