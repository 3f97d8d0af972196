//! The configuration of the helper process.

use super::TOOLS;
use super::command;
use crate::config::process_env_vars;
use crate::error::{Error, Result};
use crate::json::{Object, Value};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TOOLSET_KEYS: [&str; 3] = ["bash", "network", "env"];
const SANDBOXES: [&str; 3] = ["auto", "required", "off"];
/// Never passed on to the helper, not even when asked for.
const SECRET_PREFIX: &str = "ANTHROPIC_";
/// What the helper gets of the environment, besides what `env` names; it passes on to commands what is theirs.
const KEPT_VARIABLES: [&str; 9] = ["PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "NO_COLOR", "TMPDIR"];

/// What a helper is to do.
#[derive(Debug, Clone)]
pub struct HelperConfig {
    /// The command.
    pub path: PathBuf,
    /// The directory that the tools work in, absolute.
    pub workdir: PathBuf,
    /// How much confinement is asked for.
    pub sandbox: String,
    /// Whether commands may use the network.
    pub network: bool,
    /// The names of the environment variables that commands get besides the usual ones.
    pub env: Vec<String>,
    /// The environment of the helper.
    pub variables: Vec<(OsString, OsString)>,
    /// The limits of calls.
    pub limits: Limits,
}

/// How long calls may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A call, and a command that states no time of its own; `None`: without limit.
    pub tool_timeout: Option<Duration>,
    /// Whether a command may not state more than that.
    pub is_cap: bool,
}

/// What a session does with its memory stores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MemoryMode {
    /// They are passed over.
    #[default]
    Off,
    /// They are kept in step with directories.
    On,
    /// Nothing is written to them, whatever the session allows.
    ReadOnly,
}

/// What a session has besides tools.
#[derive(Debug, Clone, Default)]
pub struct ResourcesConfig {
    /// The working directory.
    pub workdir: PathBuf,
    /// Whether the skills of the agent are installed.
    pub skills: bool,
    /// What is done with memory stores.
    pub memory: MemoryMode,
}

/// The tools that the helper runs for the session, and the helper.
#[derive(Debug, Clone, Default)]
pub struct ToolsConfig {
    /// What the helper does besides.
    pub resources: ResourcesConfig,
    /// The names of the tools; none if the toolset is off.
    pub tools: Vec<&'static str>,
    /// `None` if there is no working directory.
    pub helper: Option<HelperConfig>,
}

/// `toolset`: true, false, or an object.
struct Toolset {
    is_on: bool,
    has_bash: bool,
    network: bool,
    env: Vec<String>,
}

impl ToolsConfig {
    /// Takes its keys from a session's configuration. Errors: `CONFIG`, naming the key.
    pub fn take(object: &mut Object, limits: Limits) -> Result<ToolsConfig> {
        let toolset = Toolset::read(object.take("toolset"))?;
        let skills = object.take("skills").map(|value| value.bool()).transpose()?;
        let memory = object.take("memory").map(|value| MemoryMode::read(&value)).transpose()?;
        // They come with the toolset, but the host's own tools may use them, too.
        let skills = skills.unwrap_or(toolset.is_on);
        let memory = memory.unwrap_or(if toolset.is_on { MemoryMode::On } else { MemoryMode::Off });
        let user = [("toolset", toolset.is_on), ("skills", skills), ("memory", memory != MemoryMode::Off)];
        let user = user.into_iter().find_map(|(key, is_on)| is_on.then_some(key));
        if let Some(key) = user.filter(|_| !cfg!(target_os = "linux")) {
            return Err(Error::config(key, "runs on Linux only"));
        }
        let workdir = object.take("workdir").map(|value| workdir(&value)).transpose()?;
        let sandbox = object.take("sandbox").map(|value| sandbox(&value)).transpose()?;
        let path = object.take("toolset_path").map(|value| value.non_empty_string()).transpose()?;
        let Some(workdir) = workdir else {
            return match user {
                Some(key) => Err(Error::config("workdir", format_args!("is missing: name the directory for `{key}`"))),
                None => Ok(ToolsConfig::default()),
            };
        };
        if user.is_none() {
            return Ok(ToolsConfig::default());
        }
        let tools = TOOLS.into_iter().filter(|tool| toolset.is_on && (toolset.has_bash || *tool != "bash")).collect();
        let resources = ResourcesConfig { workdir: workdir.clone(), skills, memory };
        let helper = HelperConfig {
            path: command::find(path.as_deref().map(Path::new), &process_env_vars)?,
            workdir,
            sandbox: sandbox.unwrap_or_else(|| SANDBOXES[0].to_owned()),
            network: toolset.network,
            variables: variables(std::env::vars_os(), &toolset.env),
            env: toolset.env,
            limits,
        };
        Ok(ToolsConfig { resources, tools, helper: Some(helper) })
    }
}

impl MemoryMode {
    fn read(value: &Value) -> Result<MemoryMode> {
        match (value.bool(), value.string()) {
            (Ok(true), _) => Ok(MemoryMode::On),
            (Ok(false), _) => Ok(MemoryMode::Off),
            (_, Ok(text)) if text == "read_only" => Ok(MemoryMode::ReadOnly),
            _ => Err(value.error("must be true, false or \"read_only\"")),
        }
    }
}

impl Toolset {
    fn read(value: Option<Value>) -> Result<Toolset> {
        let mut toolset = Toolset { is_on: false, has_bash: true, network: false, env: Vec::new() };
        let Some(value) = value else { return Ok(toolset) };
        if let Ok(is_on) = value.bool() {
            toolset.is_on = is_on;
            return Ok(toolset);
        }
        let mut object = value.object().map_err(|_| value.error("must be true, false or an object"))?;
        object.check_names(TOOLSET_KEYS.into_iter())?;
        let mut flag = |name, default| object.take(name).map_or(Ok(default), |value| value.bool());
        (toolset.is_on, toolset.has_bash, toolset.network) = (true, flag("bash", true)?, flag("network", false)?);
        if let Some(names) = object.take("env") {
            toolset.env = names.strings()?;
            if let Some(name) = toolset.env.iter().find(|name| name.starts_with(SECRET_PREFIX) || name.contains(['=', '\0'])) {
                return Err(names.error(format_args!("has {name:?}, which is never passed on")));
            }
        }
        Ok(toolset)
    }
}

fn workdir(value: &Value) -> Result<PathBuf> {
    let given = value.non_empty_string()?;
    let path = Path::new(&given).canonicalize().map_err(|error| value.error(format_args!("cannot be used: {given}: {error}")))?;
    if !path.is_dir() {
        return Err(value.error(format_args!("is not a directory: {given}")));
    }
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(value.error("has a path that is not valid UTF-8")),
    }
}

fn sandbox(value: &Value) -> Result<String> {
    let given = value.string()?;
    match SANDBOXES.contains(&given.as_str()) {
        true => Ok(given),
        false => Err(value.error(format_args!("must be one of {}", SANDBOXES.join(", ")))),
    }
}

/// Returns the environment of the helper: nothing that could be a secret, unless it is asked for.
fn variables(all: impl Iterator<Item = (OsString, OsString)>, asked: &[String]) -> Vec<(OsString, OsString)> {
    let is_kept = |name: &str| {
        let is_named = KEPT_VARIABLES.contains(&name) || name.starts_with("LC_") || asked.iter().any(|each| each == name);
        is_named && !name.starts_with(SECRET_PREFIX)
    };
    all.filter(|(name, _)| name.to_str().is_some_and(is_kept)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Status;

    const LIMITS: Limits = Limits { tool_timeout: None, is_cap: false };

    fn read(json: &str) -> Result<ToolsConfig> {
        ToolsConfig::take(&mut Object::parse(json, "config_json", Status::Config)?, LIMITS)
    }

    /// A configuration whose command exists.
    fn with(members: &str) -> String {
        format!(r#"{{"workdir":"/","toolset_path":"/bin/sh",{members}}}"#)
    }

    #[test]
    fn the_toolset_is_off_unless_asked_for_and_the_tools_can_be_chosen() {
        for json in ["{}", r#"{"toolset":false}"#, r#"{"toolset":null,"workdir":"/"}"#] {
            let config = read(json).unwrap();
            assert!(config.tools.is_empty() && config.helper.is_none(), "{json}");
        }
        let config = read(&with(r#""toolset":true"#)).unwrap();
        let helper = config.helper.unwrap();
        assert_eq!(config.tools, TOOLS);
        assert_eq!((helper.network, helper.sandbox.as_str(), helper.workdir.as_path()), (false, "auto", Path::new("/")));
        let config = read(&with(r#""toolset":{"bash":false,"network":true,"env":["A"]},"sandbox":"required""#)).unwrap();
        let helper = config.helper.unwrap();
        assert_eq!(config.tools, TOOLS[1..]);
        assert_eq!((helper.network, helper.sandbox.as_str(), helper.env), (true, "required", vec!["A".to_owned()]));
    }

    #[test]
    fn skills_and_memory_come_with_the_toolset_and_can_be_had_without_it() {
        let read = |members: &str| {
            let config = read(&with(members)).unwrap();
            (config.tools.len(), config.helper.is_some(), config.resources.skills, config.resources.memory)
        };
        assert_eq!(read(r#""toolset":true"#), (6, true, true, MemoryMode::On));
        assert_eq!(read(r#""toolset":true,"skills":false,"memory":false"#), (6, true, false, MemoryMode::Off));
        assert_eq!(read(r#""toolset":true,"memory":"read_only""#), (6, true, true, MemoryMode::ReadOnly));
        assert_eq!(read(r#""skills":true"#), (0, true, true, MemoryMode::Off));
        assert_eq!(read(r#""memory":true"#), (0, true, false, MemoryMode::On));
        assert_eq!(read(r#""skills":false,"memory":false"#), (0, false, false, MemoryMode::Off));
    }

    #[test]
    fn an_invalid_key_is_named() {
        for (json, parameter) in [
            (r#"{"toolset":true}"#.to_owned(), "workdir"),
            (r#"{"toolset":true,"workdir":"/no/such/directory"}"#.to_owned(), "workdir"),
            (r#"{"toolset":true,"workdir":"/bin/sh"}"#.to_owned(), "workdir"),
            (r#"{"toolset":true,"workdir":"/","toolset_path":"/no/such/command"}"#.to_owned(), "toolset_path"),
            (r#"{"skills":true}"#.to_owned(), "workdir"),
            (r#"{"memory":"read_only"}"#.to_owned(), "workdir"),
            (with(r#""skills":"all""#), "skills"),
            (with(r#""memory":"write""#), "memory"),
            (with(r#""memory":1"#), "memory"),
            (with(r#""toolset":1"#), "toolset"),
            (with(r#""toolset":{"shell":true}"#), "shell"),
            (with(r#""toolset":{"bash":"no"}"#), "bash"),
            (with(r#""toolset":{"env":["ANTHROPIC_API_KEY"]}"#), "env"),
            (with(r#""toolset":{"env":["A=B"]}"#), "env"),
            (with(r#""toolset":true,"sandbox":"on""#), "sandbox"),
        ] {
            let error = read(&json).unwrap_err();
            assert_eq!((error.status(), error.parameter()), (Status::Config, Some(parameter)), "{json}");
        }
    }

    #[test]
    fn the_helper_gets_no_variable_that_could_be_a_secret() {
        let all = ["PATH", "LC_ALL", "HOME", "TOKEN", "ASKED", "ANTHROPIC_API_KEY", "TMPDIR"];
        let all = all.map(|name| (OsString::from(name), OsString::from("x")));
        let kept = variables(all.into_iter(), &["ASKED".to_owned(), "ANTHROPIC_API_KEY".to_owned()]);
        let names: Vec<_> = kept.iter().filter_map(|(name, _)| name.to_str()).collect();
        assert_eq!(names, ["PATH", "LC_ALL", "ASKED", "TMPDIR"]);
    }
}
