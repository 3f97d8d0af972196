//! Who is asking, and may they? Which kinds an operation accepts is in the table (`route.rs`); here a credential becomes a
//! caller, and a caller is held to the environment or the item that its credential belongs to.

use hyper::{HeaderMap, header::AUTHORIZATION};
use rusqlite::OptionalExtension;

use crate::{
    ids,
    reply::ApiError,
    route::{Kind, Row},
    store::Store,
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

/// Whom a credential stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody with an API key.
    ApiKey,
    /// A worker of this environment.
    Environment(String),
    /// Whoever holds this work item.
    Item(String),
    /// Anybody, with `Auth::Any`.
    Anybody,
}

/// Reads the credential of a request. 401 when there is none, or one that was never issued.
pub fn identify(headers: &HeaderMap, store: &Store, auth: Auth) -> Result<Caller, ApiError> {
    let Some(credential) = credential(headers) else {
        return Err(ApiError::unauthenticated("A credential is required: `authorization: Bearer …` or `x-api-key: …`."));
    };
    let known = |query, unknown| {
        let owner = store.read(|connection| {
            let mut statement = connection.prepare_cached(query)?;
            statement.query_row([credential], |row| row.get(0)).optional()
        })?;
        owner.ok_or_else(|| ApiError::unauthenticated(unknown))
    };
    if auth == Auth::Any {
        Ok(Caller::Anybody)
    } else if credential.starts_with(ids::ENVIRONMENT_KEY_PREFIX) {
        known(
            "SELECT environment_id FROM environment_keys WHERE key = ?1",
            "This environment key was not issued by this emulator (POST /_emulator/environment_keys issues them).",
        )
        .map(Caller::Environment)
    } else if credential.starts_with(ids::SESSIONS_TOKEN_PREFIX) {
        known("SELECT work_id FROM deliveries WHERE token = ?1", "This sessions token belongs to no work item.").map(Caller::Item)
    } else {
        Ok(Caller::ApiKey)
    }
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
            Caller::Anybody => return Ok(()),
            Caller::ApiKey => Kind::ApiKey,
            Caller::Environment(_) => Kind::EnvironmentKey,
            Caller::Item(_) => Kind::SessionsToken,
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
            Caller::Item(own) if own != work_id => Err(ApiError::forbidden("This sessions token belongs to another work item.")),
            _ => Ok(()),
        }
    }
}

fn describe(kind: Kind) -> &'static str {
    match kind {
        Kind::ApiKey => "an API key",
        Kind::EnvironmentKey => "an environment key",
        Kind::SessionsToken => "the work item's sessions token",
    }
}
