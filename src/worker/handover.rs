//! Leases that change hands: what the next holder has to know, and adopting a lease that another process began, or left to be begun.
//!
//! An adopted lease is kept as those of a worker are, by a worker that claims nothing and ends with its one item.

use super::config::{Config, DAY_MS, check_id};
use super::lease::handle::{Lease, LeaseShared};
use super::lease::machine::{LeaseEnd, LeaseState, Reason};
use super::shared::WorkerShared;
use super::supervisor::{Item, Source};
use super::{LOG, secret, start, with_credential};
use crate::client::Client;
use crate::config::{EnvVars, missing, non_empty, process_env_vars};
use crate::credentials::Secret;
use crate::error::{Error, Result, Status};
use crate::json::{Object, Value};
use crate::telemetry::log::{self, Level};
use serde_json::{Map, json};
use std::sync::Arc;

/// Where an adoption finds a setting: its key in the configuration, and the environment variable that stands in for it.
type Setting = (&'static str, &'static str);

const WORK_ID: Setting = ("work_id", "ANTHROPIC_WORK_ID");
const ENVIRONMENT_ID: Setting = ("environment_id", "ANTHROPIC_ENVIRONMENT_ID");
const SESSION_ID: Setting = ("session_id", "ANTHROPIC_SESSION_ID");
const ENVIRONMENT_KEY: Setting = ("environment_key", "ANTHROPIC_ENVIRONMENT_KEY");
const WORK_SECRET: Setting = ("work_secret", "ANTHROPIC_WORK_SECRET");
const LAST_HEARTBEAT: Setting = ("expected_last_heartbeat", "ANTHROPIC_WORK_LAST_HEARTBEAT");
const TTL: &str = "desired_ttl_seconds";

/// Adopts the lease on an item that another process claimed: sends the next heartbeat, or the first one, and returns the lease, and what
/// is known of the item in the shape of a work item. Blocks until a heartbeat is accepted: at most 10 seconds, and at most 60 more if the
/// item has to be stopped. Errors: `LEASE_LOST` if the item is not this process's to serve; `CONFIG`, naming the key; what a heartbeat
/// was refused with; the last failure, when none was answered in time; `CLOSED` or `CANCELLED` while the library shuts down.
pub fn adopt(client: &Client, config_json: Option<&str>) -> Result<(Arc<Lease>, String)> {
    let Adoption { config, item, last_heartbeat, client } = Adoption::read(config_json, client, &process_env_vars)?;
    let pool = client.pool_handle()?;
    let shared = Arc::new(WorkerShared::new(config, client, pool));
    start(&shared, Source::Handover(item, last_heartbeat));
    loop {
        match shared.next(None) {
            Ok(Some(adopted)) => return Ok(adopted),
            Ok(None) => return Err(Error::new(Status::Closed, "the library is being shut down")),
            // A signal does not end an adoption, which would leave the item without a holder.
            Err(error) if error.status() == Status::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Why a lease could not be adopted. `None`: it was.
pub(super) fn failure(shared: &LeaseShared) -> Option<Error> {
    let lost = |why| Some(Error::new(Status::LeaseLost, why));
    match (shared.machine.state(), shared.end) {
        _ if shared.machine.ttl().is_some() => None,
        (LeaseState::Lost(Reason::Taken), _) => {
            lost("the server has a different last heartbeat: another process has the item, or it is in the work queue again")
        }
        (LeaseState::Lost(_), _) => lost("the item is being stopped, and another process may have it"),
        (LeaseState::StopRequested(_), _) => lost("the item was stopped at the server, and so ended"),
        (_, Some(LeaseEnd::Rejected)) => shared.heartbeat_error.clone(),
        _ => shared.heartbeat_error.clone().or_else(|| Some(Error::new(Status::Timeout, "no heartbeat was answered in time"))),
    }
}

/// Describes a released lease to its next holder: a JSON object with secrets.
pub(super) fn describe(lease: &Lease, last_heartbeat: Option<&str>) -> String {
    let environment_id = lease.worker.config.environment_id.as_str();
    let work_secret = lease.secret.as_ref().map(Secret::expose);
    let key = lease.worker.config.environment_key.as_ref().map(Secret::expose);
    let environment: Map<_, _> = [
        (WORK_ID, Some(lease.work_id.as_str())),
        (ENVIRONMENT_ID, Some(environment_id)),
        (SESSION_ID, Some(lease.session_id.as_str())),
        (ENVIRONMENT_KEY, key),
        (WORK_SECRET, work_secret),
        (LAST_HEARTBEAT, last_heartbeat),
    ]
    .into_iter()
    .filter_map(|((_, variable), value)| Some((variable.to_owned(), value?.into())))
    .collect();
    json!({"work_id": lease.work_id, "environment_id": environment_id, "session_id": lease.session_id,
           "work_secret": work_secret, "last_heartbeat": last_heartbeat, "environment": environment})
    .to_string()
}

/// What an adoption begins with.
struct Adoption {
    config: Config,
    item: Item,
    last_heartbeat: Option<String>,
    /// With the item's own token, else with the environment's key.
    client: Client,
}

impl Adoption {
    fn read(json: Option<&str>, client: &Client, env_vars: EnvVars) -> Result<Adoption> {
        let mut object = Object::parse(json.unwrap_or("{}"), "config_json", Status::Config)?;
        let set = non_empty(env_vars);
        let settings = [WORK_ID, ENVIRONMENT_ID, SESSION_ID, ENVIRONMENT_KEY, WORK_SECRET, LAST_HEARTBEAT];
        object.check_names(settings.map(|(key, _)| key).into_iter().chain([TTL]))?;
        let ttl = object.take(TTL).map(|value| value.integer(1, DAY_MS / 1000)).transpose()?;
        let mut given = |(key, _): Setting| object.take(key).map(|value: Value| value.non_empty_string()).transpose();
        let mut id = |setting: Setting| {
            let (key, variable) = setting;
            check_id(env_vars, key, variable, given(setting)?.or_else(|| set(variable)))
        };
        let (work_id, environment_id, session_id) = (id(WORK_ID)?, id(ENVIRONMENT_ID)?, id(SESSION_ID)?);
        let last_heartbeat = given(LAST_HEARTBEAT)?.or_else(|| set(LAST_HEARTBEAT.1));
        let work_secret = given(WORK_SECRET)?.or_else(|| set(WORK_SECRET.1)).map(Secret::new);
        let key = given(ENVIRONMENT_KEY)?.map(Secret::new).or_else(|| client.environment_key());
        let key = key.or_else(|| set(ENVIRONMENT_KEY.1).map(Secret::new));
        let token = work_secret.as_ref().and_then(|secret| secret::token(secret.expose()));
        let redacting = client.redacting([&work_secret, &token, &key].into_iter().flatten().map(Secret::expose));
        let client = match (&token, &key) {
            (Some(token), _) => with_credential(&redacting, WORK_SECRET.0, Some(token))?,
            (None, None) => {
                let advice = "give `environment_key`, or a `work_secret` that holds a token, or set the environment variable \
                     ANTHROPIC_ENVIRONMENT_KEY or ANTHROPIC_WORK_SECRET";
                return Err(missing(env_vars, ENVIRONMENT_KEY.0, &[ENVIRONMENT_KEY.1, WORK_SECRET.1], advice));
            }
            (None, key) => {
                if work_secret.is_some() {
                    let problem = "the item's secret holds no token; using the environment key";
                    log::record(Level::Warn, LOG, problem, || json!({"work_id": work_id}));
                }
                with_credential(&redacting, ENVIRONMENT_KEY.0, key.as_ref())?
            }
        };
        let json = json!({"id": work_id, "type": "work", "environment_id": environment_id,
                          "data": {"type": "session", "id": session_id}, "secret": work_secret.as_ref().map(Secret::expose)});
        let item = Item { json: json.to_string(), id: work_id, kind: "session".to_owned(), session_id, secret: work_secret };
        Ok(Adoption { config: Config::for_adoption(environment_id, key, ttl), item, last_heartbeat, client })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;

    const PLAIN: &str = r#"{"api_key":"k","base_url":"http://127.0.0.1:9"}"#;
    const IDS: &str = r#""work_id":"work_1","environment_id":"env_1","session_id":"sesn_1""#;

    fn read(json: &str, variables: &[(&str, &str)]) -> Result<Adoption> {
        let of = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Adoption::read(Some(json), &Client::new(Some(PLAIN)).unwrap(), &of)
    }

    fn secret_with(token: &str) -> String {
        base64::engine::general_purpose::URL_SAFE.encode(json!({"sessions_token": token}).to_string())
    }

    #[test]
    fn every_setting_is_given_or_found_in_its_environment_variable() {
        let secret = secret_with("sk-ant-req-1");
        let variables = [
            ("ANTHROPIC_WORK_ID", "work_e"),
            ("ANTHROPIC_ENVIRONMENT_ID", "env_e"),
            ("ANTHROPIC_SESSION_ID", "sesn_e"),
            ("ANTHROPIC_ENVIRONMENT_KEY", "key_e"),
            ("ANTHROPIC_WORK_SECRET", secret.as_str()),
            ("ANTHROPIC_WORK_LAST_HEARTBEAT", "2026-11-26T00:00:00+00:00"),
        ];
        let found = read("{}", &variables).unwrap();
        assert_eq!((found.item.id.as_str(), found.config.environment_id.as_str()), ("work_e", "env_e"));
        assert_eq!((found.item.session_id.as_str(), found.item.secret.as_ref().unwrap().expose()), ("sesn_e", secret.as_str()));
        assert_eq!(found.config.environment_key.unwrap().expose(), "key_e");
        assert_eq!(found.last_heartbeat.as_deref(), Some("2026-11-26T00:00:00+00:00"));
        let item: serde_json::Value = serde_json::from_str(&found.item.json).unwrap();
        assert_eq!((&item["data"]["id"], &item["secret"]), (&json!("sesn_e"), &json!(secret)));
        let given = read(
            &format!(r#"{{{IDS},"environment_key":"k1","expected_last_heartbeat":"t","desired_ttl_seconds":7}}"#),
            &variables,
        );
        let given = given.unwrap();
        assert_eq!((given.item.id.as_str(), given.last_heartbeat.as_deref()), ("work_1", Some("t")));
        assert_eq!((given.config.environment_key.unwrap().expose(), given.config.desired_ttl_seconds), ("k1", Some(7)));
    }

    #[test]
    fn a_missing_or_invalid_setting_is_named() {
        for (json, parameter) in [
            ("{}".to_owned(), "work_id"),
            (r#"{"work_id":"w"}"#.to_owned(), "environment_id"),
            (r#"{"work_id":"w","environment_id":"e"}"#.to_owned(), "session_id"),
            (format!("{{{IDS}}}"), "environment_key"),
            (format!(r#"{{{IDS},"work_secret":"without a token"}}"#), "environment_key"),
            (format!(r#"{{{IDS},"work_secret":"{}"}}"#, secret_with("a\nb")), "work_secret"),
            (format!(r#"{{{IDS},"environment_key":"a\nb"}}"#), "environment_key"),
            (format!(r#"{{{IDS},"expected_last_heartbeat":""}}"#), "expected_last_heartbeat"),
            (format!(r#"{{{IDS},"desired_ttl_seconds":0}}"#), "desired_ttl_seconds"),
            (format!(r#"{{{IDS},"last_heartbeat":"t"}}"#), "last_heartbeat"),
            ("[]".to_owned(), "config_json"),
        ] {
            let error = read(&json, &[]).err().unwrap_or_else(|| panic!("{json} is accepted"));
            assert_eq!((error.status(), error.parameter()), (Status::Config, Some(parameter)), "{json}");
            assert!(!error.to_json().contains("without a token"));
        }
    }
}
