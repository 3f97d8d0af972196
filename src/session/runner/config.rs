//! A session's configuration.

use super::words::RunnerConfig;
use crate::error::{Error, Result, Status};
use crate::json::{Object, Value};
use crate::session::tools::config::{Limits, ToolsConfig};
use std::time::Duration;

#[rustfmt::skip]
const KEYS: &[&str] = &["tools", "concurrency", "max_idle_ms", "tool_timeout_ms", "toolset", "workdir", "sandbox", "toolset_path",
    "skills", "memory"];
/// The most calls that can run at once.
const MAX_CONCURRENCY: i64 = 1_000;
/// The longest time that a setting takes, in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// A session's configuration: of the machine, and of the helper.
#[derive(Debug)]
pub(super) struct SessionConfig {
    pub(super) runner: RunnerConfig,
    pub(super) tools: ToolsConfig,
}

impl SessionConfig {
    /// Reads a configuration. Errors: `CONFIG`, naming the key.
    pub(super) fn read(json: Option<&str>) -> Result<SessionConfig> {
        let mut object = Object::parse(json.unwrap_or("{}"), "config_json", Status::Config)?;
        object.check_names(KEYS.iter().copied())?;
        let mut integer = |key, min, max| object.take(key).map(|value: Value| value.integer(min, max)).transpose();
        let concurrency = integer("concurrency", 1, MAX_CONCURRENCY)?.unwrap_or(1);
        let max_idle = integer("max_idle_ms", 0, DAY_MS)?.unwrap_or(60_000);
        let tool_timeout = integer("tool_timeout_ms", 0, DAY_MS)?;
        let limit = |ms: i64| (ms > 0).then(|| Duration::from_millis(ms.unsigned_abs()));
        let limits = Limits { is_cap: tool_timeout.is_some(), tool_timeout: limit(tool_timeout.unwrap_or(120_000)) };
        let host_tools = object.take("tools").map(|tools| tools.strings()).transpose()?;
        let tools = ToolsConfig::take(&mut object, limits)?;
        if host_tools.is_none() && tools.tools.is_empty() {
            return Err(Error::config("tools", "is missing: name the tools that you serve, or set `toolset`"));
        }
        let runner = RunnerConfig {
            tools: host_tools.unwrap_or_default().into_iter().collect(),
            toolset: tools.tools.iter().copied().collect(),
            concurrency: concurrency as usize,
            max_idle: limit(max_idle),
            tool_timeout: limits.tool_timeout,
        };
        Ok(SessionConfig { runner, tools })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_defaults_and_zero_means_without_limit() {
        let config = SessionConfig::read(Some(r#"{"tools":["a","b","a"]}"#)).unwrap().runner;
        assert_eq!((config.tools.len(), config.concurrency), (2, 1));
        assert_eq!((config.max_idle, config.tool_timeout), (Some(Duration::from_secs(60)), Some(Duration::from_secs(120))));
        let json = r#"{"tools":[],"concurrency":7,"max_idle_ms":0,"tool_timeout_ms":0}"#;
        let config = SessionConfig::read(Some(json)).unwrap().runner;
        assert_eq!((config.concurrency, config.max_idle, config.tool_timeout), (7, None, None));
    }

    #[test]
    fn a_missing_invalid_or_unsupported_key_is_named() {
        for (json, parameter) in [
            ("{}", "tools"),
            (r#"{"tools":null}"#, "tools"),
            (r#"{"tools":"bash"}"#, "tools"),
            (r#"{"tools":[""]}"#, "tools"),
            (r#"{"tools":[],"concurrency":0}"#, "concurrency"),
            (r#"{"tools":[],"max_idle_ms":-1}"#, "max_idle_ms"),
            (r#"{"tools":[],"tool_timeout_ms":86400001}"#, "tool_timeout_ms"),
            (r#"{"tools":[],"toolset":true}"#, "workdir"),
            (r#"{"toolset":false}"#, "tools"),
            (r#"{"tools":[],"skills":1}"#, "skills"),
            (r#"{"tools":[],"memory":true}"#, "workdir"),
            (r#"{"tools":[],"sandbox":"none"}"#, "sandbox"),
            (r#"{"tools":[],"tool":1}"#, "tool"),
            ("[]", "config_json"),
        ] {
            let error = SessionConfig::read(Some(json)).unwrap_err();
            assert_eq!((error.status(), error.parameter()), (Status::Config, Some(parameter)), "{json}");
        }
    }
}
