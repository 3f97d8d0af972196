//! The files of memory directories, for the host, which keeps them in step with memory stores.
//!
//! A directory that belongs to a store has a marker, which names the store. Only regular files within the limits of a memory are read;
//! whatever else has a name there is reported as refused, and replaced when the host writes a memory of that name.

use super::{to_value, tree};
use crate::toolset::error::{ToolError, ToolResult, describe};
use crate::toolset::files::{is_aside, make_folders, open_for_reading, write_aside};
use crate::toolset::roots::{Root, Roots};
use crate::toolset::server::Cancel;
use cap_std::fs::Dir;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const MARKER: &str = ".anthropic-memory-store";
/// The limits of memories.
const MAX_CONTENT_BYTES: u64 = 102_400;
const MAX_PATH_BYTES: usize = 1_024;
const MAX_SEGMENTS: usize = 20;
/// How many files and folders a memory directory may hold.
const MAX_ENTRIES: usize = 10_000;

/// A request about a memory directory.
#[derive(Deserialize)]
pub struct MemoryRequest {
    /// The directory, as it was given when the helper was started.
    root: String,
    /// The id of the store that it belongs to.
    store: String,
    #[serde(flatten)]
    action: Action,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// Writes the marker.
    Mark {},
    /// Lists the files, with their hashes.
    Scan {},
    Read {
        path: String,
    },
    Write {
        path: String,
        content: String,
    },
    /// Removes a file whose content has this hash.
    Remove {
        path: String,
        sha256: String,
    },
    /// Removes everything.
    Clear {},
}

/// What a memory directory holds.
#[derive(Debug, Default, Serialize)]
struct Scan {
    /// Whether the marker is there, and names the store.
    marker: bool,
    /// The SHA-256 of each file by its path.
    files: BTreeMap<String, String>,
    /// Why what has the path of a memory is none.
    refused: BTreeMap<String, &'static str>,
    /// How many files and folders have a path that no memory can have.
    ignored: u64,
}

/// What has the name of a memory.
enum Found {
    Absent,
    Text(String),
    Refused(&'static str),
}

/// Does what a request asks for.
pub fn run(roots: &Roots, request: &MemoryRequest, cancel: &Cancel) -> ToolResult<Value> {
    let (given, store) = (&request.root, &request.store);
    let root = roots.memory(given).ok_or_else(|| ToolError::new(format!("{given}: is no memory directory")))?;
    let directory = &root.dir;
    match &request.action {
        Action::Mark {} => {
            let written = write_aside(directory, MARKER.as_ref(), marker_of(store).as_bytes(), 0o600);
            written.map_err(|error| ToolError::io(given, &error))?;
            Ok(json!({}))
        }
        Action::Scan {} => to_value(&scan(root, store, cancel)?),
        Action::Read { path } => {
            let marker = has_marker(directory, store);
            Ok(match look(directory, &local_path(path)?) {
                Found::Absent => json!({"marker": marker, "state": "absent"}),
                Found::Refused(why) => json!({"marker": marker, "state": "refused", "why": why}),
                Found::Text(text) => {
                    json!({"marker": marker, "state": "file", "sha256": sha256(text.as_bytes()), "content": text})
                }
            })
        }
        Action::Write { path, content } => write(directory, path, content, cancel),
        Action::Remove { path, sha256 } => remove(directory, path, sha256),
        Action::Clear {} => {
            tree::remove_contents(directory, given, cancel)?;
            Ok(json!({}))
        }
    }
}

fn marker_of(store: &str) -> String {
    format!("version 1\n{store}")
}

fn has_marker(directory: &Dir, store: &str) -> bool {
    matches!(look(directory, Path::new(MARKER)), Found::Text(text) if text == marker_of(store))
}

/// Lists a directory to any depth. Links are not followed.
fn scan(root: &Root, store: &str, cancel: &Cancel) -> ToolResult<Scan> {
    let mut scan = Scan { marker: has_marker(&root.dir, store), ..Scan::default() };
    let mut entries = 0;
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let opened = if folder.as_os_str().is_empty() { root.dir.try_clone() } else { root.dir.open_dir(&folder) };
        let listed = opened.and_then(|folder| folder.entries());
        let listed = match listed {
            Ok(listed) => listed,
            // Removed, or replaced, meanwhile.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            // What is in it is not known to be gone.
            Err(_) => return Err(ToolError::new("a folder cannot be read")),
        };
        for entry in listed {
            cancel.check()?;
            let entry = entry.map_err(|_| ToolError::new("a folder cannot be read"))?;
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(ToolError::new(format!("the directory holds more than {MAX_ENTRIES} files and folders")));
            }
            let name = entry.file_name();
            if is_aside(&name) || (folder.as_os_str().is_empty() && name == MARKER) {
                continue;
            }
            let place = folder.join(&name);
            let Some(path) = server_path(&place) else {
                scan.ignored += 1;
                continue;
            };
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(place);
                continue;
            }
            match look(&root.dir, &place) {
                Found::Text(text) => drop(scan.files.insert(path, sha256(text.as_bytes()))),
                Found::Refused(why) => drop(scan.refused.insert(path, why)),
                // Removed meanwhile.
                Found::Absent => {}
            }
        }
    }
    Ok(scan)
}

/// Reads what has a name in a directory, if it is what a memory could be. Never blocks, and follows no link at the end of the path.
fn look(directory: &Dir, place: &Path) -> Found {
    match directory.symlink_metadata(place) {
        Ok(metadata) if metadata.is_symlink() => return Found::Refused("a symbolic link"),
        Ok(metadata) if metadata.is_dir() => return Found::Refused("a directory"),
        Ok(metadata) if !metadata.is_file() => return Found::Refused("not a regular file"),
        Ok(metadata) if metadata.len() > MAX_CONTENT_BYTES => return Found::Refused("larger than a memory"),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Found::Absent,
        Err(_) => return Found::Refused("cannot be read"),
    }
    // What has the name may be something else by now; if a link, it leads to a place within the directory.
    let Ok(file) = open_for_reading(directory, place) else { return Found::Refused("cannot be read") };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Found::Refused("not a regular file");
    }
    let mut bytes = Vec::new();
    match file.take(MAX_CONTENT_BYTES + 1).read_to_end(&mut bytes) {
        Err(_) => Found::Refused("cannot be read"),
        Ok(count) if count as u64 > MAX_CONTENT_BYTES => Found::Refused("larger than a memory"),
        Ok(_) => String::from_utf8(bytes).map_or(Found::Refused("not a text in UTF-8"), Found::Text),
    }
}

/// Writes a memory, in place of whatever has its name but a directory that is not empty.
fn write(directory: &Dir, path: &str, content: &str, cancel: &Cancel) -> ToolResult<Value> {
    cancel.check()?;
    let place = match local_path(path) {
        Ok(place) if content.len() as u64 <= MAX_CONTENT_BYTES => place,
        Ok(_) => return Ok(json!({"refused": "larger than a memory"})),
        Err(ToolError(problem)) => return Ok(json!({"refused": problem})),
    };
    match write_file(directory, &place, content) {
        Ok(()) => Ok(json!({"sha256": sha256(content.as_bytes())})),
        // These are about what is in the way, not about the disk.
        Err(error) if is_in_the_way(&error) => Ok(json!({"refused": describe(&error)})),
        Err(error) => Err(ToolError::io(path, &error)),
    }
}

fn is_in_the_way(error: &io::Error) -> bool {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(errno) => matches!(errno, Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST | Errno::LOOP | Errno::XDEV),
        // cap-std's own: a link that leads out of the directory.
        None => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

fn write_file(directory: &Dir, place: &Path, content: &str) -> io::Result<()> {
    let (above, name) = (place.parent().unwrap_or(Path::new("")), place.file_name().unwrap_or_default());
    let folder = make_folders(directory, above)?;
    if folder.symlink_metadata(name).is_ok_and(|metadata| metadata.is_dir()) {
        folder.remove_dir(name)?;
    }
    write_aside(&folder, name, content.as_bytes(), 0o600)
}

/// Removes a file if it still has the content that was seen, and the folders above it that are empty then.
fn remove(directory: &Dir, path: &str, expected: &str) -> ToolResult<Value> {
    let place = local_path(path)?;
    let removed = match look(directory, &place) {
        Found::Text(text) if sha256(text.as_bytes()) == expected => {
            directory.remove_file(&place).map_err(|error| ToolError::io(path, &error))?;
            true
        }
        _ => false,
    };
    if removed {
        let above = place.ancestors().skip(1).take_while(|above| !above.as_os_str().is_empty());
        // The first that is not empty ends it.
        let _ = above.map(|above| directory.remove_dir(above)).take_while(Result::is_ok).count();
    }
    Ok(json!({"removed": removed}))
}

/// Returns the place of a memory in its directory. The server names it, so it is not trusted.
fn local_path(path: &str) -> ToolResult<PathBuf> {
    let refused = || ToolError::new(format!("{path}: not the path of a memory that a file can have"));
    let relative = path.strip_prefix('/').ok_or_else(refused)?;
    let is_name = |name: &str| !name.is_empty() && name != "." && name != ".." && name.len() <= 255;
    let names = || relative.split('/');
    let is_path = names().all(is_name) && names().count() <= MAX_SEGMENTS && path.len() <= MAX_PATH_BYTES;
    if !is_path || path.contains('\0') || relative == MARKER || names().any(|name| is_aside(&OsString::from(name))) {
        return Err(refused());
    }
    Ok(PathBuf::from(relative))
}

/// Returns the path of the memory that a file is, if it can be one.
fn server_path(place: &Path) -> Option<String> {
    let path = format!("/{}", place.to_str()?);
    let is_path = path.len() <= MAX_PATH_BYTES && place.components().count() <= MAX_SEGMENTS;
    (is_path && !path.contains(|character: char| character.is_control())).then_some(path)
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
