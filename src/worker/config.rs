//! A worker's configuration.

use super::claim::RECLAIM;
use super::poller::PollConfig;
use crate::client::Client;
use crate::config::{EnvVars, missing, non_empty};
use crate::credentials::Secret;
use crate::error::{Error, Result, Status};
use crate::json::{Object, Value};
use http::header::HeaderValue;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

const KEYS: &[&str] = &[
    "environment_id",
    "environment_key",
    "worker_id",
    "concurrency",
    "block_ms",
    "reclaim_older_than_ms",
    "drain",
    "heartbeat",
    "desired_ttl_seconds",
    "idle_min_ms",
    "idle_max_ms",
    "idle_after_ms",
    "grace_ms",
    "rescue_after_ms",
];

/// The most items that a worker can hold at once.
pub const MAX_CONCURRENCY: i64 = 100_000;
/// The longest time that a setting takes, in milliseconds.
pub const DAY_MS: i64 = 86_400_000;
/// How long an adopted lease may go on after the library was shut down.
const ADOPTED_GRACE: Duration = Duration::from_secs(30);

/// The settings of a worker.
#[derive(Debug, Clone)]
pub struct Config {
    /// The environment whose work queue it serves.
    pub environment_id: String,
    /// The key that it polls with. Without one, an adopted lease uses its item's own token.
    pub environment_key: Option<Secret>,
    /// The name that it polls under.
    pub worker_id: String,
    /// The most items that it holds at once.
    pub concurrency: usize,
    /// How long a poll waits at the server, in milliseconds; 0: it does not wait.
    pub block_ms: u64,
    /// The polls' `reclaim_older_than_ms`.
    pub reclaim_older_than_ms: Option<i64>,
    /// Whether it sends heartbeats for the items that it claims. If not, whoever they are handed over to begins their leases.
    pub heartbeat: bool,
    /// The heartbeats' `desired_ttl_seconds`.
    pub desired_ttl_seconds: Option<i64>,
    /// How long items may continue after the worker was stopped.
    pub grace: Duration,
    /// How long an acknowledged item may go without a first heartbeat before it is rescued; zero: it never is.
    pub rescue_after: Duration,
    /// When it polls.
    pub polling: PollConfig,
}

impl Config {
    /// Reads a configuration. Settings that it lacks come from the client and from the environment variables. Errors: `CONFIG`, naming the
    /// key.
    pub fn read(json: Option<&str>, client: &Client, env_vars: EnvVars) -> Result<Config> {
        let mut object = Object::parse(json.unwrap_or("{}"), "config_json", Status::Config)?;
        object.check_names(KEYS.iter().copied())?;
        let variables = non_empty(env_vars);
        let text = |value: Value| value.non_empty_string();
        let environment_id =
            object.take("environment_id").map(text).transpose()?.or_else(|| variables("ANTHROPIC_ENVIRONMENT_ID"));
        let environment_key = object.take("environment_key").map(text).transpose()?.map(Secret::new);
        let worker_id = object.take("worker_id").map(text).transpose()?;
        let mut integer = |key, min, max| object.take(key).map(|value: Value| value.integer(min, max)).transpose();
        let concurrency = integer("concurrency", 1, MAX_CONCURRENCY)?.unwrap_or(1);
        let block_ms = integer("block_ms", 0, 999)?;
        let reclaim_older_than_ms = integer("reclaim_older_than_ms", 0, DAY_MS)?;
        let desired_ttl_seconds = integer("desired_ttl_seconds", 1, DAY_MS / 1000)?;
        let idle_min = integer("idle_min_ms", 0, DAY_MS)?.unwrap_or(1_000);
        let idle_max = integer("idle_max_ms", 0, DAY_MS)?.unwrap_or(idle_min.max(3_000));
        let idle_after = integer("idle_after_ms", 0, DAY_MS)?.unwrap_or(60_000);
        let grace = integer("grace_ms", 0, DAY_MS)?.unwrap_or(30_000);
        let rescue_after = integer("rescue_after_ms", 0, DAY_MS)?.unwrap_or(60_000);
        let drain = object.take("drain").map(|value| value.bool()).transpose()?.unwrap_or(false);
        let heartbeat = object.take("heartbeat").map(|value| value.bool()).transpose()?.unwrap_or(true);
        if idle_max < idle_min {
            return Err(Error::config("idle_max_ms", format_args!("must not be less than `idle_min_ms` ({idle_min})")));
        }
        let environment_id = check_id(env_vars, "environment_id", "ANTHROPIC_ENVIRONMENT_ID", environment_id)?;
        if worker_id.as_ref().is_some_and(|id| HeaderValue::from_bytes(id.as_bytes()).is_err() || id.trim() != id) {
            return Err(Error::config("worker_id", "contains characters that an HTTP header cannot carry"));
        }
        let environment_key = environment_key
            .or_else(|| client.environment_key())
            .or_else(|| variables("ANTHROPIC_ENVIRONMENT_KEY").map(Secret::new))
            .ok_or_else(|| {
                let advice =
                    "give `environment_key` here or to the client, or set the environment variable ANTHROPIC_ENVIRONMENT_KEY";
                missing(env_vars, "environment_key", &["ANTHROPIC_ENVIRONMENT_KEY"], advice)
            })?;
        // While draining, polls do not wait, unless the caller wants that.
        let block_ms = block_ms.unwrap_or(if drain { 0 } else { 999 }).unsigned_abs();
        let ms = |number: i64| Duration::from_millis(number.unsigned_abs());
        Ok(Config {
            environment_id,
            environment_key: Some(environment_key),
            worker_id: worker_id.unwrap_or_else(generate_worker_id),
            concurrency: concurrency as usize,
            block_ms,
            reclaim_older_than_ms,
            heartbeat,
            desired_ttl_seconds,
            grace: ms(grace),
            rescue_after: ms(rescue_after),
            polling: PollConfig {
                block: Duration::from_millis(block_ms),
                drain,
                idle_after: ms(idle_after),
                idle_pause: (ms(idle_min), ms(idle_max)),
            },
        })
    }

    /// Returns the configuration of a worker that claims nothing, and keeps the lease of one adopted item.
    pub fn for_adoption(environment_id: String, environment_key: Option<Secret>, desired_ttl_seconds: Option<i64>) -> Config {
        Config {
            environment_id,
            environment_key,
            worker_id: String::new(),
            concurrency: 1,
            block_ms: 0,
            reclaim_older_than_ms: None,
            heartbeat: true,
            desired_ttl_seconds,
            grace: ADOPTED_GRACE,
            rescue_after: Duration::ZERO,
            polling: PollConfig {
                block: Duration::ZERO,
                drain: true,
                idle_after: Duration::ZERO,
                idle_pause: (Duration::ZERO, Duration::ZERO),
            },
        }
    }

    /// Returns for how long after its acknowledgement an item without a heartbeat can be handed over: half of the time after which
    /// workers rescue it, so that its next holder has as much to begin.
    pub fn handover_window(&self) -> Duration {
        if self.rescue_after.is_zero() { Duration::MAX } else { self.rescue_after / 2 }
    }

    /// Returns the key that an error from the server blames, if it is one that the heartbeats carry.
    pub fn refused_option(&self, error: &Error) -> Option<&'static str> {
        let is_about_it = || error.to_json().to_ascii_lowercase().contains("ttl");
        let is_invalid = matches!(error.status(), Status::BadRequest | Status::Unprocessable);
        (self.desired_ttl_seconds.is_some() && is_invalid && is_about_it()).then_some("desired_ttl_seconds")
    }

    /// Returns how long after its poll an item is reserved for this worker to acknowledge.
    pub fn claim_window(&self) -> Duration {
        self.reclaim_older_than_ms.map_or(RECLAIM, |ms| Duration::from_millis(ms.unsigned_abs()).min(RECLAIM))
    }
}

/// Returns a required id. Errors: `CONFIG`, if it is missing or cannot stand in a URL.
pub fn check_id(env_vars: EnvVars, key: &str, variable: &str, id: Option<String>) -> Result<String> {
    let advice = || format!("give `{key}`, or set the environment variable {variable}");
    let id = id.ok_or_else(|| missing(env_vars, key, &[variable], &advice()))?;
    if id.chars().any(char::is_control) {
        return Err(Error::config(key, "contains characters that a URL path cannot carry"));
    }
    Ok(id)
}

/// Creates the name `<host>-<12 hex digits>`, which differs for each worker, also between forked processes.
fn generate_worker_id() -> String {
    let unique = (fastrand::u64(..), std::process::id(), SystemTime::now());
    let number = RandomState::new().hash_one(unique) & 0xffff_ffff_ffff;
    format!("{}-{number:012x}", host_name())
}

/// Returns this machine's name, without the characters that an HTTP header cannot carry.
fn host_name() -> String {
    #[cfg(unix)]
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").ok();
    let name: String = name.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(64).collect();
    if name.is_empty() { "worker".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, client: &str, variables: &[(&str, &str)]) -> Result<Config> {
        let client = Client::new(Some(client)).unwrap();
        let of = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::read(Some(json), &client, &of)
    }

    fn key(config: &Config) -> &str {
        config.environment_key.as_ref().unwrap().expose()
    }

    const KEYED: &str = r#"{"environment_key":"of the client","base_url":"http://127.0.0.1:9"}"#;
    const PLAIN: &str = r#"{"api_key":"k","base_url":"http://127.0.0.1:9"}"#;

    #[test]
    fn missing_settings_come_from_the_client_and_the_environment_variables() {
        let of_environment = [("ANTHROPIC_ENVIRONMENT_ID", "env_e"), ("ANTHROPIC_ENVIRONMENT_KEY", "of the environment")];
        let config = read("{}", PLAIN, &of_environment).unwrap();
        assert_eq!((config.environment_id.as_str(), key(&config)), ("env_e", "of the environment"));
        let config = read("{}", KEYED, &of_environment).unwrap();
        assert_eq!(key(&config), "of the client");
        let config = read(r#"{"environment_id":"env_1","environment_key":"given"}"#, KEYED, &of_environment).unwrap();
        assert_eq!((config.environment_id.as_str(), key(&config)), ("env_1", "given"));
        assert_eq!((config.concurrency, config.block_ms, config.grace), (1, 999, Duration::from_secs(30)));
        let drain = read(r#"{"environment_id":"env_1","drain":true}"#, KEYED, &[]).unwrap();
        assert_eq!(drain.block_ms, 0);
    }

    #[test]
    fn a_missing_or_invalid_key_is_named() {
        for (json, client, parameter) in [
            ("{}", PLAIN, "environment_id"),
            (r#"{"environment_id":"e"}"#, PLAIN, "environment_key"),
            (r#"{"environment_id":""}"#, KEYED, "environment_id"),
            (r#"{"environment_id":"e","environment_key":""}"#, KEYED, "environment_key"),
            (r#"{"environment_id":"e","concurrency":0}"#, KEYED, "concurrency"),
            (r#"{"environment_id":"e","block_ms":1000}"#, KEYED, "block_ms"),
            (r#"{"environment_id":"e","idle_min_ms":5,"idle_max_ms":4}"#, KEYED, "idle_max_ms"),
            (r#"{"environment_id":"e","drain":1}"#, KEYED, "drain"),
            (r#"{"environment_id":"e","heartbeat":"no"}"#, KEYED, "heartbeat"),
            (r#"{"environment_id":"e","odd":1}"#, KEYED, "odd"),
            (r#"{"environment_id":"e\u0000"}"#, KEYED, "environment_id"),
            (r#"{"environment_id":"e\n/x"}"#, KEYED, "environment_id"),
            (r#"{"environment_id":"e","worker_id":"a\nb"}"#, KEYED, "worker_id"),
            (r#"{"environment_id":"e","worker_id":"a\u0000"}"#, KEYED, "worker_id"),
            (r#"{"environment_id":"e","worker_id":" a"}"#, KEYED, "worker_id"),
            ("[]", KEYED, "config_json"),
        ] {
            let error = read(json, client, &[]).unwrap_err();
            assert_eq!((error.status(), error.parameter()), (Status::Config, Some(parameter)), "{json}");
        }
    }

    #[test]
    fn an_empty_variable_is_named() {
        for (json, variable) in [("{}", "ANTHROPIC_ENVIRONMENT_ID"), (r#"{"environment_id":"e"}"#, "ANTHROPIC_ENVIRONMENT_KEY")] {
            let error = read(json, PLAIN, &[(variable, "")]).map(drop).unwrap_err();
            assert_eq!((error.status(), error.parameter()), (Status::Config, Some(variable)));
        }
    }

    #[test]
    fn a_refusal_of_the_time_to_live_blames_its_key() {
        use crate::error::ApiErrorBody;
        let said =
            |status, message: &str| Error::http(status, ApiErrorBody { message: Some(message.into()), ..Default::default() });
        let with = read(r#"{"environment_id":"e","desired_ttl_seconds":7200}"#, KEYED, &[]).unwrap();
        let without = read(r#"{"environment_id":"e"}"#, KEYED, &[]).unwrap();
        let error = said(400, "desired_ttl_seconds: must be an integer from 0 to 3600");
        assert_eq!((with.refused_option(&error), without.refused_option(&error)), (Some("desired_ttl_seconds"), None));
        assert_eq!(with.refused_option(&said(422, "the TTL is too large")), Some("desired_ttl_seconds"));
        assert_eq!((with.refused_option(&said(400, "no")), with.refused_option(&said(403, "ttl"))), (None, None));
    }

    #[test]
    fn the_environment_key_is_redacted() {
        let config = read(r#"{"environment_id":"e","environment_key":"sk-ant-oat01-hidden"}"#, KEYED, &[]).unwrap();
        assert!(!format!("{config:?}").contains("hidden"));
    }

    #[test]
    fn each_worker_has_a_name_of_its_own_that_begins_with_the_hosts() {
        let (one, other) = (generate_worker_id(), generate_worker_id());
        assert_ne!(one, other);
        let (name, number) = one.rsplit_once('-').unwrap();
        assert_eq!((name, number.len()), (host_name().as_str(), 12));
        assert!(number.chars().all(|c| c.is_ascii_hexdigit()));
    }

    #[test]
    fn a_shorter_reclaim_leaves_less_time_to_acknowledge() {
        for (json, window) in
            [("", 5_000), (r#","reclaim_older_than_ms":200"#, 200), (r#","reclaim_older_than_ms":60000"#, 5_000)]
        {
            let config = read(&format!(r#"{{"environment_id":"e"{json}}}"#), KEYED, &[]).unwrap();
            assert_eq!(config.claim_window(), Duration::from_millis(window));
        }
    }
}
