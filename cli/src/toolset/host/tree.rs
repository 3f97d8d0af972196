//! Removes directories that commands have filled: of any depth, with any modes, with links in them.

use crate::toolset::error::{ToolError, ToolResult};
use crate::toolset::files::aside_name;
use crate::toolset::server::Cancel;
use cap_std::fs::{Dir, Permissions, PermissionsExt};
use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// Removes what has a name in a folder, whatever it is. A link is removed, not what it leads to. What is not there is no error.
pub fn remove(folder: &Dir, name: &OsStr, given: &str, cancel: &Cancel) -> ToolResult<()> {
    let failed = |error: io::Error| ToolError::io(given, &error);
    let metadata = match folder.symlink_metadata(name) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.is_dir() {
        return folder.remove_file(name).map_err(failed);
    }
    let directory = open(folder, Path::new(name)).map_err(failed)?;
    remove_contents(&directory, given, cancel)?;
    folder.remove_dir(name).map_err(failed)
}

/// Removes everything in a directory. Subdirectories are moved up before they are emptied, so that depth takes neither stack nor
/// descriptors.
pub fn remove_contents(directory: &Dir, given: &str, cancel: &Cancel) -> ToolResult<()> {
    let failed = |error: io::Error| ToolError::io(given, &error);
    loop {
        let mut is_empty = true;
        for entry in directory.entries().map_err(failed)? {
            cancel.check()?;
            is_empty = false;
            let name = entry.map_err(failed)?.file_name();
            if is_directory(directory, Path::new(&name)).map_err(failed)? {
                flatten(directory, Path::new(&name), cancel, &failed)?;
                directory.remove_dir(&name).map_err(failed)?;
            } else {
                directory.remove_file(&name).map_err(failed)?;
            }
        }
        // Those that were moved up may not have been listed.
        if is_empty {
            return Ok(());
        }
    }
}

/// Empties a subdirectory: removes its files, and moves its own subdirectories up.
fn flatten(directory: &Dir, name: &Path, cancel: &Cancel, failed: &dyn Fn(io::Error) -> ToolError) -> ToolResult<()> {
    let subdirectory = open(directory, name).map_err(failed)?;
    for entry in subdirectory.entries().map_err(failed)? {
        cancel.check()?;
        let entry = entry.map_err(failed)?.file_name();
        if is_directory(&subdirectory, Path::new(&entry)).map_err(failed)? {
            // Moving a directory changes its entry `..`.
            make_accessible(&subdirectory, Path::new(&entry));
            let above = aside_name();
            subdirectory.rename(&entry, directory, above).map_err(failed)?;
        } else {
            subdirectory.remove_file(&entry).map_err(failed)?;
        }
    }
    Ok(())
}

fn is_directory(folder: &Dir, name: &Path) -> io::Result<bool> {
    folder.symlink_metadata(name).map(|metadata| metadata.is_dir())
}

fn open(folder: &Dir, name: &Path) -> io::Result<Dir> {
    make_accessible(folder, name);
    folder.open_dir(name)
}

fn make_accessible(folder: &Dir, name: &Path) {
    // If that fails, so does what follows.
    let _ = folder.set_permissions(name, Permissions::from_mode(0o700));
}
