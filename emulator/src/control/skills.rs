//! `/_emulator/skills`: uploads versions of skills.

use base64::{Engine, engine::general_purpose::STANDARD};
use rusqlite::{OptionalExtension, params};
use serde_json::{json, value::RawValue};

use super::{given, given_string};
use crate::{
    App,
    http::response::{ApiError, Response},
    model::{
        archive::{File, Format},
        clock, ids,
        json::{self, Object},
    },
};

/// Stores one version of a skill; the skill is there once it has a version. The archive is given (`archive`, in base64), or made from
/// `files` in a `format`.
pub fn upload(app: &App, body: &Object) -> Result<Response, ApiError> {
    let skill_id = given_string(body, "id")?.unwrap_or_else(ids::skill);
    let version = given_string(body, "version")?.unwrap_or_else(ids::skill_version);
    if version == "latest" {
        return Err(ApiError::invalid("version: latest is the name of the newest version"));
    }
    let name = super::required(body, "name")?;
    let archive = archive(body, &name)?;
    let object = json::text(&json!({
        "id": version,
        "created_at": clock::text(app.clock.now()),
        "description": given_string(body, "description")?.unwrap_or_default(),
        "name": name,
        "skill_id": skill_id,
        "type": "skill_version",
    }));
    app.store.write(|transaction| {
        let taken: Option<i64> = transaction
            .prepare_cached("SELECT 1 FROM skill_versions WHERE skill_id = ?1 AND id = ?2")?
            .query_row([&skill_id, &version], |row| row.get(0))
            .optional()?;
        if taken.is_some() {
            return Err(ApiError::conflict(format!("There is a version {version:?} of the skill {skill_id:?} already.")));
        }
        transaction
            .prepare_cached("INSERT INTO skill_versions (skill_id, id, object, archive) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![skill_id, version, object, archive])?;
        Ok(())
    })?;
    Ok(Response::json(object))
}

fn archive(body: &Object, name: &str) -> Result<Vec<u8>, ApiError> {
    match (given(body, "archive"), given(body, "files")) {
        (Some(archive), None) if given(body, "format").is_none() => {
            decoded(archive).ok_or_else(|| ApiError::invalid("archive: must be a string, in base64"))
        }
        (None, Some(files)) => {
            let format = given_string(body, "format")?;
            let Some(format) = Format::from_name(format.as_deref().unwrap_or("zip")) else {
                return Err(ApiError::invalid("format: must be zip or tar.gz"));
            };
            format.pack(&self::files(files, name)?).map_err(|error| ApiError::invalid(format!("files: {error}")))
        }
        _ => Err(ApiError::invalid("give either files, with or without a format, or an archive")),
    }
}

/// The files, below a folder of the skill's name, as the service packs them.
fn files(given: &RawValue, name: &str) -> Result<Vec<File>, ApiError> {
    let Some(files) = Object::from_raw(given) else {
        return Err(ApiError::invalid("files: must be an object whose keys are paths"));
    };
    let read = |(path, file): (&str, _)| {
        let path = format!("{name}/{path}");
        if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(ApiError::invalid(
                "files: a path is relative and has no segment that is empty, . or ..; an archive may have others",
            ));
        }
        let (content, executable) = content(file).ok_or_else(|| {
            ApiError::invalid(format!("files: {path:?} must be a string, or an object of text or base64, and executable"))
        })?;
        Ok(File { path, content, executable })
    };
    files.iter().map(read).collect()
}

/// The content of a file, and whether it is executable.
fn content(file: &RawValue) -> Option<(Vec<u8>, bool)> {
    if let Some(text) = json::string(file) {
        return Some((text.into_bytes(), false));
    }
    let file = Object::from_raw(file)?;
    let executable = match file.get("executable") {
        None => false,
        Some(executable) => json::boolean(executable)?,
    };
    let content = match (file.get("text"), file.get("base64")) {
        (Some(text), None) => json::string(text)?.into_bytes(),
        (None, Some(base64)) => decoded(base64)?,
        _ => return None,
    };
    Some((content, executable))
}

fn decoded(base64: &RawValue) -> Option<Vec<u8>> {
    STANDARD.decode(json::string(base64)?).ok()
}
