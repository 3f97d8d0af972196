//! The six operations on environments. An environment is stored as the JSON text that is sent, so retrieving one is a single
//! lookup and nothing is lost or reordered on the way.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use crate::{
    App,
    api::page::Page,
    http::{
        query::Query,
        response::{ApiError, Response},
    },
    model::{
        clock,
        environment_config::{self, ConfigError},
        history, ids,
        json::{self, Object},
        store,
    },
};

/// An environment as stored.
pub struct Environment {
    /// Whether its work goes to the queue.
    pub self_hosted: bool,
    /// Whether it is archived.
    pub archived: bool,
    /// The object that the API sends.
    pub object: String,
}

/// Looks an environment up; 404 when there is none.
pub fn find(connection: &Connection, id: &str) -> Result<Environment, ApiError> {
    connection
        .prepare_cached("SELECT self_hosted, archived, object FROM environments WHERE id = ?1")?
        .query_row([id], |row| Ok(Environment { self_hosted: row.get(0)?, archived: row.get(1)?, object: row.get(2)? }))
        .optional()?
        .ok_or_else(|| ApiError::environment_not_found(id))
}

/// The error for changing or using an archived environment.
pub fn archived(id: &str) -> ApiError {
    ApiError::invalid(format!("The environment {id:?} is archived.")).code("environment_archived")
}

/// The fields in the order in which the API shows them.
#[derive(Serialize)]
struct New<'a> {
    id: &'a str,
    archived_at: Option<String>,
    config: &'a Object,
    created_at: &'a str,
    description: Option<String>,
    metadata: Object,
    name: String,
    r#type: &'a str,
    updated_at: &'a str,
    scope: &'a str,
}

/// `environments.create`
pub fn create(app: &App, body: &Object) -> Result<Response, ApiError> {
    let name = name(body.get("name"))?;
    let config = environment_config::create(body.get("config")).map_err(refuse)?;
    let id = ids::environment();
    let now = clock::text(app.clock.now());
    let object = json::text(&New {
        id: &id,
        archived_at: None,
        config: &config,
        created_at: &now,
        description: description(body.get("description"))?,
        metadata: new_metadata(body.get("metadata"))?,
        name,
        r#type: "environment",
        updated_at: &now,
        scope: scope(body.get("scope"))?,
    });
    app.store.write(|transaction| {
        transaction
            .prepare_cached("INSERT INTO environments (id, self_hosted, object) VALUES (?1, ?2, ?3)")?
            .execute(params![id, environment_config::is_self_hosted(&config), object])
            .map_err(ApiError::from)
    })?;
    Ok(Response::json(object))
}

/// `environments.list`
pub fn list(app: &App, query: &Query) -> Result<Response, ApiError> {
    let page = Page::from_query('e', query)?;
    let archived = query.boolean("include_archived")?.unwrap_or(false);
    let rows = app.store.read(|connection| {
        connection
            .prepare_cached(
                "SELECT seq, object FROM environments WHERE seq < ?1 AND (?2 OR NOT archived) ORDER BY seq DESC LIMIT ?3",
            )?
            .query_map(params![page.before(), archived, page.fetch()], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(i64, String)>, _>>()
    })?;
    Ok(Response::json(page.body(rows)))
}

/// `environments.retrieve`
pub fn retrieve(app: &App, id: &str) -> Result<Response, ApiError> {
    let environment = app.store.read(|connection| find(connection, id))?;
    Ok(Response::json(environment.object))
}

/// `environments.update`: absent means unchanged; `null` means the default, which a name has not.
pub fn update(app: &App, id: &str, body: &Object) -> Result<Response, ApiError> {
    change(app, id, |environment, object| {
        if environment.archived {
            return Err(archived(id));
        }
        for (key, given) in body.iter() {
            match key {
                "name" => object.set(key, &name(Some(given))?),
                "description" => object.set(key, &description(Some(given))?),
                "scope" => object.set(key, scope(Some(given))?),
                "config" => {
                    let current = object.get(key).and_then(Object::from_raw).unwrap_or_default();
                    object.set(key, &environment_config::update(&current, given).map_err(refuse)?);
                }
                "metadata" => {
                    let current = object.get(key).and_then(Object::from_raw).unwrap_or_default();
                    object.set(key, &merged_metadata(current, given)?);
                }
                _ => {}
            }
        }
        Ok(true)
    })
}

/// `environments.archive`: doing it twice changes nothing.
pub fn archive(app: &App, id: &str) -> Result<Response, ApiError> {
    let now = clock::text(app.clock.now());
    change(app, id, |environment, object| {
        let first = !environment.archived;
        if first {
            environment.archived = true;
            object.set("archived_at", &now);
        }
        Ok(first)
    })
}

/// `environments.delete`: its work goes with it, and what happened to it.
pub fn delete(app: &App, id: &str) -> Result<Response, ApiError> {
    app.store.write(|transaction| {
        let deleted = transaction.prepare_cached("DELETE FROM environments WHERE id = ?1")?.execute([id])?;
        if deleted == 0 {
            return Err(ApiError::environment_not_found(id));
        }
        history::forget_environment(transaction, id)?;
        transaction.prepare_cached("DELETE FROM work WHERE environment_id = ?1")?.execute([id])?;
        transaction.prepare_cached("DELETE FROM pending_scripts WHERE environment_id = ?1")?.execute([id])?;
        Ok(())
    })?;
    // Polls that wait for its work must notice.
    app.waiters.wake_all();
    Ok(Response::of(&json!({"id": id, "type": "environment_deleted"})))
}

/// Loads, changes and stores an environment; the closure says whether there was a change.
fn change(
    app: &App,
    id: &str,
    work: impl FnOnce(&mut Environment, &mut Object) -> Result<bool, ApiError>,
) -> Result<Response, ApiError> {
    let now = app.clock.now();
    app.store.write(|transaction| {
        let mut environment = find(transaction, id)?;
        let mut object = Object::parse(environment.object.as_bytes()).map_err(store::corrupt)?;
        if work(&mut environment, &mut object)? {
            // Two updates within one microsecond, or a clock set back, still move it.
            let before = object.string("updated_at").and_then(|text| clock::parse(&text));
            let updated = before.map_or(now, |before| now.max(before + 1));
            object.set("updated_at", &clock::text(updated));
            environment.object = json::text(&object);
            transaction.prepare_cached("UPDATE environments SET archived = ?2, object = ?3 WHERE id = ?1")?.execute(params![
                id,
                environment.archived,
                environment.object
            ])?;
        }
        Ok(Response::json(environment.object))
    })
}

fn refuse(error: ConfigError) -> ApiError {
    match error {
        ConfigError::Invalid(message) => ApiError::invalid(message),
        ConfigError::TypeChange => {
            ApiError::invalid("config.type: cannot be changed; create another environment").code("invalid_config_type_change")
        }
    }
}

fn name(given: Option<&RawValue>) -> Result<String, ApiError> {
    given
        .and_then(json::string)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| ApiError::invalid("name: must be a string that is not empty"))
}

fn description(given: Option<&RawValue>) -> Result<Option<String>, ApiError> {
    let Some(given) = given.filter(|given| !json::is_null(given)) else {
        return Ok(None);
    };
    json::string(given).map(Some).ok_or_else(|| ApiError::invalid("description: must be a string or null"))
}

fn scope(given: Option<&RawValue>) -> Result<&'static str, ApiError> {
    let Some(given) = given.filter(|given| !json::is_null(given)) else {
        return Ok("organization");
    };
    match json::string(given).as_deref() {
        Some("organization") => Ok("organization"),
        Some("account") => Ok("account"),
        _ => Err(ApiError::invalid("scope: must be \"organization\", \"account\" or null")),
    }
}

/// Metadata of something new: an object of strings.
pub fn new_metadata(given: Option<&RawValue>) -> Result<Object, ApiError> {
    let Some(given) = given.filter(|given| !json::is_null(given)) else {
        return Ok(Object::default());
    };
    Object::from_raw(given)
        .filter(|metadata| metadata.iter().all(|(_, value)| json::string(value).is_some()))
        .ok_or_else(|| ApiError::invalid("metadata: must be an object whose values are strings"))
}

fn merged_metadata(mut metadata: Object, given: &RawValue) -> Result<Object, ApiError> {
    if json::is_null(given) {
        return Ok(Object::default());
    }
    let Some(patch) = Object::from_raw(given) else {
        return Err(ApiError::invalid("metadata: must be an object"));
    };
    for (key, value) in patch.iter() {
        match json::string(value) {
            Some(text) if text.is_empty() => metadata.remove(key),
            Some(_) => metadata.set(key, value),
            None if json::is_null(value) => metadata.remove(key),
            None => {
                return Err(ApiError::invalid(format!("metadata: the value of {key:?} must be a string, or null to delete it")));
            }
        }
    }
    Ok(metadata)
}
