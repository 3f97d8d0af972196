//! The six operations on environments. An environment is stored as the JSON text that is sent, so retrieving one is a single
//! lookup and nothing is lost or reordered on the way.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::{Map, Value, json};

use crate::{
    App, clock,
    config_rules::{self, ConfigError},
    ids,
    page::Page,
    query::Query,
    reply::{ApiError, Reply},
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

/// What an archived environment answers to whoever wants to change or use it.
pub fn archived(id: &str) -> ApiError {
    ApiError::invalid(format!("The environment {id:?} is archived.")).code("environment_archived")
}

/// `environments.create`
pub fn create(app: &App, body: &Map<String, Value>) -> Result<Reply, ApiError> {
    let name = name(body.get("name"))?;
    let config = config_rules::create(body.get("config")).map_err(refuse)?;
    let self_hosted = config_rules::is_self_hosted(&config);
    let id = ids::environment();
    let now = clock::text(app.clock.now());
    let object = json!({
        "id": id,
        "archived_at": null,
        "config": config,
        "created_at": now,
        "description": description(body.get("description"))?,
        "metadata": new_metadata(body.get("metadata"))?,
        "name": name,
        "type": "environment",
        "updated_at": now,
        "scope": scope(body.get("scope"))?,
    })
    .to_string();
    app.store.write(|transaction| {
        transaction
            .prepare_cached("INSERT INTO environments (id, self_hosted, object) VALUES (?1, ?2, ?3)")?
            .execute(params![id, self_hosted, object])?;
        Ok::<_, ApiError>(())
    })?;
    Ok(Reply::json(object))
}

/// `environments.list`
pub fn list(app: &App, query: &Query) -> Result<Reply, ApiError> {
    let page = Page::from_query('e', query)?;
    let archived = query.boolean("include_archived")?.unwrap_or(false);
    let rows = app.store.read(|connection| {
        connection
            .prepare_cached(
                "SELECT seq, object FROM environments WHERE seq < ?1 AND (?2 OR NOT archived) ORDER BY seq DESC LIMIT ?3",
            )?
            .query_map(params![page.before, archived, page.fetch()], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(i64, String)>, _>>()
    })?;
    Ok(Reply::json(page.body(rows)))
}

/// `environments.retrieve`
pub fn retrieve(app: &App, id: &str) -> Result<Reply, ApiError> {
    let environment = app.store.read(|connection| find(connection, id))?;
    Ok(Reply::json(environment.object))
}

/// `environments.update`: absent means unchanged; `null` means the default, which a name has not.
pub fn update(app: &App, id: &str, body: &Map<String, Value>) -> Result<Reply, ApiError> {
    change(app, id, |environment, object| {
        if environment.archived {
            return Err(archived(id));
        }
        for (key, given) in body {
            let value = match key.as_str() {
                "name" => name(Some(given))?.into(),
                "description" => description(Some(given))?,
                "scope" => scope(Some(given))?,
                "config" => config_rules::update(&object["config"], given).map_err(refuse)?,
                "metadata" => merged_metadata(&object["metadata"], given)?,
                _ => continue,
            };
            object.insert(key.clone(), value);
        }
        Ok(true)
    })
}

/// `environments.archive`: doing it twice changes nothing.
pub fn archive(app: &App, id: &str) -> Result<Reply, ApiError> {
    let now = clock::text(app.clock.now());
    change(app, id, |environment, object| {
        let first = !environment.archived;
        if first {
            environment.archived = true;
            object.insert("archived_at".to_owned(), now.into());
        }
        Ok(first)
    })
}

/// `environments.delete`: its work goes with it.
pub fn delete(app: &App, id: &str) -> Result<Reply, ApiError> {
    app.store.write(|transaction| {
        let deleted = transaction.prepare_cached("DELETE FROM environments WHERE id = ?1")?.execute([id])?;
        if deleted == 0 {
            return Err(ApiError::environment_not_found(id));
        }
        transaction.prepare_cached("DELETE FROM work WHERE environment_id = ?1")?.execute([id])?;
        Ok(())
    })?;
    // Polls that wait for its work are to be told.
    app.waiting.wake_all();
    Ok(Reply::value(&json!({"id": id, "type": "environment_deleted"})))
}

/// Loads, changes and stores an environment; the closure says whether there was a change.
fn change(
    app: &App,
    id: &str,
    work: impl FnOnce(&mut Environment, &mut Map<String, Value>) -> Result<bool, ApiError>,
) -> Result<Reply, ApiError> {
    let now = app.clock.now();
    app.store.write(|transaction: &Transaction| {
        let mut environment = find(transaction, id)?;
        let mut object = parse(&environment.object);
        if work(&mut environment, &mut object)? {
            // Two updates within one microsecond, or a clock set back, still move it.
            let before = object["updated_at"].as_str().and_then(clock::parse);
            let updated = before.map_or(now, |before| now.max(before + 1));
            object.insert("updated_at".to_owned(), clock::text(updated).into());
            environment.object = Value::Object(object).to_string();
            transaction.prepare_cached("UPDATE environments SET archived = ?2, object = ?3 WHERE id = ?1")?.execute(params![
                id,
                environment.archived,
                environment.object
            ])?;
        }
        Ok(Reply::json(environment.object))
    })
}

fn parse(object: &str) -> Map<String, Value> {
    serde_json::from_str(object).unwrap_or_default()
}

fn refuse(error: ConfigError) -> ApiError {
    match error {
        ConfigError::Invalid(message) => ApiError::invalid(message),
        ConfigError::TypeChange => {
            ApiError::invalid("config.type: cannot be changed; create another environment").code("invalid_config_type_change")
        }
    }
}

fn name(given: Option<&Value>) -> Result<String, ApiError> {
    match given.and_then(Value::as_str) {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(ApiError::invalid("name: must be a string that is not empty")),
    }
}

fn description(given: Option<&Value>) -> Result<Value, ApiError> {
    match given {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(Value::String(text)) => Ok(text.as_str().into()),
        Some(_) => Err(ApiError::invalid("description: must be a string or null")),
    }
}

fn scope(given: Option<&Value>) -> Result<Value, ApiError> {
    match given {
        None | Some(Value::Null) => Ok("organization".into()),
        Some(scope) if scope == "organization" || scope == "account" => Ok(scope.clone()),
        Some(_) => Err(ApiError::invalid("scope: must be \"organization\", \"account\" or null")),
    }
}

/// Metadata of something new: an object of strings.
pub fn new_metadata(given: Option<&Value>) -> Result<Value, ApiError> {
    match given {
        None | Some(Value::Null) => Ok(json!({})),
        Some(Value::Object(pairs)) if pairs.values().all(Value::is_string) => Ok(pairs.clone().into()),
        Some(_) => Err(ApiError::invalid("metadata: must be an object whose values are strings")),
    }
}

fn merged_metadata(current: &Value, given: &Value) -> Result<Value, ApiError> {
    let given = match given {
        Value::Null => return Ok(json!({})),
        Value::Object(given) => given,
        _ => return Err(ApiError::invalid("metadata: must be an object")),
    };
    let mut merged = current.as_object().cloned().unwrap_or_default();
    for (key, value) in given {
        match value {
            Value::Null => {
                merged.shift_remove(key);
            }
            Value::String(text) if text.is_empty() => {
                merged.shift_remove(key);
            }
            Value::String(_) => {
                merged.insert(key.clone(), value.clone());
            }
            _ => {
                return Err(ApiError::invalid(format!("metadata: the value of {key:?} must be a string, or null to delete it")));
            }
        }
    }
    Ok(merged.into())
}
