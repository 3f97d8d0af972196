//! Unpacks the archive of a skill into a folder, and removes it again.
//!
//! The archive is unpacked aside and renamed into its place when all of it is there. If everything in it is below one folder, that folder is
//! taken off. Links, devices and pipes are passed over; a name that leads out of the folder, or stands there twice, refuses the archive.

use super::archive::{self, Kind, Limits, Visitor, broken};
use super::tree;
use crate::toolset::error::{ToolError, ToolResult};
use crate::toolset::files::{aside_name, make_folders, open_for_reading};
use crate::toolset::roots::{Location, Roots};
use crate::toolset::server::Cancel;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// What the archive of a skill may unpack to.
const LIMITS: Limits = Limits { members: 10_000, bytes: 1 << 30, free_bytes: 64 << 20, ratio: 200 };
/// The longest path in an archive, and the longest of its names.
const MAX_PATH_BYTES: usize = 1_024;
const MAX_NAME_BYTES: usize = 255;
/// How much is copied at a time.
const PIECE: usize = 64 << 10;

#[derive(Deserialize)]
pub struct UnpackInput {
    /// The name of a file in `tmpdir`, which is removed.
    archive: String,
    /// The folder to be, in the working directory.
    to: String,
}

/// What was unpacked.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Unpacked {
    files: u64,
    bytes: u64,
    /// Links, devices, pipes and sockets.
    passed_over: u64,
    /// Whether the folder above was made.
    made_above: bool,
}

#[derive(Deserialize)]
pub struct RemoveInput {
    /// What to remove in the working directory.
    path: String,
    /// Whether the folder above it is removed, too, if it is empty then.
    #[serde(default)]
    above: bool,
}

/// A place in the working directory.
struct Place<'a> {
    /// The root that the folder above it is in, and where.
    above: Location<'a>,
    /// Its name there, which may be that of a link: that is not followed.
    name: &'a OsStr,
}

impl<'a> Place<'a> {
    fn find(roots: &'a Roots, given: &'a str) -> ToolResult<Place<'a>> {
        let no_place = || ToolError::new(format!("{given}: not a path in the working directory"));
        let (above, name) = Path::new(given).parent().zip(Path::new(given).file_name()).ok_or_else(no_place)?;
        let above = roots.locate(above.to_str().filter(|above| !above.is_empty()).unwrap_or("."))?;
        match std::ptr::eq(above.root, roots.workdir()) && name.len() <= MAX_NAME_BYTES {
            true => Ok(Place { above, name }),
            false => Err(no_place()),
        }
    }
}

/// Removes what is at a place, whatever it is. What is not there is no error.
pub fn remove(roots: &Roots, input: &RemoveInput, cancel: &Cancel) -> ToolResult<()> {
    let Place { above, name } = Place::find(roots, &input.path)?;
    let failed = |error: io::Error| ToolError::io(&input.path, &error);
    let folder = match above.root.dir.open_dir(&above.relative) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    tree::remove(&folder, name, &input.path, cancel)?;
    if input.above {
        // It stays if something is in it, and the working directory always does.
        let _ = above.root.dir.remove_dir(&above.relative);
    }
    Ok(())
}

/// Unpacks an archive to a folder, in place of what is there.
pub fn unpack(roots: &Roots, tmp: &Dir, input: &UnpackInput, cancel: &Cancel) -> ToolResult<Unpacked> {
    let name = plain_name(&input.archive).ok_or_else(|| ToolError::new("archive is not the name of a file"))?;
    let unpacked = unpack_archive(roots, tmp, name, &input.to, cancel);
    // It was for this.
    let _ = tmp.remove_file(name);
    unpacked
}

fn unpack_archive(roots: &Roots, tmp: &Dir, archive: &OsStr, given: &str, cancel: &Cancel) -> ToolResult<Unpacked> {
    let failed = |error: io::Error| ToolError::io(given, &error);
    // Whatever has the name is replaced, also a link.
    let Place { above, name } = Place::find(roots, given)?;
    let made_above = above.root.dir.symlink_metadata(&above.relative).is_err();
    let folder = make_folders(&above.root.dir, &above.relative).map_err(failed)?;
    let aside = OsString::from(aside_name());
    make_folder(&folder, Path::new(&aside)).map_err(failed)?;
    let unpacked = (|| {
        let directory = folder.open_dir(&aside).map_err(failed)?;
        let mut visitor = Unpacker { directory: &directory, cancel, unpacked: Unpacked::default() };
        let file = open_for_reading(tmp, Path::new(archive)).map_err(|error| broken(&error))?;
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err(ToolError::new("archive is not a regular file"));
        }
        archive::read(file, &LIMITS, &mut visitor)?;
        let unpacked = visitor.unpacked;
        if unpacked.files == 0 {
            return Err(ToolError::new("the archive holds no files"));
        }
        tree::remove(&folder, name, given, cancel)?;
        match top_folder(&directory).map_err(failed)? {
            Some(top) => directory.rename(top, &folder, name).map_err(failed)?,
            None => folder.rename(&aside, &folder, name).map_err(failed)?,
        }
        Ok(unpacked)
    })();
    // Nothing is there if it was renamed. A cancelled call leaves nothing behind, either.
    let cleared = Cancel::new().map_err(failed).and_then(|never| tree::remove(&folder, &aside, given, &never));
    let unpacked = unpacked.and_then(|unpacked| cleared.map(|()| unpacked));
    if unpacked.is_err() && made_above {
        let _ = above.root.dir.remove_dir(&above.relative);
    }
    unpacked.map(|unpacked| Unpacked { made_above, ..unpacked })
}

/// Returns the name of the only entry of a directory, if that is a folder.
fn top_folder(directory: &Dir) -> io::Result<Option<OsString>> {
    let mut entries = directory.entries()?;
    let Some(first) = entries.next() else { return Ok(None) };
    let first = first?;
    let is_top = first.file_type()?.is_dir() && entries.next().is_none();
    Ok(is_top.then(|| first.file_name()))
}

/// Returns a name that is one: no path, and neither `.` nor `..`.
fn plain_name(name: &str) -> Option<&OsStr> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name && !name.contains('\0') => Some(only),
        _ => None,
    }
}

fn make_folder(directory: &Dir, path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700).recursive(true);
    directory.create_dir_with(path, &builder)
}

/// Writes the members of an archive below a directory.
struct Unpacker<'a> {
    directory: &'a Dir,
    cancel: &'a Cancel,
    unpacked: Unpacked,
}

impl Visitor for Unpacker<'_> {
    fn member(&mut self, name: &[u8], kind: Kind, content: &mut dyn Read) -> ToolResult<()> {
        self.cancel.check()?;
        let shown = String::from_utf8_lossy(&name[..name.len().min(MAX_NAME_BYTES)]);
        let failed = |error: io::Error| ToolError::io(&format!("the archive: {shown}"), &error);
        let path = member_path(name).map_err(|problem| ToolError::new(format!("the archive: {shown}: {problem}")))?;
        let executable = match kind {
            Kind::Other => {
                self.unpacked.passed_over += 1;
                return Ok(());
            }
            Kind::Folder if path.as_os_str().is_empty() => return Ok(()),
            Kind::Folder => return make_folder(self.directory, &path).map_err(failed),
            Kind::File { executable } => executable,
        };
        if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
            make_folder(self.directory, above).map_err(failed)?;
        }
        let mut file =
            self.directory.open_with(&path, OpenOptions::new().write(true).create_new(true).mode(0o600)).map_err(failed)?;
        let mut piece = vec![0; PIECE];
        loop {
            self.cancel.check()?;
            let count = match content.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(&error)),
            };
            file.write_all(&piece[..count]).map_err(failed)?;
            self.unpacked.bytes += count as u64;
        }
        file.set_permissions(Permissions::from_mode(if executable { 0o755 } else { 0o644 })).map_err(failed)?;
        self.unpacked.files += 1;
        Ok(())
    }
}

/// Returns the path of a member below the folder, or what is wrong with its name.
fn member_path(name: &[u8]) -> Result<PathBuf, &'static str> {
    if name.contains(&0) {
        return Err("a name with a NUL character");
    }
    if name.starts_with(b"/") {
        return Err("an absolute path");
    }
    if name.len() > MAX_PATH_BYTES {
        return Err("the path is too long");
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("a path that leads out of the folder"),
            _ if part.len() > MAX_NAME_BYTES => return Err("the name is too long"),
            _ => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok(path)
}
