//! Authentication and authorization. Which kinds an operation accepts is in the table (`route.rs`); here a credential becomes a
//! caller, and a caller is held to the environment or the item that its credential belongs to.

use hyper::{HeaderMap, header::AUTHORIZATION};
use rusqlite::OptionalExtension;

use crate::{
    api::route::{CredentialKind, Row},
    http::response::ApiError,
    model::{ids, store::Store},
};

/// How strictly credentials are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Auth {
    /// As the real service: each operation accepts certain kinds, and keys and tokens must have been issued.
    #[default]
    Strict,
    /// Any credential that is not empty may do everything.
    Any,
}

/// The caller that a credential identifies.
#[derive(Debug, PartialEq, Eq)]
pub enum Caller {
    /// The holder of an API key.
    ApiKey,
    /// A worker of this environment.
    Environment(String),
    /// The worker that was handed this item.
    Item(Delivery),
    /// Any caller, with `Auth::Any`; with the delivery, if the credential is a sessions token.
    Anyone(Option<Delivery>),
}

/// The delivery that a sessions token came with: of which item, and which one.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    work_id: String,
    /// The row in the table `deliveries`.
    seq: i64,
}

/// Reads the credential of a request. 401 when there is none, or one that was never issued.
pub fn identify(headers: &HeaderMap, store: &Store, auth: Auth) -> Result<Caller, ApiError> {
    let Some(credential) = credential(headers) else {
        return Err(ApiError::unauthenticated("A credential is required: `authorization: Bearer …` or `x-api-key: …`."));
    };
    if auth == Auth::Any {
        return Ok(Caller::Anyone(delivery(credential, store)?));
    }
    if credential.starts_with(ids::ENVIRONMENT_KEY_PREFIX) {
        let unknown = "This environment key was not issued by this emulator (POST /_emulator/environment_keys issues them).";
        environment(credential, store)?.map(Caller::Environment).ok_or_else(|| ApiError::unauthenticated(unknown))
    } else if credential.starts_with(ids::SESSIONS_TOKEN_PREFIX) {
        let unknown = "This sessions token belongs to no work item.";
        delivery(credential, store)?.map(Caller::Item).ok_or_else(|| ApiError::unauthenticated(unknown))
    } else {
        Ok(Caller::ApiKey)
    }
}

/// The environment that a key was issued for.
fn environment(key: &str, store: &Store) -> rusqlite::Result<Option<String>> {
    store.read(|connection| {
        connection
            .prepare_cached("SELECT environment_id FROM environment_keys WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()
    })
}

/// The delivery that a credential came with, if it is a sessions token.
fn delivery(credential: &str, store: &Store) -> rusqlite::Result<Option<Delivery>> {
    if !credential.starts_with(ids::SESSIONS_TOKEN_PREFIX) {
        return Ok(None);
    }
    store.read(|connection| {
        connection
            .prepare_cached("SELECT work_id, seq FROM deliveries WHERE token = ?1")?
            .query_row([credential], |row| Ok(Delivery { work_id: row.get(0)?, seq: row.get(1)? }))
            .optional()
    })
}

fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, credential)| credential.trim());
    let api_key = headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(str::trim);
    bearer.filter(|credential| !credential.is_empty()).or(api_key.filter(|credential| !credential.is_empty()))
}

impl Caller {
    /// 403 unless the operation accepts this kind of credential.
    pub fn check_kind(&self, row: &Row) -> Result<(), ApiError> {
        let kind = match self {
            Caller::Anyone(_) => return Ok(()),
            Caller::ApiKey => CredentialKind::ApiKey,
            Caller::Environment(_) => CredentialKind::EnvironmentKey,
            Caller::Item(_) => CredentialKind::SessionsToken,
        };
        if row.accepts.contains(&kind) {
            return Ok(());
        }
        let accepted: Vec<&str> = row.accepts.iter().copied().map(describe).collect();
        Err(ApiError::forbidden(format!("{} accepts {}, not {}.", row.name, accepted.join(" or "), describe(kind))))
    }

    /// 403 for the key of another environment.
    pub fn check_environment(&self, environment_id: &str) -> Result<(), ApiError> {
        match self {
            Caller::Environment(own) if own != environment_id => {
                Err(ApiError::forbidden("This environment key belongs to another environment."))
            }
            _ => Ok(()),
        }
    }

    /// 403 for the token of another work item.
    pub fn check_item(&self, work_id: &str) -> Result<(), ApiError> {
        match self {
            Caller::Item(own) if own.work_id != work_id => {
                Err(ApiError::forbidden("This sessions token belongs to another work item."))
            }
            _ => Ok(()),
        }
    }

    /// The item that the caller's token came with, where only that token counts.
    pub fn own_item(&self) -> Option<&str> {
        match self {
            Caller::Item(own) => Some(&own.work_id),
            _ => None,
        }
    }

    /// The kind of the caller's credential, and the row of the delivery that it came with.
    pub fn identity(&self) -> (&'static str, Option<i64>) {
        match self {
            Caller::ApiKey => ("api_key", None),
            Caller::Environment(_) => ("environment_key", None),
            Caller::Item(own) | Caller::Anyone(Some(own)) => ("sessions_token", Some(own.seq)),
            Caller::Anyone(None) => ("any", None),
        }
    }

    /// The delivery of this item that the caller's token came with.
    pub fn delivery_of(&self, work_id: &str) -> Option<i64> {
        match self {
            Caller::Item(own) | Caller::Anyone(Some(own)) if own.work_id == work_id => Some(own.seq),
            _ => None,
        }
    }
}

fn describe(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::ApiKey => "an API key",
        CredentialKind::EnvironmentKey => "an environment key",
        CredentialKind::SessionsToken => "the work item's sessions token",
    }
}
