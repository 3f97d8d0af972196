//! The operations on the versions of a skill. They are uploaded by `/_emulator/skills`.

use rusqlite::{OptionalExtension, Row};

use crate::{
    App,
    http::response::{ApiError, Response},
    model::archive,
};

/// `skills.versions.retrieve`; the version `latest` is the newest one.
pub fn retrieve(app: &App, skill_id: &str, version: &str) -> Result<Response, ApiError> {
    let sql = "SELECT object FROM skill_versions WHERE skill_id = ?1 AND (id = ?2 OR ?2 = 'latest') ORDER BY seq DESC LIMIT 1";
    let object: String = find(app, sql, skill_id, version, |row| row.get(0))?;
    Ok(Response::json(object))
}

/// `skills.versions.download`; here a version is named by its id alone.
pub fn download(app: &App, skill_id: &str, version: &str) -> Result<Response, ApiError> {
    let sql = "SELECT archive FROM skill_versions WHERE skill_id = ?1 AND id = ?2";
    let archive: Vec<u8> = find(app, sql, skill_id, version, |row| row.get(0))?;
    Ok(Response::binary(archive::content_type(&archive), archive))
}

fn find<T>(
    app: &App,
    sql: &str,
    skill_id: &str,
    version: &str,
    read: impl FnOnce(&Row) -> rusqlite::Result<T>,
) -> Result<T, ApiError> {
    let found = app.store.read(|connection| connection.prepare_cached(sql)?.query_row([skill_id, version], read).optional())?;
    found.ok_or_else(|| ApiError::not_found(format!("There is no version {version:?} of a skill {skill_id:?}.")))
}
