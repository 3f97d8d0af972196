//! The members of an archive: zip, or tar, which may be compressed by gzip or bzip2. Told apart by their first bytes.
//!
//! Archives are hostile. Every size is counted while it is read, and no header's word is taken for it: [`Budget`].

use crate::toolset::error::{ToolError, ToolResult, describe};
use bzip2::read::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read, Seek};
use std::rc::Rc;
use tar::{Archive, EntryType};
use zip::ZipArchive;

/// How much of a tar archive is read between two members: long names and extensions, which are kept in memory.
const MAX_TAR_HEADER_BYTES: u64 = 1 << 20;

/// The bits of a mode that say what a file is, and a regular one's.
const FILE_TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// What an archive may unpack to.
pub struct Limits {
    pub members: usize,
    pub bytes: u64,
    /// Archives that unpack to no more than this may be compressed as much as they like.
    pub free_bytes: u64,
    /// Others unpack to at most this many times their own size.
    pub ratio: u64,
}

impl Limits {
    /// How many bytes an archive of this size may unpack to.
    fn of(&self, archive_bytes: u64) -> u64 {
        self.bytes.min(self.free_bytes.max(archive_bytes.saturating_mul(self.ratio)))
    }
}

/// What a member of an archive is.
pub enum Kind {
    Folder,
    File {
        executable: bool,
    },
    /// A link, a device, a pipe or a socket.
    Other,
}

/// Takes the members of an archive, in order.
pub trait Visitor {
    /// Takes a member: its name as it stands in the archive, and its content, which may be left unread.
    fn member(&mut self, name: &[u8], kind: Kind, content: &mut dyn Read) -> ToolResult<()>;
}

/// Reads an archive to its end.
pub fn read<R: Read + Seek>(mut file: R, limits: &Limits, visitor: &mut impl Visitor) -> ToolResult<()> {
    let size = file.seek(io::SeekFrom::End(0)).map_err(|error| broken(&error))?;
    file.rewind().map_err(|error| broken(&error))?;
    let mut head = [0; 4];
    let mut known = 0;
    while known < head.len() {
        match file.read(&mut head[known..]).map_err(|error| broken(&error))? {
            0 => break,
            count => known += count,
        }
    }
    file.rewind().map_err(|error| broken(&error))?;
    let budget = Budget { bytes: limits.of(size), members: limits.members, allowed: Rc::default() };
    match head {
        [b'P', b'K', 3, 4] => read_zip(file, budget, visitor),
        [0x1f, 0x8b, ..] => read_tar(MultiGzDecoder::new(BufReader::new(file)), budget, visitor),
        [b'B', b'Z', b'h', _] => read_tar(MultiBzDecoder::new(BufReader::new(file)), budget, visitor),
        _ => read_tar(BufReader::new(file), budget, visitor),
    }
}

/// What is left of the limits.
struct Budget {
    bytes: u64,
    members: usize,
    /// How many bytes the reader of the archive may give until the next step.
    allowed: Rc<Cell<u64>>,
}

impl Budget {
    fn take_member(&mut self) -> ToolResult<()> {
        self.members = self.members.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }
}

fn too_many() -> ToolError {
    ToolError::new("the archive holds too many members")
}

/// Reads no more than is allowed; then fails.
struct Bounded<R> {
    inner: R,
    allowed: Rc<Cell<u64>>,
}

/// The error of a reader that has given all that is allowed.
#[derive(Debug)]
struct TooMuch;

impl fmt::Display for TooMuch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the archive unpacks to too much")
    }
}

impl std::error::Error for TooMuch {}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowed = self.allowed.get();
        let length = usize::try_from(allowed).unwrap_or(usize::MAX).min(buffer.len());
        if length == 0 && !buffer.is_empty() {
            // Only the end of the input may come now.
            return match self.inner.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::Error::other(TooMuch)),
            };
        }
        let count = self.inner.read(&mut buffer[..length])?;
        self.allowed.set(allowed - count as u64);
        Ok(count)
    }
}

/// Makes the error of an archive that cannot be read.
pub fn broken(error: &io::Error) -> ToolError {
    match error.get_ref() {
        Some(inner) if inner.is::<TooMuch>() => ToolError::new(TooMuch.to_string()),
        _ if error.raw_os_error().is_some() => ToolError::new(format!("the archive: {}", describe(error))),
        _ => ToolError::new(format!("the archive is broken: {error}")),
    }
}

fn read_zip<R: Read + Seek>(mut file: R, mut budget: Budget, visitor: &mut impl Visitor) -> ToolResult<()> {
    let not_zip = |error: zip::result::ZipError| ToolError::new(format!("the archive is broken: {error}"));
    if declared_members(&mut file).map_err(|error| broken(&error))? > budget.members {
        return Err(too_many());
    }
    let mut archive = ZipArchive::new(file).map_err(not_zip)?;
    if archive.has_duplicate_names() {
        return Err(ToolError::new("the archive holds a name twice"));
    }
    for index in 0..archive.len() {
        budget.take_member()?;
        let member = archive.by_index(index).map_err(not_zip)?;
        let mode = member.unix_mode().unwrap_or(0);
        let kind = match mode & FILE_TYPE {
            _ if member.is_dir() => Kind::Folder,
            // Not all that pack say what it is.
            0 | REGULAR => Kind::File { executable: mode & 0o111 != 0 },
            _ => Kind::Other,
        };
        let name = member.name_raw().to_vec();
        budget.allowed.set(budget.bytes);
        let mut content = Bounded { inner: member, allowed: budget.allowed.clone() };
        visitor.member(&name, kind, &mut content)?;
        budget.bytes = budget.allowed.get();
    }
    Ok(())
}

/// Returns the largest number of members that a zip archive may have by any record that could be the one at its end. All of them are read
/// into memory, so their number is looked at before.
fn declared_members<R: Read + Seek>(file: &mut R) -> io::Result<usize> {
    const RECORD: [u8; 4] = *b"PK\x05\x06";
    const RECORD_BYTES: usize = 22;
    let size = file.seek(io::SeekFrom::End(0))?;
    let tail_bytes = size.min((RECORD_BYTES + usize::from(u16::MAX)) as u64);
    file.seek(io::SeekFrom::Start(size - tail_bytes))?;
    let mut tail = Vec::new();
    file.by_ref().take(tail_bytes).read_to_end(&mut tail)?;
    file.rewind()?;
    let records = tail.windows(RECORD_BYTES).filter(|record| record.starts_with(&RECORD));
    // 65535 stands for any number, which is in another record.
    Ok(records.map(|record| usize::from(u16::from_le_bytes([record[10], record[11]]))).max().unwrap_or(0))
}

fn read_tar(stream: impl Read, mut budget: Budget, visitor: &mut impl Visitor) -> ToolResult<()> {
    let allowed = budget.allowed.clone();
    let mut archive = Archive::new(Bounded { inner: stream, allowed: allowed.clone() });
    let mut members = archive.entries().map_err(|error| broken(&error))?;
    loop {
        allowed.set(MAX_TAR_HEADER_BYTES);
        let Some(member) = members.next() else { break };
        let mut member = member.map_err(|error| broken(&error))?;
        budget.take_member()?;
        let kind = match member.header().entry_type() {
            EntryType::XGlobalHeader => continue,
            EntryType::Directory => Kind::Folder,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mode = member.header().mode().map_err(|error| broken(&error))?;
                // The old format marks directories by a slash at the end of their names.
                if member.path_bytes().ends_with(b"/") { Kind::Folder } else { Kind::File { executable: mode & 0o111 != 0 } }
            }
            _ => Kind::Other,
        };
        let name = member.path_bytes().into_owned();
        allowed.set(u64::MAX);
        // Holes of sparse files are not in the archive, but they count.
        let count = Rc::new(Cell::new(budget.bytes));
        let mut content = Bounded { inner: &mut member, allowed: count.clone() };
        visitor.member(&name, kind, &mut content)?;
        // What was left unread is skipped, within the limits.
        io::copy(&mut content, &mut io::sink()).map_err(|error| broken(&error))?;
        budget.bytes = count.get();
    }
    // The checksum of a compressed archive stands at its end.
    allowed.set(MAX_TAR_HEADER_BYTES);
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| broken(&error))?;
    Ok(())
}
