//! Downloads: the response of an operation, written to a file that is whole or not there.
//!
//! The runtime's thread receives, and the caller's thread writes, so a slow disk delays nothing else.

use crate::api::operations::{self, ResponseKind};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::http::transport::Part;
use crate::runtime;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// How many parts may wait to be written.
const MAX_UNWRITTEN: usize = 4;
/// How often another name is tried for the temporary file.
const MAX_NAMES: u32 = 16;

/// Downloads the response of an operation to `path`, replacing a file that is there only by a whole one. Returns
/// `{"path","bytes","content_type"}`. Blocks until the file is written. Errors: the common call errors; `INVALID_ARGUMENT` about `path`.
pub fn download(client: &Client, operation: &str, params_json: Option<&str>, path: &str) -> Result<String> {
    let request = client.prepare(operations::find(operation, ResponseKind::Binary)?, params_json)?;
    if request.with_response {
        return Err(Error::argument("with_response", "cannot be used with a download, which writes a file"));
    }
    let failed = |e: io::Error| Error::argument("path", format_args!("cannot be written: {e}"));
    let mut file = TemporaryFile::create(Path::new(path)).map_err(failed)?;
    let (sender, mut parts) = mpsc::channel(MAX_UNWRITTEN);
    let outcome = client.start_download(request, sender)?;
    while let Some(part) = parts.blocking_recv() {
        match part {
            Part::Begin => file.clear(),
            Part::Data(bytes) => file.write(&bytes),
        }
        .map_err(failed)?;
    }
    let content_type = runtime::wait(outcome)?.into_content_type(client)?;
    let bytes = file.bytes;
    file.rename_to(Path::new(path)).map_err(failed)?;
    Ok(json!({"path": path, "bytes": bytes, "content_type": content_type}).to_string())
}

/// A file beside another one, which it may replace. Dropping it removes it.
struct TemporaryFile {
    file: File,
    path: PathBuf,
    bytes: u64,
    is_renamed: bool,
}

impl TemporaryFile {
    fn create(target: &Path) -> io::Result<TemporaryFile> {
        let name = target.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
        if target.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        let mut tries = 0;
        loop {
            let mut temporary = std::ffi::OsString::from(".");
            temporary.push(name);
            temporary.push(format!(".{:08x}.part", fastrand::u32(..)));
            let path = target.with_file_name(temporary);
            tries += 1;
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(TemporaryFile { file, path, bytes: 0, is_renamed: false }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tries < MAX_NAMES => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn clear(&mut self) -> io::Result<()> {
        self.bytes = 0;
        self.file.set_len(0)?;
        self.file.rewind()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Moves the file to its place, once it is on the disk: after a crash, too, what is there is whole.
    fn rename_to(mut self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, target)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.is_renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}
