//! The tools read, write and edit.

use super::error::{ToolError, ToolResult};
use super::roots::{Location, Roots};
use super::server::{Block, Content};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, File, Metadata, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use rustix::fs::OFlags;
use serde::Deserialize;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::Path;

/// The largest file that is read as a whole, and the largest selection of lines.
pub const MAX_READ_BYTES: u64 = 256 << 10;
pub const MAX_IMAGE_BYTES: u64 = 5 << 20;
pub const MAX_PDF_BYTES: u64 = 20 << 20;
/// The largest file that is edited.
pub const MAX_EDIT_BYTES: u64 = 16 << 20;
/// How much of a file is read at a time when lines are selected.
const PIECE: usize = 64 << 10;

#[derive(Deserialize)]
pub struct ReadInput {
    file_path: String,
    view_range: Option<[i64; 2]>,
}

#[derive(Deserialize)]
pub struct WriteInput {
    file_path: String,
    content: String,
}

#[derive(Deserialize)]
pub struct EditInput {
    file_path: String,
    old_string: String,
    new_string: String,
    #[serde(default)]
    replace_all: bool,
}

/// Returns a file's text, the lines that are asked for, or an image or a PDF as a block.
pub fn read(roots: &Roots, input: &ReadInput) -> ToolResult<Content> {
    let given = &input.file_path;
    let (mut file, metadata) = open_regular(&roots.locate(given)?, given)?;
    let failed = |error: io::Error| ToolError::io(given, &error);
    if let Some([first, last]) = input.view_range {
        let selected = read_lines(&mut file, first, last).map_err(|problem| match problem {
            Selection::Io(error) => failed(error),
            Selection::Refused(message) => ToolError::new(format!("{given}: {message}")),
        })?;
        return text_of(selected, given).map(Content::text);
    }
    let mut head = [0; 16];
    let known = read_up_to(&mut file, &mut head).map_err(failed)?;
    let kind = Kind::of(&head[..known]);
    let limit = kind.max_bytes();
    if metadata.len() > limit {
        return Err(too_large(given, metadata.len(), kind));
    }
    let mut bytes = head[..known].to_vec();
    // A file may grow while it is read, and those of /proc have no length.
    file.take(limit + 1 - known as u64).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(given, bytes.len() as u64, kind));
    }
    match kind {
        Kind::Text => text_of(bytes, given).map(Content::text),
        Kind::Image(media_type) => Ok(Content(vec![Block::image(media_type, &bytes)])),
        Kind::Pdf => Ok(Content(vec![Block::document("application/pdf", &bytes)])),
    }
}

/// Replaces a file's content, or makes the file and the folders above it. The file is whole at any moment: it is written aside and renamed.
pub fn write(roots: &Roots, input: &WriteInput) -> ToolResult<Content> {
    let location = roots.locate(&input.file_path)?;
    location.check_writable(&input.file_path)?;
    replace(&location, &input.file_path, input.content.as_bytes())?;
    Ok(Content::text(format!("wrote {} bytes to {}", input.content.len(), input.file_path)))
}

/// Replaces a text that occurs once in a file, or all its occurrences.
pub fn edit(roots: &Roots, input: &EditInput) -> ToolResult<Content> {
    let given = &input.file_path;
    if input.old_string.is_empty() {
        return Err(ToolError::new("old_string is empty"));
    }
    let location = roots.locate(given)?;
    location.check_writable(given)?;
    let (file, metadata) = open_regular(&location, given)?;
    if metadata.len() > MAX_EDIT_BYTES {
        return Err(ToolError::new(format!(
            "{given}: {} bytes are more than the {MAX_EDIT_BYTES} that can be edited",
            metadata.len()
        )));
    }
    let mut bytes = Vec::new();
    file.take(MAX_EDIT_BYTES + 1).read_to_end(&mut bytes).map_err(|error| ToolError::io(given, &error))?;
    let text = String::from_utf8(bytes).map_err(|_| ToolError::new(format!("{given}: not a text in UTF-8")))?;
    let edited = match text.matches(&input.old_string).count() {
        0 => return Err(ToolError::new(format!("{given}: old_string does not occur"))),
        1 => text.replacen(&input.old_string, &input.new_string, 1),
        _ if input.replace_all => text.replace(&input.old_string, &input.new_string),
        count => {
            let advice = "give more of the text around it, or set replace_all";
            return Err(ToolError::new(format!("{given}: old_string occurs {count} times; {advice}")));
        }
    };
    let count = text.matches(&input.old_string).count();
    replace(&location, given, edited.as_bytes())?;
    Ok(Content::text(format!("replaced {count} {} in {given}", if count == 1 { "occurrence" } else { "occurrences" })))
}

/// Opens a regular file for reading, and nothing else: opening a FIFO or a device could block or do something.
pub fn open_regular(location: &Location<'_>, given: &str) -> ToolResult<(File, Metadata)> {
    let failed = |error: io::Error| ToolError::io(given, &error);
    let file = open_for_reading(&location.root.dir, &location.relative).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
        false if metadata.is_dir() => Err(ToolError::new(format!("{given}: is a directory"))),
        false => Err(ToolError::new(format!("{given}: not a regular file"))),
    }
}

/// Opens a path below a root without ever blocking.
pub fn open_for_reading(dir: &Dir, relative: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    dir.open_with(relative, OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()))
}

/// Writes a file aside, and renames it to its place.
fn replace(location: &Location<'_>, given: &str, bytes: &[u8]) -> ToolResult<()> {
    let failed = |error: io::Error| ToolError::io(given, &error);
    let not_file = || ToolError::new(format!("{given}: is a directory"));
    let name = location.relative.file_name().ok_or_else(not_file)?;
    let folder = make_folders(&location.root.dir, location.relative.parent().unwrap_or(Path::new(""))).map_err(failed)?;
    let mode = match folder.symlink_metadata(name) {
        Ok(metadata) if metadata.is_dir() => return Err(not_file()),
        Ok(metadata) if !metadata.is_file() => return Err(ToolError::new(format!("{given}: not a regular file"))),
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0o600,
        Err(error) => return Err(failed(error)),
    };
    write_aside(&folder, name, bytes, mode).map_err(failed)
}

/// The names of files that are being written.
const ASIDE: &str = ".antenv-";

/// Returns whether a name is that of a file or folder that is being written aside.
pub fn is_aside(name: &OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(ASIDE));
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Makes up a name for what is written aside.
pub fn aside_name() -> String {
    format!("{ASIDE}{:016x}", fastrand::u64(..))
}

/// Writes a file aside in its folder, and renames it to its place, whatever is there but a directory.
pub fn write_aside(folder: &Dir, name: &OsStr, bytes: &[u8], mode: u32) -> io::Result<()> {
    let aside = aside_name();
    let write = || {
        let mut file = folder.open_with(&aside, OpenOptions::new().write(true).create_new(true).mode(0o600))?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        folder.rename(&aside, folder, name)
    };
    write().inspect_err(|_| drop(folder.remove_file(&aside)))
}

/// Opens a folder below a root, and makes what is missing of it, for its owner alone.
pub fn make_folders(dir: &Dir, relative: &Path) -> io::Result<Dir> {
    if relative.as_os_str().is_empty() {
        return dir.try_clone();
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    dir.create_dir_with(relative, &builder).or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    })?;
    dir.open_dir(relative)
}

/// What a file holds, by its first bytes.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Image(&'static str),
    Pdf,
}

impl Kind {
    fn of(head: &[u8]) -> Kind {
        match head {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Kind::Image("image/png"),
            [0xff, 0xd8, 0xff, ..] => Kind::Image("image/jpeg"),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Kind::Image("image/gif"),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Kind::Image("image/webp"),
            [b'%', b'P', b'D', b'F', b'-', ..] => Kind::Pdf,
            _ => Kind::Text,
        }
    }

    fn max_bytes(self) -> u64 {
        match self {
            Kind::Text => MAX_READ_BYTES,
            Kind::Image(_) => MAX_IMAGE_BYTES,
            Kind::Pdf => MAX_PDF_BYTES,
        }
    }
}

fn too_large(given: &str, bytes: u64, kind: Kind) -> ToolError {
    let advice = if kind == Kind::Text { "; select lines with view_range" } else { "" };
    ToolError::new(format!("{given}: {bytes} bytes are more than the {} that can be read{advice}", kind.max_bytes()))
}

fn text_of(bytes: Vec<u8>, given: &str) -> ToolResult<String> {
    if bytes.contains(&0) {
        return Err(ToolError::new(format!("{given}: a binary file")));
    }
    Ok(match String::from_utf8_lossy(&bytes) {
        text if text.is_empty() => "[empty]".to_owned(),
        text => text.into_owned(),
    })
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

enum Selection {
    Io(io::Error),
    Refused(String),
}

/// Reads lines `first` to `last`, counted from 1, both included; a `last` of -1 is the end. The file itself may be of any size.
fn read_lines(file: &mut File, first: i64, last: i64) -> Result<Vec<u8>, Selection> {
    if first < 1 || (last < first && last != -1) {
        return Err(Selection::Refused(format!("view_range [{first}, {last}] selects no lines")));
    }
    let mut selected = Vec::new();
    let mut piece = vec![0; PIECE];
    let mut line = 1;
    loop {
        let count = match file.read(&mut piece) {
            Ok(0) if line < first || (line == first && selected.is_empty()) => {
                return Err(Selection::Refused(format!("the file ends before line {first}")));
            }
            Ok(0) => return Ok(selected),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Selection::Io(error)),
        };
        for part in piece[..count].split_inclusive(|byte| *byte == b'\n') {
            if line >= first {
                selected.extend_from_slice(part);
            }
            if selected.len() as u64 > MAX_READ_BYTES {
                return Err(Selection::Refused(format!("the lines are more than the {MAX_READ_BYTES} bytes that can be read")));
            }
            if part.ends_with(b"\n") {
                if line == last {
                    return Ok(selected);
                }
                line += 1;
            }
        }
    }
}
